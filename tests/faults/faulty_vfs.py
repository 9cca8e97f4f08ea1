"""SQLite file systems that fail on purpose: real files below, and a plan of what goes wrong."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from typing import Any

import apsw


class Faults:
    """What is to go wrong, and how often each operation has been asked for.

    Thread-safety: as SQLite's callbacks, which hold the GIL.
    """

    def __init__(self) -> None:
        self.error: type[apsw.Error] = apsw.IOError
        self.operations: frozenset[str] = frozenset()
        self.first = 0  # the first call, counted from arming, that fails; 0: none
        self.last = 0
        self.seen = 0
        self.hit = 0
        self.lethal = False  # do not fail: kill the process
        self.short = False  # a write that fails has written its first half
        self.gate: threading.Event | None = None  # calls wait until it is set
        self.waiting = threading.Event()  # a call waits at the gate

    def arm(
        self,
        *operations: str,
        first: int = 1,
        times: int = 10**9,
        error: type[apsw.Error] = apsw.IOError,
    ) -> None:
        """Let call `first` of these operations fail, and `times - 1` after it."""
        self.seen = self.hit = 0
        self.error, self.first, self.last = error, first, first + times - 1
        self.operations = frozenset(operations)

    def disarm(self) -> None:
        """From now on everything works."""
        self.operations = frozenset()
        if self.gate is not None:
            self.gate.set()

    def block(self, *operations: str) -> None:
        """Let these operations wait until `disarm`."""
        self.gate = threading.Event()
        self.operations = frozenset(operations)

    def at(self, operation: str) -> None:
        """Called before every operation."""
        if operation not in self.operations:
            return
        if self.gate is not None:
            self.waiting.set()
            self.gate.wait()
            return
        self.seen += 1
        if self.first <= self.seen <= self.last:
            self.hit += 1
            if self.lethal:
                os.kill(os.getpid(), signal.SIGKILL)
            raise self.error(f"injected fault in {operation}")


class FaultyVFS(apsw.VFS):
    """The default VFS with faults; registered under a name of its own."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.vfs_name = f"faulty-{uuid.uuid4().hex}"
        super().__init__(self.vfs_name, "unix")

    def xOpen(self, name: Any, flags: list[int]) -> FaultyFile:
        self.faults.at("xOpen")
        return FaultyFile(name, flags, self.faults)


class FaultyFile(apsw.VFSFile):
    """One file of a `FaultyVFS`."""

    def __init__(self, name: Any, flags: list[int], faults: Faults) -> None:
        self.faults = faults
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        try:
            self.faults.at("xWrite")
        except apsw.Error:
            if self.faults.short:
                super().xWrite(data[: len(data) // 2], offset)
            raise
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self.faults.at("xSync")
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self.faults.at("xTruncate")
        super().xTruncate(size)

    def xRead(self, amount: int, offset: int) -> bytes:
        self.faults.at("xRead")
        return super().xRead(amount, offset)

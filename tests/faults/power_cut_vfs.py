"""An SQLite file system that knows what a power cut would leave of its files.

The files are real. Beside them it is remembered what of each is safe on the disk, and which writes
and truncates since its last sync are not. An image of the disk has all that is safe; each of the
others is in it, or is not, or is torn: sector by sector it is there, is not, or is garbage. What is
kept of one file says nothing about another. Writes that arrive in another order than they were
made in need no case of their own: where two overlap, that is the same as if one was dropped.

Assumed of the disk: a write changes no byte outside of it (SQLite's "powersafe overwrite", its
default), and what a sync has returned for is there. Assumed of names: that of a new file is safe
once the file has been synced, or its directory. SQLite syncs the directory with the first sync of
a journal or WAL that it has made, and after a deletion where it asks for that. -shm is memory.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR_BYTES = 512


@dataclass(slots=True)
class Change:
    """A write at an offset, or a truncate to one (no data)."""

    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
            return
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data

    def torn(self, rng: random.Random) -> list[Change]:
        """What has reached the disk of a write that was cut off."""
        if self.data is None:
            return []
        parts = []
        at = self.offset
        end = at + len(self.data)
        while at < end:
            until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
            fate = rng.random()
            if fate < 0.45:
                parts.append(Change(at, self.data[at - self.offset : until - self.offset]))
            elif fate < 0.55:
                parts.append(Change(at, rng.randbytes(until - at)))
            at = until
        return parts


@dataclass(slots=True, eq=False)
class DiskFile:
    """What is safe of a file, and what has been done since its last sync."""

    safe: bytearray = field(default_factory=bytearray)
    unsynced: list[Change] = field(default_factory=list)
    syncs_directory: bool = False  # with its next sync

    def image(self, rng: random.Random) -> bytes:
        """One of the contents that it can have after a cut."""
        content = bytearray(self.safe)
        kept, dropped = rng.choice([(0, 1), (1, 0), (0.9, 0.05), (0.5, 0.4), (0.1, 0.8), (0, 0)])
        for change in self.unsynced:
            fate = rng.random()
            if fate < kept:
                change.apply(content)
            elif fate >= kept + dropped:
                for part in change.torn(rng):
                    part.apply(content)
        return bytes(content)


class Disk:
    """The files of one folder as a power cut would find them.

    Thread-safety: any thread.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.operations = 0
        self.watcher: Callable[[str], None] | None = None  # called within each operation, by name
        self._names: dict[str, DiskFile] = {}
        self._safe_names: dict[str, DiskFile] = {}

    def file(self, path: str, flags: int) -> DiskFile:
        """The file that SQLite opens; what is there before it is watched counts as safe."""
        with self.lock:
            name = os.path.basename(path)
            if name not in self._names:
                file = self._names[name] = DiskFile()
                if os.path.exists(path):
                    file.safe[:] = Path(path).read_bytes()
                    if file.safe:
                        self._safe_names[name] = file
                file.syncs_directory = not file.safe and bool(
                    flags & (apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL)
                )
            return self._names[name]

    def change(self, file: DiskFile, change: Change) -> None:
        with self.lock:
            file.unsynced.append(change)
            self._happens("write" if change.data is not None else "truncate")

    def sync(self, file: DiskFile) -> None:
        """The sync is asked for; then it has returned."""
        with self.lock:
            self._happens("sync")
            for change in file.unsynced:
                change.apply(file.safe)
            file.unsynced.clear()
            if file.syncs_directory:
                file.syncs_directory = False
                self._safe_names = dict(self._names)
            self._safe_names |= {n: f for n, f in self._names.items() if f is file}

    def delete(self, path: str, sync_directory: bool) -> None:
        with self.lock:
            self._happens("delete")
            self._names.pop(os.path.basename(path), None)
            if sync_directory:
                self._safe_names = dict(self._names)

    def is_synced(self, ending: str) -> bool:
        """Is all of the files with this ending safe?"""
        with self.lock:
            return not any(f.unsynced for n, f in self._names.items() if n.endswith(ending))

    def power_cut(self, folder: Path, rng: random.Random) -> None:
        """Make one of the images that a cut at this moment can leave."""
        with self.lock:
            for name in self._names.keys() | self._safe_names.keys():
                found = [names.get(name) for names in (self._names, self._safe_names)]
                file = rng.choice(found)
                if file is not None:
                    (folder / name).write_bytes(file.image(rng))

    def _happens(self, operation: str) -> None:
        self.operations += 1
        if self.watcher is not None:
            self.watcher(operation)


class PowerCutVFS(apsw.VFS):
    """The default VFS, watched by a `Disk`; registered under a name of its own."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.vfs_name = f"power-{uuid.uuid4().hex}"
        super().__init__(self.vfs_name, "unix")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return apsw.VFSFile("unix", name, flags)  # temporary: nobody looks at it afterwards
        file = self.disk.file(path, flags[0])
        return PowerCutFile(name, flags, self.disk, file)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.disk.delete(filename, syncdir)
        super().xDelete(filename, syncdir)


class PowerCutFile(apsw.VFSFile):
    """One file of a `PowerCutVFS`."""

    def __init__(self, name: Any, flags: list[int], disk: Disk, file: DiskFile) -> None:
        self._disk = disk
        self._file = file
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.change(self._file, Change(offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._disk.change(self._file, Change(size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._disk.sync(self._file)  # the real file needs none

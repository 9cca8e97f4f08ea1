"""Child processes that record and die, and what must be in the database afterwards.

A child is `python -m tests.faults.children NAME ARGS`. It acknowledges every accepted record by one
line on its standard output, written after the recording call has returned: that is the ledger to
which the database is compared. Every child has a hard time limit of its own, after which it prints
the stacks of all its threads and ends, so a hang is a failure with an explanation.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import apsw

import ax_monitor

ROOT = Path(__file__).parents[2]
LIMIT_S = 60  # of a child, and of everything that waits for one


def wait_until(condition: Callable[[], object], timeout_s: float = LIMIT_S, what: str = "") -> None:
    """Poll until `condition()` is true; fail when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or condition}"
        time.sleep(0.002)


class Child:
    """A running child program.

    Args:
        name: The function in `tests.faults.children`.
        args: Its arguments, passed as text.
        failpoint: Where it is to kill itself.
        limit_s: After so long it dumps its stacks and ends.
    """

    def __init__(
        self, name: str, *args: object, failpoint: str | None = None, limit_s: float = LIMIT_S
    ) -> None:
        source = Path(ax_monitor.__file__).parents[1]
        env = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"}
        env.pop("AX_MONITOR_FAILPOINT", None)
        if failpoint is not None:
            env["AX_MONITOR_FAILPOINT"] = failpoint
        self._stderr = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "tests.faults.children", str(limit_s), name]
        self.process = subprocess.Popen(
            [*command, *map(str, args)],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self.limit_s = limit_s
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # the last one may have been cut by the kill
                self.lines.append(line.decode().rstrip("\n"))

    @property
    def acked(self) -> list[str]:
        """The records that the child said were accepted."""
        return [line[1:] for line in self.lines if line.startswith("+")]

    @property
    def said(self) -> list[str]:
        """Everything else that it said."""
        return [line for line in self.lines if not line.startswith("+")]

    @property
    def stderr(self) -> str:
        """What it wrote there so far."""
        if not self._stderr.closed:
            self._stderr.seek(0)
            self._complaints = self._stderr.read().decode(errors="replace")
        return self._complaints

    def wait_for(self, text: str) -> None:
        """Until the child has said `text`."""
        self._wait_while_it_runs(lambda: text in self.lines, f"it never said {text!r}")

    def wait_for_acks(self, count: int) -> None:
        """Until so many records were accepted."""
        self._wait_while_it_runs(lambda: len(self.acked) >= count, f"never {count} records")

    def _wait_while_it_runs(self, condition: Callable[[], bool], problem: str) -> None:
        wait_until(lambda: condition() or self.process.poll() is not None, self.limit_s, problem)
        if not condition():
            self._reader.join(self.limit_s)  # it has ended, but perhaps not all is read
        self._check(condition(), problem)

    def _check(self, fine: bool, problem: str) -> None:
        assert fine, f"child {self.process.args}: {problem}\n{self.said[-5:]}\n{self.stderr}"

    def tell(self, text: str) -> None:
        """Send one line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def kill(self, signal_number: int = signal.SIGKILL) -> int:
        """Send the signal and wait for the end; the return code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal_number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end, and for all that was said; the return code."""
        try:
            code = self.process.wait(self.limit_s + 10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self._check(False, "it hangs beyond its own time limit")
            raise
        self._reader.join(self.limit_s)
        return code

    def finish(self, code: int = 0) -> list[str]:
        """Wait for an end with this return code; what it said."""
        found = self.wait()
        self._check(found == code, f"return code {found}, expected {code}")
        return self.said

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        cls: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self._complaints = self.stderr
        for pipe in (self.process.stdin, self.process.stdout, self._stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def together(children: Iterable[Child]) -> Iterator[list[Child]]:
    """Several children, whichever way the block ends."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(child) for child in children]


def run(name: str, *args: object, code: int = 0, **options: object) -> Child:
    """Run a child to its end."""
    with Child(name, *args, **options) as child:  # type: ignore[arg-type]
        child.finish(code)
        return child


def stored_messages(db: str) -> list[str]:
    """The messages in the database as it is, read by another library than ours: those of the tests,
    which begin with "m", and not what the recorder itself says about dropped records."""
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5000)
        connection.execute("BEGIN")  # one state of the file, whoever writes meanwhile
        rows = connection.execute(
            "SELECT message FROM logs WHERE message GLOB 'm*' ORDER BY seq"
        ).fetchall()
        found = connection.execute("SELECT rowid FROM logs_fts WHERE logs_fts MATCH '^m*'")
        assert len(found.fetchall()) == len(rows), "the index is out of step"
    finally:
        connection.close()
    return [message for (message,) in rows]


def recover(db: str) -> ax_monitor.RecorderStats:
    """Open the database as the next process would; its counters after that."""
    with ax_monitor.Store(db) as store:
        assert store.flush(), store.stats()
        return store.stats()


def check_ledger(db: str, acked: Collection[str], in_doubt: int = 0) -> None:
    """Every accepted record is there exactly once, and at most `in_doubt` others.

    In doubt is a record whose call was under way at the kill: one a thread.
    """
    counts = Counter(stored_messages(db))
    doubled = [message for message, count in counts.items() if count != 1]
    lost = set(acked) - set(counts)
    more = set(counts) - set(acked)
    assert not doubled, f"{len(doubled)} records twice, such as {doubled[:5]}"
    assert not lost, f"{len(lost)} of {len(acked)} records lost, such as {sorted(lost)[:5]}"
    assert len(more) <= in_doubt, f"{len(more)} records that nobody accepted: {sorted(more)[:5]}"


def check_samples(db: str, acked: Collection[str], in_doubt: int) -> None:
    """The same of the samples of the child `sample`: those of a thread are 0, 1, 2, …"""
    accepted = Counter(name.split("-")[0] for name in acked)
    with ax_monitor.MetricsCollector(db) as metrics:
        for thread, count in accepted.items():
            _, values = metrics.get_values("load", 0, 2**50, labels={"thread": thread})
            assert sorted(values) == list(range(len(values))), f"{thread}: lost or twice"
            assert len(values) >= count, f"{count - len(values)} samples of {thread} lost"
        more = metrics.get_metric_count() - len(acked)
    assert more <= in_doubt, f"{more} samples that nobody accepted"


def check_invariant(stats: ax_monitor.RecorderStats) -> None:
    """attempted = stored + dropped + in flight, exactly."""
    known = stats.stored + sum(stats.dropped.values()) + stats.in_flight
    assert stats.attempted == known, stats


@contextlib.contextmanager
def locked(db: str) -> Iterator[apsw.Connection]:
    """Hold the write lock of an existing database."""
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(5000)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()


def ring_paths(db: str) -> list[Path]:
    """The ring files beside a database."""
    return sorted(Path(db).parent.glob(f"{Path(db).name}-ring-*"))

"""What the tests of the command line share: real commands in processes of their own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ax_monitor
from ax_monitor.cli import monitor_main
from ax_monitor.storage import logs

T = TypeVar("T")
TIMEOUT_S = 30
COMMAND = (sys.executable, "-m", "ax_monitor")
SRC = Path(ax_monitor.__file__).parent.parent
# Whoever runs the tests may have set any of these.
_NOT_INHERITED = (
    *("AX_MONITOR_DB", "AX_MONITOR_CONFIG"),
    *("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES", "TZ"),
)

ENGINE = """
import sys, threading, time
import ax_monitor
with ax_monitor.Store(sys.argv[1]) as store:
    logger = ax_monitor.StructuredLogger(store, flush_interval_ms=20)
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    number = 0
    while not stopped.wait(0.001):
        number += 1
        logger.info(f"engine record {number}", "engine", metadata={"number": number})
        if number == 50:
            store.flush()
            print("writing", flush=True)
    store.flush()
    stats = store.stats()
    print(number, stats.flush_errors, sum(stats.dropped.values()), flush=True)
"""

DYING_ENGINE = """
import os, signal, sys
import ax_monitor
store = ax_monitor.Store(sys.argv[1])
logger = ax_monitor.StructuredLogger(store, buffer_size=100_000, flush_interval_ms=3_600_000)
logger.info("written", "engine")
store.flush()
for number in range(int(sys.argv[2])):
    logger.info(f"left behind {number}", "engine")
os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.split("\n")[:-1]

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def environment(**changes: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**inherited, "PYTHONPATH": str(SRC), "TZ": "UTC", **changes}


def run(*arguments: object, stdin: Any = None, cwd: Path | None = None, **env: str) -> Result:
    """Run a command to its end, on pipes. `stdin` is bytes, or an open file."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        **(
            {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin or subprocess.DEVNULL}
        ),
        capture_output=True,
        cwd=cwd,
        env=environment(**env),
        timeout=TIMEOUT_S,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_here(*arguments: object) -> Result:
    """Run a command in this process: to start another one takes longer than most commands."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = monitor_main([*map(str, arguments)])
    return Result(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def started(*arguments: object, **popen: Any) -> Iterator[subprocess.Popen[str]]:
    """A running command with pipes for all it says; it does not outlive the block."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **popen,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def run_on_terminal(*arguments: object, **env: str) -> tuple[int, str]:
    """Run a command with a pseudo-terminal for stdin, stdout and stderr; what it shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(**{"TERM": "xterm-256color", **env}),
        start_new_session=True,
    )
    os.close(slave)
    shown = bytearray()
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                part = os.read(master, 65_536)
            except OSError:  # Linux: the other side has been closed
                part = b""
            if not part:
                break
            shown += part
        code = process.wait(max(0.1, deadline - time.monotonic()))
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return code, shown.decode().replace("\r\n", "\n")


def run_on_terminal_here(*arguments: object, columns: int = 80, **env: str) -> tuple[int, str]:
    """As `run_here`, with a pseudo-terminal for stdout and stderr; every byte that it was sent."""
    master, slave = pty.openpty()
    modes = termios.tcgetattr(slave)
    modes[1] &= ~termios.OPOST  # line ends as they were written
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    shown = bytearray()

    def collect() -> None:
        with contextlib.suppress(OSError):  # Linux: the other side has been closed
            while part := os.read(master, 65_536):
                shown.extend(part)

    reader = threading.Thread(target=collect)
    reader.start()
    changes = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24", **env}
    try:
        with (
            open(slave, "w", encoding="utf-8") as stream,
            changed_environment(changes),
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            code = monitor_main([*map(str, arguments)])
    finally:
        reader.join(TIMEOUT_S)
        os.close(master)
    return code, shown.decode()


@contextlib.contextmanager
def changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """The environment of a command, for one that runs in this process."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(**changes))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Engine:
    """A process that writes a record a millisecond. `stop()` says (written, errors, dropped)."""

    process: subprocess.Popen[str]

    def stop(self) -> tuple[int, int, int]:
        out, _ = self.process.communicate("", timeout=TIMEOUT_S)
        written, errors, dropped = map(int, out.split()[-3:])
        return written, errors, dropped


@contextlib.contextmanager
def running_engine(db: str) -> Iterator[Engine]:
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE, db],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield Engine(process)
    finally:
        process.kill()
        process.communicate()


def die_with_records(db: str, count: int) -> None:
    """A process that is killed while so many of its records are in its ring only."""
    done = subprocess.run(
        [sys.executable, "-c", DYING_ENGINE, db, str(count)],
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def entries(db: str, **filters: Any) -> list[ax_monitor.LogEntry]:
    """What is stored, oldest first."""
    with ax_monitor.Store(db, read_only=True) as store:
        return store.read(logs.query_logs, ax_monitor.LogQuery(order="asc", limit=None, **filters))


def wait_for(found: Callable[[], T], what: str) -> T:
    """Ask until the answer is true; fail after a deadline."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def assert_one_line_error(result: Result, code: int) -> str:
    """The command failed with this code and said so in one line; what it said."""
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert result.err.endswith("\n")
    return result.err

"""`ax monitor logs --follow`, and readers that go away."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import ax_monitor
from tests.cli.helpers import (
    COMMAND,
    TIMEOUT_S,
    assert_one_line_error,
    environment,
    run,
    running_engine,
    started,
    wait_for,
)

pytestmark = pytest.mark.timeout(90)


@dataclass
class Follower:
    """A running `logs --follow`."""

    process: subprocess.Popen[str]

    def line(self) -> str:
        """The next line, waited for."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        line = b""
        deadline = time.monotonic() + TIMEOUT_S
        while not line.endswith(b"\n"):
            assert select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0], (
                "no line came"
            )
            byte = os.read(fd, 1)
            assert byte, "the command ended"
            line += byte
        return line.decode()

    def interrupt(self) -> tuple[int, str, str]:
        """Press Ctrl-C: exit code, the rest of the output, stderr."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out, err


@contextlib.contextmanager
def following(db: str, *arguments: str) -> Iterator[Follower]:
    with started("logs", "--follow", "--db", db, *arguments) as process:
        yield Follower(process)


def message_of(line: str) -> str:
    """Of a line of source "test" or "engine", without colours."""
    match = re.fullmatch(r"\S+ \S+ [A-Z]+ +(?:test|engine) (.*)\n", line)
    assert match, line
    return match[1]


@pytest.fixture
def logger(db: str) -> Any:
    with ax_monitor.Store(db) as store:
        yield ax_monitor.StructuredLogger(store)


def test_entries_arrive_one_by_one(db: str, logger: ax_monitor.StructuredLogger) -> None:
    """It begins with the newest --limit entries, shows each new one at once, and ends with 130."""
    for number in range(5):
        logger.info(f"early {number}", "test")
    logger.flush()
    with following(db, "--limit", "2") as follower:
        assert [message_of(follower.line()) for _ in range(2)] == ["early 3", "early 4"]
        for number in range(3):
            logger.info(f"late {number}", "test")
            logger.flush()
            assert message_of(follower.line()) == f"late {number}"
        code, rest, error = follower.interrupt()
    assert (code, rest, error.strip()) == (130, "", "")


def test_filters_hold_while_following(db: str, logger: ax_monitor.StructuredLogger) -> None:
    """Only what matches is shown, also of what comes later, and --json prints objects."""
    logger.warn("old timeout", "net")
    logger.flush()
    with following(db, "timeout", "--level", "warn", "--source", "net", "--json") as follower:
        assert '"old timeout"' in follower.line()
        logger.info("timeout too harmless", "net")
        logger.warn("timeout elsewhere", "web")
        logger.warn("something else", "net")
        logger.warn("new timeout", "net")
        logger.flush()
        assert '"new timeout"' in follower.line()
        assert follower.interrupt()[0] == 130


def test_following_another_process(db: str) -> None:
    """Entries of an engine arrive in its order, none missing, while it writes."""
    with running_engine(db) as engine, following(db, "--limit", "1") as follower:
        first = int(message_of(follower.line()).split()[2])
        for number in range(first + 1, first + 300):
            assert message_of(follower.line()).startswith(f"engine record {number} ")
        assert follower.interrupt()[0] == 130
        assert engine.stop()[1:] == (0, 0)


def test_the_beginning_has_neither_gap_nor_disorder(db: str) -> None:
    """What arrives while the first entries are looked up is shown after them, in order."""
    with running_engine(db):
        for _ in range(4):
            with following(db, "--json", "--limit", "1") as follower:
                numbers = [json.loads(follower.line())["metadata"]["number"] for _ in range(100)]
            assert numbers == list(range(numbers[0], numbers[0] + 100))


def test_a_wrong_search_ends_it_at_once(db: str, logger: ax_monitor.StructuredLogger) -> None:
    """--follow with a bad search fails like any query."""
    logger.info("x", "test")
    logger.flush()
    assert run("logs", "--follow", "--db", db, "(").code == 1


def test_interrupted_while_nothing_happens(db: str, logger: ax_monitor.StructuredLogger) -> None:
    """Ctrl-C ends a follower that waits, without a traceback, as often as it is pressed."""
    logger.info("hello", "test")
    logger.flush()
    with following(db) as follower:
        follower.line()
        follower.process.send_signal(signal.SIGINT)
        code, _, error = follower.interrupt()
    assert code == 130
    assert "Traceback" not in error


@pytest.mark.parametrize("gap_s", [0, 0.0005])
def test_interrupted_twice_at_any_time(db: str, gap_s: float) -> None:
    """As `timeout -s INT` does, while it starts or shows much: it ends, and says nothing."""
    fill(db, 3000)
    for delay_s in (0.1, 0.2, 0.4, 0.8):
        with started("logs", "--follow", "--limit", "3000", "--db", db) as process:
            assert process.stdout is not None
            reader = threading.Thread(target=process.stdout.read)
            reader.start()
            time.sleep(delay_s)
            process.send_signal(signal.SIGINT)
            time.sleep(gap_s)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            code = process.wait(TIMEOUT_S)
            reader.join()
            assert process.stderr is not None
            error = process.stderr.read()
            # Before our first line of code has run, it is the interpreter that is interrupted.
            assert (code in (130, -signal.SIGINT) and not error) or "ax_monitor/cli" not in error


def fill(db: str, count: int) -> None:
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        for number in range(count):
            logger.info(f"number {number} {'x' * 100}", "test")
        assert store.flush()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_has_seen_enough(db: str, form: tuple[str, ...]) -> None:
    """A pipe whose reader goes away ends the command quietly, with exit code 0."""
    fill(db, 20_000)
    with started("logs", "--db", db, "--limit", "20000", *form) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT_S) == 0


def test_a_follower_whose_reader_goes_away(db: str, logger: ax_monitor.StructuredLogger) -> None:
    """`logs --follow | head -1` ends with the next entry, quietly."""
    logger.info("first", "test")
    logger.flush()
    with following(db) as follower:
        follower.line()
        process = follower.process
        assert process.stdout is not None
        process.stdout.close()

        def ended() -> bool:
            logger.info("more", "test")
            logger.flush()
            return process.poll() is not None

        wait_for(ended, "the end of the follower")
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("count", [1, 5000])
def test_output_that_cannot_be_written(db: str, count: int) -> None:
    """A full disk under the output is an error of one line, not a silent success."""
    fill(db, count)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "logs", "--db", db, "--limit", "all"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


def test_no_output_at_all(db: str) -> None:
    """With stdout closed there is nobody to tell, and nothing fails."""
    fill(db, 10)
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "logs", "--db", db],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_database_is_not_waited_for(db: str) -> None:
    """Following a database that is not there is the same error as reading it."""
    assert_one_line_error(run("logs", "-f", "--db", db), 1)

"""`tail()`: following the log, from this process and from others."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ax_monitor import LogEntry, LogQuery, LogQueryError, Store, StructuredLogger
from ax_monitor.pipeline.follow import follow_logs
from tests.conftest import FakeClock
from tests.log_helpers import wait_for

pytestmark = pytest.mark.timeout(30)


def take(entries: Iterator[LogEntry], count: int) -> list[str]:
    return [entry.message for entry in itertools.islice(entries, count)]


def test_tail_shows_what_arrives_after_the_call(logger: StructuredLogger) -> None:
    """Not what was there before, and everything that came after the call, once."""
    logger.info("before", "test")
    tail = logger.tail(poll_ms=1)
    for number in range(3):
        logger.info(f"{number}", "test")
    assert take(tail, 3) == ["0", "1", "2"]
    logger.info("3", "test")
    assert take(tail, 1) == ["3"]


def test_tail_begins_with_the_last_entries(logger: StructuredLogger) -> None:
    """`last=2` shows the two newest first, oldest of them leading, and loses nothing in between."""
    for number in range(5):
        logger.info(f"{number}", "test")
    tail = logger.tail(last=2, poll_ms=1)
    assert take(tail, 1) == ["3"]
    logger.info("5", "test")  # while the first entries are being shown
    assert take(tail, 2) == ["4", "5"]


def test_tail_filters_as_queries_do(logger: StructuredLogger) -> None:
    """Level, source, search and metadata apply, also to the first entries; paging does not."""

    def log() -> None:
        for level, source, text in (
            ("info", "a", "timeout"), ("error", "b", "timeout"), ("error", "a", "done"),
            ("error", "a", "a timeout"),
        ):  # fmt: skip
            getattr(logger, level)(text, source, metadata={"k": 1})

    log()
    tail = logger.tail(
        last=10, poll_ms=1, min_level="error", source="a", search="timeout", metadata={"k": 1}
    )
    log()
    assert take(tail, 2) == ["a timeout", "a timeout"]
    for name in ("limit", "offset", "cursor", "order"):
        with pytest.raises(TypeError, match=name):
            logger.tail(**{name: 1})
    with pytest.raises(TypeError, match="unknown log filter"):
        logger.tail(tenant="x")
    wrong: list[dict[str, Any]] = [
        {"last": -1},
        {"level": "loud"},
        {"poll_ms": 0},
        {"poll_ms": 0.5},
    ]
    for query in wrong:
        with pytest.raises(ValueError):  # noqa: PT011 (each names another argument)
            logger.tail(**query)
    with pytest.raises(LogQueryError):
        logger.tail(search="(")


def test_tail_follows_other_processes(db: str) -> None:
    """Entries of a process that starts later arrive, in the order in which it made them."""
    code = textwrap.dedent("""
        import sys, ax_monitor
        with ax_monitor.open(sys.argv[1]) as monitor:
            for number in range(50):
                monitor.logger.info(f"child {number}", "child")
    """)
    with Store(db) as store:
        logger = StructuredLogger(store)
        tail = logger.tail(poll_ms=5)
        subprocess.run([sys.executable, "-c", code, db], check=True, timeout=20)
        assert take(tail, 50) == [f"child {number}" for number in range(50)]


def test_tail_of_a_reader_follows_a_writer(db: str) -> None:
    """A store that was opened read-only can follow what another one writes."""
    with Store(db) as store, Store(db, read_only=True) as reader:
        logger = StructuredLogger(store)
        tail = follow_logs(reader, LogQuery(), last=0, poll_s=0.001)
        for number in range(3):
            logger.info(f"{number}", "test")
            logger.flush()
            assert take(tail, 1) == [f"{number}"]


def test_a_slow_follower_misses_nothing(db: str) -> None:
    """Entries made while the follower was busy for an hour are shown when it comes back."""
    clock = FakeClock()
    with Store(db, clock=clock) as store:
        logger = StructuredLogger(store)

        def log(text: str) -> None:
            logger.log_at(9, text, "test", timestamp_ns=clock.time_ms() * 1_000_000)

        tail = logger.tail(poll_ms=1)
        log("first")
        assert take(tail, 1) == ["first"]
        for minute in range(60):
            log(f"minute {minute}")
            clock.advance(60)
        log("last")
        assert take(tail, 61) == [*(f"minute {minute}" for minute in range(60)), "last"]


def test_late_entries_are_shown_once(db: str) -> None:
    """An entry that reaches the file up to a minute after it was made is still shown, once."""
    clock = FakeClock()
    with Store(db, clock=clock) as store:
        logger = StructuredLogger(store)
        tail = logger.tail(poll_ms=1)
        for late_ms in (0, 59_000, 100, 30_000):
            when = clock.time_ms() - late_ms
            logger.log_at(9, f"{late_ms}", "test", timestamp_ns=when * 1_000_000)
            assert take(tail, 1) == [f"{late_ms}"]
        logger.info("end", "test")  # by the real clock, which is later
        assert take(tail, 1) == ["end"]


def test_start_time_holds_while_following(db: str) -> None:
    """`start_time` in the future keeps earlier entries out although the tail looks back."""
    clock = FakeClock()
    with Store(db, clock=clock) as store:
        logger = StructuredLogger(store)
        tail = logger.tail(poll_ms=1, start_time=clock.time_ms() + 1000)
        for after_ms in (0, 999, 1000, 5000):
            when = clock.time_ms() + after_ms
            logger.log_at(9, f"{after_ms}", "test", timestamp_ns=when * 1_000_000)
        assert take(tail, 2) == ["1000", "5000"]


def test_tail_ends_when_the_store_is_closed(db: str) -> None:
    """A follower that waits for more finishes by itself, without an error."""
    store = Store(db)
    logger = StructuredLogger(store)
    seen: list[str] = []
    failed: list[BaseException] = []
    tail = logger.tail(poll_ms=1)

    def follow() -> None:
        try:
            for entry in tail:
                seen.append(entry.message)  # noqa: PERF401 (one by one, as they come)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    logger.info("one", "test")
    wait_for(lambda: seen, "the follower")
    store.close()
    thread.join(10)
    assert not thread.is_alive()
    assert failed == []


def test_several_followers_see_everything_each(logger: StructuredLogger) -> None:
    """Followers share nothing: each sees every entry, while eight threads write."""
    tails = [logger.tail(poll_ms=1) for _ in range(3)]

    def write(name: int) -> None:
        for number in range(50):
            logger.info(f"{name} {number}", "test")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    seen = [take(tail, 400) for tail in tails]
    for thread in threads:
        thread.join()
    for messages in seen:
        assert len(set(messages)) == 400

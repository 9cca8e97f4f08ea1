"""The logger's events: `log`, `flush_error`, `log.dropped`."""

from __future__ import annotations

import threading
import time
from typing import Any

import apsw
import pytest

from ax_monitor import LogEntry, StorageError, Store, StructuredLogger, use_context
from tests.log_helpers import wait_for


class Locked:
    """A database that another program holds locked for the length of a `with` block."""

    def __init__(self, path: str) -> None:
        self.connection = apsw.Connection(path)

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *exc_info: object) -> None:
        self.connection.execute("ROLLBACK")
        self.connection.close()


def test_log_event_carries_the_entry_that_is_stored(logger: StructuredLogger) -> None:
    """The payload is the LogEntry as a query returns it, except for its position in the file."""
    heard: list[LogEntry] = []
    assert logger.on("log", heard.append) == heard.append
    with use_context(execution_id="run", tenant_id="acme"):
        logger.info("plain", "test", metadata={"a": [1, 2.5, None], "b": {"c": True}})
        logger.error("odd \ud800 \0", "test", error=ValueError("x"), metadata={"n": float("nan")})
    logger.bind(source="bound", span_id="f" * 16).debug("third", metadata={"password": "x"})
    logger.flush()
    stored = logger.query_logs(order="asc")
    assert len(stored) == 3
    assert [e.to_dict() | {"seq": 0} for e in stored] == [e.to_dict() for e in heard]


def test_log_event_comes_for_enabled_levels_only(logger: StructuredLogger) -> None:
    """A call below the level is no event."""
    heard: list[LogEntry] = []
    logger.on("log", heard.append)
    logger.set_min_level("warn")
    logger.info("no", "test")
    logger.warn("yes", "test")
    logger.flush()
    assert [entry.message for entry in heard] == ["yes"]


def test_off_ends_the_events(logger: StructuredLogger) -> None:
    """After `off` nothing arrives; `off` of what is not listening says so."""
    heard: list[LogEntry] = []
    logger.on("log", heard.append)
    logger.info("one", "test")
    logger.flush()
    assert logger.off("log", heard.append) is True
    assert logger.off("log", heard.append) is False
    assert logger.off("no such event", heard.append) is False
    logger.info("two", "test")
    logger.flush()
    assert [entry.message for entry in heard] == ["one"]


@pytest.mark.timeout(30)
def test_a_listener_that_raises_sleeps_or_logs_does_no_harm(
    logger: StructuredLogger, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller is not delayed, other listeners hear all, what listeners log does not recurse."""
    heard: list[str] = []
    release = threading.Event()

    def slow(entry: LogEntry) -> None:
        release.wait(10)

    def broken(entry: LogEntry) -> None:
        raise RuntimeError("broken listener")

    def logs_itself(entry: LogEntry) -> None:
        logger.info("from the listener", "listener")

    for listener in (slow, broken, logs_itself, lambda entry: heard.append(entry.message)):
        logger.on("log", listener)
    started = time.monotonic()
    for number in range(100):
        logger.info(f"{number}", "test")
    assert time.monotonic() - started < 2
    release.set()
    logger.flush()
    assert heard == [str(number) for number in range(100)]
    assert logger.get_log_count() == 200
    stats = store.stats()
    assert stats.listener_errors == 100
    assert capsys.readouterr().err.count("broken listener") == 1


@pytest.mark.timeout(30)
def test_flush_error_tells_error_and_pending_and_nothing_is_lost(
    db: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """While the file is locked: an event with {error, pending}; afterwards all is there."""
    heard: list[dict[str, Any]] = []
    with Store(db) as store:
        logger = StructuredLogger(store)
        logger.flush()
        logger.on("flush_error", heard.append)
        with Locked(db):
            for number in range(7):
                logger.error(f"{number}", "test")
            wait_for(lambda: heard, "the event")
        assert set(heard[0]) == {"error", "pending"}
        assert isinstance(heard[0]["error"], StorageError)
        assert heard[0]["error"].retryable
        assert 1 <= heard[0]["pending"] <= 7
        assert wait_for(logger.flush, "the flush")
        assert [e.message for e in logger.query_logs(order="asc")] == list("0123456")
        stats = store.stats()
        assert (stats.attempted, stats.stored, stats.dropped) == (7, 7, {})
        assert stats.flush_errors >= 1
        assert stats.last_error is None
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("ax-monitor:")]
    assert len(lines) == 1  # one rate-limited line, however often it was tried


@pytest.mark.timeout(60)
@pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
def test_o1_drops_are_counted_and_reported(
    db: str, policy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A full ring: the event `log.dropped`, a warn record, and counters that add up."""
    heard: list[dict[str, int]] = []
    text = "x" * 10_000
    with Store(db, ring_bytes=3 * 1024 * 1024, overflow_wait_ms=20) as store:
        logger = StructuredLogger(store, overflow=policy, flush_interval_ms=100)
        logger.flush()
        logger.on("log.dropped", heard.append)
        with Locked(db):
            started = time.monotonic()
            for number in range(1000):
                logger.info(text, "test", metadata={"n": number})
            assert time.monotonic() - started < 5
        assert wait_for(logger.flush, "the flush")
        wait_for(lambda: heard, "the event")
        report = wait_for(lambda: logger.query_logs(source="ax-monitor"), "the warning")[0]
        assert report.level == "warn"
        assert "dropped" in report.message
        reason = "oldest" if policy == "drop_oldest" else "overflow"
        dropped = sum(event["new"] for event in heard)
        assert dropped == heard[-1][reason] > 100
        kept = [
            e.metadata["n"]
            for e in logger.query_logs(source="test", limit=None, order="asc")
            if e.metadata
        ]
        assert len(kept) == 1000 - dropped
        assert kept == sorted(kept)
        assert (0 in kept) == (policy != "drop_oldest")
        assert (999 in kept) == (policy == "drop_oldest")
        stats = store.stats()
        assert stats.dropped == {reason: dropped}
        assert stats.attempted == stats.stored + sum(stats.dropped.values()) + stats.in_flight
    capfd.readouterr()

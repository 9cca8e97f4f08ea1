"""`AxHandler`: the standard `logging` module's records."""

from __future__ import annotations

import logging
import logging.config
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import ax_monitor
from ax_monitor import LogEntry, Store, StructuredLogger, use_context
from ax_monitor.logging_handler import AxHandler
from tests.log_helpers import wait_for

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def handler(store: Store) -> AxHandler:
    return AxHandler(store)


@pytest.fixture
def log(handler: AxHandler) -> Iterator[logging.Logger]:
    """A logger with this handler only: not in the tree, so that pytest's own handlers stay out."""
    logger = logging.Logger("test.handler", level=1)
    logger.addHandler(handler)
    yield logger
    handler.close()


def entries(handler: AxHandler) -> list[LogEntry]:
    return handler.logger.query_logs(order="asc", limit=None)


def test_a_record_arrives_with_source_message_and_time(
    log: logging.Logger, handler: AxHandler
) -> None:
    """Logger name, formatted message, level and the time of the call."""
    before = time.time_ns() // 1_000_000
    log.warning("invoice %d is %s", 7, "late")
    (entry,) = entries(handler)
    assert (entry.source, entry.message, entry.level) == (
        "test.handler",
        "invoice 7 is late",
        "warn",
    )
    assert before <= entry.timestamp <= time.time_ns() // 1_000_000
    assert entry.metadata is not None
    assert entry.metadata["function"] == "test_a_record_arrives_with_source_message_and_time"
    assert entry.metadata["module"] == "test_logging_handler"
    assert isinstance(entry.metadata["line"], int)
    assert set(entry.metadata) <= {"function", "module", "line", "task"}


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (1, "debug"),
        (10, "debug"),
        (15, "debug"),
        (19, "debug"),
        (20, "info"),
        (25, "info"),
        (29, "info"),
        (30, "warn"),
        (35, "warn"),
        (40, "error"),
        (45, "error"),
        (50, "fatal"),
        (60, "fatal"),
        (10**9, "fatal"),
    ],
)
def test_levels_map_by_range(
    log: logging.Logger, handler: AxHandler, number: int, level: str
) -> None:
    """A custom level becomes the gravest of ours that is not above it; its name is kept."""
    log.log(number, "x")
    (entry,) = entries(handler)
    assert entry.level == level
    assert entry.metadata is not None
    assert ("level" in entry.metadata) == (number not in (10, 20, 30, 40, 50))
    if number == 25:
        assert entry.metadata["level"] == "Level 25"


def test_the_time_is_that_of_the_record(handler: AxHandler) -> None:
    """A record that was made earlier, or elsewhere, keeps its `created`."""
    record = logging.makeLogRecord(
        {"name": "x", "msg": "y", "levelno": 20, "created": 1234567890.125}
    )
    handler.handle(record)
    assert entries(handler)[0].timestamp == 1_234_567_890_125


def test_exceptions_and_stacks_become_the_stack_trace(
    log: logging.Logger, handler: AxHandler
) -> None:
    """`exc_info`, a text formatted by another handler, and `stack_info`, alone and together."""
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        log.exception("caught")
        log.error("both", exc_info=error, stack_info=True)
    log.info("stack", stack_info=True)
    log.info("neither", exc_info=None)
    log.exception("nothing handled")
    handler.handle(
        logging.makeLogRecord({"name": "x", "msg": "y", "levelno": 40, "exc_text": "text"})
    )
    caught, both, stack, neither, nothing, text = (entry.stack_trace for entry in entries(handler))
    assert caught is not None
    assert caught.startswith("Traceback")
    assert caught.endswith("ZeroDivisionError: division by zero")
    assert both is not None
    assert both.startswith("Traceback")
    assert "Stack (most recent call last)" in both
    assert stack is not None
    assert stack.startswith("Stack (most recent call last)")
    assert (neither, nothing, text) == (None, None, "text")


def test_a_formatter_is_asked_for_tracebacks_only(log: logging.Logger, handler: AxHandler) -> None:
    """The message stays bare; how exceptions look is the formatter's affair."""

    class Short(logging.Formatter):
        def formatException(self, ei: Any) -> str:
            return f"short {ei[1]!r}"

    handler.setFormatter(Short("%(asctime)s %(message)s"))
    log.error("bare", exc_info=ValueError("x"))
    (entry,) = entries(handler)
    assert (entry.message, entry.stack_trace) == ("bare", "short ValueError('x')")


def test_extra_fills_the_ids_and_the_rest_is_metadata(
    log: logging.Logger, handler: AxHandler
) -> None:
    """The five ids go to their columns, everything else into the metadata, odd values converted."""
    extra = {
        "execution_id": "run",
        "trace_id": "f" * 32,
        "span_id": "b7ad6b7169203331",
        "tenant_id": "acme",
        "user_id": 42,
        "amount": 9.5,
        "path": Path("/x"),
        "line": "own",
    }
    log.info("x", extra=extra)
    (entry,) = entries(handler)
    assert (entry.execution_id, entry.trace_id, entry.span_id) == (
        "run",
        "f" * 32,
        "b7ad6b7169203331",
    )
    assert (entry.tenant_id, entry.user_id) == ("acme", "42")
    assert entry.metadata is not None
    assert entry.metadata["amount"] == 9.5
    assert entry.metadata["path"] == "/x"
    assert entry.metadata["line"] == "own"
    assert not set(entry.metadata) & {"execution_id", "args", "msg", "levelno", "taskName"}


def test_missing_ids_come_from_the_context(log: logging.Logger, handler: AxHandler) -> None:
    """As for any other record; what `extra` gives wins."""
    with use_context(execution_id="run", tenant_id="context"):
        log.info("x", extra={"tenant_id": "own"})
    (entry,) = entries(handler)
    assert (entry.execution_id, entry.tenant_id) == ("run", "own")


def test_location_can_be_left_out_and_threads_are_named(store: Store) -> None:
    """`location=False` stores no place; else a thread other than the main one is named."""
    for location, expected in ((True, "worker"), (False, None)):
        handler = AxHandler(store, location=location)
        log = logging.Logger("threads")
        log.addHandler(handler)
        thread = threading.Thread(target=log.info, args=("x",), name="worker")
        thread.start()
        thread.join()
        newest = handler.logger.get_recent_logs(1)[0].metadata
        assert (newest or {}).get("thread") == expected
        assert ("line" in (newest or {})) == location
        handler.close()


def test_both_levels_count(store: Store) -> None:
    """The handler's level, and the min_level of a logger that was passed; with a store only one."""
    own = StructuredLogger(store, min_level="error")
    for target, expected in ((store, ["info", "warning", "error"]), (own, ["error"])):
        handler = AxHandler(target, level="INFO")
        log = logging.Logger("levels", level=1)
        log.addHandler(handler)
        count = handler.logger.get_log_count()
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)(level)
        assert [entry.message for entry in entries(handler)[count:]] == expected
        handler.close()
    assert not store.closed


def test_dict_config_makes_it_by_class_path(tmp_path: Path) -> None:
    """`logging.config.dictConfig` with `store` and `level`; shutdown writes and closes."""
    path = tmp_path / "monitor.db"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {
                "ax": {
                    "class": "ax_monitor.logging_handler.AxHandler",
                    "store": str(path),
                    "level": "INFO",
                    "formatter": "plain",
                    "location": False,
                },
            },
            "loggers": {"test.config": {"handlers": ["ax"], "level": "DEBUG", "propagate": False}},
        }
    )
    log = logging.getLogger("test.config")
    handler = log.handlers[0]
    assert isinstance(handler, AxHandler)
    log.debug("no")
    log.info("yes")
    log.removeHandler(handler)
    handler.flush()
    handler.close()
    handler.close()
    assert handler.logger._store.closed
    with ax_monitor.open(path) as monitor:
        assert [entry.message for entry in monitor.logger.get_recent_logs()] == ["yes"]
    with pytest.raises(ValueError, match="ax"):
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {
                    "ax": {
                        "class": "ax_monitor.logging_handler.AxHandler",
                        "store": str(tmp_path / "no" / "folder.db"),
                    }
                },
            }
        )


def test_it_never_raises(
    log: logging.Logger, handler: AxHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments and broken records are reported as `logging` reports them, or not at all."""
    record = logging.makeLogRecord(
        {"name": "x", "msg": "y", "levelno": 20, "created": float("nan")}
    )
    broken: list[Callable[[], None]] = [
        lambda: log.info("%d", "no number"),
        lambda: handler.handle(record),
    ]
    before = logging.raiseExceptions
    try:
        for raise_exceptions in (True, False):
            logging.raiseExceptions = raise_exceptions
            for call in broken:
                call()
                assert ("--- Logging error ---" in capsys.readouterr().err) == raise_exceptions
    finally:
        logging.raiseExceptions = before
    log.info("still works", extra={"odd": {1: object(), "x": float("inf")}, "bad\ud800": 1})
    assert [entry.message for entry in entries(handler)] == ["still works"]


def test_a_message_that_logs_while_it_is_formatted_is_stored_too(
    log: logging.Logger, handler: AxHandler
) -> None:
    """A `__str__` that logs: both records are there, the inner one first."""

    class Chatty:
        def __str__(self) -> str:
            log.info("inner")
            return "outer"

    log.info(Chatty())
    assert sorted(entry.message for entry in entries(handler)) == ["inner", "outer"]


def test_o3_a_redaction_hook_that_logs_does_not_recurse(db: str) -> None:
    """What the hook logs while a record is being stored is counted, and the record is stored."""
    log = logging.Logger("hook")

    def redact(message: str, metadata: Any) -> tuple[str, Any]:
        log.info("from the hook")
        return message, metadata

    with Store(db, redact=redact) as store:
        handler = AxHandler(store)
        log.addHandler(handler)
        log.info("one")
        log.info("two")
        assert [entry.message for entry in entries(handler)] == ["one", "two"]
        assert handler.nested == 2


def test_o3_a_root_handler_on_a_failing_database_does_not_recurse(
    db: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Database locked, listeners that log, everything through the root logger: all stored once."""
    root = logging.getLogger()
    level = root.level
    with Store(db, ring_bytes=3 * 1024 * 1024, overflow_wait_ms=20) as store:
        handler = AxHandler(store)
        handler.logger.flush()
        for event in ("flush_error", "log.dropped", "log"):
            store.events.on(event, lambda _: logging.getLogger("listener").warning("heard"))
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        blocker = apsw.Connection(db)
        blocker.execute("BEGIN IMMEDIATE")
        try:
            for number in range(50):
                logging.getLogger("app").error("%d", number)
            wait_for(lambda: store.stats().flush_errors >= 1, "a failed attempt")
        finally:
            blocker.execute("ROLLBACK")
            blocker.close()
            root.removeHandler(handler)
            root.setLevel(level)
        wait_for(store.flush, "the flush")
        texts = [e.message for e in handler.logger.query_logs(source="app", order="asc")]
        assert texts == [str(number) for number in range(50)]
        assert len(handler.logger.query_logs(source="listener", limit=None)) <= 51 + 10
        stats = store.stats()
        assert stats.attempted == stats.stored + sum(stats.dropped.values()) + stats.in_flight
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("ax-monitor:")]
    assert len(lines) <= 1


def test_records_made_at_exit_are_stored(db: str) -> None:
    """A program that only configures logging and ends loses nothing, atexit functions included."""
    code = textwrap.dedent("""
        import atexit, logging, sys
        atexit.register(lambda: logging.getLogger("late").info("atexit"))
        from ax_monitor.logging_handler import AxHandler
        logging.basicConfig(level="DEBUG", handlers=[AxHandler(sys.argv[1])])
        for number in range(100):
            logging.info("%d", number)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, db], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stderr == ""
    with ax_monitor.open(db) as monitor:
        found = [entry.message for entry in monitor.logger.query_logs(limit=None, order="asc")]
        assert found == [*(str(number) for number in range(100)), "atexit"]
        assert monitor.store.stats().recovered == 0

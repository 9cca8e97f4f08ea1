"""Recording: levels, context, buffering, and that a log call never breaks the program."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import re
import threading
import time
import uuid
from collections import UserDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

import ax_monitor
from ax_monitor import LogLevel, Store, StructuredLogger, use_context
from tests.log_helpers import LEVELS, wait_for

IDS = ("execution_id", "trace_id", "span_id", "tenant_id", "user_id")
TRACE = "0af7651916cd43dd8448eb211c80319c"


def stored_count(path: str) -> int:
    """What another program sees, without any barrier."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("SELECT count(*) FROM log_records").fetchall()[0][0])
    finally:
        connection.close()


def test_defaults_are_those_of_the_contract() -> None:
    """Store optional, then keyword-only options: 50 records, level info, 5000 ms, block."""
    parameters = inspect.signature(StructuredLogger).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "store": None,
        "buffer_size": 50,
        "min_level": "info",
        "flush_interval_ms": 5000,
        "overflow": "block",
    }
    kinds = [parameter.kind for parameter in parameters.values()]
    assert kinds[1:] == [inspect.Parameter.KEYWORD_ONLY] * 4


@pytest.mark.parametrize(
    ("method", "level"),
    [(level, level) for level in LEVELS]
    + [("warning", "warn"), ("critical", "fatal"), ("exception", "error")],
)
def test_each_method_records_its_level_with_every_field(
    logger: StructuredLogger, method: str, level: str
) -> None:
    """All five levels and the aliases store message, source, the five ids and metadata as given."""
    ids = dict(zip(IDS, ("run-1", TRACE, "b7ad6b7169203331", "acme", "alice"), strict=True))
    before = time.time_ns() // 1_000_000
    getattr(logger, method)("Invoice sent", "billing", metadata={"n": 1, "ok": True}, **ids)
    after = time.time_ns() // 1_000_000
    (entry,) = logger.get_recent_logs()
    assert (entry.level, entry.message, entry.source) == (level, "Invoice sent", "billing")
    assert {name: getattr(entry, name) for name in IDS} == ids
    assert entry.metadata == {"n": 1, "ok": True}
    assert before <= entry.timestamp <= after
    assert entry.stack_trace is None
    assert uuid.UUID(entry.id).version == 7
    assert entry.id == str(uuid.UUID(entry.id))


def test_ids_are_unique_and_ordered_like_the_records(logger: StructuredLogger) -> None:
    """Ids sort as the records do, and carry the time in their first 48 bits."""
    for _ in range(2000):
        logger.info("x", "test")
    entries = logger.query_logs(limit=None, order="asc")
    assert len({entry.id for entry in entries}) == 2000
    assert all(a.id < b.id and a.seq < b.seq for a, b in pairwise(entries))
    assert all(int(entry.id.replace("-", "")[:12], 16) == entry.timestamp for entry in entries)


@pytest.mark.parametrize("min_level", LEVELS)
def test_a_call_below_min_level_records_nothing(logger: StructuredLogger, min_level: str) -> None:
    """debug < info < warn < error < fatal, and only levels from `min_level` on are recorded."""
    logger.set_min_level(min_level)
    assert logger.get_min_level() is LogLevel(min_level)
    for level in LEVELS:
        getattr(logger, level)(level, "test")
    kept = LEVELS[LEVELS.index(min_level) :]
    assert [entry.message for entry in logger.query_logs(order="asc")] == list(kept)


def test_levels_are_accepted_in_every_spelling(store: Store) -> None:
    """A level is a LogLevel or its string, "warning" and "critical" included; else ValueError."""
    assert StructuredLogger(store).get_min_level() is LogLevel.INFO
    assert StructuredLogger(store, min_level="warning").get_min_level() is LogLevel.WARN
    logger = StructuredLogger(store, min_level=LogLevel.DEBUG)
    logger.set_min_level("critical")
    assert logger.get_min_level() is LogLevel.FATAL
    with pytest.raises(ValueError, match="debug, info, warn, error, fatal"):
        logger.set_min_level("loud")
    with pytest.raises(ValueError, match="debug, info, warn, error, fatal"):
        StructuredLogger(store, min_level="loud")


def test_a_call_below_the_level_does_not_look_at_its_arguments(store: Store) -> None:
    """Nothing of a disabled call is converted, so it costs next to nothing."""

    class Explosive:
        def __str__(self) -> str:
            raise AssertionError("converted")

    logger = StructuredLogger(store, min_level="error")
    logger.info(Explosive(), "test", metadata={"x": Explosive()})
    logger.debug("no source at this level is no error")
    assert store.stats().attempted == 0


def test_missing_ids_come_from_the_context(logger: StructuredLogger) -> None:
    """Each id that a call does not give is filled from the context, one by one."""
    context = dict(zip(IDS, ("run", TRACE, "b7ad6b7169203331", "tenant", "user"), strict=True))
    with use_context(**context):
        logger.info("all", "test")
        for name in IDS:
            if name not in ("trace_id", "span_id"):
                others = {other: "own" for other in IDS if other != name}
                logger.info(name, "test", **others)
        logger.info("other trace", "test", trace_id="f" * 32)
        logger.info("same trace", "test", trace_id=TRACE)
    logger.info("outside", "test")
    entries = {entry.message: entry for entry in logger.get_recent_logs()}
    assert {name: getattr(entries["all"], name) for name in IDS} == context
    for name in ("execution_id", "tenant_id", "user_id"):
        assert getattr(entries[name], name) == context[name]
        assert all(getattr(entries[name], other) == "own" for other in IDS if other != name)
    assert entries["other trace"].span_id is None  # the span is that of another trace
    assert entries["same trace"].span_id == context["span_id"]
    assert all(getattr(entries["outside"], name) is None for name in IDS)


def test_contexts_nest_and_a_new_trace_begins_without_a_span(logger: StructuredLogger) -> None:
    """The inner context adds to the outer one; leaving it, also by an error, restores the outer."""
    with use_context(execution_id="run", trace_id="a" * 32, span_id="b" * 16, tenant_id="t"):
        with contextlib.suppress(RuntimeError), use_context(trace_id="c" * 32, user_id="u"):
            logger.info("inner", "test")
            raise RuntimeError
        logger.info("outer", "test")
    inner, outer = logger.query_logs(order="asc")
    assert [getattr(inner, name) for name in IDS] == ["run", "c" * 32, None, "t", "u"]
    assert [getattr(outer, name) for name in IDS] == ["run", "a" * 32, "b" * 16, "t", None]


def test_context_follows_await_tasks_and_copied_contexts(logger: StructuredLogger) -> None:
    """Concurrent tasks keep their own ids across await; a thread has them by a copied context."""

    async def work(name: str) -> None:
        with use_context(execution_id=name):
            await asyncio.sleep(0)
            logger.info("task", "test")
            await asyncio.to_thread(logger.info, "to_thread", "test")
            await asyncio.create_task(child())

    async def child() -> None:
        logger.info("child", "test")

    async def main() -> None:
        await asyncio.gather(*(work(f"run-{n}") for n in range(5)))

    asyncio.run(main())
    with use_context(execution_id="copied"):
        context = contextvars.copy_context()
        for run in (
            lambda: context.run(logger.info, "copied", "test"),
            lambda: logger.info("bare", "test"),
        ):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    for n in range(5):
        messages = [entry.message for entry in logger.get_execution_logs(f"run-{n}")]
        assert messages == ["task", "to_thread", "child"]
    assert [entry.message for entry in logger.get_execution_logs("copied")] == ["copied"]
    assert logger.query_logs(search="bare")[0].execution_id is None


def test_bind_presets_context_source_and_metadata(logger: StructuredLogger) -> None:
    """A bound logger adds its presets; the call's own values win, and the parent is unchanged."""
    bound = logger.bind(source="billing", tenant_id="acme", metadata={"a": 1, "b": 1})
    inner = bound.bind(user_id="alice", metadata={"b": 2})
    inner.info("preset")
    inner.info("own", "other", tenant_id="zeta", metadata={"b": 3, "c": 3})
    with use_context(tenant_id="context", execution_id="run"):
        inner.info("context")
    logger.info("parent", "test")
    preset, own, context, parent = logger.query_logs(order="asc")
    assert (preset.source, preset.tenant_id, preset.user_id) == ("billing", "acme", "alice")
    assert preset.metadata == {"a": 1, "b": 2}
    assert (own.source, own.tenant_id, own.user_id) == ("other", "zeta", "alice")
    assert own.metadata == {"a": 1, "b": 3, "c": 3}
    assert (context.tenant_id, context.execution_id) == ("acme", "run")
    assert (parent.tenant_id, parent.metadata) == (None, None)


def test_a_bound_logger_shares_level_and_queries(logger: StructuredLogger) -> None:
    """Changing the level of one changes it for all that were bound from it."""
    bound = logger.bind(source="x")
    logger.set_min_level("error")
    bound.info("lost")
    bound.error("kept")
    assert [entry.message for entry in bound.get_recent_logs()] == ["kept"]
    bound.stop()
    logger.error("still open", "test")
    assert logger.get_log_count() == 2


@pytest.mark.parametrize("odd", [UserDict(c=1), {"c": 1}, "text", 7, [("c", 1)], ["x"], object()])
def test_odd_metadata_on_a_bound_logger_raises_nothing(logger: StructuredLogger, odd: Any) -> None:
    """What is not a mapping is stored under "value" beside the preset metadata."""
    logger.bind(source="x", metadata={"a": 1}).info("odd", metadata=odd)
    metadata = logger.get_recent_logs()[0].metadata
    assert metadata is not None
    assert metadata["a"] == 1
    assert ("c" in metadata) == isinstance(odd, dict | UserDict)
    assert ("value" in metadata) != ("c" in metadata)


def test_programming_errors_are_type_errors(logger: StructuredLogger, store: Store) -> None:
    """A missing source or message, an unknown keyword, a wrong bind() argument: TypeError."""
    wrong: list[Any] = [
        lambda: logger.info("no source"),
        logger.info,
        lambda: logger.info("x", "y", tenant="z"),  # type: ignore[call-arg]
        lambda: logger.info("x", "y", error=ValueError()),  # type: ignore[call-arg]
        lambda: logger.info("x", "y", "run-1"),  # type: ignore[call-arg]
        lambda: logger.bind(tenant="z"),
        lambda: logger.bind(metadata=5),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    assert store.stats().attempted == 0


@pytest.mark.parametrize("severity", [0, -1, 25, 300])
def test_log_at_refuses_severities_that_have_no_level(
    logger: StructuredLogger, severity: int
) -> None:
    """A severity number outside 1 to 24 could not be read back: ValueError."""
    with pytest.raises(ValueError, match="1 to 24"):
        logger.log_at(severity, "x", "test")


def test_log_at_takes_any_severity_and_time(logger: StructuredLogger) -> None:
    """Severities between ours are found under the level they are shown with, at their own time."""
    for severity in range(5, 25):
        logger.log_at(severity, str(severity), "test", timestamp_ns=severity * 1_000_000_000)
    for position, level in enumerate(LEVELS):
        found = logger.query_logs(level=level, order="asc")
        assert [entry.message for entry in found] == [str(5 + 4 * position + i) for i in range(4)]
        assert {entry.level for entry in found} == {level}
        assert [entry.timestamp for entry in found] == [int(e.message) * 1000 for e in found]
    assert logger.get_log_count_by_level() == dict.fromkeys(LEVELS, 4)


def test_error_and_fatal_take_an_exception_or_a_stack_trace(logger: StructuredLogger) -> None:
    """`error=` stores the traceback with its causes, `stack_trace=` the text, which wins."""

    def fail() -> None:
        raise KeyError("inner")

    try:
        try:
            fail()
        except KeyError as cause:
            raise ValueError("outer") from cause
    except ValueError as error:
        logger.error("with error", "test", error=error)
        logger.fatal("both", "test", error=error, stack_trace="given")
    logger.fatal("text", "test", stack_trace="line 1\nline 2")
    logger.error("never raised", "test", error=OSError("x"))
    with_error, both, text, bare = (e.stack_trace for e in logger.query_logs(order="asc"))
    assert with_error is not None
    assert re.search(
        r"KeyError: 'inner'.*in fail|in fail.*KeyError: 'inner'", with_error, re.DOTALL
    )
    assert "ValueError: outer" in with_error
    assert (both, text, bare) == ("given", "line 1\nline 2", "OSError: x\n")


def test_exception_records_the_exception_being_handled(logger: StructuredLogger) -> None:
    """Inside an except block its traceback is stored; outside there is none, and no error."""
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logger.exception("division", "math", tenant_id="acme")
    logger.exception("nothing is being handled", "math")
    outside, inside = logger.get_recent_logs()
    assert inside.level is LogLevel.ERROR
    assert inside.tenant_id == "acme"
    assert inside.stack_trace is not None
    assert "ZeroDivisionError" in inside.stack_trace
    assert outside.stack_trace is None


def test_metadata_is_captured_at_the_call(logger: StructuredLogger) -> None:
    """Later changes to the dict, and to lists inside it, do not show."""
    metadata: dict[str, Any] = {"items": [1, 2], "n": 1}
    preset = {"p": 1}
    bound = logger.bind(metadata=preset, source="test")
    bound.info("x", metadata=metadata)
    metadata["n"] = 2
    metadata["items"].append(3)
    preset["p"] = 2
    bound.info("y")
    assert [e.metadata for e in logger.query_logs(order="asc")] == [
        {"p": 1, "items": [1, 2], "n": 1},
        {"p": 1},
    ]


def test_the_writer_is_woken_by_a_full_buffer(db: str) -> None:
    """When `buffer_size` records wait they are written, long before the interval is over."""
    with Store(db) as store:
        logger = StructuredLogger(store, buffer_size=20, flush_interval_ms=600_000)
        logger.flush()
        for count in (20, 40):
            for _ in range(20):
                logger.info("x", "test")
            wait_for(lambda count=count: stored_count(db) == count, "the buffer to be written")


def test_the_writer_is_woken_at_once_by_an_error(db: str) -> None:
    """One error or fatal record brings everything before it to the file, without a flush."""
    with Store(db) as store:
        logger = StructuredLogger(store, buffer_size=1000, flush_interval_ms=600_000)
        logger.flush()
        for count, level in ((2, "error"), (4, "fatal")):
            logger.info("before", "test")
            getattr(logger, level)("now", "test")
            wait_for(lambda count=count: stored_count(db) == count, f"the {level} record")


def test_the_writer_is_woken_by_the_interval(db: str) -> None:
    """Every `flush_interval_ms` what is pending becomes visible to other programs."""
    with Store(db) as store:
        logger = StructuredLogger(store, buffer_size=1000, flush_interval_ms=50)
        for count in (1, 2):
            logger.info("x", "test")
            wait_for(lambda count=count: stored_count(db) == count, "the interval")


def test_flush_stop_and_close_write_what_is_pending(db: str) -> None:
    """After flush(), and after stop() of a logger that opened the file, the file has it all."""
    logger = StructuredLogger(db, buffer_size=1000, flush_interval_ms=600_000)
    logger.info("x", "test")
    assert logger.flush() is True
    assert stored_count(db) == 1
    logger.info("x", "test")
    logger.stop()
    assert stored_count(db) == 2
    logger.stop()
    with StructuredLogger(db, buffer_size=1000) as again:
        again.info("x", "test")
    assert stored_count(db) == 3


def test_stop_of_a_logger_on_a_given_store_leaves_the_store_open(store: Store) -> None:
    """Who opened the store closes it: stop() only flushes."""
    logger = StructuredLogger(store)
    logger.info("x", "test")
    logger.stop()
    assert not store.closed
    assert stored_count(store.path) == 1


def test_recording_after_stop_is_counted_and_harmless(db: str) -> None:
    """A call after the end raises nothing; the counters account for it."""
    store = Store(db)
    logger = StructuredLogger(store)
    logger.info("x", "test")
    store.close()
    logger.info("late", "test")
    logger.error("late", "test", metadata={"x": object()})
    stats = store.stats()
    assert (stats.attempted, stats.stored, stats.dropped) == (3, 1, {"after_close": 2})
    with pytest.raises(ax_monitor.StorageError, match="closed"):
        logger.get_recent_logs()


@pytest.mark.parametrize("name", ["buffer_size", "flush_interval_ms"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "50", None, True])
def test_wrong_options_are_value_errors(store: Store, name: str, value: Any) -> None:
    """A size or interval that is not a positive integer is refused by name."""
    with pytest.raises(ValueError, match=name):
        StructuredLogger(store, **{name: value})


def test_unknown_overflow_policy_is_a_value_error(store: Store) -> None:
    """The message names the three policies."""
    with pytest.raises(ValueError, match="block, drop_newest, drop_oldest"):
        StructuredLogger(store, overflow="explode")


def test_store_may_be_a_path_or_the_process_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path opens a store of its own; None is one shared store, at AX_MONITOR_DB."""
    monkeypatch.setenv("AX_MONITOR_DB", str(tmp_path / "default.db"))
    first, second = StructuredLogger(), StructuredLogger()
    try:
        first.info("shared", "test")
        assert [entry.message for entry in second.get_recent_logs()] == ["shared"]
        with StructuredLogger(tmp_path / "own.db") as own:
            own.info("own", "test")
            assert own.get_log_count() == 1
        assert first.get_log_count() == 1
    finally:
        first._store.close()
    third = StructuredLogger()  # the default store was closed: a new one
    assert third.get_log_count() == 1
    third._store.close()


def test_many_threads_lose_nothing_and_keep_their_order(
    logger: StructuredLogger, store: Store
) -> None:
    """8 threads × 2000 calls: all there, each thread's records in the order it made them."""

    def work(name: str) -> None:
        bound = logger.bind(source=name)
        for number in range(2000):
            bound.info(f"{number}", metadata={"n": number})

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(8):
        messages = [
            int(e.message) for e in logger.query_logs(source=f"t{n}", limit=None, order="asc")
        ]
        assert messages == list(range(2000))
    stats = store.stats()
    assert (stats.attempted, stats.stored, stats.dropped, stats.in_flight) == (
        16_000,
        16_000,
        {},
        0,
    )

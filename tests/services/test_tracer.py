"""`DistributedTracer`: what SPEC §3 says, line by line, and the rows of FAULTS that touch spans."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

import ax_monitor
from ax_monitor import DistributedTracer, SpanKind, SpanStatus, Store, StructuredLogger, TraceStatus
from ax_monitor.services.tracer import TracerLimits

SRC = str(Path(ax_monitor.__file__).parent.parent)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"


@pytest.fixture
def tracer(store: Store) -> DistributedTracer:
    return DistributedTracer(store)


def names(trace: ax_monitor.Trace | None) -> list[tuple[int, str]]:
    assert trace is not None
    return [(depth, node.span.name) for root in trace.tree() for depth, node in root.walk()]


def only(tracer: DistributedTracer, **filters: Any) -> ax_monitor.Trace:
    (found,) = tracer.find_traces(**filters)
    trace = tracer.get_trace(found.trace_id)
    assert trace is not None
    return trace


# -- by ids -------------------------------------------------------------------------------------


def test_ids_are_w3c_ids(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run-1")
    span_id = tracer.start_span(trace_id, "work")
    assert (len(trace_id), len(span_id)) == (32, 16)
    assert set(trace_id + span_id) <= set("0123456789abcdef")


def test_a_trace_by_ids_is_read_back_whole(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run-1", tenant_id="acme")
    root = tracer.start_span(trace_id, "root", attributes={"n": 1})
    child = tracer.start_span(trace_id, "child", SpanKind.CLIENT, parent_span_id=root)
    tracer.add_span_event(child, "retry", {"attempt": 2})
    tracer.set_span_attributes(child, {"host": "db-1"})
    tracer.complete_span(child, "error")
    tracer.complete_span(root)
    tracer.complete_trace(trace_id)
    trace = tracer.get_trace(trace_id)
    assert trace is not None
    assert (trace.workflow_execution_id, trace.tenant_id, trace.name) == ("run-1", "acme", "root")
    assert (trace.span_count, trace.status) == (2, TraceStatus.ERROR)
    assert names(trace) == [(0, "root"), (1, "child")]
    first, second = trace.spans
    assert (first.attributes, first.status, first.kind) == ({"n": 1}, "ok", "internal")
    assert (second.attributes, second.status, second.kind) == ({"host": "db-1"}, "error", "client")
    assert second.parent_span_id == root
    (event,) = second.events
    assert (event.name, event.attributes, event.span_id) == ("retry", {"attempt": 2}, child)
    assert first.duration is not None
    assert second.duration is not None
    assert trace.duration is not None
    assert trace.duration >= first.duration >= second.duration > 0
    assert isinstance(second.start_ns, int)


def test_a_span_below_a_millisecond_is_not_zero(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run")
    tracer.complete_span(tracer.start_span(trace_id, "short"))
    trace = tracer.get_trace(trace_id)
    assert trace is not None
    assert 0 < (trace.spans[0].duration or 0) < 1
    assert trace.spans[0].duration_ns == pytest.approx((trace.spans[0].duration or 0) * 1e6)


def test_the_trace_row_is_there_from_the_start(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run-1")
    trace = tracer.get_trace(trace_id)
    assert trace is not None
    assert (trace.completed_at, trace.duration, trace.status) == (None, None, "open")


def test_open_spans_show_in_get_trace(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run-1")
    root = tracer.start_span(trace_id, "root", attributes={"a": 1})
    tracer.add_span_event(root, "half way")
    tracer.complete_span(tracer.start_span(trace_id, "child", parent_span_id=root))
    (trace,) = tracer.get_traces_by_execution("run-1")
    assert trace == tracer.get_trace(trace_id)
    assert names(trace) == [(0, "root"), (1, "child")]
    assert trace.span_count == 2
    assert (trace.spans[0].completed_at, trace.spans[0].status) == (None, SpanStatus.UNSET)
    assert trace.spans[0].events[0].name == "half way"
    assert tracer.stats().open_spans == 1


def test_a_late_span_lands_and_corrects_the_count(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run-1")
    late = tracer.start_span(trace_id, "late")
    tracer.complete_trace(trace_id)
    before = tracer.find_traces()[0]
    tracer.complete_span(late, "error")
    tracer.complete_span(tracer.start_span(trace_id, "later still"))
    after = tracer.find_traces()[0]
    assert (before.span_count, before.status) == (0, "ok")
    assert (after.span_count, after.status) == (2, "error")
    assert after.completed_at == before.completed_at


def test_a_trace_may_be_completed_by_another_process(db: str) -> None:
    with Store(db) as one, Store(db) as other:
        trace_id = DistributedTracer(one).start_trace("run-1")
        one.flush()
        elsewhere = DistributedTracer(other)
        elsewhere.complete_trace(trace_id)
        trace = elsewhere.get_trace(trace_id)
        assert trace is not None
        assert trace.status == "ok"
        assert trace.duration is not None


def test_error_is_not_overwritten_by_a_default_ok(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run")
    for status, at_end, expected in (
        ("error", None, "error"),
        ("error", "ok", "error"),
        ("ok", "error", "error"),
        ("unset", None, "ok"),
        (None, "unset", "unset"),
        (None, None, "ok"),
    ):
        span_id = tracer.start_span(trace_id, "work")
        if status:
            tracer.set_span_status(span_id, status)
        tracer.complete_span(span_id, at_end) if at_end else tracer.complete_span(span_id)
        trace = tracer.get_trace(trace_id)
        assert trace is not None
        assert trace.spans[-1].status == expected


def test_wrong_words_are_refused(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run")
    span_id = tracer.start_span(trace_id, "work")
    with pytest.raises(ValueError, match="use one of internal, server"):
        tracer.start_span(trace_id, "work", "sideways")
    with pytest.raises(ValueError, match="use one of ok, error"):
        tracer.complete_span(span_id, "fine")
    with pytest.raises(ValueError, match="use one of ok, error"):
        tracer.set_span_status(span_id, "fine")
    with pytest.raises(ValueError, match="unknown SpanKind"):
        tracer.span("x", kind="sideways")
    with pytest.raises(ax_monitor.TraceQueryError):
        tracer.get_trace(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unknown trace filter colour"):
        tracer.find_traces(colour="red")


@pytest.mark.parametrize("bad", ["f" * 16, None, 7, [], b"x"])
def test_unknown_ids_are_counted_and_never_raise(tracer: DistributedTracer, bad: Any) -> None:
    tracer.complete_span(bad)
    tracer.add_span_event(bad, "x")
    tracer.set_span_attributes(bad, {"a": 1})
    tracer.set_span_status(bad, "ok")
    assert tracer.stats().unknown_ids == 4
    tracer.complete_trace(bad)
    assert tracer.find_traces() == []


def test_completing_twice_counts_as_unknown(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run")
    span_id = tracer.start_span(trace_id, "work")
    tracer.complete_span(span_id)
    tracer.complete_span(span_id, "error")
    tracer.complete_trace(trace_id)
    completed = tracer.find_traces()[0]
    tracer.complete_trace(trace_id)
    assert tracer.find_traces()[0] == completed
    assert tracer.stats().unknown_ids == 2


# -- odd data -----------------------------------------------------------------------------------


def test_b10_odd_trace_ids_and_times_are_kept_where_harmless(tracer: DistributedTracer) -> None:
    for trace_id in ("0" * 32, "not an id", "\ud800", "X" * 10_000, "ä"):
        span_id = tracer.start_span(trace_id, "work", parent_span_id="also odd")
        tracer.complete_span(span_id)
    assert tracer.start_span(None, "work") == ""  # type: ignore[arg-type]
    found = tracer.find_traces(limit=None)
    assert len(found) == 5
    headers: dict[str, str] = {}
    with ax_monitor.use_context(trace_id="0" * 32, span_id=PARENT_ID):
        tracer.inject(headers)
    assert headers == {}
    assert tracer.find_traces(start_time=-(2**63), end_time=2**63 - 1, limit=1)


def test_odd_attributes_are_stored_in_their_documented_form(tracer: DistributedTracer) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    cycle: list[Any] = []
    cycle.append(cycle)
    changing = {"list": [1]}
    span_id = tracer.start_span(
        tracer.start_trace("run"),
        object,  # type: ignore[arg-type]
        attributes={
            1: 2,
            "nan": float("nan"),
            "c": cycle,
            "h": Hostile(),
            "big": 2**70,
            "in": changing,
        },  # type: ignore[dict-item]
    )
    changing["list"].append(2)
    tracer.set_span_attributes(span_id, 5)  # type: ignore[arg-type]
    tracer.add_span_event(span_id, 7, {"x": b"\xff"})  # type: ignore[arg-type]
    tracer.complete_span(span_id)
    (span,) = only(tracer).spans
    assert span.attributes == {
        "1": 2, "nan": None, "c": ["<cycle>"], "h": "<unprintable Hostile>", "big": str(2**70),
        "in": {"list": [1]}, "$nonfinite": {"nan": "nan"}, "value": 5,
    }  # fmt: skip
    assert (span.events[0].name, span.events[0].attributes) == ("7", {"x": "\\xff"})


def test_attributes_are_captured_at_the_call(tracer: DistributedTracer) -> None:
    attributes = {"n": 1}
    span_id = tracer.start_span(tracer.start_trace("run"), "work", attributes=attributes)
    attributes["n"] = 2
    tracer.complete_span(span_id)
    assert only(tracer).spans[0].attributes == {"n": 1}


def test_secrets_are_replaced(tracer: DistributedTracer, db: str) -> None:
    with tracer.trace("run", "login password=hunter2", token="abc") as span:
        span.add_event("sent", {"authorization": "Bearer hunter2"})
    tracer.flush()
    (made,) = only(tracer).spans
    assert "hunter2" not in repr(made)
    assert made.attributes == {"token": "[redacted]"}
    assert b"hunter2" not in Path(db).read_bytes() + Path(f"{db}-wal").read_bytes()


def test_a_redaction_hook_sees_every_span(db: str) -> None:
    def hook(message: str, metadata: Any) -> Any:
        return message.upper(), metadata

    with Store(db, redact=hook) as store:
        tracer = DistributedTracer(store)
        with tracer.trace("run", "quiet"):
            pass
        assert only(tracer).spans[0].name == "QUIET"


def test_limits_and_the_counts_of_what_was_dropped(store: Store) -> None:
    tracer = DistributedTracer(store, limits=TracerLimits(attributes=3, events=2))
    span_id = tracer.start_span(
        tracer.start_trace("run"), "work", attributes={str(n): n for n in range(5)}
    )
    tracer.set_span_attributes(span_id, {"0": "changed", "new": 1})
    for n in range(4):
        tracer.add_span_event(span_id, f"event {n}")
    tracer.complete_span(span_id)
    (span,) = only(tracer).spans
    assert span.attributes == {"0": "changed", "1": 1, "2": 2}
    assert [event.name for event in span.events] == ["event 0", "event 1"]
    assert (span.dropped_attributes, span.dropped_events) == (3, 2)
    assert (tracer.stats().dropped_attributes, tracer.stats().dropped_events) == (3, 2)
    assert TracerLimits().attributes == TracerLimits().events == 128
    with pytest.raises(ValueError, match="attributes must be"):
        TracerLimits(attributes=0)


def test_what_is_too_large_is_shortened_and_the_span_stays(tracer: DistributedTracer) -> None:
    span_id = tracer.start_span(
        tracer.start_trace("run"), "n" * 10_000, attributes={"text": ["x" * 60_000] * 10}
    )
    for n in range(100):
        tracer.add_span_event(span_id, f"event {n}", {"text": "y" * 20_000})
    tracer.complete_span(span_id)
    (span,) = only(tracer).spans
    assert span.name.startswith("nnn")
    assert span.attributes["$truncated"] > 600_000
    assert 5 < len(span.events) < 100
    assert span.events[-1].attributes == {"$more": 100 - len(span.events) + 1}


def test_too_many_open_spans_give_up_the_oldest(store: Store) -> None:
    tracer = DistributedTracer(store, limits=TracerLimits(open=64))
    trace_id = tracer.start_trace("run")
    spans = [tracer.start_span(trace_id, f"span {n}") for n in range(70)]
    stats = tracer.stats()
    assert (stats.abandoned_spans, stats.open_spans) == (6, 64)
    tracer.complete_span(spans[0])
    assert tracer.stats().unknown_ids == 1
    trace = tracer.get_trace(trace_id)
    assert trace is not None
    assert trace.span_count == 70
    assert trace.spans[0].status == "unset"
    for n in range(70):
        tracer.start_trace(f"run {n}")
    assert tracer.stats().open_traces == 64


# -- sampling -----------------------------------------------------------------------------------


def test_not_sampled_is_an_empty_id_and_nothing_happens(store: Store) -> None:
    tracer = DistributedTracer(store, 0)
    assert tracer.start_trace("run") == ""
    assert tracer.start_span("", "work", "no kind at all", attributes={"a": 1}) == ""
    tracer.add_span_event("", "x")
    tracer.set_span_attributes("", {})
    tracer.set_span_status("", "error")
    tracer.complete_span("")
    tracer.complete_trace("")
    with tracer.trace("run", "x") as root, tracer.span("y") as inner:
        inner.add_event("z")
        inner.set_attributes(a=1)
        inner.set_status("error")
        assert (root.trace_id, inner.span_id, inner.recording) == ("", "", False)
    assert tracer.find_traces() == []
    assert tracer.stats().unknown_ids == 0


def test_the_rate_can_change_and_is_checked(tracer: DistributedTracer) -> None:
    assert tracer.get_sampling_rate() == 1.0
    tracer.set_sampling_rate(0.0)
    assert tracer.start_trace("run") == ""
    with pytest.raises(ValueError, match="rate"):
        tracer.set_sampling_rate(1.5)
    with pytest.raises(ValueError, match="rate"):
        DistributedTracer(tracer._store, -0.1)


def test_sampling_is_once_per_trace(store: Store) -> None:
    tracer = DistributedTracer(store, 0.5)
    for _ in range(200):
        with tracer.trace("run", "root"), tracer.span("a"), tracer.span("b"):
            pass
    found = tracer.find_traces(limit=None)
    assert 60 < len(found) < 140
    assert {trace.span_count for trace in found} == {3}


def test_the_callers_decision_is_honoured(store: Store) -> None:
    for rate, flag, recorded in ((0, "01", 1), (1, "00", 0)):
        tracer = DistributedTracer(store, rate)
        headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-{flag}", "tracestate": "a=1"}
        out: dict[str, str] = {}
        with tracer.trace("run", "handle", parent=tracer.extract(headers)), tracer.span("inner"):
            tracer.inject(out)
        assert out["traceparent"].split("-")[1::2] == [TRACE_ID, flag]
        assert out["tracestate"] == "a=1"
        assert len(tracer.find_traces()) == recorded
        for trace in tracer.find_traces():
            assert trace.trace_id == TRACE_ID
            made = tracer.get_trace(TRACE_ID)
            assert made is not None
            assert made.spans[0].parent_span_id == PARENT_ID
            assert made.status == "ok"
        tracer.cleanup(0)


def test_unsampled_traces_that_fail_are_kept_whole(store: Store) -> None:
    tracer = DistributedTracer(store, 0, keep_errors=True)
    for number in range(20):
        trace_id = tracer.start_trace(f"run-{number}")
        root = tracer.start_span(trace_id, "root")
        tracer.complete_span(tracer.start_span(trace_id, "before", parent_span_id=root))
        bad = tracer.start_span(trace_id, "middle", parent_span_id=root)
        tracer.complete_span(bad, "error" if number == 7 else "ok")
        tracer.complete_span(tracer.start_span(trace_id, "after", parent_span_id=root))
        tracer.complete_span(root)
        tracer.complete_trace(trace_id)
        tracer.complete_span(tracer.start_span(trace_id, "late"))
    trace = only(tracer)
    assert trace.workflow_execution_id == "run-7"
    assert [span.name for span in trace.spans] == ["root", "before", "middle", "after", "late"]
    stats = tracer.stats()
    assert (stats.kept_traces, stats.discarded_traces, stats.waiting_bytes) == (1, 19, 0)


def test_unsampled_traces_that_are_slow_are_kept(store: Store) -> None:
    tracer = DistributedTracer(store, 0, keep_slower_than_ms=30)
    with tracer.trace("fast", "x"):
        pass
    with tracer.trace("slow", "x"), tracer.span("y"):
        time.sleep(0.04)
    trace = only(tracer)
    assert (trace.workflow_execution_id, trace.span_count) == ("slow", 2)


def test_what_waits_is_bounded_and_evictions_are_counted(store: Store) -> None:
    tracer = DistributedTracer(store, 0, keep_errors=True, limits=TracerLimits(keep_bytes=20_000))
    ids = [tracer.start_trace(f"run-{n}") for n in range(10)]
    for trace_id in ids:
        for n in range(10):
            tracer.complete_span(
                tracer.start_span(trace_id, f"span {n}", attributes={"x": "y" * 100})
            )
        assert tracer.stats().waiting_bytes <= 20_000
    stats = tracer.stats()
    assert stats.evicted_traces > 0
    assert stats.evicted_spans >= 10
    for trace_id in (ids[0], ids[-1]):
        tracer.complete_span(tracer.start_span(trace_id, "bad"), "error")
        tracer.complete_trace(trace_id)
    counts = {trace.workflow_execution_id: trace.span_count for trace in tracer.find_traces()}
    assert counts == {"run-0": 1, "run-9": 11}


def test_get_trace_shows_nothing_of_a_trace_that_only_waits(store: Store) -> None:
    tracer = DistributedTracer(store, 0, keep_errors=True)
    trace_id = tracer.start_trace("run")
    tracer.start_span(trace_id, "x")
    assert tracer.get_trace(trace_id) is None
    assert tracer.get_traces_by_execution("run") == []


# -- blocks, decorators, context ----------------------------------------------------------------


def test_blocks_nest_by_context(tracer: DistributedTracer) -> None:
    with tracer.trace("run-1", "order", tenant_id="acme", priority=1) as root:
        with tracer.span("a", kind="client", attributes={"peer.service": "db"}, n=2):
            assert root.recording
            with tracer.span("b"):
                pass
        with tracer.span("c"):
            pass
        assert root.recording
    assert not root.recording
    trace = tracer.get_trace(root.trace_id)
    assert names(trace) == [(0, "order"), (1, "a"), (2, "b"), (1, "c")]
    assert trace is not None
    assert (trace.name, trace.tenant_id, trace.status) == ("order", "acme", "ok")
    assert trace.spans[0].attributes == {"priority": 1}
    assert trace.spans[1].attributes == {"peer.service": "db", "n": 2}
    assert ax_monitor.current_context() is None


def test_a_span_without_a_trace_is_one(tracer: DistributedTracer) -> None:
    with ax_monitor.use_context(execution_id="run-9"), tracer.span("alone"):
        pass
    trace = only(tracer)
    assert (trace.workflow_execution_id, trace.name, trace.status) == ("run-9", "alone", "ok")


def test_exceptions_mark_the_span_and_are_recorded(tracer: DistributedTracer) -> None:
    with pytest.raises(KeyError), tracer.trace("run", "order"), tracer.span("pay"):
        raise KeyError("amount")
    trace = only(tracer)
    assert [span.status for span in trace.spans] == ["error", "error"]
    for span in trace.spans:
        (event,) = span.events
        assert event.name == "exception"
        assert event.attributes is not None
        assert event.attributes["exception.type"] == "KeyError"
        assert event.attributes["exception.message"] == "'amount'"
        assert 'raise KeyError("amount")' in event.attributes["exception.stacktrace"]


def test_logs_inside_a_span_carry_its_ids(store: Store, tracer: DistributedTracer) -> None:
    logger = StructuredLogger(store)
    with tracer.trace("run-1", "order", tenant_id="acme"), tracer.span("pay") as pay:
        logger.info("paying", "shop")
    (entry,) = logger.get_trace_logs(pay.trace_id)
    assert (entry.span_id, entry.execution_id, entry.tenant_id) == (pay.span_id, "run-1", "acme")


def test_an_entered_span_cannot_be_entered_again(tracer: DistributedTracer) -> None:
    span = tracer.span("x")
    with span:
        pass
    with pytest.raises(RuntimeError, match="only once"), span:
        pass


def test_traced_functions_of_every_kind(tracer: DistributedTracer) -> None:
    @tracer.traced
    def plain(x: int) -> int:
        "Doubles."
        return 2 * x

    @tracer.traced("renamed", kind="client", layer="db")
    async def coroutine() -> str:
        with tracer.span("inside coroutine"):
            await asyncio.sleep(0)
        return "c"

    @tracer.traced("generator")
    def generator() -> Iterator[Any]:
        with tracer.span("inside generator"):
            got = yield 1
            try:
                yield got
            except ValueError:
                yield "caught"
        return "end"

    @tracer.traced("async generator")
    async def async_generator() -> AsyncIterator[int]:
        for number in range(2):
            with tracer.span("piece"):
                await asyncio.sleep(0)
            yield number

    async def consume() -> None:
        assert await coroutine() == "c"
        async for _ in async_generator():
            with tracer.span("consumer"):
                pass

    assert plain.__doc__ == "Doubles."
    with tracer.trace("run", "root") as root:
        assert plain(21) == 42
        made = generator()
        assert next(made) == 1
        with tracer.span("between"):
            assert made.send("x") == "x"  # type: ignore[attr-defined]
        assert made.throw(ValueError()) == "caught"  # type: ignore[attr-defined]
        with pytest.raises(StopIteration, match="end"):
            next(made)
        asyncio.run(consume())
    assert names(tracer.get_trace(root.trace_id)) == [
        (0, "root"),
        (1, "test_traced_functions_of_every_kind.<locals>.plain"),
        (1, "generator"), (2, "inside generator"),
        (1, "between"),
        (1, "renamed"), (2, "inside coroutine"),
        (1, "async generator"), (2, "piece"), (2, "piece"),
        (1, "consumer"), (1, "consumer"),
    ]  # fmt: skip


def test_traced_failures_are_errors(tracer: DistributedTracer) -> None:
    @tracer.traced("bad")
    def bad() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(bad())
    (span,) = only(tracer).spans
    assert (span.status, len(span.events)) == ("error", 1)


def test_context_follows_tasks_threads_and_pools(tracer: DistributedTracer) -> None:
    def work(name: str) -> None:
        with tracer.span(name):
            pass

    async def tasks() -> None:
        await asyncio.gather(asyncio.to_thread(work, "to_thread"), asyncio.create_task(later()))

    async def later() -> None:
        await asyncio.sleep(0.001)
        work("task")

    with ThreadPoolExecutor(2) as pool, tracer.trace("run", "root") as root:
        asyncio.run(tasks())
        pool.submit(ax_monitor.carry_context(work), "pool").result()
        list(pool.map(ax_monitor.carry_context(work), ["map"] * 4))
        pool.submit(work, "without context").result()
    trace = tracer.get_trace(root.trace_id)
    assert sorted(names(trace)) == sorted(
        [(0, "root"), (1, "to_thread"), (1, "task"), (1, "pool"), *[(1, "map")] * 4]
    )
    assert len(tracer.find_traces(name="without context")) == 1


# -- FAULTS -------------------------------------------------------------------------------------


def test_c10_closing_in_another_task_neither_raises_nor_leaks(tracer: DistributedTracer) -> None:
    async def opener(box: list[Any]) -> None:
        box.append(tracer.span("opened").__enter__())

    async def closer(box: list[Any]) -> None:
        with tracer.span("closer"):
            box[0].__exit__(None, None, None)
            with tracer.span("after"):
                pass
        assert ax_monitor.current_context().span_id == root.span_id  # type: ignore[union-attr]

    async def main() -> None:
        box: list[Any] = []
        await asyncio.create_task(opener(box))
        await asyncio.create_task(closer(box))

    with tracer.trace("run", "root") as root:
        asyncio.run(main())
    trace = tracer.get_trace(root.trace_id)
    assert names(trace) == [(0, "root"), (1, "opened"), (1, "closer"), (2, "after")]
    assert tracer.stats().open_spans == 0
    assert ax_monitor.current_context() is None


def test_c10_closing_in_another_thread(tracer: DistributedTracer) -> None:
    def open_here_close_there() -> None:
        span = tracer.span("x").__enter__()
        thread = threading.Thread(target=span.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
        span.__exit__(None, None, None)  # twice does no harm

    contextvars.copy_context().run(open_here_close_there)
    assert only(tracer).span_count == 1


def test_c10_spans_closed_out_of_turn_leave_no_ended_parent(tracer: DistributedTracer) -> None:
    with tracer.trace("run", "root") as root:
        a = tracer.span("a").__enter__()
        b = tracer.span("b").__enter__()
        a.__exit__(None, None, None)
        with tracer.span("below b"):
            pass
        b.__exit__(None, None, None)
        with tracer.span("below root"):
            pass
    assert names(tracer.get_trace(root.trace_id)) == [
        (0, "root"), (1, "a"), (2, "b"), (3, "below b"), (1, "below root"),
    ]  # fmt: skip


def test_c10_abandoned_async_generators_close_once(tracer: DistributedTracer) -> None:
    @tracer.traced("stream")
    async def stream() -> AsyncIterator[int]:
        with tracer.span("inner"):
            for number in range(10):
                yield number
                await asyncio.sleep(0)

    async def main() -> None:
        for _ in range(20):
            async for _ in stream():
                break  # the generator is left to the garbage collector
            with tracer.span("after"):
                pass
        gc.collect()
        await asyncio.sleep(0.01)

    with tracer.trace("run", "root") as root:
        asyncio.run(main())
    trace = tracer.get_trace(root.trace_id)
    assert trace is not None
    parents = {span.span_id: span.name for span in trace.spans}
    for span in trace.spans[1:]:
        wanted = "stream" if span.name == "inner" else "root"
        assert parents[span.parent_span_id or ""] == wanted
    assert trace.span_count == 61
    assert tracer.stats().open_spans == 0


def test_c10_a_storm_of_cancellations(tracer: DistributedTracer) -> None:
    async def work(number: int) -> None:
        with tracer.span(f"outer {number}"):
            async with tracer.span("inner"):
                await asyncio.sleep(5)

    async def main() -> None:
        tasks = [asyncio.create_task(work(number)) for number in range(200)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with tracer.trace("run", "root") as root:
        asyncio.run(main())
    trace = tracer.get_trace(root.trace_id)
    assert trace is not None
    assert trace.span_count == 401
    assert {depth for depth, name in names(trace) if name == "inner"} == {2}
    assert {span.status for span in trace.spans[1:]} == {SpanStatus.ERROR}
    assert tracer.stats().open_spans == 0


DYING = """
import os, signal, sys
import ax_monitor
store = ax_monitor.Store(sys.argv[1])
tracer = ax_monitor.DistributedTracer(store)
trace_id = tracer.start_trace("died")
root = tracer.start_span(trace_id, "root")
tracer.complete_span(tracer.start_span(trace_id, "child", parent_span_id=root))
done = tracer.start_trace("done")
tracer.complete_trace(done)
if sys.argv[2] == "flushed":
    store.flush()
if sys.argv[2] == "closed":
    store.close()
    sys.exit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["in the ring", "flushed", "closed"])
def test_x6_traces_left_open_are_interrupted(db: str, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING, db, how],
        env={**os.environ, "PYTHONPATH": SRC},
        check=False,
        timeout=30,
    )
    assert done.returncode == (0 if how == "closed" else -signal.SIGKILL)
    with Store(db) as store:
        tracer = DistributedTracer(store)
        alive = tracer.start_trace("alive")
        status = {t.workflow_execution_id: t.status for t in tracer.find_traces()}
        assert status == {"died": "interrupted", "done": "ok", "alive": "open"}
        (died,) = tracer.find_traces(status="interrupted")
        assert names(tracer.get_trace(died.trace_id)) == [(0, "child")]
        tracer.complete_trace(died.trace_id)  # it goes on in another process after all
        assert only(tracer, workflow_execution_id="died").status == "ok"
        tracer.complete_trace(alive)


def test_t1_durations_come_from_the_monotonic_clock(tracer: DistributedTracer) -> None:
    trace_id = tracer.start_trace("run")
    before = time.monotonic_ns()
    span_id = tracer.start_span(trace_id, "work")
    time.sleep(0.01)
    tracer.complete_span(span_id)
    elapsed = time.monotonic_ns() - before
    trace = tracer.get_trace(trace_id)
    assert trace is not None
    span = trace.spans[0]
    assert 10_000_000 <= (span.duration_ns or 0) <= elapsed
    assert span.completed_at == ((span.start_ns or 0) + (span.duration_ns or 0)) // 1_000_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_leaves_the_parents_spans_alone(tracer: DistributedTracer) -> None:
    with tracer.trace("run", "root") as root:
        span_id = tracer.start_span(root.trace_id, "parent's")
        child = os.fork()
        if child == 0:
            tracer.complete_span(span_id, "error")  # unknown there
            with tracer.span("child's"):
                pass
            root.__exit__(None, None, None)  # as if the child left the block
            os._exit(0 if tracer._store.flush() and tracer.stats().open_spans == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert tracer.find_traces()[0].status == "open"
        tracer.complete_span(span_id)
    trace = tracer.get_trace(root.trace_id)
    assert sorted(names(trace)) == sorted([(0, "root"), (0, "parent's"), (1, "child's")])
    assert trace is not None
    assert {span.status for span in trace.spans} == {SpanStatus.OK}


# -- queries ------------------------------------------------------------------------------------


def test_find_traces_filters_and_pages(tracer: DistributedTracer) -> None:
    for number in range(25):
        with tracer.trace(
            f"run-{number}", f"name-{number % 5}", tenant_id=f"t-{number % 2}"
        ) as root:
            with tracer.span("inner", number=number, even=number % 2 == 0):
                pass
            if number % 10 == 3:
                root.set_status("error")
    tracer.start_trace("open one")
    assert len(tracer.find_traces(limit=None)) == 26
    assert {t.workflow_execution_id for t in tracer.find_traces(name="name-1")} == {
        f"run-{n}" for n in range(1, 25, 5)
    }
    assert len(tracer.find_traces(tenant_id="t-1")) == 12
    assert [t.status for t in tracer.find_traces(status="error")] == ["error"] * 3
    assert len(tracer.find_traces(status="ok")) == 22
    assert [t.workflow_execution_id for t in tracer.find_traces(status="open")] == ["open one"]
    assert [t.workflow_execution_id for t in tracer.find_traces(attributes={"number": 7})] == [
        "run-7"
    ]
    assert tracer.find_traces(attributes={"number": 7, "even": True}) == []
    assert len(tracer.find_traces(attributes={"even": True})) == 13
    assert tracer.find_traces(attributes={"number": "7"}) == []
    assert len(tracer.find_traces(min_duration_ms=0)) == 25
    assert tracer.find_traces(min_duration_ms=60_000) == []
    assert tracer.find_traces(end_time=0) == []
    for order in ("asc", "desc"):
        seen: list[str] = []
        cursor = None
        while True:
            page = tracer.find_traces(limit=4, cursor=cursor, order=order)
            seen += [trace.trace_id for trace in page]
            if (cursor := page.next_cursor) is None:
                break
        assert len(seen) == len(set(seen)) == 26
    with pytest.raises(ax_monitor.TraceQueryError, match="cursor"):
        tracer.find_traces(cursor="nonsense")


def test_stats(tracer: DistributedTracer) -> None:
    assert tracer.get_trace_stats().to_dict() == {
        "total_traces": 0, "total_spans": 0, "avg_spans_per_trace": 0.0, "avg_trace_duration": 0.0,
    }  # fmt: skip
    with tracer.trace("run", "a"), tracer.span("b"):
        pass
    tracer.start_trace("open")
    stats = tracer.get_trace_stats()
    assert (stats.total_traces, stats.total_spans, stats.avg_spans_per_trace) == (2, 2, 1.0)
    assert stats.avg_trace_duration == tracer.find_traces(name="a")[0].duration


def test_cleanup_takes_old_traces_with_all_they_have(db: str, clock: Any) -> None:
    clock.now_ms = time.time_ns() // 1_000_000
    with Store(db, clock=clock) as store:
        tracer = DistributedTracer(store)
        for number in range(3):
            with tracer.trace("run", f"old {number}") as span:
                span.add_event("x")
                for _ in range(700):
                    with tracer.span("inner") as inner:
                        inner.add_event("y")
        assert tracer.cleanup() == 0
        clock.advance(8 * 86_400)
        assert tracer.cleanup(9) == 0
        assert tracer.cleanup() == 3
        assert tracer.find_traces() == []
        with apsw.Connection(db) as connection:
            for table in ("spans", "span_events", "traces"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]
        with pytest.raises(ValueError, match="retention_days"):
            tracer.cleanup(-1)


def test_events_tell_what_happens(tracer: DistributedTracer) -> None:
    heard: list[tuple[str, Any]] = []
    for name in (
        "trace.started",
        "trace.completed",
        "span.started",
        "span.completed",
        "span.event",
    ):
        tracer.on(name, lambda payload, name=name: heard.append((name, payload)))
    trace_id = tracer.start_trace("run")
    span_id = tracer.start_span(trace_id, "work", attributes={"a": 1})
    tracer.add_span_event(span_id, "half way", {"b": 2})
    tracer.complete_span(span_id, "error")
    tracer.complete_trace(trace_id)
    tracer.flush()
    assert [name for name, _ in heard] == [
        "trace.started", "span.started", "span.event", "span.completed", "trace.completed",
    ]  # fmt: skip
    started, span, event, completed, ended = (payload for _, payload in heard)
    assert started == {"trace_id": trace_id, "workflow_execution_id": "run"}
    assert (span.span_id, span.name, span.attributes) == (span_id, "work", {"a": 1})
    assert event == {"span_id": span_id, "name": "half way", "attributes": {"b": 2}}
    assert (completed["span_id"], completed["status"]) == (span_id, "error")
    trace = tracer.get_trace(trace_id)
    assert trace is not None
    assert completed["duration"] == trace.spans[0].duration
    assert ended == {"trace_id": trace_id, "duration": trace.duration}


def test_two_processes_parts_of_one_trace_are_one_trace(db: str) -> None:
    with Store(db) as one, Store(db) as other:
        caller, called = DistributedTracer(one), DistributedTracer(other)
        headers: dict[str, str] = {}
        with caller.trace("run-1", "order") as root:
            with caller.span("call", kind="client"):
                caller.inject(headers)
                parent = called.extract(headers)
                with called.trace("", "handle", parent=parent), called.span("query"):
                    pass
            other.flush()
            early = called.get_trace(root.trace_id)
            assert early is not None
            one.flush()
            assert only(called).status == "open"
        one.flush()
        trace = called.get_trace(root.trace_id)
        assert names(trace) == [(0, "order"), (1, "call"), (2, "handle"), (3, "query")]
        assert trace is not None
        assert (trace.workflow_execution_id, trace.name, trace.span_count) == ("run-1", "order", 4)
        assert trace.duration is not None
        assert trace.duration >= (trace.spans[0].duration or 0)


def test_the_environment_of_a_child_process(tracer: DistributedTracer) -> None:
    environ: dict[str, str] = {}
    with tracer.trace("run", "parent") as span:
        tracer.inject_environ(environ)
    found = tracer.extract_environ(environ)
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (span.trace_id, span.span_id, True)


def test_outside_of_a_trace_nothing_is_injected(tracer: DistributedTracer) -> None:
    headers: dict[str, str] = {}
    tracer.inject(headers)
    assert headers == {}
    assert tracer.extract(headers) is None


def test_a_tracer_works_alone(db: str) -> None:
    with DistributedTracer(db) as tracer:
        with tracer.trace("run", "x"):
            pass
        assert tracer.find_traces(name="x")
    tracer.complete_span(tracer.start_span(tracer.start_trace("after close"), "x"))
    with ax_monitor.open(db, tracer={"sampling_rate": 0.5}) as monitor:
        assert monitor.tracer.get_sampling_rate() == 0.5
        assert len(monitor.tracer.find_traces()) == 1


def test_options_are_checked(store: Store) -> None:
    with pytest.raises(ValueError, match="overflow"):
        DistributedTracer(store, overflow="explode")
    with pytest.raises(ValueError, match="keep_slower_than_ms"):
        DistributedTracer(store, keep_slower_than_ms=-1)

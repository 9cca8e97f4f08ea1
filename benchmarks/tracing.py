"""G9 and G10: what a span costs the caller, and what reading a trace back takes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ax_monitor
from ax_monitor.bench.harness import interleaved, percentile, ratio
from benchmarks.harness import Result
from benchmarks.peers.traces import SlottedSpan

CALLS = 20_000
TAIL_CALLS = 100_000
QUERIES = 500
SPANS = 50
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
ATTRIBUTES = {"order_id": "A-1004711", "retries": 3, "amount": 12.5}


def _ids(tracer: ax_monitor.DistributedTracer, trace_id: str) -> Callable[[], float]:
    def run() -> float:
        calls = range(CALLS)
        start_span, complete_span = tracer.start_span, tracer.complete_span
        start = time.perf_counter_ns()
        for _ in calls:
            complete_span(
                start_span(trace_id, "step", parent_span_id=PARENT_ID, attributes=ATTRIBUTES)
            )
        return (time.perf_counter_ns() - start) / CALLS

    return run


def _block(tracer: ax_monitor.DistributedTracer) -> Callable[[], float]:
    def run() -> float:
        calls = range(CALLS)
        span = tracer.span
        with tracer.trace("run", "root"):
            start = time.perf_counter_ns()
            for _ in calls:
                with span("step", attributes=ATTRIBUTES):
                    pass
            return (time.perf_counter_ns() - start) / CALLS

    return run


def _by_hand() -> float:
    calls = range(CALLS)
    start = time.perf_counter_ns()
    for _ in calls:
        SlottedSpan(TRACE_ID, "step", PARENT_ID, ATTRIBUTES).complete()
    return (time.perf_counter_ns() - start) / CALLS


def _between(run: Callable[[], float], store: ax_monitor.Store) -> Callable[[], float]:
    """Drain the ring after each repeat; within one the pump writes as it always does."""

    def measured() -> float:
        elapsed = run()
        store.flush()
        return elapsed

    return measured


def _tail(tracer: ax_monitor.DistributedTracer, trace_id: str) -> float:
    """The 99.9th percentile of one span, in µs, beside the writing pump."""
    taken = []
    for _ in range(TAIL_CALLS):
        start = time.perf_counter_ns()
        tracer.complete_span(
            tracer.start_span(trace_id, "step", parent_span_id=PARENT_ID, attributes=ATTRIBUTES)
        )
        taken.append(time.perf_counter_ns() - start)
        while time.perf_counter_ns() - start < 20_000:  # 50,000 a second
            pass
    return percentile(sorted(taken), 0.999) / 1000


def call() -> list[Result]:
    """G9."""
    with tempfile.TemporaryDirectory() as folder:
        store = ax_monitor.Store(Path(folder) / "monitor.db")
        with store:
            tracer = ax_monitor.DistributedTracer(store)
            series = interleaved(
                {
                    "span": _between(_ids(tracer, TRACE_ID), store),
                    "not sampled": _ids(tracer, ""),
                    "block": _between(_block(tracer), store),
                    "by hand": _by_hand,
                }
            )
        with ax_monitor.Store(Path(folder) / "tail.db") as store:
            tracer = ax_monitor.DistributedTracer(store)
            store.flush_at(buffer_size=1000, flush_interval_ms=20)
            tail = _tail(tracer, TRACE_ID)
            tail_off = _tail(tracer, "")
    span, off = series["span"], series["not sampled"]
    by_hand = ratio(span, series["by hand"])

    def tail_line(what: str, tail_us: float) -> Result:
        return Result(
            "G9",
            f"{what}: p99.9",
            f"{tail_us:.1f} µs",
            "≤ 20 µs",
            figure=tail_us,
            limit=20,
            duration=True,
        )

    return [
        Result(
            "G9",
            "span start + complete, parent and 3 attributes",
            f"{span.median:.0f} ns ± {span.spread:.0%} ({by_hand.median:.2f} × a slotted object "
            f"by hand; as a block {series['block'].median:,.0f} ns)",
            "≤ 700 ns",
            figure=span.median,
            limit=700,
            spread=span.spread,
            duration=True,
        ),
        tail_line("the same", tail),
        Result(
            "G9",
            "the same, not sampled",
            f"{off.median:.0f} ns ± {off.spread:.0%}",
            "≤ 100 ns",
            figure=off.median,
            limit=100,
            spread=off.spread,
            duration=True,
        ),
        tail_line("the same, not sampled", tail_off),
    ]


def read() -> list[Result]:
    """G10."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ax_monitor.Store(Path(folder) / "monitor.db") as store,
    ):
        tracer = ax_monitor.DistributedTracer(store)
        ids = []
        for number in range(200):
            with tracer.trace(f"run-{number}", "root") as root:
                ids.append(root.trace_id)
                root.add_event("progress", {"step": 0})
                for step in range(SPANS - 1):
                    with tracer.span("step", attributes=ATTRIBUTES) as span:
                        span.add_event("progress", {"step": step})
        store.flush()
        taken = []
        for number in range(QUERIES):
            start = time.perf_counter_ns()
            trace = tracer.get_trace(ids[number % len(ids)])
            taken.append((time.perf_counter_ns() - start) / 1e6)
            assert trace is not None
            assert len(trace.spans) == SPANS
    taken.sort()
    p95 = percentile(taken, 0.95)
    return [
        Result(
            "G10",
            f"get_trace with {SPANS} spans and {SPANS} events",
            f"p50 {percentile(taken, 0.5):.2f} ms, p95 {p95:.2f} ms",
            "p95 ≤ 2 ms",
            figure=p95,
            limit=2,
            duration=True,
        )
    ]


def run() -> list[Result]:
    """Both."""
    return call() + read()

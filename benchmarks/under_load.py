"""The tail of recording calls under all that goes on at once, beside what Python's threads do anyway.

Four threads and an event loop record logs, spans, samples and steps at a set rate. Beside them a
thread asks, another evaluates an alert rule, a third deletes what is old; the pump writes, and the
garbage collector runs. Each call is timed by itself. In turn with that, the same threads make the same
calls, beside the same work, into Cython methods that are empty, and into such that only take as long as
a recording call does, with the GIL held. What those show is the switching of threads: who loses the
GIL or the processor within a call waits, whatever is called, and the longer a call, the more often.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ax_monitor
from ax_monitor.bench import payload
from ax_monitor.bench.corpus import fill_logs
from ax_monitor.bench.harness import Series, percentile, percentile_if_known, ratio
from ax_monitor.bench.operations import SEARCH
from benchmarks.figures import Curve, Panel, draw, tail_curve
from benchmarks.harness import Result, bench_folder, say
from benchmarks.reference import axref

RATE = 20_000  # recording calls a second, of all recorders together
THREADS = 4
SECONDS = 2.2
ROUNDS = 3
FILLED = 50_000  # log records that there are to ask for
OLD = 10_000  # and those that are deleted, in each round
OLD_DAYS = 40
METRIC = "api.request.duration"
LABELS = {"route": "/orders"}
TIMER_S = 0.001

KINDS = ("log", "span", "sample", "step")
A_BURST = (4, 1, 2, 1)  # of each; spans and steps are two calls, their start and their end
BURST_CALLS = 10
OURS, EMPTY, SPIN = "recording", "empty call", "call that only takes as long"

Calls = dict[str, "array[int]"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is called: ours, or what has our signatures and does nothing."""

    logs: Any
    spans: Any
    samples: Any
    steps: Any
    execution_id: str


class Recorder:
    """One of those that record: bursts of calls, each timed, in ns."""

    def __init__(self, target: Target, texts: Sequence[str], chosen: int) -> None:
        self.target = target
        self.texts = texts
        self.execution_id, self.trace_id = payload.executions(0)[0]
        self.number = chosen
        self.calls: Calls = {kind: array("q") for kind in KINDS}

    def burst(self) -> None:
        clock, target = time.perf_counter_ns, self.target
        logs, spans, samples, steps = (self.calls[kind].append for kind in KINDS)
        n_logs, n_spans, n_samples, n_steps = A_BURST
        self.number += 1
        for each in range(n_logs):
            text = self.texts[(self.number * n_logs + each) % len(self.texts)]
            start = clock()
            target.logs.info(
                text,
                payload.SOURCE,
                execution_id=self.execution_id,
                trace_id=self.trace_id,
                span_id=payload.SPAN_ID,
                tenant_id=payload.TENANT_ID,
                metadata=payload.METADATA,
            )
            logs(clock() - start)
        for _ in range(n_spans):
            start = clock()
            span_id = target.spans.start_span(
                self.trace_id,
                "step",
                parent_span_id=payload.SPAN_ID,
                attributes=payload.SPAN_ATTRIBUTES,
            )
            spans(clock() - start)
            start = clock()
            target.spans.complete_span(span_id)
            spans(clock() - start)
        for _ in range(n_samples):
            start = clock()
            target.samples.record(12.5)
            samples(clock() - start)
        for _ in range(n_steps):
            start = clock()
            step_id = target.steps.start_step(target.execution_id, "load", "Load data")
            steps(clock() - start)
            start = clock()
            target.steps.complete_step(step_id, tokens_used=1200, cost=0.004)
            steps(clock() - start)


# -- who records -----------------------------------------------------------------------------------


def _in_thread(recorder: Recorder, seconds: float, period_s: float) -> None:
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        recorder.burst()
        due += period_s
        time.sleep(max(0.0, due - time.perf_counter()))


async def _in_loop(recorder: Recorder, seconds: float, period_s: float) -> None:
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        recorder.burst()
        due += period_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def _timers(late_ns: array[int], seconds: float) -> None:
    """By how much a timer of the loop comes too late, again and again."""
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await asyncio.sleep(TIMER_S)
        late_ns.append(max(0, round((time.perf_counter() - start - TIMER_S) * 1e9)))


async def _loop(recorder: Recorder, late_ns: array[int], seconds: float, period_s: float) -> None:
    await asyncio.gather(_in_loop(recorder, seconds, period_s), _timers(late_ns, seconds))


# -- what goes on beside them ----------------------------------------------------------------------


def _work_beside(monitor: ax_monitor.Monitor, executions: list[str]) -> list[Callable[[], object]]:
    """What is done again and again, each by a thread of its own."""
    asked = 0

    def ask() -> None:
        nonlocal asked
        now_ms = monitor.store.clock.time_ms()
        asked += 1
        monitor.logger.query_logs(search=SEARCH, end_time=now_ms, limit=50)
        monitor.logger.get_execution_logs(executions[asked % len(executions)])
        monitor.metrics.get_aggregation(METRIC, now_ms - 60_000, now_ms)

    return [ask, monitor.alerts.evaluate_now, monitor.retention.run]


def _repeat(work: Callable[[], object], stop: threading.Event) -> None:
    while not stop.wait(0.01):
        work()


def _leave_old(monitor: ax_monitor.Monitor, texts: Sequence[str], records: int) -> None:
    """Log records for the retention to delete."""
    begin_ns = time.time_ns() - OLD_DAYS * 86_400_000_000_000
    for number in range(records):
        monitor.logger.log_at(
            9,
            texts[number % len(texts)],
            payload.SOURCE,
            timestamp_ns=begin_ns + number * 100_000,
            metadata=payload.METADATA,
        )
    monitor.flush()


# -- one round -------------------------------------------------------------------------------------


def _round(
    target: Target, texts: Sequence[str], beside: list[Callable[[], object]], seconds: float
) -> tuple[Calls, array[int]]:
    """So many seconds of it: what the calls took, and by how much timers came late, in ns."""
    recorders = [Recorder(target, texts, number * 1000) for number in range(THREADS + 1)]
    late_ns = array("q")
    period_s = len(recorders) * BURST_CALLS / RATE
    stop = threading.Event()
    with ThreadPoolExecutor(THREADS + 1 + len(beside)) as pool:
        working = [pool.submit(_repeat, work, stop) for work in beside]
        recording = [
            pool.submit(asyncio.run, _loop(recorders[0], late_ns, seconds, period_s)),
            *(pool.submit(_in_thread, each, seconds, period_s) for each in recorders[1:]),
        ]
        try:
            for future in recording:
                future.result()
        finally:
            stop.set()
        for future in working:
            future.result()
    calls: Calls = {kind: array("q") for kind in KINDS}
    for recorder in recorders:
        for kind in KINDS:
            calls[kind].extend(recorder.calls[kind])
    return calls, late_ns


@dataclass(slots=True)
class Found:
    """What was measured of one way to call: by kind, all rounds together, and the tail of each."""

    calls: Calls = field(default_factory=lambda: {kind: array("q") for kind in KINDS})
    late_ns: array[int] = field(default_factory=lambda: array("q"))
    p999: Series = field(default_factory=Series)
    p9999: Series = field(default_factory=Series)
    seconds: float = 0.0

    def add(self, calls: Calls, late_ns: array[int], seconds: float) -> None:
        self.seconds += seconds
        for kind in KINDS:
            self.calls[kind].extend(calls[kind])
        self.late_ns.extend(late_ns)
        together = sorted(each for kind in KINDS for each in calls[kind])
        self.p999.values.append(percentile(together, 0.999))
        self.p9999.values.append(percentile(together, 0.9999))

    def sorted(self, *kinds: str) -> list[int]:
        return sorted(each for kind in kinds or KINDS for each in self.calls[kind])


def _empty() -> Target:
    empty = axref.Empty()
    return Target(empty, empty, empty, empty, "")


def _ours(monitor: ax_monitor.Monitor) -> Target:
    return Target(
        monitor.logger,
        monitor.tracer,
        monitor.metrics.series(METRIC, labels=LABELS),
        monitor.workflows,
        monitor.workflows.start_execution("import", "import", "acme", "user"),
    )


def _as_long(ours: Found, empty: Found) -> Target:
    """Calls that take as long as the median of ours does, kind by kind."""

    def spin(kind: str) -> Any:
        longer = percentile(ours.sorted(kind), 0.5) - percentile(empty.sorted(kind), 0.5)
        return axref.Spin(max(longer, 0))

    logs, spans, samples, steps = map(spin, KINDS)
    return Target(logs, spans, samples, steps, "")


def _measure(path: Path, rounds: int, seconds: float) -> dict[str, Found]:
    texts = payload.messages(10_000)
    ways = {way: Found() for way in (OURS, EMPTY, SPIN)}
    with ax_monitor.open(path) as monitor:
        executions = [each for each, _ in fill_logs(monitor.logger, FILLED)[:-1]]
        monitor.alerts.create_rule(
            "Slow",
            "Never",
            METRIC,
            {"operator": "gt", "threshold": 1e9, "window_ms": 60_000, "aggregation": "p95"},
            "warning",
        )
        beside = _work_beside(monitor, executions)
        for _ in range(rounds):
            for way, found in ways.items():
                if way == OURS:
                    target = _ours(monitor)
                else:
                    target = _empty() if way == EMPTY else _as_long(ways[OURS], ways[EMPTY])
                _leave_old(monitor, texts, OLD)
                start = time.perf_counter()
                calls, late_ns = _round(target, texts, beside, seconds)
                found.add(calls, late_ns, time.perf_counter() - start)
        monitor.flush()
        stats = monitor.store.stats()
        assert not stats.dropped, stats
        assert monitor.alerts.list_alerts() == []
        kept = FILLED + len(ways[OURS].calls["log"])
        assert monitor.logger.get_log_count() < kept + rounds * len(ways) * OLD, (
            "nothing was deleted"
        )
    return ways


def _us(values: Sequence[int], share: float) -> str:
    found = percentile_if_known(values, share)
    return "–" if found is None else f"{found / 1000:,.1f}"


def _figures(values: Sequence[int]) -> str:
    names = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}
    known = ", ".join(f"{name} {_us(values, share)}" for name, share in names.items())
    return f"{known}, max {values[-1] / 1000:,.0f} µs"


def _results(ways: dict[str, Found]) -> list[Result]:
    ours = ways[OURS].sorted()
    results = [
        Result(
            "",
            f"recording call, {len(ours) / ways[OURS].seconds:,.0f} a second from {THREADS} threads and an "
            "event loop, beside the pump, queries, a rule and retention",
            _figures(ours),
        ),
        Result(
            "", "the same threads and work, a call that only takes as long", _figures(ways[SPIN].sorted())
        ),
        Result("", "the same, an empty call", _figures(ways[EMPTY].sorted())),
    ]  # fmt: skip
    for name in ("p999", "p9999"):
        mine = getattr(ways[OURS], name)
        compared = []
        for way in (SPIN, EMPTY):
            other = getattr(ways[way], name)
            times = ratio(mine, other)
            compared.append(
                f"{times.median:.1f} × ± {times.spread:.0%} that of the {way} "
                f"({(mine.median - other.median) / 1000:+,.1f} µs)"
            )
        results.append(
            Result("", f"{name.replace('p99', 'p99.')} of a recording call", ", ".join(compared))
        )
    results += [
        Result("", f"of the recording calls, {what}", _figures(ways[OURS].sorted(kind)))
        for kind, what in zip(
            KINDS, ("log calls", "spans (start, end)", "samples", "steps (start, end)"), strict=True
        )
    ]
    results += [
        Result(
            "",
            f"a timer of {TIMER_S * 1000:.0f} ms in that event loop is late, {what}",
            _figures(sorted(ways[way].late_ns)),
        )
        for way, what in ((OURS, "recording"), (EMPTY, "with empty calls instead"))
    ]
    return results


def run(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Result]:
    """So many rounds of each way, in turn."""
    with bench_folder() as folder:
        ways = _measure(folder / "monitor.db", rounds, seconds)
    say(f"   {sum(len(found.sorted()) for found in ways.values()):,} calls")

    def panel(title: str, axis: str, values: dict[str, list[int]]) -> Panel:
        curves = []
        for way in ways:
            x, y = tail_curve(values[way])
            curves.append(Curve(way, x, [max(each, 1) / 1000 for each in y]))
        interval_us = sys.getswitchinterval() * 1e6
        curves.append(Curve("the GIL's switch interval", [1, x[-1]], [interval_us, interval_us]))
        return Panel(title, axis, "takes at least, µs", curves, markers=False)

    draw(
        "under-load",
        [
            panel(
                "recording calls", "one call in …",
                {way: found.sorted() for way, found in ways.items()},
            ),
            panel(
                "timer of the event loop: how late", "one timer in …",
                {way: sorted(found.late_ns) for way, found in ways.items()},
            ),
        ],
    )  # fmt: skip
    return _results(ways)

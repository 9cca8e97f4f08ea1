"""G13 and a part of G17: what a pass over all alert rules takes, and what windows and rules hold."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ax_monitor._native import RULE_AGGREGATIONS, RULE_OPERATORS, RuleTable
from ax_monitor.bench.harness import Series
from benchmarks.harness import Result

SERIES = 10_000
RULES_A_SERIES = 10
WINDOW_MS = 300_000
PANE_MS = 5000
PASSES = 25
BLOCKS = 16
MINUTE = 28_000_000
NEVER = 1e12


class Feed:
    """A table of rules, and samples for it: log-normal latencies, pane by pane, on a clock."""

    def __init__(self, samples_a_pane: int, n_series: int = SERIES) -> None:
        chosen = random.Random(13)
        self.n_series = n_series
        self.table = RuleTable()
        self.n = samples_a_pane
        self.values = [
            struct.pack(
                f"<{self.n}d", *(chosen.lognormvariate(3, 1) for _ in range(samples_a_pane))
            )
            for _ in range(BLOCKS)
        ]
        self.panes = 0
        for series in range(n_series):
            self.table.watch(series, self.table.add_window(WINDOW_MS, quantiles=True))

    @property
    def now_ms(self) -> int:
        return MINUTE * 60_000 + self.panes * PANE_MS - 1

    def add_rules(self, threshold: float, rules_a_series: int = RULES_A_SERIES) -> None:
        """Rules that share a window, over every aggregate there is."""
        for rule in range(rules_a_series):
            for window in range(self.n_series):
                self.table.add_rule(
                    window,
                    operator=RULE_OPERATORS.index("gt"),
                    aggregation=rule % len(RULE_AGGREGATIONS),
                    threshold=threshold,
                    cooldown_ms=300_000,
                )

    def fill(self, panes: int) -> float:
        """Samples of so many panes for every series; seconds of processor time that takes."""
        taken = 0.0
        for _ in range(panes):
            minute, start = MINUTE + self.panes * PANE_MS // 60_000, self.panes * PANE_MS % 60_000
            offsets = [start + i * PANE_MS // self.n for i in range(self.n)]
            blocks = [struct.pack(f"<{self.n}H", *offsets) + values for values in self.values]
            self.panes += 1
            self.table.advance(self.now_ms)
            feed, started = self.table.feed, time.process_time()
            for series in range(self.n_series):
                feed(series, minute, blocks[series % BLOCKS])
            taken += time.process_time() - started
        return taken


def _runqueue_ns() -> int:
    """For how long this thread has waited for a processor, ever; 0 where the system does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except OSError:
        return 0


class GilWaits:
    """A thread that does nothing but Python, and notices for how long it could not.

    On a busy machine it waits for a processor too; that is told apart.
    """

    def __init__(self) -> None:
        self.longest_ns = 0
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        last, queued = time.perf_counter_ns(), _runqueue_ns()
        while not self._stop:
            now = time.perf_counter_ns()
            if now - last > 100_000:
                before, queued = queued, _runqueue_ns()
                self.longest_ns = max(self.longest_ns, now - last - (queued - before))
                now = time.perf_counter_ns()
            last = now

    def during(self, work: Callable[[], object]) -> float:
        """The longest wait for the GIL, in ms, while another thread does this work."""
        time.sleep(0.01)
        self.longest_ns = 0
        work()
        time.sleep(0.01)  # what the end of the work held up shows only now
        return self.longest_ns / 1e6

    def __enter__(self) -> GilWaits:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop = True
        self._thread.join()


def evaluate() -> list[Result]:
    """G13: passes at 10 samples a second and series, each over windows that have moved on."""
    feed = Feed(samples_a_pane=50)
    feed.add_rules(threshold=NEVER)
    feed.fill(WINDOW_MS // PANE_MS)
    taken, still, waits, alone = Series(), Series(), Series(), Series()
    for i in range(PASSES):
        feed.fill(1)
        started = time.perf_counter()
        assert feed.table.evaluate(feed.now_ms, i * 10) == []
        taken.values.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        feed.table.evaluate(feed.now_ms, i * 10 + 1)
        still.values.append((time.perf_counter() - started) * 1000)
    with GilWaits() as gil:
        for i in range(PASSES):
            waits.values.append(gil.during(lambda i=i: feed.table.evaluate(feed.now_ms, i)))  # type: ignore[misc]
            alone.values.append(gil.during(lambda: time.sleep(0.02)))
    storm = _storm()
    n = SERIES * RULES_A_SERIES
    return [
        Result(
            "G13",
            f"evaluation of {n:,} rules over {SERIES:,} series, quantiles among them",
            f"{taken.median:.1f} ms ±{taken.spread:.0%} ({taken.median / n * 1e6:.0f} ns a rule; "
            f"again at once {still.median:.1f} ms)",
            "≤ 30 ms",
            figure=taken.median,
            limit=30,
            spread=taken.spread,
            duration=True,
        ),
        Result(
            "G13",
            "longest wait of another thread for the GIL in a pass",
            f"{waits.median:.2f} ms (max {max(waits.values):.2f} ms, without a pass "
            f"{alone.median:.2f} ms)",
            "≤ 3 ms",
            figure=waits.median,
            limit=3,
            duration=True,
        ),
        storm,
    ]


def _storm() -> Result:
    """All rules trigger in one pass: that many objects are made with the GIL held."""
    feed = Feed(samples_a_pane=5)
    feed.add_rules(threshold=0.0)
    feed.fill(1)
    waits, taken = Series(), Series()
    with GilWaits() as gil:
        for i in range(PASSES // 5):
            found: list[object] = []

            def run(now: int = i * 300_000, found: list[object] = found) -> None:
                started = time.perf_counter()
                found += feed.table.evaluate(feed.now_ms, now)
                taken.values.append((time.perf_counter() - started) * 1000)

            waits.values.append(gil.during(run))
            assert len(found) == SERIES * RULES_A_SERIES
    return Result(
        "G13",
        "the same if all of them trigger at once",
        f"{waits.median:.2f} ms (max {max(waits.values):.2f} ms; the pass, beside that thread: "
        f"{taken.median:.0f} ms)",
        "≤ 3 ms",
        figure=waits.median,
        limit=3,
        duration=True,
    )


def resident_mb() -> float:
    """What this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def _measure_memory() -> None:
    """In a process of its own: a million samples a second for longer than the windows are."""
    before = resident_mb()
    feed = Feed(samples_a_pane=500)
    seconds = feed.fill(WINDOW_MS // PANE_MS + 6)
    windows = resident_mb() - before
    started = time.perf_counter()
    feed.add_rules(threshold=NEVER)
    adding = time.perf_counter() - started
    feed.table.evaluate(feed.now_ms, 0)
    figures = {
        "windows_mb": windows,
        "rules_mb": resident_mb() - before - windows,
        "adding_ms": adding * 1000,
        "sample_ns": seconds / (feed.panes * feed.n * SERIES) * 1e9,
        "late": feed.table.late + feed.table.future,
    }
    print(json.dumps(figures))


def memory() -> list[Result]:
    """The windows and rules of G17."""
    code = "from benchmarks import alerting; alerting._measure_memory()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    assert figures["late"] == 0
    n = SERIES * RULES_A_SERIES
    return [
        Result(
            "G17",
            f"memory of {SERIES:,} windows with quantiles, 5 minutes, 1M samples/s into them",
            f"{figures['windows_mb']:.0f} MB",
            "≤ 300 MB",
            figure=figures["windows_mb"],
            limit=300,
        ),
        Result(
            "",
            "the same: processor time",
            f"{figures['sample_ns']:.0f} ns a sample ({figures['sample_ns'] / 10:.1f} % of a core)",
        ),
        Result(
            "G17",
            f"memory of {n:,} rules",
            f"{figures['rules_mb']:.1f} MB (added in {figures['adding_ms']:.0f} ms)",
            "≤ 20 MB",
            figure=figures["rules_mb"],
            limit=20,
        ),
    ]


def run() -> list[Result]:
    """Both."""
    return evaluate() + memory()

"""How costs grow: with the records, the series, the rules and the processes that there are.

Each curve gets a power law: `n^a` is the line that fits best, in least squares of the logarithms. A
cost that does not depend on size has an exponent of 0, one that is proportional to it has 1. Where
small sizes show what a call takes anyway, the fit begins above them; the figures show all of it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import apsw
import numpy as np

import ax_monitor
from ax_monitor.bench import payload
from ax_monitor.bench.harness import Series, percentile, ratio, timed
from benchmarks import alerting, search
from benchmarks.figures import Curve, Panel, draw, exponent
from benchmarks.harness import Result, bench_folder, say

LIMIT = 0.15

ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
SERIES = (1, 10, 100, 1000, 10_000)
RULES = (1, 10, 100, 1000, 10_000, 100_000)
PROCESSES = (1, 2, 4, 8)

SAMPLES = 100_000  # of all series together, from one flush to the next
WATCHED = 1000  # samples of the one series that is aggregated
HOUR_MS = 3_600_000
RECORDS = 400_000  # of all processes together
LARGE = 1_000_000  # buffers that the pump does not wake for
REPEATS = 5
PASSES = 15


def _short(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def _result(
    what: str, costs: dict[int, Series], unit: str, *, start: int = 0, goal: str = ""
) -> Result:
    """The line of a curve: one fit for each repeat, from a size on."""
    sizes = [size for size in costs if size >= start]
    repeats = zip(*(costs[size].values for size in sizes), strict=True)
    found = Series([exponent(sizes, repeat) for repeat in repeats])
    deviation = abs(found.spread * found.median) if len(found.values) > 1 else 0.0
    around = f" ± {deviation:.2f}" if deviation else ""
    first, last = costs[sizes[0]].median, costs[sizes[-1]].median
    return Result(
        goal,
        f"{what}, from {sizes[0]:,} to {sizes[-1]:,}",
        f"n^{found.median:.2f}{around} ({_short(first)} {unit} at {sizes[0]:,}, {_short(last)} {unit} at {sizes[-1]:,})",
        f"≤ n^{LIMIT}",
        figure=found.median,
        limit=LIMIT,
        spread=abs(deviation / found.median) if found.median else 0.0,
    )


def _floor(what: str, costs: dict[int, Series], floor: dict[int, Series]) -> Result:
    """The line of a curve beside what cannot be done without."""
    shares = (f"{ratio(costs[n], floor[n]).median:.1f} × at {n:,}" for n in costs)
    return Result("", what, f"{', '.join(shares)} ({_short(floor[max(costs)].median)} ns there)")


def _curve(label: str, costs: dict[int, Series]) -> Curve:
    return Curve(label, list(costs), [each.median for each in costs.values()])


# -- log records -----------------------------------------------------------------------------------


def rows(sizes: Sequence[int] = ROWS) -> list[Result]:
    """Recording and asking, in databases of so many records: those that `search` measures."""
    found = {n: search.measure(n) for n in sizes}
    record = {n: Series([each.record_us]) for n, each in found.items()}
    names = {
        "search": 'search `timeout OR "rate limit"`, newest 50',
        "execution": "logs of an execution (100)",
        "errors": "error logs (100)",
        "recent": "recent logs (100)",
    }
    asked = {
        name: {n: Series([each.queries[name].median]) for n, each in found.items()}
        for name in names
    }
    draw(
        "growth-logs",
        [
            Panel(
                "recorded until committed", "log records in the database", "µs a record",
                [_curve("log record", record)],
            ),
            Panel(
                "queries, median", "log records in the database", "ms",
                [_curve(names[name].replace("`", ""), costs) for name, costs in asked.items()],
            ),
        ],
    )  # fmt: skip
    return [
        _result("a log record until it is committed, by records in the database", record, "µs"),
        *(
            _result(f"{names[name]}: median, by records", costs, "ms", goal="G7" if name == "search" else "G8")
            for name, costs in asked.items()
        ),
    ]  # fmt: skip


# -- series and rules ------------------------------------------------------------------------------


def _floor_database(path: str, rows: int) -> apsw.Connection:
    """A table like that of the chunks, and one of so many rows to insert there."""
    connection = apsw.Connection(path)
    connection.execute(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536; "
        "CREATE TABLE source(series INTEGER PRIMARY KEY, samples BLOB); "
        "CREATE TABLE chunks(chunk INTEGER PRIMARY KEY, batch INTEGER NOT NULL, "
        "series INTEGER NOT NULL, minute INTEGER NOT NULL, samples BLOB NOT NULL); "
        "CREATE UNIQUE INDEX chunks_key ON chunks(batch, series, minute)"
    ).fetchall()
    size = SAMPLES // rows * 10
    with connection:
        connection.executemany(
            "INSERT INTO source VALUES (random() >> 2, zeroblob(?))", ((size,),) * rows
        )
    return connection


class _Collected:
    """A database with so many series of one metric; one of them has WATCHED samples an hour ago."""

    def __init__(self, path: Path, n: int) -> None:
        self.store = ax_monitor.Store(path)
        self.floor = _floor_database(f"{path}.floor", n)
        self.metrics = ax_monitor.MetricsCollector(
            self.store, buffer_size=LARGE, flush_interval_ms=LARGE, max_series=n
        )
        self.labels = [{"route": f"/{number}"} for number in range(n)]
        self.start_ms = (self.store.clock.time_ms() // HOUR_MS - 1) * HOUR_MS + 137
        times = self.start_ms + 1000 * np.arange(WATCHED, dtype=np.int64)
        values = np.random.default_rng(7).lognormal(3, 1, WATCHED)
        for labels in self.labels:
            self.metrics.record("growth", 1.0, labels=labels)
        self.metrics.record_many("growth", values, times, labels=self.labels[0])
        self.store.flush()

    def record(self) -> float:
        """ns a sample by name and label, series by series."""
        record, turns = self.metrics.record, SAMPLES // len(self.labels)
        start = time.perf_counter_ns()
        for _ in range(turns):
            for labels in self.labels:
                record("growth", 12.5, labels=labels)
        return (time.perf_counter_ns() - start) / SAMPLES

    def flush(self) -> float:
        """ns a sample."""
        return timed(self.store.flush) / SAMPLES * 1e9

    def insert(self) -> float:
        """ns a sample of a flush that only inserts: rows of that size, from a table, and a commit."""
        start = time.perf_counter_ns()
        self.floor.execute(
            "INSERT INTO chunks(batch, series, minute, samples) "
            "SELECT coalesce((SELECT max(batch) FROM chunks), 0) + 1, series, 1, "
            "samples FROM source"
        )
        return (time.perf_counter_ns() - start) / SAMPLES

    def aggregate(self) -> float:
        """µs for the one series."""
        start = time.perf_counter_ns()
        found = self.metrics.get_aggregation(
            "growth",
            self.start_ms,
            self.start_ms + WATCHED * 1000,
            labels=self.labels[0],
        )
        taken = time.perf_counter_ns() - start
        assert found is not None
        assert found.count == WATCHED
        return taken / 1000


def series(sizes: Sequence[int] = SERIES) -> tuple[list[Result], list[Panel]]:
    """A metric of so many series: the same number of samples, spread over them."""
    recorded, flushed, inserted, aggregated = ({n: Series() for n in sizes} for _ in range(4))
    with bench_folder() as folder:
        databases = {n: _Collected(folder / f"{n}.db", n) for n in sizes}
        for _ in range(REPEATS):
            for n, each in databases.items():
                recorded[n].values.append(each.record())
                flushed[n].values.append(each.flush())
                inserted[n].values.append(each.insert())
                aggregated[n].values.append(
                    statistics.median(each.aggregate() for _ in range(REPEATS))
                )
        for each in databases.values():
            assert not each.store.stats().dropped
            each.store.close()
            each.floor.close()
    results = [
        _result("`record(name, v, labels=…)`, by series of the metric", recorded, "ns"),
        _result(f"a sample of {SAMPLES:,}, from the ring to committed, by series", flushed, "ns"),
        _floor("the same, of what SQLite takes to insert such rows, and to commit", flushed, inserted),
        _result(f"`get_aggregation` of one series ({WATCHED:,} samples), by series", aggregated, "µs", start=100),
    ]  # fmt: skip
    panels = [
        Panel(
            "samples", "series of the metric", "ns a sample",
            [
                _curve("record by name and labels", recorded),
                _curve("flush", flushed),
                _curve("SQLite alone, rows of that size", inserted),
            ],
        ),
        Panel(
            "aggregation", "series of the metric", "µs",
            [_curve(f"one series, {WATCHED:,} samples", aggregated)],
        ),
    ]  # fmt: skip
    return results, panels


def rules(sizes: Sequence[int] = RULES) -> tuple[list[Result], list[Panel]]:
    """A pass over so many rules, ten to a series where there are so many."""
    costs: dict[int, Series] = {}
    for n in sizes:
        of_a_series = min(n, alerting.RULES_A_SERIES)
        feed = alerting.Feed(samples_a_pane=50, n_series=n // of_a_series)
        feed.add_rules(alerting.NEVER, of_a_series)
        feed.fill(alerting.WINDOW_MS // alerting.PANE_MS)
        costs[n] = Series()
        for number in range(PASSES):
            feed.fill(1)
            start = time.perf_counter_ns()
            assert feed.table.evaluate(feed.now_ms, number) == []
            costs[n].values.append((time.perf_counter_ns() - start) / n)
    return (
        [_result("evaluation of a rule, by rules", costs, "ns", start=100)],
        [Panel("evaluation", "rules", "ns a rule", [_curve("alert rule", costs)])],
    )


# -- processes -------------------------------------------------------------------------------------


def write(path: str, records: int, number: int) -> None:
    """A process of several: say when ready, and begin when told; print when it began and ended."""
    texts, pairs = payload.messages(10_000), payload.executions(records)
    taken = array("q")
    clock = time.perf_counter_ns
    with ax_monitor.Store(path, ring_bytes=128 * 1024 * 1024) as store:
        info = ax_monitor.StructuredLogger(store).info
        print("ready", flush=True)
        input()
        begun = time.monotonic()
        for i in range(records):
            execution_id, trace_id = pairs[i // payload.LOGS_PER_EXECUTION]
            start = clock()
            info(
                texts[i % 10_000],
                payload.SOURCE,
                execution_id=execution_id,
                trace_id=trace_id,
                span_id=payload.SPAN_ID,
                tenant_id=payload.TENANT_ID,
                metadata=payload.METADATA,
            )
            taken.append(clock() - start)
        failed = 0
        while not store.flush():  # another process had the lock for longer than this one waits
            failed += 1
        ended = time.monotonic()
        assert not store.stats().dropped
    Path(f"{path}.{number}.calls").write_bytes(taken.tobytes())
    print(begun, ended, failed)


def _together(path: Path, n: int) -> tuple[float, float, int]:
    """`n` processes on one file.

    µs a record until all are committed, p99 of a call in ns, and how often a flush failed because
    the database stayed locked.
    """
    code = "import sys; from benchmarks import growth; growth.write(sys.argv[1], *map(int, sys.argv[2:]))"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(RECORDS // n), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(n)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        told = [tuple(map(float, child.communicate()[0].split())) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert all(child.returncode == 0 for child in children)
    calls = array("q")
    for number in range(n):
        calls.frombytes(Path(f"{path}.{number}.calls").read_bytes())
    begun, ended, failed = zip(*told, strict=True)
    us = (max(ended) - min(begun)) / len(calls) * 1e6
    return us, percentile(sorted(calls), 0.99), round(sum(failed))


def processes(sizes: Sequence[int] = PROCESSES) -> list[Result]:
    """So many processes write as many records together as one does alone, as fast as they can."""
    costs, tails = ({n: Series() for n in sizes} for _ in range(2))
    locked = 0
    for _ in range(REPEATS - 2):
        for n in sizes:
            with bench_folder() as folder:
                cost, tail, failed = _together(folder / "monitor.db", n)
            locked += failed
            costs[n].values.append(cost)
            tails[n].values.append(tail / 1000)
    rates = {n: 1e6 / each.median for n, each in costs.items()}
    of_each = ", ".join(f"{rate / 1000:.0f} k/s by {n}" for n, rate in rates.items())
    draw(
        "growth-processes",
        [
            Panel(
                "records, until committed", "writing processes", "records a second",
                [
                    Curve("all together", list(rates), list(rates.values())),
                    Curve("each", list(rates), [rate / n for n, rate in rates.items()]),
                ],
            ),
            Panel("recording call", "writing processes", "µs", [_curve("p99", tails)]),
        ],
    )  # fmt: skip
    return [
        _result(f"a log record until it is committed, by processes on one file ({of_each})", costs, "µs"),
        Result(
            "",
            "the same: p99 of a recording call, as fast as all of them can",
            ", ".join(f"{each.median:.1f} µs with {n}" for n, each in tails.items()),
        ),
        Result(
            "",
            "the same: flushes that failed, because others had the write lock all the time",
            f"{locked}",
            "0",
            figure=locked,
            limit=0,
            duration=True,
        ),
    ]  # fmt: skip


def run(sizes: Sequence[int] = ROWS) -> list[Result]:
    """All of them, by so many records in the database."""
    results = rows(sizes)
    say("   series and rules")
    by_series, panels = series()
    by_rules, more_panels = rules()
    draw("growth-series", panels + more_panels)
    say("   processes")
    return results + by_series + by_rules + processes()

"""What records take in the file, and series and rules in memory.

The same records, as `ax monitor export` writes them, are inserted into the tables that the document
gives for them, and compressed as JSON lines: the floor of what they could take, which no query can use.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

import ax_monitor
from ax_monitor.bench.corpus import SPANS, fill_logs, fill_samples, fill_traces, seal
from ax_monitor.bench.harness import Series
from ax_monitor.cli._exported import KINDS, Wanted
from ax_monitor.storage.retention import file_size
from benchmarks.alerting import resident_mb
from benchmarks.drain import DOCUMENT_SCHEMA
from benchmarks.harness import Result, bench_folder, say

RECORDS = 50_000  # log records, and samples
TRACES = 400  # of 50 spans with an event each
SERIES = 10_000
RULES = 10_000
REPEATS = 3

Row = dict[str, Any]

DOCUMENT_TRACES = """
CREATE TABLE traces (trace_id TEXT PRIMARY KEY, workflow_execution_id TEXT NOT NULL,
  started_at INTEGER NOT NULL, completed_at INTEGER, duration INTEGER,
  span_count INTEGER NOT NULL DEFAULT 0);
CREATE TABLE spans (span_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, parent_span_id TEXT,
  name TEXT NOT NULL, kind TEXT NOT NULL, started_at INTEGER NOT NULL, completed_at INTEGER,
  duration INTEGER, status TEXT NOT NULL, attributes TEXT NOT NULL);
CREATE TABLE span_events (id TEXT PRIMARY KEY, span_id TEXT NOT NULL, timestamp INTEGER NOT NULL,
  name TEXT NOT NULL, attributes TEXT);
CREATE INDEX traces_execution ON traces(workflow_execution_id);
CREATE INDEX spans_trace ON spans(trace_id);
CREATE INDEX span_events_span ON span_events(span_id);
"""
# The document names a metric's fields and its index, and gives no table.
DOCUMENT_SAMPLES = """
CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, metric_type TEXT NOT NULL,
  value REAL NOT NULL, unit TEXT, labels TEXT NOT NULL, tenant_id TEXT);
CREATE INDEX metrics_type ON metrics(metric_type, timestamp);
"""


# -- the file --------------------------------------------------------------------------------------


def _used(path: Path) -> int:
    """Bytes of the file that are in use."""
    with ax_monitor.Store(path) as store:
        return store.read(file_size).used


def _log_rows(record: Row) -> Iterator[tuple[str, Row]]:
    yield "logs", record


def _trace_rows(record: Row) -> Iterator[tuple[str, Row]]:
    yield "traces", record
    for span in record["spans"]:
        yield "spans", {"trace_id": record["trace_id"], **span}
        for event in span["events"]:
            yield "span_events", event


def _sample_rows(record: Row) -> Iterator[tuple[str, Row]]:
    yield "metrics", {"id": None, **record}


def _document_bytes(
    path: Path,
    schema: str,
    rows: Callable[[Row], Iterator[tuple[str, Row]]],
    records: list[Row],
) -> int:
    """What the records take in the document's tables."""
    connection = apsw.Connection(str(path))
    connection.execute(schema)
    empty = path.stat().st_size
    inserts: dict[str, tuple[list[str], str]] = {}
    with connection:
        for record in records:
            for table, row in rows(record):
                if table not in inserts:
                    names = [
                        name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")
                    ]
                    marks = ", ".join("?" * len(names))
                    inserts[table] = names, f"INSERT INTO {table} VALUES ({marks})"
                names, insert = inserts[table]
                connection.execute(insert, [_cell(row[name]) for name in names])
    connection.close()
    return path.stat().st_size - empty


def _cell(value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, (dict, list)) else value


def _zstd() -> Callable[[bytes], bytes] | None:
    try:
        from compression.zstd import compress  # Python 3.14 has it
    except ImportError:
        try:
            from zstandard import compress
        except ImportError:
            return None
    return compress  # type: ignore[no-any-return]


def _sizes(
    folder: Path,
    kind: str,
    what: str,
    fill: Callable[[ax_monitor.Store], object],
    count: int,
    schema: str,
    rows: Callable[[Row], Iterator[tuple[str, Row]]],
) -> Result:
    """The line of a kind of record. Spans are in the document's tables, and have no goal."""
    path = folder / f"{kind}.db"
    empty = _used(path)
    with ax_monitor.Store(path, overflow_wait_ms=60_000) as store:
        fill(store)
    seal(path)
    ours = (_used(path) - empty) / count
    with ax_monitor.Store(path, read_only=True) as store:
        records = list(KINDS[kind].rows(store, Wanted(None, None, None)))
    document = _document_bytes(folder / f"{kind}-document.db", schema, rows, records) / count
    lines = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in records).encode()
    compressed = {"gzip": len(gzip.compress(lines, 6))}
    if (zstd := _zstd()) is not None:
        compressed["zstd"] = len(zstd(lines))
    packed = ", ".join(f"{name} {size / count:.1f}" for name, size in compressed.items())
    share = ours / document
    return Result(
        "G6" if kind == "logs" else "",
        f"bytes {what} in the file, of what the document's tables take",
        f"{share:.2f} × ({ours:.1f} against {document:.1f}; as JSON lines {len(lines) / count:.0f}, "
        f"{packed}{'' if 'zstd' in compressed else ', zstd not installed'})",
        "" if kind == "traces" else "≤ 1 ×",
        figure=share,
        limit=None if kind == "traces" else 1,
    )


def file(records: int = RECORDS, traces: int = TRACES) -> list[Result]:
    """Log records, spans and samples, each kind in a file of its own."""
    with bench_folder() as folder:
        return [
            _sizes(
                folder, "logs", "a log record",
                lambda store: fill_logs(ax_monitor.StructuredLogger(store), records),
                records, DOCUMENT_SCHEMA, _log_rows,
            ),
            _sizes(
                folder, "traces", "a span with three attributes and an event",
                lambda store: fill_traces(ax_monitor.DistributedTracer(store), traces),
                traces * SPANS, DOCUMENT_TRACES, _trace_rows,
            ),
            _sizes(
                folder, "metrics", "a sample, one a second",
                lambda store: fill_samples(
                    ax_monitor.MetricsCollector(store), records, store.clock.time_ms()
                ),
                records, DOCUMENT_SAMPLES, _sample_rows,
            ),
        ]  # fmt: skip


# -- memory, each in a process of its own ----------------------------------------------------------


def hold_series(path: str, n: int) -> None:
    """Print the bytes that a series takes, recorded by name and written."""
    with ax_monitor.Store(path) as store:
        metrics = ax_monitor.MetricsCollector(store, max_series=2 * n)

        def record(name: str, series: int) -> None:
            for number in range(series):
                metrics.record(name, 1.0, labels={"route": f"/orders/{number}"})
            store.flush()

        record("before", 100)
        before = resident_mb()
        record("series", n)
        print((resident_mb() - before) * 1e6 / n)


def hold_rules(path: str, n: int) -> None:
    """Print the bytes that a rule of the database takes, once it has been evaluated."""
    with ax_monitor.Store(path) as store:
        ax_monitor.MetricsCollector(store).record("latency", 1.0)
        store.flush()
        alerts = ax_monitor.AlertingService(store)
        before = resident_mb()
        assert alerts.evaluate_now() == []
        print((resident_mb() - before) * 1e6 / n)


def _printed(function: str, path: Path, n: int) -> float:
    code = f"import sys; from benchmarks import memory; memory.{function}(sys.argv[1], {n})"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def _write_rules(path: Path, n: int) -> None:
    """Rules of one metric with thresholds that nothing exceeds."""
    file = path.with_suffix(".toml")
    file.write_text(
        "".join(
            f'[[rules]]\nalert = "Rule {number}"\ndescription = "Too slow"\nmetric = "latency"\n'
            f'condition = "p95 > {number + 10} over 5m"\nseverity = "warning"\n'
            for number in range(n)
        )
    )
    with ax_monitor.Store(path) as store:
        ax_monitor.AlertingService(store).load_rules(file)


def held(series: int = SERIES, rules: int = RULES) -> list[Result]:
    """What the recording side of series, and the rules with all of their fields, hold in memory."""
    of_series, of_rules = Series(), Series()
    with bench_folder() as folder:
        _write_rules(folder / "rules.db", rules)
        for number in range(REPEATS):
            of_series.values.append(_printed("hold_series", folder / f"{number}.db", series))
            of_rules.values.append(_printed("hold_rules", folder / "rules.db", rules))
    return [
        Result(
            "",
            f"memory of {series:,} series that are recorded by name, without windows",
            f"{of_series.median * series / 1e6:.1f} MB ± {of_series.spread:.0%} "
            f"({of_series.median:.0f} bytes each)",
        ),
        Result(
            "",
            f"memory of {rules:,} rules as a service has them, read from the database and evaluated",
            f"{of_rules.median * rules / 1e6:.1f} MB ± {of_rules.spread:.0%} "
            f"({of_rules.median:.0f} bytes each)",
        ),
    ]


def run() -> list[Result]:
    """Both."""
    results = file()
    say("   in memory")
    return results + held()

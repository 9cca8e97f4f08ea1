"""G3 to G6: the pump beside the engine: tail latency, the engine's throughput, rate, file size."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import apsw

import ax_monitor
from ax_monitor.bench import payload
from ax_monitor.bench.harness import Series, percentile, ratio
from ax_monitor.pipeline.maintenance import MERGE_PAGES, MERGING_S
from ax_monitor.storage.search import merge_index
from ax_monitor.storage.writer import CHECKPOINT_PAGES
from benchmarks.harness import Result, bench_folder, say
from benchmarks.reference import axref

RATE = 50_000  # records a second beside the engine
MILLION = 1_000_000
DOCUMENT_ROWS = 20_000  # the document's way is too slow for a million
BATCH = 12_000  # rows a transaction of the C loop: as many as the pump takes


# -- G3, G4: beside the engine ---------------------------------------------------------------------


def _paced(
    logger: ax_monitor.StructuredLogger, seconds: float, texts: list[str], latencies: list[int]
) -> None:
    """RATE calls a second, in bursts of a millisecond, each call timed."""
    info = logger.info
    clock = time.perf_counter_ns
    pairs = payload.executions(int(RATE * seconds))
    burst = RATE // 1000
    begin = clock()
    for tick in range(int(seconds * 1000)):
        for i in range(tick * burst, (tick + 1) * burst):
            execution_id, trace_id = pairs[i // payload.LOGS_PER_EXECUTION]
            text = texts[i % len(texts)]
            start = clock()
            info(
                text,
                payload.SOURCE,
                execution_id=execution_id,
                trace_id=trace_id,
                span_id=payload.SPAN_ID,
                tenant_id=payload.TENANT_ID,
                metadata=payload.METADATA,
            )
            latencies.append(clock() - start)
        ahead = begin + (tick + 1) * 1_000_000 - clock()
        if ahead > 0:
            time.sleep(ahead / 1e9)


def tail_latency(seconds: float = 5.0) -> list[Result]:
    texts = payload.messages(50_000)
    latencies: list[int] = []
    with bench_folder() as folder, ax_monitor.Store(folder / "monitor.db") as store:
        logger = ax_monitor.StructuredLogger(store)
        _paced(logger, seconds, texts, latencies)
        batches = store.stats().batches
        dropped = store.stats().dropped
    latencies.sort()
    p50, p999, p9999 = (percentile(latencies, share) / 1000 for share in (0.5, 0.999, 0.9999))
    say(
        f"G3: {len(latencies)} calls, {batches} batches, dropped {dropped}, max {latencies[-1] / 1000:.0f} µs"
    )
    return [
        Result(
            "G3",
            "log call beside the writing pump, 50 k/s: p99.9",
            f"{p999:.1f} µs (p50 {p50:.2f} µs)",
            "≤ 20 µs",
            figure=p999,
            limit=20,
            duration=True,
        ),
        Result(
            "G3",
            "the same: p99.99",
            f"{p9999:.0f} µs",
            "≤ 1000 µs",
            figure=p9999,
            limit=1000,
            duration=True,
        ),
    ]


def _engine_rate(
    seconds: float, logger: ax_monitor.StructuredLogger | None, texts: list[str]
) -> float:
    """Units of CPU-bound Python work a second, with RATE log calls a second in between."""
    pairs = payload.executions(int(RATE * seconds) + 10_000)
    clock = time.perf_counter
    units = calls = 0
    begin = clock()
    end = begin + seconds
    while (now := clock()) < end:
        total = 0
        for i in range(200):
            total += i * i
        units += 1
        if logger is not None:
            due = int((now - begin) * RATE)
            while calls < due:
                execution_id, trace_id = pairs[calls // payload.LOGS_PER_EXECUTION]
                logger.info(
                    texts[calls % len(texts)],
                    payload.SOURCE,
                    execution_id=execution_id,
                    trace_id=trace_id,
                    span_id=payload.SPAN_ID,
                    tenant_id=payload.TENANT_ID,
                    metadata=payload.METADATA,
                )
                calls += 1
    return units / (clock() - begin)


def engine_throughput(repeats: int = 5, seconds: float = 2.5) -> list[Result]:
    """What the engine keeps: with the pump writing, against the bare recording calls.

    The bare calls go to a store whose pump sleeps: the ring takes it all.
    """
    texts = payload.messages(50_000)
    bare, pumped, alone = Series(), Series(), Series()
    for _ in range(repeats):
        alone.values.append(_engine_rate(1.0, None, texts))
        with bench_folder() as folder:
            with ax_monitor.Store(folder / "bare.db", ring_bytes=128 * 1024 * 1024) as store:
                logger = ax_monitor.StructuredLogger(store)
                _silence(store)
                bare.values.append(_engine_rate(seconds, logger, texts))
            with ax_monitor.Store(folder / "pumped.db") as store:
                logger = ax_monitor.StructuredLogger(store)
                pumped.values.append(_engine_rate(seconds, logger, texts))
                dropped = store.stats().dropped
        say(
            f"G4: alone {alone.values[-1]:.0f}, bare {bare.values[-1]:.0f}, pumped {pumped.values[-1]:.0f} units/s, dropped {dropped}"
        )
    share = ratio(pumped, bare)
    return [
        Result(
            "G4",
            "engine's throughput while 50 k records/s are written, of what the bare calls leave",
            f"{share.median:.1%} ± {share.spread:.1%} (of an engine that records nothing: {ratio(pumped, alone).median:.0%})",
            "≥ 90 %",
            figure=share.median,
            limit=0.9,
            spread=share.spread,
            at_least=True,
        )
    ]


def _silence(store: ax_monitor.Store) -> None:
    """Let the pump sleep through the measurement."""
    pump = store._recording.pump
    assert pump is not None
    pump.buffer_size = 10**9
    pump.flush_interval_ms = 10**9
    store.flush()


# -- G5, G6: a million records ------------------------------------------------------------------


def record_logs(
    logger: ax_monitor.StructuredLogger, n: int, texts: list[str], pairs: list[tuple[str, str]]
) -> None:
    """Record so many, as fast as it goes, with all of the payload."""
    info = logger.info
    for i in range(n):
        execution_id, trace_id = pairs[i // payload.LOGS_PER_EXECUTION]
        info(
            texts[i % len(texts)],
            payload.SOURCE,
            execution_id=execution_id,
            trace_id=trace_id,
            span_id=payload.SPAN_ID,
            tenant_id=payload.TENANT_ID,
            metadata=payload.METADATA,
        )


def _ours(path: Path, n: int, texts: list[str], pairs: list[tuple[str, str]]) -> float:
    """µs a record, from the first call until everything is committed and searchable."""
    with ax_monitor.Store(path, overflow_wait_ms=60_000) as store:
        logger = ax_monitor.StructuredLogger(store)
        start = time.perf_counter()
        record_logs(logger, n, texts, pairs)
        store.flush()
        found = logger.query_logs(search="timeout", limit=1)
        seconds = time.perf_counter() - start
        assert found
        assert store.stats().stored == n
        assert not store.stats().dropped
    return seconds / n * 1e6


def _c_loop(path: Path, n: int, texts: list[str], pairs: list[tuple[str, str]]) -> float:
    """µs a row of a C loop that feeds the same rows to the same schema (log_records, its indexes,
    the contexts, the full-text index once a batch, its merges between batches for as long as the
    pump does them); building the rows is not counted."""
    ax_monitor.Store(path).close()
    now = time.time_ns() // 1_000_000
    metadata = b'{"provider":"claude","attempt":3,"latency_ms":1234.5}'
    span = int(payload.SPAN_ID, 16) - 2**64
    encoded = [text.encode() for text in texts]
    rows = [
        (
            ((now + i // 100) << 12) + i % 100,
            i // payload.LOGS_PER_EXECUTION + 1,
            9,
            span,
            1,
            i + 1,
            encoded[i % len(encoded)],
            metadata,
        )
        for i in range(n)
    ]
    loop = axref.CLoop(rows)
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.enable_load_extension(True)
    connection.load_extension(axref.__file__, "sqlite3_axref_init")
    for pragma in ("synchronous=NORMAL", "wal_autocheckpoint=0", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")
    seconds = 0.0
    for first in range(0, n, BATCH):
        last = min(first + BATCH, n)
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        contexts = range(rows[first][1], rows[last - 1][1] + 1)
        connection.executemany(
            "INSERT OR IGNORE INTO log_contexts(id, source, tenant_id, execution_id, trace_id) VALUES (?, ?, ?, ?, ?)",
            [(c, payload.SOURCE, payload.TENANT_ID, *pairs[c - 1]) for c in contexts],
        )
        code = loop.insert(
            connection.sqlite3_pointer(),
            "INSERT INTO log_records(seq, context, severity, span_id, ring, ring_seq, message, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            first,
            last,
        )
        assert code == 0, code
        connection.execute(
            "INSERT INTO logs_fts(rowid, message) SELECT seq, message FROM log_records WHERE seq BETWEEN ? AND ?",
            (rows[first][0], rows[last - 1][0]),
        )
        connection.execute("COMMIT")
        end = time.perf_counter() + MERGING_S
        while merge_index(connection, MERGE_PAGES) and time.perf_counter() < end:
            pass
        if connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0] > CHECKPOINT_PAGES:
            connection.wal_checkpoint()
        seconds += time.perf_counter() - start
    connection.close()
    return seconds / n * 1e6


DOCUMENT_SCHEMA = """
CREATE TABLE logs (id TEXT PRIMARY KEY, timestamp INTEGER NOT NULL, level TEXT NOT NULL,
  message TEXT NOT NULL, source TEXT NOT NULL, execution_id TEXT, trace_id TEXT, span_id TEXT,
  tenant_id TEXT, user_id TEXT, metadata TEXT, stack_trace TEXT);
CREATE VIRTUAL TABLE logs_fts USING fts5(message, content=logs, content_rowid=rowid);
CREATE TRIGGER logs_ai AFTER INSERT ON logs BEGIN
  INSERT INTO logs_fts(rowid, message) VALUES (new.rowid, new.message); END;
CREATE INDEX logs_timestamp ON logs(timestamp);
CREATE INDEX logs_level ON logs(level);
CREATE INDEX logs_source ON logs(source);
CREATE INDEX logs_execution ON logs(execution_id);
CREATE INDEX logs_trace ON logs(trace_id);
CREATE INDEX logs_tenant ON logs(tenant_id);
"""


def _document(path: Path, n: int, texts: list[str], pairs: list[tuple[str, str]]) -> float:
    """µs a record of the document's way: 50 rows a transaction, random ids, triggers, six indexes."""
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(DOCUMENT_SCHEMA)
    start = time.perf_counter()
    for first in range(0, n, 50):
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    str(uuid.uuid4()),
                    time.time_ns() // 1_000_000,
                    "info",
                    texts[i % len(texts)],
                    payload.SOURCE,
                    *pairs[i // payload.LOGS_PER_EXECUTION],
                    payload.SPAN_ID,
                    payload.TENANT_ID,
                    None,
                    '{"provider":"claude","attempt":3,"latency_ms":1234.5}',
                    None,
                )
                for i in range(first, min(first + 50, n))
            ],
        )
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return seconds / n * 1e6


def rate_and_size(repeats: int = 5, n: int = MILLION) -> list[Result]:
    texts = payload.messages(200_000)
    pairs = payload.executions(n)
    ours, loop, document = Series(), Series(), Series()
    size = document_size = 0.0
    for _ in range(repeats):
        with bench_folder() as folder:
            ours.values.append(_ours(folder / "ours.db", n, texts, pairs))
            size = os.path.getsize(folder / "ours.db") / n
            loop.values.append(_c_loop(folder / "loop.db", n, texts, pairs))
            document.values.append(_document(folder / "document.db", DOCUMENT_ROWS, texts, pairs))
            document_size = os.path.getsize(folder / "document.db") / DOCUMENT_ROWS
        say(
            f"G5: ours {ours.values[-1]:.2f}, C loop {loop.values[-1]:.2f}, document {document.values[-1]:.1f} µs/row; {size:.0f} B/row"
        )
    against_loop, against_document = ratio(ours, loop), ratio(document, ours)
    return [
        Result(
            "G5",
            "1M logs, first call to committed and searchable, against a C loop feeding the same rows",
            f"{against_loop.median:.2f} × ± {against_loop.spread:.0%} ({ours.median:.2f} µs against {loop.median:.2f} µs: {1e3 / ours.median:.0f} k logs/s)",
            "≤ 1.3 ×",
            figure=against_loop.median,
            limit=1.3,
            spread=against_loop.spread,
        ),
        Result(
            "G5",
            "the same against the document's way of writing",
            f"{against_document.median:.1f} × ± {against_document.spread:.0%} faster ({document.median:.0f} µs/row)",
            "≥ 8 × (stretch 15 ×)",
            figure=against_document.median,
            limit=8,
            spread=against_document.spread,
            at_least=True,
        ),
        Result(
            "G6",
            "bytes a log record in the file, index included",
            f"{size:.0f} (document's schema: {document_size:.0f})",
            "≤ 300 (stretch 220)",
            figure=size,
            limit=300,
        ),
    ]


def run() -> list[Result]:
    return [*tail_latency(), *engine_throughput(), *rate_and_size()]

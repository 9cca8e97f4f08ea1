"""Tables of SQLite made by hand: peers of flushes and queries, and what the other peers by hand write to.

They are made well: narrow indexes, a full-text index without its own copy of the text, large
transactions, WAL. They keep nothing of a process that is killed before they have written it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from ax_monitor.bench import payload
from ax_monitor.bench.corpus import (
    LOG_INTERVAL_NS,
    MILLION,
    RECORDS_PER_TRACE,
    SPANS,
    TRACES_AT_LEAST,
)
from ax_monitor.bench.operations import (
    DAY_MS,
    FLUSHED_LOGS,
    FLUSHED_SAMPLES,
    LABELS,
    SEARCH,
    Case,
)
from benchmarks.peers.peer import Cases, Peer, Size

BATCH = 2000
_PAUSE_S = 0.02
_SCHEMA = """
CREATE TABLE logs (id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, level TEXT NOT NULL,
  message TEXT NOT NULL, source TEXT NOT NULL, execution_id TEXT, trace_id TEXT, span_id TEXT,
  tenant_id TEXT, metadata TEXT);
CREATE INDEX logs_timestamp ON logs(timestamp);
CREATE INDEX logs_execution ON logs(execution_id);
CREATE VIRTUAL TABLE logs_fts USING fts5(message, content=logs, content_rowid=id);
CREATE TABLE spans (span_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, parent_id TEXT, name TEXT,
  start_us INTEGER, end_us INTEGER, status TEXT, attributes TEXT, events TEXT) WITHOUT ROWID;
CREATE INDEX spans_trace ON spans(trace_id);
CREATE TABLE samples (name TEXT NOT NULL, timestamp INTEGER NOT NULL, value REAL, labels TEXT);
CREATE INDEX samples_name ON samples(name, timestamp);
"""

_LOG = ("id", "timestamp", "level", "message", "source", "execution_id", "trace_id", "span_id",
        "tenant_id", "metadata")  # fmt: skip
_SPAN = ("span_id", "trace_id", "parent_id", "name", "start_us", "end_us", "status", "attributes",
         "events")  # fmt: skip


class Database:
    """The tables. What is written comes as tuples of their columns, with objects where JSON stands."""

    def __init__(self, path: Path) -> None:
        import orjson

        self._dumps, self._loads = orjson.dumps, orjson.loads
        self.connection = apsw.Connection(str(path))
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        self.connection.execute(_SCHEMA)
        self._logs = 0

    def write_logs(self, rows: list[tuple[Any, ...]]) -> None:
        numbered = [
            (number, *row[:-1], self._json(row[-1]))
            for number, row in enumerate(rows, self._logs + 1)
        ]
        with self.connection:
            self.connection.executemany(
                "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", numbered
            )
            self.connection.execute(
                "INSERT INTO logs_fts(rowid, message) SELECT id, message FROM logs WHERE id > ?",
                (self._logs,),
            )
        self._logs += len(rows)

    def write_spans(self, rows: list[tuple[Any, ...]]) -> None:
        with self.connection:
            self.connection.executemany(
                "INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*row[:-2], self._json(row[-2]), self._json(row[-1])) for row in rows],
            )

    def write_samples(self, rows: list[tuple[Any, ...]]) -> None:
        with self.connection:
            self.connection.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, ?)",
                [(*row[:-1], self._json(row[-1])) for row in rows],
            )

    def logs(self, sql: str, bindings: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Logs as dicts, their metadata as objects."""
        found = [
            dict(zip(_LOG, row, strict=True))
            for row in self.connection.execute(f"SELECT logs.* FROM {sql}", bindings)
        ]
        for log in found:
            log["metadata"] = self._loads(log["metadata"])
        return found

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """Spans as dicts, their attributes and events as objects."""
        found = [
            dict(zip(_SPAN, row, strict=True))
            for row in self.connection.execute(
                "SELECT * FROM spans WHERE trace_id = ?", (trace_id,)
            )
        ]
        for span in found:
            span["attributes"] = self._loads(span["attributes"])
            span["events"] = self._loads(span["events"])
        return found

    def _json(self, value: object) -> str:
        return self._dumps(value).decode()


def drained(write: Callable[[list[Any]], object]) -> deque[Any]:
    """A deque, and a thread that writes what is appended to it, BATCH at a time."""
    waiting: deque[Any] = deque()

    def drain() -> None:
        while True:
            batch = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
            if batch:
                write(batch)
            if len(batch) < BATCH:
                time.sleep(_PAUSE_S)

    threading.Thread(target=drain, daemon=True).start()
    return waiting


def _logs(folder: Path, records: int) -> Cases:
    """The records of the corpus, and what is asked of them."""
    path = folder / "logs.db"
    database = Database(path)
    empty_bytes = os.path.getsize(path)
    texts = payload.messages(10_000)
    executions = payload.executions(records)
    begin_ms = (time.time_ns() - records * LOG_INTERVAL_NS) // 1_000_000

    def row(number: int) -> tuple[Any, ...]:
        return (
            begin_ms + number * LOG_INTERVAL_NS // 1_000_000,
            "error" if number % 100 == 0 else "info",
            texts[number % len(texts)],
            payload.SOURCE,
            *executions[number // payload.LOGS_PER_EXECUTION % len(executions)],
            payload.SPAN_ID,
            payload.TENANT_ID,
            payload.METADATA,
        )

    many = 100_000  # at once: the full-text index takes these faster
    for first in range(0, records, many):
        database.write_logs([row(number) for number in range(first, min(first + many, records))])
    database.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    yield Size("1M log records", round((os.path.getsize(path) - empty_bytes) * MILLION / records))

    until_ms = row(records)[0]

    def search(number: int) -> list[dict[str, Any]]:
        """Newest first is the index's own order, backwards: no join has to be sorted."""
        last_ms = until_ms - number % 1000
        return database.logs(
            "logs_fts JOIN logs ON logs.id = logs_fts.rowid WHERE logs_fts MATCH ? "
            "AND timestamp BETWEEN ? AND ? ORDER BY logs_fts.rowid DESC LIMIT 50",
            (SEARCH, last_ms - DAY_MS, last_ms),
        )

    def execution(number: int) -> list[dict[str, Any]]:
        chosen = executions[number % (records // payload.LOGS_PER_EXECUTION)][0]
        return database.logs(
            "logs WHERE execution_id = ? ORDER BY id LIMIT 100",
            (chosen,),
        )

    assert len(search(0)) == 50
    yield Case("full-text search", search)
    assert len(execution(0)) == payload.LOGS_PER_EXECUTION
    yield Case("indexed log query", execution)

    waiting: list[tuple[Any, ...]] = []

    def record(number: int) -> None:
        waiting[:] = [row(records + number * FLUSHED_LOGS + each) for each in range(FLUSHED_LOGS)]

    yield Case("flush of 50 logs", lambda number: database.write_logs(waiting), before=record)


def _traces(folder: Path, records: int) -> Cases:
    database = Database(folder / "spans.db")
    ids = [f"{n:032x}" for n in range(max(TRACES_AT_LEAST, records // RECORDS_PER_TRACE))]
    for number, trace_id in enumerate(ids):
        database.write_spans(
            [
                (
                    f"{number * SPANS + step:016x}",
                    trace_id,
                    f"{number * SPANS:016x}" if step else None,
                    "step",
                    step,
                    step + 1,
                    "ok",
                    payload.SPAN_ATTRIBUTES,
                    [{"name": "progress", "time_us": step, "attributes": {"step": step}}],
                )
                for step in range(SPANS)
            ]
        )
    assert len(database.trace(ids[0])) == SPANS
    yield Case("trace of 50 spans", lambda number: database.trace(ids[number % len(ids)]))


def _samples(folder: Path, records: int) -> Cases:
    database = Database(folder / "samples.db")
    waiting: list[tuple[Any, ...]] = []

    def record(number: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        waiting[:] = [
            ("bench.flushed", now_ms, float(each), LABELS) for each in range(FLUSHED_SAMPLES)
        ]

    yield Case("flush of 100", lambda number: database.write_samples(waiting), before=record)


_LOG_OPERATIONS = ("1M log records", "full-text search", "indexed log query", "flush of 50 logs")
PEERS = (
    Peer("SQLite and FTS5, by hand", _LOG_OPERATIONS, _logs, ("orjson",)),
    Peer("spans in SQLite, by hand", ("trace of 50 spans",), _traces, ("orjson",)),
    Peer("samples in SQLite, by hand", ("flush of 100",), _samples, ("orjson",)),
)

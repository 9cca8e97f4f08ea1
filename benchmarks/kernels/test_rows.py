"""Records made of rows, against their own constructors."""

from __future__ import annotations

import json
from typing import Any

from ax_monitor import LogEntry, LogLevel
from ax_monitor._native import TIME_KEY_SHIFT, RecordType, log_entries, record_id
from benchmarks.conftest import Against

ROWS: list[tuple[Any, ...]] = [
    (
        (1_700_000_000_000 + number) << TIME_KEY_SHIFT, 9, f"request {number} answered", "api", "run-1",
        "4bf92f3577b34da6a3ce929d0e0e4736", number, "acme", None,
        '{"provider":"claude","attempt":3,"latency_ms":1234.5}', None, None, number, 12345,
    )
    for number in range(100)
]  # fmt: skip
LEVELS = {9: LogLevel.INFO}


def by_constructor(rows: list[tuple[Any, ...]]) -> list[LogEntry]:
    return [_by_constructor(row) for row in rows]


def _by_constructor(row: tuple[Any, ...]) -> LogEntry:
    (seq, severity, message, source, execution_id, trace_id, span_id, tenant_id, user_id, metadata,
     stack_trace, explicit_id, ring_seq, salt) = row  # fmt: skip
    timestamp = seq >> TIME_KEY_SHIFT
    return LogEntry(
        record_id(timestamp, ring_seq, salt) if explicit_id is None else explicit_id,
        timestamp, LEVELS[severity], message, source, execution_id, trace_id, f"{span_id:016x}",
        tenant_id, user_id, json.loads(metadata), stack_trace, seq,
    )  # fmt: skip


def test_log_entries(against: Against) -> None:
    entry = RecordType(LogEntry)

    def ours(rows: list[tuple[Any, ...]]) -> list[LogEntry]:
        return log_entries(entry, rows, LEVELS, json.loads)

    assert against("LogEntry()", by_constructor, ours, (ROWS,)) == by_constructor(ROWS)

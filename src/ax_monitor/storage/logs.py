"""Log queries.

Rows are keyed by time, so a time range is a key range and the order of keys is the order
`(timestamp, seq)`. Which index a query walks is decided here, not by statistics:

    search               the full-text index, newest key first, within the narrowest key range known
    execution, trace     the few contexts that carry the id, then the keys of their records, sorted,
                         then the records of the page
    source, tenant, user the newest records first, a bounded number; only if that was not enough,
                         all records of the contexts that carry the value
    errors               the partial index of errors
    anything else        the records themselves, in key order
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import apsw

from ax_monitor._native import (
    TIME_KEY_SHIFT,
    RecordType,
    decode_object,
    decode_record,
    log_entries,
    record_id,
)
from ax_monitor.errors import LogQueryError, SearchTimeout
from ax_monitor.model.logs import LogEntry, LogPage, LogQuery
from ax_monitor.model.vocabulary import LogLevel
from ax_monitor.storage.connection import one_row, time_limit
from ax_monitor.storage.records import LOG
from ax_monitor.storage.search import compile_search

KEY_MIN: Final = -(2**63)
KEY_MAX: Final = 2**63 - 1
PROBE_ROWS: Final = 20_000  # how far back a query for a source, tenant or user looks at first
ERROR_SEVERITY: Final = LogLevel.ERROR.severity_number  # the partial index begins here

_CONTEXT_INDEXES: Final = {  # the more a field narrows the contexts down, the earlier it stands
    "trace_id": "log_contexts_trace",
    "execution_id": "log_contexts_execution",
    "user_id": "log_contexts_user",
    "source": "log_contexts_source",
    "tenant_id": "log_contexts_tenant",
}

_SELECT: Final = (
    "SELECT r.seq, r.severity, r.message, c.source, c.execution_id, c.trace_id, r.span_id, "
    "c.tenant_id, c.user_id, r.metadata, r.stack_trace, r.id, r.ring_seq, g.salt "
)
_ONLY_ERRORS: Final = f"r.severity >= {ERROR_SEVERITY}"  # that of the partial index, to the letter
_JOINS: Final = (
    " CROSS JOIN log_contexts c ON c.id = r.context LEFT JOIN recorder_rings g ON g.ring = r.ring"
)


@dataclass(slots=True)
class _Plan:
    """A query taken apart: the key range, the row conditions, and the values they bind."""

    low: int = KEY_MIN
    high: int = KEY_MAX
    contexts: list[str] = field(default_factory=list)  # conditions on log_contexts alone
    context_values: dict[str, Any] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)  # conditions on log_records (r)
    values: dict[str, Any] = field(default_factory=dict)
    descending: bool = True

    @property
    def order(self) -> str:
        return "DESC" if self.descending else "ASC"

    @property
    def index(self) -> str:
        """How the records are walked in key order."""
        return "INDEXED BY log_records_errors" if _ONLY_ERRORS in self.rows else "NOT INDEXED"

    @property
    def context_index(self) -> str:
        """How the contexts are found."""
        name = next(name for name in _CONTEXT_INDEXES if name in self.context_values)
        return f"INDEXED BY {_CONTEXT_INDEXES[name]}"

    def where_row(self, *more: str) -> str:
        """Conditions on a record alone."""
        return " AND ".join([*more, *self.rows]) or "true"

    def where(self, *more: str) -> str:
        """Conditions on a record and its context."""
        return " AND ".join([self.where_row(*more), *(f"c.{text}" for text in self.contexts)])

    def bindings(self, **more: Any) -> dict[str, Any]:
        return {**self.values, **self.context_values, "low": self.low, "high": self.high, **more}


def query_logs(connection: apsw.Connection, query: LogQuery) -> LogPage:
    """The entries that match, as one page.

    Raises:
        SearchSyntaxError: `query.search` is not a valid search.
        SearchTimeout: the search took longer than `query.timeout_ms`.
        LogQueryError: `query.cursor` is not a cursor.
    """
    plan = _plan(query)
    limit = -1 if query.limit is None else min(query.limit, KEY_MAX - 1)
    if limit == 0 or plan.low > plan.high:
        return LogPage()
    fetched = limit + 1 if limit > 0 else limit
    try:
        with time_limit(connection, None if query.search is None else query.timeout_ms):
            rows = list(_run(connection, query, plan, fetched, query.offset))
    except apsw.InterruptError:
        assert query.search is not None
        assert query.timeout_ms is not None
        raise SearchTimeout(query.search, query.timeout_ms) from None
    more = limit > 0 and len(rows) > limit
    entries = log_entries(_ENTRY, rows[:limit] if more else rows, _LEVELS, parse_unusual)
    return LogPage(entries, cursor_after(entries[-1]) if more else None)


def cursor_after(entry: LogEntry) -> str:
    """The cursor for what follows `entry`."""
    return f"{entry.seq:x}"


def _cursor_key(cursor: str | LogEntry) -> int:
    if isinstance(cursor, LogEntry):
        return cursor.seq
    try:
        return int(cursor, 16)
    except ValueError:
        raise LogQueryError(
            f"cursor must be the next_cursor of an earlier page or its last entry, got {cursor!r}"
        ) from None


def first_key(timestamp: int) -> int:
    """The lowest key that a record of this time can have."""
    return max(KEY_MIN, min(KEY_MAX, timestamp << TIME_KEY_SHIFT))


def _plan(query: LogQuery) -> _Plan:
    plan = _Plan(descending=query.order == "desc")
    if query.start_time is not None:
        plan.low = first_key(query.start_time)
    if query.end_time is not None:
        plan.high = min(KEY_MAX, first_key(query.end_time + 1) - 1)
    if query.cursor is not None:
        key = _cursor_key(query.cursor)
        if plan.descending:
            plan.high = min(plan.high, key - 1)
        else:
            plan.low = max(plan.low, key + 1)
    if query.level is not None:
        severity = LogLevel.parse(query.level).severity_number
        plan.rows.append(f"r.severity BETWEEN {severity} AND {severity + 3}")
        _use_error_index(plan, severity)
    if query.min_level is not None:
        severity = LogLevel.parse(query.min_level).severity_number
        plan.rows.append(f"r.severity >= {severity}")
        _use_error_index(plan, severity)
    for name in _CONTEXT_INDEXES:
        value = getattr(query, name)
        if value is not None:
            plan.contexts.append(f"{name} = :{name}")
            plan.context_values[name] = _stored(value)
    if query.span_id is not None:
        # Ours are stored as integers, those of other programs as they wrote them.
        plan.rows.append("r.span_id IN (:span_id, :span_text)")
        plan.values["span_id"] = _stored_span(query.span_id)
        plan.values["span_text"] = _stored(query.span_id)
    for index, (name, wanted) in enumerate((query.metadata or {}).items()):
        plan.rows.append(_metadata_condition(plan, index, name, wanted))
    return plan


def _use_error_index(plan: _Plan, severity: int) -> None:
    if severity >= ERROR_SEVERITY and _ONLY_ERRORS not in plan.rows:
        plan.rows.append(_ONLY_ERRORS)


def _stored(text: str) -> str:
    """A text as the recorder stores it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _stored_span(span_id: str) -> int | str:
    text = _stored(span_id)
    if len(text) == 16 and set(text) <= set("0123456789abcdef"):
        value = int(text, 16)
        return value - 2**64 if value >= 2**63 else value
    return text


def _metadata_condition(plan: _Plan, index: int, key: str, wanted: Any) -> str:
    plan.values[f"mk{index}"] = _stored(key)
    test = "e.type = 'null'"
    if isinstance(wanted, bool):
        test = f"e.type = '{'true' if wanted else 'false'}'"
    elif isinstance(wanted, str):
        test = f"e.type = 'text' AND e.value = :mv{index}"
        plan.values[f"mv{index}"] = _stored(wanted)
    elif isinstance(wanted, int) and not -(2**63) <= wanted < 2**63:
        test = f"e.type = 'text' AND e.value = :mv{index}"  # as the recorder stores it
        plan.values[f"mv{index}"] = str(wanted)
    elif wanted is not None:
        test = f"e.type IN ('integer', 'real') AND e.value = :mv{index}"
        plan.values[f"mv{index}"] = wanted
    # A foreign row's metadata may be anything.
    return (
        "json_valid(r.metadata) AND EXISTS (SELECT 1 FROM json_each(r.metadata) e "
        f"WHERE e.key = :mk{index} AND {test})"
    )


def _run(
    connection: apsw.Connection, query: LogQuery, plan: _Plan, limit: int, offset: int
) -> Iterator[tuple[Any, ...]]:
    page = f" ORDER BY r.seq {plan.order} LIMIT :limit OFFSET :offset"
    bindings = plan.bindings(limit=limit, offset=offset)
    if query.search is not None:
        bindings["search"] = compile_search(query.search)
        _narrow(connection, query, plan, bindings)
        return connection.execute(
            f"{_SELECT} FROM logs_fts f CROSS JOIN log_records r ON r.seq = f.rowid {_JOINS} "
            f"WHERE f.logs_fts MATCH :search AND f.rowid BETWEEN :low AND :high AND {plan.where()} "
            f"ORDER BY f.rowid {plan.order} LIMIT :limit OFFSET :offset",
            bindings,
        )
    if not plan.contexts:
        return connection.execute(
            f"{_SELECT} FROM log_records r {plan.index} {_JOINS} "
            f"WHERE {plan.where('r.seq BETWEEN :low AND :high')} {page}",
            bindings,
        )
    if limit > 0 and query.execution_id is None and query.trace_id is None:
        found = _probe(connection, plan, limit, offset)
        if found is not None:
            return iter(found)
    # Only keys are sorted: of an execution with very many records, one page is read.
    return connection.execute(
        f"{_SELECT} FROM (SELECT r.seq FROM log_records r INDEXED BY log_records_context "
        "WHERE r.context IN (SELECT id FROM log_contexts "
        f"{plan.context_index} WHERE {' AND '.join(plan.contexts)}) "
        f"AND {plan.where_row('r.seq BETWEEN :low AND :high')} {page}) k "
        f"CROSS JOIN log_records r ON r.seq = k.seq {_JOINS} ORDER BY k.seq {plan.order}",
        bindings,
    )


def _probe(
    connection: apsw.Connection, plan: _Plan, limit: int, offset: int
) -> list[tuple[Any, ...]] | None:
    """Look among the next PROBE_ROWS records only; None if that did not fill the page."""
    inner = f"{_ONLY_ERRORS} AND " if _ONLY_ERRORS in plan.rows else ""
    rows = connection.execute(
        f"{_SELECT} FROM (SELECT * FROM log_records r {plan.index} "
        f"WHERE {inner} r.seq BETWEEN :low AND :high "
        f"ORDER BY r.seq {plan.order} LIMIT {PROBE_ROWS}) r {_JOINS} WHERE {plan.where()} "
        f"ORDER BY r.seq {plan.order} LIMIT :limit OFFSET :offset",
        plan.bindings(limit=limit, offset=offset),
    ).fetchall()
    return rows if len(rows) == limit else None


def _narrow(
    connection: apsw.Connection, query: LogQuery, plan: _Plan, bindings: dict[str, Any]
) -> None:
    """A search within one execution or trace need only look where that has records."""
    if query.execution_id is None and query.trace_id is None:
        return
    low, high = connection.execute(
        "SELECT min(low), max(high) FROM (SELECT "
        "(SELECT min(seq) FROM log_records WHERE context = c.id) AS low, "
        "(SELECT max(seq) FROM log_records WHERE context = c.id) AS high "
        f"FROM log_contexts c {plan.context_index} WHERE {' AND '.join(plan.contexts)})",
        plan.context_values,
    ).fetchall()[0]
    bindings["low"] = max(plan.low, low) if low is not None else KEY_MAX
    bindings["high"] = min(plan.high, high) if high is not None else KEY_MIN


class _Levels(dict[int, LogLevel]):
    def __missing__(self, severity: int) -> LogLevel:
        return LogLevel.from_severity_number(severity)


_ENTRY: Final = RecordType(LogEntry)
_LEVELS: Final = _Levels({level.severity_number: level for level in LogLevel})


def entry_of_record(record: bytes, salt: int) -> LogEntry:
    """The entry that a ring's record becomes, but for `seq`, which the commit assigns."""
    _, severity, ring_seq, timestamp_ns, values = decode_record(record)
    named = dict(zip(LOG.fields, values, strict=True))
    timestamp = timestamp_ns // 1_000_000
    metadata = named.pop("metadata")
    return LogEntry(
        id=record_id(timestamp, ring_seq, salt),
        timestamp=timestamp,
        level=LogLevel.from_severity_number(severity),
        metadata=None if metadata is None else parse_metadata(metadata),
        **named,
    )


# Half of what `loads` takes is looking for white space.
_scan_json: Final[Callable[[str, int], tuple[Any, int]]] = vars(json.JSONDecoder())["scan_once"]


def parse_metadata(text: str) -> dict[str, Any]:
    """Stored metadata as a dict; what another program wrote in another form, under "value"."""
    found = decode_object(text) if type(text) is str else None
    return parse_unusual(text) if found is None else found


def parse_unusual(text: str) -> dict[str, Any]:
    """The same for what the kernels leave to the `json` module."""
    try:
        value, end = _scan_json(text, 0)
        if end == len(text) and type(value) is dict:
            return value
    except (ValueError, TypeError, StopIteration, RecursionError):
        pass
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"value": value}


def count_logs(connection: apsw.Connection) -> int:
    """All log records."""
    (count,) = connection.execute("SELECT count(*) FROM log_records").fetchall()[0]
    assert isinstance(count, int)
    return count


def count_logs_by_level(connection: apsw.Connection) -> dict[LogLevel, int]:
    """How many records each level has; every level is a key."""
    counts = dict.fromkeys(LogLevel, 0)
    for severity, count in connection.execute(
        "SELECT severity, count(*) FROM log_records GROUP BY severity"
    ):
        counts[_LEVELS[severity]] += count
    return counts


def data_version(connection: apsw.Connection) -> int:
    """A number that changes when another connection has committed something."""
    version = connection.pragma("data_version")
    assert isinstance(version, int)
    return version


# -- changes --------------------------------------------------------------------------------------


def delete_logs(connection: apsw.Connection, before_ms: int, limit: int) -> tuple[int, bool]:
    """Delete at most `limit` of the oldest log records before a time, and from the index too.

    For the write connection, which runs no triggers. Returns how many are gone now, and whether
    there may be more.
    """
    # A few statements for all of them: between any two, another thread may have the interpreter.
    count, last, contexts = one_row(
        connection,
        "SELECT count(*), max(seq), json_group_array(DISTINCT context) FROM ("
        "SELECT seq, context FROM log_records WHERE seq < ? ORDER BY seq LIMIT ?)",
        (first_key(before_ms), limit),
    )
    if count:
        connection.execute(
            "INSERT INTO logs_fts(logs_fts, rowid, message) "
            "SELECT 'delete', seq, message FROM log_records WHERE seq <= ?",
            (last,),
        )
        connection.execute("DELETE FROM log_records WHERE seq <= ?", (last,))
        _delete_contexts(connection, contexts)
    return count, count == limit


def _delete_contexts(connection: apsw.Connection, contexts: str) -> None:
    """Delete those of the contexts, a JSON array, that no record refers to any more."""
    connection.execute(
        "DELETE FROM log_contexts AS c WHERE id IN (SELECT value FROM json_each(?)) "
        "AND NOT EXISTS (SELECT 1 FROM log_records WHERE context = c.id)",
        (contexts,),
    )
    if connection.changes():
        connection.execute("UPDATE recorder_state SET contexts_removed = contexts_removed + 1")

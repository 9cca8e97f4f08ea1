"""Log records, and the question that selects them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ax_monitor.errors import LogQueryError
from ax_monitor.model._check import is_finite, is_int64, shown
from ax_monitor.model._record import Record
from ax_monitor.model.vocabulary import LogLevel

__all__ = ["LogEntry", "LogPage", "LogQuery"]


@dataclass(frozen=True, slots=True)
class LogEntry(Record):
    """One log record. Entries are ordered by `(timestamp, seq)`.

    Args:
        id: Time-ordered id in UUID text form.
        timestamp: When it was logged, in ms since the epoch.
        level: Its level.
        message: Its text.
        source: The component that logged it.
        execution_id: The workflow execution it belongs to.
        trace_id: The trace it belongs to, 32 lowercase hex digits.
        span_id: The span it belongs to, 16 lowercase hex digits.
        tenant_id: The tenant it belongs to.
        user_id: The user it concerns.
        metadata: Further values by name.
        stack_trace: Text of the traceback, of an error.
        seq: Position of the record in its file; 0 while it has none.
    """

    id: str
    timestamp: int
    level: LogLevel
    message: str
    source: str
    execution_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, Any] | None = field(default=None, hash=False)
    stack_trace: str | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery(Record):
    """Which log records to return. Filters combine with "and"; None leaves one out.

    >>> LogQuery(min_level="warning", search='timeout OR "rate limit"').min_level
    <LogLevel.WARN: 'warn'>

    Args:
        level: Exactly this level.
        min_level: This level or a graver one.
        source: This source.
        execution_id: This workflow execution.
        trace_id: This trace.
        span_id: This span.
        tenant_id: This tenant.
        user_id: This user.
        start_time: Not earlier than this, in ms since the epoch.
        end_time: Not later than this, in ms since the epoch.
        search: Full-text search in the message, in FTS5 syntax.
        metadata: Records whose metadata holds each of these keys with the value given: a string,
            a finite number, a bool or None. Copied.
        limit: At most so many records (default 100); None for all.
        offset: Leave out so many records first (default 0).
        cursor: Only records after this one in the order asked for: the last entry of the page
            before, or a cursor text.
        order: "desc" (default) for newest first, "asc" for oldest first.
        timeout_ms: A search that takes longer is stopped (default 5000); None: never.

    Raises:
        LogQueryError: An argument has a wrong value. It is a `ValueError` too.
    """

    level: LogLevel | str | None = None
    min_level: LogLevel | str | None = None
    source: str | None = None
    execution_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    search: str | None = None
    metadata: Mapping[str, str | int | float | bool | None] | None = field(default=None, hash=False)
    limit: int | None = 100
    offset: int = 0
    cursor: str | LogEntry | None = None
    order: Literal["desc", "asc"] = "desc"
    timeout_ms: int | None = 5000

    def __post_init__(self) -> None:
        for name in ("level", "min_level"):
            if (level := getattr(self, name)) is not None:
                object.__setattr__(self, name, _level(name, level))
        for name in _TEXT_FIELDS:
            value = getattr(self, name)
            _require(value is None or isinstance(value, str), name, value, "a string")
        for name in ("start_time", "end_time"):
            value = getattr(self, name)
            _require(value is None or is_int64(value), name, value, "an integer in ms")
        if self.metadata is not None:
            object.__setattr__(self, "metadata", _metadata(self.metadata))
        _require(
            self.limit is None or (is_int64(self.limit) and self.limit >= 0),
            "limit",
            self.limit,
            "an integer of at least 0, or None for all",
        )
        _require(
            is_int64(self.offset) and self.offset >= 0,
            "offset",
            self.offset,
            "an integer of at least 0",
        )
        _require(
            self.cursor is None or isinstance(self.cursor, (str, LogEntry)),
            "cursor",
            self.cursor,
            "a string or a LogEntry",
        )
        _require(self.order in ("asc", "desc"), "order", self.order, '"asc" or "desc"')
        _require(
            self.timeout_ms is None or (is_int64(self.timeout_ms) and self.timeout_ms > 0),
            "timeout_ms",
            self.timeout_ms,
            "an integer of at least 1, or None for no limit",
        )


_TEXT_FIELDS = (
    "source",
    "execution_id",
    "trace_id",
    "span_id",
    "tenant_id",
    "user_id",
    "search",
)


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise LogQueryError(f"{name} must be {wanted}, got {shown(value)}")


def _level(name: str, value: object) -> LogLevel:
    try:
        return LogLevel.parse(value)
    except ValueError as error:
        raise LogQueryError(f"{name}: {error}") from None


def _metadata(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise LogQueryError(f"metadata must be a mapping, got {shown(value)}")
    for key, item in value.items():
        _require(isinstance(key, str), "metadata key", key, "a string")
        _require(
            item is None or isinstance(item, (str, bool)) or is_finite(item),
            f"metadata[{shown(key)}]",
            item,
            "a string, a finite number, a bool or None",
        )
    return dict(value)


class LogPage(list[LogEntry]):
    """The entries that a query found, a list, and where the next page begins.

    Args:
        entries: The entries, in the order asked for.
        next_cursor: Pass it as `cursor` for what follows; None if there is no more.
    """

    def __init__(self, entries: Iterable[LogEntry] = (), next_cursor: str | None = None) -> None:
        super().__init__(entries)
        self.next_cursor = next_cursor

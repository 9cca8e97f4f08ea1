"""A handler for the standard `logging` module: its records become log records here."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, Final

from ax_monitor.model.vocabulary import LogLevel
from ax_monitor.pipeline.store import BARRIER_S, Store
from ax_monitor.services.logger import StructuredLogger

# What every LogRecord has. Anything else in it came from `extra=` or a filter.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_IDS: Final = ("execution_id", "trace_id", "span_id", "tenant_id", "user_id")
_RESERVED: Final = _STANDARD.union(_IDS)
_LEVELS: Final = (
    (logging.CRITICAL, LogLevel.FATAL),
    (logging.ERROR, LogLevel.ERROR),
    (logging.WARNING, LogLevel.WARN),
    (logging.INFO, LogLevel.INFO),
)
_SEVERITIES: Final = {number: level.severity_number for number, level in _LEVELS} | {
    logging.DEBUG: LogLevel.DEBUG.severity_number
}
_TRACEBACKS: Final = logging.Formatter()


class AxHandler(logging.Handler):
    """Sends standard logging records to a `StructuredLogger`.

    | record                          | becomes                                                    |
    |---------------------------------|------------------------------------------------------------|
    | level                           | the gravest of our levels not above it; the name of        |
    |                                 | a custom level goes into the metadata as `level`           |
    | logger name                     | `source`                                                   |
    | `getMessage()`                  | `message` (a formatter is only asked for tracebacks)       |
    | `created`                       | `timestamp`                                                |
    | `exc_info`, `stack_info`        | `stack_trace`                                              |
    | `extra=` execution_id, trace_id,| the field of that name; where one is missing, the current  |
    | span_id, tenant_id, user_id     | context fills it, as for any other record                  |
    | any other `extra=`              | metadata                                                   |
    | place in the code, thread, task | metadata `module`, `function`, `line`; `thread` and `task` |
    |                                 | where it is not the main thread, or there is one           |

    Two levels decide what is recorded: this handler's (`level`), and the `min_level` of the
    `StructuredLogger` behind it, which is "debug" unless you pass a logger of your own. So with a
    store or a path only `level` counts.

    Lifecycle: as any handler; `logging.shutdown()`, which runs at exit, flushes and closes it.
    A store that it opened itself is closed with it, one that was passed is not.
    Thread-safety: any thread. It never raises: what goes wrong is reported by `handleError()`, as
    `logging.raiseExceptions` says. A record that is made while another one is being stored by the
    same thread (by a redaction hook that logs, for example) is not stored but counted (`nested`),
    so that nothing can recurse.
    Cost: a few microseconds, most of them spent in `logging` itself.

    Args:
        store: A `Store`, a `StructuredLogger`, the path of a database, or None for the process's
            default store.
        level: The lowest level that is handled (default: every).
        location: Whether place, thread and task are recorded (default True). They make a record
            about 60 bytes larger.

    Raises:
        StorageError: the database can't be opened.

    >>> import os, tempfile
    >>> handler = AxHandler(os.path.join(tempfile.mkdtemp(), "monitor.db"), level="INFO")
    >>> log = logging.getLogger("billing")
    >>> log.addHandler(handler)
    >>> log.warning("invoice %d is late", 7, extra={"tenant_id": "acme"})
    >>> [(entry.source, entry.message) for entry in handler.logger.get_recent_logs()]
    [('billing', 'invoice 7 is late')]
    >>> log.removeHandler(handler); handler.close()

    The same by `logging.config.dictConfig`::

        {"class": "ax_monitor.logging_handler.AxHandler", "store": "monitor.db", "level": "INFO"}
    """

    def __init__(
        self,
        store: Store | StructuredLogger | str | os.PathLike[str] | None = None,
        *,
        level: int | str = logging.NOTSET,
        location: bool = True,
    ) -> None:
        super().__init__(level)
        if isinstance(store, StructuredLogger):
            self.logger, self._owns_logger = store, False
        else:
            self.logger, self._owns_logger = StructuredLogger(store, min_level="debug"), True
        self.location = location
        self.nested = 0
        self._thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Record it."""
        if getattr(self._thread, "storing", False):
            self.nested += 1
            return
        try:
            message = record.getMessage()
            stack_trace = self._stack_trace(record)
            self._thread.storing = True
            try:
                self._store(record, message, stack_trace)
            finally:
                self._thread.storing = False
        except Exception:
            self.handleError(record)

    def _store(self, record: logging.LogRecord, message: str, stack_trace: str | None) -> None:
        fields = record.__dict__
        self.logger.log_at(
            _severity(record.levelno),
            message,
            record.name,
            # A float of seconds is exact to a microsecond at best.
            timestamp_ns=round(record.created * 1e6) * 1000,
            execution_id=fields.get("execution_id"),
            trace_id=fields.get("trace_id"),
            span_id=fields.get("span_id"),
            tenant_id=fields.get("tenant_id"),
            user_id=fields.get("user_id"),
            metadata=self._metadata(record) or None,
            stack_trace=stack_trace,
        )

    def _metadata(self, record: logging.LogRecord) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        if record.levelno not in _SEVERITIES:
            metadata["level"] = record.levelname
        if self.location:
            metadata["module"] = record.module
            metadata["function"] = record.funcName
            metadata["line"] = record.lineno
            if record.threadName != "MainThread":
                metadata["thread"] = record.threadName
            task = getattr(record, "taskName", None)  # since Python 3.12
            if task is not None:
                metadata["task"] = task
        extra = {name: value for name, value in vars(record).items() if name not in _RESERVED}
        return {**metadata, **extra}

    def _stack_trace(self, record: logging.LogRecord) -> str | None:
        parts = []
        if record.exc_text:
            parts.append(record.exc_text)
        elif record.exc_info and record.exc_info[0] is not None:
            parts.append((self.formatter or _TRACEBACKS).formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        return "\n".join(parts) or None

    def flush(self) -> None:
        """Wait until everything logged before is in the database: 5 s at most, as at the exit."""
        self.logger.store.flush(BARRIER_S)

    def close(self) -> None:
        """Write what is pending, and close the store if this handler opened it."""
        try:
            if self._owns_logger:
                self.logger.stop()
        finally:
            super().close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.logger!r} ({logging.getLevelName(self.level)})>"


def _severity(number: int) -> int:
    exact = _SEVERITIES.get(number)
    if exact is not None:
        return exact
    for lowest, level in _LEVELS:
        if number >= lowest:
            return level.severity_number
    return LogLevel.DEBUG.severity_number

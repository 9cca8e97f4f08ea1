"""Peers of the log call: 50,000 a second, each to end up in a file as JSON or in a table."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ax_monitor.bench import payload
from ax_monitor.bench.operations import PER_MS, Case
from benchmarks.peers.peer import Cases, Peer
from benchmarks.peers.storage import Database, drained

_MESSAGES = 10_000
_FIELDS = ("execution_id", "trace_id", "span_id", "tenant_id", "metadata")


def _records() -> list[tuple[str, dict[str, Any]]]:
    """Messages, each with its fields: one dict for each execution."""
    fields = [
        {
            "execution_id": execution_id,
            "trace_id": trace_id,
            "span_id": payload.SPAN_ID,
            "tenant_id": payload.TENANT_ID,
            "metadata": payload.METADATA,
        }
        for execution_id, trace_id in payload.executions(_MESSAGES)
    ]
    texts = payload.messages(_MESSAGES)
    return [(text, fields[n // payload.LOGS_PER_EXECUTION]) for n, text in enumerate(texts)]


def _case(log: Callable[[str, dict[str, Any]], object]) -> Case:
    records = _records()

    def call(number: int) -> None:
        text, fields = records[number % _MESSAGES]
        log(text, fields)

    return Case("log call", call, per_ms=PER_MS)


# -- the standard library, and what looks like it --------------------------------------------------


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        import orjson

        fields = {name: getattr(record, name) for name in _FIELDS}
        line = {"time": record.created, "level": record.levelname, "source": record.name, **fields}
        return orjson.dumps({**line, "message": record.getMessage()}).decode()


class _Unprepared(logging.handlers.QueueHandler):
    """For a queue within the process: a record need not be formatted to be pickled."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


def _standard(folder: Path, records: int, *, through: str) -> Cases:
    file: logging.Handler = logging.FileHandler(folder / "standard.log")
    file.setFormatter(_Json())
    handler = file
    if through != "FileHandler":
        waiting: Any = queue.SimpleQueue() if through == "SimpleQueue" else queue.Queue(-1)
        kind = _Unprepared if through == "SimpleQueue" else logging.handlers.QueueHandler
        handler = kind(waiting)
        logging.handlers.QueueListener(waiting, file).start()
    logger = logging.getLogger(payload.SOURCE)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    info = logger.info
    yield _case(lambda text, fields: info(text, extra=fields))


def _picologging(folder: Path, records: int, *, queued: bool) -> Cases:
    """It ignores `extra`: the message is an object that has everything."""
    import orjson
    import picologging
    import picologging.handlers

    class Json(picologging.Formatter):
        def format(self, record: Any) -> str:
            line = {"time": record.created, "level": record.levelname, **record.msg}
            return orjson.dumps(line).decode()

    class Unprepared(picologging.handlers.QueueHandler):
        def prepare(self, record: Any) -> Any:
            return record

    handler: Any
    handler = file = picologging.FileHandler(str(folder / "picologging.log"))
    file.setFormatter(Json())
    if queued:
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        handler = Unprepared(waiting)
        picologging.handlers.QueueListener(waiting, file).start()
    logger = picologging.getLogger(payload.SOURCE)
    logger.setLevel(picologging.INFO)
    logger.addHandler(handler)
    info = logger.info
    yield _case(lambda text, fields: info({"message": text, **fields}))


# -- others ----------------------------------------------------------------------------------------


def _structlog(folder: Path, records: int) -> Cases:
    """As the chapter on performance of its documentation has it."""
    import orjson
    import structlog

    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=(folder / "structlog.log").open("wb")),
    )
    info = structlog.get_logger().bind(source=payload.SOURCE).info
    yield _case(lambda text, fields: info(text, **fields))


def _loguru(folder: Path, records: int, *, enqueue: bool) -> Cases:
    from loguru import logger

    logger.remove()
    logger.add(folder / "loguru.log", serialize=True, enqueue=enqueue)
    info = logger.info
    yield _case(lambda text, fields: info(text, **fields))


def _fastlogging(folder: Path, records: int, *, threads: bool) -> Cases:
    import fastlogging
    import orjson

    def json(logger: object, entry: tuple[float, str, int, str, dict[str, Any]]) -> str:
        time_s, domain, level, text, fields = entry
        line = {"time": time_s, "level": level, "source": domain, "message": text, **fields}
        return orjson.dumps(line).decode()

    fastlogging.Logger.cbFormatter = json
    path = str(folder / "fastlogging.log")
    logger = fastlogging.LogInit(payload.SOURCE, fastlogging.INFO, path, useThreads=threads)
    info = logger.info
    yield _case(lambda text, fields: info(text, **fields))


class DequeLogger:
    """What a good engineer has in an afternoon: a deque, and a thread that writes it to a table."""

    def __init__(self, database: Database) -> None:
        self._append = drained(database.write_logs).append

    def info(
        self,
        message: str,
        source: str,
        *,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        kept = None if metadata is None else dict(metadata)
        self._append(
            (
                time.time_ns() // 1_000_000,
                "info",
                message,
                source,
                execution_id,
                trace_id,
                span_id,
                tenant_id,
                kept,
            )
        )


def _by_hand(folder: Path, records: int) -> Cases:
    info = DequeLogger(Database(folder / "logs.db")).info
    yield _case(lambda text, fields: info(text, payload.SOURCE, **fields))


_DOES = ("log call",)
PEERS = (
    Peer("a deque and a thread, by hand", _DOES, _by_hand, ("orjson",)),
    *(
        Peer(f"logging, {through}", _DOES, partial(_standard, through=through), ("orjson",))
        for through in ("FileHandler", "QueueHandler", "SimpleQueue")
    ),
    *(
        Peer(name, _DOES, partial(_picologging, queued=queued), ("picologging", "orjson"))
        for name, queued in (("picologging, FileHandler", False), ("picologging, queue", True))
    ),
    Peer("structlog", _DOES, _structlog, ("structlog", "orjson")),
    Peer("loguru", _DOES, partial(_loguru, enqueue=False), ("loguru",)),
    Peer("loguru, enqueue", _DOES, partial(_loguru, enqueue=True), ("loguru",)),
    *(
        Peer(name, _DOES, partial(_fastlogging, threads=threads), ("fastlogging", "orjson"))
        for name, threads in (("fastlogging", False), ("fastlogging, threads", True))
    ),
)

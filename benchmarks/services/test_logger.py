"""The logger: its calls against empty ones, flushes and queries against apsw's rows of the same."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable

import apsw
import pytest

from ax_monitor import Store, StructuredLogger
from ax_monitor.bench import payload
from ax_monitor.bench.corpus import Corpus
from ax_monitor.model.logs import LogPage
from benchmarks.conftest import Against, LogRows
from benchmarks.reference import axref
from benchmarks.services.conftest import Fetch

TEXTS = (payload.MESSAGE, payload.SOURCE)
IDS = {
    "execution_id": "run-1",
    "trace_id": payload.TRACE_ID,
    "span_id": payload.SPAN_ID,
    "tenant_id": payload.TENANT_ID,
}
SEARCH = 'timeout OR "rate limit"'
FLUSHED = 50
MESSAGE = 7  # its place in the columns of log_records

# As a newcomer would write them, and as fast as they get: on the tables, not on the view `logs`.
_COLUMNS = "SELECT r.*, c.* FROM log_records r CROSS JOIN log_contexts c ON c.id = r.context "
RECENT = _COLUMNS + "ORDER BY r.seq DESC LIMIT 100"
ERRORS = _COLUMNS + "WHERE r.severity >= 17 ORDER BY r.seq DESC LIMIT 100"
OF_EXECUTION = (
    "SELECT r.*, c.* FROM log_contexts c CROSS JOIN log_records r ON r.context = c.id "
    "WHERE c.execution_id = ? ORDER BY r.seq LIMIT 100"
)
MATCH = (
    "SELECT r.*, c.* FROM logs_fts f CROSS JOIN log_records r ON r.seq = f.rowid "
    "CROSS JOIN log_contexts c ON c.id = r.context "
    "WHERE logs_fts MATCH ? ORDER BY f.rowid DESC LIMIT 50"
)
BY_LEVEL = "SELECT severity, count(*) FROM log_records GROUP BY severity"


@pytest.fixture
def logger(store: Store) -> StructuredLogger:
    return StructuredLogger(store)


@pytest.fixture
def reader(filled: Store) -> StructuredLogger:
    return StructuredLogger(filled)


# -- recording -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named", [IDS, {**IDS, "metadata": payload.METADATA}], ids=["ids", "ids and metadata"]
)
def test_info(
    against: Against, store: Store, logger: StructuredLogger, named: dict[str, object]
) -> None:
    against("empty call", axref.Empty().info, logger.info, TEXTS, named, after=store.flush)


def test_below_the_level(against: Against, logger: StructuredLogger) -> None:
    against("empty call", axref.Empty().info, logger.debug, TEXTS, IDS)


def test_info_of_bound(against: Against, store: Store, logger: StructuredLogger) -> None:
    bound = logger.bind(source=payload.SOURCE, **IDS)
    against("empty call", axref.Empty().info, bound.info, TEXTS[:1], after=store.flush)


def test_bind(against: Against, logger: StructuredLogger) -> None:
    outer = {"source": payload.SOURCE, "tenant_id": payload.TENANT_ID}
    bound = logger.bind(**outer)
    against(
        "merging two dictionaries",
        lambda: outer | {"execution_id": "run-1"},
        lambda: bound.bind(execution_id="run-1"),
    )


def test_error_with_exception(against: Against, store: Store, logger: StructuredLogger) -> None:
    try:
        json.loads("{")
    except ValueError as error:
        raised = error
    against(
        "traceback.format_exception",
        lambda: "".join(traceback.format_exception(raised)),
        lambda: logger.error(*TEXTS, error=raised),
        after=store.flush,
    )


def test_flush_of_50(
    against: Against, store: Store, logger: StructuredLogger, by_hand: apsw.Connection
) -> None:
    """Until they are committed and can be searched."""
    rows, texts = LogRows(FLUSHED), payload.messages(FLUSHED)
    store.flush_at(buffer_size=1000, flush_interval_ms=60_000)

    def record() -> None:
        for text in texts:
            logger.info(text, payload.SOURCE, **IDS, metadata=payload.METADATA)

    against(
        "apsw executemany",
        lambda: rows.insert_into(by_hand),
        store.flush,
        before=record,
        before_reference=rows.make,
    )


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "sql"),
    [(StructuredLogger.get_recent_logs, RECENT), (StructuredLogger.get_error_logs, ERRORS)],
    ids=["recent logs", "error logs"],
)
def test_get_100(
    against: Against,
    reader: StructuredLogger,
    fetch_filled: Fetch,
    query: Callable[[StructuredLogger], LogPage],
    sql: str,
) -> None:
    found = against("apsw fetchall", lambda: fetch_filled(sql), lambda: query(reader))
    assert len(found) == len(fetch_filled(sql)) == 100


def test_get_execution_logs(
    against: Against, reader: StructuredLogger, fetch_filled: Fetch, corpus_10k: Corpus
) -> None:
    execution_id = corpus_10k.execution_ids[7]
    found = against(
        "apsw fetchall",
        lambda: fetch_filled(OF_EXECUTION, (execution_id,)),
        lambda: reader.get_execution_logs(execution_id),
    )
    assert len(found) == len(fetch_filled(OF_EXECUTION, (execution_id,))) == 100


def test_search(against: Against, reader: StructuredLogger, fetch_filled: Fetch) -> None:
    """What every tenth record matches, the newest 50."""
    found = against(
        "apsw fetchall, MATCH",
        lambda: fetch_filled(MATCH, (SEARCH,)),
        lambda: reader.query_logs(search=SEARCH, limit=50),
    )
    assert [entry.message for entry in found] == [
        row[MESSAGE] for row in fetch_filled(MATCH, (SEARCH,))
    ]


def test_count_by_level(against: Against, reader: StructuredLogger, fetch_filled: Fetch) -> None:
    found = against("apsw fetchall", lambda: fetch_filled(BY_LEVEL), reader.get_log_count_by_level)
    assert sum(found.values()) == sum(n for _, n in fetch_filled(BY_LEVEL))

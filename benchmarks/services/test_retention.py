"""Retention: 500 log records that are old, against one DELETE of as many rows with the same schema."""

from __future__ import annotations

import time

import apsw
import pytest

from ax_monitor import RetentionService, Store, StructuredLogger
from ax_monitor.bench import payload
from benchmarks.conftest import Against, LogRows
from benchmarks.services.conftest import Fetch

RECORDS = 500
DAY_NS = 86_400_000_000_000
DRY = (
    "SELECT (SELECT count(*) FROM log_records WHERE seq < ?1), "
    "(SELECT count(*) FROM traces WHERE completed_at < ?1), "
    "(SELECT count(*) FROM workflow_executions_monitor WHERE completed_at < ?1), "
    "(SELECT count(*) FROM metric_minutes WHERE minute < ?1), "
    "(SELECT count(*) FROM alerts WHERE resolved_at < ?1)"
)


@pytest.fixture
def retention(store: Store) -> RetentionService:
    return RetentionService(store)


def test_run(
    against: Against, store: Store, retention: RetentionService, by_hand: apsw.Connection
) -> None:
    logger, texts, rows = StructuredLogger(store), payload.messages(RECORDS), LogRows(RECORDS)

    def record() -> None:
        old_ns = time.time_ns() - 40 * DAY_NS
        for text in texts:
            logger.log_at(9, text, payload.SOURCE, metadata=payload.METADATA, timestamp_ns=old_ns)
        store.flush()

    def insert() -> None:
        rows.make()
        rows.insert_into(by_hand)

    found = against(
        "apsw, DELETE",
        lambda: by_hand.execute("DELETE FROM log_records"),
        retention.run,
        before=record,
        before_reference=insert,
    )
    assert found.logs == RECORDS


def test_dry_run(against: Against, retention: RetentionService, fetch: Fetch) -> None:
    """Nothing is old."""
    found = against(
        "apsw, five counts", lambda: fetch(DRY, (1,)), lambda: retention.run(dry_run=True)
    )
    assert found.logs == 0

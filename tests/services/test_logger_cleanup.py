"""`cleanup`: what goes with the records, and what other recorders make of it."""

from __future__ import annotations

import time

import apsw

import ax_monitor

DAY_NS = 86_400 * 10**9


def contexts(db: str) -> int:
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    (count,) = connection.execute("SELECT count(*) FROM log_contexts").fetchall()[0]
    connection.close()
    assert isinstance(count, int)
    return count


def test_contexts_without_records_go_and_are_made_again_when_needed(db: str) -> None:
    """A context lives as long as its records; another recorder that remembers it notices."""
    long_ago = time.time_ns() - 90 * DAY_NS
    with ax_monitor.Store(db) as one, ax_monitor.Store(db) as other:
        first, second = (ax_monitor.StructuredLogger(store) for store in (one, other))
        for logger in (first, second):
            logger.log_at(9, "old", "job", timestamp_ns=long_ago, execution_id="run-1")
            logger.log_at(9, "old", "job", timestamp_ns=long_ago, execution_id="run-2")
            logger.flush()
        first.info("kept", "job", execution_id="run-2")
        assert first.cleanup(30) == 4
        assert contexts(db) == 1
        second.info("new", "job", execution_id="run-1", tenant_id="alice")
        second.info("new too", "job", execution_id="run-1")
        found = second.get_execution_logs("run-1")
        assert [(entry.message, entry.tenant_id) for entry in found] == [
            ("new", "alice"),
            ("new too", None),
        ]
        assert [entry.message for entry in first.get_execution_logs("run-2")] == ["kept"]


def test_context_ids_are_never_used_again(db: str) -> None:
    """Records of one tenant can't turn up under another when foreign SQL removes contexts."""
    with ax_monitor.Store(db) as one, ax_monitor.Store(db) as other:
        first, second = (ax_monitor.StructuredLogger(store) for store in (one, other))
        first.info("a1", "job", tenant_id="alice")
        first.flush()
        foreign = apsw.Connection(db)
        foreign.execute("DELETE FROM log_records")
        foreign.execute("DELETE FROM log_contexts")
        foreign.close()
        second.info("b1", "job", tenant_id="bob")
        second.flush()
        first.info("a2", "job", tenant_id="alice")
        assert [entry.message for entry in first.query_logs(tenant_id="bob")] == ["b1"]
        assert [entry.message for entry in first.query_logs(tenant_id="alice")] == ["a2"]

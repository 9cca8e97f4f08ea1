"""Alerting's tables: other programs beside us, indexes, and files from before there were any."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import pytest

import ax_monitor
from ax_monitor import AlertingService, StorageError, Store
from ax_monitor.storage import alert_rules, alert_states, alerts
from ax_monitor.storage.connection import open_reader, open_writer
from ax_monitor.storage.migrations import MIGRATIONS
from tests.conftest import FakeClock
from tests.services.alert_helpers import METRIC, Engine, engine

DOCUMENT_RULE = (
    "INSERT INTO alert_rules (id, name, description, enabled, metric_type, condition_operator, "
    "condition_threshold, condition_window_ms, condition_aggregation, severity, labels, "
    "cooldown_ms, created_at, updated_at) VALUES "
    "('r1', 'Long', 'Too long', 1, 'queue.length', 'gt', 10, 300000, 'avg', 'error', '{}', "
    "300000, 1, 1)"
)
DOCUMENT_ALERT = (
    "INSERT INTO alerts (id, timestamp, severity, status, title, description, source, labels, "
    "tenant_id, acknowledged_by, acknowledged_at, resolved_at, metadata) VALUES "
    "('a1', 5, 'critical', 'active', 'T', 'D', 'theirs', '{\"x\": \"y\"}', 'acme', NULL, NULL, "
    "NULL, '{\"n\": 1}')"
)


@pytest.fixture
def one(db: str, clock: FakeClock) -> Iterator[Engine]:
    with engine(db, clock) as made:
        yield made


def elsewhere(db: str, *statements: str) -> None:
    """Run statements in a process of its own, with the standard library's SQLite."""
    code = (
        "import json, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "[c.execute(s) for s in json.loads(sys.argv[2])]; c.commit(); c.close()"
    )
    subprocess.run([sys.executable, "-c", code, db, json.dumps(statements)], timeout=30, check=True)


def test_rules_and_alerts_of_the_document_are_ours_too(one: Engine) -> None:
    """What another program inserts by the document's columns is evaluated, listed and resolved."""
    elsewhere(one.store.path, DOCUMENT_RULE, DOCUMENT_ALERT)
    (rule,) = one.alerts.list_rules()
    assert (rule.id, rule.condition.threshold, rule.no_data, rule.by) == ("r1", 10, "ignore", ())
    (alert,) = one.evaluate(20)
    assert alert.description == "Too long (current value: 20, threshold: 10)"
    theirs = one.alerts.get_alert("a1")
    assert theirs is not None
    assert (theirs.labels, theirs.metadata, theirs.tenant_id) == ({"x": "y"}, {"n": 1}, "acme")
    assert (theirs.occurrences, theirs.rule_id, theirs.group_labels) == (1, None, {})
    assert one.alerts.resolve_alert("a1")
    elsewhere(one.store.path, "DELETE FROM alert_rules")
    assert one.pass_by(20, 600) == []
    assert one.alerts.list_rules() == []


def find_states(one: Engine) -> list[tuple[str, str, alert_states.RuleState]]:
    return one.store.read(lambda connection: list(alert_states.find_states(connection)))


def test_every_change_of_a_rule_counts_once(one: Engine) -> None:
    """The counter that evaluations look at grows by every change, whoever makes it."""

    def version() -> int:
        return one.store.read(alert_rules.rules_version)

    seen = [version()]

    def changed() -> bool:
        seen.append(version())
        return seen[-1] == seen[-2] + 1

    rule_id = one.rule(for_ms=60_000)
    assert changed()
    one.alerts.update_rule(rule_id, name="b")
    assert changed()
    one.evaluate(20)
    assert version() == seen[-1]
    elsewhere(one.store.path, DOCUMENT_RULE)
    assert changed()
    elsewhere(one.store.path, f"UPDATE alert_rules SET name = 'c' WHERE id = '{rule_id}'")
    assert changed()
    ((stored_id, _, state),) = find_states(one)
    assert (stored_id, state.phase) == (rule_id, alert_states.INACTIVE)  # it begins anew
    elsewhere(one.store.path, f"DELETE FROM alert_rules WHERE id = '{rule_id}'")
    assert changed()
    assert find_states(one) == []
    one.alerts.delete_rule("r1")
    assert changed()


BY_TIME = "SCAN alerts USING INDEX alerts_time"
PLANS: list[tuple[Callable[[apsw.Connection], Any], str]] = [
    (
        lambda c: alerts.get_alert(c, "x"),
        "SEARCH alerts USING INDEX sqlite_autoindex_alerts_1 (id=?)",
    ),
    (alerts.find_alerts, BY_TIME),
    (
        lambda c: alerts.find_alerts(c, status=ax_monitor.AlertStatus.ACTIVE),
        "SEARCH alerts USING INDEX alerts_status (status=?)",
    ),
    (
        lambda c: alerts.find_alerts(c, severity=ax_monitor.AlertSeverity.INFO),
        "SEARCH alerts USING INDEX alerts_severity (severity=?)",
    ),
    (
        lambda c: alerts.find_alerts(c, tenant_id="x"),
        "SEARCH alerts USING INDEX alerts_tenant (tenant_id=?)",
    ),
    (
        lambda c: alerts.open_alert(c, "x", "{}"),
        "SEARCH alerts USING INDEX alerts_rule (rule_id=? AND group_labels=?)",
    ),
    (
        alerts.count_active,
        "SEARCH alerts USING COVERING INDEX alerts_status (status=?)",
    ),
    (
        lambda c: alerts.alert_history(c, "x"),
        "SEARCH alert_transitions USING INDEX alert_transitions_alert (alert_id=?)",
    ),
    (
        lambda c: alerts.rule_history(c, "x", 5),
        "SEARCH alert_transitions USING INDEX alert_transitions_rule (rule_id=?)",
    ),
    (
        lambda c: alert_rules.get_rule(c, "x"),
        "SEARCH alert_rules USING INDEX sqlite_autoindex_alert_rules_1 (id=?)",
    ),
    (
        lambda c: alert_rules.find_rules(c, metric_type="x"),
        "SEARCH alert_rules USING INDEX alert_rules_metric (metric_type=?)",
    ),
    (
        lambda c: list(alert_states.find_states(c, 5)),
        "SEARCH alert_states USING INDEX alert_states_version (version>?)",
    ),
]


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_every_query_walks_its_index(db: str, number: int) -> None:
    """Each by the index that is there for it, and without sorting whole tables."""
    Store(db).close()
    connection = open_reader(db)
    query, plan = PLANS[number]
    statements: list[str] = []
    connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(str(event["sql"])))
    query(connection)
    connection.trace_v2(0, None)
    (statement,) = [sql for sql in statements if sql.startswith("SELECT")]
    steps = [
        row[3]
        for row in connection.execute(
            f"EXPLAIN QUERY PLAN {statement}",
            dict.fromkeys(("limit", "status", "severity", "tenant_id", "metric_type"))
            if ":" in statement
            else (None,) * statement.count("?"),
        )
    ]
    assert steps[0] == plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps or "alert_rules" in plan
    connection.close()


def test_a_file_from_before_is_brought_up_to_date(db: str) -> None:
    """A file of the first version keeps its rules and alerts; who may only read is told why."""
    connection = open_writer(db)
    connection.execute("BEGIN")
    connection.execute(MIGRATIONS[0])
    connection.execute("PRAGMA user_version=1; PRAGMA application_id=0x41584D4E; COMMIT")
    connection.execute(DOCUMENT_RULE)
    connection.execute(DOCUMENT_ALERT)
    connection.close()
    with Store(db, read_only=True) as store:
        for call in (AlertingService(store).list_alerts, AlertingService(store).list_rules):
            with pytest.raises(StorageError, match=r"older ax-monitor .*version 1"):
                call()
    with ax_monitor.open(db) as monitor:
        monitor.metrics.record(METRIC, 20)
        assert [alert.rule_id for alert in monitor.alerts.evaluate_now()] == ["r1"]
        assert {alert.id for alert in monitor.alerts.list_alerts()} >= {"a1"}

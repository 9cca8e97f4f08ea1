"""Alerting: rules and alerts against apsw's rows of the same, an evaluation against a query."""

from __future__ import annotations

import time
from typing import Any

import apsw
import pytest

from ax_monitor import AlertingService, MetricsCollector, Store
from benchmarks.conftest import Against
from benchmarks.services.conftest import Fetch

RULES = 100
METRIC = "bench.watched"


@pytest.fixture
def alerting(store: Store) -> AlertingService:
    return AlertingService(store)


def _make_rule(alerting: AlertingService, number: int, threshold: float) -> str:
    return alerting.create_rule(
        f"Rule {number}",
        "Slower than ever",
        METRIC,
        {"operator": "gt", "threshold": threshold, "window_ms": 60_000, "aggregation": "avg"},
        "warning",
        cooldown_ms=0,
    )


def test_create_and_delete_rule(
    against: Against, alerting: AlertingService, by_hand: apsw.Connection
) -> None:
    now = time.time_ns() // 1_000_000
    row: dict[str, Any] = {
        "id": "rule", "name": "Rule", "description": "Slower than ever", "metric_type": METRIC,
        "condition_operator": "gt", "condition_threshold": 10.0, "condition_window_ms": 60_000,
        "condition_aggregation": "avg", "severity": "warning", "labels": "{}", "cooldown_ms": 0,
        "created_at": now, "updated_at": now,
    }  # fmt: skip
    insert = f"INSERT INTO alert_rules({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"

    def in_two_transactions() -> None:
        by_hand.execute(insert, tuple(row.values()))
        by_hand.execute("DELETE FROM alert_rules WHERE id = 'rule'")

    against(
        "apsw, INSERT and DELETE",
        in_two_transactions,
        lambda: alerting.delete_rule(_make_rule(alerting, 0, 10)),
    )


def test_list_100_rules(against: Against, alerting: AlertingService, fetch: Fetch) -> None:
    for number in range(RULES):
        _make_rule(alerting, number, 10)
    sql = "SELECT * FROM alert_rules ORDER BY rowid"
    found = against("apsw fetchall", lambda: fetch(sql), alerting.list_rules)
    assert len(found) == len(fetch(sql)) == RULES


def test_evaluate_100_rules(
    against: Against, store: Store, alerting: AlertingService, fetch: Fetch
) -> None:
    """None of which is met, after a new sample; the other side has the sample in memory."""
    metrics = MetricsCollector(store)
    for number in range(RULES):
        _make_rule(alerting, number, 10)
    alerting.evaluate_now()  # reads the rules

    def sample() -> None:
        metrics.record(METRIC, 1.0)
        store.flush()

    sql = "SELECT id FROM alert_rules WHERE enabled AND metric_type = ? AND condition_threshold < ?"
    found = against(
        "apsw, one query of the rules",
        lambda: fetch(sql, (METRIC, 1.0)),
        alerting.evaluate_now,
        before=sample,
    )
    assert found == []


def test_alerts(against: Against, store: Store, alerting: AlertingService, fetch: Fetch) -> None:
    """The newest 50, of 100 that are active."""
    for number in range(RULES):
        _make_rule(alerting, number, 0)
    MetricsCollector(store).record(METRIC, 1.0)
    assert len(alerting.evaluate_now()) == RULES
    sql = "SELECT * FROM alerts ORDER BY timestamp DESC, rowid DESC LIMIT 50"
    found = against("apsw fetchall", lambda: fetch(sql), lambda: alerting.list_alerts(limit=50))
    assert len(found) == len(fetch(sql)) == 50


def test_active_alert_count(against: Against, alerting: AlertingService, fetch: Fetch) -> None:
    sql = "SELECT count(*) FROM alerts WHERE status = 'active'"
    assert against("apsw fetchall", lambda: fetch(sql), alerting.get_active_alert_count) == 0

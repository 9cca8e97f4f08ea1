"""AlertingService: rules, triggers, the lifecycle of alerts, silences, events."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import ax_monitor
from ax_monitor import (
    AlertCondition,
    AlertingService,
    AlertRuleError,
    AlertStatus,
    MetricsCollector,
    Store,
)
from ax_monitor.errors import StorageError
from tests.conftest import FakeClock
from tests.services.alert_helpers import METRIC, Engine, condition, engine


@pytest.fixture
def one(db: str, clock: FakeClock) -> Iterator[Engine]:
    with engine(db, clock) as made:
        yield made


# -- rules ----------------------------------------------------------------------------------------


def test_a_rule_comes_back_as_it_was_made(one: Engine) -> None:
    """All fields survive the database; the id is a new one; nothing else is in the list."""
    arguments: dict[str, Any] = {
        "name": "Slow 'requests' ☃",
        "description": "",
        "metric_type": "api.request.duration",
        "condition": AlertCondition("gte", 0.1, 1, "p99", 0.05),
        "severity": "critical",
        "labels": {"team": "core"},
        "cooldown_ms": 0,
        "enabled": False,
        "tenant_id": "acme",
        "match_labels": {"route": "/ö"},
        "for_ms": 5,
        "auto_resolve": True,
        "no_data": "alert",
        "by": ["region", "host"],
    }
    rule_id = one.alerts.create_rule(**arguments)
    rule = one.alerts.get_rule(rule_id)
    assert rule is not None
    found = {name: getattr(rule, name) for name in arguments}
    assert found == arguments | {"by": ("region", "host")}
    assert (rule.id, rule.created_at, rule.updated_at) == (
        rule_id,
        one.clock.now_ms,
        one.clock.now_ms,
    )
    assert one.alerts.list_rules() == [rule]
    assert one.events("rule.created") == [rule]


def test_defaults_are_those_of_the_contract(one: Engine) -> None:
    """Five minutes of cooldown, enabled, no `for_ms`, nothing resolved, missing data ignored."""
    rule = one.alerts.get_rule(one.rule())
    assert rule is not None
    assert (rule.cooldown_ms, rule.enabled, rule.for_ms, rule.auto_resolve, rule.no_data) == (
        300_000, True, 0, False, "ignore",
    )  # fmt: skip
    assert (rule.labels, rule.match_labels, rule.tenant_id, rule.by) == ({}, None, None, ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": condition(threshold=float("nan"))}, "threshold must be a finite number"),
        ({"condition": condition(window_ms=0)}, "window_ms must be an integer above 0"),
        ({"condition": condition(operator="above")}, "unknown Operator"),
        ({"condition": {}}, "condition misses operator"),
        ({"cooldown_ms": -1}, "cooldown_ms must be"),
        ({"severity": "loud"}, "unknown AlertSeverity"),
        ({"name": ""}, "name must be"),
        ({"labels": {"a": 1}}, "labels"),
        ({"by": "route"}, "by must be a list"),
    ],
)
def test_a_wrong_rule_is_not_made(one: Engine, changes: dict[str, Any], message: str) -> None:
    """B12: rejected when made, with the reason; nothing is stored."""
    with pytest.raises(AlertRuleError, match=message):
        one.rule(**changes)
    rule_id = one.rule()
    with pytest.raises(AlertRuleError, match=message):
        one.alerts.update_rule(rule_id, **changes)
    assert [rule.id for rule in one.alerts.list_rules()] == [rule_id]


def test_rules_are_listed_by_what_they_are(one: Engine) -> None:
    """Filters combine with and; the order is that of their making."""
    ids = [
        one.rule(enabled=enabled, metric_type=metric_type, tenant_id=tenant)
        for enabled in (True, False)
        for metric_type in ("a", "b")
        for tenant in (None, "acme")
    ]
    assert [rule.id for rule in one.alerts.list_rules()] == ids
    assert [rule.id for rule in one.alerts.list_rules(True)] == ids[:4]
    assert [rule.id for rule in one.alerts.list_rules(enabled=False, metric_type="b")] == ids[6:]
    assert [rule.id for rule in one.alerts.list_rules(metric_type="b", tenant_id="acme")] == [
        ids[3],
        ids[7],
    ]


def test_rules_are_changed_and_deleted(one: Engine) -> None:
    """A change is stored and told; unknown rules and fields are errors."""
    rule_id = one.rule(labels={"a": "b"})
    one.clock.advance(1)
    changed = one.alerts.update_rule(rule_id, name="other", condition=condition(threshold=5))
    assert changed == one.alerts.get_rule(rule_id)
    assert (changed.name, changed.condition.threshold, changed.labels) == ("other", 5, {"a": "b"})
    assert changed.updated_at == changed.created_at + 1000
    with pytest.raises(TypeError, match="a rule has no id, threshold to change; there are name"):
        one.alerts.update_rule(rule_id, id="x", threshold=5)
    one.alerts.delete_rule(rule_id)
    assert one.alerts.get_rule(rule_id) is None
    for call in (one.alerts.delete_rule, one.alerts.update_rule):
        with pytest.raises(AlertRuleError, match=f"there is no alert rule '{rule_id}'"):
            call(rule_id)
    assert one.events("rule.updated") == one.events("rule.deleted") == [rule_id]


# -- triggers -------------------------------------------------------------------------------------


def test_a_met_condition_raises_an_alert(one: Engine) -> None:
    """Everything that the contract says an alert says."""
    rule_id = one.rule(labels={"team": "core"}, tenant_id="acme", severity="critical")
    one.record(12.341, tenant_id="acme")
    (alert,) = one.alerts.evaluate_now()
    assert alert.description == "The queue is too long (current value: 12.34, threshold: 10)"
    assert (alert.title, alert.source) == ("Queue too long", "alerting-service")
    assert (alert.severity, alert.status, alert.tenant_id) == ("critical", "active", "acme")
    assert alert.metadata == {
        "rule_id": rule_id,
        "metric_type": METRIC,
        "value": 12.341,
        "threshold": 10.0,
        "operator": "gt",
    }
    assert alert.labels == {"team": "core"}
    assert (alert.timestamp, alert.occurrences) == (one.clock.now_ms, 1)
    assert one.alerts.get_alert(alert.id) == alert
    assert one.alerts.list_alerts() == [alert]
    assert one.events("alert.triggered") == [alert]


@pytest.mark.parametrize(
    ("value", "threshold", "text"),
    [
        (12.345678, 10, "12.35, threshold: 10)"),
        (12, 0.05, "12, threshold: 0.05)"),
        (12.5, -1.0, "12.5, threshold: -1)"),
        (0.00012345, 0, "0.000123, threshold: 0)"),
        (1e300, 1e22, "1e+300, threshold: 1e+22)"),
    ],
)
def test_numbers_in_descriptions(one: Engine, value: float, threshold: float, text: str) -> None:
    """At most two decimals of the value, all of the threshold."""
    one.rule(condition=condition(threshold=threshold))
    (alert,) = one.evaluate(value)
    assert alert.description.endswith(f"(current value: {text}")


@pytest.mark.parametrize(
    ("operator", "met"),
    [
        ("gt", {11}),
        ("gte", {10, 11}),
        ("lt", {9}),
        ("lte", {9, 10}),
        ("eq", {10}),
        ("neq", {9, 11}),
    ],
)  # fmt: skip
def test_operators(one: Engine, operator: str, met: set[int]) -> None:
    """Each operator at, below and above the threshold."""
    for value in (9, 10, 11):
        one.rule(
            condition=condition(operator=operator), match_labels={"v": str(value)}, name=str(value)
        )
        one.record(value, labels={"v": str(value)})
    assert {int(alert.title) for alert in one.evaluate()} == met


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        ("avg", 52.0), ("sum", 520.0), ("min", 7.0), ("max", 97.0), ("count", 10.0),
        ("p50", 47.0), ("p95", 97.0), ("p99", 97.0), ("rate", 520 / 300),
    ],
)  # fmt: skip
def test_aggregations(one: Engine, aggregation: str, value: float) -> None:
    """Each aggregation of the window; quantiles within 1/129."""
    one.rule(condition=condition(aggregation=aggregation, operator="neq", threshold=-1))
    for number in range(10):
        one.record(7 + 10 * number, ago_ms=20_000 * number)
    one.record(1e9, ago_ms=300_000)  # just outside
    (alert,) = one.evaluate()
    assert alert.last_value == pytest.approx(value, rel=1 / 129)


def test_within_the_cooldown_nothing_happens(one: Engine) -> None:
    """A condition that stays met triggers once in each cooldown, and one alert counts how often."""
    one.rule(cooldown_ms=600_000)
    (first,) = one.evaluate(20)
    assert one.pass_by(20, 540) == []
    (again,) = one.pass_by(30, 60)
    assert again.id == first.id
    assert one.pass_by(30, 540) == []
    assert len(one.pass_by(30, 60)) == 1
    alert = one.the_alert()
    assert (alert.occurrences, alert.timestamp, alert.updated_at) == (
        3,
        first.timestamp,
        one.clock.now_ms,
    )
    assert alert.last_value == alert.metadata["value"] == 30  # type: ignore[index]
    assert "current value: 30," in alert.description
    assert [each.occurrences for each in one.events("alert.triggered")] == [1, 2, 3]


def test_an_acknowledged_alert_is_triggered_again_and_a_resolved_one_is_not(one: Engine) -> None:
    """Open is open: the same row. After it is resolved there is a second."""
    one.rule()
    (first,) = one.evaluate(20)
    assert one.alerts.acknowledge_alert(first.id, "ann")
    (again,) = one.pass_by(20, 300)
    assert (again.id, again.status, again.occurrences) == (first.id, "acknowledged", 2)
    assert one.alerts.resolve_alert(first.id)
    (second,) = one.pass_by(20, 300)
    assert second.id != first.id
    assert [alert.occurrences for alert in one.alerts.list_alerts()] == [1, 2]


def test_a_condition_must_hold_for_a_time(one: Engine) -> None:
    """`for_ms`: shorter spells raise nothing; the time begins anew after each."""
    one.rule(for_ms=180_000, condition=condition(window_ms=60_000))
    assert one.evaluate(20) == []
    assert one.pass_by(20, 120) == []
    assert one.pass_by(5, 60) == []
    assert one.pass_by(20, 180) == []
    assert len(one.pass_by(20, 60)) == 1


def test_hysteresis(one: Engine) -> None:
    """Once met, the condition holds until the value is past the resolve threshold."""
    one.rule(
        condition=condition(window_ms=60_000, resolve_threshold=5), auto_resolve=True, cooldown_ms=0
    )
    assert one.evaluate(7) == []
    assert len(one.pass_by(11, 60)) == 1
    one.pass_by(7, 120)
    assert one.the_alert().status is AlertStatus.ACTIVE
    one.pass_by(5, 60)
    assert one.the_alert().status is AlertStatus.RESOLVED


def test_auto_resolve_is_a_choice(one: Engine) -> None:
    """Without it an alert stays until somebody resolves it."""
    stays, goes = one.rule(), one.rule(auto_resolve=True)
    one.evaluate(20)
    for _ in range(100):
        one.record(1)
    one.evaluate()
    statuses = {alert.rule_id: alert.status for alert in one.alerts.list_alerts()}
    assert statuses == {stays: "active", goes: "resolved"}
    (resolved,) = one.alerts.list_alerts("resolved")
    assert resolved.resolved_at == one.clock.now_ms
    assert one.events("alert.resolved") == [resolved.id]


def test_groups_have_an_alert_each(one: Engine) -> None:
    """`by`: one rule, one alert for each combination of values, with those labels."""
    rule_id = one.rule(by=["host", "disk"], labels={"team": "core"}, match_labels={"env": "prod"})
    for host in "ab":
        for disk in "xy":
            one.record(20, labels={"host": host, "disk": disk, "env": "prod", "more": disk})
    one.record(20, labels={"host": "c", "env": "prod"})  # has no disk
    one.record(20, labels={"host": "d", "disk": "x", "env": "test"})
    one.record(5, labels={"host": "e", "disk": "x", "env": "prod"})
    alerts = one.evaluate()
    groups = sorted(tuple(alert.group_labels.values()) for alert in alerts)
    assert groups == [("c",), ("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")]
    assert all(alert.labels == alert.group_labels | {"team": "core"} for alert in alerts)
    assert {alert.rule_id for alert in alerts} == {rule_id}
    # A group that is new while others fire.
    (new,) = one.evaluate(20, labels={"host": "f", "disk": "x", "env": "prod"})
    assert new.group_labels == {"host": "f", "disk": "x"}


def test_labels_and_tenants_choose_the_samples(one: Engine) -> None:
    """A rule sees the series that have its labels, and only its tenant's."""
    one.rule(name="route", match_labels={"route": "/x", "method": "GET"})
    one.rule(name="tenant", tenant_id="acme")
    one.rule(name="both", tenant_id="acme", match_labels={"route": "/x"})
    one.rule(name="all", condition=condition(aggregation="count", operator="gte", threshold=3))
    one.record(20, labels={"route": "/x"})
    one.record(20, labels={"route": "/x", "method": "POST"}, tenant_id="other")
    assert one.evaluate() == []
    alerts = one.evaluate(20, labels={"a": "b", "method": "GET", "route": "/x"})
    assert {alert.title for alert in alerts} == {"all", "route"}
    one.record(20, labels={"route": "/x"}, tenant_id="acme")
    assert {each.title for each in one.evaluate()} == {"tenant", "both"}


def test_a_disabled_rule_is_not_evaluated(one: Engine) -> None:
    """Neither made so, nor switched off later; switched on it goes on."""
    rule_id = one.rule(enabled=False)
    assert one.evaluate(20) == []
    one.alerts.update_rule(rule_id, enabled=True)
    assert len(one.evaluate()) == 1
    one.alerts.update_rule(rule_id, enabled=False)
    assert one.pass_by(20, 600) == []
    one.alerts.delete_rule(rule_id)
    assert one.evaluate(20) == []
    assert len(one.alerts.list_alerts()) == 1


def test_samples_that_are_not_flushed_count(db: str) -> None:
    """Evaluation sees what was recorded a moment before, whatever the flush interval."""
    with ax_monitor.open(db, metrics={"flush_interval_ms": 3_600_000}) as monitor:
        monitor.alerts.create_rule("n", "d", METRIC, condition(), "info")
        monitor.metrics.record(METRIC, 11)
        assert len(monitor.alerts.evaluate_now()) == 1


def test_after_a_restart_the_samples_in_the_database_count(db: str, clock: FakeClock) -> None:
    """A rule goes on with the window that it had."""
    with engine(db, clock) as first:
        first.rule(condition=condition(aggregation="count", threshold=9))
        for second in range(9):
            first.record(1, ago_ms=second * 1000)
        assert first.evaluate() == []
    clock.advance(60)
    with engine(db, clock) as second_run:
        (alert,) = second_run.evaluate(1)
        assert alert.last_value == 10


def test_samples_of_other_programs_count(one: Engine) -> None:
    """A row that another program inserts counts as any sample."""
    import apsw

    one.rule(condition=condition(aggregation="sum", operator="gte", threshold=30))
    assert one.evaluate(10) == []
    connection = apsw.Connection(one.store.path)
    connection.execute("INSERT INTO metric_series VALUES (77, ?, NULL, '{}', NULL, 0)", (METRIC,))
    for number in range(2):
        connection.execute(
            "INSERT INTO metric_rows(id, series, timestamp, value) VALUES (?, 77, ?, 10)",
            (f"foreign {number}", one.clock.now_ms),
        )
        assert len(one.evaluate()) == number
    connection.close()
    assert one.the_alert().last_value == 30


# -- the lifecycle --------------------------------------------------------------------------------


def test_the_lifecycle_is_strict(one: Engine) -> None:
    """active → acknowledged → resolved, or active → resolved; anything else changes nothing."""
    one.rule(name="a")
    one.rule(name="b")
    first, second = one.evaluate(20)
    alerts = one.alerts
    one.clock.advance(1)
    assert alerts.acknowledge_alert(first.id, "ann")
    acknowledged = alerts.get_alert(first.id)
    assert acknowledged is not None
    assert (acknowledged.status, acknowledged.acknowledged_by) == ("acknowledged", "ann")
    assert acknowledged.acknowledged_at == one.clock.now_ms
    one.clock.advance(1)
    assert not alerts.acknowledge_alert(first.id, "bob")
    assert alerts.get_alert(first.id) == acknowledged
    assert alerts.resolve_alert(first.id)
    resolved = alerts.get_alert(first.id)
    assert resolved == dataclasses.replace(
        acknowledged, status=AlertStatus.RESOLVED, resolved_at=one.clock.now_ms
    )
    assert not alerts.resolve_alert(first.id)
    assert not alerts.acknowledge_alert(first.id, "ann")
    assert alerts.get_alert(first.id) == resolved
    assert alerts.resolve_alert(second.id)
    assert not alerts.acknowledge_alert(second.id, "ann")
    assert one.events("alert.acknowledged") == [{"alert_id": first.id, "user_id": "ann"}]
    assert one.events("alert.resolved") == [first.id, second.id]


def test_unknown_alerts(one: Engine) -> None:
    """Unknown ids change nothing and say so."""
    assert one.alerts.get_alert("x") is None
    assert not one.alerts.acknowledge_alert("x", "ann")
    assert not one.alerts.resolve_alert("x")
    assert not one.alerts.expire_silence("x")
    assert one.alerts.get_alert_history("x") == one.alerts.get_rule_history("x") == []
    assert one.heard == []


def test_history_has_every_change_of_status(one: Engine) -> None:
    """Raised, acknowledged, resolved: by whom, when, at what value. Repeated triggers are none."""
    rule_id = one.rule(auto_resolve=True)
    (first,) = one.evaluate(20)
    one.clock.advance(1)
    one.alerts.acknowledge_alert(first.id, "ann")
    one.pass_by(20, 300)
    one.pass_by(0, 1200)
    history = one.alerts.get_alert_history(first.id)
    assert [(step.from_status, step.to_status, step.actor, step.value) for step in history] == [
        (None, "active", "alerting-service", 20),
        ("active", "acknowledged", "ann", None),
        ("acknowledged", "resolved", "alerting-service", 8),
    ]
    assert [step.timestamp - first.timestamp for step in history][:2] == [0, 1000]
    one.evaluate(1000)
    (second,) = one.alerts.list_alerts("active")
    assert one.alerts.resolve_alert(second.id, "bob")
    assert [(step.alert_id, step.actor) for step in one.alerts.get_rule_history(rule_id)] == [
        (second.id, "bob"),
        (second.id, "alerting-service"),
        *((first.id, step.actor) for step in reversed(history)),
    ]
    assert len(one.alerts.get_rule_history(rule_id, limit=2)) == 2


def test_alerts_are_listed_by_what_they_are(one: Engine) -> None:
    """Status, severity, tenant, rule, a limit; the newest first."""
    for severity in ("info", "critical"):
        for tenant in ("acme", "other"):
            one.rule(severity=severity, tenant_id=tenant, name=f"{severity} {tenant}")
    for tenant in ("acme", "other"):
        one.record(20, tenant_id=tenant)
    one.evaluate()
    one.clock.advance(1)
    rule_id = one.rule(name="newest")
    one.evaluate()
    alerts = one.alerts
    alerts.acknowledge_alert(alerts.list_alerts(severity="info", tenant_id="acme")[0].id, "ann")

    def titles(**filters: Any) -> list[str]:
        return [alert.title for alert in alerts.list_alerts(**filters)]

    assert titles(limit=1) == ["newest"]
    assert set(titles(tenant_id="acme")) == {"info acme", "critical acme"}
    assert titles(status="acknowledged") == ["info acme"]
    assert titles(status="active", severity="info") == ["info other"]
    assert titles(rule_id=rule_id) == ["newest"]
    assert titles(status="resolved") == titles(tenant_id="nobody") == titles(limit=0) == []
    assert alerts.get_active_alert_count() == 4
    assert alerts.get_active_alert_count("critical") == 2
    assert alerts.get_active_alert_count(tenant_id="acme") == 1
    for call in (alerts.list_alerts, alerts.get_active_alert_count):
        with pytest.raises(ValueError, match="use one of info, warning"):
            call(severity="loud")
    with pytest.raises(ValueError, match="use one of active, acknowledged"):
        alerts.list_alerts("open")


def test_cleanup_removes_resolved_alerts_only(one: Engine) -> None:
    """With their history, once they have been resolved for so long; however old the others are."""
    for name in ("active", "acknowledged", "old", "recent"):
        one.rule(name=name)
    alerts = {alert.title: alert for alert in one.evaluate(20)}
    one.alerts.acknowledge_alert(alerts["acknowledged"].id, "ann")
    one.alerts.resolve_alert(alerts["old"].id)
    one.clock.advance(20 * 86_400)
    one.alerts.resolve_alert(alerts["recent"].id)
    assert one.alerts.cleanup() == 0
    one.clock.advance(11 * 86_400)
    assert one.alerts.cleanup(30) == 1
    assert {alert.title for alert in one.alerts.list_alerts()} == alerts.keys() - {"old"}
    assert one.alerts.get_alert_history(alerts["old"].id) == []
    assert one.alerts.get_alert_history(alerts["recent"].id)
    assert one.alerts.cleanup(0) == 1
    with pytest.raises(ValueError, match="retention_days"):
        one.alerts.cleanup(-1)


# -- silences -------------------------------------------------------------------------------------


def test_a_silence_raises_nothing_until_it_ends(one: Engine) -> None:
    """No alert and no event; what is still met at its end is raised then, without any delay."""
    one.rule()
    silence_id = one.alerts.silence(duration_ms=300_000, created_by="ann", comment="upgrade")
    (silence,) = one.alerts.list_silences()
    assert (silence.id, silence.created_by, silence.comment) == (silence_id, "ann", "upgrade")
    assert silence.ends_at - silence.starts_at == 300_000
    assert one.evaluate(20) == []
    assert one.pass_by(20, 240) == []
    assert one.alerts.list_alerts() == one.events("alert.triggered") == []
    assert len(one.pass_by(20, 60)) == 1
    assert one.alerts.list_silences() == []
    assert one.alerts.list_silences(ended=True) == [silence]
    assert not one.alerts.expire_silence(silence_id)


def test_a_silence_covers_what_it_names(one: Engine) -> None:
    """A rule, a severity, labels of the rule or the group; all together."""
    quiet = one.rule(name="quiet")
    one.rule(name="info", severity="info")
    one.rule(name="labelled", labels={"team": "core", "x": "y"})
    one.rule(name="grouped", by=["host"])
    one.rule(name="loud", labels={"team": "web"})
    one.alerts.silence(duration_ms=1000, rule_id=quiet)
    one.alerts.silence(duration_ms=1000, severity="info")
    one.alerts.silence(duration_ms=1000, labels={"team": "core"})
    one.alerts.silence(duration_ms=1000, labels={"host": "a"})
    one.alerts.silence(duration_ms=1000, labels={"team": "web"}, severity="info")
    one.record(20, labels={"host": "a"})
    one.record(20, labels={"host": "b"})
    found = {(alert.title, alert.group_labels.get("host")) for alert in one.evaluate()}
    assert found == {("grouped", "b"), ("loud", None)}


def test_silences_begin_and_end_when_they_say(one: Engine) -> None:
    """One for later, one ended early; and what is not a time is refused."""
    one.rule(cooldown_ms=0)
    start = one.clock.now_ms + 60_000
    later = one.alerts.silence(starts_at=start, ends_at=start + 600_000)
    assert len(one.evaluate(20)) == 1
    assert one.pass_by(20, 120) == []
    assert one.alerts.expire_silence(later)
    assert len(one.pass_by(20, 60)) == 1
    for wrong in (
        {}, {"duration_ms": 1, "ends_at": 1}, {"duration_ms": 0}, {"ends_at": one.clock.now_ms},
        {"starts_at": 2**50, "ends_at": 2**49}, {"duration_ms": 1, "severity": "loud"},
        {"duration_ms": 1, "labels": {"a": 1}},
    ):  # fmt: skip
        with pytest.raises(
            ValueError, match=r"silence|either|duration_ms|severity|labels|Severity"
        ):
            one.alerts.silence(**wrong)  # type: ignore[arg-type]


def test_an_open_alert_is_resolved_while_silenced(one: Engine) -> None:
    """A silence holds back what is raised, not what is over; and repeats of an open alert."""
    one.rule(auto_resolve=True, cooldown_ms=60_000, condition=condition(window_ms=60_000))
    one.evaluate(20)
    one.alerts.silence(duration_ms=3_600_000)
    one.pass_by(20, 240)
    assert one.the_alert().occurrences == 1
    one.pass_by(5, 60)
    assert one.the_alert().status is AlertStatus.RESOLVED


# -- running --------------------------------------------------------------------------------------


def alert_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ax-monitor-scheduler"]


def wait_until(check: Any) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_evaluation_runs_on_a_thread(db: str) -> None:
    """At once, then at every interval; starting and stopping twice is no different."""
    with ax_monitor.open(db) as monitor:
        monitor.alerts.create_rule("n", "d", METRIC, condition(), "info", cooldown_ms=0)
        monitor.metrics.record(METRIC, 11)
        monitor.alerts.stop_evaluation()
        monitor.alerts.start_evaluation(3_600_000)
        wait_until(lambda: monitor.alerts.get_active_alert_count() == 1)
        monitor.alerts.start_evaluation(3_600_000)
        (thread,) = alert_threads()
        assert thread.daemon
        monitor.alerts.start_evaluation(20)
        wait_until(lambda: monitor.alerts.list_alerts()[0].occurrences > 3)
        schedules = [monitor.alerts._evaluation, monitor.alerts._feed]
        monitor.alerts.stop_evaluation()
        monitor.alerts.stop_evaluation()
        assert not any(schedule is not None and schedule.running for schedule in schedules)
        occurrences = monitor.alerts.list_alerts()[0].occurrences
        time.sleep(0.1)
        assert monitor.alerts.list_alerts()[0].occurrences == occurrences
        for interval in (0, -1, 1.5, True):
            with pytest.raises(ValueError, match="interval_ms"):
                monitor.alerts.start_evaluation(interval)  # type: ignore[arg-type]


def test_the_thread_ends_with_the_store(db: str) -> None:
    """Closing ends it, whoever closes; a closed store refuses."""
    monitor = ax_monitor.open(db)
    monitor.alerts.start_evaluation(10)
    monitor.close()
    assert alert_threads() == []
    with pytest.raises(StorageError):
        monitor.alerts.evaluate_now()
    with pytest.raises(StorageError):
        monitor.alerts.create_rule("n", "d", METRIC, condition(), "info")
    with AlertingService(db) as alone:
        alone.start_evaluation(10)
        store = alone.store
    assert alert_threads() == []
    assert store.closed


def test_the_documents_construction(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AlertingService(None, metrics)` works on the collector's store, else on the default."""
    with Store(db) as store:
        metrics = MetricsCollector(store)
        alerting = AlertingService(None, metrics)
        assert alerting.store is store
        alerting.stop()
        assert not store.closed
    monkeypatch.setenv("AX_MONITOR_DB", db)
    alerting = AlertingService()
    assert alerting.store.path == db
    alerting.store.close()


def test_a_listener_may_do_anything(one: Engine) -> None:
    """One that evaluates, acknowledges, or raises does no harm."""
    one.rule(cooldown_ms=0)

    def listener(alert: ax_monitor.Alert) -> None:
        one.alerts.acknowledge_alert(alert.id, "robot")
        one.alerts.evaluate_now()
        raise RuntimeError("no")

    one.store.events.on("alert.triggered", listener)
    one.evaluate(20)
    one.store.flush()
    assert one.the_alert().acknowledged_by == "robot"
    assert len(one.pass_by(20, 60)) == 1


def test_a_read_only_store_can_be_asked(db: str, clock: FakeClock) -> None:
    """Lists and histories are for everybody; changes are not."""
    with engine(db, clock) as made:
        made.rule()
        made.evaluate(20)
    with Store(db, read_only=True, clock=clock) as store:
        alerting = AlertingService(store)
        assert len(alerting.list_alerts()) == len(alerting.list_rules()) == 1
        with pytest.raises(StorageError, match="read-only"):
            alerting.resolve_alert(alerting.list_alerts()[0].id)

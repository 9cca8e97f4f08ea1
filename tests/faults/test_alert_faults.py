"""FAULTS.md, T and B12: clocks that jump, restarts, missing data, flapping values, broken rules."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest

from ax_monitor import AlertRuleError, AlertStatus, StorageError
from ax_monitor.pipeline.scheduler import Scheduler
from tests.conftest import FakeClock
from tests.services.alert_helpers import Engine, condition, engine

HOUR_MS = 3_600_000


@pytest.fixture
def one(db: str, clock: FakeClock) -> Iterator[Engine]:
    with engine(db, clock) as made:
        yield made


def foreign(db: str, *statements: str) -> None:
    connection = apsw.Connection(db)
    for statement in statements:
        connection.execute(statement)
    connection.close()


# -- T1: the clock jumps back ---------------------------------------------------------------------


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS, 10 * 365 * 24 * HOUR_MS])
def test_t1_a_jump_of_the_clock_changes_no_cooldown(one: Engine, jump_ms: int) -> None:
    """Ten minutes of cooldown are ten minutes, whatever the wall clock says."""
    one.rule(cooldown_ms=600_000)
    assert len(one.evaluate(20)) == 1
    one.pass_by(20, 300)
    one.clock.now_ms += jump_ms
    assert one.pass_by(20, 240) == []
    assert len(one.pass_by(20, 60)) == 1


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_t1_a_jump_of_the_clock_changes_no_for_ms(one: Engine, jump_ms: int) -> None:
    """Neither shorter nor longer."""
    one.rule(for_ms=600_000)
    one.evaluate(20)
    one.pass_by(20, 300)
    one.clock.now_ms += jump_ms
    assert one.pass_by(20, 240) == []
    assert len(one.pass_by(20, 60)) == 1


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_t1_a_jump_of_the_clock_changes_no_silence(one: Engine, jump_ms: int) -> None:
    """A silence that was made for ten minutes lasts for ten minutes."""
    one.rule()
    one.alerts.silence(duration_ms=600_000)
    one.pass_by(20, 300)
    one.clock.now_ms += jump_ms
    assert one.pass_by(20, 240) == []
    assert len(one.pass_by(20, 60)) == 1


def test_t1_after_a_jump_back_the_window_is_the_present(one: Engine) -> None:
    """What is recorded after the jump counts at once, and so does what was recorded then."""
    one.rule(condition=condition(aggregation="count", threshold=2))
    one.record(1, ago_ms=HOUR_MS)
    one.record(1, ago_ms=HOUR_MS + 60_000)
    assert one.evaluate(1) == []
    one.clock.now_ms -= HOUR_MS
    one.clock.now_s += 1
    (alert,) = one.evaluate(1)
    assert alert.last_value == 3


# -- T3: suspended --------------------------------------------------------------------------------


def test_t3_missed_evaluations_are_skipped(
    one: Engine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, then at even times; after an hour of sleep once, and then at even times again.

    Between them samples are taken in every five seconds.
    """
    start = clock.now_s
    evaluated: list[float] = []
    fed: list[float] = []
    scheduler = one.store.scheduler
    monkeypatch.setattr(Scheduler, "_start", lambda self: None)
    monkeypatch.setattr(one.alerts, "evaluate_now", lambda: evaluated.append(clock.now_s - start))
    monkeypatch.setattr(one.alerts._live, "take_feed", lambda: fed.append(clock.now_s - start))
    one.alerts.start_evaluation(60_000)
    for nap in [None] * 25 + [3725.0] + [None] * 25:
        wait_s = scheduler.run_due()
        assert wait_s is not None
        assert 0 < wait_s <= 5
        clock.advance(wait_s if nap is None else nap)
    one.alerts.stop_evaluation()
    assert scheduler.run_due() is None
    assert evaluated == [0, 60, 120, 3850, 3900, 3960]
    assert fed == [*range(5, 130, 5), 3850, *range(3855, 3975, 5)]


# -- T4: restarts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reboot", [False, True])
def test_t4_a_restart_within_for_ms(db: str, clock: FakeClock, reboot: bool) -> None:
    """The time that the condition has been met goes on counting."""
    with engine(db, clock) as first:
        first.rule(for_ms=600_000)
        first.evaluate(20)
        first.pass_by(20, 300)
    clock.advance(60)
    if reboot:
        clock.boot, clock.now_s = "boot-2", 5.0
    with engine(db, clock) as second:
        assert second.pass_by(20, 180) == []
        assert len(second.pass_by(20, 60)) == 1


@pytest.mark.parametrize("reboot", [False, True])
def test_t4_a_restart_within_a_cooldown(db: str, clock: FakeClock, reboot: bool) -> None:
    """Nothing fires twice; after the cooldown the same alert is triggered again."""
    with engine(db, clock) as first:
        first.rule(cooldown_ms=600_000)
        assert len(first.evaluate(20)) == 1
    clock.advance(60)
    if reboot:
        clock.boot, clock.now_s = "boot-2", 5.0
    with engine(db, clock) as second:
        assert second.evaluate(20) == []
        assert second.pass_by(20, 480) == []
        assert len(second.pass_by(20, 60)) == 1
        assert second.the_alert().occurrences == 2


def test_t4_a_reboot_with_a_clock_that_went_back(db: str, clock: FakeClock) -> None:
    """A trigger "in the future" does not keep a rule quiet until then: the cooldown begins anew."""
    with engine(db, clock) as first:
        first.rule(cooldown_ms=600_000)
        assert len(first.evaluate(20)) == 1
    clock.boot, clock.now_s = "boot-2", 5.0
    clock.now_ms -= 10 * 365 * 24 * HOUR_MS
    with engine(db, clock) as second:
        assert second.evaluate(20) == []
        assert second.pass_by(20, 540) == []
        assert len(second.pass_by(20, 60)) == 1
        assert second.pass_by(20, 540) == []


def test_t4_a_restart_while_firing(db: str, clock: FakeClock) -> None:
    """Hysteresis and the resolving at the end survive; also for a group that is silent since."""
    with engine(db, clock) as first:
        first.rule(
            by=["host"], auto_resolve=True, condition=condition(resolve_threshold=5), no_data="ok"
        )
        first.record(20, labels={"host": "a"})
        first.record(20, labels={"host": "b"})
        assert len(first.evaluate()) == 2
    clock.advance(301)
    with engine(db, clock) as second:
        second.evaluate(7, labels={"host": "a"})
        statuses = {
            alert.group_labels["host"]: alert.status for alert in second.alerts.list_alerts()
        }
        assert statuses == {"a": "active", "b": "resolved"}


# -- T6: no data ----------------------------------------------------------------------------------


def test_t6_missing_data_is_ignored_unless_the_rule_says_otherwise(one: Engine) -> None:
    """By default an alert is neither raised nor resolved by silence, however long."""
    one.rule(auto_resolve=True, condition=condition(operator="lt"))
    assert one.evaluate() == []
    assert len(one.evaluate(1)) == 1
    one.pass_by(None, 3600)
    assert one.the_alert().status is AlertStatus.ACTIVE
    one.evaluate(100)
    assert one.the_alert().status is AlertStatus.RESOLVED


def test_t6_no_data_that_alerts(one: Engine) -> None:
    """Missing data is met: an alert without a value, after `for_ms` as any other."""
    one.rule(no_data="alert", for_ms=60_000, auto_resolve=True)
    assert one.evaluate() == []
    (alert,) = one.pass_by(None, 60)
    assert alert.description == "The queue is too long (current value: no data, threshold: 10)"
    assert alert.last_value is None
    assert alert.metadata is not None
    assert alert.metadata["value"] is None
    one.evaluate(5)
    assert one.the_alert().status is AlertStatus.RESOLVED


def test_t6_no_data_that_is_ok(one: Engine) -> None:
    """Missing data is not met: then it ends an alert, because the rule says so."""
    one.rule(no_data="ok", auto_resolve=True)
    one.evaluate(20)
    one.pass_by(None, 240)
    assert one.the_alert().status is AlertStatus.ACTIVE
    one.pass_by(None, 60)
    assert one.the_alert().status is AlertStatus.RESOLVED


def test_t6_a_group_that_falls_silent(one: Engine) -> None:
    """Each group is missed by itself; one that was never there is not."""
    one.rule(no_data="alert", by=["host"])
    one.record(1, labels={"host": "a"})
    assert one.evaluate(1, labels={"host": "b"}) == []
    for _ in range(5):
        one.clock.advance(60)
        one.record(1, labels={"host": "a"})
    (alert,) = one.evaluate()
    assert alert.group_labels == {"host": "b"}


# -- T7: flapping ---------------------------------------------------------------------------------


def test_t7_a_value_around_the_threshold_is_no_storm(one: Engine) -> None:
    """An hour of flapping every minute: one alert, triggered once in each cooldown."""
    one.rule(condition=condition(window_ms=60_000), cooldown_ms=600_000)
    for minute in range(60):
        one.clock.advance(60)
        one.evaluate(11 if minute % 2 else 9)
    assert one.the_alert().occurrences == 6
    assert len(one.alerts.get_alert_history(one.the_alert().id)) == 1
    assert len(one.events("alert.triggered")) == 6


def test_t7_hysteresis_holds(one: Engine) -> None:
    """With a resolve threshold below the noise there is one alert, resolved once at the end."""
    one.rule(
        condition=condition(window_ms=60_000, resolve_threshold=5),
        cooldown_ms=0,
        auto_resolve=True,
    )
    for minute in range(60):
        one.clock.advance(60)
        one.evaluate(11 if minute % 2 else 9)
    one.pass_by(2, 60)
    alert = one.the_alert()
    assert [step.to_status for step in one.alerts.get_alert_history(alert.id)] == [
        "active",
        "resolved",
    ]
    assert one.events("alert.resolved") == [alert.id]


def test_t7_evaluating_twice_reports_nothing_twice(one: Engine) -> None:
    """Evaluations at the same moment, or of the same samples, change nothing."""
    one.rule(cooldown_ms=0, auto_resolve=True, for_ms=0)
    assert len(one.evaluate(20)) == 1
    assert [one.evaluate() for _ in range(5)] == [[]] * 5
    for _ in range(100):
        one.record(1)
    for _ in range(5):
        assert one.evaluate() == []
    assert len(one.alerts.get_alert_history(one.the_alert().id)) == 2


# -- S: a database that can't be written -----------------------------------------------------------


def test_a_locked_database_delays_alerts_and_loses_none(one: Engine) -> None:
    """What could not be stored is raised by the next evaluation, once."""
    one.rule()
    one.rule(by=["host"], for_ms=60_000)
    one.record(20, labels={"host": "a"})
    one.store.flush()
    connection = apsw.Connection(one.store.path)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        one.evaluate()
    assert one.events("alert.triggered") == []
    connection.execute("ROLLBACK")
    connection.close()
    one.clock.advance(10)
    assert len(one.evaluate()) == 1
    assert len(one.pass_by(None, 60)) == 1
    assert len(one.alerts.list_alerts()) == 2


# -- B12: a broken rule ---------------------------------------------------------------------------

BROKEN = {
    "condition_operator = 'above'": "unknown Operator 'above'",
    "condition_aggregation = 'p96'": "unknown Aggregation",
    "condition_threshold = 9e999": "threshold must be a finite number",
    "condition_threshold = 'much'": "threshold must be a finite number",
    "condition_window_ms = 0": "window_ms must be",
    "condition_window_ms = 'long'": "window_ms must be",
    "severity = 'loud'": "unknown AlertSeverity",
    "labels = '{'": "labels is not JSON",
    "labels = '[1]'": "labels must be a mapping",
    "labels = '{\"a\": 1}'": "labels['a'] must be a text",
    "match_labels = 'x'": "match_labels is not JSON",
    "group_by = '5'": "by must be a list",
    "group_by = '[1]'": "a label name in by",
    "no_data = 'perhaps'": "unknown NoDataPolicy",
    "name = ''": "name must be a text that is not empty",
    "name = CAST(x'ff41' AS TEXT)": "name is not UTF-8",
    "cooldown_ms = -1": "cooldown_ms must be",
    "for_ms = 'x'": "for_ms must be",
    "resolve_threshold = 11": "resolve_threshold of gt must be at most",
    "metric_type = ''": "metric_type must be",
}


@pytest.mark.parametrize("change", BROKEN)
def test_b12_a_broken_rule_among_100_is_isolated(one: Engine, change: str) -> None:
    """The others fire; the broken one is told once, and can be listed and deleted."""
    ids = [one.rule(name=f"rule {number}") for number in range(100)]
    one.evaluate()
    foreign(one.store.path, f"UPDATE alert_rules SET {change} WHERE id = '{ids[50]}'")
    triggered = one.evaluate(20)
    assert {alert.rule_id for alert in triggered} == set(ids) - {ids[50]}
    one.pass_by(20, 120)
    one.rule(name="another change of rules", enabled=False)
    one.evaluate()
    (error,) = one.events("evaluation.error")
    assert error["rule"] == ids[50]
    assert BROKEN[change] in error["error"]
    assert len(one.alerts.list_rules()) == 100
    (broken,) = one.alerts.broken_rules()
    assert (broken.id, broken.error) == (ids[50], error["error"])
    for call in (one.alerts.get_rule, one.alerts.update_rule):
        with pytest.raises(AlertRuleError) as caught:
            call(ids[50])
        assert BROKEN[change] in str(caught.value)
    one.alerts.delete_rule(ids[50])
    assert one.alerts.broken_rules() == []


def test_b12_a_broken_rule_is_told_again_when_it_changes(one: Engine) -> None:
    """Once for each change of it, and no more once it is mended."""
    rule_id = one.rule()
    for operator in ("above", "below", "below", "gt", "above"):
        foreign(one.store.path, f"UPDATE alert_rules SET condition_operator = '{operator}'")
        one.evaluate()
    errors = [error["error"] for error in one.events("evaluation.error")]
    assert [error.split("'")[1] for error in errors] == ["above", "below", "above"]
    foreign(one.store.path, "UPDATE alert_rules SET condition_operator = 'gt'")
    assert [alert.rule_id for alert in one.evaluate(20)] == [rule_id]


def test_b12_a_rule_that_breaks_while_it_triggers(one: Engine) -> None:
    """A rule is read again where its alert is made: broken by then, it is told; others go on."""
    ids = [one.rule(name="a"), one.rule(name="b")]
    one.evaluate()
    foreign(
        one.store.path,
        f"UPDATE alert_rules SET severity = 'loud' WHERE id = '{ids[0]}'",
        "UPDATE recorder_state SET alert_rules_version = alert_rules_version - 1",  # unnoticed
    )
    assert [alert.rule_id for alert in one.evaluate(20)] == [ids[1]]
    assert [error["rule"] for error in one.events("evaluation.error")] == [ids[0]]


def other_programs_rows(db: str) -> None:
    foreign(
        db,
        "INSERT INTO alerts(id, timestamp, severity, status, title, description, source, labels) "
        "VALUES ('odd', 5, 'loud', 'asleep', CAST(x'ff' AS TEXT), 'd', 's', '[')",
        "INSERT INTO alert_silences(id, labels, starts_at, ends_at) "
        "VALUES ('odd', '[]', 0, 1 << 50)",
        "INSERT INTO alert_silences(id, severity, labels, starts_at, ends_at) "
        "VALUES ('odder', 'loud', '{}', 0, 1 << 50)",
    )


def test_b12_odd_rows_of_other_programs(one: Engine) -> None:
    """An alert in words of its own can be listed; a silence that can't be read silences nothing."""
    other_programs_rows(one.store.path)
    alert = one.the_alert()
    assert (alert.severity, alert.status, alert.labels) == ("info", "active", {})
    assert alert.title == "\\xff"
    assert one.alerts.list_silences() == []
    one.rule()
    assert len(one.evaluate(20)) == 1

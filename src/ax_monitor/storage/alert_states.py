"""Where every rule stands, and what an evaluation makes of it.

Any number of processes evaluate the same rules over the same samples. What counts is what is stored
here: every evaluation begins with what others have changed, and a trigger is a compare-and-set
within one transaction, so that one process raises the alert.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import apsw

from ax_monitor._native import new_id
from ax_monitor.clock import Moment
from ax_monitor.errors import AlertRuleError
from ax_monitor.model.alerts import Alert, AlertRule, Silence
from ax_monitor.model.vocabulary import AlertStatus
from ax_monitor.storage import alerts
from ax_monitor.storage.alert_rules import get_rule, parsed_labels

SOURCE: Final = "alerting-service"

# Phases of a rule and what an evaluation reports of it: the same numbers as in the rules kernel.
INACTIVE, PENDING, FIRING = 0, 1, 2
TO_PENDING, TRIGGER, CLEAR, RESOLVE = 1, 2, 3, 4

_COLUMNS: Final = (
    "rule_id, group_labels, phase, met_since, met_since_boot, met_since_mono, last_trigger, "
    "last_trigger_boot, last_trigger_mono, triggers"
)


@dataclass(frozen=True, slots=True)
class RuleState:
    """Where a rule stands, for one of its groups.

    Args:
        phase: INACTIVE, PENDING (met, but not triggered) or FIRING.
        met_since: Since when the condition has been met, unless inactive.
        last_trigger: When it was triggered last, by any process.
        triggers: How many times it was.
    """

    phase: int
    met_since: Moment
    last_trigger: Moment | None = None
    triggers: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What an evaluation reports of a rule.

    Args:
        rule_id: The rule.
        group_labels: The group, as it is stored.
        kind: TO_PENDING, TRIGGER, CLEAR or RESOLVE.
        value: What was compared with the threshold; NaN if there were no samples.
        met_since: Since when the condition has been met, as far as this evaluation knows.
        triggers: How many triggers there had been when this process evaluated it last.
    """

    rule_id: str
    group_labels: str
    kind: int
    value: float
    met_since: Moment
    triggers: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a finding.

    Args:
        state: Where the rule stands now, whoever has brought it there.
        triggered: The alert that was raised, or triggered once more.
        resolved: The alert that is resolved by this.
        error: Why the rule can't be evaluated.
    """

    state: RuleState
    triggered: Alert | None = None
    resolved: Alert | None = None
    error: str | None = None


def states_version(connection: apsw.Connection) -> int:
    """A number that grows with every change of where a rule stands."""
    ((version,),) = connection.execute("SELECT alert_states_version FROM recorder_state").fetchall()
    assert isinstance(version, int)
    return version


def find_states(
    connection: apsw.Connection, after_version: int = -1
) -> Iterator[tuple[str, str, RuleState]]:
    """Where rules stand that have changed since a version: (rule id, group, state)."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM alert_states WHERE version > ?", (after_version,)
    )
    for row in rows:
        yield row[0], row[1], _state(row)


def apply_findings(
    connection: apsw.Connection, findings: Iterable[Finding], now: Moment
) -> list[Outcome]:
    """Store what an evaluation found, as far as it still holds; one outcome for each finding."""
    return list(map(_Application(connection, now).outcome, findings))


class _Application:
    """The findings of one evaluation, in one transaction."""

    def __init__(self, connection: apsw.Connection, now: Moment) -> None:
        self._connection = connection
        self._now = now
        self._silences: list[Silence] | None = None
        self._rules: dict[str, AlertRule | str | None] = {}
        self._version: int | None = None  # of our changes; None: there are none yet

    def outcome(self, finding: Finding) -> Outcome:
        state = self._stored(finding)
        if finding.kind == TRIGGER:
            return self._trigger(finding, state)
        if finding.kind == TO_PENDING:
            if state.phase != INACTIVE:
                return Outcome(state)
            return self._moved(finding, replace(state, phase=PENDING, met_since=finding.met_since))
        if finding.kind == CLEAR:
            if state.phase != PENDING:
                return Outcome(state)
            return self._moved(finding, replace(state, phase=INACTIVE))
        return self._resolve(finding, state)

    def _trigger(self, finding: Finding, state: RuleState) -> Outcome:
        now = self._now
        rule = self._rule(finding.rule_id)
        if isinstance(rule, str):
            return Outcome(state, error=rule)
        if rule is None or not rule.enabled:
            return Outcome(state)  # the next evaluation has learned of it
        last = state.last_trigger
        if last is not None and now.follows(last) and now.since(last) < rule.cooldown_ms:
            return Outcome(state)  # another process was faster
        if not rule.cooldown_ms and state.phase == FIRING and state.triggers != finding.triggers:
            return Outcome(state)  # the same, of a rule that triggers with every evaluation
        group = parsed_labels(finding.group_labels)
        if any(silence.covers(rule, rule.labels | group) for silence in self._in_force()):
            return Outcome(state)
        alert = alerts.open_alert(self._connection, rule.id, finding.group_labels)
        if alert is None:
            alert = _raised(rule, group, finding.value, now)
            alerts.insert_alert(self._connection, alert, SOURCE)
        else:
            alert = _raised_again(alert, rule, finding.value, now)
            alerts.count_occurrence(self._connection, alert)
        state = RuleState(
            phase=FIRING,
            met_since=finding.met_since if state.phase == INACTIVE else state.met_since,
            last_trigger=now,
            triggers=state.triggers + 1,
        )
        self._store(finding, state)
        return Outcome(state, triggered=alert)

    def _resolve(self, finding: Finding, state: RuleState) -> Outcome:
        if state.phase != FIRING:
            return Outcome(state)
        state = replace(state, phase=INACTIVE)
        self._store(finding, state)
        rule = self._rule(finding.rule_id)
        if not isinstance(rule, AlertRule) or not rule.auto_resolve:
            return Outcome(state)
        alert = alerts.open_alert(self._connection, rule.id, finding.group_labels)
        if alert is None:
            return Outcome(state)
        alerts.resolve(
            self._connection,
            alert.id,
            self._now.time_ms,
            actor=SOURCE,
            value=_finite(finding.value),
        )
        resolved = replace(alert, status=AlertStatus.RESOLVED, resolved_at=self._now.time_ms)
        return Outcome(state, resolved=resolved)

    def _moved(self, finding: Finding, state: RuleState) -> Outcome:
        self._store(finding, state)
        return Outcome(state)

    def _rule(self, rule_id: str) -> AlertRule | str | None:
        """The rule; what is wrong with it; None if it is gone."""
        if rule_id not in self._rules:
            try:
                self._rules[rule_id] = get_rule(self._connection, rule_id)
            except AlertRuleError as error:
                self._rules[rule_id] = str(error)
        return self._rules[rule_id]

    def _in_force(self) -> list[Silence]:
        if self._silences is None:
            self._silences = alerts.find_silences(self._connection, self._now, in_force=True)
        return self._silences

    def _stored(self, finding: Finding) -> RuleState:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alert_states WHERE rule_id = ? AND group_labels = ?",
            (finding.rule_id, finding.group_labels),
        ).fetchone()
        return RuleState(INACTIVE, finding.met_since) if row is None else _state(row)

    def _store(self, finding: Finding, state: RuleState) -> None:
        since, last = state.met_since, state.last_trigger
        if self._version is None:
            self._connection.execute(
                "UPDATE recorder_state SET alert_states_version = alert_states_version + 1"
            )
            self._version = states_version(self._connection)
        self._connection.execute(
            f"INSERT OR REPLACE INTO alert_states({_COLUMNS}, version) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                finding.rule_id, finding.group_labels, state.phase,
                since.time_ms, since.boot_id, since.monotonic_ms,
                *((None,) * 3 if last is None else (last.time_ms, last.boot_id, last.monotonic_ms)),
                state.triggers, self._version,
            ),
        )  # fmt: skip


def _state(row: tuple[Any, ...]) -> RuleState:
    return RuleState(
        phase=row[2],
        met_since=Moment(*row[3:6]),
        last_trigger=None if row[6] is None else Moment(*row[6:9]),
        triggers=row[9],
    )


# -- alerts of a rule -----------------------------------------------------------------------------


def _raised(rule: AlertRule, group: dict[str, str], value: float, now: Moment) -> Alert:
    return Alert(
        id=new_id(),
        timestamp=now.time_ms,
        severity=rule.severity,
        status=AlertStatus.ACTIVE,
        title=rule.name,
        description=describe(rule, value),
        source=SOURCE,
        labels=rule.labels | group,
        tenant_id=rule.tenant_id,
        metadata=_metadata(rule, value),
        rule_id=rule.id,
        group_labels=group,
        last_value=_finite(value),
        updated_at=now.time_ms,
    )


def _raised_again(alert: Alert, rule: AlertRule, value: float, now: Moment) -> Alert:
    return replace(
        alert,
        description=describe(rule, value),
        metadata=_metadata(rule, value),
        occurrences=alert.occurrences + 1,
        last_value=_finite(value),
        updated_at=now.time_ms,
    )


def _metadata(rule: AlertRule, value: float) -> dict[str, Any]:
    return {
        "rule_id": rule.id,
        "metric_type": rule.metric_type,
        "value": _finite(value),
        "threshold": rule.condition.threshold,
        "operator": str(rule.condition.operator),
    }


def describe(rule: AlertRule, value: float) -> str:
    """What an alert of this rule says."""
    return (
        f"{rule.description} (current value: {format_value(value)}, "
        f"threshold: {format_threshold(rule.condition.threshold)})"
    )


def format_value(value: float) -> str:
    """At most two decimals, or three digits of what is less than that.

    >>> format_value(12.3456), format_value(7.0), format_value(0.00012345)
    ('12.35', '7', '0.000123')
    """
    if math.isnan(value):
        return "no data"
    if not math.isfinite(value) or abs(value) >= 1e15 or 0 < abs(value) < 0.01:
        return f"{value:.3g}"
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".")  # -0.0 is 0


def format_threshold(threshold: float) -> str:
    """The shortest text that is this number.

    >>> format_threshold(10.0), format_threshold(0.05)
    ('10', '0.05')
    """
    return repr(threshold).removesuffix(".0")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

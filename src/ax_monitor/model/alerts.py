"""Alert rules, the condition in each, the alerts that they raise, and what becomes of those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from ax_monitor.errors import AlertRuleError
from ax_monitor.model._check import is_finite, is_int64, shown
from ax_monitor.model._record import Record
from ax_monitor.model.vocabulary import (
    Aggregation,
    AlertSeverity,
    AlertStatus,
    NoDataPolicy,
    Operator,
)

__all__ = ["Alert", "AlertCondition", "AlertRule", "AlertTransition", "Silence"]

_RISING = (Operator.GT, Operator.GTE)
_FALLING = (Operator.LT, Operator.LTE)


@dataclass(frozen=True, slots=True)
class AlertCondition(Record):
    """When a rule is met: `aggregation(samples of the last window_ms) operator threshold`.

    >>> AlertCondition("gt", 1000, window_ms=300_000, aggregation="p95").threshold
    1000.0

    Args:
        operator: How the value is compared with the threshold.
        threshold: A finite number, in the unit of the metric.
        window_ms: Length of the window in ms, at least 1.
        aggregation: How the samples of the window become one value.
        resolve_threshold: Once met, the condition holds until the value is past this one too, so
            that a value around the threshold does not flap: at most the threshold for gt and gte,
            at least for lt and lte (default: the threshold itself).

    Raises:
        AlertRuleError: An argument has a wrong value. It is a `ValueError` too.
    """

    operator: Operator | str
    threshold: float
    window_ms: int
    aggregation: Aggregation | str
    resolve_threshold: float | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "operator", Operator.parse(self.operator))
            object.__setattr__(self, "aggregation", Aggregation.parse(self.aggregation))
        except ValueError as error:
            raise AlertRuleError(f"condition: {error}") from None
        object.__setattr__(self, "threshold", _finite("threshold", self.threshold))
        if not is_int64(self.window_ms) or self.window_ms < 1:
            raise AlertRuleError(
                f"condition: window_ms must be an integer above 0, got {shown(self.window_ms)}"
            )
        if self.resolve_threshold is not None:
            resolve = _finite("resolve_threshold", self.resolve_threshold)
            self._check_resolve_threshold(resolve)
            object.__setattr__(self, "resolve_threshold", resolve)

    def _check_resolve_threshold(self, resolve: float) -> None:
        if self.operator in _RISING:
            wrong, side = resolve > self.threshold, "at most"
        elif self.operator in _FALLING:
            wrong, side = resolve < self.threshold, "at least"
        else:
            raise AlertRuleError(f"condition: {self.operator} takes no resolve_threshold")
        if wrong:
            raise AlertRuleError(
                f"condition: resolve_threshold of {self.operator} must be {side} the threshold "
                f"{self.threshold:g}, got {shown(resolve)}"
            )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The condition that a mapping with these field names describes.

        Raises:
            AlertRuleError: A key is missing or unknown, or a value is wrong.
        """
        if not isinstance(mapping, Mapping):
            raise AlertRuleError(f"condition must be a mapping, got {shown(mapping)}")
        names = [each.name for each in fields(cls)]
        missing = [name for name in names[:-1] if name not in mapping]
        unknown = [key for key in mapping if key not in names]
        for problem, keys in (("misses", missing), ("has unknown", unknown)):
            if keys:
                raise AlertRuleError(f"condition {problem} {', '.join(map(str, keys))}")
        return cls(**mapping)


@dataclass(frozen=True, slots=True)
class AlertRule(Record):
    """What to watch, and what to raise when its condition is met.

    Args:
        id: Time-ordered id in UUID text form.
        name: Short name; the title of its alerts.
        description: What it means when the rule is met.
        enabled: Whether it is evaluated.
        metric_type: Name of the metric it watches.
        condition: When it is met: an `AlertCondition`, or a mapping of its fields. The table has
            them in columns named `condition_…`.
        severity: Severity of its alerts.
        labels: Labels that its alerts carry.
        cooldown_ms: For so long after a trigger it does nothing, in ms.
        created_at: When it was made, in ms since the epoch.
        updated_at: When it was last changed, in ms since the epoch.
        tenant_id: Only samples of this tenant count; None for all.
        match_labels: Only samples with these labels count; None for all.
        for_ms: The condition must hold for so long before it triggers, in ms (default 0).
        auto_resolve: Whether its alert is resolved once the condition no longer holds.
        no_data: What a window without samples means (default "ignore").
        by: Names of labels. Samples that differ in one of them are watched apart, each with an
            alert of its own, which carries them (default: all samples together).
        origin: The rules file it comes from; None if it was made by itself.

    Raises:
        AlertRuleError: An argument has a wrong value. It is a `ValueError` too.
    """

    id: str
    name: str
    description: str
    enabled: bool
    metric_type: str
    condition: AlertCondition
    severity: AlertSeverity
    labels: dict[str, str] = field(hash=False)
    cooldown_ms: int
    created_at: int
    updated_at: int
    tenant_id: str | None = None
    match_labels: dict[str, str] | None = field(default=None, hash=False)
    for_ms: int = 0
    auto_resolve: bool = False
    no_data: NoDataPolicy | str = NoDataPolicy.IGNORE
    by: tuple[str, ...] = ()
    origin: str | None = None

    def __post_init__(self) -> None:
        for name in ("name", "metric_type"):
            _check_text(name, getattr(self, name), filled=True)
        _check_text("description", self.description)
        for name in ("tenant_id", "origin"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name), filled=True)
        condition: Any = self.condition
        if not isinstance(condition, AlertCondition):
            object.__setattr__(self, "condition", AlertCondition.from_mapping(condition))
        try:
            object.__setattr__(self, "severity", AlertSeverity.parse(self.severity))
            object.__setattr__(self, "no_data", NoDataPolicy.parse(self.no_data))
        except ValueError as error:
            raise AlertRuleError(str(error)) from None
        for name in ("cooldown_ms", "for_ms"):
            if not is_int64(getattr(self, name)) or getattr(self, name) < 0:
                raise AlertRuleError(
                    f"{name} must be an integer of at least 0, got {shown(getattr(self, name))}"
                )
        for name in ("enabled", "auto_resolve"):
            if not isinstance(getattr(self, name), bool):
                raise AlertRuleError(
                    f"{name} must be True or False, got {shown(getattr(self, name))}"
                )
        object.__setattr__(self, "labels", check_labels("labels", self.labels))
        if self.match_labels is not None:
            matched = check_labels("match_labels", self.match_labels)
            object.__setattr__(self, "match_labels", matched or None)
        object.__setattr__(self, "by", _label_names(self.by))


@dataclass(frozen=True, slots=True)
class Alert(Record):
    """One alert: a rule was met, and somebody should know.

    Args:
        id: Time-ordered id in UUID text form.
        timestamp: When it was triggered first, in ms since the epoch.
        severity: Severity of its rule.
        status: Where it stands.
        title: Name of its rule.
        description: Description of its rule with the value found and the threshold.
        source: The component that raised it.
        labels: Labels of its rule, and those that its rule tells alerts apart by.
        tenant_id: The tenant it belongs to.
        acknowledged_by: Who took notice of it.
        acknowledged_at: When, in ms since the epoch.
        resolved_at: When it was resolved, in ms since the epoch.
        metadata: `rule_id, metric_type, value, threshold, operator` of its last trigger.
        occurrences: How many times it was triggered (default 1).
        rule_id: Its rule; None if another program raised it.
        group_labels: Those labels that tell it from other alerts of its rule.
        last_value: The value at its last trigger; None if there were no samples.
        updated_at: When it was triggered last, in ms since the epoch.
    """

    id: str
    timestamp: int
    severity: AlertSeverity
    status: AlertStatus
    title: str
    description: str
    source: str
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    tenant_id: str | None = None
    acknowledged_by: str | None = None
    acknowledged_at: int | None = None
    resolved_at: int | None = None
    metadata: dict[str, Any] | None = field(default=None, hash=False)
    occurrences: int = 1
    rule_id: str | None = None
    group_labels: dict[str, str] = field(default_factory=dict, hash=False)
    last_value: float | None = None
    updated_at: int | None = None


@dataclass(frozen=True, slots=True)
class AlertTransition(Record):
    """A change of an alert's status.

    Args:
        id: Time-ordered id in UUID text form.
        alert_id: The alert.
        rule_id: Its rule.
        timestamp: When it happened, in ms since the epoch.
        from_status: What the alert was before; None if it was raised by this.
        to_status: What it has been since.
        value: The value that the rule found, if that was the reason.
        actor: Who did it: a user, or "alerting-service".
    """

    id: str
    alert_id: str
    rule_id: str | None
    timestamp: int
    from_status: AlertStatus | None
    to_status: AlertStatus
    value: float | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Silence(Record):
    """A time in which rules that are met raise no alert. What it does not name, it does not limit.

    Args:
        id: Time-ordered id in UUID text form.
        starts_at: When it begins, in ms since the epoch.
        ends_at: When it ends, in ms since the epoch.
        rule_id: Only alerts of this rule.
        severity: Only alerts of this severity.
        labels: Only alerts with all of these labels.
        created_by: Who made it.
        comment: Why.
    """

    id: str
    starts_at: int
    ends_at: int
    rule_id: str | None = None
    severity: AlertSeverity | None = None
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    created_by: str | None = None
    comment: str | None = None

    def covers(self, rule: AlertRule, labels: Mapping[str, str]) -> bool:
        """Whether an alert of this rule with these labels is not to be raised."""
        return (
            self.rule_id in (None, rule.id)
            and self.severity in (None, rule.severity)
            and all(labels.get(name) == value for name, value in self.labels.items())
        )


def check_labels(name: str, value: object) -> dict[str, str]:
    """A copy of `value`, which must be labels: texts by name.

    Raises:
        AlertRuleError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise AlertRuleError(f"{name} must be a mapping, got {shown(value)}")
    for key, text in value.items():
        _check_text(f"a key of {name}", key, filled=True)
        _check_text(f"{name}[{key!r}]", text)
    return dict(value)


def _label_names(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise AlertRuleError(f"by must be a list of label names, got {shown(value)}")
    names = tuple(value)
    for name in names:
        _check_text("a label name in by", name, filled=True)
    if len(set(names)) < len(names):
        raise AlertRuleError(f"by has a label name twice: {', '.join(names)}")
    return names


def _check_text(name: str, value: object, *, filled: bool = False) -> None:
    if not isinstance(value, str) or (filled and not value.strip()):
        kind = "a text that is not empty" if filled else "a text"
        raise AlertRuleError(f"{name} must be {kind}, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise AlertRuleError(f"{name} has characters that are none: {shown(value)}") from None


def _finite(name: str, value: object) -> float:
    if not is_finite(value):
        raise AlertRuleError(f"condition: {name} must be a finite number, got {shown(value)}")
    return float(value)

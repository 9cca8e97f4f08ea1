"""Alert rules, the condition in each, and the alerts that they raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from ax_monitor.errors import AlertRuleError
from ax_monitor.model._check import is_finite, is_int64, shown
from ax_monitor.model._record import Record
from ax_monitor.model.vocabulary import Aggregation, AlertSeverity, AlertStatus, Operator

__all__ = ["Alert", "AlertCondition", "AlertRule"]


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

    Raises:
        AlertRuleError: An argument has a wrong value. It is a `ValueError` too.
    """

    operator: Operator | str
    threshold: float
    window_ms: int
    aggregation: Aggregation | str

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "operator", Operator.parse(self.operator))
            object.__setattr__(self, "aggregation", Aggregation.parse(self.aggregation))
        except ValueError as error:
            raise AlertRuleError(f"condition: {error}") from None
        if not is_finite(self.threshold):
            raise AlertRuleError(
                f"condition: threshold must be a finite number, got {shown(self.threshold)}"
            )
        object.__setattr__(self, "threshold", float(self.threshold))
        if not is_int64(self.window_ms) or self.window_ms < 1:
            raise AlertRuleError(
                f"condition: window_ms must be an integer above 0, got {shown(self.window_ms)}"
            )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The condition that a mapping with exactly the four field names describes.

        Raises:
            AlertRuleError: A key is missing or unknown, or a value is wrong.
        """
        if not isinstance(mapping, Mapping):
            raise AlertRuleError(f"condition must be a mapping, got {shown(mapping)}")
        names = [each.name for each in fields(cls)]
        missing = [name for name in names if name not in mapping]
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
        condition: When it is met. The table has its fields in columns named `condition_…`.
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
    no_data: str = "ignore"


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
        labels: Labels of its rule.
        tenant_id: The tenant it belongs to.
        acknowledged_by: Who took notice of it.
        acknowledged_at: When, in ms since the epoch.
        resolved_at: When it was resolved, in ms since the epoch.
        metadata: `rule_id, metric_type, value, threshold, operator` of its last trigger.
        occurrences: How many times it was triggered (default 1).
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

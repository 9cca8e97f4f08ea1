"""What steps have cost, what they are likely to cost, and budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ax_monitor.model._check import is_finite, shown
from ax_monitor.model._record import Record

__all__ = [
    "PERIODS",
    "Budget",
    "BudgetStatus",
    "CostProjection",
    "CostSummary",
    "DailyCost",
]

PERIODS: Final = ("day", "week", "month")


@dataclass(frozen=True, slots=True)
class CostSummary(Record):
    """What a group of steps has cost.

    Args:
        key: The provider, model, workflow or tenant; None for steps that name none, and a total.
        cost: In US dollars.
        tokens: How many they used.
        steps: How many steps there were that had a cost, or used tokens.
        share: Of the total cost that was asked for, from 0 to 1; 0 if that is 0.
    """

    key: str | None
    cost: float
    tokens: int
    steps: int
    share: float


@dataclass(frozen=True, slots=True)
class DailyCost(Record):
    """What the steps of one day have cost.

    Args:
        day: The first moment of the day (UTC), in ms since the epoch.
        cost: In US dollars.
        tokens: How many tokens they used.
        steps: How many steps there were that had a cost, or used tokens.
        key: As of `CostSummary`.
    """

    day: int
    cost: float
    tokens: int
    steps: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CostProjection(Record):
    """What the days to come are likely to cost, if they go on as the last ones did.

    The figures are None where there is too little history for any: `reason` says so.

    Args:
        start: The first moment of the first day that is projected, in ms since the epoch: of the
            day that runs at the moment (UTC).
        days: How many days are projected.
        expected: What they cost together, in US dollars.
        low: The lower end of the band around that; never below 0.
        high: Its upper end.
        daily_trend: By how much a day is expected to cost more than the one before.
        history: The days that this was computed from, oldest first; all of them complete.
        method: "trend": a straight line through the daily costs; "none": no figures.
        confidence: How likely the cost is within the band, from 0 to 1.
        reason: Why there are no figures.
    """

    start: int
    days: int
    expected: float | None
    low: float | None
    high: float | None
    daily_trend: float | None
    history: tuple[DailyCost, ...]
    method: Literal["trend", "none"]
    confidence: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Budget(Record):
    """How much may be spent in a day, a week or a month.

    Args:
        id: Time-ordered id in UUID text form.
        name: Its name; there is no other of this name.
        amount: In US dollars, above 0.
        period: "day", "week" (from Monday on) or "month" of the calendar, in UTC.
        provider: Only costs of this provider count; None: of all. The next three are the same.
        model: Only of this model.
        workflow: Only of the workflow of this name.
        tenant_id: Only of this tenant.
        created_at: When it was made, in ms since the epoch.
        updated_at: When it was last changed, in ms since the epoch.

    Raises:
        ValueError: An argument has a wrong value.
    """

    id: str
    name: str
    amount: float
    period: str = "month"
    provider: str | None = None
    model: str | None = None
    workflow: str | None = None
    tenant_id: str | None = None
    created_at: int = 0
    updated_at: int = 0

    def __post_init__(self) -> None:
        _check_text("name", self.name)
        for name in ("provider", "model", "workflow", "tenant_id"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        if not is_finite(self.amount) or self.amount <= 0:
            raise ValueError(f"amount must be a number above 0, got {shown(self.amount)}")
        object.__setattr__(self, "amount", float(self.amount))
        if self.period not in PERIODS:
            raise ValueError(
                f"period must be one of {', '.join(PERIODS)}, got {shown(self.period)}"
            )


@dataclass(frozen=True, slots=True)
class BudgetStatus(Record):
    """Where a budget stands in the period that runs at the moment.

    Args:
        budget: Which.
        period_start: First moment of the period, in ms since the epoch.
        period_end: First moment after it.
        spent: What has been spent in it so far, in US dollars.
        share: Of the amount; 1 if all of it is spent, more if more is.
        expected: What will be spent by the end of the period; None if there is too little history
            to tell.
        low: The lower end of the band around that; never below `spent`.
        high: Its upper end.
        confidence: How likely it is within the band, from 0 to 1.
        crossing_date: When the amount was exceeded, in ms since the epoch; else the first moment of
            the day on which it is expected to be; None if it is not.
        status: "exceeded": more than the amount is spent. "warning": at least 80 % of it, or it is
            expected to be exceeded. Else "ok".
    """

    budget: Budget
    period_start: int
    period_end: int
    spent: float
    share: float
    expected: float | None
    low: float | None
    high: float | None
    confidence: float
    crossing_date: int | None
    status: Literal["ok", "warning", "exceeded"]


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a text that is not empty, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has characters that are none: {shown(value)}") from None

"""Costs: what steps have cost, what they are likely to cost, and budgets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Literal, TypeVar

from ax_monitor._native import new_id
from ax_monitor.budgeting.periods import MS_PER_DAY, day_start, period_around
from ax_monitor.budgeting.projection import HISTORY_MIN, Forecast, forecast
from ax_monitor.model._check import is_finite, is_int64, shown
from ax_monitor.model.costs import Budget, BudgetStatus, CostProjection, CostSummary, DailyCost
from ax_monitor.pipeline.service import Service, check_positive
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import costs
from ax_monitor.storage.connection import Connection, snapshot
from ax_monitor.storage.costs import CostRow, CostScope

DAYS_MAX: Final = 36_600  # a century: nobody asks for more days by name
HISTORY_DAYS: Final = 30  # from which a budget's end of period is expected
CONFIDENCE: Final = 0.8  # of that, when budgets are checked
WARNING_SHARE: Final = 0.8
_LEVELS: Final = {"ok": 0, "warning": 1, "exceeded": 2}
GroupBy = Literal["provider", "model", "workflow", "tenant"]
T = TypeVar("T")


class CostService(Service):
    """What the steps of workflows have cost, in US dollars, by provider, model, workflow, tenant.

    A cost is one that `complete_step` (or `StepScope.set`) was told. Its time is the end of its
    step: steps that failed cost too, and all attempts at a step count together. Costs outlive their
    steps: when a cleanup deletes executions, their costs are kept by the day. A day that is kept so
    counts as a whole in every range that has a moment of it. Days, weeks and months are those of
    the calendar in UTC.

    Thread-safety: any thread.
    Cost: a query reads each step in its range from an index, some 1 to 3 µs; by workflow or tenant
    also its execution, another 2 µs.

    >>> import os, tempfile
    >>> from ax_monitor import WorkflowMonitor
    >>> with Store(os.path.join(tempfile.mkdtemp(), "monitor.db")) as store:
    ...     workflows, service = WorkflowMonitor(store), CostService(store)
    ...     with workflows.execution("wf-1", "import") as run:
    ...         for provider, cost in (("one", 0.25), ("two", 0.5), ("one", 0.25)):
    ...             with run.step("ask") as step:
    ...                 step.set(cost=cost, provider=provider)
    ...     found = service.get_costs(0, 2**42, by="provider")
    ...     budget_id = service.set_budget("all", 2, period="day")
    ...     [(each.key, each.cost, each.steps, each.share) for each in found]
    ...     [(status.spent, status.share, status.status) for status in service.get_budget_status()]
    [('one', 0.5, 2, 0.5), ('two', 0.5, 1, 0.5)]
    [(1.0, 0.5, 'ok')]

    Args:
        store: A `Store`, the path of a database, or None for the process's default store.

    Events (`on`): `budget.warning`, `budget.exceeded` (BudgetStatus): from `check_budgets`. They
    are those of the store: all its services share them.

    Raises:
        StorageError: the database can't be opened; from queries, it can't be read.
    """

    def __init__(self, store: Store | str | os.PathLike[str] | None = None) -> None:
        self._use_store(store)

    def _read(self, query: Callable[[Connection], T]) -> T:
        def at_one_moment(connection: Connection) -> T:
            with snapshot(connection):
                return query(connection)

        return self._store.read(at_one_moment)

    # -- what was spent ---------------------------------------------------------------------------

    def get_costs(
        self,
        start_time: int,
        end_time: int,
        *,
        by: GroupBy | None = None,
        provider: str | None = None,
        model: str | None = None,
        workflow: str | None = None,
        tenant_id: str | None = None,
    ) -> list[CostSummary]:
        """What was spent in a range of time, by who; the largest cost first.

        Args:
            start_time: First moment, in ms since the epoch, inclusive.
            end_time: Last moment, inclusive.
            by: "provider", "model", "workflow" (its name) or "tenant". None: all in one, if there
                is anything.
            provider: Only costs of this provider.
            model: Only of this model.
            workflow: Only of workflows of this name.
            tenant_id: Only of this tenant.

        Raises:
            ValueError: a time is no integer, or there is no such `by`.
        """
        _check_range(start_time, end_time)
        _check_by(by)
        scope = CostScope(provider, model, workflow, tenant_id)
        rows = self._read(
            lambda connection: costs.sum_costs(connection, start_time, end_time, scope, key=by)
        )
        total = sum(row.cost for row in rows)
        found = [_summary(row, total) for row in rows if row.steps]
        return sorted(found, key=lambda each: (-each.cost, each.key is None, each.key or ""))

    def get_total(
        self,
        start_time: int,
        end_time: int,
        *,
        provider: str | None = None,
        model: str | None = None,
        workflow: str | None = None,
        tenant_id: str | None = None,
    ) -> CostSummary:
        """What was spent in a range of time; arguments as of `get_costs`."""
        found = self.get_costs(
            start_time,
            end_time,
            provider=provider,
            model=model,
            workflow=workflow,
            tenant_id=tenant_id,
        )
        return found[0] if found else CostSummary(None, 0.0, 0, 0, 0.0)

    def get_daily_costs(
        self,
        start_time: int,
        end_time: int,
        *,
        by: GroupBy | None = None,
        provider: str | None = None,
        model: str | None = None,
        workflow: str | None = None,
        tenant_id: str | None = None,
    ) -> list[DailyCost]:
        """What was spent on each day (UTC) of a range, oldest first; days without costs are 0.

        Arguments as of `get_costs`. With `by`, each day has an entry for every key that there is
        in the range, the largest cost (of the range) first.

        Raises:
            ValueError: as of `get_costs`; or the range has more than 36,600 days.
        """
        _check_range(start_time, end_time)
        _check_by(by)
        scope = CostScope(provider, model, workflow, tenant_id)
        return self._read(lambda connection: _daily(connection, start_time, end_time, scope, by))

    # -- what is to come --------------------------------------------------------------------------

    def project(
        self,
        days: int = 30,
        *,
        history_days: int = 30,
        confidence: float = 0.8,
        provider: str | None = None,
        model: str | None = None,
        workflow: str | None = None,
        tenant_id: str | None = None,
    ) -> CostProjection:
        """What the next days are likely to cost, the running one included.

        A straight line through the costs of the last complete days (least squares), and the
        prediction interval for the sum of the days to come; see `costs.projection.Trend.margin` for
        the formula. Days before the first cost that there is do not count. With fewer than 7 days
        there are no figures, but a reason.

        Args:
            days: How many (default 30).
            history_days: Of how many days the line is (default 30), at least 7.
            confidence: How likely the cost is to be within the band (default 0.8).
            provider: Only costs of this provider, as of `get_costs`.
            model: Only of this model.
            workflow: Only of workflows of this name.
            tenant_id: Only of this tenant.

        Raises:
            ValueError: an argument is out of range.
        """
        check_positive("days", days)
        check_positive("history_days", history_days)
        if history_days < HISTORY_MIN or max(days, history_days) > DAYS_MAX:
            raise ValueError(
                f"history_days must be at least {HISTORY_MIN}, and both it and days at most "
                f"{DAYS_MAX:,}, got {history_days!r} and {days!r}"
            )
        _check_confidence(confidence)
        today = day_start(self._store.clock.time_ms())
        scope = CostScope(provider, model, workflow, tenant_id)
        history = self._read(lambda connection: _history(connection, today, history_days, scope))
        found = forecast([day.cost for day in history], days, confidence)
        if found is None:
            number = f"{len(history)} complete {'day' if len(history) == 1 else 'days'} with costs"
            return CostProjection(
                start=today,
                days=days,
                expected=None,
                low=None,
                high=None,
                daily_trend=None,
                history=tuple(history),
                method="none",
                confidence=confidence,
                reason=f"{number}: at least {HISTORY_MIN} are needed",
            )
        return CostProjection(
            start=today,
            days=days,
            expected=found.expected,
            low=found.low,
            high=found.high,
            daily_trend=found.slope,
            history=tuple(history),
            method="trend",
            confidence=confidence,
        )

    # -- budgets ----------------------------------------------------------------------------------

    def set_budget(
        self,
        name: str,
        amount: float,
        *,
        period: str = "month",
        provider: str | None = None,
        model: str | None = None,
        workflow: str | None = None,
        tenant_id: str | None = None,
    ) -> str:
        """Set how much may be spent in a period; the budget's id.

        One of the same name is changed to this, and told of anew.

        Args:
            name: Its name.
            amount: In US dollars, above 0.
            period: "day", "week" (from Monday) or "month" (default), of the calendar in UTC.
            provider: Only costs of this provider count.
            model: Only of this model.
            workflow: Only of workflows of this name.
            tenant_id: Only of this tenant.

        Raises:
            ValueError: one of them has a wrong value.
            StorageError: the database can't be written.
        """
        now_ms = self._store.clock.time_ms()
        budget = Budget(
            id=new_id(),
            name=name,
            amount=amount,
            period=period,
            provider=provider,
            model=model,
            workflow=workflow,
            tenant_id=tenant_id,
            created_at=now_ms,
            updated_at=now_ms,
        )
        return self._store.write(lambda connection: costs.set_budget(connection, budget))

    def list_budgets(self, tenant_id: str | None = None) -> list[Budget]:
        """The budgets by name; those of a tenant, or all."""
        return self._read(lambda connection: costs.find_budgets(connection, tenant_id))

    def delete_budget(self, name_or_id: str) -> bool:
        """Delete the budget of this name, else of this id; False if there is none."""
        return self._store.write(lambda connection: costs.delete_budget(connection, name_or_id))

    def get_budget_status(
        self, *, tenant_id: str | None = None, confidence: float = 0.8
    ) -> list[BudgetStatus]:
        """Where each budget stands in the period that runs at the moment, by name.

        What is expected by the end of the period is what was spent before the running day, and a
        projection from that day on (see `project`), but no less than what is spent.

        Args:
            tenant_id: Only the budgets of this tenant.
            confidence: How likely the cost is to be within the band (default 0.8).

        Raises:
            ValueError: `confidence` is out of range.
        """
        _check_confidence(confidence)
        now_ms = self._store.clock.time_ms()
        return self._read(
            lambda connection: [
                _status(connection, budget, now_ms, confidence)
                for budget in costs.find_budgets(connection, tenant_id)
            ]
        )

    def check_budgets(self) -> list[BudgetStatus]:
        """Tell of budgets that are exceeded, or likely to be: what is told by this call.

        `budget.warning` and `budget.exceeded` are each emitted once for a budget and period, by
        one of the processes that check; again if the budget was changed.

        Raises:
            StorageError: the database can't be read or written.
        """
        now_ms = self._store.clock.time_ms()

        def look(connection: Connection) -> list[BudgetStatus]:
            told = costs.told_levels(connection)
            found = (
                _status(connection, budget, now_ms, CONFIDENCE)
                for budget in costs.find_budgets(connection)
            )
            return [
                status
                for status in found
                if _LEVELS[status.status]
                > told.get((status.budget.id, status.period_start), _LEVELS["ok"])
            ]

        return [status for status in self._read(look) if self._tell(status, now_ms)]

    def _tell(self, status: BudgetStatus, now_ms: int) -> bool:
        level = _LEVELS[status.status]
        if not self._store.write(
            lambda connection: costs.tell(
                connection, status.budget, status.period_start, level, now_ms
            )
        ):
            return False  # another process was faster
        self._store.events.emit(f"budget.{status.status}", status)
        return True


# -- from sums to records -------------------------------------------------------------------------


def _summary(row: CostRow, total: float) -> CostSummary:
    share = row.cost / total if total else 0.0
    return CostSummary(row.key, row.cost, row.tokens, row.steps, share)


def _daily(
    connection: Connection, start_ms: int, end_ms: int, scope: CostScope, by: str | None
) -> list[DailyCost]:
    first = day_start(start_ms)
    count = (end_ms - first) // MS_PER_DAY + 1
    if count > DAYS_MAX:
        raise ValueError(f"the range has {count:,} days: at most {DAYS_MAX:,} are given")
    if end_ms < start_ms:
        return []
    rows = costs.sum_costs(connection, start_ms, end_ms, scope, key=by, daily=True)
    found = {(row.day, row.key): row for row in rows}
    days = range(first, end_ms + 1, MS_PER_DAY)
    return [
        DailyCost(day, row.cost, row.tokens, row.steps, key)
        if (row := found.get((day, key))) is not None
        else DailyCost(day, 0.0, 0, 0, key)
        for day in days
        for key in _keys(rows, by)
    ]


def _keys(rows: Iterable[CostRow], by: str | None) -> list[str | None]:
    """The keys that there are, the largest cost first."""
    if by is None:
        return [None]
    sums: dict[str | None, float] = {}
    for row in rows:
        sums[row.key] = sums.get(row.key, 0.0) + row.cost
    return sorted(sums, key=lambda key: (-sums[key], key is None, key or ""))


def _history(connection: Connection, today: int, days: int, scope: CostScope) -> list[DailyCost]:
    """The last complete days, from the first one on that cost anything."""
    start = today - days * MS_PER_DAY
    found = _daily(connection, start, today - 1, scope, None)
    if costs.has_costs_before(connection, start, scope):
        return found
    first = next((index for index, day in enumerate(found) if day.steps), len(found))
    return found[first:]


def _status(connection: Connection, budget: Budget, now_ms: int, confidence: float) -> BudgetStatus:
    start, end = period_around(now_ms, budget.period)
    scope = CostScope(budget.provider, budget.model, budget.workflow, budget.tenant_id)
    today = day_start(now_ms)
    period = _daily(connection, start, end - 1, scope, None)
    spent = sum(day.cost for day in period)
    history = _history(connection, today, HISTORY_DAYS, scope)
    found = forecast([day.cost for day in history], (end - today) // MS_PER_DAY, confidence)
    status = BudgetStatus(
        budget=budget,
        period_start=start,
        period_end=end,
        spent=spent,
        share=spent / budget.amount,
        expected=None,
        low=None,
        high=None,
        confidence=confidence,
        crossing_date=None,
        status="warning" if spent >= WARNING_SHARE * budget.amount else "ok",
    )
    if found is not None:
        before_today = sum(day.cost for day in period if day.day < today)
        status = _expecting(status, found, before_today, today)
    if spent > budget.amount:
        crossed = costs.when_exceeded(connection, start, end - 1, scope, budget.amount)
        status = replace(status, status="exceeded", crossing_date=crossed)
    return status


def _expecting(
    status: BudgetStatus, found: Forecast, before_today: float, today: int
) -> BudgetStatus:
    """With what is likely to be spent by the end of the period."""
    expected = max(status.spent, before_today + found.expected)
    amount = status.budget.amount
    crossing = None
    reached = before_today
    for index, cost in enumerate(found.daily):
        reached += cost
        if reached > amount:
            crossing = today + index * MS_PER_DAY
            break
    return replace(
        status,
        expected=expected,
        low=max(status.spent, before_today + found.low),
        high=max(status.spent, before_today + found.high),
        crossing_date=crossing,
        status="warning" if expected > amount else status.status,
    )


# -- checks ---------------------------------------------------------------------------------------


def _check_range(start_time: object, end_time: object) -> None:
    for name, value in (("start_time", start_time), ("end_time", end_time)):
        if not is_int64(value):
            raise ValueError(
                f"{name} must be an integer, in ms since the epoch, got {shown(value)}"
            )


def _check_by(by: object) -> None:
    if by is not None and by not in costs.KEYS:
        raise ValueError(f"by must be None or one of {', '.join(costs.KEYS)}, got {shown(by)}")


def _check_confidence(confidence: object) -> None:
    if not is_finite(confidence) or not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, got {shown(confidence)}")

"""Costs of 500 steps in 30 days, against apsw's sums of the same rows."""

from __future__ import annotations

import pytest

from ax_monitor import CostService, Store, WorkflowMonitor
from benchmarks.conftest import Against
from benchmarks.services.conftest import Fetch

STEPS = 500
DAYS = 30
DAY_MS = 86_400_000
FOREVER = (0, 2**42)
TOTAL = (
    "SELECT sum(cost), sum(tokens_used), count(*) FROM workflow_step_executions "
    "WHERE cost IS NOT NULL AND completed_at BETWEEN ? AND ?"
)
BY_PROVIDER = f"{TOTAL} GROUP BY provider ORDER BY 1 DESC"
BY_DAY = f"{TOTAL} GROUP BY completed_at / {DAY_MS} ORDER BY completed_at"


@pytest.fixture
def costs(store: Store) -> CostService:
    workflows = WorkflowMonitor(store)
    with workflows.execution("wf-1", "import", "acme", "user") as run:
        for number in range(STEPS):
            with run.step("ask") as step:
                step.set(cost=0.004, tokens_used=1200, provider=f"provider-{number % 5}")
    store.flush()
    store.write(
        lambda connection: connection.execute(
            "UPDATE workflow_step_executions SET "
            "started_at = started_at - rowid % ?1 * ?2, completed_at = completed_at - rowid % ?1 * ?2",
            (DAYS, DAY_MS),
        )
    )
    service = CostService(store)
    for provider in range(5):
        service.set_budget(f"budget {provider}", 100, provider=f"provider-{provider}")
    return service


def test_total(against: Against, costs: CostService, fetch: Fetch) -> None:
    found = against(
        "apsw fetchall", lambda: fetch(TOTAL, FOREVER), lambda: costs.get_total(*FOREVER)
    )
    assert found.steps == STEPS


def test_by_provider(against: Against, costs: CostService, fetch: Fetch) -> None:
    found = against(
        "apsw fetchall",
        lambda: fetch(BY_PROVIDER, FOREVER),
        lambda: costs.get_costs(*FOREVER, by="provider"),
    )
    assert len(found) == 5


def test_by_day(against: Against, store: Store, costs: CostService, fetch: Fetch) -> None:
    now_ms = store.clock.time_ms()
    days = (now_ms - (DAYS - 1) * DAY_MS, now_ms)
    found = against(
        "apsw fetchall", lambda: fetch(BY_DAY, days), lambda: costs.get_daily_costs(*days)
    )
    assert len(found) == DAYS


def test_project(against: Against, costs: CostService, fetch: Fetch) -> None:
    """A line through the days, and its band."""
    found = against("apsw fetchall", lambda: fetch(BY_DAY, FOREVER), lambda: costs.project(30))
    assert found.expected is not None


def test_status_of_5_budgets(against: Against, costs: CostService, fetch: Fetch) -> None:
    found = against(
        "apsw fetchall, all costs", lambda: fetch(BY_PROVIDER, FOREVER), costs.get_budget_status
    )
    assert len(found) == 5

"""Workflows: executions of five steps against objects by hand, queries against apsw's rows."""

from __future__ import annotations

import pytest

from ax_monitor import MetricsCollector, Store, WorkflowMonitor
from benchmarks.conftest import Against
from benchmarks.services.conftest import Fetch
from benchmarks.workflows import STEPS, SlottedRow

EXECUTIONS = 200
RECENT = "SELECT * FROM workflow_executions_monitor ORDER BY started_at DESC LIMIT 100"
ONE = "SELECT * FROM workflow_executions_monitor WHERE id = ?"
OF_EXECUTION = "SELECT * FROM workflow_step_executions WHERE execution_id = ? ORDER BY rowid"
STATS = (
    "SELECT count(*), count(*) FILTER (WHERE status = 'completed'), "
    "count(*) FILTER (WHERE status = 'failed'), avg(duration) FROM workflow_executions_monitor"
)


@pytest.fixture
def workflows(store: Store) -> WorkflowMonitor:
    return WorkflowMonitor(store)


@pytest.fixture
def ids(store: Store, workflows: WorkflowMonitor) -> list[str]:
    """Of executions that are in the database."""
    made = [_by_ids(workflows) for _ in range(EXECUTIONS)]
    store.flush()
    return made


def _by_ids(workflows: WorkflowMonitor) -> str:
    execution_id = workflows.start_execution("wf-1", "import", "acme", "user", 5)
    for key, name in STEPS:
        step_id = workflows.start_step(execution_id, key, name)
        workflows.complete_step(step_id, tokens_used=1200, cost=0.004)
    workflows.update_execution(execution_id, status="completed")
    return execution_id


def _as_blocks(workflows: WorkflowMonitor) -> None:
    with workflows.execution("wf-1", "import", "acme", "user", 5) as execution:
        for key, name in STEPS:
            with execution.step(key, name) as step:
                step.set(tokens_used=1200, cost=0.004)


def _by_hand() -> None:
    execution = SlottedRow("acme", "wf-1", "import")
    for key, name in STEPS:
        SlottedRow(execution.id, key, name).complete(1200)
    execution.complete()


# -- recording -------------------------------------------------------------------------------------


def test_execution_by_ids(against: Against, store: Store, workflows: WorkflowMonitor) -> None:
    against("objects by hand", _by_hand, lambda: _by_ids(workflows), after=store.flush)


def test_execution_as_blocks(against: Against, store: Store, workflows: WorkflowMonitor) -> None:
    against("objects by hand", _by_hand, lambda: _as_blocks(workflows), after=store.flush)


def test_execution_with_metrics(against: Against, store: Store) -> None:
    workflows = WorkflowMonitor(store, metrics=MetricsCollector(store))
    against("objects by hand", _by_hand, lambda: _by_ids(workflows), after=store.flush)


# -- reading ---------------------------------------------------------------------------------------


def test_get_execution(
    against: Against, workflows: WorkflowMonitor, ids: list[str], fetch: Fetch
) -> None:
    found = against(
        "apsw fetchall", lambda: fetch(ONE, (ids[7],)), lambda: workflows.get_execution(ids[7])
    )
    assert found is not None


def test_get_step_executions(
    against: Against, workflows: WorkflowMonitor, ids: list[str], fetch: Fetch
) -> None:
    found = against(
        "apsw fetchall",
        lambda: fetch(OF_EXECUTION, (ids[7],)),
        lambda: workflows.get_step_executions(ids[7]),
    )
    assert len(found) == len(STEPS)


@pytest.mark.usefixtures("ids")
def test_get_recent_executions(against: Against, workflows: WorkflowMonitor, fetch: Fetch) -> None:
    """A hundred."""
    found = against("apsw fetchall", lambda: fetch(RECENT), workflows.get_recent_executions)
    assert len(found) == 100


@pytest.mark.usefixtures("ids")
def test_stats(against: Against, workflows: WorkflowMonitor, fetch: Fetch) -> None:
    """Over 200 executions."""
    against("apsw fetchall", lambda: fetch(STATS), workflows.get_workflow_stats)

"""The kernel of executions and steps: what is under way, and what the calls refuse."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from ax_monitor import Store, WorkflowMonitor
from ax_monitor._native import OpenExecution, OpenStep


@pytest.fixture
def workflows(db: str) -> Iterator[WorkflowMonitor]:
    with Store(db) as store:
        yield WorkflowMonitor(store)


def execution(**given: object) -> OpenExecution:
    values = {
        "workflow_id": "wf",
        "workflow_name": "import",
        "tenant_id": None,
        "user_id": None,
        "status": "running",
        "started_at": 1,
    }
    return OpenExecution("x", **{**values, **given})  # type: ignore[arg-type]


def step(of: OpenExecution | None, step_id: str = "s") -> OpenStep:
    return OpenStep(
        step_id,
        execution=of,
        execution_id="x",
        step_key="a",
        step_name="A",
        status="running",
        started_at=1,
    )


def test_none_is_refused_where_an_object_is_needed(workflows: WorkflowMonitor) -> None:
    """With an exception, and not with a crash."""
    for call in (
        lambda: workflows.forget_execution(None),  # type: ignore[arg-type]
        lambda: workflows.hold_execution(None),  # type: ignore[arg-type]
        lambda: workflows.hold_step(None),  # type: ignore[arg-type]
        lambda: workflows.set_values(None, 1, 1, 1, 1, "p", "m"),  # type: ignore[arg-type]
        lambda: workflows.end_step(None, "failed", None),  # type: ignore[arg-type]
        lambda: workflows.end_step(step(None), None, None),  # type: ignore[arg-type]
        lambda: workflows.begin_attempt(None, []),  # type: ignore[arg-type]
        lambda: workflows.change_execution(None, None, None, None, None, None),  # type: ignore[arg-type]
        lambda: OpenExecution(None, **{}),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()


def test_what_is_held_twice_is_one(workflows: WorkflowMonitor) -> None:
    first, second = execution(), execution()
    assert workflows.hold_execution(first) is first
    assert workflows.hold_execution(second) is first
    begun = step(first)
    assert workflows.hold_step(begun) is begun
    assert workflows.hold_step(step(first)) is begun


def test_active_means_not_finished() -> None:
    for status in ("pending", "running", "paused"):
        assert execution(status=status).active
    for status in ("completed", "failed", "cancelled", "queued", ""):
        assert not execution(status=status).active


def test_values_of_attempts_add_up(workflows: WorkflowMonitor) -> None:
    """`set_values` replaces what this attempt had, and adds to what the others had."""
    thing = step(execution())
    for tokens in (5, 7):
        workflows.set_values(thing, tokens, tokens / 2, None, None, None, None)
    assert (thing.tokens_used, thing.cost) == (7, 3.5)
    thing.status = "failed"
    workflows.begin_attempt(thing, [])
    workflows.set_values(thing, 10, 1.0, 1, 2, "p", "m")
    assert (thing.tokens_used, thing.cost) == (17, 4.5)
    assert (thing.input_size, thing.output_size, thing.provider, thing.model) == (1, 2, "p", "m")


def test_ends_are_remembered_until_they_are_written(workflows: WorkflowMonitor) -> None:
    """And for a while after that; very many of them are not."""
    runs = [workflows.start_execution("wf", "import") for _ in range(3000)]
    for run in runs:
        workflows.update_execution(run, status="completed")
    assert workflows.has_ended(runs[-1])
    assert workflows.flush()
    assert workflows.unwritten_ends() == []
    for _ in range(2500):
        workflows.update_execution(workflows.start_execution("wf", "x"), status="completed")
        workflows.flush() if _ % 500 == 0 else None
    assert not workflows.has_ended(runs[0])


def test_nothing_is_leaked(workflows: WorkflowMonitor) -> None:
    """Executions and steps that have ended are let go of, with what they were given."""
    marker = "a text that only this execution has " * 3

    def once() -> None:
        run = workflows.start_execution("wf", marker, metadata={"k": marker})
        first = workflows.start_step(run, "a", marker)
        workflows.fail_step(first, marker)
        workflows.retry_step(first)
        workflows.complete_step(first, provider=marker)
        workflows.update_execution(run, status="completed", error_message=marker)

    for _ in range(2000):
        once()
    workflows.flush()
    gc.collect()
    before = sys.getrefcount(marker)
    for _ in range(6000):
        once()
        if _ % 500 == 0:
            workflows.flush()
    workflows.flush()
    gc.collect()
    assert sys.getrefcount(marker) <= before + 100
    assert workflows.stats().open_executions == workflows.stats().open_steps == 0

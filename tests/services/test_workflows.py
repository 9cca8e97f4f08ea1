"""`WorkflowMonitor` by ids: what SPEC §5 says, line by line."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

import ax_monitor
from ax_monitor import Store, WorkflowExecution, WorkflowMonitor, WorkflowStepExecution
from ax_monitor.storage import metrics, series
from tests.conftest import FakeClock
from tests.faults.harness import locked


@pytest.fixture
def clock_store(db: str, clock: FakeClock) -> Iterator[Store]:
    with Store(db, clock=clock) as opened:
        yield opened


@pytest.fixture
def workflows(clock_store: Store) -> WorkflowMonitor:
    return WorkflowMonitor(clock_store)


def get(workflows: WorkflowMonitor, execution_id: str) -> WorkflowExecution:
    found = workflows.get_execution(execution_id)
    assert found is not None
    return found


def only_step(workflows: WorkflowMonitor, execution_id: str) -> WorkflowStepExecution:
    (step,) = workflows.get_step_executions(execution_id)
    return step


# -- executions ---------------------------------------------------------------------------------


def test_an_execution_from_start_to_end(workflows: WorkflowMonitor, clock: FakeClock) -> None:
    metadata = {"source": "upload", "rows": 3}
    run = workflows.start_execution("wf-1", "import", "acme", "ann", 2, metadata)
    metadata["rows"] = 4
    execution = get(workflows, run)
    assert execution.to_dict() == {
        "id": run,
        "workflow_id": "wf-1",
        "workflow_name": "import",
        "tenant_id": "acme",
        "user_id": "ann",
        "status": "running",
        "started_at": clock.now_ms,
        "completed_at": None,
        "duration": None,
        "steps_total": 2,
        "steps_completed": 0,
        "steps_failed": 0,
        "current_step": None,
        "error_message": None,
        "metadata": {"source": "upload", "rows": 3},
        "interrupted_at": None,
    }
    clock.advance(1.5)
    assert workflows.update_execution(run, current_step="load", steps_completed=1)
    clock.advance(0.5)
    assert workflows.update_execution(run, status="completed")
    execution = get(workflows, run)
    assert (execution.status, execution.completed_at, execution.duration) == (
        "completed",
        clock.now_ms,
        2000.0,
    )
    assert (execution.current_step, execution.steps_completed) == ("load", 1)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_is_finished_takes_no_further_change(workflows: WorkflowMonitor, status: str) -> None:
    run = workflows.start_execution("wf", "import")
    step = workflows.start_step(run, "load")
    assert workflows.update_execution(run, status=status, error_message="so it is")
    before = get(workflows, run)
    assert not workflows.update_execution(run, status="running", current_step="x")
    assert not workflows.update_execution(run, steps_completed=7)
    assert workflows.start_step(run, "more") == ""
    assert get(workflows, run) == before
    assert workflows.stats().ignored == 3
    assert workflows.complete_step(step), "a step that runs may end all the same"
    assert get(workflows, run) == before, "but it does not count any more"
    assert not workflows.retry_step(step)


def test_pending_running_paused(workflows: WorkflowMonitor, clock: FakeClock) -> None:
    run = workflows.start_execution("wf", "import", status="pending")
    for status in ("running", "paused", "running", "pending"):
        assert workflows.update_execution(run, status=status)
        assert get(workflows, run).status == status
        assert [execution.id for execution in workflows.get_active_executions()] == [run]


@pytest.mark.parametrize("status", ["done", "Completed ", "", 3])
def test_a_wrong_status_is_named_with_the_allowed_ones(
    workflows: WorkflowMonitor, status: Any
) -> None:
    run = workflows.start_execution("wf", "import")
    with pytest.raises(ValueError, match=r"pending.*running.*paused.*cancelled"):
        workflows.update_execution(run, status=status)
    with pytest.raises(ValueError, match="pending"):
        workflows.start_execution("wf", "import", status="completed")


def test_counts_and_the_current_step_follow_the_steps(workflows: WorkflowMonitor) -> None:
    run = workflows.start_execution("wf", "import", steps_total=3)
    for key, end in (
        ("a", workflows.complete_step),
        ("b", lambda step: workflows.fail_step(step, "no")),
        ("c", workflows.complete_step),
    ):
        end(workflows.start_step(run, key))
    execution = get(workflows, run)
    assert (execution.steps_completed, execution.steps_failed, execution.current_step) == (
        2,
        1,
        "c",
    )


def test_a_count_that_was_given_is_the_caller_s(workflows: WorkflowMonitor) -> None:
    run = workflows.start_execution("wf", "import")
    workflows.complete_step(workflows.start_step(run, "a"))
    workflows.update_execution(run, steps_completed=10)
    workflows.complete_step(workflows.start_step(run, "b"))
    workflows.fail_step(workflows.start_step(run, "c"), "no")
    workflows.flush()
    workflows.complete_step(workflows.start_step(run, "d"))
    execution = get(workflows, run)
    assert (execution.steps_completed, execution.steps_failed) == (10, 1)


# -- steps --------------------------------------------------------------------------------------


def test_a_step_from_start_to_end(workflows: WorkflowMonitor, clock: FakeClock) -> None:
    run = workflows.start_execution("wf", "import")
    step = workflows.start_step(run, "load", "Load data")
    assert only_step(workflows, run).status == "running"
    clock.advance(0.25)
    assert workflows.complete_step(
        step,
        tokens_used=1200,
        cost=0.004,
        input_size=10,
        output_size=20,
        provider="northwind",
        model="breeze",
    )
    assert only_step(workflows, run).to_dict() == {
        "id": step,
        "execution_id": run,
        "step_key": "load",
        "step_name": "Load data",
        "status": "completed",
        "started_at": clock.now_ms - 250,
        "completed_at": clock.now_ms,
        "duration": 250.0,
        "retry_count": 0,
        "error_message": None,
        "input_size": 10,
        "output_size": 20,
        "tokens_used": 1200,
        "cost": 0.004,
        "provider": "northwind",
        "model": "breeze",
        "earlier_attempts": [],
        "interrupted_at": None,
    }
    assert not workflows.complete_step(step)
    assert not workflows.fail_step(step, "too late")
    assert workflows.stats().ignored == 2


def test_retries_are_attempts_at_one_step(workflows: WorkflowMonitor, clock: FakeClock) -> None:
    run = workflows.start_execution("wf", "import")
    step = workflows.start_step(run, "call")
    begin = clock.now_ms
    clock.advance(1)
    assert workflows.fail_step(step, "timeout", tokens_used=5, cost=0.5)
    assert get(workflows, run).steps_failed == 1
    clock.advance(1)
    assert workflows.retry_step(step)
    assert get(workflows, run).steps_failed == 0
    clock.advance(1)
    assert workflows.retry_step(step), "one that still runs has failed with this"
    clock.advance(1)
    assert workflows.complete_step(step, tokens_used=7, cost=0.25)
    found = only_step(workflows, run)
    assert (found.status, found.retry_count, found.error_message) == ("completed", 2, None)
    assert (found.tokens_used, found.cost) == (12, 0.75)
    assert (found.started_at, found.duration, found.first_started_at) == (
        begin + 3000,
        1000.0,
        begin,
    )
    assert [attempt.to_dict() for attempt in found.earlier_attempts] == [
        {
            "started_at": begin,
            "completed_at": begin + 1000,
            "duration": 1000.0,
            "status": "failed",
            "error_message": "timeout",
            "tokens_used": 5,
            "cost": 0.5,
        },
        {
            "started_at": begin + 2000,
            "completed_at": begin + 3000,
            "duration": 1000.0,
            "status": "failed",
            "error_message": None,
            "tokens_used": None,
            "cost": None,
        },
    ]
    execution = get(workflows, run)
    assert (execution.steps_completed, execution.steps_failed) == (1, 0)
    assert not workflows.retry_step(step), "it has completed"


def test_of_very_many_attempts_the_first_and_the_latest_are_kept(
    workflows: WorkflowMonitor, clock: FakeClock
) -> None:
    run = workflows.start_execution("wf", "import")
    step = workflows.start_step(run, "call")
    for number in range(100):
        clock.advance(1)
        workflows.fail_step(step, f"error {number}")
        workflows.retry_step(step)
    found = only_step(workflows, run)
    errors = [attempt.error_message for attempt in found.earlier_attempts]
    assert found.retry_count == 100
    assert errors == ["error 0", *(f"error {number}" for number in range(69, 100))]


def test_steps_come_in_the_order_in_which_they_were_first_begun(
    workflows: WorkflowMonitor, clock: FakeClock
) -> None:
    run = workflows.start_execution("wf", "import")
    steps = []
    for key in "abc":
        steps.append(workflows.start_step(run, key))
        clock.advance(1)
    workflows.fail_step(steps[0], "no")
    workflows.retry_step(steps[0])
    assert [step.id for step in workflows.get_step_executions(run)] == steps


# -- odd calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", ["", "nobody", "01a223a0-becd-7197-b5bf-321687149327"])
def test_unknown_ids_are_counted(workflows: WorkflowMonitor, unknown: str) -> None:
    assert not workflows.update_execution(unknown, status="completed")
    assert not workflows.complete_step(unknown)
    assert not workflows.fail_step(unknown, "x")
    assert not workflows.retry_step(unknown)
    assert workflows.get_execution(unknown) is None
    assert workflows.get_step_executions(unknown) == []
    assert workflows.get_recent_executions() == []
    assert workflows.get_workflow_stats().total == 0
    assert workflows.stats().unknown_ids >= (1 if unknown == "" else 4)


@pytest.mark.parametrize("wrong", [3, b"id", ["id"]])
def test_an_id_that_is_no_text_is_a_mistake_of_the_program(
    workflows: WorkflowMonitor, wrong: Any
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: workflows.update_execution(wrong, status="completed"),
        lambda: workflows.start_step(wrong, "key"),
        lambda: workflows.complete_step(wrong),
        lambda: workflows.retry_step(wrong),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


class Hostile:
    """Raises whatever is done with it."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def __int__(self) -> int:
        raise RuntimeError("no")

    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "odd", [None, 3, "\ud800", "a\x00b", b"bytes", Decimal("1.5"), Hostile(), "x" * 600_000, {1: 2}]
)
def test_odd_data_never_raises(workflows: WorkflowMonitor, odd: Any) -> None:
    run = workflows.start_execution(odd, odd, odd, odd, odd, odd)
    step = workflows.start_step(run, odd, odd)
    workflows.update_execution(
        run, current_step=odd, steps_completed=odd, steps_failed=odd, error_message=odd
    )
    assert workflows.complete_step(
        step,
        tokens_used=odd,
        cost=odd,
        input_size=odd,
        output_size=odd,
        provider=odd,
        model=odd,
    )
    again = workflows.start_step(run, "again")
    assert workflows.fail_step(again, odd)
    assert workflows.retry_step(again)
    assert workflows.update_execution(run, status="completed")
    assert get(workflows, run).status == "completed"
    assert len(workflows.get_step_executions(run)) == 2


def test_numbers_that_are_none_are_rejected_and_counted(workflows: WorkflowMonitor) -> None:
    heard: list[Any] = []
    workflows.on("workflow.rejected", heard.append)
    run = workflows.start_execution("wf", "import")
    step = workflows.start_step(run, "call")
    workflows.complete_step(step, cost=math.nan, tokens_used=2**70, input_size=4, output_size="9")  # type: ignore[arg-type]
    workflows.store.events.flush()
    found = only_step(workflows, run)
    assert (found.cost, found.tokens_used, found.input_size, found.output_size) == (
        None,
        None,
        4,
        9,
    )
    assert workflows.stats().rejected_values == 2
    assert {payload["field"] for payload in heard} == {"cost", "tokens_used"}


def test_z5_secrets_are_redacted_everywhere(workflows: WorkflowMonitor) -> None:
    heard: list[Any] = []
    workflows.on("workflow.failed", heard.append)
    run = workflows.start_execution("wf", "import", metadata={"password": "hunter2"})
    step = workflows.start_step(run, "call")
    workflows.fail_step(step, "login with password=hunter2 refused")
    workflows.update_execution(run, status="failed", error_message="token=hunter2")
    workflows.store.events.flush()
    seen = f"{get(workflows, run)} {workflows.get_step_executions(run)} {heard}"
    assert len(heard) == 1
    assert "hunter2" not in seen
    assert "[redacted]" in seen


# -- time ---------------------------------------------------------------------------------------


def test_t1_durations_are_measured_on_the_monotonic_clock(
    workflows: WorkflowMonitor, clock: FakeClock
) -> None:
    run = workflows.start_execution("wf", "import")
    step = workflows.start_step(run, "a")
    clock.advance(2)
    clock.now_ms -= 3_600_000
    workflows.complete_step(step)
    workflows.update_execution(run, status="completed")
    assert only_step(workflows, run).duration == 2000.0
    assert get(workflows, run).duration == 2000.0


# -- queries ------------------------------------------------------------------------------------


def test_lists_newest_first_and_limits(workflows: WorkflowMonitor, clock: FakeClock) -> None:
    runs = []
    for number in range(6):
        run = workflows.start_execution("wf", f"run {number}", "acme" if number % 2 else "globex")
        if number < 4:
            workflows.update_execution(run, status="failed" if number == 1 else "completed")
        runs.append(run)
        clock.advance(number % 2)

    def ids(found: list[WorkflowExecution]) -> list[int]:
        return [runs.index(execution.id) for execution in found]

    assert ids(workflows.get_recent_executions()) == [5, 4, 3, 2, 1, 0]
    assert ids(workflows.get_recent_executions(2)) == [5, 4]
    assert ids(workflows.get_recent_executions(None)) == [5, 4, 3, 2, 1, 0]
    assert ids(workflows.get_recent_executions(0)) == []
    assert ids(workflows.get_active_executions()) == [5, 4]
    assert ids(workflows.get_completed_executions()) == [3, 2, 0]
    assert ids(workflows.get_failed_executions()) == [1]
    assert ids(workflows.get_recent_executions(tenant_id="acme")) == [5, 3, 1]
    for wrong in (-1, 1.5, "3", True):
        with pytest.raises(ValueError, match="limit must be an integer of at least 0"):
            workflows.get_recent_executions(wrong)  # type: ignore[arg-type]


def test_z10_a_tenant_sees_only_its_own(
    workflows: WorkflowMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ax_monitor.pipeline.store.BARRIER_S", 0.1)
    mine = workflows.start_execution("wf", "import", "acme")
    theirs = workflows.start_execution("wf", "import", "globex")
    workflows.complete_step(workflows.start_step(theirs, "secret"))

    def check() -> None:
        assert workflows.get_execution(theirs, tenant_id="acme") is None
        assert workflows.get_step_executions(theirs, tenant_id="acme") == []
        for found in (
            workflows.get_active_executions("acme"),
            workflows.get_recent_executions(tenant_id="acme"),
        ):
            assert [execution.id for execution in found] == [mine]
        assert workflows.get_completed_executions(tenant_id="acme") == []
        assert workflows.get_failed_executions(tenant_id="acme") == []

    check()
    assert workflows.get_workflow_stats("acme").total == 1
    with locked(workflows.store.path):
        workflows.start_step(theirs, "more")
        check()


def test_statistics(workflows: WorkflowMonitor, clock: FakeClock) -> None:
    assert workflows.get_workflow_stats().to_dict() == {
        "total": 0,
        "running": 0,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
        "avg_duration": 0.0,
        "success_rate": 0.0,
    }
    for number, status in enumerate(
        ["completed", "completed", "failed", "cancelled", None, "paused"]
    ):
        run = workflows.start_execution("wf", "import", f"t{number % 2}")
        clock.advance(number + 1)
        if status is not None:
            workflows.update_execution(run, status=status)
    assert workflows.get_workflow_stats().to_dict() == {
        "total": 6,
        "running": 1,
        "completed": 2,
        "failed": 1,
        "cancelled": 1,
        "avg_duration": 2500.0,
        "success_rate": 50.0,
    }
    assert workflows.get_workflow_stats("t1").total == 3


def test_while_the_database_is_locked_memory_answers(
    workflows: WorkflowMonitor, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What began and ended here meanwhile is told as it is, though nothing can be written."""
    monkeypatch.setattr("ax_monitor.pipeline.store.BARRIER_S", 0.1)
    old = workflows.start_execution("wf", "old")
    workflows.flush()
    with locked(workflows.store.path):
        clock.advance(1)
        run = workflows.start_execution("wf", "new", metadata={"n": 1})
        step = workflows.start_step(run, "a", "A")
        assert [e.id for e in workflows.get_active_executions()] == [run, old]
        assert get(workflows, run).metadata == {"n": 1}
        assert only_step(workflows, run).status == "running"
        workflows.complete_step(step, cost=0.5)
        failed = workflows.start_step(run, "b")
        workflows.fail_step(failed, "no")
        workflows.update_execution(run, status="failed", error_message="b failed")
        workflows.update_execution(old, status="completed")
        assert workflows.get_active_executions() == []
        assert [e.id for e in workflows.get_recent_executions()] == [run, old]
        assert [e.id for e in workflows.get_completed_executions()] == [old]
        assert [e.id for e in workflows.get_failed_executions()] == [run]
        execution = get(workflows, run)
        assert (execution.status, execution.steps_completed, execution.steps_failed) == (
            "failed",
            1,
            1,
        )
        assert [s.status for s in workflows.get_step_executions(run)] == ["completed", "failed"]
        from_memory = workflows.get_recent_executions(), workflows.get_step_executions(run)
    assert workflows.flush()
    assert (workflows.get_recent_executions(), workflows.get_step_executions(run)) == from_memory


def test_what_is_too_much_to_be_held_is_in_the_database(clock_store: Store) -> None:
    workflows = WorkflowMonitor(clock_store, max_open=10)
    runs = [workflows.start_execution("wf", "import") for _ in range(50)]
    steps = [workflows.start_step(run, "a") for run in runs]
    assert workflows.stats().open_executions <= 11
    assert workflows.stats().open_steps <= 11
    assert workflows.stats().forgotten >= 80
    workflows.flush()
    for run, step in zip(runs, steps, strict=True):
        assert workflows.complete_step(step, cost=1.0)
        assert workflows.update_execution(run, status="completed")
    assert workflows.stats().open_executions <= 11
    assert workflows.get_workflow_stats().completed == 50
    assert all(get(workflows, run).steps_completed == 1 for run in runs)


def test_cleanup_removes_what_ended_and_keeps_what_runs(
    workflows: WorkflowMonitor, clock: FakeClock
) -> None:
    done = workflows.start_execution("wf", "done")
    workflows.complete_step(workflows.start_step(done, "a"))
    workflows.update_execution(done, status="completed")
    runs = workflows.start_execution("wf", "runs")
    clock.advance(31 * 86_400)
    recent = workflows.start_execution("wf", "recent")
    workflows.update_execution(recent, status="failed")
    assert workflows.cleanup(30) == 1
    assert {e.id for e in workflows.get_recent_executions()} == {runs, recent}
    assert workflows.get_step_executions(done) == []
    assert workflows.cleanup(30) == 0
    with pytest.raises(ValueError, match="retention_days"):
        workflows.cleanup(-1)


# -- events -------------------------------------------------------------------------------------


def test_events(workflows: WorkflowMonitor) -> None:
    heard: list[tuple[str, str, str]] = []
    for name in (
        "workflow.started",
        "workflow.completed",
        "workflow.failed",
        "workflow.cancelled",
        "workflow.step.started",
        "workflow.step.completed",
        "workflow.step.failed",
    ):
        workflows.on(
            name,
            lambda record, name=name: heard.append(
                (name, getattr(record, "step_key", record.id), record.status.value)
            ),
        )
    run = workflows.start_execution("wf", "import")
    step = workflows.start_step(run, "a")
    workflows.fail_step(step, "no")
    workflows.retry_step(step)
    workflows.complete_step(step)
    workflows.update_execution(run, status="completed")
    other = workflows.start_execution("wf", "import")
    workflows.update_execution(other, status="cancelled")
    third = workflows.start_execution("wf", "import")
    workflows.update_execution(third, status="failed")
    workflows.store.events.flush()
    assert heard == [
        ("workflow.started", run, "running"),
        ("workflow.step.started", "a", "running"),
        ("workflow.step.failed", "a", "failed"),
        ("workflow.step.started", "a", "running"),
        ("workflow.step.completed", "a", "completed"),
        ("workflow.completed", run, "completed"),
        ("workflow.started", other, "running"),
        ("workflow.cancelled", other, "cancelled"),
        ("workflow.started", third, "running"),
        ("workflow.failed", third, "failed"),
    ]


# -- metrics ------------------------------------------------------------------------------------


def test_metrics_record_themselves(db: str) -> None:
    with ax_monitor.open(db) as monitor:
        workflows = monitor.workflows
        run = workflows.start_execution("wf", "import", "acme", status="pending")
        workflows.update_execution(run, status="running")
        step = workflows.start_step(run, "a")
        workflows.fail_step(step, "no")
        workflows.retry_step(step)
        workflows.complete_step(step, cost=0.25, provider="northwind", model="breeze")
        workflows.update_execution(run, status="completed")

        def samples(name: str, **labels: str) -> list[float]:
            _times, values = monitor.store.read(metrics.get_values, name, 0, 2**50, labels=labels)
            return list(values)

        execution = get(workflows, run)
        assert samples("workflow.execution.duration", workflow="import", status="completed") == [
            execution.duration
        ]
        assert samples("workflow.execution.count", workflow="import", status="completed") == [1.0]
        assert len(samples("workflow.step.duration", workflow="import", status="failed")) == 1
        assert samples("workflow.step.count", workflow="import", status="completed") == [1.0]
        assert samples("workflow.step.cost", provider="northwind", model="breeze") == [0.25]
        assert samples("workflow.queue.length") == [1.0, 0.0]
        assert len(samples("workflow.queue.wait_time", workflow="import")) == 1
        tenants = {
            s.tenant_id for s in monitor.store.read(series.find_series, "workflow.execution.count")
        }
        assert tenants == {"acme"}


# -- threads ------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_of_two_threads_that_end_the_same_one_does(store: Store) -> None:
    workflows = WorkflowMonitor(store)
    for _ in range(50):
        run = workflows.start_execution("wf", "import")
        step = workflows.start_step(run, "a")
        barrier = threading.Barrier(4)
        answers: list[bool] = []

        def end(step: str = step, run: str = run, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            answers.append(workflows.complete_step(step))  # noqa: B023
            answers.append(workflows.update_execution(run, status="completed"))  # noqa: B023

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(answers) == 2
    assert workflows.get_workflow_stats().completed == 50
    assert all(e.steps_completed == 1 for e in workflows.get_recent_executions())

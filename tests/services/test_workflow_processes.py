"""Executions and processes: who dies leaves them interrupted, who lives goes on with them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import ax_monitor
from ax_monitor import Store, WorkflowMonitor
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.storage.workflows import INTERRUPTED
from tests.faults.harness import locked

SRC = str(Path(ax_monitor.__file__).parent.parent)
CHILD = """
import sys, time
import ax_monitor
monitor = ax_monitor.open(sys.argv[1])
done = monitor.workflows.start_execution("wf", "done")
monitor.workflows.complete_step(monitor.workflows.start_step(done, "a"), cost=0.5)
monitor.workflows.update_execution(done, status="completed")
run = monitor.workflows.start_execution("wf", "left")
for key in ("a", "b", "c"):
    monitor.workflows.complete_step(monitor.workflows.start_step(run, key))
failed = monitor.workflows.start_step(run, "d")
monitor.workflows.fail_step(failed, "no")
step = monitor.workflows.start_step(run, "e")
if "flush" in sys.argv:
    monitor.flush()
print(run, step, flush=True)
time.sleep(100)
"""


class Child:
    """A process with an execution and a step under way."""

    def __init__(self, db: str, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, db, *flags],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": SRC},
        )
        assert self.process.stdout is not None
        self.execution_id, self.step_id = self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("flags", [("flush",), ()], ids=["written", "in the ring"])
def test_x6_what_a_killed_process_left_is_interrupted(db: str, flags: tuple[str, ...]) -> None:
    """SIGKILL: its executions and steps are marked failed by whoever opens the database next."""
    child = Child(db, *flags)
    child.kill()
    with Store(db) as store:
        workflows = WorkflowMonitor(store)
        left = workflows.get_execution(child.execution_id)
        assert left is not None
        assert (left.status, left.error_message) == ("failed", INTERRUPTED)
        assert left.interrupted_at is not None
        assert left.completed_at == left.interrupted_at
        assert left.duration is None
        assert (left.steps_completed, left.steps_failed, left.current_step) == (3, 2, "e")
        steps = workflows.get_step_executions(child.execution_id)
        assert [step.status for step in steps] == ["completed"] * 3 + ["failed"] * 2
        assert [step.error_message for step in steps[3:]] == ["no", INTERRUPTED]
        assert workflows.get_active_executions() == []
        stats = workflows.get_workflow_stats()
        assert (stats.total, stats.running, stats.completed, stats.failed) == (2, 0, 1, 1)


def boots(db: str) -> list[tuple[str | None]]:
    connection = apsw.Connection(db)
    try:
        rows = connection.execute("SELECT boot_id FROM recorder_rings ORDER BY ring").fetchall()
        return [(row[0],) for row in rows]  # type: ignore[misc]
    finally:
        connection.close()


def test_x6_a_ring_that_is_lost_with_its_machine(db: str, tmp_path: Path) -> None:
    """After a restart of the machine nobody has an execution from before, ring or no ring."""
    child = Child(db, "flush")
    child.kill()
    for ring in tmp_path.glob("*-ring-*"):
        ring.unlink()
    with Store(db) as store:  # the same start of the machine: nobody knows
        still = WorkflowMonitor(store).get_execution(child.execution_id)
        assert still is not None
        assert still.status == "running"
    assert boots(db)[0] == (SYSTEM_CLOCK.boot_id(),)
    connection = apsw.Connection(db)
    connection.execute("UPDATE recorder_rings SET boot_id = 'another' WHERE ring = 1")
    connection.close()
    with Store(db) as store:
        workflows = WorkflowMonitor(store)
        assert store.flush()
        left = workflows.get_execution(child.execution_id)
        assert left is not None
        assert (left.status, left.error_message) == ("failed", INTERRUPTED)
        steps = workflows.get_step_executions(child.execution_id)
        assert [step.status for step in steps] == ["completed"] * 3 + ["failed"] * 2
    assert boots(db)[0] == (None,)


@pytest.mark.timeout(60)
def test_what_a_living_process_has_is_left_alone(db: str) -> None:
    """Opening and closing the database beside it interrupts nothing."""
    child = Child(db, "flush")
    try:
        for _ in range(2):
            with Store(db) as store:
                (active,) = WorkflowMonitor(store).get_active_executions()
                assert active.id == child.execution_id
    finally:
        child.kill()


@pytest.mark.timeout(60)
def test_another_process_may_go_on_with_it(db: str) -> None:
    """It ends a step and tries another again; the first one's death is no matter then."""
    child = Child(db, "flush")
    with Store(db) as store:
        workflows = WorkflowMonitor(store)
        assert workflows.complete_step(child.step_id, cost=0.25)
        steps = workflows.get_step_executions(child.execution_id)
        assert workflows.retry_step(steps[3].id)
        assert workflows.complete_step(steps[3].id)
        assert workflows.update_execution(child.execution_id, current_step="here")
        child.kill()
    with Store(db) as store:
        workflows = WorkflowMonitor(store)
        execution = workflows.get_execution(child.execution_id)
        assert execution is not None
        # Whoever changed it last has it: that process has closed since, so it is interrupted.
        assert (execution.status, execution.error_message) == ("failed", INTERRUPTED)
        assert (execution.steps_completed, execution.steps_failed) == (5, 0)
        assert workflows.update_execution(child.execution_id, status="completed")
        execution = workflows.get_execution(child.execution_id)
        assert execution is not None
        assert (execution.status, execution.error_message, execution.interrupted_at) == (
            "completed",
            None,
            None,
        )
        steps = workflows.get_step_executions(child.execution_id)
        assert [step.status for step in steps] == ["completed"] * 5
        assert steps[3].retry_count == 1


def test_what_was_interrupted_runs_again_while_the_database_is_locked(db: str) -> None:
    """Memory knows better than a row that says interrupted: somebody goes on with it here."""
    child = Child(db, "flush")
    child.kill()
    with Store(db) as store:
        workflows = WorkflowMonitor(store)
        (failed,) = workflows.get_failed_executions()
        assert (failed.id, failed.error_message) == (child.execution_id, INTERRUPTED)
        with locked(db):
            assert workflows.update_execution(child.execution_id, current_step="again")
            assert [e.id for e in workflows.get_active_executions()] == [child.execution_id]
            assert workflows.get_failed_executions() == []
            assert workflows.update_execution(child.execution_id, status="completed")
            assert [e.status for e in workflows.get_recent_executions()] == ["completed"] * 2
        execution = workflows.get_execution(child.execution_id)
        assert execution is not None
        assert (execution.status, execution.error_message) == ("completed", None)


def test_closing_interrupts_what_is_not_finished(db: str) -> None:
    with Store(db) as store:
        workflows = WorkflowMonitor(store)
        run = workflows.start_execution("wf", "import")
        step = workflows.start_step(run, "a")
        late = workflows.start_execution("wf", "late")
        late_step = workflows.start_step(late, "a")
        workflows.update_execution(late, status="completed")
    with Store(db) as store:
        workflows = WorkflowMonitor(store)
        execution = workflows.get_execution(run)
        assert execution is not None
        assert (execution.status, execution.steps_failed) == ("failed", 1)
        assert [s.id for s in workflows.get_step_executions(run)] == [step]
        finished = workflows.get_execution(late)
        assert finished is not None
        assert (finished.status, finished.steps_failed) == ("completed", 0)
        (left,) = workflows.get_step_executions(late)
        assert (left.id, left.status, left.error_message) == (late_step, "failed", INTERRUPTED)


@pytest.mark.timeout(60)
def test_changes_may_arrive_before_the_start(db: str) -> None:
    """A second process is told the ids and writes first; nothing is lost or counted twice."""
    with Store(db) as first, Store(db) as second:
        beginner, finisher = WorkflowMonitor(first), WorkflowMonitor(second)
        run = beginner.start_execution("wf", "import", "acme", steps_total=2)
        step = beginner.start_step(run, "a", "A")
        assert not finisher.complete_step(step, cost=0.5), "it can't know"
        own = finisher.start_step(run, "b")
        finisher.complete_step(own)
        assert not finisher.update_execution(run, status="completed")
        assert second.flush()
        assert finisher.get_execution(run) is None, "without its start it is not there"
        assert finisher.get_recent_executions() == []
        assert finisher.get_workflow_stats().total == 0
        assert first.flush()
        execution = finisher.get_execution(run)
        assert execution is not None
        assert (execution.status, execution.workflow_name, execution.tenant_id) == (
            "completed",
            "import",
            "acme",
        )
        assert (execution.steps_total, execution.steps_completed) == (2, 2)
        steps = {s.step_key: s for s in finisher.get_step_executions(run)}
        assert (steps["a"].status, steps["a"].step_name, steps["a"].cost) == ("completed", "A", 0.5)
        assert beginner.get_active_executions() == []
        assert not beginner.update_execution(run, status="failed")
        assert beginner.get_execution(run) == execution

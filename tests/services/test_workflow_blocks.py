"""`with workflows.execution(…) as run: with run.step(…)`: ends, errors, context, tasks, forks."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

import ax_monitor
from ax_monitor import Monitor, WorkflowExecution, WorkflowStepExecution, carry_context
from ax_monitor.storage import series


@pytest.fixture
def monitor(db: str) -> Any:
    with ax_monitor.open(db) as opened:
        yield opened


def only(monitor: Monitor) -> tuple[WorkflowExecution, list[WorkflowStepExecution]]:
    (execution,) = monitor.workflows.get_recent_executions()
    return execution, monitor.workflows.get_step_executions(execution.id)


def test_the_end_of_a_block_completes_it(monitor: Monitor) -> None:
    with monitor.workflows.execution("wf", "import", "acme", "ann", 1, {"n": 1}) as run:
        assert monitor.workflows.get_active_executions()[0].id == run.execution_id
        with run.step("load", "Load data") as step:
            step.set(tokens_used=7, cost=0.5, provider="northwind", model="breeze")
            assert step.step_id
    execution, (step_record,) = only(monitor)
    assert (execution.status, execution.steps_completed, execution.user_id) == (
        "completed",
        1,
        "ann",
    )
    assert (step_record.status, step_record.step_name, step_record.tokens_used) == (
        "completed",
        "Load data",
        7,
    )


def test_an_exception_fails_it_and_goes_on(monitor: Monitor) -> None:
    with (
        pytest.raises(KeyError, match="lost"),
        monitor.workflows.execution("wf", "import") as run,
        run.step("load"),
    ):
        raise KeyError("lost")
    execution, (step,) = only(monitor)
    assert (execution.status, execution.error_message) == ("failed", "KeyError: 'lost'")
    assert (step.status, step.error_message) == ("failed", "KeyError: 'lost'")
    assert execution.steps_failed == 1


def test_a_step_that_fails_alone(monitor: Monitor) -> None:
    with monitor.workflows.execution("wf", "import") as run:
        with run.step("load") as step:
            step.fail("no rows")
        with run.step("call") as call:
            call.retry(TimeoutError("slow"))
            call.retry("refused")
    execution, (load, called) = only(monitor)
    assert (execution.status, execution.steps_completed, execution.steps_failed) == (
        "completed",
        1,
        1,
    )
    assert (load.status, load.error_message) == ("failed", "no rows")
    assert [attempt.error_message for attempt in called.earlier_attempts] == [
        "TimeoutError: slow",
        "refused",
    ]


def test_an_end_inside_the_block_is_the_end(monitor: Monitor) -> None:
    with monitor.workflows.execution("wf", "import") as run:
        run.fail("half way")
        with run.step("more") as step:
            assert step.step_id == ""
            step.set(cost=1.0)
            assert not step.retry()
            assert not step.fail("x")
    with monitor.workflows.execution("wf", "import") as other:
        other.cancel("not needed")
    cancelled, failed = monitor.workflows.get_recent_executions()
    assert (failed.status, failed.error_message) == ("failed", "half way")
    assert (cancelled.status, cancelled.error_message) == ("cancelled", "not needed")
    assert monitor.workflows.get_step_executions(failed.id) == []


def test_everything_inside_carries_its_ids(monitor: Monitor) -> None:
    """Logs, traces and metrics: `execution_id` and `tenant_id` from the block, also in threads."""
    with monitor.workflows.execution("wf", "import", "acme", "ann") as run:
        monitor.logger.info("inside", "test")
        with monitor.tracer.trace(run.execution_id, "work"):
            monitor.logger.info("traced", "test")
        thread = threading.Thread(
            target=carry_context(lambda: monitor.logger.info("thread", "test"))
        )
        thread.start()
        thread.join()
        monitor.metrics.record("demo.value", 1.0)
    monitor.logger.info("outside", "test")
    entries = {entry.message: entry for entry in monitor.logger.query_logs()}
    for message in ("inside", "traced", "thread"):
        entry = entries[message]
        assert (entry.execution_id, entry.tenant_id, entry.user_id) == (
            run.execution_id,
            "acme",
            "ann",
        ), message
    assert entries["outside"].execution_id is None
    assert entries["outside"].tenant_id is None
    (trace,) = monitor.tracer.get_traces_by_execution(run.execution_id)
    assert trace.tenant_id == "acme"
    assert entries["traced"].trace_id == trace.trace_id
    assert monitor.store.read(series.find_series, "demo.value")[0].tenant_id == "acme"


def test_an_execution_inside_another_takes_its_tenant(monitor: Monitor) -> None:
    with (
        monitor.workflows.execution("wf", "outer", "acme", "ann") as outer,
        monitor.workflows.execution("wf", "inner") as inner,
    ):
        assert monitor.workflows.step("x") is not None
        with monitor.workflows.step("of the inner"):
            pass
    executions = {e.id: e for e in monitor.workflows.get_recent_executions()}
    assert executions[inner.execution_id].tenant_id == "acme"
    assert executions[inner.execution_id].steps_completed == 1
    assert executions[outer.execution_id].steps_completed == 0


def test_async_blocks_of_tasks_side_by_side(monitor: Monitor) -> None:
    async def work(number: int) -> str:
        async with monitor.workflows.execution("wf", f"run {number}", f"t{number}") as run:
            for key in ("a", "b"):
                async with run.step(key):
                    await asyncio.sleep(0.001)
                    monitor.logger.info(f"{number} {key}", "test")
            return run.execution_id

    async def main() -> list[str]:
        return await asyncio.gather(*(work(number) for number in range(20)))

    for number, execution_id in enumerate(asyncio.run(main())):
        execution = monitor.workflows.get_execution(execution_id)
        assert execution is not None
        assert (execution.status, execution.steps_completed) == ("completed", 2)
        messages = [entry.message for entry in monitor.logger.get_execution_logs(execution_id)]
        assert messages == [f"{number} a", f"{number} b"]


@pytest.mark.timeout(30)
def test_cancelled_tasks_are_cancelled_executions(monitor: Monitor) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with monitor.workflows.execution("wf", "import") as run, run.step("wait"):
            started.set()
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await started.wait()
        task.cancel("shutting down")
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    execution, (step,) = only(monitor)
    assert (execution.status, execution.error_message) == ("cancelled", "shutting down")
    assert step.status == "cancelled"
    assert (execution.steps_completed, execution.steps_failed) == (0, 0)


def test_a_generator_that_is_closed_is_cancelled(monitor: Monitor) -> None:
    def work() -> Any:
        with monitor.workflows.execution("wf", "import") as run, run.step("yield"):
            yield 1

    generator = work()
    next(generator)
    generator.close()
    execution, (step,) = only(monitor)
    assert (execution.status, step.status) == ("cancelled", "cancelled")


def test_a_block_can_be_entered_only_once(monitor: Monitor) -> None:
    run = monitor.workflows.execution("wf", "import")
    step = run.step("a")
    with run, step:
        pass
    with pytest.raises(RuntimeError, match="only once"), run:
        pass
    with pytest.raises(RuntimeError, match="only once"), step:
        pass
    assert len(monitor.workflows.get_recent_executions()) == 1


@pytest.mark.timeout(60)
def test_c1_a_forked_child_leaves_the_parent_s_blocks_alone(monitor: Monitor) -> None:
    """The child ends the blocks it was forked in without any effect, and records its own."""
    with monitor.workflows.execution("wf", "parent") as run:
        with run.step("fork"):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    if monitor.workflows.stats().open_executions == 0:
                        with monitor.workflows.execution("wf", "child") as own, own.step("x"):
                            pass
                        code = 0 if monitor.flush() else 2
                finally:
                    monitor.close()
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            (active,) = monitor.workflows.get_active_executions()
            assert active.id == run.execution_id
        assert monitor.workflows.get_step_executions(run.execution_id)[0].status == "completed"
    done = {e.workflow_name: e for e in monitor.workflows.get_completed_executions()}
    assert set(done) == {"parent", "child"}
    assert done["child"].steps_completed == 1

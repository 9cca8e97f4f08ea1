"""All services around one workflow: alerting, health checks, tracing, metrics, logs, executions.

    python examples/complete_setup.py [DATABASE]

It runs a workflow that succeeds and one that fails, and leaves the database for
`examples/query_data.py`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import ax_monitor

Work = Callable[[], Awaitable[None]]


def set_up(monitor: ax_monitor.Monitor) -> None:
    """Rules, checks, and what is to happen when something is wrong."""
    monitor.alerts.create_rule(
        "High Latency",
        "P95 latency exceeds 1000ms",
        "workflow.execution.duration",
        {"operator": "gt", "threshold": 1000, "window_ms": 300_000, "aggregation": "p95"},
        "warning",
    )
    monitor.alerts.start_evaluation(60_000)
    monitor.health.start_periodic_checks(30_000)

    def on_alert(alert: ax_monitor.Alert) -> None:
        monitor.logger.warn(
            "Alert triggered",
            "alerting",
            metadata={"alert_id": alert.id, "severity": alert.severity},
        )

    def on_health(change: dict[str, str]) -> None:
        monitor.logger.error("Health status changed", "health-check", metadata=change)

    monitor.alerts.on("alert.triggered", on_alert)
    monitor.health.on("health.changed", on_health)


async def execute_workflow(
    monitor: ax_monitor.Monitor, workflow_id: str, tenant_id: str, load: Work, process: Work
) -> str:
    """One execution, with everything recorded by ids; its id."""
    logger, tracer, workflows = monitor.logger, monitor.tracer, monitor.workflows
    execution_id = workflows.start_execution(
        workflow_id, "data-processing", tenant_id, "user-123", 3
    )
    trace_id = tracer.start_trace(execution_id)
    ids = {"execution_id": execution_id, "trace_id": trace_id, "tenant_id": tenant_id}
    logger.info("Workflow started", "workflow-engine", **ids)
    parent_span_id = tracer.start_span(trace_id, "execute-workflow", "internal")
    try:
        step_id = workflows.start_step(execution_id, "step1", "Load Data")
        span_id = tracer.start_span(trace_id, "load-data", parent_span_id=parent_span_id)
        begin = time.perf_counter()
        await load()
        monitor.metrics.record(
            "workflow.step.duration",
            (time.perf_counter() - begin) * 1000,
            labels={"step": "load-data"},
            tenant_id=tenant_id,
        )
        tracer.complete_span(span_id, "ok")
        workflows.complete_step(step_id, input_size=1024)

        step_id = workflows.start_step(execution_id, "step2", "Process Data")
        span_id = tracer.start_span(trace_id, "process-data", parent_span_id=parent_span_id)
        await process()
        tracer.complete_span(span_id, "ok")
        workflows.complete_step(step_id)

        tracer.complete_span(parent_span_id, "ok")
        tracer.complete_trace(trace_id)
        workflows.update_execution(execution_id, status="completed")
        logger.info("Workflow completed", "workflow-engine", **ids)
    except Exception as error:
        logger.error("Workflow failed", "workflow-engine", error=error, **ids)
        tracer.set_span_status(parent_span_id, "error")
        tracer.complete_span(parent_span_id, "error")
        tracer.complete_trace(trace_id)
        workflows.update_execution(execution_id, status="failed", error_message=str(error))
        raise
    return execution_id


async def execute_with_blocks(
    monitor: ax_monitor.Monitor, workflow_id: str, tenant_id: str, load: Work, process: Work
) -> str:
    """The same with blocks: ids, ends, errors and metrics take care of themselves."""
    run = monitor.workflows.execution(workflow_id, "data-processing", tenant_id, "user-123", 3)
    async with run:
        with monitor.tracer.trace(run.execution_id, "execute-workflow"):
            monitor.logger.info("Workflow started", "workflow-engine")
            async with run.step("step1", "Load Data") as step:
                with monitor.tracer.span("load-data"):
                    await load()
                step.set(input_size=1024)
            async with run.step("step2", "Process Data"):
                with monitor.tracer.span("process-data"):
                    await process()
            monitor.logger.info("Workflow completed", "workflow-engine")
    return run.execution_id


async def sleep_a_little() -> None:
    """Stands for work."""
    await asyncio.sleep(0.01)


async def fail() -> None:
    """Stands for work that fails."""
    raise ConnectionError("the warehouse does not answer")


async def main(database: str | Path) -> None:
    """A workflow each way, and one that fails."""
    async with ax_monitor.open(database) as monitor:
        set_up(monitor)
        await execute_workflow(monitor, "wf-1", "tenant-123", sleep_a_little, sleep_a_little)
        await execute_with_blocks(monitor, "wf-1", "tenant-123", sleep_a_little, sleep_a_little)
        try:
            await execute_workflow(monitor, "wf-2", "tenant-123", sleep_a_little, fail)
        except ConnectionError as error:
            print(f"wf-2 failed, as it should: {error}")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:2] or ["example.db"])))

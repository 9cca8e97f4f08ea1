"""The examples do what they say: run as users run them, and looked at from inside."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ax_monitor

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, database: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, database],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_s_first_example_and_its_second(db: str) -> None:
    """A complete set-up runs three executions; the queries of the other process find them."""
    assert run("complete_setup.py", db) == [
        "wf-2 failed, as it should: the warehouse does not answer"
    ]
    lines = run("query_data.py", db)
    assert "Found 1 errors in the last hour" in lines
    assert "Active alerts: 0" in lines
    assert any(line.startswith("System health: ") for line in lines)
    assert "Total executions: 3" in lines
    assert "Success rate: 66.7 %" in lines
    assert "Latency (last hour):" in lines
    spans = [line.split(":")[0].strip() for line in lines if line.startswith("    ")]
    assert spans == ["execute-workflow", "load-data"], "of the execution that failed, the last one"


@pytest.mark.parametrize("way", ["execute_workflow", "execute_with_blocks"])
def test_both_ways_record_the_same(db: str, way: str) -> None:
    """By ids as in the document, or with blocks: execution, steps, trace, logs belong together."""
    example = load("complete_setup")
    with ax_monitor.open(db) as monitor:
        execution_id = asyncio.run(
            getattr(example, way)(
                monitor, "wf-1", "tenant-123", example.sleep_a_little, example.sleep_a_little
            )
        )
        execution = monitor.workflows.get_execution(execution_id)
        assert execution is not None
        assert (execution.status, execution.steps_completed, execution.steps_total) == (
            "completed",
            2,
            3,
        )
        steps = monitor.workflows.get_step_executions(execution_id)
        assert [(s.step_key, s.step_name, s.status, s.input_size) for s in steps] == [
            ("step1", "Load Data", "completed", 1024),
            ("step2", "Process Data", "completed", None),
        ]
        assert all(step.duration is not None and step.duration >= 10 for step in steps)
        (trace,) = monitor.tracer.get_traces_by_execution(execution_id)
        assert [span.name for span in trace.spans] == [
            "execute-workflow",
            "load-data",
            "process-data",
        ]
        root = trace.spans[0].span_id
        assert [span.parent_span_id for span in trace.spans] == [None, root, root]
        logs = monitor.logger.get_execution_logs(execution_id)
        assert [entry.message for entry in logs] == ["Workflow started", "Workflow completed"]
        assert {(entry.trace_id, entry.tenant_id) for entry in logs} == {
            (trace.trace_id, "tenant-123")
        }


def test_its_failure_is_recorded_everywhere(db: str) -> None:
    example = load("complete_setup")
    with ax_monitor.open(db) as monitor:
        with pytest.raises(ConnectionError):
            asyncio.run(
                example.execute_workflow(
                    monitor, "wf-2", "tenant-123", example.sleep_a_little, example.fail
                )
            )
        (execution,) = monitor.workflows.get_failed_executions()
        assert execution.error_message == "the warehouse does not answer"
        (trace,) = monitor.tracer.get_traces_by_execution(execution.id)
        assert trace.spans[0].status == "error"
        (entry,) = monitor.logger.get_error_logs()
        assert entry.execution_id == execution.id
        assert "ConnectionError" in (entry.stack_trace or "")


def test_its_alert_is_logged(db: str) -> None:
    """The rule of the set-up fires, and its listener writes a log line."""
    example = load("complete_setup")
    with ax_monitor.open(db) as monitor:
        example.set_up(monitor)
        for _ in range(20):
            monitor.metrics.record("workflow.execution.duration", 1500.0)
        monitor.alerts.evaluate_now()
        monitor.events.flush()
        (entry,) = monitor.logger.query_logs(source="alerting")
        (alert,) = monitor.alerts.list_alerts(status="active")
        assert entry.metadata == {"alert_id": alert.id, "severity": "warning"}

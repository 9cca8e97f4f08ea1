"""The tour: it keeps its promises, on files of the user's and on its own."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

import ax_monitor
from ax_monitor.demo.engine import STEPS, TENANTS, Engine
from ax_monitor.demo.history import DAYS, HOUR_MS, back_fill
from ax_monitor.demo.tour import Plan, Tour
from tests.cli.helpers import run

NOW_MS = 1_750_000_000_000
FILES = sorted((Path(__file__).parent / "data" / "logs").glob("*.log"))


@pytest.mark.timeout(180)
def test_the_tour_keeps_its_promises(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the killed process is lost, the outage raises an alert that ends with it, also if
    nothing at all fails afterwards, and every command that is shown prints something."""
    monkeypatch.setattr("ax_monitor.demo.models.FAILURES", 0.0)
    out = io.StringIO()
    console = Console(file=out, width=100, highlight=False, record=True)
    outcome = Tour(Path(db), FILES[:1], console, Plan(calm=2.0, outage_after_alert=1.0)).run()
    shown = out.getvalue()
    assert outcome.as_promised, shown
    assert outcome.triggered is not None
    assert outcome.resolved is not None
    assert outcome.resolved > outcome.triggered
    for chapter in shown.split("$ ")[1:]:
        command, *lines = chapter.split("──")[0].splitlines()
        assert len([line for line in lines if line.strip()]) > 1, f"{command} printed nothing"


def test_it_touches_no_file_that_is_there(db: str) -> None:
    Path(db).write_bytes(b"precious")
    done = run("demo", "--db", db)
    assert done.code == 1
    assert "is there already: delete it (rm" in done.err
    assert Path(db).read_bytes() == b"precious"


def test_the_past_lies_in_the_past(db: str) -> None:
    """A month of executions with costs and metrics at their times, the last day the busiest."""
    count = back_fill(db, NOW_MS, seed=1)
    with ax_monitor.open(db) as monitor:
        executions = monitor.workflows.get_recent_executions(limit=None)
        assert len(executions) == count
        times = [execution.started_at for execution in executions]
        assert NOW_MS - DAYS * 24 * HOUR_MS <= min(times) < max(times) < NOW_MS
        assert sum(at >= NOW_MS - 24 * HOUR_MS for at in times) > count / 4
        assert {execution.tenant_id for execution in executions} == set(TENANTS)
        stats = monitor.workflows.get_workflow_stats()
        assert 90 < stats.success_rate < 100
        durations = monitor.metrics.get_aggregation("workflow.execution.duration", 0, NOW_MS)
        assert durations is not None
        assert durations.count == count
        assert durations.avg == pytest.approx(stats.avg_duration)
        costs = monitor.metrics.get_aggregation("workflow.step.cost", 0, NOW_MS)
        assert costs is not None
        assert costs.sum > 0


def test_the_engine_records_what_belongs_together(db: str) -> None:
    """Logs made in threads carry the ids of their execution; each span has its step."""
    with ax_monitor.open(db, logger={"min_level": "debug"}) as monitor:
        engine = Engine(monitor, FILES, "engine", seed=3)
        worker = threading.Thread(target=asyncio.run, args=(engine.run(2),))
        worker.start()
        deadline = time.monotonic() + 30
        while engine.executions < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        engine.stop()
        worker.join(30)
        done = monitor.workflows.get_completed_executions(limit=None)
        assert done
        for execution in done:
            steps = monitor.workflows.get_step_executions(execution.id)
            assert [step.step_key for step in steps] == list(STEPS)
            assert steps[2].cost is not None
            assert steps[2].provider is not None
            (trace,) = monitor.tracer.get_traces_by_execution(execution.id)
            names = [span.name for span in trace.spans]
            assert {"fetch", "parse", "model call", "compress", "hash"} < set(names)
            logs = monitor.logger.get_execution_logs(execution.id)
            assert {entry.tenant_id for entry in logs} == {execution.tenant_id}
            assert any(entry.message.startswith("sha256 ") for entry in logs)

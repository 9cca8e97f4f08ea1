"""Executions and steps as a state machine, with retries, failures, cancels and process death.

The processes are real, driven over pipes; a kill is a real SIGKILL. The model is a few dictionaries
and knows nothing of rings, batches or SQL.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

EXAMPLES = int(os.environ.get("AX_MONITOR_TEST_EXAMPLES", "10"))
FINISHED = ("completed", "failed", "cancelled")
ACTIVE = ("pending", "running", "paused")

_CHILD = """
import json, sys
import ax_monitor

store = ax_monitor.Store(sys.argv[1])
workflows = ax_monitor.WorkflowMonitor(store)

def world():
    executions = workflows.get_recent_executions(None)
    return {
        "executions": [e.to_dict() for e in executions],
        "steps": {e.id: [s.to_dict() for s in workflows.get_step_executions(e.id)]
                  for e in executions},
        "active": [e.id for e in workflows.get_active_executions()],
        "stats": {t: workflows.get_workflow_stats(None if t == "all" else t).to_dict()
                  for t in ("all", "t0", "t1")},
    }

for line in sys.stdin:
    name, arguments = json.loads(line)
    call = {"world": world, "flush": store.flush, "close": store.close}.get(name)
    print(json.dumps((call or getattr(workflows, name))(**arguments)), flush=True)
"""


class Process:
    """One process that records."""

    def __init__(self, database: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self, *, kill: bool) -> None:
        if kill:
            self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@dataclass
class Step:
    """What the model knows of a step."""

    key: str
    status: str = "running"
    error: str | None = None
    failed_attempts: int = 0
    tokens: int | None = None
    attempt_tokens: int = 0
    late: bool = False
    interrupted: bool = False


@dataclass
class Execution:
    """What the model knows of an execution."""

    tenant: str
    status: str
    process: int
    steps: dict[str, Step] = field(default_factory=dict)
    current: str | None = None
    error: str | None = None
    given: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def finished(self) -> bool:
        return self.status in FINISHED and not self.interrupted

    def count(self, status: str) -> int:
        counted = sum(s.status == status and not s.late for s in self.steps.values())
        return self.given.get(status, counted)

    def revive(self) -> None:
        if self.interrupted:
            self.status, self.error, self.interrupted = "running", None, False


class Workflows(RuleBasedStateMachine):
    """Two processes on one file. An execution is one process's at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="ax-workflows-")
        self.database = str(Path(self.folder) / "monitor.db")
        self.processes: list[Process] = []
        self.lives = [0, 0]  # which life of the process in this place it is
        self.executions: dict[str, Execution] = {}

    @initialize()
    def start(self) -> None:
        self.processes = [Process(self.database) for _ in range(2)]

    def teardown(self) -> None:
        for process in self.processes:
            process.end(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def pick(self, data: st.DataObject) -> tuple[Process, str, Execution] | None:
        """An execution, and the process that has it; what is interrupted is anybody's."""
        if not self.executions:
            return None
        run = data.draw(st.sampled_from(sorted(self.executions)))
        execution = self.executions[run]
        if execution.process < 0:
            execution.process = data.draw(st.integers(0, 1))
        return self.processes[execution.process], run, execution

    def pick_step(self, data: st.DataObject) -> tuple[Process, Execution, str, Step] | None:
        found = self.pick(data)
        if found is None or not found[2].steps:
            return None
        process, _, execution = found
        step_id = data.draw(st.sampled_from(sorted(execution.steps)))
        return process, execution, step_id, execution.steps[step_id]

    @rule(
        place=st.integers(0, 1),
        tenant=st.sampled_from(["t0", "t1"]),
        status=st.sampled_from(ACTIVE),
    )
    def start_execution(self, place: int, tenant: str, status: str) -> None:
        run = self.processes[place].call(
            "start_execution",
            workflow_id="wf",
            workflow_name="import",
            tenant_id=tenant,
            steps_total=3,
            status=status,
        )
        self.executions[run] = Execution(tenant, status, place)

    @rule(
        data=st.data(),
        status=st.none() | st.sampled_from(ACTIVE + FINISHED),
        current=st.none() | st.sampled_from(["x", "y"]),
        completed=st.none() | st.integers(0, 5),
        failed=st.none() | st.integers(0, 5),
        error=st.none() | st.just("told"),
    )
    def update(
        self,
        data: st.DataObject,
        status: str | None,
        current: str | None,
        completed: int | None,
        failed: int | None,
        error: str | None,
    ) -> None:
        if (found := self.pick(data)) is None:
            return
        process, run, execution = found
        done = process.call(
            "update_execution",
            execution_id=run,
            status=status,
            current_step=current,
            steps_completed=completed,
            steps_failed=failed,
            error_message=error,
        )
        assert done is not execution.finished
        if execution.finished:
            return
        execution.revive()
        execution.status = status or execution.status
        execution.current = current or execution.current
        execution.error = error or execution.error
        execution.given |= {
            name: value
            for name, value in (("completed", completed), ("failed", failed))
            if value is not None
        }

    @rule(data=st.data(), key=st.sampled_from("abc"))
    def start_step(self, data: st.DataObject, key: str) -> None:
        if (found := self.pick(data)) is None:
            return
        process, run, execution = found
        step_id = process.call("start_step", execution_id=run, step_key=key)
        assert bool(step_id) is not execution.finished
        if step_id:
            execution.revive()
            execution.steps[step_id] = Step(key)
            execution.current = key

    @rule(data=st.data(), fails=st.booleans(), tokens=st.none() | st.integers(0, 9))
    def end_step(self, data: st.DataObject, fails: bool, tokens: int | None) -> None:
        if (found := self.pick_step(data)) is None:
            return
        process, execution, step_id, step = found
        ends = {"error_message": "no"} if fails else {}
        done = process.call(
            "fail_step" if fails else "complete_step", step_id=step_id, tokens_used=tokens, **ends
        )
        runs = step.status == "running" or step.interrupted
        assert done is runs
        if runs:
            step.status, step.error = ("failed", "no") if fails else ("completed", None)
            step.late = execution.finished
            step.interrupted = False
            self.add_tokens(step, tokens)

    @staticmethod
    def add_tokens(step: Step, tokens: int | None) -> None:
        if tokens is not None:
            step.tokens = (step.tokens or 0) - step.attempt_tokens + tokens
            step.attempt_tokens = tokens

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        if (found := self.pick_step(data)) is None:
            return
        process, execution, step_id, step = found
        may = not execution.finished and step.status in ("running", "failed") and not step.late
        assert process.call("retry_step", step_id=step_id) is may
        if may:
            execution.revive()
            step.status, step.error, step.interrupted = "running", None, False
            step.failed_attempts += 1
            step.attempt_tokens = 0
            execution.current = step.key

    @rule(place=st.integers(0, 1))
    def flush(self, place: int) -> None:
        assert self.processes[place].call("flush") is True

    @precondition(lambda self: self.executions)
    @rule(place=st.integers(0, 1), kill=st.booleans())
    def die(self, place: int, kill: bool) -> None:
        """A process is killed, or closes; another opens the file in its place."""
        if not kill:
            self.processes[place].call("close")
        self.processes[place].end(kill=kill)
        self.processes[place] = Process(self.database)
        for execution in self.executions.values():
            if execution.process != place:
                continue
            execution.process = -1
            for step in execution.steps.values():
                if step.status == "running":
                    step.status, step.error, step.interrupted = "failed", "interrupted", True
                    step.late = execution.finished
            if execution.status in ACTIVE:
                execution.status, execution.error = "failed", "interrupted"
                execution.interrupted = True
        self.look(place)

    @rule(place=st.integers(0, 1))
    def look(self, place: int) -> None:
        """The database says what the model says, statistics included."""
        for process in self.processes:
            assert process.call("flush") is True
        world = self.processes[place].call("world")
        found = {execution["id"]: execution for execution in world["executions"]}
        assert found.keys() == self.executions.keys()
        for run, execution in self.executions.items():
            row = found[run]
            assert {name: row[name] for name in (
                "status", "tenant_id", "current_step", "error_message", "steps_completed",
                "steps_failed", "steps_total",
            )} == {
                "status": execution.status,
                "tenant_id": execution.tenant,
                "current_step": execution.current,
                "error_message": execution.error,
                "steps_completed": execution.count("completed"),
                "steps_failed": execution.count("failed"),
                "steps_total": 3,
            }  # fmt: skip
            assert (row["interrupted_at"] is not None) == execution.interrupted
            assert (row["completed_at"] is not None) == (row["status"] in FINISHED)
            steps = world["steps"][run]
            assert [step["id"] for step in steps] == list(execution.steps)
            for step in steps:
                model = execution.steps[step["id"]]
                assert {name: step[name] for name in (
                    "step_key", "status", "error_message", "retry_count", "tokens_used"
                )} == {
                    "step_key": model.key,
                    "status": model.status,
                    "error_message": model.error,
                    "retry_count": model.failed_attempts,
                    "tokens_used": model.tokens,
                }  # fmt: skip
                assert len(step["earlier_attempts"]) == model.failed_attempts
                assert (step["interrupted_at"] is not None) == model.interrupted
        active = [run for run, e in self.executions.items() if e.status in ACTIVE]
        assert sorted(world["active"]) == sorted(active)
        for tenant, stats in world["stats"].items():
            self.check_stats(tenant, stats, found)

    def check_stats(
        self, tenant: str, stats: dict[str, Any], rows: dict[str, dict[str, Any]]
    ) -> None:
        mine = {r: e for r, e in self.executions.items() if tenant in ("all", e.tenant)}
        statuses = [execution.status for execution in mine.values()]
        ended = [status for status in statuses if status in FINISHED]
        durations = [
            rows[run]["duration"]
            for run, execution in mine.items()
            if execution.status in FINISHED and rows[run]["duration"] is not None
        ]
        assert stats["total"] == len(mine)
        for name in ("running", "completed", "failed", "cancelled"):
            assert stats[name] == statuses.count(name)
        assert stats["success_rate"] == pytest.approx(
            100 * ended.count("completed") / len(ended) if ended else 0
        )
        assert stats["avg_duration"] == pytest.approx(
            sum(durations) / len(durations) if durations else 0
        )


TestWorkflowMachine = Workflows.TestCase
TestWorkflowMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None
)
TestWorkflowMachine = pytest.mark.timeout(240)(TestWorkflowMachine)

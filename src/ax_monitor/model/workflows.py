"""Workflow executions and their steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ax_monitor.model._record import Record
from ax_monitor.model.vocabulary import WorkflowStatus

__all__ = [
    "WorkflowExecution",
    "WorkflowStats",
    "WorkflowStepAttempt",
    "WorkflowStepExecution",
]


@dataclass(frozen=True, slots=True)
class WorkflowExecution(Record):
    """One run of a workflow.

    Args:
        id: Time-ordered id in UUID text form.
        workflow_id: The workflow that runs.
        workflow_name: Its name.
        tenant_id: The tenant it runs for.
        user_id: The user who started it.
        status: Where it stands.
        started_at: Start, in ms since the epoch.
        completed_at: End, in ms since the epoch; None while it is not finished.
        duration: Length in ms; None while it is not finished.
        steps_total: Number of steps it is to have.
        steps_completed: Number of steps completed so far.
        steps_failed: Number of steps failed so far.
        current_step: The step it is at.
        error_message: Why it failed; "interrupted" if its process ended before it did.
        metadata: Further values by name.
        interrupted_at: When that was found, in ms since the epoch; None if it was not interrupted.
    """

    id: str
    workflow_id: str
    workflow_name: str
    tenant_id: str | None
    user_id: str | None
    status: WorkflowStatus
    started_at: int
    completed_at: int | None = None
    duration: float | None = None
    steps_total: int = 0
    steps_completed: int = 0
    steps_failed: int = 0
    current_step: str | None = None
    error_message: str | None = None
    metadata: dict[str, Any] | None = field(default=None, hash=False)
    interrupted_at: int | None = None


@dataclass(frozen=True, slots=True)
class WorkflowStepAttempt(Record):
    """One attempt at a step that was then tried again.

    Args:
        started_at: Start, in ms since the epoch.
        completed_at: End, in ms since the epoch.
        duration: Length in ms.
        status: How it ended.
        error_message: Why it failed.
        tokens_used: Tokens that it used.
        cost: What it cost, in US dollars.
    """

    started_at: int
    completed_at: int | None = None
    duration: float | None = None
    status: WorkflowStatus = WorkflowStatus.FAILED
    error_message: str | None = None
    tokens_used: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class WorkflowStepExecution(Record):
    """One run of one step of an execution.

    Status and times are those of its last attempt.

    Args:
        id: Time-ordered id in UUID text form.
        execution_id: The execution it belongs to.
        step_key: Key of the step in its workflow.
        step_name: Its name.
        status: Where it stands.
        started_at: Start, in ms since the epoch.
        completed_at: End, in ms since the epoch; None while it is not finished.
        duration: Length in ms; None while it is not finished.
        retry_count: How many times it was tried again.
        error_message: Why it failed; "interrupted" if its process ended before it did.
        input_size: Size of its input in bytes.
        output_size: Size of its output in bytes.
        tokens_used: Tokens that the provider counted, in all attempts together.
        cost: What it cost, in US dollars, in all attempts together.
        provider: The provider that was called.
        model: The model that was called.
        earlier_attempts: Those before the last one, oldest first; of very many the first and the
            latest.
        interrupted_at: When that was found, in ms since the epoch; None if it was not interrupted.
    """

    id: str
    execution_id: str
    step_key: str
    step_name: str
    status: WorkflowStatus
    started_at: int
    completed_at: int | None = None
    duration: float | None = None
    retry_count: int = 0
    error_message: str | None = None
    input_size: int | None = None
    output_size: int | None = None
    tokens_used: int | None = None
    cost: float | None = None
    provider: str | None = None
    model: str | None = None
    earlier_attempts: tuple[WorkflowStepAttempt, ...] = ()
    interrupted_at: int | None = None

    @property
    def first_started_at(self) -> int:
        """When the first attempt began, in ms since the epoch."""
        return self.earlier_attempts[0].started_at if self.earlier_attempts else self.started_at


@dataclass(frozen=True, slots=True)
class WorkflowStats(Record):
    """Figures over all stored executions.

    Args:
        total: Number of executions.
        running: How many of them are running.
        completed: How many have completed.
        failed: How many have failed.
        cancelled: How many were cancelled.
        avg_duration: Mean length of the finished ones in ms, as far as it is known; 0 if there is
            none.
        success_rate: Percentage of the finished ones that completed; 0 if there is none.
    """

    total: int
    running: int
    completed: int
    failed: int
    cancelled: int
    avg_duration: float
    success_rate: float

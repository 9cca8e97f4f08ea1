"""Executions and steps that are under way: from native objects to records of queries, and back."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from ax_monitor import redaction
from ax_monitor._native import OpenExecution, OpenStep, encode_json
from ax_monitor.model.vocabulary import WorkflowStatus
from ax_monitor.model.workflows import WorkflowExecution, WorkflowStepAttempt, WorkflowStepExecution
from ax_monitor.pipeline.plain import plain_metadata, plain_text

EARLIER_ATTEMPTS_MAX: Final = 32  # of a step; beyond that the first and the latest are kept
_INT64: Final = range(-(2**63), 2**63)


# -- to records -----------------------------------------------------------------------------------


def execution_record(execution: OpenExecution, *, redact: bool) -> WorkflowExecution:
    """An execution as it is now."""
    metadata = execution.metadata
    if isinstance(metadata, bytes):
        metadata = json.loads(metadata)
    return WorkflowExecution(
        id=execution.id,
        workflow_id=_shown(execution.workflow_id, redact) or "",
        workflow_name=_shown(execution.workflow_name, redact) or "",
        tenant_id=_shown(execution.tenant_id, redact),
        user_id=_shown(execution.user_id, redact),
        status=WorkflowStatus(execution.status),
        started_at=execution.started_at,
        completed_at=execution.completed_at,
        duration=execution.duration,
        steps_total=execution.steps_total,
        steps_completed=execution.steps_completed,
        steps_failed=execution.steps_failed,
        current_step=_shown(execution.current_step, redact),
        error_message=_shown(execution.error_message, redact),
        metadata=redaction.redact_value(metadata) if redact else metadata,
    )


def step_record(step: OpenStep, *, redact: bool) -> WorkflowStepExecution:
    """A step as it is now."""
    return WorkflowStepExecution(
        id=step.id,
        execution_id=step.execution_id,
        step_key=_shown(step.step_key, redact) or "",
        step_name=_shown(step.step_name, redact) or "",
        status=WorkflowStatus(step.status),
        started_at=step.started_at,
        completed_at=step.completed_at,
        duration=step.duration,
        retry_count=step.retry_count,
        error_message=_shown(step.error_message, redact),
        input_size=step.input_size,
        output_size=step.output_size,
        tokens_used=step.tokens_used,
        cost=step.cost,
        provider=_shown(step.provider, redact),
        model=_shown(step.model, redact),
        earlier_attempts=tuple(
            WorkflowStepAttempt(
                **{
                    **attempt,
                    "status": WorkflowStatus(attempt["status"]),
                    "error_message": _shown(attempt.get("error_message"), redact),
                }
            )
            for attempt in step.earlier or ()
        ),
    )


def _shown(text: str | None, redact: bool) -> str | None:
    return redaction.redact_text(text) if redact and text is not None else text


# -- from records: what another process has begun, or this one before it forgot it -----------------


def execution_of(record: WorkflowExecution) -> OpenExecution:
    """The execution, to go on with it. One that was interrupted runs then."""
    interrupted = record.interrupted_at is not None
    execution = OpenExecution(
        record.id,
        workflow_id=record.workflow_id,
        workflow_name=record.workflow_name,
        tenant_id=record.tenant_id,
        user_id=record.user_id,
        status=WorkflowStatus.RUNNING.value if interrupted else record.status.value,
        started_at=record.started_at,
        metadata=record.metadata,
        steps_total=record.steps_total,
    )
    execution.steps_completed = record.steps_completed
    execution.steps_failed = record.steps_failed
    execution.current_step = record.current_step
    return execution


def step_of(record: WorkflowStepExecution, execution: OpenExecution | None) -> OpenStep:
    """The step, to go on with it."""
    step = OpenStep(
        record.id,
        execution=execution,
        execution_id=record.execution_id,
        step_key=record.step_key,
        step_name=record.step_name,
        status=record.status.value,
        started_at=record.started_at,
    )
    for name in ("completed_at", "duration", "retry_count", "error_message", "input_size",
                 "output_size", "tokens_used", "cost", "provider", "model"):  # fmt: skip
        setattr(step, name, getattr(record, name))
    earlier = record.earlier_attempts
    if record.tokens_used is not None:
        step.attempt_tokens = record.tokens_used - sum(a.tokens_used or 0 for a in earlier)
    if record.cost is not None:
        step.attempt_cost = record.cost - sum(a.cost or 0.0 for a in earlier)
    step.earlier = [_without_none(attempt.to_dict()) for attempt in earlier]
    return step


def attempts_with(step: OpenStep) -> list[dict[str, Any]]:
    """The earlier attempts at a step and its last one, which has failed, as they are stored."""
    last = {
        "started_at": step.started_at,
        "completed_at": step.completed_at,
        "duration": step.duration,
        "status": step.status,
        "error_message": step.error_message,
        "tokens_used": step.attempt_tokens,
        "cost": step.attempt_cost,
    }
    attempts = [*(step.earlier or ()), _without_none(last)]
    if len(attempts) > EARLIER_ATTEMPTS_MAX:
        del attempts[1]
    return attempts


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


# -- values ---------------------------------------------------------------------------------------


def captured(metadata: Any) -> tuple[dict[str, Any] | None, bytes | dict[str, Any] | None]:
    """Metadata as they are recorded, and as they are kept: later changes show in neither."""
    if metadata is None:
        return None, None
    if type(metadata) is dict and (encoded := encode_json(metadata)) is not None:
        return metadata, encoded
    plain = plain_metadata(metadata)
    return plain, plain


def whole(value: Any) -> int | None:
    """`value` as an integer that a column holds; None if it has none."""
    try:
        number = int(value)
    except Exception:  # a foreign __int__ may raise anything
        return None
    return number if number in _INT64 else None


def real(value: Any) -> float | None:
    """`value` as a finite float; None if it has none."""
    try:
        number = float(value)
    except Exception:
        return None
    return number if math.isfinite(number) else None


def error_text(error: BaseException) -> str:
    """What an exception says, after its type."""
    text = plain_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

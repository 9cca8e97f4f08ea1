"""Queries for executions and steps, and their changes that no record says.

An execution whose start has not been written yet (`started_at` is NULL, see `workflow_batch`) is
not there as far as queries are concerned.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

import apsw

from ax_monitor.model.vocabulary import WorkflowStatus
from ax_monitor.model.workflows import (
    WorkflowExecution,
    WorkflowStats,
    WorkflowStepAttempt,
    WorkflowStepExecution,
)
from ax_monitor.storage.costs import keep_costs_of
from ax_monitor.storage.logs import parse_metadata
from ax_monitor.storage.workflow_batch import ACTIVE, FAILED_GIVEN, unfinished

INTERRUPTED: Final = "interrupted"  # the error message

_EXECUTION: Final = (
    "SELECT id, workflow_id, workflow_name, tenant_id, user_id, status, started_at, completed_at, "
    "duration, steps_total, steps_completed, steps_failed, current_step, error_message, metadata, "
    "interrupted_at FROM workflow_executions_monitor WHERE started_at IS NOT NULL"
)
_STEP: Final = (
    "SELECT s.id, s.execution_id, s.step_key, s.step_name, s.status, s.started_at, s.completed_at, "
    "s.duration, s.retry_count, s.error_message, s.input_size, s.output_size, s.tokens_used, "
    "s.cost, s.provider, s.model, s.earlier_attempts, s.interrupted_at "
    "FROM workflow_step_executions s "
)


def get_execution(
    connection: apsw.Connection, execution_id: str, tenant_id: str | None = None
) -> WorkflowExecution | None:
    """The execution; None if there is none of this id, or it is another tenant's."""
    row = connection.execute(
        f"{_EXECUTION} AND id = ?1 AND (?2 IS NULL OR tenant_id = ?2)", (execution_id, tenant_id)
    ).fetchone()
    return None if row is None else _execution(row)


def find_executions(
    connection: apsw.Connection,
    statuses: Collection[WorkflowStatus] = (),
    *,
    tenant_id: str | None = None,
    limit: int | None = None,
    start_time: int | None = None,
    end_time: int | None = None,
) -> list[WorkflowExecution]:
    """The executions that have one of these statuses, those started last first.

    Args:
        connection: Where.
        statuses: Any of them; none: all.
        tenant_id: Only of this tenant; None: of all.
        limit: At most so many; None: all.
        start_time: Only those that began then or later, in ms since the epoch; None: any.
        end_time: Only those that began then or earlier; None: any.
    """
    conditions = ""
    values: dict[str, Any] = {"limit": -1 if limit is None else limit}
    if tenant_id is not None:
        conditions += " AND tenant_id = :tenant_id"
        values["tenant_id"] = tenant_id
    if statuses:
        allowed = ", ".join(f"'{WorkflowStatus(status).value}'" for status in statuses)
        conditions += f" AND status IN ({allowed})"
    if start_time is not None:
        conditions += " AND started_at >= :start_time"
        values["start_time"] = start_time
    if end_time is not None:
        conditions += " AND started_at <= :end_time"
        values["end_time"] = end_time
    rows = connection.execute(
        f"{_EXECUTION}{conditions} ORDER BY started_at DESC, id DESC LIMIT :limit",
        values,
    )
    return [_execution(row) for row in rows]


def finished_among(connection: apsw.Connection, ids: Collection[str]) -> list[str]:
    """Those of these executions that are finished."""
    rows = connection.execute(
        "SELECT id FROM workflow_executions_monitor WHERE id IN (SELECT value FROM json_each(?)) "
        f"AND status NOT IN {ACTIVE} AND interrupted_at IS NULL",
        (json.dumps(list(ids)),),
    )
    return [execution_id for (execution_id,) in rows]


def get_step(connection: apsw.Connection, step_id: str) -> WorkflowStepExecution | None:
    """The step; None if there is none of this id."""
    row = connection.execute(f"{_STEP}WHERE s.id = ?", (step_id,)).fetchone()
    return None if row is None or row[1] is None else _step(row)


def get_step_executions(
    connection: apsw.Connection, execution_id: str, tenant_id: str | None = None
) -> list[WorkflowStepExecution]:
    """The steps of an execution in the order in which they were first begun."""
    rows = connection.execute(
        f"{_STEP}WHERE s.execution_id = ?1 AND (?2 IS NULL OR EXISTS (SELECT 1 "
        "FROM workflow_executions_monitor e WHERE e.id = ?1 AND e.tenant_id = ?2)) "
        "ORDER BY s.rowid",
        (execution_id, tenant_id),
    )
    return sorted(map(_step, rows), key=lambda step: step.first_started_at)


def ids_with_prefix(connection: apsw.Connection, prefix: str, limit: int) -> list[str]:
    """At most `limit` ids of executions that begin so."""
    rows = connection.execute(
        "SELECT id FROM workflow_executions_monitor "
        "WHERE id >= ?1 AND id < ?1 || char(1114111) AND started_at IS NOT NULL "
        "ORDER BY id LIMIT ?2",
        (prefix, limit),
    )
    return [execution_id for (execution_id,) in rows]


def get_workflow_stats(connection: apsw.Connection, tenant_id: str | None = None) -> WorkflowStats:
    """Figures over all executions, or those of a tenant. Reads an index, some 50 ms a million."""
    finished = f"status NOT IN {ACTIVE}"
    row: tuple[Any, ...] = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE status = 'running'), "
        "count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'), "
        "count(*) FILTER (WHERE status = 'cancelled'), "
        f"count(*) FILTER (WHERE {finished}), avg(duration) FILTER (WHERE {finished}) "
        "FROM workflow_executions_monitor INDEXED BY workflow_executions_tenant "
        "WHERE started_at IS NOT NULL" + ("" if tenant_id is None else " AND tenant_id = ?"),
        () if tenant_id is None else (tenant_id,),
    ).fetchall()[0]
    total, running, completed, failed, cancelled, ended, duration = row
    return WorkflowStats(
        total=total,
        running=running,
        completed=completed,
        failed=failed,
        cancelled=cancelled,
        avg_duration=duration or 0.0,
        success_rate=100.0 * completed / ended if ended else 0.0,
    )


# -- rows to records ------------------------------------------------------------------------------

# What another program wrote there in words of its own reads as the default.
_STATUSES: Final = {status.value: status for status in WorkflowStatus}


def _execution(row: tuple[Any, ...]) -> WorkflowExecution:
    (execution_id, workflow_id, workflow_name, tenant_id, user_id, status, started_at, completed_at,
     duration, steps_total, steps_completed, steps_failed, current_step, error_message, metadata,
     interrupted_at) = row  # fmt: skip
    return WorkflowExecution(
        id=execution_id,
        workflow_id=workflow_id or "",
        workflow_name=workflow_name or "",
        tenant_id=tenant_id,
        user_id=user_id,
        status=_STATUSES.get(status, WorkflowStatus.PENDING),
        started_at=started_at,
        completed_at=completed_at,
        duration=duration,
        steps_total=steps_total or 0,
        steps_completed=steps_completed or 0,
        steps_failed=steps_failed or 0,
        current_step=current_step,
        error_message=error_message,
        metadata=None if metadata is None else parse_metadata(metadata),
        interrupted_at=interrupted_at,
    )


def _step(row: tuple[Any, ...]) -> WorkflowStepExecution:
    (step_id, execution_id, step_key, step_name, status, started_at, completed_at, duration,
     retry_count, error_message, input_size, output_size, tokens_used, cost, provider, model,
     earlier_attempts, interrupted_at) = row  # fmt: skip
    return WorkflowStepExecution(
        id=step_id,
        execution_id=execution_id,
        step_key=step_key or "",
        step_name=step_name or "",
        status=_STATUSES.get(status, WorkflowStatus.PENDING),
        started_at=started_at or completed_at or 0,
        completed_at=completed_at,
        duration=duration,
        retry_count=retry_count or 0,
        error_message=error_message,
        input_size=input_size,
        output_size=output_size,
        tokens_used=tokens_used,
        cost=cost,
        provider=provider,
        model=model,
        earlier_attempts=() if earlier_attempts is None else _attempts(earlier_attempts),
        interrupted_at=interrupted_at,
    )


def _attempts(text: str) -> tuple[WorkflowStepAttempt, ...]:
    try:
        found = json.loads(text)
        return tuple(
            WorkflowStepAttempt(**{**attempt, "status": WorkflowStatus.parse(attempt["status"])})
            for attempt in found
        )
    except (ValueError, TypeError, KeyError):  # another program's
        return ()


# -- changes --------------------------------------------------------------------------------------

_ENDED: Final = (
    f"status = 'failed', error_message = '{INTERRUPTED}', "
    "completed_at = unixepoch('subsec') * 1000, interrupted_at = unixepoch('subsec') * 1000"
)


def interrupt_executions(connection: apsw.Connection, ring_id: bytes) -> int:
    """End what the owner of this ring left unfinished; how many executions it were.

    How long they took nobody knows: their duration stays unknown. A step whose execution had ended
    before is late and does not count.
    """
    ring = connection.execute(
        "SELECT ring FROM recorder_rings WHERE ring_id = ?", (ring_id,)
    ).fetchone()
    if ring is None:
        return 0
    connection.execute(
        "UPDATE workflow_executions_monitor SET steps_failed = coalesce(steps_failed, 0) + n.steps "
        "FROM (SELECT execution_id, count(*) AS steps FROM workflow_step_executions "
        f"WHERE ring = ? AND status IN {ACTIVE} GROUP BY execution_id) n "
        "WHERE workflow_executions_monitor.id = n.execution_id "
        f"AND {unfinished('workflow_executions_monitor')} "
        f"AND NOT coalesce(counts_given, 0) & {FAILED_GIVEN}",
        ring,
    )
    connection.execute(
        f"UPDATE workflow_step_executions SET {_ENDED}, late = iif(EXISTS (SELECT 1 "
        "FROM workflow_executions_monitor e WHERE e.id = workflow_step_executions.execution_id "
        f"AND NOT {unfinished('e')}), 1, NULL) WHERE ring = ? AND status IN {ACTIVE}",
        ring,
    )
    connection.execute(
        f"UPDATE workflow_executions_monitor SET {_ENDED} WHERE ring = ? AND status IN {ACTIVE}",
        ring,
    )
    return connection.changes()


def delete_executions(connection: apsw.Connection, before_ms: int, limit: int) -> tuple[int, bool]:
    """Delete at most `limit` steps, with their executions, of those that ended before a time.

    Returns how many executions are gone now, and whether there may be more.
    """
    old = [
        *connection.execute(
            "SELECT id, true FROM workflow_executions_monitor WHERE started_at < ?1 "
            f"AND status NOT IN {ACTIVE} AND coalesce(completed_at, started_at) < ?1 "
            "ORDER BY started_at LIMIT ?2",
            (before_ms, limit),
        )
    ]
    if len(old) < limit:  # changes of executions that have never begun
        old += connection.execute(
            "SELECT id, false FROM workflow_executions_monitor "
            "WHERE started_at IS NULL AND updated_at < ?1 LIMIT ?2",
            (before_ms, limit - len(old)),
        )
    late = _rowids(connection, "execution_id IS NULL AND completed_at < ?", before_ms, limit)
    steps: list[int] = []
    done = []
    for execution_id, begun in old:
        steps += _rowids(connection, "execution_id = ?", execution_id, limit - len(steps))
        if len(steps) >= limit:
            break  # there may be more of this one's
        done.append((execution_id, begun))
    _delete_steps(connection, late + steps)
    connection.executemany(
        "DELETE FROM workflow_executions_monitor WHERE id = ?",
        ((execution_id,) for execution_id, _ in done),
    )
    gone = sum(bool(begun) for _, begun in done)
    return gone, limit in (len(old), len(steps), len(late))


def _rowids(connection: apsw.Connection, which: str, value: Any, limit: int) -> list[int]:
    """The keys of at most `limit` steps."""
    rows = connection.execute(
        f"SELECT rowid FROM workflow_step_executions WHERE {which} LIMIT ?", (value, limit)
    )
    return [rowid for (rowid,) in rows]


def _delete_steps(connection: apsw.Connection, rowids: list[int]) -> None:
    """Delete steps, but keep what they have cost. Their executions must be there still."""
    keep_costs_of(connection, rowids)
    connection.execute(
        "DELETE FROM workflow_step_executions WHERE rowid IN (SELECT value FROM json_each(?))",
        (json.dumps(rowids),),
    )

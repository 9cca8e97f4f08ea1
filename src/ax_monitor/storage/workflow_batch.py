"""What becomes of the records of executions and steps when a batch is written.

A record says what changed, and the records of one ring are applied in their order. Of two rings,
whichever is written first comes first, so a change may arrive before the start of what it changes:
it makes a row of its own then (without `started_at`), which the start completes.

What is finished takes no further change. What was interrupted (its process had ended) does: whoever
changes it has it now. A step that failed may begin anew.

The counts of an execution are those of its steps: what the batch's steps counted before is taken
off, what they count now is added. A step that ended after its execution, as its process knew
(`LATE`), does not count (`late`).
"""

from __future__ import annotations

from typing import Final

LATE: Final = 2  # bit of a step's tag
COMPLETED_GIVEN: Final = 1  # bits of counts_given
FAILED_GIVEN: Final = 2

ACTIVE: Final = "('pending', 'running', 'paused')"
_RING: Final = "(SELECT ring FROM recorder_rings WHERE ring_id = ax_ring_id())"
_EXECUTIONS: Final = "workflow_executions_monitor"
_STEPS: Final = "workflow_step_executions"


def unfinished(table: str) -> str:
    """Whether a row takes changes."""
    active = f"{table}.status IS NULL OR {table}.status IN {ACTIVE}"
    return f"({active} OR {table}.interrupted_at IS NOT NULL)"


def _count(sign: str) -> str:
    """Add what the steps of the batch count to the counts of their executions, or take it off."""

    def sum_of(status: str, given: int) -> str:
        return (
            f"steps_{status} = CASE WHEN coalesce(counts_given, 0) & {given} THEN steps_{status} "
            f"ELSE max(0, coalesce(steps_{status}, 0) {sign} d.{status}) END"
        )

    return (
        f"UPDATE {_EXECUTIONS} SET {sum_of('completed', COMPLETED_GIVEN)}, "
        f"{sum_of('failed', FAILED_GIVEN)} FROM (SELECT s.execution_id AS execution_id, "
        "count(*) FILTER (WHERE s.status = 'completed') AS completed, "
        "count(*) FILTER (WHERE s.status = 'failed') AS failed "
        f"FROM (SELECT DISTINCT step_id FROM ring_steps) r CROSS JOIN {_STEPS} s "
        "ON s.id = r.step_id WHERE s.execution_id IS NOT NULL AND s.late IS NULL "
        "AND s.status IN ('completed', 'failed') "
        f"GROUP BY s.execution_id) d WHERE {_EXECUTIONS}.id = d.execution_id"
    )


# In this order, and before those of executions: what an execution was before the batch counts.
STEP_STATEMENTS: Final[tuple[str, ...]] = (
    # Steps of an execution whose start has not arrived.
    f"INSERT INTO {_EXECUTIONS}(id, status, steps_total, steps_completed, steps_failed, "
    "updated_at) SELECT execution_id, NULL, 0, 0, 0, max(timestamp) FROM ring_steps "
    "WHERE execution_id IS NOT NULL GROUP BY execution_id ON CONFLICT(id) DO NOTHING",
    _count("-"),
    # Starts; only they have a name.
    f"INSERT INTO {_STEPS}(id, execution_id, step_key, step_name, status, started_at, retry_count, "
    "ring) "
    f"SELECT step_id, execution_id, step_key, step_name, status, started_at, 0, {_RING} "
    "FROM ring_steps WHERE step_name IS NOT NULL ON CONFLICT(id) DO UPDATE SET "
    "execution_id = excluded.execution_id, step_key = excluded.step_key, "
    "step_name = excluded.step_name, started_at = excluded.started_at, "
    "duration = coalesce(duration, max(0, completed_at - excluded.started_at)) "
    f"WHERE {_STEPS}.step_name IS NULL",
    # Changes: an end, or a new attempt.
    f"INSERT INTO {_STEPS}(id, status, started_at, completed_at, duration, retry_count, "
    "error_message, input_size, output_size, tokens_used, cost, provider, model, earlier_attempts, "
    "late, ring) SELECT step_id, status, started_at, completed_at, duration, retry_count, "
    "error_message, input_size, output_size, tokens_used, cost, provider, model, earlier_attempts, "
    f"iif(tag & {LATE}, 1, NULL), {_RING} FROM ring_steps WHERE step_name IS NULL "
    "ON CONFLICT(id) DO UPDATE SET "
    "status = excluded.status, "
    "started_at = coalesce(excluded.started_at, started_at), "
    "completed_at = excluded.completed_at, "
    "duration = coalesce(excluded.duration, max(0, excluded.completed_at - started_at)), "
    "retry_count = coalesce(excluded.retry_count, retry_count), "
    "error_message = excluded.error_message, "
    + ", ".join(
        f"{name} = coalesce(excluded.{name}, {name})"
        for name in (
            "input_size",
            "output_size",
            "tokens_used",
            "cost",
            "provider",
            "model",
            "earlier_attempts",
        )
    )
    + ", late = excluded.late, interrupted_at = NULL, ring = excluded.ring "
    f"WHERE {unfinished(_STEPS)} OR {_STEPS}.status = 'failed' AND excluded.status = 'running'",
    _count("+"),
    # An execution is at the step that was begun last. One that was interrupted runs again.
    f"UPDATE {_EXECUTIONS} SET current_step = n.step_key, updated_at = n.timestamp, "
    "status = iif(interrupted_at IS NULL, status, 'running'), "
    "error_message = iif(interrupted_at IS NULL, error_message, NULL), "
    "completed_at = iif(interrupted_at IS NULL, completed_at, NULL), "
    f"ring = iif(interrupted_at IS NULL, ring, {_RING}), interrupted_at = NULL FROM "
    "(SELECT execution_id, step_key, timestamp, max(ring_seq) FROM ring_steps "
    "WHERE status = 'running' AND execution_id IS NOT NULL GROUP BY execution_id) n "
    f"WHERE {_EXECUTIONS}.id = n.execution_id AND {unfinished(_EXECUTIONS)}",
)

EXECUTION_STATEMENTS: Final[tuple[str, ...]] = (
    # Starts; only they say when.
    f"INSERT INTO {_EXECUTIONS}(id, workflow_id, workflow_name, tenant_id, user_id, status, "
    "started_at, steps_total, steps_completed, steps_failed, metadata, updated_at, ring) "
    "SELECT execution_id, workflow_id, workflow_name, tenant_id, user_id, status, started_at, "
    f"coalesce(steps_total, 0), 0, 0, metadata, timestamp, {_RING} FROM ring_executions "
    "WHERE started_at IS NOT NULL ON CONFLICT(id) DO UPDATE SET "
    "workflow_id = excluded.workflow_id, workflow_name = excluded.workflow_name, "
    "tenant_id = excluded.tenant_id, user_id = excluded.user_id, "
    "status = coalesce(status, excluded.status), started_at = excluded.started_at, "
    "duration = coalesce(duration, max(0, completed_at - excluded.started_at)), "
    "steps_total = excluded.steps_total, metadata = excluded.metadata, "
    f"ring = coalesce(ring, excluded.ring) WHERE {_EXECUTIONS}.started_at IS NULL",
    # Changes. What a step that was begun later says of the current step holds.
    f"INSERT INTO {_EXECUTIONS}(id, status, completed_at, duration, steps_total, steps_completed, "
    "steps_failed, counts_given, current_step, error_message, updated_at, ring) "
    "SELECT r.execution_id, r.status, r.completed_at, r.duration, 0, "
    "coalesce(r.steps_completed, 0), coalesce(r.steps_failed, 0), "
    f"(r.steps_completed IS NOT NULL) * {COMPLETED_GIVEN} "
    f"+ (r.steps_failed IS NOT NULL) * {FAILED_GIVEN}, "
    "CASE WHEN n.seq > r.ring_seq THEN NULL ELSE r.current_step END, r.error_message, r.timestamp, "
    f"{_RING} FROM ring_executions r LEFT JOIN (SELECT execution_id, max(ring_seq) AS seq "
    "FROM ring_steps WHERE status = 'running' GROUP BY execution_id) n "
    "ON n.execution_id = r.execution_id WHERE r.started_at IS NULL ON CONFLICT(id) DO UPDATE SET "
    "status = coalesce(excluded.status, iif(interrupted_at > 0, 'running', status)), "
    "completed_at = excluded.completed_at, "
    "duration = coalesce(excluded.duration, max(0, excluded.completed_at - started_at)), "
    f"steps_completed = iif(excluded.counts_given & {COMPLETED_GIVEN}, excluded.steps_completed, "
    "steps_completed), "
    f"steps_failed = iif(excluded.counts_given & {FAILED_GIVEN}, excluded.steps_failed, "
    "steps_failed), "
    "counts_given = coalesce(counts_given, 0) | excluded.counts_given, "
    "current_step = coalesce(excluded.current_step, current_step), "
    "error_message = coalesce(excluded.error_message, "
    "iif(interrupted_at > 0, NULL, error_message)), updated_at = excluded.updated_at, "
    "interrupted_at = NULL, ring = excluded.ring "
    f"WHERE {unfinished(_EXECUTIONS)}",
)

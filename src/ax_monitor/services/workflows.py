"""Workflow monitoring: executions, their steps, and how they ended."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ax_monitor._native import (
    ContextScope,
    OpenExecution,
    OpenStep,
    WorkflowChannel,
    WorkflowSettings,
)
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.context import current_context
from ax_monitor.errors import StorageError
from ax_monitor.model.vocabulary import WorkflowStatus
from ax_monitor.model.workflows import WorkflowExecution, WorkflowStats, WorkflowStepExecution
from ax_monitor.pipeline.executions import (
    attempts_with,
    captured,
    error_text,
    execution_of,
    execution_record,
    real,
    step_of,
    step_record,
    whole,
)
from ax_monitor.pipeline.plain import plain_text
from ax_monitor.pipeline.service import Service, check_positive, overflow_policy
from ax_monitor.pipeline.store import Store
from ax_monitor.pipeline.workflow_metrics import SeriesSource, WorkflowMetrics
from ax_monitor.storage import workflows
from ax_monitor.storage.connection import Connection
from ax_monitor.storage.records import EXECUTION, STEP

RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
T = TypeVar("T")
_VALUES: Final = {status.value: status.value for status in WorkflowStatus}
ACTIVE: Final = (WorkflowStatus.PENDING, WorkflowStatus.RUNNING, WorkflowStatus.PAUSED)
_KINDS: Final = {kind.number: kind for kind in (EXECUTION, STEP)}
_EVENTS: Final = (
    "workflow.started",
    "workflow.completed",
    "workflow.failed",
    "workflow.cancelled",
    "workflow.step.started",
    "workflow.step.completed",
    "workflow.step.failed",
    "workflow.step.cancelled",
)
# Stands for any execution that is known to be finished.
_FINISHED: Final = OpenExecution(
    "",
    workflow_id=None,
    workflow_name=None,
    tenant_id=None,
    user_id=None,
    status=COMPLETED,
    started_at=0,
)


@dataclass(frozen=True, slots=True)
class WorkflowMonitorStats:
    """What a workflow monitor in this process holds, and what it could not record as told.

    Args:
        open_executions: Begun here, or gone on with here, and not finished.
        open_steps: Steps that run here, and failed ones that may be tried again.
        unknown_ids: Calls for executions or steps that neither this process nor the database knows.
            They are recorded all the same: a start that another process has made and not written
            yet may follow.
        ignored: Calls for what was finished already.
        rejected_values: Numbers (tokens, costs, sizes, counts) that are none; not recorded.
        forgotten: Executions and steps that were too many to be held; the database has them.
    """

    open_executions: int
    open_steps: int
    unknown_ids: int
    ignored: int
    rejected_values: int
    forgotten: int


class WorkflowMonitor(Service, WorkflowChannel):
    """Executions of workflows and their steps, from start to end.

    Recording (`start_execution, update_execution, start_step, complete_step, fail_step,
    retry_step`) works by ids; `execution` does the same as a `with` block. Every change is a record
    in the ring when its call returns, and the changes are applied in their order. Recording calls
    never raise for storage trouble or odd data; a wrong status is a ValueError. What is finished
    takes no further change. An execution may be begun in one process and finished by another.

    Executions and steps that their process leaves unfinished, because it died or closed, are marked
    failed, with the error message "interrupted", by whoever opens the database next.

    A step is one row, however often it is tried: status and times are those of the last attempt,
    tokens and cost those of all attempts together, `earlier_attempts` has the others.
    `steps_completed`, `steps_failed` and `current_step` of an execution follow its steps; once
    `update_execution` has set a count, that count is the caller's.

    Thread-safety: any thread, any asyncio task, signal handlers and destructors, without a lock.
    Cost: some 10 µs for an execution with five steps. A call about what another process has begun
    looks it up in the database first (0.1 ms).

    >>> import os, tempfile
    >>> with WorkflowMonitor(os.path.join(tempfile.mkdtemp(), "monitor.db")) as workflows:
    ...     with workflows.execution("wf-1", "import", "acme", steps_total=1) as run:
    ...         with run.step("load", "Load data") as step:
    ...             step.set(tokens_used=1200, cost=0.004, provider="acme-ai")
    ...     execution = workflows.get_execution(run.execution_id)
    ...     execution.status.value, execution.steps_completed, execution.current_step
    ('completed', 1, 'load')

    Args:
        store: A `Store`, the path of a database, or None for the process's default store.
        metrics: Where metrics of executions and steps are recorded: a `MetricsCollector`, or what
            has its `series`. None: nowhere. See `ax_monitor.pipeline.workflow_metrics`.
        max_open: Executions, and steps, that are held in memory at most (default 100,000 each).
            Beyond that the oldest are looked up in the database again when they are needed.
        overflow: As of `StructuredLogger`.

    Events (`on`): `workflow.started`, `workflow.completed`, `workflow.failed`, `workflow.cancelled`
    (WorkflowExecution); `workflow.step.started` (each attempt), `workflow.step.completed`,
    `workflow.step.failed`, `workflow.step.cancelled` (WorkflowStepExecution). They are those of the
    store: all its services share them.

    Raises:
        StorageError: the database can't be opened.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        metrics: SeriesSource | None = None,
        max_open: int = 100_000,
        overflow: str = "block",
    ) -> None:
        check_positive("max_open", max_open)
        self._policy = overflow_policy(overflow)
        opened = self._use_store(store)
        self._recorder = opened.recorder
        self._rejected = 0
        settings = WorkflowSettings(
            text=plain_text,
            whole=self._whole,
            real=self._real,
            append=self._append_odd,
            find_execution=self._find_execution,
            find_step=self._find_step,
            publish=self._publish,
            clock=None if opened.clock is SYSTEM_CLOCK else opened.clock,
            measures=None if metrics is None else WorkflowMetrics(metrics),
            policy=self._policy,
            redact=opened.options.redact is not None,
            max_open=max_open,
        )
        super().__init__(opened.recorder.ring, settings)
        self._workflow_settings = settings
        opened.events.subscribe_changes(self._listeners_changed)
        self._listeners_changed()

    # -- recording by ids ------------------------------------------------------------------------

    def start_execution(
        self,
        workflow_id: str,
        workflow_name: str,
        tenant_id: str | None = None,
        user_id: str | None = None,
        steps_total: int = 0,
        metadata: Mapping[str, Any] | None = None,
        *,
        status: WorkflowStatus | str = RUNNING,
    ) -> str:
        """Begin an execution; its id.

        Args:
            workflow_id: The workflow that runs.
            workflow_name: Its name.
            tenant_id: The tenant it runs for (default: that of the context).
            user_id: Who started it (default: that of the context).
            steps_total: How many steps it is to have.
            metadata: Further values by name.
            status: "running" (default), "pending" if it has to wait for its turn, or "paused".

        Raises:
            ValueError: `status` is none of these.
        """
        return self._begin(
            workflow_id, workflow_name, tenant_id, user_id, steps_total, metadata, status
        ).id

    def _begin(
        self,
        workflow_id: Any,
        workflow_name: Any,
        tenant_id: Any,
        user_id: Any,
        steps_total: Any,
        metadata: Any,
        status: WorkflowStatus | str,
    ) -> OpenExecution:
        if status is not RUNNING:
            parsed = WorkflowStatus.parse(status)
            if parsed not in ACTIVE:
                raise ValueError(
                    f"an execution can't begin as {parsed.value}: use one of {', '.join(ACTIVE)}"
                )
            status = parsed.value
        if (tenant_id is None or user_id is None) and (context := current_context()) is not None:
            tenant_id = context.tenant_id if tenant_id is None else tenant_id
            user_id = context.user_id if user_id is None else user_id
        recorded, kept = (None, None) if metadata is None else captured(metadata)
        return self.begin_execution(
            workflow_id, workflow_name, tenant_id, user_id, status, steps_total, recorded, kept
        )

    def update_execution(
        self,
        execution_id: str,
        *,
        status: WorkflowStatus | str | None = None,
        current_step: str | None = None,
        steps_completed: int | None = None,
        steps_failed: int | None = None,
        error_message: str | None = None,
    ) -> bool:
        """Change an execution, or end it; what is None stays as it is.

        Args:
            execution_id: Which.
            status: Where it stands now. "completed", "failed" and "cancelled" end it.
            current_step: The step it is at (else that which was begun last).
            steps_completed: How many steps have completed; no longer counted from then on.
            steps_failed: How many have failed; the same.
            error_message: Why it failed.

        Returns:
            False if it was finished already, or nobody knows it; that is counted.

        Raises:
            ValueError: there is no such status.
        """
        parsed = None
        if status is not None:
            known = _VALUES.get(status) if type(status) is str else None
            parsed = WorkflowStatus.parse(status).value if known is None else known
        changes = (parsed, current_step, steps_completed, steps_failed, error_message)
        execution = self._known_execution(execution_id)
        if execution is not None:
            return self.change_execution(execution, *changes)
        if execution_id:
            self.change_unknown(execution_id, *changes)
        else:
            self.unknown_ids += 1
        return False

    def retry_step(self, step_id: str) -> bool:
        """Begin a step anew that has failed. One that still runs has failed with this.

        False if it has completed, its execution is finished, or nobody knows it; that is counted.
        """
        step = self.open_steps.get(step_id) if self.forks is not None else None
        if step is None:
            step = self._find_step(step_id, interrupted=FAILED)
        if step is not None:
            return self._retry(step, None)
        if step_id and self.has_ended(step_id):
            self.ignored += 1
        elif step_id:
            self.unknown_ids += 1
        return False

    def _retry(self, step: OpenStep, error_message: Any) -> bool:
        execution = step.execution
        if execution is None or execution.active:
            if step.status == RUNNING:
                self.end_step(step, FAILED, error_message)
            if step.status == FAILED:
                self.begin_attempt(step, attempts_with(step))
                return True
        self.ignored += 1
        return False

    # -- recording by blocks ---------------------------------------------------------------------

    def execution(
        self,
        workflow_id: str,
        workflow_name: str,
        tenant_id: str | None = None,
        user_id: str | None = None,
        steps_total: int = 0,
        metadata: Mapping[str, Any] | None = None,
    ) -> ExecutionScope:
        """An execution as a `with` block (or `async with`); see `ExecutionScope`."""
        return ExecutionScope(
            self, (workflow_id, workflow_name, tenant_id, user_id, steps_total, metadata, RUNNING)
        )

    def step(
        self, step_key: str, step_name: str | None = None, *, execution_id: str | None = None
    ) -> StepScope:
        """A step as a `with` block (or `async with`), of the execution that the context names."""
        return StepScope(self, execution_id, step_key, step_name)

    # -- what the kernel leaves to Python --------------------------------------------------------

    def _known_execution(self, execution_id: str) -> OpenExecution | None:
        self.forks  # noqa: B018 (in a forked child this forgets what is the parent's)
        found = self.open_executions.get(execution_id)
        return self._find_execution(execution_id) if found is None else found

    def _find_execution(self, execution_id: Any) -> OpenExecution | None:
        """An execution that is not under way here: from now on it is, if it is not finished."""
        if not _is_id("execution_id", execution_id):
            return None
        if self.has_ended(execution_id):
            return _FINISHED
        found = self._peek(workflows.get_execution, execution_id)
        if found is None:
            return None
        if found.status not in ACTIVE and found.interrupted_at is None:
            return _FINISHED
        return self.hold_execution(execution_of(found))

    def _peek(self, query: Callable[[Connection, str], T | None], record_id: str) -> T | None:
        """What the database has of this id at this moment; None, too, if that can't be told."""
        with contextlib.suppress(StorageError):
            return self._store.peek_at_once(query, record_id)
        return None

    def _find_step(self, step_id: Any, *, interrupted: str = RUNNING) -> OpenStep | None:
        """The same of a step. `interrupted`: the status of one that was."""
        if not _is_id("step_id", step_id) or self.has_ended(step_id):
            return None
        found = self._peek(workflows.get_step, step_id)
        if found is None:
            return None
        step = step_of(found, self._known_execution(found.execution_id))
        if found.status in ACTIVE:
            step.status = RUNNING
        elif found.interrupted_at is not None:
            step.status = interrupted
        return self.hold_step(step) if step.status == RUNNING else step

    def _append_odd(self, kind: int, tag: int, fields: tuple[Any, ...]) -> int:
        return self._recorder.append(_KINDS[kind], fields, tag=tag, policy=self._policy)

    def _whole(self, name: str, value: object) -> int | None:
        if (number := whole(value)) is None:
            self._reject(name, value)
        return number

    def _real(self, name: str, value: object) -> float | None:
        if (number := real(value)) is None:
            self._reject(name, value)
        return number

    def _reject(self, name: str, value: object) -> None:
        self._rejected += 1
        self._store.events.emit("workflow.rejected", {"field": name, "value": value})

    # -- queries --------------------------------------------------------------------------------

    def get_active_executions(self, tenant_id: str | None = None) -> list[WorkflowExecution]:
        """The executions, of all processes, that are pending, running or paused; newest first.

        While the database can't be written, those of this process come from memory.
        """
        mine = self._mine(tenant_id)
        found, current = self._store.read_current(
            workflows.find_executions, ACTIVE, tenant_id=tenant_id
        )
        if current:
            self._let_go_of_finished(mine, found)
            return found
        return self._with_mine(found, mine, ACTIVE)

    def get_execution(
        self, execution_id: str, *, tenant_id: str | None = None
    ) -> WorkflowExecution | None:
        """The execution; None if there is none of this id, or it is not this tenant's."""
        mine = [execution for execution in self._mine(tenant_id) if execution.id == execution_id]
        try:
            found, current = self._store.read_current(
                workflows.get_execution, execution_id, tenant_id=tenant_id
            )
        except StorageError:
            if not mine:
                raise
            found, current = None, False
        if current:
            return found
        return next(iter(self._with_mine([] if found is None else [found], mine)), None)

    def get_recent_executions(
        self, limit: int | None = 100, tenant_id: str | None = None
    ) -> list[WorkflowExecution]:
        """The executions that began last, newest first; `limit=None` means all."""
        return self._find((), limit, tenant_id)

    def get_completed_executions(
        self, limit: int | None = 100, tenant_id: str | None = None
    ) -> list[WorkflowExecution]:
        """Of those that completed, the ones that began last, newest first."""
        return self._find((WorkflowStatus.COMPLETED,), limit, tenant_id)

    def get_failed_executions(
        self, limit: int | None = 100, tenant_id: str | None = None
    ) -> list[WorkflowExecution]:
        """Of those that failed or were interrupted, the ones that began last, newest first."""
        return self._find((WorkflowStatus.FAILED,), limit, tenant_id)

    def _find(
        self, statuses: tuple[WorkflowStatus, ...], limit: int | None, tenant_id: str | None
    ) -> list[WorkflowExecution]:
        limit = _checked(limit)
        mine = self._mine(tenant_id)
        found, current = self._store.read_current(
            workflows.find_executions, statuses, tenant_id=tenant_id, limit=limit
        )
        return found if current else self._with_mine(found, mine, statuses)[:limit]

    def get_step_executions(
        self, execution_id: str, *, tenant_id: str | None = None
    ) -> list[WorkflowStepExecution]:
        """The steps of an execution, in the order in which they were first begun."""
        mine = [
            step
            for step in (*self.open_steps.copy().values(), *self.unwritten_ends())
            if isinstance(step, OpenStep)
            and step.execution_id == execution_id
            and (tenant_id is None or _tenant_of(step) == tenant_id)
        ]
        found, current = self._store.read_current(
            workflows.get_step_executions, execution_id, tenant_id=tenant_id
        )
        if current:
            return found
        merged = {step.id: step for step in found}
        for step in mine:
            merged[step.id] = step_record(step, redact=self._workflow_settings.redact)
        return sorted(merged.values(), key=lambda step: (step.first_started_at, step.id))

    def get_workflow_stats(self, tenant_id: str | None = None) -> WorkflowStats:
        """Figures over all executions in the database, or those of a tenant."""
        return self._store.read(workflows.get_workflow_stats, tenant_id=tenant_id)

    def stats(self) -> WorkflowMonitorStats:
        """The counters of this monitor in this process."""
        self.forks  # noqa: B018 (in a forked child this forgets what is the parent's)
        return WorkflowMonitorStats(
            open_executions=len(self.open_executions),
            open_steps=len(self.open_steps),
            unknown_ids=self.unknown_ids,
            ignored=self.ignored,
            rejected_values=self._rejected,
            forgotten=self.forgotten,
        )

    def cleanup(self, retention_days: float = 30) -> int:
        """Delete executions that ended at least so many days ago, with their steps; how many.

        In small transactions. What is not finished stays, however old it is.
        """
        before = self._first_moment_kept(retention_days) + 1
        return self._store.delete_in_slices(lambda c, n: workflows.delete_executions(c, before, n))

    def _mine(self, tenant_id: str | None) -> list[OpenExecution]:
        """What this process knows better than a database that is behind."""
        return [
            thing
            for thing in (*self.open_executions.copy().values(), *self.unwritten_ends())
            if isinstance(thing, OpenExecution)
            and (tenant_id is None or thing.tenant_id == tenant_id)
        ]

    def _with_mine(
        self,
        found: list[WorkflowExecution],
        mine: list[OpenExecution],
        statuses: Collection[WorkflowStatus] = (),
    ) -> list[WorkflowExecution]:
        """What was found, where the database is behind, with what is in memory; newest first.

        What is finished there stays: another process did that. What was interrupted goes on here.
        """
        merged = {record.id: record for record in found}
        for execution in mine:
            known = merged.get(execution.id)
            if known is None or known.status in ACTIVE or known.interrupted_at is not None:
                merged[execution.id] = self._execution_record(execution)
        return sorted(
            (record for record in merged.values() if not statuses or record.status in statuses),
            key=lambda record: (record.started_at, record.id),
            reverse=True,
        )

    def _let_go_of_finished(
        self, mine: list[OpenExecution], active: list[WorkflowExecution]
    ) -> None:
        """Forget what other processes have finished."""
        known = {record.id for record in active}
        missing = [
            execution.id for execution in mine if execution.active and execution.id not in known
        ]
        for execution_id in self._store.read(workflows.finished_among, missing) if missing else ():
            execution = self.open_executions.get(execution_id)
            if execution is not None:
                execution.status = CANCELLED  # so that nothing here ends it once more
                self.forget_execution(execution)

    def _execution_record(self, execution: OpenExecution) -> WorkflowExecution:
        return execution_record(execution, redact=self._workflow_settings.redact)

    # -- events ---------------------------------------------------------------------------------

    def _listeners_changed(self) -> None:
        events = self._store.events
        self._workflow_settings.heard = frozenset(name for name in _EVENTS if events.listens(name))

    def _publish(self, event: str, thing: OpenExecution | OpenStep) -> None:
        record = (
            self._execution_record(thing)
            if isinstance(thing, OpenExecution)
            else step_record(thing, redact=self._workflow_settings.redact)
        )
        self._store.events.emit(event, record)


class ExecutionScope:
    """One execution, from `with` to the end of its block; made by `WorkflowMonitor.execution`.

    Inside, everything that is recorded in this context (tasks started there included) has its
    `execution_id`, and its tenant and user. At the end of the block it is completed; failed, with
    the exception as error message, if one leaves the block; cancelled, if that one is
    `asyncio.CancelledError` or `GeneratorExit`. The exception is not swallowed. A block that was
    entered before a fork ends only in the parent.

    Thread-safety: the methods may be called from any thread and any task, `__exit__` too.
    """

    __slots__ = ("_arguments", "_context", "_execution", "_forks", "_monitor")

    def __init__(self, monitor: WorkflowMonitor, arguments: tuple[Any, ...]) -> None:
        self._monitor = monitor
        self._arguments = arguments
        self._execution: OpenExecution | None = None
        self._context: ContextScope | None = None
        self._forks: int | None = None

    @property
    def execution_id(self) -> str:
        """Its id; "" before the block begins."""
        return "" if self._execution is None else self._execution.id

    def step(self, step_key: str, step_name: str | None = None) -> StepScope:
        """A step as a `with` block (or `async with`)."""
        execution = self._execution
        return StepScope(
            self._monitor, "" if execution is None else execution.id, step_key, step_name
        )

    def update(
        self,
        *,
        status: WorkflowStatus | str | None = None,
        current_step: str | None = None,
        steps_completed: int | None = None,
        steps_failed: int | None = None,
        error_message: str | None = None,
    ) -> bool:
        """As `WorkflowMonitor.update_execution`. One that it ends has ended when the block does."""
        return self._monitor.update_execution(
            self.execution_id,
            status=status,
            current_step=current_step,
            steps_completed=steps_completed,
            steps_failed=steps_failed,
            error_message=error_message,
        )

    def fail(self, error_message: str) -> bool:
        """It has failed, although no exception leaves the block."""
        return self.update(status=FAILED, error_message=error_message)

    def cancel(self, error_message: str | None = None) -> bool:
        """It was called off."""
        return self.update(status=CANCELLED, error_message=error_message)

    def __enter__(self) -> Self:
        if self._execution is not None:
            raise RuntimeError("an execution can be entered only once: make another one")
        monitor = self._monitor
        self._forks = monitor.forks
        execution = self._execution = monitor._begin(*self._arguments)
        self._context = ContextScope(
            execution_id=execution.id, tenant_id=execution.tenant_id, user_id=execution.user_id
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._context is not None:
            self._context.leave()
        execution, monitor = self._execution, self._monitor
        if execution is not None and execution.active and self._forks == monitor.forks:
            status, message = _how_it_ended(error)
            monitor.change_execution(execution, status, None, None, None, message)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<ExecutionScope {self.execution_id or '(not begun)'}>"


class StepScope:
    """One step, from `with` to the end of its block.

    It completes, fails or is cancelled as an execution does. Of an execution that is finished
    `step_id` is "", and every method does nothing.

    Thread-safety: as of `ExecutionScope`.
    """

    __slots__ = ("_execution_id", "_forks", "_key", "_monitor", "_name", "_step")

    def __init__(
        self,
        monitor: WorkflowMonitor,
        execution_id: str | None,
        step_key: str,
        step_name: str | None,
    ) -> None:
        self._monitor = monitor
        self._execution_id = execution_id
        self._key = step_key
        self._name = step_name
        self._step: OpenStep | None = None
        self._forks: int | None = None

    @property
    def step_id(self) -> str:
        """Its id; "" before the block begins."""
        return "" if self._step is None else self._step.id

    def set(
        self,
        *,
        tokens_used: int | None = None,
        cost: float | None = None,
        input_size: int | None = None,
        output_size: int | None = None,
        provider: str | None = None,
        model: str | None = None,
    ) -> None:
        """What is known of this attempt, as of `complete_step`; it is recorded with its end."""
        if self._step is not None:
            self._monitor.set_values(
                self._step, tokens_used, cost, input_size, output_size, provider, model
            )

    def retry(self, error: BaseException | str | None = None) -> bool:
        """This attempt has failed, and another begins: see `WorkflowMonitor.retry_step`."""
        if self._step is None:
            return False
        return self._monitor._retry(
            self._step, error_text(error) if isinstance(error, BaseException) else error
        )

    def fail(self, error_message: str) -> bool:
        """It has failed, although no exception leaves the block."""
        return self._step is not None and self._monitor.end_step(self._step, FAILED, error_message)

    def __enter__(self) -> Self:
        if self._forks is not None:
            raise RuntimeError("a step can be entered only once: make another one")
        self._forks = self._monitor.forks
        execution_id = self._execution_id
        if execution_id is None and (context := current_context()) is not None:
            execution_id = context.execution_id
        self._step = self._monitor.begin_step(execution_id, self._key, self._name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        step, monitor = self._step, self._monitor
        if step is not None and step.status == RUNNING and self._forks == monitor.forks:
            if error is None:
                monitor.end_step(step, COMPLETED, None)
            else:
                monitor.end_step(step, *_how_it_ended(error))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<StepScope {self._key!r} {self.step_id or '(not begun)'}>"


def _how_it_ended(error: BaseException | None) -> tuple[str, str | None]:
    """Status and error message of what a block was left with."""
    if error is None:
        return COMPLETED, None
    asyncio = sys.modules.get("asyncio.exceptions")  # else nobody can have raised it
    if isinstance(error, GeneratorExit) or (
        asyncio is not None and isinstance(error, asyncio.CancelledError)
    ):
        return CANCELLED, plain_text(error) or None
    return FAILED, error_text(error)


def _is_id(name: str, value: object) -> bool:
    """Whether it can be the id of anything; TypeError if it is no text at all."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r:.80}")
    return bool(value)


def _tenant_of(step: OpenStep) -> str | None:
    return None if step.execution is None else step.execution.tenant_id


def _checked(limit: int | None) -> int | None:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise ValueError(f"limit must be an integer of at least 0, or None, got {limit!r}")
    return limit

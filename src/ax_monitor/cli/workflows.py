"""`ax monitor workflows`, `ax monitor workflows show`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import click

from ax_monitor.cli._options import (
    MonitorCommand,
    MonitorGroup,
    OneOf,
    beginning,
    common_options,
    open_for_reading,
    parse_moment,
    row_limit,
    the_one,
    utc_option,
)
from ax_monitor.cli._output import (
    Column,
    Part,
    Printer,
    counted,
    cut,
    format_time,
    note,
    visible,
)
from ax_monitor.cli._units import format_duration, format_usd
from ax_monitor.cli.traces import BAR_MIN, DURATION_WIDTH, name_cell, shares
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.model.vocabulary import WorkflowStatus
from ax_monitor.model.workflows import WorkflowExecution, WorkflowStepAttempt, WorkflowStepExecution
from ax_monitor.storage import workflows

_STATUS_WIDTH: Final = max(len(status.value) for status in WorkflowStatus)
_STYLES: Final = {
    WorkflowStatus.PENDING: "dim",
    WorkflowStatus.RUNNING: "yellow",
    WorkflowStatus.PAUSED: "magenta",
    WorkflowStatus.COMPLETED: "green",
    WorkflowStatus.FAILED: "bold red",
    WorkflowStatus.CANCELLED: "dim",
}


@click.group("workflows", cls=MonitorGroup, invoke_without_command=True)
@click.option(
    "--status",
    type=OneOf(WorkflowStatus),
    metavar="STATUS",
    help=f"Only these: {', '.join(WorkflowStatus)}.",
)
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@click.option("--since", metavar="TIME", help="Begun not earlier: 30m, 7d, or 2026-01-31T08:00.")
@click.option("--until", metavar="TIME", help="Begun not later; as --since.")
@click.option(
    "--limit",
    type=row_limit,
    metavar="N",
    default="20",
    show_default=True,
    help='The newest N executions, or "all".',
)
@utc_option
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    status: WorkflowStatus | None,
    tenant_id: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """List executions of workflows, and show their steps in time.

    Executions are listed the newest first; `show` has the steps of one.
    """
    if ctx.invoked_subcommand is not None:
        return
    now_ms = SYSTEM_CLOCK.time_ms()
    printer = Printer()
    start, end = (
        None if text is None else parse_moment(text, now_ms=now_ms, utc=utc, option=option)
        for text, option in ((since, "--since"), (until, "--until"))
    )
    with open_for_reading(db) as store:
        executions = store.read(
            workflows.find_executions,
            () if status is None else (status,),
            tenant_id=tenant_id,
            limit=limit,
            start_time=start,
            end_time=end,
        )
    if as_json:
        for execution in executions:
            printer.json(execution.to_dict())
    elif executions:
        printer.table((_row(execution, utc=utc) for execution in executions), _COLUMNS)
    elif printer.is_terminal:
        note("no executions match")


_COLUMNS: Final = (
    Column("STARTED", keep=True, optional=True),
    Column("STATUS", keep=True),
    Column("DURATION", right=True),
    Column("STEPS", optional=True),
    Column("EXECUTION", ids=True),
    Column("TENANT", optional=True),
    Column("WORKFLOW"),
    Column("WHERE", optional=True),
)


def _row(execution: WorkflowExecution, *, utc: bool) -> list[Part]:
    return [
        (format_time(execution.started_at, utc=utc, to_ms=False), "dim"),
        (execution.status.value, _STYLES[execution.status]),
        format_duration(execution.duration),
        (_progress(execution), "dim"),
        (execution.id, "blue"),
        (execution.tenant_id or "-", "cyan"),
        execution.workflow_name,
        (_where_it_is(execution), "red" if execution.error_message else "dim"),
    ]


def _where_it_is(execution: WorkflowExecution) -> str:
    """Why it failed, or at which step it is."""
    if execution.error_message:
        return execution.error_message
    running = execution.status in (WorkflowStatus.RUNNING, WorkflowStatus.PAUSED)
    return f"at {execution.current_step}" if running and execution.current_step else ""


def _progress(execution: WorkflowExecution) -> str:
    total = execution.steps_total or "?"
    failed = f", {execution.steps_failed:,} failed" if execution.steps_failed else ""
    return f"{execution.steps_completed:,}/{total} steps{failed}"


@command.command("show", cls=MonitorCommand)
@click.argument("execution_id", metavar="ID")
@utc_option
@common_options
@click.pass_context
def show(
    ctx: click.Context, execution_id: str, utc: bool, db: str | None, as_json: bool, debug: bool
) -> None:
    """Show an execution and its steps as a timeline.

    ID is the execution's, or its beginning if only one begins so. All bars are on one axis of time.
    What failed and was tried again is a light bar (░), the last attempt a full one (█).
    """
    given = {} if ctx.parent is None else ctx.parent.params  # `workflows --db PATH show ID`
    printer = Printer()
    execution_id = beginning(execution_id)
    with open_for_reading(db or given.get("db")) as store:
        execution = store.read(workflows.get_execution, execution_id)
        if execution is None:
            ids = store.read(workflows.ids_with_prefix, execution_id, 2)
            execution = store.read(workflows.get_execution, the_one(ids, "execution", execution_id))
        if execution is None:  # deleted meanwhile
            raise click.ClickException(f"no execution {execution_id!r}")
        steps = store.read(workflows.get_step_executions, execution.id)
    if as_json or given.get("as_json"):
        printer.json({**execution.to_dict(), "steps": [step.to_dict() for step in steps]})
        return
    utc = utc or bool(given.get("utc"))
    for line in timeline(execution, steps, printer.width, now_ms=SYSTEM_CLOCK.time_ms(), utc=utc):
        printer.line(*line)


def timeline(
    execution: WorkflowExecution,
    steps: list[WorkflowStepExecution],
    width: int | None,
    *,
    now_ms: int,
    utc: bool = False,
) -> list[list[Part]]:
    """An execution and its steps as lines of at most `width` columns, in parts with styles.

    Without a width nothing is cut. What is not finished lasts until `now_ms`.
    """
    lines = _heading(execution, utc=utc)
    if steps:
        names = [visible(step.step_name or step.step_key) for step in steps]
        name_width, bar_width = shares(names, width, _STATUS_WIDTH + DURATION_WIDTH + 3)
        axis = _Axis(execution, steps, bar_width, now_ms)
        for name, step in zip(names, steps, strict=True):
            lines.append(
                [
                    name_cell(name, name_width, width),
                    " ",
                    (step.status.value.ljust(_STATUS_WIDTH), _STYLES[step.status]),
                    " ",
                    (format_duration(step.duration).rjust(DURATION_WIDTH), "dim"),
                    " ",
                    (axis.bar(step), _STYLES[step.status]),
                ]
            )
            if details := _details(step):
                lines.append([(f"  {details}", "dim")])
            for number, attempt in enumerate(step.earlier_attempts, 1):
                lines.append([(f"  attempt {number}: {_how_it_failed(attempt)}", "red")])
            if step.error_message:
                lines.append([(f"  {step.error_message}", "red")])
        if total := _figures(_total(step.tokens_used for step in steps),
                             _total(step.cost for step in steps)):  # fmt: skip
            lines.append([(f"total: {', '.join(total)}", "bold")])
    return [cut(line, width) for line in lines]


class _Axis:
    """The time from the first start to the last end, on so many columns."""

    def __init__(
        self,
        execution: WorkflowExecution,
        steps: list[WorkflowStepExecution],
        width: int,
        now_ms: int,
    ) -> None:
        self._width = width if width >= BAR_MIN else 0
        self._begin = min(execution.started_at, *(step.first_started_at for step in steps))
        times = [(execution.started_at, execution.completed_at)]
        times += [(step.started_at, step.completed_at) for step in steps]
        moments = [moment for pair in times for moment in pair if moment is not None]
        if any(step.completed_at is None for step in steps):
            moments.append(now_ms)
        self._end = max(self._begin + 1, *moments)

    def bar(self, step: WorkflowStepExecution) -> str:
        """When each attempt ran: one character at least; an open step runs to the end."""
        columns = [" "] * self._width
        for attempt in step.earlier_attempts:
            self._fill(columns, attempt, "░")
        self._fill(columns, step, "█")
        return "".join(columns).rstrip()

    def _fill(
        self, columns: list[str], attempt: WorkflowStepAttempt | WorkflowStepExecution, mark: str
    ) -> None:
        if not self._width:
            return
        scale = self._width / (self._end - self._begin)
        end = self._end if attempt.completed_at is None else attempt.completed_at
        first = min(self._width - 1, max(0, int((attempt.started_at - self._begin) * scale)))
        last = max(first + 1, min(self._width, round((end - self._begin) * scale)))
        columns[first:last] = mark * (last - first)


def _heading(execution: WorkflowExecution, *, utc: bool) -> list[list[Part]]:
    lines: list[list[Part]] = [
        [
            (execution.workflow_name or execution.workflow_id or "execution", "bold"),
            " ",
            (execution.status.value, _STYLES[execution.status]),
            f" {format_duration(execution.duration)} ",
            (f"{_progress(execution)} {format_time(execution.started_at, utc=utc)}", "dim"),
        ],
        [(execution.id, "blue"), (f" {execution.tenant_id or ''}".rstrip(), "cyan")],
    ]
    if execution.error_message:
        lines.append([(execution.error_message, "red")])
    return lines


def _details(step: WorkflowStepExecution) -> str:
    called = "/".join(text for text in (step.provider, step.model) if text)
    return ", ".join(
        text
        for text in (
            counted(step.retry_count + 1, "attempt") if step.retry_count else "",
            called,
            *_figures(step.tokens_used, step.cost),
        )
        if text
    )


def _figures(tokens: float | None, cost: float | None) -> list[str]:
    return ([] if tokens is None else [counted(int(tokens), "token")]) + (
        [] if cost is None else [format_usd(cost)]
    )


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _how_it_failed(attempt: WorkflowStepAttempt) -> str:
    after = f"{attempt.status.value} after {format_duration(attempt.duration)}"
    return f"{after}, {attempt.error_message}" if attempt.error_message else after

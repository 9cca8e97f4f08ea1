"""`ax monitor export`: what is stored, as JSON lines or CSV, to take elsewhere."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import IO, Any, Final

import click

from ax_monitor.cli._options import MonitorCommand, common_options, open_for_reading, parse_moment
from ax_monitor.cli._output import counted, json_line, note, visible
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.model.alerts import Alert
from ax_monitor.model.logs import LogEntry, LogQuery
from ax_monitor.model.metrics import Series
from ax_monitor.model.traces import Span, Trace, TraceQuery
from ax_monitor.model.workflows import WorkflowExecution, WorkflowStepExecution
from ax_monitor.pipeline.history import metric_history
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import alerts, logs, traces, workflows
from ax_monitor.storage.series import find_series

Row = dict[str, Any]

PAGE: Final = 5_000  # records held in memory at once
MINUTE_MS: Final = 60_000
_SAMPLE_BYTES: Final = 10  # a block: offsets of two bytes, then values of eight
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@click.command("export", cls=MonitorCommand)
@click.argument("what", type=click.Choice(["logs", "traces", "metrics", "alerts", "workflows"]))
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="JSON lines have everything as it is stored; CSV has a line for each span or step.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write to FILE, which is replaced when all is written (default: stdout).",
)
@click.option("--since", metavar="TIME", help="Not earlier: 90s, 30m, 7d, or 2026-01-31T08:00.")
@click.option("--until", metavar="TIME", help="Not later; as --since.")
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@common_options
def command(
    what: str,
    form: str,
    output: str | None,
    since: str | None,
    until: str | None,
    tenant_id: str | None,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """Write logs, traces, metrics, alerts or workflows out.

    Oldest first. A JSON line is one record with the fields of its table; a trace has its spans, an
    execution its steps. `ax monitor import` reads logs back. In CSV, objects are JSON, and a text
    that a spreadsheet would take for a formula is quoted with an apostrophe.
    """
    if as_json and form == "csv":
        raise click.UsageError("--json is the format jsonl: leave it out, or --format csv")
    now_ms = SYSTEM_CLOCK.time_ms()
    wanted = _Wanted(
        start=None if since is None else _moment(since, now_ms, "--since"),
        end=None if until is None else _moment(until, now_ms, "--until"),
        tenant_id=tenant_id,
    )
    with open_for_reading(db) as store, _target(output) as stream:
        kind = KINDS[what]
        write = _write_csv if form == "csv" else _write_jsonl
        count = write(stream, kind.rows(store, wanted), kind)
    if output is not None:
        note(f"{counted(count, 'line')} in {output}")


def _moment(text: str, now_ms: int, option: str) -> int:
    return parse_moment(text, now_ms=now_ms, utc=False, option=option)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which records."""

    start: int | None
    end: int | None
    tenant_id: str | None

    def covers(self, time_ms: int) -> bool:
        """Is this time in the range?"""
        return (self.start is None or time_ms >= self.start) and (
            self.end is None or time_ms <= self.end
        )


# -- what there is ------------------------------------------------------------------------------


def _logs(store: Store, wanted: _Wanted) -> Iterator[Row]:
    query = LogQuery(
        start_time=wanted.start,
        end_time=wanted.end,
        tenant_id=wanted.tenant_id,
        order="asc",
        limit=PAGE,
    )
    while page := store.read(logs.query_logs, query):
        yield from (entry.to_dict() for entry in page)
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


def _traces(store: Store, wanted: _Wanted) -> Iterator[Row]:
    query = TraceQuery(
        start_time=wanted.start,
        end_time=wanted.end,
        tenant_id=wanted.tenant_id,
        order="asc",
        limit=PAGE,
    )
    while page := store.read(traces.find_traces, query):
        for found in page:
            trace = store.read(traces.get_trace, found.trace_id)
            if trace is not None:
                yield trace.to_dict()
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


def _metrics(store: Store, wanted: _Wanted) -> Iterator[Row]:
    series = {found.series: found for found in store.read(find_series, tenant_id=wanted.tenant_id)}
    start = 0 if wanted.start is None else wanted.start
    end = SYSTEM_CLOCK.time_ms() if wanted.end is None else wanted.end
    for series_id, minute, block in metric_history(store, series, start, end):
        of = series[series_id].to_dict()
        del of["series"]
        for timestamp, value in _samples(minute, block):
            if wanted.covers(timestamp):
                yield {"timestamp": timestamp, "value": value, **of}


def _samples(minute: int, block: bytes) -> Iterator[tuple[int, float]]:
    count = len(block) // _SAMPLE_BYTES
    offsets = array("H", block[: 2 * count])
    values = array("d", block[2 * count :])
    for offset, value in zip(offsets, values, strict=True):
        yield minute * MINUTE_MS + offset, value


def _alerts(store: Store, wanted: _Wanted) -> Iterator[Row]:
    found = store.read(
        lambda connection: alerts.find_alerts(connection, tenant_id=wanted.tenant_id)
    )
    for alert in reversed(found):
        if wanted.covers(alert.timestamp):
            yield alert.to_dict()


def _workflows(store: Store, wanted: _Wanted) -> Iterator[Row]:
    executions = store.read(workflows.find_executions, tenant_id=wanted.tenant_id)
    for execution in reversed(executions):
        if wanted.covers(execution.started_at):
            steps = store.read(workflows.get_step_executions, execution.id)
            yield {**execution.to_dict(), "steps": [step.to_dict() for step in steps]}


@dataclass(frozen=True, slots=True)
class _Kind:
    """Records of one kind.

    Args:
        rows: Those that are wanted, oldest first.
        fields: Their names.
        parts: The field that holds a list, of which CSV has a line for each item.
        part: What the names of an item's fields begin with in CSV.
        part_fields: Their names, without those that the record has too.
    """

    rows: Callable[[Store, _Wanted], Iterator[Row]]
    fields: tuple[str, ...]
    parts: str = ""
    part: str = ""
    part_fields: tuple[str, ...] = ()

    def column(self, name: str) -> str:
        """What a field of an item is called in CSV."""
        return name if name.startswith(self.part) else self.part + name

    @property
    def columns(self) -> list[str]:
        """The header of CSV."""
        own = [name for name in self.fields if name != self.parts]
        return own + [self.column(name) for name in self.part_fields]


def _names(record: type[Any], *without: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record) if field.name not in without)


KINDS: Final = {
    "logs": _Kind(_logs, _names(LogEntry)),
    "traces": _Kind(_traces, _names(Trace), "spans", "span_", _names(Span, "trace_id")),
    "metrics": _Kind(_metrics, ("timestamp", "value", *_names(Series, "series"))),
    "alerts": _Kind(_alerts, _names(Alert)),
    "workflows": _Kind(
        _workflows,
        _names(WorkflowExecution),
        "steps",
        "step_",
        _names(WorkflowStepExecution, "execution_id"),
    ),
}


# -- how it is written --------------------------------------------------------------------------


def _write_jsonl(stream: IO[str], rows: Iterable[Row], kind: _Kind) -> int:
    count = 0
    for row in rows:
        stream.write(json_line(row) + "\n")
        count += 1
    return count


def _write_csv(stream: IO[str], rows: Iterable[Row], kind: _Kind) -> int:
    writer = csv.DictWriter(stream, kind.columns, restval="", lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in rows:
        for line in _flat(row, kind):
            writer.writerow({name: _cell(value) for name, value in line.items()})
            count += 1
    return count


def _flat(row: Row, kind: _Kind) -> Iterator[Row]:
    """The record, once for each of its items."""
    parts: list[Row] = row.pop(kind.parts, [])
    for part in parts or [{}]:
        yield row | {kind.column(name): part[name] for name in kind.part_fields if name in part}


def _cell(value: Any) -> Any:
    """A value as CSV has it; a text that is a formula to a spreadsheet is made a text."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = visible(value)
        return "'" + text if text.startswith(_FORMULA) else text
    if isinstance(value, dict | list | tuple):
        return json_line(value)
    return value


@contextlib.contextmanager
def _target(output: str | None) -> Iterator[IO[str]]:
    """Standard output; or a file of the user's alone, which takes its name when it is complete."""
    if output is None:
        yield sys.stdout
        return
    unfinished = f"{output}.{os.getpid()}.part"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
        os.replace(unfinished, output)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise

"""`ax monitor traces list|show`."""

from __future__ import annotations

from typing import Any, Final

import click

from ax_monitor.cli._options import (
    MonitorCommand,
    beginning,
    common_options,
    key_value,
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
    fit,
    format_time,
    note,
    visible,
    width_of,
)
from ax_monitor.cli._units import format_duration
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.model.traces import Span, Trace, TraceQuery
from ax_monitor.model.vocabulary import SpanStatus, TraceStatus
from ax_monitor.storage.traces import find_traces, get_trace, ids_with_prefix

PIPE_NAME: Final = 40  # columns of names where nobody's terminal limits them; longer ones stand out
PIPE_BAR: Final = 40  # columns of bars there
NAME_SHARE: Final = 0.4  # of the width, for the tree of names at most
BAR_MIN: Final = 10
DEPTH_MAX: Final = 12  # indentation ends here; the tree goes on
DURATION_WIDTH: Final = 9

_STYLES: Final = {
    TraceStatus.OPEN: "yellow",
    TraceStatus.OK: "green",
    TraceStatus.ERROR: "bold red",
    TraceStatus.INTERRUPTED: "bold magenta",
}


@click.group("traces")
def command() -> None:
    """Find traces, and show where their time went."""


def _status(text: str) -> TraceStatus:
    try:
        return TraceStatus.parse(text.lower())
    except ValueError:
        raise click.BadParameter(f"{text!r} is none of {', '.join(TraceStatus)}") from None


@command.command("list", cls=MonitorCommand)
@click.option("--name", metavar="NAME", help="Only of this name (of the trace or its root span).")
@click.option(
    "--status", type=_status, metavar="STATUS", help="Only these: open, ok, error, interrupted."
)
@click.option("--execution", "workflow_execution_id", metavar="ID", help="Only of this execution.")
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@click.option(
    "--slower", "min_duration_ms", type=float, metavar="MS", help="Only those that took so long."
)
@click.option(
    "--attr",
    type=key_value,
    multiple=True,
    metavar="KEY=VALUE",
    help="Only those with a span of this attribute; may be repeated.",
)
@click.option("--since", metavar="TIME", help="Begun not earlier: 30m, 7d, or 2026-01-31T08:00.")
@click.option("--until", metavar="TIME", help="Begun not later; as --since.")
@click.option(
    "--limit",
    type=row_limit,
    metavar="N",
    default="20",
    show_default=True,
    help='The newest N traces, or "all".',
)
@utc_option
@common_options
def list_(
    attr: tuple[tuple[str, Any], ...],
    since: str | None,
    until: str | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
    **filters: Any,
) -> None:
    """List traces, the newest first."""
    now_ms = SYSTEM_CLOCK.time_ms()
    query = TraceQuery(
        attributes=dict(attr) or None,
        start_time=None
        if since is None
        else parse_moment(since, now_ms=now_ms, utc=utc, option="--since"),
        end_time=None
        if until is None
        else parse_moment(until, now_ms=now_ms, utc=utc, option="--until"),
        **filters,
    )
    printer = Printer()
    with open_for_reading(db) as store:
        traces = store.read(find_traces, query)
    if as_json:
        for trace in traces:
            printer.json(trace.to_dict())
    elif traces:
        printer.table((_row(trace, utc=utc) for trace in traces), _COLUMNS)
    elif printer.is_terminal:
        note("no traces match")


_COLUMNS: Final = (
    Column("STARTED", keep=True, optional=True),
    Column("STATUS", keep=True),
    Column("DURATION", right=True),
    Column("SPANS", right=True, optional=True),
    Column("TRACE", ids=True),
    Column("EXECUTION", ids=True, optional=True),
    Column("NAME"),
)


def _row(trace: Trace, *, utc: bool) -> list[Part]:
    return [
        (format_time(trace.started_at, utc=utc, to_ms=False), "dim"),
        (trace.status.value, _STYLES[trace.status]),
        format_duration(trace.duration),
        (counted(trace.span_count, "span"), "dim"),
        (trace.trace_id, "blue"),
        (trace.workflow_execution_id, "cyan"),
        trace.name or "",
    ]


@command.command("show", cls=MonitorCommand)
@click.argument("trace_id", metavar="ID")
@click.option("--events", is_flag=True, help="Show the events of spans.")
@click.option("--attributes", is_flag=True, help="Show the attributes of spans.")
@utc_option
@common_options
def show(
    trace_id: str,
    events: bool,
    attributes: bool,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """Show a trace as a waterfall: its spans as a tree, and when each of them ran.

    ID is the trace's, or its beginning if only one trace begins so. Spans on the critical path,
    those that determined how long the trace took, have a full bar (█); the others a light one (░).
    """
    printer = Printer()
    trace_id = beginning(trace_id)
    with open_for_reading(db) as store:
        trace = store.read(get_trace, trace_id)
        if trace is None:
            found = the_one(store.read(ids_with_prefix, trace_id, 2), "trace", trace_id)
            trace = store.read(get_trace, found)
    if trace is None:  # deleted meanwhile
        raise click.ClickException(f"no trace {trace_id!r}")
    if as_json:
        printer.json(trace.to_dict())
        return
    for line in waterfall(trace, printer.width, events=events, attributes=attributes, utc=utc):
        printer.line(*line)


def waterfall(
    trace: Trace,
    width: int | None,
    *,
    events: bool = False,
    attributes: bool = False,
    utc: bool = False,
) -> list[list[Part]]:
    """The trace as lines of at most `width` columns, each a list of parts with their styles.

    Without a width nothing is cut.
    """
    lines: list[list[Part]] = [_heading(trace, utc=utc)]
    roots = trace.tree()
    rows = [(depth, node) for root in roots for depth, node in root.walk()]
    if not rows:
        return [cut(line, width) for line in lines]
    begin = min(span.begins_ns for span in trace.spans)
    end = max(begin + 1, *(span.ends_ns or span.begins_ns for span in trace.spans))
    critical = {id(span) for span in trace.critical_path()}
    names = [_indent(depth) + visible(node.span.name) for depth, node in rows]
    name_width, bar_width = shares(names, width, DURATION_WIDTH + 3)
    for name, (depth, node) in zip(names, rows, strict=True):
        span = node.span
        style = "bold red" if span.status is SpanStatus.ERROR else ""
        line: list[Part] = [(name_cell(name, name_width, width), style), " "]
        line.append((format_duration(span.duration).rjust(DURATION_WIDTH), "dim"))
        if bar_width >= BAR_MIN:
            full = id(span) in critical
            line += [" ", (_bar(span, begin, end, bar_width, full=full), style or "cyan")]
        lines.append(line)
        margin = _indent(depth + 1)
        if attributes:
            lines += [[(f"{margin}{k} = {v!r}", "dim")] for k, v in span.attributes.items()]
        if events:
            lines += [[(margin + text, "yellow")] for text in _event_texts(span)]
    return [cut(line, width) for line in lines]


def _heading(trace: Trace, *, utc: bool) -> list[Part]:
    return [
        (trace.name or "trace", "bold"),
        " ",
        (trace.status.value, _STYLES[trace.status]),
        f" {format_duration(trace.duration)} ",
        (f"{counted(trace.span_count, 'span')} {format_time(trace.started_at, utc=utc)} ", "dim"),
        (trace.trace_id, "blue"),
        (f" {trace.workflow_execution_id}", "cyan"),
    ]


def _event_texts(span: Span) -> list[str]:
    texts = []
    for event in span.events:
        message = (event.attributes or {}).get("exception.message")
        offset = event.timestamp - span.started_at
        texts.append(f"+{offset} ms {event.name}" + (f": {message}" if message else ""))
    return texts


def _indent(depth: int) -> str:
    return "  " * min(depth, DEPTH_MAX)


def name_cell(name: str, name_width: int, width: int | None) -> str:
    """A name in its column; where nothing is cut, it may be wider."""
    return name.ljust(name_width) if width is None else fit(name, name_width)


def shares(names: list[str], width: int | None, between: int) -> tuple[int, int]:
    """How many columns names and bars get, if so many are between them."""
    widest = max(map(width_of, names))
    if width is None:
        return min(widest, PIPE_NAME), PIPE_BAR
    name_width = min(widest, max(8, int(width * NAME_SHARE)))
    return name_width, width - name_width - between


def _bar(span: Span, begin: int, end: int, width: int, *, full: bool) -> str:
    """When the span ran: at least one character; an open span runs to the end of the line."""
    scale = width / (end - begin)
    first = min(width - 1, int((span.begins_ns - begin) * scale))
    ends = end if span.ends_ns is None else span.ends_ns
    last = max(first + 1, min(width, round((ends - begin) * scale)))
    return " " * first + ("█" if full else "░") * (last - first)

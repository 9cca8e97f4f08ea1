"""`ax monitor sql`: a question of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import click

from ax_monitor.cli._options import (
    MonitorCommand,
    common_options,
    duration_ms,
    open_for_reading,
    row_limit,
)
from ax_monitor.cli._output import Column, Part, Printer, note
from ax_monitor.storage.adhoc import run_query

SHOWN_CHARS: Final = 200  # of one value, on a terminal


@click.command("sql", cls=MonitorCommand)
@click.argument("query")
@click.option(
    "--limit",
    type=row_limit,
    metavar="N",
    default="1000",
    show_default=True,
    help='At most N rows, or "all".',
)
@click.option(
    "--timeout",
    "timeout_ms",
    type=duration_ms,
    metavar="TIME",
    default="10s",
    show_default=True,
    help="Stop the query after so long.",
)
@common_options
def command(
    query: str,
    limit: int | None,
    timeout_ms: int,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """Ask in SQL: one query, which only reads, and ends in time.

    The tables: logs, traces, spans, span_events, performance_metrics, alert_rules, alerts,
    workflow_executions_monitor, workflow_step_executions; "PRAGMA table_list" lists all, and
    docs/schema.sql describes them. Times are in ms since the epoch.
    """
    printer = Printer()
    show = _json if as_json else _table
    with open_for_reading(db) as store:
        store.read(
            lambda connection: run_query(
                connection,
                query,
                timeout_ms,
                lambda columns, rows: show(printer, columns, rows, limit),
            )
        )


Rows = Iterable[tuple[Any, ...]]


def _json(printer: Printer, columns: tuple[str, ...], rows: Rows, limit: int | None) -> None:
    for number, row in enumerate(rows):
        if number == limit:
            _say_there_is_more(limit)
            return
        printer.json(dict(zip(columns, map(_json_value, row), strict=True)))


def _table(printer: Printer, columns: tuple[str, ...], rows: Rows, limit: int | None) -> None:
    shown: list[list[Part]] = []
    for row in rows:
        if limit is not None and len(shown) >= limit:
            _say_there_is_more(limit)
            break
        shown.append([_text(value, cut=printer.is_terminal) for value in row])
    if columns:
        printer.table(shown, [Column(name) for name in columns], heading=True)


def _say_there_is_more(limit: int) -> None:
    note(f"only the first {limit:,} rows: use LIMIT, or --limit all")


def _json_value(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _text(value: Any, *, cut: bool) -> Part:
    if value is None:
        return "NULL", "dim"
    text = f"x'{value.hex()}'" if isinstance(value, bytes) else str(value)
    return text[:SHOWN_CHARS] + "…" if cut and len(text) > SHOWN_CHARS else text

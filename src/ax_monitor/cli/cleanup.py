"""`ax monitor cleanup`: the retention, by hand."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from ax_monitor.cli._options import MonitorCommand, common_options, existing_database
from ax_monitor.cli._output import Column, Part, Printer
from ax_monitor.cli._units import format_bytes
from ax_monitor.model.retention import RetentionReport
from ax_monitor.pipeline.store import Store
from ax_monitor.services.retention import RetentionService

KINDS: Final = {
    "logs": "log records",
    "traces": "traces",
    "executions": "executions",
    "samples": "samples",
    "alerts": "resolved alerts",
}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", re.IGNORECASE)
_FACTORS: Final = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def size_bytes(text: str) -> int:
    """`2GB`, `500 MB`, `100000`: a number of bytes.

    >>> size_bytes("2GB"), size_bytes("1.5 mb"), size_bytes("100000")
    (2000000000, 1500000, 100000)
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _FACTORS[match[2].upper()]) if match else 0
    if size < 1:
        raise click.BadParameter(f"{text!r} is not a size: write it like 500MB or 2GB")
    return size


@click.command("cleanup", cls=MonitorCommand)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--logs-days", type=click.FloatRange(0), default=30, show_default=True)
@click.option("--traces-days", type=click.FloatRange(0), default=7, show_default=True)
@click.option("--executions-days", type=click.FloatRange(0), default=30, show_default=True)
@click.option("--metrics-days", type=click.FloatRange(0), default=90, show_default=True)
@click.option("--alerts-days", type=click.FloatRange(0), default=30, show_default=True)
@click.option(
    "--max-size",
    type=size_bytes,
    metavar="SIZE",
    help="Then delete the oldest, until the file is no larger: 500MB, 2GB.",
)
@common_options
def command(
    dry_run: bool, max_size: int | None, db: str | None, as_json: bool, debug: bool, **days: float
) -> None:
    """Delete what is old, and give back the space that it took.

    What is older than so many days goes; not executions that run and alerts that are open. It may
    be called while an engine records.
    """
    path = existing_database(db)
    options: dict[str, Any] = {**days, "max_bytes": max_size}
    with Store(path, read_only=dry_run) as store:
        report = RetentionService(store, **options).run(dry_run=dry_run)
    printer = Printer()
    if as_json:
        printer.json(report.to_dict())
    else:
        _show(printer, report)


def _show(printer: Printer, report: RetentionReport) -> None:
    done = "would be deleted" if report.dry_run else "deleted"
    rows: list[list[Part]] = [
        [f"{report.deleted[kind]:,}", f"{what} {done}"] for kind, what in KINDS.items()
    ]
    if report.dry_run:
        rows.append([format_bytes(report.bytes_before), "is the size of the file"])
    else:
        given_back = max(0, report.bytes_before - report.bytes_after)
        rows.append([format_bytes(given_back), "given back"])
        rows.append([format_bytes(report.bytes_after), "is the size of the file now"])
    printer.table(rows, (Column(right=True), Column()))
    for kind, reason in report.refused.items():
        printer.line((f"{KINDS.get(kind, kind)}: {reason}", "yellow"))

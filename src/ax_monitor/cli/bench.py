"""`ax monitor bench`: the latency table on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import click

from ax_monitor import __version__
from ax_monitor.bench.harness import file_system, machine, scratch_folder, timer_ns
from ax_monitor.bench.operations import NORMAL, QUICK, measure
from ax_monitor.bench.table import OPERATIONS, VERDICT, Row
from ax_monitor.cli._options import MonitorCommand
from ax_monitor.cli._output import Column, Part, Printer, step_bar
from ax_monitor.cli._units import scale_of

RECORDS: Final = 100_000
UNKNOWN: Final = "–"
_PERCENTILES: Final = ("p50", "p99", "p99.9")
_COLUMNS: Final = (
    Column("OPERATION", keep=True),
    Column("DOCUMENT", optional=True),
    Column("GOAL", optional=True),
    *(Column(name.upper(), right=True) for name in _PERCENTILES),
    Column("MET", keep=True),
)
_MET: Final[dict[bool | None, Part]] = {
    True: ("yes", "green"),
    False: ("no", "bold red"),
    None: (UNKNOWN, "dim"),
}


@click.command("bench", cls=MonitorCommand)
@click.option("--quick", is_flag=True, help="Fewer calls: some ten seconds, fewer percentiles.")
@click.option(
    "--records",
    type=click.IntRange(1000, 10_000_000),
    default=RECORDS,
    show_default=True,
    metavar="N",
    help="So many log records, and samples, are in the database.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(quick: bool, records: int, as_json: bool, debug: bool) -> None:
    """Measure how fast everything is on this machine.

    It takes less than a minute, and works on a database of its own, in a temporary folder (TMPDIR
    says where) that is deleted in the end. Your database is not touched.

    Exits with 0 whether figures are met or not.
    """
    printer = Printer()
    timer = timer_ns()
    with scratch_folder() as folder:
        where: dict[str, Any] = {
            "version": __version__,
            "machine": machine(),
            "folder": os.path.dirname(folder),
            "file_system": file_system(folder),
            "records": records,
            "timer_ns": timer,
        }
        with step_bar(len(OPERATIONS)) as tell:
            rows = measure(folder, records, QUICK if quick else NORMAL, tell)
    if as_json:
        for row in rows:
            printer.json({**row.to_dict(), **where})
    else:
        _show(printer, rows, where)


def _show(printer: Printer, rows: Sequence[Row], where: dict[str, Any]) -> None:
    printer.line(
        (f"ax-monitor {where['version']}", "bold"),
        f" on {where['records']:,} log records in {where['folder']} ({where['file_system']})",
    )
    for text in where["machine"]:
        printer.line(text)
    printer.line()
    printer.table([_cells(row) for row in rows], _COLUMNS, heading=True)
    printer.line()
    printer.line((f"{VERDICT}.", "dim"))
    timer = f"The timer itself takes {where['timer_ns']} ns of each figure."
    printer.line((f"{UNKNOWN}: too few calls to tell. {timer}", "dim"))


def _cells(row: Row) -> list[Part]:
    operation = row.operation
    if row.size is None:
        found = [three_digits(row.percentiles[name], "ns") for name in _PERCENTILES]
    else:
        found = [three_digits(row.size, "bytes"), "", ""]
    return [
        (operation.name, "bold"),
        operation.document.replace(" ms, ", ", "),  # the unit comes once more
        "" if operation.goal is None else str(operation.goal),
        *found,
        _MET[row.met],
    ]


def three_digits(value: int | None, unit: str) -> str:
    """A figure in seven characters or less."""
    if value is None:
        return UNKNOWN
    size, suffix = scale_of(value, unit)
    number = value / size
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}{suffix}"

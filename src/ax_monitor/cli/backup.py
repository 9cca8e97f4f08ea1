"""`ax monitor backup`: a copy of the database, while it is written to."""

from __future__ import annotations

import click

from ax_monitor.cli._options import MonitorCommand, common_options, open_for_reading
from ax_monitor.cli._output import Printer, page_bar
from ax_monitor.cli._units import format_bytes


@click.command("backup", cls=MonitorCommand)
@click.argument("file", type=click.Path(dir_okay=False))
@common_options
def command(file: str, db: str | None, as_json: bool, debug: bool) -> None:
    """Copy the database into a new FILE, also while an engine writes.

    The copy is what is in the database at one moment. What the engine has recorded in the last
    seconds may be in its ring only: it is there when the engine has called flush().
    """
    printer = Printer()
    with open_for_reading(db) as store, page_bar(f"to {file}") as tell:
        size = store.backup(file, tell)
    if as_json:
        printer.json({"file": file, "bytes": size})
    else:
        printer.line(f"{format_bytes(size)} in {file}")

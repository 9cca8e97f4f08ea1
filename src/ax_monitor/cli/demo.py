"""`ax monitor demo`: the five-minute tour."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ax_monitor.cli._options import MonitorCommand

DATABASE = os.path.join(".demo", "monitor.db")


@click.command("demo", cls=MonitorCommand)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    default=DATABASE,
    show_default=True,
    metavar="PATH",
    help="The database it makes; nothing may be there yet.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], db: Path, debug: bool) -> None:
    """The five-minute tour: an engine, an outage, a killed process.

    It ends with what is known of it all, by the commands that users have.

    The engine fetches, parses, summarizes, compresses and hashes pieces of FILES, which are
    imported too if they are given (default: the sources of Python's standard library, not
    imported). The model calls are made up, all else is real. It takes about half a minute.
    """
    if os.path.lexists(db):
        raise click.ClickException(f"{db} is there already: delete it (rm {db}*), or pass --db")
    from ax_monitor.demo.tour import Tour  # noqa: PLC0415 (the errors above need none of it)

    outcome = Tour(db, files).run()
    if not outcome.as_promised:
        raise click.ClickException(f"the tour did not go as promised: {outcome}")

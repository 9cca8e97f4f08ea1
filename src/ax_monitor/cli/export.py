"""`ax monitor export`: what is stored, as JSON lines, CSV or Parquet, to take elsewhere."""

from __future__ import annotations

import click

from ax_monitor.cli._exported import KINDS, Wanted
from ax_monitor.cli._formats import WRITERS
from ax_monitor.cli._options import MonitorCommand, common_options, open_for_reading, parse_moment
from ax_monitor.cli._output import counted, note
from ax_monitor.clock import SYSTEM_CLOCK


@click.command("export", cls=MonitorCommand)
@click.argument("what", type=click.Choice(list(KINDS)))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(WRITERS)),
    default="jsonl",
    show_default=True,
    help="JSON lines have everything as it is stored; CSV and Parquet (which needs pyarrow) have a "
    "line for each span or step.",
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
    execution its steps. `ax monitor import` reads logs back. In CSV and Parquet, objects are JSON;
    in CSV, a text that a spreadsheet would take for a formula is quoted with an apostrophe.
    """
    if as_json and form != "jsonl":
        raise click.UsageError(f"--json is the format jsonl: leave it out, or --format {form}")
    now_ms = SYSTEM_CLOCK.time_ms()
    wanted = Wanted(
        start=None if since is None else _moment(since, now_ms, "--since"),
        end=None if until is None else _moment(until, now_ms, "--until"),
        tenant_id=tenant_id,
    )
    kind = KINDS[what]
    with open_for_reading(db) as store:
        count = WRITERS[form](output, kind.rows(store, wanted), kind)
    if output is not None:
        note(f"{counted(count, 'line')} in {output}")


def _moment(text: str, now_ms: int, option: str) -> int:
    return parse_moment(text, now_ms=now_ms, utc=False, option=option)

"""`ax monitor costs`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import click

from ax_monitor.cli._chart import MARKS, Line, draw
from ax_monitor.cli._options import (
    MonitorCommand,
    common_options,
    open_for_reading,
    parse_moment,
    utc_option,
)
from ax_monitor.cli._output import Column, Part, Printer, counted, cut, format_time, note
from ax_monitor.cli._units import format_usd
from ax_monitor.cli.budgets import show_budgets
from ax_monitor.cli.metrics import (
    DAY_MS,
    Format,
    chart_size,
)
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.model.costs import BudgetStatus, CostProjection, CostSummary, DailyCost
from ax_monitor.services.costs import CostService

Key = Literal["provider", "model", "workflow", "tenant"]
NAMELESS: Final = "(none)"  # of steps that do not say which


@click.command("costs", cls=MonitorCommand)
@click.option(
    "--range",
    "since",
    metavar="TIME",
    default="30d",
    show_default=True,
    help="How far back: 12h, 7d, 4w, or from a time such as 2026-01-31T08:00 on.",
)
@click.option(
    "--by",
    type=click.Choice(("provider", "model", "workflow", "tenant")),
    help="One row or line for each of them.",
)
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@click.option("--projection", is_flag=True, help="What the next 30 days are likely to cost.")
@click.option("--budget", is_flag=True, help="How budgets stand; see `budgets`.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "chart", "json")),
    default="table",
    show_default=True,
    help="How to show it; a chart has a point a day.",
)
@utc_option
@common_options
def command(
    since: str,
    by: Key | None,
    tenant_id: str | None,
    projection: bool,
    budget: bool,
    form: Format,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """Show what was spent, what will be, and how budgets stand.

    In US dollars, as the steps of workflows recorded it. Days are UTC. Costs of executions that
    were deleted are kept by the day: a day of them counts as a whole.

    JSON has an object a row, whose `type` says what it is: "costs" (by, key, cost, tokens, steps,
    share), "projection", "budget".
    """
    now_ms = SYSTEM_CLOCK.time_ms()
    start_ms = parse_moment(since, now_ms=now_ms, utc=utc, option="--range")
    if start_ms >= now_ms:
        raise click.BadParameter(f"{since!r} is not in the past", param_hint="'--range'")
    if as_json:
        form = "json"
    if form == "chart":
        start_ms -= start_ms % DAY_MS  # the first day is whole
    printer = Printer()
    with open_for_reading(db) as store:
        service = CostService(store)
        costs = service.get_costs(start_ms, now_ms, by=by, tenant_id=tenant_id)
        projected = service.project(tenant_id=tenant_id) if projection else None
        budgets = service.get_budget_status(tenant_id=tenant_id) if budget else []
        daily: list[DailyCost] = []
        if form == "chart":
            daily = service.get_daily_costs(start_ms, now_ms, by=by, tenant_id=tenant_id)
    if form == "json":
        _print_json(printer, by, costs, projected, budgets)
        return
    if not costs:
        if printer.is_terminal:
            note("no costs in that time")
    elif form == "chart":
        _chart(printer, daily, costs, now_ms)
    else:
        start = format_time(start_ms, utc=utc, to_ms=False)
        printer.line(*cut([("costs", "bold"), (f"  since {start}", "dim")], printer.width))
        _table(printer, by, costs)
    if projected is not None:
        printer.line(*_projection(projected))
    if budgets:
        show_budgets(printer, budgets, utc=utc)
    elif budget:
        printer.line("no budgets: `ax monitor budgets set` makes one")


def _print_json(
    printer: Printer,
    by: Key | None,
    costs: Iterable[CostSummary],
    projected: CostProjection | None,
    budgets: Iterable[BudgetStatus],
) -> None:
    for row in costs:
        printer.json({"type": "costs", "by": by, **row.to_dict()})
    if projected is not None:
        printer.json({"type": "projection", **projected.to_dict()})
    for status in budgets:
        printer.json({"type": "budget", **status.to_dict()})


_COLUMNS: Final = tuple(
    Column(name, right=True, optional=name in ("TOKENS", "STEPS"))
    for name in ("COST", "SHARE", "TOKENS", "STEPS")
)


def _table(printer: Printer, by: Key | None, costs: Sequence[CostSummary]) -> None:
    rows = [[(_name(each.key), "cyan"), *_figures(each)] for each in costs]
    if len(rows) > 1:
        total = CostSummary(
            None,
            sum(each.cost for each in costs),
            sum(each.tokens for each in costs),
            sum(each.steps for each in costs),
            1.0,
        )
        rows.append([("total", "bold"), *_figures(total)])
    columns = [Column(by or ""), *_COLUMNS]
    if by is None:
        columns, rows = columns[1:], [row[1:] for row in rows]
    printer.table(rows, columns, heading=True)


def _name(key: str | None) -> str:
    return NAMELESS if key is None else key


def _figures(each: CostSummary) -> list[Part]:
    return [
        format_usd(each.cost),
        f"{100 * each.share:.1f} %",
        f"{each.tokens:,}",
        f"{each.steps:,}",
    ]


def _projection(found: CostProjection) -> list[Part]:
    heading = (f"next {found.days} days: ", "bold")
    if found.expected is None or found.low is None or found.high is None:
        return [heading, f"can't tell, {found.reason}"]
    trend = found.daily_trend or 0.0
    return [
        heading,
        (format_usd(found.expected), "cyan"),
        f", with {100 * found.confidence:g} % between {format_usd(found.low)} and "
        f"{format_usd(found.high)}",
        (
            f"  (a line through {counted(len(found.history), 'day')}, "
            f"{'+' if trend >= 0 else ''}{format_usd(trend)} a day)",
            "dim",
        ),
    ]


# -- charts ---------------------------------------------------------------------------------------


def _chart(
    printer: Printer, daily: Sequence[DailyCost], costs: Sequence[CostSummary], now_ms: int
) -> None:
    width, height = chart_size(printer)
    today = now_ms - now_ms % DAY_MS
    # The running day is not over: it would look like a fall.
    shown = [day for day in daily if day.day < today] or list(daily)
    lines = [
        Line(_name(each.key), [(d.day + DAY_MS / 2, d.cost) for d in shown if d.key == each.key])
        for each in costs[: len(MARKS)]
    ]
    printer.line(*cut([("costs", "bold"), "  a day (UTC)"], width))
    for line in draw(
        lines,
        start_ms=shown[0].day,
        end_ms=shown[-1].day + DAY_MS,
        unit="USD",
        width=width,
        height=height,
        utc=True,
        cut_names=printer.is_terminal,
    ):
        printer.line(*line)
    if len(costs) > len(MARKS):
        note(f"the {len(MARKS)} that cost most of {len(costs):,}; --format table shows all")

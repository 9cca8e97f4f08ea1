"""`ax monitor budgets set|list|delete`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import click

from ax_monitor.cli._options import (
    MonitorCommand,
    common_options,
    database,
    existing_database,
    open_for_reading,
    utc_option,
)
from ax_monitor.cli._output import Column, Part, Printer, format_time, note
from ax_monitor.cli._units import format_usd
from ax_monitor.model.costs import PERIODS, Budget, BudgetStatus
from ax_monitor.pipeline.store import Store
from ax_monitor.services.costs import CostService

STATUS_STYLES: Final = {"ok": "green", "warning": "yellow", "exceeded": "bold red"}
_COLUMNS: Final = (
    Column("STATUS", keep=True),
    Column("BUDGET"),
    Column("AMOUNT", right=True),
    Column("SPENT", right=True),
    Column("SHARE", right=True),
    Column("EXPECTED", optional=True),
    Column("PERIOD", optional=True),
)
_SCOPE: Final = ("provider", "model", "workflow", "tenant_id")


@click.group("budgets")
def command() -> None:
    """Say how much may be spent in a day, a week or a month."""


@command.command("set", cls=MonitorCommand)
@click.argument("name")
@click.argument("amount", type=float)
@click.option(
    "--period",
    type=click.Choice(PERIODS),
    default="month",
    show_default=True,
    help="Of the calendar in UTC; weeks begin on Monday.",
)
@click.option("--provider", metavar="NAME", help="Only costs of this provider count.")
@click.option("--model", metavar="NAME", help="Only costs of this model.")
@click.option("--workflow", metavar="NAME", help="Only costs of workflows of this name.")
@click.option("--tenant", "tenant_id", metavar="ID", help="Only costs of this tenant.")
@common_options
def set_(
    name: str, amount: float, db: str | None, as_json: bool, debug: bool, **options: Any
) -> None:
    """Set a budget of AMOUNT US dollars, or change the one of this NAME."""
    printer = Printer()
    with Store(database(db)) as store:
        service = CostService(store)
        try:
            budget_id = service.set_budget(name, amount, **options)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        (budget,) = [each for each in service.list_budgets() if each.id == budget_id]
    if as_json:
        printer.json(budget.to_dict())
    else:
        printer.line("set ", (budget.name, "bold"), ": ", _what(budget))


@command.command("list", cls=MonitorCommand)
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@utc_option
@common_options
def list_(tenant_id: str | None, utc: bool, db: str | None, as_json: bool, debug: bool) -> None:
    """List the budgets, and how they stand."""
    printer = Printer()
    with open_for_reading(db) as store:
        found = CostService(store).get_budget_status(tenant_id=tenant_id)
    if as_json:
        for status in found:
            printer.json(status.to_dict())
    elif found:
        show_budgets(printer, found, utc=utc)
    elif printer.is_terminal:
        note("no budgets: `ax monitor budgets set` makes one")


@command.command("delete", cls=MonitorCommand)
@click.argument("name")
@common_options
def delete(name: str, db: str | None, as_json: bool, debug: bool) -> None:
    """Delete the budget of this NAME, or of this id."""
    printer = Printer()
    with Store(existing_database(db)) as store:
        if not CostService(store).delete_budget(name):
            raise click.ClickException(f"no budget {name!r}: `ax monitor budgets list` has all")
    if as_json:
        printer.json({"budget": name, "deleted": True})
    else:
        printer.line("deleted ", (name, "bold"))


def show_budgets(printer: Printer, found: Iterable[BudgetStatus], *, utc: bool) -> None:
    """How budgets stand, as a table."""
    rows = [_row(status, utc=utc) for status in found]
    printer.table(rows, _COLUMNS, heading=True)


def _row(status: BudgetStatus, *, utc: bool) -> list[Part]:
    return [
        (status.status, STATUS_STYLES[status.status]),
        (status.budget.name, "bold"),
        format_usd(status.budget.amount),
        format_usd(status.spent),
        f"{100 * status.share:.1f} %",
        _expected(status),
        (_what(status.budget, amount=False) + _crossing(status, utc=utc), "dim"),
    ]


def _expected(status: BudgetStatus) -> str:
    if status.expected is None or status.low is None or status.high is None:
        return "too little history"
    low, high = format_usd(status.low), format_usd(status.high)
    return f"{format_usd(status.expected)} ({low} to {high})"


def _crossing(status: BudgetStatus, *, utc: bool) -> str:
    if status.crossing_date is None:
        return ""
    if status.status == "exceeded":
        return f"; exceeded at {format_time(status.crossing_date, utc=utc, to_ms=False)}"
    return f"; will be exceeded on {format_time(status.crossing_date, utc=True)[:10]}"


def _what(budget: Budget, *, amount: bool = True) -> str:
    """Amount, period and scope in words."""
    scope = [
        f"{name.removesuffix('_id')} {value}"
        for name in _SCOPE
        if (value := getattr(budget, name)) is not None
    ]
    parts = [f"{format_usd(budget.amount)} " if amount else "", f"a {budget.period}"]
    parts += [f", {', '.join(scope)}"] if scope else []
    return "".join(parts)

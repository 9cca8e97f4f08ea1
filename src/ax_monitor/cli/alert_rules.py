"""`ax monitor alerts rules|create|enable|disable|delete|load|test`: what is to be watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, TypeVar

import click

from ax_monitor.alerting.backtest import Backtest, Firing
from ax_monitor.alerting.conditions import format_condition, parse_condition
from ax_monitor.alerting.rules_file import RulesLoaded, plan, read_rules_file
from ax_monitor.cli._alerting import (
    SEVERITY_STYLES,
    found_rule,
    labels_text,
    open_for_changes,
)
from ax_monitor.cli._options import (
    MonitorCommand,
    OneOf,
    common_options,
    duration_ms,
    label_value,
    open_for_reading,
    parse_moment,
    utc_option,
)
from ax_monitor.cli._output import Column, Part, Printer, counted, format_time, note
from ax_monitor.cli.metrics import ERROR_RATE, ERROR_RATE_OF, SHORT_NAMES
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.errors import AlertRuleError
from ax_monitor.model.alerts import AlertCondition, AlertRule
from ax_monitor.model.duration import format_duration_ms
from ax_monitor.model.vocabulary import AlertSeverity, NoDataPolicy
from ax_monitor.services.alerting import AlertingService
from ax_monitor.storage.alert_rules import BrokenRule

F = TypeVar("F", bound=Callable[..., Any])


def _condition(text: str) -> AlertCondition:
    try:
        return parse_condition(text)
    except AlertRuleError as error:
        raise click.BadParameter(str(error).removeprefix("condition: ")) from None


def _labels_option(name: str, field: str, text: str) -> Callable[[F], F]:
    return click.option(
        name, field, type=label_value, multiple=True, metavar="NAME=VALUE", help=text
    )


# -- what there is --------------------------------------------------------------------------------


@click.command("rules", cls=MonitorCommand)
@click.option("--metric", "metric_type", metavar="NAME", help="Only those of this metric.")
@click.option("--tenant", "tenant_id", metavar="ID", help="Only those of this tenant.")
@common_options
def rules(
    metric_type: str | None,
    tenant_id: str | None,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """List the rules, and what is wrong with those that are broken."""
    printer = Printer()
    with open_for_reading(db) as store:
        service = AlertingService(store)
        found = service.list_rules(metric_type=metric_type, tenant_id=tenant_id)
        broken = [] if metric_type or tenant_id else service.broken_rules()
    if as_json:
        for rule in found:
            printer.json(rule.to_dict())
        for each in broken:
            printer.json(asdict(each))
    elif found or broken:
        printer.table([*map(_row, found), *map(_broken_row, broken)], _COLUMNS)
    elif printer.is_terminal:
        note("no rules")


_COLUMNS: Final = (
    Column("RULE", ids=True),
    Column("STATE", keep=True),
    Column("SEVERITY", keep=True, optional=True),
    Column("NAME"),
    Column("WHAT"),
)


def _row(rule: AlertRule) -> list[Part]:
    return [
        (rule.id, "blue"),
        ("enabled", "green") if rule.enabled else ("disabled", "dim"),
        (rule.severity.value, SEVERITY_STYLES[rule.severity]),
        rule.name,
        f"{_what(rule)}{labels_text(rule.labels)}",
    ]


def _what(rule: AlertRule) -> str:
    """What it watches, on one line."""
    parts = [f"{rule.metric_type}{labels_text(rule.match_labels or {})}:"]
    parts.append(format_condition(rule.condition))
    parts += [f"for {format_duration_ms(rule.for_ms)}"] if rule.for_ms else []
    parts += [f"by {', '.join(rule.by)}"] if rule.by else []
    parts += [f"of {rule.tenant_id}"] if rule.tenant_id else []
    return " ".join(parts)


def _broken_row(rule: BrokenRule) -> list[Part]:
    return [(rule.id, "blue"), ("broken", "bold red"), "", rule.name, (rule.error, "red")]


# -- changes --------------------------------------------------------------------------------------


@click.command("create", cls=MonitorCommand)
@click.argument("name")
@click.option(
    "--metric",
    "metric_type",
    required=True,
    metavar="METRIC",
    help="What to watch; the short names of `metrics` work.",
)
@click.option(
    "--when",
    "condition",
    type=_condition,
    required=True,
    metavar="CONDITION",
    help='Such as "p95 > 1000 over 5m", or "avg < 0.9 over 1h until 0.95".',
)
@click.option(
    "--severity",
    type=OneOf(AlertSeverity),
    default="warning",
    show_default=True,
    metavar="SEVERITY",
    help="info, warning, error, critical.",
)
@click.option("--description", metavar="TEXT", help="What it means (default: the condition).")
@click.option(
    "--for", "for_ms", type=duration_ms, default="0s", metavar="TIME", help="It must hold so long."
)
@click.option(
    "--cooldown",
    "cooldown_ms",
    type=duration_ms,
    default="5m",
    show_default=True,
    metavar="TIME",
    help="So long after an alert there is no other.",
)
@_labels_option("--match", "match_labels", "Only samples with this label; may be repeated.")
@click.option("--by", multiple=True, metavar="LABEL", help="An alert for each value of this label.")
@_labels_option("--label", "labels", "The alert carries it; may be repeated.")
@click.option("--tenant", "tenant_id", metavar="ID", help="Only samples of this tenant.")
@click.option("--auto-resolve", is_flag=True, help="Resolve the alert when the condition is over.")
@click.option(
    "--no-data",
    type=OneOf(NoDataPolicy),
    default="ignore",
    show_default=True,
    metavar="POLICY",
    help="What it means if there are no samples: ignore, alert, ok.",
)
@click.option("--disabled", is_flag=True, help="Do not evaluate it yet.")
@common_options
def create(
    metric_type: str,
    condition: AlertCondition,
    description: str | None,
    match_labels: tuple[tuple[str, str], ...],
    labels: tuple[tuple[str, str], ...],
    disabled: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
    **fields: Any,
) -> None:
    """Add a rule called NAME. The database is made if there is none."""
    if metric_type == ERROR_RATE:
        raise click.UsageError(
            f"{ERROR_RATE} is computed from another metric: watch {ERROR_RATE_OF} "
            "with --match status=failed"
        )
    printer = Printer()
    short = SHORT_NAMES.get(metric_type)
    with open_for_changes(db, create=True) as service:
        rule_id = service.create_rule(
            description=description or format_condition(condition),
            metric_type=metric_type if short is None else short.metric_type,
            condition=condition,
            match_labels=dict(match_labels),
            labels=dict(labels),
            enabled=not disabled,
            **fields,
        )
        rule = service.get_rule(rule_id)
    assert rule is not None
    if as_json:
        printer.json(rule.to_dict())
    else:
        printer.line((rule_id, "blue"))


@click.command("enable", cls=MonitorCommand)
@click.argument("rule", metavar="RULE")
@common_options
def enable(rule: str, db: str | None, as_json: bool, debug: bool) -> None:
    """Evaluate a rule (again). RULE is its id, the beginning of that, or its name."""
    _switch(db, rule, as_json, enabled=True)


@click.command("disable", cls=MonitorCommand)
@click.argument("rule", metavar="RULE")
@common_options
def disable(rule: str, db: str | None, as_json: bool, debug: bool) -> None:
    """Do not evaluate a rule. RULE is its id, the beginning of that, or its name."""
    _switch(db, rule, as_json, enabled=False)


def _switch(db: str | None, text: str, as_json: bool, *, enabled: bool) -> None:
    printer = Printer()
    with open_for_changes(db) as service:
        rule = service.update_rule(found_rule(service, text), enabled=enabled)
    if as_json:
        printer.json(rule.to_dict())
    else:
        printer.line(f"{'enabled' if enabled else 'disabled'}: {rule.name}")


@click.command("delete", cls=MonitorCommand)
@click.argument("rule", metavar="RULE")
@common_options
def delete(rule: str, db: str | None, as_json: bool, debug: bool) -> None:
    """Delete a rule; its alerts stay. RULE is its id, the beginning of that, or its name."""
    with open_for_changes(db) as service:
        rule_id = found_rule(service, rule)
        service.delete_rule(rule_id)
    printer = Printer()
    if as_json:
        printer.json({"id": rule_id, "deleted": True})
    else:
        printer.line("deleted: ", (rule_id, "blue"))


@click.command("load", cls=MonitorCommand)
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--prune", is_flag=True, help="Delete rules that are no longer in the file.")
@common_options
def load(file: str, dry_run: bool, prune: bool, db: str | None, as_json: bool, debug: bool) -> None:
    """Make the rules in a YAML or TOML FILE those of the database.

    Rules are matched by name with those that came from the file before. All of the file is loaded,
    or, if there is a mistake in it, nothing.
    """
    printer = Printer()
    read_rules_file(file)  # before a database is made
    with open_for_changes(db, create=not dry_run) as service:
        loaded = service.load_rules(file, dry_run=dry_run, prune=prune)
    if as_json:
        printer.json(asdict(loaded))
        return
    for what, names, style in _outcomes(loaded):
        for name in names:
            printer.line((what, style), f" {name}")


def _outcomes(loaded: RulesLoaded) -> list[tuple[str, tuple[str, ...], str]]:
    return [
        ("created", loaded.created, "green"),
        ("updated", loaded.updated, "yellow"),
        ("unchanged", loaded.unchanged, "dim"),
        ("deleted", loaded.deleted, "red"),
        ("no longer in the file", loaded.left_over, "yellow"),
    ]


# -- backtest -------------------------------------------------------------------------------------


@click.command("test", cls=MonitorCommand)
@click.argument("rule", metavar="RULE")
@click.option(
    "--since",
    metavar="TIME",
    default="7d",
    show_default=True,
    help="From: 7d, or 2026-01-31T08:00.",
)
@click.option("--until", metavar="TIME", help="To (default: now); as --since.")
@click.option(
    "--interval",
    "interval_ms",
    type=duration_ms,
    default="1m",
    show_default=True,
    metavar="TIME",
    help="Between two evaluations.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False),
    help="The rule of this name in a file of rules, before it is loaded.",
)
@utc_option
@common_options
def test(
    rule: str,
    since: str,
    until: str | None,
    interval_ms: int,
    file: str | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """When would a rule have fired, over what is stored? RULE is its id or its name."""
    printer = Printer()
    now_ms = SYSTEM_CLOCK.time_ms()
    start = parse_moment(since, now_ms=now_ms, utc=utc, option="--since")
    end = now_ms if until is None else parse_moment(until, now_ms=now_ms, utc=utc, option="--until")
    if start > end or interval_ms < 1:
        raise click.UsageError("--until must not be before --since, and --interval above 0")
    with open_for_reading(db) as store:
        service = AlertingService(store)
        tested = found_rule(service, rule) if file is None else _rule_of_file(file, rule)
        result = service.backtest(tested, start, end, interval_ms=interval_ms)
    if as_json:
        printer.json(result.to_dict())
        return
    printer.line(_summary(result))
    if result.firings:
        printer.table(
            (_firing_row(firing, end, utc=utc) for firing in result.firings), _FIRING_COLUMNS
        )


def _rule_of_file(file: str, name: str) -> AlertRule:
    read = read_rules_file(file)
    if name not in read.rules:
        raise click.ClickException(f"no rule {name!r} in {file}")
    planned = plan(read, [], SYSTEM_CLOCK.time_ms())
    return next(rule for rule in planned.create if rule.name == name)


def _summary(result: Backtest) -> str:
    times = counted(len(result.firings), "time")
    return (
        f"{result.rule.name}: {_what(result.rule)}: fired {times} in "
        f"{counted(result.evaluations, 'evaluation')} of {counted(result.samples, 'sample')}"
    )


_FIRING_COLUMNS: Final = (
    Column("FIRED", keep=True),
    Column("LASTED", keep=True),
    Column("VALUE", keep=True),
    Column("TRIGGERS", keep=True, optional=True),
    Column("LABELS"),
)


def _firing_row(firing: Firing, end: int, *, utc: bool) -> list[Part]:
    lasted = format_duration_ms((firing.cleared_at or end) - firing.triggered_at)
    value = "no data" if firing.value is None else f"{firing.value:g}"
    return [
        (format_time(firing.triggered_at, utc=utc, to_ms=False), "dim"),
        (f"for {lasted}" if firing.cleared_at else f"for {lasted}, still", "bold red"),
        f"at {value}",
        counted(firing.occurrences, "trigger"),
        labels_text(firing.labels).strip(),
    ]


commands: Final[tuple[click.Command, ...]] = (
    rules, create, enable, disable, delete, load, test,
)  # fmt: skip

"""`ax monitor alerts …`: alerts, their history, silences. The commands for rules are beside it."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from ax_monitor.cli import alert_rules
from ax_monitor.cli._alerting import (
    SEVERITY_STYLES,
    found_alert,
    found_rule,
    labels_text,
    open_for_changes,
)
from ax_monitor.cli._options import (
    MonitorCommand,
    OneOf,
    beginning,
    common_options,
    duration_ms,
    label_value,
    open_for_reading,
    row_limit,
    the_one,
    utc_option,
)
from ax_monitor.cli._output import Column, Part, Printer, format_time, note
from ax_monitor.model.alerts import Alert, AlertTransition, Silence
from ax_monitor.model.duration import format_duration_ms
from ax_monitor.model.vocabulary import AlertSeverity, AlertStatus
from ax_monitor.services.alerting import AlertingService
from ax_monitor.storage import alerts as stored_alerts

_STATUS_STYLES: Final = {
    AlertStatus.ACTIVE: "bold red",
    AlertStatus.ACKNOWLEDGED: "yellow",
    AlertStatus.RESOLVED: "green",
}
_OPEN: Final = (AlertStatus.ACTIVE, AlertStatus.ACKNOWLEDGED)


@click.group("alerts")
def command() -> None:
    """See what is wrong, take care of it, and say what to watch."""


for _command in alert_rules.commands:
    command.add_command(_command)


def _user() -> str:
    """Who runs the command."""
    with contextlib.suppress(Exception):  # no such user, no environment
        return getpass.getuser()
    return "unknown"


def _user_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--user", metavar="NAME", help="Who does it (default: you).")(function)


# -- alerts ---------------------------------------------------------------------------------------


@command.command("list", cls=MonitorCommand)
@click.option("--resolved", is_flag=True, help="Those that are resolved, not those that are open.")
@click.option(
    "--severity",
    type=OneOf(AlertSeverity),
    metavar="SEVERITY",
    help="Only these: info, warning, error, critical.",
)
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@click.option(
    "--limit",
    type=row_limit,
    metavar="N",
    default="50",
    show_default=True,
    help='The newest N alerts, or "all".',
)
@utc_option
@common_options
def list_(
    resolved: bool,
    severity: AlertSeverity | None,
    tenant_id: str | None,
    limit: int | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """List alerts that are open, the newest first."""
    printer = Printer()
    with open_for_reading(db) as store:
        service = AlertingService(store)
        alerts = [
            alert
            for status in ((AlertStatus.RESOLVED,) if resolved else _OPEN)
            for alert in service.list_alerts(status, severity, tenant_id, limit)
        ]
    alerts.sort(key=lambda alert: (alert.timestamp, alert.id), reverse=True)
    alerts = alerts[:limit]
    if as_json:
        for alert in alerts:
            printer.json(alert.to_dict())
    elif alerts:
        printer.table((_row(alert, utc=utc) for alert in alerts), _COLUMNS)
    elif printer.is_terminal:
        note(f"no {'resolved' if resolved else 'open'} alerts")


_COLUMNS: Final = (
    Column("SINCE", keep=True, optional=True),
    Column("SEVERITY", keep=True),
    Column("STATUS", keep=True, optional=True),
    Column("ALERT", ids=True),
    Column("WHAT"),
)


def _row(alert: Alert, *, utc: bool) -> list[Part]:
    times = f" ×{alert.occurrences}" if alert.occurrences > 1 else ""
    return [
        (format_time(alert.timestamp, utc=utc, to_ms=False), "dim"),
        (alert.severity.value, SEVERITY_STYLES[alert.severity]),
        (alert.status.value, _STATUS_STYLES[alert.status]),
        (alert.id, "blue"),
        f"{alert.title}{times}: {alert.description}{labels_text(alert.labels)}",
    ]


@command.command("ack", cls=MonitorCommand)
@click.argument("alert_id", metavar="ID")
@_user_option
@common_options
def ack(alert_id: str, user: str | None, db: str | None, as_json: bool, debug: bool) -> None:
    """Take notice of an alert: it stays open. ID is the alert's, or its beginning."""
    with _changed(db, alert_id, as_json, "acknowledged") as (service, found):
        if not service.acknowledge_alert(found, user or _user()):
            raise click.ClickException(_is_already(service, found))


@command.command("resolve", cls=MonitorCommand)
@click.argument("alert_id", metavar="ID")
@_user_option
@common_options
def resolve(alert_id: str, user: str | None, db: str | None, as_json: bool, debug: bool) -> None:
    """Say that an alert is over. ID is the alert's, or its beginning."""
    with _changed(db, alert_id, as_json, "resolved") as (service, found):
        if not service.resolve_alert(found, user or _user()):
            raise click.ClickException(_is_already(service, found))


@contextlib.contextmanager
def _changed(
    db: str | None, alert_id: str, as_json: bool, what: str
) -> Iterator[tuple[AlertingService, str]]:
    """The service and the alert's whole id; then what it has become is printed."""
    printer = Printer()
    with open_for_changes(db) as service:
        found = found_alert(service, alert_id)
        yield service, found
        alert = service.get_alert(found)
    assert alert is not None
    if as_json:
        printer.json(alert.to_dict())
    else:
        printer.line(f"{what}: {alert.title}{labels_text(alert.labels)}")


def _is_already(service: AlertingService, alert_id: str) -> str:
    alert = service.get_alert(alert_id)
    return f"alert {alert_id} is {'gone' if alert is None else f'already {alert.status}'}"


@command.command("history", cls=MonitorCommand)
@click.argument("alert_id", metavar="ID", required=False)
@click.option("--rule", metavar="RULE", help="Of all alerts of this rule (id, beginning, or name).")
@click.option(
    "--limit", type=row_limit, metavar="N", default="50", show_default=True, help="The newest N."
)
@utc_option
@common_options
def history(
    alert_id: str | None,
    rule: str | None,
    limit: int | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """What became of an alert, or of all alerts of a rule; the newest last."""
    if (alert_id is None) == (rule is None):
        raise click.UsageError("give either the ID of an alert or --rule")
    printer = Printer()
    with open_for_reading(db) as store:
        service = AlertingService(store)
        if rule is not None:
            steps = service.get_rule_history(found_rule(service, rule), limit)[::-1]
        else:
            steps = service.get_alert_history(found_alert(service, alert_id or ""))
            steps = steps if limit is None else steps[-limit:]
    if as_json:
        for step in steps:
            printer.json(step.to_dict())
    elif steps:
        printer.table((_step_row(step, utc=utc) for step in steps), _STEP_COLUMNS)


_STEP_COLUMNS: Final = (
    Column("TIME", keep=True, optional=True),
    Column("ALERT", ids=True),
    Column("STATUS", keep=True),
    Column("WHY"),
)


def _step_row(step: AlertTransition, *, utc: bool) -> list[Part]:
    value = "" if step.value is None else f" at {step.value:g}"
    return [
        (format_time(step.timestamp, utc=utc), "dim"),
        (step.alert_id, "blue"),
        (step.to_status.value, _STATUS_STYLES[step.to_status]),
        f"{'by ' + step.actor if step.actor else ''}{value}".strip(),
    ]


# -- silences -------------------------------------------------------------------------------------


@command.command("silence", cls=MonitorCommand)
@click.argument("duration", type=duration_ms)
@click.option("--rule", metavar="RULE", help="Only alerts of this rule (id, beginning, or name).")
@click.option(
    "--severity", type=OneOf(AlertSeverity), metavar="SEVERITY", help="Only of this severity."
)
@click.option(
    "--label",
    "labels",
    type=label_value,
    multiple=True,
    metavar="NAME=VALUE",
    help="Only with this label; may be repeated.",
)
@click.option("--comment", metavar="TEXT", help="Why.")
@_user_option
@common_options
def silence(
    duration: int,
    rule: str | None,
    severity: AlertSeverity | None,
    labels: tuple[tuple[str, str], ...],
    comment: str | None,
    user: str | None,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """Raise no alerts for a DURATION (90s, 30m, 2h), all of them or some."""
    printer = Printer()
    with open_for_changes(db) as service:
        silence_id = service.silence(
            duration_ms=duration,
            rule_id=None if rule is None else found_rule(service, rule),
            severity=severity,
            labels=dict(labels),
            comment=comment,
            created_by=user or _user(),
        )
        (made,) = [each for each in service.list_silences() if each.id == silence_id]
    if as_json:
        printer.json(made.to_dict())
    else:
        printer.line(f"silent for {format_duration_ms(duration)}: ", (silence_id, "blue"))


@command.command("silences", cls=MonitorCommand)
@click.option("--ended", is_flag=True, help="Those that have ended too.")
@utc_option
@common_options
def silences(ended: bool, utc: bool, db: str | None, as_json: bool, debug: bool) -> None:
    """List silences, by their end."""
    printer = Printer()
    with open_for_reading(db) as store:
        found = AlertingService(store).list_silences(ended=ended)
    if as_json:
        for each in found:
            printer.json(each.to_dict())
    elif found:
        printer.table((_silence_row(each, utc=utc) for each in found), _SILENCE_COLUMNS)
    elif printer.is_terminal:
        note("no silences")


_SILENCE_COLUMNS: Final = (
    Column("SILENCE", ids=True),
    Column("FROM", keep=True, optional=True),
    Column("TO", keep=True),
    Column("BY", optional=True),
    Column("WHAT"),
)


def _silence_row(silence: Silence, *, utc: bool) -> list[Part]:
    only = [f"rule {silence.rule_id}"] if silence.rule_id else []
    only += [f"severity {silence.severity}"] if silence.severity else []
    what = f"{' and '.join(only)}{labels_text(silence.labels)}".strip() or "everything"
    return [
        (silence.id, "blue"),
        format_time(silence.starts_at, utc=utc, to_ms=False),
        format_time(silence.ends_at, utc=utc, to_ms=False),
        silence.created_by or "",
        f"{what}: {silence.comment}" if silence.comment else what,
    ]


@command.command("unsilence", cls=MonitorCommand)
@click.argument("silence_id", metavar="ID")
@common_options
def unsilence(silence_id: str, db: str | None, as_json: bool, debug: bool) -> None:
    """End a silence now. ID is the silence's, or its beginning."""
    silence_id = beginning(silence_id)
    with open_for_changes(db) as service:
        ids = service.store.read(
            lambda connection: stored_alerts.silence_ids(connection, silence_id, 2)
        )
        found = the_one(ids, "silence", silence_id)
        if not service.expire_silence(found):
            raise click.ClickException(f"silence {found} has ended already")
    printer = Printer()
    if as_json:
        printer.json({"id": found, "ended": True})
    else:
        printer.line("ended: ", (found, "blue"))

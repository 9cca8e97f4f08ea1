"""What the commands about alerts share: finding things by the beginning of their ids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from ax_monitor.cli._options import beginning, database, existing_database, the_one
from ax_monitor.model.vocabulary import AlertSeverity
from ax_monitor.pipeline.store import Store
from ax_monitor.services.alerting import AlertingService
from ax_monitor.storage import alert_rules, alerts

SEVERITY_STYLES: Final = {
    AlertSeverity.INFO: "",
    AlertSeverity.WARNING: "yellow",
    AlertSeverity.ERROR: "red",
    AlertSeverity.CRITICAL: "bold red",
}


@contextlib.contextmanager
def open_for_changes(db: str | None, *, create: bool = False) -> Iterator[AlertingService]:
    """The database, to write to it; made if it is not there only if that makes sense."""
    with Store(database(db) if create else existing_database(db)) as store:
        yield AlertingService(store)


def found_alert(service: AlertingService, text: str) -> str:
    """The id of the alert whose id this is, or begins so."""
    text = beginning(text)
    ids = service.store.read(lambda connection: alerts.alert_ids(connection, text, 2))
    return the_one(ids, "alert", text)


def found_rule(service: AlertingService, text: str) -> str:
    """The id of the rule whose id this is, or begins so, or whose name it is."""
    text = beginning(text)
    ids = service.store.read(lambda connection: alert_rules.rule_ids(connection, text, 2))
    return the_one(ids, "alert rule", text)


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels behind something else: ` {host=a, disk=sda}`, or nothing."""
    if not labels:
        return ""
    return f" {{{', '.join(f'{name}={value}' for name, value in labels.items())}}}"

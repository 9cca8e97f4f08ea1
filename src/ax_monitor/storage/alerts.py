"""Alerts, their history, and silences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import apsw

from ax_monitor._native import new_id
from ax_monitor.clock import Moment
from ax_monitor.model.alerts import Alert, AlertTransition, Silence, check_labels
from ax_monitor.model.vocabulary import AlertSeverity, AlertStatus
from ax_monitor.storage.alert_rules import as_bytes, parsed_labels, readable, to_json
from ax_monitor.storage.logs import parse_metadata

_ALERT_COLUMNS: Final = (
    "id", "timestamp", "severity", "status", "title", "description", "source", "labels",
    "tenant_id", "acknowledged_by", "acknowledged_at", "resolved_at", "metadata", "occurrences",
    "rule_id", "group_labels", "last_value", "updated_at",
)  # fmt: skip
_ALERTS: Final = f"SELECT {as_bytes(_ALERT_COLUMNS)} FROM alerts WHERE {{}}"
_ALERT: Final = _ALERTS.format("id = ?")
# No ORDER BY: with one, SQLite prepares the statement anew for other values (STAT4), 0.1 ms each.
_OPEN_ALERTS: Final = _ALERTS.format("rule_id = ? AND group_labels = ? AND status <> 'resolved'")
_TRANSITION_COLUMNS: Final = (
    "id", "alert_id", "rule_id", "timestamp", "from_status", "to_status", "value", "actor",
)  # fmt: skip
_TRANSITIONS: Final = f"SELECT {as_bytes(_TRANSITION_COLUMNS)} FROM alert_transitions WHERE {{}}"
_SILENCE_COLUMNS: Final = (
    "id", "starts_at", "ends_at", "rule_id", "severity", "labels", "created_by", "comment",
)  # fmt: skip
_SILENCES: Final = f"SELECT {as_bytes(_SILENCE_COLUMNS)} FROM alert_silences WHERE {{}}"
# By the monotonic clock as long as it is the one of the silence's making, else by the wall clock.
_BY_MONOTONIC: Final = "coalesce(started_boot = :boot AND :boot <> '', false)"
_IN_FORCE: Final = (
    f"CASE WHEN {_BY_MONOTONIC} THEN :mono - started_mono < ends_at - starts_at "
    "ELSE starts_at <= :now AND ends_at > :now END"
)
_NOT_ENDED: Final = f"({_IN_FORCE} OR starts_at > :now AND NOT {_BY_MONOTONIC})"


# -- alerts ---------------------------------------------------------------------------------------


def get_alert(connection: apsw.Connection, alert_id: str) -> Alert | None:
    """The alert; None if there is none of this id."""
    row = connection.execute(_ALERT, (alert_id,)).fetchone()
    return None if row is None else _alert(row)


def find_alerts(
    connection: apsw.Connection,
    *,
    status: AlertStatus | None = None,
    severity: AlertSeverity | None = None,
    tenant_id: str | None = None,
    rule_id: str | None = None,
    limit: int | None = None,
) -> list[Alert]:
    """The alerts that match, the newest first."""
    conditions, values = _alert_conditions(
        status=status, severity=severity, tenant_id=tenant_id, rule_id=rule_id
    )
    rows = connection.execute(
        f"{_ALERTS.format(conditions)} ORDER BY timestamp DESC, rowid DESC LIMIT :limit",
        {**values, "limit": -1 if limit is None else limit},
    )
    return [_alert(row) for row in rows]


def count_active(
    connection: apsw.Connection,
    *,
    severity: AlertSeverity | None = None,
    tenant_id: str | None = None,
) -> int:
    """The number of alerts that nobody has taken notice of."""
    conditions, values = _alert_conditions(
        status=AlertStatus.ACTIVE, severity=severity, tenant_id=tenant_id
    )
    ((count,),) = connection.execute(
        f"SELECT count(*) FROM alerts WHERE {conditions}", values
    ).fetchall()
    assert isinstance(count, int)
    return count


def _alert_conditions(**given: str | None) -> tuple[str, dict[str, str]]:
    values = {name: str(value) for name, value in given.items() if value is not None}
    return " AND ".join(f"{name} = :{name}" for name in values) or "true", values


def alert_ids(connection: apsw.Connection, prefix: str, limit: int) -> list[str]:
    """At most `limit` ids of alerts that begin so."""
    rows = connection.execute(
        "SELECT id FROM alerts WHERE id >= ?1 AND id < ?1 || char(1114111) ORDER BY id LIMIT ?2",
        (prefix, limit),
    )
    return [alert_id for (alert_id,) in rows]


def open_alert(connection: apsw.Connection, rule_id: str, group_labels: str) -> Alert | None:
    """The alert of a rule and group that is not resolved."""
    rows = connection.execute(_OPEN_ALERTS, (rule_id, group_labels)).fetchall()
    return max(map(_alert, rows), key=lambda alert: alert.timestamp, default=None)


def insert_alert(connection: apsw.Connection, alert: Alert, actor: str) -> None:
    """Add an alert, and to the history that it was raised."""
    marks = ", ".join("?" * len(_ALERT_COLUMNS))
    connection.execute(
        f"INSERT INTO alerts({', '.join(_ALERT_COLUMNS)}) VALUES ({marks})",
        (
            alert.id, alert.timestamp, alert.severity.value, alert.status.value, alert.title,
            alert.description, alert.source, to_json(alert.labels), alert.tenant_id,
            alert.acknowledged_by, alert.acknowledged_at, alert.resolved_at,
            _metadata(alert), alert.occurrences, alert.rule_id,
            to_json(alert.group_labels), alert.last_value, alert.updated_at,
        ),
    )  # fmt: skip
    _insert_transition(connection, alert, None, alert.timestamp, alert.last_value, actor)


def count_occurrence(connection: apsw.Connection, alert: Alert) -> None:
    """Store what a further trigger has changed of an alert."""
    connection.execute(
        "UPDATE alerts SET occurrences = ?2, last_value = ?3, updated_at = ?4, description = ?5, "
        "metadata = ?6 WHERE id = ?1",
        (
            alert.id,
            alert.occurrences,
            alert.last_value,
            alert.updated_at,
            alert.description,
            _metadata(alert),
        ),
    )


def _metadata(alert: Alert) -> str:
    return json.dumps(alert.metadata, ensure_ascii=False)


def acknowledge(connection: apsw.Connection, alert_id: str, user_id: str, now_ms: int) -> bool:
    """active → acknowledged; False if the alert is anything but active."""
    alert = get_alert(connection, alert_id)
    if alert is None or alert.status is not AlertStatus.ACTIVE:
        return False
    connection.execute(
        "UPDATE alerts SET status = 'acknowledged', acknowledged_by = ?2, acknowledged_at = ?3 "
        "WHERE id = ?1",
        (alert_id, user_id, now_ms),
    )
    _insert_transition(connection, alert, AlertStatus.ACKNOWLEDGED, now_ms, None, user_id)
    return True


def resolve(
    connection: apsw.Connection,
    alert_id: str,
    now_ms: int,
    *,
    actor: str | None = None,
    value: float | None = None,
) -> bool:
    """active or acknowledged → resolved; False if there is no such alert, or it is resolved."""
    alert = get_alert(connection, alert_id)
    if alert is None or alert.status is AlertStatus.RESOLVED:
        return False
    connection.execute(
        "UPDATE alerts SET status = 'resolved', resolved_at = ?2 WHERE id = ?1", (alert_id, now_ms)
    )
    _insert_transition(connection, alert, AlertStatus.RESOLVED, now_ms, value, actor)
    return True


def delete_resolved(connection: apsw.Connection, before_ms: int, limit: int) -> tuple[int, bool]:
    """Delete at most `limit` alerts that were resolved before a time, with their history.

    Returns how many are gone now, and whether there may be more.
    """
    ids = [
        alert_id
        for (alert_id,) in connection.execute(
            "SELECT id FROM alerts WHERE status = 'resolved' AND timestamp < ?1 "
            "AND coalesce(resolved_at, timestamp) < ?1 LIMIT ?2",
            (before_ms, limit),
        )
    ]
    for table, column in (("alert_transitions", "alert_id"), ("alerts", "id")):
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(i,) for i in ids])
    return len(ids), len(ids) == limit


# -- history --------------------------------------------------------------------------------------


def alert_history(connection: apsw.Connection, alert_id: str) -> list[AlertTransition]:
    """What became of an alert, in the order in which it happened."""
    rows = connection.execute(f"{_TRANSITIONS.format('alert_id = ?')} ORDER BY rowid", (alert_id,))
    return [_transition(row) for row in rows]


def rule_history(
    connection: apsw.Connection, rule_id: str, limit: int | None
) -> list[AlertTransition]:
    """What became of a rule's alerts, the newest first."""
    rows = connection.execute(
        f"{_TRANSITIONS.format('rule_id = ?')} ORDER BY timestamp DESC, rowid DESC LIMIT ?",
        (rule_id, -1 if limit is None else limit),
    )
    return [_transition(row) for row in rows]


def _insert_transition(
    connection: apsw.Connection,
    alert: Alert,
    to_status: AlertStatus | None,
    now_ms: int,
    value: float | None,
    actor: str | None,
) -> None:
    """`to_status` is None for an alert that has just been raised."""
    connection.execute(
        f"INSERT INTO alert_transitions({', '.join(_TRANSITION_COLUMNS)}) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new_id(),
            alert.id,
            alert.rule_id,
            now_ms,
            None if to_status is None else alert.status.value,
            (to_status or alert.status).value,
            value,
            actor,
        ),
    )


# -- silences -------------------------------------------------------------------------------------


def insert_silence(
    connection: apsw.Connection, silence: Silence, started: Moment | None = None
) -> None:
    """Add a silence; `started`: it lasts a while from this moment."""
    connection.execute(
        "INSERT INTO alert_silences(id, starts_at, ends_at, rule_id, severity, labels, "
        "created_by, comment, started_boot, started_mono) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            silence.id, silence.starts_at, silence.ends_at, silence.rule_id, silence.severity,
            to_json(silence.labels), silence.created_by, silence.comment,
            None if started is None else started.boot_id,
            None if started is None else started.monotonic_ms,
        ),
    )  # fmt: skip


def find_silences(
    connection: apsw.Connection, now: Moment, *, in_force: bool = False, ended: bool = False
) -> list[Silence]:
    """The silences that have not ended, by their end; only those in force; or those ended too."""
    condition = _IN_FORCE if in_force else "true" if ended else _NOT_ENDED
    rows = connection.execute(
        f"{_SILENCES.format(condition)} ORDER BY ends_at, id", _moment_values(now)
    )
    silences = (_silence(row) for row in rows)
    return [silence for silence in silences if silence is not None]


def expire_silence(connection: apsw.Connection, silence_id: str, now: Moment) -> bool:
    """End a silence now; False if there is none of this id, or it has ended."""
    connection.execute(
        "UPDATE alert_silences SET starts_at = min(starts_at, :now), ends_at = :now, "
        "started_boot = NULL, started_mono = NULL "
        f"WHERE id = :id AND {_NOT_ENDED}",
        {**_moment_values(now), "id": silence_id},
    )
    return connection.changes() > 0


def silence_ids(connection: apsw.Connection, prefix: str, limit: int) -> list[str]:
    """At most `limit` ids of silences that begin so."""
    rows = connection.execute(
        "SELECT id FROM alert_silences WHERE id >= ?1 AND id < ?1 || char(1114111) "
        "ORDER BY id LIMIT ?2",
        (prefix, limit),
    )
    return [silence_id for (silence_id,) in rows]


def delete_silences(connection: apsw.Connection, before_ms: int) -> int:
    """Delete the silences that ended before a time; how many it were."""
    connection.execute("DELETE FROM alert_silences WHERE ends_at < ?", (before_ms,))
    return connection.changes()


def _moment_values(now: Moment) -> dict[str, Any]:
    return {"now": now.time_ms, "boot": now.boot_id, "mono": now.monotonic_ms}


# -- rows to records ------------------------------------------------------------------------------

# What another program wrote there in words of its own reads as the default.
_SEVERITIES: Final = {severity.value: severity for severity in AlertSeverity}
_STATUSES: Final = {status.value: status for status in AlertStatus}


def _status(text: object) -> AlertStatus:
    return _STATUSES.get(readable(text), AlertStatus.ACTIVE)


def _text(value: object) -> str | None:
    return None if value is None else readable(value)


def _alert(row: Sequence[Any]) -> Alert:
    (alert_id, timestamp, severity, status, title, description, source, labels, tenant_id,
     acknowledged_by, acknowledged_at, resolved_at, metadata, occurrences, rule_id, group_labels,
     last_value, updated_at) = row  # fmt: skip
    return Alert(
        id=readable(alert_id),
        timestamp=timestamp,
        severity=_SEVERITIES.get(readable(severity), AlertSeverity.INFO),
        status=_status(status),
        title=readable(title),
        description=readable(description),
        source=readable(source),
        labels=parsed_labels(labels),
        tenant_id=_text(tenant_id),
        acknowledged_by=_text(acknowledged_by),
        acknowledged_at=acknowledged_at,
        resolved_at=resolved_at,
        metadata=None if metadata is None else parse_metadata(readable(metadata)),
        occurrences=occurrences,
        rule_id=_text(rule_id),
        group_labels={} if group_labels is None else parsed_labels(group_labels),
        last_value=last_value,
        updated_at=updated_at,
    )


def _transition(row: Sequence[Any]) -> AlertTransition:
    transition_id, alert_id, rule_id, timestamp, from_status, to_status, value, actor = row
    return AlertTransition(
        id=readable(transition_id),
        alert_id=readable(alert_id),
        rule_id=_text(rule_id),
        timestamp=timestamp,
        from_status=None if from_status is None else _status(from_status),
        to_status=_status(to_status),
        value=value,
        actor=_text(actor),
    )


def _silence(row: Sequence[Any]) -> Silence | None:
    """None if it can't be told what it covers: it then covers nothing."""
    silence_id, starts_at, ends_at, rule_id, severity, labels, created_by, comment = row
    try:
        return Silence(
            id=readable(silence_id),
            starts_at=starts_at,
            ends_at=ends_at,
            rule_id=_text(rule_id),
            severity=None if severity is None else AlertSeverity.parse(readable(severity)),
            labels=check_labels("labels", json.loads(readable(labels))),
            created_by=_text(created_by),
            comment=_text(comment),
        )
    except (ValueError, RecursionError):
        return None

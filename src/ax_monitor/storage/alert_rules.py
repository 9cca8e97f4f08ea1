"""Alert rules in the database. What another program stored wrong is told apart from the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from ax_monitor.errors import AlertRuleError, StorageError
from ax_monitor.model.alerts import AlertCondition, AlertRule
from ax_monitor.storage.migrations import schema_version

FIRST_VERSION: Final = 4  # of the schema, that has what is needed here

_COLUMNS: Final = (
    "id", "name", "description", "enabled", "metric_type", "condition_operator",
    "condition_threshold", "condition_window_ms", "condition_aggregation", "severity", "labels",
    "cooldown_ms", "created_at", "updated_at", "tenant_id", "match_labels", "group_by", "for_ms",
    "auto_resolve", "no_data", "resolve_threshold", "origin",
)  # fmt: skip


def as_bytes(columns: Iterable[str]) -> str:
    """The columns with every text as bytes: one that is not UTF-8 is not to stop a whole query."""
    return ", ".join(
        f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END"
        for name in columns
    )


_RULES: Final = f"SELECT {as_bytes(_COLUMNS)} FROM alert_rules WHERE {{}} ORDER BY created_at, id"
_RULE: Final = _RULES.format("id = ?")


def check_version(connection: apsw.Connection) -> None:
    """Raise StorageError if the file is from before rules were what they are now.

    It is brought up to date when it is opened for writing; who may only read it can't.
    """
    version = schema_version(connection)
    if version < FIRST_VERSION:
        raise StorageError(
            f"{connection.filename} is from an older ax-monitor (schema version {version}): "
            "open it for writing once, that brings it up to date"
        )


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A stored rule that is none: another program wrote it wrong.

    Args:
        id: Its id.
        name: Its name, as far as it can be read.
        error: What is wrong.
    """

    id: str
    name: str
    error: str


def find_rules(
    connection: apsw.Connection,
    *,
    enabled: bool | None = None,
    metric_type: str | None = None,
    tenant_id: str | None = None,
    origin: str | None = None,
) -> tuple[list[AlertRule], list[BrokenRule]]:
    """The rules that match, in the order of their making; and those that are broken."""
    broken: list[BrokenRule] = []
    rules = iterate_rules(
        connection,
        broken,
        enabled=enabled,
        metric_type=metric_type,
        tenant_id=tenant_id,
        origin=origin,
    )
    return list(rules), broken


def iterate_rules(
    connection: apsw.Connection,
    broken: list[BrokenRule],
    *,
    enabled: bool | None = None,
    **given: str | None,
) -> Iterator[AlertRule]:
    """The rules that match, one after the other; `broken` gets those that are."""
    conditions = [f"{name} = :{name}" for name, value in given.items() if value is not None]
    if enabled is not None:
        conditions.append("enabled" if enabled else "NOT enabled")
    for row in connection.execute(_RULES.format(" AND ".join(conditions) or "true"), given):
        try:
            yield _rule(row)
        except AlertRuleError as error:
            broken.append(BrokenRule(readable(row[0]), readable(row[1]), str(error)))


def get_rule(connection: apsw.Connection, rule_id: str) -> AlertRule | None:
    """The rule; None if there is none of this id.

    Raises:
        AlertRuleError: it is broken.
    """
    row = connection.execute(_RULE, (rule_id,)).fetchone()
    return None if row is None else _rule(row)


def rule_ids(connection: apsw.Connection, text: str, limit: int) -> list[str]:
    """At most `limit` ids of rules whose id begins so, or whose name is this."""
    rows = connection.execute(
        "SELECT id FROM alert_rules WHERE id >= ?1 AND id < ?1 || char(1114111) "
        "UNION SELECT id FROM alert_rules WHERE name = ?1 LIMIT ?2",
        (text, limit),
    )
    return [rule_id for (rule_id,) in rows]


def insert_rule(connection: apsw.Connection, rule: AlertRule) -> None:
    """Add a rule."""
    marks = ", ".join("?" * len(_COLUMNS))
    connection.execute(
        f"INSERT INTO alert_rules({', '.join(_COLUMNS)}) VALUES ({marks})", _row(rule)
    )
    _count_change(connection)


def update_rule(connection: apsw.Connection, rule: AlertRule) -> None:
    """Replace a rule. What it was waiting for (`for_ms`) begins anew."""
    changes = ", ".join(f"{name} = ?{number}" for number, name in enumerate(_COLUMNS, start=1))
    connection.execute(f"UPDATE alert_rules SET {changes} WHERE id = ?1", _row(rule))
    connection.execute(
        "UPDATE alert_states SET phase = 0 WHERE rule_id = ? AND phase = 1", (rule.id,)
    )
    _count_change(connection)


def delete_rule(connection: apsw.Connection, rule_id: str) -> bool:
    """Delete a rule, broken or not; its alerts stay. False if there is none of this id."""
    connection.execute("DELETE FROM alert_rules WHERE id = ?", (rule_id,))
    if not connection.changes():
        return False
    connection.execute("DELETE FROM alert_states WHERE rule_id = ?", (rule_id,))
    _count_change(connection)
    return True


def _count_change(connection: apsw.Connection) -> None:  # this connection runs no triggers
    connection.execute("UPDATE recorder_state SET alert_rules_version = alert_rules_version + 1")


def rules_version(connection: apsw.Connection) -> int:
    """A number that grows with every change of a rule, whoever makes it."""
    ((version,),) = connection.execute("SELECT alert_rules_version FROM recorder_state").fetchall()
    assert isinstance(version, int)
    return version


# -- rows and records -----------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """As it is stored: mappings in the order of their keys, so that equal ones are equal texts."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def readable(value: object) -> str:
    """A stored text, whatever is in it."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _row(rule: AlertRule) -> tuple[Any, ...]:
    condition = rule.condition
    return (
        rule.id, rule.name, rule.description, int(rule.enabled), rule.metric_type,
        str(condition.operator), condition.threshold, condition.window_ms,
        str(condition.aggregation), rule.severity.value, to_json(rule.labels), rule.cooldown_ms,
        rule.created_at, rule.updated_at, rule.tenant_id,
        None if rule.match_labels is None else to_json(rule.match_labels),
        to_json(rule.by) if rule.by else None, rule.for_ms, int(rule.auto_resolve),
        str(rule.no_data), condition.resolve_threshold, rule.origin,
    )  # fmt: skip


def _rule(row: Sequence[Any]) -> AlertRule:
    found = _decoded(row)
    condition = AlertCondition(
        operator=found.pop("condition_operator"),
        threshold=found.pop("condition_threshold"),
        window_ms=found.pop("condition_window_ms"),
        aggregation=found.pop("condition_aggregation"),
        resolve_threshold=found.pop("resolve_threshold"),
    )
    by = found.pop("group_by")
    return AlertRule(
        condition=condition,
        enabled=bool(found.pop("enabled")),
        auto_resolve=bool(found.pop("auto_resolve")),
        labels=_parsed("labels", found.pop("labels")),
        match_labels=_parsed("match_labels", found.pop("match_labels")),
        by=() if by is None else _parsed("group_by", by),
        **found,
    )


def _decoded(row: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in zip(_COLUMNS, row, strict=True):
        try:
            found[name] = value.decode() if type(value) is bytes else value
        except UnicodeDecodeError:
            raise AlertRuleError(f"{name} is not UTF-8") from None
    return found


def _parsed(name: str, text: object) -> Any:
    if text is None:
        return None
    if text == "{}":
        return {}
    try:
        return json.loads(str(text))
    except (ValueError, RecursionError):
        raise AlertRuleError(f"{name} is not JSON") from None


def parsed_labels(text: object) -> dict[str, str]:
    """Stored labels; what is not readable is left out."""
    if text in ("{}", b"{}"):
        return {}
    try:
        value = json.loads(readable(text))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, Mapping):
        return {}
    return {key: item if isinstance(item, str) else to_json(item) for key, item in value.items()}

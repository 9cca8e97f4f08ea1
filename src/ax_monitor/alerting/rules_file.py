"""Alert rules from a file: YAML or TOML, in groups as Prometheus has them.

::

    groups:
      - name: latency
        labels: {team: core}          # of all rules of the group
        rules:
          - alert: Slow requests      # the rule's name, used once in the file
            description: P95 latency is too high
            metric: api.request.duration
            condition: p95 > 1000 over 5m until 800
            severity: critical        # info | warning | error | critical
            for: 2m                   # this and the following need not be given
            cooldown: 10m             # default 5m
            match: {route: /orders}
            by: [region]
            tenant: acme
            labels: {page: "yes"}
            auto_resolve: true        # default false
            no_data: alert            # ignore (default) | alert | ok
            enabled: false            # default: true for a new rule, else as it is
    rules: []                         # rules without a group
    origin: engine                    # what the file is called; default: its name

A condition may also be a mapping with `aggregation`, `operator`, `threshold`, `window` and
`resolve_threshold`. A duration is a text (`90s`, `5m`, `1h30m`) or a number of milliseconds. In
TOML the same are tables: `[[groups]]`, `[[groups.rules]]`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ax_monitor._native import new_id
from ax_monitor.alerting.conditions import parse_condition
from ax_monitor.alerting.yaml_lines import Path, read_yaml
from ax_monitor.errors import AlertRuleError, RulesFileError
from ax_monitor.model._check import shown
from ax_monitor.model.alerts import AlertCondition, AlertRule, check_labels
from ax_monitor.model.duration import parse_duration_ms
from ax_monitor.model.vocabulary import AlertSeverity, NoDataPolicy
from ax_monitor.storage import alert_rules
from ax_monitor.storage.connection import Connection

MAX_BYTES: Final = 16 * 1024 * 1024
DEFAULT_COOLDOWN_MS: Final = 300_000


@dataclass(frozen=True, slots=True)
class RulesFile:
    """What a file says.

    Args:
        origin: What the file is called.
        rules: The fields of each rule, by name; those that the file leaves open are not there.
    """

    origin: str
    rules: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RulesLoaded:
    """What loading a file has done; names of rules.

    Args:
        created: New ones.
        updated: Those that were different.
        unchanged: Those that were the same.
        deleted: Those that are no longer in the file, deleted on request.
        left_over: Those that are no longer in the file, and stay.
    """

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """What has to be done so that the database says what the file says."""

    create: list[AlertRule] = field(default_factory=list)
    update: list[AlertRule] = field(default_factory=list)
    unchanged: list[AlertRule] = field(default_factory=list)
    left_over: list[AlertRule] = field(default_factory=list)

    def summary(self, *, prune: bool) -> RulesLoaded:
        """The names; what is left over is deleted if `prune`."""
        created, updated, unchanged, left_over = (
            tuple(rule.name for rule in rules)
            for rules in (self.create, self.update, self.unchanged, self.left_over)
        )
        return RulesLoaded(
            created=created,
            updated=updated,
            unchanged=unchanged,
            deleted=left_over if prune else (),
            left_over=() if prune else left_over,
        )


def plan(file: RulesFile, existing: Sequence[AlertRule], now_ms: int) -> Plan:
    """Match the file's rules by name with those that came from it before."""
    result = Plan()
    by_name = {rule.name: rule for rule in existing}
    for name, fields in file.rules.items():
        known = by_name.pop(name, None)
        if known is None:
            rule = AlertRule(
                id=new_id(),
                created_at=now_ms,
                updated_at=now_ms,
                origin=file.origin,
                **({"enabled": True} | fields),
            )
            result.create.append(rule)
            continue
        rule = AlertRule(
            id=known.id,
            created_at=known.created_at,
            updated_at=known.updated_at,
            origin=known.origin,
            **({"enabled": known.enabled} | fields),
        )
        if rule == known:
            result.unchanged.append(rule)
        else:
            result.update.append(replace(rule, updated_at=now_ms))
    result.left_over = list(by_name.values())
    return result


def plan_rules(connection: Connection, file: RulesFile, now_ms: int) -> Plan:
    """What storing the rules of a file would do."""
    return plan(file, alert_rules.find_rules(connection, origin=file.origin)[0], now_ms)


def store_rules(connection: Connection, file: RulesFile, now_ms: int, *, prune: bool) -> Plan:
    """Make the rules of a file those of the database, in a transaction; what has been done."""
    rules, broken = alert_rules.find_rules(connection, origin=file.origin)
    planned = plan(file, rules, now_ms)
    gone = [rule.id for rule in broken if rule.name in file.rules]  # made anew
    gone += [rule.id for rule in planned.left_over] if prune else []
    for rule_id in gone:
        alert_rules.delete_rule(connection, rule_id)
    for rule in planned.create:
        alert_rules.insert_rule(connection, rule)
    for rule in planned.update:
        alert_rules.update_rule(connection, rule)
    return planned


def read_rules_file(path: str | os.PathLike[str]) -> RulesFile:
    """Read and check a file.

    Raises:
        RulesFileError: It has mistakes; all of them are listed.
        OSError: It can't be read.
    """
    name = os.path.basename(path)
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise RulesFileError([f"{name}: larger than {MAX_BYTES} bytes"])
    lines: dict[Path, int] = {}
    try:
        text = data.decode("utf-8-sig")
        document = tomllib.loads(text) if name.endswith(".toml") else read_yaml(text, lines)
    except UnicodeDecodeError:
        raise RulesFileError([f"{name}: not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise RulesFileError([f"{name}: {error}"]) from None
    except RulesFileError as error:
        raise RulesFileError([f"{name}:{problem}" for problem in error.problems]) from None
    return _Reader(name, lines).read(document)


class _Reader:
    """Turns the data of one file into fields of rules, and collects what is wrong with it."""

    def __init__(self, name: str, lines: Mapping[Path, int]) -> None:
        self._name = name
        self._lines = lines
        self._problems: list[str] = []

    def read(self, document: object) -> RulesFile:
        top = self._mapping(document, (), "the file", {"groups", "rules", "origin"})
        origin = top.get("origin", self._name)
        if not isinstance(origin, str) or not origin.strip():
            self._problem(("origin",), f"origin must be a text, got {shown(origin)}")
        rules: dict[str, dict[str, Any]] = {}
        for path, data, labels in self._rules(top):
            fields = self._rule(data, path, labels)
            name = fields.get("name")
            if name in rules:
                self._problem((*path, "alert"), f"rule {name!r} is there twice")
            elif isinstance(name, str):
                rules[name] = fields
        if self._problems:
            raise RulesFileError(self._problems)
        return RulesFile(origin, rules)

    def _rules(self, top: Mapping[str, Any]) -> Iterator[tuple[Path, object, dict[str, str]]]:
        for index, data in enumerate(self._list(top.get("rules", []), ("rules",))):
            yield ("rules", index), data, {}
        for index, group in enumerate(self._list(top.get("groups", []), ("groups",))):
            path = ("groups", index)
            found = self._mapping(group, path, "a group", {"name", "labels", "rules"})
            labels = self._converted(found, path, "labels", _labels, "") or {}
            for number, data in enumerate(self._list(found.get("rules", []), (*path, "rules"))):
                yield (*path, "rules", number), data, labels

    def _rule(self, data: object, path: Path, group_labels: dict[str, str]) -> dict[str, Any]:
        keys = {key for key, *_ in _KEYS}
        found = self._mapping(data, path, "a rule", keys)
        if not isinstance(data, Mapping):
            return {}
        name = found.get("alert")
        who = f"rule {name!r}: " if isinstance(name, str) else "a rule: "
        fields: dict[str, Any] = {"cooldown_ms": DEFAULT_COOLDOWN_MS, "labels": {}}
        good = True
        for key, field_name, convert, needed in _KEYS:
            if key in found:
                value = self._converted(found, path, key, convert, who)
                good &= value is not None
                fields[field_name] = value
            elif needed:
                self._problem(path, f"{who}{key} is missing")
                good = False
        if good:
            fields["labels"] = group_labels | fields["labels"]
            try:
                AlertRule(id="", created_at=0, updated_at=0, **({"enabled": True} | fields))
            except AlertRuleError as error:
                self._problem(path, f"{who}{error}")
        return fields

    def _converted(
        self,
        found: Mapping[str, Any],
        path: Path,
        key: str,
        convert: Callable[[object], Any],
        who: str,
    ) -> Any:
        """The value of a key; None if there is none, or it is wrong."""
        if key not in found:
            return None
        try:
            return convert(found[key])
        except ValueError as error:
            self._problem((*path, key), f"{who}{key}: {str(error).removeprefix(f'{key}: ')}")
            return None

    def _mapping(self, data: object, path: Path, what: str, allowed: set[str]) -> Mapping[str, Any]:
        if not isinstance(data, Mapping):
            self._problem(path, f"{what} must be a mapping, got {shown(data)}")
            return {}
        for key in data:
            if key not in allowed:
                self._problem(
                    (*path, key),
                    f"{what} has no {shown(key)}; there are {', '.join(sorted(allowed))}",
                )
        return data

    def _list(self, data: object, path: Path) -> list[Any]:
        if data is None:  # `rules:` with nothing behind it
            return []
        if not isinstance(data, list):
            self._problem(path, f"{path[-1]} must be a list, got {shown(data)}")
            return []
        return data

    def _problem(self, path: Path, text: str) -> None:
        while path and path not in self._lines:
            path = path[:-1]
        line = self._lines.get(path)
        place = self._name if line is None else f"{self._name}:{line}"
        self._problems.append(f"{place}: {text}")


# -- values ---------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a text, got {shown(value)}")
    return value


def _duration(value: object) -> int:
    if isinstance(value, str):
        return parse_duration_ms(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"must be a duration such as 5m, or milliseconds, got {shown(value)}")
    return value


def _condition(value: object) -> AlertCondition:
    if isinstance(value, str):
        return parse_condition(value)
    if isinstance(value, Mapping) and "window" in value and "window_ms" not in value:
        value = {key: item for key, item in value.items() if key != "window"} | {
            "window_ms": _duration(value["window"])
        }
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a text or a mapping, got {shown(value)}")
    return AlertCondition.from_mapping(value)


def _labels(value: object) -> dict[str, str]:
    return check_labels("labels", value)


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"must be a list of label names, got {shown(value)}")
    return tuple(map(_text, value))


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, got {shown(value)}")
    return value


# Key in the file, field of the rule, what makes one of the other, whether it has to be there.
_KEYS: Final[tuple[tuple[str, str, Callable[[object], Any], bool], ...]] = (
    ("alert", "name", _text, True),
    ("description", "description", _text, True),
    ("metric", "metric_type", _text, True),
    ("condition", "condition", _condition, True),
    ("severity", "severity", AlertSeverity.parse, True),
    ("for", "for_ms", _duration, False),
    ("cooldown", "cooldown_ms", _duration, False),
    ("match", "match_labels", _labels, False),
    ("by", "by", _names, False),
    ("tenant", "tenant_id", _text, False),
    ("labels", "labels", _labels, False),
    ("auto_resolve", "auto_resolve", _truth, False),
    ("no_data", "no_data", NoDataPolicy.parse, False),
    ("enabled", "enabled", _truth, False),
)

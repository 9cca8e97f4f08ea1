"""docs/reference/json.md: the keys that it lists are those that commands print, exactly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import ax_monitor
from tests.cli.corpus import OVER_10, Hostile, fill
from tests.cli.helpers import run_here
from tests.cli.test_main import EVERY

pytestmark = pytest.mark.timeout(60)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json.md"
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool,
    "object": dict, "array": list, "null": type(None),
}  # fmt: skip
RULES = """
rules:
  - {alert: Loaded, description: d, metric: m, condition: avg > 10 over 5m, severity: info}
"""


def tables(text: str) -> list[list[str]]:
    rows = re.findall(r"^\| (`.*) \|$", text, re.MULTILINE)
    return [row.split(" | ") for row in rows]


def read_page() -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """The kinds of objects that a command prints, and the keys of each kind with their types."""
    commands, keys = PAGE.read_text().split("\n## Keys\n")
    kinds = {row[0].strip("`"): re.findall(r"\[(.*?)\]", row[2]) for row in tables(commands)}
    types = {}
    for section in keys.split("\n### ")[1:]:
        name, _, body = section.partition("\n")
        types[name] = {row[0].strip("`"): row[1] for row in tables(body)}
        for base in re.findall(r"^An? \[(.*?)\]", body, re.MULTILINE):
            types[name] = types[base] | types[name]
    return kinds, types


KINDS, KEYS = read_page()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    return fill(str(tmp_path_factory.mktemp("json") / "monitor.db"))


def arguments(command: str, filled: Hostile, folder: Path) -> tuple[object, ...]:
    """The command with what it needs."""
    file = folder / "rules.yaml"
    file.write_text(RULES)
    more: dict[str, tuple[object, ...]] = {
        "status": ("--verbose",),
        "traces show": (filled.traces[0],),
        "workflows show": (filled.executions[0],),
        "metrics error_rate": (),
        "costs": ("--by", "model", "--projection", "--budget"),
        "budgets set": ("new", "1"),
        "budgets delete": ("new",),
        "alerts ack": (filled.alerts[0],),
        "alerts resolve": (filled.alerts[0],),
        "alerts history": (filled.alerts[0],),
        "alerts silence": ("1m",),
        "alerts unsilence": (filled.silences[0],),
        "alerts create": ("new", "--metric", "m", "--when", "avg > 1 over 1m"),
        "alerts enable": ("new",),
        "alerts disable": ("new",),
        "alerts delete": ("new",),
        "alerts load": (file,),
        "alerts test": (filled.rules[0], "--since", "1h"),
        "import": ("--dry-run", file),
        "backup": (f"{file}.copy",),
        "cleanup": ("--dry-run",),
    }
    if command == "metrics NAME":
        return "metrics", "hostile"
    return (*command.split(), *more.get(command, ()))


def test_the_keys_are_those_of_the_page(filled: Hostile, tmp_path: Path) -> None:
    """Every object is of a kind that the page names for the command, and every kind appears.

    In the order of the page: what one command makes, another one changes.
    """
    for command, kinds in KINDS.items():
        if command == "alerts ack":  # the corpus has taken notice of all
            filled.alerts[0] = raise_alert(filled.db)
        result = run_here(*arguments(command, filled, tmp_path), "--json", "--db", filled.db)
        assert result.code == 0, (command, result)
        assert result.err == "", command
        seen = set()
        for found in result.objects:
            fitting = [kind for kind in kinds if set(KEYS[kind]) == set(found)]
            assert fitting, (command, sorted(found), kinds)
            seen.add(fitting[0])
            check(found, fitting[0])
        assert seen == set(kinds), command


def raise_alert(db: str) -> str:
    """A new alert; its id."""
    with ax_monitor.open(db) as monitor:
        monitor.metrics.record("again", 20)
        monitor.alerts.create_rule("again", "d", "again", OVER_10, "info")
        (alert,) = monitor.alerts.evaluate_now()
    return alert.id


def check(found: dict[str, Any], kind: str) -> None:
    """The keys of an object and of those in it, and the types of their values."""
    assert list(KEYS[kind]), kind
    assert set(found) == set(KEYS[kind]), kind
    for key, value in found.items():
        stated = KEYS[kind][key]
        inner = re.search(r"\[(.*?)\]\(#", stated)
        if inner is not None:
            for each in value if stated.startswith("array") else [value]:
                check(each, inner[1])
            continue
        allowed = [TYPES[word.split()[0]] for word in stated.split(" or ")]
        assert any(isinstance(value, each) for each in allowed), (kind, key, value)
        assert not isinstance(value, bool) or bool in allowed, (kind, key)


def test_links_lead_somewhere() -> None:
    """Every kind that the page names is described."""
    for name, anchor in re.findall(r"\[([^]]*)\]\(#(.*?)\)", PAGE.read_text()):
        assert anchor == name.replace(" ", "-")
        assert KEYS[name]


def test_every_command_with_json_is_on_the_page() -> None:
    """A new one has to be put there."""
    for name in EVERY:
        if name not in ("sql", "bench") and "--json" in run_here(*name.split(), "--help").out:
            assert any(each == name or each.startswith(f"{name} ") for each in KINDS), name


def test_sql_has_the_columns_of_the_query(filled: Hostile) -> None:
    """Its keys are not ours to list."""
    out = run_here("sql", "SELECT 1 AS one, x'00ff' AS two", "--json", "--db", filled.db).out
    assert json.loads(out) == {"one": 1, "two": "00ff"}

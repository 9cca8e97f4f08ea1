"""Rules from files: what is accepted, every mistake with its place, and loading once more."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import AlertCondition, RulesFileError, RulesLoaded
from ax_monitor.alerting import rules_file
from ax_monitor.alerting.rules_file import read_rules_file
from tests.conftest import FakeClock
from tests.services.alert_helpers import Engine, engine

FULL = """
origin: engine
rules:
  - alert: Alone
    description: without a group
    metric: cpu.usage
    condition: {aggregation: avg, operator: gt, threshold: 90, window: 1m}
    severity: info
groups:
  - name: latency
    labels: &core {team: core, page: "no"}
    rules:
      - &slow
        alert: Slow requests
        description: P95 latency is too high
        metric: api.request.duration
        condition: p95 > 1000 over 5m until 800
        severity: critical
        for: 2m
        cooldown: 10m
        match: {route: /orders}
        by: [region]
        tenant: acme
        labels: {page: "yes"}
        auto_resolve: true
        no_data: alert
        enabled: false
      - <<: *slow
        alert: Slow logins
        match: {route: /login}
        for: 1500
  - name: empty
    rules:
"""
RULE: dict[str, Any] = {
    "description": "d",
    "metric": "m",
    "condition": "avg > 1 over 1m",
    "severity": "info",
}


@pytest.fixture
def one(db: str, clock: FakeClock) -> Iterator[Engine]:
    with engine(db, clock) as made:
        yield made


def written(folder: Path, text: str, name: str = "rules.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rules_yaml(*names: str, **changes: Any) -> str:
    lines = ["rules:"]
    for name in names:
        lines.append(f"- alert: {name}")
        lines += [f"  {key}: {value}" for key, value in (RULE | changes).items()]
    return "\n".join(lines)


def test_everything_that_can_be_written(tmp_path: Path) -> None:
    """Groups with labels, anchors and merges, both forms of a condition, all keys."""
    file = read_rules_file(written(tmp_path, FULL))
    slow = {
        "name": "Slow requests",
        "description": "P95 latency is too high",
        "metric_type": "api.request.duration",
        "condition": AlertCondition("gt", 1000, 300_000, "p95", 800),
        "severity": "critical",
        "for_ms": 120_000,
        "cooldown_ms": 600_000,
        "match_labels": {"route": "/orders"},
        "by": ("region",),
        "tenant_id": "acme",
        "labels": {"team": "core", "page": "yes"},
        "auto_resolve": True,
        "no_data": "alert",
        "enabled": False,
    }
    assert file.origin == "engine"
    assert file.rules == {
        "Alone": {
            "name": "Alone",
            "description": "without a group",
            "metric_type": "cpu.usage",
            "condition": AlertCondition("gt", 90, 60_000, "avg"),
            "severity": "info",
            "labels": {},
            "cooldown_ms": 300_000,
        },
        "Slow requests": slow,
        "Slow logins": slow
        | {"name": "Slow logins", "match_labels": {"route": "/login"}, "for_ms": 1500},
    }


def test_toml_is_the_same(tmp_path: Path) -> None:
    """The same rules in TOML."""
    text = """
    [[groups]]
    name = "latency"
    labels = {team = "core"}
    [[groups.rules]]
    alert = "Slow"
    description = "too slow"
    metric = "m"
    condition = "p95 > 1000 over 5m"
    severity = "error"
    by = ["region"]
    """
    file = read_rules_file(written(tmp_path, text, "rules.toml"))
    assert file.origin == "rules.toml"
    assert file.rules["Slow"]["labels"] == {"team": "core"}
    assert file.rules["Slow"]["by"] == ("region",)
    with pytest.raises(RulesFileError, match=r"^broken.toml: Expected '=' .*line 2"):
        read_rules_file(written(tmp_path, "x = 1\ny 2", "broken.toml"))


MISTAKES = """groups:
  - name: g
    labels: {team: 5}
    rulez: []
    rules:
      - alert: A
        description: d
        metric: m
        condition: p95 above 5 over 5m
        severity: loud
        for: soon
        by: region
        no_data: perhaps
        auto_resolve: "yes"
        color: red
      - alert: B
        metric: ""
        condition: {aggregation: avg, operator: gt, threshold: .inf, window: 5m}
        severity: info
      - alert: C
        description: d
        metric: m
        condition: avg > 1 over 5m until 2
        severity: info
        cooldown: -1
      - just a text
      - alert: C
        description: d
        metric: m
        condition: avg > 1 over 5m
        severity: info
"""


def test_all_mistakes_are_listed_with_their_places(tmp_path: Path) -> None:
    """File, line, rule, key, and what is wrong; all of them at once."""
    with pytest.raises(RulesFileError) as caught:
        read_rules_file(written(tmp_path, MISTAKES))
    found = [problem.split(": ", 1) for problem in caught.value.problems]
    assert sorted(int(place.removeprefix("rules.yaml:")) for place, _ in found) == [
        3, 4, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 23, 25, 26, 27,
    ]  # fmt: skip
    texts = "\n".join(text for _, text in found)
    for part in (
        "a group has no 'rulez'; there are labels, name, rules",
        "labels['team'] must be a text, got 5",
        "rule 'A': condition: unknown Operator 'above'",
        "rule 'A': severity: unknown AlertSeverity 'loud'",
        "rule 'A': for: 'soon' is not a duration",
        "rule 'A': by: must be a list of label names, got 'region'",
        "rule 'A': no_data: unknown NoDataPolicy 'perhaps'",
        "rule 'A': auto_resolve: must be true or false, got 'yes'",
        "a rule has no 'color'",
        "rule 'B': description is missing",
        "rule 'B': metric: must be a text, got ''",
        "rule 'B': condition: threshold must be a finite number, got inf",
        "rule 'C': condition: resolve_threshold of gt must be at most",
        "rule 'C': cooldown: must be a duration such as 5m, or milliseconds, got -1",
        "a rule must be a mapping, got 'just a text'",
        "rule 'C' is there twice",
    ):
        assert part in texts, part
    assert str(caught.value).count("\n") == len(found) - 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: [", "rules.yaml:1: "),
        ("a: b\na: c", "rules.yaml:2: a is there twice"),
        ("- a", "rules.yaml:1: the file must be a mapping, got ['a']"),
        ("", "rules.yaml: the file must be a mapping, got None"),
        ("rules: 5", "rules.yaml:1: rules must be a list, got 5"),
        ("groups: [5]", "rules.yaml:1: a group must be a mapping, got 5"),
        ("origin: 5", "rules.yaml:1: origin must be a text, got 5"),
        ("? [a]\n: b", "rules.yaml:1: a key must be a text"),
        ("rules: !!python/object/apply:os.getcwd []", "rules.yaml:1: "),
        ("rules: &a [*a]", "rules.yaml:1: too many values"),
        ("a: 2026-13-45", "rules.yaml:1: month must be in 1..12"),
        ("[" * 600, "rules.yaml: nested too deeply"),
        ("a: &a [1]\n" + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *{'a' if not n else f'b{n - 1}'}]\n" for n in range(40)), "too many values"),  # noqa: E501 (a bomb)
    ],
)  # fmt: skip
def test_files_that_are_none(
    tmp_path: Path, text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged, hostile or of another shape: one line that says where."""
    monkeypatch.setattr("ax_monitor.alerting.yaml_lines.MAX_VALUES", 10_000)
    with pytest.raises(RulesFileError) as caught:
        read_rules_file(written(tmp_path, text))
    assert problem in caught.value.problems[0]


@given(st.text() | st.binary())
def test_no_file_brings_anything_but_its_mistakes(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    """Whatever the bytes are, there are rules or a RulesFileError."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    path.write_bytes(data)
    with contextlib.suppress(RulesFileError):
        read_rules_file(path)


def test_other_ways_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no UTF-8, too large, no PyYAML."""
    with pytest.raises(FileNotFoundError):
        read_rules_file(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"origin: \xe9")
    with pytest.raises(RulesFileError, match=r"latin.yaml: not UTF-8"):
        read_rules_file(tmp_path / "latin.yaml")
    monkeypatch.setattr(rules_file, "MAX_BYTES", 100)
    with pytest.raises(RulesFileError, match="larger than 100 bytes"):
        read_rules_file(written(tmp_path, "#" * 101))
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(RulesFileError, match=r"YAML needs PyYAML .*ax-monitor\[yaml\]"):
        read_rules_file(written(tmp_path, "rules: []"))


def test_loading_again_changes_nothing(one: Engine, tmp_path: Path) -> None:
    """Rules are matched by name: made, left alone, changed in place, left over, deleted."""
    other = one.rule(name="A")
    path = written(tmp_path, rules_yaml("A", "B"))
    assert one.alerts.load_rules(path, dry_run=True) == RulesLoaded(created=("A", "B"))
    assert len(one.alerts.list_rules()) == 1
    assert one.alerts.load_rules(path) == RulesLoaded(created=("A", "B"))
    rules = {rule.name: rule for rule in one.alerts.list_rules() if rule.id != other}
    assert {rule.origin for rule in rules.values()} == {"rules.yaml"}
    one.clock.advance(1)
    assert one.alerts.load_rules(path) == RulesLoaded(unchanged=("A", "B"))
    assert {rule.id: rule for rule in one.alerts.list_rules()}.items() >= {
        rule.id: rule for rule in rules.values()
    }.items()
    written(tmp_path, rules_yaml("B", "C", severity="error"))
    assert one.alerts.load_rules(path) == RulesLoaded(
        created=("C",), updated=("B",), left_over=("A",)
    )
    changed = one.alerts.get_rule(rules["B"].id)
    assert changed is not None
    assert (changed.severity, changed.updated_at) == ("error", one.clock.now_ms)
    assert one.alerts.load_rules(path, prune=True) == RulesLoaded(
        unchanged=("B", "C"), deleted=("A",)
    )
    assert [rule.name for rule in one.alerts.list_rules()] == ["A", "B", "C"]
    assert one.alerts.get_rule(other) is not None
    assert len(one.events("rule.created")) == 4
    assert one.events("rule.updated") == [rules["B"].id]
    assert one.events("rule.deleted") == [rules["A"].id]


def test_a_file_that_does_not_say_so_switches_nothing_on(one: Engine, tmp_path: Path) -> None:
    """What a person has disabled stays so, unless the file says `enabled`."""
    path = written(tmp_path, rules_yaml("A"))
    one.alerts.load_rules(path)
    (rule,) = one.alerts.list_rules()
    one.alerts.update_rule(rule.id, enabled=False)
    assert one.alerts.load_rules(path) == RulesLoaded(unchanged=("A",))
    assert one.alerts.list_rules(enabled=True) == []
    written(tmp_path, rules_yaml("A", enabled="true"))
    assert one.alerts.load_rules(path) == RulesLoaded(updated=("A",))
    assert len(one.alerts.list_rules(enabled=True)) == 1


def test_a_file_with_a_mistake_changes_nothing(one: Engine, tmp_path: Path) -> None:
    """All or nothing."""
    with pytest.raises(RulesFileError):
        one.alerts.load_rules(written(tmp_path, rules_yaml("A") + "\n- alert: B"))
    assert one.alerts.list_rules() == []
    assert one.heard == []


def test_loaded_rules_fire(one: Engine, tmp_path: Path) -> None:
    """From the file to the alert."""
    one.alerts.load_rules(written(tmp_path, rules_yaml("A", metric="queue.length")))
    (alert,) = one.evaluate(5)
    assert alert.title == "A"

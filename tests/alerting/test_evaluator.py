"""The evaluator: which rules see which series, what they share, and where they are put."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import AlertCondition, AlertRule
from ax_monitor.alerting.evaluator import Evaluator
from ax_monitor.clock import Moment
from ax_monitor.model.metrics import Series
from ax_monitor.storage.alert_states import (
    FIRING,
    INACTIVE,
    PENDING,
    RESOLVE,
    TO_PENDING,
    TRIGGER,
    Outcome,
    RuleState,
)

MINUTE = 28_333_334
NOW_MS = MINUTE * 60_000 + 30_000
NOW = Moment(NOW_MS, "boot", 500_000)


def make_rule(name: str, **changes: Any) -> AlertRule:
    fields: dict[str, Any] = {
        "id": name, "name": name, "description": "d", "enabled": True, "metric_type": "m",
        "condition": AlertCondition("gte", 1, 60_000, "count"), "severity": "info", "labels": {},
        "cooldown_ms": 60_000, "created_at": 0, "updated_at": 0,
    }  # fmt: skip
    return AlertRule(**fields | changes)


def block(*values: float, offset: int = 1000) -> bytes:
    n = len(values)
    return struct.pack(f"<{n}H{n}d", *[offset] * n, *values)


def later(seconds: float) -> Moment:
    return Moment(NOW_MS + int(seconds * 1000), "boot", NOW.monotonic_ms + int(seconds * 1000))


def feed(evaluator: Evaluator, series: Series, *values: float) -> None:
    evaluator.advance(NOW_MS)
    if evaluator.define(series):
        evaluator.feed(series.series, MINUTE, block(*values))


labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xyz"), max_size=2)
tenants = st.sampled_from([None, "s", "t"])


@given(
    rules=st.lists(
        st.tuples(
            st.sampled_from("mn"), labels, tenants, st.lists(st.sampled_from("ab"), unique=True)
        ),
        max_size=12,
    ),
    series=st.lists(st.tuples(st.sampled_from("mn"), labels, tenants), max_size=8),
)
def test_each_rule_sees_the_series_that_it_should(
    rules: list[tuple[str, dict[str, str], str | None, list[str]]],
    series: list[tuple[str, dict[str, str], str | None]],
) -> None:
    """By metric, labels and tenant, in groups: as a comparison of each with each says."""
    made = [
        make_rule(str(n), metric_type=metric, match_labels=match, tenant_id=tenant, by=by)
        for n, (metric, match, tenant, by) in enumerate(rules)
    ]
    evaluator = Evaluator(made)
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    for number, (metric, found, tenant) in enumerate(series):
        feed(evaluator, Series(number, metric, None, found, tenant), 1.0)
        for rule in made:
            if (
                rule.metric_type == metric
                and (rule.match_labels or {}).items() <= found.items()
                and rule.tenant_id in (None, tenant)
            ):
                group = tuple((name, found[name]) for name in sorted(rule.by) if name in found)
                expected[rule.id, group] = expected.get((rule.id, group), 0) + 1
    triggered = {}
    for slot, finding in evaluator.evaluate(NOW):
        assert finding.kind == TRIGGER
        group = finding.group_labels
        key = (finding.rule_id, tuple(json.loads(group).items()))
        assert key not in triggered
        triggered[key] = finding.value
        evaluator.settle(slot, finding, Outcome(RuleState(FIRING, NOW, NOW, 1)), NOW)
    assert triggered == expected


def test_rules_that_look_at_the_same_share_a_window() -> None:
    """A hundred thresholds over one window count each sample once; quantiles come along."""
    rules = [
        make_rule(str(n), condition=AlertCondition("gt", n, 60_000, aggregation))
        for n, aggregation in enumerate(["avg", "p50", "count", "max"] * 25)
    ]
    evaluator = Evaluator(rules)
    assert len(evaluator) == 100
    feed(evaluator, Series(1, "m", None, {}, None), *[50.5] * 9)
    found = [finding.rule_id for _, finding in evaluator.evaluate(NOW)]
    assert found == [str(n) for n in range(100) if n < (9 if n % 4 == 2 else 51)]


def test_a_group_is_known_when_its_first_sample_comes() -> None:
    """No window for a series that is only defined; restored groups exist before any sample."""
    evaluator = Evaluator([make_rule("r", by=["a"], no_data="alert")])
    for value in "xyz":
        evaluator.define(Series(ord(value), "m", None, {"a": value}, None))
    assert len(evaluator) == 0
    assert evaluator.evaluate(NOW) == []
    assert sorted(evaluator.wanted()) == [ord(value) for value in "xyz"]
    states = [
        ("r", '{"a":"y"}', RuleState(FIRING, NOW, NOW, 3)),
        ("r", '{"b":"y"}', RuleState(FIRING, NOW, NOW, 3)),  # the rule had other groups then
        ("gone", "{}", RuleState(FIRING, NOW, NOW, 3)),
    ]
    evaluator.restore(states, NOW, first=True)
    assert len(evaluator) == 1
    ((_, finding),) = evaluator.evaluate(later(61))
    assert (finding.kind, finding.group_labels, finding.triggers) == (TRIGGER, '{"a":"y"}', 3)


def test_what_could_not_be_stored_is_found_again() -> None:
    """Every kind of transition comes back at the next evaluation, with the same beginning."""
    evaluator = Evaluator([make_rule("r", for_ms=10_000, cooldown_ms=0)])
    feed(evaluator, Series(1, "m", None, {}, None), 1.0)
    for _ in range(2):
        ((slot, finding),) = evaluator.evaluate(NOW)
        assert (finding.kind, finding.met_since) == (TO_PENDING, NOW)
        evaluator.settle(slot, finding, None, NOW)
    ((slot, finding),) = evaluator.evaluate(NOW)
    evaluator.settle(slot, finding, Outcome(RuleState(PENDING, NOW)), NOW)
    for seconds in (10, 11):
        ((slot, finding),) = evaluator.evaluate(later(seconds))
        assert (finding.kind, finding.met_since) == (TRIGGER, NOW)
        evaluator.settle(slot, finding, None, later(seconds))
    ((slot, finding),) = evaluator.evaluate(later(12))
    fired = RuleState(FIRING, NOW, later(12), 1)
    evaluator.settle(slot, finding, Outcome(fired), later(12))
    evaluator.clear()
    evaluator.feed(1, MINUTE, block(1.0, offset=0))
    for seconds in (13, 14):
        evaluator.restore([("r", "{}", RuleState(FIRING, NOW, later(12), 1))], NOW, first=False)
        ((slot, finding),) = evaluator.evaluate(later(seconds))
        assert finding.triggers == 1
        evaluator.settle(slot, finding, Outcome(fired), later(seconds))


def test_a_rule_that_was_refused_tries_again() -> None:
    """Silenced, or another was faster: it is met all the same, since when it was."""
    evaluator = Evaluator([make_rule("r", cooldown_ms=0)])
    feed(evaluator, Series(1, "m", None, {}, None), 1.0)
    for seconds in range(3):
        ((slot, finding),) = evaluator.evaluate(later(seconds))
        assert (finding.kind, finding.met_since) == (TRIGGER, NOW)
        evaluator.settle(slot, finding, Outcome(RuleState(INACTIVE, NOW)), later(seconds))
    ((slot, finding),) = evaluator.evaluate(later(4))
    evaluator.settle(slot, finding, Outcome(RuleState(FIRING, NOW, later(3), 5)), later(4))
    ((slot, finding),) = evaluator.evaluate(later(5))
    assert finding.triggers == 5


def test_extreme_numbers_are_no_trouble() -> None:
    """Windows and durations beyond what the kernel counts are as good as endless."""
    huge = 2**63 - 1
    rule = make_rule("r", for_ms=huge, cooldown_ms=huge)
    evaluator = Evaluator([rule, make_rule("w", condition=AlertCondition("gte", 1, huge, "count"))])
    feed(evaluator, Series(1, "m", None, {}, None), 1.0)
    kinds = {finding.rule_id: finding.kind for _, finding in evaluator.evaluate(NOW)}
    assert kinds == {"r": TO_PENDING, "w": TRIGGER}
    assert RESOLVE not in kinds.values()


@pytest.mark.parametrize("since", [NOW, Moment(NOW_MS - 5000, "other boot", 999_999_999)])
def test_times_of_another_boot(since: Moment) -> None:
    """A state of before a reboot is as old as the wall clock says."""
    evaluator = Evaluator([make_rule("r", for_ms=8000)])
    feed(evaluator, Series(1, "m", None, {}, None), 1.0)
    evaluator.restore([("r", "{}", RuleState(PENDING, since))], NOW, first=True)
    early, late = (7, 8) if since is NOW else (2, 3)
    assert evaluator.evaluate(later(early)) == []
    ((_, finding),) = evaluator.evaluate(later(late))
    assert finding.kind == TRIGGER

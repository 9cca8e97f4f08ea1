"""Backtests: what they find is what really would have fired; on real series, where it is wrong."""

from __future__ import annotations

import csv
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ax_monitor
from ax_monitor import AlertRule, AlertRuleError, Backtest
from ax_monitor.alerting.conditions import parse_condition
from tests.conftest import DATA, FakeClock
from tests.services.alert_helpers import METRIC, Engine, condition, engine

METRICS = DATA / "metrics"
WINDOWS: dict[str, list[list[str]]] = json.loads((METRICS / "anomaly_windows.json").read_text())


def time_ms(text: str) -> int:
    return int(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp() * 1000)


def make_rule(condition_text: str, **changes: Any) -> AlertRule:
    fields: dict[str, Any] = {
        "id": "r", "name": "n", "description": "d", "enabled": True, "metric_type": METRIC,
        "condition": parse_condition(condition_text), "severity": "info", "labels": {},
        "cooldown_ms": 3_600_000, "created_at": 0, "updated_at": 0,
    }  # fmt: skip
    return AlertRule(**fields | changes)


@pytest.mark.parametrize(
    ("name", "condition_text", "found"),
    [
        ("realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv", "max > 18 over 10m", {0, 1}),
        ("realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv", "avg > 15.7 over 30m", {0, 1}),
        (
            "realKnownCause/ec2_request_latency_system_failure.csv",
            "max >= 60 over 10m until 50",
            {1, 2},
        ),
    ],
)
def test_a_sensible_rule_fires_at_the_labelled_anomalies(
    db: str, name: str, condition_text: str, found: set[int]
) -> None:
    """Series of real machines, with the times at which people saw that something was wrong."""
    rows = list(csv.reader((METRICS / Path(name).name).read_text().splitlines()))[1:]
    times = np.array([time_ms(row[0]) for row in rows])
    values = np.array([float(row[1]) for row in rows])
    windows = [(time_ms(start), time_ms(end)) for start, end in WINDOWS[name]]
    with ax_monitor.open(db) as monitor:
        assert monitor.metrics.record_many(METRIC, values, times) == len(rows)
        result = monitor.alerts.backtest(
            make_rule(condition_text), int(times[0]), int(times[-1]) + 600_000
        )
    assert result.samples == len(rows)
    assert result.evaluations == (times[-1] + 600_000 - times[0]) // 60_000 + 1
    hits = [
        next((n for n, (start, end) in enumerate(windows) if start <= f.triggered_at <= end), None)
        for f in result.firings
    ]
    assert None not in hits
    assert set(hits) == found


# -- as it really was -----------------------------------------------------------------------------


def lived_through(
    one: Engine, fields: dict[str, Any], steps: list[dict[str, float]], interval_s: int
) -> Backtest:
    """What the service does at every step, in the form of a backtest's firings."""
    rule_id = one.rule(**fields)
    start = one.clock.now_ms
    episodes: list[dict[str, Any]] = []
    still_open: dict[str, dict[str, Any]] = {}
    for step in steps:
        for host, value in step.items():
            one.record(value, labels={"host": host})
        for alert in one.alerts.evaluate_now():
            group = json.dumps(alert.group_labels)
            if group not in still_open:
                still_open[group] = {
                    "labels": alert.group_labels, "triggered_at": one.clock.now_ms,
                    "cleared_at": None, "occurrences": 0, "value": alert.last_value,
                }  # fmt: skip
                episodes.append(still_open[group])
            still_open[group]["occurrences"] += 1
            still_open[group]["last_value"] = alert.last_value
        open_now = {
            json.dumps(alert.group_labels)
            for alert in one.alerts.list_alerts("active", rule_id=rule_id)
        }
        for group in set(still_open) - open_now:
            still_open.pop(group)["cleared_at"] = one.clock.now_ms
        one.clock.advance(interval_s)
    rule = one.alerts.get_rule(rule_id)
    assert rule is not None
    end = start + (len(steps) - 1) * interval_s * 1000
    result = one.alerts.backtest(rule_id, start, end, interval_ms=interval_s * 1000)
    assert [firing.to_dict() for firing in result.firings] == sorted(
        episodes, key=lambda episode: episode["triggered_at"]
    )
    return result


@settings(max_examples=settings().max_examples // 5)
@given(
    steps=st.lists(
        st.dictionaries(st.sampled_from("ab"), st.sampled_from([0.0, 8.0, 20.0])),
        min_size=1,
        max_size=25,
    ),
    interval_s=st.sampled_from([1, 7, 60]),
    fields=st.fixed_dictionaries(
        {
            "by": st.sampled_from([(), ("host",)]),
            "for_ms": st.sampled_from([0, 60_000, 150_000]),
            "cooldown_ms": st.sampled_from([0, 100_000]),
            "no_data": st.sampled_from(["ignore", "alert", "ok"]),
            "auto_resolve": st.just(True),
            "condition": st.builds(
                condition,
                aggregation=st.sampled_from(["avg", "sum", "max", "count", "p95"]),
                window_ms=st.sampled_from([1_000, 60_000, 120_000]),
                resolve_threshold=st.sampled_from([None, 5]),
            ),
        }
    ),
)
def test_a_backtest_finds_what_was_really_raised(
    steps: list[dict[str, float]], interval_s: int, fields: dict[str, Any]
) -> None:
    """Every trigger, repeat and end of a live evaluation, at the same moment, of the same value."""
    with (
        tempfile.TemporaryDirectory() as folder,
        engine(str(Path(folder) / "monitor.db"), FakeClock(1_700_000_000_123)) as one,
    ):
        lived_through(one, fields, steps, interval_s)


def test_samples_count_from_the_evaluation_after_them(db: str, clock: FakeClock) -> None:
    """At half a minute, samples of its other half are the future."""
    clock.now_ms = 1_700_000_040_000  # a whole minute
    with engine(db, clock) as one:
        for second in range(60):
            one.record(1, ago_ms=-1000 * second)
        start = clock.now_ms
        clock.advance(120)
        result = one.alerts.backtest(
            make_rule("sum >= 0 over 1m", cooldown_ms=0), start, start + 60_000, interval_ms=20_000
        )
    (firing,) = result.firings
    assert (firing.value, firing.last_value, firing.occurrences) == (1, 59, 4)
    assert (result.samples, result.evaluations, result.end) == (60, 4, start + 60_000)


def test_what_a_backtest_refuses(db: str, clock: FakeClock) -> None:
    """Unknown rules, times in the wrong order, no interval; no samples are no error."""
    with engine(db, clock) as one:
        rule = make_rule("avg > 5 over 5m", enabled=False)
        result = one.alerts.backtest(rule, 0, 100_000)
        assert (result.firings, result.samples, result.end) == ((), 0, 60_000)
        assert result.to_dict()["rule"]["name"] == "n"
        with pytest.raises(AlertRuleError, match="there is no alert rule 'x'"):
            one.alerts.backtest("x", 0, 1)
        with pytest.raises(ValueError, match="must not end"):
            one.alerts.backtest(rule, 1, 0)
        with pytest.raises(ValueError, match="interval_ms"):
            one.alerts.backtest(rule, 0, 1, interval_ms=0)


def test_a_backtest_changes_nothing(db: str, clock: FakeClock) -> None:
    """No alert, no state, no event; the rule need not be stored, or enabled."""
    with engine(db, clock) as one:
        one.record(20)
        rule_id = one.rule(enabled=False)
        result = one.alerts.backtest(rule_id, clock.now_ms, clock.now_ms)
        assert len(result.firings) == 1
        assert one.alerts.list_alerts() == []
        assert [event for event, _ in one.heard] in ([], ["rule.created"])

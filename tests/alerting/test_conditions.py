"""Conditions and durations as text: there and back, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import AlertCondition, AlertRuleError, Operator
from ax_monitor.alerting.conditions import format_condition, parse_condition
from ax_monitor.model.duration import format_duration_ms, parse_duration_ms
from ax_monitor.model.vocabulary import Aggregation

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.sampled_from(Operator),
    finite,
    st.integers(1, 10**12),
    st.sampled_from(Aggregation),
    st.booleans(),
)
def test_every_condition_is_a_line(
    operator: Operator, threshold: float, window_ms: int, aggregation: Aggregation, resolves: bool
) -> None:
    """What is formatted is parsed as the same condition."""
    resolve = threshold if resolves and operator not in (Operator.EQ, Operator.NEQ) else None
    condition = AlertCondition(operator, threshold, window_ms, aggregation, resolve)
    assert parse_condition(format_condition(condition)) == condition


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("avg>5 over 1m", AlertCondition("gt", 5, 60_000, "avg")),
        ("  p99 lte -1.5e3   over 1h30m ", AlertCondition("lte", -1500, 5_400_000, "p99")),
        ("rate != .5 over 250ms", AlertCondition("neq", 0.5, 250, "rate")),
        ("max >= 1 over 7d until 0", AlertCondition("gte", 1, 604_800_000, "max", 0)),
        ("count == 0 over 5m", AlertCondition("eq", 0, 300_000, "count")),
    ],
)
def test_ways_to_write_a_condition(text: str, condition: AlertCondition) -> None:
    """Signs or words, with blanks or without."""
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not like"),
        ("p95 > over 5m", "is not like"),
        ("p95 > 5", "is not like"),
        ("p95 > 5 over 5m, until 3", "is not like"),
        ("p95 > five over 5m", "is not like"),
        ("p95 > nan over 5m", "is not like"),
        ("p95 > 5 over 5", "'5' is not a duration"),
        ("p95 > 5 over 0s", "window_ms must be"),
        ("p96 > 5 over 5m", "unknown Aggregation 'p96'"),
        ("p95 above 5 over 5m", "unknown Operator 'above'"),
        ("p95 > 5 over 5m until 6", "must be at most the threshold"),
        ("p95 > 1e999 over 5m", "finite"),
        ("x" * 1000, "is not like"),
    ],
)
def test_what_is_no_condition(text: str, message: str) -> None:
    """An AlertRuleError that says what is wrong, and is short."""
    with pytest.raises(AlertRuleError, match=message) as caught:
        parse_condition(text)
    assert len(str(caught.value)) < 250


@given(st.integers(0, 10**13))
def test_durations_round_trip(duration_ms: int) -> None:
    """What is formatted is parsed as the same duration."""
    assert parse_duration_ms(format_duration_ms(duration_ms)) == duration_ms


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "5M", "-5m", "1.5h", "5m ", "٥m", "1y"])
def test_what_is_no_duration(text: str) -> None:
    """Only digits and units, without blanks."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_ms(text)

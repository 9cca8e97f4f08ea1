"""The line through daily costs and its band, against tables, closed forms and simulated series."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor.budgeting.periods import MS_PER_DAY, day_start, period_around
from ax_monitor.budgeting.projection import HISTORY_MIN, Trend, forecast, student_t

# Of any table of Student's t distribution, e.g. Abramowitz & Stegun, table 26.10.
T_TABLE = {
    (0.9, 5): 1.476,
    (0.95, 5): 2.015,
    (0.975, 5): 2.571,
    (0.995, 5): 4.032,
    (0.9, 10): 1.372,
    (0.975, 10): 2.228,
    (0.995, 10): 3.169,
    (0.9, 28): 1.313,
    (0.975, 28): 2.048,
    (0.995, 28): 2.763,
    (0.975, 120): 1.980,
}


@pytest.mark.parametrize(("probability", "freedom"), T_TABLE)
def test_quantiles_of_t(probability: float, freedom: int) -> None:
    """The expansion agrees with the table, on both sides."""
    expected = T_TABLE[probability, freedom]
    assert student_t(probability, freedom) == pytest.approx(expected, rel=0.005)
    assert student_t(1 - probability, freedom) == pytest.approx(-expected, rel=0.005)


@given(st.floats(0, 1e6), st.integers(7, 60), st.integers(1, 90))
def test_equal_days_go_on(cost: float, n: int, days: int) -> None:
    """Days that all cost the same leave no doubt."""
    found = forecast([cost] * n, days, 0.8)
    assert found is not None
    for value in (found.expected, found.low, found.high):
        assert value == pytest.approx(cost * days, rel=1e-6, abs=1e-6)


@given(st.integers(7, 40), st.integers(1, 40), st.floats(0, 100), st.floats(0, 5))
def test_a_straight_line_goes_on(n: int, days: int, level: float, slope: float) -> None:
    """A line without noise is continued, as its closed form says."""
    found = forecast([level + slope * x for x in range(n)], days, 0.9)
    assert found is not None
    exact = days * level + slope * (days * n + days * (days - 1) / 2)
    assert found.expected == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert found.slope == pytest.approx(slope, abs=1e-6)


@given(
    st.lists(st.floats(0, 1000), min_size=7, max_size=60),
    st.integers(1, 60),
    st.floats(0.5, 0.99),
)
def test_the_band_is_that_of_the_general_linear_model(
    costs: list[float], days: int, confidence: float
) -> None:
    """The margin is t · s · sqrt(h + u'(X'X)⁻¹u), where u adds up the rows of the days to come."""
    n = len(costs)
    x = np.column_stack([np.ones(n), np.arange(n)])
    y = np.array(costs)
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    s2 = float(((y - x @ beta) ** 2).sum()) / (n - 2)
    u = np.array([days, sum(range(n, n + days))], dtype=float)
    variance = s2 * (days + u @ np.linalg.inv(x.T @ x) @ u)
    trend = Trend.through(costs)
    assert trend.level == pytest.approx(beta[0], rel=1e-6, abs=1e-6)
    assert trend.slope == pytest.approx(beta[1], rel=1e-6, abs=1e-6)
    assert trend.margin(days, confidence) == pytest.approx(
        student_t((1 + confidence) / 2, n - 2) * math.sqrt(variance), rel=1e-5, abs=1e-4
    )


@given(st.lists(st.floats(0, 1e9), max_size=50), st.integers(1, 60), st.floats(0.01, 0.999))
def test_never_below_zero_and_in_order(costs: list[float], days: int, confidence: float) -> None:
    """0 ≤ low ≤ expected ≤ high, whatever the days were; too few of them say nothing."""
    found = forecast(costs, days, confidence)
    if len(costs) < HISTORY_MIN:
        assert found is None
        return
    assert found is not None
    assert 0 <= found.low <= found.expected <= found.high
    assert len(found.daily) == days
    assert min(found.daily) >= 0


@pytest.mark.parametrize(("n", "days", "confidence"), [(30, 30, 0.8), (10, 7, 0.9), (14, 1, 0.5)])
def test_the_band_covers_what_it_says(n: int, days: int, confidence: float) -> None:
    """Of simulated series with a trend and normal errors, so many end up within the band."""
    draw = random.Random(n * 1000 + days)
    rounds, hits = 2000, 0
    for _ in range(rounds):
        level, slope = draw.uniform(500, 600), draw.uniform(-1, 3)
        series = [level + slope * x + draw.gauss(0, 20) for x in range(n + days)]
        found = forecast(series[:n], days, confidence)
        assert found is not None
        hits += found.low <= sum(series[n:]) <= found.high
    # Four standard deviations of a share.
    tolerance = 4 * math.sqrt(confidence * (1 - confidence) / rounds)
    assert hits / rounds == pytest.approx(confidence, abs=tolerance)


DAYS = "0001-01-01", "9000-01-01"


@given(st.integers(*(int(np.datetime64(day, "D").astype(int)) for day in DAYS)), st.data())
def test_periods_are_those_of_the_calendar(day: int, data: st.DataObject) -> None:
    """As numpy's calendar has them: a moment lies in its period, which is a whole one."""
    moment = day * MS_PER_DAY + data.draw(st.integers(0, MS_PER_DAY - 1))
    assert day_start(moment) == day * MS_PER_DAY
    assert period_around(moment, "day") == (day * MS_PER_DAY, (day + 1) * MS_PER_DAY)
    month = np.datetime64(day, "D").astype("datetime64[M]")
    start, end = (
        (month + np.timedelta64(k, "M")).astype("datetime64[D]").astype(int) for k in (0, 1)
    )
    assert period_around(moment, "month") == (start * MS_PER_DAY, end * MS_PER_DAY)
    start_ms, end_ms = period_around(moment, "week")
    assert start_ms <= moment < end_ms
    assert end_ms - start_ms == 7 * MS_PER_DAY
    assert (start_ms // MS_PER_DAY + 3) % 7 == 0  # the epoch was a Thursday

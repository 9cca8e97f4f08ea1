"""A straight line through daily costs, and how far from it the sum of the next days may be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HISTORY_MIN: Final = 7  # days; of fewer nothing can be said


def student_t(probability: float, freedom: int) -> float:
    """The quantile of Student's t distribution, by the expansion of Abramowitz & Stegun, 26.7.5.

    Within 0.5 % from 5 degrees of freedom on, up to the quantile of 0.995.

    >>> round(student_t(0.975, 10), 3)
    2.228

    Args:
        probability: Above 0 and below 1.
        freedom: Degrees of freedom, at least 1.
    """
    x: float = statistics.NormalDist().inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160,
    )
    return x + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))


@dataclass(frozen=True, slots=True)
class Trend:
    """The line `level + slope * day` through the costs of days 0 to `n - 1`.

    Least squares. The errors of days are taken for independent and alike; where weekends cost less,
    or one day's error tells the next one's, the true band is wider.

    Args:
        n: How many days there were.
        level: The line at day 0.
        slope: How much a day adds.
        error: The standard error of a day, with `n - 2` degrees of freedom.
    """

    n: int
    level: float
    slope: float
    error: float

    @classmethod
    def through(cls, costs: Sequence[float]) -> Trend:
        """The line through these costs, at least 3."""
        n = len(costs)
        middle, mean = (n - 1) / 2, math.fsum(costs) / n
        slope = math.fsum((x - middle) * (y - mean) for x, y in enumerate(costs)) / _spread(n)
        level = mean - slope * middle
        residual = math.fsum((y - level - slope * x) ** 2 for x, y in enumerate(costs))
        return cls(n, level, slope, math.sqrt(residual / (n - 2)))

    def next_days(self, days: int) -> list[float]:
        """What the line says of each of the next days; never less than 0."""
        return [max(0.0, self.level + self.slope * (self.n + j)) for j in range(days)]

    def margin(self, days: int, confidence: float) -> float:
        """How far the sum of the next days may be from that of the line, up or down.

        The prediction interval for a sum of h new observations: its variance is that of their own
        errors and that of the line at their mean day x̄ₕ,

            s² · (h + h² · (1/n + (x̄ₕ - x̄)² / Σ(xᵢ - x̄)²)),

        see Draper & Smith, Applied Regression Analysis, 3rd ed., section 3.1 (there for the mean of
        h observations: s² · (1/h + 1/n + …)). The quantile is Student's, n - 2 degrees of freedom.
        """
        ahead = self.n + (days - 1) / 2 - (self.n - 1) / 2
        variance = days + days**2 * (1 / self.n + ahead**2 / _spread(self.n))
        return student_t((1 + confidence) / 2, self.n - 2) * self.error * math.sqrt(variance)


def _spread(n: int) -> float:
    """Σ(xᵢ - x̄)² of 0 to n - 1."""
    return n * (n * n - 1) / 12


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of the next days: each of them, all together, and a band around that.

    Args:
        daily: Each day's, from the running one on.
        expected: Their sum.
        low: The lower end of the band; never below 0.
        high: Its upper end.
        slope: By how much a day is expected to cost more than the one before.
    """

    daily: tuple[float, ...]
    expected: float
    low: float
    high: float
    slope: float


def forecast(costs: Sequence[float], days: int, confidence: float) -> Forecast | None:
    """The next days after these; None if they are too few to tell.

    Args:
        costs: Of complete days, oldest first.
        days: How many follow, at least 1.
        confidence: How likely the sum is to be within the band.
    """
    if len(costs) < HISTORY_MIN:
        return None
    trend = Trend.through(costs)
    daily = tuple(trend.next_days(days))
    expected, margin = math.fsum(daily), trend.margin(days, confidence)
    return Forecast(daily, expected, max(0.0, expected - margin), expected + margin, trend.slope)

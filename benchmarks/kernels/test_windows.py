"""A window: recording against an empty call of the same shape, and reading against a deque."""

from __future__ import annotations

from collections import deque
from itertools import count

import pytest

from ax_monitor._native import Window
from benchmarks.conftest import Against
from benchmarks.reference import axref

NOW = 1_700_000_000_000
WINDOW_MS = 300_000
SAMPLES = 30_000  # a hundred a second


def _full(quantiles: bool) -> tuple[Window, deque[float]]:
    """A window that is full, and a deque of what is in it."""
    window, values = Window(WINDOW_MS, quantiles=quantiles), deque[float]()
    for i in range(SAMPLES):
        value = float(i * 7919 % 1000 + 1)
        window.record(NOW + i * WINDOW_MS // SAMPLES, value)
        values.append(value)
    return window, values


@pytest.mark.parametrize("quantiles", [False, True], ids=["plain", "quantiles"])
def test_record(against: Against, quantiles: bool) -> None:
    window, times, their_times = Window(WINDOW_MS, quantiles=quantiles), count(NOW), count(NOW)
    empty = axref.Empty()
    against(
        "empty call",
        lambda: empty.record_in_window(next(their_times), 12.5),
        lambda: window.record(next(times), 12.5),
    )


def test_sum_of_60_panes(against: Against) -> None:
    window, values = _full(quantiles=False)
    found = against("sum of a deque", lambda: sum(values), lambda: window.sum(NOW + WINDOW_MS - 1))
    assert found == pytest.approx(sum(values))


def test_quantile_of_60_panes(against: Against) -> None:
    window, values = _full(quantiles=True)
    found = against(
        "sorting a deque",
        lambda: sorted(values)[round(0.95 * SAMPLES)],
        lambda: window.quantile(0.95, NOW + WINDOW_MS - 1),
    )
    assert found == pytest.approx(sorted(values)[round(0.95 * SAMPLES)], rel=0.01)

"""A window: recording against an empty call of the same shape, and reading."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from ax_monitor._native import Window
from benchmarks.reference import axref

NOW = 1_700_000_000_000


def _full(quantiles: bool) -> Window:
    """Five minutes with a thousand samples each second."""
    window = Window(300_000, quantiles=quantiles)
    for i in range(300_000):
        window.record(NOW + i, float(i * 7919 % 1000 + 1))
    return window


@pytest.mark.parametrize("quantiles", [False, True], ids=["plain", "quantiles"])
def test_record(benchmark: Any, quantiles: bool) -> None:
    window, times = Window(300_000, quantiles=quantiles), count(NOW)
    benchmark(lambda: window.record(next(times), 12.5))


def test_empty_call(benchmark: Any) -> None:
    """What `test_record` takes without recording."""
    empty, times = axref.Empty(), count(NOW)
    benchmark(lambda: empty.record_in_window(next(times), 12.5))


def test_sum_of_60_panes(benchmark: Any) -> None:
    window = _full(quantiles=False)
    assert benchmark(window.sum, NOW + 299_999) > 0


def test_quantile_of_60_panes(benchmark: Any) -> None:
    window = _full(quantiles=True)
    assert benchmark(window.quantile, 0.95, NOW + 299_999) > 0

"""Percentiles, and what is called how often."""

from __future__ import annotations

import contextlib
import gc
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor.bench.harness import (
    Effort,
    Series,
    call_times,
    percentile,
    percentile_if_known,
    ratio,
    scratch_folder,
    timer_ns,
)

ENDLESS_S = 1e9
THOUSANDTHS = st.integers(0, 1000)
VALUES = st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=300)


@given(values=VALUES, thousandths=THOUSANDTHS)
def test_a_percentile_is_the_first_value_with_enough_at_or_below_it(
    values: list[int], thousandths: int
) -> None:
    """Nearest rank, by its definition, in exact arithmetic."""
    values.sort()
    share = Fraction(thousandths, 1000)
    model = next(
        value
        for value in values
        if Fraction(sum(each <= value for each in values), len(values)) >= share
    )
    assert percentile(values, thousandths / 1000) == model


@given(values=VALUES, low=THOUSANDTHS, high=THOUSANDTHS)
def test_percentiles_are_ordered(values: list[int], low: int, high: int) -> None:
    """A larger share has no smaller percentile, and the ends are the extremes."""
    values.sort()
    low, high = sorted((low, high))
    assert percentile(values, low / 1000) <= percentile(values, high / 1000)
    assert percentile(values, 0) == values[0]
    assert percentile(values, 1) == values[-1]


@pytest.mark.parametrize(
    ("share", "needed"), [(0.5, 20), (0.95, 200), (0.99, 1000), (0.999, 10_000)]
)
def test_a_percentile_takes_ten_calls_beyond_it(share: float, needed: int) -> None:
    """With one call less it is not told."""
    assert percentile_if_known(range(needed), share) == round(needed * share) - 1
    assert percentile_if_known(range(needed - 1), share) is None
    assert percentile_if_known([], share) is None


def test_calls_end_with_their_number() -> None:
    """Each has its number, and is prepared before; figures are ascending."""
    done: list[tuple[str, int]] = []
    taken = call_times(
        lambda number: done.append(("call", number)),
        Effort(calls=5, enough=0, seconds=ENDLESS_S, at_most_s=ENDLESS_S),
        before=lambda number: done.append(("before", number)),
    )
    assert done == [(what, number) for number in range(5) for what in ("before", "call")]
    assert len(taken) == 5
    assert taken == sorted(taken)


@pytest.mark.parametrize(
    ("enough", "at_most_s", "calls"), [(0, ENDLESS_S, 1), (7, ENDLESS_S, 7), (7, 0.0, 1)]
)
def test_calls_end_with_their_time(enough: int, at_most_s: float, calls: int) -> None:
    """After the time that they may take, but not before there are enough; then at the latest."""
    effort = Effort(calls=100, enough=enough, seconds=0.0, at_most_s=at_most_s)
    assert len(call_times(lambda number: None, effort)) == calls


def test_calls_keep_to_their_pace() -> None:
    """Fifty a millisecond: five hundred take nine at least."""
    seen: list[int] = []
    effort = Effort(calls=500, enough=0, seconds=ENDLESS_S, at_most_s=ENDLESS_S)
    call_times(lambda number: seen.append(time.perf_counter_ns()), effort, per_ms=50)
    assert seen[-1] - seen[0] >= 9_000_000


def test_the_garbage_collector_stays_on() -> None:
    """Its pauses are part of real life."""
    assert gc.isenabled()
    effort = Effort(calls=1, enough=0, seconds=ENDLESS_S, at_most_s=ENDLESS_S)
    is_on: list[bool] = []
    call_times(lambda number: is_on.append(gc.isenabled()), effort)
    assert is_on == [True]
    assert timer_ns(100) >= 0


def test_a_scratch_folder_is_gone_afterwards(tmp_path: Path) -> None:
    """With all that is in it, also after an error."""
    with contextlib.suppress(KeyError), scratch_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "monitor.db").write_bytes(b"x")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_ratios_are_taken_repeat_by_repeat() -> None:
    """Not of the medians; the spread is relative."""
    found = ratio(Series([2.0, 8.0, 6.0]), Series([1.0, 2.0, 2.0]))
    assert found.values == [2.0, 4.0, 3.0]
    assert found.median == 3.0
    assert Series([1.0, 2.0, 3.0, 4.0, 5.0]).spread == pytest.approx(0.5)

"""Windows against lists of samples: what they hold at any time, and what they leave out."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ax_monitor._native import Window
from tests.window_oracles import WindowModel, is_near, is_sum

NOW = 1_700_000_000_000
lengths = st.integers(1, 400) | st.sampled_from([1000, 1009, 5000, 60_000, 300_000, 3_600_000])
values = st.floats(-1e300, 1e300) | st.floats(1e-3, 1e6) | st.integers(-5, 5).map(float)


def model_of(window: Window) -> WindowModel:
    return WindowModel(window.pane_ms, window.panes, window.ahead)


def agree(window: Window, model: WindowModel, t: int) -> None:
    """Every aggregate of the window at time t is that of the list."""
    held = sorted(model.values(t))
    assert window.count(t) == len(held)
    assert is_sum(window.sum(t), held)
    if not held:
        assert window.avg(t) is window.min(t) is window.max(t) is window.quantile(0.5, t) is None
        return
    assert window.avg(t) == window.sum(t) / len(held)
    assert (window.min(t), window.max(t)) == (held[0], held[-1])
    for p in (0, 0.01, 0.5, 0.95, 0.99, 1):
        quantile = window.quantile(p, t)
        assert quantile is not None
        assert is_near(quantile, held[max(math.ceil(len(held) * p), 1) - 1])


class WindowMachine(RuleBasedStateMachine):
    """Samples in any order, clocks that jump, and readings of any time."""

    @initialize(window_ms=lengths)
    def start(self, window_ms: int) -> None:
        self.window = Window(window_ms, quantiles=True)
        self.model = model_of(self.window)
        self.now = NOW

    def near(self, panes: float) -> int:
        return self.now + int(panes * self.window.pane_ms)

    @rule(panes=st.floats(-70, 3), value=values)
    def record(self, panes: float, value: float) -> None:
        t = self.near(panes)
        assert self.window.record(t, value) == self.model.record(t, value)

    @rule(
        panes=st.floats(-100, 500),
        spread=st.integers(0, 40),
        count=st.integers(1, 400),
        sigma=st.sampled_from([0, 1, 100]),
        seed=st.integers(0, 99),
    )
    def record_many(self, panes: float, spread: int, count: int, sigma: float, seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(count):
            t = self.near(panes + chosen.uniform(-spread, spread))
            value = math.copysign(chosen.lognormvariate(0, sigma), chosen.random() - 0.3)
            assert self.window.record(t, value) == self.model.record(t, value)

    @rule(value=st.sampled_from([math.nan, math.inf, -math.inf]))
    def record_what_is_no_number(self, value: float) -> None:
        assert not self.window.record(self.now, value)
        assert not self.model.record(self.now, value)

    @rule(panes=st.floats(0, 30) | st.floats(-600, 600), tell=st.booleans())
    def pass_time(self, panes: float, tell: bool) -> None:
        self.now = self.near(panes)
        if tell:
            self.window.advance(self.now)
            self.model.advance(self.now)

    @precondition(lambda self: self.model.clock is not None)
    @rule(years=st.sampled_from([-10, 10]), value=values)
    def jump_and_return(self, years: int, value: float) -> None:
        """Samples and readings of another time do not disturb what there is."""
        there = self.now + years * 365 * 86_400_000
        assert self.window.record(there, value) == self.model.record(there, value)
        self.window.advance(there)
        agree(self.window, self.model, there)
        self.window.advance(self.model.clock * self.window.pane_ms)

    @rule(panes=st.floats(-100, 600))
    def read(self, panes: float) -> None:
        agree(self.window, self.model, self.near(panes))

    @rule()
    def clear(self) -> None:
        self.window.clear()
        self.model.kept = {}

    @invariant()
    def counts(self) -> None:
        assert self.window.late == self.model.late
        assert self.window.future == self.model.future
        assert self.window.rejected == self.model.rejected
        agree(self.window, self.model, self.now)


TestWindowMachine = WindowMachine.TestCase
TestWindowMachine.settings = settings(stateful_step_count=25)


# -- panes and edges -------------------------------------------------------------------------------


@given(st.integers(1, 10**7) | st.integers(1, 2**60))
def test_how_a_window_is_cut(window_ms: int) -> None:
    """Up to 60 panes of one width, that make the window exactly where a number from 30 to 60
    divides it, and else miss less than one of them."""
    window = Window(window_ms)
    assert 1 <= window.panes <= 60
    assert window_ms - window.pane_ms < window.panes * window.pane_ms <= window_ms
    if window_ms <= 60:
        assert window.pane_ms == 1
    elif any(window_ms % n == 0 for n in range(30, 61)):
        assert window.panes * window.pane_ms == window_ms
    assert window.panes >= min(window_ms, 30)


@pytest.mark.parametrize(
    ("window_ms", "panes"), [(1000, 50), (10_000, 50), (60_000, 60), (300_000, 60), (3_600_000, 60)]
)
def test_usual_windows_are_cut_evenly(window_ms: int, panes: int) -> None:
    """Round lengths are held exactly."""
    window = Window(window_ms)
    assert (window.panes, window.panes * window.pane_ms) == (panes, window_ms)


@given(lengths, st.lists(st.integers(0, 2**20), min_size=1, max_size=60), st.integers(0, 10**7))
def test_the_edge(window_ms: int, ages: list[int], offset: int) -> None:
    """A window holds nothing that is as old as it is long, misses less than a pane of what is
    younger (two, if it cannot be cut evenly), and nothing at the last millisecond of a pane."""
    window = Window(window_ms)
    t = NOW + offset
    window.advance(t)
    ages = [age % (2 * window_ms) for age in ages]
    for age in ages:
        window.record(t - age, 1.0)
    held = window.panes * window.pane_ms
    assert window.count(t) <= sum(age < held for age in ages)
    assert window.count(t) >= sum(age <= held - window.pane_ms for age in ages)
    if (t + 1) % window.pane_ms == 0:
        assert window.count(t) == sum(age < held for age in ages)


@given(st.integers(1, 400), st.lists(st.integers(0, 400), max_size=60))
def test_the_edge_at_the_end_of_a_pane(window_ms: int, ages: list[int]) -> None:
    """There the window is (t − W, t] for every W that is cut evenly."""
    window = Window(window_ms)
    t = NOW // window.pane_ms * window.pane_ms - 1
    window.advance(t)
    for age in ages:
        window.record(t - age, 1.0)
    assert window.count(t) == sum(age < window.panes * window.pane_ms for age in ages)


def test_times_before_the_epoch() -> None:
    """Panes are rounded down there too."""
    window = Window(60_000)
    for t in range(-120_000, 0, 500):
        window.record(t, 1.0)
    assert (window.count(-1), window.count(-1001), window.count(59_999)) == (120, 118, 0)
    early = Window(60_000)
    early.record(-1, 1.0)
    assert (early.count(-1001), early.count(-1000), early.count(58_999), early.count(59_000)) == (
        0,
        1,
        1,
        0,
    )


# -- any order -------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 59_999), values), max_size=80), st.randoms())
def test_the_order_of_samples_does_not_matter(
    samples: list[tuple[int, float]], chosen: random.Random
) -> None:
    """Within the window, late samples count as if they had come in time."""
    window, shuffled = Window(60_000, quantiles=True), Window(60_000, quantiles=True)
    start = NOW // 60_000 * 60_000
    for offset, value in sorted(samples):
        window.advance(start + 59_999)
        window.record(start + offset, value)
    chosen.shuffle(samples)
    shuffled.advance(start + 59_999)
    for offset, value in samples:
        assert shuffled.record(start + offset, value)
    t = start + 59_999
    assert window.count(t) == shuffled.count(t) == len(samples)
    assert (window.min(t), window.max(t)) == (shuffled.min(t), shuffled.max(t))
    assert is_sum(shuffled.sum(t), [value for _, value in samples])
    for p in (0, 0.5, 0.99):
        assert window.quantile(p, t) == shuffled.quantile(p, t)


def test_late_samples_are_counted_apart() -> None:
    """What has left the window when it comes is left out, to the millisecond."""
    window = Window(60_000)
    now = NOW // 1000 * 1000 + 500
    window.advance(now)
    assert window.record(now - 500 - 59_000, 1.0)
    assert not window.record(now - 500 - 59_001, 1.0)
    assert (window.late, window.future, window.count(now)) == (1, 0, 1)


def test_samples_ahead_of_the_clock_count_when_their_time_comes() -> None:
    """Up to two minutes ahead they wait; further ahead they are left out and counted."""
    window = Window(60_000, quantiles=True)
    now = NOW // 1000 * 1000
    window.advance(now)
    assert window.record(now + 1000, 1.0)
    assert window.record(now + 120_999, 2.0)
    assert not window.record(now + 121_000, 3.0)
    assert (window.future, window.late) == (1, 0)
    assert window.count(now) == 0
    assert window.quantile(0.5, now) is None
    window.advance(now + 1000)
    assert (window.count(now + 1000), window.quantile(0.5, now + 1000)) == (1, 1.0)
    assert window.record(now + 121_000, 3.0)
    assert window.count(now + 121_000) == 2


def test_short_windows_keep_fewer_milliseconds_ahead() -> None:
    """The memory for what is ahead is bounded: 450 panes."""
    assert [Window(ms).ahead * Window(ms).pane_ms for ms in (60, 1000, 10_000, 3_600_000)] == [
        450,
        9000,
        90_000,
        120_000,
    ]


def test_a_sample_from_a_wrong_clock_does_not_empty_the_window() -> None:
    """A year ahead, a year ago: left out, and what is there stays."""
    window = Window(60_000, quantiles=True)
    window.advance(NOW)
    window.record(NOW, 5.0)
    year = 365 * 86_400_000
    assert not window.record(NOW + year, 1.0)
    assert not window.record(NOW - year, 1.0)
    assert (window.count(NOW), window.quantile(0.5, NOW)) == (1, 5.0)


def test_t1_the_clock_jumps_back() -> None:
    """An hour back: what lies in the future does not count, new samples do at once; a jump there
    and back loses nothing."""
    window = Window(60_000, quantiles=True)
    window.advance(NOW)
    for second in range(60):
        window.record(NOW - second * 1000, 7.0)
    hour = 3_600_000
    window.advance(NOW - hour)
    assert window.count(NOW - hour) == 0
    window.advance(NOW)
    assert (window.count(NOW), window.quantile(0.5, NOW)) == (60, 7.0)
    window.advance(NOW - hour)
    assert window.record(NOW - hour, 1.0)
    assert (window.count(NOW - hour), window.quantile(0.5, NOW - hour)) == (1, 1.0)
    assert window.future == 60


def test_a_small_jump_back_loses_nothing() -> None:
    """Half a minute back, with samples going on: everything counts once its time comes again."""
    window = Window(60_000)
    window.advance(NOW)
    for second in range(60):
        window.record(NOW - second * 1000, 1.0)
    window.advance(NOW - 30_000)
    for second in range(30):
        window.record(NOW - 30_000 + second * 1000, 1.0)
    window.advance(NOW)
    assert (window.count(NOW), window.future, window.late) == (90, 0, 0)


def test_the_clock_jumps_forward_10_years() -> None:
    """The window is empty at once, takes what comes, and nothing is counted as late for it."""
    window = Window(300_000, quantiles=True)
    window.advance(NOW)
    for _ in range(100):
        window.record(NOW, 1.0)
    later = NOW + 10 * 365 * 86_400_000
    assert window.count(later) == 0
    window.advance(later)
    assert window.record(later, 2.0)
    assert (window.count(later), window.quantile(1, later), window.late) == (1, 2.0, 0)
    assert window.count(NOW) == 0


# -- sums and quantiles ----------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 1e300) | st.floats(0, 1e-3) | st.floats(1, 10), max_size=200),
    st.integers(1, 300),
)
def test_sums_are_within_one_unit_in_the_last_place(many: list[float], step: int) -> None:
    """For values of one sign, of whatever sizes, also after panes have gone."""
    window = Window(6000)
    for i, value in enumerate(many):
        window.record(NOW + i * step, value)
    t = NOW + len(many) * step
    newest = t // 100
    held = [v for i, v in enumerate(many) if newest - 60 < (NOW + i * step) // 100 <= newest]
    true = math.fsum(held)
    assert abs(window.sum(t) - true) <= math.ulp(true)


def test_sums_do_not_drift() -> None:
    """After a day of panes with enormous values among small ones, the sum is that of the rest."""
    window = Window(60_000)
    t = NOW
    for i in range(86_400):
        t = NOW + i * 1000
        window.record(t, 1e18 if i % 977 == 0 else 0.1)
    held = [1e18 if i % 977 == 0 else 0.1 for i in range(86_340, 86_400)]
    assert is_sum(window.sum(t), held)
    for i in range(86_400, 86_400 + 977):
        t = NOW + i * 1000
        window.record(t, 0.1)
    assert window.sum(t) == pytest.approx(6.0, rel=1e-15)


def test_sums_beyond_the_range_of_a_double() -> None:
    """They are infinite, and right again once what caused it has gone."""
    window = Window(1000, quantiles=True)
    for _ in range(3):
        window.record(NOW, 1.7e308)
    assert (window.sum(NOW), window.avg(NOW), window.max(NOW)) == (math.inf, math.inf, 1.7e308)
    window.record(NOW + 1500, 2.0)
    assert window.sum(NOW + 1500) == window.quantile(0.5, NOW + 1500) == 2.0


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_of_many_samples(seed: int) -> None:
    """With hundreds of samples a pane, some late, the keys of panes are packed and unpacked again
    and again, and quantiles stay within the bound at every time."""
    chosen = random.Random(seed)
    window = Window(6000, quantiles=True)
    model = model_of(window)
    t = NOW
    for i in range(20_000):
        t = NOW + i
        window.advance(t)
        model.advance(t)
        at = t - (chosen.randrange(5900) if i % 10 == 0 else 0)
        value = math.copysign(chosen.lognormvariate(0, 4), chosen.random() - 0.3)
        assert window.record(at, value) == model.record(at, value)
        if i % 4000 == 3999:
            agree(window, model, t)
            agree(window, model, t - 500)
            agree(window, model, t + 2000)
    agree(window, model, t + 5899)
    assert window.count(t + 6100) == 0


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 2**60 + 1])
def test_windows_without_a_length_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="window_ms must be at least 1"):
        Window(wrong)


def test_b10_times_far_off_are_refused() -> None:
    """A time that could overflow is a ValueError; one that is merely odd is late or future."""
    window = Window(1000)
    calls: list[Any] = [
        lambda t: window.record(t, 1.0),
        window.advance,
        window.count,
        window.sum,
        lambda t: window.quantile(0.5, t),
    ]
    for call in calls:
        for t in (2**60 + 1, -(2**60) - 1):
            with pytest.raises(ValueError, match="within 2\\^60 ms of the epoch"):
                call(t)
    window.advance(2**60)
    assert window.record(2**60, 1.0)
    assert window.count(2**60) == 1
    window.advance(-(2**60))
    assert window.record(-(2**60), 1.0)
    assert window.count(-(2**60)) == 1


def test_quantiles_must_be_asked_for() -> None:
    """A window made without them has none; and p is a share."""
    with pytest.raises(ValueError, match="without quantiles"):
        Window(1000).quantile(0.5, NOW)
    with pytest.raises(ValueError, match=r"between 0\.0 and 1\.0"):
        Window(1000, quantiles=True).quantile(1.5, NOW)


def test_recording_and_reading_allocate_nothing() -> None:
    """No Python object is left behind."""
    window = Window(60_000, quantiles=True)
    for i in range(1000):
        window.record(NOW + i, 1.0)
    before = sys.getallocatedblocks()
    for i in range(20_000):
        window.record(NOW + i * 10, 1.0)
        window.sum(NOW + i * 10)
    assert abs(sys.getallocatedblocks() - before) < 20

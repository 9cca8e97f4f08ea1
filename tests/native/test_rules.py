"""Rules over windows: the state machine against a plain model, on clocks that jump."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ax_monitor import Aggregation, Operator
from ax_monitor._native import RULE_AGGREGATIONS, RULE_NO_DATA, RULE_OPERATORS, RuleTable, Window
from tests.window_oracles import (
    AGGREGATIONS,
    ALERT,
    CLEAR,
    FIRING,
    IGNORE,
    INACTIVE,
    OK,
    PENDING,
    RESOLVE,
    TO_PENDING,
    TRIGGER,
    RuleModel,
    WindowModel,
    block,
    is_near,
)

NOW = 1_700_000_000_000 // 60_000 * 60_000
MINUTE = NOW // 60_000
GT, GTE, LT, LTE, EQ, NEQ = range(6)
AVG, SUM, MIN, MAX, COUNT, P50, P95, P99, RATE = range(9)
YEARS = 10 * 365 * 86_400_000
measures_memory = pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer has memory of its own"
)
durations = st.sampled_from([0, 0, 1, 1000, 5000, 60_000])


def one_rule(**options: Any) -> RuleTable:
    """A rule on the maximum of a minute of series 1: above 10, unless said otherwise."""
    table = RuleTable()
    window = table.add_window(options.pop("window_ms", 60_000))
    table.watch(1, window)
    table.add_rule(window, **{"operator": GT, "aggregation": MAX, "threshold": 10.0, **options})
    return table


def transitions(found: list[tuple[int, int, float]]) -> list[int]:
    return [transition for _, transition, _ in found]


class Pass:
    """A table with one rule on a window of a millisecond: a value and a time make a pass."""

    def __init__(self, **options: Any) -> None:
        self.table = one_rule(window_ms=1, **options)
        self.wall = NOW

    def __call__(self, value: float | None, monotonic: int) -> list[int]:
        self.wall += 1
        if value is not None:
            assert self.table.add(1, self.wall, value) == 1
        return transitions(self.table.evaluate(self.wall, monotonic))


# -- the state machine -----------------------------------------------------------------------------


class RuleMachine(RuleBasedStateMachine):
    """Several rules on several windows over several series, with everything that can happen."""

    @initialize(
        windows=st.lists(st.sampled_from([1000, 5000, 60_000, 300_000]), min_size=1, max_size=4)
    )
    def start(self, windows: list[int]) -> None:
        self.table = RuleTable()
        self.windows: list[WindowModel] = []
        self.watching: dict[int, set[int]] = {series: set() for series in range(3)}
        self.rules: dict[int, tuple[int, RuleModel]] = {}
        self.slots = 0
        self.wall, self.monotonic, self.told = NOW, 1000, False
        for window_ms in windows:
            self.add_window(window_ms)

    @rule(window_ms=st.sampled_from([1000, 60_000]))
    def add_window(self, window_ms: int) -> None:
        twin = Window(window_ms)
        assert self.table.add_window(window_ms, True) == len(self.windows)
        self.windows.append(WindowModel(twin.pane_ms, twin.panes, twin.ahead))
        self.watch(len(self.windows) % 3, len(self.windows) - 1)

    @rule(series=st.integers(0, 2), window=st.integers(0, 9))
    def watch(self, series: int, window: int) -> None:
        self.table.watch(series, window % len(self.windows))
        self.watching[series].add(window % len(self.windows))

    @rule(
        window=st.integers(0, 9),
        operator=st.integers(0, 5),
        aggregation=st.sampled_from([AVG, SUM, MIN, MAX, COUNT, RATE]),
        threshold=st.integers(-3, 6),
        hysteresis=st.none() | st.integers(0, 4),
        for_ms=durations,
        cooldown_ms=durations,
        no_data=st.integers(0, 2),
    )
    def add_rule(self, window: int, hysteresis: int | None, **options: Any) -> None:
        window %= len(self.windows)
        below = {GT: -1, GTE: -1, LT: 1, LTE: 1}.get(options["operator"])
        if below and hysteresis is not None:
            options["resolve_threshold"] = options["threshold"] + below * hysteresis
        assert self.table.add_rule(window, **options) == self.slots
        self.rules[self.slots] = (window, RuleModel(**options))
        self.slots += 1

    @rule(window=st.integers(0, 9), p=st.sampled_from([P50, P95, P99]), threshold=st.integers(1, 6))
    def add_quantile_rule(self, window: int, p: int, threshold: int) -> None:
        """Values are whole numbers, further from these thresholds than a sketch errs."""
        options = {"operator": GT, "aggregation": p, "threshold": threshold - 0.5}
        assert self.table.add_rule(window % len(self.windows), **options) == self.slots  # type: ignore[arg-type]
        self.rules[self.slots] = (window % len(self.windows), RuleModel(**options))  # type: ignore[arg-type]
        self.slots += 1

    @rule(choice=st.integers(0, 99))
    def remove_rule(self, choice: int) -> None:
        if self.rules:
            slot = sorted(self.rules)[choice % len(self.rules)]
            self.table.remove_rule(slot)
            del self.rules[slot]
            with pytest.raises(IndexError, match="has been removed"):
                self.table.state(slot)

    def tell(self, window: WindowModel) -> WindowModel:
        if self.told:
            window.advance(self.told_ms)
        return window

    @rule(series=st.integers(0, 3), ago=st.integers(-5000, 70_000), value=st.integers(0, 6))
    def add(self, series: int, ago: int, value: int) -> None:
        kept = [
            self.tell(self.windows[w]).record(self.wall - ago, value)
            for w in self.watching.get(series, ())
        ]
        assert self.table.add(series, self.wall - ago, value) == any(kept)

    @rule(
        series=st.integers(0, 3),
        minute=st.integers(-2, 1),
        samples=st.lists(st.tuples(st.integers(0, 59_999), st.integers(0, 6)), max_size=20),
    )
    def feed(self, series: int, minute: int, samples: list[tuple[int, float]]) -> None:
        minute += self.wall // 60_000
        kept = [0]
        for w in self.watching.get(series, ()):
            window = self.tell(self.windows[w])
            ordered = sorted(samples, key=lambda sample: sample[0])
            kept.append(sum(window.record(minute * 60_000 + at, v) for at, v in ordered))
        assert self.table.feed(series, minute, block(samples)) == max(kept)

    @rule(wall=st.integers(0, 20_000) | st.sampled_from([-3_600_000, 3_600_000, YEARS, -YEARS]))
    def wall_clock_moves(self, wall: int) -> None:
        self.wall += wall

    @rule()
    def advance(self) -> None:
        self.table.advance(self.wall)
        self.told, self.told_ms = True, self.wall

    @rule(wall=st.integers(0, 20_000), monotonic=st.integers(0, 20_000) | st.just(10**9))
    def evaluate(self, wall: int, monotonic: int) -> None:
        self.wall += wall
        self.monotonic += monotonic
        self.told, self.told_ms = True, self.wall
        expected = {}
        for slot, (window, model) in self.rules.items():
            value = self.windows[window].aggregated(AGGREGATIONS[model.aggregation], self.wall)
            transition = model.evaluate(value, self.monotonic)
            if transition:
                expected[slot] = transition
        for window in self.windows:
            window.release_idle(self.wall, self.monotonic)
        found = self.table.evaluate(self.wall, self.monotonic)
        assert {slot: transition for slot, transition, _ in found} == expected
        assert len(found) == len(expected)
        self.same_states()

    @rule()
    def evaluate_again(self) -> None:
        """A second pass at the same time finds nothing new."""
        self.evaluate(0, 0)
        assert self.table.evaluate(self.wall, self.monotonic) == []

    def same_states(self) -> None:
        for slot, (window, model) in self.rules.items():
            phase, met_since, last_trigger, value = self.table.state(slot)
            assert (phase, met_since, last_trigger) == (
                model.phase,
                model.met_since,
                model.last_trigger,
            )
            true = self.windows[window].aggregated(AGGREGATIONS[model.aggregation], self.wall)
            assert math.isnan(value) if true is None else is_near(value, true)

    @rule(
        choice=st.integers(0, 99),
        phase=st.integers(0, 2),
        met_ago=st.none() | st.integers(0, 10_000),
        trigger_ago=st.none() | st.integers(-10, 10_000),
    )
    def set_state(
        self, choice: int, phase: int, met_ago: int | None, trigger_ago: int | None
    ) -> None:
        if self.rules:
            slot = sorted(self.rules)[choice % len(self.rules)]
            met_since = None if met_ago is None or not phase else self.monotonic - met_ago
            last_trigger = None if trigger_ago is None else self.monotonic - trigger_ago
            self.table.set_state(slot, phase, met_since, last_trigger)
            model = self.rules[slot][1]
            model.phase, model.met_since, model.last_trigger = phase, met_since, last_trigger
            assert self.table.state(slot)[:3] == (phase, met_since, last_trigger)

    @rule()
    def clear(self) -> None:
        self.table.clear()
        for window in self.windows:
            window.kept, window.idle_since = {}, None

    def teardown(self) -> None:
        if hasattr(self, "table"):
            assert self.table.late == sum(window.late for window in self.windows)
            assert self.table.future == sum(window.future for window in self.windows)


TestRuleMachine = RuleMachine.TestCase
TestRuleMachine.settings = settings(stateful_step_count=40)


# -- single properties -----------------------------------------------------------------------------


@pytest.mark.parametrize("operator", range(6))
def test_operators(operator: int) -> None:
    """Below, at and above the threshold."""
    met = {GT: "001", GTE: "011", LT: "100", LTE: "110", EQ: "010", NEQ: "101"}[operator]
    for value, expected in zip((9.0, 10.0, 11.0), met, strict=True):
        assert Pass(operator=operator)(value, 0) == [TRIGGER] * int(expected)


def test_aggregations() -> None:
    """Each number stands for its aggregate; rate is per second."""
    expected = [2.5, 10.0, 1.0, 4.0, 4.0, 2.0, 4.0, 4.0, 10 / 60]
    table = RuleTable()
    window = table.add_window(60_000, quantiles=True)
    table.watch(1, window)
    for aggregation in range(9):
        table.add_rule(window, operator=GT, aggregation=aggregation, threshold=0)
    for value in (1, 2, 3, 4):
        table.add(1, NOW, value)
    found = sorted(table.evaluate(NOW, 0))
    assert [slot for slot, _, _ in found] == list(range(9))
    assert [value for _, _, value in found] == pytest.approx(expected, rel=1 / 129)
    count, total, low, high, *quantiles = table.aggregate(window, NOW)
    assert (count, total, low, high) == (4, 10, 1, 4)
    assert quantiles == pytest.approx([2, 4, 4], rel=1 / 129)


def test_the_names_are_those_of_the_model() -> None:
    """Numbers of operators and aggregations follow the order of the vocabularies."""
    assert tuple(Operator) == RULE_OPERATORS
    assert tuple(Aggregation) == RULE_AGGREGATIONS == AGGREGATIONS
    assert RULE_NO_DATA[IGNORE] == "ignore"
    assert RULE_NO_DATA[ALERT] == "alert"
    assert RULE_NO_DATA[OK] == "ok"


def test_for_ms() -> None:
    """A condition triggers once it has been met for so long without a break."""
    run = Pass(for_ms=1000)
    assert run(11, 0) == [TO_PENDING]
    assert run(11, 999) == []
    assert run(9, 1000) == [CLEAR]
    assert run(11, 1001) == [TO_PENDING]
    assert run(11, 2001) == [TRIGGER]
    assert run(9, 2002) == [RESOLVE]


def test_a_condition_that_stays_met_triggers_again_after_each_cooldown() -> None:
    """And not before; the trigger in between goes to no one."""
    run = Pass(cooldown_ms=1000)
    triggered = [t for t in range(0, 5000, 250) if run(11, t) == [TRIGGER]]
    assert triggered == [0, 1000, 2000, 3000, 4000]


def test_t7_a_value_that_flaps_makes_no_storm() -> None:
    """Around the threshold, pass after pass, for an hour: the cooldown holds, and every trigger and
    resolve is reported once."""
    run = Pass(cooldown_ms=300_000)
    reported: list[int] = []
    for second in range(3600):
        reported += run(11 if second % 2 == 0 else 9, second * 1000)
    assert reported == [TRIGGER, RESOLVE] * 12


def test_t7_hysteresis() -> None:
    """Between the two thresholds a firing rule goes on, and one at rest stays so."""
    run = Pass(resolve_threshold=5.0)
    assert run(8, 0) == []
    assert run(11, 1) == [TRIGGER]
    run.table.set_state(0, FIRING, 1, 10**6)  # a trigger in the future: no other one before
    for t, value in enumerate((8, 6, 10, 5.5), 2):
        assert run(value, t) == []
    assert run(5, 10) == [RESOLVE]
    assert run(8, 11) == []


def test_t7_duplicate_evaluations() -> None:
    """The same time twice, without any cooldown: nothing is reported twice."""
    table = one_rule()
    table.add(1, NOW, 11.0)
    assert table.evaluate(NOW, 5) == [(0, TRIGGER, 11.0)]
    assert table.evaluate(NOW, 5) == []
    assert table.evaluate(NOW, 6) == [(0, TRIGGER, 11.0)]


def test_t1_the_wall_clock_jumps_back() -> None:
    """An hour back: the cooldown and `for_ms` go on by the monotonic clock, and the window is that
    of the new time at once."""
    table = one_rule(cooldown_ms=60_000, for_ms=10_000, no_data=OK)
    table.advance(NOW)
    table.add(1, NOW, 11.0)
    assert transitions(table.evaluate(NOW, 0)) == [TO_PENDING]
    back = NOW - 3_600_000
    table.advance(back)
    table.add(1, back, 11.0)
    assert table.evaluate(back + 1000, 9_999) == []
    assert transitions(table.evaluate(back + 1000, 10_000)) == [TRIGGER]
    assert table.evaluate(back + 1000, 69_999) == []
    assert transitions(table.evaluate(back + 1000, 70_000)) == [TRIGGER]


def test_t1_a_jump_back_and_forth_loses_nothing() -> None:
    """Passes at a time before the samples do not see them, and the next ones do."""
    table = one_rule(no_data=IGNORE)
    table.advance(NOW)
    table.add(1, NOW, 11.0)
    assert table.evaluate(NOW - 3_600_000, 0) == []
    assert table.evaluate(NOW, 1) == [(0, TRIGGER, 11.0)]


def test_t2_the_wall_clock_jumps_forward_10_years() -> None:
    """No data at that time; nothing is held up, and the next sample counts. When the clock returns
    soon, nothing is lost."""
    table = one_rule(no_data=IGNORE)
    table.advance(NOW)
    table.add(1, NOW, 11.0)
    assert table.evaluate(NOW + YEARS, 0) == []
    assert table.evaluate(NOW, 1) == [(0, TRIGGER, 11.0)]
    assert table.evaluate(NOW + YEARS, 2) == []
    assert table.state(0)[0] == FIRING
    table.add(1, NOW + YEARS, 3.0)
    assert table.evaluate(NOW + YEARS, 3) == [(0, RESOLVE, 3.0)]


def test_t3_a_suspended_process_makes_nothing_up() -> None:
    """After a day without a pass there is one pass with one trigger, not one for each missed."""
    run = Pass(cooldown_ms=1000)
    assert run(11, 0) == [TRIGGER]
    assert run(11, 86_400_000) == [TRIGGER]
    assert run(11, 86_400_001) == []


@pytest.mark.parametrize("restart_at", range(0, 100, 7))
def test_t4_a_restart_changes_nothing(restart_at: int) -> None:
    """A table that is made anew with the states of the old one reports what that would have."""
    options: dict[str, Any] = {"for_ms": 5, "cooldown_ms": 20, "resolve_threshold": 8.0}
    whole, parted = Pass(**options), Pass(**options)
    chosen = random.Random(restart_at)
    for t in range(100):
        if t == restart_at:
            phase, met_since, last_trigger, _ = parted.table.state(0)
            parted = Pass(**options)
            parted.table.set_state(0, phase, met_since, last_trigger)
        value = chosen.choice([None, 7.0, 9.0, 11.0, 11.0, 11.0])
        assert whole(value, t) == parted(value, t)


def test_t4_nothing_fires_twice_after_a_restart() -> None:
    """A firing rule in its cooldown stays quiet, one that was pending triggers when it is due."""
    fired, waiting = Pass(cooldown_ms=1000), Pass(for_ms=1000)
    fired.table.set_state(0, FIRING, 0, 0)
    waiting.table.set_state(0, PENDING, 0, None)
    assert fired(11, 999) == []
    assert waiting(11, 999) == []
    assert fired(11, 1000) == [TRIGGER]
    assert waiting(11, 1000) == [TRIGGER]
    long_met = Pass(for_ms=1000)
    long_met.table.set_state(0, FIRING, None, None)
    assert long_met.table.state(0)[:3] == (FIRING, None, None)
    assert long_met(11, 0) == [TRIGGER]


def test_a_refused_trigger_is_put_back() -> None:
    """Another process was faster: with its trigger time set, the rule waits for that cooldown."""
    run = Pass(cooldown_ms=1000)
    assert run(11, 500) == [TRIGGER]
    run.table.set_state(0, FIRING, 500, 499)
    assert run(11, 1498) == []
    assert run(11, 1499) == [TRIGGER]


def test_t6_missing_data_is_what_the_policy_says() -> None:
    """`ignore` keeps a rule as it is, `alert` counts as met, `ok` as not met; for any aggregate."""
    for aggregation in (AVG, SUM, MIN, MAX, COUNT, RATE):
        firing = [
            Pass(no_data=policy, aggregation=aggregation, operator=NEQ) for policy in range(3)
        ]
        for run in firing:
            run.table.set_state(0, FIRING, 0, 0)
        assert [run(None, 1) for run in firing] == [[], [TRIGGER], [RESOLVE]]
        at_rest = [Pass(no_data=p, aggregation=aggregation, operator=NEQ) for p in range(3)]
        assert [run(None, 1) for run in at_rest] == [[], [TRIGGER], []]


def test_t6_missing_data_never_resolves_by_itself() -> None:
    """With the default, a series that ends leaves its rule firing, whatever the time."""
    table = one_rule(cooldown_ms=1000)
    table.add(1, NOW, 11.0)
    assert transitions(table.evaluate(NOW, 0)) == [TRIGGER]
    for minute in range(1, 100):
        assert table.evaluate(NOW + minute * 60_000, minute * 60_000) == []
    phase, _, last_trigger, value = table.state(0)
    assert (phase, last_trigger) == (FIRING, 0)
    assert math.isnan(value)


def test_t6_the_value_of_missing_data() -> None:
    """A trigger for want of data has no value."""
    table = one_rule(no_data=ALERT)
    ((slot, transition, value),) = table.evaluate(NOW, 0)
    assert (slot, transition) == (0, TRIGGER)
    assert math.isnan(value)


# -- samples and series ----------------------------------------------------------------------------


@given(st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.sets(st.integers(0, 7)), max_size=200))
def test_many_series_to_many_windows(watched: dict[int, set[int]]) -> None:
    """Any ids, any number of windows each; watching twice counts once."""
    table = RuleTable()
    for _ in range(8):
        table.add_window(60_000)
    for series, windows in watched.items():
        for window in itertools.chain(windows, windows):
            table.watch(series, window)
    for series, windows in watched.items():
        assert table.add(series, NOW, 1.0) == bool(windows)
    for window in range(8):
        count = sum(window in windows for windows in watched.values())
        assert table.aggregate(window, NOW)[0] == count


def test_100_000_series() -> None:
    """All of them find their window, also ids that are one after the other."""
    table = RuleTable()
    windows = [table.add_window(60_000) for _ in range(100)]
    for series in range(100_000):
        table.watch(series * 1024, windows[series % 100])
    for series in range(0, 100_000, 10):
        assert table.add(series * 1024, NOW, 1.0) == 1
        assert table.add(series * 1024 + 1, NOW, 1.0) == 0
    assert sum(table.aggregate(window, NOW)[0] for window in windows) == 10_000


@given(st.lists(st.tuples(st.integers(0, 59_999), st.floats()), max_size=100))
def test_a_block_is_what_its_samples_are(samples: list[tuple[int, float]]) -> None:
    """Feeding a block and adding one by one give the same, and what is no number is counted."""
    by_block, one_by_one = RuleTable(), RuleTable()
    for table in (by_block, one_by_one):
        for window_ms in (1000, 60_000):
            table.watch(7, table.add_window(window_ms, True))
        table.advance(NOW + 59_999)
    by_block.feed(7, MINUTE, block(samples))
    for offset, value in sorted(samples, key=lambda sample: sample[0]):
        one_by_one.add(7, NOW + offset, value)
    for window in (0, 1):
        assert repr(by_block.aggregate(window, NOW + 59_999)) == repr(
            one_by_one.aggregate(window, NOW + 59_999)
        )
    assert by_block.rejected == one_by_one.rejected
    assert by_block.rejected == 2 * sum(not math.isfinite(value) for _, value in samples)
    assert by_block.late == one_by_one.late


def test_a_large_block_is_fed_without_the_gil() -> None:
    """100,000 samples of a minute, which takes the other way through `feed`."""
    samples = [(i * 60_000 // 100_000, float(i % 7)) for i in range(100_000)]
    table = RuleTable()
    table.watch(1, table.add_window(60_000, True))
    assert table.feed(1, MINUTE, block(samples)) == 100_000
    count, total, *_ = table.aggregate(0, NOW + 59_999)
    assert (count, total) == (100_000, sum(value for _, value in samples))


def test_clear_forgets_samples_only() -> None:
    """For a new start from the database: windows, rules, states, clock and counters stay."""
    table = one_rule()
    table.advance(NOW)
    table.add(1, NOW, 11.0)
    table.add(1, NOW - 3_600_000, 11.0)
    assert transitions(table.evaluate(NOW, 0)) == [TRIGGER]
    table.clear()
    assert table.aggregate(0, NOW)[0] == 0
    assert table.state(0)[0] == FIRING
    assert table.late == 1
    table.add(1, NOW, 9.0)
    assert table.evaluate(NOW, 1) == [(0, RESOLVE, 9.0)]


@measures_memory
def test_idle_windows_give_their_memory_back() -> None:
    """Windows that were busy and are idle now leave room for as many others."""
    code = """
import random
from ax_monitor._native import RuleTable
from tests.window_oracles import block

def resident_kb():
    return int(open("/proc/self/statm").read().split()[1]) * 4

samples = [(i * 30, random.Random(i).lognormvariate(3, 1)) for i in range(2000)]
table, packed, minute, grown = RuleTable(), block(samples), 28_000_000, []
for series in range(4000):
    table.watch(series, table.add_window(300_000, True))
for some in range(4):
    before = resident_kb()
    for minute in range(minute + 1, minute + 6):
        for series in range(some * 1000, some * 1000 + 1000):
            assert table.feed(series, minute, packed) == 2000
    grown.append(resident_kb() - before)
    end = (minute + 1) * 60_000
    table.evaluate(end + 400_000, minute * 60_000)
    assert table.aggregate(some * 1000, end - 1)[0] == 10_000
    minute += 10
    table.evaluate(end + 800_000, minute * 60_000)
    assert table.aggregate(some * 1000, end - 1)[0] == 0
assert 5_000 < grown[0] < 50_000, grown
assert sum(grown[1:]) < grown[0] / 4, grown
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_jump_back_does_not_keep_a_window_busy() -> None:
    """A window is idle once all its samples are old, also if there had been some far ahead."""
    table = one_rule()
    table.advance(NOW)
    table.add(1, NOW, 1.0)
    back = NOW - 3_600_000
    table.advance(back)
    table.add(1, back, 1.0)
    table.evaluate(back + 60_000, 0)
    table.evaluate(back + 60_000, 59_999)
    assert table.aggregate(0, back)[0] == 1
    table.evaluate(back + 60_000, 60_000)
    assert table.aggregate(0, back)[0] == 0


@measures_memory
def test_out_of_memory_leaves_things_as_they_are() -> None:
    """Where memory ends, in each call that may want some, there is a MemoryError; with memory
    again, the table goes on, and what it holds is consistent."""
    code = """
import resource
from ax_monitor._native import RuleTable
from tests.window_oracles import block

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

def limit(extra):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + extra, resource.RLIM_INFINITY))

table = RuleTable()
packed = block([(i * 50, 1.5 ** (i % 100)) for i in range(1200)])
minute, n = 28_000_000, 3000
for series in range(n):
    table.watch(series, table.add_window(60_000, True))
    table.add_rule(series, operator=0, aggregation=6, threshold=1e300)
failures = {"feed": 0, "watch": 0, "add_window": 0, "add_rule": 0}
limit(4 << 20)
for series in range(n):
    try:
        table.feed(series, minute, packed)
    except MemoryError:
        failures["feed"] += 1
grown = {"watch": 0, "add_window": 0, "add_rule": 0}
calls = {
    "watch": lambda i: table.watch(10**9 + i, 0),
    "add_window": lambda i: table.add_window(1000),
    "add_rule": lambda i: table.add_rule(0, operator=0, aggregation=0, threshold=0),
}
for name, call in calls.items():
    for i in range(10**6):
        try:
            call(i)
        except MemoryError:
            failures[name] += 1
            break
        grown[name] += 1
try:
    table.evaluate(minute * 60_000 + 59_999, 0)
except MemoryError:
    failures["evaluate"] = 1
resource.setrlimit(resource.RLIMIT_AS, UNLIMITED)
assert all(failures.values()), failures
assert table.add_window(1000) == n + grown["add_window"]
assert table.add_rule(0, operator=0, aggregation=0, threshold=0) == n + grown["add_rule"]
for series in range(n):
    count, total, low, high, p50, p95, p99 = table.aggregate(series, minute * 60_000 + 59_999)
    assert count <= 1200
    assert not count or low <= p50 <= p95 <= p99 <= high
table.clear()
for series in range(n):
    assert table.feed(series, minute, packed) == 1200
    assert table.aggregate(series, minute * 60_000 + 59_999)[0] == 1200
table.evaluate(minute * 60_000 + 59_999, 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -- arguments and threads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda t: t.add_window(0), ValueError, "window_ms must be at least 1"),
        (lambda t: t.watch(1, 1), IndexError, "no window 1: there are 1"),
        (lambda t: t.watch(1, -1), IndexError, "no window -1"),
        (lambda t: t.state(1), IndexError, "no rule 1: there are 1"),
        (lambda t: t.state(-1), IndexError, "no rule -1"),
        (lambda t: t.remove_rule(1), IndexError, "no rule 1"),
        (lambda t: t.set_state(0, 3, None, None), ValueError, "phase must be an index from 0 to 2"),
        (lambda t: t.set_state(0, 1, 2**61, None), ValueError, "within 2.60 ms"),
        (lambda t: t.set_state(0, 1, None, -(2**61)), ValueError, "within 2.60 ms"),
        (lambda t: t.feed(1, MINUTE, b"x" * 11), ValueError, "10 bytes a sample"),
        (lambda t: t.feed(1, 2**60, b""), ValueError, "within 2.60 ms"),
        (lambda t: t.add(1, 2**61, 1.0), ValueError, "within 2.60 ms"),
        (lambda t: t.advance(2**61), ValueError, "within 2.60 ms"),
        (lambda t: t.evaluate(2**61, 0), ValueError, "within 2.60 ms"),
        (lambda t: t.evaluate(0, 2**61), ValueError, "within 2.60 ms"),
        (lambda t: t.aggregate(1, 0), IndexError, "no window 1"),
    ],
)
def test_arguments_that_are_refused(call: Any, error: type[Exception], says: str) -> None:
    """With an error that says what is wrong, and nothing changes."""
    table = one_rule()
    with pytest.raises(error, match=says):
        call(table)
    assert table.state(0)[:3] == (INACTIVE, None, None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"operator": 6}, "operator must be an index from 0 to 5, not 6"),
        ({"operator": -1}, "operator must be an index"),
        ({"aggregation": 9}, "aggregation must be an index from 0 to 8"),
        ({"no_data": 3}, "no_data must be an index from 0 to 2"),
        ({"threshold": math.nan}, "thresholds must be finite"),
        ({"threshold": math.inf}, "thresholds must be finite"),
        ({"resolve_threshold": -math.inf}, "thresholds must be finite"),
        ({"resolve_threshold": 2.0}, "resolve_threshold 2 is on the wrong side of the threshold 1"),
        ({"operator": LT, "resolve_threshold": 0.0}, "wrong side of the threshold 1 for lt"),
        ({"operator": EQ, "resolve_threshold": 0.0}, "wrong side of the threshold 1 for eq"),
        ({"for_ms": -1}, "for_ms must be 0 or more"),
        ({"cooldown_ms": 2**61}, "cooldown_ms must be 0 or more"),
        ({"aggregation": P95}, "window 0 was made without quantiles"),
    ],
)
def test_b12_rules_that_are_refused(options: dict[str, Any], says: str) -> None:
    """A rule that means nothing is a ValueError when it is made, and takes no slot."""
    table = one_rule()
    with pytest.raises(ValueError, match=says):
        table.add_rule(0, **{"operator": GT, "aggregation": MAX, "threshold": 1.0, **options})
    assert table.add_rule(0, operator=GT, aggregation=MAX, threshold=1.0) == 1


@pytest.mark.timeout(30)
def test_a_second_thread_gets_an_error() -> None:
    """A call that comes while a pass is running without the GIL raises, and harms nothing."""
    table = RuleTable()
    for series in range(20_000):
        table.watch(series, table.add_window(60_000))
        table.add(series, NOW, 11.0)
        table.add_rule(series, operator=GT, aggregation=MAX, threshold=10.0)
    found: list[tuple[int, int, float]] = []
    stop = threading.Event()

    def evaluate() -> None:
        t = 0
        while not stop.is_set():
            t += 1
            try:
                found[:] = table.evaluate(NOW, t)
            except RuntimeError:  # the other thread was in the middle of a call
                continue

    thread = threading.Thread(target=evaluate)
    thread.start()
    refused = 0
    give_up = time.monotonic() + 20
    while not refused and time.monotonic() < give_up:
        try:
            table.add(1, NOW, 11.0)
        except RuntimeError as error:
            assert "another thread is at work on this RuleTable" in str(error)
            refused += 1
    stop.set()
    thread.join()
    assert refused
    assert len(found) == 20_000


def test_transitions_by_the_thousand() -> None:
    """All of them arrive, each once, with its value."""
    table = RuleTable()
    for series in range(300):
        table.watch(series, table.add_window(60_000))
        table.add(series, NOW, float(series))
    for slot in range(30_000):
        table.add_rule(slot % 300, operator=GTE, aggregation=MAX, threshold=slot % 300)
    found = table.evaluate(NOW, 0)
    assert sorted(found) == [(slot, TRIGGER, float(slot % 300)) for slot in range(30_000)]


def test_a_pass_leaves_no_objects_behind() -> None:
    """Passes and blocks allocate no Python object that stays."""
    table = one_rule(cooldown_ms=10**6)
    packed = block([(i, 11.0) for i in range(1000)])
    table.feed(1, MINUTE, packed)
    table.evaluate(NOW, 0)
    before = sys.getallocatedblocks()
    for t in range(1000):
        table.feed(1, MINUTE + t, packed)
        table.evaluate(NOW + t * 60_000, t)
        table.state(0)
    assert abs(sys.getallocatedblocks() - before) < 20

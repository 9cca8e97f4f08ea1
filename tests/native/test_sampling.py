"""Which traces are kept: the rule against its definition and against OpenTelemetry's samplers, and
the limit against a plain model."""

from __future__ import annotations

import math
import random
import sys
import threading
from collections.abc import Iterable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import sampling as otel

from ax_monitor._native import Sampler, new_trace_id

Rule = Literal["consistent", "traceidratio"]
RULES: tuple[Rule, Rule] = ("consistent", "traceidratio")
EPOCH_NS = 250_000_000
SECOND_NS = 1_000_000_000
MANY = 100_000
SHARES = (0.5, 0.25, 0.1, 1 / 3, 0.01, 0.001, 0.999)
SIGMAS = 6  # a bound that chance exceeds once in 10^9 times

ids = st.integers(1, 2**128 - 1)
rates = st.floats(0, 1) | st.floats(1e-17, 1e-12) | st.sampled_from([2.0**-n for n in range(70)])
rules = st.sampled_from(RULES)


def hexed(number: int) -> str:
    return f"{number:032x}"


def random_ids(count: int, seed: int = 7) -> list[int]:
    source = random.Random(seed)
    return [source.getrandbits(128) | 1 << 127 for _ in range(count)]


def defined(number: int, rate: float, rule: Rule) -> bool:
    """The rules as their specifications write them, in integers."""
    if rule == "consistent":
        return number % 2**56 >= 2**56 - round(rate * 2**56)
    return number % 2**64 < round(rate * 2**64)


def bound(count: int, share: float) -> float:
    """How far a count of independent decisions may be from its mean."""
    return SIGMAS * math.sqrt(count * share * (1 - share)) + 1


# -- the rule --------------------------------------------------------------------------------------


@given(ids, rates, rules)
def test_any_id_is_decided_as_the_specification_says(number: int, rate: float, rule: Rule) -> None:
    """For any id and rate, a decision is what the definition in integers gives."""
    assert Sampler(rate, rule=rule).decide(hexed(number)) == defined(number, rate, rule)


@given(ids, rates, rules, st.integers(-3, 3))
def test_ids_next_to_the_threshold(number: int, rate: float, rule: Rule, off: int) -> None:
    """Exactly the threshold and what lies beyond it is kept, to the last bit."""
    edge = 2**56 - round(rate * 2**56) if rule == "consistent" else round(rate * 2**64)
    bits = 56 if rule == "consistent" else 64
    low = min(max(edge + off, 0), 2**bits - 1)
    near = (number >> bits << bits | low) or 1 << 127
    assert Sampler(rate, rule=rule).decide(hexed(near)) == defined(near, rate, rule)


@pytest.mark.parametrize(
    ("rate", "threshold"),
    [(1 / 2, "8"), (1 / 4, "c"), (1 / 8, "e"), (1 / 16, "f"), (1 / 256, "ff"), (3 / 4, "4")],
)
def test_thresholds_of_the_specification(rate: float, threshold: str) -> None:
    """The threshold of a rate is the one in OpenTelemetry's table of `th` values."""
    least = int(threshold.ljust(14, "0"), 16)
    assert Sampler(rate).decide(hexed(1 << 127 | least))
    assert not Sampler(rate).decide(hexed(1 << 127 | least - 1))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", SHARES)
def test_the_kept_share_is_the_rate(rule: Rule, share: float) -> None:
    """Of many random ids, those that are kept number as many as chance allows for the rate."""
    sampler = Sampler(share, rule=rule)
    kept = sum(sampler.decide(hexed(number)) for number in random_ids(MANY))
    assert abs(kept - MANY * share) <= bound(MANY, share)


@given(rates, st.integers(0, 2**32), rules)
def test_the_kept_share_is_any_rate(rate: float, seed: int, rule: Rule) -> None:
    """The same for any rate, with fewer ids."""
    sampler = Sampler(rate, rule=rule)
    kept = sum(sampler.decide(hexed(number)) for number in random_ids(2000, seed))
    assert abs(kept - 2000 * rate) <= bound(2000, rate)


def test_our_own_trace_ids_are_random_enough() -> None:
    """The ids that the tracer makes are kept at the rate too."""
    sampler = Sampler(0.25)
    kept = sum(sampler.decide(new_trace_id()) for _ in range(MANY))
    assert abs(kept - MANY / 4) <= bound(MANY, 0.25)


@given(ids, rates, rates, rules)
def test_a_lower_rate_keeps_a_subset(number: int, one: float, other: float, rule: Rule) -> None:
    """What is kept at a rate is kept at every higher one."""
    lower, higher = sorted((one, other))
    kept = Sampler(lower, rule=rule).decide(hexed(number))
    assert not kept or Sampler(higher, rule=rule).decide(hexed(number))


@given(st.lists(ids, max_size=20), ids, rates, rules)
def test_a_decision_depends_on_id_and_rate_only(
    before: list[int], number: int, rate: float, rule: Rule
) -> None:
    """A sampler with a past, with other rates in it, decides as a new one does."""
    used = Sampler(0.3, rule=rule)
    for each in before:
        used.decide(hexed(each))
    used.rate = rate
    used.decide("no id")
    assert used.decide(hexed(number)) == Sampler(rate, rule=rule).decide(hexed(number))


@given(ids, rules)
def test_zero_is_never_and_one_is_always(number: int, rule: Rule) -> None:
    """The two ends are exact, for the greatest and the smallest ids too."""
    for each in (number, 1, 2**128 - 1, 1 << 127, number >> 64 << 64 or 1 << 64):
        assert not Sampler(0.0, rule=rule).decide(hexed(each))
        assert Sampler(1.0, rule=rule).decide(hexed(each))


# -- OpenTelemetry ---------------------------------------------------------------------------------


def sdk_keeps(sampler: Any, numbers: Iterable[int]) -> list[bool]:
    keep = otel.Decision.RECORD_AND_SAMPLE
    return [sampler.should_sample(None, number, "name").decision is keep for number in numbers]


@pytest.mark.parametrize("share", SHARES)
def test_agrees_with_the_sdks_consistent_sampler(share: float) -> None:
    """Of 10^5 ids, none is decided otherwise than by the SDK's sampler of the same rule."""
    composable = pytest.importorskip(
        "opentelemetry.sdk.trace._sampling_experimental",
        reason="this opentelemetry-sdk has no consistent sampler yet, or has it elsewhere",
    )
    theirs = composable.composite_sampler(composable.composable_traceid_ratio_based(share))
    numbers, ours = random_ids(MANY), Sampler(share)
    assert [ours.decide(hexed(number)) for number in numbers] == sdk_keeps(theirs, numbers)


@pytest.mark.parametrize("share", SHARES)
def test_agrees_with_the_sdks_ratio_sampler(share: float) -> None:
    """Of 10^5 ids, none is decided otherwise than by `TraceIdRatioBased` with its rule; and with
    the consistent rule as many as two independent decisions of the same rate have in common."""
    numbers = random_ids(MANY)
    theirs = sdk_keeps(otel.TraceIdRatioBased(share), numbers)
    same, consistent = Sampler(share, rule="traceidratio"), Sampler(share)
    assert [same.decide(hexed(number)) for number in numbers] == theirs
    alike = sum(
        consistent.decide(hexed(number)) == kept
        for number, kept in zip(numbers, theirs, strict=True)
    )
    expected = share**2 + (1 - share) ** 2
    assert abs(alike - MANY * expected) <= bound(MANY, expected)


@given(ids)
def test_both_rules_agree_at_the_ends(number: int) -> None:
    """At 0 and 1 every rule and the SDK decide alike, whatever the id."""
    for rate in (0.0, 1.0):
        (theirs,) = sdk_keeps(otel.TraceIdRatioBased(rate), [number])
        assert all(Sampler(rate, rule=rule).decide(hexed(number)) == theirs for rule in RULES)


# -- bad input -------------------------------------------------------------------------------------


@given(st.text(max_size=40) | st.text("0123456789abcdefABCDEF", min_size=31, max_size=33))
def test_b10_what_is_no_trace_id_is_dropped_and_counted(text: str) -> None:
    """Any other text is not kept at any rate, and counted."""
    valid = len(text) == 32 and set(text) <= set("0123456789abcdef") and text != "0" * 32
    sampler = Sampler(1.0)
    assert sampler.decide(text) == sampler.decide_at(text, 0) == valid
    assert sampler.decide_child(text, True, 0) == valid
    assert sampler.malformed == (0 if valid else 3)


def test_b10_every_character_at_every_place() -> None:
    """At each of the 32 places, the lowercase hex digits are accepted and nothing else is."""
    sampler = Sampler(1.0)
    for place in range(32):
        for code in (*range(256), 0x100, 0x661, 0xD800, 0x1D7D8):
            text = "7" * place + chr(code) + "7" * (31 - place)
            assert sampler.decide(text) == (chr(code) in "0123456789abcdef"), (place, code)


def test_b10_all_zeros_and_odd_lengths() -> None:
    """The id of all zeros and texts that are too short or long are counted."""
    sampler = Sampler(1.0)
    for text in ("", "0" * 32, "1" * 31, "1" * 33, "1" * 64):
        assert not sampler.decide(text)
    assert sampler.malformed == 5
    assert sampler.decide("0" * 31 + "1")
    assert sampler.decide("1" + "0" * 31)
    assert sampler.malformed == 5


def test_a_subclass_of_str_is_read_like_a_str() -> None:
    """Ids of a type derived from str are ids."""

    class Id(str):
        pass

    assert Sampler(1.0).decide(Id("7" * 32))
    assert not Sampler(1.0).decide(Id("7" * 31))


@pytest.mark.parametrize("wrong", [None, b"7" * 32, 7])
def test_what_is_no_text_is_a_programming_error(wrong: Any) -> None:
    """An id of another type raises rather than being counted."""
    with pytest.raises(TypeError):
        Sampler().decide(wrong)
    with pytest.raises(TypeError):
        Sampler().decide_at(wrong, 0)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), float("inf"), -5e-324, 1 + 2**-52])
def test_rates_that_are_refused(wrong: float) -> None:
    """A rate outside of 0 to 1 or not a number is a ValueError and changes nothing."""
    with pytest.raises(ValueError, match="rate must be between"):
        Sampler(wrong)
    sampler = Sampler(0.25)
    with pytest.raises(ValueError, match="rate must be between"):
        sampler.rate = wrong
    assert sampler.rate == sampler.current_rate == 0.25


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), 1e10])
def test_limits_that_are_refused(wrong: float) -> None:
    """A limit that is none is a ValueError and changes nothing."""
    with pytest.raises(ValueError, match="max_traces_per_second"):
        Sampler(max_traces_per_second=wrong)
    sampler = Sampler(max_traces_per_second=3)
    with pytest.raises(ValueError, match="max_traces_per_second"):
        sampler.max_traces_per_second = wrong
    assert sampler.max_traces_per_second == 3


def test_unknown_rules_are_refused() -> None:
    """The error names the rules there are."""
    with pytest.raises(ValueError, match=r"'consistent' or 'traceidratio'"):
        Sampler(rule="dice")  # type: ignore[arg-type]


# -- parents, threads, memory ----------------------------------------------------------------------


@given(ids, rates, st.booleans())
def test_the_parents_decision_is_followed(number: int, rate: float, sampled: bool) -> None:
    """With a parent its flag decides and no allowance is spent; without one, `decide_at` does."""
    sampler = Sampler(rate, max_traces_per_second=4)
    assert all(sampler.decide_child(hexed(number), sampled, 0) is sampled for _ in range(50))
    twin = Sampler(rate, max_traces_per_second=4)
    for _ in range(4):
        assert sampler.decide_child(hexed(number), None, 0) == twin.decide_at(hexed(number), 0)


@pytest.mark.timeout(30)
def test_threads_share_a_sampler() -> None:
    """Counts and the limit hold when several threads decide at once."""
    sampler = Sampler(max_traces_per_second=400)
    kept: list[int] = []

    def work() -> None:
        kept.append(sum(sampler.decide_at(hexed(n), 0) for n in range(1, 5001)))
        for _ in range(5000):
            sampler.decide("")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(kept) == 101
    assert sampler.malformed == 40_000


def test_decisions_allocate_nothing() -> None:
    """The memory in use is the same after many decisions."""
    sampler, texts = Sampler(0.5, max_traces_per_second=1), [hexed(n) for n in random_ids(1000)]
    for trace_id in texts:
        sampler.decide_at(trace_id, 7)
    before = sys.getallocatedblocks()
    for trace_id in texts:
        sampler.decide(trace_id)
        sampler.decide_at(trace_id, 7)
        sampler.decide_child(trace_id, None, 7)
    assert abs(sys.getallocatedblocks() - before) < 20


# -- the limit -------------------------------------------------------------------------------------


class LimitModel:
    """The limit, written down once more: per epoch a threshold and an allowance."""

    UNIT = 2**32

    def __init__(self, rate: float, limit: float) -> None:
        self.rate = rate
        self.gain = max(1, round(limit / 4 * self.UNIT))
        self.left = self.gain + self.UNIT
        self.start: int | None = None
        self.seen = 0
        self.mean: float | None = None
        self.share = rate

    def decide(self, number: int, now_ns: int) -> bool:
        if self.start is None:
            self.start = now_ns
        while now_ns >= self.start + EPOCH_NS:
            self.mean = float(self.seen) if self.mean is None else (self.mean + self.seen) / 2
            self.left = min(self.left + self.gain, self.gain + self.UNIT)
            self.start += EPOCH_NS
            self.seen = 0
            allowed = self.left / (self.mean * self.UNIT) if self.mean else 1.0
            self.share = min(self.rate, allowed)
        self.seen += 1
        kept = defined(number, self.share, "consistent") and self.left >= self.UNIT
        self.left -= self.UNIT * kept
        return kept


limits = st.floats(0.01, 5000) | st.integers(1, 200)
# Steady load, bursts and silence: (how many arrive, how far apart in ns, silence behind them).
loads = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.sampled_from([0, 1, 1000, 3_000_000, EPOCH_NS // 10, EPOCH_NS, 2 * EPOCH_NS + 1]),
        st.sampled_from([0, 1, EPOCH_NS - 1, EPOCH_NS, SECOND_NS, 40 * SECOND_NS]),
    ),
    max_size=12,
)


def times(load: list[tuple[int, int, int]], now_ns: int = 0) -> list[int]:
    out = []
    for count, gap_ns, silence_ns in load:
        for _ in range(count):
            out.append(now_ns)
            now_ns += gap_ns
        now_ns += silence_ns
    return out


@given(rates, limits, loads, st.integers(0, 2**62), st.integers(0, 2**32))
def test_the_limit_against_its_model(
    rate: float, limit: float, load: list[tuple[int, int, int]], start: int, seed: int
) -> None:
    """Through bursts, silence and steady load, every decision is that of the model."""
    sampler, model = Sampler(rate, max_traces_per_second=limit), LimitModel(rate, limit)
    arrivals = times(load, start)
    for number, now_ns in zip(random_ids(len(arrivals), seed), arrivals, strict=True):
        assert sampler.decide_at(hexed(number), now_ns) == model.decide(number, now_ns)
        assert sampler.current_rate == pytest.approx(model.share, abs=2**-52)


@given(limits, loads, st.integers(0, 2**32))
def test_any_second_keeps_at_most_a_quarter_more_and_one(
    limit: float, load: list[tuple[int, int, int]], seed: int
) -> None:
    """Whatever arrives, from the first epoch on, no second exceeds the stated bound."""
    sampler, arrivals = Sampler(max_traces_per_second=limit), times(load * 3)
    kept = [
        now_ns
        for number, now_ns in zip(random_ids(len(arrivals), seed), arrivals, strict=True)
        if sampler.decide_at(hexed(number), now_ns)
    ]
    first = 0
    for last, now_ns in enumerate(kept):
        while kept[first] <= now_ns - SECOND_NS:
            first += 1
        assert last - first + 1 <= 1.25 * limit + 1 + 1e-6


def kept_each_second(sampler: Sampler, per_second: list[int], start_s: int = 0) -> list[int]:
    """Feed evenly spread random ids, so many in each second; how many are kept in each."""
    source = random.Random(3)
    return [
        sum(
            sampler.decide_at(
                hexed(source.getrandbits(128) | 1), (start_s + second) * SECOND_NS + at
            )
            for at in range(0, SECOND_NS, SECOND_NS // count)[:count]
        )
        for second, count in enumerate(per_second)
    ]


@pytest.mark.parametrize(("limit", "least"), [(10, 0.75), (100, 0.9), (1000, 0.95)])
@pytest.mark.parametrize("times_over", [1.5, 5, 20])
def test_a_steady_load_above_the_limit(limit: int, least: float, times_over: float) -> None:
    """After the first second, the limit is met on the average and not wasted."""
    seconds = 12
    kept = kept_each_second(
        Sampler(max_traces_per_second=limit), [int(limit * times_over)] * seconds
    )
    assert least * limit <= sum(kept[1:]) / (seconds - 1) <= 1.03 * limit


def test_a_load_below_the_limit_is_kept_whole() -> None:
    """Where the rate keeps less than the limit, the limit changes nothing."""
    assert kept_each_second(Sampler(max_traces_per_second=100), [50, 80, 40]) == [50, 80, 40]


def test_a_burst_and_the_time_after() -> None:
    """A burst of a thousand times the limit stays within the bound, and three seconds after it
    as well as after a silence everything is kept again."""
    sampler = Sampler(max_traces_per_second=20)
    kept = kept_each_second(sampler, [10, 10, 20_000, 10, 10, 10, 10])
    assert kept[:2] == [10, 10]
    assert kept[2] <= 26
    assert kept[6:] == [10]
    kept_each_second(sampler, [20_000], start_s=100)
    assert kept_each_second(sampler, [10], start_s=200) == [10]


def test_t1_a_clock_that_goes_back() -> None:
    """The epoch lasts until the clock is past it: no allowance is gained, nothing raises."""
    sampler = Sampler(max_traces_per_second=4)
    at = [10 * SECOND_NS, 9 * SECOND_NS, 0, -(2**63), 10 * SECOND_NS + 1, 3]
    assert sum(sampler.decide_at("f" * 32, now_ns) for now_ns in at * 10) == 2
    assert sampler.decide_at("f" * 32, 10 * SECOND_NS + EPOCH_NS)
    assert Sampler(max_traces_per_second=4).decide_at("f" * 32, -1)
    assert sampler.decide_at("f" * 32, 2**63 - 1)


def test_the_limit_and_the_rate_can_be_changed() -> None:
    """Setting either takes effect at once and gives no fresh allowance; None lifts the limit."""
    sampler = Sampler(max_traces_per_second=8)
    assert sum(sampler.decide_at("f" * 32, 0) for _ in range(9)) == 3
    for limit in (8, 100, 1, 8):
        sampler.max_traces_per_second = limit
        sampler.rate = 1.0
        assert not sampler.decide_at("f" * 32, 0)
    sampler.max_traces_per_second = None
    assert sampler.max_traces_per_second is None
    assert all(sampler.decide_at("f" * 32, 0) for _ in range(100))
    sampler.rate = 0.0
    assert not sampler.decide_at("f" * 32, 0)
    sampler.rate, sampler.max_traces_per_second = 1.0, 8
    assert sum(sampler.decide_at("f" * 32, 0) for _ in range(9)) == 3


def test_the_threshold_is_fixed_within_an_epoch() -> None:
    """The threshold follows the load from epoch to epoch, and stands still in between."""
    sampler = Sampler(max_traces_per_second=40_000)
    shares: list[float] = []
    for epoch in range(6):
        within = set()
        for number in random_ids(20_000, epoch):
            sampler.decide_at(hexed(number), epoch * EPOCH_NS + 5)
            within.add(sampler.current_rate)
        assert len(within) == 1
        shares.extend(within)
    assert shares[0] == 1.0
    assert all(0.45 < share < 0.55 for share in shares[1:])

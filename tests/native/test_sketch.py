"""Quantiles from a sketch, against a sorted list and exact fractions."""

from __future__ import annotations

import array
import math
import random
import struct
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor._native import QuantileSketch

BOUND = Fraction(1, 129)
LEAST_NORMAL = 2.0**-1022
SHARES = (0.0, 0.01, 0.5, 0.95, 0.99, 1.0)
DAMAGED = "not an encoded sketch"


def edge(bits: int, off: int) -> float:
    """The double with these first 18 bits and no more, or one next to it."""
    (value,) = struct.unpack("<d", struct.pack("<Q", ((bits << 46) + off) % 2**64))
    return value if math.isfinite(value) else 1.0


edges = st.builds(edge, st.integers(0, 2**18 - 1), st.integers(-2, 2))
values = st.floats(allow_nan=False, allow_infinity=False) | edges | st.integers(-9, 9).map(float)
lists = st.lists(values, max_size=60)
shares = st.floats(0, 1) | st.sampled_from(SHARES)


def sketch_of(numbers: Iterable[float]) -> QuantileSketch:
    sketch = QuantileSketch()
    for number in numbers:
        sketch.add(number)
    return sketch


def nearest_rank(numbers: list[float], p: float) -> float:
    return sorted(numbers)[max(math.ceil(len(numbers) * p), 1) - 1]


def is_close(answer: float, true: float) -> bool:
    """Within 1/129 of it, in exact arithmetic; a subnormal number counts as 0."""
    if abs(true) < LEAST_NORMAL:
        return answer == 0
    return abs(Fraction(answer) - Fraction(true)) <= BOUND * abs(Fraction(true))


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


# -- the error -------------------------------------------------------------------------------------


@given(values)
def test_any_value_is_answered_within_the_bound(value: float) -> None:
    """Alone in a sketch, a value of any size and sign comes back to within 1/129 of it."""
    assert is_close(sketch_of([value]).quantile(0.5), value)


def test_the_ends_of_every_bucket_of_an_octave() -> None:
    """In lowest, highest and middle octaves, both ends of each bucket are within the bound."""
    for exponent in (1, 2, 1022, 1023, 1024, 2045, 2046):
        for mantissa in range(64):
            first = exponent << 6 | mantissa
            for bits in (first, first | 1 << 17):
                for off in (0, 2**46 - 1):
                    value = edge(bits, off)
                    assert is_close(sketch_of([value]).quantile(1.0), value), value


@given(lists.filter(bool), shares)
def test_a_quantile_is_that_of_the_sorted_list(numbers: list[float], p: float) -> None:
    """For any values, a quantile is the nearest rank's value to within 1/129, with and without the
    smallest and the greatest value known."""
    sketch, true = sketch_of(numbers), nearest_rank(numbers, p)
    assert is_close(sketch.quantile(p), true)
    low, high = min(numbers), max(numbers)
    answer = sketch.quantile(p, low, high)
    assert low <= answer <= high
    if abs(true) >= LEAST_NORMAL:
        assert is_close(answer, true)


@given(lists, st.lists(shares, max_size=6))
def test_several_quantiles_at_once(numbers: list[float], ps: list[float]) -> None:
    """In any order of the shares, they are the single ones."""
    sketch = sketch_of(numbers)
    singles = [sketch.quantile(p, -10, 1e100) for p in ps]
    assert str(sketch.quantiles(ps, -10, 1e100)) == str(singles)


@given(st.integers(1, 400), shares)
def test_ranks_are_exact(count: int, p: float) -> None:
    """Among values that have a bucket each, the answer is the right one of them."""
    numbers = [(-1) ** n * 1.5 * 2.0 ** (n - 200) for n in range(count)]
    assert is_close(sketch_of(numbers).quantile(p), nearest_rank(numbers, p))


@pytest.mark.parametrize("shape", ["lognormal", "pareto", "normal", "constant", "counts"])
def test_usual_data(shape: str) -> None:
    """Of 20 000 values as engines have them, every percentile is within the bound."""
    rng = np.random.default_rng(5)
    numbers = {
        "lognormal": rng.lognormal(3, 1.5, 20_000),
        "pareto": rng.pareto(1.1, 20_000) + 1,
        "normal": rng.normal(0, 100, 20_000),
        "constant": np.full(20_000, 42.0),
        "counts": rng.poisson(2, 20_000).astype(float),
    }[shape]
    sketch = QuantileSketch()
    sketch.add_many(numbers)
    ordered = np.sort(numbers).tolist()
    for percent in range(1, 101):
        p = percent / 100
        assert is_close(sketch.quantile(p), ordered[math.ceil(20_000 * p) - 1])


def test_infinities_are_at_the_ends() -> None:
    """Infinite values are beyond all others and come back as they are."""
    sketch = sketch_of([1.0, math.inf, -math.inf])
    assert (sketch.quantile(0), sketch.quantile(1)) == (-math.inf, math.inf)
    assert is_close(sketch.quantile(0.5), 1.0)


def test_an_empty_sketch_has_no_quantiles() -> None:
    """They are NaN, and with nothing in it again they are NaN again."""
    sketch = QuantileSketch()
    assert math.isnan(sketch.quantile(0.5))
    sketch.add(1)
    sketch.clear()
    assert math.isnan(sketch.quantile(0.5, 0, 1))
    assert sketch.to_bytes() == QuantileSketch().to_bytes()


# -- adding, merging, removing ---------------------------------------------------------------------


@given(lists, lists)
def test_merging_is_adding(one: list[float], other: list[float]) -> None:
    """Two sketches merged, in memory or from bytes, equal the sketch of everything, and the second
    one has not changed."""
    whole = sketch_of(one + other)
    left, right = sketch_of(one), sketch_of(other)
    encoded = right.to_bytes()
    left.merge(right)
    assert (left.count, left.to_bytes()) == (len(one) + len(other), whole.to_bytes())
    assert right.to_bytes() == encoded
    left = sketch_of(one)
    left.merge_bytes(encoded)
    assert (left.count, left.to_bytes()) == (len(one) + len(other), whole.to_bytes())


@given(lists, lists, lists)
def test_merging_is_associative(a: list[float], b: list[float], c: list[float]) -> None:
    """(a + b) + c = a + (b + c), in any order too."""
    left, right, other = sketch_of(a), sketch_of(b), sketch_of(c)
    left.merge(sketch_of(b))
    left.merge(sketch_of(c))
    right.merge(sketch_of(c))
    right.merge(sketch_of(a))
    other.merge_bytes(sketch_of(a).to_bytes())
    other.merge_bytes(sketch_of(b).to_bytes())
    assert left.to_bytes() == right.to_bytes() == other.to_bytes()


@given(lists)
def test_merging_with_itself_doubles(numbers: list[float]) -> None:
    """A sketch may be merged into itself."""
    sketch = sketch_of(numbers)
    sketch.merge(sketch)
    assert sketch.to_bytes() == sketch_of(numbers + numbers).to_bytes()


@given(lists, lists, st.randoms(use_true_random=False))
def test_remove_undoes_add(kept: list[float], gone: list[float], rng: random.Random) -> None:
    """What is left after adds and removes in any order is what was added and not removed."""
    sketch = QuantileSketch()
    steps = [(value, False) for value in kept] + [(value, True) for value in gone]
    rng.shuffle(steps)
    removable: list[float] = []
    for value, is_removed in steps:
        sketch.add(value)
        removable += [value] * is_removed
        if removable and rng.random() < 0.5:
            sketch.remove(removable.pop())
    for value in removable:
        sketch.remove(value)
    assert (sketch.count, sketch.to_bytes()) == (len(kept), sketch_of(kept).to_bytes())


@given(st.dictionaries(values, st.integers(0, 2**50), max_size=20))
def test_counts_may_be_large(counts: dict[float, int]) -> None:
    """A value added n times at once counts n times, and is removed likewise."""
    sketch = QuantileSketch()
    for value, n in counts.items():
        sketch.add(value, n)
    assert sketch.count == sum(counts.values())
    assert QuantileSketch.from_bytes(sketch.to_bytes()).to_bytes() == sketch.to_bytes()
    for value, n in counts.items():
        sketch.remove(value, n)
    assert sketch.to_bytes() == QuantileSketch().to_bytes()


def test_values_that_wander_through_all_octaves() -> None:
    """A window over data that grow from the smallest to the greatest numbers stays right."""
    numbers = [1.3 * 2.0**e for e in range(-1022, 1024)]
    sketch = QuantileSketch()
    for i, value in enumerate(numbers):
        sketch.add(value)
        if i >= 20:
            sketch.remove(numbers[i - 20])
        if i % 97 == 0:
            window = numbers[max(i - 19, 0) : i + 1]
            assert is_close(sketch.quantile(0.5), nearest_rank(window, 0.5))
    assert sketch.to_bytes() == sketch_of(numbers[-20:]).to_bytes()


def test_what_was_never_added_is_not_removed() -> None:
    """A remove too many changes nothing, whether the octave is known or not."""
    sketch = sketch_of([1.0, 1.0, 3.0])
    for value in (1.5, 5.0, -1.0, 0.0):
        sketch.remove(value)
    assert sketch.to_bytes() == sketch_of([1.0, 1.0, 3.0]).to_bytes()
    sketch.remove(1.0, 7)
    assert sketch.to_bytes() == sketch_of([3.0]).to_bytes()


@given(lists)
def test_a_cleared_sketch_is_a_new_one(numbers: list[float]) -> None:
    """Nothing of the past is left in it."""
    sketch = sketch_of([*numbers, 1e300, -1e-300])
    sketch.clear()
    assert sketch.count == 0
    for value in numbers:
        sketch.add(value)
    assert sketch.to_bytes() == sketch_of(numbers).to_bytes()


# -- buffers ---------------------------------------------------------------------------------------


@given(lists)
def test_many_at_once(numbers: list[float]) -> None:
    """Arrays of both kinds give what single adds give."""
    for buffer in (np.array(numbers, dtype=np.float64), array.array("d", numbers)):
        sketch = QuantileSketch()
        sketch.add_many(buffer)
        assert sketch.to_bytes() == sketch_of(numbers).to_bytes()


def test_buffers_that_are_refused() -> None:
    """Other numbers than doubles, gaps between them, and a NaN among them change nothing."""
    sketch = sketch_of([1.0])
    for wrong in (np.zeros(8, dtype=np.float32), np.zeros(8, dtype=np.int64), bytes(8)):
        with pytest.raises(TypeError, match="buffer of doubles"):
            sketch.add_many(wrong)
    with pytest.raises(ValueError, match="contiguous"):
        sketch.add_many(np.zeros(8)[::2])
    with pytest.raises(TypeError):
        sketch.add_many([1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NaN"):
        sketch.add_many(np.array([1.0, math.nan]))
    assert sketch.to_bytes() == sketch_of([1.0]).to_bytes()


def test_values_and_shares_that_are_refused() -> None:
    """A NaN is no value, a share is between 0 and 1, and a total has an end."""
    sketch = sketch_of([1.0])
    for change in (sketch.add, sketch.remove):
        with pytest.raises(ValueError, match="NaN"):
            change(math.nan)
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="p must be between"):
            sketch.quantile(p)
        with pytest.raises(ValueError, match="p must be between"):
            sketch.quantiles([0.5, p])
    with pytest.raises(ValueError, match="more than 64"):
        sketch.quantiles([0.5] * 65)
    with pytest.raises(OverflowError):
        sketch.add(1.0, 2**64 - 1)
    sketch.add(1.0, 2**64 - 2)
    with pytest.raises(OverflowError):
        sketch.merge(sketch)
    with pytest.raises(ValueError, match=DAMAGED):
        sketch.merge_bytes(sketch.to_bytes())
    assert sketch.count == 2**64 - 1
    assert is_close(sketch.quantile(1.0), 1.0)


# -- bytes -----------------------------------------------------------------------------------------


@given(lists)
def test_bytes_there_and_back(numbers: list[float]) -> None:
    """A decoded sketch answers and encodes as the one that was encoded."""
    sketch = sketch_of(numbers)
    back = QuantileSketch.from_bytes(sketch.to_bytes())
    assert (back.count, back.to_bytes()) == (sketch.count, sketch.to_bytes())
    for p in SHARES:
        assert struct.pack("<d", back.quantile(p)) == struct.pack("<d", sketch.quantile(p))


@given(st.dictionaries(st.integers(1, 2046 * 64 + 63), st.integers(1, 2**40), max_size=30))
def test_the_format(positive: dict[int, int]) -> None:
    """The bytes are the total and then (distance of keys, count) of each bucket, as LEB128."""
    positive = {bits: n for bits, n in positive.items() if bits >= 64}
    sketch = QuantileSketch()
    for bits, n in positive.items():
        sketch.add(edge(bits, 0), n)
    expected, last = varint(sum(positive.values())), -1
    for bits in sorted(positive):
        expected += varint(0x20000 + bits - last) + varint(positive[bits])
        last = 0x20000 + bits
    assert sketch.to_bytes() == expected


@given(st.binary(max_size=40) | st.lists(st.integers(0, 2**20).map(varint)).map(b"".join))
def test_any_bytes_are_refused_or_mean_themselves(data: bytes) -> None:
    """Bytes that are accepted encode to the same bytes again: a sketch has one encoding."""
    sketch = sketch_of([1.0, 2.0])
    before = sketch.to_bytes()
    try:
        decoded = QuantileSketch.from_bytes(data)
    except ValueError:
        with pytest.raises(ValueError, match=DAMAGED):
            sketch.merge_bytes(data)
        assert sketch.to_bytes() == before
    else:
        assert decoded.to_bytes() == data


@given(lists.filter(bool), lists, st.data())
def test_damaged_bytes_change_nothing(
    numbers: list[float], others: list[float], data: st.DataObject
) -> None:
    """Bytes cut off, added, or with a count changed are refused, and the sketch is as before."""
    encoded = sketch_of(numbers).to_bytes()
    sketch = sketch_of(others)
    before = sketch.to_bytes()
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    longer = encoded + data.draw(st.binary(min_size=1, max_size=5))
    other_total = varint(data.draw(st.integers(0, 200))) + encoded[1:]
    for damaged in (cut, longer, other_total):
        if damaged == encoded:
            continue
        with pytest.raises(ValueError, match=DAMAGED):
            sketch.merge_bytes(damaged)
        assert (sketch.count, sketch.to_bytes()) == (len(others), before)


KEY_OF_ONE = varint(0x20000 + 1023 * 64 + 1)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x80",
        b"\x80\x00",
        b"\x01",
        b"\x00" + KEY_OF_ONE + b"\x00",
        b"\x01" + KEY_OF_ONE,
        b"\x02" + KEY_OF_ONE + b"\x01\x00\x01",
        b"\x01\x81\x80\x80\x01\x01",
        b"\x01" + b"\xff" * 9 + b"\x01\x01",
        b"\x01" + b"\xff" * 9 + b"\x02\x01",
        b"\x01" + b"\xff" * 12,
        b"\x01" + KEY_OF_ONE + b"\x81\x00",
        b"\x05" + KEY_OF_ONE + b"\x02\x03\x02\x09\x02",
    ],
    ids=[
        "nothing",
        "no total",
        "longer total than needed",
        "no buckets",
        "count 0",
        "no count",
        "key again",
        "key above all",
        "key far above all",
        "key of more than 64 bits",
        "endless key",
        "longer count than needed",
        "more than the total",
    ],
)
def test_kinds_of_damage(damaged: bytes) -> None:
    """Each is refused, after any number of good buckets."""
    sketch = sketch_of([0.5, 1.0, 1.0, 900.0])
    before = sketch.to_bytes()
    with pytest.raises(ValueError, match=DAMAGED):
        sketch.merge_bytes(damaged)
    assert sketch.to_bytes() == before


def test_the_encoding_is_small() -> None:
    """An hour of latencies is a few hundred bytes; buckets cost two or three each."""
    rng = np.random.default_rng(3)
    sketch = QuantileSketch()
    numbers = rng.lognormal(3, 0.6, 3600)
    sketch.add_many(numbers)
    buckets = {(e, int(m * 128)) for m, e in map(math.frexp, numbers.tolist())}
    assert len(sketch.to_bytes()) <= 3 * len(buckets) + 20

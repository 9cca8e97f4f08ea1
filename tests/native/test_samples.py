"""The SQL functions over blocks of samples."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor._native import SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY, QuantileSketch
from ax_monitor.storage.connection import load_extension, open_reader, open_writer
from tests.sample_book import MINUTE, block, unblock

GREATEST = sys.float_info.max
finite = st.floats(allow_nan=False, allow_infinity=False)
offsets = st.integers(0, MINUTE - 1) | st.integers(0, 3)
blocks = st.lists(st.tuples(offsets, finite)).map(
    lambda pairs: block(sorted(pairs, key=lambda pair: pair[0]))
)


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    opened = apsw.Connection(":memory:")
    load_extension(opened, SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY)
    yield opened
    opened.close()


def ask(connection: apsw.Connection, sql: str, *values: Any) -> Any:
    """The one value that an expression has."""
    ((answer,),) = connection.execute(f"SELECT {sql}", values).fetchall()
    return answer


def aggregate(connection: apsw.Connection, function: str, rows: list[tuple[Any, ...]]) -> Any:
    """What an aggregate function makes of rows, in their order."""
    if not rows:
        return ask(connection, f"{function} FROM (SELECT 1 AS a, 2 AS b) WHERE false")
    union = " UNION ALL ".join(["SELECT ? AS a, ? AS b"] * len(rows))
    return ask(connection, f"{function} FROM ({union})", *(value for row in rows for value in row))


@given(data=blocks)
def test_figures_of_a_block(connection: apsw.Connection, data: bytes) -> None:
    """Count, sum, smallest, greatest and sketch of a block are those of its values."""
    values = [value for _, value in unblock(data)]
    assert ask(connection, "ax_count(?)", data) == len(values)
    assert ask(connection, "ax_min(?)", data) == min(values, default=None)
    assert ask(connection, "ax_max(?)", data) == max(values, default=None)
    sketch = QuantileSketch()
    for value in values:
        sketch.add(value)
    assert ask(connection, "ax_sketch(?)", data) == sketch.to_bytes()
    try:
        exact = math.fsum(values)
    except OverflowError:
        return
    if all(abs(value) < 1e300 for value in values):
        found = ask(connection, "ax_sum(?)", data)
        assert abs(found - exact) <= 2**-52 * (abs(exact) + 1e-15 * sum(map(abs, values)))


def test_a_sum_that_no_double_holds_is_the_greatest_one(connection: apsw.Connection) -> None:
    """Neither infinity nor NaN, which could not be stored, and opposites cancel."""
    assert ask(connection, "ax_sum(?)", block([(0, 1e308)] * 3)) == GREATEST
    assert ask(connection, "ax_sum(?)", block([(0, -1e308)] * 3)) == -GREATEST
    assert ask(connection, "ax_add(?, ?)", GREATEST, GREATEST) == GREATEST
    assert ask(connection, "ax_add(?, ?)", GREATEST, -GREATEST) == 0
    assert ask(connection, "ax_sum(?)", block([(0, 1e16), (0, 1.0), (0, -1e16)])) == 1.0


@given(data=blocks, minute=st.integers(-3, 3), edges=st.tuples(offsets, offsets), data_=st.data())
def test_a_slice_has_what_lies_between_its_ends(
    connection: apsw.Connection,
    data: bytes,
    minute: int,
    edges: tuple[int, int],
    data_: st.DataObject,
) -> None:
    """Both ends are inclusive, and may lie in other minutes."""
    start, end = (
        minute * MINUTE + edge + data_.draw(st.sampled_from((0, -MINUTE))) for edge in edges
    )
    expected = [(at, value) for at, value in unblock(data) if start <= minute * MINUTE + at <= end]
    found = ask(connection, "ax_slice(?, ?, ?, ?)", minute, data, start, end)
    assert found == (block(expected) if expected else None)
    assert ask(connection, "ax_slice(?, ?, -900000000, 900000000)", minute, data) == data


@given(parts=st.lists(st.tuples(blocks, st.integers(-5, 5)), max_size=6))
@example([(b"", 1), (b"", 0)])
def test_merging_is_a_stable_sort(
    connection: apsw.Connection, parts: list[tuple[bytes, int]]
) -> None:
    """Any blocks become one: by time, then by rank, then as they came."""
    ordered = sorted(parts, key=lambda part: part[1])
    pairs = [pair for data, _ in ordered for pair in unblock(data)]
    expected = block(sorted(pairs, key=lambda pair: pair[0])) if pairs else None
    assert aggregate(connection, "ax_merge(a, b)", parts) == expected
    if len(parts) == 2:
        assert ask(connection, "ax_join(?, ?)", ordered[0][0], ordered[1][0]) == expected


@pytest.mark.parametrize("count", [2, 32, 33, 5000])
def test_many_samples_are_sorted_too(connection: apsw.Connection, count: int) -> None:
    """By insertion or by radix, whatever their number; equals stay in order."""
    pairs = [(number * 7919 % 60_000 // 100 * 100, float(number)) for number in range(count)]
    merged = ask(connection, "ax_join(?, NULL)", block(pairs))
    assert unblock(merged) == sorted(pairs, key=lambda pair: pair[0])


@given(parts=st.lists(st.tuples(st.integers(-(10**9), 10**9), blocks), max_size=4))
def test_points_are_times_and_values(
    connection: apsw.Connection, parts: list[tuple[int, bytes]]
) -> None:
    """(int64, double) of every sample, in the order of the rows."""
    expected = b"".join(
        struct.pack("<qd", minute * MINUTE + at, value)
        for minute, data in parts
        for at, value in unblock(data)
    )
    assert aggregate(connection, "ax_points(a, b)", list(parts)) == (expected or None)


@given(data=st.lists(blocks, max_size=4))
def test_sketches_add_up(connection: apsw.Connection, data: list[bytes]) -> None:
    """The sum of sketches is the sketch of all; NULL adds nothing."""
    everything = block([pair for part in data for pair in unblock(part)])
    expected = ask(connection, "ax_sketch(?)", everything)
    rows = [(part, None) for part in data]
    assert aggregate(connection, "ax_sketch_sum(ax_sketch(a))", rows) == (
        expected if rows else None
    )
    if len(data) == 2:
        added = ask(connection, "ax_sketch_add(ax_sketch(?), ax_sketch(?))", *data)
        assert added == expected
    assert ask(connection, "ax_sketch_add(ax_sketch(?), NULL)", everything) == expected


@given(a=st.integers(-(2**63), 2**63 - 1), b=st.integers(-(2**63), 2**63 - 1))
def test_floor_division_rounds_down(connection: apsw.Connection, a: int, b: int) -> None:
    """As Python's, and NULL for what has no answer."""
    fits = b != 0 and (a, b) != (-(2**63), -1)
    assert ask(connection, "ax_floor_div(?, ?)", a, b) == (a // b if fits else None)


def test_a_block_of_one(connection: apsw.Connection) -> None:
    """Bit for bit; NULL for what can't be a sample."""
    for value in (0.0, -0.0, 5e-324, -GREATEST, 0.1):
        assert ask(connection, "ax_block(?, ?)", 59_999, value) == block([(59_999, value)])
    assert ask(connection, "ax_block(60000, 1.0)") is None
    assert ask(connection, "ax_block(-1, 1.0)") is None
    assert ask(connection, "ax_block(0, 9e999)") is None


# -- damage ----------------------------------------------------------------------------------------


@given(data=st.binary(max_size=64) | st.none() | st.text(max_size=9) | st.just(5))
def test_no_argument_harms(connection: apsw.Connection, data: Any) -> None:
    """Whatever bytes: what can be a sample counts, the same for every function."""
    pairs = []
    if isinstance(data, bytes) and len(data) % 10 == 0:
        pairs = [(at, value) for at, value in unblock(data) if at < MINUTE and math.isfinite(value)]
    ordered = block(sorted(pairs, key=lambda pair: pair[0])) if pairs else None
    assert ask(connection, "ax_count(?)", data) == len(pairs)
    assert ask(connection, "ax_min(?)", data) == min((value for _, value in pairs), default=None)
    assert ask(connection, "ax_join(?, NULL)", data) == ordered
    assert ask(connection, "ax_sketch(?)", data) == ask(connection, "ax_sketch(?)", ordered)
    if len(pairs) < 2:
        assert ask(connection, "ax_sum(?)", data) == sum(value for _, value in pairs)
    points = aggregate(connection, "ax_points(a, b)", [(0, data)])
    assert points == (b"".join(struct.pack("<qd", *pair) for pair in pairs) or None)
    expected = [pair for pair in pairs if pair[0] >= 1]
    assert ask(connection, "ax_slice(0, ?, 1, 59999)", data) == (
        block(expected) if expected else None
    )


@given(data=st.binary(max_size=40) | st.just("text"))
def test_what_is_no_sketch_makes_no_sketch(connection: apsw.Connection, data: Any) -> None:
    """A damaged sketch in a sum: NULL, and no wrong quantiles."""
    try:
        QuantileSketch.from_bytes(data)
    except (ValueError, TypeError):
        good = ask(connection, "ax_sketch(?)", block([(0, 1.0)]))
        assert ask(connection, "ax_sketch_add(?, ?)", good, data) is None
        assert aggregate(connection, "ax_sketch_sum(a)", [(good, 0), (data, 0)]) is None
    else:
        assert ask(connection, "ax_sketch_add(?, NULL)", data) == data


def test_absurd_minutes_are_passed_over(connection: apsw.Connection) -> None:
    """A minute whose milliseconds no integer holds has no samples."""
    data = block([(0, 1.0)])
    for minute in (2**63 - 1, -(2**63), 2**47):
        assert ask(connection, "ax_slice(?, ?, 0, 5)", minute, data) is None
        assert aggregate(connection, "ax_points(a, b)", [(minute, data)]) is None


def test_an_aggregate_that_is_given_up_frees_its_memory(connection: apsw.Connection) -> None:
    """A statement that fails in the middle of its rows: the next one works."""
    data = block([(at, 1.0) for at in range(1000)])
    for function in ("ax_merge(a, b)", "ax_points(b, a)", "ax_sketch_sum(ax_sketch(a))"):
        with pytest.raises(apsw.SQLError, match="malformed"):
            ask(
                connection,
                f"{function} FROM (SELECT ? AS a, value AS b FROM json_each('[1, 2, 3]') "
                "WHERE value < 3 OR json('{'))",
                data,
            )


# -- loading ---------------------------------------------------------------------------------------


def test_z12_only_our_statements_may_call_the_functions(tmp_path: Path) -> None:
    """A view of a hostile file can't, on readers or writers; and nothing else can be loaded."""
    path = str(tmp_path / "hostile.db")
    made = apsw.Connection(path)
    made.execute("CREATE VIEW trap AS SELECT ax_count(x'00')")
    made.close()
    for opened in (open_writer(path), open_reader(path)):
        assert ask(opened, "ax_count(x'00')") == 0
        with pytest.raises(apsw.SQLError, match="unsafe use of ax_count"):
            opened.execute("SELECT * FROM trap")
        with pytest.raises(apsw.ExtensionLoadingError):
            opened.load_extension(SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY)
        with pytest.raises(apsw.SQLError, match="not authorized"):
            opened.execute("SELECT load_extension(?)", (SAMPLES_EXTENSION,))
        opened.close()

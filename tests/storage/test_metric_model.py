"""Samples in any order, sealed at any time, late, foreign, deleted: queries agree with a list."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor.model.vocabulary import Aggregation
from ax_monitor.storage import metric_feed, metrics
from tests.sample_book import HOUR, MINUTE, SampleBook, nearest_rank, same_sum, unblock

# Moments around the edges of minutes and hours, before and after the epoch, and today.
moments = st.builds(
    lambda base, unit, units, rest: base + unit * units + rest,
    st.sampled_from((0, 1_700_000_000_000 // HOUR * HOUR)),
    st.sampled_from((MINUTE, HOUR)),
    st.integers(-3, 3),
    st.sampled_from((-1, 0, 1)) | st.integers(-MINUTE, MINUTE),
)
values = st.floats(-1e6, 1e6) | st.sampled_from((0.0, 1.0, -1.0, 5e-324, 1e300, -1e300))
SERIES = {
    11: ("m", None, '{"k":"1"}', "acme"),
    12: ("m", "ms", '{"k":"2","x":"y"}', "zeta"),
    2**62 - 1: ("m", "ms", None, None),
    14: ("other", None, "{}", "acme"),
}
LOST = 99  # a series without a definition: its samples are there, and of no metric
series = st.sampled_from((*SERIES, LOST))
samples = st.tuples(series, moments, values)
minutes = moments.map(lambda moment: moment // MINUTE)
steps = st.one_of(
    st.tuples(st.just("chunks"), st.lists(samples, min_size=1, max_size=8)),
    st.tuples(st.just("foreign"), st.tuples(st.sampled_from(tuple(SERIES)), moments, values)),
    st.tuples(st.just("seal"), minutes | st.just(2**63 - 1)),
    st.tuples(st.just("delete"), moments),
)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleBook]:
    with SampleBook(str(tmp_path_factory.mktemp("book") / "monitor.db")) as book:
        yield book


def play(book: SampleBook, played: list[tuple[str, Any]]) -> None:
    """Start anew and do these steps."""
    book.clear()
    for number, (metric_type, unit, labels, tenant_id) in SERIES.items():
        book.define(
            number, metric_type, unit=unit, labels=labels, tenant_id=tenant_id, defined_at=2**60
        )
    for what, argument in played:
        if what == "chunks":
            book.chunks(argument)
        elif what == "foreign":
            book.foreign(*argument)
        elif what == "seal":
            book.seal(argument)
        else:
            before = len(book.samples)
            assert book.delete(argument) == before - len(book.samples)


@given(
    played=st.lists(steps, max_size=12),
    ends=st.tuples(moments, moments),
    tenant=st.sampled_from((None, "acme", "zeta")),
)
def test_aggregations(
    book: SampleBook, played: list[Any], ends: tuple[int, int], tenant: str | None
) -> None:
    """Count, smallest, greatest and percentiles exactly, sums to 1e-12, of every window."""
    play(book, played)
    book.check()
    start, end = ends
    expected = [s.value for s in book.select("m", start, end, tenant_id=tenant)]
    found = metrics.get_aggregation(book.reader, "m", start, end, tenant_id=tenant)
    assert metrics.count_samples(book.reader) == len(book.samples)
    if not expected:
        assert found is None
        return
    assert found is not None
    assert (found.start_time, found.end_time, found.metric_type) == (start, end, "m")
    assert (found.count, found.min, found.max) == (len(expected), min(expected), max(expected))
    assert same_sum(found.sum, expected)
    scale = 1e-12 * math.fsum(map(abs, expected)) + 5e-324
    assert abs(found.avg - math.fsum(expected) / len(expected)) <= scale
    assert found.exact
    percents = {"p50": 50, "p95": 95, "p99": 99}
    for name, percent in percents.items():
        assert getattr(found, name) == nearest_rank(expected, percent)


def point(wanted: Aggregation, interval_ms: int, found: list[float]) -> float:
    """What the samples of a bucket become."""
    match wanted:
        case Aggregation.AVG:
            return math.fsum(found) / len(found)
        case Aggregation.SUM:
            return math.fsum(found)
        case Aggregation.RATE:
            return math.fsum(found) / (interval_ms / 1000)
        case Aggregation.MIN:
            return min(found)
        case Aggregation.MAX:
            return max(found)
        case Aggregation.COUNT:
            return float(len(found))
    return nearest_rank(found, int(wanted[1:]))


@given(
    played=st.lists(steps, max_size=12),
    ends=st.tuples(moments, moments),
    interval_ms=st.sampled_from(
        (1, 1000, 7919, 59_999, MINUTE, 90_000, 7 * MINUTE, HOUR, 5 * HOUR)
    ),
    wanted=st.sampled_from(list(Aggregation)),
)
def test_time_series(
    book: SampleBook,
    played: list[Any],
    ends: tuple[int, int],
    interval_ms: int,
    wanted: Aggregation,
) -> None:
    """Buckets begin at multiples of the interval; only those with samples are there."""
    play(book, played)
    start, end = ends
    expected: dict[int, list[float]] = {}
    for sample in book.select("m", start, end):
        bucket = sample.timestamp // interval_ms * interval_ms
        expected.setdefault(bucket, []).append(sample.value)
    found = metrics.get_time_series(book.reader, "m", start, end, interval_ms, wanted.value)
    assert [p.timestamp for p in found.data_points] == sorted(expected)
    for p in found.data_points:
        bucket_values = expected[p.timestamp]
        scale = 1e-12 * math.fsum(map(abs, bucket_values)) + 5e-324
        if wanted is Aggregation.RATE:
            scale /= interval_ms / 1000
        elif wanted not in (Aggregation.SUM, Aggregation.AVG):
            scale = 0.0
        assert abs(p.value - point(wanted, interval_ms, bucket_values)) <= scale


@given(played=st.lists(steps, max_size=12), ends=st.tuples(moments, moments))
def test_values_and_history(book: SampleBook, played: list[Any], ends: tuple[int, int]) -> None:
    """The samples themselves: by time, of one series and moment in the order of arrival."""
    play(book, played)
    start, end = ends
    times, numbers = metrics.get_values(book.reader, "m", start, end)
    expected = book.select("m", start, end)
    assert times.dtype == "int64"
    assert numbers.dtype == "float64"
    assert times.tolist() == [sample.timestamp for sample in expected]
    assert sorted(zip(times.tolist(), numbers.tolist(), strict=True)) == sorted(
        (sample.timestamp, sample.value) for sample in expected
    )
    ids = [*SERIES, LOST]
    blocks = [
        found
        for piece in metric_feed.plan_history(book.reader, ids, start, end)
        for found in metric_feed.read_history(book.reader, ids, piece)
    ]
    assert [minute for _, minute, _ in blocks] == sorted(minute for _, minute, _ in blocks)
    for number in ids:
        found = [
            (minute * MINUTE + at, value)
            for series_id, minute, data in blocks
            if series_id == number
            for at, value in unblock(data)
        ]
        mine = [s for s in book.samples if s.series == number and start <= s.timestamp <= end]
        assert [at for at, _ in found] == sorted(s.timestamp for s in mine)
        assert sorted(found) == sorted((s.timestamp, s.value) for s in mine)


@given(played=st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8))
def test_samples_of_a_moment_stay_in_the_order_of_arrival(
    book: SampleBook, played: list[list[int]]
) -> None:
    """However they are chunked and sealed (here: at each empty list), late ones too."""
    book.clear()
    for batch in played:
        if batch:
            book.chunks((11, 5, float(value)) for value in batch)
        else:
            book.seal()
    expected = [sample.value for sample in book.samples]
    found = [
        value
        for piece in metric_feed.plan_history(book.reader, [11], 0, 10)
        for _, _, data in metric_feed.read_history(book.reader, [11], piece)
        for _, value in unblock(data)
    ]
    assert found == expected


@given(played=st.lists(steps, max_size=10))
def test_the_view(book: SampleBook, played: list[Any]) -> None:
    """Every sample of a known series is a row of its own, bit for bit, with the series' columns."""
    play(book, played)
    rows = book.rows("SELECT * FROM performance_metrics")
    assert len({row[0] for row in rows}) == len(rows)
    expected = [
        (sample.timestamp, metric_type, sample.value + 0.0, unit, labels, tenant_id)
        for sample in book.samples
        if sample.series in book.contents
        for metric_type, unit, labels, tenant_id in [book.contents[sample.series]]
    ]
    # A column of SQLite has no -0.0.
    found = [(at, name, value + 0.0, *rest) for _, at, name, value, *rest in rows]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))

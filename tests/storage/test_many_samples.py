"""More samples than percentiles are exact of: sketches, and how much is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw
import numpy as np
import pytest
from numpy.typing import NDArray

from ax_monitor._native import QuantileSketch
from ax_monitor.storage import metrics
from ax_monitor.storage.metrics import EXACT_SAMPLES, SHARES
from tests.sample_book import HOUR, MINUTE, SampleBook

NOW = 1_700_000_000_000 // HOUR * HOUR
COUNT = 150_000
HOURS = 4


class Many(NamedTuple):
    """The database, and what is in it."""

    book: SampleBook
    times: NDArray[np.int64]
    values: NDArray[np.float64]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    """Some hours of samples in blocks, chunks and rows, of two series."""
    with SampleBook(str(tmp_path_factory.mktemp("many") / "monitor.db")) as book:
        for number in (1, 2):
            book.define(number, "m", labels=f'{{"n":"{number}"}}')
        random = np.random.default_rng(5)
        times = NOW + random.integers(0, HOURS * HOUR, COUNT)
        values = random.lognormal(3, 2, COUNT) * random.choice([-1, 1], COUNT, p=[0.1, 0.9])
        for part in range(3):
            chosen = slice(part, COUNT, 3)
            put(book, 1 + part % 2, times[chosen], values[chosen])
            if part < 2:
                book.seal()
        for at in range(0, HOURS * HOUR, 77_777):
            book.foreign(1, NOW + at, float(at))
            times, values = np.append(times, NOW + at), np.append(values, float(at))
        yield Many(book, times, values)


def put(
    book: SampleBook, series: int, times: NDArray[np.int64], values: NDArray[np.float64]
) -> None:
    """One batch, made by numpy."""
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    minutes = times // MINUTE
    starts = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 1))
    book.batch(
        {
            (series, int(minutes[a])): (times[a:b] % MINUTE).astype("<u2").tobytes()
            + values[a:b].tobytes()
            for a, b in zip(starts, [*starts[1:], len(times)], strict=True)
        }
    )


WINDOWS = [
    (NOW, NOW + HOURS * HOUR - 1),
    (NOW + 1, NOW + HOURS * HOUR - 2),
    (NOW + 17 * MINUTE + 333, NOW + HOURS * HOUR - 11 * MINUTE - 777),
    (NOW + 30 * MINUTE, NOW + 3 * HOUR + 15 * MINUTE - 1),
    (0, 2**50),
]


@pytest.mark.parametrize(("start", "end"), WINDOWS)
def test_percentiles_come_from_merged_sketches(many: Many, start: int, end: int) -> None:
    """They are exactly those of one sketch of all values, and within 1/129 of the true ones."""
    book, times, everything = many
    values = everything[(times >= start) & (times <= end)]
    found = metrics.get_aggregation(book.reader, "m", start, end)
    assert found is not None
    assert (found.count, found.min, found.max) == (len(values), values.min(), values.max())
    assert found.sum == pytest.approx(values.sum(), rel=1e-12)
    sketch = QuantileSketch()
    sketch.add_many(values)
    assert len(values) > EXACT_SAMPLES
    assert not found.exact
    quantiles = sketch.quantiles(SHARES, values.min(), values.max())
    assert [found.p50, found.p95, found.p99] == quantiles
    exact = metrics.get_aggregation(book.reader, "m", start, end, exact=True)
    assert exact is not None
    assert exact.exact
    ordered = np.sort(values)
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
        true = ordered[-(-len(ordered) * percent // 100) - 1]
        assert getattr(exact, name) == true
        assert abs(getattr(found, name) - true) <= abs(true) / 129
    assert exact.sum == found.sum


@pytest.mark.parametrize("interval_ms", [MINUTE, 15 * MINUTE, HOUR, 2 * HOUR])
def test_percentiles_over_time_come_from_sketches(many: Many, interval_ms: int) -> None:
    """Each bucket's from the sketches of its parts, within its smallest and greatest."""
    start, end = NOW + 1234, NOW + HOURS * HOUR - 56_789
    book, times, values = many
    chosen = (times >= start) & (times <= end)
    times, values = times[chosen], values[chosen]
    found = metrics.get_time_series(book.reader, "m", start, end, interval_ms, "p95")
    buckets = times // interval_ms * interval_ms
    assert [point.timestamp for point in found.data_points] == np.unique(buckets).tolist()
    for point in found.data_points:
        part = values[buckets == point.timestamp]
        sketch = QuantileSketch()
        sketch.add_many(part)
        assert point.value == sketch.quantile(0.95, part.min(), part.max())


def test_values_are_read_in_pieces(many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fits a piece: halves, and halves of them; the same samples in the same order."""
    book = many.book
    times, _ = metrics.get_values(book.reader, "m", 0, 2**50)
    assert len(times) == len(many.times)
    assert (np.diff(times) >= 0).all()
    monkeypatch.setattr(metrics, "PIECE_SAMPLES", 1000)
    again = metrics.get_values(book.reader, "m", 0, 2**50, labels={"n": "2"})
    monkeypatch.undo()
    once = metrics.get_values(book.reader, "m", 0, 2**50, labels={"n": "2"})
    assert np.array_equal(again[0], once[0])
    assert np.array_equal(again[1], once[1])


def test_an_hour_that_another_program_touched_is_read_from_its_minutes(db: str) -> None:
    """Its sketch is gone; quantiles are those of the minutes' sketches, and sealing goes on."""
    with SampleBook(db) as book:
        book.define(1, "m")
        random = np.random.default_rng(6)
        values = random.normal(100, 15, EXACT_SAMPLES + 1000)
        times = NOW + np.arange(len(values)) * 50
        put(book, 1, times, values)
        book.seal()
        book.other.execute("DELETE FROM performance_metrics WHERE timestamp = ?", (NOW,))
        put(book, 1, times[:100] + 1, values[:100])
        book.seal()
        values = np.concatenate([values[1:], values[:100]])
        assert book.rows("SELECT count(*) FROM metric_hours WHERE sketch IS NULL") == [(1,)]
        found = metrics.get_aggregation(book.reader, "m", 0, 2**50)
        assert found is not None
        sketch = QuantileSketch()
        sketch.add_many(values)
        assert (found.count, found.exact) == (len(values), False)
        quantiles = sketch.quantiles(SHARES, values.min(), values.max())
        assert [found.p50, found.p95, found.p99] == quantiles


def test_damaged_sketches_give_exact_percentiles(db: str) -> None:
    """What can't be read is not guessed: the samples themselves are read."""
    with SampleBook(db) as book:
        book.define(1, "m")
        values = np.arange(EXACT_SAMPLES + 1, dtype=float)
        put(book, 1, NOW + np.arange(len(values)) * 36, values)
        book.seal()
        book.other.execute("UPDATE metric_hours SET sketch = x'ff'")
        found = metrics.get_aggregation(book.reader, "m", 0, 2**50)
        assert found is not None
        assert (found.exact, found.p50) == (True, 50_000.0)
        points = metrics.get_time_series(book.reader, "m", 0, 2**50, HOUR, "p50").data_points
        assert points[0].value == 49_999.0


# -- how much is read ------------------------------------------------------------------------------


def steps_of(connection: apsw.Connection, call: Any) -> int:
    """How many instructions of SQLite's virtual machine a query took."""
    steps = 0

    def profile(event: dict[str, Any]) -> None:
        nonlocal steps
        steps += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, profile)
    try:
        call()
    finally:
        connection.trace_v2(0, None)
    return steps


def test_a_chart_of_thirty_days_reads_hours(db: str) -> None:
    """Thousands of steps for a million samples, the ends inside a minute included."""
    with SampleBook(db) as book:
        book.define(1, "m")
        for day in range(30):
            times = NOW + day * 24 * HOUR + np.arange(0, 24 * HOUR, 2500)
            put(book, 1, times, np.sin(times / 1e7))
        book.seal()
        end = NOW + 30 * 24 * HOUR
        assert metrics.count_samples(book.reader) == 30 * 24 * 1440
        for call in (
            lambda: metrics.get_time_series(book.reader, "m", NOW + 1, end - 9, 2 * HOUR, "avg"),
            lambda: metrics.get_time_series(book.reader, "m", NOW + 1, end - 9, HOUR, "p95"),
            lambda: metrics.get_aggregation(book.reader, "m", NOW + 1, end - 9),
        ):
            assert steps_of(book.reader, call) < 150_000
        few = steps_of(
            book.reader, lambda: metrics.get_aggregation(book.reader, "m", NOW + 1, NOW + HOUR)
        )
        assert few < 10_000


def test_queries_seek_their_series(db: str) -> None:
    """Among a thousand other series, and some hundred live batches, one is found by its keys."""
    with SampleBook(db) as book:
        book.define(7, "m")
        for batch in range(300):
            book.chunks([(7, NOW + batch, 1.0)])
        empty = steps_of(
            book.reader, lambda: metrics.get_aggregation(book.reader, "m", NOW, NOW + HOUR)
        )
        for series in range(1000, 2000):
            book.define(series, "other")
        for _ in range(5):
            book.chunks((series, NOW, 1.0) for series in range(1000, 2000))
        book.seal(batch=302)
        for _ in range(300):
            book.chunks([(7, NOW, 1.0), (1000, NOW, 1.0)])
        full = steps_of(
            book.reader, lambda: metrics.get_aggregation(book.reader, "m", NOW, NOW + HOUR)
        )
        assert full < 2 * empty


def pages_read(connection: apsw.Connection) -> int:
    """How often this connection has asked for a page until now."""
    kinds = (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)
    return sum(connection.status(kind)[0] for kind in kinds)


@pytest.mark.parametrize("samples", [1, 5000])
def test_a_series_with_many_samples_a_batch_is_not_in_the_way_of_others(
    db: str, samples: int
) -> None:
    """Its chunks, of twelve pages each, are not read to find those of another series."""
    batches = 100
    with SampleBook(db) as book:
        for number in (1, 2, 3):
            book.define(number, "m", labels=f'{{"n":"{number}"}}')
        times = np.full(samples, NOW, np.int64)
        for _ in range(batches):
            for series in (1, 3):
                put(book, series, times, np.ones(samples))
            book.chunks([(2, NOW, 1.0)])
        before = pages_read(book.reader)
        found = metrics.get_aggregation(book.reader, "m", NOW, NOW, labels={"n": "2"})
        assert found is not None
        assert found.count == batches
        assert pages_read(book.reader) - before < 30 * batches

"""SQL written for the document's table performance_metrics reads and writes this file.

The other program is a process of its own with the standard library's sqlite3, which knows none of
our functions, while a writer has the file open.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ax_monitor import MetricsCollector, Store
from ax_monitor.storage import metrics
from tests.elsewhere import elsewhere
from tests.sample_book import HOUR, INSERT, MINUTE, SampleBook, block

pytestmark = pytest.mark.timeout(60)

NOW = 1_700_000_000_000 // HOUR * HOUR
SELECT = (
    "SELECT id, timestamp, metric_type, value, unit, labels, tenant_id FROM performance_metrics"
)
GREATEST = sys.float_info.max


@pytest.fixture
def book(db: str) -> Iterator[SampleBook]:
    with SampleBook(db) as book:
        book.define(1, "cpu", unit="percent", labels='{"host":"a"}', tenant_id="acme")
        yield book


def spread(book: SampleBook) -> None:
    """Samples of one series in blocks, in chunks of three batches, and in rows."""
    book.chunks((1, NOW + at, float(at)) for at in range(0, 2 * MINUTE, 10_000))
    book.seal()
    for extra in range(3):
        book.chunks((1, NOW + at, at + 0.5) for at in range(extra, 2 * MINUTE, 30_000))
    book.foreign(1, NOW + 7, 7.25, "mine")


def foreign_row(number: int, **values: Any) -> list[Any]:
    """The document's seven values."""
    columns: dict[str, Any] = {
        "id": f"metric-{number}",
        "timestamp": NOW + number,
        "metric_type": "api.request.duration",
        "value": number + 0.5,
        "unit": "ms",
        "labels": '{"route": "/orders"}',
        "tenant_id": "acme",
    }
    return list({**columns, **values}.values())


def test_the_documents_insert_is_part_of_our_figures(store: Store) -> None:
    """Seven named columns from another process, beside samples of our own."""
    collector = MetricsCollector(store)
    for number in range(5):
        collector.record(
            "api.request.duration",
            100 + number,
            timestamp=NOW + number,
            labels={"route": "/orders"},
            tenant_id="acme",
        )
    collector.flush()
    rows = [foreign_row(number) for number in range(5)]
    odd = foreign_row(9, id=None, unit=None, labels=None, tenant_id=None)
    inserted, read = elsewhere(store.path, (INSERT, [*rows, odd]), (SELECT, [[]]))
    assert inserted == []
    assert len(read) == 11
    assert [row for row in read if row[0] in {row[0] for row in rows}] == rows
    (made,) = (row for row in read if row[1] == NOW + 9)
    assert made[0]
    assert made[1:] == odd[1:]
    found = collector.get_aggregation("api.request.duration", NOW, NOW + 8)
    assert found is not None
    assert (found.count, found.sum, found.min, found.max) == (10, 522.5, 0.5, 104.0)
    orders = collector.get_values("api.request.duration", 0, 2**50, labels={"route": "/orders"})
    assert len(orders[0]) == 10
    assert store.read(metrics.count_samples) == 11


def test_the_documents_queries_see_our_samples(book: SampleBook) -> None:
    """Its SELECTs, with filters, order, limit, groups and figures, over blocks, chunks and rows."""
    spread(book)
    book.define(2, "other")
    book.chunks([(2, NOW, 1.0)])
    counted, newest, figures, series, minutes = elsewhere(
        book.writer.path,
        ("SELECT count(*) FROM performance_metrics", [[]]),
        (
            "SELECT timestamp, value FROM performance_metrics WHERE metric_type = ? "
            "AND timestamp >= ? AND timestamp <= ? ORDER BY timestamp DESC, value LIMIT ?",
            [["cpu", NOW + 1, NOW + 90_000, 4]],
        ),
        (
            "SELECT count(*), avg(value), min(value), max(value) FROM performance_metrics "
            "WHERE metric_type = 'cpu' AND tenant_id = 'acme' AND timestamp < ?",
            [[NOW + MINUTE]],
        ),
        (
            "SELECT DISTINCT metric_type, unit, labels, tenant_id FROM performance_metrics "
            "ORDER BY metric_type",
            [[]],
        ),
        (
            "SELECT timestamp / 60000, count(*) FROM performance_metrics WHERE metric_type = 'cpu' "
            "GROUP BY 1 ORDER BY 1",
            [[]],
        ),
    )
    expected = book.select("cpu", NOW, NOW + HOUR)
    assert counted == [[len(expected) + 1]]
    assert newest == [
        [NOW + 90_000, 90_000.0],
        [NOW + 90_000, 90_000.5],
        [NOW + 80_000, 80_000.0],
        [NOW + 70_000, 70_000.0],
    ]
    first = [sample.value for sample in expected if sample.timestamp < NOW + MINUTE]
    assert figures == [[len(first), pytest.approx(sum(first) / len(first)), min(first), max(first)]]
    assert series == [
        ["cpu", "percent", '{"host":"a"}', "acme"],
        ["other", None, "{}", None],
    ]
    assert minutes == [[NOW // MINUTE, len(first)], [NOW // MINUTE + 1, len(expected) - len(first)]]


def test_doubles_come_through_bit_for_bit(book: SampleBook) -> None:
    """Subnormal numbers, both zeros, the greatest, and any other; from chunks and blocks."""
    chosen = [0.0, -0.0, 5e-324, -5e-324, 2.225073858507201e-308, 2.2250738585072014e-308, 0.1]
    chosen += [1e308, GREATEST, -GREATEST, 1.0, -1.0, 1 / 3, 2.0**52 + 0.5, 2.0**53 - 1, 1e-300]
    source = random.Random(20)
    while len(chosen) < 2000:
        value = struct.unpack("<d", source.randbytes(8))[0]
        if value - value == 0:
            chosen.append(value)
    book.chunks((1, NOW + at, value) for at, value in enumerate(chosen))
    ordered = "SELECT value FROM performance_metrics ORDER BY timestamp"
    for _ in range(2):
        (found,) = elsewhere(book.writer.path, (ordered, [[]]))
        assert [repr(value) for (value,) in found] == [repr(value) for value in chosen]
        book.seal()
    # Moved into rows, where SQLite knows one zero only.
    deleted, found = elsewhere(
        book.writer.path,
        ("DELETE FROM performance_metrics WHERE timestamp = ?", [[NOW]]),
        (ordered, [[]]),
    )
    assert deleted == []
    assert book.number("SELECT count(*) FROM metric_rows") == 1999
    assert [repr(value) for (value,) in found] == [repr(value + 0.0) for value in chosen[1:]]


def test_every_sample_has_an_id_of_its_own(book: SampleBook) -> None:
    """Also thousands of one moment, in several batches and blocks; in the form of a UUIDv7."""
    for _ in range(3):
        book.chunks((1, NOW, float(at)) for at in range(5000))
    book.define(0x1CE0F1D2A3B4C5D6, "cpu")
    book.chunks((0x1CE0F1D2A3B4C5D6, NOW, float(at)) for at in range(10))
    for _ in range(2):
        (rows,) = elsewhere(
            book.writer.path, ("SELECT id, timestamp FROM performance_metrics", [[]])
        )
        assert len({name for name, _ in rows}) == len(rows) == 15_010
        for name, timestamp in rows[::500]:
            assert int(name.replace("-", "")[:12], 16) == timestamp
            assert (name[14], name[19] in "89ab", len(name)) == ("7", True, 36)
        book.seal()


def test_delete_keeps_everything_in_step(book: SampleBook) -> None:
    """By id, by time, and all: the rest stays, with its ids, and in our figures."""
    spread(book)
    before = dict(book.rows("SELECT id, timestamp FROM performance_metrics"))
    gone, *_ = (name for name, timestamp in before.items() if timestamp == NOW + 20_000)
    elsewhere(book.writer.path, ("DELETE FROM performance_metrics WHERE id = ?", [[gone]]))
    del before[gone]
    book.samples = [sample for sample in book.samples if sample.timestamp != NOW + 20_000]
    assert dict(book.rows("SELECT id, timestamp FROM performance_metrics")) == before
    book.check()
    # The other minute is as it was; this one is rows.
    assert book.rows("SELECT minute FROM metric_minutes") == [(NOW // MINUTE + 1,)]
    assert book.rows("SELECT count, sketch FROM metric_hours") == [(6, None)]
    found = metrics.get_aggregation(book.reader, "cpu", NOW, NOW + HOUR)
    assert found is not None
    assert found.count == len(before)
    elsewhere(
        book.writer.path,
        ("DELETE FROM performance_metrics WHERE timestamp < ?", [[NOW + 100_000]]),
        ("DELETE FROM performance_metrics WHERE id = ? OR id = ?", [["mine", "none"]]),
    )
    book.samples = [s for s in book.samples if s.timestamp >= NOW + 100_000]
    book.check()
    elsewhere(book.writer.path, ("DELETE FROM performance_metrics", [[]]))
    book.samples = []
    book.check()
    assert metrics.count_samples(book.reader) == 0


def test_update_changes_one_sample(book: SampleBook) -> None:
    """Its value, its time, its labels, its id; wherever it was."""
    spread(book)
    answers = elsewhere(
        book.writer.path,
        ("UPDATE performance_metrics SET value = value * 2 WHERE timestamp = ?", [[NOW + 50_000]]),
        ("UPDATE performance_metrics SET timestamp = ? WHERE id = 'mine'", [[NOW - HOUR]]),
        ("UPDATE performance_metrics SET id = 'new' WHERE timestamp = ?", [[NOW + 1]]),
        ("UPDATE performance_metrics SET labels = NULL WHERE timestamp = ?", [[NOW + 60_002]]),
        (f"{SELECT} WHERE id = 'new' OR labels IS NULL ORDER BY timestamp", [[]]),
    )
    assert answers[:4] == [[]] * 4
    new, unlabelled = answers[4]
    assert new == ["new", NOW + 1, "cpu", 1.5, "percent", '{"host":"a"}', "acme"]
    assert unlabelled[1:] == [NOW + 60_002, "cpu", 60_002.5, "percent", None, "acme"]
    times, values = metrics.get_values(book.reader, "cpu", 0, 2**50)
    by_time = dict(zip(times.tolist(), values.tolist(), strict=True))
    assert by_time[NOW + 50_000] == 100_000.0
    assert by_time[NOW - HOUR] == 7.25
    assert len(times) == len(book.samples)
    labelled = metrics.get_aggregation(book.reader, "cpu", 0, 2**50, labels={"host": "a"})
    assert labelled is not None
    assert labelled.count == len(book.samples) - 1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("timestamp", None, "NOT NULL constraint failed: performance_metrics.timestamp"),
        ("timestamp", 1_700_000_000_000_000_000, "must be in milliseconds"),
        ("timestamp", -1e300, "must be in milliseconds"),
        ("timestamp", "yesterday", "must be in milliseconds"),
        ("metric_type", None, "NOT NULL constraint failed: performance_metrics.metric_type"),
        ("value", None, "NOT NULL constraint failed: performance_metrics.value"),
        ("value", "fast", "must be a finite number"),
    ],
)
def test_wrong_foreign_rows_are_refused(
    book: SampleBook, column: str, value: Any, message: str
) -> None:
    """In the words of the document's table, also on UPDATE; nothing changes."""
    book.chunks([(1, NOW, 1.0)])
    inserted, updated = elsewhere(
        book.writer.path,
        (INSERT, [foreign_row(1, **{column: value})]),
        (f"UPDATE performance_metrics SET {column} = ?", [[value]]),
    )
    assert inserted.startswith("IntegrityError: ")
    assert message in inserted
    assert message in updated
    book.check()
    assert book.number("SELECT count(*) FROM metric_chunks") == 1


@pytest.mark.parametrize("value", ["9e999", "-9e999"])
def test_infinities_are_refused(book: SampleBook, value: str) -> None:
    """They are no samples; NaN is NULL to SQLite."""
    (inserted,) = elsewhere(
        book.writer.path,
        (
            "INSERT INTO performance_metrics(timestamp, metric_type, value) "
            f"VALUES (1, 'm', {value})",
            [[]],
        ),
    )
    assert "finite number" in inserted


def test_numbers_as_text_are_numbers(book: SampleBook) -> None:
    """As in a column of a number's type."""
    inserted, read = elsewhere(
        book.writer.path,
        (INSERT, [foreign_row(1, timestamp=str(NOW), value="0.1"), foreign_row(2, value=3)]),
        (f"{SELECT} ORDER BY id", [[]]),
    )
    assert inserted == []
    assert [row[1:4] for row in read] == [
        [NOW, "api.request.duration", 0.1],
        [NOW + 2, "api.request.duration", 3.0],
    ]


def test_ids_are_unique(book: SampleBook) -> None:
    """A second row of the same id is refused, replaces the first, or is ignored, as asked for."""
    first, second, ignored, replaced, read = elsewhere(
        book.writer.path,
        (INSERT, [foreign_row(1)]),
        (INSERT, [foreign_row(1)]),
        (INSERT.replace("INSERT", "INSERT OR IGNORE", 1), [foreign_row(1, value=5)]),
        (INSERT.replace("INSERT", "INSERT OR REPLACE", 1), [foreign_row(1, value=6)]),
        (SELECT, [[]]),
    )
    assert first == ignored == replaced == []
    assert second.startswith("IntegrityError: UNIQUE")
    assert read == [foreign_row(1, value=6.0)]


def test_rows_of_one_content_share_a_series(book: SampleBook) -> None:
    """Also with a series of a recorder; NULLs are equal here."""
    elsewhere(
        book.writer.path,
        (INSERT, [foreign_row(n, unit=None, labels=None) for n in range(10)]),
        (INSERT, [["a", NOW, "cpu", 1.0, "percent", '{"host":"a"}', "acme"]]),
    )
    assert book.number("SELECT count(*) FROM metric_series") == 2
    assert book.rows("SELECT series FROM metric_rows WHERE id = 'a'") == [(1,)]


def test_damaged_blocks_harm_no_reader(book: SampleBook) -> None:
    """The view shows what can be told; deleting that works too."""
    for data in (b"x" * 11, b"", block([(60_000, 1.0), (5, float("nan")), (6, 2.0)])):
        book.batch({(1, NOW // MINUTE): data})
    rows, deleted, left = elsewhere(
        book.writer.path,
        ("SELECT timestamp, value FROM performance_metrics", [[]]),
        ("DELETE FROM performance_metrics WHERE value = 2", [[]]),
        ("SELECT count(*) FROM performance_metrics", [[]]),
    )
    assert rows == [[NOW + 5, None], [NOW + 6, 2.0]]
    assert (deleted, left) == ([], [[0]])


def test_samples_before_the_epoch(book: SampleBook) -> None:
    """Minutes and hours are rounded down, in the triggers too."""
    book.chunks((1, at, float(at)) for at in (-1, -MINUTE, -MINUTE - 1, -HOUR, -HOUR - 1))
    book.seal()
    deleted, rows = elsewhere(
        book.writer.path,
        ("DELETE FROM performance_metrics WHERE timestamp = ?", [[-MINUTE]]),
        ("SELECT timestamp FROM performance_metrics ORDER BY 1", [[]]),
    )
    assert deleted == []
    assert rows == [[-HOUR - 1], [-HOUR], [-MINUTE - 1], [-1]]
    book.samples = [sample for sample in book.samples if sample.timestamp != -MINUTE]
    book.check()


def test_both_write_at_once_and_nothing_is_lost(store: Store) -> None:
    """Another process inserts and deletes while we record and seal."""
    collector = MetricsCollector(store, flush_interval_ms=50)
    for number in range(2000):
        collector.record("both", float(number), timestamp=NOW + number)
        if number % 500 == 0:
            elsewhere(
                store.path,
                (INSERT, [foreign_row(number + n, metric_type="both") for n in range(20)]),
                ("DELETE FROM performance_metrics WHERE id = ?", [[f"metric-{number}"]]),
            )
    found = collector.get_aggregation("both", 0, 2**50)
    assert found is not None
    assert found.count == 2000 + 4 * 19

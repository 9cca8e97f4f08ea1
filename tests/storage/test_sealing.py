"""Sealing: what is sealed when, in which steps; and deletion."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator

import apsw
import pytest

from ax_monitor.errors import StorageError
from ax_monitor.storage import metrics, sealing
from ax_monitor.storage.metric_deletion import DEFINED_MS, Deletion
from ax_monitor.storage.sealing import GRACE_MS, INT64_MAX, KEPT_BATCHES, MAX_BATCHES, UNREAD_MS
from tests.sample_book import HOUR, MINUTE, SampleBook, block

NOW = 1_700_000_000_000 // HOUR * HOUR
SECOND = 1000


@pytest.fixture
def book(db: str) -> Iterator[SampleBook]:
    with SampleBook(db) as book:
        book.define(1, "m")
        yield book


def seal(book: SampleBook, now_ms: int) -> int:
    """As the pump does it; how many steps it took."""
    steps = 0
    while book.writer.seal_samples(now_ms):
        steps += 1
    return steps


def chunks(book: SampleBook) -> int:
    return book.number("SELECT count(*) FROM metric_chunks")


def test_a_minute_is_sealed_when_it_is_over(book: SampleBook) -> None:
    """Its chunks wait for the grace after its end, and the current minute's stay."""
    book.chunks([(1, NOW, 1.0), (1, NOW + MINUTE, 2.0)])
    seal(book, NOW + MINUTE + GRACE_MS - 1)
    assert chunks(book) == 2
    seal(book, NOW + MINUTE + GRACE_MS)
    assert chunks(book) == 1
    seal(book, NOW + 2 * MINUTE + GRACE_MS)
    assert chunks(book) == 0
    book.check()


def test_late_samples_join_their_block_with_the_next_minute(book: SampleBook) -> None:
    """A chunk of a sealed minute is merged into it; the hour grows by it."""
    book.chunks([(1, NOW, 1.0)])
    seal(book, NOW + 2 * MINUTE)
    book.chunks([(1, NOW + 5, 2.0), (1, NOW - 5, 3.0)])
    seal(book, NOW + 3 * MINUTE + UNREAD_MS)  # the first look at it
    seal(book, NOW + 4 * MINUTE + 2 * UNREAD_MS)
    assert chunks(book) == 0
    assert book.rows("SELECT minute, count FROM metric_minutes") == [
        (NOW // MINUTE - 1, 1),
        (NOW // MINUTE, 2),
    ]
    book.check()


def test_a_batch_stays_until_readers_of_the_feed_have_had_a_minute(book: SampleBook) -> None:
    """Chunks that have just come stay, however old their samples are."""
    now = NOW
    seal(book, now)
    for _ in range(10):
        now += 10 * SECOND
        book.chunks([(1, NOW - HOUR, 1.0)])
        arrived = now
        seal(book, now)
        assert chunks(book) > 0
    while now < arrived + UNREAD_MS + MINUTE + 10 * SECOND:
        now += 10 * SECOND
        assert chunks(book) > 0 or now > arrived + UNREAD_MS
        seal(book, now)
    assert chunks(book) == 0
    assert book.number("SELECT metric_sealed FROM recorder_state") == 10


def test_a_clock_that_is_set_back_stops_sealing_for_a_moment_only(book: SampleBook) -> None:
    """After an hour's jump back, minutes that are over by the new time are sealed again soon."""
    seal(book, NOW)
    book.chunks([(1, NOW - 2 * HOUR, 1.0)])
    seal(book, NOW + 5 * SECOND)
    seal(book, NOW - HOUR)
    for seconds in range(0, 200, 5):
        seal(book, NOW - HOUR + seconds * SECOND)
    assert chunks(book) == 0


def test_too_many_batches_are_sealed_at_once(book: SampleBook) -> None:
    """Whatever their minutes; the newest stay, for who reads the feed."""
    for number in range(MAX_BATCHES):
        book.chunks([(1, NOW + number, float(number))])
        if number == 100:
            seal(book, NOW - HOUR)
    seal(book, NOW - HOUR)
    assert chunks(book) == MAX_BATCHES
    book.chunks([(1, NOW, 0.0)])
    seal(book, NOW - HOUR)
    assert chunks(book) == KEPT_BATCHES
    book.check()


def test_sealing_goes_over_all_series_in_bounded_steps(book: SampleBook) -> None:
    """Series ids of any number; each step is one transaction, and nothing is sealed twice."""
    ids = [0, 1, 2**61, 2**62 - 1, 2**63 - 1, -(2**63), -1, *(n * 2**55 for n in range(1, 128))]
    for _ in range(3):
        book.chunks((series, NOW, float(series % 7)) for series in ids)
    steps = seal(book, NOW + 10 * MINUTE)
    assert 1 <= steps < 200
    assert chunks(book) == 0
    assert not book.writer.seal_samples(NOW + 10 * MINUTE)
    book.check()


@pytest.mark.timeout(60)
def test_sealing_ends_however_long_a_slice_takes(
    book: SampleBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a slice takes in any case, the look at each batch, may be more than it should take."""
    monkeypatch.setattr(sealing, "SLICE_S", 1e-9)
    book.chunks((number * 2**56, NOW, 1.0) for number in range(64))
    assert seal(book, NOW + 10 * MINUTE) < 1000
    assert chunks(book) == 0
    book.check()


def test_a_step_that_fails_is_done_again(book: SampleBook, db: str) -> None:
    """While another program holds the lock nothing changes; afterwards the pass goes on."""
    book.chunks([(1, NOW, 1.0)])
    book.writer._connection.set_busy_timeout(1)
    book.other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError) as caught:
        seal(book, NOW + HOUR)
    assert caught.value.kind == "locked"
    book.other.execute("COMMIT")
    seal(book, NOW + HOUR)
    assert chunks(book) == 0
    book.check()


def test_nothing_to_do_costs_no_transaction(book: SampleBook) -> None:
    """The look before it reads two rows."""
    version = book.reader.pragma("data_version")
    for minute in range(100):
        assert not book.writer.seal_samples(NOW + minute * MINUTE)
    assert book.reader.pragma("data_version") == version


def test_damaged_chunks_do_not_stop_it(book: SampleBook) -> None:
    """What is readable is sealed, what is not goes; neighbours are whole."""
    for data in (b"12345678901", b"", block([(60_000, 1.0)]), block([(1, math.nan), (2, 5.0)])):
        book.batch({(1, NOW // MINUTE): data})
    book.chunks([(1, NOW + 7, 6.0)])
    seal(book, NOW + HOUR)
    assert chunks(book) == 0
    ((count, low, high),) = book.rows("SELECT count, min, max FROM metric_minutes")
    assert (count, low, high) == (2, 5.0, 6.0)


def test_others_go_on_while_a_slice_is_sealed(book: SampleBook) -> None:
    """A step runs without the GIL: another thread makes progress meanwhile."""
    big = block((at, float(at)) for at in range(50_000))
    for _ in range(20):
        book.batch({(1, 0): big})
    counted, stop = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted
        seal(book, NOW)
        assert counted > before + 1000
    finally:
        stop.set()
        thread.join()
    assert book.number("SELECT count FROM metric_minutes") == 1_000_000


# -- deletion --------------------------------------------------------------------------------------


def test_deletion_is_exact_at_its_edge(book: SampleBook) -> None:
    """Of the minute that it cuts, the samples from the given millisecond on stay."""
    book.chunks((1, NOW + at, float(at)) for at in range(0, 3 * MINUTE, 500))
    seal(book, NOW + HOUR)
    book.chunks([(1, NOW + 1, 1.0), (1, NOW + MINUTE + 1, 1.0)])
    book.foreign(1, NOW + 2, 1.0)
    before = NOW + MINUTE + 750
    assert book.delete(before) == 120 + 1 + 2 + 1 + 1
    book.check()
    assert min(sample.timestamp for sample in book.samples) == NOW + MINUTE + 1000
    found = metrics.get_aggregation(book.reader, "m", 0, 2**50)
    assert found is not None
    assert found.count == len(book.samples) == metrics.count_samples(book.reader)


def test_deletion_keeps_the_sketch_of_the_hour(book: SampleBook) -> None:
    """What is left of the hour that it cuts has its sketch again."""
    book.chunks((1, NOW + at, float(at)) for at in range(0, 2 * HOUR, 10_000))
    seal(book, NOW + 3 * HOUR)
    book.delete(NOW + HOUR // 2 + 1)
    ((sketch, minutes),) = book.rows(
        "SELECT sketch, (SELECT count(*) FROM metric_minutes WHERE minute < ?) "
        "FROM metric_hours WHERE hour = ?",
        (NOW // MINUTE + 60, NOW // HOUR),
    )
    assert minutes == 30
    left = block((0, s.value) for s in book.samples if s.timestamp < NOW + HOUR)
    assert book.reader.execute("SELECT ax_sketch(?)", (left,)).fetchall() == [(sketch,)]


def test_deletion_is_done_in_steps(book: SampleBook) -> None:
    """Many hours of many series, and foreign rows, take several short transactions."""
    for number in range(2, 42):
        book.define(number, "n")
    book.chunks((s, NOW + h * HOUR, 1.0) for s in range(1, 42) for h in range(100))
    seal(book, NOW + 200 * HOUR)
    for at in range(1100):
        book.foreign(1, NOW + at, 1.0)
    deletion = Deletion(NOW + 90 * HOUR, NOW)
    steps = 1
    while book.writer.delete_samples(deletion):
        steps += 1
    assert deletion.deleted == 41 * 90 + 1100
    assert steps > 3
    book.samples = [s for s in book.samples if s.timestamp >= NOW + 90 * HOUR]
    book.check()


def test_series_without_samples_go_unless_they_are_fresh(book: SampleBook) -> None:
    """One with a block, a row or a chunk stays, and one that a recorder has just defined."""
    for number, name in enumerate(("block", "row", "chunk", "fresh", "old"), 2):
        book.define(number, name, defined_at=NOW - DEFINED_MS + (0 if name == "fresh" else -1))
    book.chunks([(2, NOW + HOUR, 1.0), (1, NOW, 1.0)])
    seal(book, NOW + 2 * HOUR)
    book.foreign(3, NOW + HOUR, 1.0)
    book.chunks([(4, NOW + HOUR, 1.0)])
    assert book.delete(NOW + 1, NOW) == 1
    names = [name for (name,) in book.rows("SELECT metric_type FROM metric_series ORDER BY series")]
    assert names == ["block", "row", "chunk", "fresh"]


def test_samples_without_a_series_are_deleted_too(book: SampleBook) -> None:
    """A lost definition keeps nothing alive."""
    book.chunks([(77, NOW, 1.0)])
    assert book.delete(NOW + 1) == 1
    assert metrics.count_samples(book.reader) == 0


@pytest.mark.parametrize("before", [-(2**70), 2**70])
def test_any_time_may_be_given(book: SampleBook, before: int) -> None:
    """Everything, or nothing."""
    book.chunks([(1, 2**50, 1.0), (1, -(2**50), 1.0)])
    assert book.delete(before, 2**70) == (2 if before > 0 else 0)
    book.check()


BY_KEY = re.compile(
    r"SEARCH (c|metric_chunks) USING (COVERING )?INDEX metric_chunks_key "
    r"\(batch=\? AND series>\? AND series<\?\)"
)


def test_sealing_and_deleting_walk_indexes(book: SampleBook) -> None:
    """No step reads a whole table of samples, but for the live chunks."""
    for sql in (sealing._MERGE, sealing._DELETE):
        plan = plan_of(book.writer._connection, sql)
        assert any(BY_KEY.fullmatch(step) for step in plan), plan
        assert not any(step.startswith("SCAN metric_") for step in plan), plan


def plan_of(connection: apsw.Connection, sql: str) -> list[str]:
    connection.execute(sealing._CREATE)
    values = {"low": 0, "high": 0, "minute": 0, "batch": INT64_MAX}
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]

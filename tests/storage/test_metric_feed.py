"""The feed and the history: who reads them knows every sample, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import MetricsCollector, StorageError, Store
from ax_monitor.pipeline.history import metric_history
from ax_monitor.storage import logs, metric_feed, metrics, series, traces
from ax_monitor.storage.connection import open_reader, open_writer
from ax_monitor.storage.metric_feed import Block, FeedPosition, MetricFeed
from ax_monitor.storage.migrations import MIGRATIONS
from tests.sample_book import HOUR, MINUTE, SampleBook, unblock

NOW = 1_700_000_000_000 // HOUR * HOUR
IDS = (1, 2, 3)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleBook]:
    with SampleBook(str(tmp_path_factory.mktemp("feed") / "monitor.db")) as book:
        yield book


@pytest.fixture
def fresh(book: SampleBook) -> SampleBook:
    start_anew(book)
    return book


def start_anew(book: SampleBook) -> None:
    book.clear()
    for number in IDS:
        book.define(number, f"m{number}")


def samples_of(blocks: Iterable[Block]) -> Counter[tuple[int, int, float]]:
    return Counter(
        (number, minute * MINUTE + at, value)
        for number, minute, data in blocks
        for at, value in unblock(data)
    )


class Follower:
    """Somebody who keeps all samples since a time, by the feed alone."""

    def __init__(self, book: SampleBook, ids: Iterable[int], since_ms: int) -> None:
        self.book, self.ids, self.since_ms = book, list(ids), since_ms
        self.position: FeedPosition | None = None
        self.known: Counter[tuple[int, int, float]] = Counter()
        self.gaps = 0

    def read(self) -> MetricFeed:
        feed = metric_feed.read_feed(self.book.reader, self.position, self.ids, self.since_ms)
        minutes = [minute for _, minute, _ in feed.chunks]
        assert minutes == sorted(minutes)
        if feed.gap:
            self.known.clear()
            self.gaps += 1
        self.known += Counter(
            {found: n for found, n in samples_of(feed.chunks).items() if found[1] >= self.since_ms}
        )
        self.position = feed.position
        return feed

    def expected(self) -> Counter[tuple[int, int, float]]:
        return Counter(
            (s.series, s.timestamp, s.value)
            for s in self.book.samples
            if s.series in self.ids and s.timestamp >= self.since_ms
        )


moments = st.integers(NOW - 2 * MINUTE, NOW + 2 * MINUTE) | st.integers(-2, 2)
samples = st.tuples(st.sampled_from(IDS), moments, st.floats(-1e3, 1e3).map(lambda v: v + 0.0))
steps = st.one_of(
    st.tuples(st.just("chunks"), st.lists(samples, min_size=1, max_size=5)),
    st.tuples(st.just("foreign"), samples),
    st.tuples(st.just("seal"), st.integers(0, 3)),
    st.tuples(st.just("delete one"), st.integers(0, 99)),
    st.tuples(st.just("update one"), st.integers(0, 99)),
)


@given(
    played=st.lists(steps, max_size=15),
    ids=st.sets(st.sampled_from(IDS), min_size=1),
    since_ms=moments,
    wide=st.booleans(),
)
def test_a_follower_knows_everything(
    book: SampleBook, played: list[Any], ids: set[int], since_ms: int, wide: bool
) -> None:
    """Whatever arrives, is sealed or changed by others in between, nothing is missed or doubled."""
    start_anew(book)
    # So many ids that all chunks are read instead of those of each series.
    follower = Follower(book, {*ids, *range(100, 200)} if wide else ids, since_ms)
    follower.read()
    for what, argument in played:
        if what == "chunks":
            book.chunks(argument)
        elif what == "foreign":
            book.foreign(*argument)
        elif what == "seal":
            batch = book.number("SELECT metric_batch FROM recorder_state")
            book.seal(batch=batch - argument)
        elif book.samples:
            change_one(book, argument % len(book.samples), delete=what == "delete one")
        follower.read()
        assert follower.known == follower.expected()


def change_one(book: SampleBook, index: int, *, delete: bool) -> None:
    """Another program deletes or changes one row of the view."""
    sample = book.samples.pop(index)
    ((name, *_),) = book.rows(
        "SELECT id FROM performance_metrics WHERE metric_type = ? AND timestamp = ? AND value = ? "
        "LIMIT 1",
        (book.contents[sample.series][0], sample.timestamp, sample.value),
    )
    if delete:
        book.other.execute("DELETE FROM performance_metrics WHERE id = ?", (name,))
    else:
        book.other.execute("UPDATE performance_metrics SET value = 7.5 WHERE id = ?", (name,))
        book._keep(sample.series, sample.timestamp, 7.5)


def test_what_arrives_is_told_once(fresh: SampleBook) -> None:
    """Chunks of new batches and new rows, as one block a series and minute, and then nothing."""
    follower = Follower(fresh, IDS, 0)
    assert follower.read().gap
    fresh.chunks([(1, NOW, 1.0), (2, NOW, 2.0)])
    fresh.chunks([(1, NOW, 3.0)])
    fresh.foreign(1, NOW, 4.0)
    feed = follower.read()
    assert not feed.gap
    assert [(number, unblock(data)) for number, _, data in feed.chunks] == [
        (1, [(0, 1.0), (0, 3.0), (0, 4.0)]),
        (2, [(0, 2.0)]),
    ]
    assert follower.read().chunks == ()
    fresh.seal()
    assert not follower.read().gap  # all of it had been read
    assert follower.known == follower.expected()


def test_what_was_sealed_before_it_was_read_is_a_gap(fresh: SampleBook) -> None:
    """Then everything since the given time comes again; without one, nothing."""
    follower = Follower(fresh, IDS, NOW)
    follower.read()
    fresh.chunks([(1, NOW - 1, 1.0), (1, NOW, 2.0)])
    fresh.seal()
    position = follower.position
    assert follower.read().gap
    assert follower.known == Counter({(1, NOW, 2.0): 1})
    feed = metric_feed.read_feed(fresh.reader, position, IDS, None)
    assert (feed.gap, feed.chunks) == (True, ())


@pytest.mark.parametrize("dense", [False, True])
def test_history_is_read_in_pieces(
    fresh: SampleBook, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparse hours together, dense hours apart; all samples are there, minute by minute."""
    monkeypatch.setattr(metric_feed, "PIECE_SAMPLES", 50 if dense else 10_000)
    fresh.chunks((1, NOW + at * 1000, 1.0) for at in range(600))
    fresh.chunks((2, NOW + at * HOUR, 1.0) for at in range(-50, 50))
    fresh.seal()
    fresh.chunks((3, NOW + at * HOUR, 1.0) for at in range(3))
    start, end = NOW - 20 * HOUR + 1, NOW + 20 * HOUR
    pieces = metric_feed.plan_history(fresh.reader, IDS, start, end)
    assert len(pieces) > 10 if dense else len(pieces) == 1
    found = [b for p in pieces for b in metric_feed.read_history(fresh.reader, IDS, p)]
    assert [minute for _, minute, _ in found] == sorted(minute for _, minute, _ in found)
    assert samples_of(found) == Counter(
        (s.series, s.timestamp, s.value) for s in fresh.samples if start <= s.timestamp <= end
    )
    assert metric_feed.plan_history(fresh.reader, IDS, end, start) == []
    assert metric_feed.plan_history(fresh.reader, [], start, end) == []
    assert metric_feed.plan_history(fresh.reader, IDS, -(2**70), -(2**60)) == []


# -- through a store -------------------------------------------------------------------------------


def test_a_store_follows_itself_and_other_processes(db: str) -> None:
    """What is recorded here is in the next read; so is what another store recorded."""
    with Store(db) as store, Store(db) as other:
        mine = MetricsCollector(store)
        theirs = MetricsCollector(other)
        handle = mine.series("m", labels={"k": "v"})
        handle.record(1.0)
        (found,) = store.read(series.find_series, "m")
        assert found.labels == {"k": "v"}
        first = store.read(metric_feed.read_feed, None, [found.series], since_ms=0)
        assert first.gap
        assert sum(samples_of(first.chunks).values()) == 1
        handle.record(2.0)
        theirs.record("m", 3.0, labels={"k": "v"})
        theirs.flush()
        second = store.read(metric_feed.read_feed, first.position, [found.series])
        assert not second.gap
        assert sorted(value for _, _, value in samples_of(second.chunks)) == [2.0, 3.0]
        everything = samples_of(metric_history(store, [found.series], 0, 2**50))
        assert sum(everything.values()) == 3


def test_files_from_before_there_were_series(db: str) -> None:
    """Read-only, logs and traces answer; metrics say what to do. Written to once, all is there."""
    connection = open_writer(db)
    for sql in MIGRATIONS[:2]:
        connection.execute(sql)
    connection.execute("PRAGMA user_version=2")
    connection.execute("PRAGMA application_id=0x41584D4E")
    connection.execute(
        "INSERT INTO performance_metrics VALUES "
        "('a', 5, 'm', 1.5, 'ms', '{\"k\": \"v\"}', 'acme'), ('b', 6, 'm', 2, NULL, NULL, NULL), "
        "('c', 7, 'm', 'no number', NULL, NULL, NULL), ('d', 8, 'm', 9e999, NULL, NULL, NULL)"
    )
    connection.close()
    with Store(db, read_only=True) as store:
        assert store.read(logs.count_logs) == 0
        assert store.read(traces.get_trace_stats).total_traces == 0
        for query in (
            lambda: store.read(series.find_series),
            lambda: store.read(metrics.get_aggregation, "m", 0, 9),
            lambda: store.read(metrics.get_time_series, "m", 0, 9, 1000, "avg"),
            lambda: store.read(metrics.get_values, "m", 0, 9),
            lambda: store.read(metrics.count_samples),
            lambda: store.read(series.list_metric_types),
            lambda: list(metric_history(store, [1], 0, 9)),
            lambda: store.read(metric_feed.read_feed, None, [1]),
        ):
            with pytest.raises(StorageError, match=r"schema version 2.*open it for writing once"):
                query()
    with Store(db) as store:
        assert store.read(metrics.get_values, "m", 0, 9)[1].tolist() == [1.5, 2.0]
        assert store.read(metrics.get_values, "m", 0, 9, labels={"k": "v"})[0].tolist() == [5]
    connection = open_reader(db)
    assert connection.execute("SELECT * FROM performance_metrics ORDER BY id").fetchall() == [
        ("a", 5, "m", 1.5, "ms", '{"k": "v"}', "acme"),
        ("b", 6, "m", 2.0, None, None, None),
    ]
    connection.close()


# -- series ----------------------------------------------------------------------------------------


def test_series_are_found_by_name_tenant_and_labels(fresh: SampleBook) -> None:
    """All given labels must be there, as equal texts; odd labels of other programs do no harm."""
    odd = ["{", "[1]", "null", '"x"', '{"k": 5, "n": null, "l": [1]}', "", None, '{"k":"5"}']
    for number, labels in enumerate(odd, 10):
        fresh.define(number, "odd", labels=labels)
    fresh.define(30, "odd", labels='{"a":"1","k":"5"}', tenant_id="acme", unit="ms")

    def find(name: str | None = None, **filters: Any) -> list[int]:
        return sorted(s.series for s in series.find_series(fresh.reader, name, **filters))

    assert find() == [*IDS, *range(10, 18), 30]
    assert find("odd", labels={"k": "5"}) == [14, 17, 30]
    assert find("odd", labels={"k": "5", "a": "1"}) == [30]
    assert find("odd", labels={"n": "null", "l": "[1]"}) == [14]
    assert find(labels={"k": "5"}, tenant_id="acme") == [30]
    assert find("odd", tenant_id="zeta") == find("none") == []
    (found,) = series.find_series(fresh.reader, "odd", tenant_id="acme")
    assert found.to_dict() == {
        "series": 30,
        "metric_type": "odd",
        "unit": "ms",
        "labels": {"a": "1", "k": "5"},
        "tenant_id": "acme",
    }
    assert series.list_metric_types(fresh.reader) == ["m1", "m2", "m3", "odd"]


def test_z10_a_tenants_query_never_sees_another_tenant(fresh: SampleBook) -> None:
    """Same name, same labels, blocks, chunks and rows side by side: each gets its own."""
    for number, tenant in ((50, "acme"), (51, "zeta"), (52, None)):
        fresh.define(number, "shared", tenant_id=tenant)
    for place in range(3):
        fresh.chunks((50 + n, NOW + place, float(n)) for n in range(3))
        if place == 0:
            fresh.seal()
        if place == 1:
            for n in range(3):
                fresh.foreign(50 + n, NOW + 5, float(n))
    for tenant, value in (("acme", 0.0), ("zeta", 1.0)):
        for labels in (None, {}):
            found = metrics.get_values(
                fresh.reader, "shared", 0, 2**50, tenant_id=tenant, labels=labels
            )
            assert found[1].tolist() == [value] * 4
            figures = metrics.get_aggregation(
                fresh.reader, "shared", 0, 2**50, tenant_id=tenant, labels=labels
            )
            assert figures is not None
            assert (figures.count, figures.min, figures.max) == (4, value, value)
            for interval in (1, MINUTE, HOUR):
                points = metrics.get_time_series(
                    fresh.reader, "shared", 0, 2**50, interval, "max", tenant_id=tenant
                )
                assert {point.value for point in points.data_points} == {value}
    everybody = metrics.get_aggregation(fresh.reader, "shared", 0, 2**50)
    assert everybody is not None
    assert everybody.count == 12

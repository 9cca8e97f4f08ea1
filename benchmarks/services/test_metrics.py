"""The collector: its calls against empty ones, its figures against numpy's in memory."""

from __future__ import annotations

import apsw
import numpy as np
import pytest

from ax_monitor import MetricsCollector, Store
from ax_monitor.bench.corpus import METRIC, SAMPLE_INTERVAL_MS, Corpus
from benchmarks.conftest import Against
from benchmarks.reference import axref
from benchmarks.services.conftest import RECORDS, Fetch

LABELS = {"provider": "claude", "route": "/orders", "status": "ok"}
FLUSHED = 100
POINT_MS = 300_000
RANKS = [-(-RECORDS * share // 100) - 1 for share in (50, 95, 99)]


@pytest.fixture
def metrics(store: Store) -> MetricsCollector:
    return MetricsCollector(store)


@pytest.fixture
def reader(filled: Store) -> MetricsCollector:
    return MetricsCollector(filled)


@pytest.fixture
def span(corpus_10k: Corpus) -> tuple[int, int]:
    """From the first sample to the last, in ms since the epoch."""
    until_ms = corpus_10k.samples_until_ms
    return until_ms - (RECORDS - 1) * SAMPLE_INTERVAL_MS, until_ms


# -- recording -------------------------------------------------------------------------------------


def test_record_through_handle(against: Against, store: Store, metrics: MetricsCollector) -> None:
    record = metrics.series("m", labels=LABELS).record
    against("empty call", axref.Empty().record, record, (12.5,), after=store.flush)


def test_record_by_name_and_labels(
    against: Against, store: Store, metrics: MetricsCollector
) -> None:
    against(
        "empty call",
        axref.Empty().record_sample,
        metrics.record,
        ("m", 12.5),
        {"labels": LABELS},
        after=store.flush,
    )


def test_flush_of_100(
    against: Against, store: Store, metrics: MetricsCollector, by_hand: apsw.Connection
) -> None:
    by_hand.execute("CREATE TABLE samples(series, timestamp, value)")
    rows = [(1, 1_700_000_000_000 + n, float(n)) for n in range(FLUSHED)]
    store.flush_at(buffer_size=1000, flush_interval_ms=60_000)

    def record() -> None:
        for number in range(FLUSHED):
            metrics.record("m", float(number), labels=LABELS)

    def insert() -> None:
        with by_hand:
            by_hand.executemany("INSERT INTO samples VALUES (?, ?, ?)", rows)

    against("apsw executemany, no index", insert, store.flush, before=record)


# -- reading ---------------------------------------------------------------------------------------


@pytest.fixture
def in_memory(reader: MetricsCollector, span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of all samples."""
    times, values = reader.get_values(METRIC, *span)
    assert len(values) == RECORDS
    return times, values


def test_aggregation(
    against: Against,
    reader: MetricsCollector,
    span: tuple[int, int],
    in_memory: tuple[np.ndarray, np.ndarray],
) -> None:
    _, values = in_memory

    def by_numpy() -> object:
        ranks = np.sort(values)
        return len(ranks), values.sum(), ranks[0], ranks[-1], ranks[RANKS]

    found = against(
        "numpy sorts them in memory", by_numpy, lambda: reader.get_aggregation(METRIC, *span)
    )
    assert found is not None
    assert found.p99 == np.sort(values)[RANKS[-1]]


def test_time_series(
    against: Against,
    reader: MetricsCollector,
    span: tuple[int, int],
    in_memory: tuple[np.ndarray, np.ndarray],
) -> None:
    """A point for every five minutes."""
    times, values = in_memory

    def by_numpy() -> np.ndarray:
        buckets = times // POINT_MS - times[0] // POINT_MS
        return np.bincount(buckets, values) / np.bincount(buckets)

    found = against(
        "numpy.bincount in memory",
        by_numpy,
        lambda: reader.get_time_series(METRIC, *span, POINT_MS),
    )
    assert len(found.data_points) == len(by_numpy())


def test_values(
    against: Against,
    reader: MetricsCollector,
    span: tuple[int, int],
    in_memory: tuple[np.ndarray, np.ndarray],
) -> None:
    times, values = in_memory
    against(
        "numpy copies them in memory",
        lambda: (times.copy(), values.copy()),
        lambda: reader.get_values(METRIC, *span),
    )


def test_list_metric_types(against: Against, reader: MetricsCollector, fetch_filled: Fetch) -> None:
    sql = "SELECT DISTINCT metric_type FROM metric_series ORDER BY metric_type"
    found = against("apsw fetchall", lambda: fetch_filled(sql), reader.list_metric_types)
    assert METRIC in found

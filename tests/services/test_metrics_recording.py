"""SPEC §4, recording: what a call means, and that it never harms the engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ax_monitor
from ax_monitor import MetricsCollector, MetricType, PerformanceMetric, Store
from ax_monitor.pipeline.series import OVERFLOW_LABELS
from tests.batches import read_rows
from tests.faults.harness import check_invariant


@pytest.fixture
def metrics(store: Store) -> MetricsCollector:
    return MetricsCollector(store)


@pytest.fixture
def heard(store: Store) -> Iterator[dict[str, list[Any]]]:
    """The payloads of every event of a collector, by name."""
    found: dict[str, list[Any]] = {}
    for name in ("metric.recorded", "metric.rejected"):
        store.events.on(name, found.setdefault(name, []).append)
    yield found


def series_rows(store: Store) -> list[dict[str, Any]]:
    store.flush()
    return read_rows(store.path, "SELECT * FROM metric_series ORDER BY metric_type, labels")


def values_of(metrics: MetricsCollector, name: str, **filters: Any) -> list[float]:
    return list(metrics.get_values(name, -(2**50), 2**50, **filters)[1])


def test_any_name_is_allowed(metrics: MetricsCollector) -> None:
    """Known or not, with or without labels."""
    metrics.record("anything at all", 1.5)
    metrics.record(MetricType.CPU_USAGE, 2)
    assert metrics.list_metric_types() == ["anything at all", "cpu.usage"]
    assert values_of(metrics, "cpu.usage") == [2.0]


def test_known_metrics_are_eighteen() -> None:
    """SPEC names them."""
    assert len(MetricType) == 18


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("api.request.duration", "ms"),
        ("workflow.queue.wait_time", "ms"),
        ("workflow.step.count", "count"),
        ("workflow.queue.length", "count"),
        ("cache.hit_rate", "rate"),
        ("error.rate", "rate"),
        ("cpu.usage", "percent"),
        ("worker.pool.utilization", "percent"),
        ("cache.size", "bytes"),
        ("llm.tokens", None),
    ],
)
def test_the_unit_comes_from_the_name(metrics: MetricsCollector, name: str, unit: str) -> None:
    """Unless it is given; with another unit it is another series."""
    assert metrics.series(name).unit == unit
    assert metrics.series(name, unit="furlong").unit == "furlong"
    assert metrics.series(name) is metrics.series(name, unit=unit)


def test_a_series_is_the_same_in_every_process(store: Store, tmp_path: Path) -> None:
    """Its id is a hash of what it is, in any order of the labels."""
    one = MetricsCollector(store).series("m", labels={"a": "1", "b": "2"}, tenant_id="t")
    with Store(tmp_path / "other.db") as other:
        two = MetricsCollector(other).series("m", labels={"b": "2", "a": "1"}, tenant_id="t")
        assert one.series == two.series
        assert 0 <= one.series < 2**62
        ids = {
            MetricsCollector(other).series(name, unit=unit, labels=labels, tenant_id=tenant).series
            for name in ("m", "n")
            for unit in ("ms", None)
            for labels in ({"a": "1"}, {"a": "2"}, None)
            for tenant in ("t", None)
        }
        assert len(ids) == 24


def test_what_a_series_is_stands_in_the_file(store: Store, metrics: MetricsCollector) -> None:
    """Once, whatever comes: name, unit, labels in order, tenant."""
    for value in range(3):
        metrics.record("m", value, unit="s", labels={"b": "2", "a": "1"}, tenant_id="t")
    (row,) = series_rows(store)
    assert (row["metric_type"], row["unit"], row["tenant_id"]) == ("m", "s", "t")
    assert row["labels"] == '{"a":"1","b":"2"}'
    assert values_of(metrics, "m", tenant_id="t") == [0.0, 1.0, 2.0]


def test_tenants_come_from_the_context_and_stay_apart(metrics: MetricsCollector) -> None:
    """Z10: a query with a tenant finds that tenant's samples and no others."""
    with ax_monitor.use_context(tenant_id="acme"):
        metrics.record("m", 1.0)
    metrics.record("m", 2.0, tenant_id="other")
    metrics.record("m", 3.0, labels={"tenant_id": "acme"})
    assert values_of(metrics, "m", tenant_id="acme") == [1.0]
    assert values_of(metrics, "m", tenant_id="other") == [2.0]
    assert sorted(values_of(metrics, "m")) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("labels", "stored"),
    [
        (
            {"n": 1, "t": True, "f": 1.5, "none": None},
            {"n": "1", "t": "true", "f": "1.5", "none": "null"},
        ),
        ({1: "a", "1": "b"}, {"1": "b", "1 (int)": "a"}),
        ({"deep": {"x": [1, 2]}}, {"deep": '{"x": [1, 2]}'}),
        ({"bad": "\ud800"}, {"bad": "\\ud800"}),
        ({"nul": "a\0b"}, {"nul": "a\0b"}),
        ({"password": "hunter2"}, {"password": "[redacted]"}),
        ({"x" * 2000: "y" * 2000}, {"x" * 1024: "y" * 1024}),
    ],
)
def test_odd_labels_are_made_texts(
    store: Store, metrics: MetricsCollector, labels: Any, stored: dict[str, str]
) -> None:
    """B1, B6, B11, Z5: always in the same way, and secrets don't get in."""
    metrics.record("m", 1.0, labels=labels)
    metrics.record("m", 2.0, labels=labels)
    (row,) = series_rows(store)
    assert json.loads(row["labels"]) == stored
    assert values_of(metrics, "m") == [1.0, 2.0]


def test_too_many_labels_are_cut(store: Store, metrics: MetricsCollector) -> None:
    """The first 64 in the order of their names count."""
    metrics.record("m", 1.0, labels={f"l{number:03}": "x" for number in range(200)})
    (row,) = series_rows(store)
    assert list(json.loads(row["labels"])) == [f"l{number:03}" for number in range(64)]


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("m",), {}, "positional"),
        ((None, 1.0), {}, "a metric needs a name"),
        (("", 1.0), {}, "a metric needs a name"),
        ((5, 1.0), {}, "a metric needs a name"),
        (("m", "fast"), {}, "must be a number"),
        (("m", 1.0), {"labels": "a=b"}, "labels must be a mapping"),
        (("m", 1.0), {"label": {}}, "label"),
    ],
)
def test_mistakes_in_the_program_raise(
    metrics: MetricsCollector, arguments: Any, keywords: Any, message: str
) -> None:
    """A TypeError at the call, and nothing is recorded."""
    with pytest.raises(TypeError, match=message):
        metrics.record(*arguments, **keywords)
    assert metrics.get_metric_count() == 0


def test_b5_values_that_are_not_finite(metrics: MetricsCollector, heard: Any) -> None:
    """Rejected, counted, told; the next sample is not affected."""
    metrics.record("m", float("nan"), timestamp=7)
    metrics.series("m").record(float("-inf"))
    metrics.record("m", 1.0)
    assert metrics.flush()
    assert metrics.rejected == 2
    first = heard["metric.rejected"][0]
    assert (first["metric_type"], first["timestamp"]) == ("m", 7)
    assert first["reason"] == "not a finite number"
    assert values_of(metrics, "m") == [1.0]


def test_b10_times_far_off(metrics: MetricsCollector, heard: Any) -> None:
    """Harmless ones are taken, the others counted."""
    for timestamp in (-(2**50), -1, 0, 2**50):
        metrics.record("m", 1.0, timestamp=timestamp)
    metrics.record("m", 1.0, timestamp=2**50 + 1)
    assert metrics.get_metric_count() == 4
    assert metrics.rejected == 1


def test_events_say_what_was_recorded(metrics: MetricsCollector, heard: Any) -> None:
    """Each sample through each way, as a `PerformanceMetric`."""
    metrics.record("m.duration", 1.5, labels={"a": "b"}, tenant_id="t", timestamp=7)
    metrics.series("n").record(2)
    assert metrics.record_many("o", [3.0], [8]) == 1
    assert metrics.flush()
    first, second, third = heard["metric.recorded"]
    assert first == PerformanceMetric(
        id="",
        timestamp=7,
        metric_type="m.duration",
        value=1.5,
        unit="ms",
        labels={"a": "b"},
        tenant_id="t",
    )
    assert (second.metric_type, second.value, second.unit) == ("n", 2.0, None)
    assert (third.timestamp, third.value) == (8, 3.0)


def test_a_listener_that_records_does_not_recurse(metrics: MetricsCollector) -> None:
    """What a listener records itself makes no further event."""
    heard: list[Any] = []

    def record(metric: PerformanceMetric) -> None:
        heard.append(metric)
        metrics.record("echo", 1.0)

    metrics.on("metric.recorded", record)
    metrics.record("m", 1.0)
    metrics.flush()
    metrics.off("metric.recorded", record)
    assert [metric.metric_type for metric in heard] == ["m"]
    assert values_of(metrics, "echo") == [1.0]


@pytest.mark.parametrize(
    "values", [[1, 2, 3], (1.0, 2.0, 3.0), np.array([1, 2, 3], np.int8), range(1, 4)]
)
def test_many_at_once(metrics: MetricsCollector, values: Any) -> None:
    """Whatever numpy takes for an array."""
    assert metrics.record_many("m", values, [30, 10, 20], labels={"a": "b"}) == 3
    timestamps, found = metrics.get_values("m", 0, 100)
    assert timestamps.dtype == np.int64
    assert found.dtype == np.float64
    assert list(timestamps) == [10, 20, 30]
    assert list(found) == [2.0, 3.0, 1.0]


def test_many_at_once_now(metrics: MetricsCollector) -> None:
    """Without times they are of this moment; what is not finite is left out and counted."""
    before = ax_monitor.clock.SYSTEM_CLOCK.time_ms()
    assert metrics.record_many("m", [1.0, float("nan"), 2.0]) == 2
    timestamps, _ = metrics.get_values("m", before, before + 60_000)
    assert len(timestamps) == 2
    assert metrics.rejected == 1
    assert metrics.record_many("m", []) == 0


@pytest.mark.parametrize(
    ("values", "timestamps", "error"),
    [
        ([[1.0]], None, ValueError),
        ([1.0, 2.0], [1], ValueError),
        (1.0, None, ValueError),
        (["x"], None, TypeError),
        ([1.0], ["x"], TypeError),
    ],
)
def test_arrays_that_are_none(
    metrics: MetricsCollector, values: Any, timestamps: Any, error: type[Exception]
) -> None:
    """A clear error, and nothing is recorded."""
    with pytest.raises(error, match="values and timestamps must"):
        metrics.record_many("m", values, timestamps)
    assert metrics.get_metric_count() == 0


def test_o4_too_many_label_sets_fold_into_one_series(store: Store) -> None:
    """Totals stay exact; the collector's memory and the file's tables stay small."""
    metrics = MetricsCollector(store, max_series=10)
    for number in range(20_000):
        metrics.record("bomb", 1.0, labels={"id": str(number)})
    for number in range(5):
        metrics.record("other", 1.0, labels={"id": str(number)})
    rows = series_rows(store)
    assert len(rows) == 16
    assert metrics.overflowed == 19_990
    found = metrics.get_aggregation("bomb", 0, 2**50)
    assert found is not None
    assert (found.count, found.sum) == (20_000, 20_000.0)
    assert len(values_of(metrics, "bomb", labels=OVERFLOW_LABELS)) == 19_990
    assert values_of(metrics, "bomb", labels={"id": "3"}) == [1.0]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_o4_a_million_label_sets(store: Store) -> None:
    """The default cap, and little memory."""
    import psutil

    metrics = MetricsCollector(store)
    before = psutil.Process().memory_info().rss
    for number in range(1_000_000):
        metrics.record("bomb", 1.0, labels={"id": str(number)})
    store.flush()
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    found = metrics.get_aggregation("bomb", 0, 2**50)
    assert found is not None
    assert found.count == 1_000_000 - store.stats().dropped.get("overflow", 0)


def test_many_threads(store: Store, metrics: MetricsCollector) -> None:
    """Series that several threads ask for at once are the same, and no sample is lost."""

    def work(number: int) -> None:
        for value in range(2000):
            metrics.record("m", value, labels={"n": str(value % 50)})
            metrics.series("own", labels={"thread": str(number)}).record(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(series_rows(store)) == 54
    assert metrics.get_metric_count() == 16_000
    check_invariant(store.stats())


def test_x4_recording_after_the_end_is_counted(store: Store, metrics: MetricsCollector) -> None:
    """No error, no crash: a handle that outlives its store, and a new series after it."""
    handle = metrics.series("m")
    handle.record(1.0)
    store.close()
    handle.record(2.0)
    metrics.record("n", 3.0)
    assert store.stats().dropped == {"after_close": 2}
    check_invariant(store.stats())


def test_a_collector_of_its_own_store(db: str) -> None:
    """Given a path, it opens and closes the file."""
    with MetricsCollector(db) as metrics:
        metrics.record("m", 1.0)
    with MetricsCollector(db) as metrics:
        assert values_of(metrics, "m") == [1.0]


@pytest.mark.parametrize(
    "options",
    [{"buffer_size": 0}, {"flush_interval_ms": -1}, {"max_series": 0}, {"overflow": "wait"}],
)
def test_options_out_of_range(db: str, options: dict[str, Any]) -> None:
    """Told when the collector is made, and no file is opened."""
    with pytest.raises(ValueError, match=next(iter(options))):
        MetricsCollector(db, **options)
    assert not Path(db).exists()

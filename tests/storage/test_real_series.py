"""Real series: our figures are numpy's.

From the Numenta Anomaly Benchmark (https://github.com/numenta/NAB), see tests/data/metrics/LICENSE.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ax_monitor import MetricsCollector, Store
from tests.conftest import DATA
from tests.sample_book import HOUR, MINUTE, nearest_rank

FILES = sorted((DATA / "metrics").glob("*.csv"))
Series = tuple[NDArray[np.int64], NDArray[np.float64]]


def read(path: Path) -> Series:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    times = [
        int(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC).timestamp()) * 1000
        for row in rows
    ]
    return np.array(times), np.array([float(row["value"]) for row in rows])


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[MetricsCollector, dict[str, Series]]]:
    """All series in one database: most of it sealed, the last part as it came, out of order."""
    series = {path.stem: read(path) for path in FILES}
    with Store(tmp_path_factory.mktemp("real") / "monitor.db") as store:
        metrics = MetricsCollector(store)
        for part in range(4):
            for name, (times, values) in series.items():
                order = np.random.default_rng(part).permutation(len(times))
                mine = order[order % 4 == part]
                assert metrics.record_many(name, values[mine], times[mine]) == len(mine)
            metrics.flush()
            if part < 3:
                with store._recording.pump._drain_lock:
                    while store._recording.pump._writer.seal_samples(
                        store.clock.time_ms() + part * 10**6
                    ):
                        pass
        yield metrics, series


def test_there_are_real_series() -> None:
    """Four of them, and what they are licensed under."""
    assert len(FILES) == 4
    assert "Numenta" in (DATA / "metrics" / "LICENSE").read_text()


@given(
    name=st.sampled_from([path.stem for path in FILES]),
    ends=st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)).map(sorted),
)
def test_figures_are_those_of_numpy(
    recorded: tuple[MetricsCollector, dict[str, Series]], name: str, ends: list[float]
) -> None:
    """Count, smallest, greatest and percentiles to the last bit, sum and mean to 1e-12."""
    metrics, series = recorded
    times, values = series[name]
    start, end = (int(times[0] + share * (times[-1] - times[0])) for share in ends)
    inside = values[(times >= start) & (times <= end)]
    found = metrics.get_aggregation(name, start, end)
    if len(inside) == 0:
        assert found is None
        return
    assert found is not None
    assert (found.count, found.min, found.max) == (len(inside), np.min(inside), np.max(inside))
    assert found.sum == pytest.approx(np.sum(inside), rel=1e-12, abs=0)
    assert found.avg == pytest.approx(np.mean(inside), rel=1e-12, abs=0)
    assert found.exact
    numbers = inside.tolist()
    assert found.p50 == nearest_rank(numbers, 50)
    assert found.p95 == nearest_rank(numbers, 95)
    assert found.p99 == nearest_rank(numbers, 99)


@pytest.mark.parametrize("name", [path.stem for path in FILES])
@pytest.mark.parametrize("interval_ms", [HOUR, 24 * HOUR, 30 * MINUTE, 100_000])
def test_time_series_are_those_of_numpy(
    recorded: tuple[MetricsCollector, dict[str, Series]], name: str, interval_ms: int
) -> None:
    """Each bucket's mean, greatest and 95th percentile."""
    metrics, series = recorded
    times, values = series[name]
    start, end = int(times[0]), int(times[-1])
    buckets = times // interval_ms * interval_ms
    for aggregation in ("avg", "max", "p95"):
        found = metrics.get_time_series(name, start, end, interval_ms, aggregation=aggregation)
        assert [point.timestamp for point in found.data_points] == np.unique(buckets).tolist()
        for point in found.data_points:
            inside = values[buckets == point.timestamp]
            if aggregation == "avg":
                mean = math.fsum(inside) / len(inside)
                assert point.value == pytest.approx(mean, rel=1e-12, abs=0)
            elif aggregation == "max":
                assert point.value == np.max(inside)
            else:
                assert point.value == nearest_rank(inside.tolist(), 95)


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_values_come_back_as_they_were(
    recorded: tuple[MetricsCollector, dict[str, Series]], name: str
) -> None:
    """Every sample, to the last bit, by time."""
    metrics, series = recorded
    times, values = series[name]
    found = metrics.get_values(name, 0, 2**50)
    assert found[0].tolist() == sorted(times.tolist())
    assert sorted(zip(*(part.tolist() for part in found), strict=True)) == sorted(
        zip(times.tolist(), values.tolist(), strict=True)
    )

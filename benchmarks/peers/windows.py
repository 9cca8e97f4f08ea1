"""Peers of what is read of samples: figures with percentiles of all, and a series of averages."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ax_monitor.bench.corpus import SAMPLE_INTERVAL_MS
from ax_monitor.bench.operations import DAY_MS, POINT_MS, Case
from benchmarks.peers.peer import Cases, Peer

_UNTIL_MS = 1_700_000_000_000
_SHARES = (0.5, 0.95, 0.99)


def _samples(records: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """As the corpus has them: times, and log-normal values."""
    times = _UNTIL_MS - SAMPLE_INTERVAL_MS * np.arange(records - 1, -1, -1, dtype=np.int64)
    return times, np.random.default_rng(7).lognormal(3, 1, records)


def _numpy(folder: Path, records: int) -> Cases:
    """Arrays that are in memory already, and in order of time."""
    times, values = _samples(records)

    def aggregation(number: int) -> object:
        first, last = times.searchsorted((times[0], times[-1] + 1))
        chosen = np.sort(values[first:last])
        ranks = [max(int(np.ceil(share * len(chosen))), 1) - 1 for share in _SHARES]
        total = chosen.sum()
        return len(chosen), total, total / len(chosen), chosen[0], chosen[-1], chosen[ranks]

    def time_series(number: int) -> object:
        first = times.searchsorted(_UNTIL_MS - DAY_MS)
        points, starts = np.unique(times[first:] // POINT_MS, return_index=True)
        sums = np.add.reduceat(values[first:], starts)
        counts = np.diff(starts, append=len(times) - first)
        return list(zip((points * POINT_MS).tolist(), (sums / counts).tolist(), strict=True))

    yield Case("aggregation", aggregation)
    yield Case("time series", time_series)


def _duckdb(folder: Path, records: int, *, quantile: str) -> Cases:
    import duckdb

    times, values = _samples(records)
    connection = duckdb.connect(str(folder / "samples.duckdb"))
    connection.execute("CREATE TABLE samples (time BIGINT, value DOUBLE)")
    connection.register("given", {"time": times, "value": values})
    connection.execute("INSERT INTO samples SELECT time, value FROM given")
    first_ms = int(times[0])
    aggregate = (
        f"SELECT count(*), sum(value), avg(value), min(value), max(value), {quantile}(value, [0.5, 0.95, 0.99]) "
        "FROM samples WHERE time BETWEEN ? AND ?"
    )
    series = (
        f"SELECT time // {POINT_MS} * {POINT_MS} AS point, avg(value) FROM samples "
        "WHERE time BETWEEN ? AND ? GROUP BY point ORDER BY point"
    )
    yield Case(
        "aggregation",
        lambda number: connection.execute(aggregate, (first_ms, _UNTIL_MS)).fetchall(),
    )
    yield Case(
        "time series",
        lambda number: connection.execute(series, (_UNTIL_MS - DAY_MS, _UNTIL_MS)).fetchall(),
    )


_DOES = ("aggregation", "time series")
PEERS = (
    Peer("numpy, in memory", _DOES, _numpy),
    Peer("duckdb", _DOES, partial(_duckdb, quantile="quantile_disc"), ("duckdb",)),
    Peer("duckdb, approximate", _DOES, partial(_duckdb, quantile="approx_quantile"), ("duckdb",)),
)

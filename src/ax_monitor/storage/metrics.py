"""Figures over samples. Which rows they are read from is decided in `metric_sql`.

Count, smallest and greatest are exact. Sums are compensated; one that no double can hold is the
greatest double. Percentiles are nearest ranks, from the samples themselves or from merged sketches.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import apsw

from ax_monitor._native import QuantileSketch, RecordType
from ax_monitor.model._check import is_int64
from ax_monitor.model.metrics import MetricAggregation, TimeSeries, TimeSeriesPoint
from ax_monitor.model.vocabulary import Aggregation
from ax_monitor.storage.connection import one_row, snapshot
from ax_monitor.storage.metric_sql import (
    HOUR_MS,
    MINUTE_MS,
    WIDE_SERIES,
    Range,
    blocks,
    ids_value,
    summaries,
)
from ax_monitor.storage.series import check_version, series_ids

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Points = tuple[NDArray[np.int64], NDArray[np.float64]]

EXACT_SAMPLES: Final = 100_000  # percentiles of up to so many samples are exact
PIECE_SAMPLES: Final = 8_000_000  # read at once, 16 bytes each: a blob of SQLite has up to 10^9
SHARES: Final = (0.5, 0.95, 0.99)
_SHARE: Final = dict(zip((Aggregation.P50, Aggregation.P95, Aggregation.P99), SHARES, strict=True))
_GREATEST: Final = sys.float_info.max
_POINT: Final = RecordType(TimeSeriesPoint)

_TOTALS: Final = "SELECT sum(count), sum(sum), min(min), max(max), ax_sketch_sum(sketch) FROM found"
_BUCKETS: Final = (
    "SELECT bucket, sum(count), sum(sum), min(min), max(max), ax_sketch_sum(sketch) FROM found "
    "GROUP BY bucket ORDER BY bucket"
)
_POINTS: Final = "SELECT ax_points(minute, samples) FROM found"
_VALUES: Final = "SELECT ax_values(samples) FROM found"
_COUNT: Final = (
    "SELECT (SELECT coalesce(sum(count), 0) FROM metric_hours) + "
    "(SELECT coalesce(sum(length(samples) / 10), 0) FROM metric_chunks) + "
    "(SELECT count(*) FROM metric_rows)"
)


@dataclass(frozen=True, slots=True)
class Totals:
    """Count, sum, smallest and greatest; the encoded sketch, None if not asked for, or damaged."""

    count: int
    sum: float
    min: float
    max: float
    sketch: bytes | None


class Selection:
    """The samples of a metric, tenant and labels in a range of time, to be read at one moment."""

    def __init__(
        self,
        connection: apsw.Connection,
        metric_type: str,
        period: Range,
        tenant_id: str | None,
        labels: Mapping[str, str] | None,
    ) -> None:
        self.connection = connection
        self.period = period
        series = series_ids(connection, metric_type, tenant_id, labels)
        self.is_empty = not series or period.is_empty
        self._ids = ids_value(series)
        self._wide = len(series) >= WIDE_SERIES

    def totals(self, *, sketched: bool = False) -> Totals:
        """What all samples say together; `sketched`: the sketch, too."""
        return self._totals(self.period, sketched)

    def _totals(self, period: Range, sketched: bool) -> Totals:
        ((count, total, low, high, sketch),) = self._summaries(
            _TOTALS, period=period, sketches=sketched
        )
        if not count:
            return Totals(0, 0.0, 0.0, 0.0, None)
        return Totals(count, _bounded(total), low, high, sketch if sketched else None)

    def buckets(self, interval_ms: int, *, sketches: bool) -> list[tuple[Any, ...]]:
        """(bucket, count, sum, min, max, sketch) for each interval of whole minutes."""
        return self._summaries(
            _BUCKETS,
            bucket="ax_floor_div(at, :interval)",
            hours=interval_ms % HOUR_MS == 0,
            sketches=sketches,
            interval=interval_ms,
        )

    def _summaries(
        self,
        select: str,
        *,
        period: Range | None = None,
        bucket: str = "0",
        hours: bool = True,
        sketches: bool = False,
        **more: Any,
    ) -> list[tuple[Any, ...]]:
        found = summaries(bucket=bucket, hours=hours, sketches=sketches, wide=self._wide)
        values = (period or self.period).values(hours=hours)
        return self.connection.execute(
            found + select, {"ids": self._ids, **values, **more}
        ).fetchall()

    def points(self) -> Points:
        """The samples themselves, by time."""
        import numpy as np  # noqa: PLC0415 (takes longer to import than all the rest)

        point = [("time", "<i8"), ("value", "<f8")]
        pieces = [np.frombuffer(piece, point) for piece in self._pieces(self.period, _POINTS)]
        times = np.concatenate([np.zeros(0, np.int64), *(piece["time"] for piece in pieces)])
        values = np.concatenate([np.zeros(0), *(piece["value"] for piece in pieces)])
        if np.any(times[1:] < times[:-1]):
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
        return times, values

    def values(self) -> NDArray[np.float64]:
        """Their values alone, in any order; the array is the caller's."""
        import numpy as np  # noqa: PLC0415

        pieces = [np.frombuffer(piece, "<f8") for piece in self._pieces(self.period, _VALUES)]
        return np.concatenate([np.zeros(0), *pieces])

    def _pieces(self, period: Range, select: str) -> Iterator[bytes]:
        """The samples of a range as blobs, halved until each is small enough."""
        middle = (period.start_ms + period.end_ms) // 2
        if period.start_ms < period.end_ms and self._totals(period, False).count > PIECE_SAMPLES:
            yield from self._pieces(Range(period.start_ms, middle), select)
            yield from self._pieces(Range(middle + 1, period.end_ms), select)
            return
        rows: list[tuple[Any, ...]] = self.connection.execute(
            blocks(wide=self._wide) + select, {"ids": self._ids, **period.values(hours=False)}
        ).fetchall()
        if rows[0][0]:
            yield rows[0][0]


def get_aggregation(
    connection: apsw.Connection,
    metric_type: str,
    start_ms: int,
    end_ms: int,
    *,
    tenant_id: str | None = None,
    labels: Mapping[str, str] | None = None,
    exact: bool = False,
) -> MetricAggregation | None:
    """Figures over the samples in a range; None if there are none."""
    with snapshot(connection):
        selection = Selection(
            connection, metric_type, Range.of(start_ms, end_ms), tenant_id, labels
        )
        if selection.is_empty:
            return None
        totals = selection.totals(sketched=not exact)
        if totals.count == 0:
            return None
        sketch = totals.sketch if totals.count > EXACT_SAMPLES else None
        if sketch is not None:
            quantiles = QuantileSketch.from_bytes(sketch).quantiles(SHARES, totals.min, totals.max)
        else:
            quantiles = _nearest_ranks(selection.values())
    p50, p95, p99 = quantiles
    return MetricAggregation(
        metric_type=metric_type,
        start_time=start_ms,
        end_time=end_ms,
        count=totals.count,
        sum=totals.sum,
        avg=_mean(totals.sum, totals.count, totals.min, totals.max),
        min=totals.min,
        max=totals.max,
        p50=p50,
        p95=p95,
        p99=p99,
        exact=sketch is None,
    )


def get_time_series(
    connection: apsw.Connection,
    metric_type: str,
    start_ms: int,
    end_ms: int,
    interval_ms: int,
    aggregation: Aggregation | str,
    *,
    tenant_id: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> TimeSeries:
    """One point for each interval that has samples.

    Raises:
        ValueError: the interval is not positive, or there is no such aggregation.
    """
    if not is_int64(interval_ms) or interval_ms <= 0:
        raise ValueError(f"interval_ms must be a positive integer, got {interval_ms!r}")
    wanted = Aggregation.parse(aggregation)
    with snapshot(connection):
        selection = Selection(
            connection, metric_type, Range.of(start_ms, end_ms), tenant_id, labels
        )
        points: list[tuple[int, float]] = []
        if not selection.is_empty:
            points = _points_of_summaries(selection, interval_ms, wanted)
    return TimeSeries(
        metric_type=metric_type,
        labels=dict(labels or {}),
        data_points=tuple(_POINT.make(bucket * interval_ms, value) for bucket, value in points),
    )


def get_values(
    connection: apsw.Connection,
    metric_type: str,
    start_ms: int,
    end_ms: int,
    *,
    tenant_id: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Points:
    """The samples themselves, by time: timestamps in ms, and values."""
    with snapshot(connection):
        period = Range.of(start_ms, end_ms)
        selection = Selection(connection, metric_type, period, tenant_id, labels)
        if selection.is_empty:
            selection.period = Range(1, 0)
        return selection.points()


def count_samples(connection: apsw.Connection) -> int:
    """All samples there are. Reads the summaries of all hours."""
    check_version(connection)
    return int(one_row(connection, _COUNT)[0])


# -- buckets --------------------------------------------------------------------------------------


def _points_of_summaries(
    selection: Selection, interval_ms: int, wanted: Aggregation
) -> list[tuple[int, float]]:
    """(bucket, value) from summaries where buckets are made of whole minutes, else from samples."""
    share = _SHARE.get(wanted)
    if interval_ms % MINUTE_MS or (share is not None and selection.totals().count <= EXACT_SAMPLES):
        return _points_of_samples(selection.points(), interval_ms, wanted)
    points = []
    for bucket, count, total, low, high, sketch in selection.buckets(
        interval_ms, sketches=share is not None
    ):
        if share is None:
            value = _value(wanted, interval_ms, count, _bounded(total), low, high)
        elif sketch is None:  # damaged
            return _points_of_samples(selection.points(), interval_ms, wanted)
        else:
            value = QuantileSketch.from_bytes(sketch).quantile(share, low, high)
        points.append((bucket, value))
    return points


def _points_of_samples(
    samples: Points, interval_ms: int, wanted: Aggregation
) -> list[tuple[int, float]]:
    """(bucket, value) from the samples, which are sorted by time."""
    import numpy as np  # noqa: PLC0415

    times, values = samples
    if len(times) == 0:
        return []
    buckets = times // interval_ms
    starts = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1])))
    counts = np.diff(np.append(starts, len(times)))
    share = _SHARE.get(wanted)
    if share is not None:
        ranks = np.ceil(counts * share).astype(np.int64) - 1
        found = values[np.lexsort((values, buckets))][starts + ranks]
    elif wanted is Aggregation.COUNT:
        found = counts.astype(np.float64)
    elif wanted is Aggregation.MIN:
        found = np.minimum.reduceat(values, starts)
    elif wanted is Aggregation.MAX:
        found = np.maximum.reduceat(values, starts)
    else:
        with np.errstate(over="ignore"):
            found = np.clip(np.add.reduceat(values, starts), -_GREATEST, _GREATEST)
            if wanted is Aggregation.RATE:
                found = np.clip(found / (interval_ms / 1000), -_GREATEST, _GREATEST)
        if wanted is Aggregation.AVG:
            lows = np.minimum.reduceat(values, starts)
            found = np.clip(found / counts, lows, np.maximum.reduceat(values, starts))
    return list(zip(buckets[starts].tolist(), found.tolist(), strict=True))


def _value(
    wanted: Aggregation, interval_ms: int, count: int, total: float, low: float, high: float
) -> float:
    if wanted is Aggregation.AVG:
        return _mean(total, count, low, high)
    if wanted is Aggregation.RATE:
        return _bounded(total / (interval_ms / 1000))
    return float({"sum": total, "min": low, "max": high, "count": count}[wanted])


def _mean(total: float, count: int, low: float, high: float) -> float:
    """Never beyond the samples themselves, as rounding could have it."""
    return min(max(total / count, low), high)


def _bounded(value: float) -> float:
    return min(max(value, -_GREATEST), _GREATEST)


def _nearest_ranks(values: NDArray[np.float64]) -> list[float]:
    """The SHARES of the samples, of which there is at least one. They are sorted by that."""
    values.sort()  # faster than to partition by three ranks
    return [float(values[max(1, math.ceil(len(values) * share)) - 1]) for share in SHARES]

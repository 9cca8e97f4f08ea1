"""Metrics: samples of named series, and figures over them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ax_monitor._native import MetricChannel, MetricSeries, MetricSettings
from ax_monitor.model.metrics import MetricAggregation, PerformanceMetric, TimeSeries
from ax_monitor.model.vocabulary import Aggregation
from ax_monitor.pipeline.series import SeriesBook
from ax_monitor.pipeline.service import Service, check_positive, overflow_policy
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import metrics, series
from ax_monitor.storage.metric_deletion import Deletion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


class MetricsCollector(Service, MetricChannel):
    """Samples of metrics, with units, labels and tenants, and figures over any range of time.

    `record(metric_type, value, *, unit=None, labels=None, tenant_id=None, timestamp=None)` records
    one sample: of any name (`MetricType` has the usual ones), now or at `timestamp` (ms since the
    epoch, in any order). Without a unit the name tells it (`default_unit`), without a tenant the
    context does. `series(…)` returns a handle whose `record(value)` is the fastest way. Both are
    in the store's ring when they return, and are part of any query made in this process after it.

    They never raise for storage trouble or odd data. NaN, infinities, ints too large for a float
    and timestamps beyond ±2^50 ms are rejected, counted (`rejected`) and told (`metric.rejected`);
    labels that are no texts are made texts, the first 64 of them in the order of their names count.
    A value that is no number, labels that are no mapping, and a missing name are a TypeError.

    Thread-safety: any thread, signal handler or destructor, without a lock.
    Cost: about 0.1 µs through a handle, 0.3 µs by name and labels; 24 bytes in the ring, some 13
    in the database.

    >>> import os, tempfile
    >>> with MetricsCollector(os.path.join(tempfile.mkdtemp(), "monitor.db")) as metrics:
    ...     metrics.record("api.request.duration", 12.5, labels={"route": "/orders"})
    ...     orders = metrics.series("api.request.duration", labels={"route": "/orders"})
    ...     orders.record(37.5)
    ...     found = metrics.get_aggregation("api.request.duration", 0, 2**42)
    ...     found.count, found.avg, orders.unit
    (2, 25.0, 'ms')

    Args:
        store: A `Store`, the path of a database, or None for the process's default store.
        buffer_size: Wake the writer when so many records wait (default 100).
        flush_interval_ms: Write at least so often (default 10000).
        max_series: A metric has at most so many series in this process (default 2000). The samples
            of further label sets go into one series with the label `otel.metric.overflow`.
        overflow: As of `StructuredLogger`.

    Events (`on`): `metric.recorded` (PerformanceMetric; its id is empty), `metric.rejected`
    ({metric_type, value, timestamp, reason}), `flush_error` ({error, pending}). They are those of
    the store: all its services share them.

    Raises:
        StorageError: the database can't be opened.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        buffer_size: int = 100,
        flush_interval_ms: int = 10_000,
        max_series: int = 2000,
        overflow: str = "block",
    ) -> None:
        check_positive("buffer_size", buffer_size)
        check_positive("flush_interval_ms", flush_interval_ms)
        check_positive("max_series", max_series)
        policy = overflow_policy(overflow)
        opened = self._use_store(store)
        self._book = SeriesBook(
            opened.recorder, redact=opened.options.redact is not None, max_series=max_series
        )
        self.rejected = 0
        self._metric_settings = MetricSettings(
            resolve=self._resolve,
            define=self._define,
            publish=self._publish,
            reject=self._reject,
            policy=policy,
        )
        super().__init__(self._metric_settings)
        opened.events.subscribe_changes(self._listeners_changed)
        self._listeners_changed()
        opened.flush_at(buffer_size=buffer_size, flush_interval_ms=flush_interval_ms)

    # -- recording ------------------------------------------------------------------------------

    def record_many(
        self,
        metric_type: str,
        values: ArrayLike,
        timestamps: ArrayLike | None = None,
        *,
        unit: str | None = None,
        labels: Mapping[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> int:
        """Record many samples of one series at once; how many were accepted.

        Args:
            metric_type: Name of the metric.
            values: float64[n], or what numpy makes of it.
            timestamps: int64[n] in ms since the epoch, in any order; None: all now.
            unit: As of `record`.
            labels: As of `record`.
            tenant_id: As of `record`.

        Raises:
            ValueError: the two are not one-dimensional and of one length.
            TypeError: they are no numbers.
        """
        import numpy as np  # noqa: PLC0415 (takes longer to import than all the rest)

        try:
            numbers = np.asarray(values, dtype=np.float64, order="C")
            times = None if timestamps is None else np.asarray(timestamps, np.int64, order="C")
        except ValueError as error:
            raise TypeError(f"values and timestamps must be arrays of numbers: {error}") from None
        if numbers.ndim != 1 or (times is not None and times.shape != numbers.shape):
            shape = None if times is None else times.shape
            raise ValueError(
                "values and timestamps must have one dimension and one length, "
                f"got {numbers.shape} and {shape}"
            )
        series = self.series(metric_type, unit=unit, labels=labels, tenant_id=tenant_id)
        return series.record_many(numbers, times)

    @property
    def overflowed(self) -> int:
        """How often a label set was one too many and went into an overflow series."""
        return self._book.overflowed

    def _resolve(
        self, metric_type: object, unit: object, labels: object, tenant_id: object
    ) -> tuple[MetricSeries, bool]:
        return self._book.resolve(self._metric_settings, metric_type, unit, labels, tenant_id)

    def _define(self, series: MetricSeries) -> bool:
        return self._book.define(series, self._metric_settings.policy)

    def _reject(self, metric_type: str, value: object, timestamp: object, reason: str) -> None:
        self.rejected += 1
        self._store.events.emit(
            "metric.rejected",
            {
                "metric_type": metric_type,
                "value": value,
                "timestamp": timestamp,
                "reason": reason,
            },
        )

    # -- queries --------------------------------------------------------------------------------

    def get_aggregation(
        self,
        metric_type: str,
        start_time: int,
        end_time: int,
        *,
        tenant_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        exact: bool = False,
    ) -> MetricAggregation | None:
        """Figures over the samples of a metric in a range of time; None if there are none.

        Args:
            metric_type: Name of the metric.
            start_time: First moment, in ms since the epoch, inclusive.
            end_time: Last moment, inclusive.
            tenant_id: Only samples of this tenant.
            labels: Only of series that have these labels (and perhaps more).
            exact: Percentiles from the samples themselves, however many there are. Else this is so
                up to 100,000 samples, and beyond that they are within a relative error of 1/129.

        Percentiles are nearest ranks, `sorted[ceil(n * p) - 1]`.
        Cost: hours of the range are read as one row each, so a month of a series takes a
        millisecond; `exact` reads every sample, some 20 ns each.
        """
        return self._store.read(
            metrics.get_aggregation,
            metric_type,
            start_time,
            end_time,
            tenant_id=tenant_id,
            labels=labels,
            exact=exact,
        )

    def get_time_series(
        self,
        metric_type: str,
        start_time: int,
        end_time: int,
        interval_ms: int = 60_000,
        *,
        aggregation: Aggregation | str = "avg",
        labels: Mapping[str, str] | None = None,
        tenant_id: str | None = None,
    ) -> TimeSeries:
        """A metric over time: one point for each interval that has samples.

        Args:
            metric_type: Name of the metric.
            start_time: First moment, in ms since the epoch, inclusive.
            end_time: Last moment, inclusive.
            interval_ms: Length of a bucket; buckets begin at multiples of it (default one minute).
            aggregation: What becomes of the samples of a bucket (default "avg"); "rate" is their
                sum per second of the interval.
            labels: As of `get_aggregation`.
            tenant_id: As of `get_aggregation`.

        Cost: intervals of whole hours or minutes read summaries; others read every sample.
        """
        return self._store.read(
            metrics.get_time_series,
            metric_type,
            start_time,
            end_time,
            interval_ms,
            aggregation,
            tenant_id=tenant_id,
            labels=labels,
        )

    def get_values(
        self,
        metric_type: str,
        start_time: int,
        end_time: int,
        *,
        tenant_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The samples themselves, oldest first: timestamps (int64[n], ms) and values (float64[n]).

        Both ends are inclusive; `labels` and `tenant_id` as of `get_aggregation`.
        """
        return self._store.read(
            metrics.get_values,
            metric_type,
            start_time,
            end_time,
            tenant_id=tenant_id,
            labels=labels,
        )

    def get_metric_count(self) -> int:
        """How many samples there are, of all metrics."""
        return self._store.read(metrics.count_samples)

    def list_metric_types(self) -> list[str]:
        """The names of the metrics that there are, in order."""
        return self._store.read(series.list_metric_types)

    def cleanup(self, retention_days: float = 90) -> int:
        """Delete samples at least so many days old; how many it were. In small transactions."""
        deletion = Deletion(
            self._first_moment_kept(retention_days) + 1, self._store.clock.time_ms()
        )
        self._store.delete_in_slices(lambda c, _: (0, deletion.step(c)))
        return deletion.deleted

    # -- events ---------------------------------------------------------------------------------

    def _listeners_changed(self) -> None:
        self._metric_settings.listening = self._store.events.listens("metric.recorded")

    def _publish(self, series: MetricSeries, timestamp_ms: int, value: float) -> None:
        """Called after each sample, if somebody listens."""
        self._store.events.emit_lazily(
            "metric.recorded",
            lambda: PerformanceMetric(
                id="",
                timestamp=timestamp_ms,
                metric_type=series.metric_type,
                value=value,
                unit=series.unit,
                labels=dict(series.labels),
                tenant_id=series.tenant_id,
            ),
        )

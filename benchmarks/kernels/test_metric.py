"""The metric call on a ring in memory: through a handle, by name, and of many samples."""

from __future__ import annotations

import numpy as np
import pytest

from ax_monitor._native import MetricChannel, MetricSeries, MetricSettings, RecordRing
from benchmarks.conftest import Against
from benchmarks.reference import axref

NOW = 1_700_000_000_000
MANY = 1000
LABELS = {"provider": "claude", "route": "/orders", "status": "ok"}


@pytest.fixture
def channel(ring: RecordRing) -> MetricChannel:
    """Makes one series, whatever it is asked for."""

    def resolve(*name: object) -> tuple[MetricSeries, bool]:
        return series, True

    settings = MetricSettings(
        resolve=resolve,
        define=lambda series: True,
        publish=lambda *sample: None,
        reject=lambda *sample: None,
    )
    series = MetricSeries(
        ring, settings, series=1, metric_type="m", unit=None, labels={}, tenant_id=None
    )
    return MetricChannel(settings)


def test_record_through_handle(against: Against, channel: MetricChannel) -> None:
    against("empty call", axref.Empty().record, channel.series("m").record, (12.5,))


def test_record_by_name(against: Against, channel: MetricChannel) -> None:
    against("empty call", axref.Empty().record_sample, channel.record, ("m", 12.5))


def test_record_by_name_and_labels(against: Against, channel: MetricChannel) -> None:
    named = {"labels": LABELS}
    against("empty call", axref.Empty().record_sample, channel.record, ("m", 12.5), named)


def test_record_1000(against: Against, channel: MetricChannel) -> None:
    values = np.random.default_rng(1).lognormal(3, 0.6, MANY)
    times = NOW + np.arange(MANY, dtype=np.int64)
    copy = np.empty(MANY, [("series", "<i8"), ("time", "<i8"), ("value", "<f8")])

    def by_numpy(values: np.ndarray, times: np.ndarray) -> None:
        copy["series"] = 1
        copy["time"] = times
        copy["value"] = values

    many = channel.series("m").record_many
    assert against("numpy copies them", by_numpy, many, (values, times)) == MANY

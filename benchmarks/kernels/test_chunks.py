"""Writing a batch of samples as blocks of a series and minute, against a row for each sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import numpy as np
import pytest

from ax_monitor._native import MetricSeries, MetricSettings, RecordRing
from ax_monitor.storage.writer import Writer
from benchmarks.conftest import Against

SERIES = 100
EACH = 100
NOW = 1_700_000_000_000


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[apsw.Connection]:
    opened = apsw.Connection(str(tmp_path / "by_hand.db"))
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
        opened.execute(f"PRAGMA {pragma}")
    opened.execute("CREATE TABLE samples(series, timestamp, value)")
    yield opened
    opened.close()


def test_write_10000_samples(
    against: Against, ring: RecordRing, tmp_path: Path, by_hand: apsw.Connection
) -> None:
    writer = Writer(str(tmp_path / "monitor.db"))
    settings = MetricSettings(
        resolve=lambda *name: (series[0], True),
        define=lambda series: True,
        publish=lambda *sample: None,
        reject=lambda *sample: None,
    )
    series = [
        MetricSeries(
            ring, settings, series=n + 1, metric_type="m", unit=None, labels={}, tenant_id=None
        )
        for n in range(SERIES)
    ]
    values = np.random.default_rng(1).lognormal(3, 0.6, EACH)
    times = NOW + 600 * np.arange(EACH, dtype=np.int64)
    rows = [
        (n + 1, int(time), float(value))
        for n in range(SERIES)
        for time, value in zip(times, values, strict=True)
    ]

    def fill() -> None:
        for each in series:
            each.record_many(values, times)
        ring.claim()

    def execute_many() -> None:
        with by_hand:
            by_hand.executemany("INSERT INTO samples VALUES (?, ?, ?)", rows)

    against(
        "apsw executemany",
        execute_many,
        lambda: writer.write_claim(ring),
        before=fill,
        after=ring.release,
    )
    writer.close()

"""Samples in a database, and the same samples as a plain list to compare with."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import apsw

from ax_monitor.storage.connection import open_reader
from ax_monitor.storage.metric_deletion import Deletion
from ax_monitor.storage.sealing import INT64_MAX, Slices
from ax_monitor.storage.writer import Writer

MINUTE = 60_000
HOUR = 60 * MINUTE

INSERT = (
    "INSERT INTO performance_metrics(id, timestamp, metric_type, value, unit, labels, tenant_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def block(samples: Iterable[tuple[int, float]]) -> bytes:
    """A block of (offset, value)s as they are given."""
    pairs = list(samples)
    return struct.pack(
        f"<{len(pairs)}H{len(pairs)}d",
        *(offset for offset, _ in pairs),
        *(value for _, value in pairs),
    )


def unblock(data: bytes) -> list[tuple[int, float]]:
    n, rest = divmod(len(data), 10)
    assert rest == 0
    numbers = struct.unpack(f"<{n}H{n}d", data)
    return list(zip(numbers[:n], numbers[n:], strict=True))


@dataclass(frozen=True)
class Sample:
    """One sample of the model. `arrival` orders those of one moment."""

    series: int
    timestamp: int
    value: float
    arrival: int


class SampleBook:
    """A database file and its model.

    `chunks()` is one batch of the pump, `foreign()` the INSERT of another program, `seal()` and
    `delete()` what the writer does. `samples` is what there must be.
    """

    def __init__(self, path: str) -> None:
        self.writer = Writer(path)
        self.other = apsw.Connection(path)
        self.reader = open_reader(path)
        self.samples: list[Sample] = []
        self.contents: dict[int, tuple[str, str | None, str | None, str | None]] = {}
        self.arrivals = 0

    def __enter__(self) -> SampleBook:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.reader.close()
        self.other.close()
        self.writer.close()

    def clear(self) -> None:
        for table in ("series", "chunks", "blocks", "minutes", "hours", "rows"):
            self.other.execute(f"DELETE FROM metric_{table}")
        self.samples, self.contents = [], {}

    def define(
        self,
        series: int,
        metric_type: str,
        *,
        unit: str | None = None,
        labels: str | None = "{}",
        tenant_id: str | None = None,
        defined_at: int = 0,
    ) -> int:
        """A series, as a recorder or the view's INSERT makes it."""
        self.contents[series] = (metric_type, unit, labels, tenant_id)
        self.other.execute(
            "INSERT INTO metric_series(series, metric_type, unit, labels, tenant_id, defined_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (series, *self.contents[series], defined_at),
        )
        return series

    def chunks(self, samples: Iterable[tuple[int, int, float]]) -> int:
        """One batch of (series, timestamp, value)s, in their order of arrival; its number."""
        gathered: dict[tuple[int, int], list[tuple[int, float]]] = {}
        for series, timestamp, value in samples:
            self._keep(series, timestamp, value)
            minute, offset = divmod(timestamp, MINUTE)
            gathered.setdefault((series, minute), []).append((offset, value))
        return self.batch(
            {key: block(sorted(pairs, key=lambda pair: pair[0])) for key, pairs in gathered.items()}
        )

    def batch(self, chunks: Mapping[tuple[int, int], bytes]) -> int:
        """One batch of blocks by (series, minute), whatever is in them; its number."""
        with self.other:
            self.other.execute("UPDATE recorder_state SET metric_batch = metric_batch + 1")
            batch = self.number("SELECT metric_batch FROM recorder_state")
            self.other.executemany(
                "INSERT INTO metric_chunks(batch, series, minute, samples) VALUES (?, ?, ?, ?)",
                [(batch, *key, data) for key, data in chunks.items()],
            )
        return batch

    def foreign(self, series: int, timestamp: int, value: float, name: str | None = None) -> None:
        """Insert a row through the view; the series must be defined."""
        metric_type, unit, labels, tenant_id = self.contents[series]
        self.other.execute(INSERT, (name, timestamp, metric_type, value, unit, labels, tenant_id))
        self._keep(series, timestamp, value)

    def _keep(self, series: int, timestamp: int, value: float) -> None:
        self.arrivals += 1
        self.samples.append(Sample(series, timestamp, value, self.arrivals))

    def seal(self, minute: int = INT64_MAX, batch: int = INT64_MAX) -> None:
        """A whole pass."""
        slices = Slices(minute, batch)
        while not slices.over:
            self.writer.change(slices.seal)

    def delete(self, before_ms: int, now_ms: int = 0) -> int:
        deletion = Deletion(before_ms, now_ms)
        while self.writer.delete_samples(deletion):
            pass
        self.samples = [sample for sample in self.samples if sample.timestamp >= before_ms]
        return deletion.deleted

    # -- the model's answers ----------------------------------------------------------------------

    def select(
        self,
        metric_type: str,
        start_ms: int,
        end_ms: int,
        *,
        tenant_id: str | None = None,
        series: Iterable[int] | None = None,
    ) -> list[Sample]:
        """The samples that a query must find, by time."""
        wanted = None if series is None else set(series)
        return sorted(
            (
                sample
                for sample in self.samples
                if start_ms <= sample.timestamp <= end_ms
                and sample.series in self.contents
                and self.contents[sample.series][0] == metric_type
                and (tenant_id is None or self.contents[sample.series][3] == tenant_id)
                and (wanted is None or sample.series in wanted)
            ),
            key=lambda sample: (sample.timestamp, sample.arrival),
        )

    # -- what is there ----------------------------------------------------------------------------

    def rows(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self.other.execute(sql, values).fetchall()

    def number(self, sql: str, values: Any = ()) -> int:
        ((number,),) = self.rows(sql, values)
        return int(number)

    def check(self) -> None:
        """Every sample is in one place, blocks are in order, and the summaries are true."""
        seen: list[tuple[int, int, float]] = []
        hours: dict[tuple[int, int], list[float]] = {}
        for series, minute, samples in self.rows(
            "SELECT series, minute, samples FROM metric_chunks"
        ):
            seen += [(series, minute * MINUTE + at, value) for at, value in unblock(samples)]
        for series, minute, count, total, low, high, sketch, samples in self.rows(
            "SELECT series, minute, count, sum, min, max, sketch, samples FROM metric_minutes "
            "JOIN metric_blocks USING (block)"
        ):
            pairs = unblock(samples)
            values = [value for _, value in pairs]
            assert pairs == sorted(pairs, key=lambda pair: pair[0])
            assert (count, low, high) == (len(values), min(values), max(values))
            assert same_sum(total, values)
            assert (sketch is not None) == (count >= 128)
            seen += [(series, minute * MINUTE + at, value) for at, value in pairs]
            hours.setdefault((series, minute // 60), []).extend(values)
        found = {
            (series, hour): (count, total, low, high)
            for series, hour, count, total, low, high in self.rows(
                "SELECT series, hour, count, sum, min, max FROM metric_hours"
            )
        }
        assert found.keys() == hours.keys()
        assert self.number("SELECT count(*) FROM metric_blocks") == self.number(
            "SELECT count(*) FROM metric_minutes"
        )
        for key, values in hours.items():
            count, total, low, high = found[key]
            assert (count, low, high) == (len(values), min(values), max(values))
            assert same_sum(total, values)
        seen += self.rows("SELECT series, timestamp, value FROM metric_rows")
        assert sorted(seen) == sorted((s.series, s.timestamp, s.value) for s in self.samples)


def same_sum(found: float, values: Iterable[float]) -> bool:
    """Equal to the exact sum to within 1e-12 of what was added up."""
    values = list(values)
    return abs(found - math.fsum(values)) <= 1e-12 * math.fsum(abs(value) for value in values)


def nearest_rank(values: Iterable[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // 100) - 1]

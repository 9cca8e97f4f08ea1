"""Samples as they were stored: what arrived since a moment, and what there was before."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import apsw

from ax_monitor.storage.alert_rules import as_bytes, parsed_labels, readable

MINUTE_MS: Final = 60_000
Block = tuple[int, int, bytes]
"""(series, minute, samples): `samples` as in metric_chunks."""

_SERIES: Final = (
    f"SELECT series, {as_bytes(('metric_type', 'labels', 'tenant_id'))} FROM metric_series "
)
_HISTORY: Final = """
WITH wanted(series) AS MATERIALIZED (SELECT value FROM json_each(:series))
SELECT m.series, m.minute, m.samples FROM wanted
  CROSS JOIN metric_minutes m ON m.series = wanted.series AND m.minute BETWEEN :first AND :last
UNION ALL
SELECT series, minute, samples FROM metric_chunks
  WHERE minute BETWEEN :first AND :last AND series IN wanted
UNION ALL
SELECT r.series, r.timestamp, r.value FROM wanted
  CROSS JOIN metric_rows r ON r.series = wanted.series
  AND r.timestamp BETWEEN :first * 60000 AND :last * 60000 + 59999
"""
_ROW: Final = struct.Struct("<Hd")


@dataclass(frozen=True, slots=True)
class FeedSeries:
    """What a series is, as far as rules want to know."""

    series: int
    metric_type: str
    labels: dict[str, str]
    tenant_id: str | None


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """How far a feed has been read: batches of recorders, rows of other programs."""

    batch: int
    row: int


def feed_position(connection: apsw.Connection) -> FeedPosition:
    """Where a feed begins that is to bring what is not stored yet."""
    ((batch, row),) = connection.execute(
        "SELECT metric_batch, (SELECT coalesce(max(seq), 0) FROM metric_rows) FROM recorder_state"
    ).fetchall()
    assert isinstance(batch, int)
    assert isinstance(row, int)
    return FeedPosition(batch, row)


def has_gap(connection: apsw.Connection, after: FeedPosition) -> bool:
    """Whether chunks that came after a position may have been sealed already."""
    ((sealed,),) = connection.execute("SELECT metric_sealed FROM recorder_state").fetchall()
    assert isinstance(sealed, int)
    return sealed > after.batch


def feed(connection: apsw.Connection, after: FeedPosition) -> Iterator[Block]:
    """What has arrived since a position, of all series and from every process."""
    for series, minute, samples in connection.execute(
        "SELECT series, minute, samples FROM metric_chunks WHERE batch > ?", (after.batch,)
    ):
        yield series, minute, samples
    for series, timestamp, value in connection.execute(
        "SELECT series, timestamp, value FROM metric_rows WHERE seq > ?", (after.row,)
    ):
        yield _block(series, timestamp, value)


def history(
    connection: apsw.Connection,
    series: Iterable[int],
    start_ms: int,
    end_ms: int,
    *,
    in_order: bool = False,
) -> Iterator[Block]:
    """What is stored of series in the minutes of a range; by minute, if asked for."""
    rows = connection.execute(
        _HISTORY + ("ORDER BY 2" if in_order else ""),
        {
            "series": json.dumps(list(series)),
            "first": start_ms // MINUTE_MS,
            "last": end_ms // MINUTE_MS,
        },
    )
    for series_id, place, samples in rows:
        if isinstance(samples, bytes):
            yield series_id, place, samples
        else:
            yield _block(series_id, place, samples)


def find_series(connection: apsw.Connection, metric_types: Iterable[str]) -> list[FeedSeries]:
    """The series of some metrics."""
    rows = connection.execute(
        f"{_SERIES} WHERE metric_type IN (SELECT value FROM json_each(?))",
        (json.dumps(list(metric_types)),),
    )
    return [_series(row) for row in rows]


def get_series(connection: apsw.Connection, series: Iterable[int]) -> list[FeedSeries]:
    """The series with these ids, as far as there are."""
    rows = connection.execute(
        f"{_SERIES} WHERE series IN (SELECT value FROM json_each(?))", (json.dumps(list(series)),)
    )
    return [_series(row) for row in rows]


def _series(row: tuple[object, ...]) -> FeedSeries:
    series, metric_type, labels, tenant_id = row
    assert isinstance(series, int)
    return FeedSeries(
        series,
        readable(metric_type),
        parsed_labels(labels),
        None if tenant_id is None else readable(tenant_id),
    )


def _block(series: int, timestamp: int, value: float) -> Block:
    minute, offset = divmod(timestamp, MINUTE_MS)
    return series, minute, _ROW.pack(offset, value)

"""Samples as blocks, for who keeps windows of his own: what was stored, and what comes in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from ax_monitor.storage.connection import one_row, snapshot
from ax_monitor.storage.metric_sql import (
    MINUTE_MS,
    WIDE_SERIES,
    Range,
    arrivals,
    blocks,
    ids_value,
    sizes,
)
from ax_monitor.storage.series import check_version

PIECE_SAMPLES: Final = 1_000_000  # of history read at once, if it can be told apart: 10 MB

Block = tuple[int, int, bytes]  # series, minute, samples (see samples.pxd)

_MERGED: Final = (
    "SELECT series, minute, ax_merge(samples, rank) FROM found WHERE samples IS NOT NULL "
    "GROUP BY minute, series ORDER BY minute, series"
)
_SIZES: Final = "SELECT hour, sum(count), max(unsealed) FROM found GROUP BY hour ORDER BY hour"
_POSITION: Final = (
    "SELECT metric_batch, (SELECT coalesce(max(seq), 0) FROM metric_rows), metric_changed, "
    "metric_sealed FROM recorder_state"
)


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """Up to where samples have been read.

    Args:
        batch: The last batch of chunks.
        row: The last foreign row.
        changed: How often other programs had changed or deleted samples.
    """

    batch: int
    row: int
    changed: int


@dataclass(frozen=True, slots=True)
class MetricFeed:
    """What has arrived.

    Args:
        position: Pass it to the next call.
        gap: What arrived can't be told: there was no position before, or some of it has been sealed
            already, or another program has changed samples. Forget what you have; `chunks` is then
            everything stored since `since_ms` (without that, nothing).
        chunks: (series, minute, samples), minute by minute.
    """

    position: FeedPosition
    gap: bool
    chunks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a range of time that is read at once."""

    period: Range
    unsealed: bool  # there are chunks in it


def plan_history(
    connection: apsw.Connection, ids: Sequence[int], start_ms: int, end_ms: int
) -> list[Piece]:
    """The pieces, in order, that have everything stored of these series in a range."""
    check_version(connection)
    period = Range.of(start_ms, end_ms)
    if period.is_empty or not ids:
        return []
    hours: list[tuple[Any, ...]] = connection.execute(
        sizes(wide=len(ids) >= WIDE_SERIES) + _SIZES,
        {"ids": ids_value(ids), **period.values(hours=False)},
    ).fetchall()
    return list(_pieces(period, hours))


def _pieces(period: Range, hours: Sequence[tuple[int, int, int]]) -> Iterator[Piece]:
    """Put sparse hours together and take dense ones apart."""
    gathered: list[int] = []
    size, unsealed = 0, False
    for hour, count, has_chunks in hours:
        if gathered and size + count > PIECE_SAMPLES:
            yield _piece(period, gathered[0] * 60, gathered[-1] * 60 + 59, unsealed)
            gathered, size, unsealed = [], 0, False
        if count > PIECE_SAMPLES:
            minutes = max(1, 60 * PIECE_SAMPLES // count)
            for first in range(hour * 60, hour * 60 + 60, minutes):
                last = min(first + minutes, hour * 60 + 60) - 1
                piece = _piece(period, first, last, bool(has_chunks))
                if not piece.period.is_empty:
                    yield piece
            continue
        gathered.append(hour)
        size += count
        unsealed = unsealed or bool(has_chunks)
    if gathered:
        yield _piece(period, gathered[0] * 60, gathered[-1] * 60 + 59, unsealed)


def _piece(period: Range, first_minute: int, last_minute: int, unsealed: bool) -> Piece:
    start_ms = max(period.start_ms, first_minute * MINUTE_MS)
    end_ms = min(period.end_ms, last_minute * MINUTE_MS + MINUTE_MS - 1)
    return Piece(Range(start_ms, end_ms), unsealed)


def read_history(connection: apsw.Connection, ids: Sequence[int], piece: Piece) -> list[Block]:
    """The samples of a piece, one block a series and minute."""
    found = blocks(wide=len(ids) >= WIDE_SERIES, chunks=piece.unsealed)
    values = {"ids": ids_value(ids), **piece.period.values(hours=False)}
    return _blocks(connection, found + _MERGED, values)


def read_feed(
    connection: apsw.Connection,
    after: FeedPosition | None,
    ids: Sequence[int],
    since_ms: int | None = None,
) -> MetricFeed:
    """What has arrived since `after`; see `MetricFeed`. All at one moment."""
    check_version(connection)
    with snapshot(connection):
        batch, row, changed, sealed = one_row(connection, _POSITION)
        position = FeedPosition(batch, row, changed)
        if after is None or not sealed <= after.batch <= batch or changed != after.changed:
            chunks: list[Block] = []
            if since_ms is not None:
                for piece in plan_history(connection, ids, since_ms, 2**62):
                    chunks += read_history(connection, ids, piece)
            return MetricFeed(position, True, tuple(chunks))
        found = arrivals(wide=len(ids) >= WIDE_SERIES)
        values = {"ids": ids_value(ids), "batch": after.batch, "row": after.row}
        return MetricFeed(position, False, tuple(_blocks(connection, found + _MERGED, values)))


def _blocks(connection: apsw.Connection, sql: str, values: dict[str, Any]) -> list[Block]:
    return [
        (series, minute, bytes(samples))
        for series, minute, samples in connection.execute(sql, values)
        if samples
    ]

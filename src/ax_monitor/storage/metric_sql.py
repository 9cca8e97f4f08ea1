"""SQL over samples, wherever they are: the pieces that metric queries are put together from.

A range of time is read from the coarsest place that has it exactly:

    whole hours             one row of metric_hours a series, if hours are asked for
    other whole minutes     one row of metric_minutes, without its samples
    the first and last one  the block of the minute, sliced
    what is not sealed yet  the chunks; of each live batch by key, or all of them (`wide`)
    foreign rows            metric_rows

Parameters: `:ids` is a JSON array of series ids, the others are those of `Range.values`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
TIME_LIMIT_MS: Final = 2**50  # no sample is further from the epoch
WIDE_SERIES: Final = 64  # from so many series on, reading all chunks is faster than seeking

# The batches that have chunks. Each costs one seek, there are some hundred at most.
BATCHES: Final = (
    "batches(batch) AS (SELECT min(batch) FROM metric_chunks UNION ALL "
    "SELECT (SELECT min(c.batch) FROM metric_chunks c WHERE c.batch > batches.batch) "
    "FROM batches WHERE batches.batch IS NOT NULL)"
)
_WITH: Final = f"WITH RECURSIVE ids(series) AS (SELECT value FROM json_each(:ids)), {BATCHES}"
_ROWS: Final = (
    "ids i CROSS JOIN metric_rows r INDEXED BY metric_rows_series "
    "ON r.series = i.series AND r.timestamp BETWEEN :start AND :end AND typeof(r.value) = 'real'"
)
_ROW_MINUTE: Final = f"ax_floor_div(r.timestamp, {MINUTE_MS})"
_ROW_BLOCK: Final = f"ax_block(r.timestamp - {MINUTE_MS} * {_ROW_MINUTE}, r.value)"
_ROW_RANK: Final = "(1 << 62) + r.seq"  # behind all batches


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time, both ends inclusive, in milliseconds since the epoch."""

    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, start_ms: int, end_ms: int) -> Range:
        """What of a range can have samples; it may be empty."""
        return cls(max(start_ms, -TIME_LIMIT_MS), min(end_ms, TIME_LIMIT_MS))

    @property
    def is_empty(self) -> bool:
        """Whether it ends before it begins."""
        return self.start_ms > self.end_ms

    def values(self, *, hours: bool) -> dict[str, int]:
        """What the queries bind: which hours, minutes and blocks the range is made of.

        `hour_from` to `hour_to` are its whole hours; `minute_from` to `hole_from` and `hole_to` to
        `minute_to` its whole minutes around them; `first` and `last` the minutes of its ends, which
        are read from their blocks where they are not whole.
        """
        first, last = self.start_ms // MINUTE_MS, self.end_ms // MINUTE_MS
        minute_from = -(-self.start_ms // MINUTE_MS)
        minute_to = (self.end_ms + 1) // MINUTE_MS - 1
        hour_from = -(-self.start_ms // HOUR_MS)
        hour_to = (self.end_ms + 1) // HOUR_MS - 1
        if not hours or hour_from > hour_to:
            hour_from, hour_to = 1, 0
            hole_from, hole_to = minute_to, minute_to + 1
        else:
            hole_from, hole_to = hour_from * 60 - 1, hour_to * 60 + 60
        return {
            "start": self.start_ms,
            "end": self.end_ms,
            "first": first,
            "last": last,
            "first_part": first if first < minute_from else last,
            "last_part": last if last > minute_to else first,
            "parts": int(first < minute_from or last > minute_to),
            "minute_from": minute_from,
            "hole_from": hole_from,
            "hole_to": hole_to,
            "minute_to": minute_to,
            "hour_from": hour_from,
            "hour_to": hour_to,
        }


def ids_value(series: Iterable[int]) -> str:
    """What `:ids` is bound to."""
    return json.dumps(list(series))


def _chunks(wide: bool) -> str:
    if wide:
        return "metric_chunks c WHERE +c.series IN (SELECT series FROM ids)"
    return (
        "batches b CROSS JOIN ids i CROSS JOIN metric_chunks c "
        "ON c.batch = b.batch AND c.series = i.series WHERE true"
    )


@lru_cache(maxsize=4)
def blocks(*, wide: bool, chunks: bool = True) -> str:
    """A table `found(series, minute, rank, samples)`: every sample of a range, in blocks.

    Samples of one series and millisecond are in the order of arrival by `rank`. `samples` is NULL
    where nothing is left of a block. Without `chunks`, only what is sealed and foreign rows.
    """
    arms = [
        "SELECT m.series, m.minute, 0, CASE WHEN m.minute IN (:first, :last) "
        "THEN ax_slice(m.minute, m.samples, :start, :end) ELSE m.samples END "
        "FROM ids i CROSS JOIN metric_minutes m ON m.series = i.series "
        "AND m.minute BETWEEN :first AND :last",
        f"SELECT r.series, {_ROW_MINUTE}, {_ROW_RANK}, {_ROW_BLOCK} FROM {_ROWS}",
    ]
    if chunks:
        arms.insert(
            1,
            "SELECT c.series, c.minute, c.batch, ax_slice(c.minute, c.samples, :start, :end) "
            f"FROM {_chunks(wide)} AND c.minute BETWEEN :first AND :last",
        )
    return f"{_WITH}, found(series, minute, rank, samples) AS ({' UNION ALL '.join(arms)}) "


@lru_cache(maxsize=2)
def arrivals(*, wide: bool) -> str:
    """A table `found(series, minute, rank, samples)`: what came after `:batch` and `:row`."""
    if wide:
        source = "metric_chunks c WHERE c.batch > :batch AND +c.series IN (SELECT series FROM ids)"
    else:
        source = (
            "fresh b CROSS JOIN ids i CROSS JOIN metric_chunks c "
            "ON c.batch = b.batch AND c.series = i.series"
        )
    return (
        f"{_WITH}, fresh(batch) AS (SELECT min(batch) FROM metric_chunks WHERE batch > :batch "
        "UNION ALL SELECT (SELECT min(c.batch) FROM metric_chunks c WHERE c.batch > fresh.batch) "
        "FROM fresh WHERE fresh.batch IS NOT NULL), found(series, minute, rank, samples) AS ("
        f"SELECT c.series, c.minute, c.batch, c.samples FROM {source} UNION ALL "
        f"SELECT r.series, {_ROW_MINUTE}, {_ROW_RANK}, {_ROW_BLOCK} FROM metric_rows r "
        "WHERE r.seq > :row AND +r.series IN (SELECT series FROM ids)) "
    )


@lru_cache(maxsize=2)
def sizes(*, wide: bool) -> str:
    """A table `found(hour, count, unsealed)`: about how many samples the hours of a range have."""
    return (
        f"{_WITH}, found(hour, count, unsealed) AS ("
        "SELECT h.hour, h.count, 0 FROM ids i CROSS JOIN metric_hours h ON h.series = i.series "
        "AND h.hour BETWEEN ax_floor_div(:first, 60) AND ax_floor_div(:last, 60) UNION ALL "
        "SELECT ax_floor_div(c.minute, 60), length(c.samples) / 10, 1 "
        f"FROM {_chunks(wide)} AND c.minute BETWEEN :first AND :last UNION ALL "
        f"SELECT ax_floor_div(r.timestamp, {HOUR_MS}), 1, 0 FROM {_ROWS}) "
    )


@lru_cache(maxsize=16)
def summaries(*, bucket: str, hours: bool, sketches: bool, wide: bool) -> str:
    """A table `found(bucket, count, sum, min, max, sketch)`: summaries of all parts of a range.

    Args:
        bucket: An expression over `at`, the time in ms at which a part begins.
        hours: Whether hours are small enough for a bucket.
        sketches: Whether `sketch` is filled in.
        wide: Read all chunks, instead of seeking those of each series.
    """

    def arm(table: str, unit_ms: int, column: str, low: str, high: str) -> str:
        at = f"({unit_ms} * t.{column})"
        return (
            f"SELECT {bucket.replace('at', at)}, t.count, t.sum, t.min, t.max, "
            f"{_sketch_of(table) if sketches else 'NULL'} FROM ids i CROSS JOIN {table} t "
            f"ON t.series = i.series AND t.{column} BETWEEN {low} AND {high}"
        )

    arms = [
        arm("metric_minutes", MINUTE_MS, "minute", ":minute_from", ":hole_from"),
        arm("metric_minutes", MINUTE_MS, "minute", ":hole_to", ":minute_to"),
        f"SELECT {bucket.replace('at', f'({MINUTE_MS} * minute)')}, ax_figure(summary, 0), "
        "ax_figure(summary, 1), ax_figure(summary, 2), ax_figure(summary, 3), "
        "ax_figure(summary, 4) FROM pieces WHERE summary IS NOT NULL",
        f"SELECT {bucket.replace('at', 'r.timestamp')}, 1, r.value, r.value, r.value, "
        f"{'ax_sketch(ax_block(0, r.value))' if sketches else 'NULL'} FROM {_ROWS}",
    ]
    if hours:
        arms.append(arm("metric_hours", HOUR_MS, "hour", ":hour_from", ":hour_to"))
    return (
        f"{_WITH}, pieces(minute, summary) AS MATERIALIZED ("
        f"SELECT m.minute, ax_summary(m.minute, m.samples, :start, :end, {sketches:d}, m.sketch) "
        "FROM ids i CROSS JOIN metric_minutes m ON m.series = i.series "
        "AND m.minute IN (:first_part, :last_part) AND :parts "
        "UNION ALL SELECT c.minute, "
        f"ax_summary(c.minute, c.samples, :start, :end, {sketches:d}, NULL) "
        f"FROM {_chunks(wide)} AND c.minute BETWEEN :first AND :last), "
        f"found(bucket, count, sum, min, max, sketch) AS ({' UNION ALL '.join(arms)}) "
    )


def _sketch_of(table: str) -> str:
    if table == "metric_minutes":
        return "coalesce(t.sketch, ax_sketch(t.samples))"
    return (
        "CASE WHEN t.sketch IS NULL THEN (SELECT ax_sketch_sum(coalesce(m.sketch, "
        "ax_sketch(m.samples))) FROM metric_minutes m WHERE m.series = t.series "
        "AND m.minute BETWEEN 60 * t.hour AND 60 * t.hour + 59) ELSE t.sketch END"
    )

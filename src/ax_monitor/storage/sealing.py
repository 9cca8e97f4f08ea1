"""Sealing: the chunks of minutes that are over become blocks with summaries.

Once a minute, and whenever there are too many batches with chunks, a *pass* goes over all series, a
slice of them at a time (ids are spread evenly). Each slice is one short transaction, all of it SQL
that runs without the GIL:

    chunks of the slice      merged into one block a series and minute
    metric_hours             grows by what these say
    metric_blocks            gets them, joined with the block that is there already
    metric_minutes           gets what the blocks say now
    metric_chunks            loses them

Samples that come late are chunks again, and are merged into their block by the next pass.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import apsw

from ax_monitor.storage.connection import one_row
from ax_monitor.storage.metric_sql import BATCHES, MINUTE_MS, TIME_LIMIT_MS

GRACE_MS: Final = 30_000  # a minute is over so long after its end: most late samples have come then
UNREAD_MS: Final = 90_000  # chunks stay so long: who reads the feed once a minute finds them
MAX_BATCHES: Final = 512  # with more live batches everything is sealed at once: each costs a seek …
KEPT_BATCHES: Final = 64  # … but the newest, for who reads the feed
SKETCHED_SAMPLES: Final = 128  # a minute with fewer has no sketch: it would be longer than they are

SLICE_S: Final = 0.02  # what a slice should take …
LEAST_SHARE: Final = 4  # … or so many times what it takes in any case
SERIES_END: Final = 2**62  # series ids are below
FIRST_WIDTH: Final = SERIES_END // 64
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


def summary_of(samples: str) -> str:
    """What a block says, all of it."""
    return f"ax_summary(minute, {samples}, {-TIME_LIMIT_MS * 2}, {TIME_LIMIT_MS * 2}, 1, NULL)"


# Of a `summary`: the columns of metric_minutes from `count` to `sketch`.
FIGURES: Final = (
    "ax_figure(summary, 0), ax_figure(summary, 1), ax_figure(summary, 2), ax_figure(summary, 3), "
    f"CASE WHEN ax_figure(summary, 0) >= {SKETCHED_SAMPLES} THEN ax_figure(summary, 4) END"
)
# What a slice consists of: blocks, what they say (see samples.pyx), and where they go.
_CREATE: Final = (
    "CREATE TEMP TABLE IF NOT EXISTS sealing(number INTEGER PRIMARY KEY, series INTEGER, "
    "minute INTEGER, batch INTEGER, samples BLOB, summary BLOB, block INTEGER)"
)
# The chunks of a slice: `metric_chunks c`, of the live batches up to one, and of minutes up to one.
_CHUNKS: Final = (
    "batches b CROSS JOIN metric_chunks c ON c.batch = b.batch "
    "AND c.series BETWEEN :low AND :high WHERE b.batch <= :batch AND c.minute <= :minute"
)
_MERGE: Final = (
    f"WITH RECURSIVE {BATCHES} "
    "INSERT INTO temp.sealing(series, minute, batch, samples, summary, block) "
    f"SELECT series, minute, batch, samples, {summary_of('samples')}, (SELECT m.block "
    "FROM metric_minutes m WHERE m.series = f.series AND m.minute = f.minute) FROM ("
    "SELECT c.series AS series, c.minute AS minute, max(c.batch) AS batch, "
    f"ax_merge(c.samples, c.batch) AS samples FROM {_CHUNKS} GROUP BY c.series, c.minute) f"
)
_GROW_HOURS: Final = (
    "INSERT INTO metric_hours(series, hour, count, sum, min, max, sketch) "
    "SELECT series, ax_floor_div(minute, 60), sum(ax_figure(summary, 0)), "
    "ax_add(sum(ax_figure(summary, 1)), 0), min(ax_figure(summary, 2)), "
    "max(ax_figure(summary, 3)), ax_sketch_sum(ax_figure(summary, 4)) "
    "FROM temp.sealing WHERE samples IS NOT NULL GROUP BY 1, 2 "
    "ON CONFLICT(series, hour) DO UPDATE SET count = count + excluded.count, "
    "sum = ax_add(sum, excluded.sum), min = min(min, excluded.min), max = max(max, excluded.max), "
    # Once it is NULL it stays so: some of the hour is not in it.
    "sketch = CASE WHEN sketch IS NOT NULL THEN ax_sketch_add(sketch, excluded.sketch) END"
)
_JOIN_BLOCKS: Final = (
    f"UPDATE temp.sealing SET (samples, summary) = (SELECT joined, {summary_of('joined')} FROM ("
    "SELECT ax_join((SELECT b.samples FROM metric_blocks b WHERE b.block = sealing.block), "
    "sealing.samples) AS joined LIMIT 1)) WHERE block IS NOT NULL AND samples IS NOT NULL"
)
_PUT_BLOCKS: Final = (
    "INSERT OR REPLACE INTO metric_blocks(block, samples) "
    "SELECT coalesce(block, :last + number), samples FROM temp.sealing WHERE samples IS NOT NULL"
)
_PUT_MINUTES: Final = (
    "INSERT OR REPLACE INTO metric_minutes(series, minute, count, sum, min, max, sketch, block) "
    f"SELECT series, minute, {FIGURES}, coalesce(block, :last + number) FROM temp.sealing "
    "WHERE samples IS NOT NULL"
)
_LAST_BLOCK: Final = "SELECT coalesce(max(block), 0) FROM metric_blocks"
_TELL: Final = (
    "UPDATE recorder_state SET metric_sealed = max(metric_sealed, "
    "coalesce((SELECT max(batch) FROM temp.sealing), 0))"
)
_DELETE: Final = (
    f"WITH RECURSIVE {BATCHES} DELETE FROM metric_chunks WHERE batch IN "
    "(SELECT batch FROM batches WHERE batch <= :batch) "
    "AND series BETWEEN :low AND :high AND minute <= :minute"
)
_STATE: Final = (
    "SELECT (SELECT min(batch) FROM metric_chunks), (SELECT metric_batch FROM recorder_state)"
)


@dataclass(slots=True)
class Slices:
    """A pass over all series, a slice at a time.

    Args:
        minute: Chunks up to this minute are sealed.
        batch: Chunks up to this batch are sealed.
    """

    minute: int
    batch: int
    low: int = INT64_MIN
    width: int = FIRST_WIDTH
    least_s: float = 0.0  # what an empty slice takes, once it is known: the look at each batch

    @property
    def over(self) -> bool:
        """All series have had their turn."""
        return self.low > INT64_MAX

    def seal(self, connection: apsw.Connection) -> None:
        """Seal the next slice; in a transaction. It counts as done only once this has returned."""
        begun = time.monotonic()
        high = max(self.low, 0) + self.width - 1
        if high >= SERIES_END - 1:
            high = INT64_MAX
        found = _seal(connection, self.low, high, self.minute, self.batch)
        took_s = max(time.monotonic() - begun, 1e-6)
        self.low = high + 1
        if found:
            factor = max(SLICE_S, LEAST_SHARE * self.least_s) / took_s
        else:  # however long it took: a narrower one would take as long
            factor, self.least_s = 4.0, min(self.least_s or took_s, took_s)
        self.width = max(1, int(self.width * min(max(factor, 0.125), 4.0)))


def _seal(connection: apsw.Connection, low: int, high: int, minute: int, batch: int) -> bool:
    """Seal a slice; whether there was anything in it."""
    values: dict[str, Any] = {"low": low, "high": high, "minute": minute, "batch": batch}
    connection.execute(_CREATE)
    connection.execute(_MERGE, values)
    if connection.changes() == 0:
        return False
    connection.execute(_GROW_HOURS)
    connection.execute(_JOIN_BLOCKS)
    (last,) = one_row(connection, _LAST_BLOCK)
    connection.execute(_PUT_BLOCKS, {"last": last})
    connection.execute(_PUT_MINUTES, {"last": last})
    connection.execute(_TELL)
    connection.execute(_DELETE, values)
    connection.execute("DELETE FROM temp.sealing")
    return True


class Sealer:
    """Decides what is sealed when. One a write connection, in whose thread it is used."""

    def __init__(self) -> None:
        self._slices: Slices | None = None
        self._minute: int | None = None  # up to which the last pass went
        self._seen: deque[tuple[int, int]] = deque()  # (time, last batch then)

    def due(self, connection: apsw.Connection, now_ms: int) -> bool:
        """Whether there is something to seal. A few microseconds."""
        if self._slices is not None and not self._slices.over:
            return True
        oldest, newest = one_row(connection, _STATE)
        old_enough = self._batch_before(now_ms, newest)
        if oldest is None:
            return False
        minute = (now_ms - GRACE_MS) // MINUTE_MS - 1
        if newest - oldest >= MAX_BATCHES:
            self._slices = Slices(INT64_MAX, newest - KEPT_BATCHES)
        elif minute != self._minute and oldest <= old_enough:
            self._slices = Slices(minute, old_enough)
            self._minute = minute
        else:
            return False
        return True

    def step(self, connection: apsw.Connection) -> bool:
        """Seal one slice, in a transaction; whether the pass goes on."""
        assert self._slices is not None
        self._slices.seal(connection)
        return not self._slices.over

    def _batch_before(self, now_ms: int, newest: int) -> int:
        """The last batch that is UNREAD_MS old. What was there at the first look counts as old."""
        seen = self._seen
        if not seen or seen[-1][0] > now_ms:  # or the clock has been set back
            old = newest if not seen else seen[0][1]
            seen.clear()
            seen.append((now_ms - UNREAD_MS, old))
        if now_ms - seen[-1][0] >= UNREAD_MS // 32:
            seen.append((now_ms, newest))
        while len(seen) > 1 and seen[1][0] <= now_ms - UNREAD_MS:
            seen.popleft()
        return seen[0][1] if seen[0][0] <= now_ms - UNREAD_MS else 0

"""Following the logs.

No connection is held across a `yield`: whoever follows may fork, and a child must not use it; and
it would keep the WAL from being reset.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ax_monitor.model.logs import LogEntry, LogPage, LogQuery
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import logs
from ax_monitor.storage.connection import Connection, snapshot

LOOKBACK_MS: Final = 60_000  # how late a record may come: it has the time of its call


def follow_logs(store: Store, query: LogQuery, *, last: int, poll_s: float) -> Iterator[LogEntry]:
    """Entries as they arrive from any process, oldest first; see `StructuredLogger.tail`."""
    # Another process writes up to its flush interval late: so look back a little every time, and
    # remember what has been shown.
    since = store.clock.time_ms() - LOOKBACK_MS
    window = replace(query, order="asc", limit=None, cursor=None, offset=0)
    newest = replace(query, order="desc", limit=last, cursor=None, offset=0)

    def look(connection: Connection) -> tuple[LogPage, LogPage]:
        # At one moment: what came between the two would be shown after what is newer.
        with snapshot(connection):
            known = logs.query_logs(connection, _not_before(window, since))
            return known, logs.query_logs(connection, newest)

    known, earlier = store.read(look)
    shown = {entry.seq for page in (known, earlier) for entry in page}
    return _follow(store, window, earlier, shown, since, poll_s)


def _follow(
    store: Store, window: LogQuery, earlier: LogPage, shown: set[int], since: int, poll_s: float
) -> Iterator[LogEntry]:
    yield from reversed(earlier)
    version: tuple[Connection, int] | None = None

    def look(connection: Connection) -> LogPage | None:
        nonlocal version
        if (current := (connection, logs.data_version(connection))) == version:
            return None
        found = logs.query_logs(connection, _not_before(window, since))
        version = current
        return found

    while not store.closed:
        # Back from the last look, not from now: who follows may have been slow.
        looked_at = store.clock.time_ms()
        found = store.read(look)
        if found is None:
            time.sleep(poll_s)
            continue
        for entry in found:
            if entry.seq not in shown:
                shown.add(entry.seq)
                yield entry
        since = max(since, looked_at - LOOKBACK_MS)
        shown = {seq for seq in shown if seq >= logs.first_key(since)}


def _not_before(query: LogQuery, time_ms: int) -> LogQuery:
    start = time_ms if query.start_time is None else max(query.start_time, time_ms)
    return replace(query, start_time=start)

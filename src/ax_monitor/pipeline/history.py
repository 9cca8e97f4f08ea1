"""The history of metrics, read a piece at a time: memory and the WAL stay small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ax_monitor.pipeline.store import Store
from ax_monitor.storage import metric_feed
from ax_monitor.storage.metric_feed import Block


def metric_history(
    store: Store, series_ids: Iterable[int], start_ms: int, end_ms: int
) -> Iterator[Block]:
    """(series, minute, samples) of everything stored in a range of time, minute by minute.

    What is recorded meanwhile may be in it or not.
    """
    ids = list(series_ids)
    for piece in store.read(metric_feed.plan_history, ids, start_ms, end_ms):
        yield from store.peek(metric_feed.read_history, ids, piece)

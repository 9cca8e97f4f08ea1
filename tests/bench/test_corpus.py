"""The database that is measured on."""

from __future__ import annotations

import os
from pathlib import Path

import ax_monitor
from ax_monitor.bench import payload
from ax_monitor.bench.corpus import METRIC, build

RECORDS = 1500


def test_the_corpus_holds_what_it_says(tmp_path: Path) -> None:
    """All records, whole executions and traces, one sample a record; a tenth can be found."""
    corpus = build(tmp_path, RECORDS)
    with ax_monitor.Store(corpus.path, read_only=True) as store:
        assert store.count_logs() == corpus.records == RECORDS
        assert store.count_samples() == RECORDS
        assert store.list_metric_types() == [METRIC]
        for execution_id in corpus.execution_ids:
            query = ax_monitor.LogQuery(execution_id=execution_id, limit=None)
            assert len(store.query_logs(query)) == payload.LOGS_PER_EXECUTION
        for trace_id in corpus.trace_ids:
            trace = store.get_trace(trace_id)
            assert trace is not None
            assert [len(span.events) for span in trace.spans] == [1] * 50
        query = ax_monitor.LogQuery(search='timeout OR "rate limit"', limit=None)
        assert 0.05 < len(store.query_logs(query)) / RECORDS < 0.15
        newest = store.query_logs(ax_monitor.LogQuery(limit=1))[0]
        assert newest.timestamp <= corpus.logs_until_ms


def test_the_size_is_extrapolated_from_what_was_written(tmp_path: Path) -> None:
    """Of the records alone: without what an empty file takes, and what came after them."""
    corpus = build(tmp_path, RECORDS)
    taken = corpus.bytes_per_million * RECORDS / 1_000_000
    assert RECORDS * len(payload.MESSAGE) < taken < os.path.getsize(corpus.path)

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
    with ax_monitor.Store(corpus.path) as store:
        logger, metrics = ax_monitor.StructuredLogger(store), ax_monitor.MetricsCollector(store)
        tracer = ax_monitor.DistributedTracer(store)
        assert logger.get_log_count() == corpus.records == RECORDS
        assert metrics.get_metric_count() == RECORDS
        assert metrics.list_metric_types() == [METRIC]
        for execution_id in corpus.execution_ids:
            assert len(logger.get_execution_logs(execution_id)) == payload.LOGS_PER_EXECUTION
        for trace_id in corpus.trace_ids:
            trace = tracer.get_trace(trace_id)
            assert trace is not None
            assert [len(span.events) for span in trace.spans] == [1] * 50
        found = logger.query_logs(search='timeout OR "rate limit"', limit=None)
        assert 0.05 < len(found) / RECORDS < 0.15
        assert logger.get_recent_logs(1)[0].timestamp <= corpus.logs_until_ms


def test_the_size_is_extrapolated_from_what_was_written(tmp_path: Path) -> None:
    """Of the records alone: without what an empty file takes, and what came after them."""
    corpus = build(tmp_path, RECORDS)
    taken = corpus.bytes_per_million * RECORDS / 1_000_000
    assert RECORDS * len(payload.MESSAGE) < taken < os.path.getsize(corpus.path)

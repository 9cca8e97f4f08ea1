"""The tracer: spans against empty calls and blocks, queries against apsw's rows of the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from ax_monitor import DistributedTracer, Store
from ax_monitor.bench import payload
from ax_monitor.bench.corpus import SPANS, Corpus
from benchmarks.conftest import Against
from benchmarks.reference import axref
from benchmarks.services.conftest import Fetch

STEP: dict[str, Any] = {
    "parent_span_id": payload.SPAN_ID,
    "attributes": payload.SPAN_ATTRIBUTES,
}
EXECUTION = "run-7"


@pytest.fixture
def tracer(store: Store) -> DistributedTracer:
    return DistributedTracer(store)


@pytest.fixture
def reader(filled: Store) -> DistributedTracer:
    return DistributedTracer(filled)


# -- recording -------------------------------------------------------------------------------------


def test_span_by_ids(against: Against, store: Store, tracer: DistributedTracer) -> None:
    empty, trace_id = axref.Empty(), tracer.start_trace("run")
    against(
        "empty calls",
        lambda: empty.complete_span(empty.start_span(trace_id, "step", **STEP)),
        lambda: tracer.complete_span(tracer.start_span(trace_id, "step", **STEP)),
        after=store.flush,
    )


def test_span_as_block(against: Against, store: Store, tracer: DistributedTracer) -> None:
    def ours() -> None:
        with tracer.span("step", attributes=payload.SPAN_ATTRIBUTES):
            pass

    def empty() -> None:
        with axref.EmptyScope(tracer, "step", attributes=payload.SPAN_ATTRIBUTES):
            pass

    with tracer.trace("run", "root"):
        against("empty block", empty, ours, after=store.flush)


def test_trace_as_block(against: Against, store: Store, tracer: DistributedTracer) -> None:
    def ours() -> None:
        with tracer.trace("run", "root"):
            pass

    def empty() -> None:
        with axref.EmptyScope(tracer, "root", execution_id="run"):
            pass

    against("empty block", empty, ours, after=store.flush)


def test_traced(against: Against, store: Store, tracer: DistributedTracer) -> None:
    @contextlib.contextmanager
    def nothing() -> Iterator[None]:
        yield

    @tracer.traced
    def ours(number: int) -> int:
        return number

    @nothing()
    def by_contextlib(number: int) -> int:
        return number

    with tracer.trace("run", "root"):
        against("an empty contextmanager", by_contextlib, ours, (7,), after=store.flush)


def test_inject_and_extract(against: Against, tracer: DistributedTracer) -> None:
    def ours() -> object:
        headers: dict[str, str] = {}
        tracer.inject(headers)
        return tracer.extract(headers)

    def by_hand() -> object:
        headers = {"traceparent": f"00-{payload.TRACE_ID}-{payload.SPAN_ID}-01"}
        return headers["traceparent"].split("-")

    with tracer.trace("run", "root"):
        assert against("a header by hand", by_hand, ours) is not None


# -- reading ---------------------------------------------------------------------------------------


def test_get_trace(
    against: Against, reader: DistributedTracer, fetch_filled: Fetch, corpus_10k: Corpus
) -> None:
    """Of 50 spans and 50 events."""
    trace_id = corpus_10k.trace_ids[7]

    def rows() -> object:
        return (
            fetch_filled("SELECT * FROM traces WHERE trace_id = ?", (trace_id,)),
            fetch_filled("SELECT * FROM spans WHERE trace_id = ? ORDER BY start_ns", (trace_id,)),
            fetch_filled(
                "SELECT e.* FROM spans s CROSS JOIN span_events e ON e.span_id = s.span_id "
                "WHERE s.trace_id = ?",
                (trace_id,),
            ),
        )

    found = against("apsw fetchall", rows, lambda: reader.get_trace(trace_id))
    assert found is not None
    assert len(found.spans) == SPANS


def test_get_traces_by_execution(
    against: Against, reader: DistributedTracer, fetch_filled: Fetch
) -> None:
    sql = (
        "SELECT t.*, s.* FROM traces t JOIN spans s USING (trace_id) "
        "WHERE t.workflow_execution_id = ?"
    )
    found = against(
        "apsw fetchall",
        lambda: fetch_filled(sql, (EXECUTION,)),
        lambda: reader.get_traces_by_execution(EXECUTION),
    )
    assert len(found) == 1


def test_find_traces(against: Against, reader: DistributedTracer, fetch_filled: Fetch) -> None:
    """The newest ten."""
    sql = "SELECT * FROM traces ORDER BY started_at DESC LIMIT 10"
    found = against(
        "apsw fetchall", lambda: fetch_filled(sql), lambda: reader.find_traces(limit=10)
    )
    assert len(found) == 10


def test_trace_stats(against: Against, reader: DistributedTracer, fetch_filled: Fetch) -> None:
    sql = (
        "SELECT count(*), avg(duration), (SELECT count(*) FROM spans), "
        "(SELECT count(*) FROM spans WHERE status = 'error') FROM traces"
    )
    against("apsw fetchall", lambda: fetch_filled(sql), reader.get_trace_stats)

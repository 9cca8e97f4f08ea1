"""Random concurrent traces against a plain model: same tree, same order, nothing lost or mixed."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ax_monitor import DistributedTracer, Store, Trace, carry_context

attributes = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    max_size=4,
)


@dataclass
class ModelSpan:
    """What the model knows of a span."""

    name: str
    parent: str | None
    attributes: dict[str, Any]
    status: str = "unset"
    is_open: bool = True
    events: list[tuple[str, Any]] = field(default_factory=list)


def story(trace: Trace) -> list[tuple[Any, ...]]:
    return [
        (span.span_id, span.parent_span_id, span.name, span.status.value, span.attributes,
         span.completed_at is None, [(event.name, event.attributes) for event in span.events])
        for span in trace.spans
    ]  # fmt: skip


class Tracing(RuleBasedStateMachine):
    """Traces by ids, interleaved, some of it done by another thread."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.db = str(Path(self.folder.name) / "monitor.db")
        self.store = Store(self.db, ring_bytes=3 << 20)
        self.tracer = DistributedTracer(self.store)
        self.traces: dict[str, dict[str, ModelSpan]] = {}
        self.completed: set[str] = set()
        self.numbers = itertools.count()

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def pick_span(self, data: st.DataObject) -> tuple[str, ModelSpan] | None:
        still_open = [
            (span_id, span)
            for spans in self.traces.values()
            for span_id, span in spans.items()
            if span.is_open
        ]
        return data.draw(st.sampled_from(still_open)) if still_open else None

    @rule()
    def start_trace(self) -> None:
        self.traces[self.tracer.start_trace(f"run-{next(self.numbers) % 3}")] = {}

    @precondition(lambda self: self.traces)
    @rule(data=st.data(), given_attributes=attributes, other_thread=st.booleans())
    def start_span(
        self, data: st.DataObject, given_attributes: dict[str, Any], other_thread: bool
    ) -> None:
        trace_id = data.draw(st.sampled_from(list(self.traces)))
        parent = data.draw(st.sampled_from([None, *self.traces[trace_id]]))
        name = f"span {next(self.numbers)}"
        made: list[str] = []

        def start() -> None:
            made.append(
                self.tracer.start_span(
                    trace_id, name, parent_span_id=parent, attributes=given_attributes
                )
            )

        if other_thread:
            thread = threading.Thread(target=start)
            thread.start()
            thread.join()
        else:
            start()
        self.traces[trace_id][made[0]] = ModelSpan(name, parent, dict(given_attributes))

    @rule(data=st.data(), more=attributes)
    def describe(self, data: st.DataObject, more: dict[str, Any]) -> None:
        if found := self.pick_span(data):
            self.tracer.set_span_attributes(found[0], more)
            found[1].attributes.update(more)

    @rule(data=st.data(), more=st.none() | attributes)
    def happen(self, data: st.DataObject, more: dict[str, Any] | None) -> None:
        if found := self.pick_span(data):
            name = f"event {next(self.numbers)}"
            self.tracer.add_span_event(found[0], name, more)
            found[1].events.append((name, more))

    @rule(data=st.data(), status=st.sampled_from(["ok", "error", "unset"]))
    def set_status(self, data: st.DataObject, status: str) -> None:
        if found := self.pick_span(data):
            self.tracer.set_span_status(found[0], status)
            found[1].status = status

    @rule(data=st.data(), status=st.sampled_from(["ok", "error", "unset"]))
    def complete_span(self, data: st.DataObject, status: str) -> None:
        if found := self.pick_span(data):
            span_id, span = found
            self.tracer.complete_span(span_id, status)
            span.is_open = False
            if status == "error" or (status == "ok" and span.status == "unset"):
                span.status = status

    @precondition(lambda self: self.traces)
    @rule(data=st.data())
    def complete_trace(self, data: st.DataObject) -> None:
        trace_id = data.draw(st.sampled_from(list(self.traces)))
        self.tracer.complete_trace(trace_id)
        self.completed.add(trace_id)

    @rule()
    def flush(self) -> None:
        assert self.store.flush()

    @invariant()
    def get_trace_is_the_model(self) -> None:
        for trace_id, spans in self.traces.items():
            trace = self.tracer.get_trace(trace_id)
            assert trace is not None
            assert story(trace) == [
                (span_id, s.parent, s.name, s.status, s.attributes, s.is_open, s.events)
                for span_id, s in spans.items()
            ]
            assert trace.span_count == len(spans)
            assert (trace.completed_at is not None) == (trace_id in self.completed)
            nodes = [node for root in trace.tree() for _, node in root.walk()]
            assert len(nodes) == len(spans)

    @invariant()
    def the_documents_selects_tell_the_same_story(self) -> None:
        with apsw.Connection(self.db, flags=apsw.SQLITE_OPEN_READONLY) as connection:
            for trace_id, model in self.traces.items():
                trace = self.tracer.get_trace(trace_id)
                assert trace is not None
                row = connection.execute(
                    "SELECT trace_id, workflow_execution_id, started_at, completed_at, duration, "
                    "span_count FROM traces WHERE trace_id = ?",
                    (trace_id,),
                ).fetchone()
                n_open = sum(span.is_open for span in model.values())
                assert row == (
                    trace.trace_id, trace.workflow_execution_id, trace.started_at,
                    trace.completed_at, trace.duration, trace.span_count - n_open,
                )  # fmt: skip
                rows = connection.execute(
                    "SELECT span_id, parent_span_id, name, kind, started_at, "
                    "completed_at, duration, status, attributes FROM spans WHERE trace_id = ?",
                    (trace_id,),
                ).fetchall()
                selected = {row[0]: (*row[:8], json.loads(row[8])) for row in rows}
                assert selected == {
                    span.span_id: (
                        span.span_id, span.parent_span_id, span.name, span.kind, span.started_at,
                        span.completed_at, span.duration, span.status, span.attributes,
                    )
                    for span in trace.spans
                    if span.completed_at is not None
                }  # fmt: skip
                for span in trace.spans:
                    if span.completed_at is None:
                        continue
                    events = connection.execute(
                        "SELECT id, span_id, timestamp, name, attributes FROM span_events "
                        "WHERE span_id = ?",
                        (span.span_id,),
                    ).fetchall()
                    assert {
                        (row[0], row[1], row[2], row[3], row[4] and json.dumps(json.loads(row[4])))
                        for row in events
                    } == {
                        (e.id, e.span_id, e.timestamp, e.name,
                         None if e.attributes is None else json.dumps(e.attributes))
                        for e in span.events
                    }  # fmt: skip


TestTracing = Tracing.TestCase
TestTracing.settings = settings(settings(), max_examples=25, stateful_step_count=25, deadline=None)


Plan = list[Any]  # of a span: its children, each a plan
plans = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def shape(trace: Trace | None) -> Any:
    assert trace is not None

    def of(node: Any) -> Any:
        return node.span.name, sorted(map(of, node.children))

    return sorted(of(root) for root in trace.tree())


def expected(name: str, plan: Plan) -> Any:
    return name, sorted(expected(f"{name}.{n}", child) for n, child in enumerate(plan))


@settings(max_examples=25, deadline=None)
@given(st.lists(plans, min_size=1, max_size=6))
def test_concurrent_traces_of_tasks_and_threads_never_mix(forest: list[Plan]) -> None:
    """Every plan is a trace of its own; siblings run at once, as tasks or in threads."""
    with tempfile.TemporaryDirectory() as folder, Store(f"{folder}/monitor.db") as store:
        tracer = DistributedTracer(store)
        ids: dict[int, str] = {}

        def in_threads(name: str, plan: Plan) -> None:
            with tracer.span(name):
                threads = [
                    threading.Thread(target=carry_context(in_threads), args=(f"{name}.{n}", child))
                    for n, child in enumerate(plan)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

        async def in_tasks(name: str, plan: Plan) -> None:
            with tracer.span(name):
                await asyncio.sleep(0)
                children = []
                for n, child in enumerate(plan):
                    work = in_tasks if n % 2 else lambda *a: asyncio.to_thread(in_threads, *a)
                    children.append(asyncio.ensure_future(work(f"{name}.{n}", child)))
                    await asyncio.sleep(0)
                await asyncio.gather(*children)

        async def trace(number: int, plan: Plan) -> None:
            with tracer.trace(f"run-{number}", "trace") as root:
                ids[number] = root.trace_id
                await in_tasks("r", plan)

        async def main() -> None:
            await asyncio.gather(*(trace(number, plan) for number, plan in enumerate(forest)))

        asyncio.run(main())
        for number, plan in enumerate(forest):
            found = tracer.get_trace(ids[number])
            assert shape(found) == [("trace", [expected("r", plan)])]
            assert found is not None
            assert found.status == "ok"
        assert len(tracer.find_traces(limit=None)) == len(forest)
        assert tracer.stats().open_spans == 0

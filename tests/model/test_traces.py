"""`Trace.tree`, `Trace.critical_path`, and what a `TraceQuery` refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import Span, SpanKind, Trace, TraceQuery, TraceQueryError


def span(span_id: str, parent: str | None, start: int, end: int | None) -> Span:
    return Span(
        span_id,
        "t",
        parent,
        span_id,
        SpanKind.INTERNAL,
        start // 1_000_000,
        start_ns=start,
        duration_ns=None if end is None else end - start,
    )


def trace(*spans: Span) -> Trace:
    return Trace("t", "run", 0, spans=tuple(sorted(spans, key=lambda s: s.begins_ns)))


def shape(made: Trace) -> list[tuple[int, str]]:
    return [(depth, node.span.span_id) for root in made.tree() for depth, node in root.walk()]


def test_tree_follows_parents_and_starts() -> None:
    made = trace(
        span("root", None, 0, 100), span("b", "root", 50, 60), span("a", "root", 10, 40),
        span("a1", "a", 20, 30),
    )  # fmt: skip
    assert shape(made) == [(0, "root"), (1, "a"), (2, "a1"), (1, "b")]


def test_orphans_are_roots() -> None:
    assert shape(trace(span("a", "never seen", 1, 2), span("b", "a", 2, 3))) == [(0, "a"), (1, "b")]


def test_cycles_lose_nothing() -> None:
    made = trace(
        span("a", "c", 1, 9), span("b", "a", 2, 9), span("c", "b", 3, 9), span("d", "d", 4, 9),
        span("e", "b", 5, 9),
    )  # fmt: skip
    assert shape(made) == [(0, "a"), (1, "b"), (2, "c"), (2, "e"), (0, "d")]


def test_repeated_ids_are_all_there() -> None:
    made = trace(span("a", None, 1, 9), span("a", None, 2, 9), span("b", "a", 3, 9))
    assert shape(made) == [(0, "a"), (1, "b"), (0, "a")]


ids = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(ids, st.none() | ids, st.integers(0, 50), st.integers(0, 50))))
def test_every_span_occurs_once_in_any_tree(
    parts: list[tuple[str, str | None, int, int]],
) -> None:
    made = trace(*(span(name, parent, start, start + n) for name, parent, start, n in parts))
    nodes = [node for root in made.tree() for _, node in root.walk()]
    assert sorted(id(node.span) for node in nodes) == sorted(map(id, made.spans))
    path = made.critical_path()
    assert len({id(each) for each in path}) == len(path)
    assert bool(path) == bool(made.spans)


def test_a_deep_chain_needs_no_recursion() -> None:
    made = trace(*(span(str(n), str(n - 1), n, 50_000) for n in range(20_000)))
    assert len(shape(made)) == len(made.critical_path()) == 20_000


def test_critical_path_takes_what_ended_last_and_what_it_waited_for() -> None:
    made = trace(
        span("root", None, 0, 100),
        span("early", "root", 5, 30),
        span("beside", "root", 10, 60),  # ended while "last" ran: not what it waited for
        span("last", "root", 40, 95),
        span("inner", "last", 50, 90),
    )
    assert [each.name for each in made.critical_path()] == ["root", "early", "last", "inner"]


def test_critical_path_with_open_spans_and_other_clocks() -> None:
    made = trace(
        span("root", None, 0, 100), span("remote", "root", 20, 130), span("o", "root", 5, None)
    )
    assert [each.name for each in made.critical_path()] == ["root", "o"]
    assert trace().critical_path() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "weird"),
        ("name", 3),
        ("start_time", "yesterday"),
        ("min_duration_ms", float("nan")),
        ("limit", -1),
        ("limit", True),
        ("order", "up"),
        ("attributes", {"a": [1]}),
        ("attributes", 7),
    ],
)
def test_wrong_filters_are_refused(field: str, value: Any) -> None:
    with pytest.raises(TraceQueryError, match=field) as caught:
        TraceQuery(**{field: value})
    assert isinstance(caught.value, ValueError)

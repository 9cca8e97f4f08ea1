"""Records made of rows are those that their class makes."""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from ax_monitor import LogEntry, LogLevel, Span, SpanEvent, SpanKind, SpanStatus
from ax_monitor._native import RecordType, log_entries, record_id, span_events, spans

EVENT = ("e", "s", 5, "progress", {"step": 1})
RECORDS = [
    (LogEntry, ("i", 1, LogLevel.INFO, "m", "s", "e", None, "p", "t", "u", {"a": 1}, None, 7)),
    (SpanEvent, EVENT),
    (
        Span,
        ("s", "t", None, "n", SpanKind.INTERNAL, 5, 6, 1.5, SpanStatus.OK, {}, 5_000_000,
         1_500_000, (SpanEvent(*EVENT),), 1, 2),
    ),
]  # fmt: skip
KINDS = {"internal": SpanKind.INTERNAL}
STATUSES = {"ok": SpanStatus.OK}


def parse(text: object) -> dict[str, Any]:
    """Stands for what has unusual metadata."""
    return {"unusual": text}


@pytest.mark.parametrize(
    ("cls", "values"), RECORDS, ids=lambda value: getattr(value, "__name__", "")
)
def test_they_are_as_the_class_makes_them(cls: Any, values: tuple[object, ...]) -> None:
    """Equal, with the same hash and text, and as frozen."""
    made, usual = RecordType(cls).make(*values), cls(*values)
    assert made == usual
    assert hash(made) == hash(usual)
    assert repr(made) == repr(usual)
    assert dataclasses.asdict(made) == dataclasses.asdict(usual)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, cls.__slots__[0], "x")


def test_too_few_values_are_an_error() -> None:
    """Nothing is left without a value."""
    with pytest.raises(TypeError, match="SpanEvent has 5 fields, got 4 values"):
        RecordType(SpanEvent).make(*EVENT[:4])


def test_only_classes_with_slots_of_objects_are_taken() -> None:
    """Where a field is has to be known."""

    @dataclasses.dataclass(frozen=True)
    class WithoutSlots:
        a: int

    class Inherits(SpanEvent):
        __slots__ = ("id",)

    class IsMore(dict[str, int]):
        __slots__ = ("a",)

    class HasNoSuchSlot:
        __slots__ = ("a",)

    nothing: Any = None
    renamed: Any = HasNoSuchSlot
    renamed.__slots__ = ("b",)
    large = dataclasses.make_dataclass(
        "Large", [(f"field_{number}", int) for number in range(33)], slots=True
    )
    for cls in (WithoutSlots, Inherits, IsMore):
        with pytest.raises(TypeError, match="has more to it than slots of its own"):
            RecordType(cls)
    with pytest.raises(TypeError):
        RecordType.__new__(RecordType)
    with pytest.raises(TypeError):
        log_entries(nothing, [], {}, parse)
    with pytest.raises(TypeError, match=r"HasNoSuchSlot\.b has no slot"):
        RecordType(HasNoSuchSlot)
    with pytest.raises(TypeError, match="Large has more than 32 fields"):
        RecordType(large)


def test_they_hold_their_values_once() -> None:
    """No reference is lost, none is left."""
    value = {"held": object()}
    event = RecordType(SpanEvent)
    before = sys.getrefcount(value)
    made = [event.make(*EVENT[:4], value) for _ in range(100)]
    assert sys.getrefcount(value) == before + 100
    del made
    gc.collect()
    assert sys.getrefcount(value) == before


def test_the_collector_sees_them() -> None:
    """A record in a circle of its own metadata goes."""
    held: dict[str, Any] = {}
    held["event"] = RecordType(SpanEvent).make(*EVENT[:4], held)
    assert gc.is_tracked(held["event"])
    assert held in gc.get_referents(held["event"])


def entries(*rows: tuple[Any, ...]) -> list[LogEntry]:
    levels: Mapping[int, Any] = {9: LogLevel.INFO}
    return log_entries(RecordType(LogEntry), list(rows), levels, parse)


def test_log_entries_of_rows() -> None:
    """Every column where it belongs; ids are computed, or those that were given."""
    context = ("src", "run-1", "trace-1")
    row = (
        (5 << 12) + 3, 9, "hello", *context, -1, "acme", "alice", '{"a":[1,null]}', None, None,
        77, 5,
    )  # fmt: skip
    expected = LogEntry(
        id=record_id(5, 77, 5),
        timestamp=5,
        level=LogLevel.INFO,
        message="hello",
        source="src",
        execution_id="run-1",
        trace_id="trace-1",
        span_id="ffffffffffffffff",
        tenant_id="acme",
        user_id="alice",
        metadata={"a": [1, None]},
        seq=(5 << 12) + 3,
    )
    foreign = (
        -1, 9, "m", "s", None, None, "own id", None, None, "no JSON", "stack", "id-2", None, None,
    )  # fmt: skip
    assert entries(row, foreign) == [
        expected,
        LogEntry("id-2", -1, LogLevel.INFO, "m", "s", span_id="own id",
                 metadata={"unusual": "no JSON"}, stack_trace="stack", seq=-1),
    ]  # fmt: skip
    (unnamed,) = entries((*foreign[:11], None, None, None))
    assert unnamed.id == record_id(-1, 0, 0)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ((1,), ValueError),
        ((1 << 64, 9, *[None] * 12), OverflowError),
        ((1, 10, *[None] * 12), KeyError),
        ((1, 9, *[None] * 10, -1, None), OverflowError),
        ([1, 9, *[None] * 12], TypeError),
    ],
)
def test_rows_that_are_none_are_errors(row: Any, error: type[Exception]) -> None:
    """Each of another kind, none a crash."""
    with pytest.raises(error):
        entries(row)


def test_times_of_events_that_cannot_be_compared() -> None:
    """Another program stored them: the order of the rows is as good as any."""
    rows = [("e1", "s", 1, "a", None), ("e2", "s", "2026-01-01", "b", None)]
    events = span_events(RecordType(SpanEvent), rows, parse)
    assert [event.id for event in events["s"]] == ["e1", "e2"]


def test_spans_and_their_events_of_rows() -> None:
    """Events go to their span, in the order of their time; counts that are not stored are 0."""
    events = span_events(
        RecordType(SpanEvent),
        iter([
            ("e1", "s1", 1, "first", None),
            ("e2", "s2", 2, "other", "{}"),
            ("e3", "s1", 3, "second", '{"a":"b"}'),
            ("e4", "s1", 2, "between", None),
            ("e5", "s1", 2, "after that", None),
        ]),
        parse,
    )  # fmt: skip
    of_s1 = (
        SpanEvent("e1", "s1", 1, "first"),
        SpanEvent("e4", "s1", 2, "between"),
        SpanEvent("e5", "s1", 2, "after that"),
        SpanEvent("e3", "s1", 3, "second", {"a": "b"}),
    )
    assert events == {"s1": of_s1, "s2": (SpanEvent("e2", "s2", 2, "other", {}),)}
    rows = [
        ("s1", "t", None, "root", "internal", 5, 6, 1.5, "ok", '{"x":1.5}', 5_000_001, 1_500_000,
         None, 4),
        ("s3", "t", "s1", "child", "internal", 5, None, None, "ok", '{"x": 1}', None, None,
         2, None),
    ]  # fmt: skip
    assert spans(RecordType(Span), iter(rows), events, KINDS, STATUSES, parse) == [
        Span("s1", "t", None, "root", SpanKind.INTERNAL, 5, 6, 1.5, SpanStatus.OK, {"x": 1.5},
             5_000_001, 1_500_000, of_s1, 0, 4),
        Span("s3", "t", "s1", "child", SpanKind.INTERNAL, 5, status=SpanStatus.OK,
             attributes={"unusual": '{"x": 1}'}, dropped_attributes=2),
    ]  # fmt: skip

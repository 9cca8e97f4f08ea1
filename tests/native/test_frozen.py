"""Frozen records made of rows are those that their class makes."""

from __future__ import annotations

import dataclasses
import gc
import sys

import pytest

from ax_monitor import LogEntry, LogLevel, Span, SpanEvent, SpanKind, SpanStatus
from ax_monitor._native import new_frozen

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


@pytest.mark.parametrize(
    ("cls", "values"), RECORDS, ids=lambda value: getattr(value, "__name__", "")
)
def test_they_are_as_the_class_makes_them(cls: type, values: tuple[object, ...]) -> None:
    """Equal, with the same hash and text, and as frozen."""
    made, usual = new_frozen(cls, values), cls(*values)
    assert made == usual
    assert hash(made) == hash(usual)
    assert repr(made) == repr(usual)
    assert dataclasses.asdict(made) == dataclasses.asdict(usual)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, cls.__slots__[0], "x")  # type: ignore[attr-defined]


def test_too_few_values_are_an_error() -> None:
    """Nothing is left without a value."""
    with pytest.raises(TypeError, match="SpanEvent has 5 fields, got 4 values"):
        new_frozen(SpanEvent, EVENT[:4])


def test_they_hold_their_values_once() -> None:
    """No reference is lost, none is left."""
    value = {"held": object()}
    before = sys.getrefcount(value)
    made = [new_frozen(SpanEvent, (*EVENT[:4], value)) for _ in range(100)]
    assert sys.getrefcount(value) == before + 100
    del made
    gc.collect()
    assert sys.getrefcount(value) == before

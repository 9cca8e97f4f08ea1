"""Tests of single values, for records that check themselves."""

from __future__ import annotations

import math
from typing import TypeGuard

__all__ = ["is_finite", "is_int64", "shown"]

_SHOWN_CHARS = 80  # of a rejected value in an error message: one line of a terminal


def is_int64(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer that a database column holds; a bool is not one."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a number that a finite float holds; a bool is not one."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the range of float
        return False


def shown(value: object) -> str:
    """The repr of a rejected value for an error message: short, and never raising."""
    try:
        text = repr(value)
    except Exception:  # e.g. a hostile __repr__, or an int of more than 4300 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"

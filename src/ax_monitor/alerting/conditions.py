"""Conditions as one line: `p95 > 1000 over 5m until 800`."""

from __future__ import annotations

import re
from typing import Final

from ax_monitor.errors import AlertRuleError
from ax_monitor.model.alerts import AlertCondition
from ax_monitor.model.duration import format_duration_ms, parse_duration_ms
from ax_monitor.model.vocabulary import Operator

_SIGNS: Final = {
    ">": Operator.GT,
    ">=": Operator.GTE,
    "<": Operator.LT,
    "<=": Operator.LTE,
    "==": Operator.EQ,
    "!=": Operator.NEQ,
}
_SIGN_OF: Final = {operator: sign for sign, operator in _SIGNS.items()}
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CONDITION: Final = re.compile(
    rf"(?P<aggregation>\w+)\s*(?P<sign>[<>=!]=?|\b\w+\b)\s*(?P<threshold>{_NUMBER})"
    rf"\s+over\s+(?P<window>\w+)(?:\s+until\s+(?P<resolve>{_NUMBER}))?",
    re.ASCII,
)


def parse_condition(text: str) -> AlertCondition:
    """The condition that a line says.

    `AGGREGATION SIGN THRESHOLD over WINDOW`, and `until RESOLVE_THRESHOLD` behind it if need be.
    The sign is one of `> >= < <= == !=` or its word (`gt`, …).

    >>> parse_condition("p95 > 1000 over 5m until 800").resolve_threshold
    800.0

    Raises:
        AlertRuleError: It says none.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise AlertRuleError(
            f"condition: {text!r:.80} is not like 'p95 > 1000 over 5m' or "
            "'avg < 0.9 over 1h until 0.95'"
        )
    sign, resolve = match["sign"], match["resolve"]
    try:
        window_ms = parse_duration_ms(match["window"])
    except ValueError as error:
        raise AlertRuleError(f"condition: {error}") from None
    return AlertCondition(
        operator=_SIGNS.get(sign, sign),
        threshold=float(match["threshold"]),
        window_ms=window_ms,
        aggregation=match["aggregation"],
        resolve_threshold=None if resolve is None else float(resolve),
    )


def format_condition(condition: AlertCondition) -> str:
    """The line that `parse_condition` turns back into this condition.

    >>> format_condition(AlertCondition("gte", 0.05, 90_000, "avg"))
    'avg >= 0.05 over 1m30s'
    """
    line = (
        f"{condition.aggregation} {_SIGN_OF[Operator.parse(condition.operator)]} "
        f"{_number(condition.threshold)} over {format_duration_ms(condition.window_ms)}"
    )
    if condition.resolve_threshold is None:
        return line
    return f"{line} until {_number(condition.resolve_threshold)}"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")

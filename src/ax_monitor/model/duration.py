"""Durations as people write them: `90s`, `5m`, `1h30m`, `7d`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["format_duration_ms", "parse_duration_ms"]

_MS_PER_UNIT: Final = {
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_PART: Final = re.compile(r"(\d{1,9})(ms|[smhdw])", re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration_ms(text: str) -> int:
    """The milliseconds that a text means.

    >>> parse_duration_ms("1h30m"), parse_duration_ms("250ms")
    (5400000, 250)

    Raises:
        ValueError: It is no duration.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 90s, 30m, 1h30m, 7d, 2w")
    return sum(int(number) * _MS_PER_UNIT[unit] for number, unit in _PART.findall(text))


def format_duration_ms(duration_ms: int) -> str:
    """The shortest text that `parse_duration_ms` turns back into these milliseconds.

    >>> format_duration_ms(5_400_000), format_duration_ms(0)
    ('1h30m', '0s')
    """
    parts = []
    for unit, size in _MS_PER_UNIT.items():
        # Two weeks are 2w, but eight days are 8d: nobody counts in weeks and days.
        if unit == "w" and duration_ms % size:
            continue
        count, duration_ms = divmod(duration_ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"

"""Values with their units, in the size that reads best.

The units are those that `default_unit` gives, and the usual other spellings of time. What is known
is scaled (75,000 ms are 75.0 s); any other unit stands behind its number as it is.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from ax_monitor.cli._output import visible

UNIT_CHARACTERS: Final = 12  # of a unit that is not known
_LARGE: Final = 1e15  # from here on numbers have an exponent
_CENTS_FROM: Final = 0.1  # of less, cents say too little


class Scale(NamedTuple):
    """What a number is divided by, and what stands behind it then."""

    size: float
    suffix: str


_US: Final = Scale(1e-3, " µs")
_MS: Final = Scale(1, " ms")
_S: Final = Scale(1e3, " s")
_MIN: Final = Scale(60e3, " min")
_H: Final = Scale(3600e3, " h")

# From which value on, in ms, a scale is used: up to two of the next unit stay in the smaller one.
_TIME: Final = ((2 * _H.size, _H), (2 * _MIN.size, _MIN), (1e3, _S), (1, _MS), (0, _US))
_BYTES: Final = tuple(
    (size, Scale(size, suffix))
    for size, suffix in ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (0, " B"))
)
_MS_PER_UNIT: Final = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "seconds": 1e3}


def scale_of(largest: float, unit: str | None) -> Scale:
    """The scale that suits values up to this size.

    >>> scale_of(75_000, "ms"), scale_of(0.5, "s"), scale_of(3, "percent")
    (Scale(size=1000.0, suffix=' s'), Scale(size=0.001, suffix=' ms'), Scale(size=1, suffix=' %'))
    """
    largest = abs(largest)
    if unit is not None and unit.endswith("/s"):
        base = scale_of(largest, unit.removesuffix("/s"))
        return Scale(base.size, base.suffix + "/s")
    if unit in _MS_PER_UNIT:
        ms = _MS_PER_UNIT[unit]
        found = next(scale for least, scale in _TIME if largest * ms >= least) if largest else _MS
        return Scale(found.size / ms, found.suffix)
    if unit == "bytes":
        found = next(scale for least, scale in _BYTES if largest >= least)
        return Scale(found.size or 1, found.suffix)
    if unit == "percent":
        return Scale(1, " %")
    if unit in ("count", "rate", "1", "", None):
        return Scale(1, "")
    return Scale(1, " " + visible(unit)[:UNIT_CHARACTERS])


def format_value(value: float, unit: str | None) -> str:
    """A value with its unit, to three digits or so.

    >>> format_value(12.345, "ms"), format_value(75_000, "ms"), format_value(1234567, "count")
    ('12.3 ms', '75 s', '1,234,567')
    """
    size, suffix = scale_of(value, unit)
    return format_number(value / size) + suffix


def format_number(number: float) -> str:
    """A number to at least three digits; whole numbers are whole.

    >>> format_number(1234.56), format_number(2.0), format_number(0.0012345)
    ('1,234.6', '2', '0.00123')
    """
    if abs(number) >= _LARGE or not math.isfinite(number):
        return f"{number:.3g}"
    if number == int(number):
        return f"{int(number):,}"
    if abs(number) >= 10:
        return f"{number:,.1f}"
    return f"{number:.2f}" if abs(number) >= 1 else f"{number:.3g}"


def format_duration(duration_ms: float | None) -> str:
    """A duration in the unit that suits it; "-" if there is none yet.

    >>> format_duration(0.0123), format_duration(1234.5), format_duration(75_000)
    ('12.3 µs', '1.2 s', '75.0 s')
    """
    if duration_ms is None:
        return "-"
    size, suffix = scale_of(duration_ms, "ms")
    return f"{duration_ms / size:,.1f}{suffix}"


def format_bytes(size: int) -> str:
    """A size in the unit that suits it.

    >>> format_bytes(512), format_bytes(12_345_678)
    ('512 B', '12.3 MB')
    """
    if size < 1000:
        return f"{size} B"
    number = float(size)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def format_usd(amount: float) -> str:
    """An amount of US dollars: to the cent, small ones to three digits.

    >>> format_usd(1234.5), format_usd(0.00412), format_usd(-3), format_usd(0)
    ('$1,234.50', '$0.00412', '-$3.00', '$0.00')
    """
    size = abs(amount)
    if size >= _LARGE or not math.isfinite(size):
        text = f"{size:.3g}"
    elif size >= _CENTS_FROM or not size:
        text = f"{size:,.2f}"
    else:
        text = f"{size:.3g}"
    return f"{'-' if amount < 0 else ''}${text}"

"""Times as log files write them, to milliseconds since the Unix epoch.

A time without a zone counts as UTC, so that a file gives the same records on every machine.
Nothing here raises: a time that does not exist is `None`. The parts that repeat from line to
line (the second, the day, the zone) are cached; a log has many lines in one second.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache

DAY_MS = 86_400_000
MAX_MS = 253_402_300_799_999
"""The end of the year 9999, in ms: the last time that datetime can show."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()

_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}

MONTH = f"(?:{'|'.join(_MONTH_NAMES)})"
ISO = (
    r"(?>(?P<time>\d{4}[-/]\d\d[-/]\d\d[Tt ]\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d+))?"
    r"(?:(?: ?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d:?\d\d)|(?P<hours>[+-]\d\d))(?!\w))?)"
)
"""Pattern of a date and time; its four groups are the arguments of `iso_ms`."""

_ISO = re.compile(ISO, re.ASCII)
_ACCESS = re.compile(rf"(\d\d/{MONTH}/\d{{4}}:\d\d:\d\d:\d\d) ([+-]\d{{4}})", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,24}(?:\.\d{1,24})?", re.ASCII)


@lru_cache(maxsize=1024)
def _day_ms(year: int, month: int, day: int) -> int | None:
    try:
        return (date(year, month, day).toordinal() - _EPOCH_DAY) * DAY_MS
    except ValueError:
        return None


def _at(day_ms: int | None, hour: str, minute: str, second: str) -> int | None:
    h, m, s = int(hour), int(minute), int(second)
    if day_ms is None or h > 23 or m > 59 or s > 60:  # 60 is a leap second
        return None
    return day_ms + ((h * 60 + m) * 60 + s) * 1000


@lru_cache(maxsize=4096)
def _iso_second_ms(text: str) -> int | None:
    day = _day_ms(int(text[:4]), int(text[5:7]), int(text[8:10]))
    return _at(day, text[11:13], text[14:16], text[17:])


@lru_cache(maxsize=256)
def _zone_ms(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
    return (-minutes if zone[0] == "-" else minutes) * 60_000


def _fraction_ms(digits: str) -> int:
    return int(digits[:3].ljust(3, "0"))


def iso_ms(second: str, fraction: str | None, zone: str | None, hours: str | None) -> int | None:
    """Milliseconds of `YYYY-MM-DD hh:mm:ss`, its fraction and its zone (`Z`, `+hh:mm`, `+hh`)."""
    ms = _iso_second_ms(second)
    if ms is None:
        return None
    if fraction:
        ms += _fraction_ms(fraction)
    zone = zone or hours
    return ms - _zone_ms(zone) if zone else ms


@lru_cache(maxsize=4096)
def access_ms(text: str, zone: str) -> int | None:
    """Milliseconds of `02/Jan/2024:10:11:12` and `+0100`, as web servers write them."""
    day = _day_ms(int(text[7:11]), _MONTHS[text[3:6]], int(text[:2]))
    ms = _at(day, text[12:14], text[15:17], text[18:20])
    return None if ms is None else ms - _zone_ms(zone)


@lru_cache(maxsize=4096)
def ctime_ms(month: str, day: str, clock: str, fraction: str | None, year: str) -> int | None:
    """Milliseconds of the parts of `Sun Dec 04 04:47:44 2005`; `clock` is `hh:mm:ss`."""
    ms = _at(_day_ms(int(year), _MONTHS[month], int(day)), *clock.split(":"))
    return ms + _fraction_ms(fraction) if ms is not None and fraction else ms


@lru_cache(maxsize=4096)
def compact_ms(day: str, clock: str) -> int | None:
    """Milliseconds of `081109 203615`, year first; a year below 70 is in this century."""
    year = int(day[:2])
    year += 2000 if year < 70 else 1900
    return _at(_day_ms(year, int(day[2:4]), int(day[4:])), clock[:2], clock[2:4], clock[4:])


@lru_cache(maxsize=4096)
def yearless_ms(month: str, day: str, clock: str, newest_ms: int | None) -> int | None:
    """Milliseconds of a date without a year (`Jan`, `2`, `10:11:12`; the month may be a number).

    The year is the last one that puts the date no later than a day after `newest_ms`; without
    `newest_ms` it is unknown.
    """
    if newest_ms is None:
        return None
    year = date.fromordinal(newest_ms // DAY_MS + _EPOCH_DAY).year
    number = _MONTHS.get(month) or int(month)
    ms = _at(_day_ms(year, number, int(day)), *clock.split(":"))
    if ms is None or ms > newest_ms + DAY_MS:
        ms = _at(_day_ms(year - 1, number, int(day)), *clock.split(":"))
    return ms


def end_of_year_ms(year: int) -> int:
    """The last millisecond of `year`.

    Raises:
        ValueError: `year` is not within 1 to 9999.
    """
    return (date(year, 12, 31).toordinal() - _EPOCH_DAY + 1) * DAY_MS - 1


def epoch_ms(number: float) -> int | None:
    """Milliseconds of a count since the epoch, in s, ms, µs or ns as its size tells.

    A number too small for a date after 1973 in seconds, or too large for the year 9999 in
    nanoseconds, is not a time.
    """
    size = abs(number)
    if not 1e8 <= size < 1e21:  # NaN fails as well
        return None
    if size < 1e11:
        ms = round(number * 1000)
    elif size < 1e14:
        ms = round(number)
    elif size < 1e17:
        ms = int(number) // 1_000
    else:
        ms = int(number) // 1_000_000
    return ms if abs(ms) <= MAX_MS else None


def time_ms(value: object) -> int | None:
    """Milliseconds of the time in a field: a number or a text in any of the forms above."""
    if isinstance(value, int | float):
        return None if isinstance(value, bool) else epoch_ms(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if match := _ISO.fullmatch(text):
        return iso_ms(*match.groups())
    if _NUMBER.fullmatch(text):
        return epoch_ms(float(text) if "." in text else int(text))
    if match := _ACCESS.fullmatch(text):
        return access_ms(*match.groups())
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return elapsed.days * DAY_MS + elapsed.seconds * 1000 + elapsed.microseconds // 1000

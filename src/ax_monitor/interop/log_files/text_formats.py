"""The text formats that are recognised: one row each.

To add a format, add a row. The specific rows exclude each other, so that their order says
nothing; the general rows come last. Patterns are anchored at the start of the line and repeat no
ambiguous part, so that a match takes time linear in the line.
"""

from __future__ import annotations

import re

from ax_monitor.interop.log_files.record import LEVELS, SYSLOG_LEVELS, ParsedLine
from ax_monitor.interop.log_files.text_format import (
    Match,
    Metadata,
    Surroundings,
    TextFormat,
    by_names,
)
from ax_monitor.interop.log_files.times import (
    ISO,
    MONTH,
    access_ms,
    compact_ms,
    ctime_ms,
    epoch_ms,
    iso_ms,
    yearless_ms,
)

_WORD = r"(?P<level>[A-Za-z]+)"
_CLOCK = r"\d\d:\d\d:\d\d"
_COMMON = (
    "trace|debug|verbose|info|information|notice|warn|warning|err|error|severe|fail|crit|critical|"
    "fatal|emerg|alert|panic"
)
_ANY = "|".join(word for word in LEVELS if len(word) > 1 and word.islower())
_LEVEL_HEAD = (
    # [error]   [ info ]   [W]
    rf"(?:\[ ?(?P<boxed>(?i:{_ANY})|[TDVINWEFC]) *\]:?"
    # ERROR: text   LOG: text   Warning: text
    rf"|(?P<marked>{_ANY.upper()}|(?i:{_COMMON})):"
    # ERROR text   ERROR - text
    rf"|(?P<bare>{_COMMON.upper()}))(?:\s+(?:[-|] +)?|$)"
)
_LEVEL_HINT = re.compile(_LEVEL_HEAD, re.ASCII)
_LEVEL_GROUPS = ("boxed", "marked", "bare")


def _iso(m: Match, _: Surroundings) -> int | None:
    return iso_ms(*m.group("time", "fraction", "zone", "hours"))


def _yearless(m: Match, around: Surroundings) -> int | None:
    return yearless_ms(*m.group("month", "day", "clock"), around.newest_ms)


def _klog_time(m: Match, around: Surroundings) -> int | None:
    year, month, day, clock, fraction = m.group("year", "month", "day", "clock", "fraction")
    if year:
        return iso_ms(f"{year}-{month}-{day} {clock}", fraction, None, None)
    when = yearless_ms(month, day, clock, around.newest_ms)
    return None if when is None else when + int(fraction[:3])


def _iso_or_epoch(m: Match, around: Surroundings) -> int | None:
    return epoch_ms(float(m["epoch"])) if m["epoch"] else _iso(m, around)

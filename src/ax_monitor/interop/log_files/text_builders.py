"""How the parts of a matched text line become its time and its record."""

from __future__ import annotations

import re

from ax_monitor.interop.log_files.record import LEVELS, SYSLOG_LEVELS, ParsedLine
from ax_monitor.interop.log_files.text_format import Match, Metadata, Surroundings
from ax_monitor.interop.log_files.times import (
    access_ms,
    compact_ms,
    ctime_ms,
    epoch_ms,
    iso_ms,
    yearless_ms,
)

_COMMON_WORDS = (
    "trace|debug|verbose|info|information|notice|warn|warning|err|error|severe|fail|crit|critical|"
    "fatal|emerg|alert|panic"
)
_ALL_WORDS = "|".join(word for word in LEVELS if len(word) > 1 and word.islower())

LEVEL_WORDS = _COMMON_WORDS.upper()
"""Alternatives of the level words that are read as a level even without brackets or a colon."""

LEVEL_HEAD = (
    rf"(?:\[ *(?P<boxed>(?i:{_ALL_WORDS})|[TDIWEFC]) *\]:?"
    rf"|(?P<marked>{_ALL_WORDS.upper()}|(?i:{_COMMON_WORDS})):"
    rf"|(?P<bare>{LEVEL_WORDS}))(?:\s+(?:[-|] +)?|$)"
)
"""A level before a message: `[error]`, `[W]`; `LOG:`, `Warning:`; `ERROR`, `INFO -`."""

QUOTED = r'[^"\\]*(?:\\.[^"\\]*)*'
"""What stands between two quotation marks, with backslash escapes."""

_LEVEL_HEAD = re.compile(LEVEL_HEAD, re.ASCII)
_ELEMENT = re.compile(rf'\[([^\s\]"=]+)((?: [^\s\]"=]+="{QUOTED}")*)\]')
_PARAMETER = re.compile(rf' ([^\s\]"=]+)="({QUOTED})"')
_ESCAPED = re.compile(r'\\(["\\\]])')
_FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "console", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
)  # fmt: skip


def iso(m: Match, _: Surroundings) -> int | None:
    """The time of the groups of `times.ISO`."""
    second, fraction, zone, hours = m.group("time", "fraction", "zone", "hours")
    return iso_ms(second, fraction, zone, hours) if second else None


def yearless(m: Match, around: Surroundings) -> int | None:
    """The time of `Jan  2 10:11:12`."""
    return yearless_ms(*m.group("month", "day", "clock"), around.newest_ms)


def ctime(m: Match, _: Surroundings) -> int | None:
    """The time of `Dec 04 04:47:44 2005`."""
    return ctime_ms(*m.group("month", "day", "clock", "fraction", "year"))


def compact(m: Match, _: Surroundings) -> int | None:
    """The time of `081109 203615` or `08/11/09 20:36:15`."""
    return compact_ms(m["day"].replace("/", ""), m["clock"].replace(":", ""))


def access_clock(m: Match, _: Surroundings) -> int | None:
    """The time of `02/Jan/2024:10:11:12 +0100`."""
    return access_ms(*m.group("time", "zone"))


def epoch(m: Match, _: Surroundings) -> int | None:
    """The time of a count since the epoch."""
    return epoch_ms(float(m["time"]))


def klog_clock(m: Match, around: Surroundings) -> int | None:
    """The time of `0102 10:11:12.123456`, or the same with a year before it."""
    year, month, day, clock, fraction = m.group("year", "month", "day", "clock", "fraction")
    if year:
        return iso_ms(f"{year}-{month}-{day} {clock}", fraction, None, None)
    when = yearless_ms(month, day, clock, around.newest_ms)
    return None if when is None else when + int(fraction[:3])


def _level_in(match: Match | None) -> str:
    word = match and (match["boxed"] or match["marked"] or match["bare"])
    return LEVELS[word.lower()] if word else "info"


def general(
    m: Match, around: Surroundings, when: int | None, metadata: Metadata
) -> ParsedLine | None:
    """The record of a line with a time, a level or both, and nothing more that is known."""
    message = m.string[m.end() :]
    return ParsedLine(when, _level_in(m), message, around.source, metadata=metadata or None)


def openstack(m: Match, _: Surroundings, when: int | None, metadata: Metadata) -> ParsedLine | None:
    """The record of an oslo.log line: `request user tenant domain user_domain project_domain`."""
    level = LEVELS.get(m["level"])
    if level is None:
        return None
    user, tenant = (None if part == "-" else part for part in m.group("user", "tenant"))
    message = m.string[m.end() :]
    return ParsedLine(when, level, message, m["source"], None, None, None, tenant, user, metadata)


def syslog(
    m: Match, around: Surroundings, when: int | None, metadata: Metadata
) -> ParsedLine | None:
    """The record of a syslog line; without a priority, the message's first word is the level."""
    if priority := m["priority"]:
        facility, severity = divmod(int(priority), 8)
        if facility >= len(_FACILITIES):
            return None
        level = SYSLOG_LEVELS[severity]
        metadata["facility"] = _FACILITIES[facility]
    else:
        level = _level_in(_LEVEL_HEAD.match(m.string, m.end()))
    source = m["source"] if m["source"] not in (None, "-") else around.source
    return ParsedLine(when, level, m.string[m.end() :], source, metadata=metadata or None)


def rfc5424(
    m: Match, around: Surroundings, when: int | None, metadata: Metadata
) -> ParsedLine | None:
    """The record of a syslog line with structured data, which becomes nested metadata."""
    if m["data"] != "-":
        metadata["structured_data"] = {
            element: {
                name: _ESCAPED.sub(r"\1", value) for name, value in _PARAMETER.findall(parameters)
            }
            for element, parameters in _ELEMENT.findall(m["data"])
        }
    return syslog(m, around, when, metadata)


def access(m: Match, _: Surroundings, when: int | None, metadata: Metadata) -> ParsedLine | None:
    """The record of a request to a web server: request, status and size are the message."""
    request, user, status = m.group("request", "user", "status")
    method, _space, target = request.partition(" ")
    path, _space, protocol = target.rpartition(" ") if " HTTP/" in target else (target, "", "")
    parts = {"method": method, "path": path, "protocol": protocol}
    metadata.update((name, part) for name, part in parts.items() if part)
    level = "error" if status >= "500" else "warn" if status >= "400" else "info"
    message = m.string[m.start("request") - 1 : m.end("size")]
    user_id = None if user == "-" else user
    return ParsedLine(when, level, message, "access", user_id=user_id, metadata=metadata)

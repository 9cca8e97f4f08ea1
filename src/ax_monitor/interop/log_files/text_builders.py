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
    "TRACE", "DEBUG", "VERBOSE", "INFO", "INFORMATION", "NOTICE", "WARN", "WARNING", "ERR", "ERROR",
    "SEVERE", "FAIL", "CRIT", "CRITICAL", "FATAL", "EMERG", "ALERT", "PANIC",
)  # fmt: skip

LEVEL_WORDS = "|".join(_COMMON_WORDS)
"""Alternatives of the level words that are read as a level even without brackets or a colon."""

QUOTED = r'[^"\\]*(?:\\.[^"\\]*)*'
"""What stands between two quotation marks, with backslash escapes."""

# A level before a message: "[error]", "[W]"; "LOG:", "Warning:"; "ERROR", "INFO -". The plainer
# the word stands, the plainer it must be a level: "error opening x" and "Note: x" are prose.
_LEVEL = re.compile(
    r"(?:\[ *(?P<boxed>[A-Za-z]+\d?) *\]:?|(?P<marked>[A-Za-z]+\d?):|(?P<bare>[A-Z]+))"
    r"(?:\s+(?:[-|] +)?|$)",
    re.ASCII,
)
_CONTEXT = re.compile(r"\[?(?P<pid>\d{1,10})\]?:? +|\[(?P<context>[^\]]*)\] +", re.ASCII)
_BARE = {word: LEVELS[word] for word in _COMMON_WORDS}
_MARKED = {word: level for word, level in LEVELS.items() if len(word) > 1 and word.isupper()}
_MARKED |= {s: LEVELS[s] for word in _COMMON_WORDS for s in (word.lower(), word.capitalize())}
_BOXED = {word: level for word, level in LEVELS.items() if len(word) > 1 or word in "TDIWEFC"}

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


def _level_at(line: str, start: int) -> tuple[str | None, int]:
    """The level that `line` has at `start`, and where what follows it begins."""
    match = _LEVEL.match(line, start)
    if match is None:
        return None, start
    boxed, marked, bare = match.groups()
    level = _BOXED.get(boxed) if boxed else _MARKED.get(marked) if marked else _BARE.get(bare)
    return level, match.end() if level else start


def general(m: Match, around: Surroundings, when: int | None, metadata: Metadata) -> ParsedLine:
    """The record of a line with a time and perhaps a level, or a pid or a context and a level."""
    line, start = m.string, m.end()
    level, end = _level_at(line, start)
    if level is None and (context := _CONTEXT.match(line, start)):
        level, end = _level_at(line, context.end())
        if level is None:
            end = start
        elif pid := context["pid"]:
            metadata["pid"] = int(pid)
        else:
            metadata["context"] = context["context"]
    return ParsedLine(when, level or "info", line[end:], around.source, metadata=metadata or None)


def levelled(
    m: Match, around: Surroundings, when: int | None, metadata: Metadata
) -> ParsedLine | None:
    """The record of a line that begins with a level and has no time."""
    level, end = _level_at(m.string, 0)
    if level is None:
        return None
    return ParsedLine(when, level, m.string[end:], around.source)


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
        level = _level_at(m.string, m.end())[0] or "info"
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

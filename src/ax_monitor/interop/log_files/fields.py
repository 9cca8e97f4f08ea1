"""Turns the named fields of a structured line (JSON, logfmt) into a record.

Loggers name the same things differently. A key is compared in lower case and without `_ - . @`,
so that one spelling below stands for `trace_id`, `traceId`, `TraceID` and `trace.id`. Where two
keys mean the same, the first of the table is taken; it and every other key that is unknown, or
whose value is not what the table expects, goes into the metadata under its own name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ax_monitor.interop.log_files.record import LEVELS, SYSLOG_LEVELS, ParsedLine
from ax_monitor.interop.log_files.times import MAX_MS, time_ms

_IGNORED = str.maketrans("", "", "_-.@")
_LEVEL_NAMES = frozenset(SYSLOG_LEVELS)
_OWN_TYPES: dict[str, Any] = {
    "timestamp": int,
    "level": str,
    "message": str,
    "source": str,
    "execution_id": str | None,
    "trace_id": str | None,
    "span_id": str | None,
    "tenant_id": str | None,
    "user_id": str | None,
    "metadata": dict | None,
    "stack_trace": str | None,
}
_OWN_KEYS = _OWN_TYPES.keys() | {"id", "seq"}


def _by_steps(value: object, *steps: tuple[int, str]) -> str | None:
    number = _whole(value)
    if number is None:
        return None
    return next((level for least, level in steps if number >= least), None)


def _whole(value: object) -> int | None:
    if isinstance(value, str) and len(value) < 4 and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _level(value: object) -> str | None:
    """A word, a number of pino and bunyan (10 to 60) or a syslog severity (0 to 7)."""
    if isinstance(value, str) and (level := LEVELS.get(value) or LEVELS.get(value.strip().lower())):
        return level
    steps = (60, "fatal"), (50, "error"), (40, "warn"), (30, "info"), (10, "debug")
    return _by_steps(value, *steps) or _syslog_level(value)


def _syslog_level(value: object) -> str | None:
    number = _whole(value)
    return SYSLOG_LEVELS[number] if number is not None and 0 <= number <= 7 else None


def _python_level(value: object) -> str | None:
    return _by_steps(value, (50, "fatal"), (40, "error"), (30, "warn"), (20, "info"), (1, "debug"))


def _otel_level(value: object) -> str | None:
    return _by_steps(value, (21, "fatal"), (17, "error"), (13, "warn"), (9, "info"), (1, "debug"))


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    is_said = isinstance(value, int | float | dict) and not isinstance(value, bool)
    return json.dumps(value, ensure_ascii=False) if is_said else None


def _chomped(value: object) -> str | None:
    return value.rstrip("\r\n") if isinstance(value, str) else None


def _name(value: object) -> str | None:
    return value or None if isinstance(value, str) else None


def _id(value: object) -> str | None:
    """A text or a number; no id when empty or all zero, as W3C Trace Context has it."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return text if text.strip("0") else None


_TABLE: tuple[tuple[str, Callable[[object], object], str], ...] = (
    ("timestamp", time_ms, "timestamp time ts datetime asctime date eventtime created t"),
    ("timestamp", time_ms, "timeunixnano realtimetimestamp observedtimestamp"),
    ("level", _level, "level severity levelname lvl loglevel severitytext"),
    ("level", _otel_level, "severitynumber"),
    ("level", _python_level, "levelno"),
    ("level", _syslog_level, "priority syslogseverity"),
    ("message", _text, "message msg event body shortmessage"),
    ("message", _chomped, "log"),
    ("source", _name, "source logger loggername loglogger name component category target service"),
    ("source", _name, "servicename app syslogidentifier"),
    ("execution_id", _id, "executionid runid workflowexecutionid"),
    ("trace_id", _id, "traceid ddtraceid"),
    ("span_id", _id, "spanid ddspanid"),
    ("tenant_id", _id, "tenantid"),
    ("user_id", _id, "userid"),
    ("stack_trace", _name, "stacktrace errorstack errorstacktrace exceptionstacktrace stack"),
    ("stack_trace", _name, "exception excinfo exctext"),
)
_ALIASES = {
    key: (rank, name, convert)
    for rank, (key, name, convert) in enumerate(
        (key, name, convert) for name, convert, keys in _TABLE for key in keys.split()
    )
}


@lru_cache(maxsize=4096)
def _alias(key: str) -> tuple[int, str, Callable[[object], object]] | None:
    return _ALIASES.get(key.lower().translate(_IGNORED))


def _lift_stack(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """`fields` with the stack of `{"error": {"stack": …}}` as a field of its own."""
    for key in ("error", "err", "exception"):
        inner = fields.get(key)
        if isinstance(inner, dict):
            for name in ("stack", "stack_trace", "stacktrace"):
                if isinstance(inner.get(name), str):
                    rest = {k: v for k, v in inner.items() if k != name}
                    return {**fields, key: rest, "error.stack": inner[name]}
    return fields


def describes_record(fields: Mapping[str, Any]) -> bool:
    """Whether a key of `fields` is one for the time, the level or the message of a record."""
    aliases = map(_alias, fields)
    return any(alias and alias[1] in ("timestamp", "level", "message") for alias in aliases)


def _own_record(fields: Mapping[str, Any]) -> ParsedLine | None:
    """The record of a line that ax-monitor exported; its `id` and `seq` are left to the store."""
    if (
        all(isinstance(fields[name], kind) for name, kind in _OWN_TYPES.items())
        and fields["level"] in _LEVEL_NAMES
        and abs(fields["timestamp"]) <= MAX_MS
    ):
        return ParsedLine(**{name: fields[name] for name in _OWN_TYPES})
    return None


def from_fields(fields: Mapping[str, Any], *, line: str, source: str) -> ParsedLine:
    """The record of a structured line.

    Args:
        fields: What the line holds; it is not changed.
        line: The whole line: the message of a record that has none.
        source: The source of a record that names none.
    """
    if fields.keys() >= _OWN_KEYS and (own := _own_record(fields)):
        return own
    found: dict[str, Any] = {"timestamp": None, "level": "info", "message": line, "source": source}
    taken: dict[str, tuple[int, str]] = {}
    metadata: dict[str, object] = {}
    for key, value in _lift_stack(fields).items():
        alias = _alias(key)
        if alias is None:
            metadata[key] = value
            continue
        rank, name, convert = alias
        converted = convert(value)
        best = taken.get(name)
        if converted is not None and (best is None or rank < best[0]):
            taken[name] = rank, key
            found[name] = converted
            if best is not None:
                metadata[best[1]] = fields[best[1]]
        elif value is not None:
            metadata[key] = value
    inner = metadata.get("metadata")
    if isinstance(inner, dict) and inner.keys().isdisjoint(metadata):
        del metadata["metadata"]
        metadata.update(inner)
    return ParsedLine(**found, metadata=metadata or None)

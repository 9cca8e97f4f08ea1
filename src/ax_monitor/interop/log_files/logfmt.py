r"""Reads logfmt: `key=value key="a \"quoted\" value" flag` pairs, one record a line."""

from __future__ import annotations

import json
import re

from ax_monitor.interop.log_files.fields import describes_record, from_fields
from ax_monitor.interop.log_files.record import ParsedLine, printable

_PAIR = re.compile(
    r'(?P<key>[^\s="]+)(?:=(?:"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<plain>[^\s"]*)))?(?:\s+|$)'
)
_QUOTE_ESCAPE = re.compile(r'\\(["\\])')
_decode = json.JSONDecoder(strict=False).decode


def _unquoted(text: str) -> str:
    """The text between quotation marks with its escapes resolved, which are those of JSON."""
    if "\\" not in text:
        return text
    try:
        return printable(str(_decode(f'"{text}"')))
    except ValueError:  # an escape that JSON does not have stays as it is
        return _QUOTE_ESCAPE.sub(r"\1", text)


def pairs(line: str) -> dict[str, object] | None:
    """The pairs of a line; a key without `=` is `True`, the values of a repeated key a list.

    Returns:
        `None` when the line is not logfmt: it does not start with a pair, is not made of pairs to
        its end, or has more lone words than pairs.
    """
    found: dict[str, object] = {}
    position = count = lone_words = 0
    line = line.rstrip()
    while position < len(line):
        match = _PAIR.match(line, position)
        if match is None:
            return None
        key, quoted, plain = match.groups()
        value: str | bool
        if quoted is not None:
            value = _unquoted(quoted)
        elif plain is not None:
            value = plain
        else:
            value = True
            lone_words += 1
        count += 1
        if count == lone_words:
            return None
        before = found.setdefault(key, value)
        if isinstance(before, list):
            before.append(value)
        elif before is not value:
            found[key] = [before, value]
        position = match.end()
    return found if count and count >= 2 * lone_words else None


class LogfmtParser:
    """Reads lines that are made of `key=value` pairs; values stay text.

    Args:
        source: The source of records that name none.
        strict: Whether a line must also name its time, level or message. This tells logfmt from
            prose with an equals sign when nobody said that the file is logfmt.
    """

    def __init__(self, source: str, *, strict: bool = False) -> None:
        self._source = source
        self._strict = strict

    def parse(self, line: str) -> ParsedLine | None:
        """The record of `line`, or `None` when it is not logfmt."""
        fields = pairs(line)
        if fields is None or (self._strict and not describes_record(fields)):
            return None
        return from_fields(fields, line=line, source=self._source)

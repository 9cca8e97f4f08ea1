"""Reads JSON lines: one object a line."""

from __future__ import annotations

import json

from ax_monitor.interop.log_files.fields import from_fields
from ax_monitor.interop.log_files.record import ParsedLine, printable


def _storable(value: object) -> object:
    """`value` with every text free of lone surrogates, which JSON can spell as escapes."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


class JsonParser:
    """Reads lines that are a JSON object each; `NaN` and `Infinity` are let through.

    Args:
        source: The source of records that name none.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    def parse(self, line: str) -> ParsedLine | None:
        """The record of `line`, or `None` when it is not a whole JSON object."""
        if not line.lstrip().startswith("{"):
            return None
        try:
            fields = json.loads(line)
            if "\\u" in line:
                fields = _storable(fields)
            return from_fields(fields, line=line, source=self._source)
        except (ValueError, RecursionError):
            # Broken, nested too deeply, or a number of more digits than Python converts.
            return None

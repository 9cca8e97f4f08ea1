"""Reads plain text lines by the table of text formats."""

from __future__ import annotations

import re
from functools import lru_cache

from ax_monitor.interop.log_files.record import ParsedLine
from ax_monitor.interop.log_files.text_format import Surroundings, TextFormat
from ax_monitor.interop.log_files.text_formats import TEXT_FORMATS, TIME


def _fits_timed_row() -> re.Pattern[str]:
    """A pattern that fits what the specific rows with a leading time fit, reading that time once.

    Most lines with a date are of one row or of none; this tells without trying all rows.
    """
    rows = [row.pattern.pattern for row in TEXT_FORMATS if not row.general]
    rests = "|".join(row.removeprefix(TIME) for row in rows if row.startswith(TIME))
    return re.compile(re.sub(r"\?P<\w+>", "?:", f"{TIME}(?:{rests})"), re.ASCII)


_TIMED = _fits_timed_row()


@lru_cache(maxsize=1024)
def _rows_for(first: str, timed: bool) -> tuple[TextFormat, ...]:
    """The rows that can fit a line with this first character, which `_TIMED` fits or not."""
    return tuple(
        row
        for row in TEXT_FORMATS
        if (not row.starts or first in row.starts)
        and (timed or row.general or not row.pattern.pattern.startswith(TIME))
    )


class TextParser:
    """Finds the format of each line, trying first the one that fitted the line before.

    What a line gives does not depend on the lines before it: only a specific row, which no other
    row contradicts, is tried out of turn. Not thread-safe; make one for each file.

    Args:
        around: What the lines do not say themselves.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._last = TEXT_FORMATS[0]

    def parse(self, line: str) -> ParsedLine | None:
        """The record of `line`, or `None` when no row of the table fits."""
        first = line[:1]
        if first.isspace():
            return None
        last = self._last
        record = last.parse(line, self._around)
        if record is not None:
            return record
        for row in _rows_for(first, _TIMED.match(line) is not None):
            if row is not last and (record := row.parse(line, self._around)) is not None:
                if not row.general:
                    self._last = row
                return record
        return None

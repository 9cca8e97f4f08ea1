"""Reads plain text lines by the table of text formats."""

from __future__ import annotations

from ax_monitor.interop.log_files.record import ParsedLine
from ax_monitor.interop.log_files.text_format import Surroundings
from ax_monitor.interop.log_files.text_formats import TEXT_FORMATS


class TextParser:
    """Finds the format of each line, trying first the one that fitted the line before.

    What a line gives does not depend on the lines before it: only a specific row, which no other
    row contradicts, is tried out of turn. Not thread-safe; make one for each file.
    """

    def __init__(self, around: Surroundings) -> None:
        """Starts without a remembered format.

        Args:
            around: What the lines do not say themselves.
        """
        self._around = around
        self._last = TEXT_FORMATS[0]

    def parse(self, line: str) -> ParsedLine | None:
        """The record of `line`, or `None` when no row of the table fits."""
        if line[:1].isspace():
            return None
        record = self._last.parse(line, self._around)
        if record is not None:
            return record
        for row in TEXT_FORMATS:
            record = row.parse(line, self._around)
            if record is not None:
                if not row.general:
                    self._last = row
                return record
        return None

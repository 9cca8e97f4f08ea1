"""What a row of the table of text formats is, and how it makes a record of a line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ax_monitor.interop.log_files.record import LEVELS, ParsedLine

Match = re.Match[str]
Metadata = dict[str, object]

_NUMBERS = ("pid", "tid", "line", "status", "size")
_CONSUMED = (
    "time", "fraction", "zone", "hours", "year", "month", "day", "clock", "level", "source",
    "boxed", "marked", "bare", "priority", "data", "tenant", "user", "request",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a line does not say itself.

    Attributes:
        source: The source of lines that name none.
        newest_ms: No line is later than a day after this time, in ms since the epoch; it gives
            dates without a year their year. `None`: such dates stay unknown.
    """

    source: str
    newest_ms: int | None


Clock = Callable[[Match, Surroundings], int | None]
Make = Callable[[Match, Surroundings, int | None, Metadata], ParsedLine | None]


def by_names(
    match: Match, around: Surroundings, when: int | None, metadata: Metadata
) -> ParsedLine | None:
    """The record of a line with the groups `level` and perhaps `source`, followed by a message."""
    level = LEVELS.get(match["level"])
    if level is None:
        return None
    source = match["source"] or around.source
    message = match.string[match.end() :]
    return ParsedLine(when, level, message, source, metadata=metadata or None)


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A row of the table.

    The named groups of the pattern say what the parts of a line are: `time` and its companions,
    `level`, `source`; each other name becomes a key of the metadata, unless it is empty or `-`.

    Attributes:
        name: How the format is called in tests and documents.
        pattern: Matches the head of a line, up to the message, in ASCII and linear time.
        starts: The characters that a line can start with, to try fewer rows; empty: any.
        clock: Milliseconds since the epoch of a match. When it is `None` (no such day, no year
            known), the text of the group `time` goes into the metadata.
        make: Makes the record; `None` when the line only looked like this format.
        general: The row also fits lines of specific rows and must be tried after them.
    """

    name: str
    pattern: re.Pattern[str]
    starts: str
    clock: Clock | None
    make: Make = by_names
    general: bool = False
    _extras: tuple[tuple[str, int, bool], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Collects the groups that go into the metadata, once for all lines."""
        extras = tuple(
            (name, index, name in _NUMBERS)
            for name, index in self.pattern.groupindex.items()
            if name not in _CONSUMED
        )
        object.__setattr__(self, "_extras", extras)

    def parse(self, line: str, around: Surroundings) -> ParsedLine | None:
        """The record of `line`; `None` when it is not of this format."""
        match = self.pattern.match(line)
        if match is None:
            return None
        metadata: Metadata = {}
        for name, index, is_number in self._extras:
            text = match[index]
            if text and text != "-":
                is_int = is_number and len(text) < 19 and text.isdecimal()
                metadata[name] = int(text) if is_int else text
        when = None
        if self.clock is not None:
            when = self.clock(match, around)
            if when is None and match["time"]:
                metadata["time"] = match["time"]
        return self.make(match, around, when, metadata)

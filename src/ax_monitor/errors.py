"""Every error that ax-monitor raises on purpose.

::

    MonitorError
    ├── AlertRuleError (also ValueError)      a rule or condition is wrong, or there is no such rule
    │   └── RulesFileError                    a file of rules has mistakes; it lists them all
    ├── LogQueryError (also ValueError)       a log query cannot be answered as it was asked
    │   ├── SearchSyntaxError                 the search text is not a valid search
    │   └── SearchTimeout                     the search is too costly for its time limit
    ├── QueryError (also ValueError)          SQL of the caller's own is no query, or takes too long
    ├── TraceQueryError (also ValueError)     a trace query cannot be answered as it was asked
    └── StorageError                          the database or the disk under it failed
        └── SchemaVersionError                the file was written by a newer ax-monitor

Recording calls raise none of these; queries and management calls do. A wrong value of a closed
vocabulary (`LogLevel.parse("loud")`) is a plain `ValueError`, and a missing or unknown keyword
argument a plain `TypeError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

__all__ = [
    "AlertRuleError",
    "LogQueryError",
    "MonitorError",
    "QueryError",
    "RulesFileError",
    "SchemaVersionError",
    "SearchSyntaxError",
    "SearchTimeout",
    "StorageError",
    "TraceQueryError",
]

_SHOWN_AROUND = 36  # characters of a search text shown on each side of the fault: fits 80 columns


class MonitorError(Exception):
    """The root: catches everything that ax-monitor raises on purpose."""


class AlertRuleError(MonitorError, ValueError):
    """An alert rule or its condition has a wrong value, or the rule id is unknown."""


class RulesFileError(AlertRuleError):
    """A file of alert rules can't be loaded. Nothing of it has been.

    The message has a line for each mistake: the file, its line if that is known, the rule, and what
    is wrong with which key.

    Args:
        problems: Those lines.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class LogQueryError(MonitorError, ValueError):
    """A log query cannot be answered as asked. The message names the argument and its value."""


class TraceQueryError(MonitorError, ValueError):
    """A trace query cannot be answered as asked. The message names the argument and its value."""


class SearchSyntaxError(LogQueryError):
    """The `search` of a log query is not a valid search.

    The message has three lines: what is wrong and where, the text, and a caret under the place.
    The first line stands on its own. Of a long text only the part around the place is shown, and
    characters that a terminal would act upon are replaced.

    >>> print(SearchSyntaxError("unterminated quote", 'timeout OR "rate limit', 11))
    unterminated quote at position 11
      timeout OR "rate limit
                 ^

    Args:
        reason: What is wrong, without the place.
        text: The whole search text, as the caller gave it.
        position: Index in `text` of the first character at fault; `len(text)` if the text ends
            too early.
    """

    def __init__(self, reason: str, text: str, position: int) -> None:
        super().__init__(reason, text, position)
        self.reason = reason
        self.text = text
        self.position = position

    def __str__(self) -> str:
        return f"{self.reason} at position {self.position}\n{_point_at(self.text, self.position)}"


class SearchTimeout(LogQueryError):  # noqa: N818 (as TimeoutError's kin are named)
    """A search ran into its time limit and was stopped. Other queries are not affected.

    Args:
        text: The whole search text.
        limit_ms: The time it was given, in milliseconds.
    """

    def __init__(self, text: str, limit_ms: float) -> None:
        super().__init__(text, limit_ms)
        self.text = text
        self.limit_ms = limit_ms

    def __str__(self) -> str:
        return (
            f"the search was stopped after {self.limit_ms:g} ms: {self.text!r:.80}; "
            "narrow its time range, or pass a higher timeout_ms"
        )


class QueryError(MonitorError, ValueError):
    """A query in SQL of the caller's own is not one that can be run, or it took too long."""


class StorageError(MonitorError):
    """The database, or the disk under it, could not do what was asked.

    Args:
        args: The message: what failed, and on which file.
        retryable: True if the same call may succeed later with nothing changed here (a full disk,
            a locked file), False (default) if it will not (a corrupt file, a missing folder).
        kind: "locked" if another program holds the file, "record" if the database refuses what was
            to be written and nothing else is wrong, "replaced" if the file is not the one any more
            that was opened, else "other" (default).
    """

    def __init__(
        self,
        *args: object,
        retryable: bool = False,
        kind: Literal["locked", "record", "replaced", "other"] = "other",
    ) -> None:
        super().__init__(*args)
        self.retryable = retryable
        self.kind = kind


class SchemaVersionError(StorageError):
    """The database was written by a newer ax-monitor. It can be read, but not written.

    Args:
        found: Schema version of the file.
        supported: Highest schema version that this ax-monitor writes.
    """

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(found, supported)
        self.found = found
        self.supported = supported

    def __str__(self) -> str:
        return (
            f"the database has schema version {self.found}, "
            f"this ax-monitor writes versions up to {self.supported}"
        )


def _point_at(text: str, position: int) -> str:
    """The part of `text` around `position` on one line, and a caret under it on the next."""
    position = min(max(position, 0), len(text))
    start, end = max(0, position - _SHOWN_AROUND), position + _SHOWN_AROUND
    before = "…" * (start > 0) + text[start:position]
    after = text[position:end] + "…" * (end < len(text))
    line = "".join(char if char.isprintable() else "\ufffd" for char in before + after)
    return f"  {line}\n  {' ' * len(before)}^"

"""What the tests of the logger share: a model of log queries that uses none of our code.

A search is built as a tree (`Phrase`, `Near`, `Group`) that can write itself as search text and can
say whether a message matches, by its own rules on the message's tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, TypeVar

import apsw

T = TypeVar("T")
LEVELS = ("debug", "info", "warn", "error", "fatal")
SEVERITY = dict(zip(LEVELS, (5, 9, 13, 17, 21), strict=True))
BASE_MS = 1_700_000_000_000


def wait_for(found: Callable[[], T], what: str, timeout_s: float = 10.0) -> T:
    """Ask until the answer is true; fail after a deadline."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.005)
    raise AssertionError(f"waited {timeout_s} s in vain for {what}")


# -- tokens ---


def ascii_tokens(text: str) -> list[str]:
    """Runs of letters and digits in lower case: what unicode61 does to plain ASCII."""
    assert text.isascii()
    return "".join(char if char.isalnum() else " " for char in text).lower().split()


@cache
def _unicode61() -> Any:
    return apsw.Connection(":memory:").fts5_tokenizer("unicode61", [])


def tokens_of(text: str) -> list[str]:
    """The tokens of any stored text, by SQLite's own tokenizer (and nothing else of FTS5)."""
    stored = text.encode("utf-8", "backslashreplace")
    reason = apsw.FTS5_TOKENIZE_DOCUMENT
    found = _unicode61()(stored, reason, None, include_offsets=False, include_colocated=False)
    return list(found)


# -- searches ---


@dataclass(frozen=True)
class Phrase:
    """Words in a row: `one`, `"one two"`, `one + two`, `^one`, `on*`."""

    words: tuple[str, ...]
    prefix: bool = False
    initial: bool = False
    joined: bool = False

    def text(self) -> str:
        if self.joined:
            text = " + ".join(f'"{word}"' for word in self.words)
        elif len(self.words) == 1 and self.words[0].isascii():
            text = self.words[0]
        else:
            text = '"' + " ".join(self.words) + '"'
        return "^" * self.initial + text + "*" * self.prefix

    def starts(self, tokens: list[str]) -> list[int]:
        wanted = _wanted(self.words)
        last = len(wanted) - 1
        return [
            start
            for start in range(1 if self.initial else len(tokens))
            if tokens[start : start + last] == wanted[:-1]
            and start + last < len(tokens)
            and (
                tokens[start + last].startswith(wanted[last])
                if self.prefix
                else tokens[start + last] == wanted[last]
            )
        ]

    def size(self) -> int:
        return len(_wanted(self.words))

    def matches(self, tokens: list[str]) -> bool:
        return bool(self.starts(tokens))


@cache
def _wanted(words: tuple[str, ...]) -> list[str]:
    return [token for word in words for token in tokens_of(word)]


@dataclass(frozen=True)
class Near:
    """`NEAR(one two, 3)`: at most so many tokens between the end of each and the last's start."""

    phrases: tuple[Phrase, ...]
    distance: int | None = None

    def text(self) -> str:
        inner = " ".join(phrase.text() for phrase in self.phrases)
        return f"NEAR({inner})" if self.distance is None else f"NEAR({inner}, {self.distance})"

    def matches(self, tokens: list[str]) -> bool:
        reach = 10 if self.distance is None else self.distance
        starts = [phrase.starts(tokens) for phrase in self.phrases]
        sizes = [phrase.size() for phrase in self.phrases]
        return any(
            all(
                any(last - size - reach <= start <= last for start in own)
                for own, size in zip(starts, sizes, strict=True)
            )
            for last in {start for own in starts for start in own}
        )


@dataclass(frozen=True)
class Group:
    """`AND`, `OR`, `NOT`, or juxtaposed (operator ""), optionally with `-excluded` parts."""

    operator: str
    parts: tuple[Any, ...]
    excluded: tuple[Any, ...] = ()

    def text(self) -> str:
        joint = f" {self.operator} " if self.operator else " "
        wanted = joint.join(map(_part, self.parts))
        return " ".join([wanted, *(f"-{_part(part)}" for part in self.excluded)])

    def matches(self, tokens: list[str]) -> bool:
        hits = [part.matches(tokens) for part in self.parts]
        if self.operator == "OR":
            hit = any(hits)
        elif self.operator == "NOT":
            hit = hits[0] and not any(hits[1:])
        else:
            hit = all(hits)
        return hit and not any(part.matches(tokens) for part in self.excluded)


def _part(tree: Phrase | Near | Group) -> str:
    return f"({tree.text()})" if isinstance(tree, Group) else tree.text()


# -- records ---


@dataclass
class Row:
    """One log call, as the model remembers it."""

    number: int
    level: str
    message: str
    source: str
    timestamp: int
    execution_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, Any] | None = None
    tokens: list[str] = field(default_factory=list)


class LogModel:
    """A list of log calls, and the same queries answered by looking at every one of them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._numbers = count()

    def log(self, logger: Any, *, level: str, message: str, timestamp: int, **fields: Any) -> None:
        """Log it, and remember it. The message gets a token of its own."""
        number = next(self._numbers)
        row = Row(number, level, f"{message} n{number}x", timestamp=timestamp, **fields)
        row.tokens = tokens_of(row.message)
        self.rows.append(row)
        logger.log_at(
            SEVERITY[level], row.message, row.source, timestamp_ns=timestamp * 1_000_000 + 999,
            execution_id=row.execution_id, trace_id=row.trace_id, span_id=row.span_id,
            tenant_id=row.tenant_id, user_id=row.user_id, metadata=row.metadata,
        )  # fmt: skip

    def query(
        self,
        *,
        search: Any = None,
        level: str | None = None,
        min_level: str | None = None,
        start_time: int | None = None,
        end_time: int | None = None,
        metadata: dict[str, Any] | None = None,
        order: str = "desc",
        limit: int | None = 100,
        offset: int = 0,
        **equal: str | None,
    ) -> list[str]:
        """The messages that `query_logs` should return. `search` is a tree here."""
        rows = sorted(self.rows, key=lambda row: (row.timestamp, row.number))
        if order == "desc":
            rows.reverse()
        found = [
            row.message
            for row in rows
            if (level is None or row.level == level)
            and (min_level is None or LEVELS.index(row.level) >= LEVELS.index(min_level))
            and (start_time is None or row.timestamp >= start_time)
            and (end_time is None or row.timestamp <= end_time)
            and all(value is None or getattr(row, name) == value for name, value in equal.items())
            and all(_holds(row.metadata, key, value) for key, value in (metadata or {}).items())
            and (search is None or search.matches(row.tokens))
        ]
        return found[offset:] if limit is None else found[offset : offset + limit]


def _holds(metadata: dict[str, Any] | None, key: str, wanted: Any) -> bool:
    """Key and value equality as in JSON: true is not 1, but 1 is 1.0."""
    if metadata is None or key not in metadata:
        return False
    value = metadata[key]
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return bool(value == wanted)


# -- metadata ---


def store_metadata(logger: Any, metadata: Any) -> dict[str, Any]:
    """What a query gives back for metadata that was logged."""
    logger.info("x", "test", metadata=metadata)
    found = logger.get_recent_logs(1)[0].metadata
    assert found is not None
    return found

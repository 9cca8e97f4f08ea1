"""The error tree: its shape, its messages, and that errors travel between processes."""

from __future__ import annotations

import pickle
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import errors
from ax_monitor.errors import (
    AlertRuleError,
    LogQueryError,
    MonitorError,
    RulesFileError,
    SchemaVersionError,
    SearchSyntaxError,
    SearchTimeout,
    StorageError,
)

EXAMPLES = [
    MonitorError("failed"),
    AlertRuleError("no rule 'x'"),
    RulesFileError(["rules.yaml:3: rule 'a': severity is missing", "rules.yaml:9: …"]),
    LogQueryError("limit must be …"),
    SearchSyntaxError("unterminated quote", 'a "b', 2),
    SearchTimeout("a* b*", 250),
    StorageError("disk full", retryable=True),
    SchemaVersionError(7, 3),
]


def test_the_drawn_tree_is_the_real_one() -> None:
    """The tree in the module's docstring has every class, under its real parent."""
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    assert sorted(name for _, name in drawn) == sorted(errors.__all__)
    path: list[type] = []
    for indent, name in drawn:
        path[len(indent) // 4 :] = [getattr(errors, name)]
        assert all(child.__base__ is parent for parent, child in pairwise(path))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: MonitorError) -> None:
    """An error raised in a worker process arrives with its message and attributes."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_wrong_arguments_are_value_errors() -> None:
    """Errors about rules and queries are `ValueError`s, those about storage are not."""
    assert issubclass(AlertRuleError, ValueError)
    assert issubclass(SearchSyntaxError, ValueError)
    assert not issubclass(StorageError, ValueError)


def test_storage_errors_say_if_trying_again_may_help() -> None:
    """`retryable` is False unless said otherwise, and a newer file is never retryable."""
    assert StorageError("disk full", retryable=True).retryable
    assert not StorageError("corrupt").retryable
    assert not SchemaVersionError(7, 3).retryable


def test_schema_version_error_names_both_versions() -> None:
    """The message and the attributes tell what was found and what can be written."""
    error = SchemaVersionError(found=7, supported=3)
    assert (error.found, error.supported) == (7, 3)
    assert (
        str(error) == "the database has schema version 7, this ax-monitor writes versions up to 3"
    )


def test_search_timeout_names_the_search_and_its_limit() -> None:
    """The message shows the time limit and the search, cut when it is long."""
    assert str(SearchTimeout("a* b*", 250)).startswith(
        "the search was stopped after 250 ms: 'a* b*'; narrow"
    )
    assert len(str(SearchTimeout("x" * 10_000, 250))) < 220


def test_search_syntax_error_shows_text_and_place() -> None:
    """The message has the reason and position on its first line, then the text and a caret."""
    error = SearchSyntaxError("unterminated quote", 'timeout OR "rate limit', 11)
    assert (error.text, error.position) == ('timeout OR "rate limit', 11)
    assert str(error).splitlines() == [
        "unterminated quote at position 11",
        '  timeout OR "rate limit',
        "             ^",
    ]


@given(st.text(min_size=1, max_size=300), st.data())
def test_caret_is_under_the_character_at_fault(text: str, data: st.DataObject) -> None:
    """Whatever the text, three printable lines of at most 80 characters point at the character."""
    position = data.draw(st.integers(0, len(text) - 1))
    _, line, caret = str(SearchSyntaxError("bad", text, position)).split("\n")
    assert line.isprintable()
    assert len(line) <= 80
    assert line[caret.index("^")] in (text[position], "\ufffd")


@pytest.mark.parametrize(("position", "column"), [(5, 7), (99, 7), (-1, 2)])
def test_caret_stays_at_the_text_when_the_position_is_outside(position: int, column: int) -> None:
    """A text that ends too early is pointed at behind its end; nothing points further away."""
    caret = str(SearchSyntaxError("bad", "a AND", position)).split("\n")[2]
    assert caret.index("^") == column

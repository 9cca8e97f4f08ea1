"""Series by their labels: the same as by looking at each."""

from __future__ import annotations

import functools
import json
from typing import Any

import apsw
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor.storage.migrations import migrate
from ax_monitor.storage.series import find_series

TEXTS = st.sampled_from(
    ["", "a", "w1", "w12", "1", "-1", "1e5", "é", "x/y", 'q"q', "a b", "true", "\\u", "\n", "[1]"]
) | st.text(max_size=3)
VALUES = TEXTS | st.sampled_from([1, -1, 1e5, 1.5, True, None, [1], {"a": "b"}])
LABELS = st.dictionaries(TEXTS, VALUES, max_size=3)
FORMS: list[dict[str, Any]] = [
    {"separators": (",", ":"), "ensure_ascii": False},  # as the recorder writes it
    {"separators": (",", ":")},
    {"indent": 1},
]


@functools.cache
def _database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    migrate(connection, ":memory:")
    return connection


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _stored(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@given(
    rows=st.lists(st.tuples(LABELS, st.sampled_from(FORMS)), max_size=6),
    wanted=st.dictionaries(TEXTS, TEXTS, max_size=2),
)
@example(rows=[({"n": 1e5}, FORMS[0]), ({"n": 1}, FORMS[2])], wanted={"n": "100000.0"})
@example(rows=[({"é": "ü"}, FORMS[1])], wanted={"é": "ü"})
def test_series_with_labels(
    rows: list[tuple[dict[str, Any], dict[str, Any]]], wanted: dict[str, str]
) -> None:
    """However another program wrote its labels, those are found that have the wanted ones."""
    connection = _database()
    connection.execute("DELETE FROM metric_series")
    expected = set()
    for series, (labels, form) in enumerate(rows, 1):
        text = json.dumps(labels, **form)
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        connection.execute(
            "INSERT INTO metric_series(series, metric_type, labels, defined_at) "
            "VALUES (?, 'm', ?, 0)",
            (series, text),
        )
        try:
            read = json.loads(text)
        except ValueError:  # a lone surrogate, as a backslash
            read = {}
        has = {(name, _as_text(value)) for name, value in read.items()}
        if {(_stored(name), _stored(value)) for name, value in wanted.items()} <= has:
            expected.add(series)
    found = {each.series for each in find_series(connection, "m", labels=wanted)}
    assert found == expected

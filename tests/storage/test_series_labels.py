"""Series by their labels: the same as by looking at each."""

from __future__ import annotations

import functools
import json
from typing import Any

import apsw
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor.pipeline.store import Store
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.storage.metric_deletion import Deletion
from ax_monitor.storage.migrations import SCHEMA_VERSION, migrate
from ax_monitor.storage.series import LABELS_VERSION, MANY_SERIES, find_series

TEXTS = st.sampled_from(
    ["", "a", "w1", "w12", "1", "-1", "1e5", "é", "x/y", 'q"q', "a b", "true", "\\u", "\n", "[1]"]
) | st.text(max_size=3)
VALUES = TEXTS | st.sampled_from([1, -1, 1e5, 1.5, True, None, [1], {"a": "b"}])
LABEL = "metric_type, name, value"
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
    assert _rows(connection) == _written(connection)
    connection.pragma("user_version", LABELS_VERSION - 1)  # an older file, which is only read
    assert {each.series for each in find_series(connection, "m", labels=wanted)} == expected
    connection.pragma("user_version", SCHEMA_VERSION)


def test_the_recorder_and_retention_keep_the_index(db: str) -> None:
    """Triggers are off where they write: they do it themselves. A label that many have, too."""
    with Store(db) as store:
        metrics = MetricsCollector(store)
        for number in range(MANY_SERIES + 100):
            labels = {"all": "same", "one": f'"{number}"', "ten": str(number // 10)}
            metrics.record("m", float(number), labels=labels)
        metrics.record("other", 1.0)
        store.flush()
        connection = apsw.Connection(db)
        assert len(_rows(connection)) == 3 * (MANY_SERIES + 100)
        assert _rows(connection) == _written(connection)
        for labels, n in (
            ({"one": '"7"'}, 1),
            ({"ten": "7"}, 10),
            ({"all": "same"}, MANY_SERIES + 100),
            ({"all": "same", "ten": "7"}, 10),
            ({"one": '"7"', "ten": "8"}, 0),
            ({"none": ""}, 0),
        ):
            assert len(store.read(find_series, "m", labels=labels)) == n
        later_ms = store.clock.time_ms() + 86_400_000
        deletion = Deletion(later_ms, later_ms)
        while store.write(deletion.step):
            pass
        assert _rows(connection) == _written(connection) == set()
        metrics.record("m", 1.0, labels={"one": "new"})
        store.flush()
        assert _rows(connection, LABEL) == {("m", "one", "new")}
        assert _rows(connection) == _written(connection)


def test_others_may_change_series(db: str) -> None:
    """What they write is found as they have it: rows, updates, deletions, what is not JSON."""
    Store(db).close()
    connection = apsw.Connection(db)
    insert = (
        "INSERT INTO performance_metrics(id, timestamp, metric_type, value, labels) "
        "VALUES (?, 1, 'm', 1.0, ?)"
    )
    for row in (("a", '{"x": "1", "n": 1.50}'), ("b", None), ("c", '{"x": NaN}'), ("d", "[]")):
        connection.execute(insert, row)
    assert _rows(connection) == _written(connection)
    assert _rows(connection, LABEL) == {("m", b"", b""), ("m", "n", b""), ("m", "x", "1")}
    (found,) = find_series(connection, "m", labels={"n": "1.5"})
    assert found.labels == {"x": "1", "n": "1.5"}
    assert len(find_series(connection, "m", labels={"x": "NaN"})) == 1
    connection.execute(
        """UPDATE metric_series SET labels = '{"y":"2"}' WHERE labels LIKE '%NaN%'"""
    )
    connection.execute("UPDATE metric_series SET metric_type = 'k' WHERE labels LIKE '%1.50%'")
    assert _rows(connection, LABEL) == {("k", "n", b""), ("k", "x", "1"), ("m", "y", "2")}
    connection.execute("DELETE FROM metric_series WHERE metric_type = 'k'")
    assert _rows(connection, LABEL) == {("m", "y", "2")}
    assert _rows(connection) == _written(connection)


def _rows(connection: apsw.Connection, columns: str = "*") -> set[tuple[Any, ...]]:
    return set(connection.execute(f"SELECT {columns} FROM metric_labels"))


def _written(connection: apsw.Connection) -> set[tuple[Any, ...]]:
    return set(connection.execute("SELECT * FROM metric_series_labels"))

"""Every shape of log query walks the index that it is meant to walk, whatever statistics say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import pytest

import ax_monitor
from ax_monitor import LogQuery, StructuredLogger
from ax_monitor.storage import logs
from ax_monitor.storage.connection import open_reader
from tests.log_helpers import BASE_MS, LEVELS

TRACE = "0af7651916cd43dd8448eb211c80319c"
BY_CONTEXT = re.compile(
    r"SEARCH r USING (COVERING )?INDEX log_records_context \(context=\? AND rowid>\? AND rowid<\?\)"
)
BY_KEY = "SEARCH r USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
BY_ERROR = "SEARCH r USING INDEX log_records_errors (seq>? AND seq<?)"
ONE_ROW = "SEARCH r USING INTEGER PRIMARY KEY (rowid=?)"


@pytest.fixture(scope="module", params=["small", "analyzed"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of some thousand records; once with statistics that could mislead the planner."""
    path = str(tmp_path_factory.mktemp(request.param) / "monitor.db")
    for _ in range(20):  # processes that have written here before
        with ax_monitor.Store(path) as store:
            StructuredLogger(store).info("started", "engine")
    with ax_monitor.Store(path) as store:
        logger = StructuredLogger(store, min_level="debug")
        for number in range(3000):
            logger.log_at(
                (5, 9, 13, 17, 21)[number % 5],
                f"message {number} timeout",
                "engine" if number % 3 else "billing",
                timestamp_ns=(BASE_MS + number // 10) * 1_000_000,
                execution_id=f"run-{number // 100}",
                trace_id=TRACE if number < 50 else None,
                span_id="b7ad6b7169203331",
                tenant_id="acme",
                user_id="alice",
                metadata={"n": number},
            )
    if request.param == "analyzed":
        connection = apsw.Connection(path)
        connection.execute("ANALYZE")
        connection.close()
    return path


@pytest.fixture
def connection(path: str) -> Iterator[apsw.Connection]:
    opened = open_reader(path)
    yield opened
    opened.close()


def plans_of(
    connection: apsw.Connection, call: Callable[[apsw.Connection], Any]
) -> list[list[str]]:
    """The query plan of every statement that `call` really runs, in their order."""
    seen: list[tuple[str, Any]] = []

    def trace(cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        seen.append((sql, bindings))
        return True

    connection.exec_trace = trace
    try:
        call(connection)
    finally:
        connection.exec_trace = None
    return [
        [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]
        for sql, bindings in seen
        if not sql.lstrip().upper().startswith(("PRAGMA", "SELECT AX_DEADLINE"))
    ]


def plan_of(connection: apsw.Connection, **query: Any) -> list[str]:
    """The plan of the one statement, or of the last, that answers a query."""
    return plans_of(connection, lambda c: logs.query_logs(c, LogQuery(**query)))[-1]


def check(plan: list[str], first: str) -> None:
    """`first` leads; every other table is looked up by key; nothing is scanned, or sorted."""
    steps = [
        step for step in plan if not step.startswith(("LIST SUBQUERY", "CORRELATED", "CO-ROUTINE"))
    ]
    assert steps[0] == first
    for step in steps[1:]:
        assert re.match(
            r"SEARCH (r|c|g|log_contexts) USING |SCAN e VIRTUAL TABLE|SCAN r$|REUSE LIST", step
        ), plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def check_by_context(plan: list[str], name: str) -> None:
    """The contexts that carry the id by their index, the keys of their records, sorted; then the
    records of the page by key, as they come."""
    end = plan.index("SCAN k")
    keys, records = plan[1:end], plan[end + 1 :]
    assert BY_CONTEXT.fullmatch(keys[0]), plan
    index = f"log_contexts_{name.removesuffix('_id')}"
    assert any(
        re.match(rf"SEARCH log_contexts USING (COVERING )?INDEX {index} \(", step) for step in keys
    ), plan
    assert keys[-1] == "USE TEMP B-TREE FOR ORDER BY"
    assert [step.partition(" USING ")[0] for step in records] == [
        "SEARCH r",
        "SEARCH c",
        "SEARCH g",
    ]
    assert records[0] == ONE_ROW
    assert not any(step.startswith("SCAN") and "VIRTUAL TABLE" not in step for step in keys), plan


COMBINATIONS: list[dict[str, Any]] = [
    {},
    {"start_time": BASE_MS + 10, "end_time": BASE_MS + 200},
    {"order": "asc"},
    {"limit": None},
    {"offset": 20},
    {"level": "info"},
    {"min_level": "warn"},
    {"span_id": "b7ad6b7169203331"},
    {"metadata": {"n": 5}},
    {"start_time": BASE_MS, "level": "debug", "metadata": {"n": 5}, "order": "asc"},
]


@pytest.mark.parametrize("query", COMBINATIONS, ids=str)
def test_plain_queries_walk_the_records_in_key_order(
    connection: apsw.Connection, query: dict[str, Any]
) -> None:
    """Time, cursor, level below error, span and metadata: the key range, without a sort."""
    check(plan_of(connection, **query), BY_KEY)
    page = logs.query_logs(connection, LogQuery(limit=5))
    check(plan_of(connection, cursor=page.next_cursor, **query), BY_KEY)


@pytest.mark.parametrize("level", ["error", "fatal"])
@pytest.mark.parametrize("field", ["level", "min_level"])
@pytest.mark.parametrize(
    "more",
    [{}, {"start_time": BASE_MS}, {"order": "asc"}, {"limit": None}, {"metadata": {"n": 1}}],
    ids=str,
)
def test_error_queries_walk_the_index_of_errors(
    connection: apsw.Connection, level: str, field: str, more: dict[str, Any]
) -> None:
    """error and fatal use the partial index, in key order: they are found among millions."""
    check(plan_of(connection, **{field: level}, **more), BY_ERROR)


@pytest.mark.parametrize("name", ["execution_id", "trace_id"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"order": "asc", "limit": None},
        {"level": "error"},
        {"tenant_id": "acme"},
        {"offset": 3},
        {"start_time": BASE_MS, "source": "engine"},
        {"metadata": {"n": 1}},
    ],
    ids=str,
)
def test_execution_and_trace_queries_walk_their_contexts(
    connection: apsw.Connection, name: str, more: dict[str, Any]
) -> None:
    """Whatever else is asked for."""
    value = TRACE if name == "trace_id" else "run-7"
    check_by_context(plan_of(connection, **{name: value}, **more), name)


@pytest.mark.parametrize(
    ("name", "value"), [("source", "engine"), ("tenant_id", "acme"), ("user_id", "alice")]
)
def test_common_values_are_found_among_the_newest_records(
    connection: apsw.Connection, name: str, value: str
) -> None:
    """A page of a common source, tenant or user costs one bounded walk from the newest record."""
    plans = plans_of(
        connection, lambda c: logs.query_logs(c, LogQuery(**{name: value, "limit": 5}))
    )
    assert len(plans) == 1
    assert BY_KEY in plans[0]
    assert not any(step.startswith("SCAN log") for step in plans[0])
    assert "USE TEMP B-TREE FOR ORDER BY" not in plans[0]
    errors = plans_of(
        connection,
        lambda c: logs.query_logs(c, LogQuery(**{name: value, "min_level": "error", "limit": 5})),
    )
    assert BY_ERROR in errors[0]


@pytest.mark.parametrize("name", ["source", "tenant_id", "user_id"])
@pytest.mark.parametrize("limit", [5, None])
def test_rare_values_are_found_through_their_contexts(
    connection: apsw.Connection, name: str, limit: int | None
) -> None:
    """If the newest records do not fill the page, the index of contexts leads to all of them."""
    plans = plans_of(
        connection, lambda c: logs.query_logs(c, LogQuery(**{name: "rare", "limit": limit}))
    )
    assert len(plans) == (1 if limit is None else 2)
    check_by_context(plans[-1], name)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"order": "asc"},
        {"limit": None},
        {"start_time": BASE_MS, "end_time": BASE_MS + 9},
        {"level": "error"},
        {"min_level": "fatal"},
        {"tenant_id": "acme"},
        {"source": "engine"},
        {"metadata": {"n": 1}},
        {"span_id": "b7ad6b7169203331"},
        {"offset": 10},
    ],
    ids=str,
)
def test_searches_walk_the_full_text_index_in_key_order(
    connection: apsw.Connection, more: dict[str, Any]
) -> None:
    """The index yields keys in the order asked for and within the time range: no sort, no scan."""
    plan = plan_of(connection, search='timeout OR "message 7"', **more)
    match = re.fullmatch(r"SCAN f VIRTUAL TABLE INDEX (\d+):(\S+)", plan[0])
    assert match, plan
    assert "M" in match[2]  # MATCH
    assert "<" in match[2]  # the key range; FTS5 writes both bounds so
    assert ">" in match[2]
    assert ONE_ROW in plan
    check(plan, plan[0])


@pytest.mark.parametrize("query", [{"execution_id": "run-3"}, {"trace_id": TRACE}], ids=str)
def test_a_search_within_an_execution_is_narrowed_first(
    connection: apsw.Connection, query: dict[str, Any]
) -> None:
    """The key range of the execution or trace is looked up first, then the search runs in it."""
    plans = plans_of(connection, lambda c: logs.query_logs(c, LogQuery(search="timeout", **query)))
    assert len(plans) == 2
    narrowing, searching = plans
    assert any(
        "SEARCH log_records USING COVERING INDEX log_records_context" in step for step in narrowing
    )
    assert any(
        re.match(r"SEARCH c USING (COVERING )?INDEX log_contexts_(execution|trace)", step)
        for step in narrowing
    )
    assert not any(step.startswith("SCAN log") or step.startswith("SCAN c ") for step in narrowing)
    assert searching[0].startswith("SCAN f VIRTUAL TABLE INDEX")


def test_counting_reads_an_index_or_the_table_once(connection: apsw.Connection) -> None:
    """The count reads a covering index; the count by level groups in one pass."""
    ((count,),) = plans_of(connection, logs.count_logs)
    assert re.fullmatch(r"SCAN log_records USING COVERING INDEX \w+", count)
    (by_level,) = plans_of(connection, logs.count_logs_by_level)
    assert by_level[0] == "SCAN log_records"


def test_every_combination_of_filters_is_planned_without_a_scan_of_records(
    connection: apsw.Connection,
) -> None:
    """All 2^7 combinations of filters: no statement ever scans records or contexts unbounded."""
    values: dict[str, Any] = {
        "source": "engine",
        "execution_id": "run-1",
        "tenant_id": "acme",
        "min_level": "error",
        "search": "timeout",
        "metadata": {"n": 1},
        "start_time": BASE_MS,
    }
    names = list(values)
    for mask in range(1 << len(names)):
        query = {name: values[name] for bit, name in enumerate(names) if mask >> bit & 1}
        for plan in plans_of(connection, lambda c, q=query: logs.query_logs(c, LogQuery(**q))):
            for step in plan:
                scanned = re.match(r"SCAN (\w+)(?! VIRTUAL TABLE)\b(.*)", step)
                # r alone is the bounded subquery of a probe, k a page of keys: read as they come.
                bounded = "VIRTUAL TABLE" in step or step in ("SCAN r", "SCAN k")
                assert not scanned or bounded, (query, plan)


def test_levels_are_named_in_the_order_of_the_index() -> None:
    """The partial index begins at error: the two gravest levels and no other."""
    assert logs.ERROR_SEVERITY == 17
    assert LEVELS[-2:] == ("error", "fatal")

"""Queries against a model: a list of the same records, filtered in Python."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ax_monitor
from ax_monitor import LogEntry, LogLevel, LogQuery, LogQueryError, Store, StructuredLogger
from tests.log_helpers import BASE_MS, LEVELS, Group, LogModel, Near, Phrase

SPANS = ("b7ad6b7169203331", "ffffffffffffffff", "0000000000000001", "B7AD6B7169203331", "odd span")
TEXTS: dict[str, tuple[str | None, ...]] = {
    "source": ("engine", "billing", "Ärger", "rare"),
    "execution_id": (None, None, "run-1", "run-2", "run-3"),
    "trace_id": (None, "0" * 31 + "1", "f" * 32),
    "span_id": (None, *SPANS),
    "tenant_id": (None, "acme", "zeta", "x\ud800"),
    "user_id": (None, "alice", "bob"),
}
KEYS = ("n", "name", "deep.key", 'quo"te', "nül\0", "back\\slash", "", "$")
VALUES: tuple[Any, ...] = (
    0,
    1,
    -1,
    1.0,
    1.5,
    2**62 + 1,
    2**80,
    True,
    False,
    None,
    "1",
    "",
    "a\0b",
    "ü",
    "null",
)
WORDS = ("timeout", "connection", "retry", "error", "done", "Ärger", "🙂", "20.04")


def build(logger: StructuredLogger, model: LogModel) -> None:
    """600 records in 40 ms, many in one millisecond, some late, over several batches."""
    rng = random.Random(7)
    for number in range(600):
        model.log(
            logger,
            level=rng.choice(LEVELS),
            message=" ".join(rng.choices(WORDS, k=rng.randint(1, 6))),
            timestamp=BASE_MS + (number // 15 if rng.random() < 0.8 else rng.randrange(40)),
            metadata=rng.choice([None, {rng.choice(KEYS): rng.choice(VALUES) for _ in range(3)}]),
            **{
                name: rng.choice(values) if (name, number % 50) != ("source", 0) else "rare"
                for name, values in TEXTS.items()
                if name != "source" or number % 50 == 0
            }
            | ({} if number % 50 == 0 else {"source": rng.choice(TEXTS["source"][:3])}),
        )
        if number % 97 == 0:
            logger.flush()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StructuredLogger, LogModel]]:
    with ax_monitor.Store(tmp_path_factory.mktemp("queries") / "monitor.db", redact=None) as store:
        logger, model = StructuredLogger(store, min_level="debug"), LogModel()
        build(logger, model)
        yield logger, model


def stored(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


phrases = st.sampled_from(
    ["timeout", "connection", "retry", "error", "done", "arger", "20.04"]
).map(lambda word: Phrase((word,)))
searches = st.one_of(
    phrases,
    st.builds(Phrase, st.just(("er",)), prefix=st.just(True)),
    st.builds(Phrase, st.sampled_from([("timeout", "retry"), ("done", "done")])),
    st.builds(Near, st.tuples(phrases, phrases), st.integers(0, 3)),
    st.builds(Group, st.sampled_from(["AND", "OR", "NOT"]), st.tuples(phrases, phrases)),
    st.builds(Group, st.just(""), st.tuples(phrases), st.tuples(phrases)),
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "level": st.sampled_from(LEVELS),
        "min_level": st.sampled_from(LEVELS),
        "start_time": st.integers(BASE_MS - 2, BASE_MS + 42),
        "end_time": st.integers(BASE_MS - 2, BASE_MS + 42),
        "search": searches,
        "metadata": st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=2),
        "limit": st.none() | st.sampled_from([0, 1, 2, 7, 100, 1000]),
        "offset": st.sampled_from([0, 0, 1, 5, 700]),
        "order": st.sampled_from(["asc", "desc"]),
        **{name: st.sampled_from([v for v in values if v]) for name, values in TEXTS.items()},
    },
)


def as_call(query: dict[str, Any]) -> dict[str, Any]:
    return query | ({"search": query["search"].text()} if "search" in query else {})


@given(filters)
@example({"source": "rare", "limit": 3})
@example({"source": "rare", "level": "error", "limit": 100})
@example({"trace_id": "f" * 32, "search": Phrase(("timeout",)), "order": "asc"})
@example({"metadata": {"n": 2**80}})
@example({"metadata": {"nül\0": "a\0b"}, "limit": None})
@example({"span_id": "ffffffffffffffff", "limit": None})
def test_filters_combine_freely_search_with_all_the_others(
    built: tuple[StructuredLogger, LogModel], query: dict[str, Any]
) -> None:
    """Any combination of filters, order, limit and offset returns what the model returns."""
    logger, model = built
    found = [entry.message for entry in logger.query_logs(**as_call(query))]
    assert found == [stored(message) for message in model.query(**query)]


@given(filters, st.integers(1, 30))
def test_pages_by_cursor_and_by_offset_are_the_whole_result(
    built: tuple[StructuredLogger, LogModel], query: dict[str, Any], size: int
) -> None:
    """Page after page nothing is skipped or repeated, and the last page says that it is."""
    logger, model = built
    query = {k: v for k, v in query.items() if k not in ("limit", "offset")}
    expected = [stored(message) for message in model.query(limit=None, **query)]
    by_cursor: list[str] = []
    cursor: Any = None
    for turn in itertools.count():
        page = logger.query_logs(**as_call(query), limit=size, cursor=cursor)
        assert len(page) == size or page.next_cursor is None
        by_cursor += [entry.message for entry in page]
        cursor = page[-1] if page.next_cursor and turn % 2 else page.next_cursor
        if page.next_cursor is None:
            break
    assert by_cursor == expected
    by_offset: list[str] = []
    while page := logger.query_logs(**as_call(query), limit=size, offset=len(by_offset)):
        by_offset += [entry.message for entry in page]
    assert by_offset == expected


def test_paging_while_others_write_never_skips_or_repeats(store: Store) -> None:
    """Newest first while records are added: every record that was there is seen exactly once."""
    logger = StructuredLogger(store)
    for number in range(1000):
        logger.info(f"old {number}", "test")
    logger.flush()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            logger.info(f"new {number}", "test")
            number += 1
            if number % 100 == 0:
                stop.wait(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for search in (None, "old OR new"):
            seen: list[LogEntry] = []
            cursor: str | None = None
            while True:
                page = logger.query_logs(limit=37, cursor=cursor, search=search)
                seen += page
                cursor = page.next_cursor
                if cursor is None:
                    break
            keys = [(entry.timestamp, entry.seq) for entry in seen]
            assert keys == sorted(set(keys), reverse=True)
            old = [entry.message for entry in seen if entry.message.startswith("old")]
            assert old == [f"old {number}" for number in reversed(range(1000))]
    finally:
        stop.set()
        writer.join()


def test_paging_forward_while_others_write_arrives_at_the_end(store: Store) -> None:
    """Oldest first, the pages go on into what was added meanwhile, without gap or repetition."""
    logger = StructuredLogger(store)
    seen: list[str] = []
    cursor: Any = None
    for turn in range(60):
        for number in range(20):
            logger.info(f"{turn * 20 + number}", "test")
        page = logger.query_logs(limit=15, cursor=cursor, order="asc")
        seen += [entry.message for entry in page]
        cursor = page[-1]
    seen += [e.message for e in logger.query_logs(limit=None, cursor=cursor, order="asc")]
    assert seen == [str(number) for number in range(1200)]


def test_many_records_of_one_millisecond_keep_their_order(logger: StructuredLogger) -> None:
    """10,000 records with the same timestamp, in many batches, come back as they were made."""
    for number in range(10_000):
        logger.log_at(9, str(number), "test", timestamp_ns=BASE_MS * 1_000_000)
        if number % 1777 == 0:
            logger.flush()
    entries = logger.query_logs(limit=None, order="asc")
    assert [int(entry.message) for entry in entries] == list(range(10_000))
    assert len({entry.id for entry in entries}) == 10_000
    assert len(logger.query_logs(limit=None, start_time=BASE_MS)) == 10_000


def test_queries_take_a_log_query_or_its_fields(logger: StructuredLogger) -> None:
    """Both forms give the same; both at once, or an unknown filter, is a TypeError."""
    logger.info("x", "test")
    assert logger.query_logs(LogQuery(source="test")) == logger.query_logs(source="test")
    with pytest.raises(TypeError, match="not both"):
        logger.query_logs(LogQuery(), source="test")
    with pytest.raises(TypeError, match=r"unknown log filter tenant; there are .*tenant_id"):
        logger.query_logs(tenant="x")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": -1},
        {"limit": 1.5},
        {"limit": "10"},
        {"limit": True},
        {"offset": -1},
        {"offset": None},
        {"offset": 2.0},
        {"limit": 2**63},
        {"order": "up"},
        {"level": "loud"},
        {"min_level": 3},
        {"cursor": "no cursor"},
        {"cursor": 5},
        {"start_time": 1.5},
        {"end_time": "now"},
        {"search": 5},
        {"metadata": {"a": [1]}},
        {"metadata": {"a": float("nan")}},
        {"metadata": {1: 1}},
        {"source": 5},
    ],
)
def test_wrong_filters_are_value_errors(logger: StructuredLogger, query: dict[str, Any]) -> None:
    """A negative or non-integer limit, an unknown level, a wrong type: LogQueryError."""
    with pytest.raises(LogQueryError) as caught:
        logger.query_logs(**query)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "query",
    [
        {"start_time": 2**63 - 1},
        {"end_time": -(2**63)},
        {"start_time": 5, "end_time": 4},
        {"offset": 2**62},
        {"cursor": "-" + "f" * 100},
        {"limit": 0},
    ],
)
def test_b10_extreme_filters_find_nothing(logger: StructuredLogger, query: dict[str, Any]) -> None:
    """Times, cursors and offsets beyond everything are answered, with an empty last page."""
    logger.info("x", "test")
    page = logger.query_logs(**query)
    assert page == []
    assert page.next_cursor is None


def test_b10_records_of_extreme_times_are_stored_and_ordered(logger: StructuredLogger) -> None:
    """Before the epoch, and up to the last nanosecond that 64 bits hold."""
    times = [-(2**63), -1_000_000, -1, 0, 999_999, 2**63 - 1]
    for when in times:
        logger.log_at(9, str(when), "test", timestamp_ns=when)
    entries = logger.query_logs(order="asc")
    assert [int(entry.message) for entry in entries] == times
    assert [entry.timestamp for entry in entries] == [when // 1_000_000 for when in times]
    assert [e.message for e in logger.query_logs(end_time=-1)] == [
        str(t) for t in (-1, -(10**6), -(2**63))
    ]
    second = logger.query_logs(order="asc", cursor=logger.query_logs(order="asc", limit=1)[-1])
    assert [int(entry.message) for entry in second] == times[1:]


def test_shortcuts_answer_what_their_names_say(built: tuple[StructuredLogger, LogModel]) -> None:
    """Recent, execution, trace and error logs, and the counts, agree with the model."""
    logger, model = built

    def texts(entries: list[LogEntry]) -> list[str]:
        return [entry.message for entry in entries]

    def expected(**query: Any) -> list[str]:
        return [stored(message) for message in model.query(**query)]

    assert texts(logger.get_recent_logs()) == expected(limit=100)
    assert texts(logger.get_recent_logs(5, "warning")) == expected(limit=5, level="warn")
    assert texts(logger.get_recent_logs(None)) == expected(limit=None)
    for run in ("run-1", "run-2"):
        assert texts(logger.get_execution_logs(run)) == expected(
            execution_id=run, limit=None, order="asc"
        )
    assert texts(logger.get_trace_logs("f" * 32)) == expected(
        trace_id="f" * 32, limit=None, order="asc"
    )
    assert texts(logger.get_error_logs()) == expected(min_level="error", limit=100)
    assert texts(logger.get_error_logs(limit=3)) == expected(min_level="error", limit=3)
    assert logger.get_log_count() == len(model.rows)
    counts = logger.get_log_count_by_level()
    assert list(counts) == list(LogLevel)
    assert counts == {level: sum(row.level == level for row in model.rows) for level in LEVELS}


def test_an_empty_database_answers_everything(logger: StructuredLogger) -> None:
    """No records: empty pages, and a count of zero for each of the five levels."""
    assert logger.query_logs(search="x") == logger.get_error_logs() == []
    assert logger.get_execution_logs("unknown") == logger.get_trace_logs("unknown") == []
    assert logger.get_log_count() == 0
    assert logger.get_log_count_by_level() == dict.fromkeys(LogLevel, 0)
    for query in (logger.get_execution_logs, logger.get_trace_logs):
        with pytest.raises(LogQueryError):
            query(None)  # type: ignore[arg-type]


def test_z10_no_filter_leads_to_another_tenants_rows(
    built: tuple[StructuredLogger, LogModel],
) -> None:
    """With `tenant_id`, whatever else is asked for, every entry is that tenant's."""
    logger, _ = built
    for extra in (
        {},
        {"search": "timeout OR error"},
        {"execution_id": "run-1"},
        {"min_level": "error"},
    ):
        for limit in (1, 50, None):
            page = logger.query_logs(tenant_id="acme", limit=limit, **extra)
            assert page
            assert {entry.tenant_id for entry in page} == {"acme"}
    for text in ("' OR 1=1 --", "acme' --", "%", "*"):
        assert logger.query_logs(tenant_id=text) == []


def test_every_query_is_a_barrier(logger: StructuredLogger) -> None:
    """Whatever was logged before a query, on any thread, is in its result."""
    for number in range(1, 51):
        thread = threading.Thread(target=logger.info, args=(f"m{number}", "test"))
        thread.start()
        thread.join()
        assert logger.get_log_count() == number
        assert logger.get_log_count_by_level()[LogLevel.INFO] == number
        assert logger.query_logs(search=f"m{number}", limit=1)
        assert logger.get_recent_logs(1)[0].message == f"m{number}"


def test_entries_are_records(logger: StructuredLogger) -> None:
    """A page is a list of frozen, JSON-ready LogEntry, each with its columns."""
    logger.error("x", "test", metadata={"a": [1, {"b": None}]}, stack_trace="trace")
    (entry,) = logger.query_logs()
    assert isinstance(entry, LogEntry)
    assert isinstance(entry.level, LogLevel)
    assert entry.to_dict() == {
        "id": entry.id,
        "timestamp": entry.timestamp,
        "level": "error",
        "message": "x",
        "source": "test",
        "execution_id": None,
        "trace_id": None,
        "span_id": None,
        "tenant_id": None,
        "user_id": None,
        "metadata": {"a": [1, {"b": None}]},
        "stack_trace": "trace",
        "seq": entry.seq,
    }


def test_cleanup_deletes_what_is_older_than_so_many_days(
    logger: StructuredLogger, store: Store
) -> None:
    """By the timestamp, 30 days by default; the deleted are gone from the search as well."""
    now_ns = store.clock.time_ms() * 1_000_000
    day = 86_400 * 10**9
    for days in (100, 31, 29, 1, 0):
        for _ in range(600):
            logger.log_at(9, f"age{days}", "test", timestamp_ns=now_ns - days * day)
    assert logger.cleanup() == 1200
    assert logger.query_logs(search="age31 OR age100") == []
    assert len(logger.query_logs(search="age*", limit=None)) == 1800
    assert logger.cleanup(retention_days=0.5) == 1200
    assert logger.cleanup() == 0
    assert logger.get_log_count() == 600


@pytest.mark.parametrize("days", [10**8, 10**12, 1e17])
def test_cleanup_of_an_absurd_age_deletes_nothing(logger: StructuredLogger, days: float) -> None:
    """A retention longer than time itself keeps everything."""
    logger.info("x", "test")
    assert logger.cleanup(days) == 0
    assert logger.get_log_count() == 1


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf")])
def test_cleanup_refuses_what_is_no_age(logger: StructuredLogger, days: float) -> None:
    """A negative or non-finite number of days is a ValueError."""
    with pytest.raises(ValueError, match="retention_days"):
        logger.cleanup(days)

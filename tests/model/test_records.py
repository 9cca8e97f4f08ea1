"""The records: their fields, `to_dict()`, and those that check themselves."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import math
import pickle
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import errors, model
from ax_monitor.errors import AlertRuleError, LogQueryError
from ax_monitor.model._record import Record
from ax_monitor.model.alerts import AlertCondition, AlertRule
from ax_monitor.model.health import HealthCheck
from ax_monitor.model.logs import LogEntry, LogQuery
from ax_monitor.model.metrics import MetricType, TimeSeriesPoint, default_unit
from ax_monitor.model.traces import Span, SpanEvent, Trace
from ax_monitor.model.vocabulary import (
    Aggregation,
    AlertSeverity,
    LogLevel,
    NoDataPolicy,
    Operator,
    SpanKind,
    SpanStatus,
)

MODULES = ("alerts", "health", "logs", "metrics", "retention", "traces", "workflows")
RECORDS = [
    value
    for module in MODULES
    for value in vars(importlib.import_module(f"ax_monitor.model.{module}")).values()
    if isinstance(value, type) and issubclass(value, Record) and value is not Record
]

finite = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63), 2**63 - 1)
scalars = st.one_of(st.none(), st.booleans(), int64, finite, st.text())
odd_values = st.one_of(
    st.floats(), st.decimals(), st.binary(), st.uuids(), st.datetimes(), st.sampled_from(LogLevel)
)
json_like = st.recursive(
    scalars | odd_values,
    lambda items: (
        st.lists(items)
        | st.tuples(items, items)
        | st.dictionaries(st.text() | st.integers() | st.sampled_from(SpanKind), items)
    ),
    max_leaves=8,
)
windows = st.integers(1, 2**63 - 1)
aggregations = st.sampled_from(Aggregation)
conditions = st.builds(
    AlertCondition,
    operator=st.sampled_from(Operator),
    threshold=finite,
    window_ms=windows,
    aggregation=aggregations,
) | st.builds(
    lambda operator, numbers, window_ms, aggregation: AlertCondition(
        operator, max(numbers), window_ms, aggregation, min(numbers)
    ),
    st.sampled_from([Operator.GT, Operator.GTE]),
    st.tuples(finite, finite),
    windows,
    aggregations,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
labels = st.dictionaries(texts, texts, max_size=3)
rules = st.builds(
    AlertRule,
    name=texts,
    description=texts,
    metric_type=texts,
    condition=conditions,
    labels=labels,
    cooldown_ms=st.integers(0, 2**63 - 1),
    tenant_id=st.none() | texts,
    match_labels=st.none() | labels,
    for_ms=st.integers(0, 2**63 - 1),
    no_data=st.sampled_from(NoDataPolicy),
    by=st.lists(texts, unique=True, max_size=3),
    origin=st.none() | texts,
)
entries = st.builds(LogEntry, metadata=st.none() | st.dictionaries(st.text(), json_like))
queries = st.builds(
    LogQuery,
    level=st.none() | st.sampled_from([*LogLevel, "warning"]),
    start_time=st.none() | int64,
    search=st.none() | st.text(),
    metadata=st.none() | st.dictionaries(st.text(), scalars),
    limit=st.none() | st.integers(0, 2**63 - 1),
    cursor=st.none() | st.text() | entries,
    order=st.sampled_from(["asc", "desc"]),
)


NESTED = {
    "condition": lambda: conditions,
    "components": lambda: _tuples_of(HealthCheck),
    "data_points": lambda: _tuples_of(TimeSeriesPoint),
    "events": lambda: _tuples_of(SpanEvent),
    "spans": lambda: _tuples_of(Span),
}
MAPPINGS = {"attributes", "group_labels", "labels", "match_labels", "metadata"}


def _tuples_of(record_type: type[Record]) -> st.SearchStrategy[tuple[Record, ...]]:
    return st.lists(_records_of(record_type), max_size=2).map(tuple)


def _records_of(record_type: type[Record]) -> st.SearchStrategy[Record]:
    """Records of one type, with odd values wherever the type holds values of any kind."""
    if record_type is LogQuery:
        return queries
    if record_type is AlertCondition:
        return conditions
    if record_type is AlertRule:
        return rules
    names = [field.name for field in dataclasses.fields(record_type)]
    fields: dict[str, Any] = dict.fromkeys(names, ...)
    fields |= {name: st.dictionaries(st.text(), json_like) for name in MAPPINGS & fields.keys()}
    fields |= {name: NESTED[name]() for name in NESTED.keys() & fields.keys()}
    return st.builds(record_type, **fields)


any_record = st.one_of([_records_of(record_type) for record_type in RECORDS])


def _values(data: object) -> list[object]:
    """Every value and key within nested dicts and lists, containers included."""
    items = []
    if isinstance(data, dict):
        items = [*data, *data.values()]
    elif isinstance(data, list):
        items = data
    return [data, *(value for item in items for value in _values(item))]


def _entry(**fields: Any) -> LogEntry:
    return LogEntry("id", 1, LogLevel.INFO, "message", "source", **fields)


@given(any_record)
def test_to_dict_is_json_keyed_by_field_name(record: Record) -> None:
    """Any record becomes strict JSON and back unchanged, with its field names in their order."""
    data = record.to_dict()
    assert list(data) == [field.name for field in dataclasses.fields(record)]
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert not [value for value in _values(data) if isinstance(value, (Enum, tuple, Record))]


@given(any_record)
def test_records_are_hashable_and_pickle(record: Record) -> None:
    """Any record can be a key of a dict and be sent to another process."""
    copy = pickle.loads(pickle.dumps(record))
    assert isinstance(hash(copy), int)
    assert copy.to_dict() == record.to_dict()


@pytest.mark.parametrize("record_type", RECORDS)
def test_records_are_frozen_slotted_and_documented(record_type: type[Record]) -> None:
    """A record has no `__dict__`, refuses assignment, and documents each of its fields."""
    assert dataclasses.is_dataclass(record_type)
    assert record_type.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert not hasattr(object.__new__(record_type), "__dict__")
    doc = inspect.getdoc(record_type) or ""  # without the indentation, which 3.13 drops by itself
    for field in dataclasses.fields(record_type):
        assert f"\n    {field.name}: " in doc, field.name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(object.__new__(record_type), field.name, "other")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (LogLevel.WARN, "warn"),
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        ({1: {SpanStatus.OK: True}}, {"1": {"ok": True}}),
        (Decimal("1.10"), "1.10"),
        (PurePosixPath("/a/b"), "/a/b"),
        (SpanEvent("e", "s", 1, "n"), SpanEvent("e", "s", 1, "n").to_dict()),
    ],
    ids=repr,
)
def test_to_dict_turns_odd_values_into_plain_ones(value: object, expected: object) -> None:
    """Each kind of value that JSON lacks has its documented form."""
    assert _entry(metadata={"value": value}).to_dict()["metadata"] == {"value": expected}


def test_to_dict_nests_records_and_shares_nothing() -> None:
    """A trace holds its spans and their events as dicts; changing them leaves the record alone."""
    event = SpanEvent("e", "b" * 16, 2, "sent", {"size": 1})
    span = Span(
        "b" * 16, "a" * 32, None, "call", SpanKind.CLIENT, 1, duration=0.25, events=(event,)
    )
    trace = Trace("a" * 32, "run", 1, span_count=1, spans=(span,))
    data = trace.to_dict()
    assert data["spans"][0]["events"][0] == event.to_dict()
    assert data["spans"][0]["duration"] == 0.25
    data["spans"][0]["events"][0]["attributes"]["size"] = 2
    assert event.attributes == {"size": 1}


def test_log_entry_has_the_columns_of_the_table_in_their_order() -> None:
    """A row of the `logs` table can be unpacked into a `LogEntry`; the rest is optional."""
    assert " ".join(field.name for field in dataclasses.fields(LogEntry)) == (
        "id timestamp level message source execution_id trace_id span_id tenant_id user_id "
        "metadata stack_trace seq"
    )
    assert set(_entry().to_dict().values()) == {"id", 1, "info", "message", "source", None, 0}


def test_log_query_defaults_ask_for_the_newest_hundred() -> None:
    """A query without arguments has no filter, a limit of 100 and the newest first."""
    given = {name: value for name, value in LogQuery().to_dict().items() if value is not None}
    assert given == {"limit": 100, "offset": 0, "order": "desc", "timeout_ms": 5000}


def test_log_query_normalises_levels_and_copies_metadata() -> None:
    """Levels become `LogLevel`, aliases included, and later changes to metadata don't show."""
    metadata = {"retry": 1}
    query = LogQuery(level="critical", min_level="warn", metadata=metadata)
    metadata["retry"] = 2
    assert (query.level, query.min_level) == (LogLevel.FATAL, LogLevel.WARN)
    assert type(query.level) is type(query.min_level) is LogLevel
    assert query.metadata == {"retry": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("level", value) for value in ("loud", 3, True, ["warn"])),
        ("min_level", ""),
        *(
            (field, value)
            for field in ("source", "execution_id", "trace_id", "span_id", "tenant_id", "user_id")
            for value in (7, b"x", ["x"])
        ),
        ("search", 7),
        *(
            (field, value)
            for field in ("start_time", "end_time")
            for value in (1.0, "1", True, 2**63, math.nan)
        ),
        ("metadata", [("a", 1)]),
        ("metadata", {1: "a"}),
        ("metadata", {"a": [1]}),
        ("metadata", {"a": math.nan}),
        ("metadata", {"a": 10**400}),
        *(("limit", value) for value in (-1, 1.0, "1", True, 2**63)),
        *(("offset", value) for value in (-1, 1.0, "1", True, None)),
        *(("cursor", value) for value in (7, ("a", 1))),
        *(("order", value) for value in ("DESC", "", None, "timestamp; DROP TABLE logs")),
    ],
)
def test_log_query_refuses_wrong_values(field: str, value: Any) -> None:
    """A wrong value is a `LogQueryError`, so a `ValueError`, that names the field."""
    with pytest.raises(LogQueryError, match=f"^{field}") as caught:
        LogQuery(**{field: value})
    assert isinstance(caught.value, ValueError)


def test_log_query_message_shows_the_value() -> None:
    """The message of a refused query shows what was given and what is wanted."""
    with pytest.raises(LogQueryError) as caught:
        LogQuery(limit=-5)
    assert str(caught.value) == "limit must be an integer of at least 0, or None for all, got -5"


@given(conditions)
def test_condition_round_trips_through_its_mapping(condition: AlertCondition) -> None:
    """A condition comes back from its own `to_dict()`, with vocabulary members in it."""
    copy = AlertCondition.from_mapping(condition.to_dict())
    assert copy == condition
    assert type(copy.operator) is Operator
    assert type(copy.aggregation) is Aggregation


CONDITION = {"operator": "gt", "threshold": 5, "window_ms": 60_000, "aggregation": "avg"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operator": ">"}, "unknown Operator '>': use one of gt, gte"),
        ({"aggregation": "p90"}, "unknown Aggregation 'p90': use one of avg, sum"),
        ({"threshold": math.nan}, "threshold must be a finite number, got nan"),
        ({"threshold": -math.inf}, "threshold must be a finite number"),
        ({"threshold": 10**400}, "threshold must be a finite number"),
        ({"threshold": "5"}, "threshold must be a finite number"),
        ({"threshold": True}, "threshold must be a finite number"),
        ({"window_ms": 0}, "window_ms must be an integer above 0, got 0"),
        ({"window_ms": -1}, "window_ms must be an integer above 0"),
        ({"window_ms": 1.5}, "window_ms must be an integer above 0"),
        ({"window_ms": True}, "window_ms must be an integer above 0"),
        ({"window": 5}, "has unknown window"),
    ],
)
def test_condition_refuses_wrong_values(changes: dict[str, Any], message: str) -> None:
    """A wrong value or key is an `AlertRuleError`, so a `ValueError`, that says what is wrong."""
    with pytest.raises(AlertRuleError) as caught:
        AlertCondition.from_mapping(CONDITION | changes)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("operator", "resolve", "message"),
    [
        ("gt", 5.1, "resolve_threshold of gt must be at most the threshold 5, got 5.1"),
        ("gte", 6, "resolve_threshold of gte must be at most"),
        ("lt", 4, "resolve_threshold of lt must be at least the threshold 5, got 4.0"),
        ("lte", -5, "resolve_threshold of lte must be at least"),
        ("eq", 5, "eq takes no resolve_threshold"),
        ("neq", 5, "neq takes no resolve_threshold"),
        ("gt", math.nan, "resolve_threshold must be a finite number, got nan"),
        ("gt", "4", "resolve_threshold must be a finite number, got '4'"),
    ],
)
def test_the_resolve_threshold_is_on_the_clearing_side(
    operator: str, resolve: Any, message: str
) -> None:
    """Hysteresis: what ends a condition lies where the condition is not met."""
    with pytest.raises(AlertRuleError) as caught:
        AlertCondition.from_mapping(
            CONDITION | {"operator": operator, "resolve_threshold": resolve}
        )
    assert message in str(caught.value)
    for operator, resolve in (("gt", 5), ("gte", -1), ("lt", 5), ("lte", 9)):
        condition = AlertCondition(operator, 5, 60_000, "avg", resolve)
        assert condition.resolve_threshold == resolve


RULE = {
    "id": "r1",
    "name": "slow",
    "description": "too slow",
    "enabled": True,
    "metric_type": "api.request.duration",
    "condition": CONDITION,
    "severity": "warning",
    "labels": {"team": "core"},
    "cooldown_ms": 0,
    "created_at": 1,
    "updated_at": 1,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name must be a text that is not empty, got ''"),
        ({"name": " "}, "name must be a text that is not empty"),
        ({"name": 5}, "name must be a text that is not empty, got 5"),
        ({"name": "\ud800"}, "name has characters that are none"),
        ({"metric_type": ""}, "metric_type must be a text that is not empty"),
        ({"description": None}, "description must be a text, got None"),
        ({"condition": None}, "condition must be a mapping"),
        ({"condition": CONDITION | {"threshold": math.inf}}, "threshold must be a finite number"),
        ({"severity": "fatal"}, "unknown AlertSeverity 'fatal': use one of info, warning"),
        ({"no_data": "maybe"}, "unknown NoDataPolicy 'maybe': use one of ignore, alert, ok"),
        ({"cooldown_ms": -1}, "cooldown_ms must be an integer of at least 0, got -1"),
        ({"cooldown_ms": 1.5}, "cooldown_ms must be an integer"),
        ({"for_ms": True}, "for_ms must be an integer"),
        ({"enabled": 1}, "enabled must be True or False, got 1"),
        ({"auto_resolve": None}, "auto_resolve must be True or False"),
        ({"labels": None}, "labels must be a mapping, got None"),
        ({"labels": {"port": 80}}, "labels['port'] must be a text, got 80"),
        ({"match_labels": {1: "a"}}, "a key of match_labels must be a text"),
        ({"by": "worker"}, "by must be a list of label names, got 'worker'"),
        ({"by": ["a", ""]}, "a label name in by must be a text"),
        ({"by": ["a", "b", "a"]}, "by has a label name twice"),
        ({"tenant_id": ""}, "tenant_id must be a text that is not empty"),
    ],
)
def test_a_rule_refuses_wrong_values(changes: dict[str, Any], message: str) -> None:
    """A rule that could not be evaluated does not exist; the error names what is wrong."""
    with pytest.raises(AlertRuleError) as caught:
        AlertRule(**RULE | changes)
    assert message in str(caught.value)


def test_a_rule_normalises_what_it_is_given() -> None:
    """Words become members of their vocabularies, a mapping a condition, a list a tuple."""
    given = {"route": "/x"}
    rule = AlertRule(**RULE | {"match_labels": given, "by": ["worker"], "no_data": "ok"})
    given["route"] = "/y"
    assert rule.severity is AlertSeverity.WARNING
    assert rule.no_data is NoDataPolicy.OK
    assert rule.condition == AlertCondition(**CONDITION)
    assert (rule.by, rule.match_labels) == (("worker",), {"route": "/x"})


@pytest.mark.parametrize("missing", CONDITION)
def test_condition_names_what_its_mapping_misses(missing: str) -> None:
    """Each of the four keys is needed."""
    mapping = {key: value for key, value in CONDITION.items() if key != missing}
    with pytest.raises(AlertRuleError, match=f"misses {missing}"):
        AlertCondition.from_mapping(mapping)


def test_condition_refuses_what_is_no_mapping() -> None:
    """A condition given as text is refused by name."""
    with pytest.raises(AlertRuleError, match="must be a mapping, got 'avg > 5'"):
        AlertCondition.from_mapping("avg > 5")  # type: ignore[arg-type]


def test_every_known_metric_has_its_unit() -> None:
    """The 18 known names have the units of the contract."""
    units: dict[str | None, list[str]] = {}
    for name in MetricType:
        units.setdefault(default_unit(name), []).append(name.rpartition(".")[2])
    assert len(MetricType) == 18
    assert {unit: set(endings) for unit, endings in units.items()} == {
        "ms": {"duration", "wait_time"},
        "count": {"count", "length"},
        "rate": {"hit_rate"},
        "percent": {"usage", "utilization"},
        "bytes": {"size"},
    }


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("etl.job.duration", "ms"),
        ("queue.wait_time", "ms"),
        ("llm.error_rate", "rate"),
        ("frame.rate", "rate"),
        ("llm.token_usage", None),
        ("duration.of.life", None),
        ("", None),
    ],
)
def test_default_unit_goes_by_the_end_of_the_name(name: str, unit: str | None) -> None:
    """A name that is not known gets the unit its ending tells, or none."""
    assert default_unit(name) == unit


def test_model_imports_only_light_modules() -> None:
    """The package imports nothing but itself, the errors, and small standard modules."""
    light = {"__future__", "collections", "dataclasses", "enum", "math", "re", "typing"}
    for path in [*Path(model.__file__).parent.glob("*.py"), Path(errors.__file__)]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                ours = name == "ax_monitor.errors" or name.startswith("ax_monitor.model")
                assert ours or name.split(".")[0] in light, f"{path.name} imports {name}"

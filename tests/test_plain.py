"""Odd values, through the public logger: stored in the forms that `pipeline/plain.py` documents."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import math
import pathlib
import uuid
from collections import ChainMap, OrderedDict, UserDict, UserString, namedtuple
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import apsw
import numpy as np
import pytest

import ax_monitor
from ax_monitor import Store, StructuredLogger
from tests.log_helpers import store_metadata

Point = namedtuple("Point", "x y")


@pytest.fixture(scope="module")
def logger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StructuredLogger]:
    with Store(tmp_path_factory.mktemp("plain") / "monitor.db", redact=None) as store:
        yield StructuredLogger(store)


def stored(logger: StructuredLogger, value: Any) -> Any:
    return store_metadata(logger, {"v": value})["v"]


# -- text ---


@pytest.mark.parametrize("field", ["message", "source", "execution_id", "tenant_id", "stack_trace"])
def test_b1_lone_surrogates_are_stored_as_escapes(logger: StructuredLogger, field: str) -> None:
    """In any text field; neighbours of the same batch are stored too."""
    logger.info("before", "b1")
    fields = {"message": "m", "source": "b1", field: "a\ud800b\udfff 😀"}
    logger.error(fields.pop("message"), fields.pop("source"), **fields)
    logger.info("after", "b1")
    after, odd, before = logger.get_recent_logs(3)
    assert getattr(odd, field) == "a\\ud800b\\udfff 😀"
    assert (before.message, after.message) == ("before", "after")


def test_b2_nul_round_trips_in_every_field(logger: StructuredLogger) -> None:
    """NUL stays NUL, in texts, metadata values and keys; filters by such values find the record."""
    text = "a\0b"
    logger.error(
        text,
        text,
        execution_id=text,
        trace_id=text,
        span_id=text,
        tenant_id=text,
        user_id=text,
        metadata={text: text},
        stack_trace=text,
    )
    (entry,) = logger.query_logs(
        source=text, execution_id=text, span_id=text, metadata={text: text}
    )
    values = entry.to_dict()
    assert all(
        values[name] == text
        for name in (
            "message",
            "source",
            "execution_id",
            "trace_id",
            "span_id",
            "tenant_id",
            "user_id",
            "stack_trace",
        )
    )
    assert entry.metadata == {text: text}


@pytest.mark.parametrize(
    "text", ["\ud800", "x\udc00y", "\\ud800", "\\\ud800", '"\udfff"', "\\u0000"]
)
def test_b3_escaped_surrogates_in_json_are_harmless(logger: StructuredLogger, text: str) -> None:
    """As value and as key: valid JSON for everybody, and each reads back as its escaped form."""
    expected = text.encode("utf-8", "backslashreplace").decode()
    assert store_metadata(logger, {"v": text, text: 1, "n": [text, {"k": text}]}) == {
        "v": expected,
        expected: 1,
        "n": [expected, {"k": expected}],
    }
    connection = apsw.Connection(logger._store.path, flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute("SELECT json_valid(metadata) FROM logs WHERE metadata IS NOT NULL")
    assert {value for (value,) in rows} == {1}
    connection.close()


# -- numbers ---


@pytest.mark.parametrize(
    ("number", "form"),
    [
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, str(2**63)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (10**30, "1" + "0" * 30),
        (True, True),
        (0, 0),
    ],
)
def test_b4_ints_beyond_64_bits_are_stored_as_text(
    logger: StructuredLogger, number: int, form: Any
) -> None:
    """Up to the limits a number, beyond them its digits; a query for the number finds either."""
    found = stored(logger, number)
    assert (found, type(found)) == (form, type(form))
    assert logger.query_logs(metadata={"v": number}, limit=1)[0].metadata == {"v": form}


def test_b4_an_int_too_long_to_print_is_stored_all_the_same(logger: StructuredLogger) -> None:
    """Above Python's limit of digits there is no decimal text: the placeholder, and no error."""
    assert stored(logger, 10**10_000) == "<unprintable int>"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_b5_not_finite_numbers_become_null_with_a_marker(
    logger: StructuredLogger, number: float
) -> None:
    """null in its place, and `$nonfinite` says where which one was, at any depth."""
    found = store_metadata(
        logger, {"v": number, "in": {"list": [1, number]}, "np": np.float64(number)}
    )
    name = repr(number)
    assert found == {
        "v": None,
        "in": {"list": [1, None]},
        "np": None,
        "$nonfinite": {"v": name, "in.list[1]": name, "np": name},
    }


class Colour(enum.Enum):
    """An enum with text values."""

    RED = "red"


class Number(enum.IntEnum):
    """An enum with integer values."""

    SEVEN = 7


@dataclasses.dataclass
class Order:
    """A dataclass."""

    id: int
    lines: list[str]


class Named:
    """An object with a text of its own."""

    def __str__(self) -> str:
        return "named"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (np.int64(5), 5),
        (np.uint64(2**64 - 1), str(2**64 - 1)),
        (np.float32(0.5), 0.5),
        (np.float64(1.25), 1.25),
        (np.bool_(True), True),
        (np.str_("s"), "s"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(3.5), 3.5),
        (np.array([]), []),
        (np.datetime64("2024-01-02T03:04:05"), "2024-01-02T03:04:05"),
        (decimal.Decimal("1.10"), "1.10"),
        (fractions.Fraction(1, 3), "1/3"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (ipaddress.ip_address("::1"), "::1"),
        (dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC), "2024-01-02T03:04:00+00:00"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(minutes=1, milliseconds=500), 60.5),
        (Colour.RED, "red"),
        (Number.SEVEN, 7),
        (ax_monitor.LogLevel.INFO, "info"),
        (b"bytes \xff", "bytes \\xff"),
        (bytearray(b"x"), "x"),
        (memoryview(b"x"), "x"),
        (Order(1, ["a"]), {"id": 1, "lines": ["a"]}),
        (Point(1, 2), {"x": 1, "y": 2}),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset("ba"), ["a", "b"]),
        ((1, (2,)), [1, [2]]),
        ({"k": 1}.keys(), ["k"]),
        (UserString("u"), "u"),
        (ValueError("bad"), "ValueError: bad"),
        (Named(), "named"),
        (1 + 2j, "(1+2j)"),
        (-0.0, -0.0),
        (1e300, 1e300),
        (0.1, 0.1),
        (5e-324, 5e-324),
    ],
    ids=lambda value: type(value).__name__,
)
def test_b6_each_type_has_its_documented_form(
    logger: StructuredLogger, value: Any, form: Any
) -> None:
    """The same alone, in a list and in a dict, and never a BLOB; neighbours stay as they are."""
    found = store_metadata(logger, {"v": value, "list": [value, 1], "dict": {"k": value}, "n": 1})
    assert found == {"v": form, "list": [form, 1], "dict": {"k": form}, "n": 1}
    assert type(found["v"]) is type(form)


@pytest.mark.parametrize(
    ("metadata", "form"),
    [
        ("text", "text"),
        (5, 5),
        ([1, 2], [1, 2]),
        (None, None),
        (Named(), "named"),
        (b"x", "x"),
        (1.5, 1.5),
    ],
    ids=str,
)
def test_b6_metadata_that_is_no_mapping_is_stored_as_value(
    logger: StructuredLogger, metadata: Any, form: Any
) -> None:
    """Anything but a mapping is kept under "value"; None is no metadata."""
    logger.info("x", "test", metadata=metadata)
    found = logger.get_recent_logs(1)[0].metadata
    assert found == (None if form is None else {"value": form})


@pytest.mark.parametrize(
    "field", ["message", "source", "execution_id", "trace_id", "span_id", "user_id"]
)
def test_b6_other_types_than_text_are_stored_as_their_text(
    logger: StructuredLogger, field: str
) -> None:
    """Messages and ids of any type: str(value), bytes decoded, str subclasses too."""
    for value, form in (
        (5, "5"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (b"\xff", "\\xff"),
        (Colour.RED, "Colour.RED"),
        (ax_monitor.LogLevel.WARN, "warn"),
        (np.str_("n"), "n"),
        (ValueError("v"), "v"),
    ):
        fields: dict[str, Any] = {"message": "m", "source": "s", field: value}
        logger.info(fields.pop("message"), fields.pop("source"), **fields)
        assert getattr(logger.get_recent_logs(1)[0], field) == form

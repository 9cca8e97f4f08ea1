"""Odd shapes and sizes, through the public logger: cycles, depth, hostile objects, huge values."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import gc
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import Store, StructuredLogger
from tests.log_helpers import store_metadata

LIMIT = 256 * 1024


@pytest.fixture(scope="module")
def logger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StructuredLogger]:
    with Store(tmp_path_factory.mktemp("plain") / "monitor.db", redact=None) as store:
        yield StructuredLogger(store)


def stored(logger: StructuredLogger, value: Any) -> Any:
    return store_metadata(logger, {"v": value})["v"]


# -- shapes ---


class HostileText:
    """Its `str()` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        return "HostileText()"


class HostileRepr:
    """Its `repr()`, and so its `str()`, raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class HostileMapping(Mapping[str, Any]):
    """Nothing in it can be read."""

    def __getitem__(self, key: str) -> Any:
        raise LookupError("no item")

    def __iter__(self) -> Iterator[str]:
        raise LookupError("no keys")

    def __len__(self) -> int:
        raise LookupError("no length")

    def __repr__(self) -> str:
        return "HostileMapping()"


class LyingText(str):
    """A str whose methods lie."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __len__(self) -> int:
        return -1  # noqa: PLE0303 (that is the lie)

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        raise RuntimeError("no bytes")


class HostileClass:
    """Asking for its class raises."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


def test_b7_cycles_become_placeholders(logger: StructuredLogger) -> None:
    """A dict in itself, a list in itself, and each other; the same object twice is no cycle."""
    cyclic: dict[str, Any] = {"n": 1}
    cyclic["self"] = cyclic
    items: list[Any] = [1]
    items.append(items)
    shared = {"s": 1}
    assert store_metadata(logger, cyclic) == {"n": 1, "self": "<cycle>"}
    assert store_metadata(logger, {"l": items, "a": shared, "b": [shared, shared]}) == {
        "l": [1, "<cycle>"],
        "a": {"s": 1},
        "b": [{"s": 1}, {"s": 1}],
    }


@pytest.mark.parametrize(
    "make", [lambda inner: {"d": inner}, lambda inner: [inner], lambda inner: (inner,)]
)
def test_b7_nesting_ends_at_depth_8(logger: StructuredLogger, make: Any) -> None:
    """Eight containers are kept, the ninth is a placeholder, a hundred thousand do no harm."""
    for depth, cut in ((7, False), (8, True), (100_000, True)):
        value: Any = "core"
        for _ in range(depth):
            value = make(value)
        text = json.dumps(store_metadata(logger, {"v": value}))
        assert ("<nested deeper than 8>" in text) == cut
        assert ("core" in text) != cut
        while isinstance(value, (dict, list, tuple)):  # taken apart here: not by recursion
            value = next(iter(value.values() if isinstance(value, dict) else value))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (HostileText(), "<unprintable HostileText>"),
        (HostileRepr(), "<unprintable HostileRepr>"),
        (HostileMapping(), "<unprintable HostileMapping>"),
        (LyingText("true text"), "true text"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_b7_hostile_objects_become_placeholders(
    logger: StructuredLogger, value: Any, form: str
) -> None:
    """Whatever raises: the type's name stands for it, as metadata, message, id and exception."""
    assert stored(logger, value) == form
    if not isinstance(value, Mapping):
        logger.error(value, value, user_id=value, stack_trace=value)
        entry = logger.get_recent_logs(1)[0]
        assert {entry.message, entry.source, entry.user_id, entry.stack_trace} == {form}
    logger.info("x", "test", metadata=value)
    assert logger.get_recent_logs(1)[0].metadata == {"value": form}
    logger.bind(source="test", metadata={"a": 1}).info("x", metadata=value)
    assert logger.get_recent_logs(1)[0].metadata == {"a": 1, "value": form}


def test_b7_an_exception_that_cannot_be_printed_is_stored(logger: StructuredLogger) -> None:
    """An error whose text raises still leaves its type in the stack trace."""

    class HostileError(Exception):
        """Its text raises."""

        def __str__(self) -> str:
            raise RuntimeError("no text")

    logger.error("x", "test", error=HostileError(), metadata={"e": HostileError()})
    entry = logger.get_recent_logs(1)[0]
    assert "HostileError" in (entry.stack_trace or "")
    assert entry.metadata == {"e": "<unprintable HostileError>"}


def test_b7_an_object_that_hides_its_class_raises_nothing(logger: StructuredLogger) -> None:
    """A raising `__class__`: stored as whatever its text is, without an error."""
    logger.info("hidden", "test", metadata={"v": HostileClass(), "n": 1})
    entry = logger.get_recent_logs(1)[0]
    assert (entry.message, (entry.metadata or {}).get("n")) == ("hidden", 1)


@pytest.mark.timeout(60)
def test_b7_a_dict_that_changes_meanwhile_raises_nothing(logger: StructuredLogger) -> None:
    """Another thread adds and removes keys while the dict is logged, odd values among them."""
    changing: dict[str, Any] = {"keep": 1}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            changing[f"k{number % 50}"] = number if number % 3 else decimal.Decimal(number)
            changing.pop(f"k{(number + 25) % 50}", None)
            number += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(2000):
            logger.info("changing", "b7", metadata={"d": changing} if number % 2 else changing)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    entries = logger.query_logs(source="b7", search="changing", limit=None)
    assert len(entries) == 2000
    assert all(entry.metadata for entry in entries)


def test_b7_nothing_of_the_values_is_kept(logger: StructuredLogger) -> None:
    """After the call no reference to what was logged remains."""

    class Tracked:
        """Logged as its text."""

        def __str__(self) -> str:
            return "tracked"

    value = Tracked()
    before = sys.getrefcount(value)
    logger.info("x", "test", metadata={"v": value, "l": [value]})
    logger.flush()
    gc.collect()
    assert sys.getrefcount(value) == before


def test_b11_keys_that_collide_are_told_apart(logger: StructuredLogger) -> None:
    """{1: 'a', '1': 'b'} keeps both, always in the same way: the str key stays as it is."""
    forms = {"1": "b", "1 (int)": "a", "None": "c", "True": "d", "1.5": "e"}
    odd: list[tuple[Any, str]] = [(1, "a"), ("1", "b"), (None, "c"), (True, "d"), (1.5, "e")]
    assert store_metadata(logger, dict([odd[0], odd[1], *odd[2:3], odd[4]])) == {
        key: value for key, value in forms.items() if key != "True"
    }
    for order in (odd, odd[::-1]):
        found = store_metadata(
            logger, {str(i): {key: value} for i, (key, value) in enumerate(order)}
        )
        assert len(found) == 5
    assert store_metadata(logger, {("a", 1): "x", "('a', 1)": "y"}) == {
        "('a', 1)": "y",
        "('a', 1) (tuple)": "x",
    }
    assert store_metadata(logger, {"1": "b", 1: "a"}) == store_metadata(logger, {1: "a", "1": "b"})


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_json_values_round_trip_unchanged(logger: StructuredLogger, value: Any) -> None:
    """What JSON has comes back equal and of the same type, unless it is nested too deeply."""

    def depth(item: Any) -> int:
        inner = (
            item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        )
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    if depth(value) <= 7:
        assert json.dumps(stored(logger, value)) == json.dumps(value)


@given(
    st.recursive(
        st.sampled_from(
            [
                float("nan"),
                2**70,
                b"\xff",
                HostileText(),
                HostileMapping(),
                fractions.Fraction(1, 3),
                np.int8(1),
                "\ud800",
                dt.date(2024, 1, 1),
                LyingText("x"),
                None,
            ]
        )
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([1, "1", None, (1,), "\ud800", b"k", 1.0, True])
                | st.text(max_size=3),
                inner,
                max_size=3,
            )
            | st.sets(st.integers(), max_size=3).map(lambda s: (s,))
        ),
        max_leaves=10,
    )
)
def test_b7_any_mixture_of_odd_values_is_stored(logger: StructuredLogger, value: Any) -> None:
    """Nothing raises, and what is stored is JSON that everybody can read."""
    found = store_metadata(logger, {"v": value, "n": 1})
    assert found["n"] == 1
    json.dumps(found, allow_nan=False).encode("utf-8")


# -- size ---


def test_o5_long_texts_are_cut_on_a_character_boundary_and_marked(logger: StructuredLogger) -> None:
    """Message and stack trace: 256 KiB of UTF-8 at most, whole characters, the original length."""
    for char in ("a", "é", "€", "😀", "\ud800"):
        text = char * 300_000
        logger.error(text, "o5", stack_trace=text)
        entry = logger.get_recent_logs(1)[0]
        form = char.encode("utf-8", "backslashreplace").decode()
        for found in (entry.message, entry.stack_trace):
            assert found is not None
            kept, mark = found.split("... ")
            assert mark == "[cut: 300000 characters in all]"
            assert kept == form * (len(kept) // len(form))
            assert LIMIT - len(form.encode()) - 6 < len(kept.encode()) <= LIMIT
    for length in (LIMIT - 1, LIMIT, LIMIT + 1):
        logger.info("b" * length, "o5")
        message = logger.get_recent_logs(1)[0].message
        assert (message == "b" * length) == (length <= LIMIT)


def test_o5_long_ids_are_cut_at_4_kib(logger: StructuredLogger) -> None:
    """Source and ids keep 4 KiB and say how long they were."""
    logger.info("x", "s" * 10_000, execution_id="é" * 10_000)
    entry = logger.get_recent_logs(1)[0]
    for text, char in ((entry.source, "s"), (entry.execution_id, "é")):
        assert text is not None
        kept, mark = text.split("... ")
        assert mark == "[cut: 10000 characters in all]"
        assert kept == char * len(kept)
        assert 4090 <= len(kept.encode()) <= 4096


def test_o5_large_metadata_is_shortened_and_marked(logger: StructuredLogger) -> None:
    """Over 256 KiB of JSON: its size and its beginning; one long text alone is cut by itself."""
    large = {f"key{number}": "v" * 100 for number in range(5000)}
    found = store_metadata(logger, large)
    assert set(found) == {"$truncated", "$preview"}
    assert found["$truncated"] == len(json.dumps(large))
    assert found["$preview"] == json.dumps(large)[:4096]
    body = "b" * 1_000_000
    found = store_metadata(logger, {"request": 7, "body": body})
    assert found["request"] == 7
    assert found["body"] == "b" * 65_536 + "... [cut: 1000000 characters in all]"


def test_o5_many_items_are_counted_not_stored(logger: StructuredLogger) -> None:
    """Of more than 10,000 odd items the first are kept, and how many more there were."""
    found = store_metadata(
        logger, {"l": [decimal.Decimal(1)] * 10_005, "d": dict.fromkeys(range(10_003), 1)}
    )
    assert (len(found["l"]), found["l"][-1]) == (10_001, "<5 more>")
    assert (len(found["d"]), found["d"]["$more"]) == (10_001, 3)
    array = store_metadata(logger, {"a": np.zeros(10**7, dtype=np.int8)})["a"]
    assert array == [0] * 10_000 + ["<9990000 more>"]


@pytest.mark.timeout(60)
def test_o5_a_huge_text_is_stored_in_bounded_time(logger: StructuredLogger) -> None:
    """100 million characters as message, metadata and stack trace: cut, quickly."""
    huge = "word " * 20_000_000
    logger.info("before", "huge")
    started = time.monotonic()
    logger.error(huge, "huge", metadata={"huge": huge, "n": 1}, stack_trace=huge)
    assert time.monotonic() - started < 5
    logger.info("after", "huge")
    after, entry, before = logger.query_logs(source="huge")
    assert (before.message, after.message) == ("before", "after")
    assert entry.message.endswith("... [cut: 100000000 characters in all]")
    assert len(entry.message) < LIMIT + 100
    assert entry.metadata is not None
    assert entry.metadata["n"] == 1
    assert len(json.dumps(entry.metadata)) < LIMIT
    assert logger.query_logs(search="word", source="huge")[0].seq == entry.seq


def test_converted_records_are_counted(store: Store) -> None:
    """The counters tell how many records held values that JSON does not have."""
    logger = StructuredLogger(store)
    logger.info("plain", "test", metadata={"a": [1, "x", None, {"b": 2.5}]})
    assert store.stats().converted == 0
    logger.info("odd", "test", metadata={"a": decimal.Decimal(1)})
    logger.info(5, "test")
    assert store.stats().converted == 2

"""Values to bytes: what comes out is what `json` and the `backslashreplace` codec would write."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import struct
import uuid
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor._native import SENSITIVE_WORDS, encode_json, encode_text
from tests.oracles import (
    TEXT_MAX_BYTES,
    looks_secret,
    names_a_secret,
    same,
    stored_bytes,
    stored_json,
    texts_in,
)

MARK = "... [cut: {} characters in all]"
MAX_DEPTH = 8

any_text = st.text(st.characters(codec=None))  # lone surrogates and NUL included
any_int = st.integers(-(2**63), 2**63 - 1)
any_float = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | any_int | any_float | any_text
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5),
    max_leaves=20,
)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, (list, tuple)):
        return 1 + max(map(_depth, value), default=0)
    return 0


# -- JSON ------------------------------------------------------------------------------------------


@given(json_values)
def test_json_reads_back_the_same(value: Any) -> None:
    """Plain values come back from `json.loads` with the same types, order and bits."""
    encoded = encode_json(value)
    if _depth(value) > MAX_DEPTH:
        assert encoded is None
        return
    assert encoded is not None
    expected = stored_json(value)
    if not _keys_collide(value):
        assert same(json.loads(encoded), expected)


def _keys_collide(value: Any) -> bool:
    """Are two keys one after escaping (a lone surrogate beside the text of its escape)?"""
    if isinstance(value, dict):
        return len(stored_json(value)) < len(value) or any(map(_keys_collide, value.values()))
    return isinstance(value, list) and any(map(_keys_collide, value))


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), scalars, max_size=6))
def test_json_is_compact_utf8_without_needless_escapes(value: dict[str, Any]) -> None:
    """A dict without floats is written exactly as `json.dumps` writes it compactly."""
    value = {key: item for key, item in value.items() if type(item) is not float}
    expected = json.dumps(stored_json(value), ensure_ascii=False, separators=(",", ":"))
    encoded = encode_json(value)
    assert encoded is not None
    short_forms = expected.replace("\\b", "\\u0008").replace("\\f", "\\u000c")
    assert encoded.decode("utf-8") in (expected, short_forms)


@given(any_float)
@example(-0.0)
@example(0.0)
@example(0.1)
@example(1 / 3)
@example(5e-324)
@example(-5e-324)
@example(1.7976931348623157e308)
@example(2.2250738585072014e-308)
@example(1e22)
@example(1e23)
@example(999999999.999999)
@example(999999999.9999999)
@example(1e15)
@example(1e-6)
@example(1e-7)
@example(-1234567.891)
@example(9007199254740993.0)
def test_floats_keep_every_bit_in_the_fewest_digits(value: float) -> None:
    """A float reads back bit for bit, as a float, with no more significant digits than `repr`."""
    encoded = encode_json(value)
    assert encoded is not None
    text = encoded.decode("ascii")
    read = json.loads(text)
    assert type(read) is float
    assert struct.pack("<d", read) == struct.pack("<d", value)
    assert decimal.Decimal(text).normalize() == decimal.Decimal(repr(value)).normalize()


@given(
    st.integers(-(10**16), 10**16).map(lambda n: n / 1e6)
    | st.integers(-(10**9), 10**9).map(lambda n: n / 1e3)
)
def test_short_decimals_are_written_as_repr_writes_them(value: float) -> None:
    """Decimals of a few digits, which take a way of their own, read as `repr` does."""
    encoded = encode_json(value)
    assert encoded is not None
    assert decimal.Decimal(encoded.decode("ascii")) == decimal.Decimal(repr(value))
    assert math.copysign(1, float(encoded)) == math.copysign(1, value)


@pytest.mark.parametrize(
    "value", [0, 1, -1, 9, 10, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), -(2**63) + 1]
)
def test_integers_are_exact_to_the_edges_of_64_bits(value: int) -> None:
    """Integers that SQLite can hold are written digit by digit."""
    assert encode_json({"n": value}) == b'{"n":%d}' % value


class _Text(str):
    pass


class _Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        10**40,
        math.nan,
        math.inf,
        -math.inf,
        b"bytes",
        bytearray(b"x"),
        {1, 2},
        frozenset(),
        1j,
        decimal.Decimal("1.5"),
        dt.datetime(2024, 1, 1),
        uuid.UUID(int=1),
        _Text("subclass"),
        _Colour.RED,
        OrderedDict(a=1),
        object(),
        range(3),
    ],
    ids=lambda value: f"{type(value).__name__}-{value!r:.20}",
)
def test_b6_only_exact_builtin_types_are_written(value: Any) -> None:
    """Anything else is refused, wherever it stands, so that `plain` can convert it."""
    assert encode_json(value) is None
    assert encode_json({"a": 1, "b": [value]}) is None
    assert encode_json([1, (value,)]) is None


@pytest.mark.parametrize("key", [1, None, True, 1.5, (1,), _Text("k"), b"k"])
def test_keys_that_are_no_texts_are_refused(key: Any) -> None:
    """JSON has text keys only; others are `plain`'s to convert."""
    assert encode_json({key: 1}) is None
    assert encode_json({"a": {"b": 1, key: 1}}) is None


@pytest.mark.parametrize("make", [lambda x: [x], lambda x: (x,), lambda x: {"k": x}])
def test_b7_containers_are_written_to_depth_eight(make: Any) -> None:
    """Eight containers in one another are written, nine are refused, and a cycle ends."""
    value: Any = 1
    for depth in range(1, 12):
        value = make(value)
        encoded = encode_json(value)
        assert (encoded is not None) == (depth <= MAX_DEPTH)
    cycle: list[Any] = []
    cycle.append(cycle)
    assert encode_json(cycle) is None


def test_tuples_are_arrays_and_empty_containers_stay_empty() -> None:
    """Tuples and lists look alike in JSON, and nothing is put into empty containers."""
    assert (
        encode_json({"a": (1, (2,)), "b": [], "c": {}, "d": ""})
        == b'{"a":[1,[2]],"b":[],"c":{},"d":""}'
    )


@pytest.mark.parametrize("unit", ["a", "é", "€", "😀", "\ud800", '"', "\x01"])
def test_o5_json_is_written_whole_or_refused(unit: str) -> None:
    """Around the limit a JSON text is either complete or refused, never cut."""
    size = len(json.dumps(stored_json(unit), ensure_ascii=False).encode()) - 2
    for count in range(TEXT_MAX_BYTES // size - 16, TEXT_MAX_BYTES // size + 3):
        encoded = encode_json([unit * count])
        if encoded is None:
            assert count * size > TEXT_MAX_BYTES - 32
        else:
            assert len(encoded) <= TEXT_MAX_BYTES
            assert json.loads(encoded) == [stored_json(unit * count)]


# -- secrets in JSON -------------------------------------------------------------------------------

words = st.sampled_from(SENSITIVE_WORDS).flatmap(
    lambda word: st.sampled_from([word, word.upper(), word.title()])
)
keys = st.text(max_size=8) | st.builds(
    lambda before, word: before + word, st.text(max_size=4), words
)


@given(st.dictionaries(keys, json_values, max_size=4))
def test_z5_values_of_sensitive_keys_are_replaced(value: dict[str, Any]) -> None:
    """With redaction, what stands under a key that names a secret is replaced, at any depth."""
    encoded = encode_json(value, redact=True)
    if _depth(value) > MAX_DEPTH or any(map(looks_secret, texts_in(_redacted(value)))):
        return
    if encoded is not None and not _keys_collide(value):
        assert same(json.loads(encoded), stored_json(_redacted(value)))


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "[redacted]" if names_a_secret(key) else _redacted(item)
            for key, item in value.items()
        }
    return [_redacted(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("word", SENSITIVE_WORDS)
def test_z5_every_sensitive_word_counts_as_a_key(word: str) -> None:
    """A key that ends in any of the words has its value replaced, whatever the value is."""
    value = {"user": "u", f"db_{word}": "hunter2", word.upper(): object(), "x": [{word: [1]}]}
    assert encode_json(value, redact=True) == (
        b'{"user":"u","db_%s":"[redacted]","%s":"[redacted]","x":[{"%s":"[redacted]"}]}'
        % (word.encode(), word.upper().encode(), word.encode())
    )


@given(
    st.lists(
        any_text
        | st.builds(
            "{}{}{}{}{}".format, any_text, words, st.sampled_from(["", '"', "'", ' "']),
            st.sampled_from(["=", ":", " = ", ': "']), any_text,
        ),
        max_size=3,
    )
)  # fmt: skip
@example(['{"password": "hunter2"}'])
@example(["say \"token\" = 'x'"])
def test_z5_json_with_a_secret_in_a_text_is_refused(texts: list[str]) -> None:
    """A text that looks like a secret is left to redaction, also where JSON escapes its quotes."""
    if any(map(looks_secret, texts)):
        assert encode_json(texts, redact=True) is None
    assert encode_json(texts, redact=False) is not None


# -- texts -----------------------------------------------------------------------------------------


@given(any_text)
@example("\ud83d\ude00")
@example("nul \x00 inside")
@example("emoji 😀 and ü")
@example("")
def test_b1_text_is_utf8_with_lone_surrogates_escaped(text: str) -> None:
    """Any text is stored as the `backslashreplace` codec writes it."""
    assert encode_text(text) == text.encode("utf-8", "backslashreplace")


@given(any_text, st.integers(0, 80))
def test_o5_cut_text_is_a_whole_prefix_with_its_length(text: str, max_bytes: int) -> None:
    """What is too long keeps as many whole characters as fit, and says how many there were."""
    _check_cut(text, max_bytes, encode_text(text, max_bytes))


def _check_cut(text: str, max_bytes: int, encoded: bytes) -> None:
    whole = stored_bytes(text)
    if len(whole) <= max_bytes:
        assert encoded == whole
        return
    mark = MARK.format(len(text)).encode()
    assert encoded.endswith(mark)
    kept = encoded[: -len(mark)]
    assert max_bytes - 6 < len(kept) <= max_bytes
    lengths = [len(stored_bytes(character)) for character in text[: len(kept)]]
    ends, end = {0}, 0
    for length in lengths:
        end += length
        ends.add(end)
    assert len(kept) in ends
    assert whole.startswith(kept)


@pytest.mark.parametrize("unit", ["a", "é", "€", "😀", "\ud800", "aé€😀\udfff"])
def test_o5_huge_text_is_cut_on_a_character_boundary(unit: str) -> None:
    """Texts around 256 KiB, of characters of every width, are cut between two of them."""
    size = len(stored_bytes(unit))
    for shift in range(size):
        for count in range(TEXT_MAX_BYTES // size - 2, TEXT_MAX_BYTES // size + 3):
            text = "x" * shift + unit * count
            _check_cut(text, TEXT_MAX_BYTES, encode_text(text))


def test_o5_very_long_text_costs_no_more_than_the_limit() -> None:
    """Of 50 million characters 256 KiB are kept."""
    for character in "aé":
        encoded = encode_text(character * 50_000_000)
        assert len(encoded) < TEXT_MAX_BYTES + 64
        assert encoded.endswith(b"... [cut: 50000000 characters in all]")

"""JSON objects read back are those of the `json` module, or left to it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor._native import decode_object, encode_json

# What the recorder writes, but for other alphabets and very large integers.
PLAIN_TEXTS = st.text(st.characters(max_codepoint=127))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18) + 1, 10**18 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN_TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN_TEXTS, inner, max_size=4),
    max_leaves=10,
)
# Texts that are nearly JSON, far more often than chance has them.
NEARLY = st.lists(
    st.sampled_from(
        [*'{}[],:"-+.eE01 \\\n\x00é', '"a"', '"b"', '{"a":', "1.5", "12e3", "null", "true", "false",
         "nul", "NaN", '"a":1', '"b":[1,2]', "999999999999999999", "9223372036854775808"],
    ),
    max_size=12,
).map("".join)  # fmt: skip


def loads(text: str) -> Any:
    """As `json.loads`; None if that is no object."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types, and -0.0 is not 0.0."""
    return repr(one) == repr(other)


@given(st.dictionaries(PLAIN_TEXTS, PLAIN, max_size=6))
def test_what_the_recorder_writes_is_read_back(value: dict[str, Any]) -> None:
    """Without the `json` module."""
    text = json.dumps(value, separators=(",", ":"))
    found = decode_object(text)
    assert found is not None
    assert same(found, json.loads(text))


@given(st.dictionaries(PLAIN_TEXTS, PLAIN_TEXTS | st.booleans() | st.none(), max_size=6))
@example({'"': "\\", "\n": "\x00\x7f"})
def test_as_the_kernel_writes_it(value: dict[str, Any]) -> None:
    """The encoder is the other half."""
    assert decode_object(encode_json(value).decode()) == value


@given(NEARLY | st.text() | PLAIN.map(json.dumps))
@example('{"a":01}')
@example('{"a":-}')
@example('{"a":1.}')
@example('{"a":1e}')
@example('{"a":1e+}')
@example('{"a":"\\ud800","\\u00e4":"\\/"}')
@example('{"a\\n":1}x')
@example('{"a":1,}')
@example('{"a":[1,]}')
@example('{"a":nul')
@example('{"a":"x')
@example('{"a"')
@example("")
def test_nothing_else_is_read_than_json_has(text: str) -> None:
    """An object only where `json.loads` has the same."""
    found = decode_object(text)
    assert found is None or same(found, loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}', '{"a":"\n"}', '{"a":"\\x"}', '{"a\\":1}', '{"ä":1}',
        '{"a":1000000000000000000}', '{"a":NaN}', "[1]", "1",
        '{"a":"\x7f\x00"}', '{"a":' + "[" * 40 + "]" * 40 + "}",
    ],
)  # fmt: skip
def test_what_is_left_to_json(text: str) -> None:
    """White space, wrong escapes, other alphabets, large numbers, deep nesting, no object."""
    assert decode_object(text) is None


def test_only_texts_are_taken() -> None:
    """Nothing else is looked into."""
    values: list[Any] = [None, b"{}", 1]
    for value in values:
        with pytest.raises(TypeError):
            decode_object(value)


def test_the_largest_and_the_smallest_numbers() -> None:
    """As `float` and `int` have them."""
    text = '{"a":1e400,"b":-1e400,"c":5e-324,"d":1e-400,"e":-999999999999999999,"f":-0,"g":-0.0}'
    found = decode_object(text)
    assert found is not None
    assert same(found, json.loads(text))
    assert math.isinf(found["a"])


def test_names_are_shared() -> None:
    """Records with the same names have the same objects for them; long ones are not kept."""
    first, second = decode_object('{"name":1}'), decode_object('{"name":2}')
    assert first is not None
    assert second is not None
    assert next(iter(first)) is next(iter(second))
    long = f'{{"{"n" * 65}":1}}'
    first, second = decode_object(long), decode_object(long)
    assert first == second == {"n" * 65: 1}
    assert next(iter(first)) is not next(iter(second))


def test_more_names_than_are_remembered() -> None:
    """They come out right all the same."""
    for _ in range(2):
        for number in range(1000):
            assert decode_object(f'{{"k{number}":{number}}}') == {f"k{number}": number}

"""The trace context between processes: the cases of the W3C test suite, round trips, fuzzing."""

from __future__ import annotations

import dataclasses
import http.client
import io
import os
import string
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace as otel
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ax_monitor.propagation import (
    TRACESTATE_MAX_CHARS,
    SpanContext,
    extract,
    format_traceparent,
    from_environ,
    inject,
    parse_traceparent,
    parse_tracestate,
    to_environ,
)

T = "12345678901234567890123456789012"
S = "1234567890123456"
PARENT = f"00-{T}-{S}-01"
CONTEXT = SpanContext(T, S, sampled=True)

hex_digits = "0123456789abcdef"
trace_ids = st.text(hex_digits, min_size=32, max_size=32).filter(lambda text: text.strip("0"))
span_ids = st.text(hex_digits, min_size=16, max_size=16).filter(lambda text: text.strip("0"))
key_chars = string.ascii_lowercase + string.digits + "_-*/"
simple_keys = st.from_regex(r"[a-z][a-z0-9_\-*/]{0,255}", fullmatch=True)
tenant_keys = st.from_regex(
    r"[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}", fullmatch=True
)
values = st.from_regex(
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,40}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", fullmatch=True
)
members = st.dictionaries(simple_keys | tenant_keys, values, min_size=1, max_size=8)
tracestates = members.map(lambda found: ",".join(f"{key}={found[key]}" for key in found))
contexts = st.builds(
    SpanContext, trace_ids, span_ids, st.booleans(), st.none() | tracestates, st.just(True)
)


# -- traceparent -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", False),
        (f"00-{T}-{S}-02", False),  # only the lowest flag is known
        (f"00-{T}-{S}-03", True),
        (f"00-{T}-{S}-09", True),
        (f"00-{T}-{S}-fe", False),
        (f"00-{T}-{S}-ff", True),
        (f"00-{'f' * 32}-{'f' * 16}-00", False),
        (f"00-{'0' * 31}1-{'0' * 15}1-00", False),
        (f"01-{T}-{S}-00", False),
        (f"cc-{T}-{S}-01", True),  # a version to come, …
        (f"cc-{T}-{S}-01-what-the-future-will-be-like", True),  # … that goes on behind a dash
        (f"cc-{T}-{S}-01-", True),
        (f"fe-{T}-{S}-00-\n", False),
    ],
)
def test_valid_traceparents(text: str, sampled: bool) -> None:
    """Each gives its ids, and of the flags the lowest bit."""
    assert parse_traceparent(text) == SpanContext(text[3:35], text[36:52], sampled, None, True)


INVALID_TRACEPARENTS = [
    "",
    f"ff-{T}-{S}-01",  # the forbidden version
    f"ff-{T}-{S}-01-x",
    f"00-{T}-{S}-01.",  # version 00 ends there
    f"00-{T}-{S}-01-",
    f"00-{T}-{S}-01-what-the-future-will-be-like",
    f"00-{T}-{S}-01\n",
    f"cc-{T}-{S}-01.what-the-future-will-be-like",
    f"cc-{T}-{S}-012",
    f"cc-{T}-{S}-01\n",
    f".0-{T}-{S}-01",
    f"0.-{T}-{S}-01",
    f"000-{T}-{S}-01",
    f"0000-{T}-{S}-01",
    f"0-{T}-{S}-01",
    f"0A-{T}-{S}-01",
    f"00-{'0' * 32}-{S}-01",
    f"00-.{T[1:]}-{S}-01",
    f"00-{T[:-1]}.-{S}-01",
    f"00-{T}3-{S}-01",
    f"00-{T[:-1]}-{S}-01",
    f"00-{'A' * 32}-{S}-01",
    f"00-{T}-{'0' * 16}-01",
    f"00-{T}-.{S[1:]}-01",
    f"00-{T}-{S[:-1]}.-01",
    f"00-{T}-{S}7-01",
    f"00-{T}-{S[:-1]}-01",
    f"00-{T}-{'B' * 16}-01",
    f"00-{T}-{S}-.0",
    f"00-{T}-{S}-0.",
    f"00-{T}-{S}-0A",
    f"00-{T}-{S}-001",
    f"00-{T}-{S}-1",
    f"00-{T}-{S}-",
    f"00-{T}-{S}",
    f"00_{T}_{S}_01",
    f"00-{T[:-1]}\u0661-{S}-01",  # a digit, but not an ASCII one
    f"{PARENT},{PARENT}",
]


@pytest.mark.parametrize("text", INVALID_TRACEPARENTS)
def test_invalid_traceparents(text: str) -> None:
    """Each is none, as a value and as a header."""
    assert parse_traceparent(text) is None
    assert extract({"traceparent": text, "tracestate": "foo=1"}) is None


@given(st.integers(0, 255), trace_ids, span_ids, st.integers(0, 255), st.sampled_from(["", "-x"]))
def test_any_version_and_flags(
    version: int, trace_id: str, span_id: str, flags: int, rest: str
) -> None:
    """Versions 00 to fe and any flags are read; only versions above 00 may go on."""
    context = parse_traceparent(f"{version:02x}-{trace_id}-{span_id}-{flags:02x}{rest}")
    if version == 255 or (version == 0 and rest):
        assert context is None
    else:
        assert context == SpanContext(trace_id, span_id, flags % 2 == 1)


@given(st.integers(0, 54), st.characters())
@example(2, "\uff0d")
@example(30, "\x00")
def test_one_wrong_character_makes_it_invalid_or_another(place: int, wrong: str) -> None:
    """A changed character is either part of a valid header or makes it invalid."""
    text = PARENT[:place] + wrong + PARENT[place + 1 :]
    context = parse_traceparent(text)
    digits = place not in (2, 35, 52)
    if wrong in hex_digits if digits else wrong == "-":
        assert context is not None
        assert format_traceparent(context)[3:53] == text[3:53]
    else:
        assert context is None


@pytest.mark.parametrize("field", ["trace_id", "span_id"])
@pytest.mark.parametrize("wrong", ["", "0", "g" * 32, "1" * 31, "A" * 16, None, "1\r\nx: y"])
def test_a_context_with_odd_ids_is_never_written(field: str, wrong: Any) -> None:
    """Formatting it is a ValueError; injecting it leaves everything as it is."""
    context = dataclasses.replace(CONTEXT, **{field: wrong})
    assert not context.is_valid
    with pytest.raises(ValueError, match="not a trace id and a span id"):
        format_traceparent(context)
    carrier = {"traceparent": "old", "TRACEPARENT": "old"}
    inject(context, carrier)
    to_environ(context, carrier)
    assert carrier == {"traceparent": "old", "TRACEPARENT": "old"}


# -- tracestate ------------------------------------------------------------------------------------

ALL_VALUE_CHARS = "".join(map(chr, (*range(0x20, 0x2C), *range(0x2D, 0x3D), *range(0x3E, 0x7F))))
THIRTY_TWO = ",".join(f"bar{n:02}={n:02}" for n in range(1, 33))

VALID_TRACESTATES: list[tuple[str, dict[str, str]]] = [
    ("foo=1", {"foo": "1"}),
    ("foo=1,bar=2", {"foo": "1", "bar": "2"}),
    (
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        {"rojo": "00f067aa0ba902b7", "congo": "t61rcWkgMzE"},
    ),
    ("foo=1 \t , \t bar=2, \t baz=3", {"foo": "1", "bar": "2", "baz": "3"}),
    ("foo=1\t \t,\t \tbar=2,\t \tbaz=3", {"foo": "1", "bar": "2", "baz": "3"}),
    ("foo=1,,, ,bar=2,", {"foo": "1", "bar": "2"}),
    (f"{key_chars}={ALL_VALUE_CHARS}", {key_chars: ALL_VALUE_CHARS}),
    (f"{key_chars}@a-z0-9_-*/={ALL_VALUE_CHARS}", {f"{key_chars}@a-z0-9_-*/": ALL_VALUE_CHARS}),
    ("foo= 1", {"foo": " 1"}),  # leading blanks belong to the value
    (f"foo=1,{'z' * 256}=1", {"foo": "1", "z" * 256: "1"}),
    (f"foo=1,{'t' * 241}@{'v' * 14}=1", {"foo": "1", f"{'t' * 241}@{'v' * 14}": "1"}),
    ("1foo@bar=1", {"1foo@bar": "1"}),
    (f"foo={'x' * 256}", {"foo": "x" * 256}),
    (THIRTY_TWO, {f"bar{n:02}": f"{n:02}" for n in range(1, 33)}),
    ("ot=th:c;rv:0123456789abcd", {"ot": "th:c;rv:0123456789abcd"}),
]

INVALID_TRACESTATES = [
    "foo",
    "foo=",
    "=1",
    "foo =1",
    "FOO=1",
    "foo.bar=1",
    "foo@=1,bar=2",
    "@foo=1,bar=2",
    "foo@@bar=1,bar=2",
    "foo@bar@baz=1,bar=2",
    "1foo=1",  # a digit begins a tenant only
    "foo=bar=baz",
    "foo=,bar=3",
    "foo=1,foo=1",
    "foo=1,foo=2",
    "foo=a\tb",
    "foo=a\x7f",
    "foo=ä",
    "foo=1\r\nX-Evil: 1",
    "foo=1\n",
    "foo=1;bar=2\x00",
    f"foo=1,{'z' * 257}=1",
    f"foo=1,{'t' * 242}@v=1",
    f"foo=1,t@{'v' * 15}=1",
    f"foo={'x' * 257}",
    THIRTY_TWO + ",bar33=33",
]


@pytest.mark.parametrize(("text", "found"), VALID_TRACESTATES)
def test_valid_tracestates(text: str, found: dict[str, str]) -> None:
    """Each gives its members in order, and is kept as it is."""
    parsed = parse_tracestate(text)
    assert parsed == found
    assert list(parsed) == list(found)
    assert extract({"traceparent": PARENT, "tracestate": text}) == dataclasses.replace(
        CONTEXT, tracestate=text
    )


@pytest.mark.parametrize("text", INVALID_TRACESTATES)
def test_an_invalid_tracestate_is_dropped_alone(text: str) -> None:
    """Each is none, and the traceparent beside it is valid all the same; nor is it written."""
    assert parse_tracestate(text) is None
    assert extract({"traceparent": PARENT, "tracestate": text}) == CONTEXT
    headers: dict[str, str] = {}
    inject(dataclasses.replace(CONTEXT, tracestate=text), headers)
    assert headers == {"traceparent": PARENT}


@pytest.mark.parametrize("text", ["", " ", ",", " ,\t, "])
def test_an_empty_tracestate_is_valid_and_not_kept(text: str) -> None:
    """A header without members is accepted, and not passed on."""
    assert parse_tracestate(text) == {}
    assert extract({"traceparent": PARENT, "tracestate": text}) == CONTEXT


def test_long_tracestates() -> None:
    """More than the 512 characters asked for are passed on whole; beyond the limit, dropped."""
    long = ",".join(f"key{n:02}={'v' * 249}" for n in range(32))
    assert 512 < len(long) <= TRACESTATE_MAX_CHARS
    context = extract({"traceparent": PARENT, "tracestate": long})
    assert context is not None
    headers: dict[str, str] = {}
    inject(context, headers)
    assert headers["tracestate"] == long
    assert parse_tracestate("a=1," + " " * (TRACESTATE_MAX_CHARS - 4)) == {"a": "1"}
    assert parse_tracestate("a=1," + " " * (TRACESTATE_MAX_CHARS - 3)) is None


# -- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"TraceParent": PARENT},
        {"TrAcEpArEnT": PARENT},
        {"TRACEPARENT": PARENT},
        {b"traceparent": PARENT.encode()},
        {"traceparent": [PARENT]},
        {"traceparent": (PARENT.encode(),)},
        {"traceparent": f"\t {PARENT} \t"},
        {"traceparent": f" {PARENT}"},
        {"traceparent": PARENT, "tracestate": None},
        {"traceparent": PARENT, "tracestate": []},
        {"traceparent": PARENT, "tracestate": ["foo=1", 7]},
        {"traceparent": PARENT, "trace-state": "foo=1", "trace.state": "foo=1"},
        {"HTTP_TRACEPARENT": PARENT, "wsgi.input": io.BytesIO()},
        [(b"Host", b"x"), (b"traceparent", PARENT.encode())],
        {None: 1, 7: 2, ("traceparent",): 3, "traceparent": PARENT},
    ],
)
def test_ways_to_carry_a_traceparent(headers: Any) -> None:
    """Any case, bytes, lists, blanks around it, pairs, and a WSGI environ."""
    assert extract(headers) == CONTEXT


@pytest.mark.parametrize(
    "headers",
    [
        {},
        [],
        {"trace-parent": PARENT},
        {"trace.parent": PARENT},
        {"tracestate": "foo=1"},
        {"traceparent": None},
        {"traceparent": 7},
        {"traceparent": []},
        {"traceparent": [[PARENT]]},
        {"traceparent": [PARENT, PARENT]},
        {"traceparent": PARENT, "Traceparent": PARENT},
        [("traceparent", PARENT), ("traceparent", PARENT)],
        {"traceparent": PARENT.encode() + b"\xff"},
    ],
)
def test_no_traceparent_or_several(headers: Any) -> None:
    """Without exactly one there is no context, whatever the tracestate."""
    assert extract(headers) is None


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        (["foo=1", ""], "foo=1"),
        (["", "foo=1"], "foo=1"),
        (["foo=1", "foo=1"], None),
        (["foo=1", "foo=2"], None),
        (["foo=1", "z" * 257 + "=1"], None),
        ([THIRTY_TWO[:152], THIRTY_TWO[153:]], THIRTY_TWO),
        ([THIRTY_TWO, "bar33=33"], None),
    ],
)
def test_several_tracestate_headers(states: list[str], kept: str | None) -> None:
    """They are one list, in order, and are valid or not as one."""
    expected = dataclasses.replace(CONTEXT, tracestate=kept)
    assert extract({"traceparent": PARENT, "tracestate": states}) == expected
    pairs = [("traceparent", PARENT), *(("Tracestate", state) for state in states)]
    assert extract(pairs) == expected
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n"
    assert extract(http.client.parse_headers(io.BytesIO(lines.encode()))) == expected


def test_inject_replaces_headers_of_any_case() -> None:
    """The other side finds one traceparent, and no tracestate of another trace."""
    headers = {"Traceparent": "x", "TRACEPARENT": "y", "TraceState": "old=1", "Accept": "*/*"}
    inject(CONTEXT, headers)
    assert headers == {"Accept": "*/*", "traceparent": PARENT}
    inject(dataclasses.replace(CONTEXT, sampled=False, tracestate="foo=1"), headers)
    assert headers["traceparent"] == f"00-{T}-{S}-00"
    assert headers["tracestate"] == "foo=1"


# -- round trips -----------------------------------------------------------------------------------


@given(contexts)
def test_what_is_written_is_read_again(context: SpanContext) -> None:
    """Headers and environment give back every context."""
    headers: dict[str, str] = {}
    inject(context, headers)
    assert extract(headers) == context
    assert extract([(name.encode(), headers[name].encode()) for name in headers]) == context
    environ = {"PATH": "/bin", "TRACESTATE": "old=1"}
    to_environ(context, environ)
    assert from_environ(environ) == context
    assert format_traceparent(context) == headers["traceparent"] == environ["TRACEPARENT"]


@given(contexts)
def test_opentelemetry_reads_what_we_write_and_the_reverse(context: SpanContext) -> None:
    """Its propagator and ours understand each other."""
    propagator = TraceContextTextMapPropagator()
    headers: dict[str, str] = {}
    inject(context, headers)
    theirs = propagator.extract(headers)
    read = otel.get_current_span(theirs).get_span_context()
    assert (read.trace_id, read.span_id) == (int(context.trace_id, 16), int(context.span_id, 16))
    assert (read.trace_flags.sampled, read.is_remote) == (context.sampled, True)
    assert dict(read.trace_state) == parse_tracestate(context.tracestate or "")
    written: dict[str, str] = {}
    propagator.inject(written, theirs)
    assert extract(written) == context


def test_a_child_process_finds_the_context() -> None:
    """A child that is started with the environment reads the same context from it."""
    environ = dict(os.environ)
    context = dataclasses.replace(CONTEXT, tracestate="foo=1")
    to_environ(context, environ)
    program = "import os; from ax_monitor.propagation import *; print(from_environ(os.environ))"
    child = subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert child.stdout.strip() == repr(context)


@pytest.mark.parametrize("environ", [{}, {"traceparent": PARENT}, {"TRACEPARENT": "x"}])
def test_an_environment_without_a_context(environ: dict[str, str]) -> None:
    """Other names and invalid values give none."""
    assert from_environ(environ) is None


# -- foreign input ---------------------------------------------------------------------------------

anything: Any = st.none() | st.integers() | st.text() | st.binary()
nested: Any = anything | st.lists(anything, max_size=3) | st.tuples(anything)
names = st.sampled_from(["traceparent", "Tracestate", b"tracestate", "HTTP_TRACEPARENT"]) | anything
almost: Any = st.text(hex_digits + "-, =\t@x", max_size=60) | st.sampled_from(
    [*INVALID_TRACEPARENTS, *INVALID_TRACESTATES, PARENT, THIRTY_TWO]
)


@given(st.text() | almost)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text raises, and what is accepted is a context that can be written and read again."""
    context = parse_traceparent(text)
    assert context is None or parse_traceparent(format_traceparent(context)) == context
    found = parse_tracestate(text)
    if found:
        again = ",".join(f"{key}={value}" for key, value in found.items())
        assert parse_tracestate(again) == found


@given(st.dictionaries(names, nested | almost) | st.lists(st.tuples(names, nested | almost)))
def test_any_headers_give_a_valid_context_or_none(headers: Any) -> None:
    """Nothing in foreign headers raises, and whatever comes out is valid."""
    context = extract(headers)
    if context is not None:
        written: dict[str, str] = {}
        inject(context, written)
        assert extract(written) == context


@given(st.dictionaries(st.sampled_from(["TRACEPARENT", "TRACESTATE"]), st.text() | almost))
def test_any_environment_gives_a_valid_context_or_none(environ: dict[str, str]) -> None:
    """The same for the environment."""
    context = from_environ(environ)
    assert context is None or context.is_valid

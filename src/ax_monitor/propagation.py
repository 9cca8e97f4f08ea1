"""The trace context that travels between processes: W3C Trace Context, level 1.

`extract` reads it from the headers of a request that came in, `inject` writes it into the headers
of one that goes out; `from_environ` and `to_environ` do the same for the environment of a child
process. What others sent is never trusted and never an error: an invalid `traceparent` is none, an
invalid `tracestate` is dropped and leaves the `traceparent` as it is. What is written is valid.

The specification: https://www.w3.org/TR/trace-context-1/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

__all__ = [
    "SpanContext",
    "extract",
    "format_traceparent",
    "from_environ",
    "inject",
    "parse_traceparent",
    "parse_tracestate",
    "to_environ",
]

_PARENT = "traceparent"
_STATE = "tracestate"
# Names of headers, those in other case apart; and what a WSGI environ calls them.
_NAMES = {
    "traceparent": _PARENT,
    "tracestate": _STATE,
    "HTTP_TRACEPARENT": _PARENT,
    "HTTP_TRACESTATE": _STATE,
}

# Version, trace id, span id, flags, and what a version above 00 may have behind them.
_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_SAMPLED = 0x01

# The specification asks that at least 512 characters be passed on. Beyond this limit most servers
# refuse a request, so a longer text counts as invalid rather than break the engine's calls.
TRACESTATE_MAX_CHARS = 8192
TRACESTATE_MAX_MEMBERS = 32
_MEMBER = re.compile(
    r"([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256})"  # without the blanks at its end
)
_OWS = " \t"  # "optional white space" of HTTP headers


@dataclass(frozen=True, slots=True)
class SpanContext:
    """What one process tells another about the span that calls it.

    Args:
        trace_id: 32 lowercase hex digits, not all zero.
        span_id: 16 lowercase hex digits, not all zero: the calling span.
        sampled: Whether the caller may have recorded it. Following it keeps traces whole.
        tracestate: What other tracing systems pass along, verbatim; None if there is nothing.
        remote: Whether it came from another process.

    >>> SpanContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True).is_valid
    True
    """

    trace_id: str
    span_id: str
    sampled: bool
    tracestate: str | None = None
    remote: bool = True

    @property
    def is_valid(self) -> bool:
        """Whether the ids are such ids, so that it can be written."""
        return parse_traceparent(_traceparent(self)) is not None


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"


def parse_traceparent(text: str) -> SpanContext | None:
    """The context in the value of a `traceparent` header, or None if it is not valid.

    >>> parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").sampled
    True
    """
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return SpanContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def format_traceparent(context: SpanContext) -> str:
    """The value of a `traceparent` header, of version 00.

    Raises:
        ValueError: if the ids of the context are no ids.
    """
    text = _traceparent(context)
    if parse_traceparent(text) is None:
        raise ValueError(f"not a trace id and a span id: {context.trace_id!r}, {context.span_id!r}")
    return text


def parse_tracestate(text: str) -> dict[str, str] | None:
    """The members of a `tracestate` header by their keys, in order, or None if it is not valid.

    >>> parse_tracestate("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE")
    {'rojo': '00f067aa0ba902b7', 'congo': 't61rcWkgMzE'}
    """
    if len(text) > TRACESTATE_MAX_CHARS:
        return None
    members: dict[str, str] = {}
    for each in text.split(","):
        member = each.strip(_OWS)
        if not member:
            continue
        match = _MEMBER.fullmatch(member)
        if match is None or match[1] in members or len(members) == TRACESTATE_MAX_MEMBERS:
            return None
        members[match[1]] = match[2]
    return members


def inject(context: SpanContext, headers: MutableMapping[str, str]) -> None:
    """Write the context into the headers of a request that goes out.

    Headers of these names are replaced, whatever their case, so that the other side never finds
    two. A context without valid ids changes nothing.
    """
    if not context.is_valid:
        return
    for name in [name for name in headers if _known(name) is not None]:
        headers.pop(name, None)
    _write(context, headers, _PARENT, _STATE)


class HasItems(Protocol):
    """Headers as a framework has them: a mapping, or what answers `items()` like one."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Pairs of name and value; a name may occur more than once."""


def extract(headers: HasItems | Iterable[tuple[Any, Any]]) -> SpanContext | None:
    """The context in the headers of a request that came in, or None.

    Args:
        headers: Anything with `items()`, or pairs, as frameworks have them; or the environ of WSGI.
            Names in any case. Names and values may be bytes; a value may be a list or tuple of
            several.
    """
    parents: list[Any] = []
    states: list[Any] = []
    for name, value in headers.items() if hasattr(headers, "items") else headers:
        known = _known(name)
        if known is not None:
            found = parents if known is _PARENT else states
            found.extend(value if isinstance(value, (list, tuple)) else (value,))
    return _read(parents, states)


def from_environ(environ: Mapping[str, str]) -> SpanContext | None:
    """The context that the parent process left in `TRACEPARENT` and `TRACESTATE`, or None."""
    return _read([environ.get(_PARENT.upper())], [environ.get(_STATE.upper())])


def to_environ(context: SpanContext, environ: MutableMapping[str, str]) -> None:
    """Write the context into the environment of a child process.

    Both variables are replaced. A context without valid ids changes nothing.
    """
    if not context.is_valid:
        return
    environ.pop(_STATE.upper(), None)
    _write(context, environ, _PARENT.upper(), _STATE.upper())


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None


def _known(name: object) -> str | None:
    """Which of the two headers this is the name of, if any."""
    text = _text(name)
    return None if text is None else _NAMES.get(text) or _NAMES.get(text.lower())


def _read(parents: list[Any], states: list[Any]) -> SpanContext | None:
    """The context in all values of the two headers: one of the first, any number of the second."""
    parent = _text(parents[0]) if len(parents) == 1 else None
    context = None if parent is None else parse_traceparent(parent.strip(_OWS))
    if context is None:
        return None
    texts = [_text(state) for state in states]
    if None in texts:
        return context
    state = ",".join(text for text in texts if text and text.strip(_OWS)).strip(_OWS)
    if not parse_tracestate(state):  # invalid, or nothing in it
        return context
    return replace(context, tracestate=state)


def _write(
    context: SpanContext, target: MutableMapping[str, str], parent_name: str, state_name: str
) -> None:
    target[parent_name] = _traceparent(context)
    if context.tracestate and parse_tracestate(context.tracestate):
        target[state_name] = context.tracestate

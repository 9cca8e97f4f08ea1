"""What one line of a log file becomes, and the limits and words that hold for every format."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE_CHARS = 1_048_576
"""Characters of a line that are looked at: room for a JSON record with message, stack and data."""

MAX_TEXT_BYTES = 262_144
"""UTF-8 bytes of a message or a stack trace: the limit of every recorded text (FAULTS O5)."""

_LEVEL_WORDS = {
    "debug": "debug dbg dbug debug1 debug2 debug3 debug4 debug5 trace trc trce verbose vrb silly "
    "spam config fine finer finest d t v",
    "info": "info inf information informational notice note log success i n",
    "warn": "warn warning wrn w",
    "error": "error err eror severe fail failure e",
    "fatal": "fatal ftl critical crit emerg emergency alert panic dpanic assert f c a",
}

LEVELS: dict[str, str] = {
    spelling: level
    for level, words in _LEVEL_WORDS.items()
    for word in words.split()
    for spelling in (word, word.upper(), word.capitalize())
}
"""Level words of other systems, in lower, upper and capitalised spelling, to the five levels."""

_MARK = re.compile(r"… \[cut, \d+ (?:bytes|characters)\]$")

SYSLOG_LEVELS = ("fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug")
"""The level for each syslog severity, 0 (emergency) to 7 (debug)."""


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """One record of a log file, with the continuation lines that belong to it.

    Attributes:
        timestamp: Milliseconds since the Unix epoch, UTC; a time without a zone counts as UTC.
            `None`: neither this line nor one before it in the file had a known time.
        level: One of `debug`, `info`, `warn`, `error`, `fatal`.
        message: What the line says, without the parts that went into the other fields.
        source: The logger, component or program that wrote it, else the name of the file.
        execution_id: Workflow execution, where the line names one.
        trace_id: Trace, where the line names one.
        span_id: Span, where the line names one.
        tenant_id: Tenant, where the line names one.
        user_id: User, where the line names one.
        metadata: Everything else that the line says (thread, pid, request id, status, …).
        stack_trace: The continuation lines, joined with newlines; at most 256 KiB.
        recognised: False when no format fitted and the whole line was kept as the message.
    """

    timestamp: int | None
    level: str
    message: str
    source: str
    execution_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, object] | None = None
    stack_trace: str | None = None
    recognised: bool = True


def printable(text: str) -> str:
    """`text` with lone surrogates written as backslash escapes, so that it can be stored."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def clip(text: str, *, total_bytes: int | None = None) -> str:
    """`text`, or as much as fits in 256 KiB with a mark that tells the original length.

    Args:
        text: Free of lone surrogates.
        total_bytes: The original length in UTF-8 bytes, when `text` is only its beginning.
    """
    if len(text) * 4 <= MAX_TEXT_BYTES:
        return text
    data = text.encode()
    if len(data) <= MAX_TEXT_BYTES:
        return text
    earlier = _MARK.search(text[-64:])  # of a line that was cut before it was parsed
    mark = earlier[0] if earlier else f"… [cut, {total_bytes or len(data)} bytes]"
    return data[: MAX_TEXT_BYTES - len(mark.encode())].decode(errors="ignore") + mark


def clip_line(text: str, *, total_chars: int) -> str:
    """The first 2²⁰ characters of a line of `total_chars`, with a mark that tells that number."""
    mark = f"… [cut, {total_chars} characters]"
    return text[: MAX_LINE_CHARS - len(mark)] + mark

"""From lines to records: finds the format, joins continuation lines, keeps what fits no format."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Literal, get_args

from ax_monitor.interop.log_files.continuation import StackTrace
from ax_monitor.interop.log_files.jsonl import JsonParser
from ax_monitor.interop.log_files.logfmt import LogfmtParser
from ax_monitor.interop.log_files.record import (
    MAX_LINE_CHARS,
    MAX_TEXT_BYTES,
    ParsedLine,
    clip,
    clip_line,
    printable,
)
from ax_monitor.interop.log_files.text import TextParser
from ax_monitor.interop.log_files.text_format import Surroundings
from ax_monitor.interop.log_files.times import end_of_year_ms

Format = Literal["jsonl", "logfmt", "text"]
Parse = Callable[[str], ParsedLine | None]

SAMPLE_LINES = 200
"""Lines that are looked at to find the format: enough to get past a start-up banner."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _parsers(around: Surroundings, *, strict: bool) -> dict[Format, Parse]:
    return {
        "text": TextParser(around).parse,
        "jsonl": JsonParser(around.source).parse,
        "logfmt": LogfmtParser(around.source, strict=strict).parse,
    }


def detect_format(sample: Sequence[str]) -> Format:
    """The format that recognises most lines of `sample`; `text` when none recognises more.

    Args:
        sample: Lines from the beginning of the file, with or without their newlines.
    """
    lines = [line for line in map(str.rstrip, sample) if line and len(line) <= MAX_LINE_CHARS]
    parsers = _parsers(Surroundings("", None), strict=True)
    scores = {
        name: sum(parse(line) is not None for line in lines) for name, parse in parsers.items()
    }
    return max(scores, key=lambda name: scores[name])


def parse_lines(
    lines: Iterable[str],
    *,
    format: Format | Literal["auto"] = "auto",
    source: str,
    year: int | None = None,
) -> Iterator[ParsedLine]:
    r"""Makes records of the lines of a log; blank lines are skipped, no other text is lost.

    A line that no format fits continues the record before it when it looks like a part of a stack
    trace or is indented, and else becomes a record of its own with `recognised=False`, level
    `info` and the whole line as its message. A record without a known time gets the time of the
    record before it. Times without a zone count as UTC. Escape codes for colours do not hinder.

    Whatever the lines hold, nothing is raised: lone surrogates become backslash escapes, lines
    over 2²⁰ characters and messages and stack traces over 256 KiB are cut and marked.

    Args:
        lines: The lines, with or without their newlines; read lazily, one record ahead (with
            `auto`, 200 lines ahead).
        format: The format of the file; `auto` finds it from the first 200 lines, and then also
            takes single lines of the other formats.
        source: The source of records that name none, such as the name of the program.
        year: The year of dates that have none (syslog, klog); without it they stay unknown and
            are kept in the metadata as `time`.

    Raises:
        ValueError: `format` is none of the four, or `year` is not within 1 to 9999.

    Example:
        >>> line = "2024-05-01 10:00:00,250 WARN [main] app.Cache: nearly full"
        >>> [record] = parse_lines([line], source="app")
        >>> record.timestamp, record.level, record.source, record.message
        (1714557600250, 'warn', 'app.Cache', 'nearly full')
    """
    newest_ms = None if year is None else end_of_year_ms(year)
    return records(lines, format=format, around=Surroundings(source, newest_ms))


def records(
    lines: Iterable[str], *, format: Format | Literal["auto"], around: Surroundings
) -> Generator[ParsedLine, None, None]:
    """`parse_lines` for callers that know more about the surroundings of the lines.

    Raises:
        ValueError: `format` is none of the four.
    """
    if format != "auto":
        if format not in get_args(Format):
            raise ValueError(f"format must be auto, jsonl, logfmt or text, not {format!r}")
        parse = _parsers(around, strict=False)[format]
        return _assemble(lines, parse, around, indented=format == "text")
    return _detect_and_assemble(lines, around)


def _detect_and_assemble(
    lines: Iterable[str], around: Surroundings
) -> Generator[ParsedLine, None, None]:
    iterator = iter(lines)
    sample = list(islice(iterator, SAMPLE_LINES))
    main = detect_format(sample)
    parsers = _parsers(around, strict=True)
    first = parsers.pop(main)
    others = tuple(parsers.values())

    def parse(line: str) -> ParsedLine | None:
        record = first(line)
        if record is None and not line[0].isspace():
            return next(filter(None, (other(line) for other in others)), None)
        return record

    yield from _assemble(chain(sample, iterator), parse, around, indented=main == "text")


def _assemble(
    lines: Iterable[str], parse: Parse, around: Surroundings, *, indented: bool
) -> Generator[ParsedLine, None, None]:
    held: ParsedLine | None = None  # the last record, which the next lines may continue
    stack: StackTrace | None = None
    time_ms: int | None = None
    for raw in lines:
        line = printable(raw.rstrip("\r\n"))
        if not line or line.isspace():
            continue
        if len(line) > MAX_LINE_CHARS:
            line = clip_line(line, total_chars=len(line))
        record = parse(line)
        if record is None and "\x1b[" in line:
            record = parse(_COLOUR.sub("", line) or line)
        if record is None and held is not None:
            stack = stack or StackTrace(held.stack_trace, indented=indented and held.recognised)
            if stack.take(line):
                continue
        if record is None:
            record = ParsedLine(time_ms, "info", line, around.source, recognised=False)
        elif record.timestamp is None:
            record = replace(record, timestamp=time_ms)
        if held is not None:
            yield stack.attach_to(held) if stack else held
        held, stack, time_ms = _bounded(record, len(line)), None, record.timestamp
    if held is not None:
        yield stack.attach_to(held) if stack else held


def _bounded(record: ParsedLine, line_chars: int) -> ParsedLine:
    """`record` with message and stack trace of at most 256 KiB."""
    if line_chars * 4 <= MAX_TEXT_BYTES:
        return record
    stack_trace = record.stack_trace and clip(record.stack_trace)
    return replace(record, message=clip(record.message), stack_trace=stack_trace)

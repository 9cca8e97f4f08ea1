"""Lines that continue the record before them: stack traces of Python, Java, .NET, JavaScript, Go.

Two kinds are told apart. A *stack line* says by itself that it belongs to a stack trace. An
*open line* (an indented one, or the `ValueError: …` that ends a Python traceback) does so only in
its place.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ax_monitor.interop.log_files.record import MAX_TEXT_BYTES, ParsedLine, clip

_EXCEPTION = r"(?:[\w$]+\.)*[A-Z][\w$]*(?:Exception|Error|Throwable|ExceptionGroup)(?::|$)"
_STACK_LINE = re.compile(
    r"\s*(?:Traceback \(|Caused by: |Suppressed: |\.\.\. \d+ (?:more|common)|--- End of |---> |"
    r'File "|at \S+ ?\(|goroutine \d+ \[|During handling of the above exception|'
    rf"The above exception was the direct cause|Exception in thread |{_EXCEPTION})",
    re.ASCII,
)
_LAST_LINE = re.compile(r"[A-Za-z_$][\w$.]*(?:: |:?$)", re.ASCII)


class StackTrace:
    """The continuation lines of one record, of which at most 256 KiB are kept.

    Args:
        text: The stack trace that the record brought along.
        indented: Whether any indented line continues the record, not only after a stack line.
    """

    def __init__(self, text: str | None, *, indented: bool) -> None:
        self._lines = [] if text is None else [text]
        self._bytes = 0 if text is None else len(text.encode())
        self._full = False
        self._indented = indented
        self._traced = False  # a stack line was among the lines
        self._open = False  # the last line was an indented one of a stack trace

    def take(self, line: str) -> bool:
        """Adds `line`, which no format fits, if it continues the record; tells whether it does.

        Beyond the limit, lines are measured and dropped.
        """
        indented = line[0].isspace()
        if _STACK_LINE.match(line):
            self._traced = True
        elif not (indented and (self._indented or self._lines)) and not (
            self._open and _LAST_LINE.match(line)
        ):
            return False
        self._open = indented and self._traced
        self._bytes += len(line.encode()) + bool(self._lines)  # the newline before it
        if not self._full:
            self._lines.append(line)
            self._full = self._bytes > MAX_TEXT_BYTES
        return True

    def attach_to(self, record: ParsedLine) -> ParsedLine:
        """`record` with the lines as its stack trace, cut and marked if they are too long."""
        if not self._lines:
            return record
        text = clip("\n".join(self._lines), total_bytes=self._bytes)
        return replace(record, stack_trace=text)

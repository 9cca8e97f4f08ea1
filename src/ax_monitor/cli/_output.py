"""Everything that is printed: escaping, colours, times, sizes, tables, progress.

Stored text comes from anywhere, so no character of it may act upon the terminal, forge a second
record, or reverse the line: `Printer` replaces such characters by visible escapes, on a terminal
and on a pipe alike. `rich` is imported for a terminal only, and never sees markup.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console

Part = str | tuple[str, str]
"""A piece of a line: a text, or a text and its style (rich's words: "bold red", "dim")."""

# Control characters (C0, DEL, C1), line and paragraph separators, everything that changes the
# direction of text, invisible characters, and lone surrogates. Joiners (U+200C, U+200D) stay: emoji
# and several scripts need them.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    r"""`text` on one line, with every character that is not plain text as an escape.

    >>> print(visible("\x1b[31mred\n\u202e"))
    \x1b[31mred\n\u202e
    """
    if text.isprintable():
        return text
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def visible_lines(text: str) -> str:
    """The same, but line ends stay."""
    return "\n".join(visible(line) for line in text.split("\n"))


def json_line(value: Any) -> str:
    """`value` as JSON on one line; the same characters are escaped, as JSON has it."""
    return _UNSAFE.sub(_json_escape, json.dumps(value, ensure_ascii=False))


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


class Printer:
    """Lines on standard output, every part escaped: styled on a terminal, plain elsewhere."""

    def __init__(self) -> None:
        self._stream: IO[str] = sys.stdout if sys.stdout is not None else open(os.devnull, "w")
        self.is_terminal = self._stream.isatty()
        self._console = _console(self._stream) if self.is_terminal else None

    def line(self, *parts: Part) -> None:
        """One line."""
        texts = [
            (visible(part), "") if isinstance(part, str) else (visible(part[0]), part[1])
            for part in parts
        ]
        if self._console is None:
            self._stream.write("".join(text for text, _ in texts) + "\n")
            return
        from rich.text import Text  # noqa: PLC0415 (imported already, with the console)

        self._console.print(Text.assemble(*texts), soft_wrap=True)

    def json(self, value: Any) -> None:
        """One line of JSON."""
        self._stream.write(json_line(value) + "\n")

    def table(self, rows: Iterable[Iterable[Part]]) -> None:
        """Rows as columns of equal width; the last column may be of any length."""
        for line in table_lines(rows):
            self.line(*line)

    def headed_table(
        self, heading: list[str], rows: list[list[Part]], *, right: Iterable[int]
    ) -> None:
        """A table under a heading, with these columns flush right."""
        cells: list[list[tuple[str, str]]] = [[(text, "dim") for text in heading]]
        cells += [[part if isinstance(part, tuple) else (part, "") for part in row] for row in rows]
        for column in right:
            width = max(len(row[column][0]) for row in cells)
            for row in cells:
                text, style = row[column]
                row[column] = (text.rjust(width), style)
        self.table(cells)

    def flush(self) -> None:
        """Out with it."""
        self._stream.flush()

    @contextlib.contextmanager
    def repainting(self) -> Iterator[Callable[[Sequence[Sequence[Part]]], None]]:
        """A function that shows lines in place of those that it showed before.

        A terminal is as it was when the block ends, however it ends. Where nothing can be painted
        over, the lines stand below each other, with an empty one between.
        """
        if self._console is None:
            yield self._append_block
            return
        from rich.live import Live  # noqa: PLC0415 (only a terminal needs it)
        from rich.text import Text  # noqa: PLC0415 (the same)

        def show(lines: Sequence[Sequence[Part]]) -> None:
            text = Text("\n", no_wrap=True, overflow="crop").join(
                Text.assemble(
                    *(
                        (visible(part), "")
                        if isinstance(part, str)
                        else (visible(part[0]), part[1])
                        for part in line
                    )
                )
                for line in lines
            )
            live.update(text, refresh=True)

        previous = signal.signal(signal.SIGTERM, _end)
        try:
            with Live(console=self._console, screen=True, auto_refresh=False) as live:
                try:
                    yield show
                except KeyboardInterrupt:
                    # Ending already: a second Ctrl-C would leave the screen as it is.
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    raise
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _append_block(self, lines: Sequence[Sequence[Part]]) -> None:
        for line in lines:
            self.line(*line)
        self.line()
        self.flush()


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def table_lines(rows: Iterable[Iterable[Part]]) -> Iterator[list[Part]]:
    """Rows as lines of columns of equal width; the last column may be of any length."""
    cells = [[part if isinstance(part, tuple) else (part, "") for part in row] for row in rows]
    widths = [max(map(len, column)) for column in _columns(cells)]
    for row in cells:
        yield [
            (visible(text) if index == len(row) - 1 else visible(text).ljust(width) + "  ", style)
            for index, ((text, style), width) in enumerate(zip(row, widths, strict=False))
        ]


def _columns(cells: list[list[tuple[str, str]]]) -> Iterator[list[str]]:
    for index in range(max(map(len, cells), default=0)):
        yield [visible(row[index][0]) for row in cells if index < len(row)]


def _console(stream: IO[str]) -> Console | None:
    """A rich console for a terminal that shows colours; None if it shall not (NO_COLOR, dumb)."""
    from rich.console import Console  # noqa: PLC0415 (costs 30 ms; a pipe does without)

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    return None if console.no_color or console.is_dumb_terminal else console


@contextlib.contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the block runs, if that is a terminal; call it with how far one is."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda completed: None
        return
    from rich import progress  # noqa: PLC0415 (only a terminal needs it)

    console = _console(sys.stderr)
    if console is None:
        yield lambda completed: None
        return
    with progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=False),
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(visible(label), total=total)
        yield lambda completed: bar.update(task, completed=completed)


@contextlib.contextmanager
def step_bar(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr while the block runs, if that is a terminal; call it with what begins now.

    It is painted only then: nothing runs beside what is measured.
    """
    console = _console(sys.stderr) if sys.stderr is not None and sys.stderr.isatty() else None
    if console is None:
        yield lambda what: None
        return
    from rich import progress  # noqa: PLC0415 (only a terminal needs it)

    with progress.Progress(
        progress.BarColumn(),
        progress.TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        auto_refresh=False,
    ) as bar:
        task = bar.add_task("", total=steps, completed=-1)

        def tell(what: str) -> None:
            bar.update(task, description=visible(what), advance=1, refresh=True)

        yield tell


def note(text: str) -> None:
    """A remark on stderr, so that it never mixes with data."""
    if sys.stderr is not None:
        print(visible_lines(text), file=sys.stderr, flush=True)


def cut(line: list[Part], width: int) -> list[Part]:
    """The line's first `width` columns; texts are made visible first, which may widen them."""
    result: list[Part] = []
    for part in line:
        text, style = part if isinstance(part, tuple) else (part, "")
        text = visible(text)
        result.append((text[:width], style))
        width -= len(text)
        if width <= 0:
            break
    return result


# -- values -------------------------------------------------------------------------------------


def format_time(timestamp_ms: int, *, utc: bool) -> str:
    """A time to the millisecond, local, or UTC with a Z; `@<ms>` beyond what a calendar has.

    >>> format_time(1_700_000_000_123, utc=True)
    '2023-11-14 22:13:20.123Z'
    """
    seconds, ms = divmod(timestamp_ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC if utc else None)
    except (ValueError, OverflowError, OSError):
        return f"@{timestamp_ms}"
    return f"{moment.replace(tzinfo=None).isoformat(' ', 'seconds')}.{ms:03}{'Z' * utc}"


def format_bytes(size: int) -> str:
    """A size in the unit that suits it.

    >>> format_bytes(512), format_bytes(12_345_678)
    ('512 B', '12.3 MB')
    """
    if size < 1000:
        return f"{size} B"
    number = float(size)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "record"), counted(12_000, "record"), counted(2, "entry", "entries")
    ('1 record', '12,000 records', '2 entries')
    """
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"

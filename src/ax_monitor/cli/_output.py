"""Everything that is printed: escaping, colours, widths, tables, times, progress.

Stored text comes from anywhere, so no character of it may act upon the terminal, forge a second
record, or reverse the line: `Printer` replaces such characters by visible escapes, on a terminal
and on a pipe alike. `rich` is imported for what is painted over (`--watch`, progress) and for wide
characters only: it takes 40 ms. It never sees markup.

A terminal gets colours, and tables that are no wider than it is: what is too long is cut, with `…`
at its end. A pipe gets neither: every record is one line and complete. FORCE_COLOR gives a pipe the
colours, and nothing else; NO_COLOR takes them away everywhere, and wins.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

Part = str | tuple[str, str]
"""A piece of a line: a text, or a text and its style (rich's words: "bold red", "dim")."""

# Control characters (C0, DEL, C1), line and paragraph separators, everything that changes the
# direction of text, invisible characters, and lone surrogates. Joiners (U+200C, U+200D) stay: emoji
# and several scripts need them.
_UNSAFE: Final = (
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
    return re.sub(_UNSAFE, _escape, text)


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
    return re.sub(_UNSAFE, _json_escape, json.dumps(value, ensure_ascii=False))


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


class Column(NamedTuple):
    """A column of a table, and what becomes of it on a terminal that is too narrow.

    Args:
        heading: What stands above it.
        right: Flush right: numbers.
        keep: Never cut: times, states, numbers.
        ids: Cut no further than to the beginnings that tell them apart: those find them again.
        optional: Left out before others get too narrow to be of use, the rightmost one first.
        fold: Long texts go on below: for the last column, where it is a sentence.
    """

    heading: str = ""
    right: bool = False
    keep: bool = False
    ids: bool = False
    optional: bool = False
    fold: bool = False


class Printer:
    """Lines on standard output, every part escaped, with colours where they are wanted."""

    def __init__(self) -> None:
        self._stream: IO[str] = sys.stdout if sys.stdout is not None else open(os.devnull, "w")
        self.is_terminal = self._stream.isatty()
        self._has_colours = _has_colours(self._stream)

    @property
    def width(self) -> int | None:
        """The columns of the terminal, now; None on a pipe, where nothing is ever cut."""
        return _terminal_size().columns if self.is_terminal else None

    @property
    def height(self) -> int | None:
        """The lines of the terminal, now; None on a pipe."""
        return _terminal_size().lines if self.is_terminal else None

    def line(self, *parts: Part) -> None:
        """One line."""
        texts = _visible_parts(parts)
        if self._has_colours:
            self._stream.write("".join(_styled(text, style) for text, style in texts) + "\n")
        else:
            self._stream.write("".join(text for text, _ in texts) + "\n")

    def json(self, value: Any) -> None:
        """One line of JSON."""
        self._stream.write(json_line(value) + "\n")

    def table(
        self,
        rows: Iterable[Iterable[Part]],
        columns: Sequence[Column] = (),
        *,
        heading: bool = False,
    ) -> None:
        """Rows as columns of equal width, none of which a terminal has to wrap.

        Args:
            rows: What is shown.
            columns: How; those that are not named are cut where they have to be.
            heading: Whether a pipe gets a heading too. A list does without one there, so that every
                line is a record.
        """
        shown = heading or self.is_terminal
        for line in table_lines(rows, columns, width=self.width, heading=shown):
            self.line(*line)

    def flush(self) -> None:
        """Out with it."""
        self._stream.flush()

    @contextlib.contextmanager
    def repainting(self) -> Iterator[Screen]:
        """A screen on which each report replaces the one before.

        A terminal is as it was when the block ends, however it ends. Where nothing can be painted
        over, the reports stand below each other, with an empty line between.
        """
        console = _console(self._stream) if self.is_terminal and not _is_dumb() else None
        if console is None:
            yield _Roll(self)
            return
        from rich.live import Live  # noqa: PLC0415 (only a terminal needs it)

        with (
            _wakeup() as fd,
            _handling(signal.SIGTERM, _end),
            _handling(signal.SIGWINCH, lambda *_: None),
            Live(
                console=console,
                screen=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            ) as live,
        ):
            yield _Painting(self, live, fd)


def _terminal_size() -> os.terminal_size:
    import shutil  # noqa: PLC0415 (costs 4 ms; a pipe does without)

    return shutil.get_terminal_size()


Report = Callable[[int | None], Iterable[Sequence[Part]]]
"""What gives the lines of a report for so many columns (None: any number)."""


class Screen(Protocol):
    """Where reports are shown, one after the other."""

    def show(self, report: Report) -> None:
        """Show this one."""

    def wait(self, seconds: float) -> None:
        """Leave it there so long."""


class _Roll:
    """Reports below each other."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer

    def show(self, report: Report) -> None:
        for line in report(self._printer.width):
            self._printer.line(*line)
        self._printer.line()
        self._printer.flush()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class _Painting:
    """Reports in place of each other, each painted with one write, and again at every new size."""

    def __init__(self, printer: Printer, live: Live, wakeup_fd: int) -> None:
        self._printer = printer
        self._live = live
        self._wakeup_fd = wakeup_fd
        self._report: Report = lambda width: ()

    def show(self, report: Report) -> None:
        self._report = report
        self._paint()

    def _paint(self) -> None:
        from rich.text import Text  # noqa: PLC0415 (imported already, with the console)

        width, height = self._printer.width or 1, self._printer.height or 1
        lines = [cut(line, width) for line in itertools.islice(self._report(width), height)]
        text = Text("\n", no_wrap=True, overflow="crop").join(
            Text.assemble(*_visible_parts(line)) for line in lines
        )
        self._live.update(text, refresh=True)

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._wakeup_fd], [], [], left)[0]:
                os.read(self._wakeup_fd, 4096)
                self._paint()  # whatever the signal was: the size may be another one now


@contextlib.contextmanager
def _wakeup() -> Iterator[int]:
    """A descriptor that can be read when a signal has come, so that waiting for it ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _handling(number: signal.Signals, handler: Callable[..., None]) -> Iterator[None]:
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _visible_parts(parts: Iterable[Part]) -> list[tuple[str, str]]:
    return [
        (visible(part), "") if isinstance(part, str) else (visible(part[0]), part[1])
        for part in parts
    ]


# -- widths ---------------------------------------------------------------------------------------

# One column each for certain: Latin, the lines, bars and marks of charts, and our own signs.
_NARROW: Final = re.compile(
    "[\x20-\x7e\xa0-\xac\xae-\u02ff\u2026\u2248\u2500-\u25ff\u2800-\u28ff]*"
)


def width_of(text: str) -> int:
    """How many columns of a terminal a visible text takes at most: two for each wide character.

    Terminals differ in what they join to one sign (families, flags): those that do need less.

    >>> width_of("plain"), width_of("日本"), width_of("e\u0301")
    (5, 4, 1)
    """
    if text.isascii() or _NARROW.fullmatch(text):
        return len(text)
    return sum(map(_character_width, text))


def _character_width(char: str) -> int:
    from rich.cells import get_character_cell_size  # noqa: PLC0415 (few texts need it)

    # "As an emoji" widens the character before it where it has an effect.
    return 1 if char == "\ufe0f" else get_character_cell_size(char)


def _beginning(text: str, width: int) -> str:
    """As much of a visible text as exactly so many columns have room for."""
    if text.isascii() or _NARROW.fullmatch(text):
        return text[:width]
    left = width
    for end, char in enumerate(text):
        needed = _character_width(char)
        if needed > left:  # half of a wide character is no use
            return text[:end] + " " * left
        left -= needed
    return text + " " * left


def shortened(text: str, width: int) -> str:
    """A visible text in at most so many columns; `…` says that it was longer.

    >>> shortened("a long text", 7), shortened("short", 7)
    ('a long…', 'short')
    """
    if width_of(text) <= width:
        return text
    return _beginning(text, width - 1) + "…" if width > 0 else ""


def fit(text: str, width: int) -> str:
    """A visible text in exactly so many columns."""
    text = shortened(text, width)
    return text + " " * (width - width_of(text))


def cut(line: Iterable[Part], width: int | None) -> list[Part]:
    """The line, made visible, in at most so many columns (None: any number)."""
    parts = _visible_parts(line)
    if width is None or sum(width_of(text) for text, _ in parts) <= width:
        return [*parts]
    result: list[Part] = []
    left = width
    for text, style in parts:
        if width_of(text) >= left:  # nothing fits behind it, and something is left out
            rest = _beginning(text, left - 1) + "…" if left > 0 else ""
            result.append((rest, style))
            break
        result.append((text, style))
        left -= width_of(text)
    return result


# -- tables ---------------------------------------------------------------------------------------

_GAP: Final = "  "
_READABLE: Final = 18  # columns that a text needs to be of use
_ID_MIN: Final = 14
_FOLDED_MIN: Final = 12


def table_lines(
    rows: Iterable[Iterable[Part]],
    columns: Sequence[Column] = (),
    *,
    width: int | None = None,
    heading: bool = False,
) -> Iterator[list[Part]]:
    """Rows as lines of at most `width` columns (None: any number).

    They have a heading if one is wanted. Rows may end early.
    """
    cells = [_visible_parts(row) for row in rows]
    if heading and any(column.heading for column in columns):
        cells.insert(0, [(column.heading, "dim") for column in columns])
    count = max(map(len, cells), default=0)
    columns = [*columns, *[Column()] * (count - len(columns))][:count]
    widths = [
        max(width_of(row[index][0]) for row in cells if index < len(row)) for index in range(count)
    ]
    shown = list(range(count))
    if width is not None:
        least = [
            _least([row[i][0] for row in cells if i < len(row)], widths[i], columns[i])
            for i in shown
        ]
        shown = _shown(least, columns, width)
        widths = _narrowed(widths, least, columns, shown, width)
    for row in cells:
        for line in _row_lines([(row[i], widths[i], columns[i]) for i in shown if i < len(row)]):
            yield cut(line, width)


def _least(texts: list[str], width: int, column: Column) -> int:
    """The columns that these texts, which take `width`, need to be of use."""
    if column.right or column.keep:
        return width
    if not column.ids:
        return min(width, _READABLE)
    ids = sorted({text for text in texts if text != column.heading})
    shared = max(map(_shared, ids, ids[1:]), default=0)
    return min(width, max(_ID_MIN, shared + 2))  # the character that differs, and "…"


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def _shown(least: list[int], columns: Sequence[Column], width: int) -> list[int]:
    """Which columns are shown: optional ones go until the others have room to be of use."""
    shown = list(range(len(least)))
    optional = [index for index in shown if columns[index].optional]
    while optional and sum(least[i] for i in shown) + len(_GAP) * (len(shown) - 1) > width:
        shown.remove(optional.pop())
    return shown


def _narrowed(
    widths: list[int], least: list[int], columns: Sequence[Column], shown: list[int], width: int
) -> list[int]:
    """The widths with which a line fits: the widest columns are cut, to one width."""
    result = list(widths)
    room = width - len(_GAP) * (len(shown) - 1)
    if shown and columns[shown[-1]].fold:
        room -= sum(widths[index] for index in shown[:-1])
        result[shown[-1]] = max(_FOLDED_MIN, room)
        return result
    free = [i for i in shown if not (columns[i].right or columns[i].keep)]
    room -= sum(widths[i] for i in shown if i not in free)
    if sum(widths[i] for i in free) <= room:
        return result
    for i in [i for i in free if columns[i].ids]:
        free.remove(i)
        result[i] = least[i]
        room -= result[i]
    flexible = sorted((widths[i], i) for i in free)
    while flexible:
        share = max(1, room // len(flexible))
        widest, index = flexible.pop(0)  # the narrowest: if it fits, the others share the rest
        result[index] = min(widest, share)
        room -= result[index]
    return result


def _row_lines(row: list[tuple[tuple[str, str], int, Column]]) -> Iterator[list[Part]]:
    while row and not row[-1][0][0]:
        row.pop()
    line: list[Part] = []
    for number, ((text, style), width, column) in enumerate(row, 1):
        if number == len(row) and column.fold and width_of(text) > width:
            yield from _folded(line, text, style, width)
            return
        cell = shortened(text, width)
        padding = " " * (width - width_of(cell))
        cell = padding + cell if column.right else cell + padding
        line.append((cell + _GAP, style) if number < len(row) else (cell.rstrip(), style))
    yield line


def _folded(line: list[Part], text: str, style: str, width: int) -> Iterator[list[Part]]:
    """The line with a text of several lines at its end, the others below the first one."""
    import textwrap  # noqa: PLC0415 (only a narrow terminal needs it)

    margin = sum(width_of(part[0]) for part in line)
    # Wide characters take two columns; the library counts them as one.
    room = width if width_of(text) == len(text) else max(1, width // 2)
    for piece in textwrap.wrap(text, room, break_on_hyphens=False):
        yield [*line, (piece, style)]
        line = [" " * margin]


# -- colours and progress -------------------------------------------------------------------------


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _has_colours(stream: IO[str]) -> bool:
    """As no-color.org and force-color.org say; else a terminal has colours unless it is dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and not _is_dumb())


def _styled(text: str, style: str) -> str:
    return click.style(text, **_attributes(style)) if text and style else text


@functools.cache
def _attributes(style: str) -> dict[str, Any]:
    """A style in click's words: "bold white on red" is `{bold: True, fg: "white", bg: "red"}`."""
    front, _, back = style.partition(" on ")
    found: dict[str, Any] = {"bg": back} if back else {}
    for word in front.split():
        found |= {word: True} if word in ("bold", "dim") else {"fg": word}
    return found


def _console(stream: IO[str]) -> Console | None:
    """What writes styles; None where there are none."""
    if not _has_colours(stream):
        return None
    from rich.console import Console  # noqa: PLC0415 (costs 30 ms; a pipe does without)

    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        no_color=False,
        force_terminal=True,
        color_system="standard",  # all of our styles; the others look the same
    )


@contextlib.contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the block runs, if that is a terminal; call it with how far one is."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda completed: None
        return
    from rich import progress  # noqa: PLC0415 (only a terminal needs it)

    console = None if _is_dumb() else _console(sys.stderr)
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
def page_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """The same for something that is only known to be so large while it goes on: (done, of all)."""
    console = _console(sys.stderr) if sys.stderr is not None and sys.stderr.isatty() else None
    if console is None or _is_dumb():
        yield lambda done, total: None
        return
    from rich import progress  # noqa: PLC0415 (only a terminal needs it)

    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(visible(label), total=None)

    def tell(done: int, total: int) -> None:
        bar.start()  # at the first call: what fails at once shows none
        bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bar.stop()


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


# -- values -------------------------------------------------------------------------------------


def format_time(timestamp_ms: int, *, utc: bool, to_ms: bool = True) -> str:
    """A time to the millisecond, local, or UTC with a Z; `@<ms>` beyond what a calendar has.

    >>> format_time(1_700_000_000_123, utc=True)
    '2023-11-14 22:13:20.123Z'
    >>> format_time(1_700_000_000_123, utc=True, to_ms=False)
    '2023-11-14 22:13:20Z'
    """
    seconds, ms = divmod(timestamp_ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC if utc else None)
    except (ValueError, OverflowError, OSError):
        return f"@{timestamp_ms}"
    fraction = f".{ms:03}" if to_ms else ""
    return f"{moment.replace(tzinfo=None).isoformat(' ', 'seconds')}{fraction}{'Z' * utc}"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "record"), counted(12_000, "record"), counted(2, "entry", "entries")
    ('1 record', '12,000 records', '2 entries')
    """
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"

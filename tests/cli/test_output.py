"""Tables, widths and screens: nothing wraps on a terminal, nothing is cut on a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

import ax_monitor
from ax_monitor.cli._output import (
    Column,
    Part,
    cut,
    fit,
    shortened,
    table_lines,
    visible,
    width_of,
)
from tests.cli.corpus import STYLE
from tests.cli.helpers import (
    COMMAND,
    TIMEOUT_S,
    changed_environment,
    environment,
    run_here,
    run_on_terminal_here,
)

pytestmark = pytest.mark.timeout(60)

TEXTS = st.text(st.sampled_from("ab 日本👩é\u0301\u200d…\x1b█"), max_size=30)
COLUMNS = (
    Column("TIME", keep=True, optional=True),
    Column("ID", ids=True),
    Column("N", right=True),
    Column("NAME"),
    Column("WHY", optional=True),
)


def text_of(line: Sequence[Part]) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in line)


def texts(rows: list[list[Part]], width: int | None, **options: bool) -> list[str]:
    return [text_of(line) for line in table_lines(rows, COLUMNS, width=width, **options)]


@given(TEXTS, st.integers(0, 40))
def test_widths_are_those_of_a_terminal(text: str, width: int) -> None:
    """What is cut or padded takes exactly the columns that it should."""
    text = visible(text)
    assert width_of(text) >= cell_len(text)
    assert width_of(text) == cell_len(text) or "\u200d" in text
    assert width_of(fit(text, width)) == width
    short = shortened(text, width)
    assert width_of(short) <= width
    assert short == text or width == 0 or short.endswith("…")


@given(st.lists(st.tuples(TEXTS, st.just("red")) | TEXTS, max_size=6), st.integers(0, 60))
def test_a_line_that_is_cut_says_so(line: list[Part], width: int) -> None:
    """It keeps to the width; what is left is its beginning."""
    whole = visible(text_of(line))
    result = text_of(cut(line, width))
    assert cell_len(result) <= width
    assert result == whole or width == 0 or result.endswith("…")
    assert text_of(cut(line, None)) == whole


@given(
    st.lists(st.lists(TEXTS, min_size=5, max_size=5), min_size=1, max_size=5), st.integers(1, 100)
)
def test_no_table_is_wider_than_the_terminal(rows: list[list[Part]], width: int) -> None:
    """Whatever is in it; and on a pipe every text is there, whole."""
    for line in texts(rows, width, heading=True):
        assert cell_len(line) <= width
    for row, line in zip(rows, texts(rows, None), strict=True):
        for text in row:
            assert visible(text_of([text])).strip() in line


ROW: list[Part] = ["2026-01-31 08:00:00", "01a22457-b088-709e", "1,234", "a name", "b" * 30]
OTHER: list[Part] = ["2026-01-31 08:00:00", "01a22457-b088-709f", "5", "日本", ""]


def test_the_widest_texts_are_cut_and_others_left_out() -> None:
    """At first texts are cut, then optional columns go; ids stay apart, numbers whole."""
    assert texts([ROW, OTHER], None) == [
        f"2026-01-31 08:00:00  01a22457-b088-709e  1,234  a name  {'b' * 30}",
        "2026-01-31 08:00:00  01a22457-b088-709f      5  日本",
    ]
    assert texts([ROW, OTHER], 77, heading=True) == [
        "TIME                 ID                      N  NAME    WHY",
        "2026-01-31 08:00:00  01a22457-b088-709e  1,234  a name  bbbbbbbbbbbbbbbbbbbb…",
        "2026-01-31 08:00:00  01a22457-b088-709f      5  日本",
    ]
    assert texts([ROW, OTHER], 60) == [
        "2026-01-31 08:00:00  01a22457-b088-709e  1,234  a name",
        "2026-01-31 08:00:00  01a22457-b088-709f      5  日本",
    ]
    assert texts([ROW, OTHER], 34) == [
        "01a22457-b088-709e  1,234  a name",
        "01a22457-b088-709f      5  日本",
    ]
    assert texts([ROW], 25) == ["01a22457-b088…  1,234  a…"]
    assert texts([ROW], 9) == ["01a22457…"]


def test_sentences_go_on_below() -> None:
    """In the last column, under their beginning."""
    columns = (Column(keep=True), Column(fold=True))
    rows: list[list[Part]] = [["note", "one two three four five"], ["ok", "short"]]
    lines = [text_of(line) for line in table_lines(rows, columns, width=20)]
    assert lines == ["note  one two three", "      four five", "ok    short"]
    assert [text_of(line) for line in table_lines(rows, columns)] == [
        "note  one two three four five",
        "ok    short",
    ]


# -- every command on narrow terminals -------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with long names, many of them in wide characters."""
    db = str(tmp_path_factory.mktemp("wide") / "monitor.db")
    long = "とても長い名前 👩 " * 6
    with ax_monitor.open(db) as monitor:
        for n in range(3):
            with monitor.tracer.trace(f"run {n} {long}", long), monitor.tracer.span(long):
                monitor.logger.info("hello", long)
            with monitor.workflows.execution("w", long, long) as execution:
                with execution.step("s", long) as step:
                    step.set(tokens_used=1, cost=0.1, model=long)
                execution.fail(f"bad {long}")
            labels = {"host": f"{n} {long}"}
            monitor.metrics.record("m" * 60, 1234.5, labels=labels, unit="ms")
        over = {"operator": "gt", "threshold": 1, "window_ms": 3_600_000, "aggregation": "avg"}
        monitor.alerts.create_rule(long, long, "m" * 60, over, "critical", by=["host"])
        monitor.flush()
        monitor.alerts.evaluate_now()
        monitor.alerts.silence(duration_ms=60_000, comment=long, created_by=long)
    assert run_here("budgets", "set", long, "1", "--model", long, "--db", db).code == 0
    return db


TABLES = (
    ("traces", "list"),
    ("workflows",),
    ("metrics",),
    ("metrics", "m" * 60, "--by", "host"),
    ("metrics", "m" * 60, "--by", "host", "--format", "chart"),
    ("costs", "--by", "model"),
    ("costs", "--by", "model", "--format", "chart"),
    ("budgets", "list"),
    ("alerts", "list"),
    ("alerts", "rules"),
    ("alerts", "silences"),
    ("sql", "SELECT * FROM spans"),
    ("cleanup", "--dry-run"),
)


@pytest.mark.parametrize("columns", [80, 40, 7, 1])
def test_no_line_of_a_table_wraps(wide: str, columns: int) -> None:
    """Of any command, however narrow the terminal is."""
    for arguments in TABLES:
        code, shown = run_on_terminal_here(*arguments, "--db", wide, columns=columns, NO_COLOR="1")
        assert code == 0, shown
        # A chart needs a few columns; below that it is as narrow as it can be.
        limit = max(columns, 4) if "chart" in arguments else columns
        for line in shown.split("\n"):
            assert cell_len(line) <= limit, (arguments, line)


def test_forced_colours_are_styles_and_nothing_else(wide: str) -> None:
    """On a pipe: the same text, uncut and unwrapped, however narrow a terminal would be."""
    lists = [each for each in TABLES if each[0] in ("traces", "workflows", "budgets", "alerts")]
    for arguments in lists:
        plain = run_here(*arguments, "--db", wide).out
        with changed_environment({"FORCE_COLOR": "1", "COLUMNS": "20"}):
            forced = run_here(*arguments, "--db", wide).out
        assert STYLE.search(forced), arguments
        assert STYLE.sub("", forced) == plain, arguments


def test_ids_of_a_narrow_table_find_their_records(wide: str) -> None:
    """Also as they stand there, with the sign that something was cut."""
    shown = run_on_terminal_here("traces", "list", "--db", wide, columns=70, NO_COLOR="1")[1]
    ids = re.findall(r"\b[0-9a-f]{8,}…", shown)
    assert len(ids) == 3
    for each in ids:
        assert run_here("traces", "show", each, "--db", wide).code == 0


# -- a screen that is watched ----------------------------------------------------------------------


@dataclass
class Watched:
    """A process on a terminal of a size that can be changed."""

    process: subprocess.Popen[bytes]
    master: int
    parts: list[str]

    def read(self, until: str) -> str:
        """All that comes, up to and with a text that has to come."""
        deadline = time.monotonic() + TIMEOUT_S
        text = ""
        while not re.search(until, text, re.DOTALL):
            assert select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]
            text += os.read(self.master, 65_536).decode()
        while select.select([self.master], [], [], QUIET_S)[0]:
            text += os.read(self.master, 65_536).decode()
        self.parts.append(text)
        return text

    def resize(self, lines: int, columns: int) -> None:
        resize(self.master, lines, columns)

    def end(self) -> str:
        """All that has been shown, when it has ended."""
        deadline = time.monotonic() + TIMEOUT_S
        while select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                part = os.read(self.master, 65_536)
            except OSError:
                break
            if not part:
                break
            self.parts.append(part.decode())
        return "".join(self.parts)


def resize(terminal: int, lines: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextlib.contextmanager
def on_terminal(*command: str, lines: int, columns: int) -> Iterator[Watched]:
    master, slave = pty.openpty()
    resize(slave, lines, columns)
    # In a session of its own, whose terminal this is: signals come from it.
    takes_terminal = "import fcntl, os, sys, termios; os.setsid(); "
    takes_terminal += "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", takes_terminal, *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(TERM="xterm-256color"),
    )
    os.close(slave)
    try:
        yield Watched(process, master, [])
    finally:
        process.kill()
        process.wait()
        os.close(master)


QUIET_S = 0.3  # without a byte: a frame is complete
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def frame(text: str) -> list[str]:
    """The last report that was painted."""
    return CONTROL.sub("", text.rpartition("\x1b[H")[2]).split("\r\n")


def assert_terminal_is_clean(shown: str) -> None:
    """The first screen is back, the cursor is visible, no style is left on."""
    assert shown.count("\x1b[?1049h") == shown.count("\x1b[?1049l") == 1
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    styles = re.findall(r"\x1b\[[0-9;]*m", shown)
    assert styles == [] or styles[-1] == "\x1b[0m"


def test_a_watched_status_follows_the_size_of_the_terminal(db: str) -> None:
    """It is painted anew at once, at any interval, without clearing; Ctrl-C leaves all clean."""
    ax_monitor.Store(db).close()
    watch = (*COMMAND, "status", "--watch", "--interval", "3600", "--db", db)
    with on_terminal(*watch, lines=24, columns=100) as watched:
        first = frame(watched.read("providers"))
        assert len(first) == 24
        watched.resize(30, 60)
        assert max(map(len, frame(watched.read(r"\x1b\[H.*providers")))) == 60
        watched.resize(6, 120)
        small = frame(watched.read(r"\x1b\[H.*log errors"))
        assert (len(small), len(small[0])) == (6, 120)
        os.write(watched.master, b"\x03")
        shown = watched.end()
        assert watched.process.wait(TIMEOUT_S) == 130
    assert "\x1b[2J" not in shown  # nothing is cleared, and so nothing flickers
    assert "Traceback" not in shown
    assert_terminal_is_clean(shown)


FAILING = """
import sys
from ax_monitor.cli._output import Printer
with Printer().repainting() as screen:
    screen.show(lambda width: [[("a report", "red")]])
    screen.wait(0.01)
    raise OSError("broken")
"""


def test_a_screen_is_clean_after_an_error() -> None:
    """What went wrong is said on the first screen, after the other one has gone."""
    with on_terminal(sys.executable, "-c", FAILING, lines=24, columns=80) as watched:
        shown = watched.end()
        assert watched.process.wait(TIMEOUT_S) == 1
    assert_terminal_is_clean(shown)
    normal_screen = shown.partition("\x1b[?1049l")[2]
    assert "OSError: broken" in CONTROL.sub("", normal_screen)  # Python 3.13 colours it


def test_a_report_is_one_write(tmp_path: Path) -> None:
    """A terminal never shows half of it."""

    class Terminal:
        def __init__(self) -> None:
            self.writes: list[str] = []

        def write(self, text: str) -> int:
            self.writes.append(text)
            return len(text)

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            raise OSError

    from ax_monitor.cli._output import Printer

    terminal = Terminal()
    with (
        contextlib.redirect_stdout(terminal),  # type: ignore[type-var]
        Printer().repainting() as screen,
    ):
        for number in range(3):
            terminal.writes.clear()
            screen.show(lambda width, n=number: [[(f"report {n}", "red")], ["x" * 500]] * 20)
            assert len(terminal.writes) == 1
            assert f"report {number}" in terminal.writes[0]


def test_following_the_logs_moves_nothing_on_the_screen(db: str) -> None:
    """Lines come below each other; Ctrl-C and SIGTERM leave the terminal as it was."""
    with ax_monitor.Store(db) as store:
        ax_monitor.StructuredLogger(store).error("hello", "test")
    follow = (*COMMAND, "logs", "--follow", "--db", db)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)):
        with on_terminal(*follow, lines=24, columns=40) as watched:
            watched.read("hello")
            watched.process.send_signal(number)
            shown = watched.end()
            assert watched.process.wait(TIMEOUT_S) == code
        assert set(CONTROL.findall(shown)) == set(re.findall(r"\x1b\[[0-9;]*m", shown))
        assert re.findall(r"\x1b\[[0-9;]*m", shown)[-1] == "\x1b[0m"

"""Stored text on a terminal: nothing of it acts, nothing of it is lost."""

from __future__ import annotations

import json
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ax_monitor
from ax_monitor.cli._output import json_line, visible, visible_lines
from tests.cli.corpus import BIDI_AND_INVISIBLE, CORPUS, ESC, MARKUP, STYLE, dangerous
from tests.cli.helpers import run, run_on_terminal

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with every text of the corpus in every place where a text can be."""
    db = str(tmp_path_factory.mktemp("hostile") / "monitor.db")
    with ax_monitor.Store(db, redact=None) as store:
        logger = ax_monitor.StructuredLogger(store)
        for text in [*CORPUS, MARKUP]:
            logger.error(
                f"m{text}m",
                f"s{text}s",
                execution_id=f"e{text}e",
                trace_id=f"t{text}t",
                span_id=f"p{text}p",
                tenant_id=f"n{text}n",
                user_id=f"u{text}u",
                metadata={f"k{text}k": f"v{text}v", "nested": {f"k{text}k": [f"v{text}v"]}},
                stack_trace=f"st{text}st",
            )
        assert store.flush()
    return db


OPTIONS = ("logs", "--limit", "all", "--ids", "--stack", "--utc", "--db")


def test_z1_nothing_stored_reaches_a_terminal_raw(hostile: str) -> None:
    """On a coloured terminal the only control sequences are our own styles."""
    code, shown = run_on_terminal(*OPTIONS, hostile)
    assert code == 0
    assert dangerous(STYLE.sub("", shown).replace("\n", "")) == []
    # The same styles as for a harmless entry: none came from a stored text.
    harmless = run_on_terminal("logs", "--db", hostile, "--literal", "smile", "--ids", "--stack")[1]
    assert set(STYLE.findall(shown)) == set(STYLE.findall(harmless))
    for escape in (r"\x1b[31mred\x1b[0m", r"\x1b]0;title\x07", r"abc\u202ecba", r"\x9b31mC1\x9c"):
        assert f"m{escape}m" in shown
        assert f"s{escape}s" in shown
        assert f"st{escape}st" in shown


def test_z1_without_colours_there_is_no_control_sequence_at_all(hostile: str) -> None:
    """NO_COLOR and TERM=dumb leave plain text, with the same escapes."""
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, shown = run_on_terminal(*OPTIONS, hostile, **env)
        assert code == 0
        assert dangerous(shown.replace("\n", "")) == []


def test_z1_nothing_stored_reaches_a_pipe_raw(hostile: str) -> None:
    """A pipe may end in a terminal: the same escapes."""
    result = run(*OPTIONS, hostile, TERM="xterm-256color")
    assert result.code == 0
    assert dangerous(result.out.replace("\n", "")) == []
    forced = run(*OPTIONS, hostile, FORCE_COLOR="1")
    assert STYLE.sub("", forced.out) == result.out


def test_z1_json_is_harmless_and_exact(hostile: str) -> None:
    """--json escapes the same characters as JSON does, on a terminal too, and loses none."""
    _, on_terminal = run_on_terminal("logs", "--json", "--limit", "all", "--db", hostile)
    on_pipe = run("logs", "--json", "--limit", "all", "--db", hostile).out
    assert on_terminal == on_pipe
    assert dangerous(on_pipe.replace("\n", "")) == []
    found = [json.loads(line) for line in on_pipe.splitlines()]
    for entry, text in zip(found, [*CORPUS, MARKUP], strict=True):
        assert entry["message"] == f"m{text}m"
        assert entry["source"] == f"s{text}s"
        assert entry["stack_trace"] == f"st{text}st"
        assert entry["metadata"][f"k{text}k"] == f"v{text}v"


def test_z2_markup_is_shown_as_it_is(hostile: str) -> None:
    """What rich would take for markup is text like any other."""
    shown = STYLE.sub("", run_on_terminal("logs", "--db", hostile, "--literal", "smile")[1])
    assert f"m{MARKUP}m" in shown
    assert f"s{MARKUP}s" in shown


def test_z3_one_record_is_one_line(hostile: str) -> None:
    """Whatever line ends a text holds, by any program's rules, an entry stays on its line."""
    out = run("logs", "--limit", "all", "--db", hostile).out
    lines = out.splitlines()  # splits at eleven kinds of line end
    assert len(lines) == len(CORPUS) + 1
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ERROR s", line) for line in lines)
    assert len(run("logs", "--json", "--limit", "all", "--db", hostile).out.splitlines()) == len(
        lines
    )


def test_colours_on_a_terminal_or_where_they_are_forced(hostile: str) -> None:
    """A terminal gets styles, a pipe none; FORCE_COLOR and NO_COLOR change that, empty ones not."""
    logs = ("logs", "--db", hostile)
    assert STYLE.search(run_on_terminal(*logs, NO_COLOR="")[1])
    assert STYLE.search(run_on_terminal(*logs, FORCE_COLOR="1", TERM="dumb")[1])
    assert ESC not in run(*logs, FORCE_COLOR="").out
    assert STYLE.search(run(*logs, FORCE_COLOR="0").out)  # its value means nothing
    assert ESC not in run(*logs, FORCE_COLOR="1", NO_COLOR="1").out
    assert ESC not in run_on_terminal(*logs, FORCE_COLOR="1", NO_COLOR="1")[1]


def test_long_texts_are_cut_on_a_terminal_only(db: str) -> None:
    """A message that would fill the screen is cut and marked there; a pipe gets all of it."""
    message = "x" * 50_000 + "end"
    with ax_monitor.Store(db) as store:
        ax_monitor.StructuredLogger(store).info(message, "test")
    assert message in run("logs", "--db", db).out
    shown = run_on_terminal("logs", "--db", db)[1]
    assert "46,003 characters more" in shown
    assert "end" not in shown


def test_error_messages_are_harmless() -> None:
    """What the user typed shows escaped in an error, on a terminal too."""
    for arguments in (
        (f"{ESC}[31m",),
        ("logs", "--db", f"{ESC}]0;x\x07"),
        ("logs", "--since", ESC),
    ):
        code, shown = run_on_terminal(*arguments)
        assert code != 0
        assert dangerous(shown.replace("\n", "")) == []


def test_every_character_there_is() -> None:
    """Of all code points no control, direction, invisible or separating one passes `visible`."""
    passed = {chr(code) for code in range(sys.maxunicode + 1) if visible(chr(code)) == chr(code)}
    # Visible although of category Cf: signs that Arabic, Syriac and other scripts write.
    for char in passed:
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
            pytest.fail(f"{char!r} passes")
        assert unicodedata.bidirectional(char) not in (
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        )
    assert set("aä日👩 \u200d") <= passed
    assert not passed & set(BIDI_AND_INVISIBLE)


@given(st.text(st.characters()))
def test_json_line_says_the_same(text: str) -> None:
    """JSON with the extra escapes reads back as the same text, and holds nothing that acts."""
    line = json_line({text: text})
    assert json.loads(line) == {text: text}
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", line)


@given(st.text(st.characters()))
def test_visible_is_one_line(text: str) -> None:
    """`visible` never gives a second line, and is the same when applied twice."""
    assert len(visible(text).splitlines()) <= 1
    assert visible(visible(text)) == visible(text)
    assert visible_lines(text).count("\n") == text.count("\n")

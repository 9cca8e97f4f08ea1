"""The search language against FTS5 itself: the same where FTS5 has it, errors with a place."""

from __future__ import annotations

import itertools
import sqlite3

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor import LogQueryError, SearchSyntaxError, search_text
from ax_monitor.storage.search import MAX_PHRASES, compile_search
from tests.log_helpers import tokens_of

MESSAGES = (
    "Connection timeout after 30 s",
    "rate limit reached",
    "limit of the rate",
    "connect a b host 20.04",
    "the b a of c",
    "error: disk full (sda-1)",
    "a b c d e f g h i j k l m n o p",
    "user@example.com logged in",
    "Ärger mit Überlauf",
    "c",
    "a",
    "NEAR NOT AND OR",
)


@pytest.fixture(scope="module")
def index() -> apsw.Connection:
    """An FTS5 table of its own, as the store's is configured."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(message, columnsize=0)")
    connection.executemany("INSERT INTO f(message) VALUES (?)", [(text,) for text in MESSAGES])
    return connection


def find(index: apsw.Connection, fts5_text: str) -> list[int]:
    return [
        row[0]
        for row in index.execute("SELECT rowid FROM f WHERE f MATCH ? ORDER BY rowid", (fts5_text,))
    ]


def search(index: apsw.Connection, text: str) -> list[str]:
    return [MESSAGES[rowid - 1] for rowid in find(index, compile_search(text))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('timeout OR "rate limit"', [0, 1]),
        ("TIMEOUT", [0]),
        ("conn*", [0, 3]),
        ("rate limit", [1, 2]),
        ('"rate limit"', [1]),
        ("rate + limit", [1]),
        ("limit -reached", [2]),
        ("limit NOT reached", [2]),
        ("limit AND rate NOT reached", [2]),
        ("NEAR(rate limit)", [1, 2]),
        ("NEAR(rate limit, 0)", [1]),
        ("NEAR(limit rate, 1)", [1]),
        ("NEAR(limit rate, 2)", [1, 2]),
        ("^rate", [1]),
        ("^limit", [2]),
        ("^ra*", [1]),
        ("(timeout OR full) AND (disk OR 30)", [0, 5]),
        ("message:timeout", [0]),
        ("arger", [8]),
        ("ÜBERLAUF", [8]),
        ('"NOT"', [11]),
        ("near and", [11]),
        ("a -(b OR c)", [10]),
        ("rate -reached -nothing", [2]),
    ],
)
def test_each_form_finds_what_it_says(index: apsw.Connection, text: str, found: list[int]) -> None:
    """Words, phrases, operators, exclusion, prefix, NEAR, ^, parentheses mean what is written."""
    assert search(index, text) == [MESSAGES[i] for i in found]


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("a OR b AND c", "a OR (b AND c)"),
        ("a AND b OR c", "(a AND b) OR c"),
        ("a OR b c", "a OR (b AND c)"),
        ("c OR a NOT b", "c OR (a NOT b)"),
        ("a AND b NOT c", "a AND (b NOT c)"),
        ("a NOT b c", "a NOT (b AND c)"),
        ("a NOT b NOT c", "(a NOT b) NOT c"),
        ("a -b c", "(a AND c) NOT b"),
        ("c OR a -b", "c OR (a NOT b)"),
        ("-b a", "a NOT b"),
    ],
)
def test_precedence_is_that_of_fts5(index: apsw.Connection, text: str, same_as: str) -> None:
    """NOT binds tighter than AND, AND than OR, and words side by side tightest of all."""
    assert find(index, compile_search(text)) == find(index, same_as)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("   ", 3),
        ("AND", 0),
        ("a AND", 5),
        ("a OR ", 4),
        ("OR a", 0),
        ("a AND OR b", 6),
        ("NOT a", 0),
        ("-a", 0),
        ("-a -b", 0),
        ('say "hello', 4),
        ("(a", 0),
        ("a (b OR (c)", 2),
        ("a)", 1),
        ("()", 1),
        ("*", 0),
        ("a **", 3),
        ("@", 0),
        ("a ???", 2),
        ("'", 0),
        ("a + ", 3),
        ("a + AND", 4),
        ("^", 1),
        ("NEAR()", 5),
        ("NEAR(a b", 0),
        ("NEAR(a, x)", 8),
        ("NEAR(a, -1)", 8),
        ("NEAR(a (b))", 0),
        ("NEAR(a ^b)", 7),
        ('a "!!"', 2),
        ("a,b", 1),
    ],
)
def test_b9_mistakes_are_reported_with_their_place(text: str, position: int) -> None:
    """Bad syntax is a SearchSyntaxError that carries the text and points at the fault."""
    with pytest.raises(SearchSyntaxError) as caught:
        compile_search(text)
    assert (caught.value.text, caught.value.position) == (text, position)
    assert isinstance(caught.value, (LogQueryError, ValueError))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("20.04", [3]),
        ("sda-1", [5]),
        ("user@example.com", [7]),
        ("error:", [5]),
        ("'timeout'", [0]),
        ("full(sda-1)", [5]),
        ("--timeout", [0]),
        ('""', []),
    ],
)
def test_b9_user_text_with_punctuation_means_the_phrase_of_its_words(
    index: apsw.Connection, text: str, found: list[int]
) -> None:
    """What a user pastes from a log line finds that line, without an error."""
    assert search(index, text) == [MESSAGES[i] for i in found]


@pytest.mark.parametrize(
    "level",
    ["(", "zz -(", "a OR b AND c NOT x -(", "a OR b AND c NOT x (", "a b -(", "NEAR(a b) OR ("],
)
def test_b9_nesting_is_refused_before_the_parser_of_fts5_gives_up(
    index: apsw.Connection, level: str
) -> None:
    """However parentheses are nested, the deepest search accepted runs; the next is an error."""
    accepted = 0
    for depth in range(1, 100):
        try:
            compiled = compile_search(level * depth + "NEAR(timeout 30, 9)" + ")" * depth)
        except SearchSyntaxError as error:
            assert "nested too deeply" in error.reason
            break
        find(index, compiled)
        accepted = depth
    assert 7 <= accepted < 90


def test_b9_length_is_bounded(index: apsw.Connection) -> None:
    """The longest searches allowed run, whatever joins their parts; longer ones are errors."""
    for joint in (" OR timeout", " NOT zz", " AND timeout", " -zz", " timeout"):
        text = "timeout" + joint * (MAX_PHRASES - 1)
        assert search(index, text) == [MESSAGES[0]]
        with pytest.raises(SearchSyntaxError, match="more than 256 parts"):
            compile_search(text + joint)
    assert search(index, "NEAR(" + "timeout " * MAX_PHRASES + ")") == [MESSAGES[0]]
    for text in ("(" * 100_000, "-(" * 50_000 + "a"):
        with pytest.raises(SearchSyntaxError):
            compile_search(text)


FTS5_PARTS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "rate",
        "limit",
        "lim",
        '"rate limit"',
        '"a b"',
        '""',
        "AND",
        "OR",
        "NOT",
        "NEAR",
        "(",
        ")",
        "(",
        ")",
        "+",
        "*",
        "^",
        ",",
        "3",
        "0",
        "NEAR(",
        "message",
        "near",
    ]
)


@given(st.lists(FTS5_PARTS, min_size=1, max_size=9).map(" ".join))
@example('a "" b')
@example("a NOT b OR c")
def test_b9_where_fts5_accepts_a_search_the_result_is_the_same(
    index: apsw.Connection, text: str
) -> None:
    """A search that FTS5 itself takes is either refused with a place or means the same here."""
    try:
        expected: list[int] | None = find(index, text)
    except apsw.SQLError:
        expected = None
    try:
        found = find(index, compile_search(text))
    except SearchSyntaxError as error:
        assert 0 <= error.position <= len(text)
        return
    if expected is not None and '""' not in text:
        assert found == expected


@given(
    st.text(st.sampled_from("ab \"()+*^,-:.'{}@\0é🙂\ud800ANDORT\n"), max_size=30)
    | st.text(max_size=60)
)
@example("a\0b")
@example('"\0"')
@example("🙂")
@example("𞤀 a")
@example("a \U000e0001")
def test_b9_any_text_is_a_search_or_a_syntax_error(index: apsw.Connection, text: str) -> None:
    """Nothing else is ever raised, and what is accepted runs in FTS5."""
    try:
        compiled = compile_search(text)
    except SearchSyntaxError as error:
        assert error.text == text
        assert 0 <= error.position <= len(text)
        assert str(error)
        return
    find(index, compiled)


@given(st.text(max_size=40) | st.text(st.sampled_from("ab \"-*()'\0é🙂𞤀\ue001"), max_size=20))
@example("🤖")
@example("deploy 🤖 done")
@example("a \U0001e900")
@example('say ""')
@example("NOT OR")
def test_b9_search_text_finds_the_text_that_it_is_made_of(text: str) -> None:
    """`search_text(text)` is always valid, and finds a message that is that very text."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(message)")
    stored = text.encode("utf-8", "backslashreplace").decode()
    connection.execute("INSERT INTO f(message) VALUES (?)", (stored,))
    assert find(connection, compile_search(search_text(text))) == [1][: len(tokens_of(text))]


def test_b2_nul_in_a_search_separates_words(index: apsw.Connection) -> None:
    """A NUL in a search is a separator, as it is in a message, and what follows still counts."""
    assert search(index, "rate\0limit") == ["rate limit reached"]
    assert search(index, '"rate\0reached"') == []


def test_a_word_is_whatever_the_index_takes_for_one(index: apsw.Connection) -> None:
    """Every character alone: searchable exactly if FTS5 makes a token of it, else an error."""
    wrong = []
    ranges = (
        range(0x3000),
        range(0xD800, 0xE010),
        range(0xF8F0, 0x10000),
        range(0x1E800, 0x1FA00, 3),
    )
    for code in itertools.chain(*ranges):
        char = chr(code)
        if char in '()+*^,"' or char.isspace():
            continue
        try:
            compile_search(char)
            accepted = True
        except SearchSyntaxError:
            accepted = False
        if accepted != bool(tokens_of(char)):
            wrong.append(f"{code:x}")
    assert wrong == []


def test_the_library_that_python_brings_reads_compiled_searches(tmp_path: object) -> None:
    """A compiled search is plain FTS5: the standard library's SQLite takes it too."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(message)")
    connection.execute("INSERT INTO f VALUES ('a b c')")
    compiled = compile_search('(a -z OR "b c"*) NOT (NEAR(c a, 1) OR ^x + y)')
    assert connection.execute("SELECT count(*) FROM f WHERE f MATCH ?", (compiled,)).fetchone()
    connection.close()

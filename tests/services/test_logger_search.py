"""Full-text search through the logger, against plain oracles: real log lines and arbitrary text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ax_monitor
from ax_monitor import SearchSyntaxError, StructuredLogger, search_text
from tests.conftest import DATA
from tests.log_helpers import Group, Near, Phrase, ascii_tokens, tokens_of

FILES = ("Apache", "HDFS", "Hadoop", "OpenStack", "Zookeeper")
_runs = count()


@cache
def lines_of(name: str) -> tuple[str, ...]:
    """The log lines of one file, in order; the few that are not ASCII left out."""
    text = (DATA / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    return tuple(line for line in text.splitlines() if line.strip() and line.isascii())


@cache
def lines() -> tuple[str, ...]:
    """Those of all files."""
    return tuple(line for name in FILES for line in lines_of(name))


@cache
def tokens_of_file(name: str) -> tuple[list[str], ...]:
    return tuple(ascii_tokens(line) for line in lines_of(name))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StructuredLogger]:
    """A logger whose database holds all the lines, in their order, each file as a source."""
    folder: Path = tmp_path_factory.mktemp("search")
    with ax_monitor.Store(folder / "monitor.db") as store:
        logger = StructuredLogger(store)
        for name in FILES:
            for line in lines_of(name):
                logger.info(line, name)
        assert logger.get_log_count() == len(lines()) > 9000
        yield logger


def search(logger: StructuredLogger, text: str, source: str | None = None) -> list[str]:
    page = logger.query_logs(search=text, source=source, order="asc", limit=None)
    return [entry.message for entry in page]


def expect(tree: Phrase | Near | Group, names: tuple[str, ...] = FILES) -> list[str]:
    return [
        line
        for name in names
        for line, tokens in zip(lines_of(name), tokens_of_file(name), strict=True)
        if tree.matches(tokens)
    ]


WORDS = (
    "error",
    "ERROR",
    "info",
    "block",
    "state",
    "connection",
    "request",
    "terminating",
    "mod",
    "jk",
    "20",
    "10",
    "receiving",
    "server",
    "closing",
    "worker",
    "notice",
    "Send",
    "blk",
    "the",
    "dfs",
    "http",
    "get",
    "status",
    "200",
    "nova",
    "container",
    "2181",
    "nonexistent",
)
words = st.sampled_from(WORDS)
phrases = st.one_of(
    words.map(lambda word: Phrase((word,))),
    st.tuples(words, st.integers(1, 4)).map(lambda t: Phrase((t[0][: t[1]],), prefix=True)),
    st.sampled_from(
        [
            ("error", "state"),
            ("in", "error", "state"),
            ("Receiving", "block"),
            ("time", "out"),
            ("status", "200"),
            ("10", "251"),
            ("Connection", "request"),
            ("state", "error"),
        ]
    ).flatmap(lambda some: st.builds(Phrase, st.just(some), joined=st.booleans())),
    st.sampled_from(["sun", "2015", "nova", "081109", "mod"]).map(
        lambda word: Phrase((word,), initial=True)
    ),
    st.just(Phrase(("received", "blo"), prefix=True)),
)
nears = st.builds(
    Near,
    st.lists(phrases.filter(lambda phrase: not phrase.initial), min_size=2, max_size=3).map(tuple),
    st.none() | st.integers(0, 12),
)
trees = st.recursive(
    st.one_of(phrases, phrases, nears),
    lambda inner: st.one_of(
        st.builds(
            Group,
            st.sampled_from(["AND", "OR", "NOT"]),
            st.lists(inner, min_size=2, max_size=3).map(tuple),
        ),
        st.builds(
            Group,
            st.just(""),
            st.lists(inner, min_size=1, max_size=3).map(tuple),
            st.lists(inner, max_size=2).map(tuple),
        ),
    ),
    max_leaves=6,
)


@given(trees, st.sampled_from(FILES))
@settings(max_examples=settings.default.max_examples)
@example(Phrase(("error",)), "Apache")
@example(Near((Phrase(("error",)), Phrase(("state",))), 0), "Apache")
def test_search_finds_exactly_the_real_lines_that_a_token_model_finds(
    real: StructuredLogger, tree: Phrase | Near | Group, file: str
) -> None:
    """Words, phrases, prefixes, NEAR, ^, AND, OR, NOT and -word on real lines, in any nesting."""
    assert search(real, tree.text(), file) == expect(tree, (file,))


@pytest.mark.parametrize(
    "part",
    [
        "workerEnv",
        "mod_jk",
        "blk_38865049064139660",
        "10.251.73.220:50010",
        "FastLeaderElection@774",
        "Notification time out: 3200",
        "workers2.properties",
        "keyId: -127633188",
        "no such text",
    ],
)
def test_search_text_of_a_part_of_a_line_finds_the_lines_that_contain_it(
    real: StructuredLogger, part: str
) -> None:
    """A part copied from a line finds every line with that part, as a substring search does."""
    bounded = re.compile(rf"(?<![A-Za-z0-9]){re.escape(part)}(?![A-Za-z0-9])", re.IGNORECASE)
    containing = {line for line in lines() if bounded.search(line)}
    assert containing <= set(search(real, search_text(part)))
    phrase = Phrase((part,)) if " " not in part else Phrase(tuple(part.split()))
    found = search(real, '"' + part + '"')
    assert containing <= set(found)
    assert found == expect(phrase)


@given(st.data())
@settings(max_examples=settings.default.max_examples * 4 // 10)
def test_any_piece_of_a_real_line_finds_that_line(
    real: StructuredLogger, data: st.DataObject
) -> None:
    """A piece of a line, cut between words, finds the line: as a phrase, and as free text."""
    line = data.draw(st.sampled_from(lines()))
    pieces = re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9]+", line)
    start = data.draw(st.integers(0, len(pieces) - 1))
    piece = "".join(pieces[start : data.draw(st.integers(start + 1, len(pieces)))])
    if not ascii_tokens(piece):
        return
    assert line in search(real, search_text(piece))
    assert line in search(real, '"' + piece.replace('"', '""') + '"')


def test_newest_lines_come_first_and_pages_join(real: StructuredLogger) -> None:
    """The pages of a search, by cursor or by offset, are the whole result, newest first."""
    expected = list(reversed(expect(Phrase(("error",)))))
    by_cursor: list[str] = []
    page = real.query_logs(search="error", limit=100)
    while True:
        by_cursor += [entry.message for entry in page]
        if page.next_cursor is None:
            break
        page = real.query_logs(search="error", limit=100, cursor=page.next_cursor)
    by_offset = [
        entry.message
        for offset in range(0, len(expected), 250)
        for entry in real.query_logs(search="error", limit=250, offset=offset)
    ]
    assert by_cursor == by_offset == expected


# -- arbitrary text ---


@pytest.fixture(scope="module")
def logger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StructuredLogger]:
    with ax_monitor.Store(tmp_path_factory.mktemp("any") / "monitor.db", redact=None) as store:
        yield StructuredLogger(store)


def stored(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


alphabet = st.one_of(
    st.characters(exclude_categories=()),
    st.sampled_from("ab \0\ud800\udfff🙂🤖👩‍👩‍👧אבגعربي\u202e\u0301é\"'-*()\n\t\ue000𞤀"),
)
texts = st.one_of(
    st.text(alphabet, max_size=30),
    st.lists(
        st.sampled_from(["foo", "BAR", "é", "שלום", "a\0b", "🤖", "x\ud800y"]), max_size=6
    ).map(" ".join),
)


@given(st.lists(texts, min_size=1, max_size=6), st.data())
@example(["a\0b", "a b", "b"], None)
def test_b2_arbitrary_text_round_trips_and_is_found_by_its_words(
    logger: StructuredLogger, messages: list[str], data: st.DataObject | None
) -> None:
    """NUL, surrogates, emoji, right-to-left: stored as documented, found by every word."""
    run = f"run-{next(_runs)}"
    for message in messages:
        logger.info(message, "test", execution_id=run)
    assert [entry.message for entry in logger.get_execution_logs(run)] == list(
        map(stored, messages)
    )
    words = sorted({token for message in messages for token in tokens_of(message)}, key=len)[:4]
    searches = [Phrase((word,)) for word in words]
    searches += [Phrase((word[:2],), prefix=True) for word in words[:2]]
    for tree in searches:
        found = logger.query_logs(search=tree.text(), execution_id=run, order="asc")
        expected = [stored(m) for m in messages if tree.matches(tokens_of(m))]
        assert [entry.message for entry in found] == expected
    if data is not None:
        message = data.draw(st.sampled_from(messages))
        found = logger.query_logs(search=search_text(message), execution_id=run)
        assert (stored(message) in [entry.message for entry in found]) == bool(tokens_of(message))


def test_b2_words_on_both_sides_of_a_nul_are_found(logger: StructuredLogger) -> None:
    """A NUL inside a message hides neither what stands before it nor what stands behind."""
    logger.info("before\0behind", "nul")
    for text in ("before", "behind", "before behind", "before\0behind", '"before\0behind"', "beh*"):
        assert [e.message for e in logger.query_logs(search=text, source="nul")] == [
            "before\0behind"
        ]
    assert logger.query_logs(search="bef behind", source="nul") == []


@given(
    st.text(max_size=40)
    | st.text(st.sampled_from("ab \"()+*^,-:'{}@\0🙂\ud800ANDORT"), max_size=25)
)
@example("a-b")
@example("@x")
@example("20.04")
@example("'")
@example('""')
@example("*")
@example("(" * 500)
@example("'; DROP TABLE logs; --")
@example("a NOT")
@example("message : a")
@example("{message} : a")
@example("- message : a")
@example("rowid")
def test_b9_user_text_as_a_search_gives_results_or_a_syntax_error(
    logger: StructuredLogger, text: str
) -> None:
    """Whatever is typed into the search: a page of results, or an error that shows where."""
    try:
        page = logger.query_logs(search=text, limit=3)
    except SearchSyntaxError as error:
        assert error.text == text
        assert 0 <= error.position <= len(text)
        return
    assert all(entry.message for entry in page)


def test_b9_column_filters_search_the_message(logger: StructuredLogger) -> None:
    """A column filter as FTS5 has it names the only column there is, and excludes nothing."""
    logger.info("alpha beta", "columns")
    logger.info("message alpha", "columns")

    def found(text: str) -> list[str]:
        return [e.message for e in logger.query_logs(search=text, source="columns", order="asc")]

    both = ["alpha beta", "message alpha"]
    assert found("message:alpha") == found("message: alpha") == both
    assert found('message:"alpha beta"') == found("message:(alpha beta)") == ["alpha beta"]
    assert found("message") == found("message alpha") == ["message alpha"]


def test_a_word_longer_than_the_index_keeps_is_found(logger: StructuredLogger) -> None:
    """Of a word of 70,000 letters the first 32,768 count, in the message and in the search."""
    logger.info("z" * 70_000 + " end", "word")
    for text in ("z" * 70_000, "z" * 40_000, "zzz*", search_text("z" * 50_000 + " end")):
        assert len(logger.query_logs(search=text, source="word")) == 1
    assert logger.query_logs(search="z" * 30_000, source="word") == []


def test_searches_of_very_long_messages_see_all_that_is_stored(logger: StructuredLogger) -> None:
    """The first and the last word of a message of 256 KiB are both found."""
    logger.info("first " + "x " * 131_000 + "last", "long")
    for text in ("first", "last", "first last", "^first", "NEAR(first last, 200000)"):
        assert len(logger.query_logs(search=text, source="long")) == 1
    assert logger.query_logs(search="NEAR(first last, 130999)", source="long") == []
    assert len(logger.query_logs(search="NEAR(first last, 131000)", source="long")) == 1

"""The search language: what users write in `search`, checked and turned into FTS5's.

It is FTS5's query syntax (https://www.sqlite.org/fts5.html#full_text_query_syntax) and a little
more: `-word` excludes, as search boxes have it, and a word with punctuation inside (`a-b`, `20.04`,
`user@host`) means the phrase of its parts. The one column may be named (`message:word`). Everything
is parsed here, so that a mistake is reported with its place, and no user text ever reaches FTS5
unquoted.

    search  = all { "OR" all }
    all     = without { "AND" without }
    without = group { "NOT" group }
    group   = item { item }               juxtaposed: all of them, except those with a "-"
    item    = [ "-" ] ( phrase | near | "(" search ")" )
    phrase  = [ "^" ] string { "+" string } [ "*" ]
    near    = "NEAR" "(" phrase { phrase } [ "," number ] ")"     without "^"
    string  = word | '"' text '"'         a quote inside is doubled
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import apsw

from ax_monitor.errors import SearchSyntaxError

# FTS5's parser has a stack of 100 entries (YYSTACKDEPTH): 7 to 28 nested parentheses, depending on
# what stands before them. The rest is for the innermost phrase.
MAX_STACK = 88
MAX_PHRASES = 256  # and the depth of its expression tree is limited to this

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"]|"")*")
    | (?P<open_quote>")
    | (?P<symbol>[()+*,^])
    | (?P<minus>-(?=[^\s)-]))
    | (?P<word>[^\s"()+*,^]+)
    )""",
    re.VERBOSE,
)
_OPERATORS = ("AND", "OR", "NOT")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # string, symbol, minus, word, end
    text: str
    position: int


def _tokenize(search: str) -> list[_Token]:
    tokens = []
    position = 0
    while match := _TOKEN.match(search, position):
        kind = match.lastgroup or ""
        start = match.start(kind)
        if kind == "open_quote":
            raise SearchSyntaxError("a quote is opened but not closed", search, start)
        tokens.append(_Token(kind, match[kind], start))
        position = match.end()
    tokens.append(_Token("end", "", len(search.rstrip()) if tokens else len(search)))
    return tokens


class _Parser:
    """Recursive descent over the tokens; every method returns FTS5 text."""

    def __init__(self, search: str) -> None:
        self.search = search
        self.tokens = _tokenize(search)
        self.index = 0
        self.phrases = 0
        self.stack = 0  # entries that FTS5's parser has on its stack here, at most

    @property
    def next(self) -> _Token:
        return self.tokens[self.index]

    def fail(self, reason: str, token: _Token | None = None) -> SearchSyntaxError:
        return SearchSyntaxError(reason, self.search, (token or self.next).position)

    def take(self) -> _Token:
        token = self.next
        self.index += 1
        return token

    def accept(self, kind: str, text: str) -> bool:
        if self.next.kind == kind and self.next.text == text:
            self.index += 1
            return True
        return False

    def inside(self, entries: int, part: Callable[[], str]) -> str:
        """Parse `part`, which FTS5 will read with so many more entries on its stack."""
        self.stack += entries
        if self.stack > MAX_STACK:
            raise self.fail("parentheses are nested too deeply")
        result = part()
        self.stack -= entries
        return result

    def parse(self) -> str:
        if self.next.kind == "end":
            raise self.fail("the search is empty")
        result = self.either()
        if self.next.kind != "end":
            raise self.fail(f"{self.next.text!r} is not expected here")
        return result

    def either(self) -> str:
        return self.chain("OR", self.all_of)

    def all_of(self) -> str:
        return self.chain("AND", self.without)

    def without(self) -> str:
        return self.chain("NOT", self.group)

    def chain(self, operator: str, part: Callable[[], str]) -> str:
        # No parentheses needed: the precedence is FTS5's, and so is the order (left to right).
        result = part()
        while self.accept("word", operator):
            result += f" {operator} {self.inside(2, part)}"
        return result

    def group(self) -> str:
        start = self.next
        wanted: list[str] = []
        excluded: list[str] = []
        while True:
            token = self.next
            if token.kind == "minus":
                self.take()
                excluded.append(self.inside(4, self.item))
            elif self.starts_item(token):
                wanted.append(self.inside(4 if wanted else 2, self.item))
            else:
                break
        if not wanted:
            if excluded:
                raise self.fail("there are only exclusions: say also what to look for", start)
            raise self.fail(self.expected(start), start)
        result = " AND ".join(wanted)
        if len(wanted) > 1:
            result = f"({result})"
        if excluded:
            result = f"({' NOT '.join([result, *excluded])})"
        return result

    @staticmethod
    def starts_item(token: _Token) -> bool:
        if token.kind == "word":
            return token.text not in _OPERATORS
        return token.kind == "string" or (token.kind == "symbol" and token.text in "(^")

    def expected(self, token: _Token) -> str:
        if token.kind == "end":
            before = self.tokens[self.index - 1].text if self.index else ""
            return f"something to look for is missing after {before!r}"
        if token.kind == "word":
            return f"{token.text} needs something to look for on both sides"
        return f"{token.text!r} is not expected here; quote text that is meant literally"

    def item(self) -> str:
        token = self.next
        if token.kind == "symbol" and token.text == "(":
            self.take()
            inner = self.inside(1, self.either)
            if not self.accept("symbol", ")"):
                raise self.fail("a parenthesis is opened but not closed", token)
            return f"({inner})"
        after = self.tokens[min(self.index + 1, len(self.tokens) - 1)]
        if token.kind == "word" and token.text == "NEAR" and after.text == "(":
            return self.near()
        if token.kind == "word" and token.text == "message:" and self.starts_item(after):
            self.take()
            return self.item()
        return self.phrase()

    def near(self) -> str:
        start = self.take()
        self.take()
        phrases = []
        while self.starts_item(self.next) and self.next.text not in "(^":
            phrases.append(self.phrase())
        if self.next.text == "^":
            raise self.fail("^ can't be used inside NEAR(…)")
        if not phrases:
            raise self.fail("NEAR(…) needs something to look for")
        distance = ""
        if self.accept("symbol", ","):
            token = self.take()
            if token.kind != "word" or not re.fullmatch("[0-9]{1,9}", token.text):
                raise self.fail("NEAR(…, distance) needs a number", token)
            distance = f", {token.text}"
        if not self.accept("symbol", ")"):
            raise self.fail("NEAR( is opened but not closed", start)
        return f"NEAR({' '.join(phrases)}{distance})"

    def phrase(self) -> str:
        self.phrases += 1
        if self.phrases > MAX_PHRASES:
            raise self.fail(f"the search has more than {MAX_PHRASES} parts")
        result = "^ " if self.accept("symbol", "^") else ""
        result += self.string()
        while self.accept("symbol", "+"):
            result += f" + {self.string()}"
        return result + (" *" if self.accept("symbol", "*") else "")

    def string(self) -> str:
        token = self.take()
        if token.kind == "string":
            text = token.text[1:-1].replace('""', '"')
            if not text.strip():
                return quote(text)  # looks for nothing and finds nothing
        elif token.kind == "word" and token.text not in _OPERATORS:
            text = token.text.removeprefix("message:") or token.text
        else:
            raise self.fail(self.expected(token), token)
        if not _has_words(text):
            raise self.fail(
                f"{token.text!r} has no letter or digit to look for; only words are indexed", token
            )
        return quote(text)


# Idle tokenizers; one is in use by one thread at a time. Not thread-local: CPython would destroy
# those of the other threads in a forked child, where SQLite's locks may be held for ever.
_tokenizers: list[Any] = []


def _has_words(text: str) -> bool:
    """Does FTS5 find a word in `text`? Asked itself: what is a letter to it is its own affair."""
    try:
        tokenizer = _tokenizers.pop()
    except IndexError:
        tokenizer = apsw.Connection(":memory:").fts5_tokenizer("unicode61", [])
    try:
        return bool(tokenizer(_stored(text), apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False))
    finally:
        _tokenizers.append(tokenizer)


def _stored(text: str) -> bytes:
    """A lone surrogate is stored as its escape."""
    return text.encode("utf-8", "backslashreplace")


def quote(text: str) -> str:
    """`text` as an FTS5 string: what is searched for is the phrase of its words."""
    # NUL separates words, but would end the query.
    safe = _stored(text).decode("utf-8").replace("\0", " ")
    return '"' + safe.replace('"', '""') + '"'


def compile_search(search: str) -> str:
    """The FTS5 query for a user's `search`.

    Raises:
        SearchSyntaxError: with the offending text and its position.
    """
    return _Parser(search).parse()


def search_text(text: str) -> str:
    """A search for the words of any free text: all of them, whatever characters it holds.

    The result is valid for `search`. Text without a single word finds nothing.

    >>> search_text('disk "sda" 99% full?')
    '"disk" "\"\"sda\"\"" "99%" "full?"'
    """
    words = [quote(word) for word in text.split() if _has_words(word)]
    return " ".join(words[:MAX_PHRASES]) or '""'


def merge_index(connection: apsw.Connection, pages: int) -> bool:
    """Merge segments of the full-text index, until so many pages are written; whether it did.

    A level of at least eight segments becomes one segment of the next level. Less than zero: all
    segments become one, by this and the following calls. The entries of a word that stands in very
    many records are merged at once, whatever the number of pages.

    https://www.sqlite.org/fts5.html#the_merge_command
    """
    before = connection.total_changes()
    connection.execute("INSERT INTO logs_fts(logs_fts, rank) VALUES ('merge', ?)", (pages,))
    return bool(connection.total_changes() - before >= 2)

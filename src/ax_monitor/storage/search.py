"""The search language: what users write in `search`, checked and turned into FTS5's.

It is FTS5's query syntax (https://www.sqlite.org/fts5.html#full_text_query_syntax) and a little
more: `-word` excludes, as search boxes have it, and a word with punctuation inside (`a-b`, `20.04`,
`user@host`) means the phrase of its parts. Everything is parsed here, so that a mistake is reported
with its place, and no user text ever reaches FTS5 unquoted.

    search  = all { "OR" all }
    all     = without { "AND" without }
    without = group { "NOT" group }
    group   = item { item }               juxtaposed: all of them, except those with a "-"
    item    = [ "-" ] ( phrase | near | "(" search ")" )
    phrase  = [ "^" ] string { "+" string } [ "*" ]
    near    = "NEAR" "(" phrase { phrase } [ "," number ] ")"
    string  = word | '"' text '"'         a quote inside is doubled
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ax_monitor.errors import SearchSyntaxError

MAX_DEPTH = 32  # nested parentheses; FTS5's own parser gives up not far beyond
MAX_PHRASES = 256

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
        self.depth = 0

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

    def chain(self, operator: str, part: object) -> str:
        assert callable(part)
        parts = [part()]
        while self.accept("word", operator):
            parts.append(part())
        return parts[0] if len(parts) == 1 else f"({f' {operator} '.join(parts)})"

    def group(self) -> str:
        start = self.next
        wanted: list[str] = []
        excluded: list[str] = []
        while True:
            token = self.next
            if token.kind == "minus":
                self.take()
                excluded.append(self.item())
            elif self.starts_item(token):
                wanted.append(self.item())
            else:
                break
        if not wanted:
            if excluded:
                raise self.fail("there are only exclusions: say also what to look for", start)
            raise self.fail(self.expected(start), start)
        result = " AND ".join(wanted)
        if len(wanted) > 1:
            result = f"({result})"
        for text in excluded:
            result = f"({result} NOT {text})"
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
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self.fail(f"parentheses are nested deeper than {MAX_DEPTH}", token)
            inner = self.either()
            if not self.accept("symbol", ")"):
                raise self.fail("a parenthesis is opened but not closed", token)
            self.depth -= 1
            return f"({inner})"
        after = self.tokens[min(self.index + 1, len(self.tokens) - 1)]
        if token.kind == "word" and token.text == "NEAR" and after.text == "(":
            return self.near()
        return self.phrase()

    def near(self) -> str:
        start = self.take()
        self.take()
        phrases = []
        while self.starts_item(self.next) and self.next.text != "(":
            phrases.append(self.phrase())
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
            return quote(token.text[1:-1].replace('""', '"'))
        if token.kind != "word" or token.text in _OPERATORS:
            raise self.fail(self.expected(token), token)
        text = token.text.removeprefix("message:") or token.text
        if not _has_letters(text):
            raise self.fail(
                f"{token.text!r} has no letter or digit to look for; only words are indexed", token
            )
        return quote(text)


def _has_letters(text: str) -> bool:
    return any(unicodedata.category(char)[0] in "LN" or char == "\ue000" for char in text)


def quote(text: str) -> str:
    """`text` as an FTS5 string: what is searched for is the phrase of its words."""
    # A lone surrogate is stored as its escape; NUL separates words, but would end the query.
    safe = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", " ")
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
    words = [quote(word) for word in text.split() if _has_letters(word)]
    return " ".join(words[:MAX_PHRASES]) or '""'

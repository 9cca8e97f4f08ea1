"""Secrets: which texts are taken for one, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ax_monitor._native import COLON_WORDS, SENSITIVE_WORDS, is_sensitive, is_sensitive_key
from ax_monitor.redaction import REDACTED, redact_text, redact_value
from tests.oracles import looks_secret, names_a_secret

LOG_FILES = sorted((Path(__file__).parents[1] / "data" / "logs").glob("*.log"))

any_text = st.text(st.characters(codec=None))
# What decides about a secret, in any order.
marks = [*"=:/@ \"'\\\n\t-x\x00.é", "://", "\ud800"]
heads = ["Bearer ", "bearer", "BEGIN ", *SENSITIVE_WORDS, *map(str.upper, SENSITIVE_WORDS)]
fragments = st.lists(st.sampled_from(marks + heads), max_size=10).map("".join)
cased_words = st.sampled_from(SENSITIVE_WORDS).flatmap(
    lambda word: st.sampled_from([word, word.upper(), word.title(), f"db_{word}"])
)
values = st.text("abcdefghijkxyzABC0123456789_-+/.", min_size=6, max_size=20).map("hunter2".__add__)


@given(fragments | any_text | st.tuples(any_text, fragments, any_text).map("".join))
@example("")
@example("password=")
@example("token:")
@example("password:")
@example("a://b:c@")
@example("://")
@example(":")
@example("Bearer ")
@example("Bearer x")
@example("-BEGIN ")
@example("BEGIN x")
@example("unexpected token: }")
@example("pwd =")
@example("wd=")
def test_z5_the_native_answer_is_that_of_the_patterns(text: str) -> None:
    """Native test and regular expression agree on which texts look like a secret."""
    assert is_sensitive(text) == looks_secret(text)


@pytest.mark.parametrize("secret", ["pwd=x", "pwd:x", "Bearer x", "-BEGIN x"])
def test_z5_a_secret_is_seen_at_every_place(secret: str) -> None:
    """Texts are looked at sixteen bytes at a time, the last of them twice."""
    for before in range(70):
        for after in range(20):
            assert is_sensitive(" " * before + secret + " " * after), (before, after)


@given(fragments | any_text | st.tuples(any_text, cased_words).map("".join))
def test_z5_keys_are_sensitive_by_their_ending(key: str) -> None:
    """A key is sensitive exactly if it ends in one of the words, in any case."""
    assert is_sensitive_key(key) == names_a_secret(key)


def test_the_words_behind_which_a_colon_is_enough() -> None:
    """Only the words that do not occur in prose count before a colon."""
    assert set(COLON_WORDS) < set(SENSITIVE_WORDS)
    assert set(SENSITIVE_WORDS) - set(COLON_WORDS) == {"token", "cookie"}
    for word in SENSITIVE_WORDS:
        assert is_sensitive(f"the {word}=x")
        assert is_sensitive(f"the {word}: x") == (word in COLON_WORDS)
        assert not is_sensitive(f"the {word} is wrong")


@pytest.mark.parametrize("path", LOG_FILES, ids=lambda path: path.stem)
def test_ordinary_log_lines_are_not_taken_for_secrets(path: Path) -> None:
    """Lines of real systems are flagged where the patterns flag them, which is next to nowhere."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    flagged = [line for line in lines if is_sensitive(line)]
    assert flagged == [line for line in lines if looks_secret(line)]
    assert len(flagged) <= len(lines) // 100
    assert all(redact_text(line) == line for line in lines if line not in flagged)


def test_real_log_lines_are_there() -> None:
    """The check above has something to look at."""
    assert len(LOG_FILES) >= 4


# -- what is replaced ------------------------------------------------------------------------------


@given(
    before=st.sampled_from(["", "login with ", '{"user": "u", "', "a=1&", "x:"]),
    word=cased_words,
    close=st.sampled_from(["", '"', "'", '\\"', " "]),
    between=st.sampled_from(["=", " = ", "= ", ":", ": ", " : "]),
    quote=st.sampled_from(["", '"', "'", '\\"', "\\'"]),
    value=values,
    terminated=st.booleans(),
    after=st.sampled_from(["", ", next=1", " and more", "}", "\nsecond line"]),
)
@example("", "password", "", "=", '"', "hunter2 and space", False, "")
@example("", "password", '"', ": ", '"', "hunter2\\", False, "")
def test_z5_values_do_not_survive_however_they_are_quoted(
    before: str,
    word: str,
    close: str,
    between: str,
    quote: str,
    value: str,
    terminated: bool,
    after: str,
) -> None:
    """`word=value` and `word: value` lose the value, quoted, escaped or cut off, and only it."""
    assume("=" in between or word.lower().endswith(COLON_WORDS))
    head = f"{before}{word}{close}{between}"
    text = f"{head}{quote}{value}{quote if terminated else ''}{after}"
    redacted = redact_text(text)
    assert value not in redacted
    assert redacted.startswith(head + REDACTED)
    if terminated or not quote:
        assert redacted == head + REDACTED + after


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgres://app:pw@db/x?a=1", "postgres://app:[redacted]@db/x?a=1"),
        (
            "two http://a:b@h/ and ftp://c:d@h",
            "two http://a:[redacted]@h/ and ftp://c:[redacted]@h",
        ),
        ("http://host:80/x@y", "http://host:80/x@y"),
        ("Authorization: Bearer abc.def-ghi, x", "Authorization: [redacted], x"),
        ("sent Bearer abc.def-ghi to it", "sent Bearer [redacted] to it"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: [redacted]"),
        ("GET /?api_key=123&q=x", "GET /?api_key=[redacted]&q=x"),
        ("token='a b', n=1", "token=[redacted], n=1"),
        ("f(password=secret)", "f(password=[redacted])"),
        (r'{"password": "a\"b", "n": 1}', '{"password": [redacted], "n": 1}'),
        (
            "key -----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY----- end",
            "key [redacted] end",
        ),
        ("cut -----BEGIN PRIVATE KEY-----\nMIIE\nabc", "cut [redacted]"),
        ("unexpected token: }", "unexpected token: }"),
        ("the password is wrong", "the password is wrong"),
        ("a = b: c @ d", "a = b: c @ d"),
    ],
)
def test_z5_only_the_secret_is_replaced(text: str, redacted: str) -> None:
    """Typical texts lose their secret and keep every other character."""
    assert redact_text(text) == redacted


@given(fragments | any_text)
def test_texts_that_are_not_sensitive_stay_as_they_are(text: str) -> None:
    """Redaction changes nothing in a text that does not look like a secret."""
    assert is_sensitive(text) or redact_text(text) is text


@given(st.tuples(fragments, values, fragments).map("".join) | fragments)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    """What has been redacted is not changed by redacting it again."""
    once = redact_text(text)
    assert redact_text(once) == once


@given(st.text("password=:\"'\\ \n;x", max_size=300))
@example("password" * 2000 + " " * 2000)
@example("password=" + '\\"' * 20_000)
@example("password=" + '"' + "\\x" * 20_000)
@example("://" * 20_000)
@example("-----BEGIN " * 5000)
def test_redaction_takes_time_in_proportion_to_the_text(text: str) -> None:
    """No text, however hostile, makes the patterns backtrack for long."""
    assert isinstance(redact_text(text), str)


def test_z5_metadata_loses_what_stands_under_sensitive_keys() -> None:
    """In nested metadata keys and texts are looked at, everything else stays."""
    value = {
        "user": "ann",
        "password": {"old": "a", "new": "b"},
        "n": 5,
        "list": ["token=abc", 1, None, ("pwd=x", 2.5)],
        "nested": {"API_KEY": 7, "url": "http://u:p@h"},
        7: "secret=1",
    }
    assert redact_value(value) == {
        "user": "ann",
        "password": REDACTED,
        "n": 5,
        "list": ["token=[redacted]", 1, None, ["pwd=[redacted]", 2.5]],
        "nested": {"API_KEY": REDACTED, "url": "http://u:[redacted]@h"},
        7: "secret=[redacted]",
    }
    assert value["password"] == {"old": "a", "new": "b"}

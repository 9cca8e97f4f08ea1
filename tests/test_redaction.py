"""Z5: secrets are taken out before anything is recorded, through the public logger."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import LogEntry, Store, StructuredLogger
from ax_monitor.redaction import REDACTED, redact_text, redact_value
from tests.conftest import DATA

SECRET = "hunter2-s3cr3t"


def log_one(db: str, redact: Any, message: Any, metadata: Any = None, **fields: Any) -> LogEntry:
    with Store(db, redact=redact) as store:
        logger = StructuredLogger(store)
        logger.error(message, "test", metadata=metadata, **fields)
        return logger.get_recent_logs(1)[0]


@pytest.mark.parametrize(
    ("message", "form"),
    [
        (f"password={SECRET}", "password=[redacted]"),
        (f"login user=bob password = {SECRET}, next", "login user=bob password = [redacted], next"),
        (f"PASSWORD: {SECRET}", "PASSWORD: [redacted]"),
        (f'{{"api_key": "{SECRET}", "n": 1}}', '{"api_key": [redacted], "n": 1}'),
        (f"db_passwd='{SECRET} with spaces' x", "db_passwd=[redacted] x"),
        (f"client_secret={SECRET}&grant=x", "client_secret=[redacted]&grant=x"),
        (f"access_token={SECRET}", "access_token=[redacted]"),
        (f"Authorization: Bearer {SECRET}", "Authorization: [redacted]"),
        (f"sent header Bearer {SECRET}", "sent header Bearer [redacted]"),
        (f"postgres://app:{SECRET}@db:5432/x", "postgres://app:[redacted]@db:5432/x"),
        (
            f"a -----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY----- b",
            "a [redacted] b",
        ),
        (f"-----BEGIN PRIVATE KEY-----\n{SECRET}", "[redacted]"),
        (f"Cookie={SECRET}; path=/", "Cookie=[redacted]; path=/"),
    ],
)
def test_z5_secrets_in_texts_are_replaced(db: str, message: str, form: str) -> None:
    """In the message and in the stack trace, and no byte of them in any file."""
    entry = log_one(db, "default", message, stack_trace=message)
    assert (entry.message, entry.stack_trace) == (form, form)
    for file in Path(db).parent.iterdir():
        assert SECRET.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    "message",
    [
        "unexpected token: }",
        "tokens=5",
        "the password was changed",
        "see https://host/path:8080",
        "passwords match",
        "ratio=0.5, secretary: Bob",
        "user@example.com",
        "BEGIN TRANSACTION",
        "http://host:80/a@b",
        "Bearer",
        "password",
        "",
    ],
)
def test_z5_harmless_texts_stay_as_they_are(db: str, message: str) -> None:
    """Prose about secrets is no secret."""
    assert log_one(db, "default", message).message == message


def test_z5_values_under_telling_keys_are_replaced(db: str) -> None:
    """At any depth, in any case, whatever the value; texts inside metadata as in messages."""
    metadata = {
        "user": "bob",
        "password": SECRET,
        "API_KEY": 12345,
        "dbPassword": None,
        "nested": {"auth_token": [SECRET], "list": [{"Secret": {"a": SECRET}}, f"pwd={SECRET}"]},
        "url": f"redis://:{SECRET}@cache",
        "tokens": 5,
        "count": 1.5,
    }
    entry = log_one(db, "default", "m", metadata)
    assert entry.metadata == {
        "user": "bob",
        "password": REDACTED,
        "API_KEY": REDACTED,
        "dbPassword": REDACTED,
        "nested": {"auth_token": REDACTED, "list": [{"Secret": REDACTED}, f"pwd={REDACTED}"]},
        "url": f"redis://:{REDACTED}@cache",
        "tokens": 5,
        "count": 1.5,
    }


def test_z5_odd_values_are_redacted_too(db: str) -> None:
    """What is converted first (bytes, exceptions, objects) is looked at in its text form."""

    class Config:
        def __str__(self) -> str:
            return f"Config(password={SECRET})"

    metadata = {
        "b": f"secret={SECRET}".encode(),
        "o": Config(),
        "t": (Config(),),
        "f": float("nan"),
        "e": ValueError(f"api_key={SECRET}"),
        "password": Config(),
        5: f"token={SECRET}",
    }
    entry = log_one(db, "default", Config(), metadata, error=ValueError(f"password={SECRET}"))
    assert SECRET not in str(entry.to_dict())
    assert entry.message.startswith("Config(password=[redacted]")
    assert "ValueError: password=[redacted]" in (entry.stack_trace or "")


def test_z5_events_and_preset_metadata_are_redacted(db: str) -> None:
    """Listeners get the redacted entry, and bound metadata is no way around."""
    heard: list[LogEntry] = []
    with Store(db) as store:
        logger = StructuredLogger(store).bind(source="test", metadata={"password": SECRET})
        logger.on("log", heard.append)
        logger.info(f"token={SECRET}")
        logger.flush()
        assert store.stats().redacted <= 1
    assert len(heard) == 1
    assert SECRET not in str(heard[0].to_dict())


def test_z5_none_stores_everything_as_it_is(db: str) -> None:
    """Redaction can be switched off."""
    text = f"password={SECRET}"
    entry = log_one(db, None, text, {"password": SECRET, "x": text}, stack_trace=text)
    assert (entry.message, entry.stack_trace) == (text, text)
    assert entry.metadata == {"password": SECRET, "x": text}


def test_z5_a_callable_decides_about_every_record(db: str) -> None:
    """It gets message and metadata as plain values, and what it returns is stored."""
    calls: list[tuple[Any, Any]] = []

    def redact(message: str, metadata: dict[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
        calls.append((message, metadata))
        return message.replace("Bob", "B."), metadata and {"keys": sorted(metadata)}

    with Store(db, redact=redact) as store:
        logger = StructuredLogger(store)
        logger.info("Bob came", "test", metadata={"b": 1, "a": b"x"})
        logger.info("nobody came", "test")
        second, first = logger.get_recent_logs()
        assert calls == [("Bob came", {"b": 1, "a": "x"}), ("nobody came", None)]
        assert (first.message, first.metadata) == ("B. came", {"keys": ["a", "b"]})
        assert (second.message, second.metadata) == ("nobody came", None)
        assert store.stats().redacted == 1


@pytest.mark.parametrize(
    ("hook", "form"),
    [
        (lambda m, d: 1 / 0, "<the redaction hook raised ZeroDivisionError>"),
        (lambda m, d: None, "<the redaction hook raised TypeError>"),
        (lambda m: (m, None), "<the redaction hook raised TypeError>"),
        (lambda m, d: m, "<the redaction hook raised ValueError>"),
    ],
)
def test_z5_a_broken_hook_lets_nothing_through_and_loses_no_record(
    db: str, hook: Callable[..., Any], form: str
) -> None:
    """The record is stored with a placeholder instead of its message, without its metadata."""
    entry = log_one(db, hook, f"message {SECRET}", {"a": SECRET}, execution_id="run")
    assert (entry.message, entry.metadata, entry.execution_id) == (form, None, "run")


def test_z5_what_a_hook_returns_may_be_odd(db: str) -> None:
    """Other types than text and dict are converted as everywhere."""
    entry = log_one(db, lambda m, d: (5, [1, {2, 3}]), "m", {"a": 1})
    assert (entry.message, entry.metadata) == ("5", {"value": [1, [2, 3]]})
    large = log_one(db + "2", lambda m, d: ("x" * 10**6, {"k": ["y" * 1000] * 1000}), "m")
    assert large.message.endswith("... [cut: 1000000 characters in all]")
    assert set(large.metadata or {}) == {"$truncated", "$preview"}


def test_z5_secrets_in_texts_that_are_cut_are_replaced(db: str) -> None:
    """Redaction comes before the cut, and does not depend on where the text is cut."""
    text = "x " * 60_000 + f"password={SECRET} " + "y " * 200_000
    entry = log_one(db, "default", text, {"body": text})
    assert SECRET not in str(entry.to_dict())
    assert "password=[redacted]" in entry.message


def test_real_log_lines_are_not_touched(db: str) -> None:
    """Of the real log lines only those with a word for a secret before = or : may change."""
    for file in sorted((DATA / "logs").glob("*.log")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if redact_text(line) != line:
                assert re.search(
                    r"(?i)token|passw|secret|cookie|credential|authorization|key", line
                )


@given(
    st.text(max_size=60),
    st.sampled_from(["password", "api_key", "x_secret", "TOKEN"]),
    st.randoms(),
)
def test_z5_no_surrounding_text_hides_a_secret(text: str, word: str, rng: random.Random) -> None:
    """Whatever stands around `word=value`, the value is gone."""
    at = rng.randrange(len(text) + 1)
    redacted = redact_text(f"{text[:at]} {word}={SECRET} {text[at:]}")
    assert SECRET not in redacted
    assert SECRET not in str(redact_value({"k": [f"{text[:at]} {word}={SECRET}", {word: SECRET}]}))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "password=" * 20_000,
        "://" * 50_000,
        "Bearer " * 30_000,
        "://a:" * 40_000,
        'password="' + "\\" * 100_000,
        "-----BEGIN A-----" * 10_000,
        "= :" * 60_000,
    ],
)
def test_z5_hostile_texts_take_bounded_time(db: str, text: str) -> None:
    """No text makes the patterns run away."""
    log_one(db, "default", text, {"k": text})


def test_z5_a_hook_that_logs_is_not_called_for_its_own_records(db: str) -> None:
    """A redaction hook may log: its record is stored, redacted by default, and nothing recurses."""
    calls: list[str] = []

    def hook(message: str, metadata: Any) -> tuple[str, Any]:
        calls.append(message)
        logger.warn(f"hook saw password={SECRET}", "hook")
        return message, metadata

    with Store(db, redact=hook) as store:
        logger = StructuredLogger(store)
        logger.info("hello", "test")
        messages = [entry.message for entry in logger.query_logs(order="asc")]
    assert calls == ["hello"]
    assert sorted(messages) == ["hello", "hook saw password=[redacted]"]

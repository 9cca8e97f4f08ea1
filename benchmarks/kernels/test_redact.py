"""The question whether a text looks like a secret, for ordinary text, against a regular expression."""

from __future__ import annotations

import re

from ax_monitor._native import COLON_WORDS, SENSITIVE_WORDS, is_sensitive, is_sensitive_key
from ax_monitor.bench import payload
from benchmarks.conftest import Against

WORDS, COLONS = "|".join(map(re.escape, SENSITIVE_WORDS)), "|".join(map(re.escape, COLON_WORDS))
TEXT = re.compile(
    rf"""(?i:{WORDS})[ "'\\]*=|(?i:{COLONS})[ "'\\]*:|://[^/ @:]*:[^/ @]*@|Bearer .|-BEGIN ."""
)
KEY = re.compile(rf"(?:{WORDS})\Z", re.IGNORECASE)


def test_ordinary_text(against: Against) -> None:
    assert not against("re.search", TEXT.search, is_sensitive, (payload.MESSAGE,))


def test_long_text(against: Against) -> None:
    text = "\n".join(payload.messages(100))
    assert not against("re.search", TEXT.search, is_sensitive, (text,))


def test_key(against: Against) -> None:
    assert not against("re.search", KEY.search, is_sensitive_key, ("latency_ms",))

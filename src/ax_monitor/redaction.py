"""Secrets are taken out before a record reaches the ring.

Which texts need it is decided natively (`_native.redact`), so ordinary records pay nanoseconds;
here is what happens to the others. The same words count on both sides.
"""

from __future__ import annotations

import re
from typing import Any

from ax_monitor._native import COLON_WORDS, SENSITIVE_WORDS, is_sensitive, is_sensitive_key

REDACTED = "[redacted]"

# What follows the word: a quoted text (to the end where the closing quote is missing), one in
# escaped quotes, or a bare value.
_VALUE = r"""(?!\[redacted\])(?:"(?:[^"\\]|\\.?)*(?:"|\Z)|'(?:[^'\\]|\\.?)*(?:'|\Z)"""
_VALUE += r"""|\\+"[^"]*(?:"|\Z)|\\+'[^']*(?:'|\Z)|(?:(?:bearer|basic)\s+)?[^\s,;&"'\])}]+)"""
_AFTER_WORD = r"""["'\\\s]*"""
_RULES = (
    # -----BEGIN … PRIVATE KEY----- up to its end
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL), REDACTED),
    # scheme://user:password@host
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]*(?=@)"), rf"\1{REDACTED}"),
    # word=value, word: value
    (
        re.compile(
            rf"""((?:{"|".join(map(re.escape, SENSITIVE_WORDS))}){_AFTER_WORD}=\s*){_VALUE}""",
            re.IGNORECASE | re.DOTALL,
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            rf"""((?:{"|".join(map(re.escape, COLON_WORDS))}){_AFTER_WORD}:\s*){_VALUE}""",
            re.IGNORECASE | re.DOTALL,
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(Bearer\s+)[^\s,;\"']+"), rf"\1{REDACTED}"),
)


def redact_text(text: str) -> str:
    """`text` with what looks like a secret replaced.

    >>> redact_text("login with password=hunter2 at postgres://app:pw@db/x")
    'login with password=[redacted] at postgres://app:[redacted]@db/x'
    """
    if not is_sensitive(text):
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_value(value: Any) -> Any:
    """The same for metadata: texts in it, and whatever stands under a key that names a secret."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {
            key: REDACTED if isinstance(key, str) and is_sensitive_key(key) else redact_value(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_value(item) for item in value]
    return value

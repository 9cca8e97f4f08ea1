"""The question whether a text looks like a secret, for ordinary text."""

from __future__ import annotations

from typing import Any

from ax_monitor._native import is_sensitive
from ax_monitor.bench import payload


def test_ordinary_text(benchmark: Any) -> None:
    assert not benchmark(is_sensitive, payload.MESSAGE)

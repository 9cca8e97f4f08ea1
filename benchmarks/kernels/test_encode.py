"""JSON and UTF-8, against the standard library's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ax_monitor._native import encode_json, encode_text
from ax_monitor.bench import payload
from benchmarks.conftest import Against

NESTED = {"rows": [{"id": n, "name": f"row {n}", "share": n / 7, "ok": n > 3} for n in range(20)]}


@pytest.mark.parametrize("value", [payload.METADATA, NESTED], ids=["metadata", "nested"])
def test_json(against: Against, value: Any) -> None:
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
    found = against("json", lambda plain: encoder.encode(plain).encode(), encode_json, (value,))
    assert found is not None
    assert json.loads(found) == value


@pytest.mark.parametrize("text", [payload.MESSAGE, "Grüße, 世界 " * 6], ids=["ascii", "other"])
def test_text(against: Against, text: str) -> None:
    assert against("str.encode", str.encode, encode_text, (text,)) == text.encode()

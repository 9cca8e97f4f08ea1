"""JSON objects read back, against the `json` module."""

from __future__ import annotations

import json

from ax_monitor._native import decode_object
from ax_monitor.bench import payload
from benchmarks.conftest import Against

NESTED = {"order": {"id": 17, "lines": [1, 2, 3]}, "retry": True, "note": "third attempt", "p": 0.5}


def test_metadata(against: Against) -> None:
    text = json.dumps(payload.METADATA, separators=(",", ":"))
    assert against("json.loads", json.loads, decode_object, (text,)) == payload.METADATA


def test_escapes(against: Against) -> None:
    metadata = payload.METADATA | {"error": 'no "such" file\n'}
    text = json.dumps(metadata, separators=(",", ":"))
    assert against("json.loads", json.loads, decode_object, (text,)) == metadata


def test_nested(against: Against) -> None:
    text = json.dumps(NESTED, separators=(",", ":"))
    assert against("json.loads", json.loads, decode_object, (text,)) == NESTED

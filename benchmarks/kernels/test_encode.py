"""JSON against the standard library's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ax_monitor._native import encode_json
from ax_monitor.bench import payload


@pytest.mark.parametrize("encode", [encode_json, json.dumps], ids=["ours", "json.dumps"])
def test_encode_metadata(benchmark: Any, encode: Any) -> None:
    benchmark(encode, payload.METADATA)

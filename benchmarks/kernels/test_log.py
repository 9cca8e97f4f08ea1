"""The log call on a ring in memory."""

from __future__ import annotations

from typing import Any

from ax_monitor._native import LogChannel, LogSettings, RecordRing
from ax_monitor.bench import payload


def _channel(ring: RecordRing) -> LogChannel:
    return LogChannel(ring, LogSettings(simplify=lambda *values: values[:4], publish=None))


def test_info(benchmark: Any, ring: RecordRing) -> None:
    benchmark(
        _channel(ring).info,
        payload.MESSAGE,
        payload.SOURCE,
        span_id=payload.SPAN_ID,
        tenant_id=payload.TENANT_ID,
    )


def test_info_metadata(benchmark: Any, ring: RecordRing) -> None:
    benchmark(
        _channel(ring).info,
        payload.MESSAGE,
        payload.SOURCE,
        span_id=payload.SPAN_ID,
        tenant_id=payload.TENANT_ID,
        metadata=payload.METADATA,
    )


def test_disabled(benchmark: Any, ring: RecordRing) -> None:
    benchmark(_channel(ring).debug, payload.MESSAGE, payload.SOURCE, metadata=payload.METADATA)

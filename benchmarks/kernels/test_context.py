"""A log call that takes its ids from the context."""

from __future__ import annotations

from typing import Any

import ax_monitor
from ax_monitor._native import LogChannel, LogSettings, RecordRing
from ax_monitor.bench import payload


def test_info_in_context(benchmark: Any, ring: RecordRing) -> None:
    channel = LogChannel(ring, LogSettings(simplify=lambda *values: values[:4], publish=None))
    with ax_monitor.use_context(execution_id="run-1", trace_id="0af7651916cd43dd8448eb211c80319c"):
        benchmark(channel.info, payload.MESSAGE, payload.SOURCE)

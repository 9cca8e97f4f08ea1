"""The ring: appending a generic record; claiming and releasing."""

from __future__ import annotations

from typing import Any

from ax_monitor._native import RecordRing
from ax_monitor.bench import payload

FIELDS = ("span-name", "internal", payload.TENANT_ID, 12, 3.5, {"a": 1})


def test_append(benchmark: Any, ring: RecordRing) -> None:
    benchmark(ring.append, 3, 0, FIELDS)


def test_append_claim_release(benchmark: Any, ring: RecordRing) -> None:
    def cycle() -> None:
        ring.append(3, 0, FIELDS)
        ring.claim()
        ring.release()

    benchmark(cycle)

"""The payload of reference: a message of some 60 characters, five ids, three metadata keys."""

from __future__ import annotations

import random
from typing import Any, Final

from ax_monitor._native import new_id, new_trace_id

SOURCE: Final = "provider-client"
TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID: Final = "b7ad6b7169203331"
TENANT_ID: Final = "tenant-123"
METADATA: Final[dict[str, Any]] = {"provider": "claude", "attempt": 3, "latency_ms": 1234.5}
MESSAGE: Final = "request to provider claude timed out after 1234 ms, try 2"

LOGS_PER_EXECUTION: Final = 100
# Of a span. The same ids as above: nothing depends on which span is above which.
SPAN_ATTRIBUTES: Final[dict[str, Any]] = {"order_id": "A-1004711", "retries": 3, "amount": 12.5}

_WORDS: Final = (
    "worker", "queue", "database", "cache", "request", "response", "connection", "provider",
    "retry", "batch", "upload", "download", "token", "stream", "parse", "plan", "merge", "commit",
    "lock", "shard", "index", "page", "buffer", "signal", "route", "budget", "vector", "prompt",
    "render", "check", "probe", "limit", "window", "bucket", "series", "alert", "rule",
)  # fmt: skip


def messages(n: int, seed: int = 7) -> list[str]:
    """Distinct messages of about 60 characters; one in ten says `timeout` or `rate limit`."""
    chance = random.Random(seed)
    made = []
    for _ in range(n):
        roll = chance.random()
        what = "timeout" if roll < 0.05 else "rate limit" if roll < 0.10 else "ok"
        a, b, c = chance.choices(_WORDS, k=3)
        made.append(
            f"{a} {b} {what} for {c} job {chance.randrange(1_000_000)} "
            f"after {chance.randrange(5000)} ms, try {chance.randrange(4)}"
        )
    return made


def executions(n_logs: int) -> list[tuple[str, str]]:
    """(execution id, trace id), one for every LOGS_PER_EXECUTION log records."""
    return [(new_id(), new_trace_id()) for _ in range(n_logs // LOGS_PER_EXECUTION + 1)]

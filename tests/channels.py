"""A log channel over a ring in memory, and its records read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ax_monitor._native import LogChannel, LogSettings, decode_record, encode_json
from ax_monitor.pipeline.plain import plain_metadata, plain_text, shortened_metadata
from ax_monitor.pipeline.recorder import format_exception
from ax_monitor.redaction import redact_text, redact_value
from ax_monitor.storage.records import LOG
from tests.oracles import new_ring

IDS = ("execution_id", "trace_id", "span_id", "tenant_id", "user_id")
TOO_LARGE = 4


@dataclass(frozen=True)
class LoggedRecord:
    """One record of a channel."""

    kind: int
    severity: int
    timestamp_ns: int
    source: str
    ids: dict[str, str | None]
    message: str
    metadata: Any
    stack_trace: str | None


class Channel:
    """A channel without a store: its ring, its settings, and what the ring asked for.

    Args:
        n_segments: Size of the ring in MiB.
        settings: For `LogSettings`.
    """

    def __init__(self, n_segments: int = 4, **settings: Any) -> None:
        self.full: list[tuple[int, bool]] = []
        self.simplified: list[int] = []  # why, for each record that took the slow path
        self.published: list[bytes] = []
        self.ring, self.buffer = new_ring(n_segments, on_full=self._on_full)
        self.settings = LogSettings(
            simplify=self._simplify, publish=self.published.append, **settings
        )
        self.log = LogChannel(self.ring, self.settings)

    def bound(self, **context: Any) -> LogChannel:
        """A channel with a preset context."""
        channel = LogChannel(self.ring, self.settings)
        channel.preset(self.log, context)
        return channel

    def records(self) -> list[LoggedRecord]:
        """Everything that waits in the ring."""
        if not self.ring.claim():
            return []
        first = self.ring.claimed_seq - self.ring.held + 1
        found = [
            read_record(self.ring.claimed_record(seq))
            for seq in range(first, self.ring.claimed_seq + 1)
        ]
        self.ring.unclaim()
        return found

    def _on_full(self, policy: int, priority: bool) -> bool:
        self.full.append((policy, priority))
        return False

    def _simplify(
        self, message: Any, ids: tuple[Any, ...], metadata: Any, stack_trace: Any, status: int
    ) -> tuple[Any, ...]:
        self.simplified.append(status)
        if isinstance(stack_trace, BaseException):
            stack_trace = format_exception(stack_trace)
        if metadata is not None:
            metadata = redact_value(plain_metadata(metadata))
            if status == TOO_LARGE and encode_json(metadata) is None:
                metadata = shortened_metadata(metadata)
        return (
            redact_text(plain_text(message)),
            tuple(None if value is None else plain_text(value) for value in ids),
            metadata,
            None if stack_trace is None else redact_text(plain_text(stack_trace)),
        )


def read_record(data: bytes) -> LoggedRecord:
    """The bytes of a log record as what was logged."""
    kind, severity, _, timestamp_ns, values = decode_record(data)
    fields = dict(zip(LOG.fields, values, strict=True))
    metadata = fields["metadata"]
    return LoggedRecord(
        kind=kind,
        severity=severity,
        timestamp_ns=timestamp_ns,
        source=fields["source"],
        ids={name: fields[name] for name in IDS},
        message=fields["message"],
        metadata=None if metadata is None else json.loads(metadata),
        stack_trace=fields["stack_trace"],
    )

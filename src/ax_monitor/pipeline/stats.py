"""The recorder's counters, as one snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class RecorderStats:
    """What became of everything that this process tried to record through one store.

    `attempted == stored + sum(dropped.values()) + in_flight`, exactly, whenever nothing is being
    recorded at the moment.

    Args:
        attempted: Recording calls at an enabled level.
        stored: Records in the database.
        dropped: Records given up, by reason: `overflow` (the ring was full), `oldest` (overwritten
            by the drop_oldest policy), `after_close`, `rejected` (the database refuses it; kept in
            `recorder_rejects`).
        in_flight: Records in the ring, not in the database yet.
        recovered: Records taken over from the rings of dead processes.
        damaged: Places in such rings that could not be read.
        missing: Records that had been written and are gone: somebody deleted or replaced the
            database, or it lost the end of its WAL.
        ring_bytes: Size of the ring.
        ring_used_bytes: Of these, records that wait.
        volatile: True if the ring is in memory only: a kill of the process loses what is in flight.
        volatile_reason: Why.
        batches: Transactions committed.
        flush_errors: Attempts to write that failed.
        last_error: The last of them that has not been followed by a success.
        redacted: Records in which a secret was replaced.
        converted: Records with values that JSON does not have, stored in the documented form.
        events_dropped: Events that listeners were too slow for.
        listener_errors: Listeners that raised.
    """

    attempted: int
    stored: int
    dropped: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    recovered: int = 0
    damaged: int = 0
    missing: int = 0
    ring_bytes: int = 0
    ring_used_bytes: int = 0
    volatile: bool = False
    volatile_reason: str | None = None
    batches: int = 0
    flush_errors: int = 0
    last_error: str | None = None
    redacted: int = 0
    converted: int = 0
    events_dropped: int = 0
    listener_errors: int = 0


@dataclass(frozen=True, slots=True)
class RecorderState:
    """How recording goes in this process at the moment.

    Args:
        writing: Who writes the ring to the database: "thread"; "nobody yet" in a forked child that
            has not recorded anything; "nobody" if the thread has died or could not be started;
            "closed" after `Store.close()`.
        lag_ms: How long a record may have been waiting: since the last successful batch, or look
            that found nothing. 0 if none waits.
        stats: The counters.
    """

    writing: Literal["thread", "nobody yet", "nobody", "closed"]
    lag_ms: float
    stats: RecorderStats

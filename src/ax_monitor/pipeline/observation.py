"""Who records into a database, as another process sees it: by the ring files beside it.

Nothing is changed, and no recorder is held up. Whoever keeps its ring in memory only is not seen.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ax_monitor._native import read_ring
from ax_monitor.pipeline import ring_files
from ax_monitor.storage.health import RecorderRow

_NS_PER_MS: Final = 1_000_000
_SEQ_AT: Final = 8  # in a record, see record.pxd
_TIME_AT: Final = 16


@dataclass(frozen=True, slots=True)
class SeenRecorder:
    """A recorder, or what one has left behind.

    Args:
        ring_id: Of its ring, in hex.
        pid: Its process, as it called itself.
        opened_at: When its ring was made, in ms since the epoch.
        is_live: Whether its process is alive; None if we may not ask.
        waiting: How many records in its ring were not in the database when that was read.
        oldest_at: The time of the oldest of them, in ms since the epoch.
        written_at: When it last wrote to the database, in ms since the epoch; None if never.
    """

    ring_id: str
    pid: int
    opened_at: int
    is_live: bool | None
    waiting: int = 0
    oldest_at: int | None = None
    written_at: int | None = None


class RingFiles:
    """The ring files at one moment. Compare them with what the database says after it.

    In that order, or records that were written in between would seem to wait.

    Args:
        database: The path of the database.
        ring_dir: Where rings are, if not beside it.
        stored: What the database has said before, by the ids of rings in hex: so much of them need
            not be looked at.
    """

    def __init__(
        self, database: str, ring_dir: str | None, stored: Mapping[str, RecorderRow]
    ) -> None:
        orphans = set(ring_files.waiting(database, ring_dir))
        self._found = [
            found
            for path in ring_files.find(database, ring_dir)
            if not path.endswith(".new")
            for found in _read(path, stored, is_orphan=path in orphans)
        ]

    def compared(self, stored: Mapping[str, RecorderRow]) -> list[SeenRecorder]:
        """The recorders, those that were opened first before the others.

        Args:
            stored: What the database says of rings, by their ids in hex.
        """
        seen = [each.compared(stored.get(each.ring_id)) for each in self._found]
        return sorted(seen, key=lambda recorder: (recorder.opened_at, recorder.ring_id))


@dataclass(frozen=True, slots=True)
class _Found:
    ring_id: str
    pid: int
    opened_at: int
    is_live: bool | None
    records: tuple[tuple[int, int], ...]  # sequence number and time in ns

    def compared(self, row: RecorderRow | None) -> SeenRecorder:
        last_seq = 0 if row is None else row.last_seq
        waiting = [time_ns for seq, time_ns in self.records if seq > last_seq]
        return SeenRecorder(
            self.ring_id,
            self.pid,
            self.opened_at,
            self.is_live,
            len(waiting),
            min(waiting) // _NS_PER_MS if waiting else None,
            None if row is None else row.updated_at,
        )


def _read(path: str, stored: Mapping[str, RecorderRow], *, is_orphan: bool) -> Iterator[_Found]:
    """What a ring file says; nothing if it is gone by now, or no ring."""
    may_ask = os.access(path, os.R_OK | os.W_OK)
    if not may_ask:
        if os.path.exists(path):
            yield _Found(path.rpartition("-")[2], 0, 0, None, ())
        return
    data = b""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        data = file.read()
    header, offsets, _ = read_ring(data)
    if header is None:
        return
    ring_id = header["ring_id"].hex()
    row = stored.get(ring_id)
    records = []
    for at in reversed(offsets):  # the newest first
        seq = _number(data, at + _SEQ_AT)
        if row is not None and seq <= row.last_seq:
            break
        records.append((seq, _number(data, at + _TIME_AT)))
    yield _Found(
        ring_id, header["pid"], header["created_ns"] // _NS_PER_MS, not is_orphan, tuple(records)
    )


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little", signed=True)

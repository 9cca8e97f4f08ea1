"""Plain-Python models that the native kernels are compared with. They share no code with them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ax_monitor._native import (
    COLON_WORDS,
    RING_HEADER_BYTES,
    RING_SEGMENT_MIN_BYTES,
    SENSITIVE_WORDS,
    RecordRing,
)

RING_ID = bytes(range(16))
TEXT_MAX_BYTES = 256 * 1024
RECORD_HEADER_BYTES = 32

# -- texts and JSON --------------------------------------------------------------------------------


def stored_bytes(text: str) -> bytes:
    """A text as UTF-8, its lone surrogates as escapes."""
    return text.encode("utf-8", "backslashreplace")


def stored_text(text: str) -> str:
    """What comes back of a text that was stored."""
    return stored_bytes(text).decode("utf-8")


def stored_json(value: Any) -> Any:
    """What `json.loads` finds in the stored form of a plain value."""
    if isinstance(value, str):
        return stored_text(value)
    if isinstance(value, (list, tuple)):
        return [stored_json(item) for item in value]
    if isinstance(value, dict):
        return {stored_text(key): stored_json(item) for key, item in value.items()}
    return value


def same(left: Any, right: Any) -> bool:
    """Equal in value and in exact type, all the way down, with -0.0 apart from 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


def texts_in(value: Any) -> list[str]:
    """Every text in a plain value that is not the key of something."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, (list, tuple, dict)):
        return [text for item in items for text in texts_in(item)]
    return []


# -- secrets ---------------------------------------------------------------------------------------


def _any_of(words: tuple[str, ...]) -> bytes:
    return b"(?:" + "|".join(map(re.escape, words)).encode() + b")"


# Bytes, so that only ASCII letters have a case.
_SECRETS = re.compile(
    b"|".join(
        (
            b"(?i:" + _any_of(SENSITIVE_WORDS) + rb""")[ "'\\]*=""",
            b"(?i:" + _any_of(COLON_WORDS) + rb""")[ "'\\]*:(?!//.)""",
            rb"://[^/ \n@:]*:[^/ \n@]*@",
            rb"Bearer .",
            rb"-BEGIN .",
        )
    ),
    re.DOTALL,
)
_SECRET_KEY = re.compile(b"(?i:" + _any_of(SENSITIVE_WORDS) + rb")\Z")


def looks_secret(text: str) -> bool:
    """Does the text hold `word=`, `word:`, a URL with a password, a bearer token or a key block?"""
    return _SECRETS.search(stored_bytes(text)) is not None


def names_a_secret(key: str) -> bool:
    """Does the key end in a sensitive word?"""
    return _SECRET_KEY.search(stored_bytes(key)) is not None


# -- the ring --------------------------------------------------------------------------------------


def new_ring(
    n_segments: int, ring_id: bytes = RING_ID, on_full: Any = None
) -> tuple[RecordRing, bytearray]:
    """A ring over plain memory, and that memory. Nothing waits when it is full."""
    buffer = bytearray(RING_HEADER_BYTES + n_segments * RING_SEGMENT_MIN_BYTES)
    ring = RecordRing(on_full or (lambda policy, priority: False))
    ring.attach(buffer, ring_id, segment_bytes=RING_SEGMENT_MIN_BYTES, wake_fd=-1, pid=0)
    return ring, buffer


def record_bytes(fields: tuple[Any, ...]) -> int:
    """The size of a record in the ring: header, field table, payload, each padded to 8 bytes."""
    return RECORD_HEADER_BYTES + _align8(4 * len(fields)) + _align8(payload_bytes(fields))


def payload_bytes(fields: tuple[Any, ...]) -> int:
    """The size of the fields' values (ASCII texts, numbers, None)."""
    return sum(
        len(value) if isinstance(value, str) else 0 if value is None else 8 for value in fields
    )


def _align8(n: int) -> int:
    return (n + 7) // 8 * 8


@dataclass
class ModelRecord:
    """One record of the model."""

    seq: int
    fields: tuple[Any, ...]
    n_bytes: int


@dataclass
class ModelSegment:
    """A segment: what was written since it was taken, and what of that waits."""

    used: int = 0
    records: list[ModelRecord] = field(default_factory=list)


@dataclass
class RingModel:
    """The ring as lists: full segments, the one being written, and how many are free."""

    n_segments: int
    free: int = field(init=False)
    sealed: list[ModelSegment] = field(default_factory=list)
    writing: ModelSegment = field(default_factory=ModelSegment)
    claim: list[ModelRecord] = field(default_factory=list)
    claimed_segments: list[ModelSegment] = field(default_factory=list)
    seq: int = 0
    released_seq: int = 0
    dropped_oldest: int = 0
    shut: bool = False

    def __post_init__(self) -> None:
        self.free = self.n_segments - 1

    @property
    def waiting(self) -> list[ModelRecord]:
        """Records that are neither released nor dropped, in order."""
        return [record for segment in (*self.sealed, self.writing) for record in segment.records]

    def append(self, fields: tuple[Any, ...], *, drop_oldest: bool, priority: bool) -> int:
        """The sequence number that the record gets; 0 if it is dropped."""
        size = record_bytes(fields)
        while not self._fits(fields):
            if not self._take_segment(priority) and not (drop_oldest and self._drop_oldest()):
                return 0
        self.seq += 1
        self.writing.records.append(ModelRecord(self.seq, fields, size))
        self.writing.used += size
        return self.seq

    def _fits(self, fields: tuple[Any, ...]) -> bool:
        """Is there room for it, and for the word behind it that says "no more"?"""
        room = 0 if self.shut else RING_SEGMENT_MIN_BYTES - self.writing.used
        head = RECORD_HEADER_BYTES + _align8(4 * len(fields))
        return room >= head + 16 and room - 8 >= head + payload_bytes(fields)

    def _take_segment(self, priority: bool) -> bool:
        if self.shut or self.free <= (0 if priority else 1):
            return False
        self.free -= 1
        self.sealed.append(self.writing)
        self.writing = ModelSegment()
        return True

    def _drop_oldest(self) -> bool:
        for segment in self.sealed:
            if not any(segment is claimed for claimed in self.claimed_segments) and not self.shut:
                self.sealed.remove(segment)
                self.free += 1
                self.dropped_oldest += len(segment.records)
                return True
        return False

    def take_claim(self, max_segments: int) -> bool:
        """Fix what waits: everything, or the oldest full segments if there are more than that."""
        segments = [*self.sealed, self.writing]
        self.claimed_segments = (
            segments[:max_segments] if len(self.sealed) > max_segments else segments
        )
        self.claim = [record for segment in self.claimed_segments for record in segment.records]
        if not self.claim:
            self.claimed_segments = []
        return bool(self.claim)

    def unclaim(self) -> None:
        """Nothing came of it."""
        self.claim, self.claimed_segments = [], []

    def release(self) -> None:
        """The claim is stored: forget its records, and free the segments that held nothing else."""
        last = self.claim[-1].seq
        for segment in self.claimed_segments:
            segment.records = [record for record in segment.records if record.seq > last]
            if segment is not self.writing and not segment.records:
                self.sealed = [other for other in self.sealed if other is not segment]
                self.free += 1
        if not self.writing.records:
            self.writing.used = 0
        self.released_seq = last
        self.unclaim()


# -- keys ------------------------------------------------------------------------------------------


class TimeKeys:
    """Which key every record of a table gets: the time, and a counter behind what is there."""

    def __init__(self, shift: int) -> None:
        self.shift = shift
        self.rows: dict[int, tuple[int, ...]] = {}

    def add(self, batch: list[tuple[int, ...]]) -> None:
        """Records of one transaction, each beginning with its time, in the order made."""
        highest: dict[int, int] = {}
        for key in self.rows:
            slot = key >> self.shift
            highest[slot] = max(highest.get(slot, key), key)
        key = min((record[0] for record in batch), default=0) << self.shift
        for record in sorted(batch, key=lambda record: record[0]):
            key = max(key, record[0] << self.shift)
            while highest.get(key >> self.shift, key - 1) >= key:
                key = highest[key >> self.shift] + 1
            self.rows[key] = record
            key += 1

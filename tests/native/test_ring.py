"""The record ring against a model of lists: in memory, as a crash image, and damaged."""

from __future__ import annotations

import gc
import json
import math
import os
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ax_monitor._native import (
    RING_HEADER_BYTES,
    RING_SEGMENT_MIN_BYTES,
    RecordRing,
    decode_record,
    read_ring,
)
from tests.oracles import (
    RING_ID,
    TEXT_MAX_BYTES,
    RingModel,
    new_ring,
    record_bytes,
    stored_bytes,
    stored_json,
)

DROP_NEWEST, DROP_OLDEST = 1, 2
FOREIGN, SENSITIVE, TOO_LARGE = -1, -2, -3
KIND, TAG, WHEN = 4, 7, 1_700_000_000_000_000_000

sizes = st.one_of(
    st.integers(0, 40),
    st.integers(0, 5000),
    st.sampled_from([60_000, TEXT_MAX_BYTES - 1, TEXT_MAX_BYTES]),
)
field_sizes = st.lists(st.none() | sizes, max_size=4).map(tuple)


def _fields(seq: int, wanted: tuple[int | None, ...]) -> tuple[Any, ...]:
    """Texts that no two records share, a number, and NULLs."""
    texts = [None if size is None else (f"{seq}." * (size // 2 + 1))[:size] for size in wanted]
    return (seq, *texts, seq / 7)


def _read(data: bytes) -> tuple[dict[int, tuple[Any, ...]], int]:
    """The records in a ring's bytes by sequence number, and the damaged places."""
    header, offsets, damaged = read_ring(data)
    assert header is not None
    records = [decode_record(data, offset) for offset in offsets]
    assert [seq for _, _, seq, _, _ in records] == sorted({seq for _, _, seq, _, _ in records})
    return {seq: (kind, tag, when, fields) for kind, tag, seq, when, fields in records}, damaged


def test_c5_appending_changes_no_byte_of_a_claim() -> None:
    """The pump reads it without the GIL: not even the checksum of its last record comes late."""
    ring, buffer = new_ring(3)
    ring.append(KIND, TAG, (1, "x" * 50))
    ring.append(KIND, TAG, (2,))
    assert ring.claim()
    before = [ring.claimed_record(seq) for seq in (1, 2)]
    ring.append(KIND, TAG, (3,))
    ring.append(KIND, TAG, (4,))
    assert [ring.claimed_record(seq) for seq in (1, 2)] == before
    assert all(record in bytes(buffer) for record in before)


class RingMachine(RuleBasedStateMachine):
    """Appends, claims and releases in any order, always beside the model."""

    @initialize(n_segments=st.integers(2, 5))
    def attach(self, n_segments: int) -> None:
        self.refused: list[tuple[int, bool]] = []
        self.ring, self.buffer = new_ring(n_segments, on_full=self._on_full)
        self.model = RingModel(n_segments)
        self.appended: dict[int, tuple[Any, ...]] = {}
        self.detached = False

    def _on_full(self, policy: int, priority: bool) -> bool:
        self.refused.append((policy, priority))
        return False

    @rule(wanted=field_sizes, policy=st.sampled_from([0, DROP_NEWEST, DROP_OLDEST]),
          priority=st.booleans(), times=st.sampled_from([1, 1, 1, 2, 5, 30]))  # fmt: skip
    def append(
        self, wanted: tuple[int | None, ...], policy: int, priority: bool, times: int
    ) -> None:
        for _ in range(times):
            fields = _fields(self.model.seq + 1, wanted)
            refused = len(self.refused)
            got = self.ring.append(
                KIND, TAG, fields, timestamp_ns=WHEN, policy=policy, priority=priority
            )
            expected = (
                0
                if self.detached
                else self.model.append(fields, drop_oldest=policy == DROP_OLDEST, priority=priority)
            )
            assert got == expected
            if got:
                self.appended[got] = (KIND, TAG, WHEN, fields)
                assert len(self.refused) == refused
            else:
                assert self.refused[refused:] == [(policy, priority)]

    @rule(wanted=field_sizes, value=st.sampled_from([object(), 2**63, b"x", True, ()]))
    def append_what_cannot_be_written(self, wanted: tuple[int | None, ...], value: Any) -> None:
        """It fails after its first fields are in the ring already, and leaves no trace."""
        if self._room_for(wanted):
            assert self.ring.append(KIND, TAG, (*_fields(0, wanted), value)) == FOREIGN

    def _room_for(self, wanted: tuple[int | None, ...]) -> bool:
        free = 0 if self.model.shut else RING_SEGMENT_MIN_BYTES - self.model.writing.used
        return not self.detached and record_bytes(_fields(0, wanted)) + 64 < free

    @rule(limit=st.sampled_from([1, 2, 4096]))
    def claim(self, limit: int) -> None:
        if self.model.claim:
            with pytest.raises(RuntimeError):
                self.ring.claim(limit)
            return
        expected = not self.detached and self.model.take_claim(limit)
        assert self.ring.claim(limit) == expected
        if expected:
            assert self.ring.claimed_seq == self.model.claim[-1].seq

    @rule()
    def unclaim(self) -> None:
        self.ring.unclaim()
        self.model.unclaim()

    @rule()
    def release(self) -> None:
        if self.model.claim:
            self.ring.release()
            self.model.release()
        else:
            with pytest.raises(RuntimeError):
                self.ring.release()

    @precondition(lambda self: self.model.claim)
    @rule()
    def nothing_claimed_is_overwritten(self) -> None:
        """Exactly the claimed records can be read, as they were appended."""
        claimed = {record.seq for record in self.model.claim}
        for seq in claimed:
            kind, tag, _, when, fields = decode_record(self.ring.claimed_record(seq))
            assert (kind, tag, when, fields) == self.appended[seq]
        for seq in (min(claimed) - 1, max(claimed) + 1):
            if seq not in claimed:
                with pytest.raises(LookupError):
                    self.ring.claimed_record(seq)

    @rule()
    def a_crash_image_holds_everything(self) -> None:
        """The memory as it is has every record that waits, and nothing but what was appended."""
        found, damaged = _read(bytes(self.buffer))
        assert {record.seq for record in self.model.waiting} <= set(found)
        assert all(self.appended[seq] == record for seq, record in found.items())
        assert damaged == 0

    @precondition(lambda self: self.model.seq > 20)
    @rule()
    def shut(self) -> None:
        self.ring.shut()
        self.model.shut = True

    @precondition(lambda self: self.model.seq > 20)
    @rule(again=st.booleans())
    def detach(self, again: bool) -> None:
        self.a_crash_image_holds_everything()
        self.ring.detach()
        self.detached = True
        self.model.unclaim()
        assert not self.ring.attached
        assert not self.ring.claim()
        assert self.ring.capacity_bytes == self.ring.pending_bytes == self.ring.held == 0
        if again:
            n_segments = self.model.n_segments
            self.buffer = bytearray(RING_HEADER_BYTES + n_segments * RING_SEGMENT_MIN_BYTES)
            self.ring.attach(
                self.buffer, RING_ID, segment_bytes=RING_SEGMENT_MIN_BYTES, wake_fd=-1, pid=0
            )
            self.model = RingModel(n_segments)
            self.appended = {}
            self.detached = False

    @invariant()
    def counters_agree(self) -> None:
        if self.detached or not hasattr(self, "ring"):
            return
        ring, model = self.ring, self.model
        waiting = model.waiting
        assert ring.seq == model.seq
        assert ring.released_seq == model.released_seq
        assert ring.dropped_oldest == model.dropped_oldest
        assert ring.held == len(waiting)
        assert ring.pending_bytes == sum(record.n_bytes for record in waiting)
        assert ring.free_segments == model.free
        assert ring.has_room(True) == (model.free > 0)
        assert ring.has_room(False) == (model.free > 1)
        assert ring.capacity_bytes == model.n_segments * RING_SEGMENT_MIN_BYTES


def test_the_ring_does_what_the_model_does() -> None:
    """Any course of appends, claims, releases and ends leaves ring and model in the same state."""
    run_state_machine_as_test(RingMachine, settings=settings(stateful_step_count=60))


# -- sizes -----------------------------------------------------------------------------------------


def test_o1_what_is_claimed_is_not_dropped_as_the_oldest() -> None:
    """While the pump writes the oldest segments, newer ones make room; the claim stays as it is."""
    ring, _buffer = new_ring(5)
    text = "x" * 200_000
    while ring.free_segments > 2:
        ring.append(KIND, TAG, (text,))
    assert ring.claim(1)
    claimed = range(1, ring.claimed_seq + 1)
    before = [ring.claimed_record(seq) for seq in claimed]
    for number in range(40):
        assert ring.append(KIND, TAG, (number, text), policy=DROP_OLDEST)
    assert ring.dropped_oldest > 0
    assert [ring.claimed_record(seq) for seq in claimed] == before
    ring.release()
    assert ring.released_records == len(claimed)
    assert ring.seq == ring.released_records + ring.dropped_oldest + ring.held


def test_the_last_segment_is_kept_for_priority_records() -> None:
    """A full ring takes no ordinary record, but still a segment of priority ones."""
    ring, _buffer = new_ring(4)
    text = ("x" * TEXT_MAX_BYTES,)
    ordinary = 0
    while ring.append(KIND, 0, text, policy=DROP_NEWEST):
        ordinary += 1
    assert ordinary == 9
    assert ring.append(KIND, 0, ("small",), policy=DROP_NEWEST)  # what is begun is filled up
    urgent = 0
    while ring.append(KIND, 0, text, policy=DROP_NEWEST, priority=True):
        urgent += 1
    assert urgent == 3
    assert ring.held == ordinary + urgent + 1


@pytest.mark.parametrize("n_fields", [1, 2, 3, 4, 5, 9, 16, 32])
@pytest.mark.parametrize("character", ["x", "é", "\ud800"])
@pytest.mark.timeout(20)
def test_o5_a_record_of_huge_texts_is_cut_to_fit(n_fields: int, character: str) -> None:
    """However many huge texts a record has, each is stored with its beginning and its length."""
    ring, buffer = new_ring(3)
    assert ring.append(KIND, 0, ("before",)) == 1
    text = character * 300_000
    assert ring.append(KIND, 0, (text,) * n_fields) == 2
    assert ring.append(KIND, 0, ("after",)) == 3
    found, damaged = _read(bytes(buffer))
    assert damaged == 0
    assert [len(fields) for _, _, _, fields in found.values()] == [1, n_fields, 1]
    share = min(TEXT_MAX_BYTES, RING_SEGMENT_MIN_BYTES // n_fields - 1024)
    for field in found[2][3]:
        beginning, mark = field.split("... ")
        assert mark == "[cut: 300000 characters in all]"
        assert stored_bytes(text).decode().startswith(beginning)
        assert share - 8192 < len(beginning.encode()) <= TEXT_MAX_BYTES


@pytest.mark.timeout(20)
def test_o5_huge_texts_leave_the_small_fields_alone() -> None:
    """Of a record that is too large, only what is longer than its share is cut."""
    ring, buffer = new_ring(3)
    huge = "x" * TEXT_MAX_BYTES
    fields = (huge, "small", 5, huge, None, huge, {"k": "v"}, huge, 2.5)
    assert ring.append(KIND, 0, fields) == 1
    (_, _, _, stored) = _read(bytes(buffer))[0][1]
    assert (stored[1], stored[2], stored[4], stored[6], stored[8]) == (
        "small",
        5,
        None,
        '{"k":"v"}',
        2.5,
    )
    assert all(100_000 < len(stored[i]) < TEXT_MAX_BYTES for i in (0, 3, 5, 7))


@pytest.mark.timeout(20)
def test_o5_dicts_that_are_too_large_are_refused() -> None:
    """A dict is never cut: one that is too large, alone or with others, is sent back."""
    ring, _buffer = new_ring(3)
    assert ring.append(KIND, 0, ({"k": "x" * TEXT_MAX_BYTES},)) == TOO_LARGE
    assert ring.append(KIND, 0, ({"k": "x" * 200_000},) * 6) == TOO_LARGE
    assert ring.append(KIND, 0, ({"k": "x" * 200_000},) * 4) == 1


def test_z5_secrets_are_sent_back() -> None:
    """With redaction a text that looks like a secret leaves no byte behind."""
    ring, buffer = new_ring(3)
    for field in ("password=x", {"a": "password=x"}):
        assert ring.append(KIND, 0, ("first", field, object()), redact=True) == SENSITIVE
        assert b"password" not in bytes(buffer)
    for field in ("password=x", {"a": "password=x"}):
        assert ring.append(KIND, 0, (field,)) > 0


# -- values ----------------------------------------------------------------------------------------

plain_fields = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec=None)),
    st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1) | st.text()),
)


@given(
    fields=st.lists(plain_fields, max_size=32).map(tuple),
    kind=st.integers(1, 15).filter(lambda kind: kind != 8),
    tag=st.integers(0, 255),
    when=st.integers(-(2**63), 2**63 - 1),
)
@example((math.nan, -0.0, math.inf, 5e-324, "\ud800\x00", {}), 15, 255, -(2**63))
def test_fields_come_back_as_they_went_in(
    fields: tuple[Any, ...], kind: int, tag: int, when: int
) -> None:
    """Kind, tag, any time and up to 32 fields of every type are read back exactly."""
    ring, _buffer = new_ring(2)
    assert ring.append(kind, tag, fields, timestamp_ns=when) == 1
    assert ring.claim()
    got = decode_record(ring.claimed_record(1))
    assert got[:4] == (kind, tag, 1, when)
    for read, field in zip(got[4], fields, strict=True):
        if isinstance(field, str):
            assert read == stored_bytes(field).decode()
        elif isinstance(field, dict):
            assert json.loads(read) == stored_json(field)
        else:
            assert repr(read) == repr(field)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(0, ()), (16, ()), (1, (None,) * 33)],
    ids=["kind 0", "kind 16", "33 fields"],
)
def test_a_record_of_the_wrong_shape_is_a_programming_error(
    kind: int, fields: tuple[Any, ...]
) -> None:
    """Kinds are 1 to 15, and a record has at most 32 fields."""
    ring, _buffer = new_ring(2)
    with pytest.raises(ValueError, match="at most 32 fields and a kind from 1 to 15"):
        ring.append(kind, 0, fields)
    assert ring.seq == 0


@pytest.mark.parametrize(
    ("n_bytes", "segment_bytes", "ring_id"),
    [
        (RING_HEADER_BYTES + RING_SEGMENT_MIN_BYTES, RING_SEGMENT_MIN_BYTES, RING_ID),
        (RING_HEADER_BYTES + 2 * RING_SEGMENT_MIN_BYTES - 1, RING_SEGMENT_MIN_BYTES, RING_ID),
        (RING_HEADER_BYTES + 2 * RING_SEGMENT_MIN_BYTES, RING_SEGMENT_MIN_BYTES // 2, RING_ID),
        (RING_HEADER_BYTES + 2 * RING_SEGMENT_MIN_BYTES, RING_SEGMENT_MIN_BYTES + 1, RING_ID),
        (RING_HEADER_BYTES + 2 * RING_SEGMENT_MIN_BYTES, RING_SEGMENT_MIN_BYTES, b"short"),
        (100, RING_SEGMENT_MIN_BYTES, RING_ID),
    ],
)
def test_memory_of_the_wrong_size_is_refused(
    n_bytes: int, segment_bytes: int, ring_id: bytes
) -> None:
    """A ring needs a header, at least two whole segments, and an id of 16 bytes."""
    ring = RecordRing(lambda policy, priority: False)
    with pytest.raises(ValueError, match=r"must (be|hold)"):
        ring.attach(bytearray(n_bytes), ring_id, segment_bytes=segment_bytes, wake_fd=-1, pid=0)
    assert not ring.attached
    assert ring.append(KIND, 0, ()) == 0


# -- waking the pump -------------------------------------------------------------------------------


@pytest.mark.timeout(20)
def test_the_pump_is_woken_once_when_enough_waits() -> None:
    """`arm(n)` wakes at the n-th record that waits, once; an urgent record wakes at once."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    ring = RecordRing(lambda policy, priority: False)
    buffer = bytearray(RING_HEADER_BYTES + 3 * RING_SEGMENT_MIN_BYTES)
    ring.attach(buffer, RING_ID, segment_bytes=RING_SEGMENT_MIN_BYTES, wake_fd=writable, pid=0)
    try:
        assert ring.arm(3)
        for _ in range(2):
            ring.append(KIND, 0, ("x",))
        assert not ring.wait(readable, 0)
        assert ring.arm(3)
        for _ in range(5):
            ring.append(KIND, 0, ("x",))
        assert ring.wait(readable, 0)
        assert not ring.wait(readable, 0)
        assert not ring.arm(7)
        assert ring.arm(8)
        ring.append(KIND, 0, ("x",), priority=True)
        assert ring.wait(readable, 0)
    finally:
        os.close(readable)
        os.close(writable)


# -- the memory ------------------------------------------------------------------------------------


def test_the_memory_is_given_back_when_the_ring_is_collected() -> None:
    """A ring that only a reference cycle holds lets go of its memory in the proper way."""
    callbacks: dict[str, Any] = {}
    ring = RecordRing(callbacks.get)  # type: ignore[arg-type]
    buffer = bytearray(RING_HEADER_BYTES + 2 * RING_SEGMENT_MIN_BYTES)
    ring.attach(buffer, RING_ID, segment_bytes=RING_SEGMENT_MIN_BYTES, wake_fd=-1, pid=0)
    with pytest.raises(BufferError):
        buffer.extend(b"not while the ring uses it")
    callbacks["ring"] = ring
    del ring, callbacks
    gc.collect()
    buffer.extend(b"it is free again")

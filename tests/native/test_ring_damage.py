"""Ring files that were cut, overwritten or never finished (FAULTS D7)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor._native import (
    RING_HEADER_BYTES,
    RING_SEGMENT_MIN_BYTES,
    decode_record,
    read_ring,
)
from tests.oracles import RING_ID, new_ring, record_bytes

PAGE = 4096
HEADER_STRUCT_BYTES = 72  # what of the header page is in use
RELEASED = 5500
WAITING = 3000


@dataclass(frozen=True)
class Place:
    """Where a record lies in the image, and whether it is the last of its segment."""

    begin: int
    end: int
    newest: bool


@dataclass(frozen=True)
class Image:
    """A ring's bytes as a crash would leave them, with what is in them."""

    data: bytes
    records: dict[int, tuple[Any, ...]]  # those that wait, by sequence number
    places: dict[int, Place]
    stale: set[int]  # released before


@functools.cache
def image() -> Image:
    """Released records, in part written over by those that wait, and unused segments."""
    ring, buffer = new_ring(6)
    for seq in range(1, RELEASED + 1):
        assert ring.append(4, 0, _fields(seq)) == seq
    assert ring.claim()
    ring.release()
    records = {}
    for seq in range(RELEASED + 1, RELEASED + WAITING + 1):
        records[seq] = _fields(seq)
        assert ring.append(4, 0, records[seq]) == seq
    data = bytes(buffer)
    header, offsets, damaged = read_ring(data)
    assert header is not None
    assert damaged == 0
    begins = {decode_record(data, offset)[2]: offset for offset in offsets}
    places = {
        seq: Place(
            begin,
            begin + record_bytes(_fields(seq)),
            begin + record_bytes(_fields(seq)) != begins.get(seq + 1),
        )
        for seq, begin in begins.items()
    }
    return Image(data, records, places, set(begins) - set(records))


def _fields(seq: int) -> tuple[Any, ...]:
    size = 20_000 if seq % 97 == 0 else 40 + seq * 37 % 600
    return (f"{seq} " * (size // 4), seq, seq / 3, None)


def _check(data: bytes, damaged_from: int, damaged_to: int) -> None:
    """What the damage did not touch is there; what it did touch is counted and not wrong."""
    header, offsets, damaged = read_ring(data)
    assert header is not None
    assert header["ring_id"] == RING_ID
    found = {}
    for offset in offsets:
        kind, _, seq, _, fields = decode_record(data, offset)
        found[seq] = (kind, fields)
    hit = {
        seq
        for seq, place in image().places.items()
        if place.begin < damaged_to and place.end > damaged_from
    }
    for seq, fields in image().records.items():
        if seq not in hit:
            assert found[seq] == (4, fields)
    changed = {
        seq
        for seq in hit
        if data[image().places[seq].begin : image().places[seq].end] != _bytes_of(seq)
    }
    newest = {seq for seq in image().places if image().places[seq].newest}
    for seq in changed - newest:  # the newest of a segment has no checksum yet
        assert found.get(seq) in (None, (4, _fields(seq)))
    if (changed & set(image().records)) - newest:
        assert damaged >= 1


def _bytes_of(seq: int) -> bytes:
    place = image().places[seq]
    return image().data[place.begin : place.end]


def _somewhere() -> st.SearchStrategy[int]:
    """A byte behind the header: mostly one of a record that waits, often of its head."""
    end = len(image().data) - 1
    waiting = st.sampled_from(sorted(image().records)).map(lambda seq: image().places[seq])
    return st.one_of(
        waiting.flatmap(lambda place: st.integers(place.begin, place.begin + 47)),
        waiting.flatmap(lambda place: st.integers(place.begin, place.end + 7)),
        st.integers(RING_HEADER_BYTES, end),
    )


def test_d7_an_undamaged_image_is_complete() -> None:
    """The image that the other tests damage holds every record that waits, and old ones."""
    found = {
        decode_record(image().data, offset)[2]: decode_record(image().data, offset)[4]
        for offset in read_ring(image().data)[1]
    }
    assert {seq: found[seq] for seq in image().records} == image().records
    segments = {
        (image().places[seq].begin - RING_HEADER_BYTES) // RING_SEGMENT_MIN_BYTES
        for seq in image().records
    }
    assert len(segments) >= 2
    assert image().stale


@given(st.data())
def test_d7_a_changed_byte_costs_at_most_its_record(data: st.DataObject) -> None:
    """Any byte may have any value: every other record is found, and none comes out wrong."""
    at = data.draw(_somewhere())
    value = data.draw(st.integers(0, 255))
    damaged = bytearray(image().data)
    damaged[at] = value
    _check(bytes(damaged), at, at + 1)


@given(st.data())
def test_d7_a_flipped_bit_in_a_record_is_noticed(data: st.DataObject) -> None:
    """Every single flipped bit of a record with a checksum takes the record out and is counted."""
    waiting = [seq for seq in image().records if not image().places[seq].newest]
    place = image().places[data.draw(st.sampled_from(waiting))]
    at = data.draw(st.integers(place.begin, place.end - 1))
    damaged = bytearray(image().data)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    _check(bytes(damaged), at, at + 1)
    assert place.begin not in read_ring(bytes(damaged))[1]


@given(st.data())
def test_d7_a_cut_file_keeps_what_is_before_the_cut(data: st.DataObject) -> None:
    """A file of any length gives the records that are whole in it."""
    size = data.draw(_somewhere())
    _check(image().data[:size], size, len(image().data))


@given(size=st.integers(0, RING_HEADER_BYTES - 1))
@example(0)
@example(HEADER_STRUCT_BYTES)
def test_d7_a_file_without_a_whole_header_is_no_ring(size: int) -> None:
    """Less than the header page is nothing at all, and counted as damage unless it is empty."""
    assert read_ring(image().data[:size]) == (None, [], 1 if size else 0)


@given(st.data())
def test_d7_zeroed_pages_cost_only_the_records_in_them(data: st.DataObject) -> None:
    """Pages that never reached the disk leave a hole: all around it is found."""
    first = data.draw(_somewhere()) // PAGE * PAGE
    n_bytes = PAGE * data.draw(st.sampled_from([1, 1, 2, 16]))
    end = min(first + n_bytes, len(image().data))
    damaged = image().data[:first] + bytes(end - first) + image().data[end:]
    _check(damaged, first, end)


@pytest.mark.parametrize("segment", range(6))
def test_d7_a_hole_at_the_beginning_of_a_segment_is_counted(segment: int) -> None:
    """A zeroed first page is told from a segment that is unused or about to be written anew."""
    start = RING_HEADER_BYTES + segment * RING_SEGMENT_MIN_BYTES
    damaged = image().data[:start] + bytes(PAGE) + image().data[start + PAGE :]
    used = any(place.begin == start for place in image().places.values())
    assert (read_ring(damaged)[2] > 0) == used
    _check(damaged, start, start + PAGE)


@given(at=st.integers(0, HEADER_STRUCT_BYTES - 1), bit=st.integers(0, 7))
def test_d7_a_damaged_header_is_noticed(at: int, bit: int) -> None:
    """Without a header to trust nothing is read: the file is one damaged place."""
    damaged = bytearray(image().data)
    damaged[at] ^= 1 << bit
    assert read_ring(bytes(damaged)) == (None, [], 1)


@given(st.binary(max_size=3 * PAGE))
def test_d7_any_bytes_behind_a_header_are_read_without_harm(noise: bytes) -> None:
    """Noise in the place of records is hopped over, and what lies behind it is found."""
    start = RING_HEADER_BYTES
    data = image().data[:start] + noise + image().data[start + len(noise) :]
    _check(data, start, start + len(noise))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 15)), min_size=1, max_size=200))
def test_d7_noise_that_looks_like_records_does_no_harm(words: list[tuple[int, int]]) -> None:
    """Small numbers, as record heads have them, are read as records or nothing, without harm."""
    noise = b"".join(low.to_bytes(4, "little") + high.to_bytes(4, "little") for low, high in words)
    start = RING_HEADER_BYTES
    data = image().data[:start] + noise + image().data[start + len(noise) :]
    for offset in read_ring(data)[1]:
        assert len(decode_record(data, offset)) == 5


@pytest.mark.parametrize("wrong", [0, 1 << 62, 1 << 63])
def test_d7_a_sequence_number_that_nobody_gave_is_damage(wrong: int) -> None:
    """The newest record has no checksum: a number that can't be has it counted, not replayed."""
    seq = max(image().records)
    at = image().places[seq].begin + 8
    damaged = bytearray(image().data)
    damaged[at : at + 8] = (wrong and wrong | seq).to_bytes(8, "little")
    _, offsets, count = read_ring(bytes(damaged))
    assert image().places[seq].begin not in offsets
    assert count == 1


@given(st.binary(max_size=200), st.integers(0, 250))
@example(b"", 0)
def test_decoding_checks_that_there_is_a_record(data: bytes, offset: int) -> None:
    """Bytes that are no record, or a place outside of them, are a `ValueError`."""
    with pytest.raises(ValueError, match="no valid record"):
        decode_record(data, offset)

"""Samples in the ring: records that grow, what ends them, and what a kill leaves of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor._native import (
    RING_HEADER_BYTES,
    MetricSeries,
    MetricSettings,
    RecordRing,
    decode_record,
    read_ring,
)
from tests.oracles import new_ring

SAMPLES_KIND = 8
RECORD_HEADER_BYTES = 32
SAMPLE_BYTES = 24
Sample = tuple[int, int, float]


def series_of(ring: RecordRing, number: int) -> MetricSeries:
    """A series that needs no definition."""

    def never(*args: object) -> Any:
        raise AssertionError(args)

    settings = MetricSettings(
        resolve=never, define=lambda series: True, publish=never, reject=never, policy=1
    )
    return MetricSeries(
        ring,
        settings,
        series=number,
        metric_type="m",
        unit=None,
        labels={},
        tenant_id=None,
    )


def samples_in(data: bytes, damaged: int = 0) -> list[tuple[int, Sample]]:
    """Sequence number and content of every sample in a ring's bytes."""
    header, offsets, found_damaged = read_ring(data)
    assert header is not None
    assert found_damaged == damaged
    found = []
    for offset in offsets:
        kind, _, seq, _, content = decode_record(data, offset)
        if kind == SAMPLES_KIND:
            found += list(enumerate(content, start=seq))
    return found


steps = st.lists(
    st.tuples(st.just("sample"), st.integers(0, 3), st.integers(0, 2**40), st.floats(-1e9, 1e9))
    | st.tuples(st.just("record"))
    | st.tuples(st.just("claim"))
    | st.tuples(st.just("unclaim"))
    | st.tuples(st.just("release")),
    max_size=400,
)


@given(steps)
def test_samples_and_other_records_keep_their_order_and_numbers(steps: list[Any]) -> None:
    """Whatever comes between samples, each has a number of its own, and none is lost or changed."""
    ring, buffer = new_ring(3)
    series = [series_of(ring, number) for number in range(4)]
    waiting: list[tuple[int, Sample]] = []
    claimed: int | None = None
    seq = released = 0
    for step in steps:
        if step[0] == "sample":
            _, number, timestamp, value = step
            series[number].record_at(value, timestamp)
            seq += 1
            waiting.append((seq, (number, timestamp, value)))
        elif step[0] == "record":
            seq += 1
            assert ring.append(1, 0, ("text", seq)) == seq
        elif step[0] == "claim" and claimed is None:
            if ring.claim():
                claimed = seq
                assert ring.claimed_seq == seq
        elif step[0] == "unclaim" and claimed is not None:
            ring.unclaim()
            claimed = None
        elif step[0] == "release" and claimed is not None:
            ring.release()
            released, claimed = claimed, None
        assert ring.seq == seq
        assert ring.held == seq - released
    stored = [entry for entry in samples_in(bytes(buffer)) if entry[0] > released]
    assert stored == [entry for entry in waiting if entry[0] > released]


def test_a_claim_ends_the_record_that_grows() -> None:
    """What is claimed does not change any more; later samples are in a record of their own."""
    ring, buffer = new_ring(3)
    series = series_of(ring, 5)
    series.record_at(1.0, 10)
    series.record_at(2.0, 20)
    assert ring.claim()
    series.record_at(3.0, 30)
    record = ring.claimed_record(2)
    assert decode_record(record)[4] == ((5, 10, 1.0), (5, 20, 2.0))
    assert [seq for seq, _ in samples_in(bytes(buffer))] == [1, 2, 3]
    assert len(read_ring(bytes(buffer))[1]) == 2
    with pytest.raises(LookupError):
        ring.claimed_record(3)


def test_a_record_of_samples_has_an_end() -> None:
    """One header serves many samples, but a checksum is never made over more than 4 KiB."""
    ring, buffer = new_ring(3)
    series = series_of(ring, 5)
    for number in range(1000):
        series.record_at(number, number)
    offsets = read_ring(bytes(buffer))[1]
    assert len(offsets) == 6
    assert ring.pending_bytes == 1000 * SAMPLE_BYTES + 6 * RECORD_HEADER_BYTES


def test_a_full_ring_drops_samples_as_other_records() -> None:
    """What has no room is asked about and dropped; what was accepted stays."""
    asked = []
    ring, buffer = new_ring(2, on_full=lambda policy, priority: bool(asked.append(policy)))
    series = series_of(ring, 5)
    for number in range(60_000):
        series.record_at(1.0, number)
    assert ring.seq + len(asked) == 60_000
    assert [sample[1] for _, sample in samples_in(bytes(buffer))] == list(range(ring.seq))


@given(
    st.integers(1, 400),
    st.integers(0, SAMPLE_BYTES - 1),
    st.binary(min_size=SAMPLE_BYTES, max_size=SAMPLE_BYTES),
)
def test_d7_a_kill_within_a_sample_costs_nothing(n: int, written: int, noise: bytes) -> None:
    """Half a sample behind the record that grew is no sample, and no damage either."""
    ring, buffer = new_ring(3)
    series = series_of(ring, 5)
    for number in range(n):
        series.record_at(number / 3, number)
    end = RING_HEADER_BYTES + ring.pending_bytes
    buffer[end : end + written] = noise[:written]
    assert [sample for _, sample in samples_in(bytes(buffer))] == [
        (5, number, number / 3) for number in range(n)
    ]


@given(st.integers(0, 5 * 4096), st.integers(0, 7))
def test_d7_a_flipped_bit_costs_its_record_only(place: int, bit: int) -> None:
    """Damage within a record that has its checksum takes its samples, and no others."""
    ring, buffer = new_ring(3)
    series = series_of(ring, 5)
    for number in range(1000):
        series.record_at(number / 3, number)
    data = bytearray(buffer)
    data[RING_HEADER_BYTES + place] ^= 1 << bit
    _, offsets, _ = read_ring(bytes(data))
    _, whole, _ = read_ring(bytes(buffer))
    hit = max(offset for offset in whole if offset <= RING_HEADER_BYTES + place)
    newest = hit == whole[-1]  # it has no checksum yet
    assert set(whole) - {hit} <= set(offsets)
    assert newest or hit not in offsets

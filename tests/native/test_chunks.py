"""Samples of a batch become blocks, one a series and minute."""

from __future__ import annotations

import struct
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ax_monitor._native import RecordRing
from ax_monitor.storage.writer import Writer
from tests.batches import log, read_rows, write
from tests.native.test_ring_samples import series_of
from tests.oracles import new_ring

MINUTE_MS = 60_000
Sample = tuple[int, int, float]


@pytest.fixture
def writer(db: str):  # type: ignore[no-untyped-def]
    opened = Writer(db)
    yield opened
    opened.close()


def decode(block: bytes) -> list[tuple[int, float]]:
    """The block as `samples.pxd` describes it."""
    n = len(block) // 10
    return list(
        zip(struct.unpack_from(f"<{n}H", block), struct.unpack_from(f"<{n}d", block, 2 * n))
    )


def record(ring: RecordRing, samples: list[Sample]) -> None:
    handles = {number: series_of(ring, number) for number, _, _ in samples}
    for number, timestamp, value in samples:
        handles[number].record_at(value, timestamp)


def expected(samples: list[Sample]) -> dict[tuple[int, int], list[tuple[int, float]]]:
    chunks = defaultdict(list)
    for number, timestamp, value in sorted(samples, key=lambda sample: sample[1]):
        chunks[number, timestamp // MINUTE_MS].append((timestamp % MINUTE_MS, value))
    return dict(chunks)


samples = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2, 7, 2**62 - 1]),
        st.integers(-200_000, 200_000) | st.sampled_from([-(2**50), 2**50, -1, 0, 59_999, 60_000]),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=200,
)


@given(st.lists(samples, min_size=1, max_size=3))
@settings(max_examples=50)
def test_chunks_of_any_samples(batches: list[list[Sample]]) -> None:
    """By series and minute, in the order of time, those of one millisecond as they came."""
    with tempfile.TemporaryDirectory() as folder:
        db = str(Path(folder) / "m.db")
        writer = Writer(db)
        ring, _buffer = new_ring(3)
        for batch in batches:
            log(ring, "between")
            record(ring, batch)
            log(ring, "between")
            assert write(writer, ring) == len(batch) + 2
        rows = read_rows(db, "SELECT * FROM metric_chunks ORDER BY batch, series, minute")
        writer.close()
    filled = [batch for batch in batches if batch]
    for number, batch in enumerate(filled, start=1):
        found = {
            (row["series"], row["minute"]): decode(row["samples"])
            for row in rows
            if row["batch"] == number
        }
        assert found == expected(batch)
    assert {row["batch"] for row in rows} <= set(range(1, len(filled) + 1))


def test_many_series_in_one_batch(db: str, writer: Writer) -> None:
    """More series than the table of a batch begins with, and the next batch starts afresh."""
    ring, _buffer = new_ring(4)
    many = [(number * 7919, 1000 + number % 5, float(number)) for number in range(20_000)]
    record(ring, many)
    write(writer, ring)
    record(ring, [(3, 5, 1.5)])
    write(writer, ring)
    rows = read_rows(db, "SELECT batch, series, minute, samples FROM metric_chunks")
    assert len(rows) == 20_001
    assert {row["series"] for row in rows if row["batch"] == 1} == {s for s, _, _ in many}
    assert decode(rows[-1]["samples"]) == [(5, 1.5)]


def test_chunks_come_by_series(db: str, writer: Writer) -> None:
    """Rows arrive in the order of the table's key, whatever the order of recording was."""
    ring, _buffer = new_ring(3)
    record(ring, [(9, 70_000, 1.0), (2, 5, 2.0), (9, 10, 3.0), (2, 70_000, 4.0)])
    assert ring.claim()
    batch = writer._batch
    batch.load_ring(ring)
    assert writer.write_claim(ring) == 4
    assert [
        (row["series"], row["minute"]) for row in read_rows(db, "SELECT * FROM metric_chunks")
    ] == [
        (2, 0),
        (2, 1),
        (9, 0),
        (9, 1),
    ]

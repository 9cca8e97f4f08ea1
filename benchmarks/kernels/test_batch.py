"""Writing a batch of log records, against the same rows by `executemany` into the same schema."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from ax_monitor._native import LogChannel, RecordRing, encode_json
from ax_monitor.bench import payload
from ax_monitor.storage.writer import Writer
from benchmarks.conftest import Against

RECORDS = 2000
SQL = """
INSERT INTO log_records(seq, context, severity, span_id, ring, ring_seq, message, metadata)
VALUES (?, 1, 9, ?, 1, ?, ?, ?)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    opened = Writer(str(tmp_path / "monitor.db"))
    yield opened
    opened.close()


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[apsw.Connection]:
    path = str(tmp_path / "by_hand.db")
    Writer(path).close()
    opened = apsw.Connection(path)
    opened.execute("PRAGMA synchronous = NORMAL")
    opened.execute("INSERT INTO log_contexts(id, source) VALUES (1, ?)", (payload.SOURCE,))
    yield opened
    opened.close()


def test_write_2000_logs(
    against: Against, ring: RecordRing, log: LogChannel, writer: Writer, by_hand: apsw.Connection
) -> None:
    texts = payload.messages(RECORDS)
    encoded = encode_json(payload.METADATA)
    assert encoded is not None
    metadata, span = encoded.decode(), int(payload.SPAN_ID, 16) - 2**64
    rows: list[tuple[object, ...]] = []
    written = 0

    def fill() -> None:
        for text in texts:
            log.info(text, payload.SOURCE, span_id=payload.SPAN_ID, metadata=payload.METADATA)
        ring.claim()

    def write() -> int:
        return writer.write_claim(ring)

    def make_rows() -> None:
        nonlocal written
        written += RECORDS
        begin = (time.time_ns() // 1_000_000 << 12) + written
        rows[:] = [(begin + n, span, written + n, text, metadata) for n, text in enumerate(texts)]

    def execute_many() -> None:
        with by_hand:
            by_hand.executemany(SQL, rows)

    found = against(
        "apsw executemany",
        execute_many,
        write,
        before=fill,
        before_reference=make_rows,
        after=ring.release,
    )
    assert found == RECORDS

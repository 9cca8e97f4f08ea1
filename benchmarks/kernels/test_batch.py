"""Writing a batch of log records, against the same rows by `executemany` into the same schema."""

from __future__ import annotations

from pathlib import Path

import apsw

from ax_monitor._native import LogChannel, RecordRing
from ax_monitor.bench import payload
from ax_monitor.storage.writer import Writer
from benchmarks.conftest import Against, LogRows

RECORDS = 2000


def test_write_2000_logs(
    against: Against, ring: RecordRing, log: LogChannel, tmp_path: Path, by_hand: apsw.Connection
) -> None:
    writer = Writer(str(tmp_path / "monitor.db"))
    texts, rows = payload.messages(RECORDS), LogRows(RECORDS)

    def fill() -> None:
        for text in texts:
            log.info(text, payload.SOURCE, span_id=payload.SPAN_ID, metadata=payload.METADATA)
        ring.claim()

    found = against(
        "apsw executemany",
        lambda: rows.insert_into(by_hand),
        lambda: writer.write_claim(ring),
        before=fill,
        before_reference=rows.make,
        after=ring.release,
    )
    assert found == RECORDS
    writer.close()

"""Writing a batch of 10,000 records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ax_monitor._native import LogChannel, LogSettings, RecordRing
from ax_monitor.bench import payload
from ax_monitor.storage.writer import Writer


def test_write_batch(benchmark: Any, ring: RecordRing, tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "monitor.db"))
    channel = LogChannel(ring, LogSettings(simplify=lambda *values: values[:4], publish=None))
    texts = payload.messages(10_000)

    def fill() -> None:
        for text in texts:
            channel.info(text, payload.SOURCE, execution_id="run-1", metadata=payload.METADATA)
        ring.claim()

    def write() -> None:
        assert writer.write_claim(ring) == len(texts)
        ring.release()

    benchmark.pedantic(write, setup=fill, rounds=10)
    writer.close()

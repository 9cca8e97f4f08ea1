"""Segments of the full-text index are merged between commits, and few are left."""

from __future__ import annotations

import time
from pathlib import Path

import apsw
import pytest

from ax_monitor import StorageError, Store, StructuredLogger
from ax_monitor.pipeline.maintenance import Maintenance
from ax_monitor.storage.writer import Writer

FLUSHES = 200
FEW = 16  # three of each level


def _segments(db: str) -> int:
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    (found,) = connection.execute("SELECT count(DISTINCT segid) FROM logs_fts_idx").fetchall()[0]
    connection.close()
    assert isinstance(found, int)
    return found


def _record(store: Store, flushes: int = FLUSHES) -> None:
    logger = StructuredLogger(store)
    for number in range(flushes):
        logger.info(f"order {number} refused", "shop")
        assert store.flush()


def test_commits_do_not_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leaves its segment, where the pump does not merge them afterwards."""
    monkeypatch.setattr(Maintenance, "merge", lambda *args: None)
    db = str(tmp_path / "monitor.db")
    with Store(db) as store:
        _record(store)
    assert _segments(db) == FLUSHES


def test_the_pump_merges_them(tmp_path: Path) -> None:
    """Soon after the last commit few are left, and the index is what the texts say."""
    db = str(tmp_path / "monitor.db")
    with Store(db) as store:
        _record(store)
        deadline = time.monotonic() + 20
        while _segments(db) > FEW:
            assert time.monotonic() < deadline, f"{_segments(db)} segments are left"
            time.sleep(0.01)
        logger = StructuredLogger(store)
        assert len(logger.query_logs(search="refused", limit=None)) == FLUSHES
        assert [entry.message for entry in logger.query_logs(search="77")] == ["order 77 refused"]
    connection = apsw.Connection(db)
    connection.execute("INSERT INTO logs_fts(logs_fts, rank) VALUES ('integrity-check', 1)")
    connection.close()


def test_a_merge_that_fails_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is told once, records are stored, and merging is tried again after a while."""
    tried = []

    def fail(writer: Writer, pages: int) -> bool:
        tried.append(pages)
        raise StorageError("out of luck", retryable=True)

    monkeypatch.setattr(Writer, "merge_index", fail)
    with Store(tmp_path / "monitor.db") as store:
        _record(store, 20)
        assert len(StructuredLogger(store).query_logs(search="refused")) == 20
    assert len(tried) == 1
    told = capfd.readouterr().err
    assert told.count("merging the full-text index failed") == 1

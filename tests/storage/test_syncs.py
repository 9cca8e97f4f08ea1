"""When the writer syncs, checkpoints, and what it leaves of the WAL (FAULTS D5, D6, C4)."""

from __future__ import annotations

import os
import threading
from typing import Literal

import apsw
import pytest

import ax_monitor
from ax_monitor.pipeline import maintenance
from ax_monitor.pipeline.maintenance import Maintenance
from ax_monitor.storage import logs
from ax_monitor.storage.writer import WalState, Writer
from tests.conftest import FakeClock
from tests.faults.faulty_vfs import FaultyVFS

WRITE = "UPDATE recorder_state SET metric_batch = metric_batch + 1"


@pytest.mark.parametrize("strict", [False, True])
def test_d5_the_commits_that_are_to_be_synced_are(db: str, strict: bool) -> None:
    """A strict writer syncs every commit, another one those that it was told to."""
    vfs = FaultyVFS()
    writer = Writer(db, strict=strict, vfs=vfs.vfs_name)

    writer.checkpoint()  # the first write after it begins the WAL anew, and syncs its head
    writer.change(lambda c: c.execute(WRITE))
    asked = []
    for on in (False, True, False):
        writer.sync_next_commit(on)
        vfs.faults.arm("xSync", times=0)  # nothing fails: it only counts
        writer.change(lambda c: c.execute(WRITE))
        asked.append(vfs.faults.seen)
    writer.close()
    assert asked == ([1, 1, 1] if strict else [0, 1, 0])


def test_d6_no_commit_checkpoints(db: str) -> None:
    """However large the WAL is: a checkpoint that fails must not make its commit look failed."""
    writer = Writer(db)
    writer.checkpoint()
    for _ in range(3):
        writer.change(
            lambda c: c.execute(
                "INSERT OR REPLACE INTO recorder_rejects(ring_id, ring_seq, rejected_at, error, "
                "record) VALUES (x'00', 1, 0, '', zeroblob(6000000))"
            )
        )
    wal = writer.wal()
    writer.close()
    assert wal.pages > 2000
    assert wal.copied == 0


def test_c9_a_reader_that_pins_a_large_wal_costs_the_lock_once_a_second(
    db: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To wait for it holds the write lock: not after every batch, or others never get it."""
    monkeypatch.setattr(maintenance, "CHECKPOINT_PAGES", 1)
    monkeypatch.setattr(maintenance, "RESTART_PAGES", 2)
    writer = Writer(db)
    waits: list[float] = []
    checkpoint = writer.checkpoint

    def counted(then: Literal["go on", "restart", "truncate"] = "go on") -> WalState:
        if then != "go on":
            waits.append(clock.monotonic())
        return checkpoint(then)

    monkeypatch.setattr(writer, "checkpoint", counted)
    kept = Maintenance(clock, print, strict=False)
    reader = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    with reader:
        reader.execute("SELECT count(*) FROM recorder_state").fetchall()
        for _ in range(30):
            writer.change(lambda c: c.execute(WRITE))
            kept.checkpoint(writer, idle=False)
            clock.advance(0.1)
    assert 3 <= len(waits) <= 4
    assert writer.wal().pages >= 30
    clock.advance(1)
    kept.checkpoint(writer, idle=False)  # nobody is in the way any more
    writer.change(lambda c: c.execute(WRITE))
    assert writer.wal().pages < 10
    writer.close()


def test_a_flush_does_not_wait_for_the_checkpoint_behind_it(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it waits for is committed before; a checkpoint may take some 20 ms."""
    go_on = threading.Event()
    checkpoint = Maintenance.checkpoint

    def held_up(kept: Maintenance, writer: Writer, *, idle: bool) -> None:
        if store.peek(logs.count_logs) == 2:  # that behind the first record may be under way
            go_on.wait(30)
        checkpoint(kept, writer, idle=idle)

    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        logger.info("first", "me")
        assert store.flush()
        monkeypatch.setattr(Maintenance, "checkpoint", held_up)
        logger.info("second", "me")
        through = threading.Event()
        flusher = threading.Thread(target=lambda: store.flush(60) and through.set())
        flusher.start()
        try:
            assert through.wait(10)
            assert store.peek(logs.count_logs) == 2
        finally:
            go_on.set()
            flusher.join()


def test_c4_the_last_one_to_close_leaves_the_wal(db: str) -> None:
    """Whoever takes itself for the last one may be mistaken: the file stays."""
    writer = Writer(db)
    writer.change(lambda c: c.execute(WRITE))
    writer.close()
    assert os.path.exists(f"{db}-wal")

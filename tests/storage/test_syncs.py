"""When the writer syncs, checkpoints, and what it leaves of the WAL (FAULTS D5, D6, C4)."""

from __future__ import annotations

import os

import pytest

from ax_monitor.storage.writer import Writer
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


def test_c4_the_last_one_to_close_leaves_the_wal(db: str) -> None:
    """Whoever takes itself for the last one may be mistaken: the file stays."""
    writer = Writer(db)
    writer.change(lambda c: c.execute(WRITE))
    writer.close()
    assert os.path.exists(f"{db}-wal")

"""Which commits are synced to the disk (FAULTS D5)."""

from __future__ import annotations

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

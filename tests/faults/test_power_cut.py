"""FAULTS.md, D5: the machine loses its power."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import apsw
import pytest

from ax_monitor import AlertingService, Store, StructuredLogger
from tests.conftest import FakeClock
from tests.faults.harness import ring_paths, stored_messages, wait_until
from tests.faults.power_cut_vfs import Change, Disk, PowerCutVFS
from tests.faults.power_cuts import Durability, cut_many


@pytest.mark.parametrize("durability", ["normal", "strict"])
@pytest.mark.parametrize("count", [20])
def test_d5_power_cuts(tmp_path: Path, durability: Durability, count: int) -> None:
    """Whenever the power goes, the file is sound, and lacks no more than was said."""
    figures = cut_many(tmp_path, durability, count, seed=random.getrandbits(32))
    assert figures["cuts"] == count
    if durability == "strict":
        assert figures["lost_in_window"] == 0


def images(disk: Disk, folder: Path, count: int) -> list[str]:
    """So many databases as a cut at this moment can leave them."""
    found = []
    for number in range(count):
        place = folder / f"image-{number}"
        place.mkdir()
        disk.power_cut(place, random.Random(number))
        found.append(str(place / "monitor.db"))
    return found


def test_d5_the_disk_loses_what_was_not_synced(tmp_path: Path) -> None:
    """The test's own disk: SQLite without syncs is damaged or loses commits on it."""
    vfs = PowerCutVFS()
    connection = apsw.Connection(str(tmp_path / "monitor.db"), vfs=vfs.vfs_name)
    connection.execute("PRAGMA synchronous=OFF; CREATE TABLE t(a)")
    connection.execute("BEGIN; INSERT INTO t VALUES (randomblob(20000)); COMMIT")
    outcomes = set()
    for db in images(vfs.disk, tmp_path, 30):
        try:
            image = apsw.Connection(db)
            outcomes.add(str(image.pragma("integrity_check"))[:2])
            outcomes.add(str(len(image.execute("SELECT a FROM t").fetchall())))
        except apsw.Error as error:
            outcomes.add(type(error).__name__)
    connection.close()
    assert "1" in outcomes, "all of it may have reached the disk"
    assert outcomes & {"SQLError", "CorruptError", "NotADBError"}, outcomes


def test_d5_a_torn_write_keeps_to_its_own_bytes() -> None:
    """What a write leaves undone or turns to garbage is within it, sector by sector."""
    before = bytes(range(256)) * 16
    for seed in range(50):
        content = bytearray(before)
        for part in Change(700, b"\xff" * 2000).torn(random.Random(seed)):
            part.apply(content)
        assert content[:700] == before[:700]
        assert content[2700:] == before[2700:]


@pytest.mark.parametrize("reading", ["nobody reads", "somebody reads"])
def test_d5_an_idle_recorder_syncs_within_a_second(
    tmp_path: Path, clock: FakeClock, reading: str
) -> None:
    """Also while a reader keeps the WAL from being copied back, which else would sync it."""
    vfs = PowerCutVFS()
    db = tmp_path / "monitor.db"
    with Store(db, vfs=vfs.vfs_name, clock=clock) as store:
        logger = StructuredLogger(store, flush_interval_ms=3_600_000, buffer_size=10**6)
        logger.info("m0", "power")
        assert store.flush()
        store.checkpoint()
        reader = apsw.Connection(str(db), flags=apsw.SQLITE_OPEN_READONLY)
        if reading == "somebody reads":
            reader.execute("BEGIN; SELECT * FROM recorder_rings").fetchall()
        logger.info("m1", "power")
        assert store.flush()
        clock.advance(1.0)
        store.recorder.ring.wake()
        wait_until(lambda: vfs.disk.is_synced("-wal"), 10, "synced within the window")
        for image in images(vfs.disk, tmp_path, 10):
            with Store(image) as opened:
                assert opened.flush()
            assert stored_messages(image) == ["m0", "m1"]
        reader.close()


def test_d5_changes_are_synced_within_a_second(tmp_path: Path, clock: FakeClock) -> None:
    """So is what is changed without being recorded, such as a rule."""
    vfs = PowerCutVFS()
    with Store(tmp_path / "monitor.db", vfs=vfs.vfs_name, clock=clock) as store:
        assert store.flush()
        condition = {"operator": "gt", "threshold": 1, "window_ms": 1000, "aggregation": "max"}
        alerts = AlertingService(store)
        alerts.create_rule("Deep", "too deep", "queue.depth", condition, "warning")
        clock.advance(1.0)
        wait_until(lambda: vfs.disk.is_synced("-wal"), 10, "synced within the window")
        for image in images(vfs.disk, tmp_path, 10):
            with Store(image) as opened:
                assert [rule.name for rule in AlertingService(opened).list_rules()] == ["Deep"]


def test_d5_closing_syncs(tmp_path: Path, clock: FakeClock) -> None:
    """What was recorded before `close()` is safe, also while somebody reads."""
    vfs = PowerCutVFS()
    db = tmp_path / "monitor.db"
    with Store(db, vfs=vfs.vfs_name, clock=clock) as store:
        logger = StructuredLogger(store, flush_interval_ms=3_600_000, buffer_size=10**6)
        logger.info("m0", "power")
        assert store.flush()
        store.checkpoint()
        reader = apsw.Connection(str(db), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN; SELECT * FROM recorder_rings").fetchall()
        logger.info("m1", "power")
    for image in images(vfs.disk, tmp_path, 10):
        with Store(image) as opened:
            assert opened.flush()
        assert stored_messages(image) == ["m0", "m1"]
    reader.close()


@pytest.mark.parametrize("boot", ["boot-1", "boot-2"])
def test_d5_a_ring_that_is_there_in_part(db: str, clock: FakeClock, boot: str) -> None:
    """After a restart of the machine the newest record, which has no checksum yet, is not trusted:
    a page of it may be missing. After a mere kill of the process it is there."""
    with Store(db, clock=clock) as store:
        logger = StructuredLogger(store, flush_interval_ms=3_600_000, buffer_size=10**6)
        logger.info("m0", "power")
        assert store.flush()
        logger.info("m1", "power")
        logger.info("m2" + "x" * 12_000, "power")
        [ring] = ring_paths(db)
        left = bytearray(ring.read_bytes())
    shutil.copy(db, f"{db}.2")
    Path(f"{db}.2-wal").write_bytes(b"")
    db = f"{db}.2"
    connection = apsw.Connection(db)
    connection.execute("DELETE FROM log_records WHERE message <> 'm0'")
    connection.execute("UPDATE recorder_rings SET last_seq = 1")
    connection.execute("INSERT INTO logs_fts(logs_fts) VALUES ('rebuild')")
    connection.close()
    if boot == "boot-2":
        at = left.index(b"x" * 9000)
        left[at + 5000 : at + 9000] = bytes(4000)
    Path(f"{db}-ring-0123456789abcdef").write_bytes(left)
    clock.boot = boot
    with Store(db, clock=clock) as store:
        assert store.flush()
        assert store.stats().damaged == (1 if boot == "boot-2" else 0)
    whole = ["m2" + "x" * 12_000] if boot == "boot-1" else []
    assert stored_messages(db) == ["m0", "m1", *whole]

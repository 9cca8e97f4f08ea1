"""FAULTS.md, S: full, failing, read-only and missing disks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import psutil
import pytest

import ax_monitor
from ax_monitor import StorageError, Store, StructuredLogger
from ax_monitor.storage import logs
from tests.faults.faulty_vfs import FaultyVFS
from tests.faults.harness import (
    Child,
    check_invariant,
    check_ledger,
    recover,
    ring_paths,
    run,
    stored_messages,
    wait_until,
)

NOBODY = 65534
MIB = 1024 * 1024


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError, apsw.ReadOnlyError])
@pytest.mark.parametrize("operations", [("xWrite",), ("xSync",), ("xWrite", "xOpen")])
def test_s1_s2_goes_on_when_the_trouble_is_over(
    db: str, error: type[apsw.Error], operations: tuple[str, ...]
) -> None:
    """While the disk fails, records stay in the ring; within 5 s of its end they are stored."""
    vfs = FaultyVFS()
    errors: list[dict[str, object]] = []
    with Store(db, vfs=vfs.vfs_name, durability="strict") as store:
        logger = StructuredLogger(store)
        logger.on("flush_error", errors.append)
        assert store.flush()
        vfs.faults.arm(*operations, error=error)
        for number in range(1000):
            logger.info(f"m{number}", "s1")
        assert store.flush() is False
        stats = store.stats()
        check_invariant(stats)
        assert (stats.stored, stats.in_flight, stats.dropped) == (0, 1000, {})
        assert stats.last_error is not None
        assert stats.flush_errors > 0
        wait_until(lambda: store.stats().flush_errors > 3, 10)
        vfs.faults.disarm()
        wait_until(lambda: store.stats().in_flight == 0, 5)  # by itself: nobody flushes
        assert store.flush()
        assert store.stats().last_error is None
        check_invariant(store.stats())
        event = errors[0]
        assert isinstance(event["error"], StorageError)
        assert event["error"].retryable
        assert event["pending"] == 1000
    check_ledger(db, [f"m{number}" for number in range(1000)])


def test_s2_a_quota_comes_as_an_io_error(db: str) -> None:
    """A file size limit (a quota, EFBIG) is retried like a full disk, in the same process."""
    recover(db)
    with Child("limited_file_size", db, 100_000, "later") as child:
        wait_until(lambda: len(child.said) >= 1)
        full = ax_monitor.RecorderStats(**json.loads(child.said[0]))
        check_invariant(full)
        assert full.in_flight > 0
        assert full.volatile is False
        assert "I/O error" in str(full.last_error) or "full" in str(full.last_error)
        child.tell("there is room again")
        _, seconds, stats = child.finish()
        assert float(seconds) < 5
        check_invariant(ax_monitor.RecorderStats(**json.loads(stats)))
    check_ledger(db, child.acked)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here; the faulty VFS shows the same")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """A file that takes all the space that is left."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        block = b"x" * 4096
        try:
            while True:
                file.write(block)
        except OSError:
            return path


def test_s1_full_disk(small_disk: Path) -> None:
    """A file system that is really full: nothing is lost, and it goes on when there is space."""
    db = str(small_disk / "monitor.db")
    with Store(db) as store:
        logger = StructuredLogger(store)
        logger.info("m-before", "s1")
        assert store.flush()
        filler = fill_up(small_disk)
        messages = [f"m{number} {'x' * 2000}" for number in range(1000)]
        for message in messages:
            logger.info(message, "s1")
        assert store.flush() is False
        assert "full" in str(store.stats().last_error)
        assert store.stats().in_flight > 0
        assert [entry.message for entry in logger.query_logs(search="before")] == ["m-before"]
        filler.unlink()
        wait_until(lambda: store.stats().in_flight == 0, 5)
        check_invariant(store.stats())
    check_ledger(db, ["m-before", *messages])


def test_s3_no_room_for_the_ring(small_disk: Path) -> None:
    """A ring that does not fit is kept in memory, says why, and is written like any other."""
    db = str(small_disk / "monitor.db")
    with Store(db, ring_bytes=64 * MIB) as store:
        stats = store.stats()
        assert stats.volatile
        assert "No space left" in str(stats.volatile_reason)
        assert not ring_paths(db)
        logger = StructuredLogger(store)
        for number in range(1000):
            logger.info(f"m{number}", "s3")
    check_ledger(db, [f"m{number}" for number in range(1000)])


def test_s3_the_ring_may_not_grow_so_large(db: str) -> None:
    """The same for a file size limit, and at a normal exit nothing of it is lost."""
    recover(db)
    with Child("limited_file_size", db, 8 * MIB, "from the start") as child:
        wait_until(lambda: len(child.said) >= 1)
        stats = ax_monitor.RecorderStats(**json.loads(child.said[0]))
        assert stats.volatile
        assert "too large" in str(stats.volatile_reason)
        child.tell("go on")
        child.finish()
    check_ledger(db, child.acked)


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError, apsw.ReadOnlyError])
def test_s4_trouble_at_the_start(db: str, error: type[apsw.Error]) -> None:
    """It starts with a disk that takes nothing, reads what is there, and catches up later."""
    with Store(db) as store:
        StructuredLogger(store).info("m-old", "s4")
    vfs = FaultyVFS()
    vfs.faults.arm("xWrite", "xSync", "xTruncate", "xWriteOpen", error=error)
    with Store(db, vfs=vfs.vfs_name) as store:
        logger = StructuredLogger(store)
        logger.info("m-new", "s4")
        assert store.flush() is False
        assert [entry.message for entry in logger.query_logs()] == ["m-old"]
        assert store.stats().in_flight == 1
        vfs.faults.disarm()
        wait_until(lambda: store.stats().in_flight == 0, 5)
        assert {entry.message for entry in logger.query_logs()} == {"m-old", "m-new"}
    check_ledger(db, ["m-old", "m-new"])


def test_s4_full_disk_at_the_start(small_disk: Path) -> None:
    """On a file system without a free byte, a store opens, reads, and keeps records in memory."""
    db = str(small_disk / "monitor.db")
    with Store(db) as store:
        StructuredLogger(store).info("m-old", "s4")
    filler = fill_up(small_disk)
    with Store(db) as store:
        logger = StructuredLogger(store)
        assert store.stats().volatile
        logger.info("m-new " + "x" * 100_000, "s4")
        store.flush()
        assert [entry.message for entry in logger.query_logs(search="old")] == ["m-old"]
        filler.unlink()
        wait_until(lambda: store.stats().in_flight == 0, 5)
    assert len(stored_messages(db)) == 2


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user can reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    above = [path for path in (tmp_path, *tmp_path.parents) if path.stat().st_uid == os.geteuid()]
    modes = [(path, path.stat().st_mode & 0o7777) for path in above]
    for path, mode in modes:
        path.chmod(mode | 0o055)
    yield tmp_path
    for path, mode in modes:
        path.chmod(mode)


def test_s4_a_read_only_database(open_folder: Path) -> None:
    """Without permission to write, the store opens, records into memory, and queries work."""
    db = str(open_folder / "monitor.db")
    with Store(db) as store:
        StructuredLogger(store).info("m-old", "s4")
    for path in open_folder.iterdir():
        path.chmod(0o644)
    result = json.loads(run("open_as", NOBODY, db).said[-1])
    assert result == {"flushed": False, "read": ["m-old"], "in_flight": 1}
    assert stored_messages(db) == ["m-old"]


def test_s9_no_folder(tmp_path: Path) -> None:
    """A folder that is not there is named, and what to do about it."""
    with pytest.raises(StorageError, match=r"there is no folder .*missing: create it"):
        Store(tmp_path / "missing" / "monitor.db")
    assert not (tmp_path / "missing").exists()


def test_s9_the_path_is_a_folder(tmp_path: Path) -> None:
    """A folder instead of a file is called what it is."""
    with pytest.raises(StorageError, match="is a folder: pass the path of a file in it"):
        Store(tmp_path)


def test_s9_another_file(tmp_path: Path) -> None:
    """A file that is no database, or another program's, is refused and left as it is."""
    text = tmp_path / "notes.txt"
    text.write_text("not a database\n" * 1000)
    with pytest.raises(StorageError, match="not an SQLite database: pass another path"):
        Store(text)
    assert text.read_text() == "not a database\n" * 1000
    other = tmp_path / "other.db"
    connection = apsw.Connection(str(other))
    connection.execute("CREATE TABLE theirs(a)")
    connection.close()
    with pytest.raises(StorageError, match="belongs to another program: pass another path"):
        Store(other)
    assert [path.name for path in tmp_path.glob("*-ring-*")] == []


@pytest.mark.parametrize("place", ["folder", "file", "new file"])
def test_s9_no_permission(open_folder: Path, place: str) -> None:
    """Without permission the message names the place and the way out."""
    folder = open_folder / "closed"
    folder.mkdir(mode=0o755)
    db = folder / "monitor.db"
    if place != "new file":
        recover(str(db))
    if place == "folder":
        folder.chmod(0o700)
    error = json.loads(run("open_as", NOBODY, db).said[-1])["error"]
    assert "no permission to" in error
    assert str(folder) in error
    assert "change" in error


class Mounts:
    """psutil's answer, with file systems of one's own at some places."""

    def __init__(self, **at: str) -> None:
        self._at = at

    def __call__(self, *, all: bool) -> list[Any]:
        assert all
        root = SimpleNamespace(mountpoint="/", fstype="ext4")
        return [root, *(SimpleNamespace(mountpoint=m, fstype=f) for f, m in self._at.items())]


@pytest.mark.parametrize("fstype", ["nfs4", "cifs", "fuse.sshfs", "smbfs"])
def test_s7_a_network_filesystem_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fstype: str
) -> None:
    """Nothing is made there, and the message says what to do; unless one insists."""
    share = tmp_path / "share"
    share.mkdir()
    (tmp_path / "link").symlink_to(share)
    monkeypatch.setattr(psutil, "disk_partitions", Mounts(**{fstype: str(share)}))
    for path in (share / "monitor.db", tmp_path / "link" / "monitor.db"):
        with pytest.raises(StorageError, match=rf"network file system \({fstype}\).*local disk"):
            Store(path)
    assert list(share.iterdir()) == []
    with Store(tmp_path / "shared.db"):
        pass  # beside it, not on it
    with Store(share / "monitor.db", allow_network_filesystem=True) as store:
        StructuredLogger(store).info("x", "y")
    with Store(share / "monitor.db", read_only=True) as store:
        assert store.read(logs.count_logs) == 1


def test_s7_a_local_mount_on_a_network_share_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innermost mount counts; and where nothing can be told, the disk is taken for local."""
    local = tmp_path / "local"
    local.mkdir()
    mounts = Mounts(nfs=str(tmp_path), tmpfs=str(local))
    monkeypatch.setattr(psutil, "disk_partitions", mounts)
    with Store(local / "monitor.db"):
        pass

    def unknown(*, all: bool) -> list[Any]:
        raise OSError

    monkeypatch.setattr(psutil, "disk_partitions", unknown)
    with Store(tmp_path / "monitor.db"):
        pass


def test_z12_a_hostile_file_runs_nothing(db: str, tmp_path: Path) -> None:
    """Triggers and views that somebody planted in the file call nothing that could do harm."""
    with Store(db) as store:
        StructuredLogger(store).info("m0", "z12")
    planted = apsw.Connection(db)
    planted.execute(
        "CREATE TABLE hits(a);"
        "CREATE TRIGGER planted AFTER INSERT ON log_records BEGIN "
        "INSERT INTO hits VALUES (load_extension('/tmp/evil')); END;"
        "CREATE VIEW tempting AS SELECT load_extension('/tmp/evil') AS a;"
        "CREATE VIEW cut_short AS SELECT ax_deadline(1) AS a"
    )
    planted.close()
    with Store(db) as store:
        StructuredLogger(store).info("m1", "z12")
        assert store.flush()
        for view in ("tempting", "cut_short"):
            sql = f"SELECT * FROM {view}"
            with pytest.raises(StorageError, match=r"unsafe use of"):
                store.peek(lambda connection, sql=sql: connection.execute(sql).fetchall())
        forge = "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema"
        with pytest.raises(StorageError, match="may not be modified"):
            store.write(lambda connection: connection.execute(forge).fetchall())
    left = apsw.Connection(db)
    assert left.execute("SELECT count(*) FROM hits").fetchall() == [(0,)]
    left.close()
    assert stored_messages(db) == ["m0", "m1"]

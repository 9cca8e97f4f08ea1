"""FAULTS.md, D: what was accepted survives every way in which a process can die."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import apsw
import pytest

import ax_monitor
from ax_monitor._native import RecordRing, decode_record
from ax_monitor.pipeline import failpoints
from ax_monitor.storage.records import SPAN
from tests.batches import append, log
from tests.faults.disk_faults import HOW, Durability, Fault, How, fail_each
from tests.faults.faulty_vfs import FaultyVFS
from tests.faults.harness import (
    Child,
    check_invariant,
    check_ledger,
    check_samples,
    locked,
    recover,
    ring_paths,
    run,
    stored_messages,
    wait_until,
)

THREADS = 4
RECORD_HEADER_BYTES = 32


@pytest.mark.parametrize("kills", [6])
def test_d1_killed_under_load(tmp_path: Path, kills: int) -> None:
    """SIGKILL at any moment under load from four threads loses nothing and doubles nothing."""
    for number in range(kills):
        db = str(tmp_path / f"{number}.db")
        with Child("load", db, THREADS) as child:
            child.wait_for_acks(1)
            time.sleep(random.uniform(0, 0.25))
            assert child.kill() == -signal.SIGKILL
        recover(db)
        check_ledger(db, child.acked, in_doubt=THREADS)
        assert not ring_paths(db)
        for path in tmp_path.glob(f"{number}.db*"):
            path.unlink()


@pytest.mark.parametrize("kills", [3])
def test_d1_killed_while_recording_samples(db: str, kills: int) -> None:
    """The same of samples, which share records that grow; again and again in one file."""
    acked: list[str] = []
    for number in range(kills):
        with Child("sample", db, THREADS, number) as child:
            child.wait_for_acks(THREADS)
            time.sleep(random.uniform(0, 0.4))
            assert child.kill() == -signal.SIGKILL
        acked += child.acked
    check_samples(db, acked, in_doubt=kills * THREADS)
    assert not ring_paths(db)


@pytest.mark.parametrize("failpoint", ["before_write", "after_commit"])
def test_d4_samples_killed_around_the_commit(db: str, failpoint: str) -> None:
    """Samples are written or not, record by record of the ring, together with the progress."""
    with Child("sample", db, THREADS, 0, failpoint=failpoint) as child:
        assert child.wait() == -signal.SIGKILL
    check_samples(db, child.acked, in_doubt=THREADS)


@pytest.mark.parametrize("kills", [4])
def test_d1_the_same_database_again_and_again(db: str, kills: int) -> None:
    """Each run first takes over what the one before it left, and is killed itself."""
    acked: list[str] = []
    for number in range(kills):
        with Child("batches", db, f"run{number}", 10**6) as child:
            child.wait_for_acks(20)
            time.sleep(random.uniform(0, 0.05))
            child.kill()
        acked += child.acked
    recover(db)
    check_ledger(db, acked, in_doubt=kills)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("os._exit", 3),
        ("exception", 1),
        ("sys.exit", 3),
        ("abort", -signal.SIGABRT),
        ("SIGTERM", -signal.SIGTERM),
        ("SIGINT", -signal.SIGINT),
        ("multiprocessing", 3),
    ],
)
def test_d2_ended_without_a_close(db: str, how: str, code: int) -> None:
    """Ends that run no clean-up lose nothing, and the host's signal handlers stay as they were."""
    with Child("end", db, how) as child:
        if how.startswith("SIG"):
            child.wait_for("ready")
            assert child.kill(getattr(signal, how)) == code
        else:
            child.finish(code)
    assert len(child.acked) == (4000 if how == "multiprocessing" else 2000)
    recover(db)
    check_ledger(db, child.acked)


@pytest.mark.parametrize(
    "failpoint",
    ["before_write", "after_commit", "after_release", "before_checkpoint", "after_checkpoint"],
)
def test_d4_killed_around_the_commit(db: str, failpoint: str) -> None:
    """Between ring and database a kill loses and doubles nothing: progress is in the commit."""
    with Child("load", db, THREADS, failpoint=failpoint) as child:
        assert child.wait() == -signal.SIGKILL
    assert len(child.acked) > 0
    recover(db)
    check_ledger(db, child.acked, in_doubt=THREADS)


def left_by_a_killed_process(db: str, count: int) -> list[str]:
    """A ring file with so many records, none of them in the database; their messages."""
    recover(db)
    with locked(db), Child("fill", db, count) as child:
        child.wait_for("filled")
        child.kill()
    assert len(ring_paths(db)) == 1
    assert stored_messages(db) == []
    return child.acked


@pytest.mark.parametrize("failpoint", ["closing", "closed_database"])
def test_d4_killed_while_closing(db: str, failpoint: str) -> None:
    """The ring is taken over by the next one, which finds that it has all of it already."""
    child = run("batches", db, "a", 3, code=-signal.SIGKILL, failpoint=failpoint)
    assert len(child.acked) == 30
    assert len(ring_paths(db)) == 1
    assert recover(db).recovered == 0
    check_ledger(db, child.acked)
    assert not ring_paths(db)


@pytest.mark.parametrize(
    "failpoint",
    ["recovery_after_chunk", "recovery_before_interrupt", "recovery_before_remove"],
)
def test_d4_the_recoverer_is_killed_too(db: str, failpoint: str) -> None:
    """A recovery that dies after a chunk, or before it removes the ring, is done again exactly."""
    acked = left_by_a_killed_process(db, 45_000)
    for _ in range(2):
        run("recover", db, code=-signal.SIGKILL, failpoint=failpoint)
    recover(db)
    check_ledger(db, acked)
    assert not ring_paths(db)


@pytest.mark.parametrize("kills", [3])
def test_d4_recoverers_killed_at_random(db: str, kills: int) -> None:
    """However often recovery is killed, and by however many at once it is tried."""
    acked = left_by_a_killed_process(db, 30_000)
    for _ in range(kills):
        with Child("recover", db) as one, Child("recover", db) as two:
            one.wait_for("open")
            time.sleep(random.uniform(0, 0.15))
            one.kill()
            two.kill()
    recover(db)
    check_ledger(db, acked)


def test_d4_every_failpoint_is_in_use() -> None:
    """Each name stands at one place in the library, and in a test above."""
    package = Path(ax_monitor.__file__).parent
    code = "".join(path.read_text() for path in (package / "pipeline").glob("*.py"))
    tests = Path(__file__).read_text()
    for name in failpoints.NAMES:
        assert code.count(f'failpoint("{name}")') == 1, name
        assert f'"{name}"' in tests, name


def test_d4_two_stores_of_one_process_recover_one_ring(db: str) -> None:
    """Stores that are opened at once in one process, which shares its locks, don't replay twice."""
    acked = left_by_a_killed_process(db, 20_000)
    stores = [ax_monitor.Store(db) for _ in range(4)]
    for store in stores:
        assert store.flush()
    assert sum(store.stats().recovered for store in stores) == len(acked)
    for store in stores:
        store.close()
    check_ledger(db, acked)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("durability", ["normal", "strict"])
@pytest.mark.timeout(600)
def test_d6_every_write_fails_once(tmp_path: Path, durability: Durability, times: int) -> None:
    """Whichever write or sync fails, and its successors too, each record is stored exactly once."""
    fault = Fault(("xWrite", "xSync", "xTruncate"), "I/O error", durability, times)
    assert fail_each(tmp_path, fault, step=41) > 3, "faults were injected"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("operation", ["xWrite", "xSync", "xTruncate"])
def test_d6_writes_syncs_and_truncates(tmp_path: Path, operation: str, how: How) -> None:
    """The same of each operation alone, in each way in which a disk fails."""
    if operation != "xWrite" and how == "short write":
        pytest.skip("only writes are short")
    fault = Fault((operation,), how, "normal", 2)
    assert fail_each(tmp_path, fault, step={"xWrite": 97, "xSync": 5}.get(operation, 1)) > 0


@pytest.mark.parametrize("times", [2, 30])
def test_d6_reads_fail_after_a_commit_that_raised(db: str, times: int) -> None:
    """When even asking what was committed fails, the answer is got before the next attempt."""
    vfs = FaultyVFS()
    with ax_monitor.Store(db, vfs=vfs.vfs_name, durability="strict") as store:
        logger = ax_monitor.StructuredLogger(store)
        assert store.flush()
        for number in range(20):
            logger.info(f"m{number}", "d6")
            # The sync of a commit fails when all of it is written already.
            vfs.faults.arm("xSync", "xRead", "xOpen", first=1, times=times)
            store.flush()
            vfs.faults.disarm()
            wait_until(store.flush, 10)
        check_invariant(store.stats())
    recover(db)
    check_ledger(db, [f"m{number}" for number in range(20)])


def test_d7_a_ring_file_with_flipped_bytes(db: str) -> None:
    """A damaged record is skipped and counted; every other one is recovered."""
    acked = left_by_a_killed_process(db, 2000)
    [path] = ring_paths(db)
    data = bytearray(path.read_bytes())
    damaged = random.sample(range(1999), 20)  # not the newest: it has no checksum yet
    for number in damaged:
        at = data.index(b"m%d{" % number)
        data[at] ^= 0x20
    path.write_bytes(data)
    stats = recover(db)
    assert stats.damaged > 0
    check_ledger(db, set(acked) - {f"m{number}" for number in damaged})
    assert not ring_paths(db)


@pytest.mark.parametrize("size", [0, 100, 4096, 4096 + RECORD_HEADER_BYTES, 200_000])
def test_d7_a_ring_file_cut_short(db: str, size: int) -> None:
    """Of a torn file everything before the tear is recovered, and it is out of the way then."""
    acked = left_by_a_killed_process(db, 2000)
    [path] = ring_paths(db)
    os.truncate(path, size)
    recover(db)
    stored = stored_messages(db)
    assert stored == acked[: len(stored)]
    assert len(stored) > 500 if size == 200_000 else not stored
    assert all(left.name.endswith(".damaged") for left in ring_paths(db))


def test_d7_an_unreadable_ring_keeps_nobody_waiting(db: str) -> None:
    """A file of garbage is kept under another name, and the ring beside it is recovered."""
    acked = left_by_a_killed_process(db, 1000)
    garbage = Path(f"{db}-ring-0000000000000000")
    garbage.write_bytes(random.randbytes(100_000))
    stats = recover(db)
    assert (stats.recovered, stats.damaged) == (1000, 1)
    check_ledger(db, acked)
    assert [path.name for path in ring_paths(db)] == [f"{garbage.name}.damaged"]


def test_d8_a_live_pid_in_the_header_means_nothing(db: str) -> None:
    """A ring is recovered although a process with the pid of its dead owner lives: pids return."""
    recover(db)
    buffer = bytearray(4096 + 3 * 1024 * 1024)
    ring = RecordRing(lambda policy, priority: False)
    ring.attach(buffer, os.urandom(16), segment_bytes=1024 * 1024, wake_fd=-1, pid=os.getppid())
    for number in range(10):
        ring.append(1, 9, ("d8", None, None, None, None, None, f"m{number}", None, None))
    ring.detach()
    Path(f"{db}-ring-1111111111111111").write_bytes(buffer)
    assert recover(db).recovered == 10
    check_ledger(db, [f"m{number}" for number in range(10)])


def test_d8_a_locked_ring_is_left_alone(db: str) -> None:
    """Whoever holds the lock owns the ring, whatever its header says."""
    acked = left_by_a_killed_process(db, 100)
    [path] = ring_paths(db)
    with Child("hold_lock", path) as holder:
        holder.wait_for("locked")
        assert recover(db).recovered == 0
        assert path.exists()
        assert stored_messages(db) == []
        holder.kill()
    assert recover(db).recovered == 100
    check_ledger(db, acked)


def test_d8_rings_that_are_being_made_keep_their_locks(db: str) -> None:
    """Opening stores at once in one process, where each looks for rings, steals no lock."""
    stores = [ax_monitor.Store(db) for _ in range(6)]
    for index, store in enumerate(stores):
        ax_monitor.StructuredLogger(store).info(f"m{index}", "d8")
    with Child("recover", db) as other:
        assert other.finish()[-1] == "0"
    for store in stores:
        assert store.stats().volatile is False
        store.close()
    check_ledger(db, [f"m{index}" for index in range(6)])
    assert apsw.Connection(db).pragma("integrity_check") == "ok"


def test_d9_a_poison_record_in_a_dead_ring_is_set_aside(db: str) -> None:
    """A record that the database refuses goes to `recorder_rejects`; its neighbours are stored."""
    recover(db)
    buffer = bytearray(4096 + 3 * 1024 * 1024)
    ring = RecordRing(lambda policy, priority: False)
    ring.attach(buffer, os.urandom(16), segment_bytes=1024 * 1024, wake_fd=-1, pid=1)
    for number in range(50):
        log(ring, f"m{number}")
    poison = append(ring, SPAN, span_id="s", trace_id="t", start_ns=1, duration_ns=1)  # no name
    for number in range(50, 100):
        log(ring, f"m{number}")
    ring.detach()
    Path(f"{db}-ring-1111111111111111").write_bytes(buffer)
    assert recover(db).recovered == 100
    check_ledger(db, [f"m{number}" for number in range(100)])
    connection = apsw.Connection(db)
    rejects = connection.execute("SELECT ring_seq, error, record FROM recorder_rejects").fetchall()
    connection.close()
    [(seq, error, record)] = rejects
    assert seq == poison
    assert "NOT NULL" in error
    assert decode_record(record)[2] == poison
    assert not ring_paths(db)


def test_d9_a_poison_record_of_a_live_recorder_is_set_aside(db: str) -> None:
    """The same without a death: it is counted as rejected, and the invariant holds."""
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store, flush_interval_ms=3_600_000, buffer_size=10**6)
        for number in range(10):
            logger.info(f"m{number}", "d9")
        append(store.recorder.ring, SPAN, span_id="s", trace_id="t", start_ns=1, duration_ns=1)
        for number in range(10, 20):
            logger.info(f"m{number}", "d9")
        assert store.flush()
        assert store.stats().dropped == {"rejected": 1}
        check_invariant(store.stats())
    check_ledger(db, [f"m{number}" for number in range(20)])

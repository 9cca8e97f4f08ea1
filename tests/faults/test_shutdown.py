"""FAULTS.md, X: the end of the process, and of a store."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import apsw
import pytest

import ax_monitor
from ax_monitor import Store, StructuredLogger
from ax_monitor.storage import logs
from tests.faults.faulty_vfs import FaultyVFS
from tests.faults.harness import (
    Child,
    check_invariant,
    check_ledger,
    locked,
    recover,
    ring_paths,
    run,
    stored_messages,
    wait_until,
)


def test_x1_exit_handlers_registered_before_and_after(db: str) -> None:
    """Records of exit handlers that run before and after the store's own are in the database."""
    child = run("at_exit", db)
    assert len(child.acked) == 6000
    check_ledger(db, child.acked)  # without another open: the last drain ran on the exiting thread
    assert child.stderr == ""


def test_x1_no_thread_can_be_started(db: str) -> None:
    """Where no thread can be had, as at the exit, flush and close write themselves."""
    child = run("no_threads", db)
    check_ledger(db, child.acked)
    assert "no thread to write to the database" in child.stderr
    assert "Traceback" not in child.stderr


def test_x1_daemon_threads_that_never_stop(db: str) -> None:
    """Threads that log for ever don't keep the process: it ends, with all that was accepted."""
    with Child("flood_at_exit", db, limit_s=40) as child:
        child.wait_for("exiting")
        started = time.monotonic()
        child.finish()
        assert time.monotonic() - started < 10
    recover(db)
    assert "mlast" in stored_messages(db)


def test_x3_locked_at_exit(db: str) -> None:
    """A database locked at the exit delays it by less than 5 s; the next open finds the rest."""
    recover(db)
    with locked(db), Child("exit_when_told", db) as child:
        child.wait_for("recorded")
        started = time.monotonic()
        child.tell("go")
        child.finish()
        assert time.monotonic() - started < 6  # the interpreter's own end is part of it
        assert stored_messages(db) == []
    assert len(ring_paths(db)) == 1
    assert recover(db).recovered == len(child.acked)
    check_ledger(db, child.acked)


@pytest.mark.parametrize("opened", ["before the lock", "during the lock"])
def test_x3_locked_at_close(db: str, opened: str) -> None:
    """`close()` of a locked database takes at most 5 s and loses nothing."""
    recover(db)
    store = Store(db) if opened == "before the lock" else None
    with locked(db):
        if store is None:
            store = Store(db)
        logger = StructuredLogger(store)
        for number in range(100):
            logger.info(f"m{number}", "x3")
        started = time.monotonic()
        store.close()
        assert time.monotonic() - started < 5
        stats = store.stats()
        check_invariant(stats)
        assert (stats.stored, stats.in_flight) == (0, 100)
    assert recover(db).recovered == 100
    check_ledger(db, [f"m{number}" for number in range(100)])


def test_x3_a_commit_that_hangs_at_close(db: str) -> None:
    """A writer stuck in the disk keeps its ring until it is through: no crash, nothing twice."""
    vfs = FaultyVFS()
    store = Store(db, vfs=vfs.vfs_name, durability="strict")
    logger = StructuredLogger(store)
    assert store.flush()
    vfs.faults.block("xWrite", "xSync")
    for number in range(2000):
        logger.info(f"m{number}", "x3")
    assert vfs.faults.waiting.wait(10)
    started = time.monotonic()
    store.close()
    assert time.monotonic() - started < 5
    logger.info("m-late", "x3")
    assert store.stats().in_flight == 2000
    check_invariant(store.stats())
    with Child("recover", db) as other:  # whoever opens meanwhile must leave the ring alone
        other.wait_for("open")
        time.sleep(0.2)
        vfs.faults.disarm()
        assert other.finish()[-1] == "0"
    wait_until(lambda: store.stats().in_flight == 0, 10)
    wait_until(lambda: not ring_paths(db), 10)
    check_invariant(store.stats())
    check_ledger(db, [f"m{number}" for number in range(2000)])


def test_x4_recording_during_and_after_close(db: str) -> None:
    """Calls beside and after `close()` return at once and are counted, in every thread."""
    store = Store(db)
    logger = StructuredLogger(store)
    made = [0] * 4
    slowest = [0.0] * 4
    stop = threading.Event()

    def engine(number: int) -> None:
        while not stop.is_set():
            started = time.perf_counter()
            logger.info(f"m{number}-{made[number]}", "x4")
            made[number] += 1
            slowest[number] = max(slowest[number], time.perf_counter() - started)
            time.sleep(0.0002)

    threads = [threading.Thread(target=engine, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: sum(made) > 1000)
    with locked(db):
        store.close()
        seen = sum(made)
        wait_until(lambda: sum(made) > seen + 100)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert max(slowest) < 0.5
    stats = store.stats()
    assert store.flush() == (stats.in_flight == 0)
    assert stats.attempted == sum(made)
    assert stats.dropped["after_close"] >= 100
    check_invariant(stats)
    recover(db)
    assert len(stored_messages(db)) == stats.stored + stats.in_flight


def test_x4_management_after_close(db: str) -> None:
    """Queries and deletions of a closed store say that it is closed."""
    store = Store(db)
    logger = StructuredLogger(store)
    store.close()
    for call in (logger.query_logs, logger.cleanup, logger.get_log_count):
        with pytest.raises(ax_monitor.StorageError, match="has been closed"):
            call()
    assert store.flush()
    logger.stop()


def test_x4_a_closed_store_in_a_forked_child(db: str) -> None:
    """A child that inherits a closed store only counts what it records there."""
    store = Store(db)
    logger = StructuredLogger(store)
    logger.info("m0", "x4")
    store.close()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        before = store.stats().dropped.get("after_close", 0)
        logger.info("m1", "x4")
        fine = store.stats().dropped.get("after_close", 0) == before + 1 and store.flush()
        store.close()
        os._exit(0 if fine else 1)
    assert os.waitpid(pid, 0)[1] == 0
    check_ledger(db, ["m0"])
    assert not ring_paths(db)


def test_x4_a_child_that_closes_what_it_inherited(db: str) -> None:
    """A child may close its copy without having recorded: the parent's goes on."""
    with Store(db) as store:
        logger = StructuredLogger(store)
        logger.info("m0", "x4")
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            store.close()
            logger.info("m1", "x4")
            stats = store.stats()
            check_invariant(stats)
            os._exit(0 if (stats.attempted, stats.dropped) == (1, {"after_close": 1}) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        logger.info("m2", "x4")
    check_ledger(db, ["m0", "m2"])


def test_x5_close_twice(db: str) -> None:
    """Closing again, from several threads at once too, does nothing."""
    store = Store(db)
    StructuredLogger(store).info("m0", "x5")
    threads = [threading.Thread(target=store.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    store.close()
    wait_until(lambda: not ring_paths(db), 5)
    check_ledger(db, ["m0"])


def test_x5_ctrl_c_twice_at_the_exit(db: str) -> None:
    """Ctrl-C while the exit waits for a locked database: no traceback, and nothing is lost."""
    recover(db)
    with locked(db), Child("interrupted_exit", db) as child:
        child.wait_for("exiting")
        for _ in range(3):
            time.sleep(0.2)
            child.process.send_signal(signal.SIGINT)
        child.wait()
        assert "ax_monitor" not in child.stderr, child.stderr
    recover(db)
    check_ledger(db, child.acked)


def test_x5_ctrl_c_during_close(db: str) -> None:
    """Ctrl-C while `close()` waits reaches the caller once; the second close is quiet."""
    recover(db)
    with locked(db), Child("interrupted_close", db) as child:
        child.wait_for("closing")
        time.sleep(0.2)
        child.process.send_signal(signal.SIGINT)
        assert child.finish()[-1] == "interrupted 1"
        assert "Traceback" not in child.stderr
    recover(db)
    check_ledger(db, child.acked)
    assert json.dumps(stored_messages(db)) == '["m1"]'


def test_the_last_to_close_leaves_an_empty_wal(db: str) -> None:
    """All is in the one file then; who still reads keeps the WAL as it is, and close() short."""
    with Store(db) as store:
        logger = StructuredLogger(store)
        for number in range(5000):
            logger.info(f"m{number}", "test")
        assert store.flush()
        assert os.path.getsize(f"{db}-wal") > 100_000
    assert os.path.getsize(f"{db}-wal") == 0
    reader = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN").fetchall()
    assert reader.execute("SELECT count(*) FROM logs").fetchall() == [(5000,)]
    store = Store(db)
    StructuredLogger(store).info("one more", "test")
    store.close()
    assert os.path.getsize(f"{db}-wal") > 0
    assert reader.execute("SELECT count(*) FROM logs").fetchall() == [(5000,)]
    reader.close()
    with Store(db, read_only=True) as store:
        assert store.read(logs.count_logs) == 5001

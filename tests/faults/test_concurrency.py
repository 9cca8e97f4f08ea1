"""FAULTS.md, C: threads, forks, other processes, event loops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import apsw
import pytest

import ax_monitor
from tests.faults.faulty_vfs import FaultyVFS
from tests.faults.harness import (
    Child,
    check_invariant,
    check_ledger,
    locked,
    recover,
    run,
    stored_messages,
    together,
    wait_until,
)

# Hooks run in the order in which they are registered.
FORK_HOOK_FIRST = """
import os, sys
loggers = []
os.register_at_fork(after_in_child=lambda: loggers[0].info("m by the hook", "c2"))
import ax_monitor
store = ax_monitor.Store(sys.argv[1])
loggers.append(ax_monitor.StructuredLogger(store))
loggers[0].info("m parent 1", "c2")
assert store.flush()
pid = os.fork()
if pid == 0:
    stats = store.stats()
    os._exit(not (stats.attempted == 1 and store.flush()))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loggers[0].info("m parent 2", "c2")
assert store.stats().attempted == 2, store.stats()
store.close()
"""


@pytest.mark.parametrize("forks", [40])
def test_c1_forks_while_threads_log(db: str, forks: int) -> None:
    """Every child forked beside eight logging threads records, queries and ends within 2 s."""
    child = run("fork_storm", db, forks, 8, limit_s=100)
    recover(db)
    stored = stored_messages(db)
    assert set(child.acked) <= set(stored)
    assert len(child.acked) == forks
    # Of the engine's own records the killed ring holds the rest: none twice.
    assert len(stored) == len(set(stored))


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_c2_a_daemon_beside_other_programs(db: str, seconds: int) -> None:
    """A double fork goes on recording, while others open and close the file as if it were alone."""
    with Child("daemonize", db, seconds, limit_s=120) as daemon, ExitStack() as stack:
        wait_until(lambda: any(text.startswith("pid") for text in daemon.said))
        [pid] = [int(text.split()[1]) for text in daemon.said if text.startswith("pid")]
        others = stack.enter_context(
            together(
                Child("open_and_close", db, seconds, name, limit_s=seconds + 60) for name in "ab"
            )
        )
        reads = 0
        while daemon.lines[-1] != "done":
            flushed = set(daemon.acked[:-10])
            assert flushed <= set(stored_messages(db)), "what was flushed is gone"
            reads += 1
            assert daemon.lines[-1] == "done" or os.path.exists(f"/proc/{pid}"), daemon.stderr
        for other in others:
            other.finish()
    assert reads > 0
    recover(db)
    check_ledger(db, [*daemon.acked, *(message for other in others for message in other.acked)])
    assert apsw.Connection(db).pragma("integrity_check") == "ok"


@pytest.mark.skipif(sys.platform != "linux", reason="locks are looked up in /proc")
def test_c2_a_child_holds_locks_of_its_own(db: str) -> None:
    """A forked child's connections hold their own locks: others see that it has the file open."""
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        logger.info("m1", "c2")
        logger.query_logs()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            logger.info("m2", "c2")
            fine = store.flush() and len(logger.query_logs()) == 2
            os.write(write, b"+" if fine else b"-")
            signal.pause()
        try:
            assert os.read(read, 1) == b"+"
            inodes = {os.stat(db).st_ino, os.stat(f"{db}-shm").st_ino}
            with open("/proc/locks") as locks:
                held = {
                    int(line.split()[5].split(":")[2])
                    for line in locks
                    if line.split()[1] == "POSIX" and line.split()[4] == str(pid)
                }
            assert inodes <= held
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(read)
            os.close(write)


def test_c3_python_never_opens_the_database_files(db: str) -> None:
    """Closing a file that SQLite has open drops its locks, so no code of ours opens one."""
    child = run("audited", db)
    opened, rings = child.said
    assert json.loads(opened) == []
    assert int(rings) > 0, "the audit hook sees what is opened"


@pytest.mark.parametrize("threads", [2, 8, 32])
def test_c5_many_threads(db: str, threads: int) -> None:
    """Threads that log, and flush now and then, neither block one another nor lose a record."""
    child = run("many_threads", db, threads, 4000 // threads)
    assert len(child.acked) == 4000 // threads * threads
    check_ledger(db, child.acked)
    stats = ax_monitor.RecorderStats(**json.loads(child.said[-1]))
    check_invariant(stats)
    assert stats.stored == len(child.acked)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_c6_reentry_from_destructors_and_signals(db: str, seconds: int) -> None:
    """Records made within a record, by the collector or a signal, are stored or counted."""
    child = run("reenter", db, seconds, limit_s=120)
    calls = json.loads(child.said[0])
    stats = ax_monitor.RecorderStats(**json.loads(child.said[1]))
    assert min(calls.values()) > 100
    assert stats.attempted == sum(calls.values())
    check_invariant(stats)
    stored = stored_messages(db)
    assert len(stored) == stats.stored == len(set(stored))
    assert stats.stored + sum(stats.dropped.values()) == sum(calls.values())


def test_c8_sixteen_readers(store: ax_monitor.Store, logger: ax_monitor.StructuredLogger) -> None:
    """Sixteen threads query while records are made; each sees all that came before it."""
    made = 0
    stop = threading.Event()

    def engine() -> None:
        nonlocal made
        while not stop.is_set():
            logger.info(f"m{made}", "c8", execution_id=f"run-{made % 7}")
            made += 1
            time.sleep(0.0001)

    def reader(number: int) -> int:
        done = 0
        while not stop.is_set():
            before = made
            assert logger.get_log_count() >= before
            newest = logger.query_logs(limit=5)
            assert len({entry.seq for entry in newest}) == len(newest)
            found = logger.get_execution_logs(f"run-{number % 7}")
            assert [entry.seq for entry in found] == sorted(entry.seq for entry in found)
            logger.query_logs(search=f"m{number}", limit=1)
            done += 1
        return done

    engine_thread = threading.Thread(target=engine, daemon=True)
    with ThreadPoolExecutor(16) as pool:
        engine_thread.start()
        results = [pool.submit(reader, number) for number in range(16)]
        time.sleep(1.5)
        stop.set()
        assert min(result.result(60) for result in results) > 0
    engine_thread.join(10)
    assert logger.get_log_count() == made


@pytest.mark.parametrize("count", [25, pytest.param(100, marks=pytest.mark.soak)])
def test_c9_eight_writing_processes(db: str, count: int) -> None:
    """Eight processes that commit at the same time all succeed, and the index stays in step."""
    with together(Child("batches", db, f"p{number}", count) for number in range(8)) as children:
        for child in children:
            child.finish()
            check_invariant(ax_monitor.RecorderStats(**json.loads(child.said[-1])))
    acked = [message for child in children for message in child.acked]
    assert len(acked) == 8 * count * 10
    check_ledger(db, acked)
    for child in children:
        assert len(set(child.acked)) == count * 10


def loop_lags(seconds: float, each_turn: object = None) -> list[float]:
    """How late an event loop runs what is due every millisecond, in seconds."""
    lags: list[float] = []

    async def main() -> None:
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            if callable(each_turn):
                each_turn()
            due = now + 0.001
            await asyncio.sleep(due - time.perf_counter())
            lags.append(max(0.0, time.perf_counter() - due))

    asyncio.run(main())
    return lags


def at(fraction: float, values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(fraction * len(values)))]


@pytest.mark.parametrize("seconds", [5])
def test_c11_an_event_loop_while_the_database_is_locked(db: str, seconds: int) -> None:
    """A lock held for 5 s delays an event loop that logs by less than 5 ms.

    The bound holds for the median and the 99th percentile. The worst turn also shows what else the
    machine does, so it is held against that of an idle loop in the same test, and 20 ms more.
    """
    idle = loop_lags(1.0)
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        assert store.flush()
        made = 0

        def engine() -> None:
            nonlocal made
            for _ in range(10):
                logger.error(f"m{made}", "c11", metadata={"turn": made})
                made += 1

        with locked(db):
            lags = loop_lags(seconds, engine)
            assert store.stats().stored == 0
            assert store.stats().in_flight == made
        assert statistics.median(lags) < 0.005
        assert at(0.99, lags) < 0.005 + at(0.99, idle)
        assert max(lags) < 0.005 + max(idle) + 0.020
        wait_until(store.flush, 5)
    check_ledger(db, [f"m{number}" for number in range(made)])


def test_c11_a_query_of_a_stalled_store_is_bounded(db: str) -> None:
    """Records that can't be written delay a query, but for a bounded time."""
    vfs = FaultyVFS()
    with ax_monitor.Store(db, vfs=vfs.vfs_name) as store:
        logger = ax_monitor.StructuredLogger(store)
        logger.info("m0", "c11")
        assert store.flush()
        with locked(db):
            logger.info("m1", "c11")
            started = time.monotonic()
            assert [entry.message for entry in logger.query_logs()] == ["m0"]
            assert time.monotonic() - started < 6
        assert {entry.message for entry in logger.query_logs()} == {"m0", "m1"}


def test_c2_a_forked_child_takes_over_what_its_parent_left(db: str) -> None:
    """A fork leaves its parent's ring alone; once the parent is dead, it is one like any other."""
    with Child("dies_after_a_fork", db) as parent:
        parent.wait_for("done")
        check_ledger(db, parent.acked)
        assert len(parent.acked) == 2002


def test_c2_a_fork_hook_of_another_library_records_first(db: str) -> None:
    """In the child, before ours has run: its record is the child's, not its parent's."""
    done = subprocess.run(
        [sys.executable, "-c", FORK_HOOK_FIRST, db], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(stored_messages(db)) == ["m by the hook", "m parent 1", "m parent 2"]


def test_c2_a_fork_within_a_query_leaves_its_connection(db: str) -> None:
    """The child, which comes back from the query too, does not use it for its next one."""
    with ax_monitor.Store(db) as store:
        ax_monitor.StructuredLogger(store).info("m1", "c2")
        assert store.flush()
        used, pid = store.read(lambda connection: (connection, os.fork()))
        again = store.read(lambda connection: connection)
        if pid == 0:
            os._exit(again is used)
        assert again is used
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.timeout(60)
def test_c9_a_flush_waits_on_while_others_have_the_lock(db: str) -> None:
    """Batches that others keep from the lock are tried again; who flushes is told of the last."""
    failed = threading.Event()
    answers: list[bool] = []
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        store.events.on("flush_error", lambda error: failed.set())
        assert store.flush()
        with locked(db):
            logger.info("m", "c10")
            waiting = threading.Thread(target=lambda: answers.append(store.flush()))
            waiting.start()
            assert failed.wait(30)
            assert not store.flush(0.01)  # its own time is over
            assert not answers
        waiting.join(30)
        assert answers == [True]
        assert store.stats().flush_errors >= 1
        assert logger.get_log_count() == 1

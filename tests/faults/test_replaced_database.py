"""The database, or its WAL, is deleted or replaced while it is open; it lost what it had."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import ax_monitor
from ax_monitor import MetricsCollector, Store, StructuredLogger
from ax_monitor._native import RecordRing, read_ring
from ax_monitor.storage import logs, metrics
from tests.batches import log, series_of
from tests.cli.helpers import environment
from tests.faults.harness import check_invariant, recover, wait_until

pytestmark = pytest.mark.timeout(60)


def messages(db: str) -> list[str]:
    with Store(db, read_only=True) as store:
        query = ax_monitor.LogQuery(limit=None, order="asc")
        return [entry.message for entry in store.read(logs.query_logs, query)]


def remove(db: str) -> None:
    for ending in ("", "-wal", "-shm"):
        if os.path.exists(db + ending):
            os.unlink(db + ending)


def deleted(db: str) -> None:
    remove(db)


def moved(db: str) -> None:
    for ending in ("", "-wal", "-shm"):
        os.rename(db + ending, f"{db}.old{ending}")


def replaced(db: str) -> None:
    """By another database of ours, as a restored backup is."""
    other = f"{db}.other"
    with Store(other) as store:
        StructuredLogger(store).info("from the backup", "test")
    remove(db)
    os.rename(other, db)


@pytest.mark.parametrize("how", [deleted, moved, replaced])
def test_s8_goes_on_in_a_new_file(db: str, how: Any) -> None:
    """Nothing that was in the ring is lost, metrics go on, and what is missing is counted."""
    behind: list[dict[str, Any]] = []
    with Store(db) as store:
        store.events.on("database.behind", behind.append)
        logger = StructuredLogger(store, flush_interval_ms=3_600_000, buffer_size=10**6)
        collector = MetricsCollector(store)
        series = collector.series("queue.depth", labels={"queue": "a"})
        series.record(1.0)
        logger.info("before", "test")
        assert store.flush()
        how(db)
        for number in range(100):
            logger.info(f"after {number}", "test")
        series.record(2.0)
        wait_until(store.flush)
        assert [m for m in messages(db) if m.startswith("after")] == [
            f"after {number}" for number in range(100)
        ]
        # Queries of the process see the new file, and the series that was defined in the old one.
        assert logger.get_log_count() == len(messages(db))
        collector.flush()
        found = store.read(metrics.get_aggregation, "queue.depth", 0, 2**50)
        assert found is not None
        assert (found.count, found.max) == (1, 2.0)
        stats = store.stats()
        check_invariant(stats)
        assert stats.missing == 3  # one log record, one definition, one sample
        assert [event["missing"] for event in behind] == [3]
    assert "before" not in messages(db)


def test_s8_readers_follow(db: str) -> None:
    """A store that only reads sees the file that is there now, with its next query."""
    with Store(db) as store:
        StructuredLogger(store).info("from the first", "test")
    with Store(db, read_only=True) as reader:
        assert reader.read(logs.count_logs) == 1
        remove(db)
        with Store(db) as store:
            logger = StructuredLogger(store)
            logger.info("from the second", "test")
            logger.info("and another", "test")
        assert reader.read(logs.count_logs) == 2


def test_s8_noticed_without_records(db: str) -> None:
    """A store that records nothing makes the file anew by itself, within some seconds."""
    with Store(db) as store:
        StructuredLogger(store).info("x", "test")
        assert store.flush()
        deleted(db)
        with pytest.raises(ax_monitor.StorageError):
            store.read(logs.count_logs)
        wait_until(lambda: os.path.exists(db), 20)
        assert store.read(logs.count_logs) == 0


def test_s8_changes_go_to_the_new_file(db: str) -> None:
    """So does what is changed without being recorded: a rule is made in the file that is there."""
    with ax_monitor.open(db) as monitor:
        monitor.logger.info("x", "test")
        assert monitor.flush()
        deleted(db)
        condition = {"operator": "gt", "threshold": 1, "window_ms": 1000, "aggregation": "max"}
        monitor.alerts.create_rule("Deep", "too deep", "queue.depth", condition, "warning")
    with ax_monitor.open(db) as monitor:
        assert [rule.name for rule in monitor.alerts.list_rules()] == ["Deep"]


FOREIGN = """
import sqlite3, subprocess, sys
import ax_monitor
path = sys.argv[1]
store = ax_monitor.Store(path)
logger = ax_monitor.StructuredLogger(store, flush_interval_ms=3_600_000, buffer_size=10**6)
logger.info("first", "test")
assert store.flush()
# Another SQLite library opens and closes the file: POSIX drops the locks of ours.
sqlite3.connect(path).execute("SELECT count(*) FROM logs").connection.close()
# So a program elsewhere thinks that it is the last to close, and deletes the WAL.
subprocess.run([sys.executable, "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
    "c.execute('DELETE FROM metric_rows'); c.commit(); c.close()", path], check=True)
gone = not __import__("os").path.exists(path + "-wal")
assert [entry.message for entry in logger.query_logs()] == ["first"]
for number in range(5):
    logger.info(f"acknowledged {number}", "test")
    import time
    deadline = time.monotonic() + 20
    while not store.flush():
        assert time.monotonic() < deadline, store.stats()
print(gone, store.stats().missing)
"""


def test_c3_a_deleted_wal_is_noticed_at_the_commit(db: str) -> None:
    """What was acknowledged after another library's close is in the database that others see."""
    shown = subprocess.check_output(
        [sys.executable, "-c", FOREIGN, db], env=environment(), text=True, timeout=50
    )
    assert shown.split() == ["True", "0"]
    assert messages(db) == ["first", *(f"acknowledged {number}" for number in range(5))]
    connection = sqlite3.connect(db)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


LEFT = """
import os, signal, sys
import ax_monitor
store = ax_monitor.Store(sys.argv[1], ring_bytes=3 * 1024 * 1024)
logger = ax_monitor.StructuredLogger(store, flush_interval_ms=3_600_000, buffer_size=10**6)
for number in range(int(sys.argv[2])):
    logger.info(f"record {number} " + "x" * 1000, "test")
    if number % 50 == 49:
        assert store.flush()
print(store.stats().stored, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("count", [200, 5000])
def test_d10_a_wal_that_lost_its_end(db: str, count: int) -> None:
    """One flipped bit hides the commits behind it. What still lies in the ring comes back; the rest
    is counted, told of, and makes the recorder's health degraded."""
    child = subprocess.run(
        [sys.executable, "-c", LEFT, db, str(count)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert int(child.stdout) == count, child.stderr
    wal = Path(f"{db}-wal")
    at = wal.stat().st_size // 2
    data = bytearray(wal.read_bytes())
    data[at] ^= 1
    wal.write_bytes(data)
    os.unlink(f"{db}-shm")
    with ax_monitor.open(db) as monitor:
        assert monitor.flush()
        stats = monitor.store.stats()
        found = monitor.logger.query_logs(limit=None, order="asc")
        numbers = [int(entry.message.split()[1]) for entry in found]
        assert len(set(numbers)) == len(numbers)
        assert stats.missing == count - len(numbers)
        assert stats.missing > 0
        check = monitor.health.sync.check_recorder()
        assert str(stats.missing) in (check.message or "")
        assert check.status == "degraded"


def test_d10_gaps_between_what_is_left_in_a_ring_are_counted(db: str) -> None:
    """Space that was freed last is written next, so what the ring still has may have gaps."""
    recover(db)
    buffer = bytearray(4096 + 3 * 1024 * 1024)
    ring = RecordRing(lambda policy, priority: False)
    ring.attach(buffer, os.urandom(16), segment_bytes=1024 * 1024, wake_fd=-1, pid=1)
    appended = 0
    for _ in range(4):
        for _ in range(1500):  # more than one segment, less than two
            appended = log(ring, "m" * 1000)
        assert ring.claim(3)
        ring.release()
    series = series_of(ring, 7, "cpu")  # samples, of which one record has several
    for number in range(20):
        series.record_at(number, 1_700_000_000_000)
        appended += 1
    appended += 1  # the definition of the series
    assert ring.claim(3)
    ring.release()
    ring.detach()
    _, offsets, _ = read_ring(bytes(buffer))
    seqs = [int.from_bytes(buffer[at + 8 : at + 16], "little") for at in offsets]
    assert any(after - before > 1 for before, after in pairwise(seqs)), "there is a gap"
    Path(f"{db}-ring-1111111111111111").write_bytes(buffer)
    stats = recover(db)
    assert stats.missing == appended - stats.recovered > 0


def test_d10_nothing_is_missing_after_an_ordinary_kill(db: str) -> None:
    """The mark in the ring agrees with the database."""
    for _ in range(3):
        subprocess.run(
            [sys.executable, "-c", LEFT, db, "300"],
            env=environment(),
            capture_output=True,
            timeout=50,
            check=False,
        )
    with Store(db) as store:
        assert store.flush()
        assert store.stats().missing == 0
        assert store.read(logs.count_logs) == 900


def test_c4_the_wal_outlives_other_closers(db: str) -> None:
    """Commands that open and close the file beside a live writer leave its WAL alone."""
    with Store(db) as store:
        logger = StructuredLogger(store)
        logger.info("0", "test")
        assert store.flush()
        before = os.stat(f"{db}-wal").st_ino
        for number in range(1, 6):
            assert (
                subprocess.run(
                    [sys.executable, "-m", "ax_monitor", "logs", "--db", db],
                    env=environment(),
                    capture_output=True,
                    timeout=50,
                    check=False,
                ).stdout.count(b"\n")
                == number
            )
            logger.info(str(number), "test")
            assert store.flush()
        assert os.stat(f"{db}-wal").st_ino == before
    assert messages(db) == [str(number) for number in range(6)]
    # Nor does it hinder the next one that the last closer left the WAL.
    shutil.copy(db, f"{db}.copy")
    begun = time.monotonic()
    with Store(db) as store:
        assert store.read(logs.count_logs) == 6
    assert time.monotonic() - begun < 30

"""SPEC §7: health tells the truth, about the whole and about each component."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import ax_monitor
from ax_monitor import (
    HealthCheck,
    HealthCheckService,
    HealthStatus,
    HealthThresholds,
    MetricsCollector,
    StorageError,
    Store,
    StructuredLogger,
    SystemHealth,
)
from ax_monitor.services.health import OWN_COMPONENTS
from ax_monitor.storage import logs
from tests.conftest import FakeClock
from tests.faults.faulty_vfs import FaultyVFS
from tests.faults.harness import locked, wait_until

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
CALM = HealthThresholds(cpu_percent=100, disk_degraded_bytes=0, disk_unhealthy_bytes=0)


@pytest.fixture
def health(store: Store) -> HealthCheckService:
    """One that the machine's own trouble does not concern."""
    return HealthCheckService(store, thresholds=CALM)


def heard(service: HealthCheckService, *names: str) -> dict[str, list[Any]]:
    """The payloads of events from now on, by name."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    for name in names:
        service.on(name, found[name].append)
    return found


def figures(check: HealthCheck | None) -> dict[str, Any]:
    assert check is not None
    assert check.metadata is not None
    return check.metadata


def says(check: HealthCheck | None) -> str:
    assert check is not None
    return check.message or ""


def run_code(code: str, *arguments: str, timeout_s: float = 30) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    return done.stdout


# -- the whole -------------------------------------------------------------------------------------


def test_every_component_is_checked(health: HealthCheckService) -> None:
    """Under the document's names, in its order, each with a time and a message."""
    found = health.sync.get_system_health()
    assert isinstance(found, SystemHealth)
    assert tuple(check.component for check in found.components) == OWN_COMPONENTS
    assert found.overall is HEALTHY, [says(check) for check in found.components]
    assert found.version == ax_monitor.__version__
    assert all(check.message and check.response_time > 0 for check in found.components)
    assert found.to_dict()["components"][0]["component"] == "database"
    expected = {
        "database": {"query_ms", "size_bytes", "journal_mode", "writable", "wal_bytes"},
        "queue": {"running_count"},
        "worker_pool": {"usage_percent", "process_usage_percent"},
        "disk": {"free_bytes", "size_bytes", "usage_percent"},
        "memory": {"usage_percent", "limit_bytes", "process_bytes"},
        "recorder": {"ring_usage_percent", "lag_ms", "dropped_count", "wal_bytes", "volatile"},
    }
    for check in found.components:
        assert expected.get(check.component, set()) <= set(figures(check))


def test_the_same_awaited_in_a_loop_and_beside_one(health: HealthCheckService) -> None:
    """Coroutines, and their twins under `sync`, which work inside a running loop too."""

    async def main() -> None:
        found = await health.get_system_health()
        assert found.overall is HEALTHY
        names = [
            "database",
            "cache",
            "queue",
            "worker_pool",
            "providers",
            "disk",
            "memory",
            "recorder",
        ]
        for name in names:
            awaited = await getattr(health, f"check_{name}")()
            blocking = getattr(health.sync, f"check_{name}")()
            assert awaited.component == blocking.component == name
            assert awaited.status is blocking.status is HEALTHY
            by_name = await health.get_component_health(name)
            assert by_name is not None
            assert by_name.component == name
        assert await health.get_component_health("nobody") is None
        assert health.sync.get_component_health("nobody") is None
        assert await health.liveness()
        assert await health.readiness()

    asyncio.run(main())


def test_nothing_is_made_up(health: HealthCheckService) -> None:
    """A cache and providers that nobody registered are called that."""
    for check in (health.sync.check_cache(), health.sync.check_providers()):
        assert (check.status, check.message) == (HEALTHY, "not configured")
        assert check.metadata == {"configured": False}


def test_overall_is_the_worst(health: HealthCheckService) -> None:
    """Any unhealthy, else any degraded, else healthy."""
    for statuses, overall in (
        (("healthy", "degraded"), DEGRADED),
        (("unhealthy", "degraded"), UNHEALTHY),
        (("healthy", "healthy"), HEALTHY),
    ):
        for name, status in zip("ab", statuses, strict=True):
            health.register(name, lambda status=status: status)  # type: ignore[misc]
        assert health.sync.get_system_health().overall is overall


def test_further_components(health: HealthCheckService) -> None:
    """Registered, replaced, taken away; not under our own names."""
    health.register("billing", lambda: {"queue_count": 3})
    assert health.components == (*OWN_COMPONENTS, "billing")
    assert figures(health.sync.get_component_health("billing")) == {"queue_count": 3}
    health.register("billing", lambda: False)
    assert health.sync.get_system_health().components[-1].status is UNHEALTHY
    assert health.unregister("billing")
    assert not health.unregister("billing")
    assert not health.unregister("database")
    assert health.components == OWN_COMPONENTS
    with pytest.raises(ValueError, match="of ax-monitor's own"):
        health.register("database", lambda: True)
    with pytest.raises(ValueError, match="must be a text"):
        health.register("", lambda: True)
    with pytest.raises(TypeError, match="must be callable"):
        health.register("x", "not callable")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout_ms"):
        health.register("x", lambda: True, timeout_ms=0)


@pytest.mark.parametrize("options", [{"timeout_ms": 0}, {"recover_after": 0}])
def test_wrong_options_are_refused(db: str, options: dict[str, int]) -> None:
    """Before the store is opened."""
    with pytest.raises(ValueError, match=next(iter(options))):
        HealthCheckService(db, **options)  # type: ignore[arg-type]
    assert not os.path.exists(db)


def test_a_hanging_check_delays_no_other(store: Store) -> None:
    """Of the user's or of ours; the system's health comes in time all the same."""
    health = HealthCheckService(store, thresholds=CALM, timeout_ms=300)
    release = threading.Event()
    errors = heard(health, "health.error")["health.error"]
    health.register("stuck", lambda: release.wait(30))
    health.register_provider("far", lambda: release.wait(30))
    health.register_cache(lambda: release.wait(30))
    started = time.monotonic()
    found = health.sync.get_system_health()
    took = time.monotonic() - started
    release.set()
    assert 0.3 <= took < 2
    by_name = {check.component: check for check in found.components}
    assert [name for name, check in by_name.items() if check.status is UNHEALTHY] == [
        "cache",
        "providers",
        "stuck",
    ]
    assert says(by_name["stuck"]) == "no answer within 300 ms"
    assert says(by_name["providers"]) == "far: no answer within 300 ms"
    assert by_name["database"].response_time < 300
    store.events.flush()
    assert {"component": "stuck", "error": "no answer within 300 ms"} in errors


def test_the_cache_answers_for_itself(health: HealthCheckService) -> None:
    """With figures, a status, or a coroutine of these; what fails is unhealthy."""
    health.register_cache(lambda: {"size_bytes": 10})
    assert figures(health.sync.check_cache()) == {"configured": True, "size_bytes": 10}

    async def ask() -> dict[str, Any]:
        return {"status": "degraded", "message": "cold", "entry_count": 1}

    health.register_cache(ask)
    check = health.sync.check_cache()
    assert (check.status, check.message) == (DEGRADED, "cold")
    assert figures(check) == {"configured": True, "entry_count": 1}

    def broken() -> bool:
        raise ConnectionError("no route to host")

    health.register_cache(broken)
    check = health.sync.check_cache()
    assert (check.status, check.message) == (UNHEALTHY, "ConnectionError: no route to host")
    health.register_cache(None)
    assert says(health.sync.check_cache()) == "not configured"


def test_recorded_hit_rates_are_shown(db: str, clock: FakeClock) -> None:
    """Those of the last hour; they decide nothing, and what the engine itself says comes first."""
    with Store(db, clock=clock) as store:
        health = HealthCheckService(store)
        metrics = MetricsCollector(store)
        for rate, minutes_ago in ((0.8, 1), (1.0, 59), (0.1, 61)):
            metrics.record("cache.hit_rate", rate, timestamp=clock.now_ms - minutes_ago * 60_000)
        check = health.sync.check_cache()
        assert (check.status, check.message) == (HEALTHY, "not configured")
        assert figures(check) == {"hit_rate": 0.9, "hit_rate_sample_count": 2, "configured": False}
        health.register_cache(lambda: {"hit_rate": 0.5})
        assert figures(health.sync.check_cache())["hit_rate"] == 0.5


def test_a_database_in_trouble_is_none_of_the_cache(db: str, store: Store) -> None:
    """It answers for itself, in time, without the recorded rate."""
    health = HealthCheckService(store)
    health.register_cache(lambda: {"size_bytes": 5})
    with locked(db):
        StructuredLogger(store).info("x", "y")
        check = health.sync.check_cache()
    assert check.status is HEALTHY
    assert check.response_time < 2000
    assert figures(check) == {"configured": True, "size_bytes": 5}


def test_uptime_is_measured_on_the_monotonic_clock(db: str, clock: FakeClock) -> None:
    """Since the service was made; setting the wall clock changes nothing."""
    with Store(db, clock=clock) as store:
        health = HealthCheckService(store)
        clock.advance(192_600)
        clock.now_ms -= 10**9
        assert health.get_uptime() == 192_600_000
        assert health.get_uptime_formatted() == "2d 5h 30m"
        assert health.sync.get_system_health().uptime == 192_600_000


# -- database --------------------------------------------------------------------------------------


def test_a_database_that_others_have_locked(db: str, store: Store) -> None:
    """Really: another connection holds the write lock. It can be read, but not written."""
    limits = HealthThresholds(database_lock_ms=60)
    health = HealthCheckService(store, thresholds=limits)
    with locked(db):
        check = health.sync.check_database()
        ready = health.sync.readiness()
    assert check.status is UNHEALTHY
    assert check.message == "the write lock has been held by others for 60 ms"
    assert figures(check)["writable"] is False
    assert figures(check)["query_ms"] > 0
    assert not ready
    assert "write lock" in (ready.reason or "")
    assert health.sync.check_database().status is HEALTHY


def test_a_database_locked_for_readers_too(db: str) -> None:
    """As by a program that takes it for itself."""
    Store(db).close()
    with Store(db, read_only=True) as store:
        for connection in store._readers.forget():
            connection.close()
        hog = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READWRITE)
        hog.execute("PRAGMA locking_mode=EXCLUSIVE")
        hog.execute("CREATE TABLE hog(x)")
        check = HealthCheckService(store).sync.check_database()
        hog.close()
    assert check.status is UNHEALTHY
    assert "it can't be read: StorageError" in says(check)
    assert "locked" in says(check)


def test_a_short_lock_is_waited_for(db: str, health: HealthCheckService) -> None:
    """Other writers take turns: that is nothing to worry about."""
    with locked(db) as connection:
        check: list[HealthCheck] = []
        thread = threading.Thread(target=lambda: check.append(health.sync.check_database()))
        thread.start()
        time.sleep(0.05)
        connection.execute("ROLLBACK")
        thread.join()
    assert check[0].status is HEALTHY
    assert figures(check[0])["writable"] is True


class Slow:
    """In the place of an event that a call waits for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def wait(self) -> None:
        time.sleep(self._seconds)

    def set(self) -> None:
        self._seconds = 0


def test_a_slow_disk_is_a_slow_database(db: str) -> None:
    """Every read takes 60 ms: degraded, with the time. One that never ends is given up."""
    vfs = FaultyVFS()
    limits = HealthThresholds(database_slow_ms=50)
    with Store(db, vfs=vfs.vfs_name) as store:
        StructuredLogger(store).info("x", "y")
        store.flush()
        vfs.faults.block("xRead")
        vfs.faults.gate = Slow(0.06)  # type: ignore[assignment]
        check = HealthCheckService(store, thresholds=limits).sync.check_database()
        vfs.faults.disarm()
        assert check.status is DEGRADED
        assert "a small query took" in says(check)
        assert figures(check)["query_ms"] >= 60
        hanging = HealthCheckService(store, timeout_ms=100)
        store._readers.close()
        store._readers = type(store._readers)(db, vfs=vfs.vfs_name)  # forget what was read
        vfs.faults.block("xRead")
        check = hanging.sync.check_database()
        assert (check.status, check.message) == (UNHEALTHY, "no answer within 100 ms")
        vfs.faults.disarm()


def test_a_disk_that_fails_is_an_unhealthy_database(db: str) -> None:
    """With the reason, and what SQLite says."""
    vfs = FaultyVFS()
    with Store(db, vfs=vfs.vfs_name) as store:
        health = HealthCheckService(store)
        vfs.faults.arm("xRead")
        check = health.sync.check_database()
        vfs.faults.disarm()
        assert check.status is UNHEALTHY
        assert "it can't be read" in says(check)
        assert health.sync.check_database().status is HEALTHY


def test_a_database_that_is_gone(db: str) -> None:
    """Deleted under our feet: the file that is still open would answer, but it is nobody's."""
    Store(db).close()
    with Store(db, read_only=True) as store:
        health = HealthCheckService(store)
        assert health.sync.check_database().status is not UNHEALTHY
        os.rename(db, f"{db}.moved")
        assert health.sync.check_database().status is UNHEALTHY


def test_a_database_that_is_gone_is_made_anew(store: Store, health: HealthCheckService) -> None:
    """By who records: the check finds the new one."""
    assert health.sync.check_database().status is HEALTHY
    os.rename(store.path, f"{store.path}.moved")
    assert health.sync.check_database().status is not UNHEALTHY
    assert os.path.exists(store.path)


def test_a_mode_without_wal_is_said_so(db: str) -> None:
    """As SQLite reports it. Here a copy that was converted, and is only looked at."""
    Store(db).close()
    connection = apsw.Connection(db)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    with Store(db, read_only=True) as store:
        check = HealthCheckService(store).sync.check_database()
    assert figures(check)["journal_mode"] == "delete"
    assert check.status is DEGRADED
    assert "not WAL" in says(check)


def test_checking_leaves_the_wal_and_writes_nothing(db: str, store: Store) -> None:
    """Not even when nobody else has the file open (C4), nor for a reader."""
    StructuredLogger(store).info("x", "y")
    store.flush()
    before = Path(db).read_bytes(), Path(f"{db}-wal").read_bytes()
    HealthCheckService(store).sync.check_database()
    assert (Path(db).read_bytes(), Path(f"{db}-wal").read_bytes()) == before


def test_a_read_only_look(db: str) -> None:
    """It does not record, and says so; nothing is wrong with it, but it is not ready to record."""
    Store(db).close()
    with HealthCheckService(Store(db, read_only=True)) as health:
        recorder = health.sync.check_recorder()
        assert recorder.status is HEALTHY
        assert says(recorder) == "not recording here: the store was opened read-only"
        assert figures(recorder) == {"recording": False}
        database = health.sync.check_database()
        assert database.status is HEALTHY
        assert figures(database)["read_only"] is True
        assert figures(database)["writable"] is False
        assert health.sync.liveness()
        ready = health.sync.readiness()
        assert not ready
        assert "read-only" in (ready.reason or "")


# -- queue -----------------------------------------------------------------------------------------


def insert_executions(db: str, **counts: int) -> None:
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(5000)
    connection.execute("BEGIN IMMEDIATE")
    for status, count in counts.items():
        connection.executemany(
            "INSERT INTO workflow_executions_monitor(id, workflow_id, workflow_name, tenant_id, "
            "user_id, status, started_at) VALUES (?, 'w', 'w', 't', 'u', ?, 1)",
            [(f"{status}-{number}", status) for number in range(count)],
        )
    connection.execute("COMMIT")
    connection.close()


def test_running_executions_are_counted(db: str, health: HealthCheckService) -> None:
    """Only those that run; more than a hundred are degraded."""
    insert_executions(db, running=100, completed=300, failed=5)
    check = health.sync.check_queue()
    assert (check.status, figures(check)["running_count"]) == (HEALTHY, 100)
    insert_executions(db, **{"running": 0, "pending": 7})
    connection = apsw.Connection(db)
    connection.execute(
        "UPDATE workflow_executions_monitor SET status='running' WHERE id='failed-1'"
    )
    connection.close()
    check = health.sync.check_queue()
    assert (check.status, figures(check)["running_count"]) == (DEGRADED, 101)
    assert says(check) == "101 executions run"


def test_a_count_that_may_be_old_is_said_so(db: str, store: Store) -> None:
    """X7: what is recorded can't be written, so newer executions are not in the count."""
    health = HealthCheckService(store, thresholds=CALM)
    with locked(db):
        StructuredLogger(store).info("x", "y")
        check = health.sync.check_queue()
        assert check.status is DEGRADED
        assert figures(check) == {"running_count": 0, "current": False}
    assert store.flush()
    assert health.sync.check_queue().status is HEALTHY


# -- recorder --------------------------------------------------------------------------------------


def kill_pump(store: Store) -> None:
    """End the writing thread in the way of a defect: by an exception that nobody expects."""
    assert store._recording is not None
    thread = store._recording.pump._thread
    assert thread is not None
    assert store.flush()  # within its first round it would leave open a folder that it lists
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    wait_until(lambda: store.recorder.ring.wake() or not thread.is_alive())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_pump_that_died_is_seen(db: str, clock: FakeClock) -> None:
    """Really died. It is not alive, and the records that wait are counted."""
    with Store(db, clock=clock) as store:
        health = HealthCheckService(store, thresholds=CALM)
        assert health.sync.check_recorder().status is HEALTHY
        assert health.sync.liveness()
        kill_pump(store)
        StructuredLogger(store, buffer_size=10**6).info("x", "y")
        clock.advance(61)
        check = health.sync.check_recorder()
        assert check.status is UNHEALTHY
        assert "no thread writes to the database" in says(check)
        assert "waiting to be written for 61 s" in says(check)
        assert figures(check)["pending_count"] == 1
        alive = health.sync.liveness()
        assert not alive
        assert (alive.reason or "").startswith("no thread writes to the database")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("by", ["flush", "a full ring"])
def test_a_pump_that_died_is_started_again(db: str, by: str) -> None:
    """By whoever flushes or asks something, and by a call that finds the ring full."""
    with Store(db, ring_bytes=3 * 1024 * 1024, overflow_wait_ms=20_000) as store:
        health = HealthCheckService(store, thresholds=CALM)
        logger = StructuredLogger(store, buffer_size=10**6, flush_interval_ms=10**7)
        kill_pump(store)
        count = 10_000 if by == "a full ring" else 1
        for number in range(count):
            logger.info(f"{number} {'x' * 500}", "y")
        if by == "flush":
            assert health.sync.check_recorder().status is UNHEALTHY
        assert store.flush()
        assert logger.get_log_count() == count
        assert health.sync.check_recorder().status is HEALTHY


def test_s1_a_full_disk_is_unhealthy_until_there_is_room(db: str) -> None:
    """Records stay in the ring; when they are written, it is healthy again by itself."""
    vfs = FaultyVFS()
    with Store(db, vfs=vfs.vfs_name) as store:
        health = HealthCheckService(store, thresholds=CALM)
        logger = StructuredLogger(store)
        vfs.faults.arm("xWrite", error=apsw.FullError)
        logger.error("x", "y")
        assert not store.flush()
        check = health.sync.check_recorder()
        assert check.status is UNHEALTHY
        assert "the disk is full" in says(check)
        assert figures(check)["pending_count"] == 1
        assert health.sync.liveness()  # a restart would not help
        vfs.faults.disarm()
        wait_until(store.flush)
        check = health.sync.check_recorder()
        assert (check.status, figures(check)["pending_count"]) == (HEALTHY, 0)


def test_write_lag(db: str, clock: FakeClock) -> None:
    """Time since the last success while something waits; none while nothing does."""
    vfs = FaultyVFS()
    with Store(db, vfs=vfs.vfs_name, clock=clock) as store:
        health = HealthCheckService(store, thresholds=CALM)
        logger = StructuredLogger(store)
        store.flush()
        clock.advance(10_000)
        assert figures(health.sync.check_recorder())["lag_ms"] == 0
        logger.error("x", "y")
        assert store.flush()
        vfs.faults.block("xWrite")
        logger.error("x", "y")
        vfs.faults.waiting.wait()  # the write hangs: no error, no success
        clock.advance(16)
        check = health.sync.check_recorder()
        assert check.status is DEGRADED
        assert says(check) == "records have been waiting to be written for 16 s"
        clock.advance(45)
        check = health.sync.check_recorder()
        assert (check.status, figures(check)["lag_ms"]) == (UNHEALTHY, 61_000)
        vfs.faults.disarm()
        assert store.flush()
        assert health.sync.check_recorder().status is HEALTHY


def test_a_process_that_was_suspended_is_given_a_moment(db: str, clock: FakeClock) -> None:
    """An hour has passed and a record waits: it is written before anything is said."""
    with Store(db, clock=clock) as store:
        health = HealthCheckService(store, thresholds=CALM)
        store.flush()
        StructuredLogger(store, buffer_size=10**6).info("x", "y")
        clock.advance(3600)
        check = health.sync.check_recorder()
        assert (check.status, figures(check)["lag_ms"]) == (HEALTHY, 0)


def test_drops_are_shown_for_a_while(db: str, clock: FakeClock) -> None:
    """Whoever asks next sees them too; after a minute without new ones they are history."""
    vfs = FaultyVFS()
    with Store(db, vfs=vfs.vfs_name, clock=clock, ring_bytes=3 * 2**20) as store:
        health = HealthCheckService(store, thresholds=CALM)
        logger = StructuredLogger(store, overflow="drop_newest")
        vfs.faults.arm("xWrite")
        while not store.stats().dropped:
            logger.info("x" * 10_000, "y")
        check = health.sync.check_recorder()
        assert check.status in (DEGRADED, UNHEALTHY)  # the failure to write may have been told too
        assert "records have been dropped lately" in says(check)
        assert figures(check)["dropped_since_last_check_count"] == figures(check)["dropped_count"]
        assert figures(check)["ring_usage_percent"] > 60
        vfs.faults.disarm()
        wait_until(store.flush)
        clock.advance(30)
        check = health.sync.check_recorder()
        assert (check.status, figures(check)["dropped_since_last_check_count"]) == (DEGRADED, 0)
        clock.advance(31)
        assert health.sync.check_recorder().status is HEALTHY


def test_a_ring_that_fills_up(db: str) -> None:
    """Degraded, then unhealthy, before anything is lost."""
    vfs = FaultyVFS()
    limits = HealthThresholds(ring_degraded_percent=20, ring_unhealthy_percent=50)
    with Store(db, vfs=vfs.vfs_name, ring_bytes=3 * 2**20) as store:
        health = HealthCheckService(store, thresholds=limits)
        logger = StructuredLogger(store, buffer_size=10**6, flush_interval_ms=10**8)
        store.flush()
        vfs.faults.block("xWrite")
        for low, high, text in ((0.21, 0.49, "of the ring is full"), (0.51, 1, "about to be")):
            while store.stats().ring_used_bytes < low * 3 * 2**20:
                logger.info("x" * 10_000, "y")
            check = health.sync.check_recorder()
            assert text in says(check)
            assert check.status is (UNHEALTHY if high == 1 else DEGRADED)
        vfs.faults.disarm()


def test_a_volatile_ring_is_degraded(tmp_path: Path, db: str) -> None:
    """A kill would lose what waits: said with the reason."""
    with Store(db, ring_dir=str(tmp_path / "no" / "folder")) as store:
        check = HealthCheckService(store, thresholds=CALM).sync.check_recorder()
    assert check.status is DEGRADED
    assert "in memory only" in says(check)
    assert figures(check)["volatile"] is True


def test_o7_a_reader_that_pins_the_wal(db: str, store: Store) -> None:
    """The WAL grows: the size is there, and the likely reason."""
    health = HealthCheckService(store, thresholds=HealthThresholds(wal_degraded_bytes=500_000))
    logger = StructuredLogger(store)
    pin = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    pin.execute("BEGIN")
    pin.execute("SELECT count(*) FROM logs").fetchall()
    for _ in range(100):
        logger.info("x" * 10_000, "y")
    store.flush()
    check = health.sync.check_recorder()
    pin.close()
    assert check.status is DEGRADED
    assert "a reader that does not end" in says(check)
    assert figures(check)["wal_bytes"] > 500_000


def test_a_closed_store_is_unhealthy(store: Store, health: HealthCheckService) -> None:
    """Asked by hand; no event cries wolf, and nothing periodic can be started."""
    changed = heard(health, "health.changed")["health.changed"]
    store.close()
    found = health.sync.get_system_health()
    assert found.overall is UNHEALTHY
    assert says(found.components[-1]).startswith("the store has been closed")
    assert not health.sync.liveness()
    assert changed == []
    with pytest.raises(StorageError, match="has been closed"):
        health.start_periodic_checks()


# -- events, periodic checks -----------------------------------------------------------------------


def test_changes_are_told_with_damping(health: HealthCheckService) -> None:
    """Worse at once, better after two checks in a row; every check is told by itself."""
    events = heard(health, "health.checked", "health.changed", "health.error")
    status = ["healthy"]
    health.register("engine", lambda: status[0])
    for seen in ("healthy", "unhealthy", "healthy", "unhealthy", "healthy", "healthy", "healthy"):
        status[0] = seen
        health.sync.get_system_health()
    health._store.events.flush()
    assert [change["from"] + ">" + change["to"] for change in events["health.changed"]] == [
        "healthy>unhealthy",
        "unhealthy>healthy",
    ]
    assert [found.overall for found in events["health.checked"]][1] is UNHEALTHY
    assert len(events["health.checked"]) == 7
    assert events["health.error"] == []


def test_a_check_that_raises_is_told(health: HealthCheckService) -> None:
    """By name, with the reason; also if only that component is asked for."""
    errors = heard(health, "health.error")["health.error"]

    def broken() -> bool:
        raise ValueError("broken")

    health.register("engine", broken)
    health.sync.get_component_health("engine")
    asyncio.run(health.get_system_health())
    health._store.events.flush()
    assert errors == [{"component": "engine", "error": "ValueError: broken"}] * 2


def test_a_listener_that_checks_itself_does_not_recur(health: HealthCheckService) -> None:
    """Neither blocking nor awaiting."""
    calls: list[SystemHealth] = []

    def listener(found: SystemHealth) -> None:
        calls.append(found)
        health.sync.get_system_health()
        asyncio.run(health.get_system_health())

    health.on("health.checked", listener)
    health.sync.get_system_health()
    wait_until(lambda: calls)
    health._store.events.flush(5)
    time.sleep(0.05)
    assert len(calls) == 1


def test_periodic_checks(health: HealthCheckService, store: Store) -> None:
    """At once and at each interval; once however often started; they end with the store."""
    checked = heard(health, "health.checked")["health.checked"]
    with pytest.raises(ValueError, match="interval_ms"):
        health.start_periodic_checks(0)
    health.start_periodic_checks(60_000)
    health.start_periodic_checks(60_000)
    wait_until(lambda: len(checked) == 1)
    health.start_periodic_checks(5)
    wait_until(lambda: len(checked) >= 4)
    health.stop_periodic_checks()
    health.stop_periodic_checks()
    store.events.flush()
    count = len(checked)
    time.sleep(0.03)
    assert len(checked) == count
    health.start_periodic_checks(5)
    wait_until(lambda: len(checked) > count)
    store.close()
    wait_until(lambda: not any(t.name == "ax-monitor-health" for t in threading.enumerate()))


def test_stop_ends_everything(db: str) -> None:
    """A service that opened its own store closes it; one that did not, does not."""
    with HealthCheckService(db) as health:
        health.start_periodic_checks(5)
    assert health._store.closed
    with Store(db) as store:
        with HealthCheckService(store) as shared:
            shared.start_periodic_checks(5)
        assert not store.closed
        assert not store.scheduler._schedules


FORKED = """
import os, sys, threading, time
from ax_monitor import HealthCheckService, Store, StructuredLogger

store = Store(sys.argv[1])
health = HealthCheckService(store, timeout_ms=5000)
release = threading.Event()
health.register("stuck", lambda: release.wait(0.05) or True, timeout_ms=1)
health.start_periodic_checks(1)
for number in range(10):
    time.sleep(0.003)
    pid = os.fork()
    if pid == 0:
        assert threading.active_count() == 1, threading.enumerate()
        found = health.sync.check_recorder()
        assert found.metadata == {"recording": False}, found
        assert health.sync.liveness()
        assert health.sync.check_database().status == "healthy"
        if number % 5 == 0:
            StructuredLogger(store).info("x", "child")
            assert store.flush()
            found = health.sync.check_recorder()
            assert found.metadata["recording"] and found.metadata["stored_count"] == 1, found
            health.start_periodic_checks(1)
            health.sync.get_system_health()
            health.stop_periodic_checks()
            store.close()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, (number, status)
release.set()
health.stop()
store.close()
print("done")
"""


def test_a_forked_child_checks_nothing_by_itself(db: str) -> None:
    """And can be asked all the same, whatever the parent's checks were doing at the fork."""
    assert run_code(FORKED, db) == "done\n"


def test_x1_periodic_checks_do_not_hold_up_the_exit(db: str) -> None:
    """Nor does a check under way; the last records are written."""
    code = (
        "import sys, time; from ax_monitor import HealthCheckService, Store, StructuredLogger\n"
        "store = Store(sys.argv[1]); health = HealthCheckService(store)\n"
        "health.register('stuck', lambda: time.sleep(1000))\n"
        "health.start_periodic_checks(1); time.sleep(0.1)\n"
        "StructuredLogger(store).info('last', 'x')\n"
    )
    started = time.monotonic()
    run_code(code, db)
    assert time.monotonic() - started < 8
    with Store(db) as store:
        assert store.read(logs.count_logs) == 1


def test_health_is_asked_from_many_threads_at_once(health: HealthCheckService) -> None:
    """Every one gets a whole answer."""
    found: list[SystemHealth] = []

    def ask() -> None:
        found.extend(health.sync.get_system_health() for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(len(one.components) == len(OWN_COMPONENTS) for one in found)
    assert {one.overall for one in found} == {HEALTHY}


def test_the_count_uses_its_index(store: Store) -> None:
    """It stays small, however many executions have ended."""
    from ax_monitor.storage.health import count_running, look

    plans: list[str] = []

    def explain(connection: apsw.Connection) -> None:
        def trace(cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
            if not sql.startswith(("PRAGMA", "EXPLAIN")):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
                plans.extend(str(row[3]) for row in rows)
            return True

        connection.exec_trace = trace
        try:
            count_running(connection)
            look(connection)
        finally:
            connection.exec_trace = None

    store.peek(explain)
    assert any("workflow_executions_status (status=?)" in plan for plan in plans), plans
    assert not any(plan.startswith("SCAN workflow") for plan in plans)


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """No test leaves a periodic check behind."""
    yield
    names: Callable[[], list[str]] = lambda: [  # noqa: E731
        t.name for t in threading.enumerate() if t.name == "ax-monitor-health"
    ]
    wait_until(lambda: not names(), 5)

"""FAULTS.md, O: more than the database takes, or a database that takes nothing."""

from __future__ import annotations

import logging
import random
import statistics
import threading
import time

import apsw
import pytest

from ax_monitor import SearchTimeout, Store, StructuredLogger
from ax_monitor.storage import logs
from tests.faults.faulty_vfs import FaultyVFS
from tests.faults.harness import check_invariant, locked, wait_until

SMALL = 3 * 1024 * 1024  # the smallest ring: it is full after a few thousand records
ROOMY = 8 * 1024 * 1024  # twice what the pump may be holding on to as one batch
PADDING = "x" * 800
FAR = 3_600_000  # a flush interval that never passes here


def fill(logger: StructuredLogger, count: int, level: str = "info") -> None:
    record = getattr(logger, level)
    for number in range(count):
        record(f"m{level}{number} {PADDING}", "overload")


@pytest.mark.parametrize("overflow", ["block", "drop_newest", "drop_oldest"])
def test_o1_full_ring(db: str, overflow: str) -> None:
    """A stalled writer costs records, every one of them counted, and no other."""
    with Store(db, ring_bytes=ROOMY) as store:
        logger = StructuredLogger(store, overflow=overflow, flush_interval_ms=FAR)
        assert store.flush()
        with locked(db):
            fill(logger, 25_000)
            stats = store.stats()
            check_invariant(stats)
            assert stats.attempted == 25_000
            assert stats.stored == 0
            reason = "oldest" if overflow == "drop_oldest" else "overflow"
            assert stats.dropped[reason] > 10_000
        wait_until(store.flush, 20)
        stats = store.stats()
        check_invariant(stats)
        assert stats.in_flight == 0
        assert stats.stored > 1000
        kept = [
            int(e.message.split()[0].removeprefix("minfo")) for e in logger.query_logs(limit=None)
        ]
        assert len(kept) == stats.stored
        if overflow == "drop_oldest":
            assert kept[0] == 24_999, "the newest is there"
        else:
            assert kept == list(range(len(kept)))[::-1], "the oldest are there"


def test_o1_one_wait_and_not_one_a_call(db: str) -> None:
    """While nothing gets through, `block` waits once and then drops at once, without the GIL."""
    with Store(db, ring_bytes=SMALL, overflow_wait_ms=200) as store:
        logger = StructuredLogger(store, flush_interval_ms=FAR)
        assert store.flush()
        turns = 0
        stop = threading.Event()

        def other() -> None:
            nonlocal turns
            while not stop.is_set():
                turns += 1
                time.sleep(0.001)

        thread = threading.Thread(target=other)
        with locked(db):
            while not store.stats().dropped and store.stats().attempted < 20_000:
                before = time.perf_counter()
                if store.stats().ring_used_bytes > SMALL // 2 and not thread.is_alive():
                    thread.start()
                seen = turns
                logger.info(PADDING, "overload")
            first = time.perf_counter() - before
            assert 0.2 <= first < 1.0
            assert turns - seen > 20, "other threads ran during the wait"
            started = time.perf_counter()
            fill(logger, 1000)
            assert time.perf_counter() - started < 0.2
            assert store.stats().dropped["overflow"] == 1001
        stop.set()
        thread.join(10)
        wait_until(store.flush, 10)
        fill(logger, 10)
        assert store.flush()
        assert store.stats().dropped["overflow"] == 1001, "it takes records again"
        check_invariant(store.stats())


def test_o1_errors_have_a_reserve(db: str) -> None:
    """When the ring is full for everything else, errors and fatal ones still find room."""
    with Store(db, ring_bytes=SMALL, overflow_wait_ms=0) as store:
        logger = StructuredLogger(store, flush_interval_ms=FAR)
        assert store.flush()
        with locked(db):
            fill(logger, 5000)
            dropped = store.stats().dropped["overflow"]
            fill(logger, 300, "error")
            fill(logger, 300, "fatal")
            assert store.stats().dropped["overflow"] == dropped
        wait_until(store.flush, 10)
        assert len(logger.get_error_logs(limit=None)) == 600
        check_invariant(store.stats())


def test_o1_drops_are_reported(db: str) -> None:
    """An event and one warning record a flush interval say how many were dropped."""
    events: list[dict[str, int]] = []
    with Store(db, ring_bytes=SMALL, overflow_wait_ms=0) as store:
        logger = StructuredLogger(store, flush_interval_ms=200)
        logger.on("log.dropped", events.append)
        assert store.flush()
        with locked(db):
            fill(logger, 5000)
        dropped = store.stats().dropped["overflow"]
        wait_until(lambda: sum(event["new"] for event in events) == dropped, 10)
        wait_until(store.flush, 10)
        reports = logger.query_logs(source="ax-monitor", level="warn", limit=None)
        assert sum(entry.metadata["new"] for entry in reports) == dropped
        assert 1 <= len(reports) == len(events) <= 10
        check_invariant(store.stats())


@pytest.mark.parametrize("policy", ["block", "drop_newest", "drop_oldest"])
def test_o2_dead_sink(db: str, policy: str) -> None:
    """With a writer that never comes back, calls stay fast: p99.9 under 1 ms."""
    vfs = FaultyVFS()
    store = Store(db, vfs=vfs.vfs_name, ring_bytes=SMALL)
    logger = StructuredLogger(store, overflow=policy, flush_interval_ms=FAR)
    assert store.flush()
    vfs.faults.block("xWrite", "xSync")
    logger.error("wake up", "overload")
    assert vfs.faults.waiting.wait(10)
    times = []
    for number in range(30_000):
        begin = time.perf_counter_ns()
        logger.info(f"m{number} {PADDING}", "overload")
        times.append(time.perf_counter_ns() - begin)
    times.sort()
    assert times[int(len(times) * 0.999)] < 1_000_000
    check_invariant(store.stats())
    vfs.faults.disarm()
    wait_until(store.flush, 20)
    check_invariant(store.stats())
    store.close()


class _ToTheMonitor(logging.Handler):
    """Sends the standard library's records to the monitor, as an application would."""

    def __init__(self, logger: StructuredLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.error(record.getMessage(), record.name)


def test_o3_its_own_failure_does_not_recurse(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A failing database is one line on stderr and counters, whoever listens."""
    vfs = FaultyVFS()
    heard: list[object] = []
    with Store(db, vfs=vfs.vfs_name) as store:
        logger = StructuredLogger(store)
        handler = _ToTheMonitor(logger)
        logging.getLogger().addHandler(handler)

        def on_error(event: object) -> None:
            heard.append(event)
            logger.error("m-nested", "listener")
            raise RuntimeError("a listener's own trouble")

        logger.on("flush_error", on_error)
        logger.on("log", lambda entry: logging.getLogger("app").warning("m-echo"))
        try:
            assert store.flush()
            vfs.faults.arm("xWrite", error=apsw.FullError)
            logging.getLogger("app").warning("m-first")
            wait_until(lambda: store.stats().flush_errors >= 4, 20)
            attempted = store.stats().attempted
            assert attempted < 50, "each failure makes a record or two, and those make none"
            assert store.flush() is False
            vfs.faults.disarm()
            wait_until(store.flush, 10)
        finally:
            logging.getLogger().removeHandler(handler)
        assert store.stats().last_error is None
        assert store.stats().listener_errors > 0
        assert heard
        check_invariant(store.stats())
    lines = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert len(lines) == 1
    assert "the disk is full" in lines[0]


def test_o1_threads_against_a_slow_writer(db: str) -> None:
    """Eight threads beside a writer that comes and goes: the counters are exact at the end."""
    with Store(db, ring_bytes=SMALL, overflow_wait_ms=5) as store:
        loggers = [
            StructuredLogger(store, overflow=policy, flush_interval_ms=50)
            for policy in ("block", "drop_newest", "drop_oldest")
        ]
        assert store.flush()

        def work(number: int) -> None:
            logger = loggers[number % 3]
            for index in range(3000):
                logger.info(f"mt{number}-{index} {PADDING}", "overload")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with locked(db):
                time.sleep(0.02)
            time.sleep(0.02)
        wait_until(store.flush, 20)
        # The last report of drops is a record of its own, made whenever it is due.
        wait_until(lambda: store.stats().stored == store.read(logs.count_logs), 20)
        stats = store.stats()
        check_invariant(stats)
        reports = loggers[0].query_logs(source="ax-monitor", limit=None)
        assert stats.attempted >= 24_000
        messages = [entry.message for entry in loggers[0].query_logs(source="overload", limit=None)]
        assert len(messages) + len(reports) == stats.stored


def test_o1_stats_never_lie_in_between(db: str) -> None:
    """The invariant holds at every look at the counters while batches are written."""
    with Store(db) as store:
        logger = StructuredLogger(store)
        deadline = time.monotonic() + 1
        looks = 0
        while time.monotonic() < deadline:
            for number in range(50):
                logger.info(f"m{number}", "overload")
            for _ in range(20):
                check_invariant(store.stats())
                looks += 1
        assert looks > 1000
        assert store.stats().batches > 2
    with Store(db, read_only=True) as reader:
        assert reader.read(logs.count_logs) > 1000


@pytest.mark.timeout(60)
def test_o6_a_costly_search_is_stopped_and_others_go_on(db: str) -> None:
    """`NEAR(w* w*)` over many words ends with SearchTimeout; meanwhile and after it others read."""
    chance = random.Random(5)
    with Store(db) as store:
        logger = StructuredLogger(store)
        for _ in range(30_000):
            logger.info(" ".join(f"w{chance.randrange(20_000)}" for _ in range(10)), "test")
        costly = {"search": "NEAR(w* w*)", "limit": 50}
        assert len(logger.query_logs(**costly, timeout_ms=None)) == 50
        done = threading.Event()
        counts = []

        def others() -> None:
            while not done.is_set():
                counts.append(logger.get_log_count())

        thread = threading.Thread(target=others)
        thread.start()
        try:
            for _ in range(20):
                with pytest.raises(SearchTimeout, match="stopped after 1 ms"):
                    logger.query_logs(**costly, timeout_ms=1)
        finally:
            done.set()
            thread.join()
        assert counts
        assert set(counts) == {30_000}
        assert len(logger.query_logs(search="w7*", limit=50)) == 50
        with pytest.raises(ValueError, match="timeout_ms must be an integer of at least 1"):
            logger.query_logs(timeout_ms=0)


def test_s10_a_change_gets_its_turn_while_batches_never_end(db: str) -> None:
    """Retention and rules write between two batches, although there is always a next one."""
    with Store(db) as store:
        logger = StructuredLogger(store)
        over = threading.Event()

        def record() -> None:
            while not over.is_set():
                fill(logger, 200)

        def flush() -> None:
            while not over.is_set():
                store.flush()

        threads = [threading.Thread(target=work) for work in (record, record, flush, flush)]
        for thread in threads:
            thread.start()
        try:
            batches = []
            for _ in range(20):
                before = store.stats().batches
                store.write(lambda c: c.execute("UPDATE recorder_state SET syncs = syncs"))
                batches.append(store.stats().batches - before)
        finally:
            over.set()
            for thread in threads:
                thread.join(30)
        assert statistics.median(batches) <= 3, batches

"""Retention: what goes, what stays, how long the write lock is held, and the size of the file."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ax_monitor
from ax_monitor import RetentionReport, RetentionService, StorageError, Store
from ax_monitor.pipeline.scheduler import Scheduler
from ax_monitor.services.retention import YOUNG_MS
from ax_monitor.storage import logs, metrics
from ax_monitor.storage import retention as stored
from tests.conftest import FakeClock
from tests.log_helpers import wait_for

DAY_MS = 86_400_000
KINDS = ("logs", "traces", "executions", "samples", "alerts")
WORDS = [f"word{number}" for number in range(3000)]


class Engine:
    """All kinds of records on one store, made at the time of its clock."""

    def __init__(self, db: str, clock: FakeClock) -> None:
        self.clock = clock
        self.store = Store(db, clock=clock)
        self.logger = ax_monitor.StructuredLogger(self.store)
        self.tracer = ax_monitor.DistributedTracer(self.store)
        self.metrics = ax_monitor.MetricsCollector(self.store)
        self.alerts = ax_monitor.AlertingService(self.store)

    def log(self, age_days: float, text: str = "text") -> None:
        at_ms = self.clock.now_ms - int(age_days * DAY_MS)
        self.logger.log_at(9, text, "test", timestamp_ns=at_ms * 1_000_000)

    def sample(self, age_days: float, value: float = 1.0) -> None:
        self.metrics.record("m", value, timestamp=self.clock.now_ms - int(age_days * DAY_MS))

    def write(self, sql: str, *values: Any) -> None:
        self.store.write(lambda connection: connection.execute(sql, values))

    def trace(self, age_days: float, *, ended: bool = True) -> None:
        at_ms = self.clock.now_ms - int(age_days * DAY_MS)
        name = f"{random.getrandbits(128):032x}"
        self.write(
            "INSERT INTO traces(trace_id, workflow_execution_id, started_at, completed_at, ring) "
            "VALUES (?, 'run', ?, ?, 1)", name, at_ms, at_ms if ended else None,
        )  # fmt: skip
        self.write(
            "INSERT INTO spans(span_id, trace_id, name, kind, started_at, status, attributes) "
            "VALUES (?, ?, 'n', 'internal', ?, 'ok', '{}')", name[:16], name, at_ms,
        )  # fmt: skip

    def execution(self, age_days: float, status: str = "completed") -> None:
        at_ms = self.clock.now_ms - int(age_days * DAY_MS)
        self.write(
            "INSERT INTO workflow_executions_monitor(id, status, started_at, completed_at) "
            "VALUES (?, ?, ?, ?)", f"{random.getrandbits(128):032x}", status, at_ms,
            None if status == "running" else at_ms,
        )  # fmt: skip

    def alert(self, age_days: float, status: str = "resolved") -> None:
        at_ms = self.clock.now_ms - int(age_days * DAY_MS)
        self.write(
            "INSERT INTO alerts(id, timestamp, severity, status, title, description, source, "
            "labels, resolved_at) VALUES (?, ?, 'info', ?, 't', 'd', 's', '{}', ?)",
            f"{random.getrandbits(128):032x}", at_ms, status,
            at_ms if status == "resolved" else None,
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        return {
            kind: self.store.read(lambda c, kind=kind: stored.count_all(c, kind)) for kind in KINDS
        }


@pytest.fixture
def one(db: str, clock: FakeClock) -> Iterator[Engine]:
    engine = Engine(db, clock)
    yield engine
    engine.store.close()


def filled(one: Engine) -> None:
    """Of every kind one that is a little too old, one that is not, and one that stays anyway."""
    limits = {one.log: 30, one.trace: 7, one.execution: 30, one.sample: 90, one.alert: 30}
    for make, days in limits.items():
        for age in (days + 0.1, days - 0.1, 0.01):
            make(age)
    one.execution(400, "running")
    one.alert(400, "active")
    one.alert(400, "acknowledged")


# -- what goes ------------------------------------------------------------------------------------


def test_the_defaults_of_the_document(one: Engine) -> None:
    """Logs, executions and resolved alerts 30 days, traces 7, metrics 90."""
    filled(one)
    dry = RetentionService(one.store).run(dry_run=True)
    assert dry.dry_run
    assert dry.deleted == dict.fromkeys(KINDS, 1)
    before = one.counts()
    assert before == {"logs": 3, "traces": 3, "executions": 4, "samples": 3, "alerts": 5}
    report = RetentionService(one.store).run()
    assert not report.dry_run
    assert report.deleted == dict.fromkeys(KINDS, 1)
    assert report.refused == {}
    assert one.counts() == {kind: count - 1 for kind, count in before.items()}
    assert RetentionService(one.store).run().deleted == dict.fromkeys(KINDS, 0)


def test_every_age_can_be_set_and_switched_off(one: Engine) -> None:
    """None keeps everything of a kind; 0 keeps nothing but what is open."""
    filled(one)
    names = ("logs", "traces", "executions", "metrics", "alerts")
    never = RetentionService(one.store, **{f"{name}_days": None for name in names})
    assert never.run().deleted == dict.fromkeys(KINDS, 0)
    report = RetentionService(one.store, **{f"{name}_days": 0 for name in names}).run()
    assert report.deleted == dict.fromkeys(KINDS, 3)
    assert one.counts() == {"logs": 0, "traces": 0, "executions": 1, "samples": 0, "alerts": 2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"logs_days": -1}, {"traces_days": "7"}, {"metrics_days": float("nan")},
        {"alerts_days": True}, {"max_bytes": 0}, {"max_bytes": 1.5}, {"interval_ms": 0},
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(store: Store, wrong: dict[str, Any]) -> None:
    """With the value."""
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        RetentionService(store, **wrong)


def test_the_index_stays_in_step(one: Engine) -> None:
    """What is deleted is not found, what stays is, and the index checks out."""
    for age in (40, 20):
        for number in range(300):
            one.log(age, f"age{age} number{number}")
    assert RetentionService(one.store).run().logs == 300
    assert len(one.logger.query_logs(search="age40")) == 0
    assert len(one.logger.query_logs(search="age20", limit=None)) == 300
    one.write("INSERT INTO logs_fts(logs_fts, rank) VALUES ('integrity-check', 1)")


def test_spans_go_with_their_traces(one: Engine) -> None:
    """And stay with those that stay."""
    one.trace(8)
    one.trace(6)
    RetentionService(one.store).run()
    assert one.tracer.get_trace_stats().total_spans == 1


def test_a_read_only_store_can_be_asked_but_not_cleaned(db: str) -> None:
    """A dry run changes nothing, so it needs no right to."""
    Store(db).close()
    with Store(db, read_only=True) as store:
        assert RetentionService(store).run(dry_run=True).logs == 0
        with pytest.raises(StorageError, match="read-only"):
            RetentionService(store).run()


# -- T2: clocks -----------------------------------------------------------------------------------


def test_t2_a_jump_ahead_deletes_nothing(one: Engine) -> None:
    """Not even what will be old some day."""
    filled(one)
    RetentionService(one.store).run()
    before = one.counts()
    one.clock.now_ms += 10 * 365 * DAY_MS
    RetentionService(one.store).run()
    assert one.counts() == before


@pytest.mark.parametrize("jump_days", [3650, -1])
def test_t2_no_more_than_a_fifth_goes_while_the_clocks_disagree(
    one: Engine, jump_days: int
) -> None:
    """It is refused kind by kind, told, and done once the clocks agree again."""
    for age in (60, 50, 1, 1, 1):
        one.log(age)
    for age in (100, 1, 1, 1, 1, 1):
        one.sample(age)
    one.clock.now_ms += jump_days * DAY_MS
    heard: list[Any] = []
    one.store.events.on("retention.refused", heard.append)
    dry = RetentionService(one.store).run(dry_run=True)
    report = RetentionService(one.store).run()
    one.store.events.flush()
    assert (dry.logs, dry.samples) == (report.logs, report.samples) == (0, 1)
    assert set(dry.refused) == set(report.refused) == {"logs"}
    assert "2 of them (40%) are too old, but the wall clock" in report.refused["logs"]
    assert heard == [{"kind": "logs", "reason": report.refused["logs"]}]
    one.clock.now_ms -= jump_days * DAY_MS
    assert RetentionService(one.store).run().logs == 2


# -- size -----------------------------------------------------------------------------------------


def fill(one: Engine, count: int, age_days: float, seed: int = 0) -> None:
    chosen = random.Random(seed)
    start_ns = (one.clock.now_ms - int(age_days * DAY_MS)) * 1_000_000
    for number in range(count):
        one.logger.log_at(
            9, " ".join(chosen.choices(WORDS, k=10)), "test",
            timestamp_ns=start_ns + number * 1_000_000,
        )  # fmt: skip
    assert one.store.flush()


@pytest.mark.parametrize(
    "count", [4_000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]
)
def test_s10_the_file_does_not_grow_with_turnover(one: Engine, count: int) -> None:
    """After five times everything old and everything new, at most 1.3 times a fresh one."""
    fill(one, count, 1)
    one.store.checkpoint()
    fresh = Path(one.store.path).stat().st_size
    retention = RetentionService(one.store)
    for turn in range(5):
        one.clock.advance(31 * 86_400)
        fill(one, count, 1, seed=turn)
        report = retention.run()
        assert report.logs == count
        assert report.bytes_after < report.bytes_before
    assert one.logger.get_log_count() == count
    assert Path(one.store.path).stat().st_size <= 1.3 * fresh
    assert one.store.read(stored.file_size).free == 0
    one.write("INSERT INTO logs_fts(logs_fts, rank) VALUES ('integrity-check', 1)")


def test_s10_recording_goes_on_meanwhile(db: str) -> None:
    """Nothing that is recorded during a run is lost, late or refused."""
    with Store(db) as store:
        one = Engine.__new__(Engine)
        one.clock, one.store = FakeClock(time.time_ns() // 1_000_000), store
        one.logger = ax_monitor.StructuredLogger(store)
        fill(one, 6_000, 40)
        done = threading.Event()
        longest: list[float] = []

        def record() -> None:
            while not done.is_set():
                begun = time.perf_counter()
                one.logger.info("new", "test")
                longest.append(time.perf_counter() - begun)
                time.sleep(0.0005)

        recording = threading.Thread(target=record)
        recording.start()
        report = RetentionService(store).run()
        done.set()
        recording.join()
        assert report.logs == 6_000
        assert one.logger.get_log_count() == len(longest)
        assert store.stats().dropped == {}


def test_max_bytes_takes_the_oldest_of_all_kinds(one: Engine) -> None:
    """Until the file fits; newer ones stay, and so does what is open."""
    for day in range(20, 0, -1):
        fill(one, 150, day, seed=day)
        one.sample(day)
        one.trace(day / 4)
    one.trace(6, ended=False)
    one.execution(20, "running")
    one.alert(20, "active")
    size = one.store.read(stored.file_size)
    empty = 350_000
    wanted = empty + (size.used - empty) // 2
    service = RetentionService(one.store, max_bytes=wanted)
    report = service.run()
    assert report.refused == {}
    assert one.store.read(stored.file_size).total <= wanted
    times = [entry.timestamp for entry in one.logger.query_logs(limit=None, order="asc")]
    assert 300 <= len(times) < 3_000 - report.logs + 1
    kept = [trace for trace in one.tracer.find_traces(limit=None) if trace.completed_at is None]
    assert len(kept) == 1
    values, _ = one.store.read(metrics.get_values, "m", 0, one.clock.now_ms)
    oldest_day = (one.clock.now_ms - times[0]) // DAY_MS
    assert len(values) == pytest.approx(oldest_day + 1, abs=1)
    assert one.counts()["executions"] == one.counts()["alerts"] == 1
    assert service.run().deleted == dict.fromkeys(KINDS, 0)


def test_what_is_young_stays_however_large_the_file(one: Engine) -> None:
    """Then the run ends, and says so."""
    fill(one, 500, 3)
    fill(one, 500, 0)
    report = RetentionService(one.store, max_bytes=1).run()
    assert report.logs == 500
    assert "more than max_bytes=1" in report.refused["size"]
    assert YOUNG_MS >= 60_000


# -- automatic ------------------------------------------------------------------------------------


def test_it_runs_by_itself_once_started(one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """First after some minutes, then at the interval; a run is many calls of the scheduler."""
    monkeypatch.setattr(Scheduler, "_start", lambda self: None)
    reports: list[RetentionReport] = []
    one.store.events.on("retention.completed", reports.append)
    fill(one, 2_000, 40)
    retention = RetentionService(one.store)
    retention.start()
    retention.start()
    calls = 0

    def pass_by(seconds: float) -> None:
        nonlocal calls
        end = one.clock.now_s + seconds
        while (wait_s := one.store.scheduler.run_due()) is not None:
            calls += 1
            if one.clock.now_s + wait_s > end:
                break
            one.clock.advance(max(wait_s, 1e-6))  # less may be lost in rounding
        one.clock.advance(max(0.0, end - one.clock.now_s))

    pass_by(149)
    one.store.events.flush()
    assert reports == []
    pass_by(160)
    one.store.events.flush()
    assert [report.logs for report in reports] == [2_000]
    assert calls > 5
    fill(one, 10, 40)
    pass_by(3600)
    one.store.events.flush()
    assert [report.logs for report in reports] == [2_000, 10]
    retention.stop()
    assert one.store.scheduler.run_due() is None
    assert not one.store.closed


def test_a_run_that_fails_is_told_and_tried_again(
    one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event, and a new run at the next tick."""
    errors: list[Any] = []
    one.store.events.on("retention.error", errors.append)
    one.log(40)
    retention = RetentionService(one.store)

    def fail(change: Any) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(one.store, "write", fail)
        assert retention.tick() is None
    one.store.events.flush()
    assert errors == [{"error": "the disk is full"}]
    while retention.tick() is not None:
        pass
    assert one.logger.get_log_count() == 0


def test_closing_the_store_ends_a_run(db: str) -> None:
    """Between two slices, and without a complaint."""
    store = Store(db)
    one = Engine.__new__(Engine)
    one.clock, one.store = FakeClock(time.time_ns() // 1_000_000), store
    one.logger = ax_monitor.StructuredLogger(store)
    fill(one, 5_000, 40)
    retention = RetentionService(store, interval_ms=1)
    errors: list[Any] = []
    store.events.on("retention.error", errors.append)
    retention.start()
    wait_for(lambda: store.read(logs.count_logs) < 5_000, "the beginning of a run")
    begun = time.monotonic()
    store.close()
    assert time.monotonic() - begun < 5
    assert errors == []


def test_two_runs_at_once_do_the_work_once(one: Engine) -> None:
    """Each slice is a transaction of its own, so nothing is counted twice."""
    fill(one, 3_000, 40)
    reports: list[RetentionReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(RetentionService(one.store).run()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.logs for report in reports) == 3_000
    assert one.logger.get_log_count() == 0


def test_a_size_that_nothing_reaches_ends_the_run(one: Engine) -> None:
    """Also if what is left is in an hour that began long enough ago."""
    one.clock.now_ms = one.clock.now_ms // 3_600_000 * 3_600_000 + 1_800_000
    one.sample(0)
    one.sample(0.0001)
    one.store.flush()
    deletion_seals = RetentionService(one.store, max_bytes=1)
    assert "size" in deletion_seals.run().refused
    assert "size" in deletion_seals.run().refused
    assert one.counts()["samples"] == 2

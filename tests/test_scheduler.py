"""The scheduler: its logic on a clock that is moved by hand, its thread with the real one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import StorageError, Store
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.events import Events
from ax_monitor.pipeline.scheduler import Schedule, Scheduler
from tests.conftest import FakeClock
from tests.log_helpers import wait_for

NAME = "ax-monitor-scheduler"


class ByHand(Scheduler):
    """A scheduler without a thread."""

    def _start(self) -> None:
        pass


class Log:
    """Writes down when something was called."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.start = clock.now_s
        self.calls: list[tuple[str, float]] = []

    def work(self, name: str, takes_s: float = 0.0, again: Iterator[float] | None = None) -> Any:
        def call() -> float | None:
            self.calls.append((name, round(self.clock.now_s - self.start, 6)))
            self.clock.advance(takes_s)
            return None if again is None else next(again, None)

        return call

    def times(self, name: str) -> list[float]:
        return [at for called, at in self.calls if called == name]


@pytest.fixture
def log(clock: FakeClock) -> Log:
    return Log(clock)


@pytest.fixture
def by_hand(clock: FakeClock) -> ByHand:
    return ByHand(clock, Events())


def go_on(scheduler: Scheduler, log: Log, until_s: float) -> None:
    """What the thread would do until then."""
    while (wait_s := scheduler.run_due()) is not None:
        if log.clock.now_s + wait_s - log.start >= until_s:
            return
        log.clock.advance(wait_s)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


# -- logic ----------------------------------------------------------------------------------------


def test_everything_is_called_at_its_own_interval(by_hand: ByHand, log: Log) -> None:
    """First after an interval, or when asked for; each at even times."""
    by_hand.every("a", 10, log.work("a"), first_s=0)
    by_hand.every("b", 4, log.work("b"))
    by_hand.every("c", 10, log.work("c"), first_s=3)
    go_on(by_hand, log, 25)
    assert log.times("a") == [0, 10, 20]
    assert log.times("b") == [4, 8, 12, 16, 20, 24]
    assert log.times("c") == [3, 13, 23]


def test_t3_missed_ticks_are_skipped(by_hand: ByHand, log: Log) -> None:
    """A process that was suspended for an hour does not make up for it."""
    by_hand.every("a", 10, log.work("a"), first_s=0)
    go_on(by_hand, log, 25)
    log.clock.advance(3600)
    go_on(by_hand, log, 3650)
    assert log.times("a") == [0, 10, 20, 3620, 3630, 3640]


def test_t3_work_longer_than_its_interval_is_no_storm(by_hand: ByHand, log: Log) -> None:
    """Ticks that pass while it works are skipped too."""
    by_hand.every("a", 10, log.work("a", takes_s=25), first_s=0)
    go_on(by_hand, log, 100)
    assert log.times("a") == [0, 30, 60, 90]


def test_t1_the_wall_clock_does_not_matter(by_hand: ByHand, log: Log) -> None:
    """Only the monotonic clock counts."""
    by_hand.every("a", 10, log.work("a"), first_s=0)
    log.clock.now_ms -= 3_600_000
    go_on(by_hand, log, 15)
    log.clock.now_ms += 10 * 3_600_000
    go_on(by_hand, log, 25)
    assert log.times("a") == [0, 10, 20]


def test_work_that_wants_to_go_on_lets_the_others_go_first(by_hand: ByHand, log: Log) -> None:
    """A long run in slices delays nothing by more than a slice, and ends with its last one."""
    slices = iter([0.0] * 19)
    by_hand.every("long", 1000, log.work("long", takes_s=0.5, again=slices), first_s=0)
    by_hand.every("short", 1, log.work("short"))
    go_on(by_hand, log, 20)
    assert log.times("long") == [0.5 * n for n in range(20)]
    assert log.times("short") == list(range(1, 20))


def test_work_may_ask_for_a_pause(by_hand: ByHand, log: Log) -> None:
    """It is called again so much later, but no later than its next tick."""
    by_hand.every("a", 10, log.work("a", again=iter([2.0, 30.0])), first_s=0)
    go_on(by_hand, log, 25)
    assert log.times("a") == [0, 2, 10, 20]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_work_that_raises_stops_nobody(
    clock: FakeClock, log: Log, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told by an event, and once a minute on stderr; the others, and it itself, go on."""
    events = Events()
    told: list[Any] = []
    events.on("schedule.error", told.append)
    scheduler = ByHand(clock, events)
    calls: list[float] = []

    def broken() -> None:
        calls.append(clock.now_s)
        raise error

    scheduler.every("breaking", 10, broken, first_s=0)
    scheduler.every("a", 10, log.work("a"), first_s=0)
    go_on(scheduler, log, 55)
    events.flush()
    assert len(calls) == len(log.times("a")) == len(told) == 6
    assert told[0] == {"schedule": "breaking", "error": f"{type(error).__name__}: {error}"}
    assert capsys.readouterr().err.count("ax-monitor: breaking failed, it is tried again") == 1
    clock.advance(60)
    scheduler.run_due()
    assert capsys.readouterr().err.count("breaking failed") == 1
    events.close()


def test_a_cancelled_schedule_is_not_called(by_hand: ByHand, log: Log) -> None:
    """Not even where another one that is due at the same time cancels it; twice is fine."""
    made: list[Schedule] = []
    by_hand.every("first", 10, lambda: made[0].cancel(0), first_s=0)
    made.append(by_hand.every("a", 10, log.work("a"), first_s=0))
    assert made[0].running
    go_on(by_hand, log, 25)
    assert log.calls == []
    assert not made[0].running
    made[0].cancel()


@given(st.floats(0.001, 1e6), st.floats(0, 1e7))
def test_ticks_lie_on_multiples_of_the_interval(interval_s: float, elapsed_s: float) -> None:
    """However late it was called, the next time is a multiple, and at most an interval away."""
    clock = FakeClock()
    scheduler = ByHand(clock, Events())
    start = clock.now_s
    scheduler.every("a", interval_s, lambda: None, first_s=0)
    clock.now_s += elapsed_s
    now = clock.now_s
    wait_s = scheduler.run_due()
    assert wait_s is not None
    assert 0 <= wait_s <= interval_s * (1 + 1e-6)
    ticks = (now - start + wait_s) / interval_s
    assert math.isclose(ticks, round(ticks), rel_tol=1e-6, abs_tol=1e-6)


# -- the thread -----------------------------------------------------------------------------------


def test_there_is_one_thread_while_there_is_something_to_do(store: Store) -> None:
    """Not before, not for each, not afterwards; and again when something comes."""
    assert threads() == []
    calls: list[str] = []
    for _ in range(2):
        calls.clear()
        schedules = [
            store.scheduler.every(name, 0.01, lambda name=name: calls.append(name), first_s=0)
            for name in ("a", "b")
        ]
        (thread,) = threads()
        assert thread.daemon
        wait_for(lambda: calls.count("a") > 3 and calls.count("b") > 3, "calls")
        for schedule in schedules:
            schedule.cancel()
        assert threads() == []
        count = len(calls)
        time.sleep(0.05)
        assert len(calls) == count


def test_a_new_schedule_does_not_wait_for_an_old_one(store: Store) -> None:
    """The thread may be asleep for an hour when something with a short interval comes."""
    store.scheduler.every("slow", 3600, lambda: None)
    time.sleep(0.05)
    calls: list[int] = []
    store.scheduler.every("fast", 0.01, lambda: calls.append(1))
    wait_for(lambda: len(calls) > 3, "calls")


def test_cancel_waits_for_work_under_way_a_bounded_time(store: Store) -> None:
    """After it nothing happens any more; but nobody waits for ever, its own thread not at all."""
    begun, release, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(20)
        schedule.cancel()
        done.set()

    schedule = store.scheduler.every("stuck", 100, work, first_s=0)
    assert begun.wait(20)
    started = time.monotonic()
    schedule.cancel(0.05)
    assert 0.04 < time.monotonic() - started < 10
    release.set()
    assert done.wait(20)
    wait_for(lambda: not threads(), "the end of the thread")


def test_the_thread_ends_with_the_store(db: str) -> None:
    """And a closed store takes no more."""
    store = Store(db)
    schedule = store.scheduler.every("a", 0.01, lambda: None)
    store.close()
    assert threads() == []
    assert not schedule.running
    with pytest.raises(StorageError, match="a can't be scheduled: the store has been closed"):
        store.scheduler.every("a", 1, lambda: None)


def test_a_forked_child_has_no_schedules_until_it_makes_some(db: str) -> None:
    """Also if the fork comes while the parent's lock is held; the parent's go on."""
    with Store(db) as store:
        calls: list[int] = []
        schedule = store.scheduler.every("a", 0.01, lambda: calls.append(1))
        with store.scheduler._condition:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    assert not schedule.running
                    assert threading.active_count() == 1
                    schedule.cancel()
                    calls.clear()
                    store.scheduler.every("b", 0.01, lambda: calls.append(2))
                    wait_for(lambda: len(calls) > 2, "calls")
                    assert set(calls) == {2}
                    store.close()
                    code = 0
                finally:
                    os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        count = len(calls)
        wait_for(lambda: len(calls) > count, "calls")


def test_x1_schedules_keep_no_program_alive(db: str) -> None:
    """Not even one whose work is under way."""
    code = (
        "import sys, time, ax_monitor; s = ax_monitor.Store(sys.argv[1]); "
        "s.scheduler.every('a', 0.001, lambda: None); time.sleep(0.05)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, db], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_where_no_thread_can_be_had_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is said, and tried again with the next schedule."""
    scheduler = Scheduler(SYSTEM_CLOCK, Events())

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        first = scheduler.every("a", 0.01, lambda: None)
    assert "no thread for what is done at regular times" in capsys.readouterr().err
    calls: list[int] = []
    scheduler.every("b", 0.01, lambda: calls.append(1))
    wait_for(lambda: calls, "calls")
    first.cancel()
    scheduler.close()
    assert threads() == []

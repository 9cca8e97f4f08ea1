"""What is done at regular times: one thread for all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from ax_monitor.clock import Clock
from ax_monitor.errors import StorageError
from ax_monitor.events import Events
from ax_monitor.pipeline.stderr import StderrReport

STOP_S: Final = 5.0  # cancel() and the end wait for work under way no longer than this

# Returns after how many seconds it is to be called again, before its next tick; None: at that.
Work = Callable[[], float | None]


class Schedule:
    """One thing that is done at every interval; `Scheduler.every` makes it.

    Thread-safety: any thread.
    """

    def __init__(
        self, scheduler: Scheduler, name: str, interval_s: float, work: Work, base_s: float
    ) -> None:
        self.name = name
        self.interval_s = interval_s
        self._scheduler = scheduler
        self._work = work
        self._base_s = base_s  # ticks are this and what is any number of intervals later
        self._due_s = base_s
        self._goes_on = False  # not at a tick, but because it asked for it

    @property
    def running(self) -> bool:
        """Will it be called again, in this process?"""
        return self in self._scheduler._schedules

    def cancel(self, wait_s: float = STOP_S) -> None:
        """No more calls. Work under way is waited for, so long at most. May be called twice."""
        self._scheduler._cancel(self, wait_s)

    def _set_next(self, now_s: float, again_s: float | None) -> None:
        passed = max(-1.0, (now_s - self._base_s) // self.interval_s)
        self._due_s = self._base_s + (passed + 1) * self.interval_s
        self._goes_on = again_s is not None and now_s + again_s < self._due_s
        if again_s is not None:
            self._due_s = min(self._due_s, now_s + again_s)


class Scheduler:
    """Calls functions at even intervals, one after the other, on one daemon thread.

    The monotonic clock counts. Ticks that come while something else works, or while the process is
    suspended, are skipped and not made up for. Work that raises is told of (event `schedule.error`,
    and a line on stderr once a minute) and called again at its next tick. Work that takes long
    should return soon and ask to be called again: everything else that is due goes first.

    Lifecycle: the thread lives from the first schedule to the last, or `close()`. A forked child
    has no schedules.
    Thread-safety: any thread.

    Args:
        clock: Its monotonic clock is used.
        events: Gets `schedule.error`: {schedule: its name, error}.
    """

    def __init__(self, clock: Clock, events: Events) -> None:
        self._clock = clock
        self._events = events
        self._report = StderrReport(clock)
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._condition = threading.Condition()  # guards what follows; never held during work
        self._schedules: list[Schedule] = []
        self._under_way: Schedule | None = None
        self._worker: threading.Thread | None = None  # whose thread that is on
        self._thread: threading.Thread | None = None

    def every(
        self, name: str, interval_s: float, work: Work, *, first_s: float | None = None
    ) -> Schedule:
        """Call `work` at every interval from now on.

        Args:
            name: For people: error messages have it.
            interval_s: In seconds, above 0.
            work: It may return a number of seconds: to be called again so much later, if that is
                before its next tick.
            first_s: After how many seconds it is called first (default: one interval; 0: at once,
                on the thread).

        Raises:
            StorageError: the scheduler has been closed.
        """
        wait_s = interval_s if first_s is None else first_s
        schedule = Schedule(self, name, interval_s, work, self._clock.monotonic() + wait_s)
        with self._condition:
            if self._closed:
                raise StorageError(f"{name} can't be scheduled: the store has been closed")
            self._schedules.append(schedule)
            self._start()
            self._condition.notify_all()
        return schedule

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="ax-monitor-scheduler", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:  # too many threads, or the interpreter is exiting
                self._thread = None
                self._report(f"no thread for what is done at regular times: {error}")

    def _run(self) -> None:
        while True:
            wait_s = self.run_due()
            with self._condition:
                if not self._schedules:
                    self._thread = None
                    self._condition.notify_all()
                    return
                if wait_s is None or wait_s > 0:
                    # Looked at again: something may have been added since.
                    self._condition.wait(self._until_next())

    def run_due(self) -> float | None:
        """Call everything that is due, once; how many seconds it is to the next, None: nothing.

        What the thread does; tests call it.
        """
        now = self._clock.monotonic()
        due = [schedule for schedule in list(self._schedules) if schedule._due_s <= now]
        for schedule in sorted(due, key=lambda schedule: (schedule._goes_on, schedule._due_s)):
            self._call(schedule)
        return self._until_next()

    def _until_next(self) -> float | None:
        due = min((schedule._due_s for schedule in list(self._schedules)), default=None)
        return None if due is None else max(0.0, due - self._clock.monotonic())

    def _call(self, schedule: Schedule) -> None:
        with self._condition:
            if schedule not in self._schedules:
                return
            self._under_way = schedule
            self._worker = threading.current_thread()
        again_s = None
        # BaseException: work that calls sys.exit() is not to end the others.
        try:
            again_s = schedule._work()
        except BaseException as error:
            self._tell(schedule, error)
        finally:
            schedule._set_next(self._clock.monotonic(), again_s)
            with self._condition:
                self._under_way = self._worker = None
                self._condition.notify_all()

    def _tell(self, schedule: Schedule, error: BaseException) -> None:
        if self._closed:
            return  # whatever it worked on has been closed
        text = f"{type(error).__name__}: {error}"
        self._events.emit("schedule.error", {"schedule": schedule.name, "error": text})
        self._report(f"{schedule.name} failed, it is tried again: {text}")

    def _cancel(self, schedule: Schedule, wait_s: float) -> None:
        with self._condition:
            if schedule in self._schedules:
                self._schedules.remove(schedule)
            self._condition.notify_all()
            if threading.current_thread() not in (self._thread, self._worker):
                self._condition.wait_for(
                    lambda: (
                        self._under_way is not schedule
                        and (self._schedules or self._thread is None)
                    ),
                    wait_s,
                )

    def close(self, wait_s: float = STOP_S) -> None:
        """Cancel everything; work under way is waited for, so long at most."""
        with self._condition:
            self._closed = True
            self._schedules.clear()
            self._condition.notify_all()
            if threading.current_thread() not in (self._thread, self._worker):
                self._condition.wait_for(lambda: self._thread is None, wait_s)

    def after_fork_in_child(self) -> None:
        """The thread stayed with the parent, and so does what it was to do."""
        self._reset()

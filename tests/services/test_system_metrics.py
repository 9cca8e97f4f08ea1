"""The system sampler, with the real psutil and the real machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

import ax_monitor
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.events import Events
from ax_monitor.pipeline.scheduler import Scheduler
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.services.system_metrics import SystemSampler
from tests.conftest import FakeClock

WAIT_S = 20
CPU = {("cpu.usage", "scope=machine"), ("cpu.usage", "scope=process")}
MEMORY = {("memory.usage", "scope=machine"), ("memory.usage", "scope=process")}


class Recorded:
    """Keeps what is recorded, by metric and label."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.values: dict[tuple[str, str], list[float]] = {}
        self.times: list[float] = []
        self.units: set[str | None] = set()
        self._slow_s = slow_s
        self.scheduler = Scheduler(SYSTEM_CLOCK, Events())

    @property
    def store(self) -> Recorded:
        """Of a store only the scheduler is needed."""
        return self

    def series(
        self,
        metric_type: str,
        *,
        unit: str | None = None,
        labels: Mapping[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> RecordedSeries:
        assert tenant_id is None
        self.units.add(unit)
        ((name, value),) = (labels or {}).items()
        return RecordedSeries(self, (metric_type, f"{name}={value}"))

    def take(self, key: tuple[str, str], value: float) -> None:
        self.values.setdefault(key, []).append(value)
        if key[0] == "disk.usage":
            self.times.append(time.monotonic())
            time.sleep(self._slow_s)

    def wait_for(self, samples: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while len(self.times) < samples:
            assert time.monotonic() < deadline
            time.sleep(0.01)


class RecordedSeries:
    """One series of it."""

    def __init__(self, recorded: Recorded, key: tuple[str, str]) -> None:
        self._recorded, self._key = recorded, key

    def record(self, value: float) -> None:
        self._recorded.take(self._key, value)


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def disk(path: object) -> set[tuple[str, str]]:
    return {("disk.usage", f"path={path}")}


def test_a_sample_has_every_figure_in_percent(tmp_path: Path) -> None:
    """CPU usage comes with the second sample, all else with the first; all of it is 0 to 100."""
    recorded = Recorded()
    sampler = SystemSampler(recorded, disk_path=tmp_path)
    assert sampler.sample_once() == 3
    assert set(recorded.values) == MEMORY | disk(tmp_path)
    work(0.3)
    assert sampler.sample_once() == 5
    assert set(recorded.values) == CPU | MEMORY | disk(tmp_path)
    assert all(0 <= value <= 100 for values in recorded.values.values() for value in values)
    assert recorded.units == {"percent"}
    assert (sampler.errors, sampler.last_error) == (0, None)


def test_figures_are_those_of_psutil(tmp_path: Path) -> None:
    """Memory and disk are what psutil says at the same time."""
    recorded = Recorded()
    SystemSampler(recorded, disk_path=tmp_path).sample_once()
    expected = {
        ("memory.usage", "scope=machine"): psutil.virtual_memory().percent,
        ("memory.usage", "scope=process"): psutil.Process().memory_percent(),
        ("disk.usage", f"path={tmp_path}"): psutil.disk_usage(str(tmp_path)).percent,
    }
    for key, value in expected.items():
        assert recorded.values[key] == [pytest.approx(value, abs=5)]


def test_a_busy_process_is_seen() -> None:
    """Of all CPUs, a process that computes uses a good part of one; one that sleeps, nothing."""
    recorded = Recorded()
    sampler = SystemSampler(recorded)
    sampler.sample_once()
    begun, used = time.monotonic(), time.process_time()
    work(0.5)
    busy = (time.process_time() - used) / (time.monotonic() - begun)
    sampler.sample_once()
    time.sleep(0.5)
    sampler.sample_once()
    working, sleeping = recorded.values["cpu.usage", "scope=process"]
    assert working == pytest.approx(100 * busy / (os.cpu_count() or 1), rel=0.2)
    assert sleeping < working / 2
    assert recorded.values["cpu.usage", "scope=machine"][0] >= working / 4


def test_no_time_passed_means_no_cpu_usage(clock: FakeClock) -> None:
    """Between two samples of one moment there is no figure for the process."""
    recorded = Recorded()
    sampler = SystemSampler(recorded, clock=clock)
    sampler.sample_once()
    sampler.sample_once()
    assert ("cpu.usage", "scope=process") not in recorded.values


def test_the_thread_samples_until_it_is_stopped() -> None:
    """Samples come by themselves, a stop ends them at once, and it can be started again."""
    recorded = Recorded()
    sampler = SystemSampler(recorded, interval_ms=100)
    for _ in range(2):
        recorded.times.clear()
        sampler.start()
        sampler.start()
        assert sampler.running
        assert [t.name for t in threading.enumerate()].count("ax-monitor-scheduler") == 1
        recorded.wait_for(3)
        begun = time.monotonic()
        sampler.stop()
        sampler.stop()
        assert time.monotonic() - begun < 0.9
        assert not sampler.running
        count = len(recorded.times)
        time.sleep(0.25)
        assert len(recorded.times) == count


def test_a_long_interval_does_not_delay_the_stop() -> None:
    """The first sample comes at once, and a stop does not wait for the next one."""
    recorded = Recorded()
    sampler = SystemSampler(recorded, interval_ms=3_600_000)
    sampler.start()
    recorded.wait_for(1)
    begun = time.monotonic()
    sampler.stop()
    assert time.monotonic() - begun < 5


def test_missed_samples_are_not_made_up_for() -> None:
    """Where a sample takes 2.5 intervals, the next comes with the next tick and not at once."""
    recorded = Recorded(slow_s=0.25)
    sampler = SystemSampler(recorded, interval_ms=100)
    sampler.start()
    recorded.wait_for(4)
    sampler.stop()
    gaps = [b - a for a, b in zip(recorded.times, recorded.times[1:], strict=False)]
    assert min(gaps) >= 0.27


def test_what_fails_is_left_out_and_counted(tmp_path: Path) -> None:
    """A disk that is gone costs its own figure only."""
    recorded = Recorded()
    sampler = SystemSampler(recorded, disk_path=tmp_path / "gone")
    assert sampler.sample_once() == 2
    assert set(recorded.values) == MEMORY
    assert sampler.errors == 1
    assert sampler.last_error is not None
    assert "gone" in sampler.last_error


@pytest.mark.parametrize("wrong", [0, 99, -1, 1000.0, True, "1s", None])
def test_intervals_that_are_refused(wrong: Any) -> None:
    """The error says what is allowed."""
    with pytest.raises(ValueError, match="integer of at least 100"):
        SystemSampler(Recorded(), interval_ms=wrong)


def test_a_collector_is_where_it_records_to(store: ax_monitor.Store, tmp_path: Path) -> None:
    """With a real collector the values arrive in its store; its type satisfies the protocol."""
    collector = MetricsCollector(store)
    sampler = SystemSampler(collector, interval_ms=100, disk_path=tmp_path)
    assert sampler.sample_once() == 3
    found = collector.get_aggregation("memory.usage", 0, 2**42, labels={"scope": "machine"})
    assert found is not None
    assert found.count == 1
    assert 0 < found.avg <= 100
    assert collector.list_metric_types() == ["disk.usage", "memory.usage"]


def test_a_forked_child_does_not_sample() -> None:
    """In the child the sampler is stopped, can be stopped, and can be started for the child."""
    recorded = Recorded()
    sampler = SystemSampler(recorded, interval_ms=100)
    sampler.start()
    recorded.wait_for(1)
    child = os.fork()
    if not child:
        code = 1
        try:
            recorded.scheduler.after_fork_in_child()  # as a store does
            was_running = sampler.running
            sampler.stop()
            recorded.times.clear()
            sampler.start()
            recorded.wait_for(2)
            sampler.stop()
            code = 1 if was_running else 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sampler.running
    sampler.stop()


def test_psutil_is_imported_only_to_sample() -> None:
    """Neither the package nor the module of the sampler imports it."""
    code = (
        "import sys, ax_monitor, ax_monitor.services.system_metrics; "
        "sys.exit('psutil' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


def test_a_monitor_samples_once_it_is_told_to(db: str) -> None:
    """Off by default; its end is the monitor's."""
    with ax_monitor.open(db) as monitor:
        assert "cpu.usage" not in monitor.metrics.list_metric_types()
        monitor.system.sample_once()
        monitor.system.start()
        sampler = monitor.system
        assert "memory.usage" in monitor.metrics.list_metric_types()
    assert not sampler.running

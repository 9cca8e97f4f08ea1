"""A sample of the machine, against the same questions to psutil."""

from __future__ import annotations

import time

import psutil

from ax_monitor import MetricsCollector, Store
from ax_monitor.services.system_metrics import SystemSampler
from benchmarks.conftest import Against


def test_sample(against: Against, store: Store) -> None:
    sampler = SystemSampler(MetricsCollector(store), disk_path=".")
    sampler.sample_once()  # CPU usage begins with the second

    def by_psutil() -> None:
        psutil.cpu_times()
        time.process_time()
        psutil.virtual_memory()
        psutil.Process().memory_info()
        psutil.disk_usage(".")

    assert against("psutil", by_psutil, sampler.sample_once, after=store.flush) > 0

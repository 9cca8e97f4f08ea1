"""Health checks, against the questions they ask: by apsw and psutil, without anything around them."""

from __future__ import annotations

import os

import psutil
import pytest

from ax_monitor import HealthCheckService, Store
from ax_monitor.services.health import SyncHealthChecks
from benchmarks.conftest import Against
from benchmarks.services.conftest import Fetch


@pytest.fixture
def health(store: Store) -> SyncHealthChecks:
    service = HealthCheckService(store)
    service.register_cache(lambda: {"size_bytes": 1, "hit_rate": 0.9})
    service.register_provider("provider", lambda: True)
    checks = service.sync
    checks.get_system_health()  # looks at the CPUs for a tenth of a second, the first time
    return checks


def _ask(fetch: Fetch) -> None:
    fetch("SELECT 1")
    psutil.cpu_times()
    os.getloadavg()
    psutil.virtual_memory()
    psutil.disk_usage(".")


def test_database(against: Against, health: SyncHealthChecks, fetch: Fetch) -> None:
    against("apsw, SELECT 1", lambda: fetch("SELECT 1"), health.check_database)


def test_memory(against: Against, health: SyncHealthChecks) -> None:
    against("psutil.virtual_memory", psutil.virtual_memory, health.check_memory)


def test_disk(against: Against, health: SyncHealthChecks) -> None:
    against("psutil.disk_usage", lambda: psutil.disk_usage("."), health.check_disk)


def test_system_health(against: Against, health: SyncHealthChecks, fetch: Fetch) -> None:
    """All eight components."""
    found = against("apsw and psutil", lambda: _ask(fetch), health.get_system_health)
    assert len(found.components) == 8


def test_readiness(against: Against, health: SyncHealthChecks, fetch: Fetch) -> None:
    against("apsw and psutil", lambda: _ask(fetch), health.readiness)

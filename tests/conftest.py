"""Fixtures: real files, real stores, and a clock that is moved by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import ax_monitor

settings.register_profile(
    "default",
    deadline=None,
    derandomize="CI" in os.environ,  # a landing is not to depend on luck; people's runs explore
    max_examples=int(os.environ.get("AX_MONITOR_TEST_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("default")

# In the processes that tests start: Python 3.12 and up warn of every fork beside our thread.
os.environ["PYTHONWARNINGS"] = "ignore:This process:DeprecationWarning"


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, time_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = time_ms
        self.now_s = 1000.0
        self.boot = "boot-1"

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_s

    def boot_id(self) -> str:
        return self.boot

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.now_ms += int(seconds * 1000)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def db(tmp_path: Path) -> str:
    """The path of a database that does not exist yet."""
    return str(tmp_path / "monitor.db")


@pytest.fixture
def store(db: str) -> Iterator[ax_monitor.Store]:
    with ax_monitor.Store(db) as opened:
        yield opened


@pytest.fixture
def logger(store: ax_monitor.Store) -> ax_monitor.StructuredLogger:
    return ax_monitor.StructuredLogger(store, min_level="debug")


DATA = Path(__file__).parent / "data"

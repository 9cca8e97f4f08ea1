"""Options: their defaults, their limits, and what they do."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ax_monitor
from ax_monitor import Store, StoreOptions, StructuredLogger
from ax_monitor.config import DEFAULT_DATABASE, database_path, failpoint_name
from ax_monitor.storage import logs

MIB = 1024 * 1024


def test_defaults() -> None:
    """16 MiB ring beside the database, normal durability, 50 ms wait, redaction on."""
    assert StoreOptions() == StoreOptions(
        ring_bytes=16 * MIB,
        ring_dir=None,
        durability="normal",
        overflow_wait_ms=50,
        redact="default",
        vfs=None,
    )


def test_options_are_frozen_and_keyword_only() -> None:
    """They can't change under a store that uses them, and never depend on their order."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        StoreOptions().ring_bytes = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        StoreOptions(16 * MIB)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ring_bytes", [0, MIB, 2 * MIB, 3 * MIB + 1, 4097 * MIB, -3 * MIB]),
        ("durability", ["none", "", None, "STRICT"]),
        ("overflow_wait_ms", [-1, 60_001]),
        ("redact", ["all", True, 0, ""]),
    ],
)
def test_values_out_of_range_are_value_errors(name: str, values: list[Any]) -> None:
    """Each is refused with its name and the value, from `open()` as well."""
    for value in values:
        with pytest.raises(ValueError, match=name):
            StoreOptions(**{name: value})
        with pytest.raises(ValueError, match=name):
            ax_monitor.open("never-made.db", **{name: value})
    assert not Path("never-made.db").exists()


def test_limits_themselves_are_accepted() -> None:
    """The ends of every range belong to it."""
    StoreOptions(ring_bytes=3 * MIB, overflow_wait_ms=0)
    StoreOptions(ring_bytes=4096 * MIB, overflow_wait_ms=60_000, durability="strict", redact=None)


def test_unknown_options_and_both_forms_at_once_are_type_errors(db: str) -> None:
    """A misspelt option is told; options as an object and as keywords don't mix."""
    with pytest.raises(TypeError, match="ring_size"):
        Store(db, ring_size=1)
    with pytest.raises(TypeError, match="not both"):
        Store(db, options=StoreOptions(), ring_bytes=3 * MIB)
    assert not Path(db).exists()


def test_the_database_is_the_argument_else_the_variable_else_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Argument (str or path), AX_MONITOR_DB, `.ax/monitor.db`; an empty variable counts as none."""
    monkeypatch.delenv("AX_MONITOR_DB", raising=False)
    assert database_path() == DEFAULT_DATABASE == os.path.join(".ax", "monitor.db")
    monkeypatch.setenv("AX_MONITOR_DB", "")
    assert database_path() == DEFAULT_DATABASE
    monkeypatch.setenv("AX_MONITOR_DB", "/elsewhere.db")
    assert database_path() == "/elsewhere.db"
    assert database_path("given.db") == "given.db"
    assert database_path(Path("given.db")) == "given.db"


def test_the_default_folder_is_made_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.ax` is created where the program runs, mode 0700; other folders are not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AX_MONITOR_DB", raising=False)
    with ax_monitor.open() as monitor:
        monitor.logger.info("x", "test")
    assert (tmp_path / ".ax" / "monitor.db").is_file()
    assert stat.S_IMODE((tmp_path / ".ax").stat().st_mode) == 0o700
    with pytest.raises(ax_monitor.StorageError, match="no folder"):
        ax_monitor.open(tmp_path / "other" / "monitor.db")


def test_failpoints_are_off_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """AX_MONITOR_FAILPOINT switches one on; unset there is none."""
    monkeypatch.delenv("AX_MONITOR_FAILPOINT", raising=False)
    assert failpoint_name() is None
    monkeypatch.setenv("AX_MONITOR_FAILPOINT", "after_commit")
    assert failpoint_name() == "after_commit"


def test_ring_size_and_folder_are_as_asked(tmp_path: Path) -> None:
    """`ring_bytes` is the size of the file, `ring_dir` its folder; it goes at close."""
    ring_dir = tmp_path / "rings"
    ring_dir.mkdir()
    with Store(tmp_path / "monitor.db", ring_bytes=5 * MIB, ring_dir=str(ring_dir)) as store:
        (ring,) = ring_dir.iterdir()
        assert 5 * MIB <= ring.stat().st_size < 6 * MIB
        assert store.stats().ring_bytes == 5 * MIB
        assert not store.stats().volatile
        assert not list(tmp_path.glob("*-ring-*"))
    assert list(ring_dir.iterdir()) == []
    with Store(tmp_path / "monitor.db") as store:
        (ring,) = tmp_path.glob("*-ring-*")
        assert store.stats().ring_bytes == 16 * MIB


@pytest.mark.parametrize("durability", ["normal", "strict"])
def test_both_durabilities_record(tmp_path: Path, durability: Any) -> None:
    """Either way what was flushed is in the file."""
    with Store(tmp_path / "monitor.db", durability=durability) as store:
        logger = StructuredLogger(store)
        logger.info("x", "test")
        assert logger.flush()
        assert logger.get_log_count() == 1


def test_open_wires_logger_store_and_events(db: str) -> None:
    """`open()` gives a Monitor: one store, its logger with the options given, its events."""
    with ax_monitor.open(db, logger={"min_level": "error"}, ring_bytes=3 * MIB) as monitor:
        heard: list[Any] = []
        monitor.events.on("log", heard.append)
        monitor.logger.info("no", "test")
        monitor.logger.error("yes", "test")
        assert monitor.flush()
        assert [entry.message for entry in heard] == ["yes"]
        assert monitor.store.stats().ring_bytes == 3 * MIB
        assert monitor.events is monitor.store.events
        assert db in repr(monitor)
    assert monitor.store.closed
    monitor.close()


def test_a_store_is_read_only_on_request(db: str) -> None:
    """Read-only nothing is created, recorded or deleted; queries answer."""
    with pytest.raises(ax_monitor.StorageError):
        Store(db, read_only=True)
    assert not Path(db).exists()
    with ax_monitor.open(db) as monitor:
        monitor.logger.info("x", "test")
    files = sorted(os.listdir(os.path.dirname(db)))
    with Store(db, read_only=True) as store:
        assert store.read(logs.count_logs) == 1
        assert store.flush() is True
        assert store.stats().attempted == 0
        assert "read-only" in repr(store)
        assert not [name for name in os.listdir(os.path.dirname(db)) if "-ring-" in name]
    assert sorted(os.listdir(os.path.dirname(db))) == files


def test_an_unclosed_store_does_not_keep_the_program_alive(db: str) -> None:
    """A program that forgets to close ends by itself, and what it recorded is there."""
    code = "import ax_monitor, sys; ax_monitor.open(sys.argv[1]).logger.info('kept', 'test')"
    subprocess.run([sys.executable, "-c", code, db], check=True, timeout=20)
    with ax_monitor.open(db) as monitor:
        assert [entry.message for entry in monitor.logger.get_recent_logs()] == ["kept"]
        assert monitor.store.stats().recovered == 0

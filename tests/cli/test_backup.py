"""`ax monitor backup` and `Store.backup`: a whole copy, made while the file is written to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import apsw
import pytest

import ax_monitor
from tests.cli.helpers import (
    assert_one_line_error,
    entries,
    run,
    run_on_terminal,
    running_engine,
    wait_for,
)

pytestmark = pytest.mark.timeout(60)


def test_a_copy_beside_a_writing_engine(db: str, tmp_path: Path) -> None:
    """Whole, private, one file; a prefix of what the engine has written."""
    copy = str(tmp_path / "copy.db")
    with running_engine(db) as engine:
        done = run("backup", copy, "--db", db)
        assert (done.code, done.err) == (0, "")
        assert done.out.endswith(f" in {copy}\n")
        assert engine.stop()[1:] == (0, 0)
    assert sorted(each.name for each in tmp_path.glob("copy.db*")) == ["copy.db"]
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    connection = apsw.Connection(copy, flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    copied = [entry.metadata["number"] for entry in entries(copy) if entry.metadata]
    written = [entry.metadata["number"] for entry in entries(db) if entry.metadata]
    assert len(copied) >= 50
    assert copied == written[: len(copied)]
    assert run("doctor", "--db", copy).code == 0
    # It is a database like any other.
    with ax_monitor.open(copy) as monitor:
        monitor.logger.info("and on", "test")
        assert monitor.flush()
        assert len(monitor.logger.query_logs(search="record", limit=None)) == len(copied)


def test_what_was_recorded_here_is_in_it(db: str, tmp_path: Path) -> None:
    """A process that copies its own database needs no flush, and is told how far it is."""
    steps: list[tuple[int, int]] = []
    with ax_monitor.open(db) as monitor:
        for number in range(1000):
            monitor.logger.info(f"{number} {'x' * 30_000}", "test")
            if number % 100 == 0:
                monitor.flush()
        size = monitor.store.backup(tmp_path / "copy.db", lambda *step: steps.append(step))
        assert monitor.logger.get_log_count() == 1000
    assert size == os.path.getsize(tmp_path / "copy.db")
    assert len(entries(str(tmp_path / "copy.db"))) == 1000
    assert len(steps) > 1
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] == size // 4096


def test_json_and_a_terminal(db: str, tmp_path: Path) -> None:
    with ax_monitor.open(db) as monitor:
        monitor.logger.info("x", "test")
    (found,) = run("backup", tmp_path / "a.db", "--json", "--db", db).objects
    assert found == {"file": f"{tmp_path}/a.db", "bytes": os.path.getsize(tmp_path / "a.db")}
    code, shown = run_on_terminal("backup", tmp_path / "b.db", "--db", db)
    assert code == 0
    assert f" in {tmp_path}/b.db" in shown


def test_what_is_there_is_never_overwritten(db: str, tmp_path: Path) -> None:
    """Nor is anything left of a copy that fails."""
    with ax_monitor.open(db) as monitor:
        monitor.logger.info("x", "test")
    there = tmp_path / "there.db"
    there.write_text("something else")
    assert "is there already" in assert_one_line_error(run("backup", there, "--db", db), 1)
    assert there.read_text() == "something else"
    assert "there is no folder" in assert_one_line_error(
        run("backup", tmp_path / "no" / "copy.db", "--db", db), 1
    )
    assert_one_line_error(run("backup", db, "--db", db), 1)
    with ax_monitor.Store(db) as store, pytest.raises(RuntimeError):
        store.backup(tmp_path / "copy.db", fail)
    assert not list(tmp_path.glob("copy.db*"))
    wait_for(lambda: len(entries(db)) == 1, "the database as it was")


def fail(done: int, total: int) -> None:
    raise RuntimeError

"""FAULTS.md, U: creating and migrating the file."""

from __future__ import annotations

import signal
from pathlib import Path

import apsw
import pytest

from ax_monitor.storage.connection import MIN_SQLITE_VERSION, _check_version
from ax_monitor.storage.migrations import SCHEMA_VERSION, dump_schema
from tests.faults.harness import Child, check_ledger, recover, together


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_u1_processes_create_the_file_at_once(tmp_path: Path, rounds: int) -> None:
    """However many processes open a file that is not there yet, all succeed."""
    for number in range(rounds):
        db = str(tmp_path / f"{number}.db")
        with together(Child("open_at_once", db, name) for name in range(12)) as children:
            for child in children:
                child.wait_for("waiting")
            for child in children:
                child.tell("now")
            for child in children:
                child.finish()
                assert child.stderr == ""
        check_ledger(db, [message for child in children for message in child.acked])
        assert {path.name for path in tmp_path.glob(f"{number}.db*")} <= {
            f"{number}.db{suffix}" for suffix in ("", "-wal", "-shm")
        }
        assert Path(db).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("step", [19, pytest.param(1, marks=pytest.mark.soak)])
def test_u3_killed_while_the_file_is_made(tmp_path: Path, step: int) -> None:
    """Killed at whichever write of the migration, the file has all of it or nothing."""
    complete = str(tmp_path / "complete.db")
    recover(complete)
    first, kills, half = 1, 0, 0
    while True:
        db = str(tmp_path / f"{first}.db")
        with Child("die_at_write", db, first) as child:
            code = child.wait()
        assert code in (0, -signal.SIGKILL), child.stderr
        kills += code != 0
        connection = apsw.Connection(db)
        version = connection.pragma("user_version")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
        connection.close()
        assert (version, tables > 0) in ((0, False), (SCHEMA_VERSION, True))
        half += version == 0
        recover(db)
        assert dump_schema(db) == dump_schema(complete)
        if code == 0:
            break
        first += step
    assert kills >= 3
    assert half >= 1


@pytest.mark.parametrize("version", ["3.7.0", "3.46.1", "3.51.2"])
def test_u5_an_old_sqlite_is_refused(version: str) -> None:
    """A SQLite that can corrupt a WAL database is refused, and the message says what to do."""
    with pytest.raises(ImportError, match=r"needs SQLite 3\.51\.3 or newer.*upgrade apsw"):
        _check_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "4.0.0", apsw.sqlite_lib_version()])
def test_u5_a_newer_sqlite_is_fine(version: str) -> None:
    """The first good version and all later ones are accepted."""
    assert MIN_SQLITE_VERSION == (3, 51, 3)
    _check_version(version)

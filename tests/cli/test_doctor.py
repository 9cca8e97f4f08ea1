"""`ax monitor doctor`: it finds what is wrong, disturbs nobody, repairs what can be repaired."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import apsw
import pytest

import ax_monitor
from tests.cli.helpers import (
    assert_one_line_error,
    die_with_records,
    entries,
    run,
    run_on_terminal,
    running_engine,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def filled(db: str) -> str:
    """A database with 500 records, closed."""
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        for number in range(500):
            logger.info(f"record {number} of the connection", "test", metadata={"number": number})
        assert store.flush()
    return db


def change(db: str, sql: str) -> None:
    """What another program does to the file, defensive mode and all checks off."""
    connection = apsw.Connection(db)
    connection.execute(sql)
    connection.close()


def examined(db: str, *arguments: object, code: int = 0) -> dict[str, dict[str, Any]]:
    """What doctor finds, by name."""
    result = run("doctor", "--json", "--db", db, *arguments)
    assert (result.code, result.err) == (code, "")
    [report] = result.objects
    assert report["database"] == db
    assert report["ok"] is (code == 0)
    assert report["ok"] is all(check["status"] != "wrong" for check in report["checks"])
    return {check["name"]: check for check in report["checks"]}


def wrong(checks: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, check in checks.items() if check["status"] == "wrong"}


def test_a_healthy_database(filled: str) -> None:
    """Everything is ok, with exit code 0, and the figures are right."""
    checks = examined(filled)
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert checks["records"]["values"] == {"records": 500, "indexed": 500, "without_context": 0}
    assert checks["search index"]["values"] == {"checked": True}
    assert checks["integrity"]["values"] == {"check": "integrity_check", "problems": []}
    assert checks["file"]["values"]["database_bytes"] == Path(filled).stat().st_size
    [ring] = checks["recorders"]["values"]["rings"]
    assert ring["last_seq"] == 500
    assert entries(filled)[-1].timestamp <= ring["updated_at"]
    quick = examined(filled, "--quick")
    assert quick["integrity"]["values"]["check"] == "quick_check"
    assert quick["search index"]["values"] == {"checked": False}


def test_the_report_in_words(filled: str) -> None:
    """Without --json it is a table, uncoloured on a pipe and coloured on a terminal."""
    result = run("doctor", "--db", filled)
    assert (result.code, result.err) == (0, "")
    assert result.lines[0] == f"database {filled}"
    assert "ok  records       500 log records, 500 in the search index" in result.lines
    assert "ok  rings         0 in use, 0 left behind, 0 B" in result.lines
    code, shown = run_on_terminal("doctor", "--db", filled)
    assert code == 0
    assert "\x1b[32mok" in shown


def test_looking_changes_nothing_and_waits_for_nobody(filled: str) -> None:
    """Another program's write lock does not hold it up, and the file stays as it is."""
    before = hashlib.sha256(Path(filled).read_bytes()).digest()
    other = apsw.Connection(filled)
    other.execute("BEGIN IMMEDIATE")
    assert examined(filled)["search index"]["status"] == "ok"
    other.execute("ROLLBACK")
    other.close()
    assert hashlib.sha256(Path(filled).read_bytes()).digest() == before


def test_beside_an_engine_that_writes(db: str) -> None:
    """A database in use is healthy, its ring is in use, and the look costs the engine nothing."""
    with running_engine(db) as engine:
        for _ in range(3):
            checks = examined(db)
            assert checks["rings"]["values"]["live"] == 1
            assert checks["rings"]["values"]["waiting"] == []
            assert checks["records"]["values"]["records"] >= 50
        written, errors, dropped = engine.stop()
    assert (errors, dropped) == (0, 0)
    assert len(entries(db)) == written


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        # the index forgets words that are there, and has taken back others that were not
        (
            "INSERT INTO logs_fts(logs_fts, rowid, message) SELECT 'delete', seq, 'other words' "
            "FROM log_records LIMIT 1",
            {"records", "search index"},
        ),
        # a message changes behind the index's back
        (
            "DROP TRIGGER logs_au; UPDATE log_records SET message = 'secretly changed' "
            "WHERE seq = (SELECT min(seq) FROM log_records)",
            {"search index", "schema"},
        ),
        ("INSERT INTO logs_fts(logs_fts) VALUES ('delete-all')", {"records", "search index"}),
        ("DELETE FROM logs_fts_data WHERE id > 10", {"integrity", "search index"}),
    ],
)
def test_s6_an_index_out_of_step_is_found_and_rebuilt(
    filled: str, damage: str, found: set[str]
) -> None:
    """An index that does not say what the messages say is wrong; --repair makes it anew."""
    change(filled, damage)
    assert wrong(examined(filled, code=1)) == found
    result = run("doctor", "--db", filled, "--repair", "--json")
    [report] = result.objects
    assert "repair" in [check["name"] for check in report["checks"]]
    assert wrong({check["name"]: check for check in report["checks"]}) == found & {"schema"}
    messages = [entry.message for entry in entries(filled)]
    assert len(entries(filled, search="connection")) == sum("connection" in m for m in messages)
    assert len(entries(filled, search="secretly")) == sum("secretly" in m for m in messages)


def test_repairing_beside_an_engine_that_writes(db: str) -> None:
    """The index is rebuilt under a running engine, which loses nothing and stays searchable."""
    with running_engine(db) as engine:
        change(db, "INSERT INTO logs_fts(logs_fts) VALUES ('delete-all')")
        assert {"repair", "recovery"} <= set(examined(db, "--repair"))
        written, _, dropped = engine.stop()
    assert dropped == 0
    assert len(entries(db, search="engine record")) == len(entries(db)) == written


def test_repairing_what_is_well_rebuilds_nothing(filled: str) -> None:
    """--repair of a healthy database only says so, and leaves no ring behind."""
    checks = examined(filled, "--repair", "--quick")
    assert "repair" not in checks
    assert checks["recovery"]["values"] == {"records": 0, "damaged": 0}
    assert checks["search index"]["values"] == {"checked": True}
    assert list(Path(filled).parent.glob("*-ring-*")) == []


def test_rings_that_wait_for_recovery(db: str) -> None:
    """Records that are only in the ring of a killed process are counted; --repair stores them."""
    die_with_records(db, 37)
    checks = examined(db, code=1)
    assert wrong(checks) == {"rings"}
    assert checks["rings"]["values"]["waiting_records"] == 37
    assert len(checks["rings"]["values"]["waiting"]) == 1
    assert len(entries(db)) == 1
    checks = examined(db, "--repair")
    assert checks["recovery"]["values"] == {"records": 37, "damaged": 0}
    assert checks["rings"]["values"]["waiting"] == []
    assert [e.message for e in entries(db)] == ["written", *(f"left behind {n}" for n in range(37))]


def test_a_ring_left_behind_with_nothing_new_in_it(db: str) -> None:
    """A killed process whose records are all stored is worth a note, not an alarm."""
    die_with_records(db, 0)
    checks = examined(db)
    assert checks["rings"]["status"] == "note"
    assert checks["rings"]["values"]["waiting_records"] == 0


def overwrite(db: str, pages: list[int]) -> None:
    data = bytearray(Path(db).read_bytes())
    for page in pages:
        data[(page - 1) * 4096 : (page - 1) * 4096 + 100] = b"\xff" * 100
    Path(db).write_bytes(data)


def pages_of(db: str, table: str) -> list[int]:
    connection = apsw.Connection(db)
    rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ?", (table,)).fetchall()
    connection.close()
    return [int(row[0]) for row in rows]


def test_s5_damaged_pages(filled: str) -> None:
    """Damage inside the file is reported, and every check that can answer still does."""
    overwrite(filled, pages_of(filled, "log_records")[1:])
    checks = examined(filled, code=1)
    assert {"integrity", "search index"} <= wrong(checks)
    assert checks["schema"]["status"] == checks["recorders"]["status"] == "ok"
    assert checks["integrity"]["values"]["problems"]
    for name in wrong(checks):
        assert "restore a backup" in checks[name]["message"]
    assert_one_line_error(run("doctor", "--db", filled, "--repair"), 1)


def test_s5_a_damaged_schema(filled: str) -> None:
    """A file that can't even be opened is one line, which does not send one to the doctor."""
    overwrite(filled, pages_of(filled, "sqlite_schema")[1:])
    error = assert_one_line_error(run("doctor", "--db", filled), 1)
    assert "restore a backup" in error
    assert "doctor" not in error


@pytest.mark.parametrize("content", [b"", b"no database\n" * 500])
def test_files_that_are_no_database_of_ours(tmp_path: Path, content: bytes) -> None:
    """Another file is one line of error, with --repair too, and stays as it was."""
    path = tmp_path / "other"
    path.write_bytes(content)
    assert_one_line_error(run("doctor", "--db", path), 1)
    assert path.read_bytes() == content


def test_no_database(tmp_path: Path) -> None:
    """A missing database is an error, and not even --repair creates one."""
    for arguments in ((), ("--repair",)):
        error = assert_one_line_error(run("doctor", *arguments, cwd=tmp_path), 1)
        assert "pass --db or set AX_MONITOR_DB" in error
    assert list(tmp_path.iterdir()) == []


def test_changes_of_the_schema(filled: str) -> None:
    """A missing index of ours is wrong, a column more is a note, other tables are no matter."""
    change(filled, "CREATE TABLE mine(x); CREATE INDEX mine_x ON mine(x)")
    assert examined(filled)["schema"]["status"] == "ok"
    change(filled, "ALTER TABLE alerts ADD COLUMN mine TEXT")
    schema = examined(filled)["schema"]
    assert (schema["status"], schema["message"]) == ("note", "table alerts is changed")
    change(filled, "DROP INDEX log_records_errors")
    schema = examined(filled, code=1)["schema"]
    assert schema["values"]["differences"]["index log_records_errors"] == "missing"


def test_u2_a_newer_schema_is_read_but_not_repaired(filled: str) -> None:
    """A file of a newer version is looked at, with a note, and --repair refuses to write it."""
    change(filled, "PRAGMA user_version=99")
    checks = examined(filled)
    assert checks["schema"]["status"] == "note"
    assert "newer ax-monitor" in checks["schema"]["message"]
    before = Path(filled).read_bytes()
    assert "schema version 99" in assert_one_line_error(
        run("doctor", "--db", filled, "--repair"), 1
    )
    assert Path(filled).read_bytes() == before


def test_records_that_were_rejected(filled: str) -> None:
    """Refused records are noted, with the last reason."""
    change(
        filled,
        "INSERT INTO recorder_rejects VALUES (x'00', 1, 1000, 'first', x'');"
        "INSERT INTO recorder_rejects VALUES (x'00', 2, 2000, 'last', x'')",
    )
    rejected = examined(filled)["rejected"]
    assert rejected["status"] == "note"
    assert rejected["values"] == {"count": 2, "last_error": "last", "last_at": 2000}


def test_records_without_their_context(filled: str) -> None:
    """Records whose source and ids are gone show in no query: that is wrong."""
    change(filled, "DELETE FROM log_contexts")
    checks = examined(filled, code=1)
    assert wrong(checks) == {"records"}
    assert checks["records"]["values"]["without_context"] == 500


def test_another_journal_mode(filled: str) -> None:
    """A database that some program took out of WAL mode is wrong."""
    change(filled, "PRAGMA journal_mode=DELETE")
    assert wrong(examined(filled, code=1)) == {"file"}


def test_free_pages_are_noted(filled: str) -> None:
    """A file that is mostly free pages says so."""
    change(
        filled, "CREATE TABLE big(x); INSERT INTO big VALUES (zeroblob(2000000)); DROP TABLE big"
    )
    file = examined(filled)["file"]
    assert file["status"] == "note"
    assert file["values"]["free_pages"] > 400


def test_rings_in_a_folder_of_their_own(db: str, tmp_path: Path) -> None:
    """--ring-dir says where else to look for rings."""
    folder = tmp_path / "rings"
    folder.mkdir()
    with ax_monitor.Store(db, ring_dir=str(folder)) as store:
        ax_monitor.StructuredLogger(store).info("hello", "test")
        assert store.flush()
        assert examined(db)["rings"]["values"]["live"] == 0
        assert examined(db, "--ring-dir", folder)["rings"]["values"]["live"] == 1

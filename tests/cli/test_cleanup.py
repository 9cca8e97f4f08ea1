"""`ax monitor cleanup`: what it deletes, what it says, and what it refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import ax_monitor
from tests.cli.helpers import assert_one_line_error, entries, run, running_engine

DAY_NS = 86_400 * 10**9


def filled(db: str, ages_days: tuple[float, ...] = (40, 35, 20, 0)) -> None:
    with ax_monitor.open(db) as monitor:
        for age in ages_days:
            at_ns = time.time_ns() - int(age * DAY_NS)
            monitor.logger.log_at(9, f"{age} days", "test", timestamp_ns=at_ns)
            monitor.metrics.record("m", 1, timestamp=at_ns // 1_000_000)


def test_a_dry_run_only_says_what_would_go(db: str) -> None:
    """As a table; the database stays as it is."""
    filled(db)
    result = run("cleanup", "--db", db, "--dry-run")
    assert result.code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert lines[0] == "2 log records would be deleted"
    assert lines[3] == "0 samples would be deleted"
    assert lines[-1].endswith("is the size of the file")
    assert len(entries(db)) == 4


def test_what_is_old_goes(db: str) -> None:
    """By the days that are given, else by the usual ones."""
    filled(db)
    result = run("cleanup", "--db", db, "--metrics-days", "30")
    assert result.code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert lines[0] == "2 log records deleted"
    assert lines[3] == "2 samples deleted"
    assert lines[-2].endswith("given back")
    assert len(entries(db)) == 2
    result = run("cleanup", "--db", db, "--logs-days", "0.5", "--json")
    report = json.loads(result.out)
    assert (report["logs"], report["samples"], report["dry_run"]) == (1, 0, False)
    assert report["bytes_after"] <= report["bytes_before"]
    assert [entry.message for entry in entries(db)] == ["0 days"]


def test_a_size_that_can_not_be_reached_is_told(db: str) -> None:
    """What is young stays."""
    filled(db)
    result = run("cleanup", "--db", db, "--max-size", "1kB")
    assert result.code == 0
    assert "size: " in result.out
    assert "more than max_bytes=1000" in result.out
    assert [entry.message for entry in entries(db)] == ["0 days"]


def test_it_works_while_the_engine_records(db: str) -> None:
    """Both write to one file."""
    filled(db)
    with running_engine(db):
        assert run("cleanup", "--db", db).code == 0
    assert "40 days" not in [entry.message for entry in entries(db)]


@pytest.mark.parametrize(
    "wrong",
    [("--logs-days", "-1"), ("--logs-days", "many"), ("--max-size", "big"), ("--max-size", "0")],
)
def test_mistakes_are_usage_errors(db: str, wrong: tuple[str, str]) -> None:
    """One line that names the option; nothing is deleted."""
    filled(db)
    assert wrong[0] in assert_one_line_error(run("cleanup", "--db", db, *wrong), 2)
    assert len(entries(db)) == 4


def test_it_never_creates_a_database(tmp_path: Path) -> None:
    """A wrong path is an error."""
    path = tmp_path / "none.db"
    assert "none.db" in assert_one_line_error(run("cleanup", "--db", path), 1)
    assert not path.exists()

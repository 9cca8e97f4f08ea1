"""`ax monitor bench`: the latency table of SPEC §10 on this machine."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ax_monitor
from ax_monitor.bench.table import MS, OPERATIONS, Row, row_of_size, row_of_times
from ax_monitor.cli import bench
from tests.cli.helpers import (
    COMMAND,
    TIMEOUT_S,
    assert_one_line_error,
    environment,
    run,
)

pytestmark = pytest.mark.timeout(90)

KEYS = {
    "operation": str,
    "measures": str,
    "document": str,
    "document_ns": int | None,
    "document_bytes": int | None,
    "judged_at": str | None,
    "goal": str | None,
    "goal_percentile": str | None,
    "goal_ns": int | None,
    "calls": int,
    "p50_ns": int | None,
    "p95_ns": int | None,
    "p99_ns": int | None,
    "p99_9_ns": int | None,
    "bytes": int | None,
    "met": bool | None,
    "goal_met": bool | None,
    "version": str,
    "machine": list,
    "folder": str,
    "file_system": str,
    "records": int,
    "timer_ns": int,
}
RECORDS = 2000
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A quick run in a process of its own, beside a database that the user has."""
    folder = tmp_path_factory.mktemp("bench")
    temporary, home = folder / "tmp", folder / "home"
    temporary.mkdir()
    db = home / ".ax" / "monitor.db"
    db.parent.mkdir(parents=True)
    with ax_monitor.Store(db) as store:
        ax_monitor.StructuredLogger(store).info("the user's", "test")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    done = subprocess.run(
        [*COMMAND, "bench", "--quick", "--json", "--records", str(RECORDS)],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment(TMPDIR=str(temporary), AX_MONITOR_DB=str(db)),
        timeout=60,
        check=False,
    )
    after = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    return {
        "done": done,
        "objects": [json.loads(line) for line in done.stdout.splitlines()],
        "temporary": temporary,
        "is_untouched": before == after,
    }


def test_every_operation_has_its_object(outcome: dict[str, Any]) -> None:
    """In the order of the document; silent on stderr, and 0 whatever was met."""
    assert (outcome["done"].returncode, outcome["done"].stderr) == (0, "")
    names = [each["operation"] for each in outcome["objects"]]
    assert names == [operation.name for operation in OPERATIONS]


def test_keys_are_those_that_are_documented(outcome: dict[str, Any]) -> None:
    """The same for each operation, and of the types that they are said to be."""
    for each in outcome["objects"]:
        assert list(each) == list(KEYS)
        for key, kind in KEYS.items():
            assert isinstance(each[key], kind), (key, each[key])
        assert each["version"] == ax_monitor.__version__
        assert each["records"] == RECORDS
        assert each["folder"] == str(outcome["temporary"])
        assert each["timer_ns"] > 0
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert not [key for key in KEYS if f"`{key}`" not in text]


def test_percentiles_are_ordered_and_real(outcome: dict[str, Any]) -> None:
    """p50 ≤ p95 ≤ p99 ≤ p99.9, each known only where there were calls enough; all were called."""
    for each in outcome["objects"]:
        known = [each[key] for key in ("p50_ns", "p95_ns", "p99_ns", "p99_9_ns")]
        if each["operation"] == "1M log records":
            assert known == [None] * 4
            assert each["bytes"] > 50 * 1_000_000  # no message takes less
            continue
        assert each["calls"] > 0
        assert [key is not None for key in known] == [
            each["calls"] >= least for least in (20, 200, 1000, 10_000)
        ]
        assert known[: 4 - known.count(None)] == sorted(key for key in known if key is not None)
        assert each["p50_ns"] is None or each["p50_ns"] > 0


def test_nothing_is_left_and_nothing_is_touched(outcome: dict[str, Any]) -> None:
    """The temporary folder is empty again, and the user's database as it was."""
    assert list(outcome["temporary"].iterdir()) == []
    assert outcome["is_untouched"]


def test_the_table_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """80 columns, whatever was measured: every operation, its figures, and what they mean."""
    widest = [1000, 99_900, 999_400, 999_400_000]
    rows = [
        row_of_size(operation, 999_400_000)
        if operation.unit == "bytes"
        else Row(operation, 10_000, dict(zip(("p50", "p95", "p99", "p99.9"), widest, strict=True)))
        for operation in OPERATIONS
    ]
    where = {
        "version": "0.1.0",
        "records": 100_000,
        "folder": "/tmp",
        "file_system": "ext4",
        "machine": ["2 × fast", "CPython"],
        "timer_ns": 120,
    }
    bench._show(bench.Printer(), rows, where)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for operation in OPERATIONS:
        assert sum(line.startswith(f"{operation.name}  ") for line in lines) == 1
    cells = next(line for line in lines if line.startswith("log call")).split("  ")
    assert [cell.strip() for cell in cells if cell] == [
        "log call", "< 0.5 ms", "20 µs p99.9", "1.00 µs", "999 µs", "999 ms", "no",
    ]  # fmt: skip
    assert "2 × fast" in lines
    assert "120 ns" in lines[-1]


def test_what_is_not_known_is_a_dash() -> None:
    """Neither a percentile nor a verdict is made up."""
    row = row_of_times(OPERATIONS[1], [MS] * 999)
    assert [cell if isinstance(cell, str) else cell[0] for cell in bench._cells(row)[3:]] == [
        "1.00 ms", "–", "–", "–",
    ]  # fmt: skip


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """The exit code is 130, the folder is gone, and the terminal, which saw progress, as it was."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "bench", "--records", "2000"],
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment(TMPDIR=str(tmp_path), TERM="xterm-256color"),
    )
    os.close(slave)
    shown = b""
    try:
        while b"log call" not in shown:  # the first operation that is measured
            shown += os.read(master, 65_536)
        assert b"filling a database" in shown
        assert list(tmp_path.glob("*/monitor.db"))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT_S)
        shown += os.read(master, 65_536)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert (process.returncode, out) == (130, b"")
    assert os.listdir(tmp_path) == []
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


def test_options_out_of_range() -> None:
    """Too few records to measure on are a mistake in the command line; there is no --db."""
    assert "--records" in assert_one_line_error(run("bench", "--records", "10"), 2)
    assert "--db" in assert_one_line_error(run("bench", "--db", "x"), 2)


def test_the_package_does_without() -> None:
    """`import ax_monitor`, and the list of commands, import none of it."""
    code = "import ax_monitor, ax_monitor.cli, sys; print([m for m in sys.modules if 'bench' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == "[]\n"

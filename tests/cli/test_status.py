"""`ax monitor status`: what another process can tell of an engine, and what it can't."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import ax_monitor
from ax_monitor.cli._overview import MEASURED, REGISTERED, Observer
from ax_monitor.cli.status import EXIT_CODES
from ax_monitor.model.vocabulary import HealthStatus
from ax_monitor.pipeline.observation import SeenRecorder
from tests.cli.helpers import (
    COMMAND,
    TIMEOUT_S,
    assert_one_line_error,
    die_with_records,
    entries,
    environment,
    run,
    run_here,
    run_on_terminal,
    started,
)
from tests.conftest import FakeClock

pytestmark = pytest.mark.timeout(90)

# Three executions that completed, one that failed, one that runs; two errors in the log; an alert.
ENGINE = """
import contextlib, os, sys
import ax_monitor
with ax_monitor.open(sys.argv[1]) as monitor:
    for n in range(4):
        with contextlib.suppress(ZeroDivisionError):
            with monitor.workflows.execution("wf", "import"):
                1 // n
    monitor.workflows.start_execution("wf", "import")
    monitor.logger.error("one", "engine")
    monitor.logger.fatal("two", "engine")
    monitor.logger.warn("three", "engine")
    monitor.alerts.create_rule("Failures", "d", "workflow.execution.count",
        {"operator": "gt", "threshold": 0, "window_ms": 600_000, "aggregation": "count"},
        "critical", match_labels={"status": "failed"})
    monitor.alerts.evaluate_now()
    monitor.flush()
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""

# So many records that wait in the ring of a live process.
SLOW_ENGINE = """
import sys
import ax_monitor
store = ax_monitor.Store(sys.argv[1])
logger = ax_monitor.StructuredLogger(store, buffer_size=100_000, flush_interval_ms=3_600_000)
logger.info("written", "engine")
store.flush()
for number in range(int(sys.argv[2])):
    logger.info(f"waits {number}", "engine")
print("waiting", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def process_of(code: str, *arguments: object) -> Iterator[str]:
    """A process that has said a line, and then waits for the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def component(found: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = [each for each in found["components"] if each["name"] == name]
    return one


def test_an_engine_that_runs(db: str) -> None:
    """Its uptime, figures of the last hour, alerts; what only it knows is unknown."""
    before = time.time_ns() // 1_000_000
    with process_of(ENGINE, db) as pid:
        result = run("status", "--json", "--check", "--db", db)
        (found,) = result.objects
        table = run_here("status", "--db", db, "--verbose", "--utc")
    assert result.code == EXIT_CODES[HealthStatus(found["overall"])]
    (recorder,) = found["recorders"]
    assert (recorder["is_live"], recorder["pid"], recorder["waiting"]) == (True, int(pid), 0)
    assert before <= recorder["opened_at"] <= found["timestamp"]
    assert found["uptime_ms"] == found["timestamp"] - recorder["opened_at"]
    assert component(found, "recorder")["status"] == "healthy"
    for name in REGISTERED:
        assert component(found, name)["status"] == "unknown"
        assert "not visible from here" in component(found, name)["message"]
    figures = ("executions", "completed", "success_rate", "running", "all_executions", "log_errors")
    assert {name: found[name] for name in figures} == {
        "executions": 4,
        "completed": 3,
        "success_rate": 75.0,
        "running": 1,
        "all_executions": 5,
        "log_errors": 2,
    }
    assert found["latency_p95_ms"] > 0
    assert found["active_alerts"] == {"info": 0, "warning": 0, "error": 0, "critical": 1}
    assert (sum(found["executions_by_minute"]), sum(found["errors_by_minute"])) == (4, 2)
    assert len(found["executions_by_minute"]) == 60
    assert found["problems"] == {}
    statuses = [HealthStatus(component(found, name)["status"]) for name in MEASURED]
    assert EXIT_CODES[HealthStatus(found["overall"])] == max(EXIT_CODES[each] for each in statuses)

    assert (table.code, table.err) == (0, "")
    assert "1 running, 4 ended in the last hour, 75.0 % of them completed" in table.out
    assert "1 critical" in table.out
    assert "5 executions stored" in table.out
    assert re.search(rf"^{recorder['ring_id'][:16]}  +{pid}  live ", table.out, re.MULTILINE)
    assert re.search(r"^providers +unknown ", table.out, re.MULTILINE)
    assert max(len(line.rstrip()) for line in run_here("status", "--db", db).lines) <= 110


def test_x7_without_an_engine_nothing_is_healthy_by_default(db: str) -> None:
    """It says that none runs and when the last one wrote, and --check is not 0."""
    with ax_monitor.open(db) as monitor:
        monitor.logger.info("hello", "engine")
    result = run_here("status", "--json", "--check", "--db", db)
    (found,) = result.objects
    assert (found["uptime_ms"], found["recorders"]) == (None, [])
    assert component(found, "recorder")["status"] == "degraded"
    assert result.code in (1, 2)
    assert found["overall"] != "healthy"
    assert found["written_at"] == pytest.approx(found["timestamp"], abs=60_000)
    shown = run_here("status", "--db", db)
    assert "no engine is running, the last one wrote at " in shown.out
    assert shown.code == 0


def test_x6_what_a_dead_engine_left_behind(db: str) -> None:
    """Its records are counted, and neither stored nor lost by looking."""
    die_with_records(db, 7)
    rings = sorted(Path(db).parent.glob("*-ring-*"))
    for _ in range(2):
        (found,) = run_here("status", "--json", "--db", db).objects
        assert component(found, "recorder")["status"] == "degraded"
        assert component(found, "recorder")["metadata"]["left_behind_count"] == 7
        assert found["uptime_ms"] is None
    assert sorted(Path(db).parent.glob("*-ring-*")) == rings
    assert len(entries(db)) == 1
    assert "7 records of a process that died wait" in run_here("status", "--db", db).out
    with ax_monitor.Store(db) as store:
        store.flush()
        assert store.stats().recovered == 7


def test_executions_that_an_engine_left(db: str) -> None:
    """Of a process that was killed they do not count as running, in words."""
    with process_of(ENGINE, db):
        pass
    assert "1 not finished when the engine ended" in run_here("status", "--db", db).out


def test_records_that_wait_for_too_long(db: str) -> None:
    """A live recorder that does not write is degraded, then unhealthy."""
    with process_of(SLOW_ENGINE, db, 5):
        clock = FakeClock(time.time_ns() // 1_000_000)
        with ax_monitor.Store(db, read_only=True, clock=clock) as store:
            observer = Observer(store)
            for seconds, status in ((0, "healthy"), (20, "degraded"), (50, "unhealthy")):
                clock.advance(seconds)
                found = observer.look()
                (recorder,) = [each for each in found.components if each.name == "recorder"]
                assert recorder.status == status
                assert recorder.metadata is not None
                assert recorder.metadata["pending_count"] == 5
            assert found.overall is HealthStatus.UNHEALTHY
            assert EXIT_CODES[found.overall] == 2


def test_x7_a_ring_that_we_may_not_read_says_nothing(db: str) -> None:
    """Another user's recorder may live or not: unknown."""
    ax_monitor.Store(db).close()
    with ax_monitor.Store(db, read_only=True) as store:
        observer = Observer(store)
        seen = SeenRecorder("ab", 0, 0, None)
        assert observer._recording([seen], 0).status == "unknown"


def test_x7_an_older_file_is_told_of_as_far_as_it_goes(db: str) -> None:
    """What it does not have can't be told; all the rest is."""
    with ax_monitor.open(db) as monitor:
        monitor.logger.error("one", "engine")
    connection = apsw.Connection(db)
    connection.execute("DROP TABLE alerts; PRAGMA user_version=2")
    connection.close()
    result = run_here("status", "--json", "--db", db)
    (found,) = result.objects
    assert (result.code, found["log_errors"]) == (0, 1)
    assert set(found["problems"]) == {"alerts", "metrics"}
    assert (found["active_alerts"], found["executions"]) == (None, None)
    shown = run_here("status", "--db", db)
    assert "can't tell of alerts: " in shown.out
    assert (shown.code, shown.err) == (0, "")


def test_a_locked_database_is_read_all_the_same(db: str) -> None:
    """Somebody who holds the write lock keeps nobody from looking."""
    ax_monitor.Store(db).close()
    connection = apsw.Connection(db)
    connection.execute("BEGIN IMMEDIATE")
    try:
        (found,) = run_here("status", "--json", "--db", db).objects
    finally:
        connection.close()
    assert found["problems"] == {}


def test_it_never_makes_a_database(db: str, tmp_path: Path) -> None:
    """A missing file, or one that is none, is an error; with --check it is 2."""
    assert "no database" in assert_one_line_error(run_here("status", "--db", db), 1)
    assert "no database" in assert_one_line_error(run_here("status", "--check", "--db", db), 2)
    assert list(tmp_path.iterdir()) == []
    Path(db).write_text("not a database, but long enough to be looked at\n" * 50)
    assert_one_line_error(run_here("status", "--db", db), 1)
    assert_one_line_error(run_here("status", "--check", "--db", db), 2)


@pytest.mark.parametrize(
    "wrong", [("--interval", "0"), ("--interval", "soon"), ("--watch", "--check")]
)
def test_mistakes_are_one_line(db: str, wrong: tuple[str, ...]) -> None:
    """With the code for a mistake in the command line."""
    ax_monitor.Store(db).close()
    assert_one_line_error(run_here("status", *wrong, "--db", db), 2)


def test_rings_elsewhere(db: str, tmp_path: Path) -> None:
    """--ring-dir says where they are."""
    rings = tmp_path / "rings"
    rings.mkdir()
    with ax_monitor.Store(db, ring_dir=str(rings)):
        (found,) = run("status", "--json", "--ring-dir", rings, "--db", db).objects
        assert found["uptime_ms"] is not None
        (blind,) = run("status", "--json", "--db", db).objects
        assert blind["uptime_ms"] is None
        config = tmp_path / "monitor.toml"
        config.write_text(f"[store]\npath = '{db}'\nring_dir = '{rings}'\n")
        (found,) = run("status", "--json", AX_MONITOR_CONFIG=str(config)).objects
        assert found["uptime_ms"] is not None


# -- watching --------------------------------------------------------------------------------------


def test_watching_on_a_pipe(db: str) -> None:
    """One report below the other, no control sequence, 130 at the end."""
    with process_of(ENGINE, db), started("status", "--watch", "--interval", "0.2", "--db", db) as w:
        assert w.stdout is not None
        lines = []
        while sum(line.startswith("latency p95") for line in lines) < 3:
            lines.append(w.stdout.readline())
            assert lines[-1], "it ended"
        w.send_signal(signal.SIGINT)
        out, err = w.communicate(timeout=TIMEOUT_S)
    assert w.returncode == 130
    assert "Traceback" not in err
    assert "\x1b" not in "".join(lines) + out


def test_watching_as_json(db: str) -> None:
    """An object a look, at the interval that was asked for."""
    ax_monitor.Store(db).close()
    with started("status", "--watch", "--interval", "0.2", "--json", "--db", db) as watcher:
        assert watcher.stdout is not None
        times = []
        for _ in range(4):
            line = watcher.stdout.readline()
            times.append(int(re.search(r'"timestamp": (\d+)', line)[1]))  # type: ignore[index]
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=TIMEOUT_S)
    assert watcher.returncode == 130
    assert times[-1] - times[0] >= 450


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_watching_on_a_terminal(db: str, number: int, code: int) -> None:
    """It paints over itself on a screen of its own; whatever ends it, the terminal is as before."""
    with process_of(ENGINE, db):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "status", "--watch", "--interval", "0.2", "--db", db],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(TERM="xterm-256color", COLUMNS="60", LINES="20"),
            start_new_session=True,
        )
        os.close(slave)
        shown = b""
        ended = False
        deadline = time.monotonic() + TIMEOUT_S
        try:
            while select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0]:
                try:
                    part = os.read(master, 65_536)
                except OSError:
                    part = b""
                if not part:
                    break
                shown += part
                if shown.count(b"uptime") >= 3 and not ended:
                    ended = True
                    process.send_signal(number)
            assert process.wait(TIMEOUT_S) == code
        finally:
            process.kill()
            process.wait()
            os.close(master)
    text = shown.decode()
    assert text.count("uptime") >= 3
    assert "Traceback" not in text
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1  # the other screen
    assert text.rindex("\x1b[?1049l") > text.rindex("uptime")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor
    for report in re.split(r"\x1b\[H", text)[1:]:
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", report)
        assert max(len(line.rstrip()) for line in plain.split("\r\n")) <= 60


def test_on_terminals_without_colours(db: str) -> None:
    """NO_COLOR and dumb terminals get plain text."""
    ax_monitor.Store(db).close()
    code, shown = run_on_terminal("status", "--db", db, NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in shown


def test_z1_texts_from_outside_do_no_harm(tmp_path: Path) -> None:
    """The path, and what a problem says with it, show as escapes on a terminal."""
    folder = tmp_path / "evil\x1b]0;x\x07\u202e"
    folder.mkdir()
    db = str(folder / "monitor.db")
    ax_monitor.Store(db).close()
    connection = apsw.Connection(db)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    code, shown = run_on_terminal("status", "--verbose", "--db", db)
    assert code == 0
    assert "can't tell of" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\n", "")
    assert plain.isprintable()
    assert r"evil\x1b]0;x\x07\u202e" in plain

"""`ax monitor alerts …`: what it shows, what it changes, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ax_monitor
from ax_monitor.cli import monitor_main
from tests.cli.helpers import (
    Result,
    assert_one_line_error,
    environment,
    run,
    run_on_terminal,
    running_engine,
    wait_for,
)

pytestmark = pytest.mark.timeout(120)


def call(*arguments: object) -> Result:
    """A command in this process: most of what is tested here needs no process of its own."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = monitor_main([*map(str, arguments)])
    return Result(code, out.getvalue(), err.getvalue())


RULES = """
rules:
  - alert: Too many
    description: "\\e[31mred"
    metric: queue.length
    condition: avg > 10 over 5m
    severity: critical
    cooldown: 0s
    by: [host]
"""


def filled(db: str) -> None:
    """Two rules, one of them broken by another program; an alert of each status."""
    with ax_monitor.open(db) as monitor:
        monitor.alerts.create_rule(
            "Too many", "evil \x1b[31m text", "queue.length",
            {"operator": "gt", "threshold": 10, "window_ms": 300_000, "aggregation": "avg"},
            "critical", by=["host"], tenant_id="acme", labels={"team": "core"},
        )  # fmt: skip
        for host in "abc":
            monitor.metrics.record("queue.length", 20, labels={"host": host}, tenant_id="acme")
        alerts = monitor.alerts.evaluate_now()
        monitor.alerts.acknowledge_alert(alerts[1].id, "ann")
        monitor.alerts.resolve_alert(alerts[2].id, "bob")


def test_alerts_are_listed_and_taken_care_of(db: str) -> None:
    """list, ack, resolve, history; ids by their beginning; errors in one line."""
    filled(db)
    listed = run("alerts", "list", "--utc", "--db", db)
    assert (listed.code, listed.err, len(listed.lines)) == (0, "", 2)
    assert "acknowledged" in listed.lines[0] + listed.lines[1]
    for line in listed.lines:
        assert "critical" in line
        assert r"Too many: evil \x1b[31m text (current value: 20, threshold: 10) {" in line
    (resolved,) = call("alerts", "list", "--resolved", "--json", "--db", db).objects
    assert resolved["status"] == "resolved"
    assert call("alerts", "list", "--severity", "INFO", "--tenant", "acme", "--db", db).out == ""
    objects = call("alerts", "list", "--severity", "critical", "--json", "--db", db).objects
    active = next(each for each in objects if each["status"] == "active")
    done = run("alerts", "ack", active["id"], "--user", "eve", "--db", db)
    host = active["group_labels"]["host"]
    assert (done.code, done.out) == (0, f"acknowledged: Too many {{host={host}, team=core}}\n")
    again = call("alerts", "ack", active["id"], "--db", db)
    assert "is already acknowledged" in assert_one_line_error(again, 1)
    (done,) = call("alerts", "resolve", active["id"], "--json", "--db", db).objects
    assert (done["status"], done["acknowledged_by"]) == ("resolved", "eve")
    history = call("alerts", "history", active["id"], "--db", db)
    assert [line.split("  ")[2].strip() for line in history.lines] == [
        "active", "acknowledged", "resolved",
    ]  # fmt: skip
    assert "by alerting-service at 20" in history.lines[0]
    steps = call("alerts", "history", "--rule", "Too many", "--json", "--db", db).objects
    assert len(steps) == 7
    assert "no alert 'zz'" in assert_one_line_error(call("alerts", "ack", "zz", "--db", db), 1)
    assert "more than one alert begins with ''" in assert_one_line_error(
        call("alerts", "resolve", "", "--db", db), 1
    )
    assert_one_line_error(call("alerts", "history", "--db", db), 2)
    assert_one_line_error(call("alerts", "list", "--severity", "loud", "--db", db), 2)


def test_rules_are_made_and_switched(db: str) -> None:
    """create makes the database; enable, disable, delete by name or id; what is broken is shown."""
    created = run(
        "alerts", "create", "Slow", "--metric", "latency", "--when", "p95 > 1000 over 5m until 800",
        "--severity", "ERROR", "--for", "2m", "--cooldown", "1h", "--match", "route=/x",
        "--by", "host", "--label", "team=core", "--tenant", "acme", "--auto-resolve",
        "--no-data", "ok", "--db", db,
    )  # fmt: skip
    assert (created.code, created.err) == (0, "")
    rule_id = created.out.strip()
    (rule,) = call("alerts", "rules", "--json", "--db", db).objects
    assert rule | {"created_at": 0, "updated_at": 0} == {
        "id": rule_id, "name": "Slow", "description": "p95 > 1000 over 5m until 800",
        "enabled": True, "metric_type": "workflow.execution.duration",
        "condition": {"operator": "gt", "threshold": 1000.0, "window_ms": 300_000,
                      "aggregation": "p95", "resolve_threshold": 800.0},
        "severity": "error", "labels": {"team": "core"}, "cooldown_ms": 3_600_000,
        "created_at": 0, "updated_at": 0, "tenant_id": "acme", "match_labels": {"route": "/x"},
        "for_ms": 120_000, "auto_resolve": True, "no_data": "ok", "by": ["host"], "origin": None,
    }  # fmt: skip
    (line,) = call("alerts", "rules", "--db", db).lines
    assert line.endswith(
        "Slow  workflow.execution.duration {route=/x}: p95 > 1000 over 5m until 800 for 2m "
        "by host of acme {team=core}"
    )
    assert call("alerts", "disable", "Slow", "--db", db).out == "disabled: Slow\n"
    (changed,) = call("alerts", "enable", rule_id[:8], "--json", "--db", db).objects
    assert changed["enabled"] is True
    assert call("alerts", "delete", rule_id, "--db", db).out == f"deleted: {rule_id}\n"
    assert call("alerts", "rules", "--db", db).out == ""
    for wrong in (("--when", "p95 above 5"), ("--severity", "loud"), ("--for", "soon"),
                  ("--label", "x"), ("--no-data", "perhaps")):  # fmt: skip
        given = {"--metric": "m", "--when": "avg > 5 over 1m"} | dict([wrong])
        options = [part for option in given.items() for part in option]
        assert wrong[1] in assert_one_line_error(
            call("alerts", "create", "x", *options, "--db", db), 2
        )
    assert "no alert rule 'Slow'" in assert_one_line_error(
        call("alerts", "enable", "Slow", "--db", db), 1
    )


def test_rules_from_a_file_and_over_the_past(db: str, tmp_path: Path) -> None:
    """load, again, with a mistake; test over what is stored, before loading and after."""
    filled(db)
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    tested = call(
        "alerts", "test", "Too many", "--file", file, "--since", "2m", "--interval", "1s",
        "--db", db,
    )  # fmt: skip
    assert (tested.code, tested.err) == (0, "")
    assert tested.lines[0].startswith("Too many: queue.length: avg > 10 over 5m by host: fired 3")
    assert "still" in tested.lines[1]
    assert "{host=" in tested.lines[1]
    assert call("alerts", "load", file, "--dry-run", "--db", db).out == "created Too many\n"
    assert call("alerts", "load", file, "--db", db).out == "created Too many\n"
    assert call("alerts", "load", file, "--json", "--db", db).objects[0]["unchanged"] == [
        "Too many"
    ]
    rule = next(
        each for each in call("alerts", "rules", "--json", "--db", db).objects if each["origin"]
    )
    (result,) = call("alerts", "test", rule["id"], "--since", "2m", "--json", "--db", db).objects
    assert (result["rule"]["id"], result["samples"]) == (rule["id"], 3)
    file.write_text(RULES + "  - alert: B\n    color: red\n")
    failed = run("alerts", "load", file, "--db", f"{tmp_path}/none.db")
    assert (failed.code, failed.out) == (1, "")
    assert "rules.yaml:11: a rule has no 'color'" in failed.err
    assert not (tmp_path / "none.db").exists()
    assert "more than one" in assert_one_line_error(
        call("alerts", "test", "Too many", "--db", db), 1
    )
    assert_one_line_error(
        call("alerts", "test", rule["id"], "--since", "1m", "--until", "2m", "--db", db), 2
    )


def test_silences(db: str) -> None:
    """silence, silences, unsilence."""
    filled(db)
    made = call("alerts", "silence", "2h", "--rule", "Too many", "--severity", "critical",
               "--label", "host=a", "--comment", "why", "--user", "ann", "--db", db)  # fmt: skip
    assert made.out.startswith("silent for 2h: ")
    silence_id = made.out.split()[-1]
    (line,) = call("alerts", "silences", "--db", db).lines
    assert "and severity critical {host=a}: why" in line
    assert "  ann  " in line
    (everything,) = call("alerts", "silence", "1m", "--json", "--db", db).objects
    assert everything["ends_at"] - everything["starts_at"] == 60_000
    assert call("alerts", "unsilence", silence_id, "--db", db).out == f"ended: {silence_id}\n"
    assert "has ended" in assert_one_line_error(
        call("alerts", "unsilence", silence_id, "--db", db), 1
    )
    assert len(call("alerts", "silences", "--ended", "--json", "--db", db).lines) == 2
    assert_one_line_error(call("alerts", "silence", "soon", "--db", db), 2)


def test_commands_that_look_make_no_database(tmp_path: Path) -> None:
    """Neither do those that change what must be there."""
    db = f"{tmp_path}/none.db"
    for arguments in (("list",), ("rules",), ("silences",), ("history", "x"), ("test", "x"),
                      ("ack", "x"), ("delete", "x"), ("silence", "1m")):  # fmt: skip
        assert "no database" in assert_one_line_error(call("alerts", *arguments, "--db", db), 1)
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_there_are_colours(db: str) -> None:
    """And a remark where there is nothing."""
    filled(db)
    code, shown = run_on_terminal("alerts", "list", "--db", db)
    assert code == 0
    assert "\x1b[31m\x1b[1mcritical" in shown
    assert "\x1b[31m text" not in shown
    code, shown = run_on_terminal("alerts", "list", "--severity", "info", "--db", db)
    assert "no open alerts" in shown


ENGINE = """
import sys, time
import ax_monitor
with ax_monitor.open(sys.argv[1]) as monitor:
    monitor.alerts.start_evaluation(50)
    print("evaluating", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not monitor.alerts.list_alerts("resolved"):
        monitor.metrics.record("queue.length", 20)
        monitor.logger.info("working", "engine")
        time.sleep(0.002)
"""


def test_rules_made_beside_a_running_engine_work_at_its_next_evaluation(db: str) -> None:
    """Made here, evaluated there, resolved here: the engine goes on writing all the time."""
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, db], stdout=subprocess.PIPE, text=True, env=environment()
    ) as engine:
        try:
            assert engine.stdout is not None
            assert engine.stdout.readline() == "evaluating\n"
            made = run("alerts", "create", "Long", "--metric", "queue.length",
                       "--when", "avg > 10 over 1m", "--db", db)  # fmt: skip
            assert made.code == 0, made.err

            def alerts() -> list[dict[str, object]]:
                time.sleep(0.1)
                return run("alerts", "list", "--json", "--db", db).objects

            (alert,) = wait_for(alerts, "an alert")
            assert alert["title"] == "Long"
            assert run("alerts", "resolve", alert["id"], "--db", db).code == 0
            assert engine.wait(30) == 0
        finally:
            engine.kill()


def test_changes_beside_an_engine_that_writes(db: str) -> None:
    """A command gets its turn, and the engine loses nothing."""
    with running_engine(db) as engine:
        for number in range(3):
            made = run("alerts", "create", f"rule {number}", "--metric", "m",
                       "--when", "avg > 10 over 1m", "--db", db)  # fmt: skip
            assert made.code == 0, made.err
        assert len(run("alerts", "rules", "--json", "--db", db).objects) == 3
        _, errors, dropped = engine.stop()
    assert (errors, dropped) == (0, 0)

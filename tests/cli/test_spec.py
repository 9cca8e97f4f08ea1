"""The command line, line by line as it is promised, beside an engine that writes all the time.

One engine and one database serve all tests; every command is a process of its own.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.corpus import STYLE
from tests.cli.helpers import (
    TIMEOUT_S,
    Result,
    assert_one_line_error,
    environment,
    run,
    run_on_terminal,
    started,
)

pytestmark = pytest.mark.timeout(120)

# It says what it has recorded so far, and at its end whether everything was stored.
ENGINE = """
import contextlib, json, sys, threading
import ax_monitor
with ax_monitor.open(sys.argv[1], logger={"flush_interval_ms": 50}) as monitor:
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    monitor.alerts.create_rule("Failures", "executions fail", "workflow.execution.count",
        {"operator": "gt", "threshold": 0, "window_ms": 600_000, "aggregation": "count"},
        "critical", match_labels={"status": "failed"}, cooldown_ms=0)
    for n in (1, 2):
        monitor.alerts.create_rule(f"Queue {n}", "it is long", "queue.length",
            {"operator": "gt", "threshold": 5, "window_ms": 600_000, "aggregation": "avg"},
            "warning", by=["host"])
    waiting = monitor.workflows.start_execution("wf", "nightly", "globex")
    number = 0
    while not stopped.wait(0.001 if number < 40 else 0.05):
        number += 1
        tenant = ("acme", "globex")[number % 2]
        with contextlib.suppress(ValueError):
            with (
                monitor.workflows.execution("wf", "import", tenant, steps_total=2) as execution,
                monitor.tracer.trace(execution.execution_id, "order", tenant_id=tenant) as root,
            ):
                ids = {"execution_id": execution.execution_id, "trace_id": root.trace_id}
                monitor.logger.info(f"record {number} begins", "engine", tenant_id=tenant, **ids)
                with execution.step("ask", "Ask") as step, monitor.tracer.span("model call"):
                    step.set(tokens_used=100, cost=0.01, provider="northwind", model="gale")
                if number % 3 == 0:
                    monitor.logger.error(f"record {number} failed: timeout", "net", **ids)
                    raise ValueError("no answer")
        monitor.metrics.record("queue.length", 10, labels={"host": f"h{number % 2}"})
        if number == 40:
            monitor.flush()
            monitor.alerts.evaluate_now()
            print(json.dumps(ids), flush=True)
    monitor.flush()
    stats = monitor.store.stats()
    print(json.dumps([number, stats.flush_errors, sum(stats.dropped.values())]), flush=True)
"""


@dataclass(frozen=True)
class Engine:
    """The database that is written meanwhile, and an execution in it with its trace."""

    db: str
    execution_id: str
    trace_id: str

    def run(self, *arguments: object, **env: str) -> Result:
        """A command on pipes, which works."""
        result = run(*arguments, "--db", self.db, **env)
        assert (result.code, result.err) == (0, ""), result
        return result

    def show(self, *arguments: object, columns: int = 80, **env: str) -> list[str]:
        """What a terminal of so many columns shows, without styles. It works, and all fits."""
        code, shown = run_on_terminal(
            *arguments, "--db", self.db, COLUMNS=str(columns), LINES="30", **env
        )
        assert code == 0, shown
        lines = STYLE.sub("", shown).split("\n")[:-1]
        # The path of the database is never cut.
        assert max(len(line) for line in lines if self.db not in line) <= columns, shown
        return lines


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    db = str(tmp_path_factory.mktemp("engine") / "monitor.db")
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE, db],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        yield Engine(db, **json.loads(process.stdout.readline()))
        out, _ = process.communicate("", timeout=TIMEOUT_S)
        written, errors, dropped = json.loads(out)
        assert written > 40
        assert (errors, dropped) == (0, 0)  # nothing that the commands did has cost a record
    finally:
        process.kill()
        process.wait()


# -- what all commands have in common --------------------------------------------------------------


def test_where_the_database_is(engine: Engine, tmp_path: Path) -> None:
    """--db, else AX_MONITOR_DB, else the file of AX_MONITOR_CONFIG, else .ax/monitor.db."""
    config = tmp_path / "monitor.toml"
    config.write_text(f"[store]\npath = {json.dumps(engine.db)}\n")
    logs = ("logs", "--limit", "1")
    elsewhere = f"{tmp_path}/none.db"
    assert run(*logs, "--db", engine.db, AX_MONITOR_DB=elsewhere).code == 0
    assert run(*logs, AX_MONITOR_DB=engine.db).code == 0
    assert run(*logs, AX_MONITOR_CONFIG=str(config), AX_MONITOR_DB="").code == 0
    both = run(*logs, AX_MONITOR_CONFIG=str(config), AX_MONITOR_DB=elsewhere)
    assert elsewhere in assert_one_line_error(both, 1)
    config.write_text("[store]\nplace = 1\n")
    assert "no option 'place'" in assert_one_line_error(
        run(*logs, AX_MONITOR_CONFIG=str(config)), 1
    )
    missing = run(*logs, cwd=tmp_path)
    assert missing.err == ("Error: no database at .ax/monitor.db: pass --db or set AX_MONITOR_DB\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["monitor.toml"]


def test_exit_codes_and_errors(engine: Engine) -> None:
    """0, 1 and 2; an error is one line that says what to do, with --debug after a traceback."""
    assert "`ax monitor traces list` has all" in assert_one_line_error(
        run("traces", "show", "zz", "--db", engine.db), 1
    )
    assert_one_line_error(run("logs", "--since", "soon", "--db", engine.db), 2)
    debug = run("sql", "SELECT nothing", "--debug", "--db", engine.db)
    assert debug.code == 1
    assert debug.err.startswith("Traceback")
    assert "\nError: " in debug.err


def test_colours(engine: Engine) -> None:
    """On a terminal, or where they are forced; styles alone on a pipe: nothing cut, no cursor."""
    plain = Result(0, "", "")
    while not plain.out:  # the engine has just begun
        then = f"{datetime.now(UTC) - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}"  # that is over
        listed = ("workflows", "--status", "completed", "--until", then, "--utc", "--db", engine.db)
        plain = run(*listed, COLUMNS="40")
    forced = run(*listed, FORCE_COLOR="1", COLUMNS="40")
    assert "\x1b" not in plain.out
    assert STYLE.search(forced.out)
    assert STYLE.sub("", forced.out) == plain.out
    assert "…" not in plain.out
    assert "\x1b" not in run_on_terminal(*listed, NO_COLOR="1")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("traces", "list", "--limit", "all"),
        ("workflows", "--limit", "all", "--json"),
        ("export", "metrics"),
        ("sql", "SELECT * FROM logs, (SELECT 1 FROM spans LIMIT 40)", "--limit", "all"),
        ("metrics", "--format", "json"),
    ],
)
def test_a_reader_that_goes_away(engine: Engine, arguments: tuple[str, ...]) -> None:
    """A broken pipe is no error, and nothing is said."""
    with started(*arguments, "--db", engine.db) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT_S) == 0


# -- status ----------------------------------------------------------------------------------------


def test_status(engine: Engine) -> None:
    """Health, uptime, executions, alerts, latency and errors, with bars of the last hour."""
    lines = engine.show("status", "--verbose")
    shown = "\n".join(lines)
    for pattern in (
        r"^uptime +\d+s$", r"^executions +\d+ running, [\d,]+ ended .* % of them completed$",
        r"^latency p95 +≈?[\d.]+ [mµ]?s$", r"^alerts +.*1 critical", r"^log errors +[\d,]+ in ",
        r"^recorder +healthy ", r"^RECORDER ", r"[▂▃▄▅▆▇█]  \d+ min, at most ",
    ):  # fmt: skip
        assert re.search(pattern, shown, re.MULTILINE), (pattern, shown)
    checked = run("status", "--check", "--json", "--db", engine.db)
    (found,) = checked.objects
    assert checked.code == {"healthy": 0, "degraded": 1, "unhealthy": 2}[found["overall"]]
    assert found["uptime_ms"] > 0


def test_status_watched(engine: Engine) -> None:
    """--watch looks each --interval, until Ctrl-C."""
    with started("status", "--watch", "--interval", "0.2", "--json", "--db", engine.db) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
    assert looks[0]["executions"] <= looks[1]["executions"]
    assert looks[0]["timestamp"] < looks[1]["timestamp"]


# -- metrics, costs --------------------------------------------------------------------------------


def test_metrics(engine: Engine) -> None:
    """What there is, figures by short names, one row a label, charts, JSON, one tenant."""
    listed = engine.show("metrics")
    assert [line.split()[0] for line in listed[1:]] == sorted(
        line.split()[0] for line in listed[1:]
    )
    assert any(line.startswith("workflow.execution.duration ") for line in listed)
    (latency,) = engine.run("metrics", "latency", "--range", "1h", "--json").objects
    assert latency["metric_type"] == "workflow.execution.duration"
    assert latency["count"] >= 40
    by = engine.run("metrics", "queue.length", "--by", "host", "--range", "30m").lines
    assert [line.split()[0] for line in by[1:]] == ["host", "h0", "h1"]
    chart = engine.show("metrics", "cost", "--format", "chart", "--tenant", "acme", "--range", "5m")
    assert re.search(r"┬─+", "\n".join(chart))
    (rate,) = engine.run("metrics", "error_rate", "--format", "json").objects
    assert 20 < rate["error_rate"] < 40


def test_costs_and_budgets(engine: Engine) -> None:
    """Costs by what caused them, a projection, budgets that are set, listed and deleted."""
    for by, key in (("provider", "northwind"), ("tenant", "acme")):
        rows = engine.run("costs", "--range", "1d", "--by", by, "--json").objects
        assert key in [row["key"] for row in rows]
    assert engine.run("budgets", "set", "team", "12.5", "--period", "day").out == (
        "set team: $12.50 a day\n"
    )
    shown = engine.show("costs", "--by", "model", "--projection", "--budget", "--utc")
    assert shown[1].split() == ["model", "COST", "SHARE", "TOKENS", "STEPS"]
    assert shown[2].startswith("gale ")
    assert any(line.startswith("next 30 days: ") for line in shown)
    assert any(" team " in line for line in engine.show("budgets", "list"))
    assert engine.run("costs", "--by", "workflow", "--format", "chart").lines[0].startswith("costs")
    assert engine.run("budgets", "delete", "team").out == "deleted team\n"
    assert engine.run("budgets", "list").out == ""


# -- alerts ----------------------------------------------------------------------------------------


def test_alerts(engine: Engine) -> None:
    """What the engine has raised is listed, taken notice of and resolved, from outside."""
    objects = engine.run("alerts", "list", "--severity", "warning", "--json").objects
    assert {each["title"] for each in objects} == {"Queue 1", "Queue 2"}
    lines = engine.show("alerts", "list")
    assert lines[0].split() == ["SINCE", "SEVERITY", "ALERT", "WHAT"]
    assert len(lines) == 6
    # The ids are cut, but what is left of each finds it again.
    first, second = [line.split()[3] for line in lines[1:] if " warning " in line][:2]
    assert engine.run("alerts", "ack", first, "--user", "ann").out.startswith("acknowledged: Queue")
    assert engine.run("alerts", "resolve", second).out.startswith("resolved: Queue")
    (resolved,) = engine.run("alerts", "list", "--resolved", "--json").objects
    assert resolved["id"].startswith(second.rstrip("…"))


def test_alert_rules(engine: Engine) -> None:
    """Rules are listed, created, switched and deleted beside the engine that evaluates them."""
    rules = engine.run("alerts", "rules").lines
    assert len(rules) >= 3
    created = engine.run(
        "alerts", "create", "Slow", "--metric", "latency", "--when", "p95 > 1000 over 5m"
    )
    assert engine.run("alerts", "disable", "Slow").out == "disabled: Slow\n"
    assert engine.run("alerts", "enable", created.out.strip()[:23]).out == "enabled: Slow\n"
    assert engine.run("alerts", "delete", "Slow").out == f"deleted: {created.out}"


# -- workflows, traces, logs -----------------------------------------------------------------------


def test_workflows(engine: Engine) -> None:
    """A list by status, tenant and number; one execution with its steps in time."""
    listed = engine.run(
        "workflows", "--status", "completed", "--tenant", "acme", "--limit", "5", "--since", "1h",
        "--json",
    ).objects  # fmt: skip
    assert len(listed) == 5
    assert {(each["status"], each["tenant_id"]) for each in listed} == {("completed", "acme")}
    running = engine.run("workflows", "--status", "running", "--json", "--tenant", "globex",
                         "--until", "1ms").objects  # fmt: skip
    assert "nightly" in {each["workflow_name"] for each in running}
    lines = engine.show("workflows", "--limit", "7")
    assert {"STARTED", "STATUS", "DURATION", "EXECUTION", "WORKFLOW"} <= {*lines[0].split()}
    assert len(lines) == 8
    shown = engine.show("workflows", "show", engine.execution_id)
    assert shown[0].startswith("import completed ")
    assert re.match(r"Ask completed +[\d.]+ [mµ]s +█+", shown[2])


def test_traces(engine: Engine) -> None:
    """A list, and a trace as a waterfall."""
    lines = engine.show("traces", "list", "--status", "ok", "--limit", "5")
    assert {"STARTED", "STATUS", "DURATION", "TRACE", "NAME"} <= {*lines[0].split()}
    assert len(lines) == 6
    (found,) = engine.run(
        "traces", "list", "--execution", engine.execution_id, "--json"
    ).objects  # fmt: skip
    assert found["trace_id"] == engine.trace_id
    heading, root, call = engine.show("traces", "show", engine.trace_id[:16])
    assert heading.startswith("order ok ")
    assert root.startswith("order ")
    assert call.startswith("  model call ")
    assert "█" in call


def test_logs(engine: Engine) -> None:
    """Searched, by level, source, execution, trace and time, so many of them; followed."""
    found = engine.run(
        "logs", "timeout", "--level", "error", "--source", "net", "--since", "1h", "--limit", "7",
        "--json",
    ).objects  # fmt: skip
    assert len(found) == 7
    assert {(each["level"], each["source"]) for each in found} == {("error", "net")}
    for option, value in (("--execution", engine.execution_id), ("--trace", engine.trace_id)):
        (line,) = engine.run("logs", option, value).lines
        assert " INFO  engine record " in line
    with started("logs", "--follow", "--limit", "1", "--db", engine.db) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
    assert first < second


# -- import, export, care --------------------------------------------------------------------------


def test_import(engine: Engine, tmp_path: Path) -> None:
    """Files of any kind come in beside the engine's own records, with a bar on a terminal."""
    plain, lines = tmp_path / "app.log", tmp_path / "app.jsonl"
    plain.write_text("2026-01-31 08:00:00 ERROR imported plain\nno time, no level\n")
    lines.write_text('{"level": "warn", "message": "imported json", "timestamp": 1}\n')
    (summary,) = engine.run("import", plain, "--source", "old", "--json").objects
    assert (summary["records"], summary["unrecognised"], summary["complete"]) == (2, 1, True)
    code, shown = run_on_terminal("import", lines, "--format", "jsonl", "--db", engine.db)
    assert code == 0
    assert "\x1b[?25h" in shown  # a bar was there, and the cursor is back
    assert "1 record" in shown
    piped = run("import", lines, "--dry-run", "--db", engine.db, FORCE_COLOR="1")
    assert (piped.code, piped.err) == (0, "")
    assert len(engine.run("logs", "imported", "--limit", "all").lines) == 2


@pytest.mark.parametrize("what", ["logs", "traces", "metrics", "alerts", "workflows"])
def test_export(engine: Engine, tmp_path: Path, what: str) -> None:
    """JSON lines to stdout, CSV to a file."""
    objects = engine.run("export", what, "--since", "10m").objects
    assert objects
    if what != "traces":
        return
    output = tmp_path / "out.csv"  # one kind shows that the options work; others are tested apart
    done = run("export", what, "--format", "csv", "--output", output, "--db", engine.db)
    assert (done.code, done.out) == (0, "")
    assert len(output.read_text().splitlines()) > len(objects)


def test_cleanup_and_doctor(engine: Engine) -> None:
    """Nothing is old and nothing is wrong; both hold the engine up for no record."""
    (report,) = engine.run("cleanup", "--json").objects
    assert (report["traces"], report["refused"]) == (0, {})
    lines = engine.show("cleanup", "--dry-run")
    assert re.match(r" +0  log records would be deleted", lines[0])
    checks = engine.show("doctor")
    assert [line.split()[0] for line in checks[1:] if line[0] != " "] == ["ok"] * 8


def test_sql(engine: Engine) -> None:
    """A query of one's own; the columns fit the terminal."""
    lines = engine.show("sql", "SELECT id, message, source FROM logs LIMIT 3")
    assert lines[0].split() == ["id", "message", "source"]
    assert engine.run("sql", "SELECT count(*) AS n FROM traces", "--json").objects[0]["n"] >= 40


def test_demo_makes_no_mess_of_a_database(engine: Engine) -> None:
    """The tour has a database of its own; what is there already it leaves alone."""
    assert "is there already" in assert_one_line_error(run("demo", "--db", engine.db), 1)

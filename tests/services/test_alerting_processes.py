"""Several processes on one file: each rule fires once, over all their samples."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import ax_monitor
from ax_monitor import AlertingService, MetricsCollector, Store
from tests.cli.helpers import TIMEOUT_S, environment
from tests.conftest import FakeClock
from tests.services.alert_helpers import METRIC, condition

# Says how many alerts each evaluation triggered; begins when it is told to.
PROCESS = """
import sys, time
import ax_monitor
db, values, passes = sys.argv[1], [float(text) for text in sys.argv[2].split()], int(sys.argv[3])
with ax_monitor.open(db) as monitor:
    for value in values:
        monitor.metrics.record("queue.length", value)
    monitor.flush()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(passes):
        print(len(monitor.alerts.evaluate_now()), flush=True)
        time.sleep(0.02)
"""


@contextlib.contextmanager
def processes(count: int, *arguments: object) -> Iterator[list[subprocess.Popen[str]]]:
    """So many, ready to begin."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for _ in range(count)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def told_to_begin(running: list[subprocess.Popen[str]]) -> list[list[int]]:
    """What each says, once all were told."""
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = []
    for process in running:
        out, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
        said.append([int(line) for line in out.split()])
    return said


def make_rules(db: str, count: int = 1, **changes: Any) -> None:
    with ax_monitor.open(db) as monitor:
        for number in range(count):
            arguments = {"condition": condition(), "cooldown_ms": 3_600_000} | changes
            monitor.alerts.create_rule(f"rule {number}", "d", METRIC, severity="info", **arguments)


def test_two_processes_one_alert_on_their_joint_samples(db: str) -> None:
    """Neither has enough by itself; together they have, and one of the two says so."""
    make_rules(db, condition=condition(aggregation="sum", operator="gte", threshold=20))
    with processes(2, db, "6 6", 10) as running:
        said = told_to_begin(running)
    assert sum(map(sum, said)) == 1
    with ax_monitor.open(db) as monitor:
        (alert,) = monitor.alerts.list_alerts()
        assert (alert.last_value, alert.occurrences) == (24, 1)
        assert len(monitor.alerts.get_alert_history(alert.id)) == 1


@pytest.mark.parametrize("cooldown_ms", [0, 3_600_000])
def test_four_processes_at_once_fire_once(db: str, cooldown_ms: int) -> None:
    """Each of 300 alerts is raised by one of them, and no trigger is lost or counted twice."""
    make_rules(db, 300, cooldown_ms=cooldown_ms)
    with processes(4, db, "20", 1) as running:
        said = told_to_begin(running)
    with ax_monitor.open(db) as monitor:
        alerts = monitor.alerts.list_alerts()
        assert len(alerts) == 300
        assert sum(alert.occurrences for alert in alerts) == sum(map(sum, said))
        if cooldown_ms:
            assert {alert.occurrences for alert in alerts} == {1}


def test_rules_changed_by_another_process_count_at_the_next_evaluation(db: str) -> None:
    """Made, changed, disabled and deleted elsewhere, with or without this library."""
    with Store(db) as here, Store(db) as there:
        metrics, alerts = MetricsCollector(here), AlertingService(here)
        other = AlertingService(there)
        metrics.record(METRIC, 20)
        assert alerts.evaluate_now() == []
        rule_id = other.create_rule(
            "n", "d", METRIC, condition(threshold=30), "info", cooldown_ms=0
        )
        assert alerts.evaluate_now() == []
        other.update_rule(rule_id, condition=condition(threshold=10))
        assert len(alerts.evaluate_now()) == 1
        other.update_rule(rule_id, enabled=False)
        assert alerts.evaluate_now() == []
        done = subprocess.run(
            [
                sys.executable, "-c",
                "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
                "c.execute('UPDATE alert_rules SET enabled = 1'); c.commit()",
                db,
            ],
            timeout=TIMEOUT_S,
            check=True,
        )  # fmt: skip
        assert done.returncode == 0
        assert len(alerts.evaluate_now()) == 1
        other.delete_rule(rule_id)
        assert alerts.evaluate_now() == []
        assert other.list_alerts()[0].occurrences == 2


def test_what_another_process_resolved_is_raised_anew(db: str, clock: FakeClock) -> None:
    """A process that was not the one to fire knows the state all the same."""
    with Store(db, clock=clock) as here, Store(db, clock=clock) as there:
        metrics, alerts, other = (
            MetricsCollector(here),
            AlertingService(here),
            AlertingService(there),
        )

        def triggered(by: AlertingService) -> int:
            clock.advance(1)  # a rule triggers at most once in a millisecond
            return len(by.evaluate_now())

        alerts.create_rule(
            "n", "d", METRIC, condition(aggregation="max"), "info", cooldown_ms=0, auto_resolve=True
        )
        assert triggered(alerts) == 0
        metrics.record(METRIC, 20, timestamp=clock.time_ms())
        here.flush()
        assert triggered(other) == 1
        assert triggered(alerts) == 0  # the other was faster
        assert triggered(alerts) == 1  # and this is the next time
        assert triggered(other) == 0
        (alert,) = alerts.list_alerts()
        assert alert.occurrences == 2
        assert other.resolve_alert(alert.id)
        assert triggered(other) == 1
        assert len(other.list_alerts()) == 2


def in_child(function: Any) -> None:
    """Run a function in a forked child; it must end well."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forked_child_has_no_thread_until_it_starts_one(db: str) -> None:
    """The parent's goes on; the child evaluates by itself, also while the parent's lock is held."""
    with Store(db) as store:
        metrics, alerts = MetricsCollector(store), AlertingService(store)
        alerts.create_rule("n", "d", METRIC, condition(), "info", by=["process"])
        alerts.start_evaluation(3_600_000)

        def child() -> None:
            assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
            metrics.record(METRIC, 20, labels={"process": "child"})
            assert len(alerts.evaluate_now()) == 1
            alerts.start_evaluation(10)
            assert "ax-monitor-scheduler" in {thread.name for thread in threading.enumerate()}
            alerts.stop_evaluation()
            store.close()

        with alerts._lock:
            in_child(child)
        assert "ax-monitor-scheduler" in {thread.name for thread in threading.enumerate()}
        metrics.record(METRIC, 20, labels={"process": "parent"})
        alerts.evaluate_now()  # or the scheduler was faster: its first pass waited for the lock
        groups = [alert.group_labels for alert in alerts.list_alerts()]
        assert sorted(groups, key=str) == [{"process": "child"}, {"process": "parent"}]


def test_evaluation_keeps_no_program_alive(db: str) -> None:
    """A program that ends without closing anything ends."""
    code = (
        "import ax_monitor, sys; m = ax_monitor.open(sys.argv[1]); m.alerts.start_evaluation(5); "
        "import time; time.sleep(0.1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, db],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

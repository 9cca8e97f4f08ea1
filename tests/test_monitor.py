"""The monitor: what it wires together, what goes on by itself, and the process's default."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ax_monitor
from ax_monitor import Monitor, Store
from ax_monitor.pipeline.scheduler import Scheduler
from ax_monitor.storage import logs
from tests.conftest import FakeClock

RULE: dict[str, Any] = {
    "name": "n", "description": "d", "metric_type": "m", "severity": "info",
    "condition": {"operator": "gt", "threshold": 1, "window_ms": 300_000, "aggregation": "avg"},
}  # fmt: skip


def names(monitor: Monitor) -> list[str]:
    return sorted(schedule.name for schedule in monitor.store.scheduler._schedules)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedulers without threads."""
    monkeypatch.setattr(Scheduler, "_start", lambda self: None)


@pytest.fixture
def one(db: str, clock: FakeClock, by_hand: None) -> Iterator[Monitor]:
    with ax_monitor.open(db, clock=clock) as monitor:
        yield monitor


def pass_by(monitor: Monitor, seconds: float) -> None:
    """Let time pass as the scheduler's thread would see it."""
    clock: Any = monitor.store.clock
    end = clock.now_s + seconds
    while (wait_s := monitor.store.scheduler.run_due()) is not None:
        if clock.now_s + wait_s > end:
            break
        clock.advance(max(wait_s, 1e-6))  # less may be lost in rounding
    clock.advance(max(0.0, end - clock.now_s))


# -- what goes on by itself -----------------------------------------------------------------------


def test_all_services_share_one_store(one: Monitor) -> None:
    """And its events."""
    for name in ("logger", "tracer", "metrics", "workflows", "alerts", "health", "retention"):
        assert getattr(one, name).store is one.store
        assert getattr(one, name) is getattr(one, name)
    assert one.events is one.store.events


def test_rules_are_evaluated_once_there_are_any(one: Monitor) -> None:
    """Until then the service is not even made."""
    pass_by(one, 200)
    assert "alerts" not in one.__dict__
    with Store(one.store.path) as other:
        ax_monitor.AlertingService(other).create_rule(**RULE)
    one.metrics.record("m", 2, timestamp=one.store.clock.time_ms())
    pass_by(one, 61)
    assert one.alerts.get_active_alert_count() == 1
    assert one.alerts._evaluation is not None
    assert one.alerts._evaluation.interval_s == 60


def test_an_interval_of_your_own_replaces_the_automatic_one(one: Monitor) -> None:
    """And an end of your own is one."""
    one.alerts.create_rule(**RULE)
    one.alerts.start_evaluation(1000)
    pass_by(one, 130)
    assert [n for n in names(one) if "alert" in n] == ["the evaluation of alert rules"]
    assert one.alerts._evaluation is not None
    assert one.alerts._evaluation.interval_s == 1
    one.alerts.stop_evaluation()
    pass_by(one, 130)
    assert [n for n in names(one) if "alert" in n] == []


def test_health_is_checked_if_somebody_listens(one: Monitor) -> None:
    """First after 30 s; nobody hears, nothing is checked."""
    pass_by(one, 100)
    assert "health" not in one.__dict__
    heard: list[Any] = []
    one.events.on("health.checked", heard.append)
    pass_by(one, 31)
    one.health._passes.wait(20)
    one.events.flush()
    assert len(heard) == 1


def test_budgets_are_checked_if_somebody_listens(one: Monitor) -> None:
    """Every five minutes; each level is told once."""
    one.costs.set_budget("all", 1.0)
    run = one.workflows.start_execution("wf", "import")
    one.workflows.complete_step(one.workflows.start_step(run, "call"), cost=2.0)
    pass_by(one, 301)
    heard: list[Any] = []
    one.events.on("budget.exceeded", heard.append)
    pass_by(one, 301)
    pass_by(one, 301)
    one.events.flush()
    assert [status.budget.name for status in heard] == ["all"]


def test_retention_runs_by_itself(one: Monitor) -> None:
    """First after some minutes."""
    heard: list[Any] = []
    one.events.on("retention.completed", heard.append)
    one.logger.log_at(9, "old", "s", timestamp_ns=1)
    pass_by(one, 149)
    assert "retention" not in one.__dict__
    pass_by(one, 160)
    one.events.flush()
    assert [report.logs for report in heard] == [1]


def test_each_can_be_switched_off(db: str, clock: FakeClock, by_hand: None) -> None:
    """Then nothing goes on, and the services work by hand."""
    with ax_monitor.open(
        db,
        clock=clock,
        alerts={"evaluation_interval_ms": None},
        health={"check_interval_ms": None},
        costs={"check_interval_ms": 0},
        retention={"interval_ms": None, "logs_days": 1},
    ) as monitor:
        assert names(monitor) == []
        assert monitor.store.scheduler.run_due() is None
        monitor.logger.log_at(9, "old", "s", timestamp_ns=1)
        assert monitor.retention.run().logs == 1


def test_a_store_alone_starts_nothing(db: str) -> None:
    """Nor does one that only reads."""
    with Store(db) as store:
        ax_monitor.StructuredLogger(store).info("x", "y")
        assert store.scheduler._schedules == []
    with Store(db, read_only=True) as store:
        assert store.scheduler._schedules == []
        assert not any(t.name == "ax-monitor-scheduler" for t in threading.enumerate())


def test_a_service_is_made_once_however_many_ask(db: str) -> None:
    """Also if they ask at once."""
    with ax_monitor.open(db) as monitor:
        found: list[Any] = []
        barrier = threading.Barrier(8)

        def ask() -> None:
            barrier.wait()
            found.append(monitor.alerts)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(map(id, found))) == 1


def test_async_with_does_not_hold_up_the_loop(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The closing waits on another thread."""
    closing: list[str] = []
    close = Monitor.close

    def slow(self: Monitor) -> None:
        closing.append(threading.current_thread().name)
        time.sleep(0.2)
        close(self)

    monkeypatch.setattr(Monitor, "close", slow)
    ticks = 0

    async def main() -> Monitor:
        nonlocal ticks

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        async with ax_monitor.open(db) as monitor:
            monitor.logger.info("hello", "test")
            task = asyncio.create_task(tick())
        task.cancel()
        return monitor

    monitor = asyncio.run(main())
    assert monitor.store.closed
    assert closing != [threading.current_thread().name]
    assert ticks >= 3


def test_a_failure_at_opening_leaves_nothing_open(db: str) -> None:
    """Neither a ring file nor a thread."""
    with pytest.raises(ValueError, match="max_traces_per_second"):
        ax_monitor.open(db, tracer={"max_traces_per_second": -1})
    folder = Path(db).parent
    assert not [name for name in os.listdir(folder) if "-ring-" in name]


# -- the process's default ------------------------------------------------------------------------


def python(code: str, folder: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AX_MONITOR_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        cwd=folder, env=clean | environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_two_lines_and_the_command_line_finds_it(tmp_path: Path) -> None:
    """In an empty folder, without any configuration, closing or path."""
    python("import ax_monitor\nax_monitor.logger.info('hello', 'me')", tmp_path)
    out = python(
        "import sys; from ax_monitor.cli import monitor_main; "
        "sys.exit(monitor_main(['logs', '--json']))", tmp_path,
    )  # fmt: skip
    (entry,) = map(json.loads, out.splitlines())
    assert (entry["message"], entry["source"]) == ("hello", "me")


def test_services_without_a_store_use_the_default(tmp_path: Path) -> None:
    """Whether they or the attributes come first."""
    python(
        "import ax_monitor as m\n"
        "first = m.StructuredLogger()\n"
        "assert m.logger.store is first.store is m.default_monitor().store\n"
        "assert m.StructuredLogger().store is first.store\n"
        "for name in ('tracer', 'metrics', 'workflows', 'alerts', 'health', 'retention'):\n"
        "    assert getattr(m, name).store is first.store, name\n"
        "assert m.health.sync.get_system_health().overall\n"
        "assert not {'logger', 'health'} & set(vars(m))\n", tmp_path,
    )  # fmt: skip


def test_configure_takes_over(tmp_path: Path) -> None:
    """What was the default is written and closed; a mistake changes nothing."""
    python(
        "import ax_monitor as m\n"
        "m.logger.info('to the default', 'me')\n"
        "before = m.logger.store\n"
        "one = m.configure('one.db', logger={'min_level': 'warn'})\n"
        "assert before.closed and m.default_monitor() is one and m.logger is one.logger\n"
        "m.logger.info('too low', 'me'); m.logger.warn('to one', 'me')\n"
        "try: m.configure('two.db', logger={'no': 1})\n"
        "except ValueError: pass\n"
        "assert m.default_monitor() is one and not one.store.closed\n"
        "two = m.configure('two.db')\n"
        "assert one.store.closed and m.StructuredLogger().store is two.store\n"
        "m.logger.info('to two', 'me')\n", tmp_path,
    )  # fmt: skip
    for path, message in (
        (".ax/monitor.db", "to the default"),
        ("one.db", "to one"),
        ("two.db", "to two"),
    ):
        with Store(tmp_path / path, read_only=True) as store:
            found = store.read(logs.query_logs, ax_monitor.LogQuery(limit=None))
            assert [entry.message for entry in found] == [message]


def test_the_default_follows_file_and_environment(tmp_path: Path) -> None:
    """Also where a service without a store is what opens it."""
    (tmp_path / "monitor.toml").write_text("[store]\npath = 'mine.db'\nring_bytes = 4194304\n")
    python(
        "import ax_monitor as m\n"
        "assert m.StructuredLogger().store.stats().ring_bytes == 4194304\n"
        "assert m.logger.get_min_level() == 'error'\n"
        "m.logger.error('x', 'y')\n", tmp_path,
        AX_MONITOR_CONFIG="monitor.toml", AX_MONITOR_LOGGER_MIN_LEVEL="error",
    )  # fmt: skip
    assert (tmp_path / "mine.db").exists()


def test_a_forked_child_has_the_default_too(tmp_path: Path) -> None:
    """It records by itself; nothing goes on there at regular times."""
    python(
        "import os, threading, ax_monitor as m\n"
        "m.logger.info('parent', 'me')\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    assert threading.active_count() == 1\n"
        "    m.logger.info('child', 'me'); assert m.default_monitor().flush()\n"
        "    m.configure('child.db').logger.info('own', 'me'); m.default_monitor().close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert m.logger.get_log_count() == 2\n", tmp_path,
    )  # fmt: skip
    with Store(tmp_path / "child.db", read_only=True) as store:
        assert store.read(logs.count_logs) == 1


def test_what_is_no_attribute_is_none() -> None:
    """The usual error."""
    with pytest.raises(AttributeError, match="no attribute 'loger'"):
        _ = ax_monitor.loger  # type: ignore[attr-defined]


# -- events ---------------------------------------------------------------------------------------

EVENTS = (
    "log", "trace.started", "trace.completed", "span.started", "span.completed", "span.event",
    "metric.recorded", "metric.rejected", "workflow.started", "workflow.completed",
    "workflow.failed", "workflow.cancelled", "workflow.step.started", "workflow.step.completed",
    "workflow.step.failed", "rule.created", "rule.updated", "rule.deleted", "alert.triggered",
    "alert.acknowledged", "alert.resolved", "health.checked", "retention.completed",
)  # fmt: skip


def use_everything(monitor: Monitor) -> None:
    trace_id = monitor.tracer.start_trace("run")
    span_id = monitor.tracer.start_span(trace_id, "step")
    monitor.tracer.add_span_event(span_id, "event")
    monitor.tracer.complete_span(span_id)
    monitor.tracer.complete_trace(trace_id)
    monitor.logger.info("hello", "test")
    monitor.metrics.record("m", 2)
    monitor.metrics.record("m", float("nan"))
    for status in ("completed", "failed", "cancelled"):
        execution_id = monitor.workflows.start_execution("w", "W", "t", "u", 2)
        step_id = monitor.workflows.start_step(execution_id, "k", "K")
        if status == "completed":
            monitor.workflows.complete_step(step_id)
        else:
            monitor.workflows.fail_step(step_id, "no")
        monitor.workflows.update_execution(execution_id, status=status)
    rule_id = monitor.alerts.create_rule(**RULE)
    (alert,) = monitor.alerts.evaluate_now()
    monitor.alerts.acknowledge_alert(alert.id, "ann")
    monitor.alerts.resolve_alert(alert.id)
    monitor.alerts.update_rule(rule_id, enabled=False)
    monitor.alerts.delete_rule(rule_id)
    monitor.health.sync.get_system_health()
    monitor.retention.run()
    assert monitor.flush()


def test_every_event_is_told(db: str) -> None:
    """Under its name, wherever somebody listens."""
    with ax_monitor.open(db) as monitor:
        heard: list[str] = []
        for name in EVENTS:
            monitor.events.on(name, lambda payload, name=name: heard.append(name))
        use_everything(monitor)
        assert set(EVENTS) - set(heard) == set()


def test_a_listener_does_no_harm(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that raises, is slow, or records: calls return what they always do, nothing recurses."""
    with ax_monitor.open(db) as monitor:

        def listener(payload: object) -> None:
            monitor.logger.info("from a listener", "listener")
            monitor.metrics.record("listener", 1)
            time.sleep(0.002)
            raise SystemExit(1)

        for name in EVENTS:
            monitor.events.on(name, listener)
        use_everything(monitor)
        monitor.events.flush(10)
        logs = monitor.logger.query_logs(source="listener", limit=None)
        assert len(EVENTS) <= len(logs) <= 60
        assert monitor.store.stats().listener_errors == len(logs)
        assert capsys.readouterr().err.count("SystemExit") == 1

"""The tour: an engine at work, an outage that raises an alert, a killed process, and what is known
about all of it afterwards, by the commands that users have."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from ax_monitor.demo.engine import WORKFLOW, Engine
from ax_monitor.demo.history import back_fill
from ax_monitor.model.alerts import Alert
from ax_monitor.monitor import Monitor

SEED: Final = 7
WORKERS: Final = 6
BROKEN_PROVIDER: Final = "contoso"
RULE: Final = "Model calls fail"
WINDOW_MS: Final = 4_000
EVALUATION_MS: Final = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each part takes, in seconds."""

    calm: float = 5.0
    outage_at_most: float = 15.0
    outage_after_alert: float = 3.0
    recovery_at_most: float = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tour has to show for itself.

    Args:
        acknowledged: Log calls of the killed process that had returned when it last said so.
        recovered: Its logs that are in the database.
        triggered: When the alert was raised, in ms since the epoch; None: it was not.
        resolved: When it was over.
        alert_id: Its id.
    """

    acknowledged: int
    recovered: int
    triggered: int | None
    resolved: int | None
    alert_id: str | None

    @property
    def as_promised(self) -> bool:
        """Is nothing lost, and was the outage seen from its beginning to its end?"""
        return self.recovered >= self.acknowledged > 0 and None not in (
            self.triggered,
            self.resolved,
        )


class Tour:
    """Runs it once on a database of its own.

    Args:
        database: Where; must not be there yet.
        files: What the engine works on, and what is imported (default: the sources of Python's
            standard library, of which nothing is imported).
        console: What it is told on.
        plan: How long it takes.
    """

    def __init__(
        self,
        database: Path,
        files: Sequence[Path] = (),
        console: Console | None = None,
        plan: Plan | None = None,
    ) -> None:
        self._database = database
        self._logs = tuple(files)
        self._files = self._logs or tuple(sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")))
        self._console = console or Console(highlight=False)
        self._plan = plan or Plan()
        self._chapter = 0

    def run(self) -> Outcome:
        """From the beginning to the end; some 40 seconds."""
        self._database.parent.mkdir(parents=True, exist_ok=True)
        self._past()
        with Monitor(self._database, logger={"min_level": "debug"}) as monitor:
            acknowledged = self._present(monitor)
        with Monitor(self._database) as monitor:  # who opens it finds what the killed one left
            outcome = self._outcome(monitor, acknowledged)
            example = _example_of(monitor)
        self._known(outcome, example)
        return outcome

    # -- what happens ------------------------------------------------------------------------------

    def _past(self) -> None:
        self._heading("A month of an engine's life, back-filled")
        begin = time.perf_counter()
        count = back_fill(self._database, int(time.time() * 1000), SEED)
        seconds = time.perf_counter() - begin
        self._say(f"{count:,} executions with their steps, costs and metrics in {seconds:.1f} s")
        if self._logs:
            self._heading("Existing log files, imported")
            self._run("import", *(_shown(path) for path in self._logs))

    def _present(self, monitor: Monitor) -> int:
        self._heading("An engine at work; a provider breaks down; another process is killed")
        monitor.alerts.create_rule(
            RULE,
            "More than one attempt a second at a step fails",
            "workflow.step.count",
            {
                "operator": "gt",
                "threshold": 1.0,
                "window_ms": WINDOW_MS,
                "aggregation": "rate",
            },
            "critical",
            match_labels={"workflow": WORKFLOW, "status": "failed"},
            for_ms=500,
            auto_resolve=True,
            no_data="ok",  # no failure in the window is what is wanted
        )
        alerts = _Alerts(monitor, self._say)
        monitor.alerts.start_evaluation(EVALUATION_MS)
        engine = Engine(monitor, self._files, "engine", SEED)
        working = threading.Thread(
            target=asyncio.run, args=(engine.run(WORKERS),), name="demo-engine"
        )
        victim = subprocess.Popen(
            [sys.executable, "-m", "ax_monitor.demo", self._database, *self._files[:50]],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            working.start()
            self._say(f"{WORKERS} executions at a time: fetch, parse, summarize, compress, hash")
            time.sleep(self._plan.calm)
            self._say(f"{BROKEN_PROVIDER} breaks down: slow answers, refused requests", "yellow")
            engine.providers.outage = BROKEN_PROVIDER
            alerts.triggered.wait(self._plan.outage_at_most)
            time.sleep(self._plan.outage_after_alert)
            acknowledged = _kill(victim)
            self._say(f"kill -9 of the other process, after {acknowledged:,} log calls", "yellow")
            engine.providers.outage = None
            self._say(f"{BROKEN_PROVIDER} is back")
            alerts.resolved.wait(self._plan.recovery_at_most)
        finally:
            victim.kill()
            engine.stop()
            working.join()
        monitor.alerts.stop_evaluation()
        monitor.flush()
        stats = monitor.store.stats()
        self._say(
            f"{engine.executions:,} executions done; {stats.stored:,} records written, "
            f"{sum(stats.dropped.values()):,} lost"
        )
        return acknowledged

    def _outcome(self, monitor: Monitor, acknowledged: int) -> Outcome:
        recovered = len(monitor.logger.query_logs(source="victim", limit=None))
        alert = next(iter(monitor.alerts.list_alerts()), None)
        lost = max(0, acknowledged - recovered)
        verdict = f"{lost:,} LOST" if lost else "nothing lost"
        self._say(
            f"the killed process: {verdict}, {recovered:,} logs are here",
            "bold red" if lost else "bold green",
        )
        return Outcome(
            acknowledged=acknowledged,
            recovered=recovered,
            triggered=None if alert is None else alert.timestamp,
            resolved=None if alert is None else alert.resolved_at,
            alert_id=None if alert is None else alert.id,
        )

    # -- what is known -----------------------------------------------------------------------------

    def _known(self, outcome: Outcome, example: _Example) -> None:
        for title, arguments in (
            ("How it is", ("status",)),
            ("How long executions took, in the last day", (
                "metrics", "workflow.execution.duration", "--range", "24h", "--format", "chart")),
            ("An execution that had to try again", ("workflows", "show", example.execution_id)),
            ("Where its time went", ("traces", "show", example.trace_id)),
            ("The alert, from first to last", ("alerts", "history", outcome.alert_id)),
            ("What it cost, and will", (
                "costs", "--range", "30d", "--by", "model", "--projection")),
            ("A search over everything", ("logs", '"did not answer" OR refused', "--limit", "5")),
        ):  # fmt: skip
            if None not in arguments:
                self._heading(title)
                self._run(*[str(argument) for argument in arguments])
        self._heading("It is all in one file")
        size = self._database.stat().st_size
        self._say(f"{_shown(self._database)}: {size / 1e6:.1f} MB. To look around:")
        for line in (
            "logs --follow",
            "logs --level error --limit 20",
            "workflows --status failed",
            "traces list --status error",
            "metrics",
            "metrics cost --range 30d --by model --format chart",
            "alerts list --resolved",
            "doctor",
        ):
            self._show_command(f"  {self._command(*line.split())}")
        self._say(f"To delete it: rm {_shown(self._database)}*")

    # -- the terminal ------------------------------------------------------------------------------

    def _heading(self, text: str) -> None:
        self._chapter += 1
        self._console.print()
        self._console.rule(Text(f"{self._chapter}. {text}", style="bold"), align="left")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), overflow="ellipsis", no_wrap=True)

    def _show_command(self, text: str) -> None:
        self._console.print(Text(text, style="green"), soft_wrap=True)  # to be copied as it is

    def _command(self, *arguments: str) -> str:
        program = shutil.which("ax", path=os.path.dirname(sys.executable))
        by_name = program is None or program == shutil.which("ax")
        start = "ax monitor" if by_name else f"{_shown(Path(str(program)))} monitor"
        return f"{start} {shlex.join(arguments)} --db {shlex.quote(_shown(self._database))}"

    def _run(self, *arguments: str) -> None:
        """Run a command of the user's, and show what it prints."""
        self._show_command(f"$ {self._command(*arguments)}")
        command = [sys.executable, "-m", "ax_monitor", *arguments, "--db", str(self._database)]
        environment = {**os.environ, "COLUMNS": str(self._console.width)}
        if self._console.record:
            environment["FORCE_COLOR"] = "1"
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, env=environment, check=True
            )
            shown = Text.from_ansi(done.stdout)
            self._console.print(shown, no_wrap=True, overflow="ellipsis")
        else:
            self._console.file.flush()
            subprocess.run(command, env=environment, check=True)


@dataclass(frozen=True, slots=True)
class _Example:
    execution_id: str | None = None
    trace_id: str | None = None


def _example_of(monitor: Monitor) -> _Example:
    """One of the latest executions, with a step that was tried again if there is one."""
    found = _Example()
    for execution in monitor.workflows.get_recent_executions(500):
        traces = monitor.tracer.get_traces_by_execution(execution.id)
        if traces and traces[0].completed_at is not None:
            found = _Example(execution.id, traces[0].trace_id)
            steps = monitor.workflows.get_step_executions(execution.id)
            if any(step.retry_count for step in steps):
                break
    return found


class _Alerts:
    """Says what becomes of alerts."""

    def __init__(self, monitor: Monitor, say: Any) -> None:
        self.triggered = threading.Event()
        self.resolved = threading.Event()
        self._say = say
        monitor.alerts.on("alert.triggered", self._on_triggered)
        monitor.alerts.on("alert.resolved", self._on_resolved)

    def _on_triggered(self, alert: Alert) -> None:
        self._say(f"alert: {alert.title} ({alert.description})", "bold red")
        self.triggered.set()

    def _on_resolved(self, payload: Any) -> None:
        self._say("the alert is over", "bold green")
        self.resolved.set()


def _kill(process: subprocess.Popen[str]) -> int:
    """Kill it with SIGKILL; how many of its log calls had returned when it last said so."""
    process.send_signal(signal.SIGKILL)
    printed = process.communicate()[0].split()
    return int(printed[-1]) if printed else 0


def _shown(path: Path) -> str:
    """The path as it is shortest."""
    return min(str(path), os.path.relpath(path), key=len)

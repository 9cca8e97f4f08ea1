"""`ax monitor status`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import click

from ax_monitor.checks.uptime import format_uptime
from ax_monitor.cli._alerting import SEVERITY_STYLES
from ax_monitor.cli._options import (
    MonitorCommand,
    common_options,
    open_for_reading,
    ring_folder,
    utc_option,
)
from ax_monitor.cli._output import Column, Part, Printer, counted, format_time, table_lines
from ax_monitor.cli._overview import UNKNOWN, Observer, Overview
from ax_monitor.cli._units import format_bytes, format_duration
from ax_monitor.errors import StorageError
from ax_monitor.model.vocabulary import AlertSeverity, HealthStatus

EXIT_CODES: Final = {
    HealthStatus.HEALTHY: 0,
    HealthStatus.DEGRADED: 1,
    HealthStatus.UNHEALTHY: 2,
}
INTERVAL_MIN_S: Final = 0.2
_STYLES: Final = {
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "bold red",
    UNKNOWN: "dim",
}
_COMPONENT_COLUMNS: Final = (Column(keep=True), Column(keep=True), Column(fold=True))
_RECORDER_COLUMNS: Final = (
    Column("RECORDER"),
    Column("PROCESS", right=True),
    Column("STATE", keep=True),
    Column("OPENED", keep=True),
    Column("WAITING", right=True),
)
_NAME_WIDTH: Final = 12  # columns of what stands before each figure
_PEAK_WIDTH: Final = 32  # columns behind the bars
_BARS: Final = "▁▂▃▄▅▆▇█"
_RECORDERS_SHOWN: Final = 5


class _CantBeOpened(click.ClickException):
    """For --check that is unhealthy."""

    exit_code = EXIT_CODES[HealthStatus.UNHEALTHY]


@click.command("status", cls=MonitorCommand)
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=INTERVAL_MIN_S),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show what was measured, and the recorders.")
@click.option(
    "--check",
    is_flag=True,
    help="Exit with 0, 1 or 2 if it is healthy, degraded or unhealthy (or can't be opened).",
)
@click.option(
    "--ring-dir", metavar="FOLDER", help="Where the engine keeps its rings, if it says so."
)
@utc_option
@common_options
def command(
    watch: bool,
    interval_s: float,
    verbose: bool,
    check: bool,
    ring_dir: str | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Show at a glance how the engine and its parts are.

    Only reads, whether an engine is running or not. What is registered in the engine (caches,
    providers) can't be seen from here, and is called unknown. The overall status is the worst of
    the others; without an engine it is degraded.

    Times in JSON are ms since 1970; --watch prints an object a look.
    """
    if watch and check:
        raise click.UsageError("--check looks once: leave out --watch")
    printer = Printer()
    try:
        store = open_for_reading(db)
    except (StorageError, click.ClickException) as error:
        if not check:
            raise
        text = str(error) if isinstance(error, StorageError) else error.format_message()
        raise _CantBeOpened(text) from error
    with store:
        observer = Observer(store, ring_folder(ring_dir, db))
        layout = Layout(verbose=verbose, utc=utc)
        if watch:
            _watch(printer, observer, layout, interval_s, as_json=as_json)
        found = observer.look()
    if as_json:
        printer.json(found.to_dict())
    else:
        for line in layout.lines(found, printer.width):
            printer.line(*line)
    return EXIT_CODES[found.overall] if check else 0


def _watch(
    printer: Printer, observer: Observer, layout: Layout, interval_s: float, *, as_json: bool
) -> None:
    """Until Ctrl-C."""
    if as_json:
        for found in _looks(observer, interval_s, time.sleep):
            printer.json(found.to_dict())
            printer.flush()
    with printer.repainting() as screen:
        for found in _looks(observer, interval_s, screen.wait):
            screen.show(partial(layout.lines, found))


def _looks(
    observer: Observer, interval_s: float, wait: Callable[[float], None]
) -> Iterator[Overview]:
    """A look each interval, however long a look takes; those that come too late are left out."""
    due = time.monotonic()
    while True:
        yield observer.look()
        late = time.monotonic() - due
        due += interval_s * (late // interval_s + 1)
        wait(max(0.0, due - time.monotonic()))


class Layout:
    """How an overview looks.

    Args:
        verbose: With everything that was measured.
        utc: Times in UTC, not local.
    """

    def __init__(self, *, verbose: bool, utc: bool) -> None:
        self._verbose = verbose
        self._utc = utc

    def lines(self, found: Overview, width: int | None) -> Iterator[list[Part]]:
        """The whole report, for so many columns."""
        yield [
            (found.overall.value.upper(), _STYLES[found.overall.value]),
            "  ",
            (_short(found.database), "bold"),
            (f"  {self._time(found.timestamp)}", "dim"),
        ]
        yield from (
            [(f"{name:{_NAME_WIDTH}}", "dim"), *line] for name, line in self._figures(found, width)
        )
        yield []
        yield from table_lines(self._components(found), _COMPONENT_COLUMNS, width=width)
        if self._verbose and found.recorders:
            yield []
            yield from table_lines(
                self._recorders(found), _RECORDER_COLUMNS, width=width, heading=True
            )

    def _figures(self, found: Overview, width: int | None) -> Iterator[tuple[str, Sequence[Part]]]:
        yield "uptime", self._uptime(found)
        wal = f", WAL {format_bytes(found.wal_bytes)}"
        yield "file", [format_bytes(found.file_bytes) + wal]
        yield "executions", [_executions(found)]
        yield from _bars(found.executions_by_minute, width)
        if self._verbose and found.all_executions is not None:
            yield "", [f"{counted(found.all_executions, 'execution')} stored"]
        if found.latency_p95_ms is not None:
            about = "" if found.latency_exact else "≈"
            yield "latency p95", [f"{about}{format_duration(found.latency_p95_ms)}"]
        yield "alerts", _alerts(found)
        yield "log errors", [_errors(found)]
        yield from _bars(found.errors_by_minute, width)
        for what, why in found.problems.items():
            yield "", [(f"can't tell of {what}: {why}", "yellow")]

    def _uptime(self, found: Overview) -> list[Part]:
        if found.uptime_ms is None:
            last = found.written_at
            wrote = "" if last is None else f", the last one wrote at {self._time(last)}"
            return [("no engine is running", "yellow"), wrote]
        live = sum(each.is_live is True for each in found.recorders)
        more = f" ({live} recorders)" if live > 1 else ""
        return [format_uptime(found.uptime_ms), more]

    def _components(self, found: Overview) -> Iterator[list[Part]]:
        for each in found.components:
            yield [(each.name, "bold"), (each.status, _STYLES[each.status]), each.message]
            if self._verbose and each.metadata:
                figures = ", ".join(f"{key}={value}" for key, value in each.metadata.items())
                yield ["", "", (figures, "dim")]

    def _recorders(self, found: Overview) -> Iterator[list[Part]]:
        states = {True: ("live", "green"), False: ("left behind", "yellow"), None: (UNKNOWN, "dim")}
        shown = found.recorders[:_RECORDERS_SHOWN]
        for each in shown:
            yield [
                (each.ring_id[:16], "blue"),
                str(each.pid or "-"),
                states[each.is_live],
                self._time(each.opened_at) if each.opened_at else "-",
                f"{each.waiting:,}",
            ]
        if len(found.recorders) > len(shown):
            yield [f"{len(found.recorders) - len(shown):,} more"]

    def _time(self, timestamp_ms: int) -> str:
        return format_time(timestamp_ms, utc=self._utc, to_ms=False)


def _bars(by_minute: Sequence[int], width: int | None) -> Iterator[tuple[str, Sequence[Part]]]:
    """A bar a minute, as many of the last ones as there is room for; none where nothing was."""
    if not any(by_minute):
        return
    room = len(by_minute) if width is None else width - _NAME_WIDTH - _PEAK_WIDTH
    shown = by_minute[-max(1, room) :]
    peak = f"  {len(shown)} min, at most {max(shown):,} a minute"
    yield "", [(sparkline(shown), "cyan"), (peak, "dim")]


def _executions(found: Overview) -> str:
    if found.running is None:
        running = "can't tell how many run"
    elif found.running and found.uptime_ms is None:
        running = f"{found.running:,} not finished when the engine ended"
    else:
        running = f"{found.running:,} running"
    if found.executions is None:
        return running
    if not found.executions:
        return f"{running}, none ended in the last hour"
    return (
        f"{running}, {found.executions:,} ended in the last hour, "
        f"{found.success_rate:.1f} % of them completed"
    )


def _alerts(found: Overview) -> list[Part]:
    if found.active_alerts is None:
        return [("can't tell", "yellow")]
    parts: list[Part] = []
    for severity in reversed(AlertSeverity):
        if count := found.active_alerts[severity.value]:
            parts += [", "] if parts else []
            parts.append((f"{count:,} {severity.value}", SEVERITY_STYLES[severity]))
    return parts or ["none active"]


def _errors(found: Overview) -> str:
    if found.log_errors is None:
        return "can't tell"
    return f"{found.log_errors:,} in the last hour"


def sparkline(counts: Sequence[int]) -> str:
    """A bar for each number, up to the largest; 0 is the lowest, and nothing else is.

    >>> sparkline([0, 1, 4, 8])
    '▁▂▅█'
    """
    largest = max(counts, default=0)
    tops = len(_BARS) - 1
    return "".join(_BARS[-(-count * tops // largest) if count else 0] for count in counts)


def _short(path: str) -> str:
    """A path from here, if it is below here."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative

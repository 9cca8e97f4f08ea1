"""`ax monitor import`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from ax_monitor.cli._options import MonitorCommand, common_options, database, utc_option
from ax_monitor.cli._output import (
    Column,
    Part,
    Printer,
    counted,
    format_time,
    note,
    progress_bar,
)
from ax_monitor.cli._units import format_bytes
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.errors import StorageError
from ax_monitor.interop.log_files import LogFile, ParsedLine, read_log_file
from ax_monitor.model.vocabulary import LogLevel
from ax_monitor.pipeline.store import Store
from ax_monitor.services.logger import StructuredLogger

BATCH_RECORDS: Final = 1000
RING_SHARE: Final = 4  # wait for the writer when so much (a fourth) of the ring is waiting
RETRY_S: Final = 0.5
TELL_S: Final = 2.0  # who waits longer for the database is told
MAX_MS: Final = (2**63 - 1) // 1_000_000  # April 2262: the recorder counts nanoseconds
STDIN: Final = "/dev/stdin"


@dataclass(slots=True)
class Summary:
    """What became of one file."""

    file: str
    lines: int = 0
    records: int = 0
    unrecognised: int = 0
    first_timestamp: int | None = None
    last_timestamp: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    complete: bool = False
    error: str | None = None

    def add(self, record: ParsedLine, timestamp: int) -> None:
        """Count a record."""
        self.records += 1
        self.unrecognised += not record.recognised
        if self.first_timestamp is None or timestamp < self.first_timestamp:
            self.first_timestamp = timestamp
        if self.last_timestamp is None or timestamp > self.last_timestamp:
            self.last_timestamp = timestamp

    @property
    def records_per_second(self) -> int:
        """How fast it went."""
        return round(self.records / self.seconds) if self.seconds else 0


class Sink:
    """The database to import into. A record that was given to it is never lost.

    Raises:
        StorageError: the database can't be written, and trying again would not help.
    """

    def __init__(self, db: str | None) -> None:
        self._store = Store(database(db))
        self._logger = StructuredLogger(
            self._store, min_level="debug", overflow="block", buffer_size=BATCH_RECORDS
        )
        self._severities = {level.value: level.severity_number for level in LogLevel}
        ring = self._store.recorder.ring
        self._high_water_bytes = ring.capacity_bytes // RING_SHARE
        self._failure: StorageError | None = None
        self._logger.on("flush_error", self._note_failure)

    def _note_failure(self, payload: dict[str, Any]) -> None:
        self._failure = payload["error"]

    def write(self, record: ParsedLine, timestamp: int, source: str | None) -> None:
        """Record a line under its own time. Waits whenever too much is not written yet."""
        self._logger.log_at(
            self._severities[record.level],
            record.message,
            record.source if source is None else source,
            timestamp_ns=timestamp * 1_000_000,
            execution_id=record.execution_id,
            trace_id=record.trace_id,
            span_id=record.span_id,
            tenant_id=record.tenant_id,
            user_id=record.user_id,
            metadata=record.metadata,
            stack_trace=record.stack_trace,
        )
        if self._store.recorder.ring.pending_bytes > self._high_water_bytes:
            self.settle()

    @property
    def recorded(self) -> int:
        """How many records were given to it so far."""
        return self._store.stats().attempted

    def settle(self) -> None:
        """Wait, as long as it takes, until everything is in the database."""
        told = False
        while not self._store.flush(TELL_S):
            failure, self._failure = self._failure, None
            if failure is not None and not failure.retryable:
                raise failure
            if not told:
                note("waiting until the database takes the records; Ctrl-C gives up")
                told = True
            time.sleep(RETRY_S)

    def check(self) -> None:
        """Complain if the database took less than it was given."""
        if lost := self._store.stats().dropped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in lost.items())
            raise click.ClickException(f"not all records were stored: {reasons}")

    def close(self) -> None:
        """Write what is pending, for a bounded time; what is not stays in the ring's file."""
        self._store.close()


@click.command("import", cls=MonitorCommand)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "jsonl", "logfmt", "text"]),
    default="auto",
    show_default=True,
    help="The format of the files.",
)
@click.option("--source", metavar="NAME", help="The source of all records, whatever the lines say.")
@click.option("--dry-run", is_flag=True, help="Only read the files and say what is in them.")
@utc_option
@common_options
def command(
    files: tuple[str, ...],
    format_: Any,
    source: str | None,
    dry_run: bool,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Bring log files in: JSON lines, logfmt, or plain text.

    FILE may be compressed with gzip; - is standard input. Times, levels and sources are recognised;
    a line in which nothing is recognised is kept whole, as a message of level info. A line without
    a time has that of the line before it, or of the file. Secrets are redacted as in any record.
    The database is created if there is none. Importing a file twice stores its lines twice.
    """
    printer = Printer()
    summaries = []
    with contextlib.ExitStack() as stack:
        sink = None if dry_run else stack.enter_context(contextlib.closing(Sink(db)))
        try:
            for name in files:
                summaries.append(Summary("-" if name == "-" else str(name)))
                _import_file(sink, summaries[-1], format_, source)
        finally:
            _report(printer, summaries, as_json=as_json, dry_run=dry_run, utc=utc)
        if sink is not None:
            sink.check()
    return 0 if all(summary.error is None for summary in summaries) else 1


def _import_file(sink: Sink | None, summary: Summary, format_: Any, source: str | None) -> None:
    """Fills in the summary, also when it ends early."""
    started = time.monotonic()
    log_file: LogFile | None = None
    before = 0 if sink is None else sink.recorded
    try:
        path = STDIN if summary.file == "-" else summary.file
        log_file = read_log_file(path, format=format_)
        with log_file, progress_bar(Path(path).name, log_file.total_bytes) as advance:
            shown = 0
            for record, timestamp in _timed(log_file, path):
                if sink is not None:
                    sink.write(record, timestamp, source)
                summary.add(record, timestamp)
                if log_file.bytes_read != shown:
                    shown = log_file.bytes_read
                    advance(shown)
            if sink is not None:
                sink.settle()
        summary.error = log_file.damage
        summary.complete = summary.error is None
    except OSError as error:
        summary.error = error.strerror or str(error)
    finally:
        summary.seconds = round(time.monotonic() - started, 6)
        if sink is not None:  # Ctrl-C may have come between a record and its count
            summary.records = sink.recorded - before
        if log_file is not None:
            summary.lines, summary.bytes = log_file.lines_read, log_file.bytes_read


def _timed(log_file: LogFile, path: str) -> Iterator[tuple[ParsedLine, int]]:
    """Every record with a time that can be stored: its own, or that of the one before it."""
    current = SYSTEM_CLOCK.time_ms() if path == STDIN else int(Path(path).stat().st_mtime * 1000)
    current = max(-MAX_MS, min(current, MAX_MS))
    for record in log_file:
        if record.timestamp is not None and abs(record.timestamp) <= MAX_MS:
            current = record.timestamp
        yield record, current


def _report(
    printer: Printer, summaries: list[Summary], *, as_json: bool, dry_run: bool, utc: bool
) -> None:
    if as_json:
        for summary in summaries:
            rate = summary.records_per_second
            printer.json({**asdict(summary), "records_per_second": rate, "dry_run": dry_run})
    else:
        printer.table((_row(summary, utc=utc) for summary in summaries), _COLUMNS)
    for summary in summaries:
        if summary.error is not None:
            note(f"Error: {summary.file}: {summary.error}")
        elif not summary.complete:
            note(f"{summary.file}: stopped before its end")


_COLUMNS: Final = (
    Column(),
    Column(keep=True),
    Column(keep=True),
    Column(keep=True),
    Column(keep=True, optional=True),
    Column(keep=True, optional=True),
    Column(keep=True, optional=True),
)


def _row(summary: Summary, *, utc: bool) -> Iterator[Part]:
    yield summary.file, "bold"
    yield counted(summary.lines, "line")
    yield counted(summary.records, "record")
    yield f"{summary.unrecognised:,} unrecognised", "yellow" if summary.unrecognised else "dim"
    if summary.first_timestamp is None or summary.last_timestamp is None:
        yield "-"
    else:
        first, last = summary.first_timestamp, summary.last_timestamp
        yield f"{format_time(first, utc=utc)} to {format_time(last, utc=utc)}"
    yield format_bytes(summary.bytes)
    yield f"{summary.records_per_second:,} records/s"

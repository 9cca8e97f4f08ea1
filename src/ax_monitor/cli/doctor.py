"""`ax monitor doctor`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import click

from ax_monitor._native import read_ring
from ax_monitor.cli._options import (
    MonitorCommand,
    common_options,
    existing_database,
    ring_folder,
    utc_option,
)
from ax_monitor.cli._output import Column, Part, Printer, counted, format_time
from ax_monitor.cli._units import format_bytes
from ax_monitor.errors import StorageError
from ax_monitor.pipeline import ring_files
from ax_monitor.pipeline.store import Store
from ax_monitor.storage.connection import WAL_LIMIT_BYTES, check_location
from ax_monitor.storage.integrity import BEYOND_REPAIR, Inspector, RingRow, rebuild_index

RINGS_SHOWN: Final = 5
LARGE_WAL_BYTES: Final = 2 * WAL_LIMIT_BYTES
FREE_SHARE: Final = 0.5  # of the pages: worth a remark

Status = Literal["ok", "note", "wrong"]
_STYLES: Final[dict[str, str]] = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What.
        status: "ok", "note" (worth knowing) or "wrong" (something has to be done).
        message: What was found, in words.
        values: The same in numbers, for --json.
    """

    name: str
    status: Status
    message: str
    values: dict[str, Any] = field(default_factory=dict)


@click.command("doctor", cls=MonitorCommand)
@click.option(
    "--quick",
    is_flag=True,
    help="Compare neither tables with their indexes, nor the search index with the texts.",
)
@click.option(
    "--repair",
    is_flag=True,
    help="Rebuild the search index if it is out of step, store what waits in rings.",
)
@click.option(
    "--ring-dir", metavar="FOLDER", help="Where the engine keeps its rings, if it says so."
)
@utc_option
@common_options
def command(
    quick: bool,
    repair: bool,
    ring_dir: str | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Check the database, and repair what can be repaired.

    Only reads, unless --repair is given, and holds no engine up: the search index is compared with
    the texts in a temporary copy of both. Exits with 1 if something is wrong.
    """
    path = existing_database(db)
    ring_dir = ring_folder(ring_dir, db)
    check_location(path)
    printer = Printer()
    repairs = list(_repair(path, ring_dir)) if repair else []
    findings = [*repairs, *examine(path, quick=quick and not repair, ring_dir=ring_dir, utc=utc)]
    is_well = all(finding.status != "wrong" for finding in findings)
    if as_json:
        printer.json({"database": path, "ok": is_well, "checks": [asdict(f) for f in findings]})
    else:
        printer.line(("database ", "bold"), path)
        printer.table((_row(finding) for finding in findings), _COLUMNS)
    return 0 if is_well else 1


_COLUMNS: Final = (Column(keep=True), Column(keep=True), Column(fold=True))


def _row(finding: Finding) -> Iterator[Part]:
    yield (
        finding.status.upper() if finding.status == "wrong" else finding.status,
        _STYLES[finding.status],
    )
    yield finding.name, "bold"
    yield finding.message


def examine(path: str, *, quick: bool, ring_dir: str | None, utc: bool) -> Iterator[Finding]:
    """Everything, one finding after the other; a question that can't be answered is one too."""
    with Inspector(path) as inspector:
        checks: dict[str, Callable[[], Finding]] = {
            "file": lambda: _file(inspector),
            "schema": lambda: _schema(inspector),
            "integrity": lambda: _integrity(inspector, quick=quick),
            "records": lambda: _records(inspector),
            "search index": lambda: _index(inspector, quick=quick),
            "rejected": lambda: _rejected(inspector, utc=utc),
            "recorders": lambda: _recorders(inspector, utc=utc),
            "rings": lambda: _rings(inspector, ring_dir),
        }
        for name, check in checks.items():
            try:
                yield check()
            except StorageError as error:
                yield Finding(name, "wrong", str(error))


def _file(inspector: Inspector) -> Finding:
    facts = inspector.file_facts()
    message = (
        f"{format_bytes(facts.database_bytes)}, WAL {format_bytes(facts.wal_bytes)}, "
        f"{facts.free_pages:,} of {facts.pages:,} pages free"
    )
    status: Status = "ok"
    if facts.journal_mode != "wal":
        status = "wrong"
        message += (
            f"; journal mode is {facts.journal_mode}, not wal: another program has changed it"
        )
    elif facts.wal_bytes > LARGE_WAL_BYTES:
        status = "note"
        message += "; the WAL is large: some reader holds it open, or the engine is stuck"
    elif facts.free_pages > facts.pages * FREE_SHARE:
        status = "note"
        message += "; much of it is free, and will be used again"
    return Finding("file", status, message, asdict(facts))


def _schema(inspector: Inspector) -> Finding:
    facts = inspector.file_facts()
    values: dict[str, Any] = {"version": facts.schema_version, "supported": facts.supported_version}
    if facts.schema_version > facts.supported_version:
        return Finding(
            "schema",
            "note",
            f"version {facts.schema_version}, of a newer ax-monitor: this one only reads it",
            values,
        )
    differences = inspector.schema_differences()
    values["differences"] = differences
    if differences:
        message = "; ".join(f"{name} is {how}" for name, how in differences.items())
        return Finding(
            "schema", "wrong" if "missing" in differences.values() else "note", message, values
        )
    return Finding("schema", "ok", f"version {facts.schema_version}", values)


def _integrity(inspector: Inspector, *, quick: bool) -> Finding:
    check = "quick_check" if quick else "integrity_check"
    problems = inspector.integrity(quick=quick)
    values = {"check": check, "problems": problems}
    if not problems:
        return Finding("integrity", "ok", f"{check} finds nothing wrong", values)
    message = f"{problems[0]}" + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
    return Finding("integrity", "wrong", f"{message}: {BEYOND_REPAIR}", values)


def _records(inspector: Inspector) -> Finding:
    counts = inspector.row_counts()
    message = f"{counted(counts.records, 'log record')}, {counts.indexed:,} in the search index"
    status: Status = "ok"
    if counts.records != counts.indexed:
        status = "wrong"
        message += ": `ax monitor doctor --repair` rebuilds it"
    if counts.without_context:
        status = "wrong"
        message += (
            f"; {counts.without_context:,} have lost their source and ids, and show in no query"
        )
    return Finding("records", status, message, asdict(counts))


def _index(inspector: Inspector, *, quick: bool) -> Finding:
    if quick:
        return Finding(
            "search index", "ok", "not compared with the texts (--quick)", {"checked": False}
        )
    problem = inspector.check_index()
    if problem is None:
        return Finding("search index", "ok", "agrees with the texts", {"checked": True})
    return Finding(
        "search index",
        "wrong",
        f"{problem}: `ax monitor doctor --repair` rebuilds it",
        {"checked": True},
    )


def _rejected(inspector: Inspector, *, utc: bool) -> Finding:
    rejects = inspector.rejects()
    if not rejects.count:
        return Finding("rejected", "ok", "no records", asdict(rejects))
    last = "" if rejects.last_at is None else f", last at {format_time(rejects.last_at, utc=utc)}"
    return Finding(
        "rejected",
        "note",
        f"{counted(rejects.count, 'record')}{last}: {rejects.last_error}; "
        "they are kept in the table recorder_rejects",
        asdict(rejects),
    )


def _recorders(inspector: Inspector, *, utc: bool) -> Finding:
    rings = inspector.rings()
    values = {"rings": [asdict(ring) for ring in rings]}
    if not rings:
        return Finding("recorders", "ok", "none has written yet", values)
    shown = [
        f"{ring.ring_id[:16]} wrote record {ring.last_seq:,} at "
        f"{format_time(ring.updated_at, utc=utc)}"
        for ring in rings[:RINGS_SHOWN]
    ]
    if len(rings) > RINGS_SHOWN:
        shown.append(f"{len(rings) - RINGS_SHOWN:,} earlier")
    return Finding("recorders", "ok", "; ".join(shown), values)


def _rings(inspector: Inspector, ring_dir: str | None) -> Finding:
    waiting = ring_files.waiting(inspector.path, ring_dir)
    found = ring_files.find(inspector.path, ring_dir)
    stored = {ring.ring_id: ring for ring in inspector.rings()}
    unstored = sum(_unstored(path, stored) for path in waiting)
    size = sum(os.path.getsize(path) for path in found if os.path.exists(path))
    live = len(set(found) - set(waiting))
    values = {"live": live, "waiting": waiting, "waiting_records": unstored, "bytes": size}
    message = f"{live} in use, {len(waiting)} left behind, {format_bytes(size)}"
    if unstored:
        message += (
            f"; {counted(unstored, 'record')} of a process that died are not in the database yet: "
            "the engine's next start or `ax monitor doctor --repair` stores them"
        )
    return Finding("rings", "wrong" if unstored else "note" if waiting else "ok", message, values)


def _unstored(path: str, stored: dict[str, RingRow]) -> int:
    """How many records of a ring that its process left behind are not in the database."""
    orphan = ring_files.claim_orphan(path)
    if orphan is None:
        return 0  # somebody has just taken it over
    try:
        data = orphan.read()
    finally:
        orphan.release()
    header, offsets, _ = read_ring(data)
    if header is None:
        return 0
    row = stored.get(header["ring_id"].hex())
    last_seq = row.last_seq if row is not None else 0
    return sum(int.from_bytes(data[at + 8 : at + 16], "little") > last_seq for at in offsets)


def _repair(path: str, ring_dir: str | None) -> Iterator[Finding]:
    """Store what waits, and rebuild the index if it does not agree with the texts."""
    with Store(path, ring_dir=ring_dir) as store:
        is_written = store.flush()
        stats = store.stats()
        values = {"records": stats.recovered, "damaged": stats.damaged}
        message = f"{counted(stats.recovered, 'record')} of dead processes stored"
        if stats.damaged:
            message += f", {counted(stats.damaged, 'place')} of their rings can't be read"
        if not is_written:
            message = stats.last_error or "the database did not take the records in time"
        yield Finding("recovery", "ok" if is_written else "wrong", message, values)
        if not _index_is_right(path):
            rebuild_index(path)
            yield Finding("repair", "ok", "the search index has been rebuilt", {"rebuilt": True})


def _index_is_right(path: str) -> bool:
    with Inspector(path) as inspector:
        try:
            counts = inspector.row_counts()
            return counts.records == counts.indexed and inspector.check_index() is None
        except StorageError:
            return False  # it is too damaged to be compared

"""What a peer is: something else that does the job of one of our operations."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from ax_monitor.bench.harness import Effort, call_times
from ax_monitor.bench.operations import Case
from ax_monitor.bench.table import OPERATIONS, Row, row_of_size, row_of_times

ROOT: Final = Path(__file__).parent.parent.parent
TIMEOUT_S: Final = 90  # filling a million rows included


class Size(NamedTuple):
    """An operation that takes room, not time: how many bytes."""

    name: str
    size: int


Cases = Generator[Case | Size, None, None]


@dataclass(frozen=True, slots=True)
class Peer:
    """Something else that does the same.

    Args:
        name: What it is called in the table.
        operations: Names of those that it does.
        cases: Yields them, under these names. Called with a folder of its own, and with how many
            log records, or samples, it is to hold to begin with.
        packages: What has to be installed, as `pip` calls it.
    """

    name: str
    operations: tuple[str, ...]
    cases: Callable[[Path, int], Cases]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a peer: its rows by operation, or why there are none."""

    peer: Peer
    rows: dict[str, Row] = field(default_factory=dict)
    note: str = ""


def measure(peer: Peer, folder: Path, records: int, effort: Effort) -> Outcome:
    """Measure a peer in a process of its own: some hang, and some configure the whole process."""
    for package in peer.packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return Outcome(peer, note="not installed")
    command = [sys.executable, "-m", "benchmarks.peers", peer.name, str(folder), str(records)]
    try:
        done = subprocess.run(
            [*command, json.dumps(asdict(effort))],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Outcome(peer, note=f"stopped after {TIMEOUT_S} s")
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        return Outcome(peer, note=f"failed: {last}")
    operations = {operation.name: operation for operation in OPERATIONS}
    rows = {name: Row(operations[name], *row) for name, *row in json.loads(done.stdout)}
    return Outcome(peer, rows)


def measure_here(peer: Peer, folder: Path, records: int, effort: Effort) -> list[Any]:
    """The other end of it, in that process: what JSON can hold of each row."""
    operations = {operation.name: operation for operation in OPERATIONS}
    found = []
    for case in peer.cases(folder, records):
        operation = operations[case.name]
        if isinstance(case, Size):
            row = row_of_size(operation, case.size)
        else:
            taken_ns = call_times(case.call, effort, before=case.before, per_ms=case.per_ms)
            row = row_of_times(operation, taken_ns)
        found.append([case.name, row.calls, row.percentiles, row.size])
    return found

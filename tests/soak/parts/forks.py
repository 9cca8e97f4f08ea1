"""Forks while eight threads log; every child records, flushes and ends.

A child has two seconds. On a machine that does other things as well it may take longer without
hanging, as it waits for the disk and for its turn: those that do are counted.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.faults import harness
from tests.soak.report import Outcome

THREADS = 8
FORKS_A_FILE = 100
GOOD_S = 2.0
HANGS_S = 15


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """`count` forks; fewer if time is over."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    forks = records = 0
    durations: list[float] = []
    while forks < count and time.monotonic() < deadline and not outcome.problems:
        now = min(FORKS_A_FILE, count - forks)
        try:
            records += _storm(str(folder / f"{forks}.db"), now, durations, outcome)
        except AssertionError as error:  # a child hung, or ended otherwise than it should
            outcome.problems.append(str(error))
        forks += now
    outcome.figures = {
        "forks": forks,
        "records": records,
        "slower than 2 s": sum(duration > GOOD_S for duration in durations),
        "s the slowest": max(durations, default=0.0),
        "hung": len(outcome.problems),
    }
    outcome.expect(forks >= count, f"{forks} of {count} forks in time")
    return outcome


def _storm(db: str, forks: int, durations: list[float], outcome: Outcome) -> int:
    child = harness.run("fork_storm", db, forks, THREADS, HANGS_S, limit_s=60 + forks * 2)
    durations += json.loads(child.said[-1])
    acked = child.acked
    harness.recover(db)
    stored = harness.stored_messages(db)
    outcome.require(len(acked) == forks, f"{forks - len(acked)} of {forks} children said nothing")
    outcome.require(set(acked) <= set(stored), "records of children are lost")
    outcome.require(len(stored) == len(set(stored)), "records are there twice")
    return len(stored)

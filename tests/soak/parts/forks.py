"""Forks while eight threads log; every child records, flushes and ends within two seconds."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults import harness
from tests.soak.report import Outcome

THREADS = 8
FORKS_A_FILE = 100


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """`count` forks; fewer if time is over."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    forks = records = 0
    while forks < count and time.monotonic() < deadline and not outcome.problems:
        now = min(FORKS_A_FILE, count - forks)
        try:
            records += _storm(str(folder / f"{forks}.db"), now, outcome)
        except AssertionError as error:  # a child hung, or ended otherwise than it should
            outcome.problems.append(str(error))
        forks += now
    outcome.figures = {"forks": forks, "records": records, "hung": len(outcome.problems)}
    outcome.require(forks >= count, f"{forks} of {count} forks in time")
    return outcome


def _storm(db: str, forks: int, outcome: Outcome) -> int:
    acked = harness.run("fork_storm", db, forks, THREADS, limit_s=60 + forks * 2).acked
    harness.recover(db)
    stored = harness.stored_messages(db)
    outcome.require(len(acked) == forks, f"{forks - len(acked)} of {forks} children said nothing")
    outcome.require(set(acked) <= set(stored), "records of children are lost")
    outcome.require(len(stored) == len(set(stored)), "records are there twice")
    return len(stored)

"""Interpreters that end in different ways while daemon threads log as fast as they can."""

from __future__ import annotations

import itertools
import signal
import time
from pathlib import Path

from tests.faults.harness import Child, recover, stored_messages
from tests.soak.report import Outcome

HOW = {
    "the end of the program": 0,
    "sys.exit": 3,
    "exception": 1,
    "os._exit": 3,
    "SIGTERM": -signal.SIGTERM,
}
CRASHES = ("Fatal Python error", "Segmentation fault", "ax_monitor/")


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """`count` exits; fewer if time is over."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    exits = records = 0
    for how in itertools.cycle(HOW):
        if exits >= count or time.monotonic() > deadline or outcome.problems:
            break
        db = str(folder / f"{exits}.db")
        try:
            records += _exit(db, how, outcome)
        except AssertionError as error:
            outcome.problems.append(f"{how}: {error}")
        exits += 1
        for path in folder.iterdir():
            path.unlink()
    outcome.figures = {"exits": exits, "records": records, "crashes": len(outcome.problems)}
    outcome.expect(exits >= count, f"{exits} of {count} exits in time")
    return outcome


def _exit(db: str, how: str, outcome: Outcome) -> int:
    with Child("flood_and_end", db, how, limit_s=40) as child:
        child.wait_for("ending")
        if how == "SIGTERM":
            child.process.send_signal(signal.SIGTERM)
        child.finish(HOW[how])
        complaints = child.stderr
    outcome.require(not any(text in complaints for text in CRASHES), f"{how}: {complaints}")
    recover(db)
    stored = stored_messages(db)
    outcome.require("mlast" in stored, f"{how}: what was accepted last is lost")
    outcome.require(len(stored) == len(set(stored)), f"{how}: records are there twice")
    return len(stored)

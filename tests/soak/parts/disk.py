"""The n-th write, sync or truncate fails, for every n, in every way."""

from __future__ import annotations

import itertools
import time
import traceback
from pathlib import Path

from tests.faults.disk_faults import HOW, Durability, Fault, fail_each
from tests.soak.report import Outcome

OPERATIONS = ("xTruncate", "xSync", "xWrite")  # the fewest first: what time is left is for writes
MODES: tuple[Durability, ...] = ("normal", "strict")
TIMES = (1, 4)
FULL_S = 12 * 60  # in which there is time for every n


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """Every n; a larger step where time would not suffice."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    step = max(1, round(FULL_S / seconds))
    hits = dict.fromkeys(OPERATIONS, 0)
    combinations = [
        Fault((operation,), how, durability, times)
        for operation, durability, times, how in itertools.product(OPERATIONS, MODES, TIMES, HOW)
        if operation == "xWrite" or how != "short write"
    ]
    for number, fault in enumerate(combinations):
        now = time.monotonic()
        share = now + max(0.0, deadline - now) / (len(combinations) - number)
        (operation,) = fault.operations
        try:
            # The first of a kind takes every n, the others take some.
            each = step * (1 if fault.times == 1 and fault.durability == "normal" else 4)
            hits[operation] += fail_each(
                folder, fault, step=each if operation == "xWrite" else 1, until_s=2 * share - now
            )
        except Exception:
            outcome.problems.append(f"{fault}\n{traceback.format_exc()}")
    for operation, found in hits.items():
        outcome.figures[f"runs with a failing {operation}"] = found
        outcome.require(found > 0, f"no {operation} failed")
    outcome.figures["mismatches"] = len(outcome.problems)
    return outcome

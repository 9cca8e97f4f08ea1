"""Power cuts, half of them in each durability mode."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.faults.power_cuts import Durability, cut_many
from tests.soak.report import Outcome

MODES: tuple[Durability, ...] = ("normal", "strict")


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """`count` cuts; fewer if time is over."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    total: Counter[str] = Counter()
    by_mode: dict[str, Counter[str]] = {}
    for number, mode in enumerate(MODES):
        share = time.monotonic() + (deadline - time.monotonic()) / (len(MODES) - number)
        try:
            found = cut_many(folder, mode, count // 2, random.getrandbits(32), until_s=share)
        except AssertionError:
            outcome.problems.append(traceback.format_exc())
            continue
        by_mode[mode] = found
        total += found
        outcome.expect(
            found["cuts"] >= count // 2, f"{found['cuts']} of {count // 2} {mode} cuts in time"
        )
    outcome.figures = {
        **{f"cuts in {mode} mode": found["cuts"] for mode, found in by_mode.items()},
        "of them within a sync": total["during sync"],
        "records at the cuts": total["made"],
        "recovered": total["there"],
        "flushed but lost, in normal mode within a second": by_mode.get("normal", Counter())[
            "lost_in_window"
        ],
        "flushed but lost in strict mode": by_mode.get("strict", Counter())["lost_in_window"],
        "cuts that broke a promise": len(outcome.problems),
    }
    return outcome

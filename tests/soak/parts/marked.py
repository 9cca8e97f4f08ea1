"""The tests of the suite that are marked `soak`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.soak.report import Outcome


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """All of them, if time suffices."""
    outcome = Outcome()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "soak", "-x", f"--basetemp={folder}/t"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=seconds * 2)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        outcome.problems.append(f"not in {seconds * 2:.0f} s:\n{said[-2000:]}")
    if process.returncode and not outcome.problems:
        outcome.problems.append(said[-4000:])
    passed = re.search(r"(\d+) passed", said)
    outcome.figures = {"tests passed": int(passed[1]) if passed else 0}
    outcome.require(passed is not None, "no test has passed")
    return outcome

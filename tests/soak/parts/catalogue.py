"""The tests of the suite that belong to a row of the fault catalogue, and those marked `soak`."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.report import Outcome

TESTS = Path(__file__).parents[2]
_ROWS = re.compile(r"test_((?:[a-z]\d+_)+)")
LIMIT_S = 600  # of a test; some have limits of their own
_ELSEWHERE = ("docs", "soak")  # a newcomer's path through the documents says nothing of faults


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """All of them, one after the other; what is not done in twice the time is missing."""
    outcome, seen = Outcome(), _Seen()
    timer = threading.Timer(seconds * 2, seen.stop)
    timer.daemon = True
    timer.start()
    arguments = [
        "-q",
        "-n0",
        "--tb=short",
        f"--timeout={LIMIT_S}",
        f"--basetemp={folder / 'tests'}",
        str(TESTS),
    ]
    arguments += [f"--ignore={TESTS / name}" for name in _ELSEWHERE]
    with contextlib.redirect_stdout(sys.stderr):  # stdout has the outcome and nothing else
        pytest.main(arguments, plugins=[seen])
    outcome.figures = {"tests passed": seen.passed}
    outcome.rows = {
        row: f"{passed} of {passed + seen.failed[row]} tests passed"
        for row, passed in ((row, seen.by_row[row]) for row in sorted(seen.by_row | seen.failed))
    }
    outcome.problems = seen.problems
    outcome.require(seen.passed > 0, "no test has passed")
    outcome.expect(not seen.stopped, f"not in {seconds * 2:.0f} s")
    return outcome


class _Seen:
    """A plugin of pytest: picks the tests, and notes what becomes of them."""

    def __init__(self) -> None:
        self.by_row: Counter[str] = Counter()  # passed
        self.failed: Counter[str] = Counter()
        self.passed = 0
        self.problems: list[str] = []
        self.stopped = False
        self._session: pytest.Session | None = None

    def stop(self) -> None:
        self.stopped = True
        if self._session is not None:
            self._session.shouldstop = "time is over"

    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> None:
        self._session = session
        items[:] = [
            item for item in items if _ROWS.match(item.name) or item.get_closest_marker("soak")
        ]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or (report.passed and report.when != "call"):
            return
        found = _ROWS.match(report.nodeid.rpartition("::")[2])
        rows = found[1].upper().strip("_").split("_") if found else []
        if report.passed:
            self.passed += 1
            self.by_row.update(rows)
        else:
            self.failed.update(rows)
            self.problems.append(f"{report.nodeid}\n{report.longreprtext[-3000:]}")

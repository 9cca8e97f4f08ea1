"""Write docs/reliability.md: every fault, what is promised, which tests prove it. `make docs`.

The faults and promises are in faults.toml, the tests are found by their names, the figures are
those of the last long run, reliability-report.md.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
REPORT = HERE / "reliability-report.md"
_TEST = re.compile(r"def test_((?:[a-z]\d+_)+)(\w+)")

HEADER = """\
# Reliability

What can go wrong where ax-monitor runs, what it promises then, and the tests that prove it. A test
carries the id of its fault in its name: `pytest -k test_d1_` runs those of D1. All of them run with
`make test`, except those marked `soak`. The last column is what the last long run has seen: how
many of the row's tests passed, and, where a number of kills, cuts or forks counts, the figures of
that part. `make soak` makes that run (an hour; `make soak-short`: five minutes, without the tests)
and writes its report to [reliability-report.md](reliability-report.md).

This page is made by `make docs`.
"""


def tests_by_row() -> dict[str, list[tuple[str, str]]]:
    """The tests of each row: file and name."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for ids, rest in _TEST.findall(path.read_text(encoding="utf-8")):
            for row in ids.strip("_").split("_"):
                name = f"test_{ids}{rest}"
                found[row.upper()].append((path.relative_to(TESTS).as_posix(), name))
    return dict(found)


def groups() -> list[dict[str, Any]]:
    """The faults, in groups."""
    described = tomllib.loads((HERE / "faults.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = described["group"]
    return found


def last_run() -> tuple[dict[str, str], dict[str, str]]:
    """What the last long run says: of its parts, figures and verdict; of rows, their tests."""
    if not REPORT.exists():
        return {}, {}
    lines = REPORT.read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    parts = {row[0]: f"{row[4]}: {row[2]}" for row in cells if len(row) == 5}
    return parts, {row[0]: row[1] for row in cells if len(row) == 2}


def page() -> str:
    """The page."""
    tests = tests_by_row()
    figures, verdicts = last_run()
    lines = [HEADER]
    for group in groups():
        lines += [f"## {group['title']}", ""]
        lines += ["| | what goes wrong | what is promised | tests | last long run |"]
        lines += ["|---|---|---|---|---|"]
        for row in group["rows"]:
            names: defaultdict[str, list[str]] = defaultdict(list)
            for path, name in tests.get(row["id"], []):
                names[path].append(f"`{name}`")
            shown = "<br>".join(
                f"[{path}](../tests/{path}): {', '.join(found)}" for path, found in names.items()
            )
            seen = verdicts.get(row["id"], "not run yet")
            if (part := row.get("part")) is not None:
                seen += f"; {part}: " + figures.get(part, "not run yet")
            lines.append(f"| {row['id']} | {row['fault']} | {row['promise']} | {shown} | {seen} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    (HERE / "reliability.md").write_text(page(), encoding="utf-8")

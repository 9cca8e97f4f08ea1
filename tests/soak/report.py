"""What a soak run found, and the table of it."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ax_monitor.storage.connection import sqlite_versions


@dataclass(slots=True)
class Outcome:
    """What one part did.

    Args:
        figures: What was counted and measured.
        problems: What is wrong; empty if nothing is.
        missing: What there was no time for; in a full run that is a problem, too.
        seconds: How long it took.
        rows: Of rows of the fault catalogue: how many of their tests passed.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0
    rows: dict[str, str] = field(default_factory=dict)

    def require(self, fine: bool, problem: str) -> None:
        """Note a problem unless all is fine."""
        if not fine:
            self.problems.append(problem)

    def expect(self, enough: bool, missing: str) -> None:
        """Note what there was no time for, unless there was."""
        if not enough:
            self.missing.append(missing)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def keep(path: Path, outcomes: dict[str, tuple[str, Outcome]], command: str) -> dict[str, Any]:
    """Put what a run found into the file of what is known of each part, which is returned.

    A run of some parts replaces what is known of those.
    """
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    run = {
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{platform.system()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, {sqlite_versions()}",
    }
    for name, (what, outcome) in outcomes.items():
        known[name] = {"what": what, "run": run, **outcome.to_dict()}
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    return known


def as_table(known: dict[str, Any]) -> str:
    """The report in Markdown: by part, what it does and its outcome."""
    runs = sorted({tuple(part["run"].values()) for part in known.values()}, key=lambda run: run[1])
    lines = [
        "# Reliability: the last long run",
        "",
        *(f"`{command}` on {date}: {machine}.  " for command, date, machine in runs),
        "What the parts prove is in [reliability.md](reliability.md).",
        "",
        "| part | what was done | figures | time | verdict |",
        "|---|---|---|---|---|",
    ]
    for name, part in known.items():
        figures = "; ".join(f"{_number(value)} {key}" for key, value in part["figures"].items())
        verdict = "**failed**" if part["problems"] else "passed"
        if part["missing"] and not part["problems"]:
            verdict += " (" + "; ".join(part["missing"]) + ")"
        lines.append(
            f"| {name} | {part['what']} | {figures} | {part['seconds']:.0f} s | {verdict} |"
        )
    rows = [row for part in known.values() for row in part["rows"].items()]
    if rows:
        lines += ["", "## Rows of the fault catalogue", "", "| row | tests |", "|---|---|"]
        lines += [f"| {row} | {seen} |" for row, seen in rows]
    failed = [(name, problem) for name, part in known.items() for problem in part["problems"]]
    if failed:
        lines += ["", "## What failed", ""]
        for name, problem in failed:
            lines += [f"{name}:", "", "```", problem.strip()[-4000:], "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

"""What a soak run found, and the table of it."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass, field
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


def as_table(outcomes: dict[str, tuple[str, Outcome]], command: str) -> str:
    """The report in Markdown: by part, what it does and its outcome."""
    cpus = os.cpu_count()
    lines = [
        "# Reliability: the last long run",
        "",
        f"`{command}` on {time.strftime('%Y-%m-%d', time.gmtime())}: {platform.system()}, "
        f"{cpus} CPUs, Python {platform.python_version()}, {sqlite_versions()}. What the parts "
        "prove is in [reliability.md](reliability.md).",
        "",
        "| part | what was done | figures | time | verdict |",
        "|---|---|---|---|---|",
    ]
    for name, (what, outcome) in outcomes.items():
        figures = "; ".join(f"{_number(value)} {key}" for key, value in outcome.figures.items())
        verdict = "**failed**" if outcome.problems else "passed"
        if outcome.missing and not outcome.problems:
            verdict += " (" + "; ".join(outcome.missing) + ")"
        lines.append(f"| {name} | {what} | {figures} | {outcome.seconds:.0f} s | {verdict} |")
    rows = [row for _, outcome in outcomes.values() for row in outcome.rows.items()]
    if rows:
        lines += ["", "## Rows of the fault catalogue", "", "| row | tests |", "|---|---|"]
        lines += [f"| {row} | {seen} |" for row, seen in rows]
    failed = [(name, problem) for name, (_, o) in outcomes.items() for problem in o.problems]
    if failed:
        lines += ["", "## What failed", ""]
        for name, problem in failed:
            lines += [f"{name}:", "", "```", problem.strip()[-4000:], "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

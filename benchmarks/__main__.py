"""`python -m benchmarks`: measure everything and write the tables of docs/performance.md.

python -m benchmarks                 all of it: less than a quarter of an hour
python -m benchmarks --check         the same, but nothing is written; exits with 1 if a ratio misses its goal
python -m benchmarks --quick         smaller databases; nothing is written
python -m benchmarks log_call drain  these parts only; nothing is written but curves, in build/performance
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ax_monitor.bench.harness import machine
from benchmarks import (
    alerting,
    drain,
    growth,
    health,
    log_call,
    memory,
    metrics,
    operations,
    retention,
    search,
    startup,
    tracing,
    under_load,
    workflows,
)
from benchmarks.figures import publish
from benchmarks.harness import Result, goals_table, missed, say

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
OPERATIONS = "operations"  # a table of its own; all other parts give lines of the table of goals
PARTS: dict[str, Callable[[], list[Result]]] = {
    "log_call": log_call.run,
    "drain": drain.run,
    "search": search.run,
    "startup": startup.run,
    "tracing": tracing.run,
    "metrics": metrics.run,
    "alerting": alerting.run,
    "health": health.run,
    "retention": retention.run,
    "workflows": workflows.run,
    "under_load": under_load.run,
    "growth": growth.run,
    "memory": memory.run,
}
QUICK: dict[str, Callable[[], list[Result]]] = {
    "search": partial(search.run, (100_000, 1_000_000)),
    "retention": partial(retention.run, 100_000),
    "growth": partial(growth.run, growth.ROWS[:-1]),
}


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _measure(
    parts: list[str], quick: bool
) -> tuple[list[operations.Comparison], list[Result], dict[str, float]]:
    """The rows of both tables, and how many seconds each part took."""
    compared: list[operations.Comparison] = []
    results: list[Result] = []
    seconds: dict[str, float] = {}
    for part in parts:
        say(f"-- {part}")
        begun = time.perf_counter()
        if part == OPERATIONS:
            compared = operations.run(100_000) if quick else operations.run()
        else:
            results += (QUICK if quick else {}).get(part, PARTS[part])()
        seconds[part] = round(time.perf_counter() - begun, 1)
        say(f"-- {part}: {seconds[part]} s")
    return compared, results, seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    everything = [OPERATIONS, *PARTS]
    parser.add_argument("parts", nargs="*", choices=[[], *everything], help="default: all")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a ratio misses its goal"
    )
    parser.add_argument("--quick", action="store_true", help="100,000 records instead of more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    arguments = parser.parse_args()
    compared, results, seconds = _measure(arguments.parts or everything, arguments.quick)

    about = {
        "machine": machine(),
        "commit": _commit(),
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
    }
    lines = [*machine(), f"commit {about['commit']}, {about['date']}"]
    tables = [f"### Operations\n\n{operations.table(compared)}"] if compared else []
    tables += [f"### Goals\n\n{goals_table(results)}"] if results else []
    text = "\n\n".join(["\n".join(f"- {line}" for line in lines), *tables])
    print(text)
    took = ", ".join(f"{part} {taken:.0f}" for part, taken in seconds.items())
    say(f"seconds: {took}; {sum(seconds.values()):.0f} in all")
    if arguments.json:
        figures = {
            "operations": [each.to_dict() for each in compared],
            "goals": [result.to_dict() for result in results],
        }
        arguments.json.write_text(json.dumps({**about, "seconds": seconds, **figures}, indent=1))
    if arguments.check:
        for result in missed(results):
            say(f"missed: {result.goal} {result.what}: {result.measured}, target {result.target}")
        return 1 if missed(results) else 0
    if not arguments.parts and not arguments.quick:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        after = rest.split(END)[1]
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
        publish(DOCUMENT)
        say(f"written to {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks`: measure everything and write the table of docs/performance.md.

python -m benchmarks                 all of it: about twelve minutes
python -m benchmarks --quick         without the 10M records, and less retention: about seven
python -m benchmarks log_call drain  these parts only; nothing is written
"""

from __future__ import annotations

import argparse
import datetime as dt
import subprocess
from pathlib import Path

from ax_monitor.bench.harness import machine
from benchmarks import (
    alerting,
    drain,
    health,
    log_call,
    metrics,
    retention,
    search,
    startup,
    tracing,
    workflows,
)
from benchmarks.harness import Result, say

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
PARTS = {
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
}


def table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    head = "| goal | what | measured | target | |\n|---|---|---|---|---|\n"
    return head + "\n".join(result.row() for result in results)


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which parts (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="leave out the 10M records, retention of 100k"
    )
    arguments = parser.parse_args()
    results: list[Result] = []
    for name in arguments.parts or PARTS:
        say(f"-- {name}")
        if name == "search" and arguments.quick:
            results += search.run((100_000, 1_000_000))
        elif name == "retention" and arguments.quick:
            results += retention.run(100_000)
        else:
            results += PARTS[name]()
    lines = "\n".join(f"- {line}" for line in machine())
    text = f"{lines}\n- commit {_commit()}, {dt.datetime.now(dt.UTC):%Y-%m-%d}\n\n{table(results)}"
    print(text)
    if not arguments.parts and not arguments.quick:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        after = rest.split(END)[1]
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
        say(f"written to {DOCUMENT}")


if __name__ == "__main__":
    main()

"""`python -m tests.soak`: the long run, part by part, each in a process and a time of its own.

First one part alone, then two at a time, on two cores. `make soak` writes
docs/reliability-report.md (and what it is made of, .json), `make soak-short` writes
build/reliability-report.md: the same with a twelfth of the time and of the counts, without the
suite's tests, which take as long as they take. `make soak ARGS="--only steady power"` renews what
the report says of these parts. The exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.soak.report import Outcome, as_table, keep

ROOT = Path(__file__).parents[2]
SHORT = 1 / 12
PARTS = "tests.soak.parts"


@dataclass(frozen=True, slots=True)
class Part:
    """A module of `tests.soak.parts` with `run(folder, count, seconds) -> Outcome`.

    Args:
        name: Of the module.
        what: It does, for the report.
        count: How much of it there has to be in a full run of an hour.
        minutes: It takes then, at most; the count may be reached earlier.
        short: Is it also part of the short form?
    """

    name: str
    what: str
    count: int
    minutes: float
    short: bool = True


_STEADY = Part(
    "steady",
    "20,000 records a second of all kinds, beside readers, retention and alert rules",
    20_000,
    30,
)
_LANES = (
    (
        Part(
            "catalogue",
            "the suite's tests of the fault catalogue, and those marked `soak`",
            0,
            20,
            short=False,
        ),
        Part(
            "disk",
            "the n-th write, sync or truncate fails: disk full, I/O error, short write",
            0,
            12,
        ),
    ),
    (
        Part(
            "kills",
            "SIGKILL while three processes record all kinds into one file, and while one recovers",
            1000,
            18,
        ),
        Part("power", "power cuts in both durability modes", 2000, 16),
        Part("exits", "interpreters that end while threads log", 500, 8),
        Part("forks", "forks beside 8 logging threads; each child has 2 s", 1000, 4),
    ),
)
# One after the other; the lanes of a stage side by side. The steady load is about keeping up, so it
# has the machine to itself.
STAGES = (((_STEADY,),), _LANES)


def main() -> int:
    """Run all parts, or one of them in this process."""
    options = _arguments().parse_args()
    if options.part:
        return _run_here(options.part, options.count, options.seconds)
    scale = SHORT if options.short else options.minutes / 60
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        for stage in STAGES:
            lanes = [
                threading.Thread(target=_run_lane, args=(lane, scale, Path(folder), outcomes))
                for lane in (_chosen(lane, options.only) for lane in stage)
            ]
            for thread in lanes:
                thread.start()
            for thread in lanes:
                thread.join()
    order = [part for stage in STAGES for lane in stage for part in lane]
    command = "make soak-short" if options.short else "make soak"
    if options.only:
        command += f' ARGS="--only {" ".join(options.only)}"'
    elif scale not in (1, SHORT):
        command = f"python -m tests.soak --minutes {options.minutes:g}"
    done = {part.name: (part.what, outcomes[part.name]) for part in order if part.name in outcomes}
    place = ROOT / ("docs" if scale == 1 else "build") / "reliability-report.json"
    place.parent.mkdir(exist_ok=True)
    if not options.only:
        place.unlink(missing_ok=True)
    table = as_table(keep(place, done, command))
    print(table)
    place.with_suffix(".md").write_text(table, encoding="utf-8")
    print(f"written to {place.with_suffix('.md').relative_to(ROOT)}")
    return 1 if any(outcome.problems for outcome in outcomes.values()) else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60, help="for all of it (default 60)")
    parser.add_argument("--short", action="store_true", help="five minutes, into build/")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PART", help="renew what the report says of these"
    )
    parser.add_argument("--part", help="only this one, in this process")
    parser.add_argument("--count", type=int, default=0, help="of the part")
    parser.add_argument("--seconds", type=float, default=60.0, help="for the part")
    return parser


def _chosen(lane: tuple[Part, ...], names: list[str]) -> tuple[Part, ...]:
    return tuple(part for part in lane if not names or part.name in names)


def _run_lane(
    lane: tuple[Part, ...], scale: float, folder: Path, outcomes: dict[str, Outcome]
) -> None:
    for part in lane:
        if scale == SHORT and not part.short:
            continue
        count = part.count if part.name == "steady" else int(part.count * scale)
        outcomes[part.name] = outcome = _run_apart(part, count, part.minutes * 60 * scale, folder)
        verdict = "FAILED" if outcome.problems else "passed"
        print(f"{part.name}: {verdict} in {outcome.seconds:.0f} s {outcome.figures}", flush=True)
        for problem in outcome.problems:
            print(problem, flush=True)


def _run_apart(part: Part, count: int, seconds: float, folder: Path) -> Outcome:
    """A process that hangs or dies is a failure, not the end of the run."""
    command = [sys.executable, "-m", "tests.soak", "--part", part.name]
    command += ["--count", str(count), "--seconds", str(seconds)]
    started = time.monotonic()
    log = folder / f"{part.name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=file,
        )
        try:
            answer, _ = process.communicate(timeout=seconds * 2 + 180)
        except subprocess.TimeoutExpired:
            process.kill()
            answer, _ = process.communicate()
    complaints = log.read_text(errors="replace")[-3000:]
    try:
        outcome = Outcome(**json.loads(answer.splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        outcome = Outcome(problems=[f"no answer, return code {process.returncode}\n{complaints}"])
    outcome.seconds = time.monotonic() - started
    if part.count == count:
        outcome.problems += outcome.missing
    return outcome


def _run_here(name: str, count: int, seconds: float) -> int:
    faulthandler.dump_traceback_later(seconds * 2 + 150, exit=True)
    part = importlib.import_module(f"{PARTS}.{name}")
    with tempfile.TemporaryDirectory(prefix=f"soak-{name}-") as folder:
        outcome: Outcome = part.run(Path(folder), count, seconds)
    print(json.dumps(outcome.to_dict()), flush=True)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make mutants`: break the library on purpose, one thing at a time, and require a red test.

Works on a copy of the tree. A mutant whose tests all pass has survived: no test would notice that
mistake, so one is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import KERNEL_MUTANTS, MUTANTS
from tests.mutants.mutant import Mutant, misfits, mutate

ROOT = Path(__file__).parents[2]
LIMIT_S = 600  # of the tests of one mutant; one of them that hangs has a limit of its own
UNBROKEN_S = 1800  # of all of them, without a mutant
BUILD_S = 900
COPIED = ("src", "ext", "tests", "examples", "docs", "pyproject.toml", "setup.py", "README.md")
PASSED, FAILED = 0, 1  # pytest's exit codes; others say that nothing was tested
CRASHES = (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT)  # of the kernels, or of SQLite


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: "red" as it should be, "SURVIVED", or what is wrong with it."""

    text: str
    seconds: float = 0.0
    test: str = ""  # the first that failed


def main() -> int:
    """Judge the mutants that are asked for; 1 if one of them is not red."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names, or rows (default: all)")
    parser.add_argument(
        "--kernels", action="store_true", help="those of the kernels (they compile)"
    )
    parser.add_argument("--trust", action="store_true", help="don't run the tests unbroken first")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in (KERNEL_MUTANTS if options.kernels else MUTANTS)
        if not options.names
        or any(name == mutant.row or name in mutant.name for name in options.names)
    ]
    if options.list:
        for mutant in chosen:
            print(f"{mutant.row:<4} {mutant.name}")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        tree.chmod(0o755)  # some tests start a process of another user, who imports from here
        _copy(tree)
        if not options.trust:
            tests = sorted({test for mutant in chosen for test in mutant.tests})
            verdict = _run(tree, tests, UNBROKEN_S)
            if verdict.text != "SURVIVED":
                print(f"without any mutant the tests are {verdict.text}: {verdict.test}")
                return 1
        return _judge_all(chosen, tree)


def _judge_all(chosen: list[Mutant], tree: Path) -> int:
    survivors = 0
    for mutant in chosen:
        verdict = _judge(mutant, tree)
        survivors += verdict.text != "red"
        print(
            f"{mutant.row:<4} {mutant.name:<58} {verdict.text:<9} {verdict.seconds:5.1f} s  "
            f"{verdict.test}",
            flush=True,
        )
    print(f"{len(chosen)} mutants, {survivors} of them not red")
    return 1 if survivors else 0


def _copy(tree: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.c")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=ignored)
        else:
            shutil.copy2(source, tree / name)


def _judge(mutant: Mutant, tree: Path) -> Verdict:
    if problems := misfits(mutant, tree):
        return Verdict("NO FIT", test="; ".join(problems))
    originals = mutate(mutant, tree)
    try:
        if mutant.kernels and not _build(mutant.kernels, tree):
            return Verdict("NO BUILD")
        return _run(tree, mutant.tests)
    finally:
        for path, text in originals.items():
            path.write_text(text, encoding="utf-8")
        for kernel in mutant.kernels:
            for library in (ROOT / "src/ax_monitor/_native").glob(f"{kernel}.*.so"):
                shutil.copy2(library, tree / "src/ax_monitor/_native" / library.name)


def _build(kernels: set[str], tree: Path) -> bool:
    """Build these kernels alone, in place."""
    for unchanged in (tree / "ext/ax_monitor/_native").glob("*.pyx"):
        if unchanged.stem not in kernels:
            unchanged.rename(unchanged.with_suffix(".kept"))
    try:
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
        done = subprocess.run(command, cwd=tree, timeout=BUILD_S, capture_output=True, check=False)
        return done.returncode == 0
    finally:
        for kept in (tree / "ext/ax_monitor/_native").glob("*.kept"):
            kept.rename(kept.with_suffix(".pyx"))


def _run(tree: Path, tests: Iterable[str], limit_s: int = LIMIT_S) -> Verdict:
    """Run tests in the tree until the first that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not soak", "--tb=no", *tests]
    path = os.pathsep.join((str(tree / "src"), str(tree)))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    begun = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=tree,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return Verdict("TOO LONG", time.monotonic() - begun)
    seconds = time.monotonic() - begun
    failed = [line.split()[1] for line in output.splitlines() if line.startswith("FAILED ")]
    if process.returncode == PASSED:
        return Verdict("SURVIVED", seconds)
    if process.returncode == FAILED or "Timeout" in output:
        return Verdict("red", seconds, failed[0] if failed else "(time limit of a test)")
    if process.returncode in CRASHES:
        return Verdict("red", seconds, f"(killed by {signal.Signals(-process.returncode).name})")
    return Verdict("BROKEN", seconds, output[-300:])


if __name__ == "__main__":
    sys.exit(main())

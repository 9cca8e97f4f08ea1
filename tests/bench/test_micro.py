"""The micro benchmarks of `make bench-micro` still run: each once, without being measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_micro_benchmark_runs(tmp_path: Path) -> None:
    """In a process of its own, as the suite's options are not theirs. Nothing is left out."""
    command = [
        *(sys.executable, "-m", "pytest", "benchmarks/kernels", "benchmarks/services", "-q"),
        *("--import-mode=prepend", "--benchmark-disable", f"--basetemp={tmp_path / 'micro'}"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout

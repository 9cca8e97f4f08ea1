"""A newcomer's path: a fresh clone, and the README top to bottom. It builds the kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import documents
from tests.docs.documents import Reader, agrees

ROOT = Path(__file__).parent.parent.parent
# The suite is what runs this; that `make test` builds what it needs and passes is shown by a part.
PART = "make test ARGS='tests/model tests/test_clock.py'"


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_readme_in_a_fresh_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make demo`, a part of `make test`, the three lines, every command; nothing else is set."""
    monkeypatch.setattr(documents, "TIMEOUT_S", 900.0)
    clone = tmp_path / "ax-monitor"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, timeout=60)
    # A home of its own; of this environment only where Python and the compiler are, if not usual
    python = os.path.join(sys.base_prefix, "bin")
    path = os.pathsep.join((python, "/usr/local/bin", "/usr/bin", "/bin"))
    environment = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    reader = Reader(clone, environment, instead={"make test": PART})
    reader.read(clone / "README.md")
    reader.close()
    done = subprocess.run(
        ["git", "status", "--short", "--untracked-files=no"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    )
    assert agrees("", done.stdout), "the path changes no file of the repository"

"""The list of mutants fits the code: what `make mutants` is to break is still there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import KERNEL_MUTANTS, MUTANTS
from tests.mutants.mutant import Mutant, misfits, mutate

ROOT = Path(__file__).parents[2]
ALL = (*MUTANTS, *KERNEL_MUTANTS)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_every_mutant_fits(mutant: Mutant, tmp_path: Path) -> None:
    """Each text that is replaced is there once, the result is Python, and its tests exist."""
    assert misfits(mutant, ROOT) == []
    assert re.fullmatch("[DCOSBTXZU][0-9]+", mutant.row)
    for edit in mutant.edits:
        copy = tmp_path / edit.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / edit.path).read_text(encoding="utf-8"), encoding="utf-8")
    for path in mutate(mutant, tmp_path):
        if path.suffix == ".py":
            ast.parse(path.read_text(encoding="utf-8"))
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists(), test
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), test


def test_names_are_unique() -> None:
    """A mutant is chosen by its name."""
    assert len({mutant.name for mutant in ALL}) == len(ALL)

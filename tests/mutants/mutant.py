"""What a mutant is, and how it is put into a tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = "src/ax_monitor"
KERNELS = "ext/ax_monitor/_native"


@dataclass(frozen=True)
class Edit:
    """A text in a file that is replaced by another one. It is there exactly once."""

    file: str  # below SOURCE, or below KERNELS
    before: str
    after: str

    @property
    def path(self) -> str:
        """The file, from the root of the tree."""
        return f"{KERNELS if self.file.endswith('.pyx') else SOURCE}/{self.file}"


@dataclass(frozen=True)
class Mutant:
    """The library with one thing broken on purpose.

    Args:
        name: What is broken.
        row: The row of the fault catalogue that this breaks.
        edits: How.
        tests: At least one of them has to fail.
    """

    name: str
    row: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    @property
    def kernels(self) -> set[str]:
        """The kernels that have to be built anew."""
        return {edit.file.removesuffix(".pyx") for edit in self.edits if edit.file.endswith(".pyx")}


def misfits(mutant: Mutant, root: Path) -> list[str]:
    """What keeps a mutant from being made of a tree."""
    found = []
    for edit in mutant.edits:
        text = (root / edit.path).read_text(encoding="utf-8")
        if text.count(edit.before) != 1:
            found.append(f"{edit.path} has {text.count(edit.before)} times {edit.before!r}")
        if edit.before == edit.after:
            found.append(f"{edit.path}: nothing is changed")
    return found


def mutate(mutant: Mutant, root: Path) -> dict[Path, str]:
    """Change the files; what was in them before."""
    originals: dict[Path, str] = {}
    for edit in mutant.edits:
        path = root / edit.path
        text = path.read_text(encoding="utf-8")
        originals.setdefault(path, text)
        path.write_text(text.replace(edit.before, edit.after), encoding="utf-8")
    return originals

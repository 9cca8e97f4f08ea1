"""docs/reference is what the code says, and all of it."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import ax_monitor

DOCS = Path(__file__).parent.parent.parent / "docs"
REFERENCE = DOCS / "reference"
STALE = "does not say what the code says: run `make docs`"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_that_of_the_docstrings() -> None:
    """Each generated page is committed as it would be generated now, and no other one is there."""
    made = load("make_reference").make()
    for name, text in made.items():
        assert (REFERENCE / name).read_text(encoding="utf-8") == text, f"{name} {STALE}"
    written_by_hand = {"json.md"}
    there = {path.name for path in REFERENCE.iterdir()} - written_by_hand
    assert there == {*made, "cli.md"}


def test_it_has_every_public_name_once() -> None:
    pages = load("make_reference").PAGES
    names = list(itertools.chain.from_iterable(page.names for page in pages))
    assert sorted(names) == ax_monitor.__all__
    for page in pages:
        text = (REFERENCE / f"{page.name}.md").read_text(encoding="utf-8")
        assert [name for name in page.names if f"\n## {name}\n" not in text] == []


def test_every_command_is_described() -> None:
    """The page of the command line is that of the commands as they are now."""
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert text == load("make_cli").make(), f"cli.md {STALE}"
    assert "\n### ax monitor alerts create\n" in text
    assert "| `--cooldown TIME` | So long after an alert there is no other. [default: 5m] |" in text

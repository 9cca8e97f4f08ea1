"""Every command and every code block of the documents does what it says."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.docs.documents import ILLUSTRATIONS, Reader, agrees, blocks

ROOT = Path(__file__).parent.parent.parent
# Signatures, and the examples of docstrings, which test_surface runs; json.md is written by hand.
GENERATED = set((ROOT / "docs" / "reference").glob("*.md")) - {ROOT / "docs/reference/json.md"}
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What is not run here, and why.
LEFT_OUT = {
    "make demo": "the kernels are built for minutes: test_newcomer.py does it",
    "make test": "these are the tests: test_newcomer.py runs some of them so",
    "make help": "this and the others are for developers, and need the tools of the extra `dev`",
    "make lint": "see above",
    "make bench": "it measures for minutes",
    "make bench-check": "see above",
    "make bench-micro": "see above; test_micro.py runs each of its benchmarks once",
    "make soak": "it takes an hour",
    "make sanitize": "this and the next three build and run for minutes",
    "make tsan": "see above",
    "make fuzz": "see above",
    "make mutants": "see above",
    "ax monitor bench": "it takes a minute: tests/cli/test_bench.py runs it",
    "ax monitor bench --quick": "see above",
    ". .venv/bin/activate": "the environment is that of the tests; test_newcomer.py does it",
}


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def environment() -> dict[str, str]:
    """Nothing but a PATH: the environment under test, and the system's programs."""
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"))
    return {"PATH": path, "LANG": "C.UTF-8", "TZ": "UTC"}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path, environment(), LEFT_OUT)
    yield made
    made.close()


TO_RUN = [
    document
    for document in DOCUMENTS
    if document not in GENERATED and any(b.language not in ILLUSTRATIONS for b in blocks(document))
]


@pytest.mark.parametrize("document", TO_RUN, ids=name)
def test_a_document_does_what_it_says(reader: Reader, document: Path) -> None:
    """All its blocks, top to bottom, in an empty folder, without any variable of ours set."""
    reader.read(document)


def test_nothing_is_left_out_without_need() -> None:
    """Each exception is still a command of some document."""
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [beginning for beginning in LEFT_OUT if f"$ {beginning}" not in text] == []


def test_the_reader_notices_what_is_not_true(reader: Reader, tmp_path: Path) -> None:
    """A wrong output, a failing command, an exception, a block in a language that nobody runs."""

    def read(text: str) -> None:
        document = tmp_path / "document.md"
        document.write_text(text, encoding="utf-8")
        reader.read(document)

    read("```python\nx = 1\nprint(x)\n```\n```text\n1\n```\n")
    read("```console\n$ echo one two  # said\none…\n$ cd /; export A=3\n$ pwd; echo $A\n/ 3\n```\n")
    read("```console\n$ echo begun; sleep 50\nbegun\n^C\n```\n")
    for wrong, message in {
        "```python\nprint(x + 1)\n```\n```text\n1\n```\n": "prints\n2",
        "```console\n$ echo 1\n2\n```\n": "`echo 1` shows\n1",
        "```console\n$ true\n$ false\n```\n": r"md:3: `false` exits with 1",
        "\n\n```python\n\n1 / 0\n```\n": r'md", line 5(?s:.*)ZeroDivisionError',
        "```ruby\nputs 1\n```\n": "ruby is not run",
    }.items():
        with pytest.raises(AssertionError, match=message):
            read(wrong)
    assert not agrees("a … c", "a b d")


def slug(heading: str) -> str:
    """The anchor that a forge gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    tokens = MarkdownIt().parse(document.read_text(encoding="utf-8"))
    headings = [b.children or [] for a, b in pairwise(tokens) if a.type == "heading_open"]
    return {slug("".join(part.content for part in heading)) for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link and picture is a file here, and each anchor a heading of it."""
    tokens = MarkdownIt().enable("table").parse(document.read_text(encoding="utf-8"))
    parts = [part for token in tokens for part in token.children or []]
    targets = [str(part.attrGet("href") or part.attrGet("src") or "") for part in parts]
    for target in filter(None, targets):
        if re.match("[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (document.parent / path).resolve() if path else document
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target

"""docs/reliability.md: every fault has a test, and the page is what the tests say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_reliability", DOCS / "make_reliability.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_fault_has_a_test(maker: Any) -> None:
    """And every test that carries an id is of a fault that is described."""
    described = {row["id"] for group in maker.groups() for row in group["rows"]}
    tested = set(maker.tests_by_row())
    assert described - tested == set()
    assert tested - described == set()


def test_the_page_is_up_to_date(maker: Any) -> None:
    """`make docs` would change nothing."""
    assert (DOCS / "reliability.md").read_text(encoding="utf-8") == maker.page()


def test_figures_are_those_of_the_last_long_run(
    maker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come from the table of the runner, by part; what is run again replaces its own."""
    from tests.soak.report import Outcome, as_table, keep

    outcome = Outcome({"kills": 1000, "lost": 0}, rows={"D1": "3 of 3 tests passed"})
    report = tmp_path / "report.md"
    book = tmp_path / "report.json"
    keep(book, {"kills": ("SIGKILL", Outcome()), "forks": ("fork", Outcome())}, "make soak")
    known = keep(book, {"kills": ("SIGKILL", outcome)}, "make soak")
    report.write_text(as_table(known), encoding="utf-8")
    monkeypatch.setattr(maker, "REPORT", report)
    parts, rows = maker.last_run()
    assert parts["kills"] == "passed: 1,000 kills; 0 lost"
    assert parts["forks"] == "passed: "
    assert rows["D1"] == "3 of 3 tests passed"

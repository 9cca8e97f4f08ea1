"""What the curves of the benchmarks say: exponents, and tails; and how a document shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import figures
from benchmarks.figures import exponent, publish, tail_curve

SIZES = st.lists(st.integers(1, 10**7), min_size=2, max_size=8, unique=True)


@given(sizes=SIZES, power=st.floats(-2, 2), factor=st.floats(1e-3, 1e3))
def test_the_exponent_of_a_power_law_is_found(
    sizes: list[int], power: float, factor: float
) -> None:
    """However large the cost, and whichever sizes were measured."""
    costs = [factor * size**power for size in sizes]
    assert exponent(sizes, costs) == pytest.approx(power, abs=1e-6)


@given(values=st.lists(st.integers(0, 2**40), min_size=1, max_size=2000))
def test_one_value_in_x_is_at_least_y(values: list[int]) -> None:
    """Each point, by its definition; a tail begins with all values and ends with the largest."""
    values.sort()
    x, y = tail_curve(values)
    for one_in, least in zip(x, y, strict=True):
        beyond = round(len(values) / one_in)
        assert sum(value >= least for value in values) >= beyond
        assert sum(value > least for value in values) < beyond
    assert (x[0], y[0]) == (1, values[0])
    assert (x[-1], y[-1]) == (len(values), values[-1])
    assert x == sorted(x)


def test_a_document_shows_what_was_drawn_and_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below its marker, once however often it is written anew."""
    monkeypatch.setattr(figures, "DRAWN", tmp_path)
    (tmp_path / "a-curve.svg").write_text("<svg/>")
    document = tmp_path / "document.md"
    markers = "# Curves\n\n<!-- figure a-curve: A title -->\n\n<!-- figure missing: Another -->\n"
    document.write_text(markers)
    for _ in range(2):
        publish(document)
        assert document.read_text() == markers.replace(
            "title -->", "title -->\n![A title](document/a-curve.svg)"
        )
        assert (tmp_path / "document" / "a-curve.svg").read_text() == "<svg/>"

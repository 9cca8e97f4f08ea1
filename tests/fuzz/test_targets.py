"""The fuzzers' targets with mutations of their seeds: a little of `make fuzz` in every run."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import NAMES, mutated
from tests.fuzz.targets import TARGETS

SEEDS = {name: functools.cache(lambda n=name: list(TARGETS[n].seeds())) for name in NAMES}
FOUND = sorted((Path(__file__).parent / "found").glob("*/*"))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_read(name: str) -> None:
    """What a target begins with does no harm, nor does every beginning of it."""
    assert list(TARGETS) == list(NAMES)
    for seed in SEEDS[name]():
        for size in {0, 1, 7, 8, len(seed) // 2, len(seed)}:
            TARGETS[name].run(seed[:size])


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
@settings(max_examples=50)
def test_mutations_do_no_harm(name: str, data: st.DataObject) -> None:
    """Seeds that were changed here and there."""
    TARGETS[name].run(mutated(data.draw(st.randoms(use_true_random=False)), SEEDS[name]()))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_mended(path: Path) -> None:
    """Inputs that once made a target fail."""
    TARGETS[path.parent.name].run(path.read_bytes())


def test_mutations_are_many() -> None:
    """The blind fuzzer makes inputs of its own."""
    rng = random.Random(1)
    assert len({mutated(rng, [b"abc", b"defg"]) for _ in range(100)}) > 90

"""Adding to a sketch, merging and reading it, against numpy on the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ax_monitor._native import QuantileSketch
from benchmarks.conftest import Against
from benchmarks.reference import axref

MANY = 100_000
SHARES = (0.5, 0.95, 0.99)
BINS = np.zeros(2048 * 64, np.int64)  # of a histogram by hand with the same keys for any double

VALUES = {
    "one octave": lambda random: random.uniform(1, 2, MANY),
    "latencies": lambda random: random.lognormal(3, 0.6, MANY),
    "any size": lambda random: np.exp(random.uniform(-300, 300, MANY)),
}


@pytest.fixture(params=list(VALUES))
def values(request: Any) -> Any:
    return VALUES[request.param](np.random.default_rng(1))


@pytest.fixture
def sketch(values: Any) -> QuantileSketch:
    made = QuantileSketch()
    made.add_many(values)
    return made


def test_add(against: Against) -> None:
    against("empty call", axref.Empty().record, QuantileSketch().add, (12.5,))


def test_add_100000(against: Against, values: Any) -> None:
    against("numpy.sort", np.sort, QuantileSketch().add_many, (values,))


def test_quantiles(against: Against, values: Any, sketch: QuantileSketch) -> None:
    """Of values that are not sorted."""
    found = against(
        "numpy.quantile", lambda: np.quantile(values, SHARES), lambda: sketch.quantiles(SHARES)
    )
    assert len(found) == len(SHARES)


def test_merge(against: Against, sketch: QuantileSketch) -> None:
    """With a histogram that has a place for every key."""
    bins = BINS.copy()
    against("numpy adds all bins", lambda _: bins.__iadd__(BINS), QuantileSketch().merge, (sketch,))


def test_merge_bytes(against: Against, sketch: QuantileSketch) -> None:
    bins, stored, encoded = BINS.copy(), BINS.tobytes(), sketch.to_bytes()
    merge = QuantileSketch().merge_bytes
    against(
        "numpy adds all bins",
        lambda: bins.__iadd__(np.frombuffer(stored, np.int64)),
        lambda: merge(encoded),
    )


def test_to_bytes(against: Against, sketch: QuantileSketch) -> None:
    against("numpy.tobytes of all bins", BINS.tobytes, sketch.to_bytes)

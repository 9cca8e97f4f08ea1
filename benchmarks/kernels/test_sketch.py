"""Adding to a sketch, merging and reading it, against numpy on the same values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ax_monitor._native import QuantileSketch

MANY = 100_000

VALUES = {
    "one octave": lambda rng: rng.uniform(1, 2, MANY),
    "latencies": lambda rng: rng.lognormal(3, 0.6, MANY),
    "any size": lambda rng: np.exp(rng.uniform(-300, 300, MANY)),
}


def empty(value: float) -> None:
    """The price of a call."""


@pytest.fixture(params=VALUES.values(), ids=VALUES)
def values(request: Any) -> Any:
    return request.param(np.random.default_rng(1))


@pytest.fixture
def sketch(values: Any) -> QuantileSketch:
    made = QuantileSketch()
    made.add_many(values)
    return made


@pytest.mark.parametrize("add", [QuantileSketch().add, empty], ids=["sketch", "empty"])
def test_add(benchmark: Any, add: Callable[[float], None]) -> None:
    benchmark(add, 12.5)


def test_add_100_000(benchmark: Any, values: Any) -> None:
    benchmark(QuantileSketch().add_many, values)


def test_numpy_sorts_100_000(benchmark: Any, values: Any) -> None:
    benchmark(np.sort, values)


def test_quantiles(benchmark: Any, sketch: QuantileSketch) -> None:
    benchmark(sketch.quantiles, (0.5, 0.95, 0.99))


def test_merge_bytes(benchmark: Any, sketch: QuantileSketch) -> None:
    benchmark(QuantileSketch().merge_bytes, sketch.to_bytes())


def test_merge(benchmark: Any, sketch: QuantileSketch) -> None:
    benchmark(QuantileSketch().merge, sketch)


def test_to_bytes(benchmark: Any, sketch: QuantileSketch) -> None:
    benchmark(sketch.to_bytes)

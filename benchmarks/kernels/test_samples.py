"""The functions over blocks: merging chunks, and the figures of a block. A minute of 6000 samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import numpy as np
import pytest

from ax_monitor._native import SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY
from ax_monitor.storage.connection import load_extension

SAMPLES = 6000
CHUNKS = 24


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    opened = apsw.Connection(":memory:")
    load_extension(opened, SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY)
    random = np.random.default_rng(1)
    times = np.sort(random.integers(0, 60_000, SAMPLES)).astype("<u2")
    values = random.lognormal(3, 0.6, SAMPLES)

    def block(chosen: slice) -> bytes:
        return bytes(times[chosen].tobytes() + values[chosen].tobytes())

    opened.execute("CREATE TABLE whole(samples); CREATE TABLE chunks(rank, samples)")
    opened.execute("INSERT INTO whole VALUES (?)", (block(slice(None)),))
    size = SAMPLES // CHUNKS
    in_turn = [block(slice(n * size, n * size + size)) for n in range(CHUNKS)]
    mixed = [block(slice(n, None, CHUNKS)) for n in range(CHUNKS)]
    opened.executemany(
        "INSERT INTO chunks VALUES (?, ?)", [*enumerate(in_turn), *enumerate(mixed, 100)]
    )
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(samples) FROM whole",
        "SELECT ax_count(samples) FROM whole",
        "SELECT ax_sum(samples) FROM whole",
        "SELECT ax_max(samples) FROM whole",
        "SELECT ax_sketch(samples) FROM whole",
        "SELECT ax_slice(0, samples, 10000, 49999) FROM whole",
        "SELECT ax_points(0, samples) FROM whole",
        "SELECT ax_merge(samples, rank) FROM chunks WHERE rank < 100",
        "SELECT ax_merge(samples, rank) FROM chunks WHERE rank >= 100",
    ],
)
def test_sql(benchmark: Any, connection: apsw.Connection, sql: str) -> None:
    benchmark(lambda: connection.execute(sql).fetchall())

"""The functions over blocks of samples, against numpy on the same block. A minute of 6000 samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import apsw
import numpy as np
import pytest

from ax_monitor._native import SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY
from ax_monitor.storage.connection import load_extension
from benchmarks.conftest import Against

SAMPLES = 6000
CHUNKS = 24
SIZE = SAMPLES // CHUNKS

_random = np.random.default_rng(1)
TIMES = np.sort(_random.integers(0, 60_000, SAMPLES)).astype("<u2")
VALUES = _random.lognormal(3, 0.6, SAMPLES)


def _block(chosen: slice) -> bytes:
    return bytes(TIMES[chosen].tobytes() + VALUES[chosen].tobytes())


WHOLE = _block(slice(None))
IN_TURN = [_block(slice(n * SIZE, n * SIZE + SIZE)) for n in range(CHUNKS)]
MIXED = [_block(slice(n, None, CHUNKS)) for n in range(CHUNKS)]


def _read(block: bytes) -> tuple[np.ndarray, np.ndarray]:
    n = len(block) // 10
    return np.frombuffer(block, "<u2", n), np.frombuffer(block, "<f8", n, 2 * n)


def _count() -> int:
    return len(_read(WHOLE)[1])


def _sum() -> float:
    return float(_read(WHOLE)[1].sum())


def _max() -> float:
    return float(_read(WHOLE)[1].max())


def _sketch() -> object:
    return np.unique(_read(WHOLE)[1].view("<u8") >> 46, return_counts=True)


def _slice() -> bytes:
    times, values = _read(WHOLE)
    chosen = (times >= 10_000) & (times <= 49_999)
    return bytes(times[chosen].tobytes() + values[chosen].tobytes())


def _points() -> bytes:
    times, values = _read(WHOLE)
    points = np.empty(SAMPLES, [("time", "<i8"), ("value", "<f8")])
    points["time"] = times
    points["value"] = values
    return bytes(points.tobytes())


def _merge(blocks: list[bytes]) -> bytes:
    parts = [_read(block) for block in blocks]
    times, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(times, kind="stable")
    return bytes(times[order].tobytes() + values[order].tobytes())


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    opened = apsw.Connection(":memory:")
    load_extension(opened, SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY)
    opened.execute("CREATE TABLE whole(samples); CREATE TABLE chunks(rank, samples)")
    opened.execute("INSERT INTO whole VALUES (?)", (WHOLE,))
    opened.executemany(
        "INSERT INTO chunks VALUES (?, ?)", [*enumerate(IN_TURN), *enumerate(MIXED, 100)]
    )
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("sql", "by_numpy"),
    [
        pytest.param(f"SELECT {call}", work, id=call.split(" FROM ")[0])
        for call, work in (
            ("ax_count(samples) FROM whole", _count),
            ("ax_sum(samples) FROM whole", _sum),
            ("ax_max(samples) FROM whole", _max),
            ("ax_sketch(samples) FROM whole", _sketch),
            ("ax_slice(0, samples, 10000, 49999) FROM whole", _slice),
            ("ax_points(0, samples) FROM whole", _points),
        )
    ],
)
def test_sql(
    against: Against, connection: apsw.Connection, sql: str, by_numpy: Callable[[], object]
) -> None:
    against("numpy", by_numpy, lambda: connection.execute(sql).get)


@pytest.mark.parametrize(
    ("where", "chunks"),
    [("rank < 100", IN_TURN), ("rank >= 100", MIXED)],
    ids=["chunks in turn", "mixed chunks"],
)
def test_merge(
    against: Against, connection: apsw.Connection, where: str, chunks: list[bytes]
) -> None:
    sql = f"SELECT ax_merge(samples, rank) FROM chunks WHERE {where}"
    found = against("numpy", lambda: _merge(chunks), lambda: connection.execute(sql).get)
    assert found == _merge(chunks)

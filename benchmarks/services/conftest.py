"""A store of its own to record into, and one that holds 10,000 log records and samples to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from ax_monitor import Store
from ax_monitor.bench import corpus
from ax_monitor.bench.corpus import Corpus

RECORDS = 10_000
Rows = list[tuple[Any, ...]]
Fetch = Callable[..., Rows]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With nothing in it. Its pump writes beside the calls, as in real use."""
    with Store(tmp_path / "monitor.db") as opened:
        yield opened


@pytest.fixture
def fetch(store: Store) -> Iterator[Fetch]:
    """Rows of that database by apsw alone: `fetch(sql, values)`."""
    yield from _fetch(store.path)


@pytest.fixture(scope="session")
def corpus_10k(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The database of `ax monitor bench`, only smaller."""
    return corpus.build(tmp_path_factory.mktemp("corpus"), RECORDS)


@pytest.fixture
def filled(corpus_10k: Corpus) -> Iterator[Store]:
    """A store on it."""
    with Store(corpus_10k.path) as opened:
        yield opened


@pytest.fixture
def fetch_filled(corpus_10k: Corpus) -> Iterator[Fetch]:
    """Its rows by apsw alone."""
    yield from _fetch(corpus_10k.path)


def _fetch(path: object) -> Iterator[Fetch]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def fetch(sql: str, values: tuple[Any, ...] = ()) -> Rows:
        return connection.execute(sql, values).fetchall()

    yield fetch
    connection.close()

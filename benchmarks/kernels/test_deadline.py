"""A time limit: setting it, and what a statement of 100,000 steps pays for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from ax_monitor._native import DEADLINE_EXTENSION, DEADLINE_EXTENSION_ENTRY
from ax_monitor.storage.connection import load_extension
from benchmarks.conftest import Against

STEPS = """
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 10000) SELECT max(x) FROM c
"""


@pytest.fixture
def limited() -> Iterator[apsw.Connection]:
    opened = apsw.Connection(":memory:")
    load_extension(opened, DEADLINE_EXTENSION, DEADLINE_EXTENSION_ENTRY)
    yield opened
    opened.close()


def test_set(against: Against, limited: apsw.Connection) -> None:
    def run(sql: str) -> Any:
        return limited.execute(sql).get

    against(
        "a function of SQLite's",
        lambda: run("SELECT abs(60000)"),
        lambda: run("SELECT ax_deadline(60000)"),
    )


def test_statement(against: Against, limited: apsw.Connection) -> None:
    limited.execute("SELECT ax_deadline(60000)")
    plain = apsw.Connection(":memory:")
    found = against(
        "without a limit",
        lambda: plain.execute(STEPS).get,
        lambda: limited.execute(STEPS).get,
    )
    assert found == 10_000
    plain.close()

"""Fixtures of the kernels' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ax_monitor.storage.writer import Writer


@pytest.fixture
def writer(db: str) -> Iterator[Writer]:
    """A write connection to a new database."""
    writer = Writer(db)
    yield writer
    writer.close()

"""A ring in plain memory and channels on it, for benchmarks of single kernels."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from ax_monitor._native import (
    RING_HEADER_BYTES,
    RING_SEGMENT_MIN_BYTES,
    LogChannel,
    LogSettings,
    RecordRing,
)


@pytest.fixture
def ring() -> Iterator[RecordRing]:
    """16 MiB; what is full is emptied without being written anywhere."""

    def empty(policy: int, priority: bool) -> bool:
        made.claim()
        made.release()
        return True

    made = RecordRing(empty)
    read, write = os.pipe()
    made.attach(
        mmap.mmap(-1, RING_HEADER_BYTES + 16 * RING_SEGMENT_MIN_BYTES),
        os.urandom(16),
        segment_bytes=RING_SEGMENT_MIN_BYTES,
        wake_fd=write,
        pid=os.getpid(),
    )
    yield made
    made.detach()
    os.close(read)
    os.close(write)


@pytest.fixture
def log(ring: RecordRing) -> LogChannel:
    """The log calls on that ring."""
    return LogChannel(ring, LogSettings(simplify=lambda *values: values[:4], publish=None))

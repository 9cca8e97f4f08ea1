"""Moments: how long ago something was, whatever the clocks do."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from ax_monitor.clock import SYSTEM_CLOCK, Moment

moments = st.builds(
    Moment, st.integers(0, 10**13), st.sampled_from(["", "a", "b"]), st.integers(0, 10**9)
)


@given(moments, moments)
def test_how_long_ago_a_moment_was(now: Moment, earlier: Moment) -> None:
    """By the monotonic clock within a boot, else by the wall clock; never less than 0."""
    same_boot = now.boot_id == earlier.boot_id != ""
    if same_boot:
        assert now.since(earlier) == max(0, now.monotonic_ms - earlier.monotonic_ms)
    else:
        assert now.since(earlier) == max(0, now.time_ms - earlier.time_ms)
    assert now.follows(earlier) == (same_boot or now.time_ms >= earlier.time_ms)


def test_all_processes_of_a_boot_agree() -> None:
    """Two processes have the same boot id and the same monotonic clock."""
    code = (
        "from ax_monitor.clock import SYSTEM_CLOCK as c, Moment; m = Moment.now(c); "
        "print(m.boot_id, m.monotonic_ms)"
    )
    before = Moment.now(SYSTEM_CLOCK)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    after = Moment.now(SYSTEM_CLOCK)
    boot_id, monotonic_ms = done.stdout.split()
    assert boot_id == before.boot_id == after.boot_id
    assert before.monotonic_ms <= int(monotonic_ms) <= after.monotonic_ms

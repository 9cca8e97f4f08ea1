"""The keys of a window's samples, which panes keep: a sample into a busy pane, and a pane's end."""

from __future__ import annotations

from array import array
from itertools import count, cycle
from random import Random

from ax_monitor._native import Window
from benchmarks.conftest import Against

NOW = 1_700_000_000_000
WINDOW_MS = 300_000
LATENCIES = [Random(1).lognormvariate(3, 0.6) for _ in range(1000)]


def test_key_of_sample(against: Against) -> None:
    """A thousand samples a second, of which each pane of five seconds keeps the keys."""
    window, times, values = Window(WINDOW_MS, quantiles=True), count(NOW), cycle(LATENCIES)
    kept, their_values = array("d"), cycle(LATENCIES)
    against(
        "append to an array",
        lambda: kept.append(next(their_values)),
        lambda: window.record(next(times), next(values)),
        after=lambda: kept.__delitem__(slice(None)),
    )


def test_pane_leaves(against: Against) -> None:
    """One sample each: a pane begins, and one of five minutes ago leaves the sketch."""
    window, times = Window(WINDOW_MS, quantiles=True), count(NOW, step=5000)
    for _ in range(60):
        window.record(next(times), 12.5)
    sums: dict[int, list[float]] = {}
    their_times = count(NOW, step=5000)

    def by_hand() -> None:
        now = next(their_times)
        sums[now] = [12.5]
        sums.pop(now - WINDOW_MS, None)

    against("a dictionary of lists", by_hand, lambda: window.record(next(times), 12.5))

"""From a series to the windows that watch it, among 10,000 series, against a dictionary."""

from __future__ import annotations

from itertools import cycle
from random import Random

from ax_monitor._native import RuleTable
from benchmarks.conftest import Against

NOW = 1_700_000_000_000
N_SERIES = 10_000


def _ids(seed: int) -> list[int]:
    random = Random(seed)
    return [random.getrandbits(62) for _ in range(N_SERIES)]


def _find(against: Against, asked: list[int]) -> int:
    """Add a sample to each in turn: where nobody watches, finding that out is all there is to do."""
    table, ids = RuleTable(), _ids(1)
    window = table.add_window(60_000)
    for series in ids:
        table.watch(series, window)
    routes = dict.fromkeys(ids, (window,))
    ours, theirs = cycle(asked), cycle(asked)
    found: int = against(
        "dict.get", lambda: routes.get(next(theirs)), lambda: table.add(next(ours), NOW, 12.5)
    )
    return found


def test_watched_and_added(against: Against) -> None:
    assert _find(against, _ids(1)) == 1


def test_not_watched(against: Against) -> None:
    assert _find(against, _ids(2)) == 0

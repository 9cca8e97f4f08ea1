"""The verdicts of the project's own benchmarks: goals, spreads, and the best peer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ax_monitor.bench.harness import Effort
from ax_monitor.bench.operations import Case
from ax_monitor.bench.table import OPERATIONS, row_of_size, row_of_times
from benchmarks.harness import Result, goals_table, missed
from benchmarks.operations import compare, table
from benchmarks.peers import PEERS, Outcome, Peer, measure
from benchmarks.peers.peer import Cases, Size, measure_here

RATIO = Result("G0", "it", "3.1 E", "≤ 3 E", figure=3.1, limit=3)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
FEW = Effort(calls=40, enough=40, seconds=5, at_most_s=5)


def nothing(folder: Path, records: int) -> Cases:
    yield from ()


@pytest.mark.parametrize(
    ("figure", "spread", "at_least", "met", "falls_short"),
    [
        (3.0, 0.0, False, True, False),  # the limit itself holds
        (3.1, 0.0, False, False, True),
        (3.1, 0.1, False, False, False),  # 2.79 is within
        (3.5, 0.1, False, False, True),  # 3.15 is not
        (3.0, 0.0, True, True, False),
        (2.9, 0.0, True, False, True),
        (2.9, 0.1, True, False, False),
        (2.5, 0.1, True, False, True),
        (None, 0.1, False, None, False),  # a line that only tells more
    ],
)
def test_a_goal_is_missed_only_by_more_than_the_spread(
    figure: float | None, spread: float, at_least: bool, met: bool | None, falls_short: bool
) -> None:
    result = replace(RATIO, figure=figure, spread=spread, at_least=at_least)
    assert (result.met, result.falls_short) == (met, falls_short)


def test_a_count_that_has_to_be_zero() -> None:
    assert replace(RATIO, figure=0, limit=0).met is True
    assert replace(RATIO, figure=1, limit=0).falls_short


def test_the_check_counts_what_does_not_depend_on_the_machine() -> None:
    a_time = replace(RATIO, duration=True)
    assert missed([RATIO, a_time, replace(RATIO, spread=0.5)]) == [RATIO]


def test_the_table_says_what_was_met() -> None:
    lines = goals_table([RATIO, replace(RATIO, figure=2.0), replace(RATIO, figure=None)])
    verdicts = [line.split("|")[5].strip() for line in lines.splitlines()[2:]]
    assert verdicts == ["**not met**", "met", ""]


def test_json_has_the_numbers_and_the_verdict() -> None:
    found = RATIO.to_dict()
    assert (found["figure"], found["limit"], found["met"], found["falls_short"]) == (
        3.1, 3, False, True,
    )  # fmt: skip


def test_the_best_peer_is_the_fastest_that_does_the_same() -> None:
    name = "log call"
    ours = row_of_times(BY_NAME[name], [1000] * 2000)

    def took(peer: str, taken_ns: int, calls: int = 2000, does: str = name) -> Outcome:
        row = row_of_times(BY_NAME[does], [taken_ns] * calls)
        return Outcome(Peer(peer, (does,), nothing), {does: row})

    comparison = compare(
        ours,
        [
            took("slow", 9000),
            took("fast", 2500),
            took("once", 1, calls=1),
            took("of another trade", 1, does="metric record"),
            Outcome(Peer("far away", (name,), nothing), note="not installed"),
        ],
    )
    assert list(comparison.peers) == ["fast", "slow"]
    assert comparison.ratio == 2.5
    assert comparison.absent == {"once": "too few calls", "far away": "not installed"}
    text = table([comparison])
    assert "| fast | 2.50 µs / 2.50 µs / – | 2.5 × |" in text
    assert "far away: not installed" in text


def test_an_operation_without_peers_and_one_that_takes_room() -> None:
    size = row_of_size(BY_NAME["1M log records"], 200_000_000)
    other = Outcome(
        Peer("heavy", ("1M log records",), nothing),
        {"1M log records": row_of_size(BY_NAME["1M log records"], 500_000_000)},
    )
    assert compare(size, [other]).ratio == 2.5
    alone = compare(row_of_times(BY_NAME["system health"], [1] * 30), [other])
    assert (alone.best, alone.ratio) == (None, None)
    assert "| – | – | – |" in table([alone])


def test_a_peer_that_is_not_installed_is_no_error(tmp_path: Path) -> None:
    peer = Peer("nobody", ("log call",), nothing, ("no-such-package-anywhere",))
    assert measure(peer, tmp_path, 10, FEW).note == "not installed"


def test_a_peer_that_fails_says_why(tmp_path: Path) -> None:
    peer = Peer("unheard of", ("log call",), nothing)
    assert measure(peer, tmp_path, 10, FEW).note.startswith("failed: ")


def test_a_peer_yields_calls_and_sizes(tmp_path: Path) -> None:
    def cases(folder: Path, records: int) -> Cases:
        yield Case("log call", lambda number: None)
        yield Size("1M log records", records)

    rows = measure_here(Peer("both", (), cases), tmp_path, 7, FEW)
    assert [(name, calls, size) for name, calls, _, size in rows] == [
        ("log call", 40, None),
        ("1M log records", 0, 7),
    ]


def test_peers_have_names_of_their_own_and_do_known_operations() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert {name for peer in PEERS for name in peer.operations} <= set(BY_NAME)


def test_a_peer_without_packages_runs_in_its_own_process(tmp_path: Path) -> None:
    peer = next(peer for peer in PEERS if peer.name == "numpy, in memory")
    outcome = measure(peer, tmp_path, 1000, FEW)
    assert (outcome.note, set(outcome.rows)) == ("", set(peer.operations))

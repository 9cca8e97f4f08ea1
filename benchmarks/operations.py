"""The operations of the document's table, each beside whatever else does the same job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ax_monitor.bench.harness import Effort, timer_ns
from ax_monitor.bench.operations import measure
from ax_monitor.bench.table import VERDICT, Row
from ax_monitor.cli.bench import UNKNOWN, three_digits
from benchmarks.harness import VERDICT as WORD
from benchmarks.harness import bench_folder, say
from benchmarks.peers import PEERS, Outcome
from benchmarks.peers import measure as measure_peer

RECORDS: Final = 1_000_000
EFFORT: Final = Effort(calls=50_000, enough=1000, seconds=1.5, at_most_s=3.0)
_SHOWN: Final = ("p50", "p99", "p99.9")


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operation, and what its peers made of it, the fastest first.

    Args:
        ours: What we take.
        peers: What others take, by name.
        absent: Why there is nothing of others, by name.
    """

    ours: Row
    peers: dict[str, Row]
    absent: dict[str, str]

    @property
    def best(self) -> tuple[str, Row] | None:
        """The fastest peer, at p50; the smallest, of what takes room."""
        return next(iter(self.peers.items()), None)

    @property
    def ratio(self) -> float | None:
        """What the best peer takes, against ours; None if one of them is not known."""
        ours, theirs = size(self.ours), None if self.best is None else size(self.best[1])
        return None if ours is None or theirs is None else theirs / ours

    def cells(self) -> tuple[str, ...]:
        """What the table says."""
        operation, goal = self.ours.operation, self.ours.operation.goal
        name, theirs, ratio = UNKNOWN, UNKNOWN, UNKNOWN
        if self.best is not None:
            name, row = self.best
            theirs = _figures(row)
        if self.ratio is not None:
            ratio = f"{self.ratio:.3g} ×"
        return (
            operation.name,
            f"{operation.document}: {WORD[self.ours.met] or UNKNOWN}",
            _figures(self.ours),
            name,
            theirs,
            ratio,
            "" if goal is None else f"{goal.number}: {goal}, {WORD[self.ours.goal_met] or UNKNOWN}",
        )

    def all_peers(self) -> str:
        """Every peer with its p50, or why it has none."""
        found = [
            f"{name} {three_digits(size(row), row.operation.unit)}"
            for name, row in self.peers.items()
        ]
        return "; ".join([*found, *(f"{name}: {why}" for name, why in self.absent.items())])

    def to_dict(self) -> dict[str, Any]:
        peers = {name: row.to_dict() for name, row in self.peers.items()}
        return {
            **self.ours.to_dict(),
            "peers": peers,
            "absent": self.absent,
            "best_to_ours": self.ratio,
        }


def run(records: int = RECORDS, effort: Effort = EFFORT) -> list[Comparison]:
    """Ours, then each peer in a process of its own, on as many records."""
    with bench_folder() as folder:
        rows = measure(folder, records, effort, lambda name: say(f"   {name}"))
    outcomes = []
    for peer in PEERS:
        with bench_folder() as folder:
            outcomes.append(measure_peer(peer, folder, records, effort))
        say(f"   {peer.name} {outcomes[-1].note}".rstrip())
    return [compare(row, outcomes) for row in rows]


def compare(ours: Row, outcomes: Iterable[Outcome]) -> Comparison:
    """A row of ours beside those of the peers that do the same."""
    name = ours.operation.name
    known: list[tuple[float, str, Row]] = []
    absent: dict[str, str] = {}
    for outcome in outcomes:
        if name in outcome.peer.operations:
            row = outcome.rows.get(name)
            taken = None if row is None else size(row)
            if row is None or taken is None:
                absent[outcome.peer.name] = outcome.note or "too few calls"
            else:
                known.append((taken, outcome.peer.name, row))
    known.sort(key=lambda each: each[0])
    return Comparison(ours, {peer: row for _, peer, row in known}, absent)


def table(comparisons: list[Comparison]) -> str:
    """The operations as a Markdown table, and under it what each peer takes."""
    shown = " / ".join(_SHOWN)
    head = ("operation", "document", f"ours: {shown}", "best peer", f"its {shown}")
    lines = [_line((*head, "peer / ours", "goal")), "|---" * 7 + "|"]
    lines += [_line(comparison.cells()) for comparison in comparisons]
    lines += ["", f"{VERDICT}. The timer takes {timer_ns()} ns of each figure. All peers, p50:", ""]
    lines += [
        f"- {each.ours.operation.name}: {all_}"
        for each in comparisons
        if (all_ := each.all_peers())
    ]
    return "\n".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def size(row: Row) -> int | None:
    """What is compared: the p50 in ns, or the bytes; None if there were too few calls."""
    return row.percentiles["p50"] if row.size is None else row.size


def _figures(row: Row) -> str:
    if row.size is not None:
        return three_digits(row.size, "bytes")
    return " / ".join(three_digits(row.percentiles[name], "ns") for name in _SHOWN)

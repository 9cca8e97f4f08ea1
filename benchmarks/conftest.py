"""The micro benchmarks: each is measured beside a reference, and what counts is their ratio.

`make bench-micro` runs them with pytest-benchmark, which times and calibrates nothing by itself here:
rounds of the two alternate, as many calls in each as take `ROUND_S`. In its JSON the ratio is in
`extra_info`; at the end of the run all ratios are printed.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import apsw
import pytest

from ax_monitor._native import BUILD
from ax_monitor.bench import payload
from ax_monitor.bench.harness import Series, machine, ratio
from ax_monitor.pipeline.store import Store

ROUNDS: Final = 25
ROUND_S: Final = 0.004
WARM_UP_ROUNDS: Final = 2
_LINES: Final = pytest.StashKey[list[tuple[str, ...]]]()
_HEAD: Final = ("benchmark", "median", "reference", "its median", "ratio")
T = TypeVar("T")


class Against(Protocol):
    """What the fixture `against` is."""

    def __call__(
        self,
        name: str,
        reference: Callable[..., object],
        subject: Callable[..., T],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
        before_reference: Callable[[], object] | None = None,
    ) -> T:
        """Measure `subject` and its reference in rounds that alternate; what `subject` returns.

        Args:
            name: Of the reference, for the table.
            reference: Called with the same arguments.
            subject: What is measured.
            args: For both.
            kwargs: For both.
            before: Called before each call of `subject`, untimed; a round then is one call.
            after: Called after each round of `subject`, untimed: to empty what it has filled.
            before_reference: The same for `reference`.
        """
        ...


@pytest.fixture
def against(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Against]:
    """The ratio of two callables."""

    def measure(
        name: str,
        reference: Callable[..., object],
        subject: Callable[..., T],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
        before_reference: Callable[[], object] | None = None,
    ) -> T:
        named = dict(kwargs or {})
        calls = reference_calls = 1
        taken: list[float] = []

        def empty() -> None:
            if after is not None:
                after()

        def finish_round(*_: Any, **__: Any) -> None:
            empty()
            if before_reference is not None:
                before_reference()
            taken.append(_round(reference, args, named, reference_calls) / reference_calls)

        if benchmark.enabled and before_reference is None:
            reference_calls = _calls_a_round(reference, args, named)
        if benchmark.enabled and before is None:
            calls = _calls_a_round(subject, args, named)
            empty()
        result: T = benchmark.pedantic(
            subject,
            args,
            named,
            setup=before,
            teardown=finish_round,
            rounds=ROUNDS,
            warmup_rounds=WARM_UP_ROUNDS,
            iterations=calls,
        )
        if benchmark.disabled:
            finish_round()
        if benchmark.enabled:
            ours = Series(list(benchmark.stats.stats.data))
            theirs = Series(taken[WARM_UP_ROUNDS : WARM_UP_ROUNDS + ROUNDS])
            found = ratio(ours, theirs)
            benchmark.extra_info.update(
                reference=name,
                reference_median_s=theirs.median,
                reference_spread=theirs.spread,
                ratio=found.median,
                ratio_spread=found.spread,
            )
            request.config.stash.setdefault(_LINES, []).append(
                (
                    _title(request.node),
                    _duration(ours.median),
                    name,
                    _duration(theirs.median),
                    f"{found.median:.3g} × ± {found.spread:.0%}",
                )
            )
        return result

    if benchmark.enabled:
        gc.collect()
        gc.freeze()  # so that no round walks through what pytest holds
    yield measure
    gc.unfreeze()


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[apsw.Connection]:
    """A database with our schema, that apsw alone writes to: tuned as ours, and one context."""
    path = tmp_path / "by_hand.db"
    Store(path).close()
    opened = apsw.Connection(str(path))
    for pragma in ("synchronous = NORMAL", "cache_size = -65536"):
        opened.execute(f"PRAGMA {pragma}")
    opened.execute("INSERT INTO log_contexts(id, source) VALUES (1, ?)", (payload.SOURCE,))
    yield opened
    opened.close()


class LogRows:
    """Log records as rows for that database: so many, each with a key and a number of its own."""

    INSERT: Final = (
        "INSERT INTO log_records(seq, context, severity, span_id, ring, ring_seq, message, metadata)"
        " VALUES (?, 1, 9, ?, 1, ?, ?, ?)"
    )

    def __init__(self, n: int) -> None:
        self.rows: list[tuple[object, ...]] = []
        self._texts = payload.messages(n)
        self._metadata = json.dumps(payload.METADATA, separators=(",", ":"))
        self._span = int(payload.SPAN_ID, 16) - 2**64
        self._made = 0

    def make(self) -> None:
        """New ones."""
        first = (time.time_ns() // 1_000_000 << 12) + self._made
        self.rows = [
            (first + n, self._span, self._made + n, text, self._metadata)
            for n, text in enumerate(self._texts)
        ]
        self._made += len(self.rows)

    def insert_into(self, connection: apsw.Connection) -> None:
        """In one transaction, the full-text index included."""
        with connection:
            connection.executemany(self.INSERT, self.rows)


def _round(
    call: Callable[..., object], args: Sequence[Any], named: dict[str, Any], n: int
) -> float:
    """Seconds that `n` calls take, as pytest-benchmark makes them."""
    clock, calls = time.perf_counter, range(n)
    begin = clock()
    for _ in calls:
        call(*args, **named)
    return clock() - begin


def _calls_a_round(call: Callable[..., object], args: Sequence[Any], named: dict[str, Any]) -> int:
    """How many calls take about `ROUND_S`."""
    n = 1
    while (taken := _round(call, args, named, n)) < ROUND_S / 10:
        n *= 4
    return max(1, round(n * ROUND_S / taken))


def _title(node: pytest.Function) -> str:
    """`kernels/log: info [x]` of `benchmarks/kernels/test_log.py::test_info[x]`."""
    what = node.originalname.removeprefix("test_").replace("_", " ")
    case = f" [{node.callspec.id}]" if hasattr(node, "callspec") else ""
    return f"{node.path.parent.name}/{node.path.stem.removeprefix('test_')}: {what}{case}"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


# -- what is told beside the figures -----------------------------------------------------------------


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Where it was measured, in the JSON."""
    machine_info.update(ax_monitor=machine(), kernels=BUILD)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """All ratios."""
    lines = terminalreporter.config.stash.get(_LINES, [])
    if not lines:
        return
    terminalreporter.section("ratios: median ± half the distance between the quartiles")
    for line in (*machine(), f"kernels: {BUILD}"):
        terminalreporter.write_line(line)
    rows = [_HEAD, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        terminalreporter.write_line(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )

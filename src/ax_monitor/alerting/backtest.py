"""What a rule would have done: the same evaluation over stored samples, with a clock of its own."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from ax_monitor.alerting.evaluator import Evaluator
from ax_monitor.clock import Moment
from ax_monitor.model._record import Record
from ax_monitor.model.alerts import AlertRule
from ax_monitor.pipeline.history import metric_history
from ax_monitor.pipeline.store import Store
from ax_monitor.storage.alert_rules import parsed_labels
from ax_monitor.storage.alert_states import RESOLVE, TRIGGER, Finding
from ax_monitor.storage.metric_feed import Block
from ax_monitor.storage.series import find_series

_MINUTE_MS: Final = 60_000
_OFFSET_BYTES: Final = 2
_SAMPLE_BYTES: Final = 10  # of a block: an offset and a double


@dataclass(frozen=True, slots=True)
class Firing(Record):
    """A time in which a rule would have fired.

    Args:
        labels: The group of the rule that it is about.
        triggered_at: When it would have been triggered first, in ms since the epoch.
        cleared_at: When its condition held no longer, in ms since the epoch; None: it still did at
            the end.
        occurrences: How many times it would have been triggered in that time.
        value: The value at the first trigger; None: there were no samples.
        last_value: The value at the last one.
    """

    labels: dict[str, str] = field(hash=False)
    triggered_at: int
    cleared_at: int | None
    occurrences: int
    value: float | None
    last_value: float | None


@dataclass(frozen=True, slots=True)
class Backtest(Record):
    """What a rule would have done in a time.

    Args:
        rule: The rule.
        start: Time of the first evaluation, in ms since the epoch.
        end: Time of the last one.
        interval_ms: Between two.
        evaluations: How many there were.
        samples: How many samples they were about.
        firings: When it would have fired, in the order of the first triggers.
    """

    rule: AlertRule
    start: int
    end: int
    interval_ms: int
    evaluations: int
    samples: int
    firings: tuple[Firing, ...]


def run_backtest(store: Store, rule: AlertRule, start: int, end: int, interval_ms: int) -> Backtest:
    """Evaluate a rule at `start`, and then at every interval until `end`."""
    if start > end:
        raise ValueError(f"a backtest must not end ({end}) before it starts ({start})")
    run = _Run(rule)
    samples = _Samples(store, run.evaluator, start, end)
    for now_ms in range(start, end + 1, interval_ms):
        samples.feed_until(now_ms)
        run.evaluate(now_ms)
    last = start + (end - start) // interval_ms * interval_ms
    return Backtest(
        rule=rule,
        start=start,
        end=last,
        interval_ms=interval_ms,
        evaluations=run.evaluations,
        samples=samples.count,
        firings=tuple(sorted(run.firings, key=lambda firing: firing.triggered_at)),
    )


class _Run:
    """One rule on a clock of its own."""

    def __init__(self, rule: AlertRule) -> None:
        self.evaluator = Evaluator([replace(rule, enabled=True)])
        self.firings: list[Firing] = []
        self.evaluations = 0
        self._open: dict[str, int] = {}  # places in `firings`, by group

    def evaluate(self, now_ms: int) -> None:
        self.evaluations += 1
        for _, finding in self.evaluator.evaluate(Moment(now_ms, "", now_ms)):
            if finding.kind == TRIGGER:
                self._trigger(finding, now_ms)
            elif finding.kind == RESOLVE:
                place = self._open.pop(finding.group_labels)
                self.firings[place] = replace(self.firings[place], cleared_at=now_ms)

    def _trigger(self, finding: Finding, now_ms: int) -> None:
        value = None if finding.value != finding.value else finding.value
        place = self._open.get(finding.group_labels)
        if place is None:
            self._open[finding.group_labels] = len(self.firings)
            labels = parsed_labels(finding.group_labels)
            self.firings.append(Firing(labels, now_ms, None, 1, value, value))
        else:
            firing = self.firings[place]
            self.firings[place] = replace(
                firing, occurrences=firing.occurrences + 1, last_value=value
            )


class _Samples:
    """The samples that a rule is about, fed in the order of time."""

    def __init__(self, store: Store, evaluator: Evaluator, start: int, end: int) -> None:
        self._evaluator = evaluator
        window_ms = 0
        for metric_type in evaluator.metric_types():
            for series in store.read(find_series, metric_type):
                window_ms = evaluator.define(series) or window_ms
        self._blocks = metric_history(store, evaluator.wanted(), start - window_ms, end)
        self._waiting: list[Block] = []  # of minutes that are not over
        self._next: Block | None = next(self._blocks, None)
        self.count = 0

    def feed_until(self, now_ms: int) -> None:
        """Feed what had been recorded by then."""
        self._evaluator.advance(now_ms)
        waiting, self._waiting = self._waiting, []
        for block in (*waiting, *self._taken(now_ms // _MINUTE_MS)):
            series, minute, samples = block
            past, later = _split(samples, now_ms - minute * _MINUTE_MS)
            if past:
                self.count += len(past) // _SAMPLE_BYTES
                self._evaluator.feed(series, minute, past)
            if later:
                self._waiting.append((series, minute, later))

    def _taken(self, minute: int) -> Iterator[Block]:
        while self._next is not None and self._next[1] <= minute:
            yield self._next
            self._next = next(self._blocks, None)


def _split(samples: bytes, last_offset: int) -> tuple[bytes, bytes]:
    """A block as two: up to an offset, and behind it."""
    if last_offset >= _MINUTE_MS - 1:
        return samples, b""
    n = len(samples) // _SAMPLE_BYTES
    offsets = array("H", samples[: n * _OFFSET_BYTES])
    k = bisect_right(offsets, last_offset)
    values = samples[n * _OFFSET_BYTES :]
    return (
        samples[: k * _OFFSET_BYTES] + values[: k * 8],
        samples[k * _OFFSET_BYTES : n * _OFFSET_BYTES] + values[k * 8 :],
    )

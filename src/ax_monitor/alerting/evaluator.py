"""Rules compiled into windows: samples go in, what changed comes out.

Rules that look at the same samples over the same time share a window. A rule with groups gets a
window for each group when the first sample of it comes. What a series is has to be told before its
samples are; which windows it belongs to is looked up once, with its first sample.

Nothing here knows where samples come from, what time it is, or what becomes of a transition: the
same code evaluates the present (`live.py`) and the past (`backtest.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ax_monitor._native import RULE_AGGREGATIONS, RULE_NO_DATA, RULE_OPERATORS, RuleTable
from ax_monitor.clock import Moment
from ax_monitor.model.alerts import AlertRule
from ax_monitor.model.metrics import Series
from ax_monitor.storage.alert_rules import parsed_labels, to_json
from ax_monitor.storage.alert_states import (
    INACTIVE,
    PENDING,
    TRIGGER,
    Finding,
    Outcome,
    RuleState,
)

NO_GROUP: Final = "{}"
_QUANTILES: Final = ("p50", "p95", "p99")
_LONGEST_MS: Final = 1 << 60  # a window or a duration, in the kernel
_TENANT: Final = None  # stands for a label name where the tenant is meant

_Fact = tuple[str | None, str]
_Facts = frozenset[_Fact]


@dataclass(slots=True)
class _Compiled:
    """A rule as the kernel wants it."""

    rule_id: str
    arguments: tuple[int, int, float, float | None, int, int, int]


@dataclass(slots=True)
class _Selector:
    """Which samples, of which time: what rules may have in common."""

    facts: _Facts
    window_ms: int
    by: tuple[str, ...]
    quantiles: bool = False
    rules: list[_Compiled] = field(default_factory=list)
    windows: dict[str, int] = field(default_factory=dict)  # by group

    def group(self, labels: Mapping[str, str]) -> str:
        """The group that a series belongs to. A label that it has not is not in there."""
        if not self.by:
            return NO_GROUP
        return to_json({name: labels[name] for name in self.by if name in labels})


class Evaluator:
    """Rules, compiled once; a change of rules makes a new one.

    For one thread at a time.
    """

    def __init__(self, rules: Iterable[AlertRule]) -> None:
        self._table = RuleTable()
        self._rule_ids: list[str] = []  # by slot, as the next
        self._groups: list[str] = []
        self._states: dict[int, RuleState] = {}  # as stored, by slot; those that ever changed
        self._triggers: dict[int, int] = {}  # of those, when they were evaluated here last
        self._series: dict[int, Series | None] = {}  # that are wanted; None: it is where it belongs
        self._unwanted: set[int] = set()
        self._index = self._compile(rules)

    def __len__(self) -> int:
        """How many rules there are, each group counted."""
        return len(self._rule_ids)

    # -- compiling --------------------------------------------------------------------------------

    def _compile(
        self, rules: Iterable[AlertRule]
    ) -> dict[str, dict[_Fact | None, list[_Selector]]]:
        """The selectors by metric, and there by one of their facts: that with the fewest others."""
        selectors: dict[tuple[Any, ...], _Selector] = {}
        metrics: dict[str, list[_Selector]] = {}
        for rule in rules:
            facts = _facts(rule.match_labels or {}, rule.tenant_id)
            window_ms = min(rule.condition.window_ms, _LONGEST_MS)
            key = (rule.metric_type, facts, window_ms, rule.by)
            if (selector := selectors.get(key)) is None:
                selector = selectors[key] = _Selector(facts, window_ms, rule.by)
                metrics.setdefault(rule.metric_type, []).append(selector)
            selector.quantiles |= rule.condition.aggregation in _QUANTILES
            selector.rules.append(_Compiled(rule.id, _arguments(rule)))
        index: dict[str, dict[_Fact | None, list[_Selector]]] = {}
        for metric_type, found in metrics.items():
            frequency = Counter(fact for selector in found for fact in selector.facts)
            by_fact = index[metric_type] = {}
            for selector in found:
                rarest = min(selector.facts, key=frequency.__getitem__, default=None)
                by_fact.setdefault(rarest, []).append(selector)
                if not selector.by:
                    self._window(selector, NO_GROUP)
                    selector.rules = []  # there is no further group
        return index

    def _window(self, selector: _Selector, group: str) -> int:
        """The window of a group, made with its rules if there is none yet."""
        if (window := selector.windows.get(group)) is not None:
            return window
        window = self._table.add_window(selector.window_ms, selector.quantiles)
        selector.windows[group] = window
        for rule in selector.rules:
            operator, aggregation, threshold, resolve, for_ms, cooldown_ms, no_data = rule.arguments
            self._table.add_rule(
                window,
                operator=operator,
                aggregation=aggregation,
                threshold=threshold,
                resolve_threshold=resolve,
                for_ms=for_ms,
                cooldown_ms=cooldown_ms,
                no_data=no_data,
            )
            self._rule_ids.append(rule.rule_id)
            self._groups.append(group)
        return window

    def restore(
        self, states: Iterable[tuple[str, str, RuleState]], now: Moment, *, first: bool
    ) -> None:
        """Put rules where they stand by now: (rule id, group, state).

        Args:
            states: Of those that changed.
            now: The present moment.
            first: This is where they stood before any evaluation here; else others changed them.
        """
        groups = {
            rule.rule_id: selector
            for by_fact in self._index.values()
            for selectors in by_fact.values()
            for selector in selectors
            for rule in selector.rules
        }
        known = {(rule_id, group): state for rule_id, group, state in states}
        for rule_id, group in known:
            selector = groups.get(rule_id)
            if selector is not None and parsed_labels(group).keys() <= set(selector.by):
                self._window(selector, group)
        keys = zip(self._rule_ids, self._groups, strict=True)
        for slot, state in [(slot, known[key]) for slot, key in enumerate(keys) if key in known]:
            self._states[slot] = state
            self._triggers.setdefault(slot, state.triggers if first else 0)
            self._put(slot, state, now)

    # -- samples ----------------------------------------------------------------------------------

    def metric_types(self) -> list[str]:
        """The metrics that rules watch."""
        return list(self._index)

    def wanted(self) -> list[int]:
        """The series whose samples are wanted, of those that are defined."""
        return list(self._series)

    def undefined(self, ids: Iterable[int]) -> list[int]:
        """Those of some series of which has not been said what they are."""
        return [i for i in ids if i not in self._series and i not in self._unwanted]

    def define(self, series: Series) -> int:
        """Say what a series is; the longest window that wants its samples, in ms; 0: none does."""
        window_ms = max((selector.window_ms for selector in self._selectors(series)), default=0)
        if window_ms:
            self._series.setdefault(series.series, series)
        else:
            self._unwanted.add(series.series)
        return window_ms

    def advance(self, now_ms: int) -> None:
        """Tell the time, before samples are fed."""
        self._table.advance(now_ms)

    def feed(self, series: int, minute: int, samples: bytes) -> None:
        """Take a block of samples of a series that is wanted."""
        if (definition := self._series[series]) is not None:
            self._series[series] = None
            for selector in self._selectors(definition):
                window = self._window(selector, selector.group(definition.labels))
                self._table.watch(series, window)
        self._table.feed(series, minute, samples)

    def clear(self) -> None:
        """Forget all samples; rules stay where they stand."""
        self._table.clear()

    def _selectors(self, series: Series) -> list[_Selector]:
        by_fact = self._index.get(series.metric_type)
        if by_fact is None:
            return []
        facts = _facts(series.labels, series.tenant_id)
        return [
            selector
            for fact in (None, *facts)
            for selector in by_fact.get(fact, ())
            if selector.facts <= facts
        ]

    # -- evaluation -------------------------------------------------------------------------------

    def evaluate(self, now: Moment) -> list[tuple[int, Finding]]:
        """What has changed since the last evaluation, with the slots to settle."""
        found = self._table.evaluate(now.time_ms, now.monotonic_ms)
        return [
            (slot, self._finding(slot, transition, value, now))
            for slot, transition, value in sorted(found)
        ]

    def _finding(self, slot: int, transition: int, value: float, now: Moment) -> Finding:
        _, met_since_ms, _, _ = self._table.state(slot)
        elapsed = 0 if met_since_ms is None else now.monotonic_ms - met_since_ms
        return Finding(
            rule_id=self._rule_ids[slot],
            group_labels=self._groups[slot],
            kind=transition,
            value=value,
            met_since=Moment(now.time_ms - elapsed, now.boot_id, now.monotonic_ms - elapsed),
            triggers=self._triggers.get(slot, 0),
        )

    def settle(self, slot: int, finding: Finding, outcome: Outcome | None, now: Moment) -> None:
        """Bring a rule to where it stands now; None: its transition could not be stored.

        What was not stored is found again at the next evaluation.
        """
        if outcome is not None:
            self._states[slot] = state = outcome.state
            self._triggers[slot] = state.triggers
        else:
            state = self._states.get(slot) or RuleState(INACTIVE, finding.met_since)
        if finding.kind == TRIGGER and state.phase == INACTIVE:  # met all the same
            state = RuleState(PENDING, finding.met_since, state.last_trigger)
        self._put(slot, state, now)

    def _put(self, slot: int, state: RuleState, now: Moment) -> None:
        last = state.last_trigger
        self._table.set_state(
            slot,
            state.phase,
            now.monotonic_ms - now.since(state.met_since),
            None if last is None else now.monotonic_ms - now.since(last),
        )


def _facts(labels: Mapping[str, str], tenant_id: str | None) -> _Facts:
    facts: set[_Fact] = set(labels.items())
    if tenant_id is not None:
        facts.add((_TENANT, tenant_id))
    return frozenset(facts)


def _arguments(rule: AlertRule) -> tuple[int, int, float, float | None, int, int, int]:
    condition = rule.condition
    return (
        RULE_OPERATORS.index(condition.operator),
        RULE_AGGREGATIONS.index(condition.aggregation),
        condition.threshold,
        condition.resolve_threshold,
        min(rule.for_ms, _LONGEST_MS),
        min(rule.cooldown_ms, _LONGEST_MS),
        RULE_NO_DATA.index(rule.no_data),
    )

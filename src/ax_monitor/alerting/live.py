"""The rules of a database, evaluated over what any process records in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ax_monitor._native import keep_forever
from ax_monitor.alerting.evaluator import Evaluator
from ax_monitor.clock import Moment
from ax_monitor.errors import StorageError
from ax_monitor.model.alerts import Alert
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import alert_rules, metric_feed, series
from ax_monitor.storage.alert_rules import BrokenRule
from ax_monitor.storage.alert_states import (
    Finding,
    Outcome,
    apply_findings,
    find_states,
    states_version,
)
from ax_monitor.storage.connection import Connection, snapshot
from ax_monitor.storage.metric_feed import FeedPosition

FINDINGS_PER_WRITE: Final = 100  # the pump waits meanwhile: some 20 ms
AHEAD_MS: Final = 120_000  # clocks of others may be ahead; as in windows.pyx
JUMP_MS: Final = 1000  # the wall clock went back by so much: other samples are the last minutes now


@dataclass(slots=True)
class Pass:
    """What an evaluation has done.

    Args:
        triggered: Alerts raised, or triggered once more.
        resolved: Alerts resolved, because their condition no longer holds.
        broken: Rules that can't be evaluated; once for each change of them.
        error: What stopped it, if something did. What was not done comes with the next one.
    """

    triggered: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    broken: list[BrokenRule] = field(default_factory=list)
    error: StorageError | None = None


class LiveEvaluator:
    """Keeps up with the rules and the samples of a store.

    For one thread at a time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reset()

    def _reset(self) -> None:
        self._evaluator: Evaluator | None = None
        self._rules_version = self._states_version = -1
        self._position: FeedPosition | None = None  # None: nothing has been read yet
        self._wanted: dict[int, list[int]] = defaultdict(list)  # series by their longest window
        self._told: dict[str, BrokenRule] = {}
        self._offset_ms = 0  # the wall clock less the monotonic one

    def after_fork_in_child(self) -> None:
        """Begin anew: the parent may have been within an evaluation."""
        keep_forever(self._evaluator)
        self._reset()

    # -- one evaluation ---------------------------------------------------------------------------

    def evaluate(self) -> Pass:
        """Evaluate all rules.

        Raises:
            StorageError: rules or samples can't be read.
        """
        try:
            return self._pass()
        except BaseException:
            self._rules_version = -1  # transitions may be lost: the next one begins anew
            raise

    def _pass(self) -> Pass:
        result = Pass()
        self._keep_up(result)
        evaluator = self._evaluator
        assert evaluator is not None
        now = Moment.now(self._store.clock)
        found = evaluator.evaluate(now)
        for first in range(0, len(found), FINDINGS_PER_WRITE):
            part = found[first : first + FINDINGS_PER_WRITE]
            outcomes = self._stored([finding for _, finding in part], now, result)
            for (slot, finding), outcome in zip(part, outcomes, strict=True):
                evaluator.settle(slot, finding, outcome, now)
        return result

    def _stored(
        self, findings: list[Finding], now: Moment, result: Pass
    ) -> Sequence[Outcome | None]:
        """Store some findings; None for each if that failed, now or before in this pass."""
        if result.error is None:
            try:
                outcomes = self._store.write(
                    lambda connection: apply_findings(connection, findings, now)
                )
            except StorageError as error:
                result.error = error
        if result.error is not None:
            return [None] * len(findings)
        for finding, outcome in zip(findings, outcomes, strict=True):
            if outcome.triggered is not None:
                result.triggered.append(outcome.triggered)
            if outcome.resolved is not None:
                result.resolved.append(outcome.resolved)
            if outcome.error is not None:
                self._tell([BrokenRule(finding.rule_id, "", outcome.error)], result)
        return outcomes

    def take_feed(self) -> None:
        """Take what has arrived since, before it is sealed."""
        if self._evaluator is not None:
            self._store.read(self._take_at_one_moment)

    def _tell(self, broken: Iterable[BrokenRule], result: Pass) -> None:
        for rule in broken:
            if self._told.get(rule.id) != rule:
                self._told[rule.id] = rule
                result.broken.append(rule)

    # -- keeping up -------------------------------------------------------------------------------

    def _keep_up(self, result: Pass) -> None:
        """Learn of new rules, and of new samples."""

        def look(connection: Connection) -> None:
            with snapshot(connection):
                version = alert_rules.rules_version(connection)
                if version != self._rules_version:
                    self._learn_rules(connection, result)
                    self._rules_version = version
                self._learn_states(connection)
                self._take(connection)

        self._store.read(look)

    def _learn_rules(self, connection: Connection, result: Pass) -> None:
        broken: list[BrokenRule] = []
        evaluator = Evaluator(alert_rules.iterate_rules(connection, broken, enabled=True))
        self._tell(broken, result)
        still = {rule.id for rule in broken}
        self._told = {rule_id: rule for rule_id, rule in self._told.items() if rule_id in still}
        self._evaluator, self._states_version, self._position = evaluator, -1, None
        self._wanted.clear()

    def _learn_states(self, connection: Connection) -> None:
        """What other processes have made of the rules."""
        assert self._evaluator is not None
        version = states_version(connection)
        if version != self._states_version:
            states = find_states(connection, self._states_version)
            now, first = Moment.now(self._store.clock), self._states_version < 0
            self._evaluator.restore(states, now, first=first)
            self._states_version = version

    def _take_at_one_moment(self, connection: Connection) -> None:
        with snapshot(connection):
            self._take(connection)

    def _take(self, connection: Connection) -> None:
        evaluator = self._evaluator
        assert evaluator is not None
        clock = self._store.clock
        now_ms = clock.time_ms()
        offset_ms = now_ms - int(clock.monotonic() * 1000)
        after, self._position = self._position, None  # if this fails, it begins anew
        if offset_ms < self._offset_ms - JUMP_MS:
            after = None
        self._offset_ms = offset_ms
        self._learn_series(connection, evaluator)
        evaluator.advance(now_ms)
        arrived = metric_feed.read_feed(connection, after, evaluator.wanted(), None)
        if arrived.gap:
            self._read_history(connection, evaluator, now_ms)
        for block in arrived.chunks:
            evaluator.feed(*block)
        self._position = arrived.position

    def _learn_series(self, connection: Connection, evaluator: Evaluator) -> None:
        """What series there are now. One that is new has no samples from before."""
        ids = series.ids_of_metrics(connection, evaluator.metric_types())
        if new := evaluator.undefined(ids):
            for found in series.get_series(connection, new):
                if window_ms := evaluator.define(found):
                    self._wanted[window_ms].append(found.series)

    def _read_history(self, connection: Connection, evaluator: Evaluator, now_ms: int) -> None:
        """All samples that windows want, anew."""
        evaluator.clear()
        for window_ms, ids in self._wanted.items():
            pieces = metric_feed.plan_history(
                connection, ids, now_ms - window_ms, now_ms + AHEAD_MS
            )
            for piece in pieces:
                for block in metric_feed.read_history(connection, ids, piece):
                    evaluator.feed(*block)

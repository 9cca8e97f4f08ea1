"""A rule's life against a plain model: restarts, clocks that jump, silences, people, two processes.

All times are whole seconds and the window is one second, so a window holds what was recorded at the
very moment of the evaluation; what windows do beyond that is tested elsewhere.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ax_monitor import AlertStatus
from ax_monitor.alerting.live import AHEAD_MS, JUMP_MS
from tests.conftest import FakeClock
from tests.services.alert_helpers import Engine, condition

GROUPS = "ab"
THRESHOLD, RESOLVE = 10.0, 5.0
WINDOW_MS = 1000


@dataclass
class Instant:
    """When something was, on both clocks."""

    wall: int
    boot: str
    mono: float


@dataclass
class ModelAlert:
    """What is expected of an alert."""

    status: str = "active"
    occurrences: int = 1
    steps: list[str] = field(default_factory=lambda: ["active"])


@dataclass
class ModelGroup:
    """Where a group stands."""

    phase: str = "inactive"
    met_since: Instant | None = None
    last: Instant | None = None
    alerts: list[ModelAlert] = field(default_factory=list)

    def open(self) -> ModelAlert | None:
        return next((alert for alert in self.alerts if alert.status != "resolved"), None)


@dataclass
class ModelEngine:
    """Which groups a process knows: each has a window once a sample of it was read."""

    known: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)  # recorded since its last evaluation
    offset_ms: float | None = None  # the wall clock less the monotonic one, at its last evaluation


class Alerting(RuleBasedStateMachine):
    """One rule with a group for each host."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.db = str(Path(self.folder.name) / "monitor.db")
        self.clock = FakeClock(1_700_000_000_000)
        self.engines = [Engine(self.db, self.clock)]
        self.models = [ModelEngine()]
        self.boots = 1
        self.groups: dict[str, ModelGroup] = {}
        self.recorded: dict[tuple[int, str], float] = {}
        self.silenced_until: Instant | None = None
        self.silence_ms = 0

    def teardown(self) -> None:
        for engine in self.engines:
            engine.store.close()
        self.folder.cleanup()

    @initialize(
        for_s=st.sampled_from([0, 3, 10]),
        cooldown_s=st.sampled_from([0, 4, 30]),
        no_data=st.sampled_from(["ignore", "alert", "ok"]),
        auto_resolve=st.booleans(),
        hysteresis=st.booleans(),
        reboots=st.booleans(),
    )
    def make_rule(
        self,
        for_s: int,
        cooldown_s: int,
        no_data: str,
        auto_resolve: bool,
        hysteresis: bool,
        reboots: bool,
    ) -> None:
        self.reboots = reboots  # then the wall clock has to be right
        self.for_ms, self.cooldown_ms = for_s * 1000, cooldown_s * 1000
        self.no_data, self.auto_resolve = no_data, auto_resolve
        self.resolve_threshold = RESOLVE if hysteresis else THRESHOLD
        self.rule_id = self.engines[0].rule(
            by=["host"],
            for_ms=self.for_ms,
            cooldown_ms=self.cooldown_ms,
            no_data=no_data,
            auto_resolve=auto_resolve,
            condition=condition(
                aggregation="max",
                window_ms=WINDOW_MS,
                resolve_threshold=RESOLVE if hysteresis else None,
            ),
        )
        if cooldown_s:  # without one, two processes take turns
            self.engines.append(Engine(self.db, self.clock))
            self.models.append(ModelEngine())

    # -- the model --------------------------------------------------------------------------------

    def now(self) -> Instant:
        return Instant(self.clock.now_ms, self.clock.boot, self.clock.now_s)

    def since(self, instant: Instant) -> float:
        if instant.boot == self.clock.boot:
            return max(0.0, (self.clock.now_s - instant.mono) * 1000)
        return max(0, self.clock.now_ms - instant.wall)

    def is_silenced(self) -> bool:
        until = self.silenced_until
        return until is not None and self.in_force(until)

    def in_force(self, start: Instant) -> bool:
        if start.boot == self.clock.boot:
            return self.since(start) < self.silence_ms
        return start.wall <= self.clock.now_ms < start.wall + self.silence_ms

    def learn(self, model: ModelEngine) -> None:
        """What a process knows when it evaluates.

        What was recorded since it did so last; at its first time, or if the clock went back, what
        its window wants; and the groups whose state is stored.
        """
        now_ms = self.clock.now_ms
        offset_ms = now_ms - self.clock.now_s * 1000
        if model.offset_ms is None or offset_ms < model.offset_ms - JUMP_MS:
            model.unread = {
                host
                for time_ms, host in self.recorded
                if now_ms - WINDOW_MS <= time_ms <= now_ms + AHEAD_MS
            }
        model.known |= model.unread | {
            host
            for host, group in self.groups.items()
            if group.last is not None or (group.met_since is not None and self.for_ms)
        }
        model.unread, model.offset_ms = set(), offset_ms

    def expect(self, model: ModelEngine) -> int:
        """Move the model on; how many alerts are triggered."""
        self.learn(model)
        for host in model.known:
            self.groups.setdefault(host, ModelGroup())
        return sum(
            self.step(self.groups[host], self.recorded.get((self.clock.now_ms, host)))
            for host in sorted(model.known)
        )

    def step(self, group: ModelGroup, value: float | None) -> int:
        if value is None:
            if self.no_data == "ignore":
                return 0
            met = self.no_data == "alert"
        else:
            met = value > (self.resolve_threshold if group.phase == "firing" else THRESHOLD)
        if not met:
            alert = group.open()
            if group.phase == "firing" and self.auto_resolve and alert is not None:
                alert.status = "resolved"
                alert.steps.append("resolved")
            group.phase = "inactive"
            return 0
        if group.phase == "inactive":
            group.phase, group.met_since = "pending", self.now()
        assert group.met_since is not None
        if self.since(group.met_since) < self.for_ms:
            return 0
        if group.last is not None and (
            self.since(group.last) < self.cooldown_ms or group.last == self.now()
        ):
            return 0
        if self.is_silenced():
            return 0
        group.phase, group.last = "firing", self.now()
        if (alert := group.open()) is None:
            group.alerts.append(ModelAlert())
        else:
            alert.occurrences += 1
        return 1

    # -- what happens -----------------------------------------------------------------------------

    @rule(
        seconds=st.sampled_from([1, 1, 1, 2, 5, 40]),
        values=st.fixed_dictionaries(
            {host: st.sampled_from([None, 0.0, 7.0, 20.0, 20.0]) for host in GROUPS}
        ),
        which=st.integers(0, 1),
        twice=st.booleans(),
    )
    def evaluate(
        self, seconds: int, values: dict[str, float | None], which: int, twice: bool
    ) -> None:
        self.clock.advance(seconds)
        while any(time_ms == self.clock.now_ms for time_ms, _ in self.recorded):
            # The clock went back and is here again: windows may have left out what was far ahead.
            self.clock.advance(1)
        for host, value in values.items():
            if value is not None:
                self.engines[0].record(value, labels={"host": host})
                self.recorded[self.clock.now_ms, host] = value
                for model in self.models:
                    model.unread.add(host)
        self.engines[0].store.flush()
        place = which % len(self.engines)
        triggered = self.engines[place].alerts.evaluate_now()
        assert len(triggered) == self.expect(self.models[place])
        if twice:
            for other, model in zip(self.engines, self.models, strict=True):
                assert other.alerts.evaluate_now() == []
                self.learn(model)

    @precondition(lambda self: not self.reboots)
    @rule(seconds=st.sampled_from([-50, -7, 7, 3600]))
    def clock_jumps(self, seconds: int) -> None:
        self.clock.now_ms += seconds * 1000

    @rule()
    def restart(self) -> None:
        count = len(self.engines)
        for engine in self.engines:
            engine.store.close()
        if self.reboots:
            self.boots += 1
            self.clock.boot, self.clock.now_s = f"boot-{self.boots}", 5.0
        self.engines = [Engine(self.db, self.clock) for _ in range(count)]
        self.models = [ModelEngine() for _ in range(count)]
        for group in self.groups.values():
            if group.phase == "pending" and not self.for_ms:
                group.phase = "inactive"  # it only waited for its cooldown

    @rule(minutes=st.sampled_from([0.05, 1]))
    def silence(self, minutes: float) -> None:
        if not self.is_silenced():
            self.silence_ms = int(minutes * 60_000)
            self.engines[0].alerts.silence(duration_ms=self.silence_ms)
            self.silenced_until = self.now()

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), resolve=st.booleans(), which=st.integers(0, 1))
    def somebody_acts(self, data: st.DataObject, resolve: bool, which: int) -> None:
        host = data.draw(st.sampled_from(sorted(self.groups)))
        expected = self.groups[host].alerts
        alerts = self.engines[which % len(self.engines)].alerts
        stored = sorted(
            (alert for alert in alerts.list_alerts() if alert.group_labels == {"host": host}),
            key=lambda alert: alert.id,  # not by time: the clock may have gone back
        )
        if not stored:
            return
        place = data.draw(st.sampled_from(range(len(stored))))
        alert, model = stored[place], expected[place]
        if resolve:
            assert alerts.resolve_alert(alert.id, "ann") == (model.status != "resolved")
            target = AlertStatus.RESOLVED
            changes = model.status != "resolved"
        else:
            assert alerts.acknowledge_alert(alert.id, "ann") == (model.status == "active")
            target = AlertStatus.ACKNOWLEDGED
            changes = model.status == "active"
        if changes:
            model.status = target.value
            model.steps.append(target.value)

    @invariant()
    def what_is_stored_is_what_is_expected(self) -> None:
        alerts = self.engines[0].alerts
        found: dict[str, list[Any]] = {}
        for alert in sorted(alerts.list_alerts(), key=lambda alert: alert.id):
            steps = [step.to_status.value for step in alerts.get_alert_history(alert.id)]
            found.setdefault(alert.group_labels["host"], []).append(
                (alert.status.value, alert.occurrences, steps)
            )
        expected = {
            host: [(alert.status, alert.occurrences, alert.steps) for alert in group.alerts]
            for host, group in self.groups.items()
            if group.alerts
        }
        assert found == expected


TestAlerting = Alerting.TestCase
TestAlerting.settings = settings(max_examples=settings().max_examples // 8, stateful_step_count=25)

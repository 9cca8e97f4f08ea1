"""Windows and rules in plain Python, from lists of samples: what the kernels are compared with."""

from __future__ import annotations

import math
import operator
import struct
from dataclasses import dataclass, field

OPERATORS = (operator.gt, operator.ge, operator.lt, operator.le, operator.eq, operator.ne)
AGGREGATIONS = ("avg", "sum", "min", "max", "count", "p50", "p95", "p99", "rate")
IGNORE, ALERT, OK = range(3)
INACTIVE, PENDING, FIRING = range(3)
TO_PENDING, TRIGGER, CLEAR, RESOLVE = range(1, 5)


def block(samples: list[tuple[int, float]]) -> bytes:
    """A block as metric_chunks has it, from (ms since the minute began, value)."""
    samples = sorted(samples, key=lambda sample: sample[0])
    n = len(samples)
    offsets, values = zip(*samples, strict=True) if samples else ((), ())
    return struct.pack(f"<{n}H{n}d", *offsets, *values)


def nearest_rank(values: list[float], p: float) -> float:
    return sorted(values)[max(math.ceil(len(values) * p), 1) - 1]


def is_near(found: float, true: float) -> bool:
    """Within the bound of sketches; what is smaller than any normal number counts as 0."""
    return abs(found - true) <= abs(true) / 129 * (1 + 1e-12) or abs(true) < 2.3e-308


def is_sum(found: float, values: list[float]) -> bool:
    """Within one unit in the last place of the exact sum, but for what cancels out."""
    true = math.fsum(values)
    magnitude = math.fsum(map(abs, values))
    return abs(found - true) <= math.ulp(true) + (len(values) * 2.0**-53) ** 2 * magnitude


@dataclass
class WindowModel:
    """The values of each pane in a list, and what is kept of them."""

    pane_ms: int
    panes: int
    ahead: int
    clock: int | None = None
    kept: dict[int, list[float]] = field(default_factory=dict)
    late: int = 0
    future: int = 0
    rejected: int = 0
    idle_since: int | None = None

    def advance(self, now_ms: int) -> None:
        self.clock = now_ms // self.pane_ms

    def record(self, timestamp: int, value: float) -> bool:
        pane = timestamp // self.pane_ms
        clock = max((pane, *self.kept)) if self.clock is None else self.clock
        if not math.isfinite(value):
            self.rejected += 1
        elif pane <= clock - self.panes:
            self.late += 1
        elif pane > clock + self.ahead:
            self.future += 1
        else:
            for other in list(self.kept):
                if other > clock + self.ahead:
                    self.future += len(self.kept.pop(other))
                elif other <= clock - self.panes:
                    del self.kept[other]
            self.kept.setdefault(pane, []).append(value)
            self.idle_since = None
            return True
        return False

    def values(self, t: int) -> list[float]:
        newest = t // self.pane_ms
        held = range(newest - self.panes + 1, newest + 1)
        return [value for pane in held for value in self.kept.get(pane, ())]

    def release_idle(self, t: int, monotonic: int) -> None:
        """Forget everything once it has been too old for as long as the window is."""
        oldest = t // self.pane_ms - self.panes
        if any(pane > oldest for pane in self.kept):
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = monotonic if self.kept else None
        elif monotonic - self.idle_since >= self.panes * self.pane_ms:
            self.kept = {}
            self.idle_since = None

    def aggregated(self, aggregation: str, t: int) -> float | None:
        values = self.values(t)
        if not values:
            return None
        total = math.fsum(values)
        return {
            "avg": lambda: total / len(values),
            "sum": lambda: total,
            "min": lambda: min(values),
            "max": lambda: max(values),
            "count": lambda: float(len(values)),
            "p50": lambda: nearest_rank(values, 0.50),
            "p95": lambda: nearest_rank(values, 0.95),
            "p99": lambda: nearest_rank(values, 0.99),
            "rate": lambda: total / (self.panes * self.pane_ms / 1000),
        }[aggregation]()


@dataclass
class RuleModel:
    """One rule, with its state."""

    operator: int
    aggregation: int
    threshold: float
    resolve_threshold: float | None = None
    for_ms: int = 0
    cooldown_ms: int = 0
    no_data: int = IGNORE
    phase: int = INACTIVE
    met_since: int | None = None
    last_trigger: int | None = None

    def is_met(self, value: float | None) -> bool | None:
        """None: nothing changes."""
        if value is None:
            return (None, True, False)[self.no_data]
        threshold = self.threshold
        if self.phase == FIRING and self.resolve_threshold is not None:
            threshold = self.resolve_threshold
        return bool(OPERATORS[self.operator](value, threshold))

    def evaluate(self, value: float | None, now: int) -> int:
        """The transition; 0: none."""
        met, before = self.is_met(value), self.phase
        if met is None:
            return 0
        if not met:
            self.phase, self.met_since = INACTIVE, None
            if before == FIRING:
                return RESOLVE
            return CLEAR if before == PENDING and self.for_ms else 0
        if before == INACTIVE:
            self.phase, self.met_since = PENDING, now
            if self.for_ms:
                return TO_PENDING
        if self.met_since is not None and now < self.met_since + self.for_ms:
            return 0
        if self.last_trigger is not None and now < self.last_trigger + max(self.cooldown_ms, 1):
            return 0
        self.phase, self.last_trigger = FIRING, now
        return TRIGGER

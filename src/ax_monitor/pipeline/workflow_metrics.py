"""The metrics that workflows record by themselves.

| metric | unit | when | labels |
|---|---|---|---|
| `workflow.execution.duration` | ms | an execution is finished | workflow, status |
| `workflow.execution.count` | count | the same: always 1 | workflow, status |
| `workflow.step.duration` | ms | an attempt at a step ends | workflow, status |
| `workflow.step.count` | count | the same: always 1 | workflow, status |
| `workflow.step.cost` | usd | the same, if it had a cost | workflow, provider, model |
| `workflow.queue.wait_time` | ms | an execution that was pending runs | workflow |
| `workflow.queue.length` | count | executions that run here become more or fewer | |

They are the tenant's of the execution, but for the last, which is of the whole process. The label
`workflow` is the name; it is missing where this process does not know it.
"""

from __future__ import annotations

import contextvars
from typing import Any, Final, Protocol

from ax_monitor._native import OpenExecution, OpenStep

MAX_WORKFLOWS: Final = 10_000  # whose series are remembered; then all are looked up anew


class Series(Protocol):
    """What samples of one metric with its labels are recorded into."""

    def record(self, value: float, /) -> None:
        """Record one sample, now."""


class SeriesSource(Protocol):
    """Where series come from; see `MetricsCollector.series`."""

    def series(
        self,
        metric_type: str,
        *,
        unit: str | None = None,
        labels: dict[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> Series:
        """The series of a metric with these labels."""


class WorkflowMetrics:
    """Records the metrics above. Thread-safety: any thread, without a lock."""

    def __init__(self, source: SeriesSource) -> None:
        self._source = source
        self._workflows: dict[tuple[str | None, str | None], _SeriesOfWorkflow] = {}
        self._unknown = _SeriesOfWorkflow(source, None, None)
        self._queue_length = _series(source, "workflow.queue.length", {}, None)

    def execution_ended(self, execution: OpenExecution) -> None:
        """An execution is finished."""
        series = self._of(execution)
        duration, count = series.executions.get(execution.status) or series.make_pair(
            "execution", execution.status
        )
        duration.record(execution.duration or 0.0)
        count.record(1.0)

    def attempt_ended(self, step: OpenStep) -> None:
        """An attempt at a step has ended."""
        execution = step.execution
        series = self._unknown if execution is None else execution.series or self._of(execution)
        duration, count = series.steps.get(step.status) or series.make_pair("step", step.status)
        duration.record(step.duration or 0.0)
        count.record(1.0)
        if step.attempt_cost is not None:
            series.cost_of(step.provider, step.model).record(step.attempt_cost)

    def waited(self, execution: OpenExecution, wait_ms: float) -> None:
        """An execution was pending for so long, and runs now."""
        self._of(execution).wait_time().record(wait_ms)

    def running(self, count: int) -> None:
        """So many executions run in this process now."""
        self._queue_length.record(count)

    def _of(self, execution: OpenExecution) -> _SeriesOfWorkflow:
        found: _SeriesOfWorkflow | None = execution.series
        if found is None:
            key = (execution.workflow_name, execution.tenant_id)
            found = self._workflows.get(key)
            if found is None:
                if len(self._workflows) >= MAX_WORKFLOWS:
                    self._workflows.clear()
                found = self._workflows.setdefault(key, _SeriesOfWorkflow(self._source, *key))
            execution.series = found
        return found


class _SeriesOfWorkflow:
    """The series of one workflow and tenant, each made when it is needed."""

    __slots__ = ("_costs", "_name", "_source", "_tenant_id", "_wait_time", "executions", "steps")

    def __init__(self, source: SeriesSource, name: str | None, tenant_id: str | None) -> None:
        self._source = source
        self._name = name
        self._tenant_id = tenant_id
        self._wait_time: Series | None = None
        self._costs: dict[tuple[str | None, str | None], Series] = {}
        self.executions: dict[str, tuple[Series, Series]] = {}  # duration and count, by status
        self.steps: dict[str, tuple[Series, Series]] = {}

    def make_pair(self, what: str, status: str) -> tuple[Series, Series]:
        """Duration and count of executions, or of steps, that ended so."""
        pair = (
            self._make(f"workflow.{what}.duration", status=status),
            self._make(f"workflow.{what}.count", status=status),
        )
        (self.executions if what == "execution" else self.steps)[status] = pair
        return pair

    def cost_of(self, provider: str | None, model: str | None) -> Series:
        """The cost of steps that called this provider and model."""
        key = (provider, model)
        found = self._costs.get(key)
        if found is None:
            if len(self._costs) >= MAX_WORKFLOWS:
                self._costs.clear()
            found = self._make("workflow.step.cost", "usd", provider=provider, model=model)
            self._costs[key] = found
        return found

    def wait_time(self) -> Series:
        """How long executions were pending."""
        if self._wait_time is None:
            self._wait_time = self._make("workflow.queue.wait_time")
        return self._wait_time

    def _make(self, metric_type: str, unit: str | None = None, **labels: str | None) -> Series:
        labels = {"workflow": self._name, **labels}
        return _series(self._source, metric_type, labels, self._tenant_id, unit)


def _series(
    source: SeriesSource,
    metric_type: str,
    labels: dict[str, str | None],
    tenant_id: str | None,
    unit: str | None = None,
) -> Series:
    given = {name: value for name, value in labels.items() if value is not None}
    # Without a context: it would fill the tenant in, and the series outlives it.
    return contextvars.Context().run(
        source.series, metric_type, unit=unit, labels=given, tenant_id=tenant_id
    )

"""Every operation of the table, called again and again on a database made for it.

All of them are measured as an engine has them: with the pump at work, the garbage collector on, and
beside what the database holds already. What a call needs is made before it, outside the timed part.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, NamedTuple

from ax_monitor.bench import payload
from ax_monitor.bench.corpus import METRIC, SAMPLE_INTERVAL_MS, SPANS, Corpus, build, seal
from ax_monitor.bench.harness import Effort, call_times
from ax_monitor.bench.table import OPERATIONS, Row, row_of_size, row_of_times
from ax_monitor.model.alerts import Alert
from ax_monitor.model.logs import LogPage
from ax_monitor.pipeline.store import Store
from ax_monitor.services.alerting import AlertingService
from ax_monitor.services.health import HealthCheckService
from ax_monitor.services.logger import StructuredLogger
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.services.tracer import DistributedTracer

NORMAL: Final = Effort(calls=50_000, enough=1000, seconds=2.5, at_most_s=6.0)
QUICK: Final = Effort(calls=20_000, enough=1000, seconds=0.5, at_most_s=0.5)

PER_MS: Final = 50  # of what an engine does all the time: 50,000 a second
_LARGE_BUFFER: Final = 1_000_000  # the pump wakes for its own, larger than what is flushed here
FLUSHED_LOGS: Final = 50
FLUSHED_SAMPLES: Final = 100
_FLUSHES_PER_SEAL: Final = 400  # the pump steps in from some 500 batches on
SEARCH: Final = 'timeout OR "rate limit"'
DAY_MS: Final = 86_400_000
POINT_MS: Final = 300_000
LABELS: Final = {"provider": "claude", "model": "large", "route": "/orders"}
_RULE_METRIC: Final = "bench.watched"


class Case(NamedTuple):
    """An operation of the table, and how it is called; see `call_times`."""

    name: str
    call: Callable[[int], object]
    before: Callable[[int], object] | None = None
    per_ms: int | None = None


Cases = Generator[Case, None, None]


def measure(folder: Path, records: int, effort: Effort, tell: Callable[[str], None]) -> list[Row]:
    """The rows of the table, in its order.

    Args:
        folder: An empty one, for the database.
        records: How many log records, and samples, the database holds to begin with.
        effort: How often operations are called.
        tell: Called with what comes next: as often as there are operations.
    """
    tell("filling a database")
    corpus = build(folder, records)
    operations = {operation.name: operation for operation in OPERATIONS}
    size = operations["1M log records"]
    rows = {size.name: row_of_size(size, corpus.bytes_per_million)}
    for part in (_logs, _traces, _metrics, _health, _evaluation, _alerts, _sample_flush):
        seal(corpus.path)
        with contextlib.closing(part(corpus)) as cases:
            for case in cases:
                tell(case.name)
                taken_ns = call_times(case.call, effort, before=case.before, per_ms=case.per_ms)
                rows[case.name] = row_of_times(operations[case.name], taken_ns)
    return [rows[operation.name] for operation in OPERATIONS]


def _logs(corpus: Corpus) -> Cases:
    texts = payload.messages(10_000)
    with Store(corpus.path) as store:
        logger = StructuredLogger(store, buffer_size=_LARGE_BUFFER)
        ids, first_ms = corpus.execution_ids, corpus.logs_until_ms - DAY_MS

        def search(number: int) -> LogPage:
            until_ms = corpus.logs_until_ms - number % 1000
            return logger.query_logs(
                search=SEARCH, start_time=first_ms, end_time=until_ms, limit=50
            )

        def execution(number: int) -> LogPage:
            return logger.get_execution_logs(ids[number % len(ids)])

        assert len(search(0)) == 50
        yield Case("full-text search", search)
        assert len(execution(0)) == payload.LOGS_PER_EXECUTION
        yield Case("indexed log query", execution)

        log = _log_call(logger, texts)

        def record(number: int) -> None:
            for each in range(number * FLUSHED_LOGS, (number + 1) * FLUSHED_LOGS):
                log(each)

        yield Case("flush of 50 logs", lambda _: store.flush(), before=record)
    with Store(corpus.path) as store:
        yield Case("log call", _log_call(StructuredLogger(store), texts), per_ms=PER_MS)


def _log_call(logger: StructuredLogger, texts: list[str]) -> Callable[[int], None]:
    executions = payload.executions(len(texts))
    info, each = logger.info, payload.LOGS_PER_EXECUTION

    def call(number: int) -> None:
        number %= len(texts)
        execution_id, trace_id = executions[number // each]
        info(
            texts[number],
            payload.SOURCE,
            execution_id=execution_id,
            trace_id=trace_id,
            span_id=payload.SPAN_ID,
            tenant_id=payload.TENANT_ID,
            metadata=payload.METADATA,
        )

    return call


def _traces(corpus: Corpus) -> Cases:
    with Store(corpus.path) as store:
        tracer = DistributedTracer(store)
        ids, complete = corpus.trace_ids, tracer.complete_span
        trace = tracer.get_trace(ids[0])
        assert trace is not None
        assert len(trace.spans) == SPANS
        yield Case("trace of 50 spans", lambda number: tracer.get_trace(ids[number % len(ids)]))

        span_id: str | None = None

        def start(number: int) -> None:
            nonlocal span_id
            span_id = tracer.start_span(
                payload.TRACE_ID,
                "step",
                parent_span_id=payload.SPAN_ID,
                attributes=payload.SPAN_ATTRIBUTES,
            )

        def end(number: int) -> None:
            if span_id is not None:
                complete(span_id)

        yield Case("span creation", start, before=end, per_ms=PER_MS)
        end(0)
        yield Case("span completion", end, before=start, per_ms=PER_MS)


def _metrics(corpus: Corpus) -> Cases:
    with Store(corpus.path) as store:
        metrics = MetricsCollector(store)
        until_ms = corpus.samples_until_ms
        since_ms = until_ms - corpus.records * SAMPLE_INTERVAL_MS
        found = metrics.get_aggregation(METRIC, since_ms, until_ms)
        assert found is not None
        assert found.count == corpus.records
        yield Case(
            "aggregation", lambda number: metrics.get_aggregation(METRIC, since_ms, until_ms)
        )
        yield Case(
            "time series",
            lambda number: metrics.get_time_series(METRIC, until_ms - DAY_MS, until_ms, POINT_MS),
        )
    with Store(corpus.path) as store:
        record = MetricsCollector(store).record
        yield Case(
            "metric record",
            lambda number: record("bench.recorded", float(number), labels=LABELS),
            per_ms=PER_MS,
        )


def _health(corpus: Corpus) -> Cases:
    with Store(corpus.path) as store:
        health = HealthCheckService(store)
        health.register_cache(lambda: {"size_bytes": 1, "hit_rate": 0.9})
        health.register_provider("provider", lambda: True)
        checks, names = health.sync, health.components
        checks.get_system_health()  # looks at the CPUs for a tenth of a second, the first time
        yield Case(
            "component check",
            lambda number: checks.get_component_health(names[number % len(names)]),
        )
        yield Case("system health", lambda number: checks.get_system_health())


def _evaluation(corpus: Corpus) -> Cases:
    with Store(corpus.path) as store:
        metrics, alerting = MetricsCollector(store), AlertingService(store)
        rule_id = _make_rule(alerting, threshold=10)

        def sample(number: int) -> None:
            metrics.record(_RULE_METRIC, 1.0)
            store.flush()

        assert alerting.evaluate_now() == []  # reads the rules
        yield Case("rule evaluation", lambda number: alerting.evaluate_now(), before=sample)
        assert alerting.list_alerts() == []
        alerting.delete_rule(rule_id)


def _alerts(corpus: Corpus) -> Cases:
    with Store(corpus.path) as store:
        metrics, alerting = MetricsCollector(store), AlertingService(store)
        _make_rule(alerting, threshold=0)
        triggered: list[Alert] = []

        def sample(number: int) -> None:
            for alert in triggered:
                alerting.resolve_alert(alert.id)
                while store.clock.time_ms() <= alert.timestamp:  # no rule triggers twice in a ms
                    time.sleep(0.0001)
            metrics.record(_RULE_METRIC, 1.0)
            store.flush()

        def evaluate(number: int) -> None:
            nonlocal triggered
            triggered = alerting.evaluate_now()

        sample(0)
        evaluate(0)
        assert len(triggered) == 1
        yield Case("alert trigger", evaluate, before=sample)
        assert len(triggered) == 1


def _make_rule(alerting: AlertingService, threshold: float) -> str:
    return alerting.create_rule(
        "Slow",
        "Slower than ever",
        _RULE_METRIC,
        {"operator": "gt", "threshold": threshold, "window_ms": 60_000, "aggregation": "avg"},
        "warning",
        cooldown_ms=0,
    )


def _sample_flush(corpus: Corpus) -> Cases:
    with Store(corpus.path) as store:
        record = MetricsCollector(store, buffer_size=_LARGE_BUFFER).record
        hour_ago_ms = store.clock.time_ms() - 3_600_000  # so that they can be sealed at once

        def samples(number: int) -> None:
            if number % _FLUSHES_PER_SEAL == 0:
                seal(corpus.path)
            for each in range(FLUSHED_SAMPLES):
                record("bench.flushed", float(each), labels=LABELS, timestamp=hour_ago_ms)

        yield Case("flush of 100", lambda number: store.flush(), before=samples)

"""The database that operations are measured on: what an engine leaves in it, as in real use."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ax_monitor.bench import payload
from ax_monitor.pipeline.store import Store
from ax_monitor.services.logger import StructuredLogger
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.services.tracer import DistributedTracer
from ax_monitor.storage.writer import Writer

MILLION: Final = 1_000_000
RECORDS_PER_TRACE: Final = 1000
TRACES_AT_LEAST: Final = 20
SPANS: Final = 50
METRIC: Final = "api.request.duration"
SAMPLE_INTERVAL_MS: Final = 1000
_TEXTS: Final = 50_000
LOG_INTERVAL_NS: Final = 20_000_000
_SAMPLES_AT_ONCE: Final = 50_000  # the ring holds more
_PATIENCE_MS: Final = 60_000  # a full ring makes the filling wait, and nothing is dropped


@dataclass(frozen=True, slots=True)
class Corpus:
    """A database, and what is in it.

    Args:
        path: The file.
        records: Log records, and samples of one series.
        execution_ids: Executions, each with a hundred of the records.
        trace_ids: Traces, each with 50 spans and 50 events.
        logs_until_ms: Time of the last record, in ms since the epoch.
        samples_until_ms: Time of the last sample.
        bytes_per_million: What a million log records take in the file, with their index: what
            these took, less what an empty file takes, extrapolated.
    """

    path: Path
    records: int
    execution_ids: list[str]
    trace_ids: list[str]
    logs_until_ms: int
    samples_until_ms: int
    bytes_per_million: int


def build(folder: Path, records: int) -> Corpus:
    """Make one in a folder."""
    path = folder / "monitor.db"
    Store(path).close()
    empty_bytes = os.path.getsize(path)
    with Store(path, overflow_wait_ms=_PATIENCE_MS) as store:
        executions = fill_logs(StructuredLogger(store), records)
        logs_until_ms = store.clock.time_ms()
    log_bytes = os.path.getsize(path) - empty_bytes
    with Store(path, overflow_wait_ms=_PATIENCE_MS) as store:
        trace_ids = fill_traces(
            DistributedTracer(store), max(TRACES_AT_LEAST, records // RECORDS_PER_TRACE)
        )
        samples_until_ms = store.clock.time_ms()
        fill_samples(MetricsCollector(store), records, samples_until_ms)
    seal(path)
    return Corpus(
        path,
        records,
        [execution_id for execution_id, _ in executions[: records // payload.LOGS_PER_EXECUTION]],
        trace_ids,
        logs_until_ms,
        samples_until_ms,
        round(log_bytes * MILLION / records),
    )


def fill_logs(logger: StructuredLogger, records: int) -> list[tuple[str, str]]:
    """Record so many, fifty for each second up to now; one in a hundred is an error.

    Their executions, as `payload.executions` has them.
    """
    texts = payload.messages(min(records, _TEXTS))
    executions = payload.executions(records)
    begin_ns = time.time_ns() - records * LOG_INTERVAL_NS
    for number in range(records):
        execution_id, trace_id = executions[number // payload.LOGS_PER_EXECUTION]
        logger.log_at(
            17 if number % 100 == 0 else 9,
            texts[number % len(texts)],
            payload.SOURCE,
            timestamp_ns=begin_ns + number * LOG_INTERVAL_NS,
            execution_id=execution_id,
            trace_id=trace_id,
            span_id=payload.SPAN_ID,
            tenant_id=payload.TENANT_ID,
            metadata=payload.METADATA,
        )
    logger.flush()
    return executions


def fill_traces(tracer: DistributedTracer, traces: int) -> list[str]:
    """Record so many, each of 50 spans with an event each; their ids."""
    trace_ids = []
    for number in range(traces):
        with tracer.trace(f"run-{number}", "root") as root:
            trace_ids.append(root.trace_id)
            root.add_event("progress", {"step": 0})
            for step in range(1, SPANS):
                with tracer.span("step", attributes=payload.SPAN_ATTRIBUTES) as span:
                    span.add_event("progress", {"step": step})
    tracer.store.flush()
    return trace_ids


def fill_samples(metrics: MetricsCollector, samples: int, until_ms: int) -> None:
    """Record so many of one series, one a second up to a time."""
    import numpy as np  # noqa: PLC0415 (takes longer to import than all the rest)

    values = np.random.default_rng(7).lognormal(3, 1, samples)
    times = until_ms - SAMPLE_INTERVAL_MS * np.arange(samples - 1, -1, -1, dtype=np.int64)
    for first in range(0, samples, _SAMPLES_AT_ONCE):
        part = slice(first, first + _SAMPLES_AT_ONCE)
        metrics.record_many(METRIC, values[part], times[part])
        metrics.store.flush()


def seal(path: Path, *, ahead_ms: int = 0) -> None:
    """Seal the samples of minutes that are over, and large numbers of small batches.

    The pump of an engine does it now and then; here thousands of batches are written in a second.

    Args:
        path: The file.
        ahead_ms: As if it were so much later (default 0 ms).
    """
    with contextlib.closing(Writer(str(path))) as writer:
        while writer.seal_samples(time.time_ns() // 1_000_000 + ahead_ms):
            pass

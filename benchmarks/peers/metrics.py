"""Peers of the recording of a sample by name, with three labels. "Bound": the labels are looked up before."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ax_monitor.bench.operations import LABELS, PER_MS, Case
from benchmarks.peers.peer import Cases, Peer
from benchmarks.peers.storage import Database, drained

_METRIC = "bench.recorded"


def _case(record: Callable[[float], object]) -> Case:
    return Case("metric record", lambda number: record(float(number)), per_ms=PER_MS)


def _by_hand(folder: Path, records: int) -> Cases:
    append = drained(Database(folder / "samples.db").write_samples).append

    def record(name: str, value: float, labels: dict[str, str]) -> None:
        append((name, time.time_ns() // 1_000_000, value, labels))

    yield _case(lambda value: record(_METRIC, value, labels=LABELS))


def _prometheus(folder: Path, records: int, *, bound: bool) -> Cases:
    import prometheus_client

    registry = prometheus_client.CollectorRegistry()
    histogram = prometheus_client.Histogram("recorded", "x", list(LABELS), registry=registry)
    if bound:
        yield _case(histogram.labels(**LABELS).observe)
    else:
        yield _case(lambda value: histogram.labels(**LABELS).observe(value))


def _opentelemetry(folder: Path, records: int) -> Cases:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    provider = MeterProvider(metric_readers=[InMemoryMetricReader()])
    record = provider.get_meter("bench").create_histogram("recorded").record
    yield _case(lambda value: record(value, LABELS))


def _ddsketch(folder: Path, records: int) -> Cases:
    from ddsketch import DDSketch

    yield _case(DDSketch(0.01).add)


_DOES = ("metric record",)
PEERS = (
    Peer("a tuple in a deque, by hand", _DOES, _by_hand, ("orjson",)),
    Peer("prometheus_client", _DOES, partial(_prometheus, bound=False), ("prometheus-client",)),
    Peer(
        "prometheus_client, bound", _DOES, partial(_prometheus, bound=True), ("prometheus-client",)
    ),
    Peer("OpenTelemetry histogram", _DOES, _opentelemetry, ("opentelemetry-sdk",)),
    Peer("ddsketch, bound", _DOES, _ddsketch, ("ddsketch",)),
)

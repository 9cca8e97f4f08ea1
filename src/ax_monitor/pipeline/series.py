"""Which series there are in this process: from names and labels to ids, and how many at most."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from ax_monitor import redaction
from ax_monitor._native import MetricSeries, MetricSettings
from ax_monitor.model.metrics import default_unit
from ax_monitor.pipeline.plain import plain_metadata, plain_text
from ax_monitor.pipeline.recorder import BLOCK, Recorder
from ax_monitor.storage.records import SERIES

# What OpenTelemetry's SDKs do beyond their cardinality limit:
# https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute
OVERFLOW_LABELS: Final = {"otel.metric.overflow": "true"}
MAX_LABELS: Final = 64
MAX_LABEL_CHARACTERS: Final = 1024  # of a name and of a value
_SERIES_BITS: Final = 62

_Key = tuple[str, str | None, tuple[tuple[str, str], ...], str | None]


def series_id(
    metric_type: str,
    unit: str | None,
    labels: tuple[tuple[str, str], ...],
    tenant_id: str | None,
) -> int:
    """The id of a series: the same in every process, 62 bits of a BLAKE2b hash.

    >>> series_id("cpu.usage", "percent", (("host", "a"),), None)
    296005071259634227
    """
    content = json.dumps([metric_type, unit, labels, tenant_id]).encode()
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little") >> (64 - _SERIES_BITS)


class SeriesBook:
    """The series of one collector.

    Thread-safety: any thread; two that ask for a new series at once get the same id.

    Args:
        recorder: Where definitions of series are recorded.
        redact: Whether label values that look like secrets are replaced.
        max_series: A metric has at most so many series here; further ones share its overflow
            series, which has the labels `OVERFLOW_LABELS`.
    """

    def __init__(self, recorder: Recorder, *, redact: bool, max_series: int) -> None:
        self._recorder = recorder
        self._redact = redact
        self._max_series = max_series
        self._series: dict[_Key, MetricSeries] = {}
        self._per_metric: dict[str, int] = {}
        recorder.definitions.append(self._define_all)
        self.overflowed = 0  # samples, or handles, whose series is an overflow series

    def resolve(
        self,
        settings: MetricSettings,
        metric_type: object,
        unit: object,
        labels: object,
        tenant_id: object,
    ) -> tuple[MetricSeries, bool]:
        """The series of what a call said, and whether its caller may remember that.

        Raises:
            TypeError: the metric has no name, or labels are no mapping.
        """
        name = _text(metric_type)
        if not isinstance(metric_type, str) or not name:
            raise TypeError(f"a metric needs a name, got {metric_type!r}")
        if labels is not None and not isinstance(labels, Mapping):
            raise TypeError(f"labels must be a mapping of texts, got {labels!r:.80}")
        tenant = None if tenant_id is None else _text(tenant_id)
        given_unit = default_unit(name) if unit is None else _text(unit)
        pairs = self._plain_labels(labels) if labels else ()
        key = (name, given_unit, pairs, tenant)
        if (found := self._series.get(key)) is not None:
            return found, True
        if self._per_metric.get(name, 0) < self._max_series:
            return self._make(settings, key, counts=True), True
        self.overflowed += 1
        key = (name, given_unit, tuple(OVERFLOW_LABELS.items()), tenant)
        # Not remembered: there is no end of label sets.
        return self._series.get(key) or self._make(settings, key, counts=False), False

    def _plain_labels(self, labels: Mapping[Any, Any]) -> tuple[tuple[str, str], ...]:
        plain = plain_metadata(labels)
        if self._redact:
            plain = redaction.redact_value(plain)
        first = sorted(plain.items())[:MAX_LABELS]
        return tuple(sorted({_text(name): _label_text(value) for name, value in first}.items()))

    def _make(self, settings: MetricSettings, key: _Key, *, counts: bool) -> MetricSeries:
        metric_type, unit, pairs, tenant_id = key
        series = MetricSeries(
            self._recorder.ring,
            settings,
            series=series_id(metric_type, unit, pairs, tenant_id),
            metric_type=metric_type,
            unit=unit,
            labels=dict(pairs),
            tenant_id=tenant_id,
        )
        kept = self._series.setdefault(key, series)  # another thread may have been faster
        if kept is series and counts:
            self._per_metric[metric_type] = self._per_metric.get(metric_type, 0) + 1
        return kept

    def define(self, series: MetricSeries, policy: int) -> bool:
        """Record what a series is; False if that was dropped (and counted)."""
        fields = (
            series.series,
            series.metric_type,
            series.unit,
            series.labels,
            series.tenant_id,
        )
        return self._recorder.append(SERIES, fields, policy=policy) > 0

    def _define_all(self) -> None:
        for series in list(self._series.values()):
            self.define(series, BLOCK)


def _text(value: object) -> str:
    return plain_text(value).encode("utf-8", "backslashreplace").decode()[:MAX_LABEL_CHARACTERS]


def _label_text(value: object) -> str:
    # Numbers, true, false, null, and whatever is nested.
    return _text(value if isinstance(value, str) else json.dumps(value))

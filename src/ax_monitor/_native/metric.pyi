from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat, SupportsInt, final

MAX_TIMESTAMP_MS: int

@final
class MetricSettings:
    policy: int
    listening: bool
    @property
    def resolve(self) -> Any: ...
    @property
    def define(self) -> Any: ...
    @property
    def publish(self) -> Any: ...
    @property
    def reject(self) -> Any: ...
    def __init__(
        self,
        *,
        resolve: Callable[[Any, Any, Any, Any], tuple[MetricSeries, bool]],
        define: Callable[[MetricSeries], bool],
        publish: Callable[[MetricSeries, int, float], None],
        reject: Callable[[str, Any, Any, str], None],
        policy: int = 0,
    ) -> None: ...

@final
class MetricSeries:
    series: int
    metric_type: str
    unit: str | None
    labels: dict[str, str]
    tenant_id: str | None
    def __init__(
        self,
        ring: Any,
        settings: MetricSettings,
        *,
        series: int,
        metric_type: str,
        unit: str | None,
        labels: dict[str, str],
        tenant_id: str | None,
    ) -> None: ...
    def record(self, value: SupportsFloat) -> None: ...
    def record_at(self, value: SupportsFloat, timestamp: SupportsInt) -> None: ...
    def record_many(self, values: Any, timestamps: Any) -> int: ...

class MetricChannel:
    def __init__(self, settings: MetricSettings) -> None: ...
    def record(
        self,
        metric_type: str,
        value: SupportsFloat,
        *,
        unit: str | None = None,
        labels: Mapping[str, Any] | None = None,
        tenant_id: str | None = None,
        timestamp: SupportsInt | None = None,
    ) -> None: ...
    def series(
        self,
        metric_type: str,
        *,
        unit: str | None = None,
        labels: Mapping[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> MetricSeries: ...

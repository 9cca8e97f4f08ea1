from typing import Any, final

from typing_extensions import disjoint_base

from ax_monitor._native.ring import RecordRing

@final
class LogSettings:
    min_severity: int
    policy: int
    redact: int
    listening: bool
    simplify: Any
    publish: Any
    def __init__(
        self,
        *,
        simplify: Any,
        publish: Any,
        min_severity: int = 9,
        policy: int = 0,
        redact: int = 1,
    ) -> None: ...

@disjoint_base
class LogChannel:
    def __init__(self, ring: RecordRing, settings: LogSettings) -> None: ...
    def preset(self, parent: LogChannel, context: dict[str, Any]) -> None: ...
    def debug(
        self,
        message: object,
        source: str | None = None,
        *,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        metadata: Any = None,
    ) -> None: ...
    def info(
        self,
        message: object,
        source: str | None = None,
        *,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        metadata: Any = None,
    ) -> None: ...
    def warn(
        self,
        message: object,
        source: str | None = None,
        *,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        metadata: Any = None,
    ) -> None: ...
    def error(
        self,
        message: object,
        source: str | None = None,
        *,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        metadata: Any = None,
        error: BaseException | None = None,
        stack_trace: str | None = None,
    ) -> None: ...
    def fatal(
        self,
        message: object,
        source: str | None = None,
        *,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        metadata: Any = None,
        error: BaseException | None = None,
        stack_trace: str | None = None,
    ) -> None: ...
    warning = warn
    critical = fatal
    def log_at(
        self,
        severity: int,
        message: object,
        source: str | None,
        *,
        timestamp_ns: int | None = None,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        metadata: Any = None,
        stack_trace: object = None,
    ) -> None: ...

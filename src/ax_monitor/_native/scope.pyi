from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, final

from ax_monitor._native.context import ContextBlock
from ax_monitor._native.span import TraceChannel

@final
class SpanScope(ContextBlock):
    trace_id: str
    span_id: str
    def __init__(
        self,
        channel: TraceChannel,
        name: object,
        kind: str = "internal",
        attributes: Mapping[str, Any] | None = None,
        *,
        new_trace: bool = False,
        execution_id: object = None,
        tenant_id: object = None,
        parent: Any = None,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def begin(self) -> None: ...
    def resume(self) -> None: ...
    def suspend(self) -> None: ...
    def end(self, error: BaseException | None = None) -> None: ...
    @property
    def recording(self) -> bool: ...
    def set_attributes(self, attributes: Mapping[str, Any] | None = None, **more: Any) -> None: ...
    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None: ...
    def set_status(self, status: str) -> None: ...
    def record_exception(self, error: BaseException) -> None: ...

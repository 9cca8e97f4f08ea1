from contextvars import ContextVar
from typing import final

from typing_extensions import disjoint_base

@final
class RecordContext:
    execution_id: str | None
    trace_id: str | None
    span_id: str | None
    tenant_id: str | None
    user_id: str | None
    sampled: bool
    tracestate: str | None
    def __init__(
        self,
        *,
        execution_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        sampled: bool = True,
        tracestate: str | None = None,
    ) -> None: ...

@disjoint_base
class ContextBlock: ...

@final
class ContextScope(ContextBlock):
    def __init__(
        self,
        *,
        execution_id: object = None,
        tenant_id: object = None,
        user_id: object = None,
    ) -> None: ...
    def leave(self) -> None: ...

context_var: ContextVar[RecordContext | None]

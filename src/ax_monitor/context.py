"""What records made here and now belong to.

The context is a `contextvars` variable, so it follows `await`, asyncio tasks, `asyncio.to_thread`,
and threads that are started through `contextvars.copy_context().run`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ax_monitor._native import RecordContext, context_var


def current_context() -> RecordContext | None:
    """The ids that records take over at the moment, or None."""
    return context_var.get(None)


@contextlib.contextmanager
def use_context(
    *,
    execution_id: str | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    tenant_id: str | None = None,
    user_id: str | None = None,
) -> Iterator[RecordContext]:
    """Give every record inside the `with` block these ids, where it has none of its own.

    What is not given stays as it is outside; a new trace begins without a span.

    >>> with use_context(execution_id="run-7", tenant_id="acme"):
    ...     with use_context(trace_id="0af7651916cd43dd8448eb211c80319c") as context:
    ...         context.execution_id
    'run-7'
    """
    outer = current_context() or RecordContext()
    if span_id is None and trace_id is None:
        span_id = outer.span_id
    context = RecordContext(
        execution_id=execution_id if execution_id is not None else outer.execution_id,
        trace_id=trace_id if trace_id is not None else outer.trace_id,
        span_id=span_id,
        tenant_id=tenant_id if tenant_id is not None else outer.tenant_id,
        user_id=user_id if user_id is not None else outer.user_id,
    )
    token = context_var.set(context)
    try:
        yield context
    finally:
        # ValueError: closed in another context (an abandoned async generator), nothing to undo
        with contextlib.suppress(ValueError):
            context_var.reset(token)

"""What records made here and now belong to.

The context is a `contextvars` variable, so it follows `await`, asyncio tasks, `asyncio.to_thread`,
and threads that are started through `contextvars.copy_context().run`. A pool's threads know nothing
of who submits the work: wrap the function in `carry_context`.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from ax_monitor._native import RecordContext, context_var

P = ParamSpec("P")
R = TypeVar("R")


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
    same_trace = trace_id is None or trace_id == outer.trace_id
    if span_id is None and trace_id is None:
        span_id = outer.span_id
    context = RecordContext(
        execution_id=execution_id if execution_id is not None else outer.execution_id,
        trace_id=trace_id if trace_id is not None else outer.trace_id,
        span_id=span_id,
        tenant_id=tenant_id if tenant_id is not None else outer.tenant_id,
        user_id=user_id if user_id is not None else outer.user_id,
        sampled=outer.sampled if same_trace else True,
        tracestate=outer.tracestate if same_trace else None,
    )
    before = context_var.get(None)
    context_var.set(context)
    try:
        yield context
    finally:
        # Not by token: a generator may be closed in another context than it was begun in.
        if context_var.get(None) is context:
            context_var.set(before)


def carry_context(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with the context of this moment, wherever and whenever it is called.

    For thread pools and callbacks, which otherwise run without it. May be called any number of
    times, also at once.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as pool, use_context(execution_id="run-7"):
    ...     pool.submit(carry_context(lambda: current_context().execution_id)).result()
    'run-7'
    """
    context = contextvars.copy_context()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy, because one context can't be entered twice at once.
        return context.copy().run(function, *args, **kwargs)

    return carried

"""The context: a log call that takes its ids from it, and making one current."""

from __future__ import annotations

from contextvars import ContextVar

import ax_monitor
from ax_monitor._native import ContextScope, LogChannel, RecordContext
from ax_monitor.bench import payload
from benchmarks.conftest import Against
from benchmarks.reference import axref


def test_info_in_context(against: Against, log: LogChannel) -> None:
    with ax_monitor.use_context(execution_id="run-1", trace_id=payload.TRACE_ID):
        against("empty call", axref.Empty().info, log.info, (payload.MESSAGE, payload.SOURCE))


def test_make_current_and_leave(against: Against) -> None:
    variable: ContextVar[RecordContext | None] = ContextVar("by hand", default=None)

    def ours() -> None:
        ContextScope(execution_id="run-1", tenant_id=payload.TENANT_ID).leave()

    def by_hand() -> None:
        context = RecordContext(execution_id="run-1", tenant_id=payload.TENANT_ID)
        variable.reset(variable.set(context))

    against("ContextVar.set and reset", by_hand, ours)

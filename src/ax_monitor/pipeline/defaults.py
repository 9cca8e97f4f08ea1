"""The process's default store, for those who pass none."""

from __future__ import annotations

import os
import threading

from ax_monitor.pipeline.store import Store

_lock = threading.Lock()
_default: Store | None = None


def default_store() -> Store:
    """The store of `AX_MONITOR_DB`, else `.ax/monitor.db`; opened on first use, shared."""
    global _default
    with _lock:
        if _default is None or _default.closed:
            _default = Store()
        return _default


def resolve_store(store: Store | str | os.PathLike[str] | None) -> tuple[Store, bool]:
    """What a service was given as its store, and whether the service has to close it."""
    if store is None:
        return default_store(), False
    if isinstance(store, Store):
        return store, False
    return Store(store), True


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)

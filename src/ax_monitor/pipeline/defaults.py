"""The process's default store, for those who pass none."""

from __future__ import annotations

import os
import threading

from ax_monitor import config
from ax_monitor.pipeline.store import Store

_lock = threading.Lock()
_default: Store | None = None


def default_store() -> Store:
    """The process's default store; opened on first use, as file and environment say, and shared."""
    global _default
    with _lock:
        if _default is None or _default.closed:
            _default = Store(**config.load(None, None, {})["store"])
        return _default


def is_default_store(store: Store) -> bool:
    """Is this the default store, and open? Without a lock."""
    return store is _default and not store.closed


def replace_default_store(store: Store) -> Store | None:
    """Make another store the default; the one before, if there was any."""
    global _default
    with _lock:
        before, _default = _default, store
        return before


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

"""What every service has: a store, listeners, an end."""

from __future__ import annotations

import os
from typing import Final, Self

from ax_monitor.events import Listener
from ax_monitor.pipeline.defaults import resolve_store
from ax_monitor.pipeline.recorder import OVERFLOW_POLICIES
from ax_monitor.pipeline.store import BARRIER_S, Store

MS_PER_DAY: Final = 86_400_000


class Service:
    """Base of the services: each works alone on a store of its own, or shares one with the others.

    Lifecycle: `stop()`, or a `with` block.
    """

    _store: Store
    _owns_store: bool

    def _use_store(self, store: Store | str | os.PathLike[str] | None) -> Store:
        """Take a `Store`, the path of a database, or None for the process's default store."""
        self._store, self._owns_store = resolve_store(store)
        return self._store

    @property
    def store(self) -> Store:
        """The store that it works on."""
        return self._store

    def _first_moment_kept(self, retention_days: float) -> int:
        """The time before which `cleanup` deletes, in ms.

        Raises:
            ValueError: `retention_days` is negative or no number.
        """
        if not 0 <= retention_days < float("inf"):
            raise ValueError(f"retention_days must be at least 0, got {retention_days!r}")
        return self._store.believable_time_ms() - int(retention_days * MS_PER_DAY)

    def flush(self) -> bool:
        """Wait until everything recorded before is in the database.

        False if it could not be written (see the event `flush_error`): it stays in the ring, and
        the pump tries again.
        """
        return self._store.flush()

    def stop(self) -> None:
        """Write what is pending; close the store if this service opened it. May be called twice."""
        if self._owns_store:
            self._store.close()
        elif not self._store.closed:
            self._store.flush(BARRIER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def on(self, event: str, listener: Listener) -> Listener:
        """Call `listener(payload)` on a background thread for every `event`; returns `listener`."""
        return self._store.events.on(event, listener)

    def off(self, event: str, listener: Listener) -> bool:
        """Stop that; False if it was not listening."""
        return self._store.events.off(event, listener)


def check_positive(name: str, value: object) -> None:
    """Raise ValueError unless `value` is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def overflow_policy(overflow: str) -> int:
    """The number of an overflow policy; ValueError if there is none of this name."""
    if overflow not in OVERFLOW_POLICIES:
        allowed = ", ".join(OVERFLOW_POLICIES)
        raise ValueError(f"overflow must be one of {allowed}, got {overflow!r}")
    return OVERFLOW_POLICIES[overflow]

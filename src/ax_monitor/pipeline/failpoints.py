"""Named places at which a test can let the process die: `AX_MONITOR_FAILPOINT=name`.

| name | where |
|---|---|
| `before_write` | a batch is claimed, and not in the database |
| `after_commit` | it is in the database, and the ring does not know |
| `after_release` | its space may be written again |
| `before_checkpoint`, `after_checkpoint` | between two batches |
| `recovery_after_chunk` | a part of a dead process's ring is stored |
| `recovery_before_interrupt` | all of it is, and what its owner left open still looks open |
| `recovery_before_remove` | its file still there |
| `closing` | the last batch is written; what is open, and the ring, are still there |
| `closed_database` | the database is closed, and the ring is still there |
"""

from __future__ import annotations

import os
import signal

from ax_monitor.config import failpoint_name

NAMES = (
    "before_write",
    "after_commit",
    "after_release",
    "before_checkpoint",
    "after_checkpoint",
    "recovery_after_chunk",
    "recovery_before_interrupt",
    "recovery_before_remove",
    "closing",
    "closed_database",
)
_ARMED = failpoint_name()


def _none(name: str) -> None:
    """No failpoint is switched on."""


def _die(name: str) -> None:
    if name == _ARMED:
        os.kill(os.getpid(), signal.SIGKILL)


# Die here by SIGKILL if the failpoint of this name is switched on.
failpoint = _none if _ARMED is None else _die

"""Named places at which a test can let the process die: `AX_MONITOR_FAILPOINT=name`."""

from __future__ import annotations

import os
import signal

from ax_monitor.config import failpoint_name

_ARMED = failpoint_name()


def failpoint(name: str) -> None:
    """Die here by SIGKILL if the failpoint of this name is switched on."""
    if _ARMED is not None and name == _ARMED:
        os.kill(os.getpid(), signal.SIGKILL)

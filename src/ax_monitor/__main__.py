"""`python -m ax_monitor`, which is `ax-monitor`, and what the console scripts call.

While the command line is imported Ctrl-C just ends the process: nothing has begun yet, and a
traceback through imports says nothing to anybody.
"""

import signal
import sys


def _starting() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def ax() -> int:
    """Run `ax …`; the exit code."""
    _starting()
    from ax_monitor.cli import main  # noqa: PLC0415 (see above)

    return main()


def monitor() -> int:
    """Run `ax-monitor …`; the exit code."""
    _starting()
    from ax_monitor.cli import monitor_main  # noqa: PLC0415 (see above)

    return monitor_main()


if __name__ == "__main__":
    sys.exit(monitor())

"""`python -m ax_monitor`: the same as `ax-monitor`."""

import sys

from ax_monitor.cli import monitor_main

if __name__ == "__main__":
    sys.exit(monitor_main())

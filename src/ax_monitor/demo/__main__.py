"""`python -m ax_monitor.demo DATABASE FILE…`: an engine in a process of its own.

It says how many of its log calls have returned, a hundred times a second, until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ax_monitor.demo.engine import Engine
from ax_monitor.monitor import Monitor

WORKERS = 2


async def work(database: str, files: list[Path]) -> None:
    """Work for ever."""
    engine = Engine(Monitor(database, logger={"min_level": "debug"}), files, "victim", 2)

    async def acknowledge() -> None:
        while True:
            print(engine.log_calls, flush=True)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(acknowledge())
        group.create_task(engine.run(WORKERS))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], [Path(name) for name in sys.argv[2:]]))

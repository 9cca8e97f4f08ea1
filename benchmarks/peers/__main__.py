"""One peer, in this process: its rows as JSON. `peer.measure` starts it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ax_monitor.bench.harness import Effort
from benchmarks.peers import PEERS
from benchmarks.peers.peer import measure_here

if __name__ == "__main__":
    name, folder, records, effort = sys.argv[1:]
    peer = next(peer for peer in PEERS if peer.name == name)
    rows = measure_here(peer, Path(folder), int(records), Effort(**json.loads(effort)))
    print(json.dumps(rows), flush=True)
    os._exit(0)  # nobody waits for what is still queued

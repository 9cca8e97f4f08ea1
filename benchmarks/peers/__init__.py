"""What else does the job of our operations, each set up as its documentation says for throughput.

| module | peers of |
|---|---|
| `logs` | the log call |
| `traces` | the start and the completion of a span |
| `metrics` | the recording of a sample |
| `windows` | aggregation, time series |
| `storage` | flushes and queries: tables of SQLite made by hand, on which the others' by hand build |
| `peer` | what a peer is, and how it is measured: in a process of its own, with a time limit |

They get the payload and the pace of `ax_monitor.bench.operations`. All that they need is in the extra
`bench`; what is not installed is left out.
"""

from __future__ import annotations

from benchmarks.peers import logs, metrics, storage, traces, windows
from benchmarks.peers.peer import Outcome, Peer, measure

__all__ = ["PEERS", "Outcome", "Peer", "measure"]

PEERS = (*logs.PEERS, *traces.PEERS, *metrics.PEERS, *windows.PEERS, *storage.PEERS)

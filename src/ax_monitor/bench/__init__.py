"""`ax monitor bench`: what the operations of ax-monitor take on this machine.

| module | what |
|---|---|
| `table` | the operations, what the document promises of each, and the verdict |
| `operations` | each of them, called again and again on a database made for it |
| `corpus` | that database: log records, traces, samples, as in real use |
| `payload` | what is recorded: texts, ids, metadata |
| `harness` | measuring: call by call, interleaved, percentiles, the machine |

The project's own benchmarks (`make bench`) measure with the same harness and payload.
"""

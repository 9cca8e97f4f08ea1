"""The ring: appending a generic record, passing it on, and reading it back."""

from __future__ import annotations

import pickle
from queue import SimpleQueue

from ax_monitor._native import RecordRing, decode_record
from ax_monitor.bench import payload
from benchmarks.conftest import Against
from benchmarks.reference import axref

FIELDS = ("span-name", "internal", payload.TENANT_ID, 12, 3.5, {"a": 1})


def test_append(against: Against, ring: RecordRing) -> None:
    against("empty call", axref.Empty().append, ring.append, (3, 0, FIELDS))


def test_append_and_pass_on(against: Against, ring: RecordRing) -> None:
    queue: SimpleQueue[object] = SimpleQueue()

    def ours() -> None:
        ring.append(3, 0, FIELDS)
        ring.claim()
        ring.release()

    def by_queue() -> None:
        queue.put(FIELDS)
        queue.get()

    against("SimpleQueue.put and get", by_queue, ours)


def test_decode(against: Against, ring: RecordRing) -> None:
    seq = ring.append(3, 0, FIELDS)
    ring.claim()
    record, pickled = ring.claimed_record(seq), pickle.dumps(FIELDS)
    found = against("pickle.loads", lambda: pickle.loads(pickled), lambda: decode_record(record))
    assert found[0] == 3

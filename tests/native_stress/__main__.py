"""`make tsan`: threads append to one ring while another reads what it claims without the GIL.

For kernels and a driver (`ring_stress.pyx`) that were built with ThreadSanitizer. It sees every
access that they make, and the interpreter's mutex, so it reports what is not ordered by the GIL.
With `--broken` the reader keeps reading what it has released: ThreadSanitizer has to report that,
else it would not see a real mistake either.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time

import ring_stress  # type: ignore[import-not-found]  # built beside the kernels

from ax_monitor._native import RING_HEADER_BYTES, RING_SEGMENT_MIN_BYTES, RecordRing

SEGMENTS = 4
BLOCK, DROP_NEWEST, DROP_OLDEST = 0, 1, 2


def main() -> int:
    """Run it; 1 if a record was broken, lost or out of order. ThreadSanitizer exits with 66."""
    parser = argparse.ArgumentParser(prog="python -m tests.native_stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--broken", action="store_true")
    options = parser.parse_args()
    sys.setswitchinterval(1e-5)
    for policy in (BLOCK, DROP_NEWEST, DROP_OLDEST):
        appended, read, lost = _stress(policy, options.threads, options.seconds / 3, options.broken)
        print(f"policy {policy}: {appended} appended, {read} read, {lost} dropped", flush=True)
        if appended != read + lost:
            return 1
    return 0


def _stress(policy: int, threads: int, seconds: float, broken: bool) -> tuple[int, int, int]:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    ring = RecordRing(lambda asked, priority: asked == BLOCK and _pause())
    ring.attach(
        bytearray(RING_HEADER_BYTES + SEGMENTS * RING_SEGMENT_MIN_BYTES),
        os.urandom(16),
        segment_bytes=RING_SEGMENT_MIN_BYTES,
        wake_fd=wake_write,
        pid=os.getpid(),
    )
    end = time.monotonic() + seconds

    def append(number: int) -> None:
        texts = ["x" * n for n in (0, 7, 100, 5000)]
        turn = 0
        while time.monotonic() < end:
            turn += 1
            if turn % 3:
                ring_stress.append_sample(ring, number, turn, 0.5, policy)
            else:
                fields = (number, texts[turn % 4], turn / 2, None, {"turn": turn})
                ring.append(1, number, fields, policy=policy, priority=turn % 64 == 0)

    running = [threading.Thread(target=append, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    read = 0
    gaps = policy == DROP_OLDEST  # the only one that drops what has a number already
    while any(thread.is_alive() for thread in running) or ring.held:
        if ring.arm(1000):
            ring.wait(wake_read, 1)
        expected = ring.released_seq + 1
        if not ring.claim(2):
            continue
        if broken:
            ring.release()
        found = ring_stress.read_claim(ring, expected, gaps)
        if found < 0 and not broken:
            raise SystemExit(f"a record behind {expected} is broken or out of order")
        read += max(found, 0)
        if not broken:
            ring.release()
    return ring.seq, read, ring.dropped_oldest


def _pause() -> bool:
    time.sleep(0.0001)
    return True


if __name__ == "__main__":
    sys.exit(main())

"""Replaying the rings of dead processes, exactly once.

The database says up to which record of a ring it has everything (`last_seq`, committed together
with the records), so a replay that is itself killed is simply done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ax_monitor._native import read_ring
from ax_monitor.errors import StorageError
from ax_monitor.pipeline import ring_files
from ax_monitor.pipeline.failpoints import failpoint
from ax_monitor.storage.records import SAMPLES
from ax_monitor.storage.writer import Writer, ring_salt

CHUNK_RECORDS = 20_000
# See record.pxd and ring.pyx.
_CHECKSUM_PENDING = 0x5A17C0DE
_HEADER_BYTES = 32
_KIND_AT = 24
_SAMPLE_BYTES = 24


@dataclass(slots=True)
class Recovered:
    """What a recovery found: records stored now, records refused, damaged places, and records that
    the database had and has not, nor the ring."""

    records: int = 0
    rejected: int = 0
    damaged: int = 0
    missing: int = 0


def recover_all(writer: Writer, database: str, ring_dir: str | None) -> Recovered:
    """Take over every ring file of the database whose owner is gone.

    Raises:
        StorageError: the database can't be written now; the files stay for the next attempt.
    """
    total = Recovered()
    for path in ring_files.find(database, ring_dir):
        orphan = ring_files.claim_orphan(path)
        if orphan is not None:
            _recover(writer, orphan, total)
    return total


def _recover(writer: Writer, orphan: ring_files.OrphanRing, total: Recovered) -> None:
    done = False
    try:
        data = orphan.read()
        header, offsets, damaged = read_ring(data)
        total.damaged += damaged
        if header is None:
            if any(data):
                orphan.set_aside()
                done = True
                return
        else:
            _replay(writer, data, offsets, header, total)
            failpoint("recovery_before_interrupt")
            writer.interrupt_traces(header["ring_id"])
            writer.interrupt_executions(header["ring_id"])
            failpoint("recovery_before_remove")
        orphan.remove()
        done = True
    finally:
        if not done:
            orphan.release()


def _replay(
    writer: Writer, data: bytes, offsets: list[int], header: dict[str, Any], total: Recovered
) -> None:
    ring_id = header["ring_id"]
    stored = writer.last_seq(ring_id)
    fresh = [offset for offset in offsets if _seq(data, offset) > stored]
    if writer.is_of_another_boot(ring_id):
        # Not all pages of the file may have reached the disk, and the newest record, which has no
        # checksum yet, can't be told from half of one.
        whole = [offset for offset in fresh if _checksum(data, offset) != _CHECKSUM_PENDING]
        total.damaged += len(fresh) - len(whole)
        fresh = whole
    total.missing += _missing(data, fresh, stored, header["released_seq"])
    salt = ring_salt(ring_id)
    for start in range(0, len(fresh), CHUNK_RECORDS):
        chunk = fresh[start : start + CHUNK_RECORDS]

        def write(low: int, high: int, chunk: list[int] = chunk) -> int:
            written = writer.write_bytes(data, chunk[low:high], ring_id, salt)
            total.records += written
            return written

        def reject(index: int, error: str, chunk: list[int] = chunk) -> None:
            record = data[chunk[index] : chunk[index] + _length(data, chunk[index])]
            writer.reject(ring_id, _seq(data, chunk[index]), record, error)

        total.rejected += write_around_poison(write, reject, 0, len(chunk))
        failpoint("recovery_after_chunk")


def _missing(data: bytes, fresh: list[int], stored: int, released: int) -> int:
    """How many records the database had, up to `released`, that neither it nor the ring has now.

    What was committed is overwritten in the ring sooner or later, and not in its order: what was
    freed last is written next. So there may be gaps between the records that are left.
    """
    missing, expected = 0, stored + 1
    for offset in fresh:
        seq = _seq(data, offset)
        if seq > released:
            break
        missing += max(0, seq - expected)
        expected = seq + _count(data, offset)
    return missing + max(0, released + 1 - expected)


def _count(data: bytes, offset: int) -> int:
    """How many things were recorded by a record, as `record_count` of the kernels has it."""
    if data[offset + _KIND_AT] != SAMPLES.number:
        return 1
    return (_length(data, offset) - _HEADER_BYTES) // _SAMPLE_BYTES


def _seq(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset + 8 : offset + 16], "little")


def _checksum(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset + 4 : offset + 8], "little")


def _length(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def write_around_poison(
    write: Callable[[int, int], int], reject: Callable[[int, str], None], low: int, high: int
) -> int:
    """Write records `low` to `high`; what the database refuses for good is set aside alone.

    Any other failure is raised. Returns how many were set aside.
    """
    try:
        write(low, high)
        return 0
    except StorageError as error:
        if error.kind != "record":
            raise
        if high - low == 1:
            reject(low, str(error))
            return 1
    middle = (low + high) // 2
    return write_around_poison(write, reject, low, middle) + write_around_poison(
        write, reject, middle, high
    )

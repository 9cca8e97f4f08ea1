"""The pump's side of the ring in C: it reads a claim without the GIL while other threads append."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from ax_monitor._native.record cimport RecordHeader, record_count
from ax_monitor._native.ring cimport RecordRing, record_length


def append_sample(RecordRing ring not None, int64_t series, int64_t timestamp_ms, double value, int policy):
    """What a metric does with every sample."""
    return ring.append_sample(series, timestamp_ms, value, policy)


cdef int64_t _walk(RecordRing ring, uint64_t expected, bint gaps) noexcept nogil:
    """Check every record of the claim, its checksum with it; how many things it holds, or -1."""
    cdef const RecordHeader *record
    cdef const char *at
    cdef uint32_t i, length
    cdef int64_t total = 0
    for i in range(ring._n_claim):
        at = ring._claim[i].begin
        while at < ring._claim[i].end:
            record = <const RecordHeader *> at
            length = record_length(at, ring._claim[i].end, ring._nonce)
            if length == 0 or record.seq < expected or (record.seq > expected and not gaps):
                return -1
            expected = record.seq + record_count(record)
            total += record_count(record)
            at += length
    return total


def read_claim(RecordRing ring not None, uint64_t expected, bint gaps):
    """How many things the claim holds, without the GIL; -1: a record is broken or out of order."""
    cdef int64_t total
    with nogil:
        total = _walk(ring, expected, gaps)
    return total

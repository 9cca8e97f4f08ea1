cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ax_monitor._native.encode cimport Encoder
from ax_monitor._native.record cimport RecordHeader

cdef enum:
    MAX_SEGMENTS = 4096

cdef enum OverflowPolicy:
    BLOCK = 0
    DROP_NEWEST = 1
    DROP_OLDEST = 2

cdef struct Span:
    const char *begin
    const char *end

cdef struct Segment:
    uint32_t index          # position in the file
    uint32_t read           # byte offset of the first record that is not committed yet
    uint32_t end            # byte offset behind the last record; only meaningful once sealed
    uint64_t read_seq       # sequence number of the record at `read`
    uint64_t end_seq        # sequence number of the last record; only meaningful once sealed


# All of it is guarded by the GIL, except the bytes between the offsets of a claim: those are read
# by the pump without it, and nobody writes them before release().
@cython.final
cdef class RecordRing:
    cdef char *_base                    # first segment; NULL: detached (closed, or just forked)
    cdef char *_at                      # where the next record goes; its length word is 0
    cdef char *_limit                   # end of the segment being written
    cdef RecordHeader *_last            # newest record of this segment, its checksum still to come
    cdef RecordHeader *_growing         # the same, if it is of samples and may grow; else NULL
    cdef char *_growing_limit           # it takes no sample that would begin behind this
    cdef object _buffer                 # what keeps the mapping alive
    cdef Py_buffer _view
    cdef uint32_t _segment_bytes
    cdef uint32_t _nonce                # random; part of every record of this ring
    cdef uint32_t _fork_generation      # the process that attached the buffer
    cdef uint32_t _n_segments
    cdef Segment _writing
    cdef Segment *_sealed               # oldest first
    cdef uint32_t _n_sealed
    cdef uint32_t *_free                # stack: the most recently freed is used first (warm pages)
    cdef uint32_t _n_free
    cdef Span *_claim                   # what the pump is writing to the database
    cdef uint32_t _n_claim
    cdef uint32_t _claim_sealed         # how many of `_sealed` the claim covers
    cdef uint32_t _claim_index          # the segment that was being written at the claim …
    cdef uint32_t _claim_end            # … and how far
    cdef uint64_t _claim_seq            # the last record of the claim
    cdef bint _claimed
    cdef bint _shut                     # no more records
    cdef bint _urgent                   # a record that is not to wait was appended since the claim
    cdef uint64_t _wake_seq             # the pump wants to be woken at this record
    cdef int _wake_fd
    cdef object _on_full                # callable(policy, priority) -> bool: try again?
    cdef readonly bytes ring_id
    cdef readonly uint64_t salt         # low 34 bits go into the ids of this ring's records
    cdef readonly uint64_t seq          # the last record appended; 0: none yet
    cdef readonly uint64_t released_seq     # the last record whose space was given back (committed)
    cdef readonly uint64_t released_records     # how many have been committed
    cdef readonly uint64_t dropped_oldest
    cdef readonly bint synchronous      # the process is exiting: every record is drained at once

    cdef RecordHeader *begin(self, Encoder *out, uint32_t n_fields, bint redact) noexcept
    cdef void wipe(self, Encoder *out, RecordHeader *record) noexcept
    cdef int make_room(self, int policy, bint priority) except -1
    cdef void publish(self, Encoder *out, RecordHeader *record, uint8_t kind, uint8_t tag,
                      int64_t timestamp_ns, uint32_t n_fields, bint urgent) noexcept
    cdef int after_publish(self) except -1
    cdef int64_t append_fields(self, uint8_t kind, uint8_t tag, tuple fields, int64_t timestamp_ns,
                               int policy, bint priority, bint redact) except? -99
    cdef bint append_sample(self, int64_t series, int64_t timestamp_ms, double value, int policy) except -1
    cdef bint _begin_samples(self, int64_t series, int64_t timestamp_ms, double value, int policy) except -1
    cdef void _mark(self) noexcept
    cdef void _start_segment(self, uint32_t index) noexcept
    cdef bint _next_segment(self, bint priority) noexcept
    cdef bint _drop_oldest(self) noexcept
    cdef void _remove_sealed(self, uint32_t i) noexcept
    cdef void _wake(self) noexcept
    cdef void _sum_last(self) noexcept

cdef int write_scalar(Encoder *out, object value, Py_ssize_t max_bytes, uint32_t *field) except -1
cdef uint32_t fork_generation() noexcept nogil
cdef uint32_t record_length(const char *at, const char *end, uint32_t nonce) noexcept nogil

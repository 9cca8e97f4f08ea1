"""The record ring: bytes in a mapped file, appended under the GIL without a lock.

The file is a header page and equal segments. One segment is written; full ones are sealed and wait
for the pump, which claims everything pending, writes it to the database without the GIL, and
releases the space once the commit has happened. A segment is then free again, and the most recently
freed one is written next, so that a ring that keeps up touches the same few pages.

Appending: begin() hands out the place behind the last record; the caller encodes into it;
publish() completes the record and stores its length word last; wipe() takes it back. Until then the
length word is 0, so a record that was never finished is never seen, neither by the pump nor after a
crash. Between begin() and publish() no Python code runs and the GIL is not released.

Samples of metrics share a record: append_sample() writes behind the newest record, if that is one of
samples, and stores its new length last. The claim ends it.
"""

cimport cython

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.unistd cimport read, write

from ax_monitor._native.clock cimport realtime_ns
from ax_monitor._native.encode cimport (
    CUT_MARK_MAX,
    ENCODED,
    FOREIGN,
    NO_ROOM,
    SENSITIVE,
    Encoder,
    write_json,
    write_text,
)
from ax_monitor._native.ids cimport random_u64
from ax_monitor._native.record cimport (
    FIELD_FLOAT,
    FIELD_INT,
    FIELD_LENGTH_MASK,
    FIELD_NULL,
    FIELD_TEXT,
    FIELD_TYPE_SHIFT,
    KIND_SAMPLES,
    RECORD_MAX_BYTES,
    RECORD_MAX_FIELDS,
    TEXT_MAX_BYTES,
    RecordHeader,
    Sample,
    align8,
    fields_offset,
    record_checksum,
    record_count,
    record_last_seq,
)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned int n, int timeout_ms)
    short POLLIN

cdef extern from "pthread.h":
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)

cdef extern from *:
    """
    #define ax_store_release32(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    """
    void ax_store_release32(uint32_t *p, uint32_t value) nogil

cdef enum:
    FORMAT_VERSION = 1
    HEADER_BYTES = 4096
    MARK_AT = 128
    CHECKSUM_PENDING = 0x5A17C0DE   # even, so never a checksum; not 0, so that numbers don't look like it
    NO_SEGMENT = 0xFFFFFFFF
    SEGMENT_MIN_BYTES = RECORD_MAX_BYTES    # any record fits into an empty segment
    SHARED_BYTES = RECORD_MAX_BYTES - 4096  # for all fields of a record together, cut marks included
    SEQ_BITS = 62                   # of a sequence number: a larger one is damage
    SAMPLES_MAX_BYTES = 4096        # of a record of samples: its checksum is made in one go, by somebody's call

cdef struct RingHeader:
    char[8] magic
    uint32_t version
    uint32_t header_bytes
    uint8_t[16] ring_id
    uint64_t segment_bytes
    uint64_t n_segments
    uint64_t pid
    int64_t created_ns
    uint32_t nonce          # see RecordHeader; unknown to whoever writes log messages
    uint32_t _reserved
    uint64_t checksum       # of all above

cdef struct RingMark:       # behind the header: up to where the database has said to have everything
    uint64_t released_seq
    uint64_t complement     # ~released_seq; else it is half written, or damaged

cdef const char *MAGIC = b"AXRING\r\n"

RING_HEADER_BYTES = HEADER_BYTES
RING_SEGMENT_MIN_BYTES = SEGMENT_MIN_BYTES


cdef uint32_t _generation = 0           # how many forks lie between the first process and this one


cdef void _count_fork() noexcept nogil:
    global _generation
    _generation += 1


cdef uint32_t fork_generation() noexcept nogil:
    """Differs between a process and the children that it forks, from the very first moment."""
    return _generation


# Not os.register_at_fork: hooks of others that run before ours may append already.
pthread_atfork(NULL, NULL, _count_fork)


cdef uint64_t _header_checksum(const RingHeader *header) noexcept nogil:
    cdef const uint64_t *word = <const uint64_t *> header
    cdef uint64_t h = 0x9E3779B97F4A7C15ULL
    cdef size_t i
    for i in range(sizeof(RingHeader) // 8 - 1):
        h = (h ^ word[i]) * 0x9FB21C651E98DF25ULL
        h ^= h >> 29
    return h


cdef uint64_t _marked_seq(const char *base) noexcept nogil:
    """What the mark says; 0 if it says nothing."""
    cdef const RingMark *mark = <const RingMark *> (base + MARK_AT)
    return mark.released_seq if mark.complement == ~mark.released_seq else 0


@cython.final
@cython.no_gc_clear             # the memory stays until __dealloc__() gives it back
cdef class RecordRing:
    """A ring of records in a writable buffer (a mapped file, or plain memory).

    Lifecycle: make one, `attach()` a buffer, append; `detach()` when the process forked or closes.
    Thread-safety: every method needs the GIL and nothing else; `wait()` releases it. One thread at
    a time claims and releases.
    Cost: an append takes some hundred nanoseconds and never allocates.
    """

    def __init__(self, on_full):
        self._on_full = on_full
        self._wake_fd = -1
        self._wake_seq = UINT64_MAX

    def __cinit__(self):
        self._base = NULL
        self._sealed = <Segment *> PyMem_Calloc(MAX_SEGMENTS, sizeof(Segment))
        self._free = <uint32_t *> PyMem_Calloc(MAX_SEGMENTS, sizeof(uint32_t))
        self._claim = <Span *> PyMem_Calloc(MAX_SEGMENTS + 1, sizeof(Span))
        if self._sealed == NULL or self._free == NULL or self._claim == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self._base != NULL:
            PyBuffer_Release(&self._view)
        PyMem_Free(self._sealed)
        PyMem_Free(self._free)
        PyMem_Free(self._claim)

    # -- lifecycle -----------------------------------------------------------------------------

    def attach(self, buffer, bytes ring_id not None, *, segment_bytes, wake_fd, pid):
        """Write a fresh header into `buffer` and append there from now on.

        Args:
            buffer: writable, `RING_HEADER_BYTES` + a whole number of segments, at least two.
            ring_id: 16 random bytes.
            wake_fd: a non-blocking descriptor that wakes the pump when a byte is written to it.
        """
        cdef uint32_t i
        cdef RingHeader *header
        if self._base != NULL:
            raise RuntimeError("the ring is attached already")
        if len(ring_id) != 16:
            raise ValueError("ring_id must be 16 bytes")
        if segment_bytes < SEGMENT_MIN_BYTES or segment_bytes % 4096 or segment_bytes >= 1 << 31:
            raise ValueError(f"segment_bytes must be a multiple of 4096, at least {SEGMENT_MIN_BYTES}")
        PyObject_GetBuffer(buffer, &self._view, PyBUF_WRITABLE)
        n = (self._view.len - HEADER_BYTES) // segment_bytes
        if not 2 <= n <= MAX_SEGMENTS or HEADER_BYTES + n * segment_bytes != self._view.len:
            PyBuffer_Release(&self._view)
            raise ValueError("the buffer must hold a header and 2 to 4096 whole segments")
        self._buffer = buffer
        self.ring_id = ring_id
        self.salt = int.from_bytes(ring_id[:8], "little") & 0x3FFFFFFFF
        self._segment_bytes = segment_bytes
        self._n_segments = n
        header = <RingHeader *> self._view.buf
        memset(header, 0, HEADER_BYTES)
        memcpy(header.magic, MAGIC, 8)
        header.version = FORMAT_VERSION
        header.header_bytes = HEADER_BYTES
        memcpy(header.ring_id, <const char *> ring_id, 16)
        header.segment_bytes = segment_bytes
        header.n_segments = n
        header.pid = pid
        header.created_ns = realtime_ns()
        self._fork_generation = _generation
        header.nonce = self._nonce = <uint32_t> random_u64() | 1
        header.checksum = _header_checksum(header)
        self._n_free = 0
        for i in range(self._n_segments, 1, -1):
            self._free[self._n_free] = i - 1
            self._n_free += 1
        self._n_sealed = 0
        self._claimed = False
        self._shut = False
        self.seq = 0
        self.released_seq = 0
        self.released_records = 0
        self.dropped_oldest = 0
        self._urgent = False
        self._wake_fd = wake_fd
        self._wake_seq = UINT64_MAX
        self._base = <char *> self._view.buf + HEADER_BYTES
        self._start_segment(0)

    def detach(self):
        """Stop using the buffer: what is appended from now on asks `on_full` first.

        In a forked child this must come before anything else: the buffer is the parent's.
        """
        if self._base != NULL:
            self._base = NULL
            self._at = NULL
            self._limit = NULL
            self._growing = NULL
            self._claimed = False
            self._wake_seq = UINT64_MAX
            PyBuffer_Release(&self._view)
            self._buffer = None

    def shut(self):
        """Take no more records, while what is here is drained: from now on `on_full` is asked."""
        self._shut = True
        self._limit = self._at
        self._growing = NULL

    @property
    def attached(self) -> bool:
        return self._base != NULL

    def set_synchronous(self, bint value):
        """When true, `on_full(-1, False)` is called after every append (used while exiting)."""
        self.synchronous = value
        self._growing = NULL
        self._wake_seq = 0 if value else UINT64_MAX

    cdef void _mark(self) noexcept:
        cdef RingMark *mark = <RingMark *> (self._base - HEADER_BYTES + MARK_AT)
        mark.released_seq = self.released_seq
        mark.complement = ~self.released_seq

    cdef void _start_segment(self, uint32_t index) noexcept:
        self._writing.index = index
        self._writing.read = 0
        self._last = NULL
        self._growing = NULL
        self._writing.read_seq = self.seq + 1
        self._at = self._base + <size_t> index * self._segment_bytes
        self._limit = self._at + (0 if self._shut else self._segment_bytes)
        # Nothing here yet. What is left of an older first record says, by its kind, that it was
        # given up: a record that lost its length to damage still has a kind.
        (<RecordHeader *> self._at).kind = 0
        ax_store_release32(<uint32_t *> self._at, 0)

    # -- appending -----------------------------------------------------------------------------

    cdef RecordHeader *begin(self, Encoder *out, uint32_t n_fields, bint redact) noexcept:
        """Prepare `out` to write the payload; NULL (status NO_ROOM) if there is no room."""
        cdef uint32_t offset = fields_offset(n_fields)
        cdef Py_ssize_t room = self._limit - self._at
        cdef RecordHeader *record = <RecordHeader *> self._at
        out.redact = redact
        out.status = ENCODED
        if room < <Py_ssize_t> offset + 16 or self._fork_generation != _generation:
            out.status = NO_ROOM
            return NULL
        out.at = self._at + offset
        out.end = self._at + (room if room < RECORD_MAX_BYTES else RECORD_MAX_BYTES) - 8
        return record

    cdef void wipe(self, Encoder *out, RecordHeader *record) noexcept:
        """Take back what was encoded after begin(): it may hold a secret, and the file is kept."""
        cdef char *start = <char *> record + sizeof(RecordHeader)
        if record != NULL and out.redact:
            memset(start, 0, out.at - start)

    cdef void publish(self, Encoder *out, RecordHeader *record, uint8_t kind, uint8_t tag,
                      int64_t timestamp_ns, uint32_t n_fields, bint urgent) noexcept:
        """Complete the record that begin() started; its fields and payload are written."""
        cdef uint32_t used = <uint32_t> (out.at - <char *> record)
        cdef uint32_t length = align8(used)
        if length != used:
            memset(out.at, 0, length - used)
        if n_fields & 1:
            (<uint32_t *> (<char *> record + sizeof(RecordHeader)))[n_fields] = 0
        self.seq += 1
        record.seq = self.seq
        record.timestamp_ns = timestamp_ns
        record.kind = kind
        record.tag = tag
        record.n_fields = n_fields
        record.nonce = self._nonce
        record.checksum = CHECKSUM_PENDING
        self._sum_last()
        self._last = record
        self._growing = NULL
        self._at = <char *> record + length
        if self._limit - self._at >= 8:
            (<uint32_t *> self._at)[0] = 0          # the next record is not there yet
        ax_store_release32(&record.length, length)
        if urgent:
            self._urgent = True
        if self.seq >= self._wake_seq or (urgent and self._wake_seq != UINT64_MAX):
            self._wake()

    cdef void _sum_last(self) noexcept:
        """Write the checksum of the record before this one.

        One record late, because reading words that were stored as bytes a moment ago stalls the
        processor until the stores have drained (measured: 10 of 105 ns). The newest record of a
        ring is thus without one; its length word alone says that it is whole.
        """
        if self._last != NULL:
            self._last.checksum = record_checksum(self._last, self._last.length)

    cdef int after_publish(self) except -1:
        """Only while the process exits: let the owner drain at once."""
        if self.synchronous:
            self._on_full(-1, False)
        return 0

    cdef bint append_sample(self, int64_t series, int64_t timestamp_ms, double value, int policy) except -1:
        """Append one sample of a metric. False if it was dropped (and counted)."""
        cdef char *at = self._at
        cdef Sample *sample = <Sample *> at
        if self._growing == NULL or at > self._growing_limit or self._fork_generation != _generation:
            return self._begin_samples(series, timestamp_ms, value, policy)
        (<uint32_t *> (at + sizeof(Sample)))[0] = 0     # the next record is not there yet
        sample.series = series
        sample.timestamp_ms = timestamp_ms
        sample.value = value
        self._at = at + sizeof(Sample)
        self.seq += 1
        ax_store_release32(&self._growing.length, <uint32_t> (self._at - <char *> self._growing))
        if self.seq >= self._wake_seq:
            self._wake()
        return True

    cdef bint _begin_samples(self, int64_t series, int64_t timestamp_ms, double value, int policy) except -1:
        """The same, with a record of its own that may grow."""
        cdef Encoder out
        cdef RecordHeader *record
        cdef Sample *sample
        while True:
            record = self.begin(&out, 0, False)
            if record != NULL and out.end - out.at >= <Py_ssize_t> sizeof(Sample):
                break
            if not self.make_room(policy, False):
                return False
        sample = <Sample *> out.at
        sample.series = series
        sample.timestamp_ms = timestamp_ms
        sample.value = value
        out.at += sizeof(Sample)
        self.publish(&out, record, KIND_SAMPLES, 0, 0, 0, False)      # every sample has its own time
        if self.synchronous:
            self.after_publish()
        elif self._last == record:
            self._growing = record
            self._growing_limit = min(self._limit - 8, <char *> record + SAMPLES_MAX_BYTES) - sizeof(Sample)
        return True

    cdef int make_room(self, int policy, bint priority) except -1:
        """A fresh segment to write, 1; or 0: the record is to be dropped (it is counted)."""
        if self._fork_generation != _generation:
            self.detach()               # the buffer is the parent's
        while True:
            if self._base != NULL and not self._shut and self._next_segment(priority):
                return 1
            if self._base != NULL and not self._shut and policy == DROP_OLDEST and self._drop_oldest():
                continue
            if not self._on_full(policy, priority):
                return 0

    cdef bint _next_segment(self, bint priority) noexcept:
        """Seal the segment being written and take a free one. The last is kept for errors."""
        if self._at == self._base + <size_t> self._writing.index * self._segment_bytes:
            return True                             # it is empty: nothing larger can be had
        if self._n_free <= (0 if priority else 1):
            return False
        self._sum_last()
        self._writing.end = <uint32_t> (
            self._at - self._base - <size_t> self._writing.index * self._segment_bytes)
        self._writing.end_seq = self.seq
        self._sealed[self._n_sealed] = self._writing
        self._n_sealed += 1
        self._n_free -= 1
        self._start_segment(self._free[self._n_free])
        return True

    cdef bint _drop_oldest(self) noexcept:
        """Give up the oldest sealed segment that the pump is not writing."""
        cdef uint32_t i = 0
        if self._claimed:
            i = self._claim_sealed
            if i < self._n_sealed and self._sealed[i].index == self._claim_index:
                i += 1
        if i >= self._n_sealed:
            return False
        self.dropped_oldest += self._sealed[i].end_seq - self._sealed[i].read_seq + 1
        self._remove_sealed(i)
        return True

    cdef void _remove_sealed(self, uint32_t i) noexcept:
        self._free[self._n_free] = self._sealed[i].index
        self._n_free += 1
        self._n_sealed -= 1
        while i < self._n_sealed:
            self._sealed[i] = self._sealed[i + 1]
            i += 1

    def append(self, uint8_t kind, uint8_t tag, tuple fields not None, *, timestamp_ns=None,
               int policy=BLOCK, bint priority=False, bint redact=False) -> int:
        """Append one record; the fields are None, str, int (64 bits), float, or a dict (as JSON).

        Returns its sequence number, 0 if it was dropped, -1 if a field can't be written as it is
        (`ax_monitor.pipeline.plain` first), -2 if a text looks like a secret, -3 if a dict is too
        large. Texts are cut at `TEXT_MAX_BYTES`, and to an equal share each if the record as a
        whole would not fit.
        """
        return self.append_fields(kind, tag, fields, realtime_ns() if timestamp_ns is None else timestamp_ns,
                                  policy, priority, redact)

    cdef int64_t append_fields(self, uint8_t kind, uint8_t tag, tuple fields, int64_t timestamp_ns,
                               int policy, bint priority, bint redact) except? -99:
        """The same."""
        cdef Encoder out
        cdef RecordHeader *record
        cdef uint32_t *table
        cdef uint32_t n = len(fields), i
        cdef Py_ssize_t max_bytes = TEXT_MAX_BYTES
        if n > RECORD_MAX_FIELDS or not 1 <= kind <= 15 or kind == KIND_SAMPLES:
            raise ValueError("a record has at most 32 fields and a kind from 1 to 15, not that of samples")
        while True:
            record = self.begin(&out, n, redact)
            if record != NULL:
                table = <uint32_t *> (<char *> record + sizeof(RecordHeader))
                for i in range(n):
                    write_scalar(&out, fields[i], max_bytes, &table[i])
            if out.status == ENCODED:
                break
            self.wipe(&out, record)
            if out.status != NO_ROOM:
                return -1 if out.status == FOREIGN else -2 if out.status == SENSITIVE else -3
            if self._limit - self._at >= RECORD_MAX_BYTES:
                max_bytes = SHARED_BYTES // n - CUT_MARK_MAX    # there is never more room
            elif not self.make_room(policy, priority):
                return 0
        self.publish(&out, record, kind, tag, timestamp_ns, n, priority)
        self.after_publish()
        return self.seq

    # -- the pump's side -----------------------------------------------------------------------

    cdef void _wake(self) noexcept:
        cdef char byte = 1
        if self.synchronous or self._base == NULL:
            return
        self._wake_seq = UINT64_MAX                 # once is enough
        write(self._wake_fd, &byte, 1)

    def wake(self):
        """Wake the thread in wait()."""
        self._wake()

    def arm(self, uint64_t pending) -> bool:
        """Ask to be woken once `pending` records wait; False if so many do, or an urgent one."""
        if self._urgent or self.seq >= self.released_seq + pending:
            return False
        self._wake_seq = self.released_seq + pending
        return True

    def wait(self, int fd, int timeout_ms):
        """Sleep without the GIL until woken, at most `timeout_ms` (negative: for ever)."""
        cdef pollfd entry
        cdef char[64] sink
        cdef int ready
        entry.fd = fd
        entry.events = POLLIN
        with nogil:
            ready = poll(&entry, 1, timeout_ms)
            if ready > 0:
                read(fd, sink, 64)
        if not self.synchronous:
            self._wake_seq = UINT64_MAX
        return ready > 0

    @property
    def held(self) -> int:
        """Records in the ring: appended, and neither released nor dropped as the oldest."""
        cdef uint64_t total = 0
        cdef uint32_t i
        if self._base == NULL:
            return 0
        for i in range(self._n_sealed):
            total += self._sealed[i].end_seq + 1 - self._sealed[i].read_seq
        return total + self.seq + 1 - self._writing.read_seq

    def has_room(self, bint priority) -> bool:
        """Is there a segment for the next record? The last one is kept for priority records."""
        return self._base != NULL and self._n_free > <uint32_t> (0 if priority else 1)

    @property
    def capacity_bytes(self) -> int:
        return self._n_segments * <uint64_t> self._segment_bytes if self._base != NULL else 0

    @property
    def free_segments(self) -> int:
        return self._n_free if self._base != NULL else 0

    @property
    def pending_bytes(self) -> int:
        """Bytes of records that wait for the pump."""
        cdef uint64_t total = 0
        cdef uint32_t i
        if self._base == NULL:
            return 0
        for i in range(self._n_sealed):
            total += self._sealed[i].end - self._sealed[i].read
        return total + <uint64_t> (
            self._at - self._base - <size_t> self._writing.index * self._segment_bytes
            - self._writing.read)

    def claim(self, uint32_t max_segments=MAX_SEGMENTS) -> bool:
        """Fix what the next batch is: everything appended so far. False if that is nothing.

        If more than `max_segments` are full, only so many of the oldest. The bytes stay as they are
        until `release()` or `unclaim()`.
        """
        cdef uint32_t i, used, n_sealed = min(self._n_sealed, max(1, max_segments))
        cdef char *base
        if self._base == NULL:
            return False
        if self._claimed:
            raise RuntimeError("the last claim is still open")
        self._growing = NULL
        self._n_claim = 0
        for i in range(n_sealed):
            base = self._base + <size_t> self._sealed[i].index * self._segment_bytes
            if self._sealed[i].end > self._sealed[i].read:
                self._claim[self._n_claim].begin = base + self._sealed[i].read
                self._claim[self._n_claim].end = base + self._sealed[i].end
                self._n_claim += 1
        self._claim_sealed = n_sealed
        if n_sealed < self._n_sealed:
            self._claim_index = NO_SEGMENT
            self._claim_seq = self._sealed[n_sealed - 1].end_seq
            self._claimed = True
            return True
        self._sum_last()
        self._last = NULL               # else the next record would write to what is claimed
        base = self._base + <size_t> self._writing.index * self._segment_bytes
        used = <uint32_t> (self._at - base)
        if used > self._writing.read:
            self._claim[self._n_claim].begin = base + self._writing.read
            self._claim[self._n_claim].end = base + used
            self._n_claim += 1
        if self._n_claim == 0:
            return False
        self._claim_index = self._writing.index
        self._claim_end = used
        self._claim_seq = self.seq
        self._claimed = True
        self._urgent = False
        return True

    @property
    def claimed_seq(self) -> int:
        """The last record of the claim."""
        return self._claim_seq

    def claimed_record(self, uint64_t seq) -> bytes:
        """The bytes of the record of the claim that holds what was recorded as number `seq`."""
        cdef uint32_t i
        cdef const char *at
        cdef const RecordHeader *record
        for i in range(self._n_claim if self._claimed else 0):
            at = self._claim[i].begin
            while at < self._claim[i].end:
                record = <const RecordHeader *> at
                if record.seq <= seq <= record_last_seq(record):
                    return at[:record.length]
                at += record.length
        raise LookupError(f"record {seq} is not part of the claim")

    def unclaim(self):
        """The claim was not written: everything stays where it is."""
        self._claimed = False

    def release(self):
        """The claim is committed: its space may be written again."""
        cdef uint32_t i
        cdef uint64_t held = self.held
        if not self._claimed:
            raise RuntimeError("nothing is claimed")
        self._claimed = False
        self.released_seq = self._claim_seq
        self._mark()
        for _ in range(self._claim_sealed):
            self._remove_sealed(0)
        if self._writing.index == self._claim_index:
            self._writing.read = self._claim_end
            self._writing.read_seq = self._claim_seq + 1
            if self.seq == self._claim_seq:
                self._start_segment(self._writing.index)    # all drained: stay on the warm pages
        else:
            for i in range(self._n_sealed):
                if self._sealed[i].index == self._claim_index:
                    self._sealed[i].read = self._claim_end
                    self._sealed[i].read_seq = self._claim_seq + 1
                    if self._sealed[i].read >= self._sealed[i].end:
                        self._remove_sealed(i)
                    break
        self.released_records += held - self.held


cdef int write_scalar(Encoder *out, object value, Py_ssize_t max_bytes, uint32_t *field) except -1:
    """One field of a record made by `append`: value and table entry."""
    cdef char *start = out.at
    cdef int64_t number
    cdef double real
    cdef uint32_t kind
    if out.status != ENCODED:
        return 0
    if value is None:
        kind = FIELD_NULL
    elif type(value) is str:
        kind = FIELD_TEXT
        write_text(out, <PyObject *> value, max_bytes)
    elif type(value) is dict or type(value) is list:
        kind = FIELD_TEXT
        write_json(out, <PyObject *> value, max_bytes)
    elif type(value) is int or type(value) is float:
        if out.end - out.at < 8:
            out.status = NO_ROOM
            return 0
        if type(value) is float:
            kind = FIELD_FLOAT
            real = value
            memcpy(out.at, &real, 8)
        else:
            kind = FIELD_INT
            if not -(1 << 63) <= value < 1 << 63:
                out.status = FOREIGN
                return 0
            number = value
            memcpy(out.at, &number, 8)
        out.at += 8
    else:
        out.status = FOREIGN
        return 0
    if out.status == ENCODED:
        field[0] = (kind << FIELD_TYPE_SHIFT) | <uint32_t> (out.at - start)
    return 0


def keep_forever(obj):
    """Never free `obj`: for what a forked child inherits and must not close."""
    Py_INCREF(obj)


# -- reading records back ------------------------------------------------------------------------

cdef tuple _decode(const unsigned char[::1] data, size_t offset):
    cdef const RecordHeader *record = <const RecordHeader *> &data[offset]
    cdef const uint32_t *table = <const uint32_t *> (<const char *> record + sizeof(RecordHeader))
    cdef const char *at = <const char *> record + fields_offset(record.n_fields)
    cdef uint32_t i, n, kind
    cdef int64_t number
    cdef double real
    cdef list fields = []
    if record.kind == KIND_SAMPLES:
        fields.extend(_decode_samples(record))
    for i in range(record.n_fields):
        kind = table[i] >> FIELD_TYPE_SHIFT
        n = table[i] & FIELD_LENGTH_MASK
        if kind == FIELD_TEXT:
            fields.append(at[:n].decode("utf-8", "replace"))
        elif kind == FIELD_INT:
            memcpy(&number, at, 8)
            fields.append(number)
        elif kind == FIELD_FLOAT:
            memcpy(&real, at, 8)
            fields.append(real)
        else:
            fields.append(None)
        at += n
    return record.kind, record.tag, record.seq, record.timestamp_ns, tuple(fields)


cdef list _decode_samples(const RecordHeader *record):
    """Series, timestamp and value of each."""
    cdef const Sample *sample = <const Sample *> (<const char *> record + sizeof(RecordHeader))
    cdef list found = []
    for _ in range(record_count(record)):
        found.append((sample.series, sample.timestamp_ms, sample.value))
        sample += 1
    return found


cdef uint32_t record_length(const char *at, const char *end, uint32_t nonce) noexcept nogil:
    """The length of a valid record at `at`, 0 if there is none."""
    cdef const RecordHeader *record = <const RecordHeader *> at
    cdef const uint32_t *table
    cdef uint64_t payload
    cdef uint32_t i, n, kind
    if <size_t> (end - at) < sizeof(RecordHeader) or record.length > <size_t> (end - at):
        return 0
    if record.length < sizeof(RecordHeader) or record.length & 7 or record.length > RECORD_MAX_BYTES:
        return 0
    if record.n_fields > RECORD_MAX_FIELDS or not 1 <= record.kind <= 15 or record.nonce != nonce:
        return 0
    if record.seq == 0 or record.seq >> SEQ_BITS:
        return 0
    if record.kind == KIND_SAMPLES and (
            record.n_fields or (record.length - sizeof(RecordHeader)) % sizeof(Sample)):
        return 0
    payload = fields_offset(record.n_fields)
    if payload > record.length:
        return 0
    if record.checksum != CHECKSUM_PENDING and \
            record.checksum != record_checksum(record, record.length):
        return 0
    table = <const uint32_t *> (at + sizeof(RecordHeader))
    for i in range(record.n_fields):
        kind = table[i] >> FIELD_TYPE_SHIFT
        n = table[i] & FIELD_LENGTH_MASK
        if kind > FIELD_FLOAT or (kind != FIELD_TEXT and n != (0 if kind == FIELD_NULL else 8)):
            return 0
        payload += n
    return record.length if payload <= record.length else 0


def read_ring(bytes data not None) -> tuple:
    """Everything valid in the bytes of a ring file.

    Returns `(header, offsets, damaged)`: the header as a dict (None if it is not a ring file of
    this format; `released_seq` in it is up to where its owner knew everything to be committed, 0 if
    that is not known), the byte offsets of the valid records in the order of their sequence numbers,
    and how many damaged places were hopped over (a file that is too short is one). Records that were
    committed before may be among them; the caller knows up to which sequence number.
    """
    cdef const char *base = data
    cdef size_t size = len(data)
    cdef const RingHeader *header = <const RingHeader *> base
    cdef const char *at
    cdef const char *end
    cdef const RecordHeader *record
    cdef uint32_t length, damaged = 0
    cdef bint in_order, hole
    cdef uint64_t segment, start, newest
    cdef list found = []
    if size < HEADER_BYTES or header.magic[:8] != MAGIC[:8] or header.version != FORMAT_VERSION:
        return None, [], 1 if size else 0
    if header.checksum != _header_checksum(header) or header.segment_bytes < SEGMENT_MIN_BYTES:
        return None, [], 1
    info = {
        "ring_id": (<const char *> header.ring_id)[:16],
        "pid": header.pid,
        "created_ns": header.created_ns,
        "capacity_bytes": header.segment_bytes * header.n_segments,
        "released_seq": _marked_seq(base),
    }
    if (size - HEADER_BYTES) // header.segment_bytes < header.n_segments:
        damaged = 1
    for segment in range(header.n_segments):
        start = HEADER_BYTES + segment * header.segment_bytes
        if start >= size:
            break
        at = base + start
        end = base + min(start + header.segment_bytes, size)
        newest = 0
        in_order = True
        hole = False
        while end - at >= <Py_ssize_t> sizeof(RecordHeader):
            record = <const RecordHeader *> at
            length = record_length(at, end, header.nonce)
            if length:
                # What follows the end of the records is of an older use of the segment. A record
                # that is newer than those before says that this was not the end.
                if hole and record.seq > newest:
                    damaged += 1
                hole = False
                in_order = True
                newest = record_last_seq(record)
                found.append((record.seq, at - base))
                at += length
                # The newest samples have no checksum yet. What is behind them is perhaps half of the
                # next one: the process died before it had grown the record by it.
                if record.kind == KIND_SAMPLES and record.checksum == CHECKSUM_PENDING:
                    in_order = False
                continue
            # Hop. Length 0 is the end, or a hole. See _start_segment() for how a segment begins
            # that is about to be written anew.
            if in_order:
                if record.length != 0:
                    damaged += 1
                else:
                    hole = at > base + start or record.kind != 0 or record.seq == 0
            in_order = False
            at += 8
    found.sort()
    return info, [offset for _, offset in found], damaged


def decode_record(const unsigned char[::1] data, size_t offset=0) -> tuple:
    """`(kind, tag, seq, timestamp_ns, fields)` of the valid record at `offset`.

    The "fields" of a record of samples are its samples: (series, timestamp in ms, value) each.
    """
    cdef const RecordHeader *record
    cdef size_t size = data.shape[0]
    if offset < size and size - offset >= sizeof(RecordHeader):
        record = <const RecordHeader *> &data[offset]
    else:
        record = NULL
    if record == NULL or not record_length(
            <const char *> record, <const char *> &data[size - 1] + 1, record.nonce):
        raise ValueError(f"no valid record at byte {offset}")
    return _decode(data, offset)

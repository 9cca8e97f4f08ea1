"""The samples of a batch, sorted into blocks: one a series and minute."""

from libc.stdint cimport int64_t, uint32_t

# What one batch brought of one series and minute.
cdef struct Chunk:
    int64_t series
    int64_t minute
    Py_ssize_t first        # its first sample: `blocks + first * SAMPLE_BYTES`
    Py_ssize_t n            # samples

cdef struct Point:
    int64_t timestamp_ms
    double value

cdef struct Slot:           # of the hash table of series
    int64_t series
    uint32_t number         # 1, 2, 3 … in the order of appearance; 0: empty

cdef struct Run:            # of one series
    int64_t series
    Py_ssize_t n            # samples; then: where its next one goes

# All memory is kept from batch to batch. Owner: the connection, as everything of a batch.
cdef struct ChunkTable:
    Chunk *chunks           # by (series, minute), n of them
    Py_ssize_t n
    Py_ssize_t capacity
    char *blocks            # of all chunks, one after the other
    Point *points           # by series, then as they came, then by time
    Point *scratch
    uint32_t *numbers       # a sample's series, as a number
    Py_ssize_t points_capacity
    Slot *slots
    Py_ssize_t n_slots      # a power of two, at least twice the number of series
    Run *runs               # by number - 1
    Run *ordered            # the same by series
    Py_ssize_t n_runs
    Py_ssize_t runs_capacity

cdef int chunks_build(ChunkTable *table, const char *const *records, Py_ssize_t n_records) noexcept nogil
cdef const char *chunk_block(const ChunkTable *table, Py_ssize_t i, Py_ssize_t *n_bytes) noexcept nogil
cdef void chunks_free(ChunkTable *table) noexcept nogil

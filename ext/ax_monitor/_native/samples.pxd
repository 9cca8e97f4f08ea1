"""A block: the samples of one series in one minute, as bytes. 10 bytes a sample.

    uint16 offset[n]        milliseconds since the minute began, ascending
    double value[n]         in the same order; samples of one millisecond in the order of arrival

Little-endian, without a header: n is the length divided by ten. What a minute is: `minute_of`.
"""

from libc.stdint cimport int64_t, uint16_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    MINUTE_MS = 60000
    SAMPLE_BYTES = 10

# Samples on their way into a block.
cdef struct Pile:
    uint16_t *offsets
    double *values
    Py_ssize_t n
    Py_ssize_t capacity

cdef int pile_add(Pile *pile, const char *block, Py_ssize_t n_bytes) noexcept nogil
cdef int pile_sort(Pile *pile) noexcept nogil
cdef void pile_write(const Pile *pile, char *out) noexcept nogil
cdef void pile_free(Pile *pile) noexcept nogil


cdef inline int64_t minute_of(int64_t timestamp_ms) noexcept nogil:
    """Minutes since the Unix epoch, rounded down."""
    return timestamp_ms // MINUTE_MS - (timestamp_ms % MINUTE_MS < 0)


cdef inline uint16_t block_offset(const char *block, Py_ssize_t i) noexcept nogil:
    """Milliseconds of sample `i` since the minute began."""
    cdef uint16_t offset
    memcpy(&offset, block + 2 * i, 2)
    return offset


cdef inline double block_value(const char *block, Py_ssize_t n, Py_ssize_t i) noexcept nogil:
    """Value of sample `i` of `n`."""
    cdef double value
    memcpy(&value, block + 2 * n + 8 * i, 8)
    return value


cdef inline Py_ssize_t block_count(Py_ssize_t n_bytes) noexcept nogil:
    """Samples in a block of this length; of a length that no block has, none."""
    return n_bytes // SAMPLE_BYTES if n_bytes % SAMPLE_BYTES == 0 else 0


cdef inline bint block_has(const char *block, Py_ssize_t n, Py_ssize_t i) noexcept nogil:
    """Whether sample `i` of `n` can be one: within the minute, and finite. Else it is damage."""
    cdef uint64_t bits
    memcpy(&bits, block + 2 * n + 8 * i, 8)
    return block_offset(block, i) < MINUTE_MS and (bits >> 52) & 0x7FF != 0x7FF

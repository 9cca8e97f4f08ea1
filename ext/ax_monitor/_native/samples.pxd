"""A block: the samples of one series in one minute, as bytes. 10 bytes a sample.

    uint16 offset[n]        milliseconds since the minute began, ascending
    double value[n]         in the same order; samples of one millisecond in the order of arrival

Little-endian, without a header: n is the length divided by ten. What a minute is: `minute_of`.
"""

from libc.stdint cimport int64_t, uint16_t
from libc.string cimport memcpy

cdef enum:
    MINUTE_MS = 60000
    SAMPLE_BYTES = 10


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

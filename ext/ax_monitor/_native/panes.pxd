from libc.math cimport INFINITY
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ax_monitor._native.sketch cimport Sketch

# What is known of the samples of one pane, or of several together.
cdef struct Pane:
    uint64_t count
    double sum                      # rounded
    double rest                     # what the rounding has left out of it
    double min                      # +inf if there are none
    double max

# The keys of a pane's samples as bytes: enough to count them in a sketch, and out of it again.
cdef struct KeyLog:
    uint8_t *bytes
    uint32_t used
    uint32_t room
    uint32_t packed                 # the first so many bytes are rows, the others single keys
    uint32_t tried                  # so many were used when packing would not have made it shorter

cdef enum:
    KEY_BYTES = 3

cdef int log_grow(KeyLog *log, Sketch *scratch) noexcept nogil
cdef void log_close(KeyLog *log, Sketch *scratch) noexcept nogil
cdef void log_free(KeyLog *log) noexcept nogil
cdef int log_count(const KeyLog *log, Sketch *sketch, uint64_t times) noexcept nogil


cdef inline int log_append(KeyLog *log, uint32_t key, Sketch *scratch) noexcept nogil:
    """Write a key down. 0, or -1: no memory, and nothing is lost.

    `scratch` is an empty sketch to pack with, and empty again afterwards.
    """
    cdef uint8_t *at
    if log.room - log.used < KEY_BYTES and log_grow(log, scratch):
        return -1
    at = log.bytes + log.used
    at[0] = <uint8_t> key
    at[1] = <uint8_t> (key >> 8)
    at[2] = <uint8_t> (key >> 16)
    log.used += KEY_BYTES
    return 0


cdef inline void pane_clear(Pane *pane) noexcept nogil:
    pane.count = 0
    pane.sum = 0
    pane.rest = 0
    pane.min = INFINITY
    pane.max = -INFINITY


cdef inline void pane_sum_up(Pane *pane, double value) noexcept nogil:
    """Add to the sum. Knuth's TwoSum: `sum` and `rest` together are what exact addition gives."""
    cdef double sum = pane.sum + value
    cdef double part = sum - pane.sum
    pane.rest += (pane.sum - (sum - part)) + (value - part)
    pane.sum = sum


cdef inline void pane_add(Pane *pane, double value) noexcept nogil:
    pane_sum_up(pane, value)
    pane.count += 1
    if value < pane.min:
        pane.min = value
    if value > pane.max:
        pane.max = value


cdef inline void pane_merge(Pane *into, const Pane *other) noexcept nogil:
    pane_sum_up(into, other.sum)
    into.rest += other.rest
    into.count += other.count
    if other.min < into.min:
        into.min = other.min
    if other.max > into.max:
        into.max = other.max


cdef inline double pane_sum(const Pane *pane) noexcept nogil:
    """The sum; infinite if adding has left the range of a double."""
    cdef double sum = pane.sum + pane.rest
    return sum if sum == sum else pane.sum      # beyond the range, the rest is not a number

cimport cython
from libc.stdint cimport int64_t, uint64_t

# Which trace ids are kept. The value of an id is `(low & mask) ^ flip`, with `low` the low 64 bits
# of the id; it is kept if its value is at least the threshold.
cdef struct KeptIds:
    int bits                # how many of the id count: 56 or 64
    uint64_t mask           # … and which
    uint64_t flip           # all of them: the smallest ids are kept; none: the greatest
    uint64_t threshold      # within `mask`; 0: every id is kept
    bint never              # no id is kept: "never" has no threshold

# How many more may be kept. Traces are counted in units of 1/TRACE (sampling.pyx), as integers,
# so that the same arrivals are decided alike on every machine.
cdef struct Allowance:
    int64_t per_epoch       # units that each epoch adds; 0: no limit
    int64_t left            # units that may still be spent, at most per_epoch + TRACE
    int64_t epoch_ns        # start of the current epoch on the caller's clock; -1: none yet
    uint64_t seen           # arrivals in the current epoch
    double expected         # arrivals an epoch, smoothed; below 0: not known yet


# All of it is guarded by the GIL: no method calls Python between reading and writing its state.
@cython.final
cdef class Sampler:
    cdef double _rate
    cdef double _limit                  # traces a second; 0: no limit
    cdef KeptIds _ratio                 # by `rate` alone
    cdef KeptIds _now                   # in the current epoch: by the rate and the limit
    cdef Allowance _allowance
    cdef readonly uint64_t malformed    # ids that were no trace ids

    cdef bint keep(self, uint64_t high, uint64_t low, int64_t now_ns) noexcept
    cdef bint _keep_limited(self, uint64_t low, int64_t now_ns) noexcept
    cdef void _next_epoch(self, int64_t now_ns) noexcept
    cdef void _choose(self) noexcept

cdef int read_trace_id(object trace_id, uint64_t *high, uint64_t *low) except -1


cdef inline bint is_kept(const KeptIds *ids, uint64_t low) noexcept nogil:
    """The decision for the trace id with these low 64 bits."""
    return not ids.never and ((low & ids.mask) ^ ids.flip) >= ids.threshold

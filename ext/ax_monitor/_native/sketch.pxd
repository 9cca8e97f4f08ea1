from libc.math cimport ceil
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

# A key is the first 18 bits of a double (sign, exponent, 6 bits of the mantissa), changed so that
# keys are in the order of their values. An octave is what shares all but the last 6 bits.
cdef enum:
    OCTAVE_BITS = 6
    OCTAVE_BUCKETS = 64
    SKETCH_KEYS = 0x40000           # keys are below
    ZERO_KEY = 0x20000              # of 0, and of all that is nearer to it than a normal number
    NEAR_PAGES = 16

# The counts of one octave.
cdef struct SketchPage:
    uint64_t total                  # sum of `counts`
    uint64_t octave                 # key >> OCTAVE_BITS
    uint64_t[OCTAVE_BUCKETS] counts

# A histogram of keys. All zero is an empty one. No lock: whoever owns it guards it.
cdef struct Sketch:
    uint64_t total                  # sum of all counts
    uint32_t n_pages
    uint32_t capacity               # of `pages`
    SketchPage **pages              # ascending by octave; pages stay when their last count goes
    SketchPage *near[NEAR_PAGES]     # by the low bits of the octave: the page last used, or NULL

cdef void sketch_init(Sketch *s) noexcept nogil
cdef void sketch_free(Sketch *s) noexcept nogil
cdef void sketch_clear(Sketch *s) noexcept nogil
cdef SketchPage *sketch_page(Sketch *s, uint64_t octave) noexcept nogil
cdef void sketch_remove(Sketch *s, uint32_t key, uint64_t n) noexcept nogil
cdef int sketch_merge(Sketch *into, const Sketch *other) noexcept nogil
cdef double sketch_quantile(const Sketch *s, double p, double low, double high) noexcept nogil
cdef void sketch_quantiles(const Sketch *s, const double *p, int n, double low, double high,
                           double *out) noexcept nogil
cdef size_t sketch_encoded_max(const Sketch *s) noexcept nogil
cdef size_t sketch_encode(const Sketch *s, char *out) noexcept nogil
cdef int sketch_merge_encoded(Sketch *into, const char *data, size_t n) noexcept nogil
cdef double sketch_value(uint32_t key) noexcept nogil


cdef inline uint32_t sketch_key(double value) noexcept nogil:
    """The key of a value. Infinities have keys too; that of a NaN is that of an infinity."""
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    if not (bits >> 52) & 0x7FF:
        return ZERO_KEY
    return <uint32_t> (bits >> 46) ^ (<uint32_t> (<int64_t> bits >> 63) & 0x1FFFF | 0x20000)


cdef inline int sketch_add(Sketch *s, uint32_t key, uint64_t n) noexcept nogil:
    """Count a key n times. 0, or -1: no memory, and nothing has changed."""
    cdef uint64_t octave = key >> OCTAVE_BITS
    cdef SketchPage *page = s.near[octave % NEAR_PAGES]
    if page is NULL or page.octave != octave:
        page = sketch_page(s, octave)
        if page is NULL:
            return -1
    page.counts[key % OCTAVE_BUCKETS] += n
    page.total += n
    s.total += n
    return 0


cdef inline uint64_t nearest_rank(uint64_t n, double p) noexcept nogil:
    """The rank, from 1 to n, of the p-quantile of n > 0 values: `ceil(n * p)`."""
    cdef double rank = ceil(<double> n * p)
    if not rank >= 1:
        return 1
    return n if rank >= <double> n else <uint64_t> rank

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    NO_LINK = 0xFFFFFFFF

# Where the links of a series begin.
cdef struct Route:
    int64_t series
    uint32_t link                   # NO_LINK: nothing is here

# One window that watches a series.
cdef struct Link:
    uint32_t window
    uint32_t next                   # of the same series, or NO_LINK

# Which windows watch which series: a hash table with open addressing, and lists. All zero is an
# empty one. No lock: whoever owns it guards it.
cdef struct Routes:
    Route *table
    uint32_t n_series
    uint32_t room                   # of `table`: 0 or a power of two, at least twice n_series
    Link *links
    uint32_t n_links
    uint32_t link_room

cdef void routes_free(Routes *r) noexcept nogil
cdef int routes_add(Routes *r, int64_t series, uint32_t window) noexcept nogil
cdef uint32_t routes_find(const Routes *r, int64_t series) noexcept nogil

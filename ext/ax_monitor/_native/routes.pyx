"""From a series to the windows that watch it: a hash table over 64-bit ids.

Ids are hashes already or random, but need not be: they are multiplied by 2^64 / φ, and the high bits
of the product say where to look (Fibonacci hashing).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

cdef enum:
    TABLE_MIN = 16              # a power of two
    TABLE_MAX = 0x80000000
    LINKS_MIN = 16

cdef uint64_t GOLDEN = 0x9E3779B97F4A7C15ULL


cdef inline uint32_t _place(const Route *table, uint32_t room, int64_t series) noexcept nogil:
    """Where a series is, or would be. There is always an empty place."""
    cdef uint32_t at = <uint32_t> ((<uint64_t> series * GOLDEN) >> 32) & (room - 1)
    while table[at].link != NO_LINK and table[at].series != series:
        at = (at + 1) & (room - 1)
    return at


cdef void routes_free(Routes *r) noexcept nogil:
    """Give the memory back; what is left is empty."""
    free(r.table)
    free(r.links)
    memset(r, 0, sizeof(Routes))


cdef int _grow_table(Routes *r) noexcept nogil:
    """Room for one more series. 0, or -1: no memory, and nothing has changed."""
    cdef uint32_t room = r.room * 2 if r.room else TABLE_MIN
    cdef uint32_t i
    cdef Route *table
    if 2 * (<uint64_t> r.n_series + 1) <= r.room:
        return 0
    if r.room >= TABLE_MAX:
        return -1
    table = <Route *> malloc(<size_t> room * sizeof(Route))
    if table is NULL:
        return -1
    memset(table, 0xFF, <size_t> room * sizeof(Route))      # every link is NO_LINK
    for i in range(r.room):
        if r.table[i].link != NO_LINK:
            table[_place(table, room, r.table[i].series)] = r.table[i]
    free(r.table)
    r.table = table
    r.room = room
    return 0


cdef int _grow_links(Routes *r) noexcept nogil:
    """Room for one more link. 0, or -1: no memory, and nothing has changed."""
    cdef uint32_t room = r.link_room * 2 if r.link_room else LINKS_MIN
    cdef Link *links
    if r.n_links < r.link_room:
        return 0
    if room <= r.link_room:
        return -1
    links = <Link *> realloc(r.links, <size_t> room * sizeof(Link))
    if links is NULL:
        return -1
    r.links = links
    r.link_room = room
    return 0


cdef int routes_add(Routes *r, int64_t series, uint32_t window) noexcept nogil:
    """Have a window watch a series; once, however often. 0, or -1: no memory, nothing has changed."""
    cdef uint32_t link, place
    cdef Link *added
    link = routes_find(r, series)
    while link != NO_LINK:
        if r.links[link].window == window:
            return 0
        link = r.links[link].next
    if _grow_table(r) or _grow_links(r):
        return -1
    place = _place(r.table, r.room, series)
    if r.table[place].link == NO_LINK:
        r.table[place].series = series
        r.n_series += 1
    added = &r.links[r.n_links]
    added.window = window
    added.next = r.table[place].link
    r.table[place].link = r.n_links
    r.n_links += 1
    return 0


cdef uint32_t routes_find(const Routes *r, int64_t series) noexcept nogil:
    """The first link of a series, or NO_LINK."""
    if not r.room:
        return NO_LINK
    return r.table[_place(r.table, r.room, series)].link

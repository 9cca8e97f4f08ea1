"""The samples of a stretch of time: count, sum, extremes, and the keys for quantiles.

**Sums** are kept as a rounded sum and what the rounding has left out of it (TwoSum), so a sum is
within one unit in the last place of the exact one, but for what n^2 * 2^-106 of the sum of all
magnitudes is: that shows only where nearly everything cancels out. A window adds its panes up
anew at every reading; nothing is ever subtracted, so nothing drifts.

**Keys.** A window with quantiles has one sketch for all its panes. A pane that leaves the window
must be taken out of it, so each pane keeps the keys of its samples, as entries:

    varint      (step << 1) | more      step from the last key, folded: 0, +1, -1, +2, -2, … → 0, 1, 2, 3, 4, …
    varint      count                   only if `more`; else it is 1

A sample appends an entry of one to three bytes. From time to time the log is packed: its keys in
ascending order, each once, with its count. Then it takes about a byte and a half for each different
key, however many samples there were. Packing is done in place, because it never makes a log longer:
the ascending way is the shortest through all keys from 0 (a minimum spanning tree on a line, as a
longer step never takes fewer bytes and a step up none more than one down), and a count takes no more
bytes than the entries that it replaces.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from ax_monitor._native.sketch cimport (
    OCTAVE_BUCKETS,
    Sketch,
    SketchPage,
    sketch_add,
    sketch_clear,
    sketch_free,
    sketch_remove,
)

cdef enum:
    ENTRY_MAX_BYTES = 13            # a key of 18 bits in 3, a count of 64 in 10
    ROOM_MIN_BYTES = 32
    PACK_OPEN_BYTES = 1024          # unpacked bytes that a pane in use may have; packing takes 1 to 2 µs
    PACK_CLOSED_BYTES = 128         # … and one out of use
    SCRATCH_MAX_PAGES = 64          # beyond, odd data have filled it: give the memory back


cdef inline uint8_t *_write_varint(uint8_t *out, uint64_t value) noexcept nogil:
    while value >= 0x80:
        out[0] = <uint8_t> (value | 0x80)
        value >>= 7
        out += 1
    out[0] = <uint8_t> value
    return out + 1


cdef inline const uint8_t *_read_varint(const uint8_t *at, uint64_t *value) noexcept nogil:
    cdef int shift = 7
    value[0] = at[0] & 0x7F
    while at[0] & 0x80:
        at += 1
        value[0] |= <uint64_t> (at[0] & 0x7F) << shift
        shift += 7
    return at + 1


cdef inline uint32_t _folded(uint32_t key, uint32_t last) noexcept nogil:
    return 2 * (key - last) - 1 if key > last else 2 * (last - key)


cdef inline void _write_entry(KeyLog *log, uint32_t key, uint64_t count) noexcept nogil:
    """There must be room for it."""
    cdef uint64_t head = <uint64_t> _folded(key, log.last) << 1
    cdef uint8_t *at = log.bytes + log.used
    if count == 1:
        at = _write_varint(at, head)
    else:
        at = _write_varint(_write_varint(at, head | 1), count)
    log.used = <uint32_t> (at - log.bytes)
    log.last = key


cdef inline const uint8_t *_read_entry(const uint8_t *at, uint32_t *key, uint64_t *count) noexcept nogil:
    """The place behind an entry; `key` is the last one before, and this one after."""
    cdef uint64_t head
    cdef uint32_t step
    at = _read_varint(at, &head)
    step = <uint32_t> (head >> 1)
    key[0] += (step + 1) >> 1 if step & 1 else -(step >> 1)
    count[0] = 1
    if head & 1:
        at = _read_varint(at, count)
    return at


cdef int log_append(KeyLog *log, uint32_t key, Sketch *scratch) noexcept nogil:
    """Write a key down. 0, or -1: no memory, and nothing is lost.

    `scratch` is an empty sketch to pack with, and empty again afterwards.
    """
    cdef uint32_t room
    cdef uint8_t *bytes
    if log.room - log.used < ENTRY_MAX_BYTES:
        if log.used - log.packed >= max(log.packed, <uint32_t> PACK_OPEN_BYTES):
            _pack(log, scratch)
        if log.used > log.room // 4 * 3 or log.room - log.used < ENTRY_MAX_BYTES:
            room = max(log.room * 2, <uint32_t> ROOM_MIN_BYTES)
            bytes = <uint8_t *> realloc(log.bytes, room) if room > log.room else NULL
            if bytes is NULL:
                return -1
            log.bytes = bytes
            log.room = room
    _write_entry(log, key, 1)
    return 0


cdef void log_close(KeyLog *log, Sketch *scratch) noexcept nogil:
    """Make it short: it will hardly grow any more."""
    cdef uint8_t *bytes
    cdef uint32_t unpacked = log.used - log.packed
    if unpacked >= PACK_CLOSED_BYTES and unpacked >= log.packed // 2:
        _pack(log, scratch)
        bytes = <uint8_t *> realloc(log.bytes, log.used)
        if bytes is not NULL:
            log.bytes = bytes
            log.room = log.used


cdef void log_free(KeyLog *log) noexcept nogil:
    """Give the memory back; what is left is an empty log."""
    free(log.bytes)
    log.bytes = NULL
    log.used = log.room = log.packed = log.last = 0


cdef int log_count(const KeyLog *log, Sketch *sketch) noexcept nogil:
    """Count all keys. 0, or -1: no memory, and some of them may have been counted."""
    cdef const uint8_t *at = log.bytes
    cdef const uint8_t *end = at + log.used
    cdef uint32_t key = 0
    cdef uint64_t count = 0
    while at < end:
        at = _read_entry(at, &key, &count)
        if sketch_add(sketch, key, count):
            return -1
    return 0


cdef void log_discount(const KeyLog *log, Sketch *sketch) noexcept nogil:
    """Undo `log_count`."""
    cdef const uint8_t *at = log.bytes
    cdef const uint8_t *end = at + log.used
    cdef uint32_t key = 0
    cdef uint64_t count = 0
    while at < end:
        at = _read_entry(at, &key, &count)
        sketch_remove(sketch, key, count)


cdef void _pack(KeyLog *log, Sketch *scratch) noexcept nogil:
    """Rewrite the log in ascending order. Without memory for it, it stays as it is."""
    cdef const SketchPage *page
    cdef uint32_t i, j
    if log_count(log, scratch) == 0:
        log.used = log.last = 0
        for i in range(scratch.n_pages):
            page = scratch.pages[i]
            if not page.total:
                continue
            for j in range(<uint32_t> OCTAVE_BUCKETS):
                if page.counts[j]:
                    _write_entry(log, <uint32_t> page.octave * OCTAVE_BUCKETS + j, page.counts[j])
        log.packed = log.used
    if scratch.n_pages > SCRATCH_MAX_PAGES:
        sketch_free(scratch)
    else:
        sketch_clear(scratch)

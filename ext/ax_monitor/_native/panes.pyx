"""The samples of a stretch of time: count, sum, extremes, and the keys for quantiles.

**Sums** are kept as a rounded sum and what the rounding has left out of it (TwoSum), so a sum is
within one unit in the last place of the exact one, but for what n^2 * 2^-106 of the sum of all
magnitudes is: that shows only where nearly everything cancels out. A window adds its panes up
anew at every reading; nothing is ever subtracted, so nothing drifts.

**Keys.** A window with quantiles has one sketch for all its panes. A pane that leaves the window
must be taken out of it, so each pane keeps the keys of its samples: as they come in three bytes
each, and from time to time packed into rows, one for each octave (`sketch.pxd`):

    uint16      octave
    uint64      which of its 64 keys there are, by bit
    varint      for each of them: how many times

So a busy pane takes about a byte for each different key, however many samples there were.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from ax_monitor._native.sketch cimport (
    OCTAVE_BUCKETS,
    Sketch,
    SketchPage,
    sketch_add,
    sketch_clear,
    sketch_free,
    sketch_page,
)

cdef extern from *:
    int lowest_bit "__builtin_ctzll" (uint64_t bits) nogil      # of which one is set

cdef enum:
    ROOM_MIN_BYTES = 16 * KEY_BYTES
    PACK_OPEN_BYTES = 512 * KEY_BYTES       # of single keys in a pane in use; packing takes 1 to 2 µs
    PACK_CLOSED_BYTES = 96 * KEY_BYTES      # … and in one out of use: below it would hardly be shorter
    ROW_HEAD_BYTES = 10
    VARINT_MAX_BYTES = 10
    SCRATCH_MAX_PAGES = 64                  # beyond, odd data have filled it: give the memory back


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


cdef size_t _rows_max_bytes(const Sketch *s) noexcept nogil:
    cdef size_t n = 0
    cdef uint32_t i
    for i in range(s.n_pages):
        if s.pages[i].total:
            n += ROW_HEAD_BYTES + min(s.pages[i].total, <uint64_t> OCTAVE_BUCKETS) * VARINT_MAX_BYTES
    return n


cdef size_t _write_rows(const Sketch *s, uint8_t *out) noexcept nogil:
    """Write what a sketch holds; how long it is."""
    cdef uint8_t *at = out
    cdef const SketchPage *page
    cdef uint64_t bits
    cdef uint16_t octave
    cdef uint32_t i, j
    for i in range(s.n_pages):
        page = s.pages[i]
        if not page.total:
            continue
        bits = 0
        for j in range(<uint32_t> OCTAVE_BUCKETS):
            bits |= <uint64_t> (page.counts[j] != 0) << j
        octave = <uint16_t> page.octave
        memcpy(at, &octave, 2)
        memcpy(at + 2, &bits, 8)
        at += ROW_HEAD_BYTES
        while bits:
            at = _write_varint(at, page.counts[lowest_bit(bits)])
            bits &= bits - 1
    return <size_t> (at - out)


cdef const uint8_t *_count_row(const uint8_t *at, Sketch *sketch, uint64_t times) noexcept nogil:
    """The place behind a row; NULL: no memory."""
    cdef SketchPage *page
    cdef uint64_t bits, count, total = 0
    cdef uint16_t octave
    memcpy(&octave, at, 2)
    memcpy(&bits, at + 2, 8)
    at += ROW_HEAD_BYTES
    page = sketch_page(sketch, octave)
    if page is NULL:
        return NULL
    while bits:
        at = _read_varint(at, &count)
        page.counts[lowest_bit(bits)] += count * times
        total += count
        bits &= bits - 1
    page.total += total * times
    sketch.total += total * times
    return at


cdef int log_count(const KeyLog *log, Sketch *sketch, uint64_t times) noexcept nogil:
    """Count all keys so many times; with -1 (of 64 bits), take them out again.

    0, or -1: no memory, and some of them may have been counted.
    """
    cdef const uint8_t *at = log.bytes
    cdef const uint8_t *end = at + log.packed
    while at < end:
        at = _count_row(at, sketch, times)
        if at is NULL:
            return -1
    end = log.bytes + log.used
    while at < end:
        if sketch_add(sketch, at[0] | <uint32_t> at[1] << 8 | <uint32_t> at[2] << 16, times):
            return -1
        at += KEY_BYTES
    return 0


cdef void _pack(KeyLog *log, Sketch *scratch) noexcept nogil:
    """Turn all keys into rows, if that is shorter and there is memory for it."""
    cdef uint8_t *rows = NULL
    cdef size_t n = 0, room = 0
    if log_count(log, scratch, 1) == 0:
        room = _rows_max_bytes(scratch)
        rows = <uint8_t *> malloc(room)
    if rows is not NULL:
        n = _write_rows(scratch, rows)
    if scratch.n_pages > SCRATCH_MAX_PAGES:
        sketch_free(scratch)
    else:
        sketch_clear(scratch)
    if 0 < n < log.used:
        free(log.bytes)
        log.bytes = rows
        log.used = log.packed = <uint32_t> n
        log.room = <uint32_t> room
        log.tried = 0
    else:
        free(rows)
        log.tried = log.used


cdef inline bint _is_worth_packing(const KeyLog *log, uint32_t single_bytes) noexcept nogil:
    cdef uint32_t single = log.used - log.packed
    return single >= single_bytes and single >= log.packed // 2 and log.used >= 2 * <uint64_t> log.tried


cdef int _resize(KeyLog *log, uint32_t room) noexcept nogil:
    cdef uint8_t *bytes = <uint8_t *> realloc(log.bytes, room)
    if bytes is NULL:
        return -1
    log.bytes = bytes
    log.room = room
    return 0


cdef int log_grow(KeyLog *log, Sketch *scratch) noexcept nogil:
    """Room for one more key. 0, or -1: no memory, and nothing is lost."""
    if _is_worth_packing(log, PACK_OPEN_BYTES):
        _pack(log, scratch)
    return _resize(log, max(log.used * 2, <uint32_t> ROOM_MIN_BYTES))


cdef void log_close(KeyLog *log, Sketch *scratch) noexcept nogil:
    """Make it short: it will hardly grow any more."""
    if _is_worth_packing(log, PACK_CLOSED_BYTES):
        _pack(log, scratch)
    if log.used and log.used < log.room:
        _resize(log, log.used)


cdef void log_free(KeyLog *log) noexcept nogil:
    """Give the memory back; what is left is an empty log."""
    free(log.bytes)
    log.bytes = NULL
    log.used = log.room = log.packed = log.tried = 0

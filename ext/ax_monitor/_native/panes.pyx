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
    bits        for each of them how many times: Elias gamma code, z zeros, 1, the z bits below the
                highest of the count; from the lowest bit of the first byte on, to a full byte

So a busy pane takes some two bits for each different key and ten bytes for each octave, however many
samples there were.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

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
    """
    #define ax_bit_length(x) (64 - __builtin_clzll(x))
    """
    int lowest_bit "__builtin_ctzll" (uint64_t bits) nogil  # of which one is set
    int bit_length "ax_bit_length" (uint64_t number) nogil  # of one that is not 0

cdef enum:
    ROOM_MIN_BYTES = 16 * KEY_BYTES
    PACK_OPEN_BYTES = 512 * KEY_BYTES       # of single keys in a pane in use; packing takes 1 to 2 µs
    PACK_CLOSED_BYTES = 64 * KEY_BYTES      # … and in one out of use: below it would hardly be shorter
    ROW_HEAD_BYTES = 10
    ROW_MAX_BYTES = ROW_HEAD_BYTES + 64 * 7     # counts are up to COUNT_MAX: 55 bits each
    ROW_SLACK_BYTES = 16                    # counts are read eight bytes at a time, and 54 bits ahead
    ROWS_MIN_BYTES = 4096
    SCRATCH_MAX_PAGES = 64                  # beyond, odd data have filled it: give the memory back

cdef extern from *:
    """
    #define AX_ONE ((uint64_t) 1)
    #define AX_COUNT_MAX ((AX_ONE << 28) - 1)
    """
    const uint64_t ONE "AX_ONE"
    const uint64_t COUNT_MAX "AX_COUNT_MAX"     # of a key in one row; then there is another row


# -- rows --------------------------------------------------------------------------------------


cdef uint8_t *_write_row(uint8_t *at, SketchPage *page) noexcept nogil:
    """Move the counts of a page, or what fits of them, to a row; the place behind it."""
    cdef uint8_t *head = at
    cdef uint16_t octave = <uint16_t> page.octave
    cdef uint64_t keys = 0, bits = 0, count
    cdef int n_bits = 0, low            # `bits` has so many
    cdef uint32_t j
    at += ROW_HEAD_BYTES
    for j in range(<uint32_t> OCTAVE_BUCKETS):
        if not page.counts[j]:
            continue
        count = min(page.counts[j], COUNT_MAX)
        page.counts[j] -= count
        page.total -= count
        keys |= ONE << j
        low = bit_length(count) - 1
        bits |= (ONE << low | (count - (ONE << low)) << (low + 1)) << n_bits
        n_bits += 2 * low + 1
        memcpy(at, &bits, 8)
        at += n_bits >> 3
        bits >>= n_bits & ~7
        n_bits &= 7
    memcpy(head, &octave, 2)
    memcpy(head + 2, &keys, 8)
    return at + (n_bits > 0)


cdef int _write_rows(Scratch *scratch) noexcept nogil:
    """Move all counts to rows; how many bytes that is, or -1: no memory."""
    cdef size_t used = 0
    cdef uint8_t *rows
    cdef uint32_t i
    for i in range(scratch.sketch.n_pages):
        while scratch.sketch.pages[i].total:
            if scratch.room - used < ROW_MAX_BYTES + ROW_SLACK_BYTES:
                rows = <uint8_t *> realloc(scratch.rows, scratch.room * 2 + ROWS_MIN_BYTES)
                if rows is NULL:
                    return -1
                scratch.rows = rows
                scratch.room = scratch.room * 2 + ROWS_MIN_BYTES
            used = _write_row(scratch.rows + used, scratch.sketch.pages[i]) - scratch.rows
    return <int> used


@cython.cdivision(True)
cdef const uint8_t *_count_row(const uint8_t *at, Sketch *sketch, uint64_t times) noexcept nogil:
    """Count what a row says, so many times; the place behind it, or NULL: no memory."""
    cdef SketchPage *page
    cdef const uint8_t *next = at + ROW_HEAD_BYTES
    cdef uint64_t keys, more, count, total = 0
    cdef uint64_t bits = 0
    cdef int n_bits = 0, low            # `bits` has so many; those above them are right or 0
    cdef size_t n_read = 0
    cdef uint16_t octave
    memcpy(&octave, at, 2)
    memcpy(&keys, at + 2, 8)
    page = sketch_page(sketch, octave)
    if page is NULL:
        return NULL
    while keys:
        if n_bits < 55:
            memcpy(&more, next, 8)
            bits |= more << n_bits
            next += (63 - n_bits) >> 3
            n_bits |= 56
        low = lowest_bit(bits)
        bits >>= low
        count = ONE << low | (bits >> 1 & (ONE << low) - 1)
        bits >>= low + 1
        n_bits -= 2 * low + 1
        n_read += 2 * low + 1
        page.counts[lowest_bit(keys)] += count * times
        keys &= keys - 1
        total += count
    page.total += total * times
    sketch.total += total * times
    return at + ROW_HEAD_BYTES + (n_read + 7) // 8


# -- logs --------------------------------------------------------------------------------------


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


cdef inline bint _is_worth_packing(const KeyLog *log, uint32_t single_bytes) noexcept nogil:
    cdef uint32_t single = log.used - log.packed
    return single >= single_bytes and single >= log.packed // 2 and log.used >= 2 * <uint64_t> log.tried


cdef void _pack(KeyLog *log, Scratch *scratch) noexcept nogil:
    """Turn all keys into rows, if that is shorter and there is memory for it."""
    cdef int n = -1
    if log_count(log, &scratch.sketch, 1) == 0:
        n = _write_rows(scratch)
    if 0 <= n < <int64_t> log.used:
        memcpy(log.bytes, scratch.rows, n)
        log.used = log.packed = n
        log.tried = 0
    else:
        log.tried = log.used
    if scratch.sketch.n_pages > SCRATCH_MAX_PAGES:
        scratch_free(scratch)
    else:
        sketch_clear(&scratch.sketch)


cdef int log_grow(KeyLog *log, Scratch *scratch) noexcept nogil:
    """Room for one more key. 0, or -1: no memory, and nothing is lost."""
    cdef uint32_t room
    cdef uint8_t *bytes
    if _is_worth_packing(log, PACK_OPEN_BYTES):
        _pack(log, scratch)
        if log.room - log.used >= PACK_OPEN_BYTES // 2:
            return 0
    room = log.room + log.room // 4 + ROOM_MIN_BYTES
    bytes = <uint8_t *> realloc(log.bytes, <size_t> room + ROW_SLACK_BYTES) if room > log.room else NULL
    if bytes is NULL:
        return -1
    log.bytes = bytes
    log.room = room
    return 0


cdef void log_close(KeyLog *log, Scratch *scratch, KeyLog *spare) noexcept nogil:
    """Make it short, as it will hardly grow any more. Its memory becomes `spare`, for the next one."""
    cdef uint8_t *bytes
    if _is_worth_packing(log, PACK_CLOSED_BYTES):
        _pack(log, scratch)
    if log.room - log.used <= log.used // 4 + ROOM_MIN_BYTES:
        return
    bytes = <uint8_t *> malloc(log.used + ROW_SLACK_BYTES)
    if bytes is NULL:
        return
    memcpy(bytes, log.bytes, log.used)
    if log.room > spare.room:
        free(spare.bytes)
        spare.bytes = log.bytes
        spare.room = log.room
    else:
        free(log.bytes)
    log.bytes = bytes
    log.room = log.used


cdef void log_free(KeyLog *log) noexcept nogil:
    """Give the memory back; what is left is an empty log."""
    free(log.bytes)
    memset(log, 0, sizeof(KeyLog))


cdef void scratch_free(Scratch *scratch) noexcept nogil:
    """Give the memory back; what is left is an empty one."""
    sketch_free(&scratch.sketch)
    free(scratch.rows)
    memset(scratch, 0, sizeof(Scratch))

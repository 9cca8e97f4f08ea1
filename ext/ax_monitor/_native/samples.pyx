"""Blocks of samples, and what SQL can do with them. A loadable SQLite extension.

`load_extension(path, "sqlite3_axsamples_init")` gives a connection these functions. `samples` is a
block (see samples.pxd), `minute` the minute that it is of.

    ax_block(offset, value)             a block of one sample
    ax_slice(minute, samples, start_ms, end_ms)
                                        the part of a block that lies in a range, both ends inclusive
    ax_join(samples, samples)           two blocks as one
    ax_merge(samples, rank)             aggregate: any number of blocks as one; samples of one
                                        millisecond in the order of the ranks
    ax_points(minute, samples)          aggregate: (int64 timestamp, double value) of every sample, in
                                        the order of the rows
    ax_values(samples)                  aggregate: the values alone
    ax_summary(minute, samples, start_ms, end_ms, sketched, sketch)
                                        what the part in a range says, in one pass over the block; NULL
                                        if it is empty. `sketch` is the block's own, or NULL
    ax_figure(summary, number)          of that: 0 count, 1 sum, 2 min, 3 max, 4 sketch
    ax_count, ax_sum, ax_min, ax_max, ax_sketch(samples)
    ax_sketch_add(sketch, sketch)       two sketches as one
    ax_sketch_sum(sketch)               aggregate: any number of sketches as one
    ax_add(a, b)                        a + b; what no double can hold is the greatest one
    ax_floor_div(a, b)                  a / b rounded down, where SQL rounds towards zero

**Damage.** A file may be damaged, and sealing must not stop at it. So what can't be a sample (beyond
the minute, not a finite number) is passed over, a blob whose length is not that of a block holds no
samples, and one that is no sketch makes the result NULL. No function relies on the order in a block.

The functions can only be called by statements of ours, not from a schema (SQLITE_DIRECTONLY).
"""

cimport cython

from libc.float cimport DBL_MAX
from libc.math cimport fabs, isfinite
from libc.stdint cimport INT64_MIN, int64_t, intptr_t, uint16_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset

from ax_monitor._native.sketch cimport (
    Sketch,
    sketch_add,
    sketch_encode,
    sketch_encoded_max,
    sketch_free,
    sketch_init,
    sketch_key,
    sketch_merge_encoded,
    sketch_remove,
)
from ax_monitor._native.sqlite_api cimport *

cdef enum:
    FLAGS = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY
    FEW = 32                        # so many samples are sorted by insertion
    BYTES_MAX = 0x7FFFFFFF          # of a result; SQLite's own limit is lower

cdef void **_api = NULL             # SQLite's routines, once it has loaded us


# -- blocks into one -------------------------------------------------------------------------------

cdef int _reserve(Pile *pile, Py_ssize_t n) noexcept nogil:
    """Room for `n` more. 0, or -1: no memory."""
    cdef Py_ssize_t capacity = pile.capacity * 2 if pile.capacity else 64
    cdef void *memory
    if pile.n + n <= pile.capacity:
        return 0
    if capacity < pile.n + n:
        capacity = pile.n + n
    memory = realloc(pile.offsets, capacity * sizeof(uint16_t))
    if memory == NULL:
        return -1
    pile.offsets = <uint16_t *> memory
    memory = realloc(pile.values, capacity * sizeof(double))
    if memory == NULL:
        return -1
    pile.values = <double *> memory
    pile.capacity = capacity
    return 0


cdef int pile_add(Pile *pile, const char *block, Py_ssize_t n_bytes) noexcept nogil:
    """Put the samples of a block behind the others. 0, or -1: no memory."""
    cdef Py_ssize_t i, n = block_count(n_bytes)
    if _reserve(pile, n):
        return -1
    for i in range(n):
        if block_has(block, n, i):
            pile.offsets[pile.n] = block_offset(block, i)
            pile.values[pile.n] = block_value(block, n, i)
            pile.n += 1
    return 0


cdef int pile_sort(Pile *pile) noexcept nogil:
    """Sort by offset; what is equal stays in its order. 0, or -1: no memory."""
    cdef Py_ssize_t i
    cdef Pile scratch
    for i in range(1, pile.n):
        if pile.offsets[i] < pile.offsets[i - 1]:
            break
    else:
        return 0
    if pile.n <= FEW:
        _insertion_sort(pile)
        return 0
    memset(&scratch, 0, sizeof(Pile))
    if _reserve(&scratch, pile.n):
        pile_free(&scratch)
        return -1
    _scatter(pile, &scratch, 0)
    _scatter(&scratch, pile, 8)
    pile_free(&scratch)
    return 0


cdef void _insertion_sort(Pile *pile) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef uint16_t offset
    cdef double value
    for i in range(1, pile.n):
        offset = pile.offsets[i]
        value = pile.values[i]
        j = i
        while j > 0 and pile.offsets[j - 1] > offset:
            pile.offsets[j] = pile.offsets[j - 1]
            pile.values[j] = pile.values[j - 1]
            j -= 1
        pile.offsets[j] = offset
        pile.values[j] = value


cdef void _scatter(const Pile *source, Pile *target, int shift) noexcept nogil:
    """One pass of a radix sort, by 8 bits of the offset."""
    cdef Py_ssize_t[256] places
    cdef Py_ssize_t i, at = 0, n
    cdef int digit
    memset(places, 0, sizeof(places))
    for i in range(source.n):
        places[(source.offsets[i] >> shift) & 0xFF] += 1
    for digit in range(256):
        n = places[digit]
        places[digit] = at
        at += n
    for i in range(source.n):
        digit = (source.offsets[i] >> shift) & 0xFF
        target.offsets[places[digit]] = source.offsets[i]
        target.values[places[digit]] = source.values[i]
        places[digit] += 1
    target.n = source.n


cdef void pile_write(const Pile *pile, char *out) noexcept nogil:
    """Write the block: `n * SAMPLE_BYTES` bytes."""
    if not pile.n:
        return
    memcpy(out, pile.offsets, 2 * pile.n)
    memcpy(out + 2 * pile.n, pile.values, 8 * pile.n)


cdef void pile_free(Pile *pile) noexcept nogil:
    free(pile.offsets)
    free(pile.values)
    memset(pile, 0, sizeof(Pile))


# -- arguments and results -------------------------------------------------------------------------

cdef const char *_blob(sqlite3_value *value, Py_ssize_t *n_bytes) noexcept nogil:
    """The bytes of a blob; of anything else, none."""
    n_bytes[0] = 0
    if (<value_type_t> _api[R_VALUE_TYPE])(value) != SQLITE_BLOB:
        return NULL
    # The length after the pointer: so SQLite's documentation wants it.
    cdef const char *data = <const char *> (<value_blob_t> _api[R_VALUE_BLOB])(value)
    if data != NULL:
        n_bytes[0] = (<value_bytes_t> _api[R_VALUE_BYTES])(value)
    return data


cdef inline void _result_null(sqlite3_context *ctx) noexcept nogil:
    (<result_null_t> _api[R_RESULT_NULL])(ctx)


cdef inline void _result_error(sqlite3_context *ctx, int code) noexcept nogil:
    (<result_error_code_t> _api[R_RESULT_ERROR_CODE])(ctx, code)


cdef void _result_memory(sqlite3_context *ctx, char *data, Py_ssize_t n_bytes) noexcept nogil:
    """Hand `malloc`ed bytes over to SQLite."""
    if n_bytes > BYTES_MAX:
        free(data)
        _result_error(ctx, SQLITE_TOOBIG)
    else:
        (<result_bytes_t> _api[R_RESULT_BLOB])(ctx, data, <int> n_bytes, <void *> &free)


cdef void _result_pile(sqlite3_context *ctx, Pile *pile) noexcept nogil:
    """The pile as a block; NULL if it is empty. Frees it."""
    cdef char *out
    if pile.n == 0:
        _result_null(ctx)
    elif pile_sort(pile):
        _result_error(ctx, SQLITE_NOMEM)
    else:
        out = <char *> malloc(pile.n * SAMPLE_BYTES)
        if out == NULL:
            _result_error(ctx, SQLITE_NOMEM)
        else:
            pile_write(pile, out)
            _result_memory(ctx, out, pile.n * SAMPLE_BYTES)
    pile_free(pile)


cdef void _result_sketch(sqlite3_context *ctx, Sketch *sketch) noexcept nogil:
    """The sketch's encoding. Frees it."""
    cdef char *out = <char *> malloc(sketch_encoded_max(sketch))
    if out == NULL:
        _result_error(ctx, SQLITE_NOMEM)
    else:
        _result_memory(ctx, out, <Py_ssize_t> sketch_encode(sketch, out))
    sketch_free(sketch)


cdef inline bint _is_minute(int64_t minute) noexcept nogil:
    """Whether its milliseconds fit into 64 bits; else it is damage."""
    return -(<int64_t> 1 << 47) < minute < <int64_t> 1 << 47


cdef inline double _within_range(double value) noexcept nogil:
    """What a sum became that no double can hold: the greatest one."""
    return min(max(value, -DBL_MAX), DBL_MAX)


# -- functions of one block ------------------------------------------------------------------------

cdef void _sql_block(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef int64_t offset = (<value_int64_t> _api[R_VALUE_INT64])(args[0])
    cdef double value = (<value_double_t> _api[R_VALUE_DOUBLE])(args[1])
    cdef uint16_t short_offset = <uint16_t> offset
    cdef char *out
    if not 0 <= offset < MINUTE_MS or not isfinite(value):
        _result_null(ctx)
        return
    out = <char *> malloc(SAMPLE_BYTES)
    if out == NULL:
        _result_error(ctx, SQLITE_NOMEM)
        return
    memcpy(out, &short_offset, 2)
    memcpy(out + 2, &value, 8)
    _result_memory(ctx, out, SAMPLE_BYTES)


cdef void _sql_slice(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef value_int64_t integer = <value_int64_t> _api[R_VALUE_INT64]
    cdef int64_t minute = integer(args[0])
    cdef int64_t start = integer(args[2])
    cdef int64_t end = integer(args[3])
    cdef Py_ssize_t n_bytes, n, i, kept = 0
    cdef int64_t first
    cdef const char *block
    cdef char *out
    if not _is_minute(minute):
        _result_null(ctx)
        return
    first = minute * MINUTE_MS
    if start <= first and end >= first + MINUTE_MS - 1:
        (<result_value_t> _api[R_RESULT_VALUE])(ctx, args[1])
        return
    block = _blob(args[1], &n_bytes)
    n = block_count(n_bytes)
    for i in range(n):
        kept += block_has(block, n, i) and start <= first + block_offset(block, i) <= end
    if kept == 0:
        _result_null(ctx)
        return
    out = <char *> malloc(kept * SAMPLE_BYTES)
    if out == NULL:
        _result_error(ctx, SQLITE_NOMEM)
        return
    n_bytes = 0
    for i in range(n):
        if block_has(block, n, i) and start <= first + block_offset(block, i) <= end:
            memcpy(out + 2 * n_bytes, block + 2 * i, 2)
            memcpy(out + 2 * kept + 8 * n_bytes, block + 2 * n + 8 * i, 8)
            n_bytes += 1
    _result_memory(ctx, out, kept * SAMPLE_BYTES)


cdef void _sql_join(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef Pile pile
    cdef Py_ssize_t n_bytes
    cdef const char *block
    cdef int i
    memset(&pile, 0, sizeof(Pile))
    for i in range(argc):
        block = _blob(args[i], &n_bytes)
        if pile_add(&pile, block, n_bytes):
            pile_free(&pile)
            _result_error(ctx, SQLITE_NOMEM)
            return
    _result_pile(ctx, &pile)


cdef void _sql_count(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef Py_ssize_t n_bytes, n, i
    cdef const char *block = _blob(args[0], &n_bytes)
    cdef int64_t count = 0
    n = block_count(n_bytes)
    for i in range(n):
        count += block_has(block, n, i)
    (<result_int64_t> _api[R_RESULT_INT64])(ctx, count)


cdef void _sql_sum(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    """Compensated (Neumaier 1974)."""
    cdef Py_ssize_t n_bytes, n, i
    cdef const char *block = _blob(args[0], &n_bytes)
    cdef double total = 0.0, lost = 0.0, value, sum
    n = block_count(n_bytes)
    for i in range(n):
        if not block_has(block, n, i):
            continue
        value = block_value(block, n, i)
        sum = total + value
        if fabs(total) >= fabs(value):
            lost += (total - sum) + value
        else:
            lost += (value - sum) + total
        total = sum
    if isfinite(total):
        total += lost
    (<result_double_t> _api[R_RESULT_DOUBLE])(ctx, _within_range(total))


cdef void _extreme(sqlite3_context *ctx, sqlite3_value *arg, double sign) noexcept nogil:
    """The greatest value, or with a negative sign the smallest; NULL if there is none."""
    cdef Py_ssize_t n_bytes, n, i
    cdef const char *block = _blob(arg, &n_bytes)
    cdef double best = 0.0, value
    cdef bint found = False
    n = block_count(n_bytes)
    for i in range(n):
        if block_has(block, n, i):
            value = block_value(block, n, i)
            if not found or sign * value > sign * best:
                best = value
                found = True
    if found:
        (<result_double_t> _api[R_RESULT_DOUBLE])(ctx, best)
    else:
        _result_null(ctx)


cdef void _sql_min(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    _extreme(ctx, args[0], -1.0)


cdef void _sql_max(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    _extreme(ctx, args[0], 1.0)


cdef void _sql_sketch(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef Py_ssize_t n_bytes, n, i
    cdef const char *block = _blob(args[0], &n_bytes)
    cdef Sketch sketch
    sketch_init(&sketch)
    n = block_count(n_bytes)
    for i in range(n):
        if block_has(block, n, i) and sketch_add(&sketch, sketch_key(block_value(block, n, i)), 1):
            sketch_free(&sketch)
            _result_error(ctx, SQLITE_NOMEM)
            return
    _result_sketch(ctx, &sketch)


# -- summaries: all figures of a block in one pass ---------------------------------------------------

cdef struct Summary:            # behind it, perhaps, an encoded sketch
    int64_t count
    double sum
    double min
    double max


cdef void _sql_summary(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef value_int64_t integer = <value_int64_t> _api[R_VALUE_INT64]
    cdef int64_t minute = integer(args[0]), start = integer(args[2]), end = integer(args[3])
    cdef bint sketched = integer(args[4]) != 0
    cdef Py_ssize_t n_bytes, n, i
    cdef const char *block = _blob(args[1], &n_bytes)
    cdef double lost = 0.0, value, total
    cdef int64_t first
    cdef bint inside, rest = False      # rest: the sketch is the block's, less what is outside
    cdef Summary summary
    cdef Sketch sketch
    if not _is_minute(minute):
        _result_null(ctx)
        return
    first = minute * MINUTE_MS
    memset(&summary, 0, sizeof(Summary))
    sketch_init(&sketch)
    n = block_count(n_bytes)
    if sketched and min(end, first + MINUTE_MS - 1) - max(start, first) >= MINUTE_MS // 2:
        rest = _read_sketch(args[5], &sketch)
    for i in range(n):
        if not block_has(block, n, i):
            continue
        value = block_value(block, n, i)
        inside = start <= first + block_offset(block, i) <= end
        if not inside:
            if rest:
                sketch_remove(&sketch, sketch_key(value), 1)
            continue
        if summary.count == 0:
            summary.min = summary.max = value
        summary.count += 1
        summary.min = min(summary.min, value)
        summary.max = max(summary.max, value)
        total = summary.sum + value             # Neumaier, as in _sql_sum()
        if fabs(summary.sum) >= fabs(value):
            lost += (summary.sum - total) + value
        else:
            lost += (value - total) + summary.sum
        summary.sum = total
        if sketched and not rest and sketch_add(&sketch, sketch_key(value), 1):
            sketch_free(&sketch)
            _result_error(ctx, SQLITE_NOMEM)
            return
    if isfinite(summary.sum):
        summary.sum += lost
    summary.sum = _within_range(summary.sum)
    _result_summary(ctx, &summary, &sketch, sketched)
    sketch_free(&sketch)


cdef bint _read_sketch(sqlite3_value *value, Sketch *sketch) noexcept nogil:
    """False, and the sketch is empty, if there is none to read."""
    cdef Py_ssize_t n_bytes
    cdef const char *data = _blob(value, &n_bytes)
    if data != NULL and sketch_merge_encoded(sketch, data, <size_t> n_bytes) == 0:
        return True
    sketch_free(sketch)
    return False


cdef void _result_summary(sqlite3_context *ctx, const Summary *summary, const Sketch *sketch,
                          bint sketched) noexcept nogil:
    cdef Py_ssize_t n_bytes = sizeof(Summary)
    cdef char *out
    if summary.count == 0:
        _result_null(ctx)
        return
    out = <char *> malloc(sizeof(Summary) + (sketch_encoded_max(sketch) if sketched else 0))
    if out == NULL:
        _result_error(ctx, SQLITE_NOMEM)
        return
    memcpy(out, summary, sizeof(Summary))
    if sketched:
        n_bytes += <Py_ssize_t> sketch_encode(sketch, out + sizeof(Summary))
    _result_memory(ctx, out, n_bytes)


cdef void _sql_figure(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef Py_ssize_t n_bytes
    cdef const char *data = _blob(args[0], &n_bytes)
    cdef int64_t number = (<value_int64_t> _api[R_VALUE_INT64])(args[1])
    cdef Summary summary
    if n_bytes < <Py_ssize_t> sizeof(Summary):
        _result_null(ctx)
        return
    memcpy(&summary, data, sizeof(Summary))
    if number == 0:
        (<result_int64_t> _api[R_RESULT_INT64])(ctx, summary.count)
    elif number <= 3:
        (<result_double_t> _api[R_RESULT_DOUBLE])(
            ctx, summary.sum if number == 1 else summary.min if number == 2 else summary.max)
    elif n_bytes == sizeof(Summary):
        _result_null(ctx)
    else:
        (<result_bytes_t> _api[R_RESULT_BLOB])(
            ctx, data + sizeof(Summary), <int> (n_bytes - <Py_ssize_t> sizeof(Summary)), <void *> <intptr_t> -1)


# -- numbers ---------------------------------------------------------------------------------------

cdef void _sql_add(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef value_double_t real = <value_double_t> _api[R_VALUE_DOUBLE]
    (<result_double_t> _api[R_RESULT_DOUBLE])(ctx, _within_range(real(args[0]) + real(args[1])))


cdef void _sql_floor_div(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef int64_t a = (<value_int64_t> _api[R_VALUE_INT64])(args[0])
    cdef int64_t b = (<value_int64_t> _api[R_VALUE_INT64])(args[1])
    cdef int64_t quotient
    if b == 0 or (b == -1 and a == INT64_MIN):
        _result_null(ctx)
        return
    with cython.cdivision(True):
        quotient = a // b
        quotient -= a % b != 0 and (a < 0) != (b < 0)
    (<result_int64_t> _api[R_RESULT_INT64])(ctx, quotient)


# -- aggregates ------------------------------------------------------------------------------------
# SQLite gives each a piece of zeroed memory, and calls its end also when the statement is given up.

cdef struct Part:
    int64_t rank
    Py_ssize_t first            # where its samples begin in the pile
    Py_ssize_t n

cdef struct Merge:
    Pile pile
    Part *parts
    Py_ssize_t n_parts
    Py_ssize_t capacity
    bint unordered              # the ranks do not ascend
    bint no_memory

cdef struct Points:
    char *data                  # (int64 timestamp, double value), or values alone
    Py_ssize_t n
    Py_ssize_t capacity
    bint no_memory

cdef struct SketchSum:
    Sketch sketch
    bint damaged
    bint no_memory

cdef enum:
    POINT_BYTES = 16
    VALUE_BYTES = 8


cdef inline void *_aggregate(sqlite3_context *ctx, int n_bytes) noexcept nogil:
    """This aggregate's memory; with 0 bytes NULL if there were no rows."""
    return (<aggregate_context_t> _api[R_AGGREGATE_CONTEXT])(ctx, n_bytes)


cdef void _merge_step(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef Merge *merge = <Merge *> _aggregate(ctx, sizeof(Merge))
    cdef Py_ssize_t n_bytes, first
    cdef const char *block
    cdef void *memory
    if merge == NULL or merge.no_memory:
        return
    first = merge.pile.n
    block = _blob(args[0], &n_bytes)
    if merge.n_parts == merge.capacity:
        memory = realloc(merge.parts, (2 * merge.capacity + 8) * sizeof(Part))
        if memory == NULL:
            merge.no_memory = True
            return
        merge.parts = <Part *> memory
        merge.capacity = 2 * merge.capacity + 8
    if pile_add(&merge.pile, block, n_bytes):
        merge.no_memory = True
        return
    merge.parts[merge.n_parts].rank = (<value_int64_t> _api[R_VALUE_INT64])(args[1])
    merge.parts[merge.n_parts].first = first
    merge.parts[merge.n_parts].n = merge.pile.n - first
    if merge.n_parts and merge.parts[merge.n_parts].rank < merge.parts[merge.n_parts - 1].rank:
        merge.unordered = True
    merge.n_parts += 1


cdef int _compare_parts(const void *a, const void *b) noexcept nogil:
    cdef const Part *x = <const Part *> a
    cdef const Part *y = <const Part *> b
    if x.rank != y.rank:
        return -1 if x.rank < y.rank else 1
    return -1 if x.first < y.first else 1


cdef int _order_parts(Merge *merge) noexcept nogil:
    """Rearrange the pile in the order of the ranks. 0, or -1: no memory."""
    cdef Pile ordered
    cdef Part *part
    cdef Py_ssize_t i
    memset(&ordered, 0, sizeof(Pile))
    if _reserve(&ordered, merge.pile.n):
        pile_free(&ordered)
        return -1
    qsort(merge.parts, merge.n_parts, sizeof(Part), _compare_parts)
    for i in range(merge.n_parts):
        part = &merge.parts[i]
        if not part.n:          # all may be empty: then there is no memory to copy from or to
            continue
        memcpy(ordered.offsets + ordered.n, merge.pile.offsets + part.first, 2 * part.n)
        memcpy(ordered.values + ordered.n, merge.pile.values + part.first, 8 * part.n)
        ordered.n += part.n
    pile_free(&merge.pile)
    merge.pile = ordered
    return 0


cdef void _merge_final(sqlite3_context *ctx) noexcept nogil:
    cdef Merge *merge = <Merge *> _aggregate(ctx, 0)
    if merge == NULL:
        _result_null(ctx)
        return
    if merge.no_memory or (merge.unordered and _order_parts(merge)):
        _result_error(ctx, SQLITE_NOMEM)
    else:
        _result_pile(ctx, &merge.pile)
    pile_free(&merge.pile)
    free(merge.parts)
    merge.parts = NULL


cdef char *_more_points(Points *points, Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """Where `n` more of a size go; NULL: no memory."""
    cdef void *memory
    if points.n + n > points.capacity:
        points.capacity = max(2 * points.capacity, points.n + n)
        memory = realloc(points.data, points.capacity * size)
        if memory == NULL:
            points.no_memory = True
            return NULL
        points.data = <char *> memory
    return points.data + points.n * size


cdef void _values_step(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef Points *points = <Points *> _aggregate(ctx, sizeof(Points))
    cdef Py_ssize_t n_bytes, n, i
    cdef const char *block = _blob(args[0], &n_bytes)
    cdef char *out
    n = block_count(n_bytes)
    if n == 0 or points == NULL or points.no_memory:
        return
    out = _more_points(points, n, VALUE_BYTES)
    if out == NULL:
        return
    for i in range(n):
        if block_has(block, n, i):
            memcpy(out, block + 2 * n + 8 * i, 8)
            out += VALUE_BYTES
            points.n += 1


cdef void _values_final(sqlite3_context *ctx) noexcept nogil:
    _result_points(ctx, VALUE_BYTES)


cdef void _points_step(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef Points *points = <Points *> _aggregate(ctx, sizeof(Points))
    cdef int64_t minute = (<value_int64_t> _api[R_VALUE_INT64])(args[0])
    cdef Py_ssize_t n_bytes, n, i
    cdef const char *block = _blob(args[1], &n_bytes)
    cdef int64_t timestamp
    cdef char *out
    n = block_count(n_bytes)
    if n == 0 or points == NULL or points.no_memory or not _is_minute(minute):
        return
    out = _more_points(points, n, POINT_BYTES)
    if out == NULL:
        return
    for i in range(n):
        if block_has(block, n, i):
            timestamp = minute * MINUTE_MS + block_offset(block, i)
            memcpy(out, &timestamp, 8)
            memcpy(out + 8, block + 2 * n + 8 * i, 8)
            out += POINT_BYTES
            points.n += 1


cdef void _points_final(sqlite3_context *ctx) noexcept nogil:
    _result_points(ctx, POINT_BYTES)


cdef void _result_points(sqlite3_context *ctx, Py_ssize_t size) noexcept nogil:
    cdef Points *points = <Points *> _aggregate(ctx, 0)
    if points != NULL and points.no_memory:
        _result_error(ctx, SQLITE_NOMEM)
    elif points == NULL or points.n == 0:
        _result_null(ctx)
    else:
        _result_memory(ctx, points.data, points.n * size)
        points.data = NULL
    if points != NULL:
        free(points.data)
        points.data = NULL


cdef void _sketch_step(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef SketchSum *sum = <SketchSum *> _aggregate(ctx, sizeof(SketchSum))
    if sum != NULL:
        _sum_sketch(sum, args[0])


cdef void _sum_sketch(SketchSum *sum, sqlite3_value *value) noexcept nogil:
    """Add an encoded sketch; NULL is an empty one."""
    cdef Py_ssize_t n_bytes
    cdef const char *data = _blob(value, &n_bytes)
    cdef int rc
    if (<value_type_t> _api[R_VALUE_TYPE])(value) == SQLITE_NULL:
        return
    rc = sketch_merge_encoded(&sum.sketch, data, <size_t> n_bytes)
    if rc == -1:
        sum.no_memory = True
    elif rc != 0:
        sum.damaged = True


cdef void _result_sketch_sum(sqlite3_context *ctx, SketchSum *sum) noexcept nogil:
    if sum.no_memory:
        _result_error(ctx, SQLITE_NOMEM)
    elif sum.damaged:
        _result_null(ctx)
    else:
        _result_sketch(ctx, &sum.sketch)
    sketch_free(&sum.sketch)


cdef void _sketch_final(sqlite3_context *ctx) noexcept nogil:
    cdef SketchSum *sum = <SketchSum *> _aggregate(ctx, 0)
    if sum == NULL:
        _result_null(ctx)
    else:
        _result_sketch_sum(ctx, sum)


cdef void _sql_sketch_add(sqlite3_context *ctx, int argc, sqlite3_value **args) noexcept nogil:
    cdef SketchSum sum
    cdef int i
    memset(&sum, 0, sizeof(SketchSum))
    for i in range(argc):
        _sum_sketch(&sum, args[i])
    _result_sketch_sum(ctx, &sum)


# -- loading ---------------------------------------------------------------------------------------

cdef int _register(sqlite3 *db, const char *name, int n_args, sql_function_t function,
                   sql_function_t step, sql_final_t final) noexcept nogil:
    return (<create_function_v2_t> _api[R_CREATE_FUNCTION_V2])(
        db, name, n_args, FLAGS, NULL, function, step, final, NULL)


cdef public int sqlite3_axsamples_init(sqlite3 *db, char **error, void **api) noexcept nogil:
    """The extension's entry point."""
    global _api
    cdef int rc = SQLITE_OK
    _api = api
    rc |= _register(db, b"ax_block", 2, _sql_block, NULL, NULL)
    rc |= _register(db, b"ax_slice", 4, _sql_slice, NULL, NULL)
    rc |= _register(db, b"ax_join", 2, _sql_join, NULL, NULL)
    rc |= _register(db, b"ax_count", 1, _sql_count, NULL, NULL)
    rc |= _register(db, b"ax_sum", 1, _sql_sum, NULL, NULL)
    rc |= _register(db, b"ax_min", 1, _sql_min, NULL, NULL)
    rc |= _register(db, b"ax_max", 1, _sql_max, NULL, NULL)
    rc |= _register(db, b"ax_sketch", 1, _sql_sketch, NULL, NULL)
    rc |= _register(db, b"ax_summary", 6, _sql_summary, NULL, NULL)
    rc |= _register(db, b"ax_figure", 2, _sql_figure, NULL, NULL)
    rc |= _register(db, b"ax_values", 1, NULL, _values_step, _values_final)
    rc |= _register(db, b"ax_add", 2, _sql_add, NULL, NULL)
    rc |= _register(db, b"ax_floor_div", 2, _sql_floor_div, NULL, NULL)
    rc |= _register(db, b"ax_sketch_add", 2, _sql_sketch_add, NULL, NULL)
    rc |= _register(db, b"ax_merge", 2, NULL, _merge_step, _merge_final)
    rc |= _register(db, b"ax_points", 2, NULL, _points_step, _points_final)
    rc |= _register(db, b"ax_sketch_sum", 1, NULL, _sketch_step, _sketch_final)
    return SQLITE_OK if rc == SQLITE_OK else SQLITE_NOMEM

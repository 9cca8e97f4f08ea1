"""The samples of a batch, sorted into blocks: one a series and minute.

Samples lie in the ring as they came, of all series in turn. They are counted by series, scattered
into one run a series, sorted by time where they came out of it, and cut into minutes. All of that is
linear in the number of samples; only the series themselves are sorted.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcpy, memset

from ax_monitor._native.record cimport RecordHeader, Sample, record_count
from ax_monitor._native.samples cimport MINUTE_MS, SAMPLE_BYTES, minute_of


cdef int _resize(void **memory, Py_ssize_t n, size_t size) noexcept nogil:
    """Room for `n` items. 0, or -1: no memory, and everything is as it was."""
    cdef void *larger = realloc(memory[0], n * size)
    if larger == NULL:
        return -1
    memory[0] = larger
    return 0


cdef int _reserve_points(ChunkTable *table, Py_ssize_t n) noexcept nogil:
    if n <= table.points_capacity:
        return 0
    if (_resize(<void **> &table.points, n, sizeof(Point)) or _resize(<void **> &table.scratch, n, sizeof(Point))
            or _resize(<void **> &table.numbers, n, sizeof(uint32_t))
            or _resize(<void **> &table.blocks, n, SAMPLE_BYTES)):
        return -1
    table.points_capacity = n
    return 0


cdef inline uint64_t _spread(int64_t series) noexcept nogil:
    """Series ids are hashes, but for those that other programs made."""
    cdef uint64_t h = <uint64_t> series * 0x9E3779B97F4A7C15ULL
    return h ^ (h >> 32)


cdef int _reserve_series(ChunkTable *table) noexcept nogil:
    """Room for one more series."""
    cdef Py_ssize_t i, slot
    cdef Py_ssize_t n = table.runs_capacity * 2 if table.runs_capacity else 256
    if table.n_runs < table.runs_capacity:
        return 0
    if (_resize(<void **> &table.runs, n, sizeof(Run)) or _resize(<void **> &table.ordered, n, sizeof(Run))
            or _resize(<void **> &table.slots, 2 * n, sizeof(Slot))):
        return -1
    table.runs_capacity = n
    table.n_slots = 2 * n
    memset(table.slots, 0, table.n_slots * sizeof(Slot))
    for i in range(table.n_runs):
        slot = <Py_ssize_t> (_spread(table.runs[i].series) & <uint64_t> (table.n_slots - 1))
        while table.slots[slot].number:
            slot = (slot + 1) & (table.n_slots - 1)
        table.slots[slot].series = table.runs[i].series
        table.slots[slot].number = <uint32_t> (i + 1)
    return 0


cdef int64_t _number_of(ChunkTable *table, int64_t series) noexcept nogil:
    """The number of a series in this batch, from 1; -1: no memory."""
    cdef Py_ssize_t slot
    if _reserve_series(table):
        return -1
    slot = <Py_ssize_t> (_spread(series) & <uint64_t> (table.n_slots - 1))
    while table.slots[slot].number:
        if table.slots[slot].series == series:
            return table.slots[slot].number
        slot = (slot + 1) & (table.n_slots - 1)
    table.runs[table.n_runs].series = series
    table.runs[table.n_runs].n = 0
    table.n_runs += 1
    table.slots[slot].series = series
    table.slots[slot].number = <uint32_t> table.n_runs
    return table.n_runs


cdef int _compare_runs(const void *a, const void *b) noexcept nogil:
    cdef int64_t x = (<const Run *> a).series, y = (<const Run *> b).series
    return (x > y) - (x < y)


cdef void _sort_points(Point *points, Point *scratch, Py_ssize_t n) noexcept nogil:
    """By time, those of one millisecond as they came. Merges runs that grow: stable, n log n."""
    cdef Py_ssize_t width = 1, low, middle, high, i, j, k
    cdef Point *source = points
    cdef Point *target = scratch
    for i in range(1, n):
        if points[i].timestamp_ms < points[i - 1].timestamp_ms:
            break
    else:
        return                      # the usual case
    while width < n:
        low = 0
        while low < n:
            middle = min(low + width, n)
            high = min(low + 2 * width, n)
            i = low
            j = middle
            for k in range(low, high):
                if i < middle and (j >= high or source[i].timestamp_ms <= source[j].timestamp_ms):
                    target[k] = source[i]
                    i += 1
                else:
                    target[k] = source[j]
                    j += 1
            low = high
        source, target = target, source
        width *= 2
    if source != points:
        memcpy(points, source, n * sizeof(Point))


cdef int _cut(ChunkTable *table, int64_t series, const Point *points, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Points of one series in order, the first of them the batch's number `first`, as chunks."""
    cdef Py_ssize_t start = 0, end, i
    cdef int64_t minute, begin_ms
    cdef uint16_t offset
    cdef char *offsets
    cdef char *values
    while start < n:
        minute = minute_of(points[start].timestamp_ms)
        begin_ms = minute * MINUTE_MS
        end = start
        while end < n and points[end].timestamp_ms - begin_ms < MINUTE_MS:
            end += 1
        if table.n == table.capacity:
            i = table.capacity * 2 if table.capacity else 256
            if _resize(<void **> &table.chunks, i, sizeof(Chunk)):
                return -1
            table.capacity = i
        table.chunks[table.n].series = series
        table.chunks[table.n].minute = minute
        table.chunks[table.n].first = first + start
        table.chunks[table.n].n = end - start
        table.n += 1
        offsets = table.blocks + (first + start) * SAMPLE_BYTES
        values = offsets + 2 * (end - start)
        for i in range(start, end):
            offset = <uint16_t> (points[i].timestamp_ms - begin_ms)
            memcpy(offsets, &offset, 2)
            memcpy(values, &points[i].value, 8)
            offsets += 2
            values += 8
        start = end
    return 0


cdef int chunks_build(ChunkTable *table, const char *const *records, Py_ssize_t n_records) noexcept nogil:
    """Make the chunks of the samples in `records`. 0, or -1: no memory."""
    cdef const RecordHeader *header
    cdef const Sample *sample
    cdef Py_ssize_t i, k, total = 0, first = 0
    cdef int64_t number = 0, series = -1
    table.n = 0
    table.n_runs = 0
    if table.n_slots:
        memset(table.slots, 0, table.n_slots * sizeof(Slot))
    for i in range(n_records):
        total += record_count(<const RecordHeader *> records[i])
    if _reserve_points(table, total):
        return -1
    k = 0
    for i in range(n_records):
        header = <const RecordHeader *> records[i]
        sample = <const Sample *> (records[i] + sizeof(RecordHeader))
        for _ in range(record_count(header)):
            if sample.series != series or number == 0:
                series = sample.series
                number = _number_of(table, series)
                if number < 0:
                    return -1
            table.runs[number - 1].n += 1
            table.numbers[k] = <uint32_t> number
            k += 1
            sample += 1
    if table.n_runs == 0:
        return 0
    memcpy(table.ordered, table.runs, table.n_runs * sizeof(Run))
    qsort(table.ordered, table.n_runs, sizeof(Run), _compare_runs)
    for i in range(table.n_runs):
        number = _number_of(table, table.ordered[i].series)
        table.runs[number - 1].n = first
        first += table.ordered[i].n
    k = 0
    for i in range(n_records):
        header = <const RecordHeader *> records[i]
        sample = <const Sample *> (records[i] + sizeof(RecordHeader))
        for _ in range(record_count(header)):
            number = table.numbers[k]
            table.points[table.runs[number - 1].n].timestamp_ms = sample.timestamp_ms
            table.points[table.runs[number - 1].n].value = sample.value
            table.runs[number - 1].n += 1
            k += 1
            sample += 1
    first = 0
    for i in range(table.n_runs):
        _sort_points(table.points + first, table.scratch, table.ordered[i].n)
        if _cut(table, table.ordered[i].series, table.points + first, first, table.ordered[i].n):
            return -1
        first += table.ordered[i].n
    return 0


cdef const char *chunk_block(const ChunkTable *table, Py_ssize_t i, Py_ssize_t *n_bytes) noexcept nogil:
    """The block of chunk `i`, as `samples.pxd` describes it."""
    n_bytes[0] = table.chunks[i].n * SAMPLE_BYTES
    return table.blocks + table.chunks[i].first * SAMPLE_BYTES


cdef void chunks_free(ChunkTable *table) noexcept nogil:
    free(table.chunks)
    free(table.blocks)
    free(table.points)
    free(table.scratch)
    free(table.numbers)
    free(table.slots)
    free(table.runs)
    free(table.ordered)
    memset(table, 0, sizeof(ChunkTable))

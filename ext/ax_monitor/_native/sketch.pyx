"""Quantiles of any number of values in a few kilobytes: a histogram of shortened numbers.

**Buckets.** The key of a value is the first 18 bits of its IEEE 754 representation: the sign, the
exponent, and 6 bits of the mantissa. So each octave, [2^e, 2^(e+1)), has 64 buckets of equal width.
What a bucket [a, b) answers is the harmonic middle of its ends, 2ab / (a + b): from there a and b
are equally far in proportion, (b - a) / (a + b), and that is at most **1/129**. Being integers, the
steps below keep to that bound exactly, for every normal number. What is smaller counts as 0.
The idea is that of HdrHistogram and DDSketch; taking the bits as they are saves the logarithm.

**What follows.** A quantile is the value of its rank, `ceil(n * p)` (nearest rank), to within 1/129
of it. Merging adds counts, so it is associative and gives exactly what adding everything to one
sketch does; an added value can be removed again, exactly.

**Memory.** The counts of an octave are a page of 528 bytes. Usual data touch some ten octaves;
values of any size of both signs may touch 4096 (2 MB).

**As bytes.** The total, then for every bucket that is not empty, ascending, how far its key is
above the last one (the first: above -1) and its count; all as LEB128 in the shortest form. A sketch
has one encoding only. What is no encoding is refused and changes nothing: wrong lengths, and counts
that do not add up to the total.
"""

cimport cython

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport INFINITY, NAN, isnan
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

cdef enum:
    MANTISSA_BITS = 46              # those that a key leaves out
    VARINT_MAX_BYTES = 10
    TOTAL_MAX_BYTES = 10
    QUANTILES_MAX = 64              # for Python, at once


# -- buckets -----------------------------------------------------------------------------------


cdef double sketch_value(uint32_t key) noexcept nogil:
    """What stands for all values of a bucket."""
    cdef uint64_t top = key ^ (0x20000 if key & 0x20000 else 0x3FFFF)
    cdef uint64_t exponent = (top >> OCTAVE_BITS) & 0x7FF
    cdef uint64_t a = OCTAVE_BUCKETS + top % OCTAVE_BUCKETS     # the bucket's ends, scaled: a, a + 1
    cdef uint64_t bits
    cdef double value
    if exponent == 0:
        return 0.0
    if exponent == 0x7FF:
        return INFINITY if key & 0x20000 else -INFINITY
    # 2a(a + 1) / (2a + 1) = a + a / (2a + 1). Rounded down: rounding up would break the bound at a.
    bits = (top << MANTISSA_BITS) | ((a << MANTISSA_BITS) // (2 * a + 1))
    memcpy(&value, &bits, 8)
    return value


# -- pages -------------------------------------------------------------------------------------


cdef void sketch_init(Sketch *s) noexcept nogil:
    memset(s, 0, sizeof(Sketch))


cdef void sketch_free(Sketch *s) noexcept nogil:
    """Give the memory back; what is left is an empty sketch."""
    cdef uint32_t i
    for i in range(s.n_pages):
        free(s.pages[i])
    free(s.pages)
    memset(s, 0, sizeof(Sketch))


cdef void sketch_clear(Sketch *s) noexcept nogil:
    """Forget all counts and keep the memory."""
    cdef uint32_t i
    for i in range(s.n_pages):
        if s.pages[i].total:
            s.pages[i].total = 0
            memset(s.pages[i].counts, 0, sizeof(s.pages[i].counts))
    s.total = 0


cdef uint32_t _position(const Sketch *s, uint64_t octave) noexcept nogil:
    """How many pages are of lower octaves."""
    cdef uint32_t low = 0, high = s.n_pages, middle
    while low < high:
        middle = (low + high) // 2
        if s.pages[middle].octave < octave:
            low = middle + 1
        else:
            high = middle
    return low


cdef SketchPage *_take_empty(Sketch *s) noexcept nogil:
    """A page without counts, out of the list; NULL if there is none."""
    cdef SketchPage *page
    cdef uint32_t i
    for i in range(s.n_pages):
        page = s.pages[i]
        if not page.total:
            s.n_pages -= 1
            memmove(s.pages + i, s.pages + i + 1, (s.n_pages - i) * sizeof(SketchPage *))
            return page
    return NULL


cdef SketchPage *_insert(Sketch *s, uint64_t octave) noexcept nogil:
    """A page for an octave that has none: an empty one, so that drifting data need no more and
    more of them, else a new one. NULL: no memory."""
    cdef SketchPage **grown
    cdef uint32_t capacity, i
    cdef SketchPage *page = _take_empty(s)
    if page is NULL:
        if s.n_pages == s.capacity:
            capacity = s.capacity * 2 if s.capacity else 8
            grown = <SketchPage **> realloc(s.pages, capacity * sizeof(SketchPage *))
            if grown is NULL:
                return NULL
            s.pages = grown
            s.capacity = capacity
        page = <SketchPage *> calloc(1, sizeof(SketchPage))
        if page is NULL:
            return NULL
    i = _position(s, octave)
    memmove(s.pages + i + 1, s.pages + i, (s.n_pages - i) * sizeof(SketchPage *))
    s.pages[i] = page
    s.n_pages += 1
    page.octave = octave
    return page


cdef SketchPage *_find(const Sketch *s, uint64_t octave) noexcept nogil:
    """The page of an octave, or NULL."""
    cdef SketchPage *page = s.near[octave % NEAR_PAGES]
    cdef uint32_t i
    if page is not NULL and page.octave == octave:
        return page
    i = _position(s, octave)
    return s.pages[i] if i < s.n_pages and s.pages[i].octave == octave else NULL


cdef SketchPage *sketch_page(Sketch *s, uint64_t octave) noexcept nogil:
    """The page of an octave, made if need be; NULL: no memory. Count in it before the next call."""
    cdef SketchPage *page = _find(s, octave)
    if page is NULL:
        page = _insert(s, octave)
        if page is NULL:
            return NULL
    s.near[octave % NEAR_PAGES] = page
    return page


cdef void sketch_remove(Sketch *s, uint32_t key, uint64_t n) noexcept nogil:
    """Undo an add. Of what was never added, nothing is removed."""
    cdef SketchPage *page = _find(s, key >> OCTAVE_BITS)
    if page is NULL:
        return
    n = min(n, page.counts[key % OCTAVE_BUCKETS])
    page.counts[key % OCTAVE_BUCKETS] -= n
    page.total -= n
    s.total -= n


# -- merging -----------------------------------------------------------------------------------


cdef int sketch_merge(Sketch *into, const Sketch *other) noexcept nogil:
    """Add the counts of another sketch. 0, or -1: no memory, and nothing has changed."""
    cdef const SketchPage *source
    cdef SketchPage *page
    cdef uint64_t total = other.total       # `other` may be `into`
    cdef uint32_t i, j, n = other.n_pages
    for i in range(n):
        source = other.pages[i]
        if not source.total:
            continue
        page = sketch_page(into, source.octave)
        if page is NULL:
            _unmerge(into, other, i)
            return -1
        page.total += source.total
        for j in range(<uint32_t> OCTAVE_BUCKETS):
            page.counts[j] += source.counts[j]
    into.total += total
    return 0


cdef void _unmerge(Sketch *into, const Sketch *other, uint32_t n) noexcept nogil:
    """Take the counts of the first n pages out again."""
    cdef const SketchPage *source
    cdef SketchPage *page
    cdef uint32_t i, j
    for i in range(n):
        source = other.pages[i]
        page = _find(into, source.octave) if source.total else NULL
        if page is not NULL:
            page.total -= source.total
            for j in range(<uint32_t> OCTAVE_BUCKETS):
                page.counts[j] -= source.counts[j]


# -- quantiles ---------------------------------------------------------------------------------


cdef double sketch_quantile(const Sketch *s, double p, double low, double high) noexcept nogil:
    """The value of the nearest rank, `ceil(n * p)`; NaN if the sketch is empty.

    `low` and `high`, the smallest and the greatest value if they are known, bound the answer.
    """
    cdef double value
    sketch_quantiles(s, &p, 1, low, high, &value)
    return value


cdef void sketch_quantiles(const Sketch *s, const double *p, int n, double low, double high,
                           double *out) noexcept nogil:
    """The same for n of them; in one pass if they ascend."""
    cdef const SketchPage *page
    cdef uint64_t rank, before = 0, passed      # how many counts lie below the page, the bucket
    cdef double value
    cdef uint32_t i = 0, j
    cdef int k
    for k in range(n):
        if not s.total:
            out[k] = NAN
            continue
        rank = nearest_rank(s.total, p[k])
        if rank <= before:
            i = 0
            before = 0
        while i + 1 < s.n_pages and before + s.pages[i].total < rank:
            before += s.pages[i].total
            i += 1
        page = s.pages[i]
        passed = before + page.counts[0]
        j = 0
        while j + 1 < OCTAVE_BUCKETS and passed < rank:
            j += 1
            passed += page.counts[j]
        value = sketch_value(<uint32_t> page.octave * OCTAVE_BUCKETS + j)
        if value < low:
            value = low
        if value > high:
            value = high
        out[k] = value


# -- bytes -------------------------------------------------------------------------------------


cdef inline size_t _varint_bytes(uint64_t value) noexcept nogil:
    cdef size_t n = 1
    while value >= 0x80:
        value >>= 7
        n += 1
    return n


cdef inline uint8_t *_write_varint(uint8_t *out, uint64_t value) noexcept nogil:
    while value >= 0x80:
        out[0] = <uint8_t> (value | 0x80)
        value >>= 7
        out += 1
    out[0] = <uint8_t> value
    return out + 1


cdef const uint8_t *_read_varint(const uint8_t *at, const uint8_t *end, uint64_t *value) noexcept nogil:
    """The place behind a number; NULL if it ends too late, does not fit, or could be shorter."""
    cdef uint64_t result = 0
    cdef int i
    for i in range(VARINT_MAX_BYTES):
        if at == end:
            return NULL
        result |= <uint64_t> (at[0] & 0x7F) << (7 * i)
        if at[0] < 0x80:
            value[0] = result
            return at + 1 if (at[0] or i == 0) and (i < 9 or at[0] == 1) else NULL
        at += 1
    return NULL


cdef size_t sketch_encoded_max(const Sketch *s) noexcept nogil:
    """Room enough for `sketch_encode`."""
    cdef size_t n = TOTAL_MAX_BYTES
    cdef uint64_t total
    cdef uint32_t i
    for i in range(s.n_pages):
        total = s.pages[i].total
        # Within a page, a key is 1 byte behind the last one; behind other pages up to 3.
        n += min(total, <uint64_t> OCTAVE_BUCKETS) * (1 + _varint_bytes(total)) + 2
    return n


cdef size_t sketch_encode(const Sketch *s, char *out) noexcept nogil:
    """Write the encoding; how long it is."""
    cdef uint8_t *at = _write_varint(<uint8_t *> out, s.total)
    cdef const SketchPage *page
    cdef uint32_t last = <uint32_t> -1
    cdef uint32_t key
    cdef uint32_t i, j
    for i in range(s.n_pages):
        page = s.pages[i]
        if not page.total:
            continue
        for j in range(<uint32_t> OCTAVE_BUCKETS):
            if page.counts[j]:
                key = <uint32_t> page.octave * OCTAVE_BUCKETS + j
                at = _write_varint(at, key - last)
                at = _write_varint(at, page.counts[j])
                last = key
    return <size_t> (at - <uint8_t *> out)


cdef int sketch_merge_encoded(Sketch *into, const char *data, size_t n) noexcept nogil:
    """Add the counts of an encoded sketch.

    0; -1: no memory; -2: this is no encoding. Unless it is 0, nothing has changed.
    """
    cdef const uint8_t *at = <const uint8_t *> data
    cdef const uint8_t *end = at + n
    cdef const uint8_t *next
    cdef SketchPage *page = NULL
    cdef uint64_t total, delta, count
    cdef uint64_t key = <uint64_t> -1
    cdef uint64_t left
    at = _read_varint(at, end, &total)
    if at is NULL or total + into.total < total:
        return -2
    left = total
    data = <const char *> at
    while at < end:
        if end - at >= 2 and not (at[0] | at[1]) & 0x80:        # Fast path: usual data
            delta = at[0]
            count = at[1]
            next = at + 2
        else:
            next = _read_varint(at, end, &delta)
            if next is not NULL:
                next = _read_varint(next, end, &count)
            if next is NULL or delta > SKETCH_KEYS:
                _unmerge_encoded(into, <const uint8_t *> data, at)
                return -2
        key += delta
        if not delta or not count or count > left or key >= SKETCH_KEYS:
            _unmerge_encoded(into, <const uint8_t *> data, at)
            return -2
        left -= count
        if page is NULL or page.octave != key >> OCTAVE_BITS:
            page = sketch_page(into, key >> OCTAVE_BITS)
            if page is NULL:
                _unmerge_encoded(into, <const uint8_t *> data, at)
                return -1
        page.counts[key % OCTAVE_BUCKETS] += count
        page.total += count
        at = next
    if left:
        _unmerge_encoded(into, <const uint8_t *> data, at)
        return -2
    into.total += total
    return 0


cdef void _unmerge_encoded(Sketch *into, const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Take the counts between two places, which have been read before, out again."""
    cdef SketchPage *page
    cdef uint64_t delta = 0, count = 0
    cdef uint64_t key = <uint64_t> -1
    while at < end:
        at = _read_varint(_read_varint(at, end, &delta), end, &count)
        key += delta
        page = _find(into, key >> OCTAVE_BITS)
        page.counts[key % OCTAVE_BUCKETS] -= count
        page.total -= count


# -- for Python --------------------------------------------------------------------------------


@cython.final
cdef class QuantileSketch:
    """Quantiles of any number of values in a few kilobytes, to within 1/129 of the true value.

    Thread-safe under the GIL. Adding a value takes some nanoseconds beside the call, a quantile
    less than a microsecond.

    >>> sketch = QuantileSketch()
    >>> for duration_ms in range(1, 1001):
    ...     sketch.add(duration_ms)
    >>> sketch.count
    1000
    >>> abs(sketch.quantile(0.95) - 950) <= 950 / 129
    True
    """

    cdef Sketch _sketch

    def __dealloc__(self):
        sketch_free(&self._sketch)

    @staticmethod
    def from_bytes(data not None) -> QuantileSketch:
        """The sketch that `to_bytes` wrote.

        Raises:
            ValueError: if these bytes are not the encoding of a sketch.
        """
        cdef QuantileSketch sketch = QuantileSketch()
        sketch.merge_bytes(data)
        return sketch

    def to_bytes(self) -> bytes:
        """The sketch as bytes; equal sketches give equal bytes."""
        cdef bytes room = PyBytes_FromStringAndSize(NULL, sketch_encoded_max(&self._sketch))
        cdef size_t n = sketch_encode(&self._sketch, PyBytes_AS_STRING(room))
        return room[:n]

    @property
    def count(self) -> int:
        """How many values are in it."""
        return self._sketch.total

    def add(self, double value, uint64_t n=1) -> None:
        """Add a value, n times.

        Raises:
            ValueError: for a NaN.
        """
        _check(value)
        self._check_total(n)
        if n and sketch_add(&self._sketch, sketch_key(value), n):
            raise MemoryError

    def add_many(self, values) -> None:
        """Add all values of a buffer of doubles, such as a numpy array or an `array("d")`.

        Raises:
            TypeError: if it is a buffer of something else.
            ValueError: if one of them is a NaN; then none is added.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(values, &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
        try:
            if view.format is NULL or view.format not in (b"d", b"<d", b"=d"):
                raise TypeError("values must be a buffer of doubles")
            self._add_all(<const double *> view.buf, view.len // 8)
        finally:
            PyBuffer_Release(&view)

    cdef int _add_all(self, const double *values, Py_ssize_t n) except -1:
        cdef Py_ssize_t i, j
        for i in range(n):
            _check(values[i])
        self._check_total(n)
        for i in range(n):
            if sketch_add(&self._sketch, sketch_key(values[i]), 1):
                for j in range(i):
                    sketch_remove(&self._sketch, sketch_key(values[j]), 1)
                raise MemoryError
        return 0

    def remove(self, double value, uint64_t n=1) -> None:
        """Undo an `add`. Of what was never added, nothing is removed."""
        _check(value)
        sketch_remove(&self._sketch, sketch_key(value), n)

    def merge(self, QuantileSketch other not None) -> None:
        """Add everything that another sketch holds."""
        self._check_total(other._sketch.total)
        if sketch_merge(&self._sketch, &other._sketch):
            raise MemoryError

    def merge_bytes(self, bytes data not None) -> None:
        """Add everything that an encoded sketch holds.

        Raises:
            ValueError: if these bytes are not the encoding of a sketch; then nothing changes.
        """
        cdef int rc = sketch_merge_encoded(&self._sketch, PyBytes_AS_STRING(data), len(data))
        if rc == -1:
            raise MemoryError
        if rc:
            raise ValueError("these bytes are not an encoded sketch")

    def clear(self) -> None:
        """Forget all values."""
        sketch_clear(&self._sketch)

    def quantile(self, double p, double low=-INFINITY, double high=INFINITY) -> float:
        """The value of the nearest rank, `ceil(count * p)`, to within 1/129 of it.

        Args:
            p: From 0 to 1.
            low: The smallest value, if known; no answer is below.
            high: The greatest value, if known; no answer is above.

        Returns:
            The value; NaN if the sketch is empty.

        Raises:
            ValueError: if p is not between 0 and 1.
        """
        _check_share(p)
        return sketch_quantile(&self._sketch, p, low, high)

    def quantiles(self, shares, double low=-INFINITY, double high=INFINITY) -> list[float]:
        """The same for several shares; in one pass if they ascend.

        Raises:
            ValueError: if one of them is not between 0 and 1, or if there are more than 64.
        """
        cdef double[QUANTILES_MAX] p, out
        cdef int n = 0
        for share in shares:
            if n == QUANTILES_MAX:
                raise ValueError(f"more than {QUANTILES_MAX} shares at once")
            p[n] = share
            _check_share(p[n])
            n += 1
        sketch_quantiles(&self._sketch, p, n, low, high, out)
        return [out[i] for i in range(n)]

    cdef int _check_total(self, uint64_t n) except -1:
        if n + self._sketch.total < n:
            raise OverflowError("a sketch counts up to 2^64 - 1 values")
        return 0


cdef inline int _check_share(double p) except -1:
    if not 0 <= p <= 1:
        raise ValueError(f"p must be between 0.0 and 1.0, not {p}")
    return 0


cdef inline int _check(double value) except -1:
    if isnan(value):
        raise ValueError("a NaN has no place among values")
    return 0

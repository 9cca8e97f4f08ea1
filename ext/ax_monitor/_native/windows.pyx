"""Windows: count, sum, extremes, mean and quantiles of the samples of the last so many milliseconds.

**Panes.** A window is cut into 30 to 60 panes of equal width w (as many as divide it evenly, the more
the better; a window of up to 60 ms has panes of 1 ms). Pane k is the time [k·w, (k + 1)·w) since the
epoch. A sample adds to its pane, a reading adds up the panes; so one costs the same however many
samples there are, and neither depends on their order.

**The edge.** The window at time t is the panes in (pane(t) − P, pane(t)], P panes in all. So it never
holds what is W ms old or older, and misses less than the oldest pane's width of what is younger: none
at the last millisecond of a pane, where it is exactly (t − W, t]. (Where W has no such divisor, P·w is
less than W by up to one pane more.)

**What is kept.** The clock c is the pane of the time that the owner told last. A sample is kept if its
pane is in (c − P, c + A]: one that is *late* or from the *future* is counted as such and left out. A
pane ahead of the clock counts once its time has come; A is two minutes' worth, but 450 panes at most,
so that other clocks may be ahead a little, and whole minutes may be fed at once. What the clock has
left behind goes when the next sample arrives, never by a reading: a reading may be of any time, and a
clock that jumps and returns loses nothing. If it jumps back and stays, what it left more than A ahead
makes room for the next sample (and is counted as future). Until a window has been told the time, the
newest sample is the time.

**Quantiles** come from one sketch over the panes of the window at the last reading. When the window
slides, whole panes are counted in and out, exactly (`panes.pyx`).
"""

cimport cython
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ax_monitor._native.panes cimport (
    KEY_BYTES,
    KeyLog,
    Pane,
    log_append,
    log_close,
    log_count,
    log_free,
    pane_add,
    pane_clear,
    pane_merge,
    pane_sum,
)
from ax_monitor._native.samples cimport block_offset, block_value
from ax_monitor._native.sketch cimport (
    Sketch,
    sketch_add,
    sketch_clear,
    sketch_free,
    sketch_key,
    sketch_quantile,
)

cdef extern from *:
    void prefetch "__builtin_prefetch" (const void *address) nogil

cdef enum:
    PANES_MAX = 60
    PANES_MIN = 30              # of a window that has so many milliseconds
    RING_MIN = 8                # panes; a power of two, as is 512 >= PANES_MAX + AHEAD_MAX
    AHEAD_MS = 120_000
    AHEAD_MAX = 450


# -- structure ---------------------------------------------------------------------------------


@cython.cdivision(True)
cdef void window_init(WindowData *w, int64_t window_ms, bint quantiles) noexcept nogil:
    """An empty window of 1 to TIME_MAX_MS milliseconds; it takes no memory yet."""
    cdef int64_t n = min(window_ms, <int64_t> PANES_MAX)
    memset(w, 0, sizeof(WindowData))
    while n > PANES_MIN and window_ms % n:
        n -= 1
    if window_ms % n == 0:
        w.pane_ms = window_ms // n
    else:
        w.pane_ms = (window_ms + PANES_MAX - 1) // PANES_MAX
    w.n_panes = window_ms // w.pane_ms
    w.ahead = min((AHEAD_MS + w.pane_ms - 1) // w.pane_ms, <int64_t> AHEAD_MAX)
    w.clock = w.hot = w.sketched = w.idle_since_ms = NO_PANE
    w.last = -1
    w.quantiles = quantiles


cdef void window_free(WindowData *w) noexcept nogil:
    """Forget all samples and give the memory back; counters and clock stay."""
    _drop(w, w.first, w.last)
    free(w.panes)
    free(w.logs)
    sketch_free(&w.sketch)
    w.panes = NULL
    w.logs = NULL
    w.mask = w.first = 0
    w.last = -1
    w.hot = w.sketched = w.idle_since_ms = NO_PANE
    _cool(w)


@cython.cdivision(True)
cdef int64_t window_pane(const WindowData *w, int64_t timestamp_ms) noexcept nogil:
    """The number of the pane of a time: rounded down, before the epoch too."""
    return timestamp_ms // w.pane_ms - (timestamp_ms % w.pane_ms < 0)


cdef inline void _cool(WindowData *w) noexcept nogil:
    """Have the next sample look for its pane."""
    w.hot_start_ms = w.hot_end_ms = 0


cdef void window_tell(WindowData *w, int64_t now_ms) noexcept nogil:
    """Tell the time."""
    if w.clock == NO_PANE or w.told_ms != now_ms:
        w.told_ms = now_ms
        w.clock = window_pane(w, now_ms)
        _cool(w)


cdef int _make_room(WindowData *w, int64_t first, int64_t last) noexcept nogil:
    """A ring that has these panes at once, among them all that are kept. 0, or -1: no memory."""
    cdef int64_t room = w.mask + 1 if w.panes is not NULL else 0
    cdef int64_t grown = max(room, <int64_t> RING_MIN)
    cdef Pane *panes
    cdef KeyLog *logs = NULL
    cdef int64_t pane
    while grown < last - first + 1:
        grown *= 2
    if grown == room:
        return 0
    panes = <Pane *> calloc(grown, sizeof(Pane))
    if w.quantiles:
        logs = <KeyLog *> calloc(grown, sizeof(KeyLog))
    if panes is NULL or (w.quantiles and logs is NULL):
        free(panes)
        free(logs)
        return -1
    for pane in range(w.first, w.last + 1):
        panes[pane & (grown - 1)] = w.panes[pane & w.mask]
        if w.quantiles:
            logs[pane & (grown - 1)] = w.logs[pane & w.mask]
    free(w.panes)
    free(w.logs)
    w.panes = panes
    w.logs = logs
    w.mask = grown - 1
    return 0


cdef uint64_t _drop(WindowData *w, int64_t first, int64_t last) noexcept nogil:
    """Forget these panes of those that are kept; how many samples they had."""
    cdef uint64_t n = 0
    cdef int64_t pane
    for pane in range(max(first, w.first), min(last, w.last) + 1):
        n += w.panes[pane & w.mask].count
        w.panes[pane & w.mask].count = 0
        if w.logs is not NULL:
            log_free(&w.logs[pane & w.mask])
    return n


# -- the sketch --------------------------------------------------------------------------------


cdef int _count_panes(WindowData *w, int64_t first, int64_t last) noexcept nogil:
    """Count the keys of these panes. 0, or -1: no memory, and the sketch holds none any more."""
    cdef int64_t pane
    for pane in range(max(first, w.first), min(last, w.last) + 1):
        if log_count(&w.logs[pane & w.mask], &w.sketch, 1):
            sketch_clear(&w.sketch)
            w.sketched = NO_PANE
            return -1
    return 0


cdef void _discount_panes(WindowData *w, int64_t first, int64_t last) noexcept nogil:
    cdef int64_t pane
    for pane in range(max(first, w.first), min(last, w.last) + 1):
        log_count(&w.logs[pane & w.mask], &w.sketch, -1)


cdef int window_slide(WindowData *w, int64_t pane) noexcept nogil:
    """Have the sketch hold the window that ends with this pane.

    0, or -1: no memory. Then the sketch holds nothing, and all is well once it works again.
    """
    cdef int64_t before = w.sketched
    cdef int64_t n = w.n_panes
    if before == pane or not w.quantiles:
        return 0
    _cool(w)
    w.sketched = pane
    if before == NO_PANE or pane >= before + n or pane <= before - n:
        sketch_clear(&w.sketch)
        return _count_panes(w, pane - n + 1, pane)
    if pane > before:
        _discount_panes(w, before - n + 1, pane - n)
        return _count_panes(w, before + 1, pane)
    _discount_panes(w, pane + 1, before)
    return _count_panes(w, pane - n + 1, before - n)


# -- samples -----------------------------------------------------------------------------------


cdef int _warm(WindowData *w, int64_t timestamp_ms, Sketch *scratch) noexcept nogil:
    """Make the pane of a sample the hot one. 1; 0: the sample is not kept, but counted; -1: no memory."""
    cdef int64_t pane = window_pane(w, timestamp_ms)
    cdef int64_t clock = w.clock
    cdef int64_t oldest
    if clock == NO_PANE:
        clock = max(pane, w.last) if w.first <= w.last else pane
    oldest = clock - w.n_panes + 1
    if pane < oldest:
        w.late += 1
        return 0
    if pane > clock + w.ahead:
        w.future += 1
        return 0
    if w.hot != pane and w.logs is not NULL and w.first <= w.hot <= w.last:
        log_close(&w.logs[w.hot & w.mask], scratch)
    w.hot = NO_PANE
    _cool(w)
    if w.first <= w.last:
        if window_slide(w, clock):          # before panes are dropped that the sketch holds
            return -1
        _drop(w, w.first, oldest - 1)
        w.first = max(w.first, oldest)
        if w.last > clock + w.ahead:
            w.future += _drop(w, clock + w.ahead + 1, w.last)
            w.last = clock + w.ahead
            while w.last >= w.first and not w.panes[w.last & w.mask].count:
                w.last -= 1
    if w.first > w.last:
        w.first = pane
        w.last = pane - 1
        w.sketched = clock if w.quantiles else NO_PANE
        sketch_clear(&w.sketch)
    if _make_room(w, min(w.first, pane), max(w.last, pane)):
        return -1
    w.first = min(w.first, pane)
    w.last = max(w.last, pane)
    w.hot = pane
    w.hot_start_ms = pane * w.pane_ms
    w.hot_end_ms = w.hot_start_ms + w.pane_ms
    w.hot_pane = &w.panes[pane & w.mask]
    w.hot_log = &w.logs[pane & w.mask] if w.quantiles else NULL
    w.hot_sketched = w.sketched != NO_PANE and w.sketched - w.n_panes < pane <= w.sketched
    w.idle_since_ms = NO_PANE
    if not w.hot_pane.count:
        pane_clear(w.hot_pane)
    return 1


cdef inline int _log_key(WindowData *w, double value, Sketch *scratch) noexcept nogil:
    """0, or -1: no memory, and nothing has changed."""
    cdef uint32_t key = sketch_key(value)
    if log_append(w.hot_log, key, scratch):
        return -1
    if w.hot_sketched and sketch_add(&w.sketch, key, 1):
        w.hot_log.used -= KEY_BYTES
        return -1
    return 0


cdef int window_add(WindowData *w, int64_t timestamp_ms, double value, Sketch *scratch) noexcept nogil:
    """Take a sample. 1; 0: it is not kept, but counted as what it is; -1: no memory.

    `scratch` is an empty sketch, and empty again afterwards; windows may share it.
    """
    cdef int rc
    if not isfinite(value):
        w.rejected += 1
        return 0
    if not w.hot_start_ms <= timestamp_ms < w.hot_end_ms:
        rc = _warm(w, timestamp_ms, scratch)
        if rc <= 0:
            return rc
    if w.quantiles and _log_key(w, value, scratch):
        return -1
    pane_add(w.hot_pane, value)
    return 1


cdef Py_ssize_t _log_run(WindowData *w, const char *block, Py_ssize_t n, Py_ssize_t i, Py_ssize_t end,
                         Sketch *scratch) noexcept nogil:
    """Log the samples i to end of a block, of the hot pane; where memory ended, or `end`."""
    cdef double value
    while i < end:
        value = block_value(block, n, i)
        if isfinite(value) and _log_key(w, value, scratch):
            break
        i += 1
    return i


cdef Py_ssize_t _add_run(WindowData *w, const char *block, Py_ssize_t n, Py_ssize_t i,
                         Py_ssize_t end) noexcept nogil:
    """Add the samples i to end of a block to the hot pane; how many of them are numbers."""
    cdef Pane pane = w.hot_pane[0]          # in registers, while it lasts
    cdef double value
    while i < end:
        value = block_value(block, n, i)
        i += 1
        if isfinite(value):
            pane_add(&pane, value)
        else:
            w.rejected += 1
    cdef Py_ssize_t added = <Py_ssize_t> (pane.count - w.hot_pane.count)
    w.hot_pane[0] = pane
    return added


cdef Py_ssize_t window_feed(WindowData *w, int64_t start_ms, const char *block, Py_ssize_t n,
                            Sketch *scratch) noexcept nogil:
    """Take the samples of a block (`samples.pxd`) of the minute that begins at `start_ms`.

    How many were kept, or -1: no memory; then some of them may have been.
    """
    cdef Py_ssize_t i = 0, end, logged, kept = 0
    cdef int64_t timestamp_ms
    cdef int rc
    while i < n:
        timestamp_ms = start_ms + block_offset(block, i)
        if not w.hot_start_ms <= timestamp_ms < w.hot_end_ms:
            if not isfinite(block_value(block, n, i)):
                w.rejected += 1
                i += 1
                continue
            rc = _warm(w, timestamp_ms, scratch)
            if rc < 0:
                return -1
            if rc == 0:
                i += 1
                continue
        end = i + 1
        while end < n and w.hot_start_ms <= start_ms + block_offset(block, end) < w.hot_end_ms:
            end += 1
        logged = _log_run(w, block, n, i, end, scratch) if w.quantiles else end
        kept += _add_run(w, block, n, i, logged)
        if logged < end:
            return -1
        i = end
    return kept


# -- readings ----------------------------------------------------------------------------------


cdef void window_total(const WindowData *w, int64_t pane, Pane *total) noexcept nogil:
    """All samples of the window that ends with this pane, in one."""
    cdef int64_t p
    cdef const Pane *one
    pane_clear(total)
    for p in range(max(w.first, pane - w.n_panes + 1), min(w.last, pane) + 1):
        one = &w.panes[p & w.mask]
        if one.count:
            pane_merge(total, one)


cdef void window_prefetch(const WindowData *next, const WindowData *after) noexcept nogil:
    """Have the processor fetch what the next windows will be read from: their memory is anywhere,
    and a pass over many is waiting for it, mostly."""
    cdef uint32_t i
    prefetch(after.sketch.pages)
    for i in range(next.sketch.n_pages):
        prefetch(next.sketch.pages[i])


cdef void window_release_idle(WindowData *w, int64_t pane, int64_t monotonic_ms) noexcept nogil:
    """Give the memory back if all panes are older than the window that ends with this one, and
    have been for as long as the window is: a clock that jumps and returns is to lose nothing."""
    if w.panes is NULL:
        return
    if w.first <= w.last and w.last > pane - w.n_panes:
        w.idle_since_ms = NO_PANE
    elif w.idle_since_ms == NO_PANE:
        w.idle_since_ms = monotonic_ms
    elif monotonic_ms - w.idle_since_ms >= w.n_panes * w.pane_ms:
        window_free(w)


# -- for Python --------------------------------------------------------------------------------


cdef int check_window_ms(int64_t window_ms) except -1:
    if not 1 <= window_ms <= TIME_MAX_MS:
        raise ValueError(f"window_ms must be at least 1, and at most 2^60, not {window_ms}")
    return 0


cdef int check_time(int64_t time_ms) except -1:
    if not -TIME_MAX_MS <= time_ms <= TIME_MAX_MS:
        raise ValueError(f"a time must be within 2^60 ms of the epoch, not {time_ms}")
    return 0


@cython.final
cdef class Window:
    """Aggregates of the samples of the last `window_ms` milliseconds.

    Thread-safe under the GIL. Recording takes some nanoseconds beside the call, a reading less than
    a microsecond, however many samples there are. Readings may be of any time, and change nothing.

    Args:
        window_ms: Length of the window in ms, at least 1. It is cut into up to 60 panes, and what
            it holds at a time is exact at the last millisecond of a pane; else it misses less than
            a pane of the oldest (the module says more).
        quantiles: Whether `quantile` is wanted. It takes some nanoseconds a sample, and some
            10 to 30 KB.

    Raises:
        ValueError: for a window that has no length.

    >>> window = Window(60_000, quantiles=True)
    >>> for second in range(100):
    ...     _ = window.record(second * 1000, second)
    >>> window.count(99_999), window.min(99_999), window.avg(99_999)
    (60, 40.0, 69.5)
    >>> abs(window.quantile(0.95, 99_999) - 96) <= 96 / 129
    True
    """

    cdef WindowData _window
    cdef Sketch _scratch

    def __cinit__(self):
        window_init(&self._window, 1, False)

    def __init__(self, int64_t window_ms, *, bint quantiles=False):
        check_window_ms(window_ms)
        window_free(&self._window)
        window_init(&self._window, window_ms, quantiles)

    def __dealloc__(self):
        window_free(&self._window)
        sketch_free(&self._scratch)

    @property
    def pane_ms(self) -> int:
        """Width of a pane in ms."""
        return self._window.pane_ms

    @property
    def panes(self) -> int:
        """How many panes make the window."""
        return self._window.n_panes

    @property
    def ahead(self) -> int:
        """How many panes after the clock's are kept for when their time comes."""
        return self._window.ahead

    @property
    def late(self) -> int:
        """Samples left out because their time had left the window when they came."""
        return self._window.late

    @property
    def future(self) -> int:
        """Samples left out because they were too far ahead of the clock."""
        return self._window.future

    @property
    def rejected(self) -> int:
        """Values left out because they were no finite numbers."""
        return self._window.rejected

    def advance(self, int64_t now_ms) -> None:
        """Tell the time, in ms since the epoch. It may go back.

        It decides what is late and what is too far ahead. Until it is told, the newest sample is it.
        """
        check_time(now_ms)
        window_tell(&self._window, now_ms)

    def record(self, int64_t timestamp_ms, double value) -> bool:
        """Take a sample.

        Returns:
            Whether it is kept. If not, it has been counted in `late`, `future` or `rejected`.
        """
        cdef int rc
        check_time(timestamp_ms)
        rc = window_add(&self._window, timestamp_ms, value, &self._scratch)
        if rc < 0:
            raise MemoryError
        return rc

    def clear(self) -> None:
        """Forget all samples and give the memory back. The clock and the counters stay."""
        window_free(&self._window)

    def count(self, int64_t t) -> int:
        """How many samples the window at time t holds."""
        return self._total(t).count

    def sum(self, int64_t t) -> float:
        """The sum of its values; 0.0 if there are none, infinite if it is beyond any double."""
        cdef Pane total = self._total(t)
        return pane_sum(&total)

    def avg(self, int64_t t) -> float | None:
        """Their mean, or None."""
        cdef Pane total = self._total(t)
        return pane_sum(&total) / <double> total.count if total.count else None

    def min(self, int64_t t) -> float | None:
        """The smallest value, or None."""
        cdef Pane total = self._total(t)
        return total.min if total.count else None

    def max(self, int64_t t) -> float | None:
        """The greatest value, or None."""
        cdef Pane total = self._total(t)
        return total.max if total.count else None

    def quantile(self, double p, int64_t t) -> float | None:
        """The value of the nearest rank, `ceil(count * p)`, to within 1/129 of it; or None.

        Raises:
            ValueError: if p is not between 0 and 1, or the window was made without quantiles.
        """
        cdef Pane total = self._total(t)
        if not 0 <= p <= 1:
            raise ValueError(f"p must be between 0.0 and 1.0, not {p}")
        if not self._window.quantiles:
            raise ValueError("this window was made without quantiles")
        if not total.count:
            return None
        if window_slide(&self._window, window_pane(&self._window, t)):
            raise MemoryError
        return sketch_quantile(&self._window.sketch, p, total.min, total.max)

    cdef Pane _total(self, int64_t t) except *:
        cdef Pane total
        check_time(t)
        window_total(&self._window, window_pane(&self._window, t), &total)
        return total

from libc.stdint cimport int64_t, uint64_t

from ax_monitor._native.panes cimport KeyLog, Pane
from ax_monitor._native.sketch cimport Sketch

cdef extern from *:
    """
    #include <stdint.h>
    #define AX_NO_PANE INT64_MIN
    #define AX_TIME_MAX_MS ((int64_t) 1 << 60)
    """
    const int64_t NO_PANE "AX_NO_PANE"              # no number of a pane
    const int64_t TIME_MAX_MS "AX_TIME_MAX_MS"      # times are within ± this: no sum of two overflows

# A window over the last `n_panes` panes. No lock: whoever owns it guards it.
cdef struct WindowData:
    int64_t pane_ms
    int64_t n_panes
    int64_t ahead               # so many panes after the clock's are kept too
    int64_t clock               # the pane of the time that was told last, or NO_PANE
    int64_t told_ms             # … and that time
    # Ring of panes: pane p is at p & mask. Nothing is kept outside of [first, last].
    Pane *panes                 # NULL: no memory is taken
    KeyLog *logs                # beside them; NULL without quantiles
    int64_t mask
    int64_t first
    int64_t last                # below `first`: nothing is kept
    # The pane that took the last sample: the next one mostly belongs to it.
    int64_t hot                 # its number, or NO_PANE
    int64_t hot_start_ms
    int64_t hot_end_ms          # equal to the start: look again
    Pane *hot_pane
    KeyLog *hot_log
    bint hot_sketched           # it is within what the sketch holds
    # The sketch holds the panes of the window that ends with `sketched`.
    bint quantiles
    int64_t sketched            # NO_PANE: it holds none
    Sketch sketch
    uint64_t late               # samples that came after their time had left the window
    uint64_t future             # samples too far ahead of the clock
    uint64_t rejected           # values that are no finite number
    int64_t idle_since_ms       # monotonic; when it was first found to hold old panes only; or NO_PANE

cdef void window_init(WindowData *w, int64_t window_ms, bint quantiles) noexcept nogil
cdef void window_free(WindowData *w) noexcept nogil
cdef int64_t window_pane(const WindowData *w, int64_t timestamp_ms) noexcept nogil
cdef void window_tell(WindowData *w, int64_t now_ms) noexcept nogil
cdef int window_add(WindowData *w, int64_t timestamp_ms, double value, Sketch *scratch) noexcept nogil
cdef Py_ssize_t window_feed(WindowData *w, int64_t start_ms, const char *block, Py_ssize_t n,
                            Sketch *scratch) noexcept nogil
cdef void window_total(const WindowData *w, int64_t pane, Pane *total) noexcept nogil
cdef int window_slide(WindowData *w, int64_t pane) noexcept nogil
cdef void window_prefetch(const WindowData *next, const WindowData *after) noexcept nogil
cdef void window_release_idle(WindowData *w, int64_t pane, int64_t monotonic_ms) noexcept nogil
cdef int check_window_ms(int64_t window_ms) except -1
cdef int check_time(int64_t time_ms) except -1

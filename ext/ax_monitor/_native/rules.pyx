"""Alert rules over windows: compiled into arrays, evaluated in one pass without the GIL.

Rules are kept in the order of their windows, so a pass adds up each window once, however many rules
ask for it. A pass allocates nothing; only transitions become Python objects.

**A rule.** Its condition is met if `value OP threshold`; while it fires, if `value OP
resolve_threshold` (hysteresis), should it have one. A window without samples is no data, whatever
the aggregation: then nothing changes (`ignore`), or the condition counts as met (`alert`), or as not
met (`ok`). `rate` is the sum per second of the window.

    inactive ──met──▶ pending ──met for `for_ms`, no cooldown──▶ firing ──┐ met, cooldown over:
        ▲                │                                         │  ▲   │ triggers again
        └────not met─────┴───────────────not met───────────────────┘  └───┘

With a `for_ms` of 0 a rule triggers in the pass that finds its condition met. `cooldown_ms` counts
from the last trigger, whatever happened since; and no two triggers have the same time. All durations
are measured on the monotonic clock; the wall clock only says which samples a window holds.
"""

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from ax_monitor._native.panes cimport Pane, pane_sum
from ax_monitor._native.sketch cimport sketch_quantiles
from ax_monitor._native.windows cimport (
    WindowData,
    window_pane,
    window_prefetch,
    window_release_idle,
    window_slide,
    window_total,
)

cdef enum:
    ROOM_MIN = 16
    COUNT_MAX = 0x7FFFFFFF      # of rules

QUANTILES = [0.5, 0.95, 0.99]

# In the order of their numbers.
RULE_OPERATORS = ("gt", "gte", "lt", "lte", "eq", "neq")
RULE_AGGREGATIONS = ("avg", "sum", "min", "max", "count", "p50", "p95", "p99", "rate")
RULE_NO_DATA = ("ignore", "alert", "ok")


# -- arrays ------------------------------------------------------------------------------------


cdef void rules_free(Rules *r) noexcept nogil:
    """Give the memory back; what is left is empty."""
    free(r.conditions)
    free(r.timings)
    free(r.places)
    free(r.windows)
    free(r.starts)
    free(r.sketched)
    free(r.found)
    memset(r, 0, sizeof(Rules))


cdef int _grow(Rules *r) noexcept nogil:
    """Room for one more rule, and for one transition of each. 0, or -1: no memory."""
    cdef uint32_t room = r.room + r.room // 2 if r.room else ROOM_MIN
    if r.n_slots < r.room:
        return 0
    if (room > COUNT_MAX
            or resize_array(<void **> &r.conditions, room, sizeof(Condition))
            or resize_array(<void **> &r.timings, room, sizeof(Timing))
            or resize_array(<void **> &r.places, room, sizeof(uint32_t))
            or resize_array(<void **> &r.windows, room, sizeof(uint32_t))
            or resize_array(<void **> &r.found, room, sizeof(Found))):
        return -1
    r.room = room
    return 0


cdef int rules_add(Rules *r, uint32_t window, const Condition *condition, const Timing *timing) noexcept nogil:
    """Add a rule; its slot is n_slots as it was. 0, or -1: no memory, and no rule is added."""
    if _grow(r):
        return -1
    r.conditions[r.n] = condition[0]
    r.conditions[r.n].slot = r.n_slots
    r.timings[r.n] = timing[0]
    r.places[r.n_slots] = r.n
    r.windows[r.n_slots] = window
    r.n += 1
    r.n_slots += 1
    r.arranged = False
    return 0


cdef void rules_remove(Rules *r, uint32_t slot) noexcept nogil:
    """Remove a rule that is there. The last one takes its place until they are arranged."""
    cdef uint32_t place = r.places[slot]
    r.n -= 1
    r.conditions[place] = r.conditions[r.n]
    r.timings[place] = r.timings[r.n]
    r.places[r.conditions[place].slot] = place
    r.places[slot] = NO_PLACE
    r.arranged = False


cdef int _arrange(Rules *r, uint32_t n_windows) noexcept nogil:
    """Bring the rules into the order of their windows. 0, or -1: no memory; nothing is lost."""
    cdef Condition *conditions
    cdef Timing *timings
    cdef uint32_t i, place, window
    if r.arranged:
        return 0
    if (resize_array(<void **> &r.starts, n_windows + 2, sizeof(uint32_t))
            or resize_array(<void **> &r.sketched, n_windows + 1, 1)):
        return -1
    conditions = <Condition *> malloc(max(r.room, <uint32_t> 1) * sizeof(Condition))
    timings = <Timing *> malloc(max(r.room, <uint32_t> 1) * sizeof(Timing))
    if conditions is NULL or timings is NULL:
        free(conditions)
        free(timings)
        return -1
    # Counting sort. While rules are placed, starts[w + 1] is where the next one of w goes.
    memset(r.starts, 0, (n_windows + 2) * sizeof(uint32_t))
    memset(r.sketched, 0, n_windows + 1)
    for i in range(r.n):
        window = r.windows[r.conditions[i].slot]
        r.starts[window + 2] += 1
        if P50 <= r.conditions[i].aggregation <= P99:
            r.sketched[window] = True
    for i in range(n_windows):
        r.starts[i + 2] += r.starts[i + 1]
    for i in range(r.n):
        window = r.windows[r.conditions[i].slot]
        place = r.starts[window + 1]
        r.starts[window + 1] += 1
        conditions[place] = r.conditions[i]
        timings[place] = r.timings[i]
        r.places[conditions[place].slot] = place
    free(r.conditions)
    free(r.timings)
    r.conditions = conditions
    r.timings = timings
    r.arranged = True
    return 0


# -- a pass ------------------------------------------------------------------------------------


cdef inline bint _holds(uint8_t operator, double value, double threshold) noexcept nogil:
    if operator == GT:
        return value > threshold
    if operator == GTE:
        return value >= threshold
    if operator == LT:
        return value < threshold
    if operator == LTE:
        return value <= threshold
    return (value == threshold) == (operator == EQ)


cdef uint32_t _step(Condition *c, Timing *t, bint met, int64_t now) noexcept nogil:
    """Move a rule on; its transition."""
    cdef uint8_t before = c.phase
    if not met:
        c.phase = INACTIVE
        if before == FIRING:
            return RESOLVE
        return CLEAR if before == PENDING and t.for_ms > 0 else NO_TRANSITION
    if before == INACTIVE:
        c.phase = PENDING
        t.met_since_ms = now
        if t.for_ms > 0:
            return TO_PENDING
    if now - t.met_since_ms < t.for_ms:
        return NO_TRANSITION
    if now - t.last_trigger_ms < t.cooldown_ms or now <= t.last_trigger_ms:
        return NO_TRANSITION
    c.phase = FIRING
    t.last_trigger_ms = now
    return TRIGGER


cdef void _evaluate_window(Rules *r, uint32_t first, uint32_t end, const double *values,
                           int64_t now) noexcept nogil:
    """All rules of a window; `values` by aggregation, or NULL: no data."""
    cdef Condition *c
    cdef uint32_t i, transition
    cdef bint met
    for i in range(first, end):
        c = &r.conditions[i]
        if values is not NULL:
            c.value = values[c.aggregation]
            met = _holds(c.operator, c.value, c.resolve_threshold if c.phase == FIRING else c.threshold)
        else:
            c.value = NAN
            met = c.no_data == ALERT
            if c.no_data == IGNORE:
                continue
        if not met and c.phase == INACTIVE:     # Fast path: nearly all rules, nearly always
            continue
        transition = _step(c, &r.timings[i], met, now)
        if transition:
            r.found[r.n_found].value = c.value
            r.found[r.n_found].slot = c.slot
            r.found[r.n_found].transition = transition
            r.n_found += 1


cdef inline double _span_s(const WindowData *w) noexcept nogil:
    return <double> (w.n_panes * w.pane_ms) / 1000


cdef int rules_evaluate(Rules *r, WindowData *windows, uint32_t n_windows, int64_t now_ms,
                        int64_t monotonic_ms) noexcept nogil:
    """One pass over all rules; what it finds is in `found`, which must be empty before.

    0, or -1: no memory; the rules of some windows are as they were, all others have been evaluated.
    """
    cdef double[<int> N_AGGREGATIONS] values
    cdef WindowData *w
    cdef Pane total
    cdef int64_t pane
    cdef uint32_t i
    cdef int rc = 0
    if _arrange(r, n_windows):
        return -1
    for i in range(n_windows):
        w = &windows[i]
        if i + 2 < n_windows:
            window_prefetch(w + 1, w + 2)
        pane = window_pane(w, now_ms)
        window_release_idle(w, pane, monotonic_ms)
        if r.starts[i] == r.starts[i + 1]:
            continue
        window_total(w, pane, &total)
        if not total.count:
            _evaluate_window(r, r.starts[i], r.starts[i + 1], NULL, monotonic_ms)
            continue
        values[<int> SUM] = pane_sum(&total)
        values[<int> COUNT] = <double> total.count
        values[<int> AVG] = values[<int> SUM] / values[<int> COUNT]
        values[<int> MIN] = total.min
        values[<int> MAX] = total.max
        values[<int> RATE] = values[<int> SUM] / _span_s(w)
        if r.sketched[i]:
            if window_slide(w, pane):
                rc = -1
                continue
            sketch_quantiles(&w.sketch, QUANTILES, 3, total.min, total.max, &values[<int> P50])
        _evaluate_window(r, r.starts[i], r.starts[i + 1], values, monotonic_ms)
    return rc

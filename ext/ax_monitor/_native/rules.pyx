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

cimport cython
from libc.math cimport NAN, isfinite
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset
from posix.unistd cimport usleep

from ax_monitor._native.panes cimport Pane, pane_sum
from ax_monitor._native.routes cimport NO_LINK, Routes, routes_add, routes_find, routes_free
from ax_monitor._native.samples cimport MINUTE_MS, SAMPLE_BYTES
from ax_monitor._native.sketch cimport Sketch, sketch_free, sketch_quantiles
from ax_monitor._native.windows cimport (
    TIME_MAX_MS,
    WindowData,
    check_time,
    check_window_ms,
    window_add,
    window_feed,
    window_free,
    window_init,
    window_pane,
    window_prefetch,
    window_release_idle,
    window_slide,
    window_tell,
    window_total,
)

cdef enum:
    ROOM_MIN = 16
    COUNT_MAX = 0x7FFFFFFF      # of windows and of rules
    NO_PLACE = 0xFFFFFFFF
    FEED_WITH_GIL = 4096        # samples in a block, at most; some 50 µs
    TAKE_WITH_GIL = 8192        # transitions made into objects at once; some ms
    PAUSE_US = 100              # then another thread may have the GIL: long enough for one to wake up

cdef int64_t LONG_AGO = -(<int64_t> 1 << 62)    # longer than any duration before any time
cdef double[3] QUANTILES = [0.5, 0.95, 0.99]

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


cdef int _resize(void **array, uint32_t room, size_t item_bytes) noexcept nogil:
    cdef void *resized = realloc(array[0], room * item_bytes)
    if resized is NULL:
        return -1
    array[0] = resized
    return 0


cdef int _grow(Rules *r) noexcept nogil:
    """Room for one more rule, and for one transition of each. 0, or -1: no memory."""
    cdef uint32_t room = r.room + r.room // 2 if r.room else ROOM_MIN
    if r.n_slots < r.room:
        return 0
    if (room > COUNT_MAX
            or _resize(<void **> &r.conditions, room, sizeof(Condition))
            or _resize(<void **> &r.timings, room, sizeof(Timing))
            or _resize(<void **> &r.places, room, sizeof(uint32_t))
            or _resize(<void **> &r.windows, room, sizeof(uint32_t))
            or _resize(<void **> &r.found, room, sizeof(Found))):
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
    if (_resize(<void **> &r.starts, n_windows + 2, sizeof(uint32_t))
            or _resize(<void **> &r.sketched, n_windows + 1, 1)):
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


# -- for Python --------------------------------------------------------------------------------


@cython.final
cdef class RuleTable:
    """Windows over series, and rules over windows.

    Samples go in through `feed` and `add`, and count in every window that watches their series.
    `evaluate` looks at all rules at once, and returns those that changed.

    For one thread at a time: the caller holds a lock. `evaluate` runs without the GIL; a call that
    comes in between from another thread raises RuntimeError. A pass costs some 20 to 150 ns a rule
    and up to a microsecond a window, whatever the number of samples.

    >>> table = RuleTable()
    >>> latency = table.add_window(60_000, quantiles=True)
    >>> table.watch(series=17, window=latency)
    >>> rule = table.add_rule(latency, operator=RULE_OPERATORS.index("gt"),
    ...                       aggregation=RULE_AGGREGATIONS.index("p95"), threshold=200.0)
    >>> for second in range(60):
    ...     _ = table.add(17, 1_700_000_000_000 + second * 1000, 250.0)
    >>> table.evaluate(1_700_000_060_000, 5_000) == [(rule, 2, 250.0)]
    True
    """

    cdef WindowData *_windows
    cdef uint32_t _n_windows
    cdef uint32_t _window_room
    cdef Routes _routes
    cdef Rules _rules
    cdef Sketch _scratch            # empty between calls
    cdef int64_t _now_ms
    cdef bint _told                 # `_now_ms` is set
    cdef bint _busy                 # a method is at work without the GIL

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self._n_windows):
            window_free(&self._windows[i])
        free(self._windows)
        routes_free(&self._routes)
        rules_free(&self._rules)
        sketch_free(&self._scratch)

    # -- what there is -------------------------------------------------------------------------

    def add_window(self, int64_t window_ms, bint quantiles=False) -> int:
        """Add a window; its number: 0, 1, 2 …

        Args:
            window_ms: Its length in ms, at least 1.
            quantiles: Whether rules may ask for p50, p95 and p99 of it.
        """
        cdef uint32_t room
        self._check_idle()
        check_window_ms(window_ms)
        if self._n_windows == self._window_room:
            room = self._window_room + self._window_room // 2 if self._window_room else ROOM_MIN
            if room > COUNT_MAX or _resize(<void **> &self._windows, room, sizeof(WindowData)):
                raise MemoryError
            self._window_room = room
        window_init(&self._windows[self._n_windows], window_ms, quantiles)
        self._n_windows += 1
        self._rules.arranged = False
        return self._n_windows - 1

    def watch(self, int64_t series, int64_t window) -> None:
        """Have the samples of a series count in a window; any number of either to one of the other."""
        self._check_idle()
        self._window(window)
        if routes_add(&self._routes, series, <uint32_t> window):
            raise MemoryError

    def add_rule(self, int64_t window, *, int operator, int aggregation, double threshold,
                 resolve_threshold=None, int64_t for_ms=0, int64_t cooldown_ms=0, int no_data=0) -> int:
        """Add a rule; its number (slot): 0, 1, 2 …

        Args:
            window: The window that it looks at.
            operator: Index in RULE_OPERATORS.
            aggregation: Index in RULE_AGGREGATIONS.
            threshold: The condition is met if `value OP threshold`.
            resolve_threshold: Takes the place of `threshold` while the rule fires; None: the same.
            for_ms: The condition must have been met for so long before the rule triggers.
            cooldown_ms: So long after a trigger there is no other.
            no_data: Index in RULE_NO_DATA: what a window without samples means.

        Raises:
            IndexError: if there is no such window.
            ValueError: for a number that means nothing, a threshold that is no finite number, a
                negative duration, or a quantile of a window without quantiles.
        """
        cdef Condition condition
        cdef Timing timing
        self._check_idle()
        w = self._window(window)
        _check_index("operator", operator, N_OPERATORS)
        _check_index("aggregation", aggregation, N_AGGREGATIONS)
        _check_index("no_data", no_data, N_NO_DATA)
        _check_duration("for_ms", for_ms)
        _check_duration("cooldown_ms", cooldown_ms)
        if P50 <= aggregation <= P99 and not w.quantiles:
            raise ValueError(f"window {window} was made without quantiles")
        condition.threshold = threshold
        condition.resolve_threshold = threshold if resolve_threshold is None else resolve_threshold
        if not (isfinite(condition.threshold) and isfinite(condition.resolve_threshold)):
            raise ValueError("thresholds must be finite")
        condition.value = NAN
        condition.operator = <uint8_t> operator
        condition.aggregation = <uint8_t> aggregation
        condition.no_data = <uint8_t> no_data
        condition.phase = INACTIVE
        timing = Timing(for_ms, cooldown_ms, LONG_AGO, LONG_AGO)
        if rules_add(&self._rules, <uint32_t> window, &condition, &timing):
            raise MemoryError
        return self._rules.n_slots - 1

    def remove_rule(self, int64_t slot) -> None:
        """Remove a rule. Its slot is not used again; its window goes on.

        Raises:
            IndexError: if there is no such rule (any more).
        """
        self._check_idle()
        self._place(slot)
        rules_remove(&self._rules, <uint32_t> slot)

    # -- samples -------------------------------------------------------------------------------

    def advance(self, int64_t now_ms) -> None:
        """Tell the time, in ms since the epoch; `evaluate` does so too. It may go back.

        What is late and what is too far ahead (windows.pyx says how far) is decided by the time told
        last, so tell it before feeding: until then, the newest sample of a window is its time.
        """
        self._check_idle()
        check_time(now_ms)
        self._now_ms = now_ms
        self._told = True

    def feed(self, int64_t series, int64_t minute, bytes samples not None) -> int:
        """Take the samples of a series and minute.

        Args:
            series: Whose samples these are. If no window watches it, none is taken.
            minute: Since the Unix epoch.
            samples: A block, as in metric_chunks.

        Returns:
            How many samples were kept, by the window that kept most of them.

        Raises:
            MemoryError: windows may have taken a part of the samples; `clear` and feed anew.
        """
        cdef Py_ssize_t n = len(samples) // SAMPLE_BYTES
        cdef Py_ssize_t kept
        cdef const char *block = samples
        self._check_idle()
        if not -TIME_MAX_MS // MINUTE_MS < minute < TIME_MAX_MS // MINUTE_MS:
            raise ValueError(f"a time must be within 2^60 ms of the epoch, not minute {minute}")
        if n * SAMPLE_BYTES != len(samples):
            raise ValueError(f"a block has {SAMPLE_BYTES} bytes a sample: {len(samples)} are too many")
        if n <= FEED_WITH_GIL:
            kept = self._feed(series, minute * MINUTE_MS, block, n)
        else:
            self._busy = True
            with nogil:
                kept = self._feed(series, minute * MINUTE_MS, block, n)
            self._busy = False
        if kept < 0:
            raise MemoryError
        return kept

    cdef Py_ssize_t _feed(self, int64_t series, int64_t start_ms, const char *block, Py_ssize_t n) noexcept nogil:
        cdef uint32_t link = routes_find(&self._routes, series)
        cdef WindowData *w
        cdef Py_ssize_t kept, most = 0
        while link != NO_LINK:
            w = &self._windows[self._routes.links[link].window]
            if self._told:
                window_tell(w, self._now_ms)
            kept = window_feed(w, start_ms, block, n, &self._scratch)
            if kept < 0:
                return -1
            most = max(most, kept)
            link = self._routes.links[link].next
        return most

    def add(self, int64_t series, int64_t timestamp_ms, double value) -> int:
        """Take one sample. 1 if some window has kept it, else 0."""
        cdef uint32_t link
        cdef WindowData *w
        cdef int rc, kept = 0
        self._check_idle()
        check_time(timestamp_ms)
        link = routes_find(&self._routes, series)
        while link != NO_LINK:
            w = &self._windows[self._routes.links[link].window]
            if self._told:
                window_tell(w, self._now_ms)
            rc = window_add(w, timestamp_ms, value, &self._scratch)
            if rc < 0:
                raise MemoryError
            kept |= rc
            link = self._routes.links[link].next
        return kept

    def clear(self) -> None:
        """Forget all samples, and give their memory back; windows, rules and their states stay."""
        cdef uint32_t i
        self._check_idle()
        for i in range(self._n_windows):
            window_free(&self._windows[i])

    # -- evaluation ----------------------------------------------------------------------------

    def evaluate(self, int64_t now_ms, int64_t monotonic_ms) -> list:
        """Evaluate all rules.

        Args:
            now_ms: The wall clock, in ms since the epoch: the end of all windows.
            monotonic_ms: A clock that never jumps, in ms: what durations are measured by.

        Returns:
            A tuple (slot, transition, value) for each rule that changed, in no certain order.
            Transitions: 1 pending (its condition is met, and `for_ms` has begun), 2 trigger,
            3 clear (not met any more, before it triggered; only with a `for_ms`), 4 resolve. The value
            is NaN if there were no samples.

        Raises:
            MemoryError: nothing is lost: what this pass has found, the next call returns; rules that
                could not be evaluated have not changed.
        """
        cdef int rc = 0
        self._check_idle()
        check_time(now_ms)
        check_time(monotonic_ms)
        self._busy = True
        try:
            if not self._rules.n_found:
                self._now_ms = now_ms
                self._told = True
                with nogil:
                    rc = rules_evaluate(&self._rules, self._windows, self._n_windows, now_ms, monotonic_ms)
                if rc:
                    raise MemoryError
            found = self._found()
            self._rules.n_found = 0
            return found
        finally:
            self._busy = False

    cdef list _found(self):
        cdef list found = []
        cdef uint32_t i
        cdef Found *one
        for i in range(self._rules.n_found):
            one = &self._rules.found[i]
            found.append((one.slot, one.transition, one.value))
            if (i + 1) % TAKE_WITH_GIL == 0:
                with nogil:
                    usleep(PAUSE_US)
        return found

    def state(self, int64_t slot) -> tuple:
        """Where a rule stands: (phase, met_since_ms, last_trigger_ms, value).

        Phases: 0 inactive, 1 pending (met, not triggered since it is), 2 firing. Times are monotonic;
        None where there is none. The value is what the last pass found; NaN if there was no data.
        """
        cdef Condition *c
        cdef Timing *t
        cdef uint32_t place
        self._check_idle()
        place = self._place(slot)
        c = &self._rules.conditions[place]
        t = &self._rules.timings[place]
        met_since = None if c.phase == INACTIVE or t.met_since_ms == LONG_AGO else t.met_since_ms
        last_trigger = None if t.last_trigger_ms == LONG_AGO else t.last_trigger_ms
        return c.phase, met_since, last_trigger, c.value

    def set_state(self, int64_t slot, int phase, met_since_ms, last_trigger_ms) -> None:
        """Put a rule where it stood before a restart, or where another process has put it.

        Args:
            slot: The rule.
            phase: As in `state`.
            met_since_ms: Since when its condition is met; None: for longer than any `for_ms`.
            last_trigger_ms: When it triggered last; None: never.
        """
        cdef uint32_t place
        cdef int64_t met_since = LONG_AGO if met_since_ms is None else met_since_ms
        cdef int64_t last_trigger = LONG_AGO if last_trigger_ms is None else last_trigger_ms
        self._check_idle()
        place = self._place(slot)
        _check_index("phase", phase, N_PHASES)
        if met_since_ms is not None:
            check_time(met_since)
        if last_trigger_ms is not None:
            check_time(last_trigger)
        self._rules.conditions[place].phase = <uint8_t> phase
        self._rules.timings[place].met_since_ms = met_since
        self._rules.timings[place].last_trigger_ms = last_trigger

    def aggregate(self, int64_t window, int64_t now_ms) -> tuple:
        """What a window holds: (count, sum, min, max, p50, p95, p99); NaN where there is nothing."""
        cdef WindowData *w
        cdef Pane total
        cdef int64_t pane
        cdef double[3] quantiles
        self._check_idle()
        w = self._window(window)
        check_time(now_ms)
        pane = window_pane(w, now_ms)
        window_total(w, pane, &total)
        quantiles[0] = quantiles[1] = quantiles[2] = NAN
        if w.quantiles:
            if window_slide(w, pane):
                raise MemoryError
            sketch_quantiles(&w.sketch, QUANTILES, 3, total.min, total.max, quantiles)
        if not total.count:
            total.min = total.max = NAN
        return total.count, pane_sum(&total), total.min, total.max, quantiles[0], quantiles[1], quantiles[2]

    # -- counters ------------------------------------------------------------------------------

    @property
    def late(self) -> int:
        """Samples left out because their time had left a window; once for each window."""
        return sum([self._windows[i].late for i in range(self._n_windows)])

    @property
    def future(self) -> int:
        """Samples left out because they were too far ahead of the clock; once for each window."""
        return sum([self._windows[i].future for i in range(self._n_windows)])

    @property
    def rejected(self) -> int:
        """Values left out because they were no finite numbers; once for each window."""
        return sum([self._windows[i].rejected for i in range(self._n_windows)])

    # -- checks --------------------------------------------------------------------------------

    cdef int _check_idle(self) except -1:
        if self._busy:
            raise RuntimeError("another thread is at work on this RuleTable: guard it with a lock")
        return 0

    cdef WindowData *_window(self, int64_t window) except NULL:
        if not 0 <= window < self._n_windows:
            raise IndexError(f"no window {window}: there are {self._n_windows}")
        return &self._windows[window]

    cdef int64_t _place(self, int64_t slot) except -1:
        if not 0 <= slot < self._rules.n_slots:
            raise IndexError(f"no rule {slot}: there are {self._rules.n_slots}")
        if self._rules.places[slot] == NO_PLACE:
            raise IndexError(f"rule {slot} has been removed")
        return self._rules.places[slot]


cdef int _check_index(str name, int index, int n) except -1:
    if not 0 <= index < n:
        raise ValueError(f"{name} must be an index from 0 to {n - 1}, not {index}")
    return 0


cdef int _check_duration(str name, int64_t duration_ms) except -1:
    if not 0 <= duration_ms <= TIME_MAX_MS:
        raise ValueError(f"{name} must be 0 or more, and at most 2^60, not {duration_ms}")
    return 0

from libc.stdint cimport int64_t, uint8_t, uint32_t

from ax_monitor._native.windows cimport WindowData

cdef enum Operator:
    GT, GTE, LT, LTE, EQ, NEQ, N_OPERATORS

cdef enum Aggregation:
    AVG, SUM, MIN, MAX, COUNT, P50, P95, P99, RATE, N_AGGREGATIONS

cdef enum NoData:
    IGNORE, ALERT, OK, N_NO_DATA

cdef enum Phase:
    INACTIVE = 0
    PENDING = 1                     # the condition is met; not triggered since it is
    FIRING = 2
    N_PHASES

cdef enum Transition:
    NO_TRANSITION = 0
    TO_PENDING = 1
    TRIGGER = 2
    CLEAR = 3                       # pending → inactive
    RESOLVE = 4                     # firing → inactive

# A rule in two halves: what every pass reads, and what only a met or firing rule needs.
cdef struct Condition:
    double threshold
    double resolve_threshold        # while firing
    double value                    # found in the last pass; NaN: no data
    uint32_t slot                   # the rule's number
    uint8_t operator
    uint8_t aggregation
    uint8_t no_data
    uint8_t phase

# Monotonic milliseconds; LONG_AGO (rules.pyx) where there is no such time.
cdef struct Timing:
    int64_t for_ms
    int64_t cooldown_ms
    int64_t met_since_ms
    int64_t last_trigger_ms

cdef struct Found:
    double value
    uint32_t slot
    uint32_t transition

# All rules, in the order of their windows once they are arranged.
cdef struct Rules:
    Condition *conditions
    Timing *timings
    uint32_t n                      # of these
    uint32_t *places                # by slot: where in `conditions`; NO_PLACE: removed
    uint32_t *windows               # by slot
    uint32_t n_slots
    uint32_t room                   # of all the arrays above, and of `found`
    uint32_t *starts                # by window: its first place; one more at the end
    uint8_t *sketched               # by window: some rule asks for a quantile
    bint arranged                   # `starts` and `sketched` are true
    Found *found                    # transitions of the last pass that nobody has taken yet
    uint32_t n_found

cdef void rules_free(Rules *r) noexcept nogil
cdef int rules_add(Rules *r, uint32_t window, const Condition *condition, const Timing *timing) noexcept nogil
cdef void rules_remove(Rules *r, uint32_t slot) noexcept nogil
cdef int rules_evaluate(Rules *r, WindowData *windows, uint32_t n_windows, int64_t now_ms,
                        int64_t monotonic_ms) noexcept nogil

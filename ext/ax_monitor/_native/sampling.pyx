"""Keep a trace or drop it: decided from its id, the same in every process that asks.

**The rule.** Consistent probability sampling, as OpenTelemetry's `ProbabilitySampler` and the
random trace ids of W3C Trace Context level 2 define it: the randomness `rv` of a trace is the low
56 bits of its id, a rate p has the rejection threshold `th = 2^56 - round(p * 2^56)`, and a trace
is kept if `rv >= th`. So a decision is a pure function of id and rate; what a lower rate keeps, a
higher rate keeps too; and a service that samples by this rule decides as we do. A rate of 0 is
"never" and 1 is "always", both exactly (a rate that rounds to 0/2^56 is "never" as well).

**The other rule.** OpenTelemetry's older `TraceIdRatioBased`, still what
`OTEL_TRACES_SAMPLER=traceidratio` selects, left its algorithm open. The Python SDK keeps an id if
its low 64 bits are *below* `round(p * 2^64)`: other bits, and the other end of the range. For
random ids the two decisions are as good as independent (bits 56 to 63 count most in one of them
and not at all in the other), so they are equal for a share of p² + (1-p)² of the ids only: 0.5 at
p = 0.5, 0.82 at 0.1. No formulation can agree with both. What both guarantee: a pure function of
the id, a share of p, subsets, and exactness at 0 and 1. Where services with that sampler decide
for themselves, rather than following the `sampled` flag of their caller, `rule="traceidratio"`
decides as they do, bit for bit. It is the same comparison over other bits.

Measured with opentelemetry-sdk 1.45.2, 10^5 random ids at each of seven rates: `consistent` and
the SDK's composable ratio sampler differ for none, `traceidratio` and its `TraceIdRatioBased` for
none, `consistent` and `TraceIdRatioBased` by the share above.

**The limit.** `max_traces_per_second` raises the threshold where the rate would keep more. Time is
cut into epochs of 250 ms. An epoch adds a quarter of the limit to an allowance, of which at most
one epoch's worth and one trace is saved up. At its start the threshold is fixed so that the
arrivals expected (their mean over the last epochs, each counting half of the one after it) spend
the allowance. If more arrive than expected, the allowance ends the keeping: those are the only
decisions that do not follow from the id. Whatever arrives, **any second keeps at most 1.25 times
the limit and one**. A steady Poisson load above the limit keeps 80 to 98 % of it (more for higher
limits); after a burst the expectation halves every epoch.
"""

cimport cython

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_FromObject
from libc.math cimport ldexp, llrint, rint
from libc.stdint cimport INT64_MAX, UINT64_MAX, int64_t, uint64_t
from libc.string cimport memcpy

from ax_monitor._native.encode cimport (
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_IS_COMPACT_ASCII,
    PyUnicodeType,
    type_of,
)

cdef extern from *:
    """
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define ax_big_endian(x) (x)
    #else
    #define ax_big_endian(x) __builtin_bswap64(x)
    #endif
    """
    uint64_t big_endian "ax_big_endian" (uint64_t x) nogil

cdef uint64_t HIGH_BITS = 0x8080808080808080ULL
cdef enum:
    TRACE_ID_CHARS = 32
    CONSISTENT_BITS = 56            # of W3C Trace Context level 2
    EPOCHS_PER_SECOND = 4
    SILENCE_MAX = 2000              # halvings after which nothing is left of any double

cdef int64_t EPOCH_NS = 1_000_000_000 // EPOCHS_PER_SECOND
cdef int64_t TRACE = <int64_t> 1 << 32      # units of an allowance that a trace costs
cdef double LIMIT_MAX = 1e9                 # traces a second: an allowance is below 2^63 units


cdef void _keep_share(KeptIds *ids, double share) noexcept nogil:
    """Keep this share of all ids: 0 is never, 1 always."""
    cdef uint64_t count         # how many of the values up to `mask`
    ids.never = False
    ids.threshold = 0
    if share < 1:
        count = <uint64_t> rint(ldexp(share, ids.bits))
        if count:
            ids.threshold = ids.mask - count + 1
        else:
            ids.never = True


cdef double _kept_share(const KeptIds *ids) noexcept nogil:
    return 0 if ids.never else ldexp(<double> (ids.mask - ids.threshold) + 1, -ids.bits)


cdef inline uint64_t _read_hex8(const char *digits, uint64_t *bad) noexcept nogil:
    """The value of 8 lowercase hex digits, all at once; `bad` becomes true if they are none.

    The digits are ASCII, so that no sum below carries into the next byte.
    """
    cdef uint64_t c
    memcpy(&c, digits, 8)
    c = big_endian(c)
    # The high bit of each byte: c >= "0", not c > "9"; or c >= "a", not c > "f".
    bad[0] |= HIGH_BITS & ~(
        ((c + 0x5050505050505050ULL) & ~(c + 0x4646464646464646ULL))
        | ((c + 0x1F1F1F1F1F1F1F1FULL) & ~(c + 0x1919191919191919ULL))
    )
    c = (c & 0x0F0F0F0F0F0F0F0FULL) + ((c >> 6) & 0x0101010101010101ULL) * 9     # bit 6: a letter
    c = (c | (c >> 4)) & 0x00FF00FF00FF00FFULL
    c = (c | (c >> 8)) & 0x0000FFFF0000FFFFULL
    return (c | (c >> 16)) & 0xFFFFFFFFULL


cdef inline uint64_t _read_hex16(const char *digits, uint64_t *bad) noexcept nogil:
    return (_read_hex8(digits, bad) << 32) | _read_hex8(digits + 8, bad)


cdef inline bint _read_text(PyObject *text, uint64_t *high, uint64_t *low) noexcept nogil:
    cdef const char *digits
    cdef uint64_t bad = 0
    if not PyUnicode_IS_COMPACT_ASCII(text) or PyUnicode_GET_LENGTH(text) != TRACE_ID_CHARS:
        return False
    digits = <const char *> PyUnicode_DATA(text)
    high[0] = _read_hex16(digits, &bad)
    low[0] = _read_hex16(digits + 16, &bad)
    return not bad and (high[0] | low[0])


cdef int _read_other(object trace_id, uint64_t *high, uint64_t *low) except -1:
    if not isinstance(trace_id, str):
        raise TypeError(f"trace_id must be a str, not {type(trace_id).__name__}")
    trace_id = PyUnicode_FromObject(trace_id)       # a subclass keeps its text elsewhere
    return _read_text(<PyObject *> trace_id, high, low)


cdef int read_trace_id(object trace_id, uint64_t *high, uint64_t *low) except -1:
    """1 and the two halves of a trace id; 0 for a text that is none; TypeError if it is no text."""
    if type_of(<PyObject *> trace_id) == PyUnicodeType:
        return _read_text(<PyObject *> trace_id, high, low)
    return _read_other(trace_id, high, low)


@cython.final
cdef class Sampler:
    """Decides which traces are kept.

    Thread-safe under the GIL. A decision allocates nothing and takes about as long as the call.

    Args:
        rate: The share of traces to keep, from 0.0 (never) to 1.0 (always).
        max_traces_per_second: Keep fewer where the rate would keep more than this; `decide_at`
            heeds it. None: no limit. A monitor beside a busy engine should cost the same however
            busy it gets, and no fixed rate does that.
        rule: `"consistent"`, or `"traceidratio"` to decide as services with OpenTelemetry's older
            sampler of that name do.

    Raises:
        ValueError: for a rate outside of 0 to 1, a limit that is not above 0 and at most 10^9, or
            an unknown rule.

    >>> sampler = Sampler(0.25)
    >>> sampler.decide("0af7651916cd43dd8448eb211c80319c")
    False
    >>> sampler.rate = 1.0
    >>> sampler.decide("0af7651916cd43dd8448eb211c80319c")
    True
    """

    def __init__(self, double rate=1.0, *, max_traces_per_second=None, rule="consistent"):
        if rule == "consistent":
            self._ratio.bits = CONSISTENT_BITS
            self._ratio.mask = UINT64_MAX >> (64 - CONSISTENT_BITS)
            self._ratio.flip = 0
        elif rule == "traceidratio":
            self._ratio.bits = 64
            self._ratio.mask = UINT64_MAX
            self._ratio.flip = UINT64_MAX
        else:
            raise ValueError(f"rule must be 'consistent' or 'traceidratio', not {rule!r}")
        self._now = self._ratio
        self.max_traces_per_second = max_traces_per_second
        self.rate = rate

    @property
    def rate(self) -> float:
        """The share of traces to keep; settable at any time."""
        return self._rate

    @rate.setter
    def rate(self, double value):
        if not 0 <= value <= 1:         # not a number either
            raise ValueError(f"rate must be between 0.0 and 1.0, not {value}")
        self._rate = value
        _keep_share(&self._ratio, value)
        self._choose()

    @property
    def max_traces_per_second(self) -> float | None:
        """At most this many traces a second, or None; settable at any time."""
        return self._limit if self._limit else None

    @max_traces_per_second.setter
    def max_traces_per_second(self, value):
        cdef double limit = 0 if value is None else value
        if value is not None and not 0 < limit <= LIMIT_MAX:
            raise ValueError(f"max_traces_per_second must be above 0 and at most 1e9, not {value}")
        if not self._limit:             # what was seen before is out of date
            self._allowance = Allowance(0, INT64_MAX, -1, 0, -1)
        self._limit = limit
        self._allowance.per_epoch = 0
        if limit:
            self._allowance.per_epoch = max(1, llrint(limit / EPOCHS_PER_SECOND * TRACE))
            self._allowance.left = min(self._allowance.left, self._allowance.per_epoch + TRACE)
        self._choose()

    @property
    def current_rate(self) -> float:
        """The share that is kept in the current epoch: the rate, or less because of the limit."""
        return _kept_share(&self._now)

    def decide(self, trace_id) -> bool:
        """Keep the trace with this id (32 lowercase hex digits)? By the rate alone.

        What is no trace id (all zeros neither) is not kept, and counted in `malformed`.
        """
        cdef uint64_t high, low
        if not read_trace_id(trace_id, &high, &low):
            self.malformed += 1
            return False
        return is_kept(&self._ratio, low)

    def decide_at(self, trace_id, int64_t now_ns) -> bool:
        """The same within `max_traces_per_second`.

        Args:
            trace_id: As for `decide`.
            now_ns: Nanoseconds on a clock that never jumps, 0 or more. Where it goes back all the
                same, the epoch lasts until the clock is past it.
        """
        cdef uint64_t high, low
        if not read_trace_id(trace_id, &high, &low):
            self.malformed += 1
            return False
        return self.keep(high, low, now_ns)

    def decide_child(self, trace_id, parent_sampled, int64_t now_ns) -> bool:
        """The decision of the caller of this trace if there is one, else that of `decide_at`.

        Following it is what keeps a trace whole. It does not count towards the limit: who starts
        traces is who limits them.

        Args:
            trace_id: As for `decide`.
            parent_sampled: The `sampled` flag of the caller's `traceparent`, or None.
            now_ns: As for `decide_at`.
        """
        cdef uint64_t high, low
        if not read_trace_id(trace_id, &high, &low):
            self.malformed += 1
            return False
        return self.keep(high, low, now_ns) if parent_sampled is None else bool(parent_sampled)

    # -- for other kernels -------------------------------------------------------------------------

    cdef bint keep(self, uint64_t high, uint64_t low, int64_t now_ns) noexcept:
        """`decide_at` for an id in two halves. Call with the GIL held."""
        if not (high or low):
            self.malformed += 1
            return False
        if self._allowance.per_epoch:
            return self._keep_limited(low, now_ns)
        return is_kept(&self._ratio, low)

    cdef bint _keep_limited(self, uint64_t low, int64_t now_ns) noexcept:
        cdef Allowance *allowance = &self._allowance
        if allowance.epoch_ns < 0:
            allowance.epoch_ns = now_ns
        elif now_ns > allowance.epoch_ns and now_ns - allowance.epoch_ns >= EPOCH_NS:
            self._next_epoch(now_ns)
        allowance.seen += 1
        if allowance.left < TRACE or not is_kept(&self._now, low):
            return False
        allowance.left -= TRACE
        return True

    cdef void _next_epoch(self, int64_t now_ns) noexcept:
        """Close the current epoch, and the empty ones after it, and open that of `now_ns`."""
        cdef Allowance *allowance = &self._allowance
        cdef int64_t passed = (now_ns - allowance.epoch_ns) // EPOCH_NS
        cdef int64_t most = allowance.per_epoch + TRACE
        if allowance.expected < 0:
            allowance.expected = allowance.seen
        else:
            allowance.expected = (allowance.expected + allowance.seen) / 2
        allowance.expected = ldexp(allowance.expected, -<int> min(passed - 1, SILENCE_MAX))
        if passed > most // allowance.per_epoch:
            allowance.left = most
        else:
            allowance.left = min(allowance.left + passed * allowance.per_epoch, most)
        allowance.epoch_ns += passed * EPOCH_NS
        allowance.seen = 0
        self._choose()

    cdef void _choose(self) noexcept:
        """Fix the threshold until the next epoch."""
        cdef double share = self._rate
        cdef double expected = self._allowance.expected * TRACE
        if self._allowance.per_epoch and expected * share > self._allowance.left:
            share = self._allowance.left / expected
        _keep_share(&self._now, share)

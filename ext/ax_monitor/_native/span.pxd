cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from ax_monitor._native.ring cimport RecordRing

cdef enum TraceState:
    WRITTEN = 0             # its spans are written as they complete
    WAITING = 1             # not sampled: its spans are kept until it has earned it, or has not
    DISCARDED = 2           # nothing of it is recorded

cdef enum SpanStatusCode:
    UNSET = 0
    OK = 1
    ERROR = 2


# A field of a record to be written; what `text` points to is kept alive by the caller.
cdef struct Field:
    int type                # FieldType, or FIELD_JSON
    void *text
    int64_t number
    double real
    bint redact


cdef str known_kind(object kind)


@cython.final
cdef class TraceSettings:
    cdef public int policy              # overflow: 0 block, 1 drop newest, 2 drop oldest
    cdef public int redact              # 0: nothing, 1: what looks like a secret, 2: every record
    cdef public int listening           # which events somebody listens to: LISTEN_… below
    cdef public uint32_t max_attributes
    cdef public uint32_t max_events
    cdef public uint32_t max_open       # spans, and traces, that may be open at once
    cdef public bint keep_errors
    cdef public int64_t keep_slower_ns  # -1: off
    cdef public int64_t keep_bytes
    cdef public object sampler
    cdef readonly object plain          # (attributes) -> dict with plain values
    cdef readonly object text           # (anything) -> str
    cdef readonly object simplify       # (name, attributes, events, status) -> the same, harmless
    cdef readonly object describe       # (exception) -> attributes of its event
    cdef readonly object publish        # (event name, payload) -> None


@cython.final
cdef class OpenTrace:
    cdef str trace_id
    cdef object execution_id
    cdef object name
    cdef object tenant_id
    cdef int64_t start_ns
    cdef int64_t started                # monotonic
    cdef int state
    cdef bint remote                    # another process began it
    cdef uint32_t generation            # of forks: a child must not complete what is its parent's
    cdef list waiting                   # records as bytes, while WAITING
    cdef int64_t waiting_bytes


@cython.final
cdef class OpenSpan:
    cdef str span_id
    cdef str trace_id
    cdef object parent_span_id
    cdef str name
    cdef str kind
    cdef int64_t start_ns
    cdef int64_t started                # monotonic
    cdef dict attributes
    cdef list events
    cdef OpenTrace trace                # None: this process does not know it
    cdef int status
    cdef uint32_t dropped_attributes
    cdef uint32_t dropped_events


cdef class TraceChannel:
    cdef RecordRing _ring
    cdef TraceSettings _settings
    cdef dict _spans                    # span id -> OpenSpan
    cdef dict _traces                   # trace id -> OpenTrace
    cdef dict _discarded                # ids of traces that were given up, the newest of them
    cdef object _waiting                # OrderedDict of OpenTrace with waiting records, oldest first
    cdef uint32_t _generation           # of forks: what was open before belongs to the parent
    cdef char *_scratch
    cdef readonly int64_t waiting_bytes
    cdef readonly uint64_t unknown_ids
    cdef readonly uint64_t abandoned_spans
    cdef readonly uint64_t abandoned_traces
    cdef readonly uint64_t dropped_attributes
    cdef readonly uint64_t dropped_events
    cdef readonly uint64_t evicted_traces
    cdef readonly uint64_t evicted_spans
    cdef readonly uint64_t kept_traces
    cdef readonly uint64_t discarded_traces

    cdef OpenTrace open_trace(self, object execution_id, object name, object tenant_id,
                              object trace_id, int sampled, bint remote)
    cdef OpenTrace find_trace(self, object trace_id)
    cdef str open_span(self, OpenTrace trace, str trace_id, object parent_span_id, object name,
                       str kind, object attributes)
    cdef int close_trace(self, OpenTrace trace) except -1
    cdef int _keep(self, OpenTrace trace) except -1
    cdef int _forget_waiting(self, OpenTrace trace) except -1
    cdef int _make_room_for(self, int64_t n) except -1
    cdef int _check_fork(self) except -1
    cdef int _abandon_spans(self) except -1
    cdef int _abandon_traces(self) except -1
    cdef int _close_span(self, OpenSpan span, int status) except -1
    cdef int _write_span(self, OpenSpan span, int64_t duration_ns) except -1
    cdef int _write_trace(self, OpenTrace trace, int64_t duration_ns) except -1
    cdef int _write(self, Field *fields, uint32_t n, int kind, int tag, int64_t timestamp_ns,
                    bint redact) except -1
    cdef int _write_waiting(self, OpenTrace trace, Field *fields, uint32_t n, int tag,
                            int64_t timestamp_ns, bint redact) except -1
    cdef int _write_kept(self, bytes record) except -1
    cdef dict _captured(self, object attributes, uint32_t *dropped)

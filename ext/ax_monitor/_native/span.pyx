"""Spans: an open one is a native object here, a completed one is one record of the ring.

Of a trace that is not sampled nothing is kept, unless errors or slow traces are to be kept
(`keep_errors`, `keep_slower_ns`): then its completed spans wait here as encoded records, until the
trace fails or turns out slow, and are written then; or until it completes, and are forgotten. What
waits is bounded by `keep_bytes`: the trace that has waited longest is emptied first.
"""

cimport cython

import os
from collections import OrderedDict

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ax_monitor._native.clock cimport monotonic_ns, realtime_ns
from ax_monitor._native.encode cimport (
    ENCODED,
    NO_ROOM,
    SENSITIVE,
    Encoder,
    PyUnicodeType,
    type_of,
    write_json,
    write_text,
)
from ax_monitor._native.ids cimport hex16_write, random_u64
from ax_monitor._native.record cimport (
    FIELD_FLOAT,
    FIELD_INT,
    FIELD_NULL,
    FIELD_TEXT,
    FIELD_TYPE_SHIFT,
    ID_MAX_BYTES,
    RECORD_MAX_BYTES,
    TEXT_MAX_BYTES,
    RecordHeader,
    align8,
)

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t size, unsigned int max_char)
    void *PyUnicode_DATA(PyObject *o) nogil
    int PyDict_Next(PyObject *o, Py_ssize_t *pos, PyObject **key, PyObject **value)
    PyObject *PyLongType "((PyObject *) &PyLong_Type)"
    PyObject *PyFloatType "((PyObject *) &PyFloat_Type)"
    PyObject *PyBoolType "((PyObject *) &PyBool_Type)"

cdef enum:
    KIND_TRACE = 2
    KIND_SPAN = 3
    TRACE_FIELDS = 7        # storage/records.py names them in this order
    SPAN_FIELDS = 12
    FIELD_JSON = 9          # written as text
    REMOTE = 1              # tag of a trace's record: another process began it
    REDACT_ALL = 2          # TraceSettings.redact
    WAITING_HEAD = 16       # of a record that waits: its time and its tag, before its bytes
    WAITING_OVERHEAD = 64   # bytes of a bytes object and its place in a list
    DISCARDED_MAX = 8192    # ids remembered

cdef enum:                  # TraceSettings.listening
    LISTEN_TRACE_STARTED = 1
    LISTEN_TRACE_COMPLETED = 2
    LISTEN_SPAN_STARTED = 4
    LISTEN_SPAN_COMPLETED = 8
    LISTEN_SPAN_EVENT = 16

cdef PyObject *NONE = <PyObject *> None
cdef dict _KINDS = {kind: kind for kind in ("internal", "server", "client", "producer", "consumer")}
cdef dict _STATUSES = {"unset": UNSET, "ok": OK, "error": ERROR}
cdef tuple _STATUS_TEXTS = ("unset", "ok", "error")
cdef str _INTERNAL = "internal"
cdef str _OK = "ok"

cdef uint32_t _forks = 0


def _after_fork_in_child():
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_after_fork_in_child)


@cython.final
cdef class TraceSettings:
    """What a tracer does and how much; changes take effect at the next call."""

    def __init__(self, *, plain, text, simplify, describe, publish, sampler, int policy=0,
                 int redact=1, uint32_t max_attributes=128, uint32_t max_events=128,
                 uint32_t max_open=100_000, bint keep_errors=False, int64_t keep_slower_ns=-1,
                 int64_t keep_bytes=16 << 20):
        self.plain = plain
        self.text = text
        self.simplify = simplify
        self.describe = describe
        self.publish = publish
        self.sampler = sampler
        self.policy = policy
        self.redact = redact
        self.max_attributes = max_attributes
        self.max_events = max_events
        self.max_open = max_open
        self.keep_errors = keep_errors
        self.keep_slower_ns = keep_slower_ns
        self.keep_bytes = keep_bytes


@cython.final
cdef class OpenTrace:
    """A trace that has begun here and is not completed."""


# Nothing in it can be part of a reference cycle: attributes and events hold plain values only.
@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class OpenSpan:
    """A span that has begun here and is not completed."""


cdef inline str _new_span_id():
    cdef str text = PyUnicode_New(16, 127)
    cdef uint64_t value = random_u64()
    hex16_write(<char *> PyUnicode_DATA(<PyObject *> text), value if value else 1)
    return text


cdef str _new_trace_id():
    cdef str text = PyUnicode_New(32, 127)
    cdef char *at = <char *> PyUnicode_DATA(<PyObject *> text)
    cdef uint64_t low = random_u64()
    hex16_write(at, random_u64())
    hex16_write(at + 16, low if low else 1)
    return text


cdef str known_kind(kind):
    """The kind as the plain text that is stored."""
    cdef object known
    if kind is _INTERNAL:
        return _INTERNAL
    known = _KINDS.get(kind)
    if known is None:
        raise ValueError(f"unknown SpanKind {kind!r}: use one of {', '.join(_KINDS)}")
    return known


cdef int _status_code(status) except -1:
    code = _STATUSES.get(status)
    if code is None:
        raise ValueError(f"unknown SpanStatus {status!r}: use one of ok, error, unset")
    return code


cdef bint _all_plain(dict attributes) noexcept:
    """Only keys and values that can neither change nor need converting?"""
    cdef Py_ssize_t at = 0
    cdef PyObject *key = NULL
    cdef PyObject *value = NULL
    cdef PyObject *kind
    while PyDict_Next(<PyObject *> attributes, &at, &key, &value):
        kind = type_of(value)
        if type_of(key) != PyUnicodeType or not (
                kind == PyUnicodeType or kind == PyLongType or kind == PyFloatType
                or kind == PyBoolType or value == NONE):
            return False
    return True


# -- records --------------------------------------------------------------------------------------

cdef inline void _text(Field *field, object text, bint redact) noexcept:
    field.type = FIELD_NULL if text is None else FIELD_TEXT
    field.text = <void *> text
    field.redact = redact


cdef inline void _json(Field *field, object value) noexcept:
    field.type = FIELD_JSON
    field.text = <void *> value
    field.redact = True


cdef inline void _int(Field *field, int64_t number) noexcept:
    field.type = FIELD_INT
    field.number = number


cdef void _encode(Encoder *out, uint32_t *table, const Field *fields, uint32_t n, bint redact) noexcept:
    """The table and the payload of a record."""
    cdef uint32_t i
    cdef char *start
    cdef int kind
    for i in range(n):
        start = out.at
        kind = fields[i].type
        if kind == FIELD_TEXT or kind == FIELD_JSON:
            out.redact = redact and fields[i].redact
            if kind == FIELD_TEXT:
                write_text(out, <PyObject *> fields[i].text, ID_MAX_BYTES)
            else:
                write_json(out, <PyObject *> fields[i].text, TEXT_MAX_BYTES)
            kind = FIELD_TEXT
        elif kind != FIELD_NULL:
            if out.end - out.at < 8:
                out.status = NO_ROOM
                return
            if kind == FIELD_INT:
                memcpy(out.at, &fields[i].number, 8)
            else:
                memcpy(out.at, &fields[i].real, 8)
            out.at += 8
        if out.status != ENCODED:
            return
        table[i] = (<uint32_t> kind << FIELD_TYPE_SHIFT) | <uint32_t> (out.at - start)


cdef class TraceChannel:
    """The recording half of a tracer: open traces and spans, one ring.

    Thread-safety: any thread, without a lock.
    Cost: starting and completing a span takes about half a microsecond together.
    """

    def __init__(self, RecordRing ring not None, TraceSettings settings not None):
        self._ring = ring
        self._settings = settings
        self._generation = _forks
        self._spans = {}
        self._traces = {}
        self._discarded = {}
        self._waiting = OrderedDict()

    def __dealloc__(self):
        PyMem_Free(self._scratch)

    cdef int _check_fork(self) except -1:
        """In a forked child: what is open belongs to the parent, which completes it."""
        if self._generation != _forks:
            self._generation = _forks
            self._spans = {}
            self._traces = {}
            self._waiting = OrderedDict()
            self.waiting_bytes = 0
        return 0

    # -- traces ------------------------------------------------------------------------------------

    cdef OpenTrace open_trace(self, execution_id, name, tenant_id, trace_id, int sampled, bint remote):
        """Begin a trace; `sampled` -1: the sampler decides. DISCARDED: nothing of it is recorded."""
        cdef OpenTrace trace = OpenTrace.__new__(OpenTrace)
        cdef TraceSettings settings = self._settings
        self._check_fork()
        trace.trace_id = _new_trace_id() if trace_id is None else trace_id
        if sampled < 0:
            sampled = settings.sampler.decide(trace.trace_id)
        if sampled:
            trace.state = WRITTEN
        elif settings.keep_errors or settings.keep_slower_ns >= 0:
            trace.state = WAITING
            trace.waiting = []
        else:
            trace.state = DISCARDED
            return trace
        trace.execution_id = "" if execution_id is None else settings.text(execution_id)
        trace.name = None if name is None else settings.text(name)
        trace.tenant_id = None if tenant_id is None else settings.text(tenant_id)
        trace.remote = remote
        trace.generation = _forks
        trace.start_ns = realtime_ns()
        trace.started = monotonic_ns()
        if len(self._traces) >= settings.max_open:
            self._abandon_traces()
        self._traces[trace.trace_id] = trace
        if trace.state == WRITTEN:
            self._write_trace(trace, -1)
        if settings.listening & LISTEN_TRACE_STARTED:
            settings.publish("trace.started", {
                "trace_id": trace.trace_id, "workflow_execution_id": trace.execution_id})
        return trace

    def begin_trace(self, execution_id, *, name=None, tenant_id=None):
        """Begin a trace; its id, or "" if nothing of it is recorded."""
        cdef OpenTrace trace = self.open_trace(execution_id, name, tenant_id, None, -1, False)
        return "" if trace.state == DISCARDED else trace.trace_id

    cdef OpenTrace find_trace(self, trace_id):
        """The open trace of this id; None if it is not known here."""
        self._check_fork()
        return <OpenTrace> self._traces.get(trace_id)

    def complete_trace(self, trace_id):
        """End a trace. Its open spans go on; when they complete they still become part of it."""
        cdef OpenTrace trace
        cdef Field[TRACE_FIELDS] fields
        cdef int i
        if type(trace_id) is str and not <str> trace_id:
            return
        self._check_fork()
        trace = self._traces.pop(trace_id, None) if isinstance(trace_id, str) else None
        if trace is not None:
            self.close_trace(trace)
            return
        self.unknown_ids += 1
        if type(trace_id) is str and trace_id not in self._discarded:
            # Another process may have begun it: the database knows.
            for i in range(TRACE_FIELDS):
                fields[i].type = FIELD_NULL
            _text(&fields[0], trace_id, False)
            _int(&fields[3], realtime_ns() // 1_000_000)
            self._write(fields, TRACE_FIELDS, KIND_TRACE, 0, realtime_ns(), False)

    cdef int close_trace(self, OpenTrace trace) except -1:
        cdef TraceSettings settings = self._settings
        cdef int64_t duration_ns = monotonic_ns() - trace.started
        if trace.generation != _forks:
            return 0
        self._traces.pop(trace.trace_id, None)
        if trace.state == WAITING:
            if 0 <= settings.keep_slower_ns <= duration_ns:
                self._keep(trace)
            else:
                self._forget_waiting(trace)
                trace.state = DISCARDED
                self.discarded_traces += 1
                if len(self._discarded) >= DISCARDED_MAX:
                    self._discarded = dict.fromkeys(list(self._discarded)[DISCARDED_MAX // 2:])
                self._discarded[trace.trace_id] = None
        if trace.state == WRITTEN:
            self._write_trace(trace, duration_ns)
        if settings.listening & LISTEN_TRACE_COMPLETED:
            settings.publish("trace.completed", {
                "trace_id": trace.trace_id, "duration": duration_ns / 1e6})
        return 0

    cdef int _keep(self, OpenTrace trace) except -1:
        """The trace has earned it: write what waited, and from now on what comes."""
        cdef list waiting = trace.waiting
        self._forget_waiting(trace)
        trace.state = WRITTEN
        self.kept_traces += 1
        self._write_trace(trace, -1)
        for record in waiting:
            self._write_kept(record)
        return 0

    cdef int _forget_waiting(self, OpenTrace trace) except -1:
        self.waiting_bytes -= trace.waiting_bytes
        trace.waiting_bytes = 0
        trace.waiting = []
        self._waiting.pop(trace.trace_id, None)
        return 0

    cdef int _make_room_for(self, int64_t n) except -1:
        """Empty the traces that have waited longest, until `n` bytes more may wait."""
        cdef OpenTrace oldest
        while self._waiting and self.waiting_bytes + n > self._settings.keep_bytes:
            oldest = self._waiting[next(iter(self._waiting))]
            self.evicted_traces += 1
            self.evicted_spans += len(oldest.waiting)
            self._forget_waiting(oldest)
        return 0

    cdef int _abandon_traces(self) except -1:
        """Too many are open: the oldest are most likely forgotten. They stay open in the database."""
        cdef OpenTrace trace
        cdef Py_ssize_t n = max(1, len(self._traces) // 64)
        for trace_id in list(self._traces)[:n]:
            trace = self._traces.pop(trace_id, None)
            if trace is not None:
                self.abandoned_traces += 1
                if trace.state == WAITING:
                    self._forget_waiting(trace)
                    trace.state = DISCARDED
        return 0

    # -- spans -------------------------------------------------------------------------------------

    def start_span(self, trace_id, name, kind=_INTERNAL, *, parent_span_id=None, attributes=None):
        """Begin a span; its id. For the trace id "" (not sampled) that is "", and nothing happens.

        A trace that began elsewhere may be named too.
        """
        cdef OpenTrace trace
        cdef str known
        if type(trace_id) is str and not <str> trace_id:
            return ""
        known = known_kind(kind)
        self._check_fork()
        if type(trace_id) is not str:
            if trace_id is None:
                self.unknown_ids += 1
                return ""
            trace_id = self._settings.text(trace_id)
        if type(parent_span_id) is not str:
            parent_span_id = None if parent_span_id is None else self._settings.text(parent_span_id)
        elif not <str> parent_span_id:
            parent_span_id = None
        trace = <OpenTrace> self._traces.get(trace_id)
        if trace is None and self._discarded and trace_id in self._discarded:
            return ""
        return self.open_span(trace, trace_id, parent_span_id, name, known, attributes)

    cdef str open_span(self, OpenTrace trace, str trace_id, parent_span_id, name, str kind, attributes):
        cdef OpenSpan span = OpenSpan.__new__(OpenSpan)
        cdef TraceSettings settings = self._settings
        span.span_id = _new_span_id()
        span.trace_id = trace_id
        span.parent_span_id = parent_span_id
        span.name = <str> name if type(name) is str else settings.text(name)
        span.kind = kind
        span.trace = trace
        span.status = UNSET
        span.dropped_attributes = span.dropped_events = 0
        if attributes is not None:
            span.attributes = self._captured(attributes, &span.dropped_attributes)
        if <uint64_t> len(self._spans) >= settings.max_open:
            self._abandon_spans()
        span.start_ns = realtime_ns()
        span.started = monotonic_ns()
        self._spans[span.span_id] = span
        if settings.listening & LISTEN_SPAN_STARTED:
            settings.publish("span.started", _snapshot(span))
        return span.span_id

    def complete_span(self, span_id, status=_OK):
        """End a span. A status that was set to error before stays with the default "ok"."""
        cdef OpenSpan span
        cdef int code = OK
        if type(span_id) is str and not <str> span_id:
            return
        if status is not _OK:
            code = _status_code(status)
        self._check_fork()
        span = self._spans.pop(span_id, None) if isinstance(span_id, str) else None
        if span is None:
            self.unknown_ids += 1
        else:
            self._close_span(span, code)

    cdef int _close_span(self, OpenSpan span, int status) except -1:
        cdef OpenTrace trace = span.trace
        cdef TraceSettings settings = self._settings
        cdef int64_t duration_ns = monotonic_ns() - span.started
        if status == ERROR or (status == OK and span.status == UNSET):
            span.status = status
        if trace is not None and trace.state == WAITING:
            if (settings.keep_errors and span.status == ERROR) or (
                    0 <= settings.keep_slower_ns <= monotonic_ns() - trace.started):
                self._keep(trace)
        if trace is None or trace.state != DISCARDED:
            self._write_span(span, duration_ns)
        if settings.listening & LISTEN_SPAN_COMPLETED:
            settings.publish("span.completed", {
                "span_id": span.span_id, "duration": duration_ns / 1e6,
                "status": _STATUS_TEXTS[span.status]})
        return 0

    cdef int _abandon_spans(self) except -1:
        """Too many are open: the oldest are most likely forgotten; they are written as they are."""
        cdef OpenSpan span
        cdef Py_ssize_t n = max(1, len(self._spans) // 64)
        for span_id in list(self._spans)[:n]:
            span = self._spans.pop(span_id, None)
            if span is not None:
                self.abandoned_spans += 1
                self._close_span(span, UNSET)
        return 0

    def set_span_attributes(self, span_id, attributes):
        """Add attributes to an open span, or replace them."""
        cdef OpenSpan span
        cdef dict captured
        if type(span_id) is str and not <str> span_id:
            return
        self._check_fork()
        span = <OpenSpan> self._spans.get(span_id) if isinstance(span_id, str) else None
        if span is None:
            self.unknown_ids += 1
            return
        captured = self._captured(attributes, &span.dropped_attributes)
        if span.attributes is None:
            span.attributes = captured
            return
        for key, value in captured.items():
            if key in span.attributes or <uint64_t> len(span.attributes) < self._settings.max_attributes:
                span.attributes[key] = value
            else:
                span.dropped_attributes += 1
                self.dropped_attributes += 1

    def add_span_event(self, span_id, name, attributes=None):
        """Note that something happened now within an open span."""
        cdef OpenSpan span
        cdef dict event
        cdef uint32_t dropped = 0
        if type(span_id) is str and not <str> span_id:
            return
        self._check_fork()
        span = <OpenSpan> self._spans.get(span_id) if isinstance(span_id, str) else None
        if span is None:
            self.unknown_ids += 1
            return
        if type(name) is not str:
            name = self._settings.text(name)
        event = {"timestamp": realtime_ns() // 1_000_000, "name": name}
        if attributes is not None:
            event["attributes"] = self._captured(attributes, &dropped)
        if span.events is None:
            span.events = []
        if <uint64_t> len(span.events) < self._settings.max_events:
            span.events.append(event)
        else:
            span.dropped_events += 1
            self.dropped_events += 1
        if self._settings.listening & LISTEN_SPAN_EVENT:
            self._settings.publish("span.event", {
                "span_id": span.span_id, "name": name, "attributes": event.get("attributes")})

    def set_span_status(self, span_id, status):
        """Say how an open span goes: "ok", "error" or "unset"."""
        cdef OpenSpan span
        cdef int code
        if type(span_id) is str and not <str> span_id:
            return
        code = _status_code(status)
        self._check_fork()
        span = <OpenSpan> self._spans.get(span_id) if isinstance(span_id, str) else None
        if span is None:
            self.unknown_ids += 1
        else:
            span.status = code

    cdef dict _captured(self, attributes, uint32_t *dropped):
        """The attributes as they are now, at most `max_attributes`, with plain values."""
        cdef uint32_t limit = self._settings.max_attributes
        cdef dict captured
        cdef Py_ssize_t n
        if type(attributes) is dict and _all_plain(<dict> attributes):
            captured = (<dict> attributes).copy()
        else:
            captured = self._settings.plain(attributes)
        n = len(captured)
        if n > limit:
            captured = dict(list(captured.items())[:limit])
            dropped[0] += <uint32_t> (n - limit)
            self.dropped_attributes += n - limit
        return captured

    # -- looking -----------------------------------------------------------------------------------

    def open_spans(self, trace_id=None, *, execution_id=None) -> list:
        """The open spans of a trace, or of an execution's traces, so far as they are recorded.

        Tuples in the order of the record's fields. It looks at every open span.
        """
        cdef OpenSpan span
        cdef list found = []
        self._check_fork()
        for span in list(self._spans.values()):
            if span.trace is not None and span.trace.state != WRITTEN:
                continue
            if span.trace_id == trace_id or (
                    execution_id is not None and span.trace is not None
                    and span.trace.execution_id == execution_id):
                found.append(_snapshot(span))
        return found

    @property
    def n_open_spans(self) -> int:
        """Spans that have begun here and are not completed."""
        self._check_fork()
        return len(self._spans)

    @property
    def n_open_traces(self) -> int:
        """Traces that have begun here and are not completed."""
        self._check_fork()
        return len(self._traces)

    # -- writing -----------------------------------------------------------------------------------

    cdef int _write_trace(self, OpenTrace trace, int64_t duration_ns) except -1:
        """The record of a trace that begins (`duration_ns` -1), or has completed."""
        cdef Field[TRACE_FIELDS] fields
        cdef int64_t started_ms = trace.start_ns // 1_000_000
        cdef object name = trace.name
        cdef int status
        _text(&fields[0], trace.trace_id, False)
        _text(&fields[1], trace.execution_id, False)
        _int(&fields[2], started_ms)
        fields[3].type = fields[4].type = FIELD_NULL
        if duration_ns >= 0:
            _int(&fields[3], (trace.start_ns + duration_ns) // 1_000_000)
            fields[4].type = FIELD_FLOAT
            fields[4].real = duration_ns / 1e6
        _text(&fields[5], name, True)
        _text(&fields[6], trace.tenant_id, False)
        status = self._write(fields, TRACE_FIELDS, KIND_TRACE, REMOTE if trace.remote else 0,
                             trace.start_ns, self._settings.redact != 0)
        if status > NO_ROOM:
            name, _, _ = self._settings.simplify(trace.name, None, None, status)
            _text(&fields[5], name, False)
            self._write(fields, TRACE_FIELDS, KIND_TRACE, REMOTE if trace.remote else 0,
                        trace.start_ns, False)
        return 0

    cdef int _write_span(self, OpenSpan span, int64_t duration_ns) except -1:
        cdef Field[SPAN_FIELDS] fields
        cdef str name = span.name
        cdef object attributes = span.attributes
        cdef object events = span.events
        cdef int redact = self._settings.redact
        cdef int status
        cdef bint wait = span.trace is not None and span.trace.state == WAITING
        _text(&fields[0], span.span_id, False)
        _text(&fields[1], span.trace_id, False)
        _text(&fields[2], span.parent_span_id, False)
        _text(&fields[4], span.kind, False)
        _int(&fields[5], span.start_ns)
        _int(&fields[6], duration_ns)
        _text(&fields[7], <str> _STATUS_TEXTS[span.status], False)
        fields[10].type = fields[11].type = FIELD_NULL      # the usual case: bytes are time here
        if span.dropped_attributes:
            _int(&fields[10], span.dropped_attributes)
        if span.dropped_events:
            _int(&fields[11], span.dropped_events)
        status = SENSITIVE if redact == REDACT_ALL else ENCODED
        while True:     # what `simplify` returns is plain, so this ends: at the latest, shortened
            if status > NO_ROOM:
                name, attributes, events = self._settings.simplify(name, attributes, events, status)
                redact = 0
            _text(&fields[3], name, True)
            if attributes:
                _json(&fields[8], attributes)
            else:
                fields[8].type = FIELD_NULL
            if events:
                _json(&fields[9], events)
            else:
                fields[9].type = FIELD_NULL
            if wait:
                status = self._write_waiting(
                    span.trace, fields, SPAN_FIELDS, span.status, span.start_ns, redact != 0)
            else:
                status = self._write(
                    fields, SPAN_FIELDS, KIND_SPAN, span.status, span.start_ns, redact != 0)
            if status <= NO_ROOM:
                return 0

    cdef int _write(self, Field *fields, uint32_t n, int kind, int tag, int64_t timestamp_ns,
                    bint redact) except -1:
        """Write a record in place; an EncodeStatus. Dropped (and counted) is ENCODED too."""
        cdef Encoder out
        cdef RecordRing ring = self._ring
        cdef RecordHeader *record
        while True:
            record = ring.begin(&out, n, False)
            if record != NULL:
                _encode(&out, <uint32_t *> (<char *> record + sizeof(RecordHeader)), fields, n, redact)
            if out.status == ENCODED:
                break
            if out.status != NO_ROOM:
                return out.status
            if not ring.make_room(self._settings.policy, False):
                return ENCODED
        ring.publish(&out, record, kind, tag, timestamp_ns, n, False)
        if ring.synchronous:
            ring.after_publish()
        return ENCODED

    cdef int _write_waiting(self, OpenTrace trace, Field *fields, uint32_t n, int tag,
                            int64_t timestamp_ns, bint redact) except -1:
        """Encode a span's record into memory, to be written once its trace has earned it."""
        cdef Encoder out
        cdef char *table
        cdef bytes record
        cdef int64_t size
        if self._scratch == NULL:
            self._scratch = <char *> PyMem_Malloc(RECORD_MAX_BYTES)
            if self._scratch == NULL:
                raise MemoryError()
        table = self._scratch + WAITING_HEAD
        memcpy(self._scratch, &timestamp_ns, 8)
        self._scratch[8] = <char> tag
        out.at = table + align8(4 * n)
        out.end = self._scratch + RECORD_MAX_BYTES - 4096       # it must fit into the ring later
        out.status = ENCODED
        _encode(&out, <uint32_t *> table, fields, n, redact)
        if out.status != ENCODED:
            return out.status
        record = self._scratch[:out.at - self._scratch]
        size = PyBytes_GET_SIZE(record) + WAITING_OVERHEAD
        self._make_room_for(size)
        if self.waiting_bytes + size > self._settings.keep_bytes:
            self.evicted_spans += 1
            return ENCODED
        trace.waiting.append(record)
        trace.waiting_bytes += size
        self.waiting_bytes += size
        if trace.trace_id not in self._waiting:
            self._waiting[trace.trace_id] = trace
        return ENCODED

    cdef int _write_kept(self, bytes waited) except -1:
        cdef Encoder out
        cdef RecordRing ring = self._ring
        cdef RecordHeader *record
        cdef const char *head = PyBytes_AS_STRING(waited)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(waited) - WAITING_HEAD
        cdef int64_t timestamp_ns
        memcpy(&timestamp_ns, head, 8)
        while True:
            record = ring.begin(&out, SPAN_FIELDS, False)
            if record != NULL and out.end - (<char *> record + sizeof(RecordHeader)) >= n:
                break
            if not ring.make_room(self._settings.policy, False):
                return 0
        memcpy(<char *> record + sizeof(RecordHeader), head + WAITING_HEAD, n)
        out.at = <char *> record + sizeof(RecordHeader) + n
        ring.publish(&out, record, KIND_SPAN, <uint8_t> head[8], timestamp_ns, SPAN_FIELDS, False)
        if ring.synchronous:
            ring.after_publish()
        return 0


cdef tuple _snapshot(OpenSpan span):
    return (
        span.span_id,
        span.trace_id,
        span.parent_span_id,
        span.name,
        span.kind,
        span.start_ns,
        None,
        _STATUS_TEXTS[span.status],
        {} if span.attributes is None else span.attributes.copy(),
        [] if span.events is None else [event.copy() for event in span.events],
        span.dropped_attributes,
        span.dropped_events,
    )

"""The log call: level check, missing ids from the context, and the record written in place."""

cimport cython

from collections.abc import Mapping

from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t

from ax_monitor._native.clock cimport realtime_ns
from ax_monitor._native.context cimport RecordContext, current_record_context
from ax_monitor._native.encode cimport (
    ENCODED,
    FOREIGN,
    NO_ROOM,
    SENSITIVE,
    Encoder,
    PyUnicodeType,
    type_of,
    write_json,
    write_text,
)
from ax_monitor._native.record cimport (
    FIELD_TEXT,
    FIELD_TYPE_SHIFT,
    ID_MAX_BYTES,
    TEXT_MAX_BYTES,
    RecordHeader,
)
from ax_monitor._native.ring cimport RecordRing

cdef enum:
    KIND_LOG = 1
    SOURCE = 0              # the fields; storage/records.py names them in this order
    TENANT_ID = 1
    USER_ID = 2
    EXECUTION_ID = 3
    TRACE_ID = 4
    SPAN_ID = 5
    MESSAGE = 6
    METADATA = 7
    STACK_TRACE = 8
    N_FIELDS = 9
    DEBUG = 5               # OpenTelemetry severity numbers
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21
    SEVERITY_MAX = 24
    REDACT_ALL = 2          # LogSettings.redact


@cython.final
cdef class LogSettings:
    """What a logger and everything bound from it share; changes take effect at the next call."""

    cdef public int min_severity    # calls below it return at once
    cdef public int policy          # overflow: 0 block, 1 drop newest, 2 drop oldest
    cdef public int redact          # 0: nothing, 1: what looks like a secret, 2: every record
    cdef public bint listening      # somebody listens to `log` events
    cdef readonly object simplify   # (message, ids, metadata, stack_trace, status) -> the same, plain
    cdef readonly object publish    # (record bytes) -> None

    def __init__(self, *, simplify, publish, int min_severity=INFO, int policy=0, int redact=1):
        self.simplify = simplify
        self.publish = publish
        self.min_severity = min_severity
        self.policy = policy
        self.redact = redact


# The arguments of one call, in the order of the fields in the record. Borrowed references: the
# caller's frame, the channel and the context keep the objects alive until the record is written.
cdef struct LogCall:
    PyObject *texts[N_FIELDS]
    int severity
    bint timed              # timestamp_ns was given
    int64_t timestamp_ns

cdef PyObject *NONE = <PyObject *> None


cdef inline void _write_field(Encoder *out, PyObject *text, Py_ssize_t max_bytes, uint32_t *field) noexcept:
    cdef char *start = out.at
    if text == NONE:
        field[0] = 0
    elif out.status == ENCODED:
        write_text(out, text, max_bytes)
        field[0] = (<uint32_t> FIELD_TEXT << FIELD_TYPE_SHIFT) | <uint32_t> (out.at - start)


cdef LogSettings _OFF = LogSettings(simplify=None, publish=None, min_severity=SEVERITY_MAX + 1)


cdef class LogChannel:
    """The recording half of a logger: five levels, preset context, one ring.

    Thread-safety: any thread, without a lock. Cost: some hundred nanoseconds.
    """

    cdef RecordRing _ring
    cdef LogSettings _settings
    cdef object _source
    cdef object _execution_id
    cdef object _trace_id
    cdef object _span_id
    cdef object _tenant_id
    cdef object _user_id
    cdef dict _metadata

    def __cinit__(self, *args, **kwargs):
        self._settings = _OFF           # a subclass may log before it has called __init__

    def __init__(self, RecordRing ring not None, LogSettings settings not None):
        self._ring = ring
        self._settings = settings

    cdef int _preset(self, LogChannel parent, dict context) except -1:
        """Take over the parent's context, with `context` on top."""
        self._source = context.get("source", parent._source)
        self._execution_id = context.get("execution_id", parent._execution_id)
        self._trace_id = context.get("trace_id", parent._trace_id)
        self._span_id = context.get("span_id", parent._span_id)
        self._tenant_id = context.get("tenant_id", parent._tenant_id)
        self._user_id = context.get("user_id", parent._user_id)
        self._metadata = context.get("metadata", parent._metadata)
        if self._metadata is not None and parent._metadata is not None:
            self._metadata = {**parent._metadata, **self._metadata}
        return 0

    def preset(self, LogChannel parent not None, dict context not None):
        """Take over `parent`'s preset context, with `context` on top of it."""
        self._preset(parent, context)

    def debug(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
              tenant_id=None, user_id=None, metadata=None):
        """Record `message` at level debug."""
        if DEBUG >= self._settings.min_severity:
            self._log(DEBUG, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, None, None)

    def info(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
             tenant_id=None, user_id=None, metadata=None):
        """Record `message` at level info."""
        if INFO >= self._settings.min_severity:
            self._log(INFO, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, None, None)

    def warn(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
             tenant_id=None, user_id=None, metadata=None):
        """Record `message` at level warn."""
        if WARN >= self._settings.min_severity:
            self._log(WARN, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, None, None)

    def error(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
              tenant_id=None, user_id=None, metadata=None, error=None, stack_trace=None):
        """Record `message` at level error, with the traceback of `error` or a `stack_trace`."""
        if ERROR >= self._settings.min_severity:
            self._log(ERROR, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, error if stack_trace is None else stack_trace, None)

    def fatal(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
              tenant_id=None, user_id=None, metadata=None, error=None, stack_trace=None):
        """Record `message` at level fatal, with the traceback of `error` or a `stack_trace`."""
        if FATAL >= self._settings.min_severity:
            self._log(FATAL, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, error if stack_trace is None else stack_trace, None)

    warning = warn
    critical = fatal

    def log_at(self, int severity, message, source, *, timestamp_ns=None, execution_id=None,
               trace_id=None, span_id=None, tenant_id=None, user_id=None, metadata=None,
               stack_trace=None):
        """Record with a severity number (1 to 24) and, if given, a wall-clock time of its own."""
        if not 1 <= severity <= SEVERITY_MAX:
            raise ValueError(f"a severity number is 1 to 24, got {severity}")
        if severity >= self._settings.min_severity:
            self._log(severity, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, stack_trace, timestamp_ns)

    cdef inline int _log(self, int severity, message, source, execution_id, trace_id, span_id,
                         tenant_id, user_id, metadata, stack_trace, timestamp_ns) except -1:
        cdef LogCall call
        call.texts[SOURCE] = <PyObject *> source
        call.texts[TENANT_ID] = <PyObject *> tenant_id
        call.texts[USER_ID] = <PyObject *> user_id
        call.texts[EXECUTION_ID] = <PyObject *> execution_id
        call.texts[TRACE_ID] = <PyObject *> trace_id
        call.texts[SPAN_ID] = <PyObject *> span_id
        call.texts[MESSAGE] = <PyObject *> message
        call.texts[METADATA] = <PyObject *> metadata
        call.texts[STACK_TRACE] = <PyObject *> stack_trace
        call.severity = severity
        call.timed = timestamp_ns is not None
        if call.timed:
            call.timestamp_ns = max(INT64_MIN, min(INT64_MAX, int(timestamp_ns)))
        return self._record(&call)

    cdef int _record(self, LogCall *call) except -1:
        """Fill what the call left out, and write the record."""
        cdef PyObject **texts = call.texts
        cdef RecordContext context = None
        cdef object merged
        cdef int status
        if texts[SOURCE] == NONE:
            texts[SOURCE] = <PyObject *> self._source
            if texts[SOURCE] == NONE:
                raise TypeError("a log call needs a source: pass it, or preset it with bind(source=…)")
        if texts[EXECUTION_ID] == NONE:
            texts[EXECUTION_ID] = <PyObject *> self._execution_id
        if texts[TRACE_ID] == NONE:
            texts[TRACE_ID] = <PyObject *> self._trace_id
        if texts[SPAN_ID] == NONE:
            texts[SPAN_ID] = <PyObject *> self._span_id
        if texts[TENANT_ID] == NONE:
            texts[TENANT_ID] = <PyObject *> self._tenant_id
        if texts[USER_ID] == NONE:
            texts[USER_ID] = <PyObject *> self._user_id
        if (texts[EXECUTION_ID] == NONE or texts[TRACE_ID] == NONE or texts[SPAN_ID] == NONE
                or texts[TENANT_ID] == NONE or texts[USER_ID] == NONE):
            context = current_record_context()
            if context is not None:
                _fill(texts, context)
        if self._metadata is not None:
            if texts[METADATA] == NONE:
                texts[METADATA] = <PyObject *> self._metadata
            else:
                merged = _merged(self._metadata, <object> texts[METADATA])
                texts[METADATA] = <PyObject *> merged
        if not call.timed:
            call.timestamp_ns = realtime_ns()
        if self._settings.redact == REDACT_ALL:
            status = SENSITIVE
        elif texts[MESSAGE] == NONE:        # it would be NULL: only Python can make a text of it
            status = FOREIGN
        else:
            status = self._write(call, self._settings.redact)
        if status > NO_ROOM:
            self._record_plain(call, status)
        return 0

    cdef int _record_plain(self, LogCall *call, int status) except -1:
        """Slow path: a value that only Python can convert, a secret, or too much of it.

        What `simplify` returns is plain, so this ends: at the latest with shortened metadata.
        """
        cdef PyObject **texts = call.texts
        cdef tuple ids = tuple([<object> texts[i] for i in range(SOURCE, MESSAGE)])
        cdef object message = <object> texts[MESSAGE]
        cdef object metadata = <object> texts[METADATA]
        cdef object stack_trace = <object> texts[STACK_TRACE]
        while status > NO_ROOM:
            message, ids, metadata, stack_trace = self._settings.simplify(
                message, ids, metadata, stack_trace, status)
            for i in range(SOURCE, MESSAGE):
                texts[i] = <PyObject *> ids[i]
            texts[MESSAGE] = <PyObject *> message
            texts[METADATA] = <PyObject *> metadata
            texts[STACK_TRACE] = <PyObject *> stack_trace
            status = self._write(call, False)
        return 0

    cdef int _write(self, LogCall *call, bint redact) except -1:
        """Write the record in place; an EncodeStatus. Dropped (and counted) is ENCODED too."""
        cdef Encoder out
        cdef RecordRing ring = self._ring
        cdef RecordHeader *record
        cdef uint32_t *field
        cdef char *start
        cdef int i
        cdef bint urgent = call.severity >= ERROR
        while True:
            record = ring.begin(&out, N_FIELDS, False)
            if record != NULL:
                field = <uint32_t *> (<char *> record + sizeof(RecordHeader))
                for i in range(SOURCE, MESSAGE):
                    _write_field(&out, call.texts[i], ID_MAX_BYTES, &field[i])
                out.redact = redact
                _write_field(&out, call.texts[MESSAGE], TEXT_MAX_BYTES, &field[MESSAGE])
                field[METADATA] = 0
                if call.texts[METADATA] != NONE and out.status == ENCODED:
                    start = out.at
                    write_json(&out, call.texts[METADATA], TEXT_MAX_BYTES)
                    field[METADATA] = (<uint32_t> FIELD_TEXT << FIELD_TYPE_SHIFT) | <uint32_t> (out.at - start)
                _write_field(&out, call.texts[STACK_TRACE], TEXT_MAX_BYTES, &field[STACK_TRACE])
            if out.status == ENCODED:
                break
            ring.wipe(&out, record)
            if out.status != NO_ROOM:
                return out.status
            if not ring.make_room(self._settings.policy, urgent):
                return ENCODED
        ring.publish(&out, record, KIND_LOG, <unsigned char> call.severity, call.timestamp_ns, N_FIELDS, urgent)
        if self._settings.listening:
            self._settings.publish((<char *> record)[:record.length])
        if ring.synchronous:
            ring.after_publish()
        return ENCODED


cdef void _fill(PyObject **texts, RecordContext context) noexcept:
    """Missing ids from the context; its span only together with its own trace."""
    if texts[SPAN_ID] == NONE and (
            texts[TRACE_ID] == NONE or _same_text(texts[TRACE_ID], <PyObject *> context.trace_id)):
        texts[SPAN_ID] = <PyObject *> context.span_id
    if texts[TRACE_ID] == NONE:
        texts[TRACE_ID] = <PyObject *> context.trace_id
    if texts[EXECUTION_ID] == NONE:
        texts[EXECUTION_ID] = <PyObject *> context.execution_id
    if texts[TENANT_ID] == NONE:
        texts[TENANT_ID] = <PyObject *> context.tenant_id
    if texts[USER_ID] == NONE:
        texts[USER_ID] = <PyObject *> context.user_id


cdef bint _same_text(PyObject *a, PyObject *b) noexcept:
    return a == b or (type_of(a) == PyUnicodeType and type_of(b) == PyUnicodeType
                      and <str> a == <str> b)


cdef object _merged(dict preset, object metadata):
    """Preset metadata with that of the call on top; odd metadata is left to the slow path."""
    if isinstance(metadata, (dict, Mapping)):
        try:
            return {**preset, **metadata}
        except Exception:
            pass
    return {**preset, "value": metadata}

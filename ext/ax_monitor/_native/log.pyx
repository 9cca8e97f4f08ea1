"""The log call: level check, missing ids from the context, and the record written in place."""

cimport cython

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from ax_monitor._native.clock cimport realtime_ns
from ax_monitor._native.context cimport RecordContext, current_record_context
from ax_monitor._native.encode cimport (
    ENCODED,
    NO_ROOM,
    SENSITIVE,
    Encoder,
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
    N_FIELDS = 9            # storage/records.py gives their names, in this order
    DEBUG = 5               # OpenTelemetry severity numbers
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21
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


cdef inline void _put(Encoder *out, object text, Py_ssize_t max_bytes, uint32_t *field) noexcept:
    cdef char *start = out.at
    if text is None:
        field[0] = 0
        return
    if out.status == ENCODED:
        write_text(out, <PyObject *> text, max_bytes)
        field[0] = (<uint32_t> FIELD_TEXT << FIELD_TYPE_SHIFT) | <uint32_t> (out.at - start)


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
                      metadata, None)

    def info(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
             tenant_id=None, user_id=None, metadata=None):
        """Record `message` at level info."""
        if INFO >= self._settings.min_severity:
            self._log(INFO, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, None)

    def warn(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
             tenant_id=None, user_id=None, metadata=None):
        """Record `message` at level warn."""
        if WARN >= self._settings.min_severity:
            self._log(WARN, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, None)

    def error(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
              tenant_id=None, user_id=None, metadata=None, error=None, stack_trace=None):
        """Record `message` at level error, with the traceback of `error` or a `stack_trace`."""
        if ERROR >= self._settings.min_severity:
            self._log(ERROR, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, stack_trace if stack_trace is not None else error)

    def fatal(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
              tenant_id=None, user_id=None, metadata=None, error=None, stack_trace=None):
        """Record `message` at level fatal, with the traceback of `error` or a `stack_trace`."""
        if FATAL >= self._settings.min_severity:
            self._log(FATAL, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
                      metadata, stack_trace if stack_trace is not None else error)

    warning = warn
    critical = fatal

    def log_at(self, int severity, message, source, *, timestamp_ns=None, execution_id=None,
               trace_id=None, span_id=None, tenant_id=None, user_id=None, metadata=None,
               stack_trace=None):
        """Record with a severity number and, if given, a wall-clock time of its own."""
        if severity >= self._settings.min_severity:
            self._log(severity, message, source, execution_id, trace_id, span_id, tenant_id,
                      user_id, metadata, stack_trace, timestamp_ns)

    cdef int _log(self, int severity, object message, object source, object execution_id,
                  object trace_id, object span_id, object tenant_id, object user_id,
                  object metadata, object stack_trace, object timestamp_ns=None) except -1:
        cdef RecordContext context
        cdef tuple ids
        cdef int status
        cdef int64_t when
        if source is None:
            source = self._source
            if source is None:
                raise TypeError("a log call needs a source: pass it, or preset it with bind(source=…)")
        if execution_id is None:
            execution_id = self._execution_id
        if trace_id is None:
            trace_id = self._trace_id
        if span_id is None:
            span_id = self._span_id
        if tenant_id is None:
            tenant_id = self._tenant_id
        if user_id is None:
            user_id = self._user_id
        if execution_id is None or trace_id is None or span_id is None or tenant_id is None:
            context = current_record_context()
            if context is not None:
                if execution_id is None:
                    execution_id = context.execution_id
                if span_id is None and (trace_id is None or trace_id == context.trace_id):
                    span_id = context.span_id
                if trace_id is None:
                    trace_id = context.trace_id
                if tenant_id is None:
                    tenant_id = context.tenant_id
                if user_id is None:
                    user_id = context.user_id
        if self._metadata is not None:
            metadata = self._metadata if metadata is None else {**self._metadata, **dict(metadata)}
        when = realtime_ns() if timestamp_ns is None else timestamp_ns
        if self._settings.redact == REDACT_ALL:
            status = SENSITIVE
        else:
            status = self._write(severity, when, message, source, execution_id, trace_id, span_id,
                                 tenant_id, user_id, metadata, stack_trace, self._settings.redact)
        while status > NO_ROOM:
            # Slow path: a value that only Python can convert, a secret, or too much of it. What
            # comes back is plain, so this ends: at the latest with shortened metadata.
            ids = (source, execution_id, trace_id, span_id, tenant_id, user_id)
            message, ids, metadata, stack_trace = self._settings.simplify(
                message, ids, metadata, stack_trace, status)
            source, execution_id, trace_id, span_id, tenant_id, user_id = ids
            status = self._write(severity, when, message, source, execution_id, trace_id, span_id,
                                 tenant_id, user_id, metadata, stack_trace, False)
        return 0

    cdef int _write(self, int severity, int64_t when, object message, object source,
                    object execution_id, object trace_id, object span_id, object tenant_id,
                    object user_id, object metadata, object stack_trace, bint redact) except -1:
        """Write the record in place; an EncodeStatus. Dropped (and counted) is ENCODED too."""
        cdef Encoder out
        cdef RecordRing ring = self._ring
        cdef RecordHeader *record
        cdef uint32_t *field
        cdef char *start
        while True:
            record = ring.begin(&out, N_FIELDS, redact)
            if record != NULL:
                field = <uint32_t *> (<char *> record + sizeof(RecordHeader))
                out.redact = False
                _put(&out, source, ID_MAX_BYTES, &field[0])
                _put(&out, tenant_id, ID_MAX_BYTES, &field[1])
                _put(&out, user_id, ID_MAX_BYTES, &field[2])
                _put(&out, execution_id, ID_MAX_BYTES, &field[3])
                _put(&out, trace_id, ID_MAX_BYTES, &field[4])
                _put(&out, span_id, ID_MAX_BYTES, &field[5])
                out.redact = redact
                _put(&out, message, TEXT_MAX_BYTES, &field[6])
                if metadata is None:
                    field[7] = 0
                elif out.status == ENCODED:
                    start = out.at
                    write_json(&out, <PyObject *> metadata)
                    field[7] = (<uint32_t> FIELD_TEXT << FIELD_TYPE_SHIFT) | <uint32_t> (out.at - start)
                _put(&out, stack_trace, TEXT_MAX_BYTES, &field[8])
            if out.status == ENCODED:
                break
            if out.status != NO_ROOM:
                return out.status
            if not ring.make_room(self._settings.policy, severity >= ERROR):
                return ENCODED
        ring.publish(&out, record, KIND_LOG, <unsigned char> severity, when, N_FIELDS, severity >= ERROR)
        if self._settings.listening:
            self._settings.publish((<char *> record)[:record.length])
        if ring.synchronous:
            ring.after_publish()
        return ENCODED

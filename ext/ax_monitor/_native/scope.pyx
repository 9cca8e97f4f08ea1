"""A span as a `with` block: begun, made the current context, completed, and set back.

Closing out of turn, in another task or in another thread does no harm: see `ContextBlock`.
"""

cimport cython

from ax_monitor._native.context cimport (
    ContextBlock,
    RecordContext,
    current_record_context,
    inner_context,
    set_record_context,
)
from ax_monitor._native.span cimport (
    DISCARDED,
    WAITING,
    OpenTrace,
    TraceChannel,
    known_kind,
)

cdef enum Phase:
    NEW = 0
    RUNNING = 1
    ENDED = 2


@cython.final
cdef class SpanScope(ContextBlock):
    """One span, from `with` to the end of its block.

    Its parent is the current span; without one it is the root of a trace of its own, which then is
    completed with it. Entering makes it the current span for everything that runs in this context
    from then on, tasks started there included. An exception that leaves the block makes its status
    "error" and is recorded as an event named "exception"; it is not swallowed.

    In a trace that is not recorded `trace_id` and `span_id` are "", and every method does nothing.
    Thread-safety: the methods may be called from any thread and any task, `__exit__` too.
    """

    cdef TraceChannel _channel
    cdef RecordContext _inside      # of a generator: what is current when it goes on
    cdef OpenTrace _own_trace       # completed with this span
    cdef object _name
    cdef str _kind
    cdef object _attributes
    cdef object _execution_id
    cdef object _tenant_id
    cdef object _parent             # of another process: has trace_id, span_id, sampled, tracestate
    cdef bint _new_trace
    cdef int _phase
    cdef readonly str trace_id
    cdef readonly str span_id

    def __init__(self, TraceChannel channel not None, name, kind="internal", attributes=None, *,
                 bint new_trace=False, execution_id=None, tenant_id=None, parent=None):
        self._channel = channel
        self._name = name
        self._kind = known_kind(kind)
        self._attributes = attributes
        self._new_trace = new_trace
        self._execution_id = execution_id
        self._tenant_id = tenant_id
        self._parent = parent
        self.trace_id = self.span_id = ""

    # -- from begin to end -------------------------------------------------------------------------

    cdef int _begin(self) except -1:
        """Begin the span; the context is not touched yet."""
        cdef RecordContext before = current_record_context()
        cdef RecordContext context
        cdef OpenTrace trace = None
        if self._phase != NEW:
            raise RuntimeError("a span can be entered only once: make another one")
        self._phase = RUNNING
        if not self._new_trace and before is not None and before.trace_id is not None:
            trace = self._channel.find_trace(before.trace_id)
            if trace is None and not before.sampled:
                return 0                            # inside a trace that is not recorded
            if trace is not None and trace.state == DISCARDED:
                return 0
            context = inner_context(before)
            self._open(trace, context, before.span_id)
            return 0
        context = inner_context(before)
        if self._execution_id is not None:
            context.execution_id = self._execution_id
        if self._tenant_id is not None:
            context.tenant_id = self._tenant_id
        context.tracestate = None
        if self._parent is not None:
            trace = self._channel.open_trace(
                context.execution_id, self._name, context.tenant_id, self._parent.trace_id,
                1 if self._parent.sampled else 0, True)
            context.tracestate = self._parent.tracestate or None
        else:
            trace = self._channel.open_trace(
                context.execution_id, self._name, context.tenant_id, None, -1, False)
        context.trace_id = trace.trace_id
        context.sampled = trace.state != DISCARDED and trace.state != WAITING
        if trace.state == DISCARDED:
            context.span_id = None if self._parent is None else self._parent.span_id
            self._context = context
            return 0
        self._own_trace = trace
        self._open(trace, context, None if self._parent is None else self._parent.span_id)
        return 0

    cdef int _open(self, OpenTrace trace, RecordContext context, parent_span_id) except -1:
        self.trace_id = context.trace_id if trace is None else trace.trace_id
        self.span_id = self._channel.open_span(
            trace, self.trace_id, parent_span_id, self._name, self._kind, self._attributes)
        context.span_id = self.span_id
        self._attributes = None
        self._context = context
        return 0

    cdef int _end(self, error) except -1:
        if self._phase == ENDED:
            return 0
        self._phase = ENDED
        self._set_back()
        self._inside = None
        if self.span_id:
            if error is None or isinstance(error, GeneratorExit):
                self._channel.complete_span(self.span_id)
            else:
                self.record_exception(error)
                self._channel.complete_span(self.span_id, "error")
        if self._own_trace is not None:
            self._channel.close_trace(self._own_trace)
            self._own_trace = None
        return 0

    def __enter__(self):
        self._begin()
        self._make_current()
        return self

    def __exit__(self, kind, error, traceback):
        self._end(error)

    # For coroutines nothing differs: a task has a context of its own.
    async def __aenter__(self):
        self._begin()
        self._make_current()
        return self

    async def __aexit__(self, kind, error, traceback):
        self._end(error)

    # -- piecewise, for generators -------------------------------------------------------------------

    def begin(self):
        """Begin the span without making it the current one."""
        self._begin()
        self._inside = current_record_context() if self._context is None else self._context

    def resume(self):
        """Set the context to what it was inside at `suspend`; at first, to this span."""
        self._before = current_record_context()
        set_record_context(self._inside)

    def suspend(self):
        """Set the context back to what it was at `resume`."""
        self._inside = current_record_context()
        set_record_context(self._before)
        self._before = None

    def end(self, error=None):
        """Complete the span, and its trace if that began with it. Only the first call counts."""
        self._end(error)

    # -- saying more ---------------------------------------------------------------------------------

    @property
    def recording(self) -> bool:
        """Will anything of it be stored? False in a trace that is not sampled, and after the end."""
        return self._phase == RUNNING and bool(self.span_id)

    def set_attributes(self, attributes=None, **more):
        """Add attributes, or replace them."""
        if self.span_id:
            if attributes is not None:
                self._channel.set_span_attributes(self.span_id, attributes)
            if more:
                self._channel.set_span_attributes(self.span_id, more)

    def add_event(self, name, attributes=None):
        """Note that something happened now."""
        self._channel.add_span_event(self.span_id, name, attributes)

    def set_status(self, status):
        """Say how it goes: "ok", "error" or "unset"."""
        self._channel.set_span_status(self.span_id, status)

    def record_exception(self, error):
        """Note an exception that was handled; the status stays as it is."""
        if self.span_id:
            self._channel.add_span_event(
                self.span_id, "exception", self._channel._settings.describe(error))

    def __repr__(self):
        return f"<SpanScope {self._name!r} {self.span_id or '(not recorded)'}>"

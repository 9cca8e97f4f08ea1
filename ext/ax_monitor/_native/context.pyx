"""What records made here and now belong to: carried by a context variable, so that it follows
`await`, tasks, and threads that are started through a copied context."""

cimport cython

from cpython.object cimport PyObject

cdef extern from "Python.h":
    object PyContextVar_New(const char *name, PyObject *default)
    int PyContextVar_Get(object var, PyObject *default, PyObject **value) except -1
    object PyContextVar_Set(object var, object value)
    void Py_DECREF(PyObject *o)


@cython.final
cdef class RecordContext:
    """The ids that a record takes over where the call gives none. Immutable."""

    def __init__(self, *, execution_id=None, trace_id=None, span_id=None, tenant_id=None,
                 user_id=None, bint sampled=True, tracestate=None):
        global _in_use
        _in_use = True
        self.execution_id = execution_id
        self.trace_id = trace_id
        self.span_id = span_id
        self.tenant_id = tenant_id
        self.user_id = user_id
        self.sampled = sampled
        self.tracestate = tracestate

    def __repr__(self):
        return (
            f"RecordContext(execution_id={self.execution_id!r}, trace_id={self.trace_id!r}, "
            f"span_id={self.span_id!r}, tenant_id={self.tenant_id!r}, user_id={self.user_id!r})"
        )


context_var = PyContextVar_New("ax_monitor_context", NULL)
cdef object _var = context_var


cdef bint _in_use = False            # has there ever been a context?


cdef RecordContext current_record_context():
    """The current context, or None. About 20 ns; nothing in a process that uses none."""
    cdef PyObject *value = NULL
    cdef object found
    if not _in_use:
        return None
    PyContextVar_Get(_var, NULL, &value)
    if value == NULL:
        return None
    found = <object> value
    Py_DECREF(value)
    return found if isinstance(found, RecordContext) else None


cdef RecordContext inner_context(RecordContext outer):
    """A context with what `outer` (or None) says of execution, tenant, user and trace; no span."""
    global _in_use
    cdef RecordContext context = RecordContext.__new__(RecordContext)
    _in_use = True
    context.sampled = True
    if outer is not None:
        context.execution_id = outer.execution_id
        context.trace_id = outer.trace_id
        context.tenant_id = outer.tenant_id
        context.user_id = outer.user_id
        context.sampled = outer.sampled
        context.tracestate = outer.tracestate
    return context


cdef int set_record_context(RecordContext context) except -1:
    """Make `context` (or None) the current one. It is set back by setting what was before."""
    PyContextVar_Set(_var, context)
    return 0


cdef class ContextBlock:
    """Base of what is current for the length of a block; see context.pxd."""

    cdef int _make_current(self) except -1:
        """Make `_context` the current one, if there is any."""
        if self._context is not None:
            self._before = current_record_context()
            self._before_ended = self._before is not None and self._before.ended
            self._context.outer = None if self._before_ended else self._before
            set_record_context(self._context)
        return 0

    cdef int _set_back(self) except -1:
        """End `_context`, and set back what was before it, unless something else is current here."""
        cdef RecordContext context = self._context
        cdef RecordContext target = self._before
        self._context = None
        self._before = None
        if context is None:
            return 0
        context.ended = True
        while context.outer is not None and context.outer.ended:    # so that chains stay short
            context.outer = context.outer.outer
        if current_record_context() is context:
            if target is not None and target.ended and not self._before_ended:
                target = context.outer
            set_record_context(target)
        return 0


@cython.final
cdef class ContextScope(ContextBlock):
    """Ids for everything that runs in this context, from the making of it until `leave()`.

    What is not given stays as it is outside.
    Thread-safety: `leave` may be called out of turn, from any thread and any task, and again.
    """

    def __init__(self, *, execution_id=None, tenant_id=None, user_id=None):
        cdef RecordContext before = current_record_context()
        cdef RecordContext context = inner_context(before)
        if before is not None:
            context.span_id = before.span_id
        if execution_id is not None:
            context.execution_id = execution_id
        if tenant_id is not None:
            context.tenant_id = tenant_id
        if user_id is not None:
            context.user_id = user_id
        self._context = context
        self._make_current()

    def leave(self):
        """Set back what was current before."""
        self._set_back()

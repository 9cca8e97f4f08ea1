"""What records made here and now belong to: carried by a context variable, so that it follows
`await`, tasks, and threads that are started through a copied context."""

cimport cython

from cpython.object cimport PyObject

cdef extern from "Python.h":
    object PyContextVar_New(const char *name, PyObject *default)
    int PyContextVar_Get(object var, PyObject *default, PyObject **value) except -1
    void Py_DECREF(PyObject *o)


@cython.final
cdef class RecordContext:
    """The ids that a record takes over where the call gives none. Immutable."""

    def __init__(self, *, execution_id=None, trace_id=None, span_id=None, tenant_id=None, user_id=None):
        global _in_use
        _in_use = True
        self.execution_id = execution_id
        self.trace_id = trace_id
        self.span_id = span_id
        self.tenant_id = tenant_id
        self.user_id = user_id

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

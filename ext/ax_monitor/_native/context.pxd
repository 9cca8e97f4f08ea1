cimport cython


@cython.final
cdef class RecordContext:
    cdef readonly object execution_id       # each: str or None
    cdef readonly object trace_id
    cdef readonly object span_id
    cdef readonly object tenant_id
    cdef readonly object user_id

cdef RecordContext current_record_context()

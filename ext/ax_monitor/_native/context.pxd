cimport cython


@cython.final
cdef class RecordContext:
    cdef readonly object execution_id       # each: str or None
    cdef readonly object trace_id
    cdef readonly object span_id
    cdef readonly object tenant_id
    cdef readonly object user_id
    cdef readonly bint sampled              # the trace's decision; true if there is none
    cdef readonly object tracestate         # W3C tracestate to hand on, or None
    cdef RecordContext outer                # of a span: what to go back to if it ends out of turn …
    cdef bint ended                         # … which is when this is set while it still is current

cdef RecordContext current_record_context()
cdef RecordContext inner_context(RecordContext outer)
cdef int set_record_context(RecordContext context) except -1

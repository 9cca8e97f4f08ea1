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


# What a block makes current, and what it goes back to. Closing out of turn, in another task or in
# another thread does no harm: it sets the context back only where its own still is the current one,
# and then to what was before it and has not ended meanwhile.
cdef class ContextBlock:
    cdef RecordContext _context             # what is current inside; None: nothing, or ended
    cdef RecordContext _before              # what was current outside
    cdef bint _before_ended                 # … and had ended by then
    cdef int _make_current(self) except -1
    cdef int _set_back(self) except -1

cdef RecordContext current_record_context()
cdef RecordContext inner_context(RecordContext outer)
cdef int set_record_context(RecordContext context) except -1

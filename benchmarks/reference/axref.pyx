"""Reference points for the benchmarks: what the same call costs when it does nothing.

Not part of the package. `benchmarks/reference/build.py` compiles it.
"""


cdef class Empty:
    """Methods with our signatures and an empty body: the `E` of docs/performance.md."""

    def info(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
             tenant_id=None, user_id=None, metadata=None):
        pass

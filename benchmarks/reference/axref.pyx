"""Reference points for the benchmarks: what the same work costs when nothing of ours is in it.

Not part of the package: `benchmarks/reference/__init__.py` compiles it on first use.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from ax_monitor._native.sqlite_api cimport *

cdef void **_api = NULL

ctypedef int (*bind_text_t)(sqlite3_stmt *, int, const char *, int, void *) noexcept nogil
ctypedef int (*bind_null_t)(sqlite3_stmt *, int) noexcept nogil

cdef enum:
    R_BIND_NULL = 6
    R_BIND_TEXT = 10
    N_INTS = 6              # seq, context, severity, span_id, ring, ring_seq
    N_TEXTS = 2             # message, metadata


cdef public int sqlite3_axref_init(sqlite3 *db, char **error, void **api) noexcept nogil:
    """Entry point for load_extension: only takes down where SQLite's routines are."""
    global _api
    _api = api
    return SQLITE_OK


cdef class Empty:
    """Methods with our signatures and an empty body: the `E` of docs/performance.md."""

    def info(self, message, source=None, *, execution_id=None, trace_id=None, span_id=None,
             tenant_id=None, user_id=None, metadata=None):
        """As StructuredLogger.info."""

    def record(self, double value):
        """As MetricSeries.record."""

    def start_span(self, trace_id, name, kind="internal", *, parent_span_id=None, attributes=None):
        """As DistributedTracer.start_span."""

    def complete_span(self, span_id, status="ok"):
        """As DistributedTracer.complete_span."""

    def start_step(self, execution_id, step_key, step_name=None):
        """As WorkflowMonitor.start_step."""

    def complete_step(self, step_id, *, tokens_used=None, cost=None, input_size=None,
                      output_size=None, provider=None, model=None):
        """As WorkflowMonitor.complete_step."""

    def record_in_window(self, int64_t timestamp_ms, double value) -> bool:
        """As Window.record."""
        return True

    def record_sample(self, str metric_type, value, *, unit=None, labels=None, tenant_id=None, timestamp=None):
        """As MetricsCollector.record."""

    def append(self, int kind, int tag, tuple fields, *, timestamp_ns=None, int policy=0,
               bint priority=False, bint redact=False) -> int:
        """As RecordRing.append."""
        return 0

    def add_rule(self, int window, *, int operator, int aggregation, double threshold, resolve_threshold=None,
                 int64_t for_ms=0, int64_t cooldown_ms=0, int no_data=0) -> int:
        """As RuleTable.add_rule."""
        return 0

    def add_sample(self, int64_t series, int64_t timestamp_ms, double value) -> int:
        """As RuleTable.add."""
        return 0

    def decide(self, str trace_id) -> bool:
        """As Sampler.decide."""
        return True

    def decide_at(self, str trace_id, int64_t now_ns) -> bool:
        """As Sampler.decide_at."""
        return True

    def start_span(self, trace_id, name, kind="internal", *, parent_span_id=None, attributes=None) -> str:
        """As DistributedTracer.start_span."""
        return ""

    def complete_span(self, span_id, status="ok"):
        """As DistributedTracer.complete_span."""

    def add_span_event(self, span_id, name, attributes=None):
        """As DistributedTracer.add_span_event."""

    def begin_trace(self, execution_id, *, name=None, tenant_id=None) -> str:
        """As TraceChannel.begin_trace."""
        return ""

    def complete_trace(self, trace_id):
        """As DistributedTracer.complete_trace."""

    def start_step(self, execution_id, step_key, step_name=None) -> str:
        """As WorkflowMonitor.start_step."""
        return ""

    def complete_step(self, step_id, *, tokens_used=None, cost=None, input_size=None, output_size=None,
                      provider=None, model=None) -> bool:
        """As WorkflowMonitor.complete_step."""
        return True


cdef class EmptyScope:
    """A `with` block that does nothing, as SpanScope and ContextScope are made."""

    def __init__(self, channel=None, name=None, kind="internal", attributes=None, *, new_trace=False,
                 execution_id=None, tenant_id=None, user_id=None, parent=None):
        """As both."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        pass

    def leave(self):
        """As ContextScope.leave."""


cdef int64_t _now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * <int64_t> 1_000_000_000 + now.tv_nsec


cdef class Spin:
    """Calls with any arguments that only take time: so many ns, with the GIL held."""

    cdef int64_t ns

    def __init__(self, int64_t ns):
        self.ns = ns

    def info(self, *args, **kwargs):
        """Take the time."""
        cdef int64_t end = _now_ns() + self.ns
        while _now_ns() < end:
            pass

    record = start_span = complete_span = start_step = complete_step = info


cdef struct Row:
    int64_t[N_INTS] ints
    const char *texts[N_TEXTS]
    int[N_TEXTS] lengths


cdef class CLoop:
    """A C loop that binds and steps one INSERT a row: the floor of writing rows through SQLite."""

    cdef Row *rows
    cdef Py_ssize_t n
    cdef object keep

    def __init__(self, rows):
        """`rows`: tuples of six ints and two bytes, as the columns of log_records."""
        cdef Py_ssize_t i
        cdef int j
        self.keep = rows
        self.n = len(rows)
        self.rows = <Row *> calloc(self.n, sizeof(Row))
        for i, row in enumerate(rows):
            for j in range(N_INTS):
                self.rows[i].ints[j] = row[j]
            for j in range(N_TEXTS):
                self.rows[i].texts[j] = <const char *> <bytes> row[N_INTS + j]
                self.rows[i].lengths[j] = <int> len(row[N_INTS + j])

    def __dealloc__(self):
        free(self.rows)

    def insert(self, uintptr_t db, str sql, Py_ssize_t first, Py_ssize_t last) -> int:
        """Insert rows `first` to `last`, without the GIL; SQLite's result code."""
        cdef sqlite3_stmt *stmt = NULL
        cdef bytes raw = sql.encode()
        cdef const char *text = raw
        cdef bind_int64_t bind_int64 = <bind_int64_t> _api[R_BIND_INT64]
        cdef bind_text_t bind_text = <bind_text_t> _api[R_BIND_TEXT]
        cdef step_t step = <step_t> _api[R_STEP]
        cdef reset_t reset = <reset_t> _api[R_RESET]
        cdef Row *row
        cdef Py_ssize_t i
        cdef int j, rc
        rc = (<prepare_v3_t> _api[R_PREPARE_V3])(<sqlite3 *> db, text, -1, 0, &stmt, NULL)
        if rc != SQLITE_OK:
            return rc
        with nogil:
            for i in range(first, last):
                row = &self.rows[i]
                for j in range(N_INTS):
                    bind_int64(stmt, j + 1, row.ints[j])
                for j in range(N_TEXTS):
                    bind_text(stmt, N_INTS + j + 1, row.texts[j], row.lengths[j], NULL)
                rc = step(stmt)
                if rc != SQLITE_DONE:
                    break
                reset(stmt)
        (<finalize_t> _api[R_FINALIZE])(stmt)
        return 0 if rc == SQLITE_DONE else rc

"""A time limit for what runs on a connection. A loadable SQLite extension.

`load_extension(path, "sqlite3_axdeadline_init")` gives a connection this function:

    ax_deadline(ms)     from now on, whatever still runs so many milliseconds from now is interrupted
                        (SQLITE_INTERRUPT), until `ax_deadline(NULL)`

SQLite asks every so many steps of its virtual machine, a full-text search for every block that it
reads. The answer needs no GIL, so a search pays nothing for its limit while other threads compute.

The function can only be called by statements of ours, not from a schema (SQLITE_DIRECTONLY).
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from ax_monitor._native.clock cimport monotonic_ns
from ax_monitor._native.sqlite_api cimport *

cdef enum:
    STEPS = 1000            # some 20 µs of plain steps
    NS_PER_MS = 1_000_000

cdef int64_t MS_MAX = 1_000_000_000_000
cdef void **_api = NULL     # SQLite's routines, once it has loaded us


ctypedef struct Deadline:
    sqlite3 *db
    int64_t at_ns           # on the monotonic clock


cdef int _is_over(void *deadline) noexcept nogil:
    return monotonic_ns() > (<Deadline *> deadline).at_ns


cdef void _sql_deadline(sqlite3_context *context, int n, sqlite3_value **values) noexcept nogil:
    cdef Deadline *deadline = <Deadline *> (<user_data_t> _api[R_USER_DATA])(context)
    cdef int64_t ms
    if (<value_type_t> _api[R_VALUE_TYPE])(values[0]) == SQLITE_NULL:
        (<progress_handler_t> _api[R_PROGRESS_HANDLER])(deadline.db, 0, NULL, NULL)
    else:
        ms = max(0, min(MS_MAX, (<value_int64_t> _api[R_VALUE_INT64])(values[0])))
        deadline.at_ns = monotonic_ns() + ms * NS_PER_MS
        (<progress_handler_t> _api[R_PROGRESS_HANDLER])(deadline.db, STEPS, _is_over, deadline)
    (<result_null_t> _api[R_RESULT_NULL])(context)


cdef public int sqlite3_axdeadline_init(sqlite3 *db, char **error, void **api) noexcept nogil:
    """The extension's entry point."""
    global _api
    cdef Deadline *deadline = <Deadline *> malloc(sizeof(Deadline))
    _api = api
    if deadline == NULL:
        return SQLITE_NOMEM
    deadline.db = db
    deadline.at_ns = 0
    return (<create_function_v2_t> _api[R_CREATE_FUNCTION_V2])(
        db, b"ax_deadline", 1, SQLITE_UTF8 | SQLITE_DIRECTONLY, deadline, _sql_deadline, NULL, NULL,
        <void *> free)

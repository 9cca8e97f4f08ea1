"""The few entries of SQLite's extension interface that we use.

A machine has no SQLite headers by default, and the SQLite that counts is the one inside apsw. It
hands every loadable extension a table of its functions (`sqlite3_api_routines`). That table only
ever grows at its end, so a position in it is a stable interface: see `sqlite3ext.h` of any SQLite
since 3.20. The structures are those of `sqlite3.h`, up to the last field that is used.
"""

from libc.stdint cimport int64_t

ctypedef void sqlite3
ctypedef void sqlite3_stmt
ctypedef void sqlite3_context
ctypedef void sqlite3_value

ctypedef struct sqlite3_vtab:
    const void *pModule
    int nRef
    char *zErrMsg

ctypedef struct sqlite3_vtab_cursor:
    sqlite3_vtab *pVtab

ctypedef struct sqlite3_index_info:
    int nConstraint
    void *aConstraint
    int nOrderBy
    void *aOrderBy
    void *aConstraintUsage
    int idxNum
    char *idxStr
    int needToFreeIdxStr
    int orderByConsumed
    double estimatedCost
    int64_t estimatedRows

ctypedef struct sqlite3_module:
    int iVersion
    void *xCreate
    int (*xConnect)(sqlite3 *, void *, int, const char *const *, sqlite3_vtab **, char **) noexcept nogil
    int (*xBestIndex)(sqlite3_vtab *, sqlite3_index_info *) noexcept nogil
    int (*xDisconnect)(sqlite3_vtab *) noexcept nogil
    void *xDestroy
    int (*xOpen)(sqlite3_vtab *, sqlite3_vtab_cursor **) noexcept nogil
    int (*xClose)(sqlite3_vtab_cursor *) noexcept nogil
    int (*xFilter)(sqlite3_vtab_cursor *, int, const char *, int, sqlite3_value **) noexcept nogil
    int (*xNext)(sqlite3_vtab_cursor *) noexcept nogil
    int (*xEof)(sqlite3_vtab_cursor *) noexcept nogil
    int (*xColumn)(sqlite3_vtab_cursor *, sqlite3_context *, int) noexcept nogil
    int (*xRowid)(sqlite3_vtab_cursor *, int64_t *) noexcept nogil
    void *xUpdate
    void *xBegin
    void *xSync
    void *xCommit
    void *xRollback
    void *xFindFunction
    void *xRename

cdef enum:
    SQLITE_OK = 0
    SQLITE_NOMEM = 7
    SQLITE_TOOBIG = 18
    SQLITE_MISUSE = 21
    SQLITE_ROW = 100
    SQLITE_DONE = 101
    SQLITE_INTEGER = 1
    SQLITE_FLOAT = 2
    SQLITE_BLOB = 4
    SQLITE_NULL = 5
    SQLITE_UTF8 = 1
    SQLITE_DETERMINISTIC = 0x800
    SQLITE_DIRECTONLY = 0x80000
    SQLITE_PREPARE_PERSISTENT = 1
    SQLITE_FCNTL_PERSIST_WAL = 10

cdef enum:                  # positions in sqlite3_api_routines
    R_AGGREGATE_CONTEXT = 0
    R_BIND_INT64 = 5
    R_COLUMN_INT64 = 29
    R_COLUMN_TYPE = 38
    R_DECLARE_VTAB = 50
    R_ERRMSG = 53
    R_EXEC = 55
    R_FINALIZE = 57
    R_GET_AUTOCOMMIT = 60
    R_PROGRESS_HANDLER = 75
    R_RESET = 77
    R_RESULT_BLOB = 78
    R_RESULT_DOUBLE = 79
    R_RESULT_INT64 = 83
    R_RESULT_NULL = 84
    R_RESULT_TEXT = 85
    R_RESULT_VALUE = 89
    R_STEP = 94
    R_USER_DATA = 101
    R_VALUE_BLOB = 102
    R_VALUE_BYTES = 103
    R_VALUE_DOUBLE = 105
    R_VALUE_INT64 = 107
    R_VALUE_TYPE = 113
    R_CREATE_MODULE_V2 = 119
    R_CREATE_FUNCTION_V2 = 162
    R_EXTENDED_ERRCODE = 166
    R_FILE_CONTROL = 127
    R_MUTEX_ALLOC = 130
    R_MUTEX_LEAVE = 133
    R_MUTEX_TRY = 134
    R_RESULT_ERROR_CODE = 146
    R_PREPARE_V3 = 217

ctypedef void *(*aggregate_context_t)(sqlite3_context *, int) noexcept nogil
ctypedef int (*bind_int64_t)(sqlite3_stmt *, int, int64_t) noexcept nogil
ctypedef int64_t (*column_int64_t)(sqlite3_stmt *, int) noexcept nogil
ctypedef int (*column_type_t)(sqlite3_stmt *, int) noexcept nogil
ctypedef int (*declare_vtab_t)(sqlite3 *, const char *) noexcept nogil
ctypedef const char *(*errmsg_t)(sqlite3 *) noexcept nogil
ctypedef int (*exec_t)(sqlite3 *, const char *, void *, void *, char **) noexcept nogil
ctypedef int (*file_control_t)(sqlite3 *, const char *, int, void *) noexcept nogil
ctypedef void *(*mutex_alloc_t)(int) noexcept nogil
ctypedef void (*mutex_leave_t)(void *) noexcept nogil
ctypedef int (*mutex_try_t)(void *) noexcept nogil
ctypedef int (*finalize_t)(sqlite3_stmt *) noexcept nogil
ctypedef int (*get_autocommit_t)(sqlite3 *) noexcept nogil
ctypedef int (*progress_t)(void *) noexcept nogil
ctypedef void (*progress_handler_t)(sqlite3 *, int, progress_t, void *) noexcept nogil
ctypedef int (*reset_t)(sqlite3_stmt *) noexcept nogil
ctypedef void (*result_bytes_t)(sqlite3_context *, const char *, int, void *) noexcept nogil
ctypedef void (*result_double_t)(sqlite3_context *, double) noexcept nogil
ctypedef void (*result_error_code_t)(sqlite3_context *, int) noexcept nogil
ctypedef void (*result_int64_t)(sqlite3_context *, int64_t) noexcept nogil
ctypedef void (*result_null_t)(sqlite3_context *) noexcept nogil
ctypedef void (*result_value_t)(sqlite3_context *, sqlite3_value *) noexcept nogil
ctypedef int (*step_t)(sqlite3_stmt *) noexcept nogil
ctypedef void *(*user_data_t)(sqlite3_context *) noexcept nogil
ctypedef const void *(*value_blob_t)(sqlite3_value *) noexcept nogil
ctypedef int (*value_bytes_t)(sqlite3_value *) noexcept nogil
ctypedef double (*value_double_t)(sqlite3_value *) noexcept nogil
ctypedef int64_t (*value_int64_t)(sqlite3_value *) noexcept nogil
ctypedef int (*value_type_t)(sqlite3_value *) noexcept nogil
ctypedef int (*create_module_v2_t)(sqlite3 *, const char *, const sqlite3_module *, void *, void *) noexcept nogil
ctypedef void (*sql_function_t)(sqlite3_context *, int, sqlite3_value **) noexcept nogil
ctypedef void (*sql_final_t)(sqlite3_context *) noexcept nogil
ctypedef int (*create_function_v2_t)(
    sqlite3 *, const char *, int, int, void *,
    sql_function_t, sql_function_t, sql_final_t, void *) noexcept nogil
ctypedef int (*prepare_v3_t)(sqlite3 *, const char *, int, unsigned int, sqlite3_stmt **, const char **) noexcept nogil

"""A batch of records as tables of SQLite: one INSERT … SELECT a table, without the GIL.

This module is a loadable SQLite extension as well as a Python module (the same shared object, so
both see the same state). `BatchWriter` registers two read-only tables for every kind of record on
one connection:

    <name>          key, ref, ring_seq, timestamp, timestamp_ns, tag, id, <fields of the kind>
    <name>_groups   ref, <the leading fields that form the kind's group>

whose rows are the records of the batch that is loaded; the texts point straight into the ring. Records
of samples are one table only, whose rows are their chunks: `<name>` has series, minute, samples.
What is done with them is said in SQL, which the storage layer hands in: `write()` runs its
statements between BEGIN IMMEDIATE and COMMIT in one go, with the GIL released.

Time key: `key` is a unique integer in time order, (milliseconds << 12) + a counter. Rows are
delivered in its order. More than 4096 records of one millisecond flow over into the next.

Groups: records that share their leading fields (a log's source and ids) share one row of a side
table; `ref` is that row's id. The mapping is remembered here; `<name>_groups` yields what is new.

Functions: ax_ring_id(), ax_ring_salt(), ax_last_seq(), and ax_prepare(kind, max_key, max_ref,
removed), which must run in the write transaction before the tables are read: it assigns keys and
refs behind those given, and forgets its groups when `removed` is another number than before.
"""

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_Clear
from libc.stdint cimport INT64_MIN, UINT64_MAX, int64_t, intptr_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.stat cimport fstat, struct_stat

from ax_monitor._native.chunks cimport ChunkTable, chunk_block, chunks_build, chunks_free
from ax_monitor._native.clock cimport monotonic_ns
from ax_monitor._native.ids cimport UUID_TEXT_BYTES, hex16_read, uuid7_write
from ax_monitor._native.record cimport (
    FIELD_FLOAT,
    FIELD_INT,
    FIELD_LENGTH_MASK,
    FIELD_TEXT,
    FIELD_TYPE_SHIFT,
    KEY_SHIFT,
    KIND_SAMPLES,
    RECORD_MAX_FIELDS,
    RecordHeader,
    fields_offset,
    record_count,
    record_last_seq,
)
from ax_monitor._native.ring cimport RecordRing, fork_generation
from ax_monitor._native.sqlite_api cimport *

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)

cdef enum:
    MAX_KINDS = 16
    MAX_STATEMENTS = 64
    GROUPS_MAX = 0x20000            # remembered groups a kind; then start again (about 20 MB)
    GROUP_TABLE = 0x40000           # slots of the hash table: at most half full
    C_KEY = 0                       # the columns before the fields
    C_REF = 1
    C_RING_SEQ = 2
    C_TIMESTAMP = 3
    C_TIMESTAMP_NS = 4
    C_TAG = 5
    C_ID = 6
    N_FIXED = 7
    C_SERIES = 0                    # the columns of chunks
    C_MINUTE = 1
    C_SAMPLES = 2
    STATIC_MUTEX_FIRST = 2          # SQLITE_MUTEX_STATIC_MAIN
    N_STATIC_MUTEXES = 12           # up to SQLITE_MUTEX_STATIC_VFS3

cdef enum RowSource:                # what the rows of a table are
    RECORDS = 0
    GROUPS = 1
    CHUNKS = 2

TIME_KEY_SHIFT = KEY_SHIFT

cdef struct Group:
    uint64_t hash
    int64_t ref             # 0: empty slot
    char *bytes             # field table and payload of the group's fields
    uint32_t length

# One kind of record on one connection. Guarded by the connection: whoever uses it, uses this.
cdef struct KindTable:
    BatchState *state
    uint8_t kind
    int n_fields
    int n_grouped           # leading fields that form the group; 0: no groups
    bint time_key           # assign keys, deliver in their order (else in the order made)
    uint32_t hex_fields     # bit i: field i is 16 hex digits, delivered as a 64-bit integer
    char *declare_records   # CREATE TABLE text for sqlite3_declare_vtab
    char *declare_groups
    ChunkTable chunks       # of kind SAMPLES: its rows
    const char **records    # the batch, n of them
    int64_t *keys
    int64_t *refs
    int64_t *fresh          # indexes of the records that opened a new group, n_fresh of them
    int64_t n
    int64_t n_fresh
    int64_t capacity
    Group *groups           # open addressing
    int64_t n_groups
    int64_t groups_removed  # how often some had been removed from the database, when last looked
    char *occupied_sql      # the highest key between two; NULL without time_key
    sqlite3_stmt *occupied

cdef struct BatchState:
    sqlite3 *db
    KindTable[MAX_KINDS] kinds
    uint8_t[16] ring_id
    uint64_t salt
    uint64_t last_seq
    int64_t n_records
    int64_t waited_ns                   # for the write lock, by the last write
    char *statements[MAX_STATEMENTS]
    uint8_t[MAX_STATEMENTS] statement_kind
    sqlite3_stmt *prepared[MAX_STATEMENTS]
    int n_statements

cdef struct Table:                      # extends sqlite3_vtab
    sqlite3_vtab base
    KindTable *kind
    RowSource source

cdef struct Cursor:                     # extends sqlite3_vtab_cursor
    sqlite3_vtab_cursor base
    int64_t row
    const char *record
    int field                           # where `at` stands
    const char *at

cdef void **_api = NULL                 # SQLite's routines, once it has loaded us
cdef void *_mutexes[N_STATIC_MUTEXES]    # SQLite's process-wide mutexes, which are never freed


cdef public int sqlite3_axmonitor_init(sqlite3 *db, char **error, void **api) noexcept nogil:
    """The extension's entry point: `load_extension(path, "sqlite3_axmonitor_init")`."""
    global _api
    cdef int i
    _api = api
    for i in range(N_STATIC_MUTEXES):
        _mutexes[i] = (<mutex_alloc_t> _api[R_MUTEX_ALLOC])(STATIC_MUTEX_FIRST + i)
    return SQLITE_OK


# -- forks -----------------------------------------------------------------------------------------

cdef int _fstat(int fd, struct_stat *out) noexcept nogil:
    """What SQLite is to call instead of fstat(): in a forked child every file is another one.

    SQLite keeps one list of open files a process, by device and inode, with the locks that the
    process holds on them. A child inherits that list, but not the locks. Were it to open a file that
    its parent has open, it would believe that it holds them: another process may then truncate the
    WAL index that the child has mapped, which kills it. Another device number keeps the files of
    both apart. https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork
    """
    cdef int rc = fstat(fd, out)
    if rc == 0:
        out.st_dev += fork_generation() * 0x9E3779B1U
    return rc


cdef void _free_mutexes() noexcept nogil:
    """In a forked child: free what threads of the parent held, which will never do it here.

    The commonest by far is that of SQLite's memory statistics, taken at every allocation: without
    this, one child in fifteen of a parent that writes hangs at its first use of SQLite. A mutex of
    SQLite begins with that of the system.
    """
    cdef int i
    for i in range(N_STATIC_MUTEXES):
        if _mutexes[i] == NULL:
            continue
        if (<mutex_try_t> _api[R_MUTEX_TRY])(_mutexes[i]) == SQLITE_OK:
            (<mutex_leave_t> _api[R_MUTEX_LEAVE])(_mutexes[i])
        else:
            pthread_mutex_init(<pthread_mutex_t *> _mutexes[i], NULL)


pthread_atfork(NULL, NULL, _free_mutexes)

# For `xSetSystemCall("fstat", …)` of SQLite's unix VFS.
FSTAT_ADDRESS = <uintptr_t> <void *> &_fstat


# -- a record's parts ------------------------------------------------------------------------------

cdef inline const uint32_t *_fields(const char *record) noexcept nogil:
    return <const uint32_t *> (record + sizeof(RecordHeader))


cdef inline uint32_t _field_entry(const char *record, uint32_t i) noexcept nogil:
    """Type and length of field `i`; NULL if the record has fewer."""
    return _fields(record)[i] if i < (<const RecordHeader *> record).n_fields else 0


cdef inline const char *_payload(const char *record) noexcept nogil:
    return record + fields_offset((<const RecordHeader *> record).n_fields)


cdef inline int64_t _milliseconds(const char *record) noexcept nogil:
    cdef int64_t ns = (<const RecordHeader *> record).timestamp_ns
    return ns // 1000000 - (ns % 1000000 < 0)       # C rounds towards zero, Python down


# -- loading a batch -------------------------------------------------------------------------------

cdef void _clear(BatchState *state) noexcept nogil:
    cdef int i
    for i in range(MAX_KINDS):
        state.kinds[i].n = 0
        state.kinds[i].n_fresh = 0
        state.kinds[i].chunks.n = 0
    state.n_records = 0
    state.last_seq = 0


cdef int _add(BatchState *state, const char *record) noexcept nogil:
    """Put one record into its kind's table. Kinds that this version does not know are passed over."""
    cdef const RecordHeader *header = <const RecordHeader *> record
    cdef KindTable *table = &state.kinds[header.kind & (MAX_KINDS - 1)]
    cdef int64_t capacity
    state.n_records += record_count(header)
    if record_last_seq(header) > state.last_seq:
        state.last_seq = record_last_seq(header)
    if table.state == NULL:
        return SQLITE_OK
    if table.n == table.capacity:
        capacity = table.capacity * 2 if table.capacity else 1024
        table.records = <const char **> realloc(table.records, capacity * sizeof(char *))
        table.keys = <int64_t *> realloc(table.keys, capacity * sizeof(int64_t))
        table.refs = <int64_t *> realloc(table.refs, capacity * sizeof(int64_t))
        table.fresh = <int64_t *> realloc(table.fresh, capacity * sizeof(int64_t))
        if not (table.records and table.keys and table.refs and table.fresh):
            table.capacity = 0
            return SQLITE_NOMEM
        table.capacity = capacity
    table.records[table.n] = record
    table.n += 1
    return SQLITE_OK


cdef int _compare_records(const void *a, const void *b) noexcept nogil:
    cdef const char *x = (<const char **> a)[0]
    cdef const char *y = (<const char **> b)[0]
    cdef int64_t dx = _milliseconds(x), dy = _milliseconds(y)
    if dx != dy:
        return -1 if dx < dy else 1
    return -1 if (<const RecordHeader *> x).seq < (<const RecordHeader *> y).seq else 1


# -- keys and groups -------------------------------------------------------------------------------

cdef int _assign_keys(KindTable *table, int64_t max_key) noexcept nogil:
    """Sort by time and give every record a key of its own, none that the database has."""
    cdef int64_t i, low, key, slot, last = INT64_MIN
    cdef int rc
    for i in range(1, table.n):
        if _milliseconds(table.records[i]) < _milliseconds(table.records[i - 1]):
            qsort(table.records, table.n, sizeof(char *), _compare_records)
            break
    slot = INT64_MIN            # up to the end of this millisecond, `last` is known to be free
    for i in range(table.n):
        low = _milliseconds(table.records[i]) * (1 << KEY_SHIFT)
        key = low if low > last else last + 1
        while key <= max_key and key >> KEY_SHIFT != slot:
            slot = key >> KEY_SHIFT
            rc = _after_occupied(table, slot, &key)
            if rc != SQLITE_OK:
                return rc
        table.keys[i] = last = key
    return SQLITE_OK


cdef int _after_occupied(KindTable *table, int64_t slot, int64_t *key) noexcept nogil:
    """Move `key` behind the highest key that the database has in its millisecond."""
    cdef sqlite3_stmt *stmt = table.occupied
    cdef int rc
    if stmt == NULL:
        rc = (<prepare_v3_t> _api[R_PREPARE_V3])(
            table.state.db, table.occupied_sql, -1, SQLITE_PREPARE_PERSISTENT, &table.occupied, NULL)
        if rc != SQLITE_OK:
            return rc
        stmt = table.occupied
    (<bind_int64_t> _api[R_BIND_INT64])(stmt, 1, slot << KEY_SHIFT)
    (<bind_int64_t> _api[R_BIND_INT64])(stmt, 2, (slot << KEY_SHIFT) + (1 << KEY_SHIFT) - 1)
    rc = (<step_t> _api[R_STEP])(stmt)
    if rc == SQLITE_ROW and (<column_type_t> _api[R_COLUMN_TYPE])(stmt, 0) != SQLITE_NULL:
        if (<column_int64_t> _api[R_COLUMN_INT64])(stmt, 0) >= key[0]:
            key[0] = (<column_int64_t> _api[R_COLUMN_INT64])(stmt, 0) + 1
    return (<reset_t> _api[R_RESET])(stmt) if rc == SQLITE_ROW or rc == SQLITE_DONE else rc


cdef uint64_t _hash(const char *data, uint32_t n) noexcept nogil:
    cdef uint64_t h = n * 0x9E3779B97F4A7C15ULL, word
    while n >= 8:
        memcpy(&word, data, 8)
        h = (h ^ word) * 0x9FB21C651E98DF25ULL
        h ^= h >> 32
        data += 8
        n -= 8
    if n:
        word = 0
        memcpy(&word, data, n)
        h = (h ^ word) * 0x9FB21C651E98DF25ULL
        h ^= h >> 32
    return h


cdef void _forget_groups(KindTable *table) noexcept nogil:
    cdef int64_t i
    if table.n_groups:
        for i in range(GROUP_TABLE):
            free(table.groups[i].bytes)
        memset(table.groups, 0, GROUP_TABLE * sizeof(Group))
        table.n_groups = 0


cdef int _assign_groups(KindTable *table, int64_t max_ref) noexcept nogil:
    """Look every record's group up; new ones get the refs behind `max_ref`."""
    cdef int64_t i, slot, start
    cdef uint32_t n, m, j
    cdef uint32_t[RECORD_MAX_FIELDS] fields
    cdef const char *payload
    cdef uint64_t hash
    cdef Group *group
    m = 4 * table.n_grouped
    for i in range(table.n):
        payload = _payload(table.records[i])
        n = 0
        for j in range(<uint32_t> table.n_grouped):
            fields[j] = _field_entry(table.records[i], j)
            n += fields[j] & FIELD_LENGTH_MASK
        hash = _hash(<const char *> &fields[0], m) ^ (_hash(payload, n) * 0xD6E8FEB86659FD93ULL)
        start = slot = <int64_t> ((hash ^ (hash >> 29)) & (GROUP_TABLE - 1))
        while True:
            group = &table.groups[slot]
            if group.ref == 0:
                break
            if group.hash == hash and group.length == m + n and \
                    memcmp(group.bytes, &fields[0], m) == 0 and memcmp(group.bytes + m, payload, n) == 0:
                break
            slot = (slot + 1) & (GROUP_TABLE - 1)
        if group.ref == 0:
            if table.n_groups == GROUPS_MAX:
                _forget_groups(table)
                group = &table.groups[start]
            group.bytes = <char *> malloc(m + n + 1)
            if group.bytes == NULL:
                return SQLITE_NOMEM
            memcpy(group.bytes, &fields[0], m)
            memcpy(group.bytes + m, payload, n)
            group.hash = hash
            group.length = m + n
            max_ref += 1
            group.ref = max_ref
            table.n_groups += 1
            table.fresh[table.n_fresh] = i
            table.n_fresh += 1
        table.refs[i] = group.ref
    return SQLITE_OK


# -- SQL functions ---------------------------------------------------------------------------------

cdef BatchState *_state_of(sqlite3_context *ctx) noexcept nogil:
    return <BatchState *> (<user_data_t> _api[R_USER_DATA])(ctx)


cdef void _sql_ring_id(sqlite3_context *ctx, int n, sqlite3_value **args) noexcept nogil:
    cdef BatchState *state = _state_of(ctx)
    (<result_bytes_t> _api[R_RESULT_BLOB])(ctx, <const char *> &state.ring_id[0], 16, NULL)


cdef void _sql_ring_salt(sqlite3_context *ctx, int n, sqlite3_value **args) noexcept nogil:
    (<result_int64_t> _api[R_RESULT_INT64])(ctx, <int64_t> (_state_of(ctx).salt & 0x3FFFFFFFFULL))


cdef void _sql_last_seq(sqlite3_context *ctx, int n, sqlite3_value **args) noexcept nogil:
    (<result_int64_t> _api[R_RESULT_INT64])(ctx, <int64_t> _state_of(ctx).last_seq)


cdef void _sql_prepare(sqlite3_context *ctx, int n, sqlite3_value **args) noexcept nogil:
    cdef BatchState *state = _state_of(ctx)
    cdef value_int64_t value = <value_int64_t> _api[R_VALUE_INT64]
    cdef KindTable *table = &state.kinds[value(args[0]) & (MAX_KINDS - 1)]
    cdef int rc = SQLITE_OK
    table.n_fresh = 0
    if table.kind == KIND_SAMPLES and chunks_build(&table.chunks, table.records, table.n):
        rc = SQLITE_NOMEM
    if table.time_key:
        rc = _assign_keys(table, value(args[1]))
    if rc == SQLITE_OK and table.n_grouped:
        if table.groups_removed != value(args[3]):
            table.groups_removed = value(args[3])
            _forget_groups(table)
        rc = _assign_groups(table, value(args[2]))
    if rc != SQLITE_OK:
        (<result_error_code_t> _api[R_RESULT_ERROR_CODE])(ctx, rc)
    else:
        (<result_int64_t> _api[R_RESULT_INT64])(ctx, table.n)


# -- the tables ------------------------------------------------------------------------------------

cdef int _connect(sqlite3 *db, KindTable *kind, RowSource source, sqlite3_vtab **out) noexcept nogil:
    cdef Table *table
    cdef int rc = (<declare_vtab_t> _api[R_DECLARE_VTAB])(
        db, kind.declare_groups if source == GROUPS else kind.declare_records)
    if rc != SQLITE_OK:
        return rc
    table = <Table *> calloc(1, sizeof(Table))
    if table == NULL:
        return SQLITE_NOMEM
    table.kind = kind
    table.source = source
    out[0] = &table.base
    return SQLITE_OK


cdef int _connect_records(sqlite3 *db, void *aux, int argc, const char *const *argv,
                          sqlite3_vtab **out, char **error) noexcept nogil:
    cdef KindTable *kind = <KindTable *> aux
    return _connect(db, kind, CHUNKS if kind.kind == KIND_SAMPLES else RECORDS, out)


cdef int _connect_groups(sqlite3 *db, void *aux, int argc, const char *const *argv,
                         sqlite3_vtab **out, char **error) noexcept nogil:
    return _connect(db, <KindTable *> aux, GROUPS, out)


cdef int _disconnect(sqlite3_vtab *table) noexcept nogil:
    free(table)
    return SQLITE_OK


cdef int _best_index(sqlite3_vtab *table, sqlite3_index_info *info) noexcept nogil:
    info.estimatedCost = 1000.0
    info.estimatedRows = 1000
    return SQLITE_OK


cdef int _open(sqlite3_vtab *table, sqlite3_vtab_cursor **out) noexcept nogil:
    cdef Cursor *cursor = <Cursor *> calloc(1, sizeof(Cursor))
    if cursor == NULL:
        return SQLITE_NOMEM
    out[0] = &cursor.base
    return SQLITE_OK


cdef int _close(sqlite3_vtab_cursor *cursor) noexcept nogil:
    free(cursor)
    return SQLITE_OK


cdef inline int64_t _row_count(Table *table) noexcept nogil:
    if table.source == CHUNKS:
        return table.kind.chunks.n
    return table.kind.n_fresh if table.source == GROUPS else table.kind.n


cdef void _enter_row(Cursor *cursor) noexcept nogil:
    cdef Table *table = <Table *> cursor.base.pVtab
    cdef int64_t i = cursor.row
    if i < _row_count(table) and table.source != CHUNKS:
        cursor.record = table.kind.records[table.kind.fresh[i] if table.source == GROUPS else i]
        cursor.field = 0
        cursor.at = _payload(cursor.record)


cdef int _filter(sqlite3_vtab_cursor *base, int idx, const char *text, int argc,
                 sqlite3_value **argv) noexcept nogil:
    (<Cursor *> base).row = 0
    _enter_row(<Cursor *> base)
    return SQLITE_OK


cdef int _next(sqlite3_vtab_cursor *base) noexcept nogil:
    (<Cursor *> base).row += 1
    _enter_row(<Cursor *> base)
    return SQLITE_OK


cdef int _eof(sqlite3_vtab_cursor *base) noexcept nogil:
    return (<Cursor *> base).row >= _row_count(<Table *> base.pVtab)


cdef int _rowid(sqlite3_vtab_cursor *base, int64_t *out) noexcept nogil:
    out[0] = (<Cursor *> base).row
    return SQLITE_OK


cdef int _column(sqlite3_vtab_cursor *base, sqlite3_context *ctx, int column) noexcept nogil:
    cdef Cursor *cursor = <Cursor *> base
    cdef Table *table = <Table *> base.pVtab
    cdef KindTable *kind = table.kind
    cdef const RecordHeader *header = <const RecordHeader *> cursor.record
    cdef result_int64_t result_int64 = <result_int64_t> _api[R_RESULT_INT64]
    cdef char[UUID_TEXT_BYTES] text
    if table.source == CHUNKS:
        _chunk_column(&kind.chunks, cursor.row, ctx, column)
    elif table.source == GROUPS:
        if column == 0:
            result_int64(ctx, kind.refs[kind.fresh[cursor.row]])
        else:
            _field(cursor, ctx, column - 1, kind.hex_fields)
    elif column >= N_FIXED:
        _field(cursor, ctx, column - N_FIXED, kind.hex_fields)
    elif column == C_KEY:
        result_int64(ctx, kind.keys[cursor.row])
    elif column == C_REF:
        result_int64(ctx, kind.refs[cursor.row])
    elif column == C_RING_SEQ:
        result_int64(ctx, <int64_t> header.seq)
    elif column == C_TIMESTAMP:
        result_int64(ctx, _milliseconds(cursor.record))
    elif column == C_TIMESTAMP_NS:
        result_int64(ctx, header.timestamp_ns)
    elif column == C_TAG:
        result_int64(ctx, header.tag)
    else:
        uuid7_write(text, _milliseconds(cursor.record), header.seq, kind.state.salt)
        (<result_bytes_t> _api[R_RESULT_TEXT])(ctx, text, UUID_TEXT_BYTES, <void *> <intptr_t> -1)
    return SQLITE_OK


cdef void _chunk_column(ChunkTable *chunks, int64_t row, sqlite3_context *ctx, int column) noexcept nogil:
    cdef const char *block
    cdef Py_ssize_t n
    if column == C_SERIES:
        (<result_int64_t> _api[R_RESULT_INT64])(ctx, chunks.chunks[row].series)
    elif column == C_MINUTE:
        (<result_int64_t> _api[R_RESULT_INT64])(ctx, chunks.chunks[row].minute)
    else:
        block = chunk_block(chunks, row, &n)
        (<result_bytes_t> _api[R_RESULT_BLOB])(ctx, block, <int> n, NULL)


cdef void _field(Cursor *cursor, sqlite3_context *ctx, int i, uint32_t hex_fields) noexcept nogil:
    """Deliver field `i`; the cursor remembers how far it has walked the payload."""
    cdef const uint32_t *fields = _fields(cursor.record)
    cdef uint32_t n, kind
    cdef uint64_t bits
    cdef int64_t number
    cdef double real
    if i >= (<const RecordHeader *> cursor.record).n_fields:
        (<result_null_t> _api[R_RESULT_NULL])(ctx)
        return
    if i < cursor.field:
        cursor.field = 0
        cursor.at = _payload(cursor.record)
    while cursor.field < i:
        cursor.at += fields[cursor.field] & FIELD_LENGTH_MASK
        cursor.field += 1
    kind = fields[i] >> FIELD_TYPE_SHIFT
    n = fields[i] & FIELD_LENGTH_MASK
    if kind == FIELD_TEXT:
        if hex_fields >> i & 1 and n == 16 and hex16_read(cursor.at, &bits):
            (<result_int64_t> _api[R_RESULT_INT64])(ctx, <int64_t> bits)
        else:
            (<result_bytes_t> _api[R_RESULT_TEXT])(ctx, cursor.at, <int> n, NULL)
    elif kind == FIELD_INT:
        memcpy(&number, cursor.at, 8)
        (<result_int64_t> _api[R_RESULT_INT64])(ctx, number)
    elif kind == FIELD_FLOAT:
        memcpy(&real, cursor.at, 8)
        (<result_double_t> _api[R_RESULT_DOUBLE])(ctx, real)
    else:
        (<result_null_t> _api[R_RESULT_NULL])(ctx)


cdef sqlite3_module _records_module
cdef sqlite3_module _groups_module


cdef void _fill(sqlite3_module *module) noexcept:
    memset(module, 0, sizeof(sqlite3_module))       # no xCreate: the tables need no CREATE
    module.xBestIndex = _best_index
    module.xDisconnect = _disconnect
    module.xOpen = _open
    module.xClose = _close
    module.xFilter = _filter
    module.xNext = _next
    module.xEof = _eof
    module.xColumn = _column
    module.xRowid = _rowid


_fill(&_records_module)
_fill(&_groups_module)
_records_module.xConnect = _connect_records
_groups_module.xConnect = _connect_groups


# -- writing ---------------------------------------------------------------------------------------

cdef int _run_statement(BatchState *state, int i) noexcept nogil:
    cdef int rc
    if state.prepared[i] == NULL:
        rc = (<prepare_v3_t> _api[R_PREPARE_V3])(
            state.db, state.statements[i], -1, SQLITE_PREPARE_PERSISTENT, &state.prepared[i], NULL)
        if rc != SQLITE_OK:
            return rc
    while True:
        rc = (<step_t> _api[R_STEP])(state.prepared[i])
        if rc != SQLITE_ROW:
            break
    if rc != SQLITE_DONE:
        return rc                       # reset by _write(), once the message has been read
    return (<reset_t> _api[R_RESET])(state.prepared[i])


cdef int _write(BatchState *state, int *where) noexcept nogil:
    """The transaction. On failure `where` is the statement (-1: BEGIN, n: COMMIT)."""
    cdef exec_t execute = <exec_t> _api[R_EXEC]
    cdef int i, rc
    cdef int64_t begun_ns = monotonic_ns()
    where[0] = -1
    rc = execute(state.db, b"BEGIN IMMEDIATE", NULL, NULL, NULL)
    state.waited_ns = monotonic_ns() - begun_ns
    if rc != SQLITE_OK:
        return rc
    for i in range(state.n_statements):
        where[0] = i
        if state.statement_kind[i] and state.kinds[state.statement_kind[i]].n == 0:
            continue
        rc = _run_statement(state, i)
        if rc != SQLITE_OK:
            return rc
    where[0] = state.n_statements
    return execute(state.db, b"COMMIT", NULL, NULL, NULL)


cdef void _roll_back(BatchState *state, bint begun) noexcept nogil:
    """After a failure: no transaction is open, and nothing is remembered of what it did."""
    cdef int i
    for i in range(state.n_statements):
        if state.prepared[i] != NULL:
            (<reset_t> _api[R_RESET])(state.prepared[i])
    for i in range(MAX_KINDS):
        if state.kinds[i].occupied != NULL:
            (<reset_t> _api[R_RESET])(state.kinds[i].occupied)
        if begun and state.kinds[i].n_grouped:
            _forget_groups(&state.kinds[i])
    if not (<get_autocommit_t> _api[R_GET_AUTOCOMMIT])(state.db):
        (<exec_t> _api[R_EXEC])(state.db, b"ROLLBACK", NULL, NULL, NULL)


@cython.final
cdef class BatchWriter:
    """Writes batches of records through one connection.

    Lifecycle: make it on a connection that has loaded this module as an extension; `load_…()`, then
    `write()`, again and again; `close()` before the connection is closed.
    Thread-safety: as the connection's: one thread at a time. `write()` releases the GIL.
    """

    cdef BatchState *_state
    cdef list _keep         # texts that the state points to

    def __cinit__(self):
        self._state = <BatchState *> calloc(1, sizeof(BatchState))
        if self._state == NULL:
            raise MemoryError()

    def __init__(self, uintptr_t db, kinds, statements):
        """
        Args:
            db: the address of the connection's `sqlite3` object.
            kinds: objects with number, table, fields (names), grouped (how many leading fields
                form the group), hex_fields (names), occupied_sql (None: no time key).
            statements: (kind number or 0 for always, SQL) in the order in which they run.
        """
        cdef KindTable *table
        if _api == NULL:
            raise RuntimeError("load this module into the connection first (load_extension)")
        self._keep = []
        self._state.db = <sqlite3 *> db
        for kind in kinds:
            if not 1 <= kind.number < MAX_KINDS or len(kind.fields) > RECORD_MAX_FIELDS:
                raise ValueError(f"bad record kind {kind!r}")
            table = &self._state.kinds[kind.number]
            table.state = self._state
            table.kind = kind.number
            table.n_fields = len(kind.fields)
            table.n_grouped = kind.grouped
            for i, field in enumerate(kind.fields):
                if field in kind.hex_fields:
                    table.hex_fields |= 1U << <int> i
            columns = ", ".join(kind.fields)
            if kind.number != KIND_SAMPLES:
                columns = f"key, ref, ring_seq, timestamp, timestamp_ns, tag, id, {columns}"
            table.declare_records = self._text(f"CREATE TABLE x({columns})")
            if kind.occupied_sql is not None:
                table.time_key = True
                table.occupied_sql = self._text(kind.occupied_sql)
            self._register(kind.table, &_records_module, table)
            if kind.grouped:
                table.groups = <Group *> calloc(GROUP_TABLE, sizeof(Group))
                if table.groups == NULL:
                    raise MemoryError()
                table.declare_groups = self._text(
                    f"CREATE TABLE x(ref, {', '.join(kind.fields[:kind.grouped])})")
                self._register(kind.table + "_groups", &_groups_module, table)
        self._function("ax_ring_id", 0, _sql_ring_id)
        self._function("ax_ring_salt", 0, _sql_ring_salt)
        self._function("ax_last_seq", 0, _sql_last_seq)
        self._function("ax_prepare", 4, _sql_prepare)
        if len(statements) > MAX_STATEMENTS:
            raise ValueError("too many statements")
        for number, sql in statements:
            self._state.statements[self._state.n_statements] = self._text(sql)
            self._state.statement_kind[self._state.n_statements] = number
            self._state.n_statements += 1

    cdef char *_text(self, str text) except NULL:
        cdef bytes raw = text.encode()
        self._keep.append(raw)
        return PyBytes_AS_STRING(raw)

    cdef int _register(self, str name, sqlite3_module *module, KindTable *table) except -1:
        cdef int rc = (<create_module_v2_t> _api[R_CREATE_MODULE_V2])(
            self._state.db, self._text(name), module, table, NULL)
        if rc != SQLITE_OK:
            raise RuntimeError(f"SQLite refused the table {name} (code {rc})")
        return 0

    cdef int _function(self, str name, int n_args,
                       void (*function)(sqlite3_context *, int, sqlite3_value **) noexcept nogil) except -1:
        cdef int rc = (<create_function_v2_t> _api[R_CREATE_FUNCTION_V2])(
            self._state.db, self._text(name), n_args, SQLITE_UTF8, self._state, function, NULL, NULL, NULL)
        if rc != SQLITE_OK:
            raise RuntimeError(f"SQLite refused the function {name} (code {rc})")
        return 0

    cdef BatchState *_open_state(self) except NULL:
        if self._state == NULL or self._state.db == NULL:
            raise ValueError("the writer is closed")
        return self._state

    def load_ring(self, RecordRing ring not None, uint64_t first_seq=0, uint64_t last_seq=UINT64_MAX):
        """Take the ring's claim, or its records from `first_seq` to `last_seq` only."""
        cdef BatchState *state = self._open_state()
        cdef uint32_t i
        cdef const char *at
        cdef const RecordHeader *header
        cdef int rc = SQLITE_OK
        if not ring._claimed:
            raise RuntimeError("nothing is claimed")
        memcpy(state.ring_id, PyBytes_AS_STRING(ring.ring_id), 16)
        state.salt = ring.salt
        with nogil:
            _clear(state)
            for i in range(ring._n_claim):
                at = ring._claim[i].begin
                while at < ring._claim[i].end and rc == SQLITE_OK:
                    header = <const RecordHeader *> at
                    if first_seq <= header.seq <= last_seq:
                        rc = _add(state, at)
                    at += header.length
        if rc != SQLITE_OK:
            raise MemoryError()

    def load_bytes(self, const unsigned char[::1] data not None, offsets, bytes ring_id not None,
                   uint64_t salt):
        """Take the valid records at `offsets` of a ring file's bytes. `data` must outlive `write()`."""
        cdef BatchState *state = self._open_state()
        cdef size_t offset
        memcpy(state.ring_id, PyBytes_AS_STRING(ring_id), 16)
        state.salt = salt
        _clear(state)
        for offset in offsets:
            if _add(state, <const char *> &data[offset]) != SQLITE_OK:
                raise MemoryError()

    @property
    def n_records(self) -> int:
        """Records in the batch that is loaded."""
        return self._open_state().n_records

    @property
    def waited_ns(self) -> int:
        """How long the last `write` has waited for others to let go of the write lock, in ns."""
        return self._open_state().waited_ns

    @property
    def last_seq(self) -> int:
        """The highest sequence number in the batch that is loaded."""
        return self._open_state().last_seq

    def write(self):
        """Write the loaded batch in one transaction, without the GIL.

        Returns None, or `(code, message, statement)` if it failed: SQLite's extended result code
        and message, and which statement it was (-1: BEGIN, the number of statements: COMMIT).
        Nothing is open then; but a COMMIT that failed may have happened all the same.
        """
        cdef BatchState *state = self._open_state()
        cdef int rc, where = 0
        with nogil:
            rc = _write(state, &where)
        PyErr_Clear()                       # of a VFS written in Python; `rc` says it too
        if rc == SQLITE_OK:
            return None
        rc = (<int (*)(sqlite3 *) noexcept nogil> _api[R_EXTENDED_ERRCODE])(state.db)
        message = (<errmsg_t> _api[R_ERRMSG])(state.db).decode("utf-8", "replace")
        with nogil:
            _roll_back(state, where >= 0)
        PyErr_Clear()
        return rc, message, where

    def persist_wal(self):
        """Keep the -wal file when the last connection closes (SQLITE_FCNTL_PERSIST_WAL)."""
        cdef int on = 1
        (<file_control_t> _api[R_FILE_CONTROL])(
            self._open_state().db, b"main", SQLITE_FCNTL_PERSIST_WAL, &on)

    def close(self):
        """Let go of the connection. It must still be open."""
        cdef BatchState *state = self._state
        cdef int i
        cdef finalize_t finalize
        if state == NULL or state.db == NULL:
            return
        finalize = <finalize_t> _api[R_FINALIZE]
        with nogil:                     # it waits for the connection's mutex
            for i in range(state.n_statements):
                finalize(state.prepared[i])
                state.prepared[i] = NULL
            for i in range(MAX_KINDS):
                finalize(state.kinds[i].occupied)
                state.kinds[i].occupied = NULL
        state.db = NULL

    def __dealloc__(self):
        cdef int i
        cdef KindTable *table
        if self._state == NULL:
            return
        for i in range(MAX_KINDS):
            table = &self._state.kinds[i]
            free(table.records)
            free(table.keys)
            free(table.refs)
            free(table.fresh)
            chunks_free(&table.chunks)
            if table.groups != NULL:
                _forget_groups(table)
                free(table.groups)
        free(self._state)

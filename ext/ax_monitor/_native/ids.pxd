from libc.stdint cimport int64_t, uint64_t

cdef enum:
    UUID_TEXT_BYTES = 36

cdef uint64_t random_u64() noexcept nogil
cpdef str new_id()
cdef void uuid7_write(char *out, int64_t timestamp_ms, uint64_t seq, uint64_t salt) noexcept nogil
cdef void hex16_write(char *out, uint64_t value) noexcept nogil
cdef bint hex16_read(const char *text, uint64_t *value) noexcept nogil

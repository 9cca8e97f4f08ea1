cdef bint sensitive_key(const char *key, Py_ssize_t n) noexcept nogil
cdef bint sensitive_text(const char *text, Py_ssize_t n) noexcept nogil

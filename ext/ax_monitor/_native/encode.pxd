from cpython.object cimport PyObject

from ax_monitor._native.copy cimport copy_short
from ax_monitor._native.redact cimport sensitive_text

cdef extern from "Python.h":
    PyObject *PyUnicodeType "((PyObject *) &PyUnicode_Type)"
    PyObject *type_of "(PyObject *) Py_TYPE" (PyObject *o) nogil
    bint PyUnicode_IS_COMPACT_ASCII(PyObject *o) nogil
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *o) nogil
    void *PyUnicode_DATA(PyObject *o) nogil

cdef enum EncodeStatus:
    ENCODED = 0
    NO_ROOM = 1         # the segment ends here: encode again in the next one
    FOREIGN = 2         # a value that only Python code can turn into text
    SENSITIVE = 3       # a text that looks like a secret: redact, then encode again
    TOO_LARGE = 4       # JSON beyond its limit: shorten, then encode again

cdef enum:
    CUT_MARK_MAX = 64   # bytes of the mark behind a text that was cut, at most

cdef struct Encoder:
    char *at            # next byte to write
    char *end           # first byte that is not ours
    int status          # the first trouble met; sticky
    bint redact         # look for secrets

# Each writes at `at` and moves it. None runs Python code, allocates a Python object or changes a
# reference count: a record under construction in the ring can't be disturbed by a nested one.
cdef void write_json(Encoder *out, PyObject *value, Py_ssize_t max_bytes) noexcept
cdef void write_any_text(Encoder *out, PyObject *text, Py_ssize_t max_bytes) noexcept


cdef inline void write_text(Encoder *out, PyObject *text, Py_ssize_t max_bytes) noexcept:
    """A str as UTF-8, at most `max_bytes`; what is longer is cut and says how long it was."""
    cdef Py_ssize_t n
    # Fast path: ASCII that fits
    if type_of(text) == PyUnicodeType and PyUnicode_IS_COMPACT_ASCII(text):
        n = PyUnicode_GET_LENGTH(text)
        if n <= max_bytes and n <= out.end - out.at:
            copy_short(out.at, <const char *> PyUnicode_DATA(text), n)
            if out.redact and sensitive_text(out.at, n):
                out.status = SENSITIVE
            out.at += n
            return
    write_any_text(out, text, max_bytes)

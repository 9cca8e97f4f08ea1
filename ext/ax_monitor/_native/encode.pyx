"""Python values to record bytes: UTF-8 text, and JSON for metadata and attributes.

Only exact built-in types are written here (str, int within 64 bits, finite float, bool, None, and
dict, list, tuple of them down to `MAX_DEPTH`); anything else answers FOREIGN, and the caller turns
it into those first (`ax_monitor.pipeline.plain`), outside the critical part.
"""

from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from libc.math cimport copysign, isfinite, rint
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport strlen

from ax_monitor._native.copy cimport copy_short
from ax_monitor._native.record cimport TEXT_MAX_BYTES
from ax_monitor._native.redact cimport sensitive_key, sensitive_text

cdef extern from "Python.h":
    PyObject *PyLongType "((PyObject *) &PyLong_Type)"
    PyObject *PyFloatType "((PyObject *) &PyFloat_Type)"
    PyObject *PyDictType "((PyObject *) &PyDict_Type)"
    PyObject *PyListType "((PyObject *) &PyList_Type)"
    PyObject *PyTupleType "((PyObject *) &PyTuple_Type)"
    PyObject *PyTrue "Py_True"
    PyObject *PyFalse "Py_False"
    PyObject *PyNone "Py_None"
    int PyUnicode_KIND(PyObject *o) nogil
    bint PyUnicode_IS_ASCII(PyObject *o) nogil
    int PyUnicode_READY(PyObject *o)
    long long PyLong_AsLongLongAndOverflow(PyObject *o, int *overflow)
    double PyFloat_AS_DOUBLE(PyObject *o) nogil
    int PyDict_Next(PyObject *o, Py_ssize_t *pos, PyObject **key, PyObject **value)
    Py_ssize_t PyList_GET_SIZE(PyObject *o) nogil
    PyObject *PyList_GET_ITEM(PyObject *o, Py_ssize_t i) nogil
    Py_ssize_t PyTuple_GET_SIZE(PyObject *o) nogil
    PyObject *PyTuple_GET_ITEM(PyObject *o, Py_ssize_t i) nogil
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *type)

cdef enum:
    MAX_DEPTH = 8           # FAULTS B7
    UTF8_MAX = 6            # bytes of one character at most: a lone surrogate becomes \udXXX

cdef const char *HEX = b"0123456789abcdef"


cdef enum:
    NEEDS_ESCAPE = 1        # inside a JSON string
    SUSPICIOUS = 2          # one of the bytes that sensitive_text() looks at

cdef uint8_t[256] _classes

cdef void _prepare() noexcept:
    cdef int i
    for i in range(32):
        _classes[i] = NEEDS_ESCAPE
    _classes[34] = _classes[92] = NEEDS_ESCAPE
    _classes[58] = _classes[61] = _classes[66] = SUSPICIOUS

_prepare()


cdef inline uint32_t _char_at(int kind, void *data, Py_ssize_t i) noexcept nogil:
    if kind == 1:
        return (<uint8_t *> data)[i]
    if kind == 2:
        return (<uint16_t *> data)[i]
    return (<uint32_t *> data)[i]


cdef inline char *_put_char(char *at, uint32_t c) noexcept nogil:
    """One character as UTF-8; a lone surrogate as its escape, as `backslashreplace` writes it."""
    if c < 0x80:
        at[0] = <char> c
        return at + 1
    if c < 0x800:
        at[0] = <char> (0xC0 | (c >> 6))
        at[1] = <char> (0x80 | (c & 0x3F))
        return at + 2
    if 0xD800 <= c <= 0xDFFF:
        at[0] = 92
        at[1] = 117
        at[2] = HEX[(c >> 12) & 15]
        at[3] = HEX[(c >> 8) & 15]
        at[4] = HEX[(c >> 4) & 15]
        at[5] = HEX[c & 15]
        return at + 6
    if c < 0x10000:
        at[0] = <char> (0xE0 | (c >> 12))
        at[1] = <char> (0x80 | ((c >> 6) & 0x3F))
        at[2] = <char> (0x80 | (c & 0x3F))
        return at + 3
    at[0] = <char> (0xF0 | (c >> 18))
    at[1] = <char> (0x80 | ((c >> 12) & 0x3F))
    at[2] = <char> (0x80 | ((c >> 6) & 0x3F))
    at[3] = <char> (0x80 | (c & 0x3F))
    return at + 4


cdef void _fail(Encoder *out, int status) noexcept:
    if out.status == ENCODED:
        out.status = status


cdef void write_any_text(Encoder *out, PyObject *text, Py_ssize_t max_bytes) noexcept:
    """The slow path of write_text()."""
    cdef Py_ssize_t n, i
    cdef char *start = out.at
    cdef char *at = start
    cdef char *stop
    cdef int kind
    cdef void *data
    if type_of(text) != PyUnicodeType:
        _fail(out, FOREIGN)
        return
    PyUnicode_READY(text)
    n = PyUnicode_GET_LENGTH(text)
    data = PyUnicode_DATA(text)
    stop = start + max_bytes
    if out.end - at < n * UTF8_MAX + CUT_MARK_MAX and out.end - at < max_bytes + CUT_MARK_MAX:
        _fail(out, NO_ROOM)
        return
    kind = PyUnicode_KIND(text)
    i = 0
    while i < n and stop - at >= UTF8_MAX:
        at = _put_char(at, _char_at(kind, data, i))
        i += 1
    if i < n and n - i <= UTF8_MAX and _rest_fits(kind, data, i, n, stop - at):
        while i < n:
            at = _put_char(at, _char_at(kind, data, i))
            i += 1
    if i < n:
        at += snprintf(at, CUT_MARK_MAX, "... [cut: %lld characters in all]", <long long> n)
    if out.redact and sensitive_text(start, at - start):
        _fail(out, SENSITIVE)
    out.at = at


cdef bint _rest_fits(int kind, void *data, Py_ssize_t i, Py_ssize_t n, Py_ssize_t room) noexcept:
    cdef char[UTF8_MAX * UTF8_MAX] scratch
    cdef char *at = scratch
    while i < n:
        at = _put_char(at, _char_at(kind, data, i))
        i += 1
    return at - scratch <= room


cdef void _json_raw(Encoder *out, const char *text, Py_ssize_t n) noexcept:
    if out.end - out.at < n:
        _fail(out, NO_ROOM)
        return
    copy_short(out.at, text, n)
    out.at += n


cdef inline char *_json_char(char *at, uint32_t c) noexcept nogil:
    """One character inside a JSON string."""
    if c == 34 or c == 92:
        at[0] = 92
        at[1] = <char> c
        return at + 2
    if c >= 32:
        if 0xD800 <= c <= 0xDFFF:           # written as the text \udXXX, so the backslash doubles
            at[0] = 92
            return _put_char(at + 1, c)
        return _put_char(at, c)
    at[0] = 92
    if c == 10:
        at[1] = 110
    elif c == 9:
        at[1] = 116
    elif c == 13:
        at[1] = 114
    else:
        at[1] = 117
        at[2] = 48
        at[3] = 48
        at[4] = HEX[c >> 4]
        at[5] = HEX[c & 15]
        return at + 6
    return at + 2


cdef void _json_text(Encoder *out, PyObject *text, bint is_key) noexcept:
    cdef Py_ssize_t n, i
    cdef char *at
    cdef char *stop
    cdef char *start
    cdef int kind
    cdef void *data
    cdef const uint8_t *ascii
    cdef uint8_t c, suspicious
    PyUnicode_READY(text)
    n = PyUnicode_GET_LENGTH(text)
    if out.end - out.at < n + 2:
        _fail(out, NO_ROOM)
        return
    data = PyUnicode_DATA(text)
    at = out.at
    at[0] = 34
    at += 1
    start = at
    stop = out.end - 8                      # room for one character and the closing quote
    i = 0
    suspicious = 0
    if PyUnicode_IS_ASCII(text) and n + 8 <= out.end - at:
        # Fast path: ASCII without anything to escape
        ascii = <const uint8_t *> data
        while i < n:
            c = _classes[ascii[i]]
            if c & NEEDS_ESCAPE:
                break
            suspicious |= c
            at[i] = <char> ascii[i]
            i += 1
        at += i
        if i == n:
            at[0] = 34
            if suspicious and out.redact and not is_key and sensitive_text(start, n):
                _fail(out, SENSITIVE)
            out.at = at + 1
            return
    kind = PyUnicode_KIND(text)
    while i < n:
        if at > stop:
            _fail(out, NO_ROOM)
            out.at = at                     # all that was written, so that it can be wiped
            return
        at = _json_char(at, _char_at(kind, data, i))
        i += 1
    if at >= out.end:
        _fail(out, NO_ROOM)
        return
    at[0] = 34
    if out.redact and not is_key and sensitive_text(start, at - start):
        _fail(out, SENSITIVE)
    out.at = at + 1


cdef void _json_int(Encoder *out, int64_t value) noexcept:
    cdef char[24] digits
    cdef int i = 24
    cdef bint negative = value < 0
    cdef uint64_t rest = <uint64_t> value
    if negative:
        rest = 0 - rest
    while True:
        i -= 1
        digits[i] = <char> (48 + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if negative:
        i -= 1
        digits[i] = 45
    _json_raw(out, &digits[i], 24 - i)


cdef void _json_float(Encoder *out, double value) noexcept:
    """The shortest decimal that reads back as `value`, always recognisable as a float."""
    cdef double scaled
    cdef int64_t n, whole, part
    cdef int digits
    cdef char *text
    if not isfinite(value):
        _fail(out, FOREIGN)
        return
    # Fast path: at most six decimals. n and 1e6 are exact, so n / 1e6 is the nearest double.
    scaled = rint(value * 1e6)
    if -1e15 < scaled < 1e15 and scaled / 1e6 == value and (value != 0 or scaled == 0):
        n = <int64_t> scaled
        if n < 0:
            _json_raw(out, "-", 1)
            n = -n
        elif n == 0:
            _json_raw(out, "0.0" if str_sign(value) == 0 else "-0.0", 3 + str_sign(value))
            return
        whole = n // 1000000
        part = n % 1000000
        _json_int(out, whole)
        digits = 6
        while digits > 1 and part % 10 == 0:
            part //= 10
            digits -= 1
        if out.end - out.at < digits + 1:
            _fail(out, NO_ROOM)
            return
        out.at[0] = 46
        out.at += digits + 1
        for n in range(1, digits + 1):
            (out.at - n)[0] = <char> (48 + part % 10)
            part //= 10
        return
    text = PyOS_double_to_string(value, 114, 0, 2, NULL)     # 'r', Py_DTSF_ADD_DOT_0
    if text == NULL:
        _fail(out, FOREIGN)
        return
    _json_raw(out, text, strlen(text))
    PyMem_Free(text)


cdef inline int str_sign(double value) noexcept nogil:
    """1 for -0.0, else 0 (of the two zeros)."""
    return 1 if copysign(1.0, value) < 0 else 0


cdef void _json_value(Encoder *out, PyObject *value, int depth) noexcept:
    cdef PyObject *kind = type_of(value)
    cdef int overflow = 0
    cdef long long number
    if kind == PyUnicodeType:
        _json_text(out, value, False)
    elif kind == PyLongType:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            _fail(out, FOREIGN)
        else:
            _json_int(out, number)
    elif kind == PyFloatType:
        _json_float(out, PyFloat_AS_DOUBLE(value))
    elif value == PyNone:
        _json_raw(out, "null", 4)
    elif value == PyTrue:
        _json_raw(out, "true", 4)
    elif value == PyFalse:
        _json_raw(out, "false", 5)
    elif depth >= MAX_DEPTH:
        _fail(out, FOREIGN)
    elif kind == PyDictType:
        _json_dict(out, value, depth)
    elif kind == PyListType or kind == PyTupleType:
        _json_items(out, value, kind == PyListType, depth)
    else:
        _fail(out, FOREIGN)


cdef void _json_dict(Encoder *out, PyObject *mapping, int depth) noexcept:
    cdef Py_ssize_t pos = 0
    cdef PyObject *key = NULL
    cdef PyObject *value = NULL
    cdef bint first = True
    cdef char *key_at
    _json_raw(out, "{", 1)
    while out.status == ENCODED and PyDict_Next(mapping, &pos, &key, &value):
        if type_of(key) != PyUnicodeType:
            _fail(out, FOREIGN)
            return
        if not first:
            _json_raw(out, ",", 1)
        first = False
        key_at = out.at
        _json_text(out, key, True)
        if out.status != ENCODED:
            return
        _json_raw(out, ":", 1)
        if out.redact and sensitive_key(key_at + 1, out.at - key_at - 3):
            _json_raw(out, '"[redacted]"', 12)
        else:
            _json_value(out, value, depth + 1)
    _json_raw(out, "}", 1)


cdef void _json_items(Encoder *out, PyObject *items, bint is_list, int depth) noexcept:
    cdef Py_ssize_t i
    cdef Py_ssize_t n = PyList_GET_SIZE(items) if is_list else PyTuple_GET_SIZE(items)
    _json_raw(out, "[", 1)
    for i in range(n):
        if out.status != ENCODED:
            return
        if i:
            _json_raw(out, ",", 1)
        _json_value(out, PyList_GET_ITEM(items, i) if is_list else PyTuple_GET_ITEM(items, i), depth + 1)
    _json_raw(out, "]", 1)


cdef void write_json(Encoder *out, PyObject *value, Py_ssize_t max_bytes) noexcept:
    """A value as JSON, at most `max_bytes` of it."""
    cdef char *end = out.end
    cdef bint limited = end - out.at > max_bytes
    if out.status != ENCODED:
        return
    if limited:
        out.end = out.at + max_bytes
    _json_value(out, value, 0)
    out.end = end
    if limited and out.status == NO_ROOM:
        out.status = TOO_LARGE


cdef bytes _encoded(Encoder *out, char *start):
    if out.status == ENCODED:
        return start[:out.at - start]
    return None


def encode_json(value, *, bint redact=False) -> bytes | None:
    """`value` as UTF-8 JSON, or None if it holds what only `plain()` can convert."""
    cdef bytearray buffer
    cdef char *start
    cdef Encoder out
    cdef Py_ssize_t room
    for room in (2048, TEXT_MAX_BYTES + CUT_MARK_MAX):      # most values are small
        buffer = bytearray(room)
        start = buffer
        out.at = start
        out.end = start + room
        out.status = ENCODED
        out.redact = redact
        write_json(&out, <PyObject *> value, TEXT_MAX_BYTES)
        if out.status != NO_ROOM:
            break
    return _encoded(&out, start)


def encode_text(str text not None, Py_ssize_t max_bytes=TEXT_MAX_BYTES) -> bytes:
    """`text` as it is stored: UTF-8, lone surrogates escaped, cut at `max_bytes`."""
    cdef Py_ssize_t room = min(len(text) * UTF8_MAX, max_bytes) + CUT_MARK_MAX
    cdef bytearray buffer = bytearray(room)
    cdef char *start = buffer
    cdef Encoder out
    out.at = start
    out.end = start + room
    out.status = ENCODED
    out.redact = False
    write_text(&out, <PyObject *> text, max_bytes)
    return _encoded(&out, start)

"""JSON objects as the recorder writes them, read back.

Metadata and attributes are mostly ASCII, and always without white space. What is anything else is left
to the `json` module, which takes two to four times as long; so is a text with escapes, by itself.
"""

from json.decoder import scanstring

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, strncmp

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const char *PyUnicode_DATA "(const char *) PyUnicode_DATA" (object text)
    object PyUnicode_DecodeASCII(const char *text, Py_ssize_t n, const char *errors)
    double PyOS_string_to_double(const char *text, char **end, PyObject *overflow) except? -1.0

cdef enum:
    KEYS = 256              # how many names are remembered
    KEY_MAX = 64            # bytes; a longer one is not
    DIGITS_MAX = 18         # of an int64_t
    DEPTH_MAX = 32          # of what is nested

cdef object _OTHER = object()   # instead of a value: not for us
cdef list _keys = [""] * KEYS   # by a hash of the name: most records have the names of the one before


cdef object _key(const char *text, Py_ssize_t n):
    """A name; the same object as long as it is remembered."""
    cdef uint32_t place = 2166136261
    cdef Py_ssize_t i
    if n > KEY_MAX:
        return PyUnicode_DecodeASCII(text, n, NULL)
    for i in range(n):
        place = (place ^ <uint8_t> text[i]) * 16777619
    place = (place ^ (place >> 15)) & (KEYS - 1)
    key = _keys[place]
    if PyUnicode_GET_LENGTH(key) != n or memcmp(PyUnicode_DATA(key), text, n) != 0:
        key = _keys[place] = PyUnicode_DecodeASCII(text, n, NULL)
    return key


cdef inline const char *_text_end(const char *at) noexcept:
    """The quote that ends a text; NULL if it has escapes, or does not end."""
    while at[0] != b'"':
        if <uint8_t> at[0] < 0x20 or at[0] == b"\\":
            return NULL
        at += 1
    return at


cdef inline const char *_digits_end(const char *at) noexcept:
    while b"0" <= at[0] <= b"9":
        at += 1
    return at


cdef object _value(const char **place, str source, int depth):
    """The value at a place, and the place behind it; _OTHER if `json` has to find out."""
    cdef const char *at = place[0]
    cdef const char *end
    if at[0] == b'"':
        end = _text_end(at + 1)
        if end == NULL:
            return _escaped(place, source)
        place[0] = end + 1
        return PyUnicode_DecodeASCII(at + 1, end - at - 1, NULL)
    if at[0] == b"-" or b"0" <= at[0] <= b"9":
        return _number(place)
    if at[0] == b"{":
        return _object(place, source, depth)
    if at[0] == b"[":
        return _array(place, source, depth)
    if strncmp(at, b"null", 4) == 0:
        place[0] = at + 4
        return None
    if strncmp(at, b"true", 4) == 0:
        place[0] = at + 4
        return True
    if strncmp(at, b"false", 5) == 0:
        place[0] = at + 5
        return False
    return _OTHER


cdef object _escaped(const char **place, str source):
    """A text by the `json` module. (In ASCII, a place is a character.)"""
    try:
        found, end = scanstring(source, place[0] + 1 - PyUnicode_DATA(source), True)
    except ValueError:
        return _OTHER
    place[0] = PyUnicode_DATA(source) + <Py_ssize_t> end
    return found


cdef object _number(const char **place):
    cdef const char *begin = place[0]
    cdef const char *at = begin + (begin[0] == b"-")
    cdef const char *digits = at
    cdef const char *part
    cdef char *end
    cdef int64_t whole = 0
    cdef double real
    at = _digits_end(at)
    if at == digits or (digits[0] == b"0" and at - digits > 1):
        return _OTHER
    if at[0] != b"." and at[0] != b"e" and at[0] != b"E":
        if at - digits > DIGITS_MAX:
            return _OTHER
        place[0] = at
        while digits < at:
            whole = whole * 10 + (digits[0] - 48)
            digits += 1
        return -whole if begin[0] == b"-" else whole
    if at[0] == b".":
        part = at + 1
        at = _digits_end(part)
        if at == part:
            return _OTHER
    if at[0] == b"e" or at[0] == b"E":
        at += 1
        if at[0] == b"+" or at[0] == b"-":
            at += 1
        part = at
        at = _digits_end(part)
        if at == part:
            return _OTHER
    real = PyOS_string_to_double(begin, &end, NULL)
    if end != at:
        return _OTHER
    place[0] = at
    return real


cdef object _array(const char **place, str source, int depth):
    cdef const char *at = place[0] + 1
    cdef list found = []
    if depth == DEPTH_MAX:
        return _OTHER
    if at[0] != b"]":
        while True:
            value = _value(&at, source, depth + 1)
            if value is _OTHER:
                return _OTHER
            found.append(value)
            if at[0] != b",":
                break
            at += 1
    if at[0] != b"]":
        return _OTHER
    place[0] = at + 1
    return found


cdef object _object(const char **place, str source, int depth):
    cdef const char *at = place[0] + 1
    cdef const char *end
    cdef dict found = {}
    if depth == DEPTH_MAX:
        return _OTHER
    if at[0] != b"}":
        while True:
            if at[0] != b'"':
                return _OTHER
            end = _text_end(at + 1)
            if end != NULL:
                key = _key(at + 1, end - at - 1)
                at = end + 1
            else:
                key = _escaped(&at, source)
            if at[0] != b":":           # or there was no end
                return _OTHER
            at += 1
            value = _value(&at, source, depth + 1)
            if value is _OTHER:
                return _OTHER
            found[key] = value
            if at[0] != b",":
                break
            at += 1
    if at[0] != b"}":
        return _OTHER
    place[0] = at + 1
    return found


cdef dict read_object(str text):
    cdef const char *at
    if not PyUnicode_IS_COMPACT_ASCII(text):
        return None
    at = PyUnicode_DATA(text)           # ends with a zero, at which everything above stops
    if at[0] != b"{":
        return None
    found = _object(&at, text, 0)
    if found is _OTHER or at != PyUnicode_DATA(text) + PyUnicode_GET_LENGTH(text):
        return None
    return found


def decode_object(str text not None) -> dict | None:
    """The object that a JSON text is, as `json.loads` has it; None if that has to find out.

    Which it has to where anything is not ASCII, or white space, or nested more than 32 deep, where a
    number is an integer of more than 18 digits, and where the text is no JSON object at all.
    Thread-safety: any thread. Cost: some 50 ns a value, 300 ns if it has escapes.
    """
    return read_object(text)

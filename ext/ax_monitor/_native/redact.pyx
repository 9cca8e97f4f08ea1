"""Does this text look like it carries a secret? A cheap yes or no, before anything is recorded.

The answer for ordinary text costs a few nanoseconds (a scan for three bytes at once, 16 places at a
time). What a secret is replaced with is decided in Python (`ax_monitor.redaction`), and only where
the answer is yes.
"""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memchr, memcmp, strlen

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef unsigned char ax_bytes __attribute__((vector_size(16)));     /* of gcc and clang */

    static inline ax_bytes ax_marks(ax_bytes text)
    {
        const ax_bytes zero = {0};
        return (ax_bytes) ((text == zero + '=') | (text == zero + ':') | (text == zero + 'B'));
    }

    /* Does any of = : B occur? */
    static inline int ax_has_mark(const char *text, size_t n)
    {
        ax_bytes block = {0}, found = {0};
        uint64_t half[2];
        size_t i;
        if (n < 16) {
            memcpy(&block, text, n);
            found = ax_marks(block);
        } else {
            for (i = 0; i + 16 < n; i += 16) {
                memcpy(&block, text + i, 16);
                found |= ax_marks(block);
            }
            memcpy(&block, text + n - 16, 16);
            found |= ax_marks(block);
        }
        memcpy(half, &found, 16);
        return (half[0] | half[1]) != 0;
    }
    """
    bint has_mark "ax_has_mark" (const char *text, size_t n) nogil

# A metadata key that ends in one of these (case ignored) has its value replaced, and so has the
# value in `word=value` in a text.
cdef const char *WORDS[14]
WORDS[:] = [
    b"password", b"passwd", b"passphrase", b"pwd", b"secret", b"authorization", b"apikey",
    b"api_key", b"api-key", b"private_key", b"access_key", b"credentials", b"token", b"cookie",
]
# The last two also occur in prose ("unexpected token: }"): behind them a colon is not enough.
cdef enum:
    N_WORDS = 14
    N_COLON_WORDS = 12

SENSITIVE_WORDS = tuple([WORDS[i].decode("ascii") for i in range(N_WORDS)])
COLON_WORDS = SENSITIVE_WORDS[:N_COLON_WORDS]


cdef uint16_t[N_WORDS] _tails           # the last two bytes of each word …
cdef uint8_t[N_WORDS] _lengths
cdef uint8_t[256] _ends_a_word          # … and whether any word ends in this byte, in either case


cdef void _prepare() noexcept:
    cdef int i
    cdef const char *word
    for i in range(N_WORDS):
        word = WORDS[i]
        _lengths[i] = <uint8_t> strlen(word)
        _tails[i] = _tail(word + _lengths[i])
        _ends_a_word[<uint8_t> word[_lengths[i] - 1]] = 1
        _ends_a_word[<uint8_t> word[_lengths[i] - 1] - 32] = 1


cdef inline unsigned char _lower(unsigned char c) noexcept nogil:
    return c + 32 if 65 <= c <= 90 else c


cdef inline uint16_t _tail(const char *end) noexcept nogil:
    return <uint16_t> (_lower((end - 2)[0]) << 8 | _lower((end - 1)[0]))


cdef bint _ends_in_word(const char *end, Py_ssize_t n, int n_words) noexcept nogil:
    """Do the `n` bytes before `end` close with one of the first `n_words` words?"""
    cdef int i
    cdef Py_ssize_t j
    cdef uint16_t tail
    if n < 3 or not _ends_a_word[<uint8_t> (end - 1)[0]]:
        return False
    tail = _tail(end)
    for i in range(n_words):
        if tail != _tails[i] or _lengths[i] > n:
            continue
        j = _lengths[i]
        while j > 2 and _lower((end - j)[0]) == <unsigned char> WORDS[i][_lengths[i] - j]:
            j -= 1
        if j == 2:
            return True
    return False


cdef bint sensitive_key(const char *key, Py_ssize_t n) noexcept nogil:
    return _ends_in_word(key + n, n, N_WORDS)


cdef bint _word_before(const char *text, const char *at, int n_words) noexcept nogil:
    """Is what stands before the `=` or `:` at `at` a sensitive word, maybe quoted?

    The quotes may be escaped: the text may hold JSON, and is looked at as JSON itself in metadata.
    """
    cdef char c
    while at > text:
        c = (at - 1)[0]
        if c != 32 and c != 34 and c != 39 and c != 92:     # space " ' \
            break
        at -= 1
    return _ends_in_word(at, at - text, n_words)


cdef bint _url_with_password(const char *at, const char *end) noexcept nogil:
    """`at` is the colon of a URL's `://`; is there a `user:password@` behind it?"""
    cdef const char *p = at + 3
    cdef bint colon = False
    while p < end and p[0] != 47 and p[0] != 32 and p[0] != 10:
        if p[0] == 58:
            colon = True
        elif p[0] == 64:
            return colon
        p += 1
    return False


cdef bint sensitive_text(const char *text, Py_ssize_t n) noexcept nogil:
    cdef const char *end = text + n
    cdef const char *at
    if not has_mark(text, n):
        return False
    at = <const char *> memchr(text, 61, n)                                   # =
    while at != NULL:
        if _word_before(text, at, N_WORDS):
            return True
        at = <const char *> memchr(at + 1, 61, end - at - 1)
    at = <const char *> memchr(text, 58, n)                                   # :
    while at != NULL:
        if end - at > 3 and at[1] == 47 and at[2] == 47:
            if _url_with_password(at, end):
                return True
        elif _word_before(text, at, N_COLON_WORDS):
            return True
        at = <const char *> memchr(at + 1, 58, end - at - 1)
    at = <const char *> memchr(text, 66, n)                                   # B
    while at != NULL:
        if end - at > 7 and memcmp(at, b"Bearer ", 7) == 0:
            return True
        if end - at > 6 and memcmp(at, b"BEGIN ", 6) == 0 and at > text and (at - 1)[0] == 45:
            return True
        at = <const char *> memchr(at + 1, 66, end - at - 1)
    return False


def is_sensitive(str text not None) -> bool:
    """True if recording `text` would go through redaction."""
    cdef bytes raw = text.encode("utf-8", "backslashreplace")
    return sensitive_text(raw, len(raw))


def is_sensitive_key(str key not None) -> bool:
    """True if the value under `key` in metadata would be replaced."""
    cdef bytes raw = key.encode("utf-8", "backslashreplace")
    return sensitive_key(raw, len(raw))


_prepare()

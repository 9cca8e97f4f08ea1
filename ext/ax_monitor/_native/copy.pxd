"""Copying short byte strings. A memcpy of unknown length compiles to a call or to `rep movs`, and
both cost more than the twenty to sixty bytes of a typical field (measured: 5 to 8 ns a field)."""

cdef extern from *:
    """
    #include <string.h>
    #include <stddef.h>
    static inline void ax_copy_short(char *to, const char *from, size_t n)
    {
        if (n >= 16) {
            size_t i = 0;
            if (n > 256) { memcpy(to, from, n); return; }
            for (; i + 16 <= n; i += 16) memcpy(to + i, from + i, 16);
            memcpy(to + n - 16, from + n - 16, 16);
        } else if (n >= 8) {
            memcpy(to, from, 8);
            memcpy(to + n - 8, from + n - 8, 8);
        } else if (n >= 4) {
            memcpy(to, from, 4);
            memcpy(to + n - 4, from + n - 4, 4);
        } else if (n) {
            to[0] = from[0];
            to[n >> 1] = from[n >> 1];
            to[n - 1] = from[n - 1];
        }
    }
    """
    void copy_short "ax_copy_short" (char *to, const char *from_, size_t n) noexcept nogil

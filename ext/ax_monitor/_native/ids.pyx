"""Identifiers: W3C trace and span ids, and time-ordered 128-bit ids (UUIDv7 layout, RFC 9562).

The generator is xoshiro256** seeded from the operating system. It is reseeded after a fork, so
that parent and child never draw the same ids. It is not for secrets.
"""

import os

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from ax_monitor._native.clock cimport realtime_ns

cdef uint64_t[4] _state
cdef int64_t _last_ms = 0
cdef uint64_t _counter = 0

cdef const char *HEX = b"0123456789abcdef"


def reseed() -> None:
    """Draw a new state from the operating system. Called at import and in a forked child."""
    global _last_ms, _counter
    cdef bytes seed = os.urandom(32)
    memcpy(_state, <const char *> seed, 32)
    _last_ms = 0
    _counter = 0


cdef inline uint64_t _rotl(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


cdef uint64_t random_u64() noexcept nogil:
    """64 random bits. Call with the GIL held: the state has no other guard."""
    cdef uint64_t result = _rotl(_state[1] * 5, 7) * 9
    cdef uint64_t t = _state[1] << 17
    _state[2] ^= _state[0]
    _state[3] ^= _state[1]
    _state[1] ^= _state[2]
    _state[0] ^= _state[3]
    _state[2] ^= t
    _state[3] = _rotl(_state[3], 45)
    return result


cdef void hex16_write(char *out, uint64_t value) noexcept nogil:
    """16 lowercase hex digits."""
    cdef int i
    for i in range(15, -1, -1):
        out[i] = HEX[value & 15]
        value >>= 4


cdef bint hex16_read(const char *text, uint64_t *value) noexcept nogil:
    """The value of 16 lowercase hex digits; False if it is anything else."""
    cdef uint64_t v = 0
    cdef int i
    cdef unsigned char c
    for i in range(16):
        c = text[i]
        if 48 <= c <= 57:
            v = (v << 4) | (c - 48)
        elif 97 <= c <= 102:
            v = (v << 4) | (c - 87)
        else:
            return False
    value[0] = v
    return True


cdef void uuid7_write(char *out, int64_t timestamp_ms, uint64_t seq, uint64_t salt) noexcept nogil:
    """The id of record `seq` (low 40 bits) of the ring with `salt` (low 34 bits), 36 characters.

    Layout: 48 bits of milliseconds, version 7, then the sequence number before the salt, so that
    ids of one ring sort in the order in which their records were made. The `logs` view in
    schema.sql computes the same from the stored columns.
    """
    cdef uint64_t ms = <uint64_t> timestamp_ms & 0xFFFFFFFFFFFFULL
    cdef uint64_t high = (ms << 16) | 0x7000 | ((seq >> 28) & 0xFFF)
    cdef uint64_t low = (<uint64_t> 1 << 63) | ((seq & 0xFFFFFFF) << 34) | (salt & 0x3FFFFFFFFULL)
    cdef char[32] hexed
    hex16_write(hexed, high)
    hex16_write(hexed + 16, low)
    memcpy(out, hexed, 8)
    out[8] = 45
    memcpy(out + 9, hexed + 8, 4)
    out[13] = 45
    memcpy(out + 14, hexed + 12, 4)
    out[18] = 45
    memcpy(out + 19, hexed + 16, 4)
    out[23] = 45
    memcpy(out + 24, hexed + 20, 12)


def new_trace_id() -> str:
    """A W3C trace id: 32 lowercase hex digits, never all zero."""
    cdef char[32] out
    cdef uint64_t low = random_u64()
    hex16_write(out, random_u64())
    hex16_write(out + 16, low if low else 1)
    return out[:32].decode("ascii")


def new_span_id() -> str:
    """A W3C span id: 16 lowercase hex digits, never all zero."""
    cdef char[16] out
    cdef uint64_t value = random_u64()
    hex16_write(out, value if value else 1)
    return out[:16].decode("ascii")


cpdef str new_id():
    """A time-ordered id in UUID text form (UUIDv7), increasing within the process."""
    global _last_ms, _counter
    cdef char[36] out
    cdef int64_t ms = realtime_ns() // 1_000_000
    if ms > _last_ms:
        _last_ms = ms
        _counter = random_u64() & 0x3FFFFFFFFFULL      # 38 bits: room to count up within the ms
    else:
        _counter += 1 + (random_u64() & 0xFF)
    uuid7_write(out, _last_ms, _counter, random_u64())
    return out[:36].decode("ascii")


def record_id(int64_t timestamp_ms, uint64_t seq, uint64_t salt) -> str:
    """The id under which record `seq` of the ring with `salt` is stored."""
    cdef char[36] out
    uuid7_write(out, timestamp_ms, seq, salt)
    return out[:36].decode("ascii")


reseed()
os.register_at_fork(after_in_child=reseed)

"""The clocks, for kernels. Python code uses `ax_monitor.clock`."""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec


cdef inline int64_t realtime_ns() noexcept nogil:
    """Nanoseconds since the Unix epoch."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t> now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef inline int64_t monotonic_ns() noexcept nogil:
    """Nanoseconds on a clock that never jumps."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t> now.tv_sec * 1_000_000_000 + now.tv_nsec

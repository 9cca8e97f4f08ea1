"""Ring files: creating them, finding those that a dead process left, and who owns one.

A ring file is alive as long as some process holds the POSIX lock on it; the kernel gives the lock
up when that process ends, however it ends. Process ids say nothing: they are reused.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import mmap
import os
import time
import zlib
from dataclasses import dataclass

from ax_monitor._native import RING_HEADER_BYTES, RING_SEGMENT_MIN_BYTES

SEGMENT_BYTES = RING_SEGMENT_MIN_BYTES
UNFINISHED_AGE_S = 60  # a file that was being made for longer than this was left behind

# Paths of ring files that this process has open: its own, and those that it is taking over. The
# locks are the process's, so a second open here would get them too, and its close would drop them.
_own: dict[str, object] = {}


def _reserve(path: str) -> bool:
    """Make a path this thread's, unless it is another's already. One step, without a lock."""
    token = object()
    return _own.setdefault(path, token) is token


def _unreserve(*paths: str) -> None:
    for path in paths:
        _own.pop(path, None)


def forget_own() -> None:
    """In a forked child: the parent's rings are not ours."""
    _own.clear()


def prefix(database: str, ring_dir: str | None) -> str:
    """The beginning of the paths of a database's ring files."""
    database = os.path.realpath(database)
    if ring_dir is None:
        return f"{database}-ring-"
    tag = zlib.crc32(os.fsencode(database))
    return os.path.join(os.path.realpath(ring_dir), f"{os.path.basename(database)}-{tag:08x}-ring-")


@dataclass(slots=True)
class RingBuffer:
    """The memory of a ring: a mapped file, or only memory if no file could be made.

    Args:
        buffer: What the native ring writes to.
        path: The file; None if the ring is volatile.
        reason: Why it is volatile.
    """

    buffer: mmap.mmap
    path: str | None = None
    fd: int = -1
    reason: str | None = None

    def remove(self) -> None:
        """Delete the file and give up the lock. The buffer must not be in use any more."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self.release()

    def release(self) -> None:
        """Leave the file for the next open to recover, and give up the lock."""
        with contextlib.suppress(BufferError):
            self.buffer.close()
        if self.path is not None:
            os.close(self.fd)
            _unreserve(self.path)
            self.path = None


def create(database: str, ring_dir: str | None, ring_bytes: int, ring_id: bytes) -> RingBuffer:
    """Memory for a new ring: a volatile one when no file can be made.

    Raises OSError if there is no memory for that either.
    """
    size = RING_HEADER_BYTES + ring_bytes
    path = prefix(database, ring_dir) + ring_id.hex()[:16]
    unfinished = path + ".new"
    fd = -1
    _reserve(path)
    _reserve(unfinished)
    try:
        fd = os.open(
            unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _allocate(fd, size)
        buffer = mmap.mmap(fd, size)
        # Only now does it have its final name: a file that others find is locked and complete.
        os.rename(unfinished, path)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
        _unreserve(path)
        return RingBuffer(mmap.mmap(-1, size), reason=f"no ring file at {path}: {error}")
    finally:
        _unreserve(unfinished)
    return RingBuffer(buffer, path, fd)


def _allocate(fd: int, size: int) -> None:
    """Reserve the blocks: writing to a mapped hole on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    block = bytes(1024 * 1024)
    for _ in range(0, size, len(block)):
        os.write(fd, block)
    os.ftruncate(fd, size)


@dataclass(slots=True)
class OrphanRing:
    """A ring file that no process owns; this process holds its lock now."""

    path: str
    fd: int

    def read(self) -> bytes:
        """The whole file."""
        parts = []
        os.lseek(self.fd, 0, os.SEEK_SET)
        while part := os.read(self.fd, 1 << 24):
            parts.append(part)
        return b"".join(parts)

    def remove(self) -> None:
        """Everything in it is stored."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.release()

    def set_aside(self) -> str:
        """It can't be read: keep it under another name, out of the way; that name."""
        kept = f"{self.path}.damaged"
        with contextlib.suppress(OSError):
            os.rename(self.path, kept)
        self.release()
        return kept

    def release(self) -> None:
        """Leave it for the next attempt."""
        os.close(self.fd)
        _unreserve(self.path)


def find(database: str, ring_dir: str | None) -> list[str]:
    """Ring files of this database that are not this process's own, alive or not."""
    found = glob.glob(glob.escape(prefix(database, ring_dir)) + "*")
    if ring_dir is not None:
        found += glob.glob(glob.escape(prefix(database, None)) + "*")
    return sorted(path for path in found if path not in _own and not path.endswith(".damaged"))


def claim_orphan(path: str) -> OrphanRing | None:
    """Take over a ring file if its owner is gone; None if it is alive or somebody was faster."""
    if _is_being_made(path) or not _reserve(path):
        return None
    fd = -1
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return OrphanRing(path, fd)
    except OSError:
        pass
    if fd >= 0:
        os.close(fd)
    _unreserve(path)
    return None


def _is_being_made(path: str) -> bool:
    """Not even to be touched: to try its lock would keep its maker from getting it."""
    if not path.endswith(".new"):
        return False
    try:
        return time.time() - os.stat(path).st_mtime < UNFINISHED_AGE_S
    except OSError:
        return True  # it has its final name now


def waiting(database: str, ring_dir: str | None = None) -> list[str]:
    """Ring files whose owner is gone, without taking them over (for `doctor`)."""
    found = []
    for path in find(database, ring_dir):
        orphan = claim_orphan(path)
        if orphan is not None:
            orphan.release()
            found.append(path)
    return found

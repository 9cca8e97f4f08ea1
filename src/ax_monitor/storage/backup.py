"""A copy of a database while it is written to, by SQLite's own means
(https://www.sqlite.org/backup.html)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import apsw

from ax_monitor.errors import StorageError
from ax_monitor.storage.connection import check_location, snapshot, storage_errors

STEP_PAGES = 4096  # 16 MiB at a time


def back_up(connection: apsw.Connection, target: str, tell: Callable[[int, int], object]) -> int:
    """Copy what is committed now into a new file that only we may read; its size in bytes.

    It takes its name when it is complete. Who writes goes on meanwhile; only the
    WAL can't be copied back as long.

    Args:
        connection: A reader's.
        target: Where to; there must be no such file.
        tell: Called with how many pages are done, and of how many.

    Raises:
        StorageError: the target is there already, or can't be written.
    """
    check_location(target)
    if os.path.lexists(target):
        raise StorageError(f"{target} is there already: remove it, or name another file")
    unfinished = f"{target}.{os.getpid()}.part"
    try:
        with storage_errors(target, "writing"):
            os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            copy = apsw.Connection(unfinished)
            try:
                # In one state of the file: else every commit of others would begin it anew.
                with snapshot(connection), copy.backup("main", connection, "main") as backup:
                    while not backup.done:
                        backup.step(STEP_PAGES)
                        tell(backup.page_count - backup.remaining, backup.page_count)
            finally:
                copy.close()
            os.link(unfinished, target)  # fails, other than a rename, if somebody was faster
    except OSError as error:
        raise StorageError(f"{target} can't be made: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
    return os.path.getsize(target)

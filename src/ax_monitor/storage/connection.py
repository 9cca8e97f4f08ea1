"""Opening SQLite connections the way the recorder needs them, and its errors in our words.

https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from typing import Any, Literal

import apsw

from ax_monitor._native import (
    DEADLINE_EXTENSION,
    DEADLINE_EXTENSION_ENTRY,
    FSTAT_ADDRESS,
    SAMPLES_EXTENSION,
    SAMPLES_EXTENSION_ENTRY,
)
from ax_monitor.errors import StorageError

Connection = apsw.Connection

# Before 3.51.3 a WAL reset could corrupt the database: https://www.sqlite.org/wal.html#walresetbug
MIN_SQLITE_VERSION = (3, 51, 3)

APPLICATION_ID = 0x41584D4E  # "AXMN"; tells our files from others (PRAGMA application_id)

OPEN_TIMEOUT_MS = 5000  # creating and migrating: all processes that start at once take turns
WRITER_BUSY_MS = 1000  # a batch: short, so that close() stays within its time; the pump tries again
READER_BUSY_MS = 250
WRITER_CACHE_KIB = 64 * 1024
READER_CACHE_KIB = 16 * 1024
WAL_LIMIT_BYTES = 64 * 1024 * 1024

_RETRYABLE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
    apsw.InterruptError,
    apsw.SchemaChangeError,
)
_WHAT_TO_DO = {
    apsw.FullError: "the disk is full: free some space",
    apsw.ReadOnlyError: "the file or its folder is read-only: change its permissions",
    apsw.BusyError: "another program holds it locked: try again, or find that program",
    apsw.NotADBError: "the file is not an SQLite database: pass another path",
    apsw.CorruptError: "the database is damaged: run `ax monitor doctor`",
    apsw.IOError: "reading or writing the disk failed",
}


def _check_version(found: str) -> None:
    version = tuple(int(part) for part in found.split("."))
    if version < MIN_SQLITE_VERSION:
        wanted = ".".join(map(str, MIN_SQLITE_VERSION))
        raise ImportError(
            f"ax-monitor needs SQLite {wanted} or newer, because older ones can corrupt a database "
            f"in WAL mode; apsw brings {found}: upgrade apsw"
        )


def _tell_forks_apart() -> None:
    """Have SQLite take the files of a forked child for others than the parent's.

    A process-wide setting of apsw's SQLite, without any effect where nothing forks.
    """
    if "unix" in apsw.vfs_names():
        apsw.VFS("ax-monitor-setup", "unix").xSetSystemCall("fstat", FSTAT_ADDRESS)


def _without_memory_statistics() -> None:
    """Switch off what makes every allocation of SQLite take one process-wide mutex.

    A process that forks while another of its threads holds it leaves a child that can never
    allocate again. Not possible any more once a connection is open.
    """
    if not apsw.connections():
        apsw.shutdown()
        apsw.config(apsw.SQLITE_CONFIG_MEMSTATUS, False)
        apsw.initialize()


_check_version(apsw.sqlite_lib_version())
_without_memory_statistics()
_tell_forks_apart()


def sqlite_versions() -> str:
    """Which apsw and which SQLite are at work, in words."""
    return f"apsw {apsw.apsw_version()} with SQLite {apsw.sqlite_lib_version()}"


@contextlib.contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Several queries that see the database as it is at one moment; one may be within another."""
    outermost = not connection.in_transaction
    if outermost:
        connection.execute("BEGIN")
    try:
        yield
    finally:
        if outermost and connection.in_transaction:  # an error may have ended it
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def time_limit(connection: Connection, limit_ms: int | None) -> Iterator[None]:
    """What runs on a reader's connection in the block is interrupted after so long (None: never).

    Raises:
        apsw.InterruptError: from the statement that took too long.
    """
    if limit_ms is None:
        yield
        return
    connection.execute("SELECT ax_deadline(?)", (limit_ms,))
    try:
        yield
    finally:
        connection.execute("SELECT ax_deadline(NULL)")


def one_row(connection: Connection, sql: str, values: Any = ()) -> tuple[Any, ...]:
    """The row of a query that has exactly one."""
    (row,) = connection.execute(sql, values).fetchall()
    return row


@contextlib.contextmanager
def storage_errors(path: str, doing: str) -> Iterator[None]:
    """Turn apsw's exceptions into StorageError: the one place where that happens."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path, doing) from error


def translate(error: apsw.Error, path: str, doing: str) -> StorageError:
    """A StorageError that says what was being done, what went wrong, and what helps."""
    hint = next((text for cls, text in _WHAT_TO_DO.items() if isinstance(error, cls)), None)
    message = f"{doing} {path} failed: {error}" + (f"; {hint}" if hint else "")
    return StorageError(message, retryable=isinstance(error, _RETRYABLE), kind=_kind(error))


def _kind(error: apsw.Error) -> Literal["locked", "record", "other"]:
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return "locked"
    if isinstance(error, (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError)):
        return "record"
    # A generic error; but our statements are right, so it is the JSON of a record that is not.
    if isinstance(error, apsw.SQLError) and str(error).endswith("malformed JSON"):
        return "record"
    return "other"


def error_from_code(code: int, message: str) -> apsw.Error:
    """The apsw exception for an extended result code."""
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    error.args = (message,)
    return error


def file_identity(path: str) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_location(path: str) -> None:
    """Explain what SQLite would only call "unable to open database file"."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise StorageError(f"{path} is a folder: pass the path of a file in it")
    if not os.path.isdir(folder):
        raise StorageError(f"there is no folder {folder}: create it, or pass another path")
    for place, mode in ((folder, os.X_OK), (path, os.R_OK)):
        if os.path.exists(place) and not os.access(place, mode):
            raise StorageError(
                f"no permission to open {place}: change its permissions, or pass another path"
            )
    if not os.path.exists(path) and not os.access(folder, os.W_OK):
        raise StorageError(
            f"no permission to create {path}: change the folder's permissions, or pass another path"
        )


def open_writer(
    path: str, *, strict: bool = False, vfs: str | None = None, wait_ms: int = OPEN_TIMEOUT_MS
) -> apsw.Connection:
    """The read-write connection: WAL, no checkpoint inside COMMIT, triggers off.

    Creates the file (mode 0600) if there is none. `strict` syncs every commit; `wait_ms` is how
    long to wait for others that have it locked.
    """
    check_location(path)
    if not os.path.exists(path):
        _create_private(path)
    connection = apsw.Connection(
        path,
        flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
        vfs=vfs,
    )
    try:
        connection.set_busy_timeout(wait_ms)
        _restrict(connection)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        if connection.pragma("page_count") == 0:  # later it would be a write at every opening
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        _enter_wal_mode(connection, wait_ms)
        connection.execute(f"PRAGMA synchronous={'FULL' if strict else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
        connection.execute("PRAGMA mmap_size=0")
        connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
        load_extension(connection, SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY)
    except BaseException:
        connection.close(True)
        raise
    return connection


def _create_private(path: str) -> None:
    """An empty file that only we may read; SQLite gives -wal and -shm the same mode.

    It gets its name when it is closed already: to close a file that another thread has open through
    SQLite would drop that thread's locks.
    """
    unfinished = f"{path}-new-{os.urandom(8).hex()}"
    with contextlib.suppress(OSError):  # SQLite will say what is wrong, or do without
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            os.link(unfinished, path)
        finally:
            os.unlink(unfinished)


def open_reader(path: str, *, vfs: str | None = None) -> apsw.Connection:
    """A read-only connection. Never creates anything, never checkpoints."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    try:
        connection.set_busy_timeout(READER_BUSY_MS)
        _restrict(connection)
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA mmap_size=0")
        connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
        load_extension(connection, DEADLINE_EXTENSION, DEADLINE_EXTENSION_ENTRY)
        load_extension(connection, SAMPLES_EXTENSION, SAMPLES_EXTENSION_ENTRY)
    except BaseException:
        connection.close(True)
        raise
    return connection


def load_extension(connection: apsw.Connection, library: str, entry: str) -> None:
    """Load one of our own kernels; nothing else can be loaded, before or after."""
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1)
    try:
        connection.load_extension(os.path.abspath(library), entry)
    finally:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)


def _restrict(connection: apsw.Connection) -> None:
    """Against hostile or damaged files (https://www.sqlite.org/security.html)."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.execute("PRAGMA cell_size_check=ON")


def _enter_wal_mode(connection: apsw.Connection, wait_ms: int) -> None:
    """Switch to WAL. The switch itself does not wait for other openers, so try again."""
    deadline = time.monotonic() + wait_ms / 1000
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
            if mode == "wal":
                return
            raise StorageError(
                f"{connection.filename} can't be put into WAL mode (it stays in {mode} mode)"
            )
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.02))


def take_write_lock(path: str, *, vfs: str | None = None, wait_ms: int) -> None:
    """Take the write lock and give it back, on a connection of its own; nothing is written.

    Never creates a file, and leaves the WAL as it is, also if nobody else has it open.

    Raises:
        StorageError: of kind "locked" if others held the lock for all of `wait_ms`.
    """
    check_location(path)
    with storage_errors(path, "writing to"):
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.set_busy_timeout(wait_ms)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        finally:
            connection.close(True)

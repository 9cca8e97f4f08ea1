"""The schema's versions: numbered SQL files. Those that a file lacks are applied in one go.

`PRAGMA user_version` is the number of the last one applied. A file from a newer version can be read
but not written.
"""

from __future__ import annotations

import os

import apsw

from ax_monitor.errors import SchemaVersionError, StorageError
from ax_monitor.storage.connection import APPLICATION_ID, open_reader, storage_errors


def _load() -> tuple[str, ...]:
    # Not importlib.resources: to import that takes longer than all the rest of this module.
    folder = os.path.join(os.path.dirname(__file__), "schema")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".sql"))
    for number, name in enumerate(names, start=1):
        if not name.startswith(f"{number:04}_"):
            raise StorageError(f"migration {name} is out of order: number {number} is missing")
    texts = []
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            texts.append(file.read())
    return tuple(texts)


MIGRATIONS = _load()
SCHEMA_VERSION = len(MIGRATIONS)


def schema_version(connection: apsw.Connection) -> int:
    """The version of the open file; 0 for an empty one."""
    return int(connection.pragma("user_version"))


def check_readable(connection: apsw.Connection, path: str) -> None:
    """Raise StorageError unless this is a database of ours."""
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StorageError(f"{path} is not an ax-monitor database: pass another path")


def migrate(connection: apsw.Connection, path: str) -> None:
    """Bring the file to the newest version. Safe against others that do the same at once.

    Raises:
        SchemaVersionError: a newer ax-monitor wrote it.
        StorageError: it is some other program's database.
    """
    if schema_version(connection) == SCHEMA_VERSION:
        check_readable(connection, path)
        return  # without a lock: opening does not wait for whoever is writing
    # The version is read inside the transaction: another process may just have migrated.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = schema_version(connection)
        if version:
            check_readable(connection, path)
        if version > SCHEMA_VERSION:
            raise SchemaVersionError(version, SCHEMA_VERSION)
        if version == SCHEMA_VERSION:
            connection.execute("ROLLBACK")
            return
        if version == 0 and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise StorageError(f"{path} belongs to another program: pass another path")
        for migration in MIGRATIONS[version:]:
            connection.execute(migration)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def dump_schema(path: str) -> str:
    """The statements that make the file's tables, views, indexes and triggers, in their order."""
    with storage_errors(path, "reading"):
        connection = open_reader(path)
        rows = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT GLOB 'logs_fts_*' "
            "AND name NOT GLOB 'sqlite_*' ORDER BY rowid"
        ).fetchall()
        connection.close()
    return "".join(f"{sql};\n\n" for (sql,) in rows)

"""Queries that users write themselves: they read, they end in time, and they are one statement."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import apsw

from ax_monitor.errors import QueryError
from ax_monitor.storage.connection import time_limit

# Pragmas that only tell something: without a value, or with the name of what they tell about.
_PRAGMAS: Final = frozenset(
    ("compile_options", "data_version", "freelist_count", "function_list", "page_count",
     "page_size", "schema_version", "table_list", "user_version")
)  # fmt: skip
_PRAGMAS_OF: Final = frozenset(
    ("foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_xinfo")
)
_READING: Final = frozenset(
    (apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE)
)


def run_query(
    connection: apsw.Connection,
    sql: str,
    limit_ms: int,
    take: Callable[[tuple[str, ...], Iterable[tuple[Any, ...]]], None],
) -> None:
    """Run a query of a user's; `take` gets the names of its columns and its rows, one by one.

    Raises:
        QueryError: It is no query, or more than one, or it took too long.
    """
    columns: tuple[str, ...] | None = None

    def begins(cursor: apsw.Cursor, statement: str, bindings: Any) -> bool:
        nonlocal columns
        names = tuple(column[0] for column in cursor.get_description())
        if names and columns is not None:
            raise QueryError("one statement at a time, please: there is more behind the first ';'")
        columns = names or columns  # without names it is a comment, or nothing
        return True

    cursor = connection.cursor()
    cursor.exec_trace = begins
    try:
        with time_limit(connection, limit_ms), _authorized(connection):
            cursor.execute(sql, can_cache=False)
            if columns is None:
                raise QueryError("there is no statement in it")
            take(columns, cursor)
    except apsw.InterruptError:
        raise QueryError(
            f"stopped after {limit_ms / 1000:g} s: narrow the query, or allow it more time"
        ) from None
    except apsw.AuthError:
        raise QueryError("only reading is allowed: SELECT, WITH, EXPLAIN, VALUES") from None
    except (apsw.SQLError, apsw.BindingsError) as error:
        raise QueryError(str(error)) from None
    finally:
        cursor.close(True)


@contextlib.contextmanager
def _authorized(connection: apsw.Connection) -> Iterator[None]:
    connection.authorizer = _authorize
    try:
        yield
    finally:
        connection.authorizer = None


def _authorize(
    operation: int, first: str | None, second: str | None, database: str | None, trigger: str | None
) -> int:
    if operation == apsw.SQLITE_FUNCTION and second == "ax_deadline":
        return apsw.SQLITE_DENY  # the limit is not the query's to lift
    tells = operation == apsw.SQLITE_PRAGMA and (
        first in _PRAGMAS_OF or (first in _PRAGMAS and second is None)
    )
    return apsw.SQLITE_OK if tells or operation in _READING else apsw.SQLITE_DENY

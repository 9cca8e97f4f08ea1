"""Files that come from anywhere (FAULTS Z12)."""

from __future__ import annotations

import apsw
import pytest

from ax_monitor.storage.connection import open_reader, open_writer
from ax_monitor.storage.writer import Writer

OPENERS = {"reader": open_reader, "writer": open_writer}


@pytest.mark.parametrize("opener", OPENERS)
def test_z12_a_file_can_call_nothing_and_load_nothing(db: str, opener: str) -> None:
    """Its schema is not trusted, its shadow tables are safe, and no extension can be loaded."""
    Writer(db).close()
    with apsw.Connection(db) as theirs:
        theirs.execute("CREATE VIEW trap AS SELECT load_extension('/tmp/evil')")
        theirs.execute("CREATE VIEW fts AS SELECT fts5(x'00')")
    connection = OPENERS[opener](db)
    for switch, state in (
        (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
        (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
        (apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
    ):
        assert connection.config(switch, -1) == state
    with pytest.raises(apsw.SQLError, match="unsafe use of load_extension"):
        connection.execute("SELECT * FROM trap").fetchall()
    with pytest.raises(apsw.SQLError, match="unsafe use of fts5"):
        connection.execute("SELECT * FROM fts").fetchall()
    with pytest.raises(apsw.ExtensionLoadingError):
        connection.load_extension("/tmp/evil")
    connection.close()

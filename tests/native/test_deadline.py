"""The time limit of a connection: it interrupts what is too slow, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import apsw
import pytest

from ax_monitor._native import DEADLINE_EXTENSION, DEADLINE_EXTENSION_ENTRY
from ax_monitor.storage.connection import load_extension, time_limit

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"
SHORT = f"{ENDLESS.replace('FROM c)', 'FROM c WHERE x < 100000)')}"


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    opened = apsw.Connection(":memory:")
    load_extension(opened, DEADLINE_EXTENSION, DEADLINE_EXTENSION_ENTRY)
    yield opened
    opened.close()


@pytest.mark.timeout(20)
def test_what_takes_too_long_is_interrupted(connection: apsw.Connection) -> None:
    begin = time.monotonic()
    with time_limit(connection, 50), pytest.raises(apsw.InterruptError):
        connection.execute(ENDLESS).fetchall()
    assert time.monotonic() - begin >= 0.05


@pytest.mark.timeout(20)
def test_it_works_without_the_interpreter(connection: apsw.Connection) -> None:
    """A thread that computes does not keep the limit from being seen."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        with time_limit(connection, 50), pytest.raises(apsw.InterruptError):
            connection.execute(ENDLESS).fetchall()
    finally:
        stop.set()
        thread.join()


def test_what_ends_in_time_is_left_alone(connection: apsw.Connection) -> None:
    with time_limit(connection, 60_000):
        assert connection.execute(SHORT).fetchall() == [(100_000,)]


def test_after_the_block_there_is_no_limit(connection: apsw.Connection) -> None:
    for limit in (0, 1, 10**18):
        with time_limit(connection, limit):
            pass
        time.sleep(0.002)
        assert connection.execute(SHORT).fetchall() == [(100_000,)]
    with time_limit(connection, None):
        assert connection.execute(SHORT).fetchall() == [(100_000,)]


@pytest.mark.timeout(20)
def test_each_connection_has_its_own(connection: apsw.Connection) -> None:
    other = apsw.Connection(":memory:")
    load_extension(other, DEADLINE_EXTENSION, DEADLINE_EXTENSION_ENTRY)
    with time_limit(connection, 0):
        assert other.execute(SHORT).fetchall() == [(100_000,)]
        with pytest.raises(apsw.InterruptError):
            connection.execute(ENDLESS).fetchall()
    other.close()


def test_a_schema_can_not_call_it(connection: apsw.Connection) -> None:
    connection.execute("CREATE VIEW v AS SELECT ax_deadline(NULL)")
    with pytest.raises(apsw.SQLError, match="unsafe use"):
        connection.execute("SELECT * FROM v").fetchall()

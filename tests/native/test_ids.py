"""Identifiers: their form, their order, and that no two processes draw the same ones."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
import warnings

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ax_monitor._native import TIME_KEY_SHIFT, new_id, new_span_id, new_trace_id, record_id
from ax_monitor.storage.writer import Writer
from tests.oracles import new_ring

MANY = 20_000
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SALT_MAX = 2**34 - 1
SEQ_MAX = 2**40 - 1

times_ms = st.integers(0, 2**43)
seqs = st.integers(1, SEQ_MAX)
salts = st.integers(0, SALT_MAX)


def test_trace_and_span_ids_are_w3c() -> None:
    """Trace ids are 32, span ids 16 lowercase hex digits, never all zero, no two alike."""
    traces = {new_trace_id() for _ in range(MANY)}
    spans = {new_span_id() for _ in range(MANY)}
    assert len(traces) == len(spans) == MANY
    assert all(re.fullmatch("[0-9a-f]{32}", trace) and trace != "0" * 32 for trace in traces)
    assert all(re.fullmatch("[0-9a-f]{16}", span) and span != "0" * 16 for span in spans)


def test_the_bits_of_trace_ids_are_evenly_random() -> None:
    """Every bit is set about half the time, as sampling by the low 56 bits needs it."""
    ids = [int(new_trace_id(), 16) for _ in range(MANY)]
    for bit in range(128):
        ones = sum(value >> bit & 1 for value in ids)
        assert abs(ones - MANY / 2) < 6 * (MANY / 4) ** 0.5


def test_new_ids_increase_and_carry_the_time() -> None:
    """Ids of one process are UUIDs of version 7 that sort in the order in which they were made."""
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(MANY)]
    after = time.time_ns() // 1_000_000
    assert ids == sorted(set(ids))
    assert all(UUID7.fullmatch(each) for each in ids)
    parsed = [uuid.UUID(each) for each in ids]
    assert {each.version for each in parsed} == {7}
    assert {each.variant for each in parsed} == {uuid.RFC_4122}
    assert all(before <= each.int >> 80 <= after for each in parsed)


def test_new_ids_of_many_threads_are_unique_and_increase_in_each() -> None:
    """Threads that draw at the same time never get the same id, and each sees its own increase."""
    drawn: list[list[str]] = [[] for _ in range(8)]

    def draw(into: list[str]) -> None:
        into.extend(new_id() for _ in range(MANY // 8))

    threads = [threading.Thread(target=draw, args=(into,)) for into in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in drawn)
    assert len({one for each in drawn for one in each}) == MANY


@pytest.mark.timeout(30)
def test_a_forked_child_draws_other_ids() -> None:
    """After `fork` parent and child share no trace, span or time-ordered id."""

    def draw() -> list[str]:
        return [make() for make in (new_trace_id, new_span_id, new_id) for _ in range(1000)]

    draw()
    readable, writable = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and up: threads and fork
        pid = os.fork()
    if pid == 0:
        try:
            os.close(readable)
            with os.fdopen(writable, "w") as out:
                out.write("\n".join(draw()))
        finally:
            os._exit(0)
    os.close(writable)
    mine = draw()
    with os.fdopen(readable) as source:
        theirs = source.read().split("\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(theirs) == len(mine) == 3000
    assert not set(mine) & set(theirs)


# -- ids of records --------------------------------------------------------------------------------


@given(st.lists(st.tuples(times_ms, seqs), min_size=2, unique=True), salts)
def test_record_ids_sort_by_time_then_sequence(records: list[tuple[int, int]], salt: int) -> None:
    """The ids of a ring's records sort as (timestamp, seq) does, and are UUIDs of version 7."""
    ids = {record: record_id(*record, salt) for record in records}
    assert sorted(records) == sorted(records, key=ids.__getitem__)
    assert len(set(ids.values())) == len(records)
    assert all(UUID7.fullmatch(each) for each in ids.values())


@given(times_ms, seqs, salts)
def test_record_ids_hold_time_sequence_and_salt(timestamp: int, seq: int, salt: int) -> None:
    """Nothing of the three is lost in an id, so different records of different rings differ."""
    value = uuid.UUID(record_id(timestamp, seq, salt)).int
    assert value >> 80 == timestamp
    assert (value >> 64 & 0xFFF) << 28 | (value >> 34 & 0xFFFFFFF) == seq
    assert value & SALT_MAX == salt


@given(
    rows=st.lists(
        st.tuples(st.integers(-(2**43), 2**43), seqs, st.integers(0, 4095)),
        min_size=1,
        max_size=20,
        unique_by=lambda row: (row[0], row[2]),
    ),
    salt=salts,
)
@example(rows=[(-1, 1, 0), (0, SEQ_MAX, 4095), (2**43, 2**28, 7)], salt=SALT_MAX)
def test_the_logs_view_computes_the_same_ids(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], salt: int
) -> None:
    """The SQL expression behind `logs.id` gives what `record_id` gives, for any time and number."""
    connection = _schema(tmp_path_factory)
    connection.execute("DELETE FROM recorder_rings; DELETE FROM log_records")
    connection.execute(
        "INSERT INTO recorder_rings(ring, ring_id, salt, last_seq, updated_at) "
        "VALUES (1, x'00', ?, 0, 0)",
        (salt,),
    )
    connection.executemany(
        "INSERT INTO log_records(seq, context, severity, ring, ring_seq, message) "
        "VALUES (?, 1, 9, 1, ?, 'm')",
        [((timestamp << TIME_KEY_SHIFT) + counter, seq) for timestamp, seq, counter in rows],
    )
    found = connection.execute("SELECT seq, id, timestamp FROM logs ORDER BY seq").fetchall()
    assert found == [
        ((timestamp << TIME_KEY_SHIFT) + counter, record_id(timestamp, seq, salt), timestamp)
        for timestamp, seq, counter in sorted(rows, key=lambda row: (row[0], row[2]))
    ]


_connections: list[apsw.Connection] = []


def _schema(tmp_path_factory: pytest.TempPathFactory) -> apsw.Connection:
    """A copy in memory of a real database with one context; the same for all examples."""
    if not _connections:
        path = str(tmp_path_factory.mktemp("ids") / "monitor.db")
        Writer(path).close()
        connection = apsw.Connection(":memory:")
        source = apsw.Connection(path)
        with connection.backup("main", source, "main") as backup:
            backup.step()
        source.close()
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.execute("INSERT INTO log_contexts(id, source) VALUES (1, 's')")
        _connections.append(connection)
    return _connections[0]


def test_written_records_get_the_ids_of_their_ring(db: str) -> None:
    """A record in the database has the id that its time, number and ring give it."""
    ring_id = os.urandom(16)
    ring, _buffer = new_ring(3, ring_id)
    stamps = [1_700_000_000_123, 1_700_000_000_123, 5, 0, 1_800_000_000_000]
    for stamp in stamps:
        fields = ("source", None, None, None, None, None, "message", None, None)
        assert ring.append(1, 9, fields, timestamp_ns=stamp * 1_000_000 + 999_999)
    writer = Writer(db)
    assert ring.claim()
    writer.write_claim(ring)
    writer.close()
    assert ring.salt == int.from_bytes(ring_id[:8], "little") & SALT_MAX
    reader = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    found = reader.execute("SELECT id, timestamp FROM logs ORDER BY id").fetchall()
    reader.close()
    expected = [
        (record_id(stamp, seq, ring.salt), stamp) for seq, stamp in enumerate(stamps, start=1)
    ]
    assert found == sorted(expected)

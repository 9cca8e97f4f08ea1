"""Batches of records to tables: keys, groups, progress, and all or nothing."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ax_monitor import StorageError
from ax_monitor._native import TIME_KEY_SHIFT, BatchWriter, read_ring
from ax_monitor.storage.records import LOG, SPAN, RecordKind
from ax_monitor.storage.writer import Writer
from tests.batches import (
    NOW_MS,
    RING_IDS,
    append,
    append_one_of_each,
    log,
    read_rows,
    row_counts,
    write,
)
from tests.oracles import TimeKeys, new_ring

paths = itertools.count()


# -- time keys -------------------------------------------------------------------------------------

near = st.integers(NOW_MS, NOW_MS + 3)
times = near | st.integers(-2, 2) | st.sampled_from([-(2**43), 2**43, 9_223_372_036_853])
runs = st.tuples(times, st.sampled_from([1, 1, 1, 1, 2, 3, 10, 4095, 4097]))
batches = st.lists(
    st.tuples(st.integers(0, 1), st.lists(runs, min_size=1, max_size=6)), min_size=1, max_size=4
)


@settings(max_examples=30)
@given(batches)
@example([(0, [(NOW_MS, 9000)]), (1, [(NOW_MS, 1)]), (0, [(NOW_MS + 1, 2)])])
@example([(0, [(NOW_MS + 1, 3)]), (1, [(NOW_MS, 5000)]), (0, [(NOW_MS, 1), (NOW_MS + 2, 1)])])
@example([(0, [(-9_223_372_036_854, 2), (9_223_372_036_853, 2), (-1, 2), (0, 1)])])
@example([(0, [(-1, 4097)]), (1, [(-1, 4097), (-2, 4097)])])
def test_keys_are_unique_and_in_order_of_time(
    tmp_path: Path, batches: list[tuple[int, list[tuple[int, int]]]]
) -> None:
    """Whatever times batches of two rings have, keys follow (time, order) and never clash."""
    path = str(tmp_path / f"{next(paths)}.db")
    writer = Writer(path)
    rings = [new_ring(8, ring_id)[0] for ring_id in RING_IDS]
    model = TimeKeys(TIME_KEY_SHIFT)
    for which, wanted in batches:
        made = []
        for time_ms, count in wanted:
            for _ in range(count):
                seq = log(rings[which], "m", time_ms)
                made.append((time_ms, which, seq))
        assert write(writer, rings[which]) == len(made)
        model.add(made)
    writer.close()
    rows = read_rows(
        path,
        "SELECT r.seq, g.ring_id, r.ring_seq FROM log_records r JOIN recorder_rings g USING (ring) "
        "ORDER BY r.seq",
    )
    found = {row["seq"]: (RING_IDS.index(row["ring_id"]), row["ring_seq"]) for row in rows}
    assert found == {key: record[1:] for key, record in model.rows.items()}


def test_b10_the_earliest_and_latest_times_keep_their_places(db: str, writer: Writer) -> None:
    """The times at both ends of 64-bit nanoseconds are rounded down like all others."""
    ring, _buffer = new_ring(3)
    stamps = [-(2**63), -(2**63) + 1, -1_000_001, -1_000_000, -1, 0, 999_999, 2**63 - 1]
    for stamp in stamps:
        ring.append(1, 9, ("s", *[None] * 5, str(stamp), None, None), timestamp_ns=stamp)
    write(writer, ring)
    rows = read_rows(db, "SELECT timestamp, message FROM logs ORDER BY seq")
    assert rows == [
        {"timestamp": stamp // 1_000_000, "message": str(stamp)} for stamp in sorted(stamps)
    ]


def test_more_than_4096_records_of_a_millisecond_keep_their_order(db: str, writer: Writer) -> None:
    """A flood within one millisecond flows over into the next ones, in the order it was made."""
    ring, _buffer = new_ring(5)
    log(ring, "later", NOW_MS + 1)
    write(writer, ring)
    for i in range(10_000):
        log(ring, str(i))
    write(writer, ring)
    rows = read_rows(
        db, "SELECT timestamp, message FROM logs WHERE message != 'later' ORDER BY seq"
    )
    assert [int(row["message"]) for row in rows] == list(range(10_000))
    assert {row["timestamp"] for row in rows} == {NOW_MS, NOW_MS + 1, NOW_MS + 2}


# -- groups ----------------------------------------------------------------------------------------

CONTEXT = LOG.fields[: LOG.grouped]
texts = st.sampled_from(["", "a", "b", "ab", "aa", "\x00", "é", "ü" * 40])
ids = st.none() | texts
contexts = st.tuples(texts, ids, ids, ids, ids)


@settings(max_examples=30)
@given(st.lists(st.lists(contexts, min_size=1, max_size=20), min_size=1, max_size=4))
def test_records_of_one_context_share_a_row(
    tmp_path: Path, batches: list[list[tuple[str | None, ...]]]
) -> None:
    """Equal contexts are stored once, different ones apart, and every record has its own again."""
    path = str(tmp_path / f"{next(paths)}.db")
    writer = Writer(path)
    rings = [new_ring(3, ring_id)[0] for ring_id in RING_IDS]
    made = []
    for number, batch in enumerate(batches):
        for context in batch:
            log(rings[number % 2], str(len(made)), **dict(zip(CONTEXT, context, strict=True)))
            made.append(context)
        write(writer, rings[number % 2])
    writer.close()
    rows = read_rows(path, f"SELECT message, {', '.join(CONTEXT)} FROM logs")
    assert {int(row["message"]): tuple(row[name] for name in CONTEXT) for row in rows} == dict(
        enumerate(made)
    )
    assert row_counts(path)["log_contexts"] == len(set(made))


def test_groups_are_told_apart_by_where_their_texts_end(db: str, writer: Writer) -> None:
    """The same bytes divided otherwise, a NULL and an empty text are different contexts."""
    ring, _buffer = new_ring(3)
    variants: list[dict[str, str | None]] = [
        {"source": "ab", "tenant_id": "c"},
        {"source": "a", "tenant_id": "bc"},
        {"source": "abc"},
        {"source": "abc", "tenant_id": ""},
        {"source": "a", "user_id": "bc"},
    ]
    for variant in variants * 2:
        log(ring, "m", **variant)
    write(writer, ring)
    rows = read_rows(db, "SELECT source, tenant_id, user_id FROM log_contexts ORDER BY id")
    assert rows == [{"source": None, "tenant_id": None, "user_id": None, **v} for v in variants]


def test_a_span_id_comes_back_as_it_was(db: str, writer: Writer) -> None:
    """Sixteen hex digits are stored as a number, anything else as text; both read the same."""
    ring, _buffer = new_ring(3)
    spans = ["0" * 16, "f" * 16, "00000000000000ff", "8" + "0" * 15, "ABCDEF0123456789", "7", ""]
    spans += ["0123456789abcdeg", "0123456789abcde", "0123456789abcdef0", "é" * 8]
    for span in spans:
        log(ring, "m", span_id=span)
    log(ring, "m")
    write(writer, ring)
    assert [row["span_id"] for row in read_rows(db, "SELECT span_id FROM logs ORDER BY seq")] == [
        *spans,
        None,
    ]
    kinds = read_rows(db, "SELECT typeof(span_id) AS type FROM log_records ORDER BY seq")
    assert [row["type"] for row in kinds] == ["integer"] * 4 + ["text"] * 7 + ["null"]


@pytest.mark.soak
def test_more_contexts_than_are_remembered_are_all_right(db: str, writer: Writer) -> None:
    """After 131,072 contexts the writer starts to remember anew, in the middle of a batch."""
    ring, _buffer = new_ring(40)
    total = 140_000
    for i in range(total):
        log(ring, str(i), execution_id=f"run-{i}")
    write(writer, ring)
    for i in (0, total - 1):
        log(ring, str(i), execution_id=f"run-{i}")
    write(writer, ring)
    wrong = "SELECT count(*) AS n FROM logs WHERE execution_id != 'run-' || message"
    assert read_rows(db, wrong) == [{"n": 0}]
    counts = row_counts(db)
    assert counts["log_records"] == total + 2
    assert total <= counts["log_contexts"] <= total + 2


# -- what a batch is -------------------------------------------------------------------------------


def test_d4_progress_is_committed_with_the_rows(db: str, writer: Writer) -> None:
    """`last_seq` says exactly how far a ring is stored, for every ring, and never goes back."""
    first, _first = new_ring(3, RING_IDS[0])
    second, _second = new_ring(3, RING_IDS[1])
    for i in range(10):
        log(first, str(i))
    log(second, "x")
    assert writer.last_seq(RING_IDS[0]) == 0
    assert first.claim()
    assert writer.write_claim(first, 3, 5) == 3
    assert writer.last_seq(RING_IDS[0]) == 5
    assert writer.write_claim(first, 1, 2) == 2
    assert writer.last_seq(RING_IDS[0]) == 5
    assert writer.write_claim(first, 6) == 5
    write(writer, second)
    assert [writer.last_seq(ring_id) for ring_id in RING_IDS] == [10, 1]
    messages = [row["message"] for row in read_rows(db, "SELECT message FROM logs")]
    assert sorted(messages) == [*map(str, range(10)), "x"]


def test_a_crash_image_is_written_like_the_ring(db: str, tmp_path: Path, writer: Writer) -> None:
    """The bytes of a ring file give the same rows, ids included, as the ring itself."""
    ring, buffer = new_ring(3, RING_IDS[0])
    append_one_of_each(ring)
    data = bytes(buffer)
    header, offsets, _damaged = read_ring(data)
    assert header is not None
    write(writer, ring)
    other = str(tmp_path / "other.db")
    copy = Writer(other)
    assert copy.write_bytes(data, offsets, header["ring_id"], ring.salt) == 13
    copy.close()
    for table in ("logs", "spans", "span_events", "traces", "metric_series", "metric_chunks"):
        assert read_rows(other, f"SELECT * FROM {table}") == read_rows(db, f"SELECT * FROM {table}")


@pytest.mark.timeout(20)
def test_writing_leaves_the_interpreter_to_others(db: str, writer: Writer) -> None:
    """While a batch waits for the database, another Python thread goes on and lets it through."""
    ring, _buffer = new_ring(3)
    log(ring, "m")
    other = apsw.Connection(db)
    other.execute("BEGIN IMMEDIATE")
    entering = threading.Event()
    written: list[int] = []

    def write_there() -> None:
        entering.set()
        written.append(write(writer, ring))

    thread = threading.Thread(target=write_there)
    thread.start()
    assert entering.wait(10)
    until = time.monotonic() + 0.1
    turns = sum(1 for _ in iter(lambda: time.monotonic() < until, False))
    other.execute("COMMIT")
    other.close()
    thread.join(10)
    assert written == [1]
    assert turns > 1000


# -- all or nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        "logs_fts",
        "traces",
        "spans",
        "span_events",
        "metric_series",
        "metric_chunks",
        "workflow_executions_monitor",
        "workflow_step_executions",
    ],
)
def test_a_failing_statement_leaves_nothing_behind(db: str, writer: Writer, table: str) -> None:
    """If one table is missing, no table gets a row; once it is back, the same claim is written."""
    ring, _buffer = new_ring(3)
    append_one_of_each(ring)
    write(writer, ring)
    before = row_counts(db)
    other = apsw.Connection(db)
    sql = other.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchall()[0][0]
    other.execute(f"DROP TABLE {table}")
    append_one_of_each(ring)
    assert ring.claim()
    with pytest.raises(StorageError, match=f"no such table: (main.)?{table}"):
        writer.write_claim(ring)
    assert {**row_counts(db), table: before[table]} == before
    assert writer.last_seq(ring.ring_id) == 13
    other.execute(sql)
    assert writer.write_claim(ring) == 13
    other.close()
    assert writer.last_seq(ring.ring_id) == 26
    assert row_counts(db)["log_records"] == 2
    assert (
        row_counts(db)["log_contexts"] == 2
    )  # forgotten with the failure: the same context once more
    assert read_rows(db, "SELECT count(DISTINCT source) AS n FROM logs") == [{"n": 1}]


def test_d9_a_refused_record_takes_its_batch_along_and_says_why(db: str, writer: Writer) -> None:
    """A record that breaks a constraint fails the batch as such; without it the rest is written."""
    ring, _buffer = new_ring(3)
    log(ring, "before")
    poison = append(ring, SPAN, span_id="s", trace_id="t", start_ns=1, duration_ns=1)
    log(ring, "after")
    assert ring.claim()
    with pytest.raises(StorageError, match="NOT NULL") as failure:
        writer.write_claim(ring)
    assert failure.value.kind == "record"
    assert not failure.value.retryable
    assert row_counts(db)["log_records"] == row_counts(db)["recorder_rings"] == 0
    assert writer.write_claim(ring, 1, poison - 1) == 1
    assert writer.write_claim(ring, poison + 1) == 1
    assert [row["message"] for row in read_rows(db, "SELECT message FROM logs ORDER BY seq")] == [
        "before",
        "after",
    ]


def test_c9_a_batch_takes_the_write_lock_before_anything_else(db: str, writer: Writer) -> None:
    """Where others hold it, BEGIN says so: no read has fixed a state that others then change."""
    ring, _buffer = new_ring(3)
    log(ring, "m")
    assert ring.claim()
    with apsw.Connection(db) as other:  # begins a transaction of its own
        other.execute("UPDATE recorder_state SET metric_batch = metric_batch")
        with pytest.raises(StorageError, match="starting to write to") as failure:
            writer.write_claim(ring)
        assert failure.value.kind == "locked"
    assert writer.write_claim(ring) == 1


def test_d9_a_record_whose_json_is_damaged_is_a_bad_record(writer: Writer) -> None:
    """The newest record of a ring has no checksum: its JSON may be cut, and no retry helps."""
    ring, _buffer = new_ring(3)
    span = {"span_id": "s", "trace_id": "t", "name": "n", "kind": "internal", "status": "ok"}
    append(ring, SPAN, **span, start_ns=1, duration_ns=1, events='[{"a')
    assert ring.claim()
    with pytest.raises(StorageError, match="malformed JSON") as failure:
        writer.write_claim(ring)
    assert failure.value.kind == "record"


# -- wrong use -------------------------------------------------------------------------------------


def test_nothing_is_written_without_a_claim(writer: Writer) -> None:
    """Only a claimed ring can be written: its bytes must not change meanwhile."""
    ring, _buffer = new_ring(3)
    log(ring, "m")
    with pytest.raises(RuntimeError, match="nothing is claimed"):
        writer.write_claim(ring)


def test_a_closed_writer_says_so(db: str) -> None:
    """After `close()` every call is a `ValueError`, and closing again does nothing."""
    writer = Writer(db)
    batch = writer._batch
    writer.close()
    batch.close()
    ring, _buffer = new_ring(3)
    log(ring, "m")
    assert ring.claim()
    for call in (lambda: batch.load_ring(ring), batch.write, lambda: batch.n_records):
        with pytest.raises(ValueError, match="closed"):
            call()


@pytest.mark.parametrize("number", [0, 16])
def test_kinds_must_fit(writer: Writer, number: int) -> None:
    """A kind has a number from 1 to 15 and at most 32 fields."""
    pointer = writer._connection.sqlite3_pointer()
    for kind in (
        RecordKind(number=number, table="ring_x", fields=("a",)),
        RecordKind(number=3, table="ring_x", fields=tuple(f"f{i}" for i in range(33))),
    ):
        with pytest.raises(ValueError, match="bad record kind"):
            BatchWriter(pointer, [kind], [])

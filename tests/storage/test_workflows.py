"""The tables of executions and steps: for other programs, in order, and through their indexes."""

from __future__ import annotations

import re

import apsw
import pytest

import ax_monitor
from ax_monitor import Store, WorkflowMonitor, WorkflowStatus
from ax_monitor.storage import workflows as stored
from ax_monitor.storage.connection import open_reader
from tests.elsewhere import elsewhere

EXECUTION_COLUMNS = (
    "id, workflow_id, workflow_name, tenant_id, user_id, status, started_at, completed_at, "
    "duration, steps_total, steps_completed, steps_failed, current_step, error_message, metadata"
)
STEP_COLUMNS = (
    "id, execution_id, step_key, step_name, status, started_at, completed_at, duration, "
    "retry_count, error_message, input_size, output_size, tokens_used, cost"
)


def insert(store: Store, table: str, columns: str, values: list[object]) -> None:
    marks = ", ".join("?" * len(values))
    (done,) = elsewhere(store.path, (f"INSERT INTO {table} ({columns}) VALUES ({marks})", [values]))
    assert done == []


def test_what_another_program_writes_is_an_execution_like_ours(store: Store) -> None:
    """Its rows are found, counted and gone on with; ours are read with its statements."""
    workflows = WorkflowMonitor(store)
    row = ["x1", "wf", "import", "acme", None, "running", 1000, None, None, 2, 0, 0, None, None]
    insert(store, "workflow_executions_monitor", EXECUTION_COLUMNS, [*row, '{"n":1}'])
    insert(
        store,
        "workflow_step_executions",
        STEP_COLUMNS,
        ["s1", "x1", "a", "A", "running", 1000, *[None] * 2, 0, *[None] * 5],
    )
    (execution,) = workflows.get_active_executions()
    assert (execution.id, execution.metadata) == ("x1", {"n": 1})
    assert workflows.complete_step("s1", cost=0.5)
    assert workflows.update_execution("x1", status="completed")
    run = workflows.start_execution("wf", "import", "acme")
    assert store.flush()
    theirs, steps, stats = elsewhere(
        store.path,
        ("SELECT status, steps_completed FROM workflow_executions_monitor WHERE id = ?", [["x1"]]),
        ("SELECT status, cost FROM workflow_step_executions WHERE execution_id = ?", [["x1"]]),
        ("SELECT status, count(*) FROM workflow_executions_monitor GROUP BY 1 ORDER BY 1", [[]]),
    )
    assert theirs == [["completed", 1]]
    assert steps == [["completed", 0.5]]
    assert stats == [["completed", 1], ["running", 1]]
    assert run


def test_words_of_another_program_read_as_pending(store: Store) -> None:
    workflows = WorkflowMonitor(store)
    row = ["x1", None, None, None, None, "queued", 1000, *[None] * 7]
    insert(store, "workflow_executions_monitor", EXECUTION_COLUMNS, [*row, "no json"])
    (execution,) = workflows.get_recent_executions()
    assert execution.status is WorkflowStatus.PENDING
    assert (execution.workflow_name, execution.steps_total) == ("", 0)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    db = str(tmp_path_factory.mktemp("many") / "monitor.db")
    with ax_monitor.Store(db) as store:
        workflows = WorkflowMonitor(store)
        for number in range(500):
            run = workflows.start_execution("wf", "import", f"t{number % 3}")
            workflows.complete_step(workflows.start_step(run, "a"))
            if number % 50:
                workflows.update_execution(run, status="completed")
    return db


def plans_of(db: str, call: object) -> list[str]:
    """What the statements of a call do: a line for each step of their plans."""
    connection = open_reader(db)
    statements: list[tuple[str, object]] = []

    def trace(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        statements.append((sql, bindings))
        return True

    connection.exec_trace = trace
    try:
        call(connection)  # type: ignore[operator]
        connection.exec_trace = None
        return [
            row[3]
            for sql, bindings in statements
            for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)  # type: ignore[arg-type]
        ]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("call", "index"),
    [
        (lambda c: stored.get_execution(c, "x"), "sqlite_autoindex_workflow_executions_monitor_1"),
        (lambda c: stored.get_step(c, "x"), "sqlite_autoindex_workflow_step_executions_1"),
        (lambda c: stored.get_step_executions(c, "x"), r"USING INDEX \w*step\w*"),
        (lambda c: stored.find_executions(c, limit=50), "workflow_executions_started"),
        (
            lambda c: stored.find_executions(c, (), tenant_id="t1", limit=50),
            "workflow_executions_(tenant|started)",
        ),
        (lambda c: stored.get_workflow_stats(c, None), "workflow_executions_tenant"),
        (lambda c: stored.get_workflow_stats(c, "t1"), "workflow_executions_tenant"),
        (lambda c: stored.ids_with_prefix(c, "01", 5), "sqlite_autoindex_workflow_exec"),
        (
            lambda c: stored.finished_among(c, ["a", "b"]),
            "sqlite_autoindex_workflow_executions_monitor_1",
        ),
    ],
)
def test_queries_walk_their_indexes(many: str, call: object, index: str) -> None:
    plans = plans_of(many, call)
    assert any(re.search(index, step) for step in plans), plans
    assert not any(
        re.match(r"SCAN workflow_\w+$", step) or re.match(r"SCAN [es]$", step) for step in plans
    ), plans


def test_deletion_goes_in_pieces_and_takes_steps_along(many: str) -> None:
    with ax_monitor.Store(many) as store:
        total = store.read(stored.get_workflow_stats).total
        gone = 0
        more = True
        pieces = 0
        while more:
            done, more = store.write(lambda c: stored.delete_executions(c, 2**50, 40))
            gone += done
            pieces += 1
        assert pieces > 10
        left = store.read(stored.get_workflow_stats)
        assert gone == total - left.total
        assert left.total == left.running == 0, "closing had interrupted what ran"
        (count,) = elsewhere(store.path, ("SELECT count(*) FROM workflow_step_executions", [[]]))
        assert count == [[0]]

"""`ax monitor workflows`: what it lists, and the timeline of one execution."""

from __future__ import annotations

import pytest

import ax_monitor
from ax_monitor.cli.workflows import timeline
from ax_monitor.model.vocabulary import WorkflowStatus
from ax_monitor.model.workflows import WorkflowExecution, WorkflowStepExecution
from ax_monitor.storage import workflows
from tests.cli.helpers import assert_one_line_error, run, run_on_terminal

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A database with three executions, and the id of the one with most in it."""
    db = str(tmp_path_factory.mktemp("workflows") / "monitor.db")
    with ax_monitor.open(db) as monitor:
        workflows = monitor.workflows
        with workflows.execution("w", "order", "acme", steps_total=3) as order:
            with order.step("load", "Load"):
                pass
            with order.step("ask", "evil \x1b[31m " + "long " * 40) as ask:
                ask.set(tokens_used=1200, cost=0.25, provider="acme-ai", model="small")
                ask.retry("timed out")
                ask.set(tokens_used=300, cost=0.05)
            with pytest.raises(ValueError, match="declined"), order.step("pay", "Pay"):
                raise ValueError("declined\nforged")
        with pytest.raises(ValueError, match="bad"), workflows.execution("w", "report", "other"):
            raise ValueError("bad")
        workflows.start_execution("w", "left")
    return db, order.execution_id


def test_list_shows_the_newest_first(filled: tuple[str, str]) -> None:
    db, execution_id = filled
    result = run("workflows", "--db", db)
    assert (result.code, result.err, len(result.lines)) == (0, "", 3)
    assert execution_id in result.lines[-1]
    for text in ("completed", "2/3 steps, 1 failed", "acme", "order"):
        assert text in result.lines[-1]
    assert "report" in result.lines[1]


def test_list_filters_and_json(filled: tuple[str, str]) -> None:
    db, execution_id = filled
    for options in (("--tenant", "acme"), ("--status", "Completed")):
        (found,) = run("workflows", "--json", "--db", db, *options).objects
        assert (found["id"], found["steps_completed"], found["steps_failed"]) == (
            execution_id, 2, 1,
        )  # fmt: skip
    assert len(run("workflows", "--status", "failed", "--db", db).lines) == 2
    assert len(run("workflows", "--limit", "1", "--db", db).lines) == 1
    assert len(run("workflows", "--since", "1h", "--db", db).lines) == 3
    assert run("workflows", "--until", "1h", "--db", db).out == ""
    assert run("workflows", "--since", "2099-01-01", "--db", db).out == ""
    assert run("workflows", "--tenant", "nobody", "--db", db).out == ""
    assert_one_line_error(run("workflows", "--status", "odd", "--db", db), 2)


def test_show_draws_the_steps_on_a_pipe(filled: tuple[str, str]) -> None:
    db, execution_id = filled
    result = run("workflows", "show", execution_id, "--db", db)
    assert (result.code, result.err) == (0, "")
    heading, ids, load, ask, details, attempt, pay, error, total = result.lines
    assert heading.startswith("order completed ")
    assert ids == f"{execution_id} acme"
    assert load.startswith("Load ")
    assert "█" in load
    assert ask.startswith("evil \\x1b[31m long ")
    assert details.split(", ") == ["  2 attempts", "acme-ai/small", "1,500 tokens", "$0.30"]
    assert attempt.startswith("  attempt 1: failed after ")
    assert attempt.endswith("s, timed out")
    assert total == "total: 1,500 tokens, $0.30"
    assert "failed" in pay
    assert error == "  ValueError: declined\\nforged"
    assert "long " * 39 in ask


@pytest.mark.parametrize("columns", [40, 80, 133])
def test_show_fits_the_terminal(filled: tuple[str, str], columns: int) -> None:
    db, execution_id = filled
    code, shown = run_on_terminal(
        "workflows", "show", execution_id, "--db", db, COLUMNS=str(columns), NO_COLOR="1"
    )
    assert code == 0
    assert "\x1b" not in shown
    assert max(map(len, shown.split("\n"))) <= columns


def test_show_json_has_the_execution_and_its_steps(filled: tuple[str, str]) -> None:
    db, execution_id = filled
    (shown,) = run("workflows", "show", execution_id, "--json", "--db", db).objects
    assert run("workflows", "--db", db, "--json", "show", execution_id).objects == [shown]
    with ax_monitor.Store(db, read_only=True) as store:
        execution = store.read(workflows.get_execution, execution_id)
        steps = store.read(workflows.get_step_executions, execution_id)
    assert execution is not None
    assert shown == {**execution.to_dict(), "steps": [step.to_dict() for step in steps]}


def test_the_beginning_of_an_id_is_enough_if_one_begins_so(filled: tuple[str, str]) -> None:
    db, execution_id = filled
    result = run("workflows", "show", execution_id[:-1], "--db", db)
    assert (result.code, result.lines[1]) == (0, f"{execution_id} acme")


def test_errors_are_one_line(filled: tuple[str, str], tmp_path: object) -> None:
    db, _ = filled
    assert "no execution" in assert_one_line_error(run("workflows", "show", "zz", "--db", db), 1)
    assert "more than one" in assert_one_line_error(run("workflows", "show", "", "--db", db), 1)
    assert "no database" in assert_one_line_error(
        run("workflows", "--db", f"{tmp_path}/none.db"), 1
    )


@pytest.mark.parametrize("width", [10, 40, 80])
def test_attempts_stand_where_they_ran(width: int) -> None:
    execution = WorkflowExecution("e", "w", "W", None, None, WorkflowStatus.RUNNING, 0)
    early = ax_monitor.WorkflowStepAttempt(started_at=0, completed_at=40)
    step = WorkflowStepExecution(
        "s", "e", "k", "K", WorkflowStatus.RUNNING, 50, retry_count=1, earlier_attempts=(early,)
    )
    last = WorkflowStepExecution("t", "e", "k", "L", WorkflowStatus.COMPLETED, 90, 100)
    lines = timeline(execution, [step, last], width, now_ms=100)
    texts = ["".join(p if isinstance(p, str) else p[0] for p in line) for line in lines]
    assert max(map(len, texts)) <= width
    if width == 80:
        bar, final = texts[2], texts[5]
        assert 0 < bar.index("░") < bar.rindex("░") < bar.index("█") - 1
        assert bar.index("█") < final.index("█")
        assert bar.rindex("█") == final.rindex("█")  # it still runs


def test_what_runs_lasts_until_now() -> None:
    execution = WorkflowExecution("e", "w", "W", None, None, WorkflowStatus.RUNNING, 0)
    done = WorkflowStepExecution("s", "e", "a", "A", WorkflowStatus.COMPLETED, 0, 10)
    runs = WorkflowStepExecution("t", "e", "b", "B", WorkflowStatus.RUNNING, 10)
    lines = timeline(execution, [done, runs], 80, now_ms=100)
    bars = ["".join(p if isinstance(p, str) else p[0] for p in line) for line in lines][2:]
    assert 0 < bars[0].count("█") < bars[1].count("█") / 5


def test_the_list_says_where_each_is(filled: tuple[str, str], db: str) -> None:
    lines = run("workflows", "--db", filled[0]).lines
    assert lines[0].endswith("interrupted")
    assert lines[1].endswith("ValueError: bad")
    with ax_monitor.open(db) as monitor:
        execution = monitor.workflows.start_execution("w", "runs")
        monitor.workflows.start_step(execution, "\x1b[31mload")
        assert monitor.flush()
        (line,) = run("workflows", "--db", db).lines
        assert line.endswith("at \\x1b[31mload")
        shown = run("workflows", "show", execution, "--db", db).lines
        assert "running" in shown[2]


def test_an_empty_database_has_none(db: str) -> None:
    ax_monitor.Store(db).close()
    result = run("workflows", "--db", db)
    assert (result.code, result.out, result.err) == (0, "", "")

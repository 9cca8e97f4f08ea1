"""`ax monitor costs` and `budgets`, and what `metrics` shows of workflows by short names."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import Any

import apsw
import pytest

import ax_monitor
from tests.cli.helpers import Result, assert_one_line_error, run, run_here, run_on_terminal

pytestmark = pytest.mark.timeout(60)

DAY = 86_400_000
EVIL = "evil \x1b[31m\u202e"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twenty days of ten dollars from one provider, and two dollars today from two others."""
    db = str(tmp_path_factory.mktemp("costs") / "monitor.db")
    with ax_monitor.open(db) as monitor:
        for provider, tenant in (("one", "acme"), (EVIL, "other")):
            with (
                monitor.workflows.execution("wf", "import", tenant) as run_,
                run_.step("s") as step,
            ):
                step.set(cost=1.0, tokens_used=1000, provider=provider, model="m")
    now_ms = time.time_ns() // 1_000_000
    connection = apsw.Connection(db)
    with connection:
        for day in range(1, 21):
            connection.execute(
                "INSERT INTO workflow_step_executions(id, completed_at, cost, provider) "
                "VALUES (?, ?, 10.0, 'one')",
                (f"old{day}", now_ms - day * DAY),
            )
    connection.close()
    return db


def test_costs_by_provider(filled: str) -> None:
    """A row for each, the largest first, and a total; stored text does no harm."""
    result = run("costs", "--db", filled, "--by", "provider", "--utc")
    assert (result.code, result.err) == (0, "")
    heading, names, *rows = result.lines
    assert heading.startswith("costs  since 20")
    assert names.split() == ["provider", "COST", "SHARE", "TOKENS", "STEPS"]
    assert [row.split("  ")[0] for row in rows] == ["one", "evil \\x1b[31m\\u202e", "total"]
    assert rows[0].split()[1:] == ["$201.00", "99.5", "%", "1,000", "21"]
    assert rows[-1].split()[1:] == ["$202.00", "100.0", "%", "2,000", "22"]


def test_costs_as_json(filled: str) -> None:
    """An object a row that says its type; both spellings of JSON are the same."""
    shown = run_here("costs", "--db", filled, "--by", "tenant", "--range", "12h", "--json")
    assert [(o["type"], o["by"], o["key"], o["cost"]) for o in shown.objects] == [
        ("costs", "tenant", "acme", 1.0),
        ("costs", "tenant", "other", 1.0),
    ]
    of_tenant = run_here(
        "costs", "--db", filled, "--tenant", "acme", "--range", "12h", "--format", "json"
    )
    assert [(o["key"], o["cost"], o["share"]) for o in of_tenant.objects] == [(None, 1.0, 1.0)]


def test_the_line_of_the_document(filled: str) -> None:
    """`costs --range 30d --projection --budget`: the total, what is to come, how budgets stand."""
    budget = run_here("budgets", "set", "all", "1000", "--db", filled, "--json").objects[0]
    arguments = ("costs", "--range", "30d", "--projection", "--budget", "--db", filled)
    result = run_here(*arguments)
    assert result.code == 0
    _, names, total, projection, heading, status = result.lines
    assert names.split() == ["COST", "SHARE", "TOKENS", "STEPS"]
    assert total.split()[0] == "$202.00"
    assert projection.startswith("next 30 days: $300.00, with 80 % between ")
    assert "a line through 20 days" in projection
    assert heading.split()[:3] == ["STATUS", "BUDGET", "AMOUNT"]
    assert status.split()[1] == "all"
    costs, projected, found = run_here(*arguments, "--json").objects
    assert (costs["type"], projected["type"], found["type"]) == ("costs", "projection", "budget")
    assert projected["expected"] == pytest.approx(300.0)
    assert found["budget"]["id"] == budget["id"]


def test_too_little_history_is_said(db: str) -> None:
    """No figure is made up."""
    ax_monitor.Store(db).close()
    result = run_here("costs", "--projection", "--budget", "--db", db)
    assert result.lines == [
        "next 30 days: can't tell, 0 complete days with costs: at least 7 are needed",
        "no budgets: `ax monitor budgets set` makes one",
    ]
    assert run_on_terminal("costs", "--db", db) == (0, "no costs in that time\n")


def test_a_chart_by_day(filled: str) -> None:
    """Days as points, several providers with a legend, 80 columns on a pipe."""
    one = run_here("costs", "--format", "chart", "--db", filled)
    assert one.lines[0] == "costs  a day (UTC)"
    assert any("USD" in line for line in one.lines)
    several = run_here("costs", "--format", "chart", "--by", "provider", "--db", filled)
    assert several.lines[-1].split()[:3] == ["●", "one", "○"]
    assert max(map(len, one.lines + several.lines)) <= 80


def test_the_first_day_of_a_chart_is_whole(db: str) -> None:
    """A range that begins in the middle of a day does not cut its cost."""
    ax_monitor.Store(db).close()
    today = time.time_ns() // 1_000_000 // DAY * DAY
    connection = apsw.Connection(db)
    with connection:
        for day in range(1, 5):
            connection.execute(
                "INSERT INTO workflow_step_executions(id, completed_at, cost) VALUES (?, ?, 7.0)",
                (f"s{day}", today - day * DAY + 1),
            )
    connection.close()
    begin = datetime.fromtimestamp((today - 4 * DAY) / 1000 + 3600, UTC).isoformat()
    chart = run_here("costs", "--range", begin, "--format", "chart", "--db", db).lines
    flat = [line for line in chart if "⠉" in line or "⠒" in line or "⣀" in line or "⠤" in line]
    assert len(flat) == 1
    assert not any("⡇" in line for line in chart)


def test_budgets(db: str) -> None:
    """Set makes the database, set again changes, list shows, delete deletes."""
    result = run_here("budgets", "set", "team", "12.5", "--period", "week", "--provider", EVIL,
                      "--tenant", "acme", "--db", db)  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert result.lines == ["set team: $12.50 a week, provider evil \\x1b[31m\\u202e, tenant acme"]
    run_here("budgets", "set", "team", "20", "--db", db)
    (found,) = run_here("budgets", "list", "--json", "--db", db).objects
    assert (found["budget"]["amount"], found["budget"]["period"]) == (20.0, "month")
    assert (found["status"], found["spent"]) == ("ok", 0.0)
    _, row = run_here("budgets", "list", "--db", db).lines
    assert row.split()[:4] == ["ok", "team", "$20.00", "$0.00"]
    assert run_here("budgets", "list", "--tenant", "x", "--db", db) == Result(0, "", "")
    assert run_here("budgets", "delete", "team", "--db", db).lines == ["deleted team"]
    assert_one_line_error(run_here("budgets", "delete", "team", "--db", db), 1)


def test_an_exceeded_budget_says_when(db: str) -> None:
    """The moment at which the amount was exceeded."""
    with ax_monitor.open(db) as monitor:
        monitor.costs.set_budget("day", 1, period="day")
        with monitor.workflows.execution("wf", "w") as scope, scope.step("s") as step:
            step.set(cost=2.0)
    row = run_here("budgets", "list", "--utc", "--db", db).lines[-1]
    assert row.startswith("exceeded  day")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert "exceeded at " + today[:7] in row


@pytest.mark.parametrize(
    "wrong",
    [
        ("costs", "--by", "colour"),
        ("costs", "--range", "soon"),
        ("costs", "--range", "2999-01-01"),
        ("budgets", "set", "x", "much"),
        ("budgets", "set", "x", "-1"),
        ("budgets", "set", "x", "nan"),
        ("budgets", "set", "x", "1", "--period", "year"),
        ("budgets", "set", " ", "1"),
    ],
)
def test_mistakes_are_one_line(db: str, wrong: tuple[str, ...]) -> None:
    """With the code for a mistake in the command line."""
    ax_monitor.Store(db).close()
    assert_one_line_error(run_here(*wrong, "--db", db), 2)


def test_a_rule_for_the_error_rate_is_told_what_to_watch(db: str) -> None:
    """It is no metric, and a rule for it would never be met."""
    wrong = ("alerts", "create", "x", "--metric", "error_rate", "--when", "avg > 1 over 5m")
    error = assert_one_line_error(run_here(*wrong, "--db", db), 2)
    assert "watch workflow.execution.count with --match status=failed" in error


def test_reading_never_makes_a_database(db: str) -> None:
    """Only `budgets set` does."""
    for command in (("costs",), ("budgets", "list"), ("budgets", "delete", "x")):
        assert "no database" in assert_one_line_error(run_here(*command, "--db", db), 1)


# -- metrics of workflows by their short names ----------------------------------------------------


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four executions of one workflow, of which one failed, and one of another."""
    db = str(tmp_path_factory.mktemp("worked") / "monitor.db")
    with ax_monitor.open(db) as monitor:
        for n in range(4):
            with (
                contextlib.suppress(ZeroDivisionError),
                monitor.workflows.execution("a", "import", "acme") as scope,
            ):
                with scope.step("s") as step:
                    step.set(cost=0.5, provider="one" if n else "two", model="m")
                1 // n
        with monitor.workflows.execution("b", "export", "other"):
            pass
    return db


def figures(db: str, *arguments: str) -> dict[str | None, Any]:
    label = arguments[arguments.index("--by") + 1] if "--by" in arguments else ""
    found = run_here("metrics", *arguments, "--json", "--db", db).objects
    return {each["labels"].get(label): each for each in found}


def test_cost_by_provider(worked: str) -> None:
    """`metrics cost --by provider` is what steps recorded."""
    found = figures(worked, "cost", "--range", "30d", "--by", "provider")
    of_each = {key: (each["metric_type"], each["unit"], each["sum"]) for key, each in found.items()}
    assert of_each == {
        "one": ("workflow.step.cost", "usd", 1.5),
        "two": ("workflow.step.cost", "usd", 0.5),
    }  # fmt: skip


def test_latency_is_that_of_executions(worked: str) -> None:
    """`metrics latency` counts every execution once."""
    (found,) = figures(worked, "latency").values()
    assert (found["metric_type"], found["count"]) == ("workflow.execution.duration", 5)


def test_error_rate_is_the_share_of_failures(worked: str) -> None:
    """Of all executions, of one workflow, of a tenant, and as a chart."""
    (found,) = figures(worked, "error_rate").values()
    assert (found["count"], found["failed"], found["error_rate"]) == (5, 1, 20.0)
    by_workflow = figures(worked, "error_rate", "--by", "workflow")
    assert {key: each["error_rate"] for key, each in by_workflow.items()} == {
        "import": 25.0,
        "export": 0.0,
    }
    by_status = figures(worked, "error_rate", "--by", "status")
    assert {key: each["error_rate"] for key, each in by_status.items()} == {
        "completed": 0.0,
        "failed": 100.0,
    }
    (other,) = figures(worked, "error_rate", "--tenant", "other").values()
    assert other["error_rate"] == 0.0
    table = run_here("metrics", "error_rate", "--by", "workflow", "--db", worked).lines
    assert table[0].startswith("workflow.execution.count  error rate  since ")
    assert table[1].split() == ["workflow", "EXECUTIONS", "FAILED", "ERROR", "RATE"]
    assert table[3].split() == ["import", "4", "1", "25", "%"]
    chart = run_here("metrics", "error_rate", "--format", "chart", "--db", worked)
    assert "error rate per" in chart.lines[0]
    assert any(" % ┤" in line for line in chart.lines)
    wrong = ("metrics", "error_rate", "--format", "chart", "--aggregation", "max", "--db", worked)
    assert_one_line_error(run_here(*wrong), 2)

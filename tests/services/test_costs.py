"""Costs against a plain model, projections of what is stored, budgets through the year."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ax_monitor
from ax_monitor import BudgetStatus, CostService, Store, WorkflowMonitor
from ax_monitor.storage import costs as stored
from ax_monitor.storage import workflows
from tests.cli.helpers import environment
from tests.conftest import FakeClock

pytestmark = pytest.mark.timeout(120)

DAY = 86_400_000
BASE = 1_700_000_000_000 // DAY * DAY  # 2023-11-14, a Tuesday
BY = {"provider": 2, "model": 3, "workflow": 4, "tenant": 5}


def at(text: str) -> int:
    """A moment in UTC, in ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True)
class Spent:
    """A step as the model has it. Costs are multiples of 1/64: sums of them are exact."""

    time: int
    cost: float | None
    provider: str | None
    model: str | None
    workflow: str | None
    tenant: str | None
    tokens: int | None


def insert(db: str, steps: list[Spent]) -> None:
    """Each step with an execution of its own."""
    connection = apsw.Connection(db)
    with connection:
        first = connection.execute("SELECT count(*) FROM workflow_executions_monitor").fetchall()
        for number, step in enumerate(steps, start=first[0][0]):
            connection.execute(
                "INSERT INTO workflow_executions_monitor(id, workflow_name, tenant_id, status, "
                "started_at, completed_at) VALUES (?, ?, ?, 'completed', ?, ?)",
                (f"e{number}", step.workflow, step.tenant, step.time, step.time),
            )
            connection.execute(
                "INSERT INTO workflow_step_executions(id, execution_id, started_at, completed_at, "
                "cost, tokens_used, provider, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (f"s{number}", f"e{number}", step.time - 5, step.time, step.cost, step.tokens,
                 step.provider, step.model),
            )  # fmt: skip
    connection.close()


def spend(db: str, *costs: tuple[str | int, float], **labels: str) -> None:
    """Steps at these times with these costs."""
    insert(
        db,
        [
            Spent(
                at(time) if isinstance(time, str) else time,
                cost,
                labels.get("provider"),
                labels.get("model"),
                labels.get("workflow", "w"),
                labels.get("tenant"),
                None,
            )
            for time, cost in costs
        ],
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(at("2024-01-31T12:00"))


@pytest.fixture
def store(db: str, clock: FakeClock) -> Iterator[Store]:
    with Store(db, clock=clock) as opened:
        yield opened


@pytest.fixture
def service(store: Store) -> CostService:
    return CostService(store)


# -- what was spent -------------------------------------------------------------------------------

names = st.none() | st.sampled_from(["", "a", "b", "ä\x00x"])
moments = st.integers(BASE - 3 * DAY, BASE + 3 * DAY)
spent = st.builds(
    Spent,
    time=moments | st.sampled_from([BASE, BASE - 1, BASE + DAY]),
    cost=st.none() | st.integers(0, 1 << 20).map(lambda n: n / 64),
    provider=names,
    model=names,
    workflow=names,
    tenant=names,
    tokens=st.none() | st.integers(0, 1 << 40),
)


def model_days(
    steps: list[Spent], folded_before: int, start: int, end: int, scope: dict[str, str | None]
) -> dict[int, list[Spent]]:
    """The steps that count, by day."""
    days: dict[int, list[Spent]] = {}
    for step in steps:
        day = step.time // DAY * DAY
        time, first = (day, start // DAY * DAY) if step.time < folded_before else (step.time, start)
        wanted = all(value is None or getattr(step, name) == value for name, value in scope.items())
        has_cost = step.cost is not None or step.tokens is not None
        if first <= time <= end and wanted and has_cost:
            days.setdefault(day, []).append(step)
    return days


def figures(steps: list[Spent]) -> tuple[float, int, int]:
    return sum(s.cost or 0.0 for s in steps), sum(s.tokens or 0 for s in steps), len(steps)


@settings(max_examples=40)
@given(
    steps=st.lists(spent, max_size=25),
    folded_before=st.none() | moments,
    start=moments,
    length=st.integers(0, 4 * DAY),
    by=st.none() | st.sampled_from(sorted(BY)),
    scope=st.fixed_dictionaries({"provider": names, "tenant": names, "workflow": names}),
)
def test_costs_are_those_of_a_plain_model(
    steps: list[Spent],
    folded_before: int | None,
    start: int,
    length: int,
    by: Any,
    scope: dict[str, str | None],
) -> None:
    """Sums, days and shares, by anything, of anything, with and without a cleanup before."""
    end = start + length
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "monitor.db") as store:
        insert(store.path, steps)
        if folded_before is not None:
            delete_executions(store, folded_before)
        service = CostService(store)
        given_scope: dict[str, Any] = {
            "provider": scope["provider"],
            "tenant_id": scope["tenant"],
            "workflow": scope["workflow"],
        }
        found = service.get_costs(start, end, by=by, **given_scope)
        daily = service.get_daily_costs(start, end, by=by, **given_scope)
        total = service.get_total(start, end, **given_scope)
    days = model_days(steps, folded_before or -(2**62), start, end, scope)
    counted = [step for of_day in days.values() for step in of_day]
    groups: dict[str | None, list[Spent]] = {}
    for step in counted:
        groups.setdefault(None if by is None else getattr(step, by), []).append(step)
    all_cost = figures(counted)[0]
    assert {s.key: (s.cost, s.tokens, s.steps) for s in found} == {
        key: figures(group) for key, group in groups.items()
    }
    assert len(found) == len(groups)
    assert [s.cost for s in found] == sorted((s.cost for s in found), reverse=True)
    for each in found:
        assert each.share == pytest.approx(each.cost / all_cost if all_cost else 0.0)
    assert (total.cost, total.tokens, total.steps) == figures(counted)
    keys = [None] if by is None else [s.key for s in found]
    all_days = range(start // DAY * DAY, end + 1, DAY)
    assert [(d.day, d.key) for d in daily] == [(day, key) for day in all_days for key in keys]
    for each_day in daily:
        of_day = [
            step
            for step in days.get(each_day.day, [])
            if by is None or getattr(step, by) == each_day.key
        ]
        assert (each_day.cost, each_day.tokens, each_day.steps) == figures(of_day)


def test_what_workflows_record_counts(store: Store, service: CostService, clock: FakeClock) -> None:
    """Failed steps and retries cost, at the end of the last attempt; what is pending counts."""
    workflows = WorkflowMonitor(store)
    run = workflows.start_execution("wf", "import", "acme", steps_total=2)
    failing = workflows.start_step(run, "a", "A")
    with workflows.execution("wf", "import", "acme") as scope, scope.step("b") as step:
        step.set(cost=0.5, tokens_used=10, provider="one", model="m")
        step.retry("try again")
        clock.advance(3600)
        step.set(cost=0.25, tokens_used=5, provider="one", model="m")
    workflows.complete_step(failing, cost=1.0)
    later = workflows.start_step(run, "c", "C")
    workflows.fail_step(later, "no luck")
    assert [(s.key, s.cost, s.tokens, s.steps) for s in
            service.get_costs(0, 2**42, by="provider", tenant_id="acme")] == [
        (None, 1.0, 0, 1), ("one", 0.75, 15, 1)]  # fmt: skip
    assert service.get_total(clock.now_ms, clock.now_ms).steps == 2
    assert service.get_costs(0, 2**42, tenant_id="other") == []
    assert service.get_total(0, 2**42, tenant_id="other").cost == 0


@pytest.mark.parametrize("is_folded", [False, True])
def test_z10_a_tenant_sees_only_its_own(
    db: str, store: Store, service: CostService, is_folded: bool
) -> None:
    """Costs, days, projections and budgets of another tenant show in no answer."""
    days = range(2, 31)
    spend(db, *((f"2024-01-{d:02}T08:00", 1.0) for d in days), tenant="mine", provider="p")
    spend(db, *((f"2024-01-{d:02}T08:00", 64.0) for d in days), tenant="theirs", provider="secret")
    spend(db, *((f"2024-01-{d:02}T08:00", 64.0) for d in days), provider="nobody's")
    service.set_budget("a", 100, tenant_id="mine")
    service.set_budget("b", 100, tenant_id="theirs")
    service.set_budget("c", 100)
    if is_folded:
        delete_executions(store, at("2024-01-31"))
    span = (at("2024-01-01"), at("2024-01-31"))
    for by in (None, *BY):
        (found,) = service.get_costs(*span, by=by, tenant_id="mine")  # type: ignore[arg-type]
        assert (found.cost, found.share) == (29.0, 1.0)
        daily = service.get_daily_costs(*span, by=by, tenant_id="mine")  # type: ignore[arg-type]
        assert {day.key for day in daily} == {found.key}
        assert max(day.cost for day in daily) == 1.0
    assert service.get_total(*span, tenant_id="mine").cost == 29.0
    projected = service.project(10, tenant_id="mine")
    assert projected.expected == pytest.approx(10.0)
    assert max(day.cost for day in projected.history) == 1.0
    (budget,) = service.list_budgets("mine")
    assert budget.name == "a"
    assert the_status(service, tenant_id="mine").spent == 29.0
    assert service.get_costs(*span, tenant_id="nobody") == []


def test_a_cleanup_keeps_costs_in_pieces(
    db: str, store: Store, service: CostService, clock: FakeClock
) -> None:
    """An execution with more steps than a transaction deletes is folded exactly once."""
    connection = apsw.Connection(db)
    with connection:
        connection.execute(
            "INSERT INTO workflow_executions_monitor(id, workflow_name, tenant_id, status, "
            "started_at, completed_at) VALUES ('e', 'big', 't', 'failed', ?1, ?1)",
            (BASE,),
        )
        connection.executemany(
            "INSERT INTO workflow_step_executions(id, execution_id, completed_at, cost) "
            "VALUES (?, 'e', ?, 0.25)",
            ((f"s{n}", BASE + n * 60_000) for n in range(3000)),
        )
    connection.close()
    before = service.get_daily_costs(BASE, BASE + 3 * DAY, by="workflow", tenant_id="t")
    assert service.get_total(0, 2**42).cost == 750
    assert WorkflowMonitor(store).cleanup(0) == 1
    assert store.read(lambda c: c.execute(
        "SELECT count(*) FROM workflow_step_executions").fetchall()) == [(0,)]  # fmt: skip
    assert service.get_daily_costs(BASE, BASE + 3 * DAY, by="workflow", tenant_id="t") == before
    assert before[0].key == "big"


def steps_in(store: Store) -> int:
    ((count,),) = store.peek(
        lambda c: c.execute("SELECT count(*) FROM workflow_step_executions").fetchall()
    )
    return int(count)


CLEANER = """
import sys
import ax_monitor
with ax_monitor.open(sys.argv[1]) as monitor:
    workflows = monitor.workflows
    print("ready", flush=True)
    workflows.cleanup(0)
"""


def test_a_killed_cleanup_loses_and_doubles_nothing(db: str) -> None:
    """Whenever the process dies, each cost is in one of the two places."""
    ax_monitor.Store(db).close()
    spend(db, *((BASE + n * 50_000, 0.25) for n in range(8000)), provider="p")
    left = 8000
    for wanted in (8000, 7000, 5000, 3000):  # kill it when no more than that are left
        process = subprocess.Popen(
            [sys.executable, "-c", CLEANER, db],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Store(db, read_only=True) as store:
            deadline = time.monotonic() + 30
            while steps_in(store) > wanted and time.monotonic() < deadline:
                time.sleep(0.001)
            process.kill()
            process.communicate()
            found = CostService(store).get_total(BASE, BASE + 9 * DAY)
            assert (found.cost, found.steps) == (2000.0, 8000)
            assert steps_in(store) <= min(left, wanted)
            left = steps_in(store)
    assert left < 8000


def test_a_cleanup_keeps_costs_of_steps_without_an_execution(
    db: str, store: Store, service: CostService
) -> None:
    """What another process changed of a step whose start never came: also in pieces."""
    connection = apsw.Connection(db)
    with connection:
        connection.executemany(
            "INSERT INTO workflow_step_executions(id, completed_at, cost) VALUES (?, ?, 0.5)",
            ((f"s{n}", BASE + n) for n in range(1000)),
        )
    connection.close()
    assert delete_executions(store, BASE + 900) == 0
    left = "SELECT count(*) FROM workflow_step_executions"
    assert store.read(lambda c: c.execute(left).fetchall()) == [(100,)]
    assert service.get_total(BASE, BASE + DAY).steps == 1000
    assert service.get_total(BASE, BASE + DAY).cost == 500.0


def test_huge_figures_stop_neither_a_cleanup_nor_a_query(
    db: str, store: Store, service: CostService
) -> None:
    """What no integer holds is as large as can be; what is no number is 0."""
    connection = apsw.Connection(db)
    for n in range(3):
        connection.execute(
            "INSERT INTO workflow_executions_monitor(id, status, started_at, completed_at) "
            "VALUES (?, 'completed', ?, ?)",
            (f"e{n}", BASE, BASE),
        )
        connection.execute(
            "INSERT INTO workflow_step_executions(id, execution_id, completed_at, cost, "
            "tokens_used, provider) VALUES (?, ?, ?, ?, ?, CAST(x'ff41' AS TEXT))",
            (f"s{n}", f"e{n}", BASE, [9e999, -9e999, "much"][n], 2**63 - 1),
        )
    connection.close()
    for _ in range(2):
        (found,) = service.get_costs(0, 2**42, by="provider")
        assert (found.key, found.cost, found.steps) == (r"\xffA", 0.0, 3)
        assert found.tokens >= 2**62
        delete_executions(store, BASE + 1)


def delete_executions(store: Store, before_ms: int) -> int:
    return store.delete_in_slices(lambda c, n: workflows.delete_executions(c, before_ms, n))


def plans_of(store: Store, query: Callable[[apsw.Connection], Any]) -> list[str]:
    def explain(connection: apsw.Connection) -> list[str]:
        seen: list[tuple[str, Any]] = []

        def note(_: Any, sql: str, values: Any) -> bool:
            seen.append((sql, values))
            return True

        connection.exec_trace = note
        query(connection)
        connection.exec_trace = None
        return [
            row[3]
            for sql, values in seen
            if not sql.startswith("PRAGMA")
            for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        ]

    return store.peek(explain)


@pytest.mark.parametrize("key", [None, *sorted(BY)])
@pytest.mark.parametrize("daily", [False, True])
def test_queries_read_the_index_only(store: Store, key: str | None, daily: bool) -> None:
    """Steps by time from the covering index, days by theirs; executions only if need be."""
    plan = plans_of(
        store, lambda c: stored.sum_costs(c, 0, 10, stored.CostScope(), key=key, daily=daily)
    )
    assert "SEARCH s USING COVERING INDEX workflow_steps_costs (<expr>>? AND <expr><?)" in plan
    assert "SEARCH cost_days USING INDEX cost_days_key (day>? AND day<?)" in plan
    assert any("SEARCH e " in step for step in plan) == (key in ("workflow", "tenant"))
    for query in (
        lambda c: stored.has_costs_before(c, 10, stored.CostScope()),
        lambda c: stored.when_exceeded(c, 0, 10, stored.CostScope(), 1.0),
    ):
        assert any("COVERING INDEX workflow_steps_costs" in step for step in plans_of(store, query))


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.get_costs(0.5, 1),
        lambda s: s.get_costs(0, "now"),
        lambda s: s.get_costs(0, 1, by="colour"),
        lambda s: s.get_daily_costs(0, 2**52),
        lambda s: s.project(0),
        lambda s: s.project(history_days=6),
        lambda s: s.project(confidence=1),
        lambda s: s.get_budget_status(confidence=0),
        lambda s: s.set_budget("", 1),
        lambda s: s.set_budget("\ud800", 1),
        lambda s: s.set_budget("x", 0),
        lambda s: s.set_budget("x", float("nan")),
        lambda s: s.set_budget("x", True),
        lambda s: s.set_budget("x", 1, period="year"),
        lambda s: s.set_budget("x", 1, provider=5),
    ],
)
def test_wrong_arguments_are_value_errors(
    service: CostService, call: Callable[[CostService], Any]
) -> None:
    """Each says which argument, and what is allowed."""
    with pytest.raises(ValueError, match=r"must|at most|none"):
        call(service)
    assert service.list_budgets() == []


def test_a_range_that_ends_before_it_begins_is_empty(service: CostService, db: str) -> None:
    """Nothing, not an error."""
    spend(db, ("2024-01-10", 1))
    assert service.get_costs(at("2024-01-11"), at("2024-01-09")) == []
    assert service.get_daily_costs(at("2024-01-11"), at("2024-01-09")) == []


def test_read_only_and_older_files(db: str) -> None:
    """A read-only store answers and refuses changes; a file from before says what to do."""
    Store(db).close()
    with Store(db, read_only=True) as store:
        service = CostService(store)
        assert service.get_costs(0, 1) == []
        assert service.check_budgets() == []
        with pytest.raises(ax_monitor.StorageError, match="read-only"):
            service.set_budget("x", 1)
    connection = apsw.Connection(db)
    connection.execute("PRAGMA user_version=5")
    connection.close()
    with (
        Store(db, read_only=True) as store,
        pytest.raises(ax_monitor.StorageError, match="older ax-monitor"),
    ):
        CostService(store).get_total(0, 1)


# -- what is to come ------------------------------------------------------------------------------


def test_a_projection_of_stored_days(db: str, service: CostService) -> None:
    """The complete days before today, from the first cost on; today's costs are left out."""
    days = [(f"2024-01-{day:02}T10:00", float(day)) for day in range(11, 31)]
    spend(db, *days, ("2024-01-31T11:00", 1000.0), provider="one", tenant="acme")
    found = service.project(10)
    assert (found.start, found.method, found.reason) == (at("2024-01-31"), "trend", None)
    assert [day.cost for day in found.history] == [float(day) for day in range(11, 31)]
    assert found.expected == pytest.approx(sum(range(31, 41)))
    assert found.low == pytest.approx(found.expected)
    assert found.daily_trend == pytest.approx(1.0)
    assert service.project(10, provider="one", tenant_id="acme").expected == found.expected
    other = service.project(tenant_id="other")
    assert (other.expected, other.history) == (None, ())
    assert other.to_dict()["method"] == "none"


def test_days_without_costs_count_once_there_was_one(db: str, service: CostService) -> None:
    """A cost before the window makes its empty days true ones."""
    spend(db, ("2024-01-29T10:00", 7.0))
    few = service.project()
    assert few.expected is None
    assert few.reason == "2 complete days with costs: at least 7 are needed"
    spend(db, ("2023-06-01", 1.0))
    found = service.project()
    assert len(found.history) == 30
    assert found.expected is not None
    assert sum(day.cost for day in found.history) == 7.0


def test_a_cleanup_changes_no_projection(db: str, store: Store, service: CostService) -> None:
    """Days that were folded are days like others."""
    spend(db, *((f"2024-01-{day:02}T10:00", float(day % 5)) for day in range(2, 31)))
    before = service.project()
    delete_executions(store, at("2024-01-20"))
    assert service.project() == before


# -- budgets --------------------------------------------------------------------------------------


def the_status(service: CostService, **given: Any) -> BudgetStatus:
    (status,) = service.get_budget_status(**given)
    return status


def test_budgets_are_set_changed_and_deleted(service: CostService, clock: FakeClock) -> None:
    """A name is one budget: set again it keeps its id, and is gone by name or by id."""
    first = service.set_budget("all", 100)
    clock.advance(5)
    assert service.set_budget("all", 50, period="week", provider="one", tenant_id="t") == first
    other = service.set_budget("b", 1)
    budget, _ = service.list_budgets()
    assert (budget.amount, budget.period, budget.provider) == (50.0, "week", "one")
    assert budget.updated_at - budget.created_at == 5000
    assert [each.name for each in service.list_budgets("t")] == ["all"]
    assert [each.budget.name for each in service.get_budget_status(tenant_id="t")] == ["all"]
    assert service.delete_budget("all")
    assert not service.delete_budget("all")
    assert service.delete_budget(other)
    assert service.list_budgets() == []


@pytest.mark.parametrize(
    ("now", "period", "start", "end"),
    [
        ("2024-01-31T23:59:59.999", "month", "2024-01-01", "2024-02-01"),
        ("2024-02-01T00:00", "month", "2024-02-01", "2024-03-01"),
        ("2024-02-29T12:00", "month", "2024-02-01", "2024-03-01"),
        ("2023-12-31T12:00", "month", "2023-12-01", "2024-01-01"),
        ("2024-01-31T23:59:59.999", "day", "2024-01-31", "2024-02-01"),
        ("2024-01-01T00:00", "week", "2024-01-01", "2024-01-08"),
        ("2023-12-31T23:59", "week", "2023-12-25", "2024-01-01"),
    ],
)
def test_spent_is_that_of_the_period(
    db: str, service: CostService, clock: FakeClock, now: str, period: str, start: str, end: str
) -> None:
    """To the millisecond, at the ends of months and of the year."""
    clock.now_ms = at(now)
    first, after = at(start), at(end)
    spend(db, (first - 1, 100.0), (first, 1.0), (after - 1, 2.0), (after, 1000.0))
    service.set_budget("x", 10, period=period)
    status = the_status(service)
    assert (status.period_start, status.period_end) == (first, after)
    assert (status.spent, status.share) == (3.0, 0.3)


def test_a_budget_counts_its_own_costs(db: str, service: CostService) -> None:
    """Of its provider, model, workflow and tenant only."""
    spend(db, ("2024-01-05", 1.0), provider="p", model="m", workflow="w", tenant="t")
    for other in ("provider", "model", "workflow", "tenant"):
        labels = {"provider": "p", "model": "m", "workflow": "w", "tenant": "t", other: "else"}
        spend(db, ("2024-01-05", 10.0), **labels)
    service.set_budget("x", 2, provider="p", model="m", workflow="w", tenant_id="t")
    assert the_status(service).spent == 1.0


def test_what_is_expected_and_when_it_crosses(
    db: str, service: CostService, clock: FakeClock
) -> None:
    """Ten dollars a day: 310 by the end of January, and 200 are exceeded on the 21st."""
    clock.now_ms = at("2024-01-16T12:00")
    spend(db, *((f"2024-01-{day:02}T08:00", 10.0) for day in range(1, 17)))
    service.set_budget("x", 400)
    status = the_status(service)
    assert (status.spent, status.status, status.crossing_date) == (160.0, "ok", None)
    for value in (status.expected, status.low, status.high):
        assert value == pytest.approx(310.0)
    service.set_budget("x", 205)
    status = the_status(service)
    assert (status.status, status.crossing_date) == ("warning", at("2024-01-21"))
    service.set_budget("x", 155)  # crossed when the sixteenth was spent
    status = the_status(service)
    assert (status.status, status.crossing_date) == ("exceeded", at("2024-01-16T08:00"))
    service.set_budget("x", 160)  # spent to the last cent is not exceeded, but will be
    assert the_status(service).status == "warning"


def test_too_little_history_expects_nothing(db: str, service: CostService) -> None:
    """With fewer than seven days nothing is made up; 80 % is a warning all the same."""
    spend(db, ("2024-01-30T10:00", 79.0))
    service.set_budget("x", 100)
    status = the_status(service)
    assert (status.status, status.expected, status.low, status.high) == ("ok", None, None, None)
    spend(db, ("2024-01-31T10:00", 1.0))
    assert the_status(service).status == "warning"


def test_t1_each_is_told_once_a_period_whatever_the_clock_does(
    db: str, service: CostService, clock: FakeClock
) -> None:
    """A warning, then that it is exceeded; in the next month again; a new amount anew."""
    told: list[tuple[str, float]] = []
    for event in ("budget.warning", "budget.exceeded"):
        service.on(event, lambda status, event=event: told.append((event, status.spent)))

    def check() -> list[tuple[str, float]]:
        service.check_budgets()
        service.flush()
        found = told[:]
        told.clear()
        return found

    service.set_budget("x", 100)
    assert check() == []
    spend(db, ("2024-01-31T01:00", 90.0))
    assert check() == [("budget.warning", 90.0)]
    assert check() == []
    spend(db, ("2024-01-31T02:00", 20.0))
    assert check() == [("budget.exceeded", 110.0)]
    assert check() == []
    clock.advance(DAY / 1000)
    assert check() == []
    spend(db, ("2024-02-01T02:00", 101.0))
    assert check() == [("budget.exceeded", 101.0)]
    clock.now_ms -= DAY  # the clock is set back: January has been told of
    assert check() == []
    clock.now_ms += DAY
    assert check() == []
    service.set_budget("x", 100)  # as it is
    assert check() == []
    service.set_budget("x", 90)
    assert check() == [("budget.exceeded", 101.0)]


CHECKER = """
import sys
import ax_monitor
with ax_monitor.open(sys.argv[1]) as monitor:
    told = []
    monitor.costs.on("budget.exceeded", told.append)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(20):
        monitor.costs.check_budgets()
    monitor.flush()
    print(len(told))
"""


def test_several_processes_tell_it_once(db: str) -> None:
    """Of processes that check at once, one tells."""
    with ax_monitor.open(db) as monitor:
        for n in range(5):
            monitor.costs.set_budget(f"b{n}", 1, period="month")
        with monitor.workflows.execution("wf", "w") as run, run.step("s") as step:
            step.set(cost=2.0)
    checkers = [
        subprocess.Popen(
            [sys.executable, "-c", CHECKER, db],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for _ in range(3)
    ]
    try:
        for checker in checkers:
            assert checker.stdout is not None
            assert checker.stdout.readline() == "ready\n"
        for checker in checkers:
            assert checker.stdin is not None
            checker.stdin.write("go\n")
            checker.stdin.flush()
        answers = [checker.communicate(timeout=60)[0] for checker in checkers]
    finally:
        for checker in checkers:
            checker.kill()
            checker.wait()
    assert sum(map(int, answers)) == 5

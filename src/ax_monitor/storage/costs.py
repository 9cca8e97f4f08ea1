"""What steps have cost, by day and by who; and budgets.

Two places say what was spent: the steps themselves, and `cost_days`, into which a cleanup adds up
the steps that it deletes. A step is in one of them. (Another program that deletes steps by SQL of
its own keeps nothing of them.)

The time of a cost is the end of its step; of a step that runs, and has failed before, the beginning
of this attempt. What is in `cost_days` has lost its time of day: such a day counts as a whole, if
any moment of it is in the range of a query.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Final

import apsw

from ax_monitor.errors import StorageError
from ax_monitor.model.costs import Budget
from ax_monitor.storage.alert_rules import as_bytes, readable
from ax_monitor.storage.connection import one_row
from ax_monitor.storage.migrations import schema_version

FIRST_VERSION: Final = 6  # of the schema, that has what is needed here
MS_PER_DAY: Final = 86_400_000
KEYS: Final = {
    "provider": "provider",
    "model": "model",
    "workflow": "workflow",
    "tenant": "tenant_id",
}
"""What costs can be grouped by, and the columns for it."""

# As of the partial index, or it would not be used.
_TIME: Final = "coalesce(s.completed_at, s.started_at)"
_COSTS: Final = "(s.cost IS NOT NULL OR s.tokens_used IS NOT NULL)"
_NOTICES_KEPT_MS: Final = 400 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class CostScope:
    """Which costs count; None: of all."""

    provider: str | None = None
    model: str | None = None
    workflow: str | None = None
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class CostRow:
    """A sum. `day` and `key` are None if it is not for one."""

    day: int | None
    key: str | None
    cost: float
    tokens: int
    steps: int


def check_version(connection: apsw.Connection) -> None:
    """Raise StorageError if the file is from before there were costs.

    It is brought up to date when it is opened for writing; who may only read it can't.
    """
    version = schema_version(connection)
    if version < FIRST_VERSION:
        raise StorageError(
            f"{connection.filename} is from an older ax-monitor (schema version {version}): "
            "open it for writing once, that brings it up to date"
        )


def day_of(time: str) -> str:
    """The first moment of the day, in SQL; of times before 1970 too."""
    return f"{time} - ({time} % {MS_PER_DAY} + {MS_PER_DAY}) % {MS_PER_DAY}"


# -- what was spent -------------------------------------------------------------------------------


def _source(
    scope: CostScope, key: str | None = None, *, timed: bool = True, floor: bool = True
) -> tuple[str, dict[str, Any]]:
    """Steps and days within :start and :end as one table; and what the scope's names stand for.

    Args:
        scope: Which costs count.
        key: See `KEYS`.
        timed: With their times. A time that is not used would have the steps themselves read.
        floor: The whole day in which the range begins counts, of days.
    """
    column = None if key is None else KEYS[key]
    given = {f.name: getattr(scope, f.name) for f in fields(scope)}
    wanted = {name: _stored(value) for name, value in given.items() if value is not None}
    of_steps = {
        "provider": "s.provider",
        "model": "s.model",
        "workflow": "e.workflow_name",
        "tenant_id": "e.tenant_id",
    }
    # An execution is looked up only if something of it is asked for.
    is_joined = any(name in ("workflow", "tenant_id") for name in (column, *wanted))
    joined = (
        "LEFT JOIN workflow_executions_monitor e ON e.id = s.execution_id " if is_joined else ""
    )
    steps_match = "".join(f" AND {of_steps[name]} = :{name}" for name in wanted)
    days_match = "".join(f" AND {name} = :{name}" for name in wanted)
    first = day_of(":start") if floor else ":start"
    return (
        f"SELECT {_TIME if timed else 'NULL'} AS time, "
        f"{'NULL' if column is None else of_steps[column]} AS key, "
        "s.cost AS cost, s.tokens_used AS tokens, 1 AS steps "
        f"FROM workflow_step_executions s {joined}"
        f"WHERE {_COSTS} AND {_TIME} BETWEEN :start AND :end{steps_match} UNION ALL "
        f"SELECT day, {column or 'NULL'}, cost, tokens, steps FROM cost_days "
        f"WHERE day BETWEEN {first} AND :end{days_match}",
        wanted,
    )


def sum_costs(
    connection: apsw.Connection,
    start_ms: int,
    end_ms: int,
    scope: CostScope,
    *,
    key: str | None = None,
    daily: bool = False,
) -> list[CostRow]:
    """The costs in a range of time, both ends inclusive, added up.

    Args:
        connection: Where.
        start_ms: First moment.
        end_ms: Last moment.
        scope: Which costs count.
        key: A sum for each provider, model, workflow or tenant: see `KEYS`.
        daily: A sum for each day (UTC).
    """
    check_version(connection)
    source, wanted = _source(scope, key, timed=daily)
    day = day_of("time") if daily else "NULL"
    rows = connection.execute(
        # A total is never too large for its type, as a sum may be.
        f"SELECT {day} AS day, {as_bytes(['key'])} AS name, total(cost), min(total(tokens), 9e18), "
        f"total(steps) FROM ({source}) GROUP BY 1, 2 ORDER BY 1, 2",
        {"start": start_ms, "end": end_ms, **wanted},
    )
    return [
        CostRow(day, None if name is None else readable(name), cost or 0.0, int(tokens), int(steps))
        for day, name, cost, tokens, steps in rows
    ]


def has_costs_before(connection: apsw.Connection, time_ms: int, scope: CostScope) -> bool:
    """Whether anything was spent before a time."""
    check_version(connection)
    source, wanted = _source(scope, floor=False)
    values = {"start": -(2**62), "end": time_ms - 1, **wanted}
    return connection.execute(f"SELECT time FROM ({source}) LIMIT 1", values).fetchone() is not None


def when_exceeded(
    connection: apsw.Connection, start_ms: int, end_ms: int, scope: CostScope, amount: float
) -> int | None:
    """When the costs of a range, added up by time, came to more than an amount; None if never."""
    check_version(connection)
    source, wanted = _source(scope)
    row = connection.execute(
        "SELECT time FROM (SELECT time, total(cost) OVER (ORDER BY time) AS spent "
        f"FROM ({source})) WHERE spent > :amount ORDER BY time LIMIT 1",
        {"start": start_ms, "end": end_ms, "amount": amount, **wanted},
    ).fetchone()
    return None if row is None else int(row[0])


def keep_costs_of(connection: apsw.Connection, rowids: Sequence[int]) -> None:
    """Add the costs of steps to `cost_days`. They are to be deleted in the same transaction."""
    keys = "day, ifnull(provider, x''), ifnull(model, x''), ifnull(workflow, x''), " + (
        "ifnull(tenant_id, x'')"
    )
    connection.execute(
        "INSERT INTO cost_days(day, provider, model, workflow, tenant_id, cost, tokens, steps) "
        f"SELECT {day_of(_TIME)}, s.provider, s.model, e.workflow_name, e.tenant_id, "
        "total(s.cost), CAST(total(s.tokens_used) AS INTEGER), count(*) "
        "FROM workflow_step_executions s "
        "LEFT JOIN workflow_executions_monitor e ON e.id = s.execution_id "
        f"WHERE s.rowid IN (SELECT value FROM json_each(?)) AND {_COSTS} AND {_TIME} IS NOT NULL "
        "GROUP BY 1, 2, 3, 4, 5 "
        f"ON CONFLICT({keys}) DO UPDATE SET cost = cost + excluded.cost, "
        "tokens = tokens + excluded.tokens, steps = steps + excluded.steps",
        (json.dumps(rowids),),
    )


# -- budgets --------------------------------------------------------------------------------------

_BUDGET: Final = tuple(field.name for field in fields(Budget))


def set_budget(connection: apsw.Connection, budget: Budget) -> str:
    """Add a budget, or change the one of this name; its id. A change is told of anew."""
    changed = [name for name in _BUDGET if name not in ("id", "name", "created_at")]
    differs = " OR ".join(
        f"budgets.{name} IS NOT excluded.{name}" for name in changed if name != "updated_at"
    )
    updated = connection.execute(
        f"INSERT INTO budgets({', '.join(_BUDGET)}) VALUES ({', '.join('?' * len(_BUDGET))}) "
        "ON CONFLICT(name) DO UPDATE SET "
        f"{', '.join(f'{name} = excluded.{name}' for name in changed)} WHERE {differs} "
        "RETURNING id",
        astuple(budget),
    ).fetchall()
    for changed_id in updated:
        connection.execute("DELETE FROM budget_notices WHERE budget_id = ?", changed_id)
    (budget_id,) = one_row(connection, "SELECT id FROM budgets WHERE name = ?", (budget.name,))
    return str(budget_id)


def find_budgets(connection: apsw.Connection, tenant_id: str | None = None) -> list[Budget]:
    """The budgets by name, of a tenant or all; what another program wrote wrong is left out."""
    check_version(connection)
    rows = connection.execute(
        f"SELECT {as_bytes(_BUDGET)} FROM budgets WHERE ?1 IS NULL OR tenant_id = ?1 ORDER BY name",
        (None if tenant_id is None else _stored(tenant_id),),
    )
    return list(_budgets(rows))


def _budgets(rows: Any) -> Iterator[Budget]:
    for row in rows:
        values: list[Any] = [readable(value) if type(value) is bytes else value for value in row]
        try:
            yield Budget(*values)
        except ValueError:
            continue


def delete_budget(connection: apsw.Connection, name_or_id: str) -> bool:
    """Delete the budget of this name, else of this id; False if there is none."""
    row = connection.execute(
        "SELECT id FROM budgets WHERE name = ?1 OR id = ?1 ORDER BY name = ?1 DESC LIMIT 1",
        (_stored(name_or_id),),
    ).fetchone()
    if row is None:
        return False
    connection.execute("DELETE FROM budget_notices WHERE budget_id = ?", row)
    connection.execute("DELETE FROM budgets WHERE id = ?", row)
    return True


def told_levels(connection: apsw.Connection) -> dict[tuple[str, int], int]:
    """What has been told, by budget and period."""
    check_version(connection)
    rows = connection.execute("SELECT budget_id, period_start, level FROM budget_notices")
    return {(budget_id, start): level for budget_id, start, level in rows}


def tell(
    connection: apsw.Connection, budget: Budget, period_start: int, level: int, now_ms: int
) -> bool:
    """Note that something is told of a budget; False if it has been, or the budget has changed."""
    told = connection.execute(
        "INSERT INTO budget_notices(budget_id, period_start, level, told_at) "
        "SELECT id, ?2, ?3, ?4 FROM budgets WHERE id = ?1 AND updated_at = ?5 "
        "ON CONFLICT DO UPDATE SET level = excluded.level, told_at = excluded.told_at "
        "WHERE excluded.level > level RETURNING 1",
        (budget.id, period_start, level, now_ms, budget.updated_at),
    ).fetchone()
    if told is None:
        return False
    connection.execute(
        "DELETE FROM budget_notices WHERE budget_id = ? AND period_start < ?",
        (budget.id, period_start - _NOTICES_KEPT_MS),
    )
    return True


def _stored(text: str) -> str:
    """A text as the recorder stores it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

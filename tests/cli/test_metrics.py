"""`ax monitor metrics`: the list, figures, charts."""

from __future__ import annotations

import contextlib
import io
import math
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest

import ax_monitor
from ax_monitor.cli import monitor_main
from ax_monitor.cli._chart import MARKS
from ax_monitor.cli.metrics import SHORT_NAMES
from tests.cli.helpers import Result, assert_one_line_error, run, run_on_terminal

pytestmark = pytest.mark.timeout(60)

MINUTE = 60_000
DURATION = "workflow.execution.duration"
FIGURES = {"count", "sum", "avg", "min", "max", "p50", "p95", "p99"}
BRAILLE = re.compile("[\u2801-\u28ff]")
EVIL = "evil \x1b[31m\u202e"


def run_here(*arguments: object) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = monitor_main(["metrics", *map(str, arguments)])
    return Result(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Filled:
    """A database, and what is in it of the last hour, by provider."""

    db: str
    durations: dict[str, list[float]]

    def run(self, *arguments: object) -> Result:
        """The command without a process of its own, which takes longer than the command."""
        return run_here(*arguments, "--db", self.db)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Durations of three providers, once a minute, and a few others."""
    db = str(tmp_path_factory.mktemp("metrics") / "monitor.db")
    now_ms = time.time_ns() // 1_000_000
    durations: dict[str, list[float]] = {"one": [], "two": [], EVIL: []}
    with ax_monitor.open(db) as monitor:
        metrics = monitor.metrics
        for n, (provider, values) in enumerate(durations.items()):
            for minute in range(50):
                value = 1000 * (n + 1) + 10.0 * minute
                values.append(value)
                metrics.record(
                    DURATION,
                    value,
                    labels={"provider": provider},
                    timestamp=now_ms - minute * MINUTE,
                )
            metrics.record(
                DURATION, 1, labels={"provider": provider}, timestamp=now_ms - 26 * 60 * MINUTE
            )
        metrics.record("cache.size", 5_000_000, tenant_id="acme")
        metrics.record("odd", 0.25, unit="USD")
        metrics.record("odd", 0.5, unit="EUR")
        metrics.record(EVIL, 7, unit=EVIL, labels={EVIL: EVIL})
        metrics.record("old", 1, timestamp=now_ms - 3 * 24 * 60 * MINUTE)
        for n in range(len(MARKS) + 3):
            for _ in range(n + 1):
                metrics.record("many", n, labels={"n": str(n)})
    return Filled(db, durations)


# -- the list --------------------------------------------------------------------------------------


def test_the_list_shows_what_there_is(filled: Filled) -> None:
    """Names, units, series, samples in the range, the minute of the last one."""
    result = run("metrics", "--db", filled.db)
    assert (result.code, result.err) == (0, "")
    heading, *rows = result.lines
    assert heading.split() == ["METRIC", "UNIT", "SERIES", "SAMPLES", "LAST", "MINUTE"]
    cells = {re.split(" {2,}", row)[0]: re.split(" {2,}", row)[1:] for row in rows}
    assert cells[DURATION][:3] == ["ms", "3", "150"]
    assert cells["cache.size"][:3] == ["bytes", "1", "1"]
    assert cells["odd"][:3] == ["EUR, USD", "2", "2"]
    assert cells["old"] == ["-", "1", "0", "-"]
    assert "evil \\x1b[31m\\u202e" in cells


def test_the_list_as_json(filled: Filled) -> None:
    """An object a metric, with the documented keys; longer ranges find more."""
    found = {each["metric_type"]: each for each in filled.run("--json", "--range", "2d").objects}
    now_ms = time.time_ns() // 1_000_000
    last = found[DURATION].pop("last_minute")
    assert last % MINUTE == 0
    assert now_ms - 3 * MINUTE < last <= now_ms
    assert found[DURATION] == {
        "metric_type": DURATION, "units": ["ms"], "series": 3, "samples": 153,
    }  # fmt: skip
    assert found["old"]["last_minute"] is None
    (old,) = [
        each
        for each in filled.run("--json", "--range", "7d").objects
        if each["metric_type"] == "old"
    ]
    assert old["samples"] == 1
    assert old["last_minute"] == pytest.approx(now_ms - 3 * 24 * 60 * MINUTE, abs=3 * MINUTE)


def test_the_list_of_a_tenant(filled: Filled) -> None:
    """Only metrics that have series of this tenant."""
    assert [each["metric_type"] for each in filled.run("--tenant", "acme", "--json").objects] == [
        "cache.size"
    ]


# -- figures ---------------------------------------------------------------------------------------


def test_figures_are_those_of_the_samples(filled: Filled) -> None:
    """Over everything, and for each value of a label, in JSON with the documented keys."""
    everything = [value for values in filled.durations.values() for value in values]
    (found,) = run("metrics", DURATION, "--json", "--db", filled.db).objects
    assert_figures(found, everything)
    assert (found["metric_type"], found["unit"], found["labels"]) == (DURATION, "ms", {})
    assert found["end_time"] - found["start_time"] == 60 * MINUTE
    assert found["exact"] is True
    by_provider = filled.run(DURATION, "--by", "provider", "--format", "json").objects
    assert [each["labels"]["provider"] for each in by_provider] == sorted(filled.durations)
    for each in by_provider:
        assert_figures(each, filled.durations[each["labels"]["provider"]])


def assert_figures(found: dict[str, Any], values: list[float]) -> None:
    ordered = sorted(values)
    expected = {
        "count": len(values),
        "sum": math.fsum(values),
        "avg": math.fsum(values) / len(values),
        "min": ordered[0],
        "max": ordered[-1],
        **{f"p{p}": ordered[math.ceil(len(values) * p / 100) - 1] for p in (50, 95, 99)},
    }
    assert {key: found[key] for key in FIGURES} == pytest.approx(expected)


def test_the_table_has_readable_units(filled: Filled) -> None:
    """Durations in seconds, sizes in MB, others as they are; one unit, or none."""
    heading, names, values = filled.run(DURATION).lines
    assert heading.startswith(f"{DURATION}  since ")
    assert names.split() == ["COUNT", "AVG", "MIN", "MAX", "P50", "P95", "P99"]
    assert re.split(" {2,}", values.strip())[:4] == ["150", "2.25 s", "1 s", "3.49 s"]
    assert "5 MB" in filled.run("cache.size").lines[-1]
    assert filled.run("odd").lines[-1].split() == [
        "2",
        "0.375",
        "0.25",
        "0.5",
        "0.25",
        "0.5",
        "0.5",
    ]


def test_the_table_by_label(filled: Filled) -> None:
    """A row for each value; its text does no harm."""
    _, names, *rows = filled.run(DURATION, "--by", "provider").lines
    assert names.split()[:2] == ["provider", "COUNT"]
    assert [re.split(" {2,}", row)[0] for row in rows] == ["evil \\x1b[31m\\u202e", "one", "two"]
    assert filled.run(EVIL, "--by", EVIL).lines[-1].startswith("evil \\x1b[31m\\u202e  ")


def test_the_range_and_the_tenant(filled: Filled) -> None:
    """Older samples come with a longer range; other tenants' samples are left out."""
    assert filled.run(DURATION, "--range", "2d", "--json").objects[0]["count"] == 153
    assert filled.run(DURATION, "--range", "10m", "--json").objects[0]["count"] in (30, 33)
    assert filled.run("cache.size", "--tenant", "acme", "--json").objects[0]["count"] == 1
    for missing in (("cache.size", "--tenant", "other"), ("old",), ("old", "--format", "chart")):
        assert filled.run(*missing) == Result(0, "", "")
    code, shown = run_on_terminal("metrics", "old", "--db", filled.db)
    assert (code, shown) == (0, "no samples of old in that time\n")


def test_short_names(filled: Filled) -> None:
    """They stand for metrics, are all in the help, and a metric of that very name comes first."""
    (long,), (short,) = (filled.run(name, "--json").objects for name in (DURATION, "latency"))
    assert short["metric_type"] == long["metric_type"]
    error = assert_one_line_error(filled.run("cost"), 1)
    assert "no metric 'cost' (workflow.step.cost)" in error
    words = run_here("--help").out.split()
    for name, meaning in SHORT_NAMES.items():
        assert {name, meaning.metric_type} <= set(words)


def test_a_metric_of_a_short_name_comes_first(db: str) -> None:
    """Who records "latency" gets it."""
    with ax_monitor.open(db) as monitor:
        monitor.metrics.record("latency", 1)
        monitor.metrics.record(DURATION, 2)
    assert run_here("latency", "--json", "--db", db).objects[0]["metric_type"] == "latency"


# -- charts ----------------------------------------------------------------------------------------


def test_a_chart_on_a_pipe(filled: Filled) -> None:
    """80 columns of plain text: heading, line, axes, times by the clock."""
    result = run("metrics", DURATION, "--format", "chart", "--utc", "--db", filled.db)
    assert (result.code, result.err) == (0, "")
    assert result.lines[0].startswith(f"{DURATION}  avg per 30 s  since ")
    assert BRAILLE.search(result.out)
    assert max(map(len, result.lines)) <= 80
    assert all(re.fullmatch(r"\d\d:\d\d", text) for text in result.lines[-1].split())
    assert "\x1b" not in result.out
    assert any(line.startswith("2 s ┤") for line in result.lines) or "2.0 s ┤" in result.out


def test_what_a_chart_shows(filled: Filled) -> None:
    """A short name's own aggregation, or the one asked for."""
    assert "  p95 per 30 s  " in filled.run("latency", "--format", "chart").lines[0]
    assert (
        "  max per 30 s  "
        in filled.run("latency", "--format", "chart", "--aggregation", "max").lines[0]
    )
    counts = filled.run(DURATION, "--format", "chart", "--aggregation", "count")
    assert any(line.startswith("3 ┤") for line in counts.lines)
    rates = filled.run(DURATION, "--format", "chart", "--aggregation", "rate", "--range", "2d")
    assert "s/s ┤" in rates.out


@pytest.mark.parametrize("columns", [30, 80, 133])
def test_charts_by_label_fit_the_terminal(filled: Filled, columns: int) -> None:
    """A mark and a colour each, a legend with harmless names."""
    colour = {"NO_COLOR": "1"} if columns < 80 else {}
    code, shown = run_on_terminal(
        "metrics", DURATION, "--by", "provider", "--format", "chart", "--db", filled.db,
        COLUMNS=str(columns), LINES="20", **colour,
    )  # fmt: skip
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert (plain == shown) == bool(colour)
    lines = plain.split("\n")[:-1]
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 20
    for mark, name in zip(MARKS, ("evil \\x1b[31m\\u202e", "one", "two"), strict=False):
        assert f"{mark} {name}" in plain
        assert plain.count(mark) > 10


def test_a_chart_of_many_label_values_shows_the_largest(filled: Filled) -> None:
    """As many as there are marks, those with most samples, and says so."""
    result = filled.run("many", "--by", "n", "--format", "chart")
    total = len(MARKS) + 3
    assert result.err == (
        f"the {len(MARKS)} with most samples of {total}; --format table shows all\n"
    )
    assert result.lines[-1].split()[1::2] == [str(n) for n in range(total - 1, 2, -1)]
    assert len(filled.run("many", "--by", "n").lines) == 2 + total


# -- mistakes --------------------------------------------------------------------------------------


def test_errors_are_one_line(filled: Filled, tmp_path: object) -> None:
    """Each says what was wrong, with the code for it."""
    assert "no metric 'nix': `ax monitor metrics` lists" in assert_one_line_error(
        filled.run("nix"), 1
    )
    assert "there are provider" in assert_one_line_error(filled.run(DURATION, "--by", "x"), 1)
    assert "it has none" in assert_one_line_error(filled.run("cache.size", "--by", "x"), 1)
    for wrong in (
        ("--by", "provider"), ("--format", "chart"), ("odd", "--range", "soon"),
        ("odd", "--range", "2999-01-01"), ("odd", "--format", "pie"),
        ("odd", "--aggregation", "p42"),
    ):  # fmt: skip
        assert_one_line_error(filled.run(*wrong), 2)
    missing = f"{tmp_path}/none.db"
    assert "no database" in assert_one_line_error(run_here("--db", missing), 1)


def test_series_without_the_label_are_mentioned(db: str) -> None:
    """They are in no row, and that is said."""
    with ax_monitor.open(db) as monitor:
        monitor.metrics.record("m", 1, labels={"a": "x"})
        monitor.metrics.record("m", 1, labels={"b": "y"})
    result = run_here("m", "--by", "a", "--json", "--db", db)
    assert [each["labels"] for each in result.objects] == [{"a": "x"}]
    assert result.err == "1 series without the label 'a' left out\n"


def test_an_empty_database_has_no_metrics(db: str) -> None:
    """That is no error."""
    ax_monitor.Store(db).close()
    assert run_here("--db", db) == Result(0, "", "")
    assert run_on_terminal("metrics", "--db", db) == (0, "no metrics\n")

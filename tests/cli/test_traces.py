"""`ax monitor traces`: what it lists, and the waterfall."""

from __future__ import annotations

import pytest

import ax_monitor
from ax_monitor.cli.traces import format_duration, waterfall
from ax_monitor.storage import traces
from tests.cli.helpers import assert_one_line_error, run, run_on_terminal

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A database with three traces, and the id of the one with most in it."""
    db = str(tmp_path_factory.mktemp("traces") / "monitor.db")
    with ax_monitor.open(db) as monitor:
        tracer = monitor.tracer
        with tracer.trace("run-1", "order", tenant_id="acme") as root:
            with tracer.span("validate"):
                pass
            with (
                pytest.raises(ValueError, match="declined"),
                tracer.span("pay", amount=2),
                tracer.span("evil \x1b[31m " + "long " * 40),
            ):
                raise ValueError("declined")
        with tracer.trace("run-2", "report"):
            pass
        tracer.start_trace("run-3")
    return db, root.trace_id


def test_list_shows_the_newest_first(filled: tuple[str, str]) -> None:
    db, trace_id = filled
    result = run("traces", "list", "--db", db)
    assert (result.code, result.err, len(result.lines)) == (0, "", 3)
    assert trace_id in result.lines[-1]
    for text in ("error", "4 spans", "run-1", "order"):
        assert text in result.lines[-1]
    assert "interrupted" in result.out


def test_list_filters_and_json(filled: tuple[str, str]) -> None:
    db, trace_id = filled
    for options in (
        ("--name", "order"), ("--tenant", "acme"), ("--execution", "run-1"), ("--attr", "amount=2"),
    ):  # fmt: skip
        (found,) = run("traces", "list", "--json", "--db", db, *options).objects
        assert (found["trace_id"], found["span_count"]) == (trace_id, 4)
    assert len(run("traces", "list", "--since", "1h", "--limit", "2", "--db", db).lines) == 2
    assert run("traces", "list", "--until", "2020-01-01", "--db", db).out == ""
    assert run("traces", "list", "--slower", "100000", "--db", db).out == ""
    assert_one_line_error(run("traces", "list", "--status", "odd", "--db", db), 2)


def test_show_draws_the_tree_on_a_pipe(filled: tuple[str, str]) -> None:
    db, trace_id = filled
    result = run("traces", "show", trace_id[:10], "--events", "--attributes", "--db", db)
    assert (result.code, result.err) == (0, "")
    heading, root, validate, pay, *rest = result.lines
    assert heading.startswith("order ")
    assert trace_id in heading
    assert root.startswith("order ")
    assert validate.startswith("  validate ")
    assert pay.startswith("  pay ")
    assert "█" in root
    assert any("exception: declined" in line for line in rest)
    assert any("amount = 2" in line for line in rest)
    assert "\x1b" not in result.out
    assert any("long " * 39 in line for line in rest)


@pytest.mark.parametrize("columns", [40, 80, 133])
def test_show_fits_the_terminal(filled: tuple[str, str], columns: int) -> None:
    db, trace_id = filled
    code, shown = run_on_terminal(
        "traces", "show", trace_id, "--db", db, COLUMNS=str(columns), NO_COLOR="1"
    )
    assert code == 0
    lines = shown.split("\n")[:-1]
    assert len(lines) == 5
    assert max(map(len, lines)) <= columns


def test_show_json_is_the_trace(filled: tuple[str, str]) -> None:
    db, trace_id = filled
    (shown,) = run("traces", "show", trace_id, "--json", "--db", db).objects
    with ax_monitor.Store(db, read_only=True) as store:
        trace = store.read(traces.get_trace, trace_id)
    assert trace is not None
    assert shown == trace.to_dict()


def test_errors_are_one_line(filled: tuple[str, str], tmp_path: object) -> None:
    db, _ = filled
    assert "no trace" in assert_one_line_error(run("traces", "show", "zz", "--db", db), 1)
    assert "more than one" in assert_one_line_error(run("traces", "show", "", "--db", db), 1)
    assert "no database" in assert_one_line_error(
        run("traces", "list", "--db", f"{tmp_path}/none.db"), 1
    )


@pytest.mark.parametrize("width", [10, 30, 200])
def test_waterfalls_of_odd_traces_fit(width: int) -> None:
    empty = ax_monitor.Trace("t", "run", 0)
    assert len(waterfall(empty, width)) == 1
    spans = [
        ax_monitor.Span(str(n), "t", str(n - 1), f"span {n}", ax_monitor.SpanKind.INTERNAL, n)
        for n in range(50)
    ]
    lines = waterfall(ax_monitor.Trace("t", "run", 0, spans=tuple(spans)), width)
    assert len(lines) == 51
    for line in lines:
        assert sum(len(part if isinstance(part, str) else part[0]) for part in line) <= width


def test_durations() -> None:
    assert [format_duration(ms) for ms in (None, 0.0005, 1.25, 999.94, 61_000)] == [
        "-", "0.5 µs", "1.2 ms", "999.9 ms", "61.0 s",
    ]  # fmt: skip

"""Hostile texts in every field, through every command: nothing acts, on any kind of output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ax_monitor.cli import COMMANDS
from tests.cli.corpus import BYTES, ESC, PACKED, STYLE, SURROGATES, Hostile, dangerous, fill
from tests.cli.helpers import run_here, run_on_terminal_here

pytestmark = pytest.mark.timeout(120)

TABLES = (
    *("logs", "log_contexts", "traces", "spans", "span_events", "performance_metrics"),
    *("alert_rules", "alerts", "alert_transitions", "alert_silences", "budgets", "metric_series"),
    *("workflow_executions_monitor", "workflow_step_executions"),
)
WIDE = 20_000  # columns: nothing is cut, and so all of it is looked at
PROGRESS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[hl]|2K|1A)|\r")  # a bar, and its end
CHART_WIDE = 2_000  # the same where bars are drawn


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    return fill(str(tmp_path_factory.mktemp("evil\x1b]0;x\x07\u202e\n") / "monitor.db"))


@pytest.fixture(scope="module")
def log_file(hostile: Hostile) -> Path:
    """Lines with all of it, in a file of such a name."""
    path = Path(hostile.db).parent / "log \x1b[31m\r\n\u202e.txt"
    path.write_bytes(b"\n".join(text.encode("utf-8", "surrogatepass") for text in PACKED) * 2)
    return path


def reading(hostile: Hostile, log_file: Path) -> Iterator[tuple[object, ...]]:
    """Every command that shows what is stored, with everything that it can show."""
    yield "status", "--verbose"
    yield "logs", "--limit", "all", "--ids", "--stack"
    yield "traces", "list", "--limit", "all"
    for trace_id in hostile.traces:
        yield "traces", "show", trace_id, "--events", "--attributes"
    yield "workflows", "--limit", "all"
    for execution_id in hostile.executions:
        yield "workflows", "show", execution_id
    yield ("metrics",)
    yield "metrics", "error_rate", "--by", "workflow"
    for text in PACKED:
        if text != SURROGATES:  # no name that can be asked for
            yield "metrics", "hostile", "--by", f"k{text}k"
            yield "metrics", "hostile", "--by", f"k{text}k", "--format", "chart"
            yield "metrics", f"metric{text}"
    for by in ("provider", "model", "workflow", "tenant"):
        yield "costs", "--by", by, "--projection", "--budget"
        yield "costs", "--by", by, "--format", "chart"
    yield "budgets", "list"
    yield "alerts", "list", "--limit", "all"
    yield "alerts", "rules"
    yield "alerts", "silences"
    for alert_id in hostile.alerts:
        yield "alerts", "history", alert_id
    for rule_id in hostile.rules[:3]:
        yield "alerts", "test", rule_id, "--since", "1h"
    for table in TABLES:
        yield "sql", f"SELECT * FROM {table}"
    yield "sql", f'SELECT 1 AS "{BYTES.replace(chr(0), "").replace(chr(34), "")}"'
    for what in ("logs", "traces", "metrics", "alerts", "workflows"):
        yield "export", what
        yield "export", what, "--format", "csv"
    yield "cleanup", "--dry-run"
    yield ("doctor",)
    yield "import", "--dry-run", log_file


def changing(hostile: Hostile) -> Iterator[tuple[object, ...]]:
    """Every command that says what it has changed; each works as often as it is called."""
    name = f"new {BYTES}"
    yield "budgets", "set", name, "1", "--workflow", BYTES
    yield "budgets", "delete", name
    yield "alerts", "create", name, "--metric", "m", "--when", "avg > 1 over 1m"
    yield "alerts", "disable", name
    yield "alerts", "enable", name
    yield "alerts", "delete", name
    yield "alerts", "silence", "1s", "--comment", BYTES, "--user", BYTES


def failing(text: str) -> Iterator[tuple[str, ...]]:
    """Every command that has to repeat what it was given."""
    yield (text,)
    yield "logs", text + '"'
    for option in ("--level", "--since", "--until", "--limit", "--meta", f"--{text}"):
        yield "logs", option, text
    for command in ("traces show", "workflows show", "alerts ack", "alerts resolve",
                    "alerts history", "alerts enable", "alerts test", "alerts unsilence",
                    "alerts silence", "budgets delete", "metrics", "export", "import"):  # fmt: skip
        yield *command.split(), text
    yield "metrics", "hostile", "--by", text
    yield "metrics", "--range", text
    yield "sql", text
    yield "status", "--db", text
    yield "backup", f"no folder/{text}"
    yield "alerts", "create", "x", "--metric", "m", "--when", text
    yield "cleanup", "--max-size", text


def with_database(arguments: tuple[object, ...], db: str) -> tuple[object, ...]:
    return arguments if "--db" in arguments or len(arguments) == 1 else (*arguments, "--db", db)


def test_every_command_is_among_them(hostile: Hostile, log_file: Path) -> None:
    """A new command has to be put here too; the demo has a database of its own."""
    assert {str(each[0]) for each in reading(hostile, log_file)} | {
        "backup",
        "demo",
        "bench",
        "completion",
    } >= set(COMMANDS)


def test_z1_on_a_terminal_with_colours(hostile: Hostile, log_file: Path) -> None:
    """The only control sequences are styles, and none of them is a stored one."""
    for arguments in (*reading(hostile, log_file), *changing(hostile)):
        width = CHART_WIDE if {"show", "chart"} & set(arguments) else WIDE
        code, shown = run_on_terminal_here(*arguments, "--db", hostile.db, columns=width)
        assert code in (0, 1 if arguments[0] == "doctor" else 0), (arguments, shown)
        ours = PROGRESS if arguments[0] == "import" else STYLE
        assert dangerous(ours.sub("", shown).replace("\n", "")) == [], arguments
        assert f"{ESC}[31mred{ESC}" not in shown, arguments
        assert f"log {ESC}" not in shown, arguments  # the name of the file


def test_z1_on_a_terminal_where_texts_are_cut(hostile: Hostile, log_file: Path) -> None:
    """An escape that is cut in its middle is harmless as well; NO_COLOR leaves no sequence."""
    for arguments in reading(hostile, log_file):
        _, shown = run_on_terminal_here(*arguments, "--db", hostile.db, NO_COLOR="1")
        assert dangerous(shown.replace("\n", "")) == [], arguments


def test_z1_on_a_pipe(hostile: Hostile, log_file: Path) -> None:
    """The same escapes; a list has a line a record, by any program's rules of line ends."""
    for arguments in (*reading(hostile, log_file), *changing(hostile)):
        out = run_here(*arguments, "--db", hostile.db).out
        assert dangerous(out.replace("\n", "")) == [], arguments
        assert len(out.splitlines()) == out.count("\n"), arguments
    for lists, count in (
        (("logs", "--limit", "all"), len(PACKED)),
        (("traces", "list", "--limit", "all"), len(hostile.traces)),
        (("workflows", "--limit", "all"), 2 * len(PACKED)),
        (("alerts", "list"), len(hostile.alerts)),
        (("alerts", "rules"), len(hostile.rules)),
    ):
        assert len(run_here(*lists, "--db", hostile.db).lines) == count


@pytest.mark.parametrize(
    "text", [BYTES[1:], PACKED[1], "not UTF-8 \udc80\udcff", "two\nlines\r", f"{ESC}[31mred"]
)
def test_errors_are_one_harmless_line(
    hostile: Hostile, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they repeat, on a terminal and on a pipe."""
    monkeypatch.chdir(tmp_path)
    for arguments in failing(text):
        command = with_database(arguments, hostile.db)
        result = run_here(*command)
        assert result.code in (0, 1, 2), command
        if arguments[0] == "logs" and result.code == 0:
            continue  # a search for these words, which finds nothing
        assert result.code in (1, 2), command
        assert result.err.startswith("Error: "), command
        lines = 3 if command[:2] == ("logs", f'{text}"') else 1  # a search, with a mark under it
        assert len(result.err.splitlines()) == result.err.count("\n") == lines, command
        assert dangerous(result.err.replace("\n", "")) == [], command
        _, shown = run_on_terminal_here(*command)
        assert dangerous(shown.replace("\n", "")) == [], command

"""The groups around the commands: names, help, exit codes, and what starting up costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import ax_monitor
from ax_monitor.cli import COMMANDS
from tests.cli.helpers import TIMEOUT_S, assert_one_line_error, environment, run, run_here

pytestmark = pytest.mark.timeout(60)

AX = "import sys; from ax_monitor.cli import main; sys.argv[0] = 'ax'; sys.exit(main())"


def ax(*arguments: str, script: str = AX) -> subprocess.CompletedProcess[str]:
    """Run `ax …` as its console script does."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    """Every line of the list is the first line of the command's own help."""
    shown = run("--help").out
    for name, (module, line) in COMMANDS.items():
        command = importlib.import_module(f"ax_monitor.cli.{module}").command
        assert command.name == name
        assert command.help.splitlines()[0] == line
        assert f"{name} " in shown
        assert line in shown


def leaves(name: str, command: click.Command) -> Iterator[str]:
    """The command, or those of the group."""
    if not isinstance(command, click.Group):
        yield name
        return
    if command.invoke_without_command:
        yield name
    for inner, each in command.commands.items():
        yield from leaves(f"{name} {inner}", each)


EVERY = [
    each
    for name, (module, _) in COMMANDS.items()
    for each in leaves(name, importlib.import_module(f"ax_monitor.cli.{module}").command)
]


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_help(name: str) -> None:
    """`COMMAND --help` shows its options, among them the common ones, within 80 columns."""
    result = run_here(*name.split(), "--help")
    assert (result.code, result.err) == (0, "")
    options = {"demo": ("--db PATH",), "completion": (), "bench": ("--json",)}.get(
        name, ("--db PATH", "--json")
    )
    for option in (*options, "--debug"):
        assert option in result.out
    assert max(map(len, result.lines)) <= 80
    assert "\x08" not in result.out


def test_ax_holds_the_monitor_group() -> None:
    """`ax monitor` is the group that `ax-monitor` and `python -m ax_monitor` are."""
    assert "monitor" in ax("--help").stdout
    assert ax("monitor", "--help").stdout.splitlines()[1:] == run("--help").lines[1:]
    assert ax("monitor", "logs", "--db", "/no/such.db").returncode == 1


def test_without_a_command_there_is_help() -> None:
    """A bare call shows the help and is no error."""
    assert run().out == run("--help").out
    assert (ax().returncode, ax().stdout) == (0, ax("--help").stdout)


def test_version() -> None:
    """--version names the program and its version."""
    assert run("--version").out == f"ax-monitor {ax_monitor.__version__}\n"


@pytest.mark.parametrize("arguments", [("nonsense",), ("--nonsense",), ("logs", "--nonsense")])
def test_unknown_words(arguments: tuple[str, ...]) -> None:
    """An unknown command or option is exit code 2, one line, and where to read on."""
    assert "--help`" in assert_one_line_error(run(*arguments), 2)


def imported(*arguments: str) -> set[str]:
    """The modules that a command has imported when it is done."""
    tell = "print('\\n'.join(sys.modules), file=sys.stderr)"
    done = ax(
        "monitor", *arguments, script=AX.replace("sys.exit(main())", f"assert main() == 0; {tell}")
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_starting_up_imports_only_what_is_needed(db: str) -> None:
    """Help and a pipe do without rich, and without the commands that were not called."""
    with ax_monitor.Store(db) as store:
        ax_monitor.StructuredLogger(store).info("hello", "test")
    heavy = {"rich", "numpy", "asyncio", "ax_monitor.interop.log_files"}
    assert not imported("--help") & (heavy | {"ax_monitor.cli.logs", "ax_monitor.cli.import_"})
    logs = imported("logs", "--db", db)
    assert "ax_monitor.cli.logs" in logs
    assert not logs & (heavy | {"ax_monitor.cli.doctor"})
    assert not imported("doctor", "--db", db) & heavy
    assert "rich" not in imported("import", "--dry-run", str(Path(__file__)))

"""The command line: `ax monitor …`, `ax-monitor …`, `python -m ax_monitor …`.

| module | what |
|---|---|
| `__init__` | the groups, and the way out: exit codes, one-line errors |
| `status`, `logs`, `traces`, `workflows`, `metrics`, `costs`, `budgets` | one command each |
| `import_`, `export`, `backup`, `sql`, `cleanup`, `doctor` | the same |
| `demo`, `bench`, `completion` | the same, of no database of the user's |
| `alerts`, `alert_rules`, `_alerting` | the command `alerts`, in three parts |
| `_options` | options that several commands share, and what their values mean |
| `_output` | everything that is printed: escaping, colours, widths, tables, times |
| `status`, `_overview` | the command `status`: how it looks, and what it asks |
| `_chart`, `_units` | charts out of characters; values with their units |

Exit codes: 0 all is well, 1 an error (or something found that is wrong), 2 a mistake in the command
line, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ax_monitor import __version__
from ax_monitor.cli._output import visible, visible_lines
from ax_monitor.errors import RulesFileError, SearchSyntaxError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Each mistake of a file of rules has its line; a search has a mark under the place.
_OF_SEVERAL_LINES: Final = (RulesFileError, SearchSyntaxError)

OK: Final = 0
ERROR: Final = 1
INTERRUPTED: Final = 130

# Name, module, and the line shown in the list of commands. A command's module is imported when it
# is called, so that the list, and every other command, starts at once.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "alerts": ("alerts", "See what is wrong, take care of it, and say what to watch."),
    "backup": ("backup", "Copy the database into a new FILE, also while an engine writes."),
    "bench": ("bench", "Measure how fast everything is on this machine."),
    "budgets": ("budgets", "Say how much may be spent in a day, a week or a month."),
    "cleanup": ("cleanup", "Delete what is old, and give back the space that it took."),
    "completion": ("completion", "Print what makes TAB complete commands and options in a shell."),
    "costs": ("costs", "Show what was spent, what will be, and how budgets stand."),
    "demo": ("demo", "The five-minute tour: an engine, an outage, a killed process."),
    "doctor": ("doctor", "Check the database, and repair what can be repaired."),
    "export": ("export", "Write logs, traces, metrics, alerts or workflows out."),
    "import": ("import_", "Bring log files in: JSON lines, logfmt, or plain text."),
    "logs": ("logs", "Search and follow the logs."),
    "metrics": ("metrics", "Show metrics: what there is, figures, charts."),
    "sql": ("sql", "Ask in SQL: one query, which only reads, and ends in time."),
    "status": ("status", "Show at a glance how the engine and its parts are."),
    "traces": ("traces", "Find traces, and show where their time went."),
    "workflows": ("workflows", "List executions of workflows, and show their steps in time."),
}


class _Commands(click.Group):
    """A group whose commands are the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ax_monitor.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so; none is imported."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 (only for a shell)

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name][1]) for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_Commands, invoke_without_command=True)
@click.version_option(__version__, prog_name="ax-monitor", message="%(prog)s %(version)s")
@click.pass_context
def monitor(ctx: click.Context) -> None:
    """Logs, traces, metrics and alerts of an engine, in one database file.

    Every command takes --db PATH; else AX_MONITOR_DB names the database, or the file of options
    that AX_MONITOR_CONFIG names; else it is .ax/monitor.db.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@click.group(invoke_without_command=True)
@click.version_option(__version__, prog_name="ax-monitor", message="%(prog)s %(version)s")
@click.pass_context
def ax(ctx: click.Context) -> None:
    """Tools for ax engines."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


ax.add_command(monitor, "monitor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ax …`; the exit code."""
    return _run(ax, arguments)


def monitor_main(arguments: Sequence[str] | None = None) -> int:
    """Run `ax-monitor …`; the exit code."""
    return _run(monitor, arguments)


def _run(command: click.Command, arguments: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that can't show a character gets its escape
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interruptible():
            code: Any = command.main(arguments, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.UsageError as error:
        where = f" (see `{error.ctx.command_path} --help`)" if error.ctx is not None else ""
        _complain(error.format_message().rstrip(".") + where)
        return error.exit_code
    except click.ClickException as error:
        show = visible_lines if isinstance(error.__cause__, _OF_SEVERAL_LINES) else visible
        _complain(error.format_message(), show)
        return error.exit_code
    except BrokenPipeError:  # as in MonitorCommand, of what was still in the buffer
        return OK
    except OSError as error:
        _complain(f"writing the output failed: {error.strerror}")
        return ERROR
    finally:
        _let_go_of_stdout()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, once: the next one would hit what puts things in order."""
    before = signal.getsignal(signal.SIGINT)
    if before not in (signal.default_int_handler, signal.SIG_DFL):
        yield  # ignored, as of `nohup`; or somebody else's
        return
    try:
        signal.signal(signal.SIGINT, _interrupt)
    except ValueError:  # not the main thread: Ctrl-C is not for this one
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: object) -> None:
    # Not SIG_IGN: Python complains of a signal that has come already.
    signal.signal(signal.SIGINT, lambda *_: None)
    raise KeyboardInterrupt


def _complain(text: str, show: Callable[[str], str] = visible) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"Error: {show(text)}", err=True)


def _let_go_of_stdout() -> None:
    """What can't be written must not be tried again, with a traceback, while Python exits."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

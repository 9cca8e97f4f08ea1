"""Write docs/reference/cli.md: every command with its arguments and options. `make docs`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ax_monitor.cli import ax

PAGE: Final = Path(__file__).resolve().parent / "reference" / "cli.md"
COMMON: Final = ("--db", "--json", "--debug", "--help", "--utc")  # said once, at the top
HEADER: Final = """\
# Command line

Generated from the commands by `make docs`. `ax monitor` is `ax-monitor`, too, and
`python -m ax_monitor`; `ax monitor COMMAND --help` says the same as this page.

Exit codes: 0 all is well, 1 an error (or something found that is wrong), 2 a mistake in the command
line, 130 interrupted. An error is one line on stderr. On a pipe nothing is coloured or cut.

Options that many commands share:

"""


def paragraphs(text: str) -> Iterator[str]:
    """A help text; what click would leave as it is (after a line `\\b`) becomes a block."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield f"```text\n{paragraph.removeprefix(chr(8)).strip(chr(10))}\n```"
        else:
            yield paragraph


def table(rows: list[tuple[str, str]]) -> str:
    cells = [(name.replace("|", "\\|"), text.replace("|", "\\|")) for name, text in rows]
    return "| option | meaning |\n|---|---|\n" + "".join(f"| `{a}` | {b} |\n" for a, b in cells)


def rows(command: click.Command, context: click.Context, *, common: bool) -> list[tuple[str, str]]:
    found = []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Argument):  # the usage has it, and the text says what it is
            continue
        record = parameter.get_help_record(context)
        if record is not None and common == (parameter.opts[-1] in COMMON):
            found.append((record[0].replace("\n", " "), " ".join(record[1].split())))
    return found


def commands(context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and all below it."""
    command = context.command
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(click.Context(below, info_name=name, parent=context))


def section(command: click.Command, context: click.Context) -> str:
    level = "##" if context.command_path.count(" ") < 3 else "###"
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    parts = [f"{level} {context.command_path}", f"```text\n{usage}\n```"]
    parts += paragraphs(command.help or "")
    if special := rows(command, context, common=False):
        parts.append(table(special).rstrip())
    if shared := [
        name.split(",")[-1].split()[0] for name, _ in rows(command, context, common=True)
    ]:
        parts.append("Also: " + ", ".join(f"`{name}`" for name in shared) + ".")
    if isinstance(command, click.Group):
        names = command.list_commands(context)
        path = context.command_path
        links = (f"[`{name}`](#{path.replace(' ', '-')}-{name})" for name in names)
        parts.append("Commands: " + ", ".join(links) + ".")
    if command.epilog:
        parts += paragraphs(command.epilog)
    return "\n\n".join(parts) + "\n"


def make() -> str:
    """The page."""
    root = click.Context(ax, info_name="ax")
    monitor = ax.get_command(root, "monitor")
    assert monitor is not None
    found = list(commands(click.Context(monitor, info_name="monitor", parent=root)))
    shared: dict[str, str] = {}
    for command, context in found:
        for name, text in rows(command, context, common=True):
            shared.setdefault(name, text)
    return HEADER + "\n".join((table(list(shared.items())), *(section(*each) for each in found)))


def main() -> None:
    """Write it."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()

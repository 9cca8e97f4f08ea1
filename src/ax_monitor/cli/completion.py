"""`ax monitor completion`."""

from __future__ import annotations

from typing import Final

import click

from ax_monitor.cli._options import MonitorCommand

SHELLS: Final = ("bash", "zsh", "fish")


@click.command("completion", cls=MonitorCommand)
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def command(ctx: click.Context, shell: str, debug: bool) -> None:
    """Print what makes TAB complete commands and options in a shell.

    \b
      bash   echo 'eval "$(ax monitor completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(ax monitor completion zsh)"' >> ~/.zshrc
      fish   ax monitor completion fish > ~/.config/fish/completions/ax.fish

    Bash has to be 4.4 or newer. As `ax-monitor completion …` it is for that program alone.
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 (only here)

    from ax_monitor.cli import monitor  # noqa: PLC0415 (it lists this module)

    program = ctx.find_root().info_name
    for name in ("ax-monitor",) if program == "ax-monitor" else ("ax", "ax-monitor"):
        variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
        completion = get_completion_class(shell)
        assert completion is not None
        click.echo(completion(monitor, {}, name, variable).source())

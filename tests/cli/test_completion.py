"""`ax monitor completion`: what TAB offers, asked through a real shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ax_monitor.cli import COMMANDS
from tests.cli.helpers import TIMEOUT_S, assert_one_line_error, environment, run

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the two console scripts."""
    for name, function in (("ax", "main"), ("ax-monitor", "monitor_main")):
        script = tmp_path / name
        script.write_text(
            f"#!{sys.executable}\nimport sys\nfrom ax_monitor.cli import {function}\n"
            f"sys.exit({function}())\n"
        )
        script.chmod(0o755)
    return tmp_path


def completed(shell: str, *words: str, at: Path) -> list[str]:
    """What a program answers a shell that asks for the last word."""
    program = words[0]
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    incomplete = words[-1] if shell == "fish" else str(len(words) - 1)
    done = subprocess.run(
        [at / program],
        env=environment(
            **{variable: f"{shell}_complete"}, COMP_WORDS=" ".join(words), COMP_CWORD=incomplete
        ),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ax", "mon"), {"monitor"}),
        (("ax", "monitor", "lo"), {"logs"}),
        (("ax-monitor", ""), set(COMMANDS)),
        (("ax-monitor", "logs", "--level", "e"), {"error"}),
        (("ax-monitor", "alerts", "list", "--sev"), {"--severity"}),
        (("ax-monitor", "metrics", "--format", "c"), {"chart"}),
    ],
)
def test_bash_completes(programs: Path, words: tuple[str, ...], offered: set[str]) -> None:
    """A bash with the script loaded offers commands, options, and the words of vocabularies."""
    function = f"_{words[0].replace('-', '_')}_completion"
    quoted = " ".join(f"'{word}'" for word in words)
    asked = (
        f'PATH="{programs}:$PATH"\neval "$(ax monitor completion bash)"\n'
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMPREPLY=()\n"
        f"complete -p {words[0]} >/dev/null && {function} {words[0]}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert set(done.stdout.split()) == offered
    assert done.stderr == ""


def test_zsh_and_fish_show_what_commands_do(programs: Path) -> None:
    """Both ask the same program, and get the line of help with the name."""
    assert completed("zsh", "ax", "monitor", "lo", at=programs) == [
        "plain",
        "logs",
        COMMANDS["logs"][1],
    ]
    (line,) = completed("fish", "ax-monitor", "lo", at=programs)
    assert line.startswith("plain,logs")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_the_program_that_printed_it(programs: Path, shell: str) -> None:
    """`ax` may be another program: where it is, `ax-monitor` leaves it alone."""

    def script(*command: str) -> str:
        return subprocess.check_output(
            [programs / command[0], *command[1:], shell],
            env=environment(),
            text=True,
            timeout=TIMEOUT_S,
        )

    assert "_AX_COMPLETE" in script("ax", "monitor", "completion")
    alone = script("ax-monitor", "completion")
    assert "_AX_MONITOR_COMPLETE" in alone
    assert "_AX_COMPLETE" not in alone


def test_what_tab_costs() -> None:
    """To list the commands no command is imported."""
    asked = (
        "import sys, os\n"
        "os.environ.update(_AX_MONITOR_COMPLETE='bash_complete', COMP_WORDS='ax-monitor ', "
        "COMP_CWORD='1')\n"
        "sys.argv[0] = 'ax-monitor'\n"
        "from ax_monitor.cli import monitor_main\n"
        "try:\n    monitor_main([])\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith('ax_monitor.cli.')])"
    )
    shown = subprocess.check_output(
        [sys.executable, "-c", asked], env=environment(), text=True, timeout=TIMEOUT_S
    )
    assert shown.splitlines()[-1] == "['ax_monitor.cli._output']"
    assert "plain,logs" in shown


def test_another_shell_is_a_usage_error() -> None:
    """With the names of those that there are."""
    assert_one_line_error(run("completion", "tcsh"), 2)

"""Runs a Markdown document as its reader would: one shell, one Python, one folder, top to bottom.

| block | is |
|---|---|
| `python` | run in one Python process, as if typed there; a `text` block after it is its output |
| any, whose first line is the comment `# NAME.EXT` | written to that file |
| `console` | each `$ command` is run by bash; the lines after it are its output |

`…` in an output stands for anything, and any space for any other. `^C` as the last line of an
output interrupts the command once it has shown what stands before. A command must exit with 0, or
end by that interrupt; what it exports, and the folder it goes to, count for the commands after it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from markdown_it import MarkdownIt

TIMEOUT_S = 60.0
RUN, ILLUSTRATIONS = ("python", "console"), ("", "text")
FILE_NAME = re.compile(r"# ([\w.-]+\.(?:py|toml|yaml))\b")
# Runs what comes as JSON lines; what is printed meanwhile, by threads and children too, is shown.
PYTHON = """
import json, os, sys, tempfile, traceback
replies, output = os.fdopen(os.dup(1), "w"), tempfile.TemporaryFile()
os.dup2(output.fileno(), 1)
__name__, requests, seen = "__main__", iter(sys.stdin.readline, ""), 0
for request in requests:
    path, code = json.loads(request)
    try:
        exec(compile(code, path, "exec"), globals())
        error = None
    except BaseException:
        error = traceback.format_exc()
    sys.stdout.flush()
    shown = os.pread(output.fileno(), 1 << 24, seen)
    seen += len(shown)
    print(json.dumps([shown.decode(), error]), file=replies, flush=True)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line on which the text begins."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str | None:
        found = FILE_NAME.match(self.text)
        return found[1] if found and self.language != "console" else None


@dataclass(frozen=True)
class Command:
    """A line of a console block, with the output that is shown below it."""

    text: str
    output: str
    line: int


def blocks(document: Path) -> list[Block]:
    tokens = MarkdownIt().parse(document.read_text(encoding="utf-8"))
    fences = [token for token in tokens if token.type == "fence"]
    return [Block(t.info.strip(), t.content, (t.map or [0])[0] + 2) for t in fences]


def commands(block: Block) -> Iterator[Command]:
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"line {block.line}: a console block begins with `$ command`"
    line = block.line
    for part in parts[1:]:
        text, _, output = part.partition("\n")
        yield Command(text, output.strip(), line)
        line += part.count("\n")


def agrees(shown: str, real: str) -> bool:
    """Whether a document shows what was really printed."""
    expected = re.escape(" ".join(shown.split())).replace("…", ".*?")
    return re.fullmatch(expected, " ".join(real.split()), re.DOTALL) is not None


@dataclass
class Reader:
    """Somebody who does what a document says, in `folder`. Close it after use."""

    folder: Path
    environment: dict[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)  # beginning of a command: why
    instead: Mapping[str, str] = field(default_factory=dict)  # the same: what is run in its place
    _python: subprocess.Popen[str] | None = None

    def read(self, document: Path) -> None:
        """Do all that it says; AssertionError, with the line, where it does not hold."""
        todo = blocks(document)
        for block, after in zip(todo, [*todo[1:], Block("end", "", 0)], strict=True):
            where = f"{document}:{block.line}"
            if block.file_name is not None:
                (self.folder / block.file_name).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                output = self._run_python(document, block)
                if after.language == "text":
                    assert agrees(after.text, output), f"{where} prints\n{output}"
            elif block.language == "console":
                for command in commands(block):
                    self._run_command(command, f"{document}:{command.line}")
            else:
                assert block.language in ILLUSTRATIONS, f"{where}: {block.language} is not run"

    def _run_python(self, document: Path, block: Block) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                ["python", "-c", PYTHON],
                cwd=self.folder,
                # Found where the shell would find it: Popen itself looks in its own PATH
                executable=_which("python", self.environment),
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        code = "\n" * (block.line - 1) + block.text  # a traceback shows the document's lines
        with _time_limit(self._python):
            print(json.dumps([str(document), code]), file=_open(self._python.stdin), flush=True)
            reply = _open(self._python.stdout).readline()
        assert reply, f"{document}:{block.line}: ended, or took more than {TIMEOUT_S:g} s"
        output, error = json.loads(reply)
        assert error is None, error
        return str(output)

    def _run_command(self, command: Command, where: str) -> None:
        if command.text.startswith(tuple(self.left_out)):
            return
        for beginning, other in self.instead.items():
            if command.text.startswith(beginning):
                command = dataclasses.replace(command, text=other)
        shown, interrupted = command.output.removesuffix("^C").rstrip(), "^C" in command.output
        handle, state = tempfile.mkstemp()
        os.close(handle)
        process = subprocess.Popen(
            ["bash", "-c", f"trap 'pwd > {state}; env -0 >> {state}' EXIT\n{command.text}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        output: list[str] = []
        with process, _time_limit(process):
            for line in _open(process.stdout):
                output.append(line)
                if interrupted and agrees(shown, "".join(output)):
                    time.sleep(0.2)  # nobody presses Ctrl-C while a command is about to begin
                    os.killpg(process.pid, signal.SIGINT)
                    interrupted = False
            code = process.wait()
        text = "".join(output)
        wanted = (0, 130, -signal.SIGINT) if "^C" in command.output else (0,)
        assert code in wanted, f"{where}: `{command.text}` exits with {code}:\n{text}"
        assert not shown or agrees(shown, text), f"{where}: `{command.text}` shows\n{text}"
        self._take_over(Path(state))

    def _take_over(self, state: Path) -> None:
        folder, _, variables = state.read_text().partition("\n")
        state.unlink()
        self.folder = Path(folder)
        self.environment = dict(v.split("=", 1) for v in variables.split("\0") if "=" in v)

    def close(self) -> None:
        """End Python as a user would; it must end well."""
        if self._python is not None:
            with _time_limit(self._python):
                _open(self._python.stdin).close()
                code = self._python.wait()
            _open(self._python.stdout).close()
            assert code == 0


def _which(name: str, environment: Mapping[str, str]) -> str:
    for folder in environment["PATH"].split(os.pathsep):
        if os.access(os.path.join(folder, name), os.X_OK):
            return os.path.join(folder, name)
    raise AssertionError(f"no {name} in {environment['PATH']}")


def _open(stream: IO[Any] | None) -> IO[Any]:
    assert stream is not None
    return stream


@contextlib.contextmanager
def _time_limit(process: subprocess.Popen[str]) -> Iterator[None]:
    timer = threading.Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

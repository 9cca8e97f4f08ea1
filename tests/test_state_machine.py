"""The whole recorder as a state machine: log, flush, query, kill, close, reopen, fork.

The recording process is a real child, driven over pipes: a kill is a real SIGKILL, a fork a real
`os.fork`. The model is a list of what the calls that returned have recorded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

EXAMPLES = int(os.environ.get("AX_MONITOR_TEST_EXAMPLES", "12"))
REPLY_TIMEOUT_S = 30

_CHILD = """
import dataclasses, json, os, sys
import ax_monitor

store = ax_monitor.Store(sys.argv[1])
logger = ax_monitor.StructuredLogger(store, min_level="debug")

def log(first, n, size):
    for i in range(first, first + n):
        logger.debug(f"m{i} " + "x" * size, f"source-{i % 3}", execution_id=f"run-{i % 5}")

def grandchild(first, n, size, clean):
    pid = os.fork()
    if pid == 0:
        log(first, n, size)
        if clean:
            store.close()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def messages(**filters):
    page = logger.query_logs(limit=None, order="asc", **filters)
    return [entry.message.split()[0] for entry in page]

commands = {
    "log": log,
    "fork": grandchild,
    "flush": store.flush,
    "messages": messages,
    "stats": lambda: dataclasses.asdict(store.stats()),
    "close": store.close,
}
for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(commands[name](**arguments)), flush=True)
"""


class Child:
    """The recording process."""

    def __init__(self, database: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, **arguments: Any) -> Any:
        """Run a command and wait for its answer: what it did before has been accepted."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> int:
        """Let it end normally; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(REPLY_TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.end()


class RecorderMachine(RuleBasedStateMachine):
    """Random lives of one database; `accepted` is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="ax-machine-")
        self.database = str(Path(self.folder) / "monitor.db")
        self.child: Child | None = None
        self.accepted: list[int] = []
        self.elsewhere: set[int] = set()  # in the ring of a grandchild that ended without closing
        self.next = 0
        self.makers: list[int] = []  # which process made each number
        self.processes = 0
        self.own = 0  # attempted by the child that lives now

    def numbers(self, n: int, maker: int) -> dict[str, int]:
        first = self.next
        self.next += n
        self.makers += [maker] * n
        return {"first": first, "n": n}

    @initialize()
    def start(self) -> None:
        self.child = Child(self.database)
        self.processes += 1
        self.own = 0

    @precondition(lambda self: self.child is None)
    @rule()
    def reopen(self) -> None:
        """A new process opens the file: everything that was ever accepted is there."""
        self.start()
        self.elsewhere.clear()
        self.check_all()

    @precondition(lambda self: self.child is not None)
    @rule(n=st.integers(1, 400), size=st.sampled_from([0, 10, 3000]))
    def log(self, n: int, size: int) -> None:
        assert self.child is not None
        made = self.numbers(n, maker=self.processes)
        self.child.call("log", **made, size=size)
        self.accepted += range(made["first"], made["first"] + n)
        self.own += n

    @precondition(lambda self: self.child is not None)
    @rule()
    def flush(self) -> None:
        assert self.child is not None
        assert self.child.call("flush") is True

    @precondition(lambda self: self.child is not None)
    @rule()
    def query(self) -> None:
        self.check_all()

    @precondition(lambda self: self.child is not None)
    @rule(run=st.integers(0, 4))
    def query_one_execution(self, run: int) -> None:
        """A filter finds the same records that the model's filter finds."""
        assert self.child is not None
        found = self.child.call("messages", execution_id=f"run-{run}")
        wanted = [i for i in self.accepted if i % 5 == run]
        self.compare(found, wanted)

    @precondition(lambda self: self.child is not None)
    @rule(n=st.integers(1, 50), clean=st.booleans())
    def fork(self, n: int, clean: bool) -> None:
        """A forked child records and ends, with or without closing its store."""
        assert self.child is not None
        made = self.numbers(n, maker=-self.next)  # a process of its own
        assert self.child.call("fork", **made, size=10, clean=clean) == 0
        forked = range(made["first"], made["first"] + n)
        self.accepted += forked
        if not clean:
            self.elsewhere |= set(forked)

    @precondition(lambda self: self.child is not None)
    @rule()
    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child = None

    @precondition(lambda self: self.child is not None)
    @rule(explicitly=st.booleans())
    def close(self, explicitly: bool) -> None:
        """A normal end leaves nothing but the database."""
        assert self.child is not None
        if explicitly:
            self.child.call("close")
        assert self.child.end() == 0
        self.child = None

    def check_all(self) -> None:
        assert self.child is not None
        self.compare(self.child.call("messages"), self.accepted)

    def compare(self, found: list[str], wanted: list[int]) -> None:
        """Exactly once, and what one process recorded in the order in which it did."""
        numbers = [int(message[1:]) for message in found]
        assert len(numbers) == len(set(numbers)), "a record is there twice"
        missing = set(wanted) - set(numbers)
        assert missing <= self.elsewhere, f"lost: {sorted(missing - self.elsewhere)[:10]}"
        assert set(numbers) <= set(wanted), "a record that nobody made"
        by_maker = sorted(numbers, key=lambda number: self.makers[number])  # stable
        assert by_maker == sorted(numbers, key=lambda n: (self.makers[n], n)), "out of order"

    @invariant()
    def accounts_agree(self) -> None:
        """attempted = stored + dropped + in flight."""
        if self.child is not None:
            stats = self.child.call("stats")
            assert stats["attempted"] == self.own
            assert stats["dropped"] == {}
            assert stats["stored"] + stats["in_flight"] == self.own

    def teardown(self) -> None:
        if self.child is not None:
            self.child.kill()
        shutil.rmtree(self.folder)


TestRecorder = RecorderMachine.TestCase
TestRecorder.settings = settings(max_examples=EXAMPLES, stateful_step_count=20, deadline=None)
TestRecorder = pytest.mark.timeout(600 if EXAMPLES > 50 else 120)(TestRecorder)

"""SIGKILL under load, all kinds of records, three processes on one file, recoverers too.

Each recording process counts what it has recorded in a file that it shares with nobody: the count
grows after the call has returned, so it is what was accepted, and at most one more is in doubt. The
records of a process are numbered, so that those which are there must be 0, 1, 2, … without a gap.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections import defaultdict
from pathlib import Path
from typing import NoReturn

import apsw

import ax_monitor
from tests.faults.harness import ring_paths
from tests.soak.report import Outcome

PROCESSES = 3
KILLS_A_FILE = 24
KINDS = ("log", "span", "sample", "step")
RECORDS = {"log": 1, "span": 3, "sample": 1, "step": 2}  # a trace begins, its span, it ends; …
RECORDS_A_KILL = 5_000  # five million records in a thousand kills
FLUSH_EACH = 4_000  # so that no ring is ever full: what is dropped was not accepted
LIMIT_S = 120
INTERRUPTED = "recoverers killed before they were through"


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """`count` kills of recorders, and a fifth as many of recoverers; fewer if time is over."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    total = {"kills": 0, INTERRUPTED: 0, "files": 0, "accepted": 0, "records": 0}
    total |= {"lost": 0, "twice": 0, "torn": 0}
    while total["kills"] < count and time.monotonic() < deadline:
        db = str(folder / f"{total['files']}.db")
        try:
            _one_file(db, total, outcome)
        except Exception as error:
            outcome.problems.append("".join(traceback.format_exception(error)))
        total["files"] += 1
        if outcome.problems:
            break
        for path in folder.iterdir():
            path.unlink()
    outcome.figures = total
    enough = (
        total["kills"] >= count
        and total[INTERRUPTED] >= count // 5
        and total["records"] >= count * RECORDS_A_KILL
    )
    outcome.expect(enough, f"fewer than {count} kills, {count * RECORDS_A_KILL} records")
    return outcome


def _one_file(db: str, total: dict[str, int], outcome: Outcome) -> None:
    accepted: dict[str, int] = {}
    number = 0
    while number < KILLS_A_FILE:
        children = []
        for _ in range(PROCESSES):
            ledger = Path(f"{db}.{number}")
            ledger.write_bytes(bytes(mmap.PAGESIZE))
            children.append((str(number), ledger, _fork(_record, db, str(number), ledger)))
            number += 1
        random.shuffle(children)
        for name, ledger, pid in children:
            goal = random.randrange(RECORDS_A_KILL // 2, RECORDS_A_KILL)  # 7 records of 4 numbers
            _wait_for(ledger, goal, pid)
            _kill(pid)
            accepted[name] = _accepted(ledger)
            total["kills"] += 1
        for _ in range(random.randrange(1, 4)):
            pid = _fork(_recover, db)
            time.sleep(random.uniform(0, 0.1))
            _kill(pid, may_have_ended=True)
            total[INTERRUPTED] += bool(_rings(db))
    with ax_monitor.Store(db) as store:
        assert store.flush(), store.stats()
    assert not _rings(db), f"{_rings(db)} are left of {db}"
    total["accepted"] += sum(accepted.values())
    _compare(db, accepted, total, outcome)


def _rings(db: str) -> list[Path]:
    """What may hold records: a ring whose maker was killed before it had its name holds none."""
    rings = []
    for path in ring_paths(db):
        if path.suffix != ".new":
            rings.append(path)
        else:
            assert not any(path.read_bytes()), f"{path} has something in it"
    return rings


# -- the processes --------------------------------------------------------------------------------


def _fork(work: object, *args: object) -> int:
    """This process has no threads, and nothing open, so a fork is as good as a new process."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(LIMIT_S)
            assert callable(work)
            work(*args)
        except BaseException as error:
            os.write(2, f"child: {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    return pid


def _record(db: str, name: str, ledger: Path) -> NoReturn:
    with ledger.open("r+b") as file:
        # Cast, so that it is written whole: struct.pack_into writes zeros first.
        count = memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")
    store = ax_monitor.Store(db)
    logger = ax_monitor.StructuredLogger(store)
    tracer = ax_monitor.DistributedTracer(store)
    series = ax_monitor.MetricsCollector(store).series("load", labels={"by": name})
    workflows = ax_monitor.WorkflowMonitor(store)
    run = workflows.start_execution(name, "load")
    at_ms = time.time_ns() // 1_000_000
    for number in itertools.count():
        match KINDS[number % len(KINDS)]:
            case "log":
                logger.info(f"{name} {number}", "kills", metadata=_payload(number))
            case "span":
                with tracer.trace(None, f"{name} {number}", attributes=_payload(number)):
                    pass
            case "sample":
                series.record_at(number, at_ms - number % 120_000)
            case _:
                step = workflows.start_step(run, f"{name} {number}")
                workflows.complete_step(step, tokens_used=number)
        count[0] = number + 1
        if number % FLUSH_EACH == FLUSH_EACH - 1:
            while not store.flush():
                pass
    raise AssertionError("unreachable")


def _payload(number: int) -> dict[str, object]:
    return {"number": number, "text": "x" * (number % 300)}


def _recover(db: str) -> None:
    with ax_monitor.Store(db) as store:
        store.flush()
    signal.pause()


def _wait_for(ledger: Path, goal: int, pid: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while _accepted(ledger) < goal:
        assert os.waitpid(pid, os.WNOHANG)[0] == 0, "a recorder ended by itself"
        assert time.monotonic() < deadline, f"only {_accepted(ledger)} of {goal}"
        time.sleep(random.uniform(0, 0.01))


def _kill(pid: int, *, may_have_ended: bool = False) -> None:
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert may_have_ended or os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _accepted(ledger: Path) -> int:
    return int.from_bytes(ledger.read_bytes()[:8], sys.byteorder)


# -- the comparison -------------------------------------------------------------------------------


def _compare(db: str, accepted: dict[str, int], total: dict[str, int], outcome: Outcome) -> None:
    found: defaultdict[str, dict[int, int]] = defaultdict(dict)
    torn = 0

    def note(name: str, number: int, *, whole: bool) -> None:
        nonlocal torn
        torn += not whole
        found[name][number] = found[name].get(number, 0) + 1

    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    for sql, kind in (
        ("SELECT message, metadata FROM logs", "log"),
        ("SELECT name, attributes FROM spans", "span"),
    ):
        for text, payload in connection.execute(sql):
            name, number = text.split()
            whole = json.loads(payload) == _payload(int(number))
            note(name, int(number), whole=whole and KINDS[int(number) % len(KINDS)] == kind)
    for key, tokens, status, started in connection.execute(
        "SELECT step_key, tokens_used, status, started_at FROM workflow_step_executions"
    ):
        name, number = key.split()
        in_doubt = int(number) >= accepted[name]
        whole = status == "completed" and tokens == int(number) and started is not None
        note(name, int(number), whole=whole or in_doubt)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    with ax_monitor.MetricsCollector(db) as metrics:
        for name in accepted:
            _, values = metrics.get_values("load", 0, 2**50, labels={"by": name})
            for value in values:
                note(name, int(value), whole=int(value) % len(KINDS) == KINDS.index("sample"))
    lost = twice = invented = 0
    for name, count in accepted.items():
        there = found[name]
        lost += sum(number not in there for number in range(count))
        twice += sum(times - 1 for times in there.values())
        invented += sum(number > count for number in there)
        total["records"] += sum(RECORDS[KINDS[number % len(KINDS)]] for number in there)
    total["lost"] += lost
    total["twice"] += twice
    total["torn"] += torn
    outcome.require(
        not (lost or twice or torn or invented or set(found) - set(accepted)),
        f"{db}: {lost} lost, {twice} twice, {torn} torn, {invented} never recorded",
    )

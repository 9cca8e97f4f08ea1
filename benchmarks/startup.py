"""G16 and G18: importing, the start of commands, and opening after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import ax_monitor
from ax_monitor.bench.corpus import fill_logs
from ax_monitor.bench.harness import Series, interleaved, ratio, timed
from benchmarks.harness import Result, bench_folder, say

LOGS = 5000
_IMPORT = "import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"

# Fills a 64 MB WAL (nothing checkpointed: a reader pins it), then the ring, and dies.
_CRASH = """
import os, sys, time
import apsw, ax_monitor
from ax_monitor.bench import payload
path = sys.argv[1]
store = ax_monitor.Store(path, overflow_wait_ms=60_000)
logger = ax_monitor.StructuredLogger(store)
texts = payload.messages(50_000)
logger.info("first", "crash")
store.flush()
pin = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
pin.execute("BEGIN")
pin.execute("SELECT count(*) FROM log_records").fetchall()
i = 0
while os.path.getsize(path + "-wal") < 64_000_000:
    for _ in range(5000):
        i += 1
        logger.info(texts[i % 50_000], payload.SOURCE, execution_id=f"run-{i // 100}", metadata=payload.METADATA)
    store.flush()
blocker = apsw.Connection(path)
blocker.set_busy_timeout(5000)
blocker.execute("BEGIN IMMEDIATE")
n = 0
while store.recorder.ring.free_segments > 1:
    n += 1
    logger.info(texts[n % 50_000], payload.SOURCE, execution_id=f"late-{n // 100}", metadata=payload.METADATA)
print(i + n + 1, flush=True)
time.sleep(60)
"""


def _import_seconds(module: str) -> float:
    printed = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(printed.stdout)


def _process_ms(command: list[str]) -> float:
    """From the start of a process to its exit."""
    return 1000 * timed(
        lambda: subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    )


def _commands() -> list[Result]:
    """What users wait for: the console script, beside Python itself and beside click."""
    ax = str(Path(sys.executable).with_name("ax"))
    with bench_folder() as folder:
        path = str(folder / "monitor.db")
        with ax_monitor.Store(path) as store:
            fill_logs(ax_monitor.StructuredLogger(store), LOGS)
        commands = {
            "pass": [sys.executable, "-c", "pass"],
            "click": [sys.executable, "-c", "import click"],
            "--help": [ax, "monitor", "--help"],
            "logs": [ax, "monitor", "logs", "--db", path],
        }
        series = interleaved(
            {name: partial(_process_ms, command) for name, command in commands.items()},
            repeats=15,
        )
    names = {
        "--help": "`ax monitor --help`, from start to exit",
        "logs": f"`ax monitor logs` on {LOGS:,} records, likewise",
    }
    return [
        Result(
            "G16",
            what,
            f"{series[name].median:.0f} ms ± {series[name].spread:.0%} (`python -c pass` "
            f"{series['pass'].median:.0f} ms, with `import click` {series['click'].median:.0f} ms)",
            "≤ 150 ms",
            figure=series[name].median,
            limit=150,
            spread=series[name].spread,
            duration=True,
        )
        for name, what in names.items()
    ]


def _reopen(folder: Path) -> tuple[float, float]:
    """Seconds until everything is there again after a crash, and the ring's share of 16 MiB."""
    path = str(folder / "monitor.db")
    child = subprocess.Popen(
        [sys.executable, "-c", _CRASH, path], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    expected = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    wal = os.path.getsize(f"{path}-wal")
    start = time.perf_counter()
    with ax_monitor.Store(path) as store:
        logger = ax_monitor.StructuredLogger(store)
        assert logger.query_logs(limit=1)
        seconds = time.perf_counter() - start
        assert logger.get_log_count() == expected, (logger.get_log_count(), expected)
        recovered = store.stats().recovered
    say(f"G18: {seconds:.2f} s, {recovered} records recovered, WAL {wal / 1e6:.0f} MB")
    return seconds, recovered


def run() -> list[Result]:
    imports = interleaved(
        {
            "ax_monitor": lambda: _import_seconds("ax_monitor"),
            "logging, sqlite3, json": lambda: _import_seconds("logging, sqlite3, json"),
        },
        repeats=11,
    )
    ours = imports["ax_monitor"]
    against = ratio(ours, imports["logging, sqlite3, json"])
    reopened = Series()
    recovered = 0.0
    for _ in range(3):
        with bench_folder() as folder:
            seconds, recovered = _reopen(folder)
            reopened.values.append(seconds)
    return [
        Result(
            "G16",
            "`import ax_monitor`",
            f"{ours.median * 1000:.0f} ms ± {ours.spread:.0%} ({against.median:.1f} × `import logging, sqlite3, json`)",
            "≤ 100 ms",
            figure=ours.median,
            limit=0.1,
            spread=ours.spread,
            duration=True,
        ),
        *_commands(),
        Result(
            "G18",
            f"open and first query after a crash: full ring ({recovered:,} records), 64 MB WAL",
            f"{reopened.median:.2f} s",
            "≤ 2 s",
            figure=reopened.median,
            limit=2,
            spread=reopened.spread,
            duration=True,
        ),
    ]

"""`make demo`: a small engine on real work, one worker killed in the middle, nothing lost.

It imports the real log files of `tests/data/logs`, runs four threads that parse, compress and hash
those files and log and trace everything they do, lets a second process do the same until it is
killed with SIGKILL, and then shows what the database knows.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import ax_monitor
from ax_monitor.cli.traces import waterfall
from ax_monitor.interop.log_files import parse_lines

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "tests" / "data" / "logs").glob("*.log"))
FOLDER = ROOT / ".demo"
DATABASE = FOLDER / "monitor.db"
ENGINE_SECONDS = 6.0
KILL_AFTER_SECONDS = 3.0
THREADS = 4

console = Console(highlight=False, record="--picture" in sys.argv)


# -- the engine: real work, and a log call for every step of it ---------------------------------


class Engine:
    """Parses, compresses and hashes pieces of files until it is told to stop."""

    def __init__(
        self, logger: ax_monitor.StructuredLogger, tracer: ax_monitor.DistributedTracer, name: str
    ) -> None:
        self.logger = logger
        self.tracer = tracer
        self.name = name
        self.stop = threading.Event()
        self.jobs = 0
        self.call_ns: list[int] = []

    def run(self, worker: int) -> None:
        """One thread's loop: a job is one piece of one file."""
        source = f"{self.name}.worker-{worker}"
        log = self.logger.bind(source=source, tenant_id=f"tenant-{worker % 3}")
        job = 0
        while not self.stop.is_set():
            path = FILES[(job + worker) % len(FILES)]
            job += 1
            self.jobs += 1
            execution_id = f"{self.name}-{worker}-{job}"
            with self.tracer.trace(execution_id, "job", file=path.name, part=job % 16):
                self.do_job(log, path, part=job % 16)

    def do_job(self, log: ax_monitor.StructuredLogger, path: Path, part: int) -> None:
        """Parse, compress and hash a sixteenth of a file."""
        with self.tracer.span("read"):
            data = path.read_bytes()
        size = len(data) // 16
        piece = data[part * size : (part + 1) * size]
        self.timed(log.info, f"job started: {path.name} part {part}", metadata={"bytes": size})
        errors = 0
        lines = piece.decode("utf-8", "replace").splitlines()
        with self.tracer.span("parse") as span:
            for record in parse_lines(lines, source=path.name):
                if record.level in ("error", "fatal"):
                    errors += 1
                self.timed(
                    log.debug,
                    f"parsed {record.level} line of {path.name}: {record.message[:60]}",
                    metadata={"level": record.level, "length": len(record.message)},
                )
            span.set_attributes(lines=len(lines), errors=errors)
        for method, compress in (("zlib", zlib.compress), ("lzma", lzma.compress)):
            with self.tracer.span(f"compress with {method}"):
                packed = compress(piece)
            share = len(packed) / max(1, size)
            self.timed(log.info, f"compressed {path.name} with {method}", metadata={"ratio": share})
        with self.tracer.span("hash"):
            digest = hashlib.sha256(piece).hexdigest()
        self.timed(log.info, f"hashed {path.name} part {part}: {digest}")
        if errors > 20:
            self.timed(log.warn, f"many errors in {path.name} part {part}: {errors} lines")

    def timed(self, call: object, message: str, **context: object) -> None:
        """One log call, measured."""
        assert callable(call)
        start = time.perf_counter_ns()
        call(message, **context)
        self.call_ns.append(time.perf_counter_ns() - start)


def victim() -> None:
    """The worker process that is going to be killed; it says how many calls have returned."""
    store = ax_monitor.Store(DATABASE)
    logger = ax_monitor.StructuredLogger(store, min_level="debug")
    engine = Engine(logger, ax_monitor.DistributedTracer(store), "victim")

    def acknowledge() -> None:
        while True:
            print(len(engine.call_ns), flush=True)
            time.sleep(0.01)

    threading.Thread(target=acknowledge, daemon=True).start()
    engine.run(0)


# -- the demonstration ---------------------------------------------------------------------------


def heading(text: str) -> None:
    """A rule with a title."""
    console.print()
    console.rule(Text(text, style="bold"), align="left")


def say(text: str, style: str = "") -> None:
    """One line of the terminal's width."""
    console.print(Text(text, style=style), overflow="ellipsis", no_wrap=True)


def import_files() -> None:
    """With the command that users have."""
    heading("1. Import five real log files")
    command = [sys.executable, "-m", "ax_monitor", "import", "--db", str(DATABASE)]
    subprocess.run([*command, *(os.path.relpath(path) for path in FILES)], check=True)


def run_engine() -> int:
    """Returns how many log calls of the killed process had returned when it last said so."""
    heading("2. Four threads and one more process work and log; then: kill -9")
    with ax_monitor.open(DATABASE, logger={"min_level": "debug"}) as monitor:
        engine = Engine(monitor.logger, monitor.tracer, "engine")
        threads = [threading.Thread(target=engine.run, args=(i,)) for i in range(THREADS)]
        child = subprocess.Popen(
            [sys.executable, __file__, "victim"], stdout=subprocess.PIPE, text=True
        )
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        time.sleep(KILL_AFTER_SECONDS)
        child.send_signal(signal.SIGKILL)
        printed, _ = child.communicate()
        acknowledged = int(printed.split()[-1]) if printed.split() else 0
        time.sleep(ENGINE_SECONDS - KILL_AFTER_SECONDS)
        engine.stop.set()
        for thread in threads:
            thread.join()
        monitor.flush()
        seconds = time.perf_counter() - begin
        stats = monitor.store.stats()
    calls = sorted(engine.call_ns)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("jobs done (parse, compress, hash)", f"{engine.jobs:,}")
    rate = f"{stats.stored:,} ({stats.stored / seconds:,.0f} a second)"
    table.add_row("records written by the four threads", rate)
    table.add_row("lost", f"{sum(stats.dropped.values())}")
    rare = calls[int(len(calls) * 0.999)] / 1000
    cost = f"median {statistics.median(calls) / 1000:.2f} µs, 99.9 % under {rare:.1f} µs"
    table.add_row("cost of a log call, metadata included", cost)
    killed = f"killed by signal {-child.returncode} after {acknowledged:,} log calls"
    table.add_row("the other process", killed)
    console.print(table)
    return acknowledged


def show_recovered(logger: ax_monitor.StructuredLogger, acknowledged: int) -> None:
    """Count and show what the killed process recorded."""
    heading("3. The killed worker's records, to the last")
    found = logger.query_logs(source="victim.worker-0", limit=None)
    lost = max(0, acknowledged - len(found))
    verdict = f"{lost} LOST" if lost else "nothing lost"
    say(
        f"{verdict}: {acknowledged:,} calls had returned at the last count, {len(found):,} are here"
    )
    say("Its last three:")
    for entry in reversed(found[:3]):
        say(f"  {entry.execution_id}  {entry.level:5}  {entry.message}")
    if lost:
        raise SystemExit("records were lost: this is a bug")


def show_search(logger: ax_monitor.StructuredLogger) -> None:
    """Three searches, with their times."""
    heading("4. Full-text search over everything")
    total = logger.get_log_count()
    for search in (
        'exception OR "connection refused"',
        "NEAR(workerEnv error, 5)",
        "NameSystem* -delete",
    ):
        start = time.perf_counter()
        page = logger.query_logs(search=search, limit=50)
        milliseconds = (time.perf_counter() - start) * 1000
        found = f"  newest {len(page)} of {total:,} records in {milliseconds:.1f} ms"
        console.print(Text.assemble((search, "bold cyan"), found))
        for entry in page[:3]:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.timestamp / 1000))
            say(f"  {stamp}  {entry.source[:15]:15}  {entry.message}")


def show_trace(tracer: ax_monitor.DistributedTracer) -> None:
    """Draw one of the traces."""
    heading("5. Every job is a trace: where the time of one of them went")
    interrupted = tracer.find_traces(status="interrupted", limit=None)
    total = tracer.get_trace_stats()
    say(
        f"{total.total_traces:,} traces with {total.total_spans:,} spans; "
        f"{len(interrupted)} interrupted: what the killed process was at"
    )
    slowest = max(tracer.find_traces(status="ok"), key=lambda trace: trace.duration or 0)
    trace = tracer.get_trace(slowest.trace_id)
    assert trace is not None
    for line in waterfall(trace, min(console.width, 100), attributes=True):
        console.print(
            Text.assemble(*[(part, "") if isinstance(part, str) else part for part in line])
        )


def show_file() -> None:
    """Where the data is, and what to do with it."""
    heading("6. Where it is")
    size = DATABASE.stat().st_size
    with ax_monitor.Store(DATABASE, read_only=True) as store:
        count = store.count_logs()
    shown = os.path.relpath(DATABASE)
    say(
        f"{shown}: {size / 1e6:.1f} MB, {count:,} records, {size / count:.0f} bytes each with index"
    )
    say("To look around:")
    ax = os.path.relpath(Path(sys.executable).parent / "ax")
    for command in (
        f'logs "timeout OR refused" --db {shown}',
        f"logs --level error --source mod_jk --limit 20 --db {shown}",
        f"traces list --db {shown}",
        f"doctor --db {shown}",
    ):
        console.print(Text(f"  {ax} monitor {command}", style="green"))
    say(f"To delete it: rm -r {os.path.relpath(FOLDER)}")


def main() -> None:
    """Run the demonstration; `--picture FILE` also draws it as SVG."""
    if sys.argv[1:] == ["victim"]:
        victim()
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    import_files()
    acknowledged = run_engine()
    with ax_monitor.open(DATABASE) as monitor:
        show_recovered(monitor.logger, acknowledged)
        show_search(monitor.logger)
        show_trace(monitor.tracer)
    show_file()
    if sys.argv[1:2] == ["--picture"]:
        from rich._export_format import CONSOLE_SVG_FORMAT  # noqa: PLC0415 (only for the picture)

        # Without the web fonts that rich would have the picture load
        plain_format = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        plain_format = re.sub(r"<!--.*?-->", "", plain_format)
        console.save_svg(sys.argv[2], title="make demo", code_format=plain_format)


if __name__ == "__main__":
    main()

"""G15 and the idle part of G17: what watching costs, in time and in memory. Each in a child."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from ax_monitor.bench.harness import Series, percentile
from benchmarks.harness import Result, bench_folder

CHECKS = 60
REPEATS = 5
PAUSE_S = 0.12  # the CPUs can't be measured more often
DOCUMENT = "database cache queue worker_pool providers disk memory"  # ours has the recorder, too

# Checks a system with one provider and one cache, idle or beside a thread that records.
_CHECKS = """
import asyncio, json, sys, threading, time
import ax_monitor
from ax_monitor import HealthCheckService
path, checks, pause_s, load = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
monitor = ax_monitor.open(path)
for number in range(20_000):
    monitor.logger.info(f"message {number}", "bench", execution_id=f"run-{number // 100}")
monitor.flush()
health = HealthCheckService(monitor.store)
health.register_cache(lambda: {"size_bytes": 1, "hit_rate": 0.9})
health.register_provider("provider", lambda: True)
stop = threading.Event()

def record():
    while not stop.wait(0.005):
        for _ in range(load // 200):
            monitor.logger.info("a message of the usual size, give or take", "bench")

if load:
    threading.Thread(target=record, daemon=True).start()
took = []

async def main():
    found = await health.get_system_health()
    assert len(found.components) == 8, found
    for _ in range(checks):
        await asyncio.sleep(pause_s)
        start = time.perf_counter()
        found = await health.get_system_health()
        took.append((time.perf_counter() - start) * 1000)
        bad = [c for c in found.components if c.status == "unhealthy"]
        assert not bad, bad

asyncio.run(main())
stop.set()
monitor.close()
print(json.dumps(took))
"""

_BARE = "import apsw, numpy; print('ready', flush=True); input()"

# Everything has been used once, and all that goes on by itself has begun and goes on.
_IDLE = """
import sys, time
import apsw, numpy
import ax_monitor
monitor = ax_monitor.open(
    sys.argv[1],
    health={"check_interval_ms": 200},
    alerts={"evaluation_interval_ms": 200},
    retention={"interval_ms": 400},
)
heard = []
monitor.events.on("health.changed", heard.append)
monitor.logger.info("hello", "bench", execution_id="run-1", metadata={"n": 1})
monitor.metrics.record("api.request.duration", 12.5, labels={"route": "/orders"})
with monitor.tracer.trace("run-1", "bench"), monitor.tracer.span("step"):
    pass
monitor.flush()
assert len(monitor.logger.query_logs(search="hello")) == 1
assert monitor.tracer.get_traces_by_execution("run-1")
time.sleep(1)
print("ready", flush=True)
input()
"""


def _took_ms(folder: Path, load: int) -> list[float]:
    arguments = [str(folder / f"load-{load}.db"), str(CHECKS), str(PAUSE_S), str(load)]
    done = subprocess.run(
        [sys.executable, "-c", _CHECKS, *arguments], capture_output=True, text=True, check=True
    )
    took: list[float] = json.loads(done.stdout)
    return sorted(took)


def _resident_mib(code: str, *arguments: str) -> float:
    """The resident memory of a child that has got so far."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        resident = psutil.Process(child.pid).memory_info().rss / 2**20
        child.stdin.write("\n")
        child.stdin.flush()
        child.wait()
    return resident


def run() -> list[Result]:
    """Both."""
    with bench_folder() as folder:
        idle, loaded = _took_ms(folder, 0), _took_ms(folder, 20_000)
        grown = Series()
        for number in range(REPEATS):
            bare = _resident_mib(_BARE)
            grown.values.append(_resident_mib(_IDLE, str(folder / f"idle-{number}.db")) - bare)
    names = f"{len(DOCUMENT.split())} components and the recorder"
    median = percentile(idle, 0.5)
    beside = percentile(loaded, 0.5)
    return [
        Result(
            "G15",
            f"system health, {names}",
            f"{median:.1f} ms, p95 {percentile(idle, 0.95):.1f} ms",
            "≤ 20 ms",
            figure=median,
            limit=20,
            duration=True,
        ),
        Result(
            "G15",
            "the same while 20 k records/s are recorded",
            f"{beside:.1f} ms, p95 {percentile(loaded, 0.95):.1f} ms",
            "≤ 20 ms",
            figure=beside,
            limit=20,
            duration=True,
        ),
        Result(
            "G17",
            "idle monitor with health checks and retention, over bare Python + apsw + numpy",
            f"{grown.median:.1f} MiB ± {grown.spread:.0%}",
            "≤ 25 MB",
            figure=grown.median * 2**20,
            limit=25e6,
            spread=grown.spread,
        ),
    ]

"""What the database knows afterwards: errors, alerts, health, traces, executions, latency.

python examples/query_data.py [DATABASE]
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import ax_monitor

HOUR_MS = 3_600_000


async def main(database: str | Path) -> None:
    """Print it."""
    now = time.time_ns() // 1_000_000
    async with ax_monitor.open(database) as monitor:
        errors = monitor.logger.query_logs(level="error", start_time=now - HOUR_MS, limit=50)
        print(f"Found {len(errors)} errors in the last hour")

        active = monitor.alerts.list_alerts(status="active")
        print(f"Active alerts: {len(active)}")

        health = await monitor.health.get_system_health()
        print(f"System health: {health.overall}")
        print(f"Uptime: {monitor.health.get_uptime_formatted()}")

        for execution in monitor.workflows.get_recent_executions(limit=1):
            for trace in monitor.tracer.get_traces_by_execution(execution.id):
                print(f"Trace {trace.trace_id}:")
                print(f"  Duration: {trace.duration} ms")
                print(f"  Spans: {len(trace.spans)}")
                for span in trace.spans:
                    print(f"    {span.name}: {span.duration} ms ({span.status})")

        stats = monitor.workflows.get_workflow_stats()
        print(f"Total executions: {stats.total}")
        print(f"Success rate: {stats.success_rate:.1f} %")
        print(f"Avg duration: {stats.avg_duration:.1f} ms")

        latency = monitor.metrics.get_aggregation("workflow.execution.duration", now - HOUR_MS, now)
        if latency is not None:
            print("Latency (last hour):")
            print(f"  P50: {latency.p50:.1f} ms")
            print(f"  P95: {latency.p95:.1f} ms")
            print(f"  P99: {latency.p99:.1f} ms")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:2] or ["example.db"])))

"""Executions and steps on a ring in memory."""

from __future__ import annotations

from typing import Any

import pytest

from ax_monitor._native import RecordRing, WorkflowChannel, WorkflowSettings


@pytest.fixture
def channel(ring: RecordRing) -> WorkflowChannel:
    settings = WorkflowSettings(
        text=str,
        whole=lambda name, value: None,
        real=lambda name, value: None,
        append=lambda kind, tag, fields: 0,
        find_execution=lambda execution_id: None,
        find_step=lambda step_id: None,
        publish=lambda event, thing: None,
    )
    return WorkflowChannel(ring, settings)


def _begin(channel: WorkflowChannel) -> Any:
    return channel.begin_execution("wf-1", "import", "acme", "user", "running", 5, None, None)


def test_step(benchmark: Any, channel: WorkflowChannel) -> None:
    execution_id = _begin(channel).id

    def start_and_complete() -> None:
        channel.complete_step(
            channel.start_step(execution_id, "load", "Load"), tokens_used=1200, cost=0.004
        )

    benchmark(start_and_complete)


def test_execution(benchmark: Any, channel: WorkflowChannel) -> None:
    def start_and_complete() -> None:
        channel.change_execution(_begin(channel), "completed", None, None, None, None)

    benchmark(start_and_complete)

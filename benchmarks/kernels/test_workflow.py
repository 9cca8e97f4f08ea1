"""Executions and steps on a ring in memory, against objects made by hand and empty methods."""

from __future__ import annotations

from typing import Any

import pytest

from ax_monitor._native import RecordRing, WorkflowChannel, WorkflowSettings
from benchmarks.conftest import Against
from benchmarks.reference import axref
from benchmarks.workflows import SlottedRow


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


def test_step(against: Against, channel: WorkflowChannel) -> None:
    execution_id, empty = _begin(channel).id, axref.Empty()

    def step(channel: Any) -> None:
        started = channel.start_step(execution_id, "load", "Load")
        channel.complete_step(started, tokens_used=1200, cost=0.004)

    against("empty calls", lambda: step(empty), lambda: step(channel))


def test_execution(against: Against, channel: WorkflowChannel) -> None:
    against(
        "an object by hand",
        lambda: SlottedRow("acme", "wf-1", "import").complete(),
        lambda: channel.change_execution(_begin(channel), "completed", None, None, None, None),
    )

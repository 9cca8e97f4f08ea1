"""The log call on a ring in memory, against an empty method that is called alike."""

from __future__ import annotations

from ax_monitor._native import LogChannel
from ax_monitor.bench import payload
from benchmarks.conftest import Against
from benchmarks.reference import axref

TEXTS = (payload.MESSAGE, payload.SOURCE)
IDS = {"span_id": payload.SPAN_ID, "tenant_id": payload.TENANT_ID}
METADATA = {**IDS, "metadata": payload.METADATA}


def test_info(against: Against, log: LogChannel) -> None:
    against("empty call", axref.Empty().info, log.info, TEXTS, IDS)


def test_info_with_metadata(against: Against, log: LogChannel) -> None:
    against("empty call", axref.Empty().info, log.info, TEXTS, METADATA)


def test_below_the_level(against: Against, log: LogChannel) -> None:
    against("empty call", axref.Empty().info, log.debug, TEXTS, METADATA)

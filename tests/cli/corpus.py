"""Texts that would act upon a terminal, and a database that has them wherever a text can be."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import apsw

import ax_monitor
from ax_monitor.services.costs import CostService

ESC = "\x1b"
STYLE = re.compile(r"\x1b\[[0-9;]*m")
BIDI_AND_INVISIBLE = [
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2060, 0x2070)),
    *"\u061c\u200b\u200e\u200f\u2028\u2029\ufeff\ufff9\U000e0001\U000e0041",
]
SEQUENCES = [
    f"{ESC}[31mred{ESC}[0m",
    f"{ESC}]0;title\x07",
    f"{ESC}]8;;http://evil{ESC}\\link{ESC}]8;;{ESC}\\",
    f"{ESC}[2J{ESC}[H",
    f"{ESC}P+q544e{ESC}\\",
    "\x9b31mC1\x9c",
    "overwritten\rby this",
    "two\r\nlines",
    "vertical\x0bform\x0cfeed",
    "separators\x1c\x1d\x1e\x85\u2028\u2029end",
    "abc\u202ecba",
    "\u2066isolate\u2069",
    "back\b\b\b\bspace",
    "emoji 👩\u200d💻 日本語 e\u0301",
]
CORPUS = [*map(chr, range(256)), *BIDI_AND_INVISIBLE, *SEQUENCES]
MARKUP = "[red]red[/red] [/x] [bold [link=http://evil]link[/link] \\[x] :smile: {0} %s <b>"

BYTES = "".join(map(chr, range(256)))
SURROGATES = "lone \udc80 \ud800 surrogates \udfff"
PACKED = [
    BYTES,
    "".join(BIDI_AND_INVISIBLE),
    SURROGATES,
    *SEQUENCES,
    MARKUP,
]
"""The corpus in fewer texts: all of the single characters in two."""

OVER_10 = {"operator": "gt", "threshold": 10, "window_ms": 3_600_000, "aggregation": "avg"}


def dangerous(text: str) -> list[str]:
    """The characters of a text that a terminal or a reader would act upon."""
    return [
        char
        for char in text
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        or (unicodedata.category(char) == "Cf" and char not in "\u200c\u200d")
    ]


@dataclass(frozen=True)
class Hostile:
    """A database, and the ids that commands take."""

    db: str
    traces: list[str]
    executions: list[str]
    alerts: list[str]
    rules: list[str]
    silences: list[str]


def fill(db: str) -> Hostile:
    """Every text of the corpus in every field of every kind of record that takes a text."""
    with ax_monitor.open(db, redact=None) as monitor:
        executions = [_record(monitor, text) for text in PACKED]
        assert monitor.flush()
        for text in PACKED:
            if text != SURROGATES:  # what is managed, not recorded, refuses those
                _watch(monitor, text)
        # A rule of a file from elsewhere, which is none.
        monitor.alerts.create_rule(f"broken {BYTES}", "d", "m", OVER_10, "info")
        assert monitor.flush()
        traces = [trace.trace_id for trace in monitor.tracer.find_traces(limit=None)]
        alerts = [alert.id for alert in monitor.alerts.list_alerts()]
        rules = [rule.id for rule in monitor.alerts.list_rules()]
        silences = [silence.id for silence in monitor.alerts.list_silences()]
    _write_as_another_program(db)
    return Hostile(db, traces, executions, alerts, rules, silences)


def _record(monitor: ax_monitor.Monitor, text: str) -> str:
    """A record of each kind, with this text in each of its fields; the execution's id."""
    monitor.logger.error(
        f"m{text}m",
        f"s{text}s",
        execution_id=f"e{text}e",
        trace_id=f"t{text}t",
        span_id=f"p{text}p",
        tenant_id=f"n{text}n",
        user_id=f"u{text}u",
        metadata={f"k{text}k": f"v{text}v", "nested": {f"k{text}k": [f"v{text}v"]}},
        stack_trace=f"st{text}st",
    )
    values = {f"k{text}k": f"v{text}v"}
    try:
        with monitor.tracer.trace(
            f"e{text}e", f"root{text}", tenant_id=f"n{text}n", attributes=values
        ):
            with monitor.tracer.span(f"span{text}", attributes=values) as span:
                span.add_event(f"event{text}", values)
            raise ValueError(f"why{text}")
    except ValueError:
        pass
    monitor.metrics.record(
        "hostile", 20, unit=f"unit{text}", labels={f"k{text}k": f"v{text}v"}, tenant_id=f"n{text}n"
    )
    monitor.metrics.record(f"metric{text}", 20, labels={"host": f"v{text}v"})
    workflow = (f"w{text}w", f"name{text}", f"n{text}n", f"u{text}u")
    try:
        with monitor.workflows.execution(*workflow, metadata=values) as execution:
            with execution.step(f"key{text}", f"step{text}") as step:
                step.set(tokens_used=5, cost=1.5, provider=f"pr{text}", model=f"mo{text}")
                step.retry(f"again{text}")
            with execution.step(f"key2{text}"):
                raise ValueError(f"why{text}")
    except ValueError:
        pass
    waiting = monitor.workflows.start_execution(*workflow)
    monitor.workflows.start_step(waiting, f"key{text}", f"step{text}")
    return execution.execution_id


def _watch(monitor: ax_monitor.Monitor, text: str) -> None:
    """A rule that fires, who takes care of its alerts, a silence, a budget."""
    rule = monitor.alerts.create_rule(
        f"rule{text}", f"d{text}", f"metric{text}", OVER_10, "critical",
        labels={f"k{text}k": f"v{text}v"}, by=["host"],
    )  # fmt: skip
    (alert,) = monitor.alerts.evaluate_now()
    monitor.alerts.acknowledge_alert(alert.id, f"u{text}u")
    monitor.alerts.silence(
        duration_ms=3_600_000, rule_id=rule, labels={f"k{text}k": f"v{text}v"},
        created_by=f"u{text}u", comment=f"c{text}c",
    )  # fmt: skip
    CostService(monitor.store).set_budget(
        f"budget{text}", 1, provider=f"pr{text}", model=f"mo{text}", workflow=f"name{text}",
        tenant_id=f"n{text}n",
    )  # fmt: skip


def _write_as_another_program(db: str) -> None:
    connection = apsw.Connection(db)
    connection.execute(
        "UPDATE alert_rules SET condition_operator = ? WHERE name GLOB 'broken*'", (BYTES,)
    )
    connection.close()

"""The small parts: answers of checks, thresholds, damping, uptime, ticks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import HealthCheck, HealthStatus, HealthThresholds
from ax_monitor.checks.damping import Damping
from ax_monitor.checks.outcome import (
    CannotTellError,
    Findings,
    describe,
    failed,
    read_answer,
    severity,
    worst,
)
from ax_monitor.checks.uptime import format_uptime

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY


@pytest.mark.parametrize(
    ("answer", "status", "message", "metadata"),
    [
        (True, HEALTHY, None, None),
        (False, UNHEALTHY, None, None),
        ("degraded", DEGRADED, None, None),
        (UNHEALTHY, UNHEALTHY, None, None),
        ({"size_bytes": 7}, HEALTHY, None, {"size_bytes": 7}),
        ({"status": "unhealthy", "message": "gone"}, UNHEALTHY, "gone", None),
        (HealthCheck("x", DEGRADED, 0, 0.0, "m", {"a": 1}), DEGRADED, "m", {"a": 1}),
    ],
)
def test_answers_are_understood(
    answer: object, status: HealthStatus, message: str | None, metadata: dict[str, Any] | None
) -> None:
    """Every documented kind of answer."""
    outcome = read_answer(answer)
    assert (outcome.status, outcome.message, outcome.metadata) == (status, message, metadata)


@pytest.mark.parametrize("answer", [None, 0, 1, 200, [], object()])
def test_x7_an_answer_that_says_nothing_is_not_health(answer: object) -> None:
    """None above all: a check that forgot its `return` is not healthy."""
    with pytest.raises(TypeError, match="says nothing"):
        read_answer(answer)


def test_an_unknown_status_names_the_known_ones() -> None:
    """As every vocabulary."""
    with pytest.raises(ValueError, match="healthy, degraded, unhealthy"):
        read_answer({"status": "fine"})


def test_what_can_not_be_told_is_degraded_and_no_failure() -> None:
    """Neither healthy by default, nor down."""
    outcome = failed(CannotTellError("there is no such figure here"))
    assert outcome.status is DEGRADED
    assert outcome.message == "can't tell: there is no such figure here"
    assert outcome.fault is None


def test_a_reason_is_one_line_without_secrets() -> None:
    """It is shown to people, and perhaps sent around."""
    assert describe(ValueError("a\nb")) == "ValueError: a b"
    assert describe(KeyError()) == "KeyError"
    assert "hunter2" not in describe(OSError("refused, password=hunter2"))
    assert len(describe(ValueError("x" * 100_000))) == 500


def test_the_worst_finding_counts_and_comes_first() -> None:
    """All of them are in the message."""
    found = Findings(a=1)
    found.degraded("slow")
    found.unhealthy("locked")
    outcome = found.outcome("fine")
    assert (outcome.status, outcome.message) == (UNHEALTHY, "locked; slow")
    assert Findings().outcome("fine").message == "fine"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cpu_percent": -1}, "at least 0"),
        ({"cpu_percent": float("nan")}, "at least 0"),
        ({"memory_degraded_percent": 101}, "at most 100"),
        ({"disk_degraded_bytes": 10}, "disk_degraded_bytes must not be less"),
        ({"memory_unhealthy_percent": 50}, "memory_unhealthy_percent must not be less"),
        ({"lag_unhealthy_ms": 1}, "lag_unhealthy_ms must not be less"),
    ],
)
def test_wrong_thresholds_are_refused(wrong: dict[str, float], message: str) -> None:
    """By name."""
    with pytest.raises(ValueError, match=message):
        HealthThresholds(**wrong)  # type: ignore[arg-type]


def test_the_document_s_thresholds_are_the_defaults() -> None:
    """SPEC names them."""
    limits = HealthThresholds()
    assert (limits.database_slow_ms, limits.running_count, limits.cpu_percent) == (100, 100, 80)
    assert (limits.disk_degraded_bytes, limits.disk_unhealthy_bytes) == (500_000_000, 100_000_000)
    assert (limits.memory_degraded_percent, limits.memory_unhealthy_percent) == (85, 95)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (2, "2s"),
        (60, "1m 0s"),
        (1802, "30m 2s"),
        (3600, "1h 0m 0s"),
        (19_802, "5h 30m 2s"),
        (86_400, "1d 0h 0m"),
        (192_600, "2d 5h 30m"),
        (100 * 86_400 + 3, "100d 0h 0m"),
    ],
)
def test_uptime_for_people(seconds: int, text: str) -> None:
    """The document's four forms."""
    assert format_uptime(seconds * 1000 + 999) == text


# -- damping ---------------------------------------------------------------------------------------


def changes(recover_after: int, seen: str) -> list[str]:
    """What is told of a row of statuses, written h, d, u: "hu" is a change from h to u."""
    damping = Damping(recover_after)
    letters = {None: "-", HEALTHY: "h", DEGRADED: "d", UNHEALTHY: "u"}
    by_letter = {letter: status for status, letter in letters.items() if status}
    told = [damping.update(by_letter[letter]) for letter in seen]
    return [letters[change[0]] + letters[change[1]] for change in told if change]


@pytest.mark.parametrize(
    ("recover_after", "seen", "told"),
    [
        (2, "hhhh", []),
        (2, "u", ["-u"]),
        (2, "hu", ["hu"]),
        (2, "hdu", ["hd", "du"]),
        (2, "huhuhuhu", ["hu"]),
        (2, "huhh", ["hu", "uh"]),
        (2, "hudhh", ["hu", "ud"]),
        (2, "hudhhh", ["hu", "ud", "dh"]),
        (3, "huhhuhhh", ["hu", "uh"]),
        (1, "huhu", ["hu", "uh", "hu"]),
    ],
)
def test_worse_counts_at_once_better_after_some_checks(
    recover_after: int, seen: str, told: list[str]
) -> None:
    """A flapping component is told of once."""
    assert changes(recover_after, seen) == told


@given(st.text("hdu", max_size=40), st.integers(1, 4))
def test_changes_are_a_chain_and_never_hide_the_worst(seen: str, recover_after: int) -> None:
    """Each begins where the last one ended, and what is told is never better than what is seen."""
    damping = Damping(recover_after)
    letters = {"h": HEALTHY, "d": DEGRADED, "u": UNHEALTHY}
    last: HealthStatus | None = None
    for number, letter in enumerate(seen):
        change = damping.update(letters[letter])
        if change is not None:
            assert change[0] is (last if number else None)
            assert change[0] is not change[1]
        last = damping.status
        assert last is not None
        assert severity(last) >= severity(letters[letter])
        recent = [letters[one] for one in seen[: number + 1][-recover_after:]]
        if len(recent) == recover_after and len(set(recent)) == 1:
            assert last is worst(recent) or severity(last) > severity(recent[0])

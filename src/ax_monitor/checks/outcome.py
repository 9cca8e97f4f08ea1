"""What a check finds, and how the answer of a user's own check is understood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ax_monitor.model.health import HealthCheck
from ax_monitor.model.vocabulary import HealthStatus
from ax_monitor.pipeline.plain import plain_text
from ax_monitor.redaction import redact_text

REASON_CHARACTERS: Final = 500  # of an error that a check raised: it is shown on one line
_ORDER: Final = (HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY)

# Returns an `Outcome`, or what `read_answer` understands; or an awaitable of one of these.
Check = Callable[[], object]


class CannotTellError(Exception):
    """Something can't be measured here. That is no failure, and no sign of health either."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check, before it is a `HealthCheck`.

    Args:
        status: How the component is.
        message: Why, for people.
        metadata: What was measured.
        fault: Why the check itself did not work (it raised, or hung); None if it did.
    """

    status: HealthStatus
    message: str | None = None
    metadata: dict[str, Any] | None = None
    fault: str | None = None


class Findings:
    """What one check finds, bit by bit: the status is the worst of it, the message all of it.

    >>> found = Findings(free_bytes=7)
    >>> found.degraded("7 bytes are left")
    >>> found.outcome("enough").status, found.outcome("enough").message
    (<HealthStatus.DEGRADED: 'degraded'>, '7 bytes are left')
    """

    def __init__(self, **metadata: Any) -> None:
        self.metadata = metadata
        self._found: list[tuple[HealthStatus, str]] = []

    def degraded(self, text: str) -> None:
        """It works, with trouble."""
        self._found.append((HealthStatus.DEGRADED, text))

    def unhealthy(self, text: str) -> None:
        """It does not work, or not for long."""
        self._found.append((HealthStatus.UNHEALTHY, text))

    def outcome(self, fine: str) -> Outcome:
        """The result; `fine` is its message if nothing was found."""
        status = worst(status for status, _ in self._found)
        # The worst comes first, else in the order of finding.
        texts = [text for found, text in self._found if found is status]
        texts += [text for found, text in self._found if found is not status]
        return Outcome(status, "; ".join(texts) or fine, self.metadata)


def severity(status: HealthStatus) -> int:
    """0 for healthy, and more for worse."""
    return _ORDER.index(status)


def worst(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """The worst of them; healthy if there are none."""
    return max(statuses, key=severity, default=HealthStatus.HEALTHY)


def failed(error: BaseException) -> Outcome:
    """The outcome of a check that raised."""
    if isinstance(error, CannotTellError):
        return Outcome(HealthStatus.DEGRADED, f"can't tell: {error}")
    return fault(describe(error))


def fault(reason: str) -> Outcome:
    """The outcome of a check that did not work."""
    return Outcome(HealthStatus.UNHEALTHY, reason, fault=reason)


def describe(error: BaseException) -> str:
    """An exception on one line, without what looks like a secret; never raises."""
    text = " ".join(redact_text(plain_text(error)).split())
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= REASON_CHARACTERS else f"{text[: REASON_CHARACTERS - 1]}…"


def read_answer(answer: object) -> Outcome:
    """What a user's check has answered.

    | answer                       | meaning                                              |
    |------------------------------|------------------------------------------------------|
    | True, False                  | healthy, unhealthy                                   |
    | a `HealthStatus` or its text | that                                                 |
    | a mapping                    | figures for the metadata; `status` (default: healthy,|
    |                              | as it answered) and `message` are taken out of them  |
    | a `HealthCheck`              | its status, message and metadata                     |

    Anything else, None too, says nothing, and that is never taken for health.

    Raises:
        TypeError: it is none of these.
        ValueError: there is no such status.
    """
    if isinstance(answer, Outcome):
        return answer
    if isinstance(answer, bool):
        return Outcome(HealthStatus.HEALTHY if answer else HealthStatus.UNHEALTHY)
    if isinstance(answer, str):
        return Outcome(HealthStatus.parse(answer))
    if isinstance(answer, HealthCheck):
        return Outcome(answer.status, answer.message, answer.metadata)
    if isinstance(answer, Mapping):
        figures = dict(answer)
        status = HealthStatus.parse(figures.pop("status", HealthStatus.HEALTHY))
        message = figures.pop("message", None)
        return Outcome(status, None if message is None else plain_text(message), figures or None)
    raise TypeError(
        f"the check answered {plain_text(answer)!r:.80}, which says nothing: "
        "return True or False, a status, a mapping or a HealthCheck"
    )

"""What the span kernel leaves to Python: secrets, sizes, and exceptions."""

from __future__ import annotations

from typing import Any, Final

from ax_monitor._native import encode_json
from ax_monitor.pipeline.plain import plain_text, shortened_metadata
from ax_monitor.pipeline.recorder import Recorder, format_exception

EVENTS_MAX_BYTES: Final = 200_000  # as JSON; the kernel takes 256 KiB
_FOREIGN: Final = 2  # EncodeStatus in encode.pxd
_TOO_LARGE: Final = 4

Attributes = dict[str, Any]


class SpanSimplifier:
    """Name, attributes and events of a span that can't be written as they are; never raises.

    Secrets are replaced as in log records, the name being the message. Attributes that are too
    large are shortened as metadata are; so are those of events, and of events that still are too
    many the last give way to one that says how many they were.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __call__(
        self,
        name: Any,
        attributes: Attributes | None,
        events: list[Attributes] | None,
        status: int,
    ) -> tuple[str | None, Attributes | None, list[Attributes] | None]:
        """The three, changed for the reason that `status` gives (EncodeStatus in encode.pxd)."""
        if name is not None:
            name, attributes = self._simple(name, attributes, status)
        if events:
            events = [self._event(event) for event in events]
            if status == _TOO_LARGE:
                events = _fewer(events)
        return name, attributes, events

    def _simple(
        self, text: Any, attributes: Attributes | None, status: int
    ) -> tuple[str, Attributes | None]:
        text, _, attributes, _ = self._recorder.simplify(text, (), attributes, None, status)
        return text, attributes

    def _event(self, event: Attributes) -> Attributes:
        name, attributes = self._simple(event["name"], event.get("attributes"), _FOREIGN)
        return {**event, "name": name, **({"attributes": attributes} if attributes else {})}


def _fewer(events: list[Attributes]) -> list[Attributes]:
    """As many of the first as fit, each with its attributes or with their beginning."""
    room = EVENTS_MAX_BYTES
    kept: list[Attributes] = []
    for original in events:
        event = original
        size = _size(event)
        if size > EVENTS_MAX_BYTES // 4 and event.get("attributes"):
            event = {**event, "attributes": shortened_metadata(event["attributes"])}
            size = _size(event)
        if size > room:
            more = {"$more": len(events) - len(kept)}
            return [*kept, {**event, "name": "events too large", "attributes": more}]
        room -= size
        kept.append(event)
    return kept


def _size(event: Attributes) -> int:
    encoded = encode_json(event)
    return EVENTS_MAX_BYTES if encoded is None else len(encoded) + 1


def describe_exception(error: BaseException) -> Attributes:
    """The attributes of an "exception" event, by OpenTelemetry's semantic conventions."""
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return {
        "exception.type": f"{module}{kind.__qualname__}",
        "exception.message": plain_text(error),
        "exception.stacktrace": format_exception(error),
    }

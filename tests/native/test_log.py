"""The log call: levels, preset context, odd values, and a ring that is full."""

from __future__ import annotations

import time
from collections import UserDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor import StructuredLogger
from ax_monitor._native import LogChannel, LogSettings
from ax_monitor.context import use_context
from ax_monitor.storage.records import LOG
from tests.channels import IDS, Channel
from tests.oracles import TEXT_MAX_BYTES, stored_json, stored_text

SEVERITY = {"debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
ALIASES = {"warning": "warn", "critical": "fatal"}
METHODS = {**SEVERITY, **{alias: SEVERITY[level] for alias, level in ALIASES.items()}}
REDACT_NOTHING = 0

any_text = st.text(st.characters(codec=None))


class Hostile:
    """A value that fails whatever is done with it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __bool__ = __str__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


# -- levels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowest", [1, 5, 9, 10, 13, 17, 21, 24])
def test_only_calls_at_or_above_the_level_are_recorded(lowest: int) -> None:
    """Each method has its severity number, and below the lowest one nothing at all happens."""
    channel = Channel(min_severity=lowest)
    for name in METHODS:
        getattr(channel.log, name)(name, "s")
    recorded = {name: severity for name, severity in METHODS.items() if severity >= lowest}
    assert [(r.message, r.severity, r.kind) for r in channel.records()] == [
        (name, severity, LOG.number) for name, severity in recorded.items()
    ]
    assert channel.ring.seq == len(recorded)


def test_a_call_below_the_level_touches_nothing() -> None:
    """A disabled call neither looks at its arguments nor asks for a source."""
    channel = Channel(min_severity=25)
    for name in METHODS:
        getattr(channel.log, name)(Hostile(), metadata=Hostile(), trace_id=Hostile())
    assert (channel.ring.seq, channel.simplified, channel.full) == (0, [], [])


def test_the_level_changes_for_everything_that_shares_the_settings() -> None:
    """A changed level takes effect at the next call, in bound channels too."""
    channel = Channel()
    bound = channel.bound(source="b")
    bound.debug("not yet")
    channel.settings.min_severity = 5
    bound.debug("now")
    assert [record.message for record in channel.records()] == ["now"]


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_wrong_calls_are_type_errors(method: str) -> None:
    """A missing message or source, and an unknown keyword, are programming errors."""
    channel = Channel(min_severity=1)
    call = getattr(channel.log, method)
    with pytest.raises(TypeError):
        call()
    with pytest.raises(TypeError, match="needs a source"):
        call("message")
    with pytest.raises(TypeError):
        call("message", "source", unknown="x")
    with pytest.raises(TypeError):
        call("message", "source", "run-7")
    if METHODS[method] < SEVERITY["error"]:
        with pytest.raises(TypeError):
            call("message", "source", error=ValueError())
    assert channel.ring.seq == 0


def test_channels_need_a_ring_and_settings() -> None:
    """A channel is made of a ring and settings, nothing else."""
    channel = Channel()
    with pytest.raises(TypeError):
        LogChannel(None, channel.settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        LogChannel(channel.ring, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        LogSettings()  # type: ignore[call-arg]


@given(
    message=any_text,
    source=any_text,
    ids=st.fixed_dictionaries({name: st.none() | any_text for name in IDS}),
    metadata=st.none() | st.dictionaries(st.text(max_size=5), st.integers() | any_text, max_size=3),
    stack_trace=st.none() | any_text,
)
def test_everything_that_is_logged_is_in_the_record(
    message: str, source: str, ids: dict[str, Any], metadata: Any, stack_trace: str | None
) -> None:
    """All texts are stored as they are, but for lone surrogates, with the time of the call."""
    channel = Channel(redact=REDACT_NOTHING)
    before = time.time_ns()
    channel.log.error(message, source, **ids, metadata=metadata, stack_trace=stack_trace)
    after = time.time_ns()
    (record,) = channel.records()
    assert before <= record.timestamp_ns <= after
    assert (record.message, record.source) == (stored_text(message), stored_text(source))
    assert record.ids == stored_json(ids)
    assert record.stack_trace == stored_json(stack_trace)
    if metadata is not None and all(
        not isinstance(value, int) or -(2**63) <= value < 2**63 for value in metadata.values()
    ):
        assert record.metadata == stored_json(metadata)


def test_log_at_takes_the_time_and_the_severity() -> None:
    """Records of the past keep their own time; severities are those of OpenTelemetry."""
    channel = Channel()
    for severity, when in ((9, 0), (12, -1), (24, 2**63 - 1), (17, -(2**63)), (8, 5)):
        channel.log.log_at(severity, "m", "s", timestamp_ns=when)
    found = [(record.severity, record.timestamp_ns) for record in channel.records()]
    assert found == [(9, 0), (12, -1), (24, 2**63 - 1), (17, -(2**63))]
    for severity in (0, -1, 25, 300):
        with pytest.raises(ValueError, match="1 to 24"):
            channel.log.log_at(severity, "m", "s")


def test_the_stack_trace_is_that_of_the_exception() -> None:
    """`error` gives its traceback; a `stack_trace` that is given as well wins."""
    channel = Channel()
    try:
        raise ValueError("what went wrong")
    except ValueError as error:
        channel.log.error("m", "s", error=error)
        channel.log.fatal("m", "s", error=error, stack_trace="mine")
        channel.log.fatal("m", "s", stack_trace=None, error=None)
    first, second, third = channel.records()
    assert first.stack_trace is not None
    assert first.stack_trace.startswith("Traceback (most recent call last):")
    assert first.stack_trace.endswith("ValueError: what went wrong\n")
    assert "test_the_stack_trace_is_that_of_the_exception" in first.stack_trace
    assert (second.stack_trace, third.stack_trace) == ("mine", None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (5, "5"),
        (2.5, "2.5"),
        (b"bytes \xff", "bytes \\xff"),
        (("a",), "('a',)"),
        (Hostile(), "<unprintable Hostile>"),
    ],
    ids=["None", "int", "float", "bytes", "tuple", "hostile"],
)
def test_b6_messages_and_ids_of_any_type_are_recorded(value: Any, text: str) -> None:
    """A message or an id that is no text becomes one; nothing is lost and nothing raised."""
    channel = Channel()
    with use_context(trace_id="t"):
        channel.log.info(value, "s")
        channel.log.info("m", "s", tenant_id=value, trace_id=value)
    message, ids = channel.records()
    assert message.message == text
    assert ids.ids["tenant_id"] == (None if value is None else text)
    assert ids.ids["trace_id"] == ("t" if value is None else text)


# -- metadata --------------------------------------------------------------------------------------

some_metadata = st.none() | st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3)


@given(some_metadata, some_metadata, some_metadata)
def test_metadata_of_loggers_and_calls_is_merged(
    first: dict[str, int] | None, second: dict[str, int] | None, call: dict[str, int] | None
) -> None:
    """The call's metadata goes over that of the logger, and that over its parent's."""
    channel = Channel()
    parent = channel.bound(**({} if first is None else {"metadata": first}))
    logger = LogChannel(channel.ring, channel.settings)
    logger.preset(parent, {} if second is None else {"metadata": second})
    copies = [None if part is None else dict(part) for part in (first, second, call)]
    logger.info("m", "s", metadata=call)
    (record,) = channel.records()
    parts = [part for part in (first, second, call) if part is not None]
    expected = {key: value for part in parts for key, value in part.items()}
    assert record.metadata == (expected if parts else None)
    assert [first, second, call] == copies


def test_b7_odd_metadata_is_recorded_with_and_without_a_preset() -> None:
    """Whatever is passed as metadata, the call does not raise, and the preset part survives."""

    class Broken(dict[str, Any]):
        def keys(self) -> Any:
            raise RuntimeError("no keys")

        def __iter__(self) -> Any:
            raise RuntimeError("no keys")

        items = keys

    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    odd = [[1, 2], "text", 5, (("a", 1),), Hostile(), Broken(a=1), UserDict(a=1), {1: 2}, cyclic]
    channel = Channel()
    bound = channel.bound(metadata={"preset": 1})
    for value in odd:
        channel.log.info("m", "s", metadata=value)
        bound.info("m", "s", metadata=value)
    records = channel.records()
    assert len(records) == 2 * len(odd)
    assert all(record.metadata is not None for record in records[::2])
    assert all(record.metadata["preset"] == 1 for record in records[1::2])
    by_mapping = [record.metadata for record in records[12:14]]
    assert by_mapping == [{"a": 1}, {"preset": 1, "a": 1}]


def test_metadata_is_captured_at_the_call() -> None:
    """What happens to the dict afterwards does not show in the record."""
    channel = Channel()
    metadata = {"n": 1, "list": [1]}
    channel.log.info("m", "s", metadata=metadata)
    metadata["n"] = 2
    metadata["list"].append(2)  # type: ignore[attr-defined]
    (record,) = channel.records()
    assert record.metadata == {"n": 1, "list": [1]}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("character", ["x", "é", "\ud800", '"'])
def test_o5_a_record_of_nothing_but_huge_texts_is_stored(character: str) -> None:
    """Message, stack trace and ids are cut, metadata is shortened; the record is there."""
    channel = Channel()
    huge = character * 1_000_000
    parts = {str(i): character * 30_000 for i in range(40)}
    for metadata in ({"k": huge, "n": 1}, parts):
        ids = dict.fromkeys(IDS, huge)
        channel.log.error(huge, huge, **ids, metadata=metadata, stack_trace=huge)
    records = channel.records()
    for record in records:
        for text, limit in ((record.message, TEXT_MAX_BYTES), (record.source, 4096)):
            assert limit - 10 <= len(text.split("... [cut")[0].encode()) <= limit
            assert text.endswith("[cut: 1000000 characters in all]")
        assert all(len(str(text)) < 4096 + 64 for text in record.ids.values())
        assert len(str(record.stack_trace).encode()) < TEXT_MAX_BYTES + 64
    assert set(records[1].metadata) == {"$truncated", "$preview"}
    assert records[1].metadata["$truncated"] > 40 * 30_000


@pytest.mark.timeout(20)
def test_o5_of_metadata_only_what_is_too_long_is_cut(logger: StructuredLogger) -> None:
    """A long text in metadata keeps its beginning, and everything beside it stays."""
    logger.info("m", "s", metadata={"long": "x" * 1_000_000, "n": 1})
    logger.info("m", "s", metadata={str(i): "x" * 60_000 for i in range(5)})
    cut, shortened = logger.query_logs(order="asc")
    assert cut.metadata is not None
    assert shortened.metadata is not None
    assert cut.metadata["n"] == 1
    assert cut.metadata["long"] == "x" * 65_536 + "... [cut: 1000000 characters in all]"
    assert set(shortened.metadata) == {"$truncated", "$preview"}
    assert shortened.metadata["$truncated"] > 300_000

"""The log call and the ring: secrets, a full ring, waking the pump, references, threads."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.channels import IDS, Channel, read_record
from tests.oracles import TEXT_MAX_BYTES

DROP_NEWEST = 1
REDACT_NOTHING, REDACT_SECRETS, REDACT_ALL = 0, 1, 2
FOREIGN, SENSITIVE, TOO_LARGE = 2, 3, 4


# -- secrets ---------------------------------------------------------------------------------------


def test_z5_secrets_take_the_slow_path() -> None:
    """What looks like a secret is redacted, ordinary records are not even looked at by Python."""
    channel = Channel(redact=REDACT_SECRETS)
    channel.log.info("ordinary", "s", metadata={"n": 1})
    assert channel.simplified == []
    channel.log.info("password=hunter2", "s")
    channel.log.info("m", "s", metadata={"url": "http://u:hunter2@h", "password": "hunter2"})
    channel.log.error("m", "s", stack_trace="token=hunter2")
    assert channel.simplified == [SENSITIVE] * 3
    assert all("hunter2" not in str(record) for record in channel.records())


@given(
    filled=st.integers(0, 1400),
    before=st.text("abc é€", max_size=300),
    field=st.sampled_from(["message", "stack_trace", "metadata"]),
    key=st.sampled_from(["note", "a\nb"]),
)
def test_z5_secrets_never_stay_in_the_memory_of_the_ring(
    filled: int, before: str, field: str, key: str
) -> None:
    """Not a byte of a secret is left in the ring's file, wherever in a segment it was met."""
    channel = Channel(redact=REDACT_SECRETS)
    for i in (262_144, 262_144, 262_144, 262_144 - 1500 + filled):  # up to the end of a segment
        channel.log.info("x" * i, "s")
    secret = "hunter2" * 100
    text = f"{before} token={secret} and more"
    fields: dict[str, Any] = {field: {key: text} if field == "metadata" else text}
    channel.log.error(fields.pop("message", "m"), "s", **fields)
    assert SENSITIVE in channel.simplified
    assert b"hunter2" not in bytes(channel.buffer)
    assert "token=[redacted] and more" in str(channel.records()[-1])


def test_z5_redaction_modes() -> None:
    """Nothing is looked at when redaction is off, and every record when a hook wants them all."""
    nothing, everything = Channel(redact=REDACT_NOTHING), Channel(redact=REDACT_ALL)
    for channel in (nothing, everything):
        channel.log.info("password=hunter2", "s")
        channel.log.info("ordinary", "s")
    assert nothing.simplified == []
    assert [record.message for record in nothing.records()] == ["password=hunter2", "ordinary"]
    assert everything.simplified == [SENSITIVE] * 2
    assert [record.message for record in everything.records()] == [
        "password=[redacted]",
        "ordinary",
    ]


def test_values_that_only_python_can_write_say_why() -> None:
    """The slow path hears whether a value was foreign or too large."""
    channel = Channel()
    channel.log.info(5, "s")
    channel.log.info("m", "s", metadata={"k": "x" * TEXT_MAX_BYTES})
    assert channel.simplified == [FOREIGN, TOO_LARGE]


# -- the ring --------------------------------------------------------------------------------------


def test_o1_a_full_ring_takes_errors_longer_than_the_rest() -> None:
    """A full ring refuses records with the channel's policy; errors may use the reserve."""
    channel = Channel(3, policy=DROP_NEWEST, redact=REDACT_NOTHING)
    text = "x" * 200_000
    while not channel.full:
        channel.log.info(text, "s")
    taken = channel.ring.seq
    channel.log.error(text, "s")
    assert channel.ring.seq == taken + 1
    while len(channel.full) < 2:
        channel.log.fatal(text, "s")
    assert channel.full == [(DROP_NEWEST, False), (DROP_NEWEST, True)]
    assert [record.severity for record in channel.records()].count(9) == taken


@pytest.mark.timeout(20)
def test_errors_wake_the_pump_at_once() -> None:
    """An error or fatal record wakes a sleeping pump that waits for many more records."""
    for method, wakes in (("info", False), ("warn", False), ("error", True), ("fatal", True)):
        readable, writable = os.pipe()
        channel = Channel()
        channel.ring.detach()
        buffer = bytearray(len(channel.buffer))
        channel.ring.attach(buffer, b"x" * 16, segment_bytes=1 << 20, wake_fd=writable, pid=0)
        assert channel.ring.arm(1000)
        getattr(channel.log, method)("m", "s")
        assert channel.ring.wait(readable, 0) == wakes
        os.close(readable)
        os.close(writable)


def test_listeners_get_the_record_as_it_is_stored() -> None:
    """With a listener every record's bytes are published, without one none."""
    channel = Channel()
    channel.log.info("unheard", "s")
    channel.settings.listening = True
    channel.log.info("heard", "s", tenant_id="t")
    channel.log.debug("below the level", "s")
    assert [read_record(data) for data in channel.published] == channel.records()[1:]


def test_x1_while_exiting_every_record_is_drained_at_once() -> None:
    """A synchronous ring asks for a drain after every record."""
    channel = Channel()
    channel.ring.set_synchronous(True)
    channel.log.info("m", "s")
    channel.log.error("m", "s")
    assert channel.full == [(-1, False)] * 2
    channel.ring.set_synchronous(False)
    channel.log.info("m", "s")
    assert len(channel.full) == 2


def test_calls_keep_no_references() -> None:
    """Logging neither leaks nor loses references to anything that was passed."""
    channel = Channel(8, redact=REDACT_SECRETS)
    marker = str(id(channel))
    texts = [f"{name} {marker}" for name in ("message", "source", *IDS)]
    metadata = {"k": f"v {marker}", "n": 2.5}
    bound = channel.bound(metadata={"preset": 1}, tenant_id=texts[-2])
    watched: list[Any] = [*texts, metadata, metadata["k"], channel.settings, channel.ring]
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(1000):
        channel.log.info(texts[0], texts[1], **dict(zip(IDS, texts[2:], strict=True)))
        bound.error(texts[0], texts[1], metadata=metadata, stack_trace=texts[3])
        bound.info(f"password=x {marker}", texts[1], metadata=metadata)
    assert [sys.getrefcount(thing) for thing in watched] == before


@pytest.mark.timeout(60)
def test_threads_log_without_losing_or_mixing_records() -> None:
    """Eight threads at once: every record is there, whole, and each thread's are in its order."""
    channel = Channel(8)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(thread: int) -> None:
        logger = channel.bound(source=f"source-{thread}", metadata={"thread": thread})
        for i in range(1000):
            logger.info(f"{thread} {i}", metadata={"i": i, "text": "é" * (i % 50)})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    records = channel.records()
    assert len(records) == 8000
    for number in range(8):
        mine = [record for record in records if record.source == f"source-{number}"]
        assert [record.message for record in mine] == [f"{number} {i}" for i in range(1000)]
        assert [record.metadata["i"] for record in mine] == list(range(1000))
        assert {record.metadata["thread"] for record in mine} == {number}

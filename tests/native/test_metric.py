"""The metric call: which series a call means, which values it takes, and definitions."""

from __future__ import annotations

import decimal
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor._native import (
    MetricChannel,
    MetricSeries,
    MetricSettings,
    RecordRing,
    decode_record,
    read_ring,
)
from ax_monitor.context import use_context
from ax_monitor.model.metrics import MetricType
from tests.oracles import new_ring


class Channel(MetricChannel):
    """A channel whose series are made by a plain dict."""

    def __init__(self, *, remember: bool = True, defined: bool = True) -> None:
        self.ring, self.buffer = new_ring(3)
        self.asked: list[tuple[Any, ...]] = []
        self.defined: list[int] = []
        self.published: list[tuple[int, int, float]] = []
        self.rejected: list[tuple[Any, ...]] = []
        self.made: dict[Any, MetricSeries] = {}
        self.define_works = defined
        self.settings = MetricSettings(
            resolve=lambda *asked: (self._make(asked), remember),
            define=self._define,
            publish=lambda series, at, value: self.published.append((series.series, at, value)),
            reject=lambda *what: self.rejected.append(what),
            policy=1,
        )
        super().__init__(self.settings)

    def _define(self, series: MetricSeries) -> bool:
        self.defined.append(series.series)
        return self.define_works

    def _make(self, asked: tuple[Any, ...]) -> MetricSeries:
        self.asked.append(asked)
        name, unit, labels, tenant = asked
        key = (str(name), unit, tuple(sorted((labels or {}).items())), tenant)
        if key not in self.made:
            self.made[key] = MetricSeries(
                self.ring,
                self.settings,
                series=len(self.made),
                metric_type=str(name),
                unit=unit,
                labels=dict(labels or {}),
                tenant_id=tenant,
            )
        return self.made[key]

    def samples(self) -> list[tuple[int, int, float]]:
        data = bytes(self.buffer)
        found: list[tuple[int, int, float]] = []
        for offset in read_ring(data)[1]:
            found += decode_record(data, offset)[4]
        return found


@pytest.fixture
def channel() -> Iterator[Channel]:
    yield Channel()
    gc.collect()


names = st.sampled_from(["a", "b", "cpu.usage", "ü"])
labels = st.none() | st.dictionaries(
    st.sampled_from(["x", "y", "z"]), st.sampled_from(["1", "2", "ß"]), max_size=3
)
calls = st.tuples(names, st.none() | st.sampled_from(["ms", "s"]), labels, st.none() | names)


@given(st.lists(calls, max_size=60))
def test_the_same_names_find_the_same_series(calls: list[Any]) -> None:
    """Whatever the order of the labels; only the first call of a kind asks Python."""
    channel = Channel()
    for name, unit, given_labels, tenant in calls:
        shuffled = None if given_labels is None else dict(reversed(given_labels.items()))
        first = channel.series(name, unit=unit, labels=given_labels, tenant_id=tenant)
        again = channel.series(name, unit=unit, labels=shuffled, tenant_id=tenant)
        assert first is again
        key = (name, unit, tuple(sorted((given_labels or {}).items())), tenant)
        assert channel.made[key] is first
    assert len(channel.asked) == len(channel.made)


def test_many_series_are_all_found_again(channel: Channel) -> None:
    """The table grows, and finds what it had."""
    handles = [channel.series("m", labels={"n": str(number)}) for number in range(5000)]
    assert len(set(handles)) == 5000
    assert [channel.series("m", labels={"n": str(n)}) for n in range(5000)] == handles
    assert len(channel.asked) == 5000


def test_labels_are_captured_at_the_call(channel: Channel) -> None:
    """Changing the dict later changes no series."""
    given_labels = {"a": "1"}
    first = channel.series("m", labels=given_labels)
    given_labels["a"] = "2"
    assert channel.series("m", labels=given_labels) is not first
    assert channel.series("m", labels={"a": "1"}) is first


def test_the_name_of_a_known_metric_is_its_text(channel: Channel) -> None:
    """A `MetricType` and its plain text are one series."""
    assert channel.series(MetricType.CPU_USAGE) is channel.series("cpu.usage")


def test_what_is_no_text_is_left_to_python(channel: Channel) -> None:
    """Labels that are no texts, or no dict, are asked about each time and never remembered."""
    for _ in range(2):
        channel.record("m", 1.0, labels={"a": 1})
        channel.record("m", 1.0, labels={"a": True})
    assert len(channel.asked) == 4


def test_what_is_not_to_be_remembered_is_asked_again() -> None:
    """An overflow series holds no label set."""
    channel = Channel(remember=False)
    channel.record("m", 1.0, labels={"a": "1"})
    channel.record("m", 1.0, labels={"a": "1"})
    assert len(channel.asked) == 2


def test_the_tenant_comes_from_the_context(channel: Channel) -> None:
    """As in a log call; a tenant that is given counts more."""
    with use_context(tenant_id="acme"):
        assert channel.series("m").tenant_id == "acme"
        assert channel.series("m", tenant_id="other").tenant_id == "other"
    assert channel.series("m").tenant_id is None


@pytest.mark.parametrize(
    "value",
    [3, True, np.float32(0.5), np.int64(-7), np.float64(2.5), decimal.Decimal("1.25")],
)
def test_b6_numbers_of_every_kind(channel: Channel, value: Any) -> None:
    """What Python takes for a number is one."""
    channel.record("m", value, timestamp=5)
    channel.series("m").record(value)
    assert [sample[2] for sample in channel.samples()] == [float(value)] * 2


class Hostile:
    """A number that is none."""

    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), 10**400, np.float32("nan"), Hostile()]
)
def test_b5_what_is_not_finite_is_rejected_and_told(channel: Channel, value: Any) -> None:
    """Each way to record refuses it without raising, and nothing is written."""
    channel.record("m", value)
    channel.record("m", value, timestamp=7)
    channel.series("m").record(value)
    assert channel.samples() == []
    assert [what[0] for what in channel.rejected] == ["m"] * 3
    assert {what[3] for what in channel.rejected} == {"not a finite number"}


@pytest.mark.parametrize("value", ["1.5", b"1", None, [1], 1j])
def test_what_is_no_number_is_a_mistake(channel: Channel, value: Any) -> None:
    """A text as a value is a programming error, as a missing argument is."""
    with pytest.raises(TypeError, match="the value of a metric must be a number"):
        channel.record("m", value)
    with pytest.raises(TypeError, match="must be a number"):
        channel.series("m").record(value)
    assert channel.samples() == []


@pytest.mark.parametrize("timestamp", [2**50 + 1, -(2**50) - 1, 10**30, float("nan"), float("inf")])
def test_b10_times_far_off_are_rejected_and_told(channel: Channel, timestamp: Any) -> None:
    """A time that no calendar has is refused without raising."""
    channel.record("m", 1.0, timestamp=timestamp)
    assert channel.samples() == []
    assert [what[3] for what in channel.rejected] == ["the timestamp is out of range"]


def test_times_of_every_kind(channel: Channel) -> None:
    """Ints, floats and numpy's; a text is a mistake."""
    for timestamp in (5, 5.9, np.int64(5), -(2**50), 2**50):
        channel.record("m", 1.0, timestamp=timestamp)
    assert [sample[1] for sample in channel.samples()] == [5, 5, 5, -(2**50), 2**50]
    with pytest.raises(TypeError, match="timestamp must be in milliseconds"):
        channel.record("m", 1.0, timestamp="now")


def test_a_series_is_defined_before_its_first_sample_in_a_ring(channel: Channel) -> None:
    """Once a ring, and anew in the next."""
    series = channel.series("m")
    series.record(1.0)
    series.record(2.0)
    assert channel.defined == [0]
    channel.ring.detach()
    channel.ring.attach(
        bytearray(channel.buffer), b"another ring id.", segment_bytes=1 << 20, wake_fd=-1, pid=0
    )
    series.record(3.0)
    series.record(4.0)
    assert channel.defined == [0, 0]


def test_a_sample_whose_series_could_not_be_defined_is_dropped() -> None:
    """Else it would be a sample of nothing; the drop is counted where the definition is."""
    channel = Channel(defined=False)
    channel.series("m").record(1.0)
    assert channel.samples() == []
    channel.define_works = True
    channel.series("m").record(2.0)
    assert [sample[2] for sample in channel.samples()] == [2.0]


def test_listeners_hear_of_every_sample(channel: Channel) -> None:
    """Only while somebody listens."""
    channel.record("m", 1.0, timestamp=5)
    channel.settings.listening = True
    channel.record("m", 2.0, timestamp=6)
    assert channel.published == [(0, 6, 2.0)]


def test_many_at_once(channel: Channel) -> None:
    """Arrays of values and times; what is not finite or out of range is left out."""
    series = channel.series("m")
    values = np.array([1.0, np.nan, 3.0, 4.0])
    times = np.array([10, 20, 2**51, 40], dtype=np.int64)
    assert series.record_many(values, times) == 2
    assert channel.samples() == [(0, 10, 1.0), (0, 40, 4.0)]
    assert [what[3] for what in channel.rejected] == [
        "not a finite number",
        "the timestamp is out of range",
    ]
    assert series.record_many(np.arange(5.0), None) == 5
    with pytest.raises(ValueError, match="4 values, but 1 timestamps"):
        series.record_many(values, times[:1])


def test_a_channel_goes_with_its_last_reference() -> None:
    """The table of series is no root of its own."""
    import weakref

    channel = Channel()
    for number in range(300):
        channel.record("m", 1.0, labels={"n": str(number)})
    gone = weakref.ref(channel)
    ring: RecordRing | None = channel.ring
    del channel
    gc.collect()
    assert gone() is None
    assert ring is not None

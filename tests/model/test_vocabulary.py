"""The closed vocabularies: parsing, the order of log levels, OpenTelemetry's numbers."""

from __future__ import annotations

import json
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor.model.vocabulary import LogLevel, SpanStatus, Vocabulary

VOCABULARIES = Vocabulary.__subclasses__()
MEMBERS = [member for vocabulary in VOCABULARIES for member in vocabulary]
LEVELS = ["debug", "info", "warn", "error", "fatal"]  # from mild to grave
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge]


class _Hostile:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_parse_gives_the_member_for_itself_and_for_its_string(member: Vocabulary) -> None:
    """Each member comes back from `parse`, whether given as a member or as a plain string."""
    assert type(member).parse(member) is member
    assert type(member).parse(str(member)) is member


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_members_are_their_strings(member: Vocabulary) -> None:
    """A member equals, hashes, prints and serialises as its lowercase value."""
    value = member.value
    assert (member, hash(member), str(member)) == (value, hash(value), member.name.lower())
    assert json.dumps(member) == f'"{value}"'


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@given(st.one_of(st.text(), st.none(), st.integers(), st.lists(st.text())))
def test_parse_names_the_vocabulary_and_what_is_allowed(
    vocabulary: type[Vocabulary], value: object
) -> None:
    """Anything else is a `ValueError` that names the vocabulary and all its strings."""
    if value in [*vocabulary, "warning", "critical"]:
        return
    with pytest.raises(ValueError, match=f"^unknown {vocabulary.__name__} ") as caught:
        vocabulary.parse(value)
    assert all(member in str(caught.value) for member in vocabulary)


@pytest.mark.parametrize("value", ["x" * 10_000, 10**5000, _Hostile()], ids=["long", "int", "repr"])
def test_message_about_an_unwieldy_value_is_short(value: object) -> None:
    """A huge value, or one whose repr raises, still gives a short message."""
    with pytest.raises(ValueError, match="unknown SpanStatus") as caught:
        SpanStatus.parse(value)
    assert len(str(caught.value)) < 160


@given(st.sampled_from(LEVELS), st.sampled_from(LEVELS), st.sampled_from(COMPARISONS))
def test_levels_compare_by_severity(left, right, compare) -> None:
    """Levels compare by severity, not by letters, also when one side is a plain string."""
    expected = compare(LEVELS.index(left), LEVELS.index(right))
    assert compare(LogLevel(left), LogLevel(right)) is expected
    assert compare(LogLevel(left), right) is expected
    assert compare(left, LogLevel(right)) is expected


def test_levels_are_declared_in_order_of_severity() -> None:
    """Iterating and sorting give the levels from debug to fatal."""
    assert [*LogLevel] == sorted(LogLevel, reverse=True)[::-1] == LEVELS


def test_comparing_a_level_with_another_string_fails() -> None:
    """A level is not compared by letters with a string that is no level."""
    with pytest.raises(ValueError, match="unknown LogLevel 'loud'"):
        assert LogLevel.WARN < "loud"


@pytest.mark.parametrize(("alias", "level"), [("warning", "warn"), ("critical", "fatal")])
def test_log_level_aliases(alias: str, level: str) -> None:
    """The standard logging module's names parse and compare as levels."""
    assert LogLevel.parse(alias) is LogLevel(level)
    assert LogLevel(level) >= alias


def test_severity_numbers_are_those_of_opentelemetry() -> None:
    """Each level has the first number of its OpenTelemetry range."""
    assert [level.severity_number for level in LogLevel] == [5, 9, 13, 17, 21]


@given(st.integers(1, 24))
def test_severity_number_maps_to_the_gravest_level_not_above_it(number: int) -> None:
    """Every OpenTelemetry number falls into its level's range; the trace range is debug."""
    candidates = [level for level in LogLevel if level.severity_number <= number]
    assert LogLevel.from_severity_number(number) is max(candidates, default=LogLevel.DEBUG)


@pytest.mark.parametrize("number", [0, -1, 25, 9.5, "9", None])
def test_severity_number_out_of_range_is_refused(number) -> None:
    """A number outside 1-24, or no integer, is a `ValueError`."""
    with pytest.raises(ValueError, match="severity number"):
        LogLevel.from_severity_number(number)


def test_spec_vocabularies_are_complete() -> None:
    """The nine vocabularies of the contract exist, and two of our own, with their words."""
    assert {vocabulary.__name__: " ".join(vocabulary) for vocabulary in VOCABULARIES} == {
        "LogLevel": "debug info warn error fatal",
        "SpanKind": "internal server client producer consumer",
        "SpanStatus": "ok error unset",
        "TraceStatus": "open ok error interrupted",
        "AlertSeverity": "info warning error critical",
        "AlertStatus": "active acknowledged resolved",
        "NoDataPolicy": "ignore alert ok",
        "Operator": "gt gte lt lte eq neq",
        "Aggregation": "avg sum min max count p50 p95 p99 rate",
        "HealthStatus": "healthy degraded unhealthy",
        "WorkflowStatus": "pending running paused completed failed cancelled",
    }

"""Charts and values with units, without a database."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor.cli._chart import MARKS, STEPS_MS, Line, draw, step_at_least
from ax_monitor.cli._output import Part, visible
from ax_monitor.cli._units import format_number, format_value

START = 1_700_000_000_000 // 86_400_000 * 86_400_000  # midnight, UTC
HOUR = 3_600_000
values = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1000)


def texts(lines: list[list[Part]]) -> list[str]:
    return [
        "".join(part if isinstance(part, str) else part[0] for part in line).rstrip()
        for line in lines
    ]


def drawn(*lines: Line, length_ms: int = HOUR, unit: str | None = None, **sizes: int) -> list[str]:
    size = {"width": 40, "height": 4, **sizes}
    return texts(draw(lines, start_ms=START, end_ms=START + length_ms, unit=unit, utc=True, **size))


@pytest.fixture
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run in another time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def test_one_line_is_drawn_in_braille() -> None:
    """From the lower left to the upper right, with values on the left and times below."""
    ramp = Line("ramp", [(START + n * 60_000, n) for n in range(61)])
    assert drawn(ramp, unit="ms", height=6) == [
        "      │                            ⣀⡠⠤⠒⠉",
        "50 ms ┤                      ⢀⣀⠤⠒⠊⠉",
        "      │                ⢀⣀⠤⠔⠊⠉⠁",
        "      │           ⣀⡠⠔⠒⠉⠁",
        "      │     ⢀⡠⠤⠒⠉⠉",
        " 0 ms ┤⣀⠤⠒⠊⠉⠁",
        "      └┬───────┬───────┬───────┬────────",
        "       00:00   00:15   00:30   00:45",
    ]


def test_several_lines_have_marks_and_a_legend() -> None:
    """One mark a line, the first line on top, names in the order of the marks."""
    up = Line("up", [(START + n * 600_000 + 1, n) for n in range(7)])
    down = Line("down", [(START + n * 600_000 + 1, 6 - n) for n in range(7)])
    shown = drawn(up, down)
    plot, legend = shown[:4], shown[-1]
    assert legend == "● up   ○ down"
    assert sum(line.count("●") for line in plot) == 7
    assert sum(line.count("○") for line in plot) == 6  # one is below
    assert plot[0].find("○") < plot[0].find("●")
    assert plot[-1].find("●") < plot[-1].find("○")


def test_gaps_are_not_joined() -> None:
    """Where points are missing there is nothing; a lonely point is a dot."""
    points = [(START + n * 60_000, 1.0) for n in range(61) if not 20 < n < 40 or n == 30]
    (line,) = [line for line in drawn(Line("x", points)) if "⠉" in line or "⠒" in line][:1]
    plot = line.split("┤")[-1]
    assert "   " in plot.strip()
    assert len(plot.split()) == 3


@given(
    st.lists(
        st.lists(st.tuples(st.integers(-10, HOUR + 10), values), max_size=30),
        min_size=1,
        max_size=len(MARKS),
    ),
    st.integers(4, 120),
    st.integers(1, 20),
    st.sampled_from(["ms", "bytes", "percent", "count", None, "evil \x1b[31m"]),
    st.sampled_from([1, 1000, HOUR, 400 * 24 * HOUR]),
)  # fmt: skip
def test_any_data_fit(
    data: list[list[tuple[int, float]]], width: int, height: int, unit: str | None, length_ms: int
) -> None:
    """For any values, of any size and number, no line is wider than asked, and there are as many
    as asked."""
    lines = [
        Line(f"n\u202e{n}", sorted((START + offset, value) for offset, value in points))
        for n, points in enumerate(data)
    ]
    shown = texts(
        draw(
            lines,
            start_ms=START,
            end_ms=START + length_ms,
            unit=unit,
            width=width,
            height=height,
            utc=True,
        )
    )
    assert len(shown) >= height + 2
    for line in shown:
        assert len(visible(line)) <= width
    assert all(mark in MARKS + "·" for line in shown[height + 2 :] for mark in line.split()[:1])


@given(st.lists(values, min_size=2, max_size=40))
def test_higher_values_are_not_lower(numbers: list[float]) -> None:
    """Marks go down the page as values do."""
    points = [(START + n * 60_000 + 1, value) for n, value in enumerate(numbers)]
    flat = Line("flat", [])
    shown = drawn(Line("x", points), flat, width=90, height=9)[:9]
    places = {
        column: row
        for row, line in enumerate(shown)
        for column, char in enumerate(line)
        if char == MARKS[0]
    }
    rows = [places[column] for column in sorted(places)]
    assert len(rows) == len(numbers)
    for (a, row_a), (b, row_b) in zip(
        zip(numbers, rows, strict=True), list(zip(numbers, rows, strict=True))[1:], strict=False
    ):
        assert row_a <= row_b if a >= b else row_a >= row_b


def test_constant_and_missing_values() -> None:
    """A constant is drawn against zero, and a chart without points has its axes."""
    at_the_top = drawn(Line("x", [(START, 5.0), (START + HOUR - 1, 5.0)]))
    assert at_the_top[0].startswith("5 ┤⠉")
    assert drawn(Line("x", [(START, -5.0), (START + HOUR - 1, -5.0)]))[3].startswith("-5 ┤⣀")
    assert drawn(Line("x", []))[0] == "1 ┤"


def test_labels_are_distinct_and_in_one_unit() -> None:
    """Of values that are close together as of others."""
    for low, high, unit in (
        (1000.01, 1000.02, "ms"), (0, 3 * HOUR, "ms"), (0, 5e9, "bytes"), (-3, 7, "percent"),
        (999_999_999, 1_000_000_001, "count"), (1e-9, 2e-9, None), (1e300, 2e300, None),
    ):  # fmt: skip
        shown = drawn(Line("x", [(START, low), (START + 1, high)]), unit=unit, width=80, height=16)
        labels = [line.split("┤")[0].strip() for line in shown if "┤" in line]
        assert 2 <= len(set(labels)) == len(labels)
        assert len({label.partition(" ")[2] for label in labels}) == 1


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"], indirect=True
)
def test_times_are_round_by_the_local_clock(zone: None) -> None:
    """Labels are whole hours and days where the user is, also when the clocks change."""
    for start_ms in (START, 1_711_756_800_000, 1_729_900_800_000):
        for hours, step in ((24, ":00"), (40, ":00"), (96, "")):
            length_ms = hours * HOUR
            line = Line("x", [(start_ms, 1.0)])
            shown = draw(
                [line], start_ms=start_ms, end_ms=start_ms + length_ms, unit=None,
                width=80, height=2, utc=False,
            )  # fmt: skip
            times = texts(shown)[-1].split()
            assert len(times) >= 3
            assert all(text.endswith(step) for text in times[hours == 40 :: 1 + (hours == 40)])


@given(st.integers(1, 4 * 10**11), st.integers(20, 200))
def test_times_are_in_order_and_do_not_touch(length_ms: int, width: int) -> None:
    """Labels of any length of time stand apart, each below its tick."""
    shown = drawn(Line("x", []), width=width, length_ms=length_ms)
    rule, labels = shown[-2], shown[-1]
    starts = [n for n, char in enumerate(rule) if char == "┬"]
    assert [labels[n - 1] for n in starts] == [" "] * len(starts)
    assert all(labels[n] != " " for n in starts)


def test_steps() -> None:
    """Any least length gets a step, the shortest that there is."""
    assert [step_at_least(least) for least in (0.1, 1, 1.5, 14_000, 61_000)] == [
        1, 1, 2, 15_000, 120_000,
    ]  # fmt: skip
    assert list(STEPS_MS) == sorted(STEPS_MS)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "ms", "0 ms"),
        (0.0123, "ms", "12.3 µs"),
        (1.25, "ms", "1.25 ms"),
        (999.94, "ms", "999.9 ms"),
        (75_000, "ms", "75 s"),
        (300_000, "ms", "5 min"),
        (3 * HOUR, "ms", "3 h"),
        (0.002, "s", "2 ms"),
        (1500, "ns", "1.50 µs"),
        (512, "bytes", "512 B"),
        (0.5, "bytes", "0.5 B"),
        (12_345_678, "bytes", "12.3 MB"),
        (-5e12, "bytes", "-5 TB"),
        (12.34, "percent", "12.3 %"),
        (1_234_567, "count", "1,234,567"),
        (0.935, "rate", "0.935"),
        (1.5, None, "1.50"),
        (1e300, "count", "1e+300"),
        (2, "USD", "2 USD"),
        (200_000, "bytes/s", "200 kB/s"),
        (12.5, "/s", "12.5/s"),
        (2, "evil\x1b[31m and long", "2 evil\\x1b[31m"),
    ],
)
def test_values_with_units(value: float, unit: str | None, text: str) -> None:
    """Each unit in the size that reads best; others as they are, made harmless."""
    assert format_value(value, unit) == text


@given(st.floats(-1e308, 1e308))
def test_numbers_read_back(number: float) -> None:
    """The text of any number is that number to three digits."""
    shown = float(format_number(number).replace(",", ""))
    assert shown == pytest.approx(number, rel=0.006)
    assert math.copysign(1, shown) == math.copysign(1, number) or number == 0

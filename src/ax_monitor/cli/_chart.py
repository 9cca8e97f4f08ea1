"""Line charts out of characters.

One line is drawn in braille, two by four dots a character, joined from point to point. Several
lines have a mark each, one a column, and a legend, so that they are told apart without colours too.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ax_monitor.cli._output import Part, shortened, visible, width_of
from ax_monitor.cli._units import Scale, format_number, scale_of

MARKS: Final = "●○▲△■□◆◇"
STYLES: Final = ("cyan", "yellow", "magenta", "green", "blue", "red", "bright_cyan", "white")
DOTS_ACROSS: Final = 2
DOTS_DOWN: Final = 4
NAME_WIDTH: Final = 32  # columns of the name of a line, in the legend of a terminal
_PLOT_MIN: Final = 8  # columns: where less is left, the labels of values go
_ROWS_PER_TICK: Final = 3
_DECIMALS_MAX: Final = 6
_TICKS_MAX: Final = 1000  # more only where numbers are so near that steps vanish beside them
_GAP: Final = 2.5  # usual distances between points: what is further apart is not joined

# Bits of a braille character, from U+2800: by column, then row.
_BRAILLE: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))

_S: Final = 1000
_MIN: Final = 60 * _S
_H: Final = 60 * _MIN
_DAY: Final = 24 * _H
STEPS_MS: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(_S, 2 * _S, 5 * _S, 10 * _S, 15 * _S, 30 * _S),
    *(_MIN, 2 * _MIN, 5 * _MIN, 10 * _MIN, 15 * _MIN, 30 * _MIN),
    *(_H, 2 * _H, 3 * _H, 6 * _H, 12 * _H),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 91 * _DAY, 365 * _DAY),
)
"""Lengths of time that people count in."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one line shows.

    Args:
        name: For the legend.
        points: (ms since the epoch, finite value), by time.
    """

    name: str
    points: Sequence[tuple[float, float]]


def step_at_least(least_ms: float) -> int:
    """The shortest length of time that people count in and that is no shorter than this.

    >>> step_at_least(23_000), step_at_least(10**12)
    (30000, 1000000000000)
    """
    return next((step for step in STEPS_MS if step >= least_ms), math.ceil(least_ms))


def draw(
    lines: Sequence[Line],
    *,
    start_ms: int,
    end_ms: int,
    unit: str | None,
    width: int,
    height: int,
    utc: bool,
    cut_names: bool = True,
) -> list[list[Part]]:
    """A chart as lines of at most `width` columns, `height` of them for the plot itself.

    Args:
        lines: At most `len(MARKS)`; more than one get marks and a legend.
        start_ms: Where the time axis begins.
        end_ms: Where it ends, later than `start_ms`.
        unit: Of the values.
        width: In columns, at least 4.
        height: In lines, without the time axis and the legend.
        utc: Times in UTC, not local.
        cut_names: Whether the legend too keeps to the width.
    """
    values = [value for line in lines for _, value in line.points]
    axis = ValueAxis.over(min(values, default=0.0), max(values, default=0.0), height, unit)
    labels = axis.labels(height)
    gutter = max(map(width_of, labels.values()), default=0)
    if width - gutter - 2 < _PLOT_MIN:
        labels, gutter = {}, -1
    columns = max(1, width - gutter - 2)
    plot = _Plot(axis, start_ms, end_ms, columns, height)
    rows = plot.joined(lines[0]) if len(lines) == 1 else plot.marked(lines)
    result: list[list[Part]] = []
    for index, row in enumerate(rows):
        edge = "┤" if index in labels else "│"
        label = labels.get(index, "")
        margin = " " * (gutter - width_of(label)) + label + " " if gutter >= 0 else ""
        result.append([(margin, "dim"), (edge, "dim"), *row])
    result += _time_axis(start_ms, end_ms, columns, " " * (gutter + 1), utc=utc)
    if len(lines) > 1:
        result += _legend(lines, width, cut_names=cut_names)
    return result


# -- values ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ValueAxis:
    """From which value to which, and where labels are."""

    low: float
    high: float
    ticks: tuple[float, ...]
    step: float
    scale: Scale

    @classmethod
    def over(cls, low: float, high: float, height: int, unit: str | None) -> ValueAxis:
        """An axis around these values, with round numbers as labels.

        Zero is on it if the values are not all far from it: else small changes look large.
        """
        if low >= 0 and (low <= high / 2 or low == high):
            low = 0.0
        elif high <= 0 and (high >= low / 2 or low == high):
            high = 0.0
        if low == high:
            high = 1.0
        scale = scale_of(max(abs(low), abs(high)), unit)
        n = max(1, height // _ROWS_PER_TICK)
        for least in (1, 2.5, 5):  # where steps are so long that only one is on the axis
            step = _round_step((high / n - low / n) / scale.size / least) * scale.size
            ticks = _multiples_within(low, high, step)
            if len(ticks) > 1:
                return cls(low, high, ticks, step, scale)
        return cls(low, high, (low, high), 0.0, scale)  # numbers too large, small, or near

    def position(self, value: float) -> float:
        """Where a value is, from 0 (low) to 1 (high)."""
        span = self.high - self.low
        if math.isinf(span):
            return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return (value - self.low) / span

    def labels(self, height: int) -> dict[int, str]:
        """The labels by line, counted from the top."""
        return {
            height - 1 - round(self.position(tick) * (height * DOTS_DOWN - 1)) // DOTS_DOWN: text
            for tick, text in zip(self.ticks, self._texts(), strict=True)
        }

    def _texts(self) -> list[str]:
        numbers = [tick / self.scale.size for tick in self.ticks]
        step = self.step / self.scale.size
        decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step else _DECIMALS_MAX + 1
        if decimals > _DECIMALS_MAX or max(map(abs, numbers)) >= 1e9:
            return [format_number(number) + self.scale.suffix for number in numbers]
        return [f"{number:,.{decimals}f}{self.scale.suffix}" for number in numbers]


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least this; else 0."""
    if not 1e-300 < least < 1e300:
        return 0.0
    power = 10.0 ** math.floor(math.log10(least))
    # Twenty: rounding may have found a power that is too small.
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= least)


def _multiples_within(low: float, high: float, step: float) -> tuple[float, ...]:
    if not 0 < step < math.inf:
        return ()
    first, last = math.ceil(low / step), math.floor(high / step)
    if last - first > _TICKS_MAX:
        return ()
    multiples = (k * step for k in range(first, last + 1))
    return tuple(multiple for multiple in multiples if low <= multiple <= high)


# -- the plot -------------------------------------------------------------------------------------


class _Plot:
    """A field of characters on which lines are drawn."""

    def __init__(
        self, axis: ValueAxis, start_ms: int, end_ms: int, columns: int, height: int
    ) -> None:
        self._axis = axis
        self._start_ms = start_ms
        self._length_ms = max(1, end_ms - start_ms)
        self._columns = columns
        self._height = height

    def _place(self, point: tuple[float, float], across: int, down: int) -> tuple[int, int]:
        """Column and row (from the top) of a point, on so many of each."""
        x = (point[0] - self._start_ms) / self._length_ms * across
        y = self._axis.position(point[1]) * (down - 1)
        return min(max(int(x), 0), across - 1), down - 1 - min(max(round(y), 0), down - 1)

    def joined(self, line: Line) -> list[list[Part]]:
        """One line in braille."""
        across, down = self._columns * DOTS_ACROSS, self._height * DOTS_DOWN
        cells = [[0] * self._columns for _ in range(self._height)]
        for begin, end in _stretches(line.points):
            here, there = self._place(begin, across, down), self._place(end, across, down)
            for x, y in _between(here, there):
                bit = _BRAILLE[x % DOTS_ACROSS][y % DOTS_DOWN]
                cells[y // DOTS_DOWN][x // DOTS_ACROSS] |= bit
        return [
            [("".join(chr(0x2800 + cell) if cell else " " for cell in row).rstrip(), STYLES[0])]
            for row in cells
        ]

    def marked(self, lines: Sequence[Line]) -> list[list[Part]]:
        """Several lines as marks; the first one is on top."""
        rows: list[dict[int, int]] = [{} for _ in range(self._height)]
        for index, line in enumerate(lines):
            for point in line.points:
                x, y = self._place(point, self._columns, self._height * DOTS_DOWN)
                rows[y // DOTS_DOWN].setdefault(x, index)
        return [
            [
                (MARKS[row[x]], STYLES[row[x]]) if x in row else " "
                for x in range(max(row, default=-1) + 1)
            ]
            for row in rows
        ]


def _stretches(
    points: Sequence[tuple[float, float]],
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Pairs of points to join; one that is far from its neighbours is joined with itself."""
    pairs = list(itertools.pairwise(points))
    usual = statistics.median([b[0] - a[0] for a, b in pairs]) if pairs else 0.0
    for point in points:
        yield point, point
    for a, b in pairs:
        if b[0] - a[0] <= usual * _GAP:
            yield a, b


def _between(here: tuple[int, int], there: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The dots from one to the other, both included."""
    (x, y), (across, down) = here, (there[0] - here[0], there[1] - here[1])
    n = max(abs(across), abs(down), 1)
    for i in range(n + 1):
        yield x + round(across * i / n), y + round(down * i / n)


# -- time -----------------------------------------------------------------------------------------


def _time_axis(
    start_ms: int, end_ms: int, columns: int, margin: str, *, utc: bool
) -> Iterator[list[Part]]:
    ticks = _time_ticks(start_ms, end_ms, columns, utc=utc)
    rule = ["─"] * columns
    labels = ""
    for column, text in ticks:
        rule[column] = "┬"
        labels = labels.ljust(column) + text
    yield [(f"{margin}└{''.join(rule)}", "dim")]
    yield [(f"{margin} {labels}", "dim")]


def _time_ticks(start_ms: int, end_ms: int, columns: int, *, utc: bool) -> list[tuple[int, str]]:
    """Columns and labels; each label begins at its column and ends before the next one."""
    length_ms = max(1, end_ms - start_ms)
    for step in STEPS_MS:
        form = _time_form(step, length_ms)
        size = len(datetime(2000, 1, 1).strftime(form)) + (4 if step < _S else 0)
        if columns * step < (size + 2) * length_ms:
            continue
        ticks = []
        for moment in _multiples(start_ms, end_ms, step, utc=utc):
            column = (moment - start_ms) * columns // length_ms
            when = _moment(moment, utc=utc)
            if when is not None and column + size <= columns:
                ms = f".{when.microsecond // 1000:03}" if step < _S else ""
                ticks.append((column, when.strftime(form) + ms))
        return ticks
    return []


def _time_form(step: int, length_ms: int) -> str:
    if step >= _DAY:
        return "%Y-%m-%d" if length_ms > 300 * _DAY else "%m-%d"
    if length_ms > _DAY:
        return "%m-%d %H:%M"
    return "%H:%M" if step >= _MIN else "%H:%M:%S"


def _multiples(start_ms: int, end_ms: int, step: int, *, utc: bool) -> Iterator[int]:
    """The moments of a range that are multiples of a step by the clock on the wall."""
    moment = start_ms
    while moment < end_ms:
        when = _moment(moment, utc=utc)
        if when is None:
            return
        offset = when.utcoffset()
        offset_ms = 0 if offset is None else round(offset.total_seconds() * 1000)
        rest = -(moment + offset_ms) % step
        if not rest:
            yield moment
            rest = max(1, step // 2)  # not all of it: the clock may be put forward meanwhile
        moment += rest


def _moment(timestamp_ms: int, *, utc: bool) -> datetime | None:
    """A time with its zone; None beyond what a calendar has."""
    try:
        moment = datetime.fromtimestamp(timestamp_ms // 1000, UTC)
        moment = moment.replace(microsecond=timestamp_ms % 1000 * 1000)
        return moment if utc else moment.astimezone()
    except (ValueError, OverflowError, OSError):
        return None


# -- the legend -----------------------------------------------------------------------------------


def _legend(lines: Sequence[Line], width: int, *, cut_names: bool) -> Iterator[list[Part]]:
    row: list[Part] = []
    used = 0
    for line, mark, style in zip(lines, MARKS, STYLES, strict=False):
        name = visible(line.name)
        if cut_names:
            name = shortened(name, min(NAME_WIDTH, width - 2))
        if row and used + 3 + 2 + width_of(name) > width:
            yield row
            row, used = [], 0
        if row:
            row.append("   ")
            used += 3
        row += [(mark, style), f" {name}"]
        used += 2 + width_of(name)
    if row:
        yield row

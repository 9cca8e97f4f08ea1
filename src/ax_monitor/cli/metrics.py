"""`ax monitor metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import click

from ax_monitor.cli._chart import DOTS_ACROSS, MARKS, Line, draw, step_at_least
from ax_monitor.cli._options import (
    MonitorCommand,
    common_options,
    open_for_reading,
    parse_moment,
    utc_option,
)
from ax_monitor.cli._output import Column, Part, Printer, counted, cut, format_time, note
from ax_monitor.cli._units import format_value
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.model.metrics import MetricAggregation
from ax_monitor.model.vocabulary import Aggregation
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import metrics
from ax_monitor.storage.series import find_series

PIPE_WIDTH: Final = 80  # columns of a chart that nobody's terminal limits
WIDTH_MIN: Final = 4
CHART_HEIGHT: Final = 16  # lines, if the terminal has as many
CHART_HEIGHT_MIN: Final = 4
AROUND_CHART: Final = 6  # lines: heading, time axis, legend, prompt
MARGIN: Final = 10  # columns: about what labels of values take
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

Format = Literal["table", "chart", "json"]


class ShortName(NamedTuple):
    """What a short name stands for, and what a chart of it shows."""

    metric_type: str
    aggregation: Aggregation


SHORT_NAMES: Final = {
    "cost": ShortName("workflow.step.cost", Aggregation.SUM),
    "cpu": ShortName("cpu.usage", Aggregation.AVG),
    "disk": ShortName("disk.usage", Aggregation.AVG),
    "hit_rate": ShortName("cache.hit_rate", Aggregation.AVG),
    "latency": ShortName("workflow.execution.duration", Aggregation.P95),
    "memory": ShortName("memory.usage", Aggregation.AVG),
    "queue": ShortName("workflow.queue.length", Aggregation.AVG),
    "throughput": ShortName("workflow.execution.count", Aggregation.RATE),
    "wait": ShortName("workflow.queue.wait_time", Aggregation.P95),
}

ERROR_RATE: Final = "error_rate"
ERROR_RATE_OF: Final = "workflow.execution.count"
_FAILED: Final = {"status": "failed"}

# Of a bucket that is not over yet, these are too small.
_GROWING: Final = (Aggregation.COUNT, Aggregation.SUM, Aggregation.RATE)
_FIGURES: Final = ("avg", "min", "max", "p50", "p95", "p99")
_LESS_WANTED: Final = ("min", "p50", "p99")  # where a terminal is too narrow for all of them
_PERCENTILES: Final = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What was asked for.

    Args:
        metric_type: Name of the metric.
        unit: Of its values, if it has one.
        start_ms: First moment.
        end_ms: Last moment.
        tenant_id: Only of this tenant.
        label: One row or line for each value of this label.
        label_values: These are its values.
    """

    metric_type: str
    unit: str | None
    start_ms: int
    end_ms: int
    tenant_id: str | None
    label: str | None
    label_values: tuple[str, ...]

    def parts(self) -> Iterator[tuple[str, dict[str, str]]]:
        """What each row or line is called, and which labels its series have."""
        if self.label is None:
            yield self.metric_type, {}
        for value in self.label_values:
            yield value, {self.label or "": value}


class Figures(NamedTuple):
    """A row: what it is called, by which labels it was selected, and the figures."""

    name: str
    labels: dict[str, str]
    values: MetricAggregation


def _aggregation(text: str) -> Aggregation:
    try:
        return Aggregation.parse(text.lower())
    except ValueError:
        raise click.BadParameter(f"{text!r} is none of {', '.join(Aggregation)}") from None


def _explain_short_names() -> str:
    width = max(map(len, SHORT_NAMES))
    lines = [
        f"  {name:{width}}  {short.metric_type} (in charts: {short.aggregation})"
        for name, short in SHORT_NAMES.items()
    ]
    lines.append(f"  {ERROR_RATE:{width}}  failed ones in {ERROR_RATE_OF}, in percent")
    lines.sort()
    return "\n".join(["\b", "Short names:", *lines])


@click.command("metrics", cls=MonitorCommand, epilog=_explain_short_names())
@click.argument("name", required=False)
@click.option(
    "--range",
    "since",
    metavar="TIME",
    default="1h",
    show_default=True,
    help="How far back: 30m, 1h30m, 7d, or from a time such as 2026-01-31T08:00 on.",
)
@click.option("--by", "label", metavar="LABEL", help="One row or line for each value of a label.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "chart", "json")),
    default="table",
    show_default=True,
    help="How to show it.",
)
@click.option(
    "--aggregation",
    type=_aggregation,
    metavar="WHAT",
    help=f"What a chart shows: {', '.join(Aggregation)} (default: avg, of short names see below).",
)
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@utc_option
@common_options
def command(
    name: str | None,
    since: str,
    label: str | None,
    form: Format,
    aggregation: Aggregation | None,
    tenant_id: str | None,
    utc: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
) -> None:
    """Show metrics: what there is, figures, charts.

    Without NAME, lists the metrics with their series, the samples in the range and the minute of
    the last one. With NAME, which may be a short one (see below), figures over the range.
    Percentiles are samples themselves, or with ≈ within 1/129 of one, where there are many.

    JSON has an object a row: metric_type, unit, labels, start_time, end_time, count, sum, avg, min,
    max, p50, p95, p99, exact; the list has metric_type, units, series, samples, last_minute. Times
    are in ms since 1970.
    """
    now_ms = SYSTEM_CLOCK.time_ms()
    start_ms = parse_moment(since, now_ms=now_ms, utc=utc, option="--range")
    if start_ms >= now_ms:
        raise click.BadParameter(f"{since!r} is not in the past", param_hint="'--range'")
    if as_json:
        form = "json"
    if name is None and label is not None:
        raise click.UsageError("--by needs a NAME")
    if name is None and form == "chart":
        raise click.UsageError("--format chart needs a NAME")
    printer = Printer()
    with open_for_reading(db) as store:
        if name is None:
            _list(store, printer, start_ms, now_ms, tenant_id, form, utc=utc)
            return
        if name == ERROR_RATE and not store.read(find_series, name):
            if aggregation is not None:
                raise click.UsageError(f"{ERROR_RATE} takes no --aggregation")
            metric_type, usual = ERROR_RATE_OF, None
        else:
            metric_type, usual = _resolve(store, name)
        selection = _select(store, metric_type, start_ms, now_ms, tenant_id, label)
        if form == "chart":
            _chart(store, printer, selection, aggregation or usual, utc=utc)
        elif usual is None:
            _error_rates(store, printer, selection, form, utc=utc)
        else:
            _figures(store, printer, selection, form, utc=utc)


def _resolve(store: Store, name: str) -> tuple[str, Aggregation | None]:
    """The metric of this name, and what a chart of it shows."""
    if store.read(find_series, name):
        return name, Aggregation.AVG
    short = SHORT_NAMES.get(name)
    if short is not None and store.read(find_series, short.metric_type):
        return short
    meant = f" ({short.metric_type})" if short is not None else ""
    raise click.ClickException(
        f"no metric {name!r}{meant}: `ax monitor metrics` lists what there is"
    )


def _select(
    store: Store,
    metric_type: str,
    start_ms: int,
    end_ms: int,
    tenant_id: str | None,
    label: str | None,
) -> Selection:
    series = store.read(find_series, metric_type, tenant_id=tenant_id)
    units = {each.unit for each in series}
    values: set[str] = set()
    if label is not None:
        values = {each.labels[label] for each in series if label in each.labels}
        if series and not values:
            names = sorted({name for each in series for name in each.labels})
            known = f": there are {', '.join(names)}" if names else ": it has none"
            raise click.ClickException(f"{metric_type} has no label {label!r}{known}")
        without = sum(label not in each.labels for each in series)
        if without:
            note(f"{counted(without, 'series', 'series')} without the label {label!r} left out")
    return Selection(
        metric_type=metric_type,
        unit=units.pop() if len(units) == 1 else None,
        start_ms=start_ms,
        end_ms=end_ms,
        tenant_id=tenant_id,
        label=label,
        label_values=tuple(sorted(values)),
    )


# -- what there is --------------------------------------------------------------------------------


def _list(
    store: Store,
    printer: Printer,
    start_ms: int,
    end_ms: int,
    tenant_id: str | None,
    form: Format,
    *,
    utc: bool,
) -> None:
    units: dict[str, set[str]] = {}
    counts: Counter[str] = Counter()
    for series in store.read(find_series, tenant_id=tenant_id):
        counts[series.metric_type] += 1
        units.setdefault(series.metric_type, set()).update(filter(None, [series.unit]))
    rows: list[list[Part]] = []
    for metric_type in sorted(counts):
        samples, last_ms = _presence(store, metric_type, start_ms, end_ms, tenant_id)
        found = {
            "metric_type": metric_type,
            "units": sorted(units[metric_type]),
            "series": counts[metric_type],
            "samples": samples,
            "last_minute": last_ms,
        }
        if form == "json":
            printer.json(found)
        else:
            rows.append(_list_row(found, utc=utc))
    if rows:
        printer.table(rows, _LIST_COLUMNS, heading=True)
    elif printer.is_terminal and not counts:
        note("no metrics")


_LIST_COLUMNS: Final = (
    Column("METRIC"),
    Column("UNIT", optional=True),
    Column("SERIES", right=True, optional=True),
    Column("SAMPLES", right=True),
    Column("LAST MINUTE", keep=True),
)


def _list_row(found: dict[str, Any], *, utc: bool) -> list[Part]:
    last_ms = found["last_minute"]
    return [
        (found["metric_type"], "cyan"),
        (", ".join(found["units"]) or "-", "dim"),
        f"{found['series']:,}",
        f"{found['samples']:,}",
        "-" if last_ms is None else format_time(last_ms, utc=utc, to_ms=False),
    ]


def _presence(
    store: Store, metric_type: str, start_ms: int, end_ms: int, tenant_id: str | None
) -> tuple[int, int | None]:
    """How many samples there are, and the minute of the last one."""
    step = MINUTE_MS if end_ms - start_ms <= DAY_MS else HOUR_MS
    points = store.read(
        metrics.get_time_series,
        metric_type,
        start_ms,
        end_ms,
        step,
        Aggregation.COUNT,
        tenant_id=tenant_id,
    ).data_points
    samples = sum(int(point.value) for point in points)
    if not points:
        return 0, None
    last_ms = points[-1].timestamp
    if step > MINUTE_MS:
        points = store.read(
            metrics.get_time_series,
            metric_type,
            max(start_ms, last_ms),
            min(end_ms, last_ms + step - 1),
            MINUTE_MS,
            Aggregation.COUNT,
            tenant_id=tenant_id,
        ).data_points
        last_ms = points[-1].timestamp if points else last_ms
    return samples, last_ms


# -- figures --------------------------------------------------------------------------------------


def _figures(
    store: Store, printer: Printer, selection: Selection, form: Format, *, utc: bool
) -> None:
    rows = list(_aggregations(store, selection))
    if form == "json":
        for row in rows:
            printer.json(_object(row, selection))
        return
    if not rows:
        _say_nothing_found(printer, selection)
        return
    printer.line(*cut(_heading(selection, "", utc=utc), printer.width))
    columns = [
        Column(name.upper(), right=True, optional=name in _LESS_WANTED)
        for name in ("count", *_FIGURES)
    ]
    cells: list[list[Part]] = [_cells(row.values, selection.unit) for row in rows]
    if selection.label is not None:
        columns.insert(0, Column(selection.label))
        for cell, row in zip(cells, rows, strict=True):
            cell.insert(0, (row.name, "cyan"))
    printer.table(cells, columns, heading=True)


def _aggregations(store: Store, selection: Selection) -> Iterator[Figures]:
    for name, labels in selection.parts():
        values = store.read(
            metrics.get_aggregation,
            selection.metric_type,
            selection.start_ms,
            selection.end_ms,
            tenant_id=selection.tenant_id,
            labels=labels or None,
        )
        if values is not None:
            yield Figures(name, labels, values)


def _object(row: Figures, selection: Selection) -> dict[str, Any]:
    values = row.values.to_dict()
    return {
        "metric_type": values.pop("metric_type"),
        "unit": selection.unit,
        "labels": row.labels,
        **values,
    }


def _cells(values: MetricAggregation, unit: str | None) -> list[Part]:
    cells: list[Part] = [f"{values.count:,}"]
    for figure in _FIGURES:
        about = "≈" if figure in _PERCENTILES and not values.exact else ""
        cells.append(about + format_value(getattr(values, figure), unit))
    return cells


def _heading(selection: Selection, shown: str, *, utc: bool) -> list[Part]:
    start = format_time(selection.start_ms, utc=utc, to_ms=False)
    return [(selection.metric_type, "bold"), shown, (f"  since {start}", "dim")]


def _say_nothing_found(printer: Printer, selection: Selection) -> None:
    if printer.is_terminal:
        note(f"no samples of {selection.metric_type} in that time")


# -- error rates ----------------------------------------------------------------------------------


def _error_rates(
    store: Store, printer: Printer, selection: Selection, form: Format, *, utc: bool
) -> None:
    """How many executions ended, how many of them failed, and the share of these."""
    rows = [
        (row.name, row.labels, round(row.values.sum), _failed(store, selection, row.labels))
        for row in _aggregations(store, selection)
    ]
    if form == "json":
        for _, labels, count, failed in rows:
            printer.json(
                {
                    "metric_type": ERROR_RATE,
                    "unit": "percent",
                    "labels": labels,
                    "start_time": selection.start_ms,
                    "end_time": selection.end_ms,
                    "count": count,
                    "failed": failed,
                    "error_rate": 100 * failed / count if count else None,
                }
            )
        return
    if not rows:
        _say_nothing_found(printer, selection)
        return
    printer.line(*cut(_heading(selection, "  error rate", utc=utc), printer.width))
    cells: list[list[Part]] = [
        [
            (name, "cyan"),
            f"{count:,}",
            f"{failed:,}",
            format_value(100 * failed / count, "percent") if count else "-",
        ]
        for name, _, count, failed in rows
    ]
    columns = [Column(selection.label or "")]
    columns += [Column(name, right=True) for name in ("EXECUTIONS", "FAILED", "ERROR RATE")]
    if selection.label is None:
        columns, cells = columns[1:], [row[1:] for row in cells]
    printer.table(cells, columns, heading=True)


def _failed(store: Store, selection: Selection, labels: dict[str, str]) -> int:
    if labels.get("status", "failed") != "failed":
        return 0  # of a row that is one other status
    found = store.read(
        metrics.get_aggregation,
        selection.metric_type,
        selection.start_ms,
        selection.end_ms,
        tenant_id=selection.tenant_id,
        labels={**labels, **_FAILED},
    )
    return 0 if found is None else round(found.sum)


def _error_points(
    store: Store, selection: Selection, labels: dict[str, str], interval_ms: int
) -> list[tuple[float, float]]:
    """The middle of each bucket in which executions ended, and how many percent of them failed."""
    counts = _points(store, selection, labels, Aggregation.SUM, interval_ms)
    failed: dict[float, float] = {}
    if labels.get("status", "failed") == "failed":
        failed = dict(
            _points(store, selection, {**labels, **_FAILED}, Aggregation.SUM, interval_ms)
        )
    return [(time, 100 * failed.get(time, 0.0) / count) for time, count in counts if count]


# -- charts ---------------------------------------------------------------------------------------


def chart_size(printer: Printer) -> tuple[int, int]:
    """Columns and lines of a chart."""
    if printer.width is None or printer.height is None:
        return PIPE_WIDTH, CHART_HEIGHT
    height = max(CHART_HEIGHT_MIN, printer.height - AROUND_CHART)
    return max(WIDTH_MIN, printer.width), min(CHART_HEIGHT, height)


def _chart(
    store: Store,
    printer: Printer,
    selection: Selection,
    aggregation: Aggregation | None,
    *,
    utc: bool,
) -> None:
    """The metric over time; without an aggregation, its share of failures."""
    width, height = chart_size(printer)
    columns = max(1, width - MARGIN) * (DOTS_ACROSS if selection.label is None else 1)
    interval_ms = step_at_least((selection.end_ms - selection.start_ms) / columns)
    parts = list(selection.parts())
    if len(parts) > len(MARKS):
        counts = {row.name: row.values.count for row in _aggregations(store, selection)}
        parts.sort(key=lambda part: -counts.get(part[0], 0))
    lines = [
        Line(name, points)
        for name, labels in parts[: len(MARKS)]
        if (points := _points(store, selection, labels, aggregation, interval_ms))
    ]
    if not lines:
        _say_nothing_found(printer, selection)
        return
    shown = f"  {aggregation or 'error rate'} per {format_value(interval_ms, 'ms')}"
    printer.line(*cut(_heading(selection, shown, utc=utc), printer.width))
    for line in draw(
        lines,
        start_ms=selection.start_ms // interval_ms * interval_ms,
        end_ms=selection.end_ms + 1,
        unit=_unit_of(aggregation, selection.unit),
        width=width,
        height=height,
        utc=utc,
        cut_names=printer.is_terminal,
    ):
        printer.line(*line)
    if len(parts) > len(MARKS):
        note(f"the {len(MARKS)} with most samples of {len(parts):,}; --format table shows all")


def _points(
    store: Store,
    selection: Selection,
    labels: dict[str, str],
    aggregation: Aggregation | None,
    interval_ms: int,
) -> list[tuple[float, float]]:
    """The middle of each bucket, and its value."""
    if aggregation is None:
        return _error_points(store, selection, labels, interval_ms)
    buckets = store.read(
        metrics.get_time_series,
        selection.metric_type,
        selection.start_ms // interval_ms * interval_ms,  # the first bucket is whole
        selection.end_ms,
        interval_ms,
        aggregation,
        tenant_id=selection.tenant_id,
        labels=labels or None,
    ).data_points
    is_over = selection.end_ms // interval_ms * interval_ms
    if aggregation in _GROWING and len(buckets) > 1 and buckets[-1].timestamp >= is_over:
        buckets = buckets[:-1]
    return [(bucket.timestamp + interval_ms / 2, bucket.value) for bucket in buckets]


def _unit_of(aggregation: Aggregation | None, unit: str | None) -> str | None:
    if aggregation is None:
        return "percent"
    if aggregation is Aggregation.COUNT:
        return "count"
    if aggregation is Aggregation.RATE:
        return "/s" if unit in (None, "count") else f"{unit}/s"
    return unit

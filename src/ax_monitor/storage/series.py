"""Which series there are: from name, tenant and labels to the ids of series."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import apsw

from ax_monitor.errors import StorageError
from ax_monitor.model.metrics import Series
from ax_monitor.storage.migrations import schema_version

FIRST_VERSION: Final = 3  # of the schema, that has series
LABELS_VERSION: Final = 9  # that has `metric_labels`
FEW_SERIES: Final = 16  # with a label: no use in looking for a rarer one
MANY_SERIES: Final = 1000  # from so many on, the metric's series are read one after the other
_PLAIN: Final = re.compile(r"[A-Za-z0-9_ .-]+")  # what JSON writes as it is

_LIST_TYPES: Final = (
    "WITH RECURSIVE types(name) AS (SELECT min(metric_type) FROM metric_series UNION ALL "
    "SELECT (SELECT min(metric_type) FROM metric_series WHERE metric_type > types.name) FROM types "
    "WHERE types.name IS NOT NULL) SELECT name FROM types WHERE name IS NOT NULL"
)
# Those of a metric with a label, and those whose labels have to be read.
_WITH_LABEL: Final = (
    "SELECT series FROM metric_labels WHERE metric_type = :metric_type AND name = :name "
    "AND value = :value UNION ALL "
    "SELECT series FROM metric_labels WHERE metric_type = :metric_type AND name = :name "
    "AND value = x'' UNION ALL "
    "SELECT series FROM metric_labels WHERE metric_type = :metric_type AND name = x'' "
    f"LIMIT {MANY_SERIES}"
)


def check_version(connection: apsw.Connection) -> int:
    """The schema's version. Raise StorageError if that is from before there were series.

    It is brought up to date when it is opened for writing; who may only read it can't.
    """
    version = schema_version(connection)
    if version < FIRST_VERSION:
        raise StorageError(
            f"{connection.filename} is from an older ax-monitor (schema version {version}), which "
            "kept metrics in another form: open it for writing once, that brings it up to date"
        )
    return version


def find_series(
    connection: apsw.Connection,
    metric_type: str | None = None,
    *,
    tenant_id: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Series]:
    """The series of a metric, or of all, of a tenant, or of all, that have these labels."""
    return [
        Series(series, name, unit, dict(_parse_labels(text)), tenant)
        for series, name, unit, text, tenant in _select(connection, metric_type, tenant_id, labels)
    ]


def series_ids(
    connection: apsw.Connection,
    metric_type: str,
    tenant_id: str | None,
    labels: Mapping[str, str] | None,
) -> list[int]:
    """The ids of the series that match."""
    return [row[0] for row in _select(connection, metric_type, tenant_id, labels)]


def ids_of_metrics(connection: apsw.Connection, metric_types: Iterable[str]) -> set[int]:
    """The ids of all series of some metrics; some 0.1 µs each."""
    check_version(connection)
    rows = connection.execute(
        "SELECT series FROM metric_series WHERE metric_type IN (SELECT value FROM json_each(?))",
        (json.dumps([_stored(name) for name in metric_types]),),
    )
    return {series for (series,) in rows}


def get_series(connection: apsw.Connection, ids: Iterable[int]) -> list[Series]:
    """The series with these ids, as far as there are."""
    check_version(connection)
    rows: Iterable[tuple[Any, ...]] = connection.execute(
        "SELECT series, metric_type, unit, labels, tenant_id FROM metric_series "
        "WHERE series IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return [
        Series(series, name, unit, dict(_parse_labels(text)), tenant)
        for series, name, unit, text, tenant in rows
    ]


def list_metric_types(connection: apsw.Connection) -> list[str]:
    """The names of the metrics that have series, in order."""
    check_version(connection)
    return [str(name) for (name,) in connection.execute(_LIST_TYPES)]


def _select(
    connection: apsw.Connection,
    metric_type: str | None,
    tenant_id: str | None,
    labels: Mapping[str, str] | None,
) -> Iterable[tuple[Any, ...]]:
    version = check_version(connection)
    source, conditions = "metric_series", ["true"]
    values: dict[str, str] = {}
    for name, value in (("metric_type", metric_type), ("tenant_id", tenant_id)):
        if value is not None:
            conditions.append(f"{name} = :{name}")
            values[name] = _stored(value)
    wanted = {(_stored(name), _stored(value)) for name, value in (labels or {}).items()}
    candidates = None
    if wanted and metric_type is not None and version >= LABELS_VERSION:
        candidates = _candidates(connection, values["metric_type"], wanted)
    if candidates is not None:
        source = "json_each(:ids) i CROSS JOIN metric_series ON series = i.value"
        values["ids"] = json.dumps(candidates)
    else:
        for index, text in enumerate(_parts(wanted)):
            conditions.append(f"(instr(labels, :part{index}) OR instr(labels, '\\u'))")
            values[f"part{index}"] = text
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT series, metric_type, unit, labels, tenant_id "
        f"FROM {source} WHERE {' AND '.join(conditions)} ORDER BY metric_type, labels, series",
        values,
    ).fetchall()
    return [row for row in rows if not wanted or wanted <= _parse_labels(row[3]).items()]


def _candidates(
    connection: apsw.Connection, metric_type: str, labels: Iterable[tuple[str, str]]
) -> list[int] | None:
    """The series of a metric with the rarest of some labels; None if even these are many."""
    found: list[int] | None = None
    for name, value in labels:
        ids: list[int] = [
            series
            for (series,) in connection.execute(
                _WITH_LABEL, {"metric_type": metric_type, "name": name, "value": value}
            )
        ]
        if len(ids) <= FEW_SERIES:
            return ids
        if len(ids) < MANY_SERIES and (found is None or len(ids) < len(found)):
            found = ids
    return found


def _parts(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Texts that are in any JSON with these labels, but for escapes: few rows need to be parsed.

    A value that is a number there may be written otherwise than it reads.
    """
    for label in labels:
        for text in label:
            if not text[:1].isdigit() and text[:1] != "-":
                yield max(_PLAIN.findall(text), key=len, default="")


def _stored(text: str) -> str:
    """A text as the recorder stores it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@lru_cache(maxsize=4096)
def _parse_labels(text: str | None) -> Mapping[str, str]:
    """Stored labels as texts. What another program wrote there may be anything."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {
        key: item if isinstance(item, str) else json.dumps(item, separators=(",", ":"))
        for key, item in value.items()
    }

"""How `ax monitor export` writes records: JSON lines, CSV, Parquet."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, Final

import click

from ax_monitor.cli._exported import Kind, Row
from ax_monitor.cli._output import json_line, visible

if TYPE_CHECKING:
    import pyarrow

ROW_GROUP: Final = 20_000  # lines held in memory, and of a row group in Parquet
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write_jsonl(output: str | None, rows: Iterable[Row], kind: Kind) -> int:
    """A line of JSON for each record; how many it were."""
    count = 0
    with _text(output) as stream:
        for row in rows:
            stream.write(json_line(row) + "\n")
            count += 1
    return count


def write_csv(output: str | None, rows: Iterable[Row], kind: Kind) -> int:
    """A table with a heading; how many lines it has."""
    count = 0
    with _text(output) as stream:
        writer = csv.DictWriter(stream, list(kind.columns), restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            for line in kind.lines(row):
                writer.writerow({name: _cell(value) for name, value in line.items()})
                count += 1
    return count


def write_parquet(output: str | None, rows: Iterable[Row], kind: Kind) -> int:
    """The same table for columnar tools: times are timestamps in UTC, objects are JSON."""
    if output is None:
        raise click.UsageError("Parquet is no text: say where it goes with --output FILE")
    try:
        import pyarrow  # noqa: PLC0415 (large, and an extra)
        import pyarrow.parquet  # noqa: PLC0415 (the same)
    except ImportError:
        raise click.ClickException(
            "Parquet needs pyarrow: pip install 'ax-monitor[parquet]'"
        ) from None
    schema = pyarrow.schema([(name, _arrow_type(name, of)) for name, of in kind.columns.items()])
    lines = (line for row in rows for line in kind.lines(row))
    count = 0
    with (
        _complete(output) as path,
        pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        while group := list(itertools.islice(lines, ROW_GROUP)):
            values = [{name: _value(value) for name, value in line.items()} for line in group]
            writer.write_table(pyarrow.Table.from_pylist(values, schema))
            count += len(group)
    return count


WRITERS: Final = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


# -- values ---------------------------------------------------------------------------------------


def _cell(value: Any) -> Any:
    """A value as CSV has it; a text that is a formula to a spreadsheet is made a text."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = visible(value)
        return "'" + text if text.startswith(_FORMULA) else text
    if isinstance(value, dict | list | tuple):
        return json_line(value)
    return value


def _value(value: Any) -> Any:
    """A value as Parquet has it. UTF-8 has no lone surrogates: they become their escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    if isinstance(value, dict | list | tuple):
        return json_line(value)
    return value


def _arrow_type(name: str, of: Any) -> pyarrow.DataType:
    """The type of a column, from that of its field: what is neither number nor time is a text."""
    import pyarrow  # noqa: PLC0415 (see above)

    if isinstance(of, types.UnionType):
        (of,) = (each for each in typing.get_args(of) if each is not type(None))
    if of is int and (name == "timestamp" or name.endswith("_at")):
        return pyarrow.timestamp("ms", tz="UTC")
    return {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}.get(
        of, pyarrow.string()
    )


# -- where it goes --------------------------------------------------------------------------------


@contextlib.contextmanager
def _text(output: str | None) -> Iterator[IO[str]]:
    if output is None:
        yield sys.stdout
        return
    with _complete(output) as path, open(path, "w", encoding="utf-8", newline="") as stream:
        yield stream


@contextlib.contextmanager
def _complete(output: str) -> Iterator[str]:
    """A file of the user's alone, under another name until it is complete."""
    unfinished = f"{output}.{os.getpid()}.part"
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield unfinished
        os.replace(unfinished, output)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise

"""Any Python value as one that JSON has: the slow path of recording.

| value                                | becomes                                             |
|--------------------------------------|-----------------------------------------------------|
| int beyond 64 bits                   | its decimal text                                    |
| NaN, inf, -inf                       | null; the top-level key `$nonfinite` lists where    |
| numpy scalar / array                 | the Python number / nested lists (flat, if cut)     |
| Decimal, Fraction, UUID, Path, IP    | its text                                            |
| datetime, date, time                 | ISO 8601                                            |
| timedelta                            | seconds                                             |
| Enum                                 | its value                                           |
| bytes                                | UTF-8 text, other bytes as `\\xNN`                  |
| dataclass, namedtuple, mapping       | object                                              |
| set, tuple, other iterables' views   | array (sets in the order of their texts)            |
| exception                            | `Type: message`                                     |
| a key that is not a str              | its text; if that collides, `text (type)`           |
| a container within itself            | `"<cycle>"`                                         |
| deeper than 8 containers             | `"<nested deeper than 8>"`                          |
| a value whose conversion raises      | `"<unprintable Type>"`                              |
| anything else                        | `str(value)`                                        |
| more than 20,000 values in all       | `"<beyond 20000 values>"` for each of the rest      |
| a text longer than 64 KiB            | its beginning, marked with the length, if anything  |
|                                      | has to be converted or the metadata is over 256 KiB |
| more than 10,000 items, likewise     | the first of them, and how many more there were     |
| a mapping that keeps changing        | `{"$error": …}`                                     |
| metadata over 256 KiB as JSON        | `{"$truncated": bytes, "$preview": beginning}`      |

Nothing here raises.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import sys
from collections.abc import Mapping, Set
from typing import Any

MAX_DEPTH = 8
MAX_ITEMS = 10_000  # of one container
MAX_VALUES = 20_000  # of one conversion, so that its time is bounded
MAX_TEXT = 64 * 1024
PREVIEW_CHARACTERS = 4096
NONFINITE_KEY = "$nonfinite"


def plain_text(value: object) -> str:
    """Any value as a str; never raises."""
    if type(value) is str:
        return value
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value).decode("utf-8", "backslashreplace")
        return str.__str__(value) if isinstance(value, str) else str(str(value))
    except Exception:
        return f"<unprintable {type(value).__name__}>"


def plain_metadata(value: object) -> dict[str, Any]:
    """Any value as a JSON object: a mapping as it is, anything else under the key "value"."""
    walk = _Walk()
    converted = _convert(value, 0, "", walk)
    result = converted if isinstance(converted, dict) else {"value": converted}
    if walk.nonfinite:
        result[NONFINITE_KEY] = walk.nonfinite
    return result


def shortened_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """What is stored of metadata that is too large: its size and its beginning."""
    text = json.dumps(metadata, ensure_ascii=False)
    return {
        "$truncated": len(text.encode("utf-8", "backslashreplace")),
        "$preview": text[:PREVIEW_CHARACTERS],
    }


@dataclasses.dataclass(slots=True)
class _Walk:
    """The state of one conversion: containers being converted, NaNs by place, values seen."""

    seen: set[int] = dataclasses.field(default_factory=set)
    nonfinite: dict[str, str] = dataclasses.field(default_factory=dict)
    values: int = 0


def _convert(value: Any, depth: int, path: str, walk: _Walk) -> Any:
    walk.values += 1
    if walk.values > MAX_VALUES:
        return f"<beyond {MAX_VALUES} values>"
    try:
        while isinstance(value, enum.Enum):
            value = value.value
        return _convert_scalar(value, path, walk)
    except _NotScalar:
        pass
    except Exception:
        return f"<unprintable {type(value).__name__}>"
    if id(value) in walk.seen:
        return "<cycle>"
    if depth >= MAX_DEPTH:
        return f"<nested deeper than {MAX_DEPTH}>"
    walk.seen.add(id(value))
    try:
        return _convert_container(value, depth, path, walk)
    except Exception:
        return f"<unprintable {type(value).__name__}>"
    finally:
        walk.seen.discard(id(value))


class _NotScalar(Exception):  # noqa: N818 (a signal, not an error)
    """The value is a container."""


def _convert_scalar(value: Any, path: str, walk: _Walk) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int(value)
        return number if -(2**63) <= number < 2**63 else str(number)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        walk.nonfinite[path] = repr(float(value))
        return None
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return _cut(plain_text(value))
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, BaseException):
        return _cut(f"{type(value).__name__}: {value}")
    numpy = sys.modules.get("numpy")  # a numpy value implies that it has been imported
    if numpy is not None:
        if isinstance(value, numpy.generic):
            item = value.item()
            if not isinstance(item, numpy.generic):
                return _convert_scalar(item, path, walk)
            return plain_text(value)
        if isinstance(value, numpy.ndarray):
            raise _NotScalar
    if isinstance(value, (Mapping, Set, list, tuple)) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    ):
        raise _NotScalar
    return _cut(plain_text(value))


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}... [cut: {len(text)} characters in all]"


def _convert_container(value: Any, depth: int, path: str, walk: _Walk) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Mapping)):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        value = dict(zip(value._fields, value, strict=False))
    dropped = 0
    if hasattr(value, "tolist"):  # a numpy array
        dropped = max(0, value.size - MAX_ITEMS)
        value = value.ravel()[:MAX_ITEMS].tolist() if dropped else value.tolist()
    if isinstance(value, Mapping):
        return _convert_mapping(value, depth, path, walk)
    if not isinstance(value, (list, tuple, Set)):
        return _convert(value, depth, path, walk)
    items = list(value)
    dropped += max(0, len(items) - MAX_ITEMS)
    result = [
        _convert(item, depth + 1, f"{path}[{index}]", walk)
        for index, item in enumerate(items[:MAX_ITEMS])
    ]
    if isinstance(value, Set):
        result.sort(key=plain_text)
    if dropped:
        result.append(f"<{dropped} more>")
    return result


def _convert_mapping(
    value: Mapping[Any, Any], depth: int, path: str, walk: _Walk
) -> dict[str, Any]:
    items = _snapshot(value)
    texts = {_cut(plain_text(key)) for key, _ in items if isinstance(key, str)}
    result: dict[str, Any] = {}
    for key, item in items[:MAX_ITEMS]:
        name = _cut(plain_text(key))
        if not isinstance(key, str) and (name in texts or name in result):
            name = f"{name} ({type(key).__name__})"
        where = f"{path}.{name}" if path else name
        result[name] = _convert(item, depth + 1, where, walk)
    if len(items) > MAX_ITEMS:
        result["$more"] = len(items) - MAX_ITEMS
    return result


def _snapshot(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """The items of a mapping that another thread may be changing."""
    for _ in range(3):
        try:
            return list(value.items())
        except RuntimeError:  # changed size during iteration
            continue
    return [("$error", "the mapping kept changing while it was recorded")]

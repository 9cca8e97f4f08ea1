"""What all records share: the way to plain JSON data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, fields
from enum import Enum
from typing import Any, ClassVar

__all__ = ["Record"]

_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


class Record:
    """Base of every record. Subclasses are frozen, slotted dataclasses.

    Records compare by all fields and are hashable; dict fields are left out of the hash.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """The record as data that `json.dumps` takes, keyed by field name in field order.

        Enums become plain strings, nested records dicts, tuples and sets lists, dict keys
        strings, NaN and infinities None, and any other object its `str()`. The result shares
        nothing mutable with the record.
        """
        return {field.name: _to_json(getattr(self, field.name)) for field in fields(self)}


def _to_json(value: object) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Enum):
        return _to_json(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [_to_json(item) for item in value]
    return str(value)

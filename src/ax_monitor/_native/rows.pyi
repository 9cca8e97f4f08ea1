from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, final

_T = TypeVar("_T")
_Parse = Callable[[Any], dict[str, Any]]
_Row = tuple[Any, ...]

@final
class RecordType(Generic[_T]):
    cls: type[_T]
    def __init__(self, cls: type[_T]) -> None: ...
    def make(self, *values: Any) -> _T: ...

def log_entries(
    entry: RecordType[_T], rows: list[_Row], levels: Mapping[int, Any], parse: _Parse
) -> list[_T]: ...
def span_events(
    event: RecordType[_T], rows: Iterable[_Row], parse: _Parse
) -> dict[str, tuple[_T, ...]]: ...
def spans(
    span: RecordType[_T],
    rows: Iterable[_Row],
    events: dict[str, tuple[Any, ...]],
    kinds: Mapping[Any, Any],
    statuses: Mapping[Any, Any],
    parse: _Parse,
) -> list[_T]: ...

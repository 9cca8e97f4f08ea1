from typing import Any, TypeVar

_T = TypeVar("_T")

def new_frozen(cls: type[_T], values: tuple[Any, ...]) -> _T: ...

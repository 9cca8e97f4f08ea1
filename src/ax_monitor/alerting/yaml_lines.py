"""YAML as plain data, with the line of every value. PyYAML is imported when a file is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ax_monitor.errors import RulesFileError

if TYPE_CHECKING:
    import yaml

Path = tuple[str | int, ...]
"""Where a value is in a document: keys and indexes from the top."""

_NOT_THERE: Final = "YAML needs PyYAML (pip install 'ax-monitor[yaml]'); TOML can be read without"
_TAGS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
MAX_VALUES: Final = 1_000_000  # aliases make much of little


def read_yaml(text: str, lines: dict[Path, int]) -> Any:
    """The document as dicts, lists and scalars; `lines` gets the line of every value.

    Raises:
        RulesFileError: It is not YAML, or has a key twice. Each problem begins with its line.
    """
    try:
        import yaml  # noqa: PLC0415 (an extra: `pip install ax-monitor[yaml]`)
    except ImportError:
        raise RulesFileError([f" {_NOT_THERE}"]) from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return None if node is None else _Walk(loader, lines).value(node, ())
    except yaml.YAMLError as error:
        raise RulesFileError([_explain(error)]) from None
    except RecursionError:
        raise RulesFileError([" nested too deeply"]) from None


def _explain(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f" {problem}" if mark is None else f"{mark.line + 1}: {problem}"


class _Walk:
    """From nodes to data."""

    def __init__(self, loader: yaml.SafeLoader, lines: dict[Path, int]) -> None:
        self._loader = loader
        self._lines = lines
        self._values = 0
        self._above: set[int] = set()  # nodes that we are in

    def value(self, node: Any, path: Path) -> Any:
        line = node.start_mark.line + 1
        self._lines[path] = line
        self._values += 1
        if self._values > MAX_VALUES or id(node) in self._above:
            raise RulesFileError([f"{line}: too many values"])
        self._above.add(id(node))
        try:
            if node.id != "scalar" and node.tag not in _TAGS:
                raise RulesFileError([f"{line}: unknown tag {node.tag}"])
            if node.id == "mapping":
                return self._mapping(node, path)
            if node.id == "sequence":
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._loader.construct_object(node, deep=True)
        except ValueError as error:  # e.g. 2026-13-45, which looks like a date
            if isinstance(error, RulesFileError):
                raise
            raise RulesFileError([f"{line}: {error}"]) from None
        finally:
            self._above.discard(id(node))

    def _mapping(self, node: Any, path: Path) -> dict[Any, Any]:
        written = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.id != "scalar":
                raise RulesFileError([f"{line}: a key must be a text"])
            if key.value in written:
                raise RulesFileError([f"{line}: {key.value} is there twice"])
            written.add(key.value)
        self._loader.flatten_mapping(node)  # `<<: *defaults`
        result = {}
        for key, item in node.value:
            name = self._loader.construct_object(key)
            result[name] = self.value(item, (*path, name))
        return result

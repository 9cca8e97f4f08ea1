"""All options of a monitor, described once: parsing, errors and docs/configuration.md follow.

An option is given by keyword, in the environment, or in a TOML file; the first of these counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

INTEGER: Final = "integer"
NUMBER: Final = "number"
TEXT: Final = "text"
SWITCH: Final = "true or false"

_ON: Final = ("true", "yes", "on", "1")
_OFF: Final = ("false", "no", "off", "0")
_NONE: Final = "none"  # how a file and the environment say None


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Args:
        section: Which part of the monitor it is for.
        name: Its name there.
        kind: INTEGER, NUMBER, TEXT or SWITCH.
        default: Its value if nothing is said.
        meaning: For people.
        least: Of a number: the smallest that is allowed.
        most: The largest.
        choices: Of a text: all that are allowed; () if any is.
        optional: It may be None; "none" in a file or the environment.
        zero_is_none: 0 means None.
    """

    section: str
    name: str
    kind: str
    default: Any
    meaning: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    zero_is_none: bool = False

    @property
    def variable(self) -> str:
        """The environment's name for it."""
        if (self.section, self.name) == ("store", "path"):
            return "AX_MONITOR_DB"
        return f"AX_MONITOR_{self.section}_{self.name}".upper()

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        text = " or ".join(f'"{choice}"' for choice in self.choices) or self.kind
        if self.least is not None and self.most is not None:
            text += f" from {_figure(self.least)} to {_figure(self.most)}"
        elif self.least is not None:
            text += f" of at least {_figure(self.least)}"
        if self.zero_is_none:
            return f"{text}, 0 for off"
        return f"{text}, or none" if self.optional else text

    def check(self, value: Any, place: str, *, by_keyword: bool = False) -> Any:
        """The value as it is to be used.

        Raises:
            ValueError: it is not allowed; `place` says where it stands.
        """
        if value is None or value == _NONE:
            if (self.optional or self.zero_is_none) and (by_keyword or value == _NONE):
                return None
        elif self.zero_is_none and value == 0 and not isinstance(value, bool):
            return None
        elif self._fits(value):
            return float(value) if self.kind == NUMBER else value
        raise ValueError(f"{place} must be {self.allowed}, got {value!r}")

    def _fits(self, value: Any) -> bool:
        if self.kind == SWITCH:
            return isinstance(value, bool)
        if self.kind == TEXT:
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.kind == INTEGER and not isinstance(value, int):
            return False
        # Written so that NaN does not fit.
        return (self.least is None or value >= self.least) and (
            value <= (float("1.7e308") if self.most is None else self.most)
        )

    def parse(self, text: str) -> Any:
        """What a text of the environment says; itself, if that is nothing of its kind."""
        text = text.strip()
        if self.kind == SWITCH and text.lower() in _ON + _OFF:
            return text.lower() in _ON
        for kind, number in ((INTEGER, int), (NUMBER, float)):
            if self.kind == kind and text.lower() != _NONE:
                try:
                    return number(text)
                except ValueError:
                    return text
        return text if self.choices and text in self.choices else _none_or(text)


def _figure(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _none_or(text: str) -> str:
    return _NONE if text.lower() == _NONE else text


_OVERFLOW: Final = ("block", "drop_newest", "drop_oldest")
_MIB: Final = 1024 * 1024
_FULL: Final = "what a call does when the ring is full"


def _count(
    section: str, name: str, default: int, meaning: str, *, zero_is_none: bool = False
) -> Option:
    return Option(section, name, INTEGER, default, meaning, least=1, zero_is_none=zero_is_none)


def _days(name: str, default: int, meaning: str) -> Option:
    text = f"age from which on {meaning} are deleted, in days"
    return Option("retention", name, NUMBER, default, text, least=0, optional=True)


OPTIONS: Final = (
    Option("store", "path", TEXT, ".ax/monitor.db", "the database"),
    Option("store", "ring_bytes", INTEGER, 16 * _MIB, "size of the ring file, whole MiB",
           least=3 * _MIB, most=4096 * _MIB),
    Option("store", "ring_dir", TEXT, None, "folder of the ring file; none: beside the database",
           optional=True),
    Option("store", "durability", TEXT, "normal", "what power loss may take; see StoreOptions",
           choices=("normal", "strict")),
    Option("store", "overflow_wait_ms", INTEGER, 50, "how long a call waits for room in the ring",
           least=0, most=60_000),
    Option("store", "redact", TEXT, "default",
           "what is done about secrets; a function can be given by keyword",
           choices=("default",), optional=True),
    Option("store", "allow_network_filesystem", SWITCH, False,
           "open a database on NFS, SMB and the like all the same"),
    Option("store", "vfs", TEXT, None, "name of the SQLite VFS", optional=True),
    Option("logger", "min_level", TEXT, "info", "lower levels are not recorded",
           choices=("debug", "info", "warn", "error", "fatal")),
    _count("logger", "buffer_size", 50, "records that wake the writer"),
    _count("logger", "flush_interval_ms", 5000, "writes at least so often"),
    Option("logger", "overflow", TEXT, "block", _FULL, choices=_OVERFLOW),
    Option("tracer", "sampling_rate", NUMBER, 1.0, "share of the traces that are kept",
           least=0, most=1),
    Option("tracer", "keep_errors", SWITCH, False, "keep traces with an error all the same"),
    Option("tracer", "keep_slower_than_ms", NUMBER, None, "keep traces all the same that take so "
           "long", least=0, optional=True),
    Option("tracer", "max_traces_per_second", NUMBER, None, "keep no more than so many",
           least=0, optional=True),
    Option("tracer", "overflow", TEXT, "block", _FULL, choices=_OVERFLOW),
    _count("metrics", "buffer_size", 100, "samples that wake the writer"),
    _count("metrics", "flush_interval_ms", 10_000, "writes at least so often"),
    _count("metrics", "max_series", 2000, "series of a metric in a process, at "
           "most"),
    Option("metrics", "overflow", TEXT, "block", _FULL, choices=_OVERFLOW),
    _count("workflows", "max_open", 100_000, "executions, and steps, held in "
           "memory at most"),
    Option("workflows", "overflow", TEXT, "block", _FULL, choices=_OVERFLOW),
    _count("alerts", "evaluation_interval_ms", 60_000, "rules are evaluated so "
           "often, if there are any", zero_is_none=True),
    _count("health", "check_interval_ms", 30_000, "everything is checked so often, "
           "if somebody listens to the events", zero_is_none=True),
    _count("health", "timeout_ms", 2000, "time limit of a check"),
    _count("health", "recover_after", 2, "checks that must be better before "
           "health.changed says so"),
    _count("costs", "check_interval_ms", 300_000, "budgets are checked so often, "
           "if somebody listens to the events", zero_is_none=True),
    _days("logs_days", 30, "log records"),
    _days("traces_days", 7, "traces with their spans"),
    _days("executions_days", 30, "executions with their steps"),
    _days("metrics_days", 90, "samples"),
    _days("alerts_days", 30, "resolved alerts"),
    Option("retention", "max_bytes", INTEGER, None, "size of the file above which the oldest goes",
           least=1, optional=True),
    _count("retention", "interval_ms", 3_600_000, "the retention runs so often",
           zero_is_none=True),
)  # fmt: skip

SECTIONS: Final = tuple(dict.fromkeys(option.section for option in OPTIONS))
_BY_NAME: Final = {(option.section, option.name): option for option in OPTIONS}
_BY_VARIABLE: Final = {option.variable: option for option in OPTIONS}
# Values that only Python has: by keyword, and checked by whatever takes them.
_OBJECTS: Final = frozenset(
    {("tracer", "limits"), ("workflows", "metrics"), ("health", "thresholds")}
)
Settings = dict[str, dict[str, Any]]


def find(section: str, name: str, place: str) -> Option:
    """The option of this name.

    Raises:
        ValueError: there is none; the message names those that there are.
    """
    option = _BY_NAME.get((section, name))
    if option is None:
        names = ", ".join(other for of, other in _BY_NAME if of == section)
        raise ValueError(f"{place}: {section} has no option {name!r}; it has {names}")
    return option


def of_file(data: Mapping[str, Any], path: str) -> Settings:
    """The options in the tables of a TOML file.

    Raises:
        ValueError: a section or option is unknown, or a value is wrong.
    """
    settings: Settings = {}
    for section, values in data.items():
        if section not in SECTIONS:
            raise ValueError(
                f"{path}: there is no section {section!r}; there are {', '.join(SECTIONS)}"
            )
        if not isinstance(values, Mapping):
            raise ValueError(f"{path}: {section} must be a section: write [{section}]")
        for name, value in values.items():
            option = find(section, name, path)
            checked = option.check(value, f"{path}: {section}.{name}")
            settings.setdefault(section, {})[name] = checked
    return settings


def of_environment(environment: Mapping[str, str]) -> Settings:
    """The options in variables that begin with AX_MONITOR_ and a section; empty ones count as none.

    Raises:
        ValueError: an option is unknown, or a value is wrong.
    """
    settings: Settings = {}
    for variable, text in environment.items():
        option = _BY_VARIABLE.get(variable)
        if option is None:
            for section in SECTIONS:
                start = f"AX_MONITOR_{section.upper()}_"
                if variable.startswith(start):
                    find(section, variable.removeprefix(start).lower(), variable)
        elif text:
            settings.setdefault(option.section, {})[option.name] = option.check(
                option.parse(text), variable
            )
    return settings


def of_keywords(keywords: Mapping[str, Any]) -> Settings:
    """The options of `open`: those of the store by their names, the others by section.

    Raises:
        ValueError: a section or option is unknown, or a value is wrong.
    """
    settings: Settings = {}
    for name, value in keywords.items():
        if name in SECTIONS and name != "store":
            if not isinstance(value, Mapping):
                raise ValueError(f"{name} must be a mapping of options, got {value!r}")
            for inner, given in value.items():
                if (name, inner) in _OBJECTS:
                    checked = given
                else:
                    option = find(name, inner, "keyword")
                    checked = option.check(given, f"{name}[{inner!r}]", by_keyword=True)
                settings.setdefault(name, {})[inner] = checked
        elif ("store", name) in _BY_NAME and name != "path":
            option = _BY_NAME["store", name]
            is_function = name == "redact" and callable(value)
            settings.setdefault("store", {})[name] = (
                value if is_function else option.check(value, name, by_keyword=True)
            )
        else:
            known = [other for of, other in _BY_NAME if of == "store" and other != "path"]
            known += [section for section in SECTIONS if section != "store"]
            raise ValueError(f"there is no option {name!r}; there are {', '.join(known)}")
    return settings


def merged(*settings: Settings) -> Settings:
    """All options with their values: the defaults, and over them these, the last first of all."""
    result: Settings = {section: {} for section in SECTIONS}
    for option in OPTIONS:
        result[option.section][option.name] = option.default
    for each in settings:
        for section, values in each.items():
            result[section].update(values)
    return result


def as_table() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Generated by `make docs` from `src/ax_monitor/options.py`.",
        "",
        "An option can be given by keyword, in the environment, or in a TOML file; the first of",
        "these that says something counts.",
        "",
        "```python",
        "import ax_monitor",
        "",
        "monitor = ax_monitor.open(",
        '    "monitor.db",',
        "    ring_bytes=32 * 1024 * 1024,",
        '    logger={"min_level": "warn"},',
        '    retention={"logs_days": 7},',
        ")",
        "```",
        "",
        "```toml",
        "# monitor.toml: found by config=… or AX_MONITOR_CONFIG",
        "[logger]",
        'min_level = "warn"',
        "",
        "[retention]",
        "logs_days = 7",
        "```",
        "",
        "```python",
        "# engine.py",
        "import ax_monitor",
        "",
        'with ax_monitor.open("monitor.db", config="monitor.toml") as monitor:',
        "    print(monitor.logger.get_min_level())",
        "```",
        "",
        "```console",
        "$ python engine.py",
        "warn",
        "$ AX_MONITOR_LOGGER_MIN_LEVEL=error python engine.py",
        "error",
        "```",
        "",
        "Options of the store are keywords of their own (`ring_bytes=…`), those of the other",
        "sections stand in a mapping by section. What may be none is None by keyword, and `none`",
        "elsewhere. An unknown section, option or value is an error that says where it stands.",
    ]
    for section in SECTIONS:
        lines += ["", f"## {section}", "", "| option | value | default | meaning | variable |"]
        lines += ["|---|---|---|---|---|"]
        for option in OPTIONS:
            if option.section == section:
                default = "none" if option.default is None else str(option.default).lower()
                lines.append(
                    f"| `{option.name}` | {option.allowed} | {default} | {option.meaning} "
                    f"| `{option.variable}` |"
                )
    return "\n".join(lines) + "\n"

"""Write docs/reference/: a page for each part of the public interface, out of its docstrings.

Signatures and docstrings are read from the sources and stubs, with griffe; the docstrings of the
kernels, which stubs do not have, come from the kernels. `make docs`.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import griffe

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "reference"
SOURCES = HERE.parent / "src"
WIDTH: Final = 88  # of a signature, beyond which each argument has a line
# Parts of a docstring that the parser takes for the text that they are.
OWN_SECTIONS: Final = re.compile(
    r"^(Lifecycle|Thread-safety|Cost|Raises|Args|Events(?= \(`on`\):))(.*?):", re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Page:
    """What a page covers.

    Args:
        name: Of the file.
        title: Its heading.
        about: What it is about, and where more is said.
        names: Of `ax_monitor.__all__`.
        also: What these return, by full names: nobody makes one oneself.
        elsewhere: What is imported from another module: full names.
        native: Methods that a service has from its kernel.
    """

    name: str
    title: str
    about: str
    names: tuple[str, ...]
    also: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    native: tuple[str, ...] = ()


PAGES: Final = (
    Page(
        "monitor",
        "Monitor",
        "Opens a database with all services; [options](../configuration.md) go through it.",
        ("open", "Monitor", "configure", "default_monitor"),
        also=("ax_monitor.events.Events",),
    ),
    Page(
        "logger",
        "Logs",
        "`monitor.logger`, `ax_monitor.logger`, and the handler for standard `logging`, of which "
        "[a how-to](../how-to/stdlib-logging.md) says more.",
        ("StructuredLogger", "LogEntry", "LogQuery", "LogPage", "LogLevel", "search_text"),
        elsewhere=("ax_monitor.logging_handler.AxHandler",),
        native=("debug", "info", "warn", "error", "fatal", "log_at"),
    ),
    Page(
        "tracer",
        "Traces",
        "`monitor.tracer`, `ax_monitor.tracer`.",
        (
            "DistributedTracer",
            "SpanContext",
            "Trace",
            "Span",
            "SpanEvent",
            "SpanNode",
            "TraceQuery",
            "TracePage",
            "TraceStats",
            "TraceStatus",
            "SpanKind",
            "SpanStatus",
        ),
        also=("ax_monitor.services.tracer.TracerStats",),
        native=(
            "complete_trace",
            "start_span",
            "complete_span",
            "set_span_attributes",
            "add_span_event",
            "set_span_status",
        ),
    ),
    Page(
        "metrics",
        "Metrics",
        "`monitor.metrics`, `ax_monitor.metrics`; and `monitor.system`, which samples the machine.",
        (
            "MetricsCollector",
            "SystemSampler",
            "PerformanceMetric",
            "MetricAggregation",
            "TimeSeries",
            "TimeSeriesPoint",
            "MetricType",
            "Aggregation",
        ),
        also=("ax_monitor._native.metric.MetricSeries",),
        native=("record", "series", "record_many", "metric_type", "unit", "labels", "tenant_id"),
    ),
    Page(
        "workflows",
        "Workflows",
        "`monitor.workflows`, `ax_monitor.workflows`.",
        (
            "WorkflowMonitor",
            "WorkflowExecution",
            "WorkflowStepExecution",
            "WorkflowStepAttempt",
            "WorkflowStats",
            "WorkflowStatus",
        ),
        also=(
            "ax_monitor.services.workflows.ExecutionScope",
            "ax_monitor.services.workflows.StepScope",
            "ax_monitor.services.workflows.WorkflowMonitorStats",
        ),
        native=("start_step", "complete_step", "fail_step"),
    ),
    Page(
        "alerting",
        "Alerting",
        "`monitor.alerts`, `ax_monitor.alerts`.",
        (
            "AlertingService",
            "AlertRule",
            "AlertCondition",
            "Alert",
            "AlertTransition",
            "Silence",
            "Backtest",
            "Firing",
            "RulesLoaded",
            "AlertSeverity",
            "AlertStatus",
            "NoDataPolicy",
            "Operator",
        ),
    ),
    Page(
        "health",
        "Health",
        "`monitor.health`, `ax_monitor.health`.",
        (
            "HealthCheckService",
            "HealthThresholds",
            "SystemHealth",
            "HealthCheck",
            "ProbeAnswer",
            "HealthStatus",
        ),
        also=("ax_monitor.services.health.SyncHealthChecks",),
    ),
    Page(
        "costs",
        "Costs",
        "`monitor.costs`, `ax_monitor.costs`.",
        ("CostService", "CostSummary", "DailyCost", "CostProjection", "Budget", "BudgetStatus"),
    ),
    Page(
        "retention",
        "Retention",
        "`monitor.retention`, `ax_monitor.retention`; [how to delete](../how-to/delete.md).",
        ("RetentionService", "RetentionReport"),
    ),
    Page(
        "context",
        "Context",
        "The ids that logs, spans and samples take over when they are given none.",
        ("use_context", "current_context", "carry_context", "RecordContext"),
        native=(
            "execution_id",
            "trace_id",
            "span_id",
            "tenant_id",
            "user_id",
        ),
    ),
    Page(
        "store",
        "Store",
        "`monitor.store`: the database and the ring behind all services.",
        ("Store", "StoreOptions", "RecorderStats"),
    ),
    Page(
        "errors",
        "Errors",
        "Everything that is raised on purpose.",
        (
            "MonitorError",
            "AlertRuleError",
            "RulesFileError",
            "LogQueryError",
            "SearchSyntaxError",
            "SearchTimeout",
            "QueryError",
            "TraceQueryError",
            "StorageError",
            "SchemaVersionError",
        ),
    ),
)
# Methods that services have for each other, or that all records have.
FOR_SERVICES: Final = frozenset(("after_fork_in_child", "store_closes", "tick", "to_dict"))
# Of classes most of whose methods are for services: those for users.
FOR_USERS: Final = {
    "Store": ("flush", "stats", "backup", "close"),
    "Events": ("on", "off", "flush"),
}
LINKS: Final = {name: page for page in PAGES for name in page.names} | {
    name.rpartition(".")[2]: page for page in PAGES for name in (*page.also, *page.elsewhere)
}


def load() -> griffe.Module:
    """The package as its sources and stubs describe it."""
    loader = griffe.GriffeLoader(
        search_paths=[str(SOURCES)], docstring_parser="google", allow_inspection=False
    )
    package = loader.load("ax_monitor")
    loader.resolve_aliases()
    assert isinstance(package, griffe.Module)
    return package


# -- pieces of text --------------------------------------------------------------------------------


def signature(thing: Any, name: str) -> str:
    """`def` or `class` as in a source, with a line for each argument if it is long."""
    parts: list[str] = []
    kinds = griffe.ParameterKind
    parameters = [p for p in thing.parameters if p.name not in ("self", "cls")]
    for number, each in enumerate(parameters):
        before = parameters[number - 1].kind if number else None
        if before is kinds.positional_only is not each.kind:
            parts.append("/")
        if each.kind is kinds.keyword_only and before not in (
            kinds.keyword_only,
            kinds.var_positional,
        ):
            parts.append("*")
        stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(each.kind, "")
        annotation = f": {each.annotation}" if each.annotation is not None else ""
        default = ""
        if each.default is not None and not stars:
            default = f" = {each.default}" if annotation else f"={each.default}"
        parts.append(f"{stars}{each.name}{annotation}{default}")
    returns = getattr(thing, "returns", None)
    end = f") -> {returns}" if returns is not None and not thing.is_class else ")"
    line = f"{name}({', '.join(parts)}{end}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + end


def markdown(text: str, page: Page) -> str:
    """A docstring's text: examples fenced, our own sections apart, public names linked."""
    text = re.sub(r"^::\n", "", text).replace("::\n", ":\n")
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.lstrip().startswith(">>>"):
            out.append(f"```pycon\n{inspect.cleandoc(paragraph)}\n```")
        elif paragraph.startswith("    "):
            out.append(paragraph)
        else:
            apart = OWN_SECTIONS.sub(r"\n**\1**\2:", paragraph).strip()
            out.append(linked(apart, page))
    return "\n\n".join(out)


def linked(text: str, page: Page) -> str:
    def link(found: re.Match[str]) -> str:
        name, rest = found[1], found[2] or ""
        if name not in LINKS:
            return found[0]
        other = "" if LINKS[name] is page else f"{LINKS[name].name}.md"
        return f"[`{name}{rest}`]({other}#{name.lower()})"

    return re.sub(r"`(\w+)(\.\w+|\(\))?`", link, text)


def items(section: Any, page: Page) -> str:
    """Arguments or errors as a list."""
    lines = []
    for each in section.value:
        head = getattr(each, "name", None) or linked(f"`{each.annotation}`", page)
        head = f"`{head}`" if hasattr(each, "name") and each.name else head
        text = " ".join(each.description.split())
        lines.append(f"- {head}: {linked(text, page)}")
    return "\n".join(lines)


def described(docstring: str, parent: Any, page: Page) -> Iterator[str]:
    """The sections of a docstring."""
    titles = {"parameters": "Arguments", "raises": "Raises"}
    sections = griffe.Docstring(docstring, parent=parent).parse(
        "google", warnings=False, returns_multiple_items=False, returns_named_value=False
    )
    for section in sections:
        if section.kind.value == "text":
            yield markdown(section.value, page)
        elif section.kind.value == "examples":
            yield from (markdown(str(text), page) for _, text in section.value)
        elif section.kind.value == "returns":
            text = " ".join(" ".join(each.description for each in section.value).split())
            yield f"**Returns**: {linked(text, page)}"
        elif section.kind.value in titles:
            yield f"**{titles[section.kind.value]}**:\n\n{items(section, page)}"
        else:
            raise ValueError(f"{parent.path}: a section of kind {section.kind.value}")


# -- objects ---------------------------------------------------------------------------------------


def runtime_docstring(path: str) -> str:
    """That of a kernel's class or method, without the signature that Cython puts first."""
    module, _, rest = path.partition("ax_monitor._native.")[2].partition(".")
    thing: Any = importlib.import_module(f"ax_monitor._native.{module}")
    for name in rest.split("."):
        thing = getattr(thing, name)
    return re.sub(r"\A[\w.]+\(.*\n*", "", inspect.getdoc(thing) or "").strip()


def docstring_of(thing: Any) -> str:
    if thing.docstring is not None:
        return str(thing.docstring.value)
    path = thing.final_target.path if thing.is_alias else thing.path
    return runtime_docstring(path) if "._native." in path else ""


def members(cls: Any, page: Page) -> Iterator[tuple[str, Any]]:
    """The methods and properties that are meant for users, what all services have last."""
    of_all = [name for base in cls.mro() if base.name == "Service" for name in base.members]
    for name, member in sorted(cls.all_members.items(), key=lambda item: item[0] in of_all):
        target = member.final_target if member.is_alias else member
        known = target.is_function or target.is_attribute
        if name.startswith("_") or name in FOR_SERVICES or not known:
            continue
        if "._native." in target.path and name not in page.native:
            continue
        if name in FOR_USERS.get(cls.name, (name,)) and docstring_of(target):
            yield name, target


def is_property(member: Any) -> bool:
    decorators = [str(each.value) for each in getattr(member, "decorators", ())]
    return bool(member.is_attribute or {"_made_once", "property"} & set(decorators))


def rendered(thing: Any, page: Page) -> Iterator[str]:
    """A class with its members, or a function."""
    thing = thing.final_target if thing.is_alias else thing
    yield f"## {thing.name}"
    if thing.is_function:
        yield f"```python\n{signature(thing, f'ax_monitor.{thing.name}')}\n```"
        yield from described(docstring_of(thing), thing, page)
        return
    where = f"ax_monitor.{thing.name}" if thing.name in page.names else thing.path
    values = [m for m in thing.members.values() if m.is_attribute and m.name.isupper()]
    bases = [str(base) for base in thing.bases]
    if "Vocabulary" in bases:
        words = [str(m.value).strip("'\"") for m in values if m.name[0] != "_"]
        yield "`" + "` · `".join(words) + "`"
    elif any(base.endswith(("Error", "Exception")) for base in bases):
        yield "```python\n" + f"class {where}({', '.join(bases)})" + "\n```"
    elif thing.path not in page.also:
        yield "```python\n" + f"class {signature(thing, where)}" + "\n```"
    yield from described(docstring_of(thing), thing, page)
    for name, member in members(thing, page):
        yield f"### {thing.name}.{name}"
        if is_property(member):
            kind = member.annotation if member.is_attribute else member.returns
            yield f"```python\n{name}: {kind}\n```"
        else:
            # Of a method with overloads, the last definition stands for all
            yield f"```python\n{signature(member, name)}\n```"
        yield from described(docstring_of(member), member, page)


def page_text(package: griffe.Module, page: Page) -> str:
    parts = [f"# {page.title}", "Generated from the docstrings by `make docs`.", page.about]
    things = [package[name] for name in page.names]
    things += [package[name.removeprefix("ax_monitor.")] for name in (*page.also, *page.elsewhere)]
    if page.name == "errors":
        docstring = package["errors"].docstring
        assert docstring is not None
        _, _, tree, *rest = docstring.value.split("\n\n")
        parts += [f"```text\n{inspect.cleandoc(tree)}\n```", *rest]
    for thing in things:
        parts.extend(part for part in rendered(thing, page) if part)
    return "\n\n".join(parts) + "\n"


def index_text(pages: Iterable[Page]) -> str:
    lines = [
        "# Reference",
        "",
        "Generated from the docstrings by `make docs`. Everything in these tables is imported from",
        "`ax_monitor` itself. The commands are in [cli.md](cli.md), the options in",
        "[configuration.md](../configuration.md), the tables of the database in",
        "[schema.sql](../schema.sql)" + json_link(),
        "",
        "Every record (`LogEntry`, `Trace`, `Alert`, …) has `to_dict()`: itself as data that",
        "`json.dumps` takes, keyed by field name.",
        "",
        "| page | names |",
        "|---|---|",
    ]
    for page in pages:
        names = ", ".join(f"[`{name}`]({page.name}.md#{name.lower()})" for name in page.names)
        lines.append(f"| [{page.title}]({page.name}.md) | {names} |")
    return "\n".join(lines) + "\n"


def json_link() -> str:
    found = (FOLDER / "json.md").exists()  # written by hand
    return ", what `--json` prints in [json.md](json.md)." if found else "."


def make() -> dict[str, str]:
    """The pages by the names of their files."""
    package = load()
    texts = {f"{page.name}.md": page_text(package, page) for page in PAGES}
    return {"README.md": index_text(PAGES), **texts}


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in make().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

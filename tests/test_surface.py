"""The public surface: what is exported, that it is documented, and what importing it costs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import ax_monitor

PROMISED = {
    "Aggregation",
    "Alert",
    "AlertCondition",
    "AlertRule",
    "AlertRuleError",
    "AlertSeverity",
    "AlertStatus",
    "Budget",
    "BudgetStatus",
    "CostProjection",
    "CostService",
    "CostSummary",
    "DailyCost",
    "DistributedTracer",
    "HealthCheck",
    "HealthCheckService",
    "HealthStatus",
    "HealthThresholds",
    "LogEntry",
    "LogLevel",
    "LogPage",
    "LogQuery",
    "LogQueryError",
    "MetricAggregation",
    "MetricType",
    "MetricsCollector",
    "Monitor",
    "MonitorError",
    "Operator",
    "PerformanceMetric",
    "ProbeAnswer",
    "RecordContext",
    "RecorderStats",
    "SchemaVersionError",
    "SearchSyntaxError",
    "SearchTimeout",
    "Span",
    "SpanContext",
    "SpanEvent",
    "SpanKind",
    "SpanNode",
    "SpanStatus",
    "StorageError",
    "Store",
    "StoreOptions",
    "StructuredLogger",
    "SystemHealth",
    "SystemSampler",
    "TimeSeries",
    "TimeSeriesPoint",
    "Trace",
    "TracePage",
    "TraceQuery",
    "TraceQueryError",
    "TraceStats",
    "TraceStatus",
    "WorkflowExecution",
    "WorkflowStats",
    "WorkflowStatus",
    "WorkflowStepExecution",
    "current_context",
    "open",
    "search_text",
    "use_context",
}
HEAVY = (
    "click",
    "rich",
    "numpy",
    "asyncio",
    "ctypes",
    "http",
    "psutil",
    "logging",
    "unittest",
    "email",
    "xml",
    "multiprocessing",
    "pydoc",
)
MEMBERS = (property, classmethod, staticmethod)


def modules() -> list[ModuleType]:
    """Every module of the package but the command line, which is tested by itself."""
    names = [info.name for info in pkgutil.walk_packages(ax_monitor.__path__, "ax_monitor.")]
    apart = ("ax_monitor.cli", "ax_monitor.__main__")
    return [ax_monitor, *(importlib.import_module(n) for n in names if not n.startswith(apart))]


def test_everything_promised_is_exported() -> None:
    """`__all__` has every promised name, sorted, each of them importable, and no private one."""
    assert not PROMISED.difference(ax_monitor.__all__)
    assert list(ax_monitor.__all__) == sorted(ax_monitor.__all__)
    for name in ax_monitor.__all__:
        assert hasattr(ax_monitor, name), name
        assert not name.startswith("_")
    assert ax_monitor.__version__


def test_importing_the_package_imports_none_of_its_parts() -> None:
    """Each name is fetched when it is first asked for, and every one of them is listed."""
    code = "import json, sys, ax_monitor; print(json.dumps([*sys.modules])); dir(ax_monitor)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = [name for name in json.loads(done.stdout) if name.startswith("ax_monitor")]
    assert set(ours) == {"ax_monitor", "ax_monitor._version"}
    assert set(dir(ax_monitor)) >= set(ax_monitor.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ax_monitor.nothing  # noqa: B018


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_everything_public_is_documented(module: ModuleType) -> None:
    """Every module, public class, function, method and property of ours says what it is."""
    assert module.__doc__, module.__name__
    missing = []
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if (inspect.isclass(thing) or inspect.isroutine(thing)) and not thing.__doc__:
            missing.append(name)
        missing += [
            f"{name}.{attribute}"
            for attribute, member in (vars(thing) if inspect.isclass(thing) else {}).items()
            if not attribute.startswith("_")
            and (inspect.isroutine(member) or isinstance(member, MEMBERS))
            and not inspect.getdoc(getattr(thing, attribute))
        ]
    assert missing == []


@pytest.mark.parametrize("name", ax_monitor.__all__)
def test_exported_names_say_more_than_their_signature(name: str) -> None:
    """The first line of a docstring is a sentence, not the generated text of a dataclass."""
    lines = (inspect.getdoc(getattr(ax_monitor, name)) or "").split("\n")
    # Compiled classes carry their signature on the first line.
    said = [line for line in lines if line and not line.startswith(f"{name}(")]
    assert said
    assert len(said[0].split()) >= 3
    assert said[0].endswith((".", "?"))


def test_import_is_light() -> None:
    """`import ax_monitor` brings in no terminal, arrays, event loop, network or logging."""
    code = (
        "import json, sys; before = set(sys.modules); import ax_monitor; "
        "print(json.dumps(sorted(set(sys.modules) - before - {'json'})))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "ax_monitor" in loaded
    assert sorted(loaded & set(HEAVY)) == []


def test_import_starts_nothing_and_writes_nothing(tmp_path: object) -> None:
    """No thread, no file, no handler of signals or logging, no warning."""
    code = (
        "import os, signal, sys, threading, logging, warnings; warnings.simplefilter('error'); "
        "signals = [signal.getsignal(n) for n in (2, 10, 15)]; import ax_monitor; "
        "assert threading.active_count() == 1; assert os.listdir() == []; "
        "assert signals == [signal.getsignal(n) for n in (2, 10, 15)]; "
        "assert not logging.root.handlers"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=str(tmp_path),
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder()
    return [test for module in modules() for test in finder.find(module) if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_examples_in_docstrings_run(example: doctest.DocTest) -> None:
    """Every `>>>` example gives the answer that it shows."""
    runner = doctest.DocTestRunner(verbose=False)
    assert runner.run(example).failed == 0


def test_a_wrong_vocabulary_value_names_the_allowed_ones() -> None:
    """Closed vocabularies are plain strings that refuse others with a list."""
    for name in (
        "LogLevel",
        "SpanKind",
        "SpanStatus",
        "AlertSeverity",
        "AlertStatus",
        "Operator",
        "Aggregation",
        "HealthStatus",
        "WorkflowStatus",
    ):
        vocabulary = getattr(ax_monitor, name)
        with pytest.raises(ValueError, match=", ".join(vocabulary)):
            vocabulary.parse("no such value")

"""Options by keyword, environment and file: what counts, and what is refused and how."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import ax_monitor
from ax_monitor import config, options
from ax_monitor.config import StoreOptions
from ax_monitor.services.health import HealthCheckService
from ax_monitor.services.retention import RetentionService
from ax_monitor.services.workflows import WorkflowMonitor

SERVICES: dict[str, Any] = {
    "store": StoreOptions,
    "logger": ax_monitor.StructuredLogger,
    "tracer": ax_monitor.DistributedTracer,
    "metrics": ax_monitor.MetricsCollector,
    "workflows": WorkflowMonitor,
    "health": HealthCheckService,
    "retention": RetentionService,
}


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "monitor.toml"


def load(toml: Path | None = None, /, **keywords: Any) -> options.Settings:
    return config.load(None, toml, keywords)


def test_keyword_before_environment_before_file_before_default(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Option by option."""
    toml.write_text(
        "[logger]\nmin_level = 'debug'\nbuffer_size = 2\nflush_interval_ms = 3\n"
        "[retention]\nlogs_days = 1.5\nmax_bytes = 1000\ntraces_days = 'none'\n"
    )
    monkeypatch.setenv("AX_MONITOR_LOGGER_MIN_LEVEL", "warn")
    monkeypatch.setenv("AX_MONITOR_LOGGER_BUFFER_SIZE", "7")
    monkeypatch.setenv("AX_MONITOR_TRACER_KEEP_ERRORS", "Yes")
    monkeypatch.setenv("AX_MONITOR_TRACER_SAMPLING_RATE", "0.5")
    monkeypatch.setenv("AX_MONITOR_RETENTION_MAX_BYTES", "")
    found = load(toml, logger={"min_level": "error"}, ring_bytes=4 * 1024 * 1024)
    assert found["logger"] == {
        "min_level": "error", "buffer_size": 7, "flush_interval_ms": 3, "overflow": "block",
    }  # fmt: skip
    assert (found["tracer"]["keep_errors"], found["tracer"]["sampling_rate"]) == (True, 0.5)
    assert found["retention"]["logs_days"] == 1.5
    assert found["retention"]["traces_days"] is None
    assert found["retention"]["max_bytes"] == 1000
    assert found["retention"]["metrics_days"] == 90
    assert found["store"]["ring_bytes"] == 4 * 1024 * 1024


def test_the_file_is_the_argument_else_the_variable(
    toml: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty variable counts as none."""
    toml.write_text("[metrics]\nmax_series = 5\n")
    other = tmp_path / "other.toml"
    other.write_text("[metrics]\nmax_series = 6\n")
    monkeypatch.setenv("AX_MONITOR_CONFIG", str(other))
    assert load()["metrics"]["max_series"] == 6
    assert load(toml)["metrics"]["max_series"] == 5
    monkeypatch.setenv("AX_MONITOR_CONFIG", "")
    assert load()["metrics"]["max_series"] == 2000


def test_the_path_of_the_database(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, AX_MONITOR_DB, file, default."""
    monkeypatch.delenv("AX_MONITOR_DB", raising=False)
    assert load()["store"]["path"] == config.DEFAULT_DATABASE
    toml.write_text("[store]\npath = 'file.db'\n")
    assert load(toml)["store"]["path"] == "file.db"
    monkeypatch.setenv("AX_MONITOR_DB", "variable.db")
    assert load(toml)["store"]["path"] == "variable.db"
    assert config.load("given.db", toml, {})["store"]["path"] == "given.db"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loger]\n", "there is no section 'loger'; there are store, logger,"),
        ("logger = 1\n", r"logger must be a section: write \[logger\]"),
        ("[logger]\nmin_lvl = 'warn'\n", "logger has no option 'min_lvl'; it has min_level,"),
        ("[logger]\nmin_level = 3\n", 'logger.min_level must be "debug" or .* got 3'),
        ("[logger]\nmin_level = 'loud'\n", "logger.min_level must be"),
        ("[logger]\nbuffer_size = 0\n", "logger.buffer_size must be integer of at least 1"),
        ("[logger]\nbuffer_size = 1.5\n", "logger.buffer_size must be integer"),
        ("[logger]\nbuffer_size = true\n", "logger.buffer_size must be integer"),
        ("[tracer]\nsampling_rate = 2\n", "tracer.sampling_rate must be number from 0 to 1"),
        ("[tracer]\nsampling_rate = nan\n", "tracer.sampling_rate must be number"),
        ("[tracer]\nkeep_errors = 1\n", "tracer.keep_errors must be true or false, got 1"),
        ("[retention]\nlogs_days = inf\n", "retention.logs_days must be number of at least 0"),
        ("[store]\npath = 'none'\n", "store.path must be text"),
        ("[logger\n", "is not TOML"),
    ],
)
def test_mistakes_in_a_file_are_named(toml: Path, text: str, message: str) -> None:
    """With the file, the option, and what is allowed."""
    toml.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load(toml)
    assert str(toml) in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AX_MONITOR_LOGGER_MIN_LVL", "warn", "logger has no option 'min_lvl'"),
        ("AX_MONITOR_LOGGER_BUFFER_SIZE", "many", "must be integer of at least 1, got 'many'"),
        ("AX_MONITOR_TRACER_KEEP_ERRORS", "2", "must be true or false, got '2'"),
        ("AX_MONITOR_RETENTION_INTERVAL_MS", "-1", "must be integer of at least 1, 0 for off"),
    ],
)
def test_mistakes_in_the_environment_are_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    """With the variable."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=message) as caught:
        load()
    assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"ring_size": 1}, "there is no option 'ring_size'; there are ring_bytes,"),
        ({"store": {}}, "there is no option 'store'"),
        ({"logger": "warn"}, "logger must be a mapping of options, got 'warn'"),
        ({"logger": {"level": "warn"}}, "logger has no option 'level'"),
        ({"logger": {"min_level": None}}, r"logger\['min_level'\] must be"),
        ({"redact": 5}, "redact must be"),
    ],
)
def test_mistakes_in_keywords_are_named(
    keywords: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Nothing is opened then."""
    with pytest.raises(ValueError, match=message):
        ax_monitor.open(tmp_path / "monitor.db", **keywords)
    assert list(tmp_path.iterdir()) == []


def test_off_and_none(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None by keyword, 0 or none elsewhere."""
    toml.write_text("[alerts]\nevaluation_interval_ms = 0\n[store]\nredact = 'none'\n")
    monkeypatch.setenv("AX_MONITOR_HEALTH_CHECK_INTERVAL_MS", "0")
    monkeypatch.setenv("AX_MONITOR_RETENTION_LOGS_DAYS", "None")
    found = load(toml, retention={"interval_ms": None, "metrics_days": 0})
    assert found["alerts"]["evaluation_interval_ms"] is None
    assert found["health"]["check_interval_ms"] is None
    assert found["store"]["redact"] is None
    assert found["retention"]["interval_ms"] is None
    assert (found["retention"]["logs_days"], found["retention"]["metrics_days"]) == (None, 0)


def test_every_option_is_one_of_its_service_and_has_its_default() -> None:
    """The table can't go another way than the code."""
    ours = {
        ("store", "path"),
        ("alerts", "evaluation_interval_ms"),
        ("health", "check_interval_ms"),
        ("costs", "check_interval_ms"),
    }
    for option in options.OPTIONS:
        if (option.section, option.name) in ours:
            continue
        parameters = inspect.signature(SERVICES[option.section]).parameters
        assert option.name in parameters, option
        assert parameters[option.name].default == option.default, option


def test_the_documentation_is_current() -> None:
    """`make docs` has been run."""
    path = Path(__file__).parents[1] / "docs" / "configuration.md"
    assert path.read_text(encoding="utf-8") == options.as_table()


def test_tomllib_is_imported_for_a_file_only(db: str) -> None:
    """Most programs have none."""
    import subprocess
    import sys

    code = (
        "import sys, ax_monitor\nwith ax_monitor.open(sys.argv[1]): pass\n"
        "sys.exit('tomllib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, db], timeout=30, check=False).returncode == 0

"""`ax monitor logs`: which entries it shows, in which order, and in which form."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

import ax_monitor
from tests.cli.helpers import (
    assert_one_line_error,
    die_with_records,
    entries,
    run,
    run_on_terminal,
    running_engine,
)

pytestmark = pytest.mark.timeout(60)

BASE_MS = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with six records, a second apart, and no process that has it open."""
    db = str(tmp_path_factory.mktemp("logs") / "monitor.db")
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store, min_level="debug")
        for index, (severity, message, source, fields) in enumerate(
            (
                (5, "cache warmed up", "cache", {"metadata": {"steps": 3, "kind": "3"}}),
                (9, "connection opened", "net", {"execution_id": "run-1", "tenant_id": "acme"}),
                (13, "rate limit near", "net", {"trace_id": TRACE, "span_id": SPAN}),
                (17, "timeout of connection", "net", {"stack_trace": "Traceback:\n  at here\nEnd"}),
                (9, "user said a-b (c", "web", {"user_id": "u-7", "metadata": {"ok": True}}),
                (21, "disk gone", "disk", {"metadata": {"free": None, "text": "two words"}}),
            )
        ):
            logger.log_at(
                severity,
                message,
                source,
                timestamp_ns=(BASE_MS + 1000 * index) * 1_000_000,
                **fields,
            )
        assert store.flush()
    return db


MESSAGES = (
    "cache warmed up",
    "connection opened",
    "rate limit near",
    "timeout of connection",
    "user said a-b (c",
    "disk gone",
)


def shown(db: str, *arguments: object) -> list[str]:
    result = run("logs", "--db", db, "--json", *arguments)
    assert (result.code, result.err) == (0, "")
    return [entry["message"] for entry in result.objects]


def test_lines_of_a_pipe(filled: str) -> None:
    """On a pipe an entry is time, level, source, message and metadata, separated by spaces."""
    result = run("logs", "--db", filled, "--utc")
    assert (result.code, result.err) == (0, "")
    assert result.lines == [
        '2023-11-14 22:13:20.000Z DEBUG cache cache warmed up steps=3 kind="3"',
        "2023-11-14 22:13:21.000Z INFO  net connection opened",
        "2023-11-14 22:13:22.000Z WARN  net rate limit near",
        "2023-11-14 22:13:23.000Z ERROR net timeout of connection",
        "2023-11-14 22:13:24.000Z INFO  web user said a-b (c ok=true",
        '2023-11-14 22:13:25.000Z FATAL disk disk gone free=null text="two words"',
    ]


def test_times_are_local_unless_utc_is_asked_for(filled: str) -> None:
    """Without --utc times are in the machine's zone, and --since is read in that zone too."""
    arguments = ("logs", "--db", filled, "--since", "2023-11-15T03:58:25")
    result = run(*arguments, TZ="Asia/Kathmandu")  # UTC+05:45
    assert result.lines == [
        '2023-11-15 03:58:25.000 FATAL disk disk gone free=null text="two words"'
    ]
    assert run(*arguments, "--utc", TZ="Asia/Kathmandu").lines == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), MESSAGES),
        (("--limit", "2"), MESSAGES[-2:]),
        (("--limit", "all"), MESSAGES),
        (("--level", "error"), ("timeout of connection", "disk gone")),
        (("--level", "WARNING"), ("rate limit near", "timeout of connection", "disk gone")),
        (("--source", "net"), MESSAGES[1:4]),
        (("--execution", "run-1"), ("connection opened",)),
        (("--trace", TRACE), ("rate limit near",)),
        (("--span", SPAN), ("rate limit near",)),
        (("--tenant", "acme"), ("connection opened",)),
        (("--user", "u-7"), ("user said a-b (c",)),
        (("--meta", "steps=3"), ("cache warmed up",)),
        (("--meta", "steps=3.0"), ("cache warmed up",)),
        (("--meta", "steps=4"), ()),
        (("--meta", 'steps="3"'), ()),
        (("--meta", 'kind="3"'), ("cache warmed up",)),
        (("--meta", "kind=3"), ()),
        (("--meta", "steps=3", "--meta", 'kind="3"'), ("cache warmed up",)),
        (("--meta", "ok=true"), ("user said a-b (c",)),
        (("--meta", "free=null"), ("disk gone",)),
        (("--meta", "text=two words"), ("disk gone",)),
        (("--meta", "text=NaN"), ()),
        (("--meta", f"text={10**30}"), ()),
        (("--since", "2023-11-14T22:13:24Z"), MESSAGES[4:]),
        (("--since", "2023-11-14 23:13:24+01:00"), MESSAGES[4:]),
        (("--until", "2023-11-14T22:13:21"), MESSAGES[:2]),
        (("--since", "2023-11-14", "--until", "2023-11-15"), MESSAGES),
        (("--since", "30m"), ()),
        (("--until", "1h30m"), MESSAGES),
        (("timeout",), ("timeout of connection",)),
        (("connection", "--level", "error"), ("timeout of connection",)),
        (('timeout OR "rate limit"',), ("rate limit near", "timeout of connection")),
        (("conn*", "--limit", "1"), ("timeout of connection",)),
        (("a-b (c", "--literal"), ("user said a-b (c",)),
        (("--literal", "timeout OR disk"), ()),
        (("--literal", "()"), ()),
        (("--source", "no such"), ()),
    ],
)
def test_filters(filled: str, arguments: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Every filter selects what it says, and the newest entry always comes last."""
    assert tuple(shown(filled, *arguments)) == expected


def test_json_is_the_entry(filled: str) -> None:
    """--json prints `LogEntry.to_dict()`, one object a line."""
    result = run("logs", "--db", filled, "--json")
    assert result.objects == [entry.to_dict() for entry in entries(filled)]


def test_since_counts_back_from_now(db: str) -> None:
    """--since 1h shows what is younger than an hour, --until 1h the rest."""
    now_ms = time.time_ns() // 1_000_000
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        for minutes in (125, 65, 55, 0):
            at_ns = (now_ms - minutes * 60_000) * 1_000_000
            logger.log_at(9, f"{minutes} minutes ago", "test", timestamp_ns=at_ns)
    assert shown(db, "--since", "1h") == ["55 minutes ago", "0 minutes ago"]
    assert shown(db, "--until", "1h") == ["125 minutes ago", "65 minutes ago"]
    assert shown(db, "--since", "2h", "--until", "1h") == ["65 minutes ago"]


def test_all_entries_come_in_order(db: str) -> None:
    """--limit all reads page after page without losing, repeating or reordering an entry."""
    count = 25_000
    with ax_monitor.Store(db) as store:
        logger = ax_monitor.StructuredLogger(store)
        for number in range(count):
            logger.log_at(9, f"n{number}", "test", timestamp_ns=BASE_MS * 1_000_000 + number * 1000)
        assert store.flush()
    assert shown(db, "--limit", "all") == [f"n{number}" for number in range(count)]


def test_stack_traces_stand_indented_below(filled: str) -> None:
    """--stack shows the lines of a stack trace, indented, so that none looks like an entry."""
    result = run("logs", "--db", filled, "--stack", "--source", "net", "--utc")
    assert result.lines[2:] == [
        "2023-11-14 22:13:23.000Z ERROR net timeout of connection",
        "    Traceback:",
        "      at here",
        "    End",
    ]


def test_ids_are_shown_when_asked_for(filled: str) -> None:
    """--ids shows to which execution, trace, span, tenant and user an entry belongs."""
    lines = run("logs", "--db", filled, "--ids").lines
    assert lines[1].endswith("connection opened execution=run-1 tenant=acme")
    assert lines[2].endswith(f"rate limit near trace={TRACE} span={SPAN}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--level", "loud"),
        ("--limit", "0"),
        ("--limit", "-1"),
        ("--limit", "many"),
        ("--since", "yesterday"),
        ("--since", "1y"),
        ("--until", "2023-13-01"),
        ("--since", "\x1b[31m"),
        ("--meta", "novalue"),
        ("--meta", "=value"),
        ("--meta", "a=1", "--meta", "a=2"),
        ("--follow", "--until", "1h"),
        ("--follow", "--limit", "all"),
        ("--no-such-option",),
        ("two", "searches"),
    ],
)
def test_mistakes_in_the_command_line(filled: str, arguments: tuple[str, ...]) -> None:
    """A wrong option is exit code 2 and one line that is safe to show."""
    error = assert_one_line_error(run("logs", "--db", filled, *arguments), 2)
    assert error.rstrip("\n").isprintable()


def test_a_wrong_search_is_pointed_at(filled: str) -> None:
    """A search with a syntax error is shown with a caret under the place, and exit code 1."""
    result = run("logs", "--db", filled, 'timeout OR "rate limit')
    assert (result.code, result.out) == (1, "")
    reason, text, caret = result.err.splitlines()
    assert reason.startswith("Error: a quote is opened but not closed")
    assert text[caret.index("^")] == '"'


def test_no_database(tmp_path: Path) -> None:
    """Without a database there is one line that says what to do, and nothing is created."""
    error = assert_one_line_error(run("logs", cwd=tmp_path), 1)
    assert error == "Error: no database at .ax/monitor.db: pass --db or set AX_MONITOR_DB\n"
    missing = tmp_path / "no" / "folder.db"
    assert str(missing) in assert_one_line_error(run("logs", "--db", missing), 1)
    assert_one_line_error(run("logs", "--follow", cwd=tmp_path), 1)
    assert list(tmp_path.iterdir()) == []


def test_the_database_is_found_in_the_environment(filled: str, tmp_path: Path) -> None:
    """AX_MONITOR_DB names the database, and --db goes before it."""
    assert len(run("logs", cwd=tmp_path, AX_MONITOR_DB=filled).lines) == len(MESSAGES)
    assert_one_line_error(run("logs", "--db", tmp_path / "x", AX_MONITOR_DB=filled), 1)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_files_that_are_no_database_of_ours(tmp_path: Path, content: bytes) -> None:
    """Any other file is refused with one line, and stays as it was."""
    path = tmp_path / "other"
    path.write_bytes(content)
    assert_one_line_error(run("logs", "--db", path), 1)
    assert path.read_bytes() == content
    assert_one_line_error(run("logs", "--db", tmp_path), 1)


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """With --debug the traceback comes before the line that says what is wrong."""
    path = tmp_path / "other"
    path.write_bytes(b"x" * 5000)
    result = run("logs", "--db", path, "--debug")
    assert result.code == 1
    assert result.err.startswith("Traceback (most recent call last):")
    assert result.err.splitlines()[-1].startswith("Error: ")


def test_nothing_found_is_no_error(filled: str) -> None:
    """No match prints nothing on a pipe, says so on a terminal, and is exit code 0 on both."""
    assert run("logs", "--db", filled, "nosuchword").out == ""
    assert run_on_terminal("logs", "--db", filled, "nosuchword") == (0, "no log entries match\n")


def test_reading_changes_nothing(filled: str) -> None:
    """The database file is the same, byte for byte, after it was read."""
    path = Path(filled)
    before = hashlib.sha256(path.read_bytes()).digest()
    for arguments in ((), ("--json",), ("timeout",), ("--limit", "all")):
        assert run("logs", "--db", filled, *arguments).code == 0
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_reading_beside_an_engine_that_writes(db: str) -> None:
    """Every look at a database in use succeeds, sees no less than the one before, and costs the
    engine neither an error nor a record."""
    with running_engine(db) as engine:
        newest = []
        for _ in range(5):
            [entry] = run("logs", "--db", db, "--json", "--limit", "1").objects
            newest.append(entry["metadata"]["number"])
        assert newest == sorted(newest)
        assert newest[0] < newest[-1]
        written, errors, dropped = engine.stop()
    assert (errors, dropped) == (0, 0)
    assert len(entries(db)) == written


def test_reading_after_a_kill(db: str) -> None:
    """What a killed engine had written is readable at once, and reading recovers nothing."""
    die_with_records(db, 10)
    rings = sorted(Path(db).parent.glob("*-ring-*"))
    assert len(rings) == 1
    assert shown(db) == ["written"]
    assert sorted(Path(db).parent.glob("*-ring-*")) == rings

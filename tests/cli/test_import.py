"""`ax monitor import`: what becomes of the lines of log files, and that none is lost."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import apsw
import pytest

import ax_monitor
from ax_monitor.storage import logs
from tests.cli.helpers import (
    TIMEOUT_S,
    assert_one_line_error,
    entries,
    run,
    run_on_terminal,
    running_engine,
    started,
    wait_for,
)

pytestmark = pytest.mark.timeout(120)

LOGS = Path(__file__).parent.parent / "data" / "logs"
REAL_FILES = {
    # file: its first and its last time
    "Apache.log": ("2005-12-04 04:47:44.000Z", "2005-12-05 19:15:57.000Z"),
    "HDFS.log": ("2008-11-09 20:36:15.000Z", "2008-11-11 10:20:17.000Z"),
    "Hadoop.log": ("2015-10-18 18:01:47.978Z", "2015-10-18 18:10:55.202Z"),
    "OpenStack.log": ("2017-05-16 00:00:00.008Z", "2017-05-16 00:14:47.687Z"),
    "Zookeeper.log": ("2015-07-29 17:41:44.747Z", "2015-08-25 11:26:28.145Z"),
}


def summaries(*arguments: object, code: int = 0, stdin: Any = None) -> list[dict[str, Any]]:
    result = run("import", "--json", *arguments, stdin=stdin)
    assert result.code == code, result.err
    return result.objects


def messages(db: str) -> list[str]:
    return [entry.message for entry in entries(db)]


def test_real_files(db: str) -> None:
    """Of five real logs every line becomes a record, recognised, with its time, and searchable."""
    files = [LOGS / name for name in REAL_FILES]
    found = summaries("--db", db, *files)
    for summary, path in zip(found, files, strict=True):
        text = path.read_bytes()
        lines = text.count(b"\n") + (not text.endswith(b"\n"))
        assert summary["file"] == str(path)
        assert (summary["lines"], summary["records"], summary["unrecognised"]) == (lines, lines, 0)
        assert (summary["bytes"], summary["complete"], summary["error"]) == (len(text), True, None)
        assert summary["records_per_second"] > 0
    assert len(entries(db)) == sum(summary["records"] for summary in found)
    # By an independent count: how many lines of the files hold the words.
    texts = [line for path in files for line in path.read_text().splitlines()]
    for words in ("mod_jk child", "Receiving block", "Terminating instance"):
        pattern = re.compile(rf"\b{words}\b", re.IGNORECASE)
        expected = sum(pattern.search(line) is not None for line in texts)
        assert expected > 10
        assert len(entries(db, search=f'"{words}"')) == expected


def test_the_summary_in_words(db: str) -> None:
    """Without --json there is a line a file: lines, records, unrecognised, range of time, rate."""
    files = [LOGS / name for name in REAL_FILES]
    result = run("import", "--utc", "--db", db, *files)
    assert (result.code, result.err) == (0, "")
    for line, (name, (first, last)) in zip(result.lines, REAL_FILES.items(), strict=True):
        assert line.startswith(str(LOGS / name))
        assert "2,000 lines  2,000 records  0 unrecognised" in line
        assert f"{first} to {last}" in line
        assert re.search(r"[\d,]+ records/s$", line)


def test_importing_our_own_export_gives_the_same_entries(tmp_path: Path, db: str) -> None:
    """`logs --json` imported again is equal in every field but the ids that the store gives."""
    with ax_monitor.Store(db, redact=None) as store:
        logger = ax_monitor.StructuredLogger(store, min_level="debug")
        texts = [
            "plain",
            "",
            "two\nlines\r",
            "\x1b[31m \u202e \x00",
            "日本語 👩",
            '{"a": 1}',
            " x ",
        ]
        for number, text in enumerate(texts * 5):
            logger.log_at(
                (5, 9, 13, 17, 21)[number % 5],
                text,
                text or "empty",
                timestamp_ns=(1_700_000_000_000 + number // 3) * 1_000_000,
                execution_id=f"run-{number}" if number % 2 else None,
                trace_id=f"{number:032x}" if number % 3 else None,
                span_id=f"{number + 1:016x}" if number % 3 else None,
                tenant_id=text or None,
                user_id=str(number),
                metadata={"n": number, "text": text, "f": 0.1, "deep": {"list": [1, None, True]}},
                stack_trace=f"Traceback\n  at {text}" if number % 4 == 0 else None,
            )
        logger.info("without anything", "test")
        assert store.flush()
    exported = tmp_path / "export.jsonl"
    first = run("logs", "--db", db, "--json", "--limit", "all")
    exported.write_text(first.out)
    copy = tmp_path / "copy.db"
    [summary] = summaries("--db", copy, exported)
    assert (summary["records"], summary["unrecognised"]) == (36, 0)
    second = run("logs", "--db", copy, "--json", "--limit", "all")
    for before, after in zip(first.objects, second.objects, strict=True):
        for own in ("id", "seq"):
            del before[own], after[own]
        assert after == before


def test_compressed_files_pipes_and_redirections(tmp_path: Path, db: str) -> None:
    """gzip files, `-` as a pipe and `-` as a redirected file are read like any other."""
    line = b"2024-01-02 03:04:05 INFO one\n"
    zipped = tmp_path / "app.log.gz"
    zipped.write_bytes(gzip.compress(line.replace(b"one", b"zipped")))
    plain = tmp_path / "plain.log"
    plain.write_bytes(line.replace(b"one", b"redirected"))
    assert summaries("--db", db, zipped)[0]["records"] == 1
    assert summaries("--db", db, "-", stdin=line.replace(b"one", b"piped"))[0]["file"] == "-"
    with plain.open("rb") as file:
        assert summaries("--db", db, "-", stdin=file)[0]["records"] == 1
    assert summaries("--db", db, "-", stdin=gzip.compress(line))[0]["records"] == 1
    assert messages(db) == ["zipped", "piped", "redirected", "one"]
    assert entries(db)[0].source == "app"


def test_lines_that_are_not_recognised(tmp_path: Path, db: str) -> None:
    """They are kept whole, counted, and take the time of the line before, or of the file."""
    path = tmp_path / "odd.log"
    path.write_text(
        "first strange line\n2024-01-02 03:04:05,250 ERROR broken\n\nanother strange line\n"
    )
    os.utime(path, (1_600_000_000, 1_600_000_000))
    [summary] = summaries("--db", db, path)
    assert (summary["lines"], summary["records"], summary["unrecognised"]) == (4, 3, 2)
    assert (summary["first_timestamp"], summary["last_timestamp"]) == (
        1_600_000_000_000,
        1_704_164_645_250,
    )
    assert [(entry.timestamp, entry.level.value, entry.message) for entry in entries(db)] == [
        (1_600_000_000_000, "info", "first strange line"),
        (1_704_164_645_250, "error", "broken"),
        (1_704_164_645_250, "info", "another strange line"),
    ]


def test_times_that_cannot_be_stored(tmp_path: Path, db: str) -> None:
    """A date beyond what the recorder counts falls back like a missing one; old ones are kept."""
    path = tmp_path / "far.log"
    path.write_text(
        "1901-01-01 00:00:00 INFO old\n9999-01-01 00:00:00 INFO far\n2024-01-01 00:00:00 INFO new\n"
    )
    [summary] = summaries("--db", db, path)
    assert summary["records"] == 3
    assert [(entry.timestamp, entry.message) for entry in entries(db)] == [
        (-2_177_452_800_000, "old"),
        (-2_177_452_800_000, "far"),
        (1_704_067_200_000, "new"),
    ]
    assert run("logs", "--db", db, "--utc").lines[0].startswith("1901-01-01 00:00:00.000Z INFO ")


def test_source_and_format_can_be_given(tmp_path: Path, db: str) -> None:
    """--source names the source of every record; --format decides what a line is."""
    path = tmp_path / "app.log"
    path.write_text('{"level": "error", "msg": "down", "logger": "net"}\n')
    summaries("--db", db, "--source", "billing", path)
    [summary] = summaries("--db", db, "--format", "text", path)
    assert summary["unrecognised"] == 1
    first, second = sorted(entries(db), key=lambda entry: entry.seq)
    assert (first.source, first.level.value, first.message) == ("billing", "error", "down")
    assert (second.source, second.message) == ("app", path.read_text().strip())


def test_a_dry_run_stores_nothing(tmp_path: Path, db: str) -> None:
    """--dry-run gives the same summary and makes no file."""
    [summary] = summaries("--dry-run", "--db", db, LOGS / "Apache.log")
    assert (summary["records"], summary["dry_run"], summary["complete"]) == (2000, True, True)
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_redacted(tmp_path: Path, db: str) -> None:
    """What looks like a secret in a file is taken out, as in any record."""
    path = tmp_path / "app.log"
    path.write_text(
        'login with password=hunter2\n{"msg": "x", "level": "info", "api_key": "sk-very-secret"}\n'
    )
    summaries("--db", db, path)
    text = run("logs", "--db", db, "--json").out
    assert text.count("[redacted]") == 2
    assert "hunter2" not in text
    assert "sk-very-secret" not in text


def test_a_damaged_file_is_read_as_far_as_it_goes(tmp_path: Path, db: str) -> None:
    """A cut gzip file is an error, but what could be read is there, and so are the other files."""
    lines = b"".join(
        b"2024-01-02 03:04:05 INFO line %d %s\n" % (n, os.urandom(9).hex().encode())
        for n in range(5000)
    )
    cut = tmp_path / "cut.log.gz"
    cut.write_bytes(gzip.compress(lines)[:-9000])
    good = tmp_path / "good.log"
    good.write_text("2024-01-02 03:04:06 INFO good\n")
    result = run("import", "--db", db, "--json", cut, good)
    assert result.code == 1
    assert result.err.startswith(f"Error: {cut}: ")
    damaged, fine = result.objects
    assert (damaged["complete"], fine["complete"], fine["error"]) == (False, True, None)
    stored = messages(db)
    assert 100 < damaged["records"] < 5000
    assert len(stored) == damaged["records"] + 1
    assert stored[-1] == "good"


@pytest.mark.parametrize(
    "arguments", [(), ("no-such-file",), (".",), ("--format", "xml", "-"), ("--source", "-")]
)
def test_mistakes_create_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A wrong command line is exit code 2 and leaves no database behind."""
    assert_one_line_error(run("import", *arguments, cwd=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_created_but_no_folder(tmp_path: Path) -> None:
    """Importing makes `.ax/monitor.db`; a folder that was named must exist."""
    assert run("import", LOGS / "Apache.log", cwd=tmp_path).code == 0
    assert len(entries(str(tmp_path / ".ax" / "monitor.db"))) == 2000
    missing = tmp_path / "no" / "x.db"
    error = assert_one_line_error(run("import", "--db", missing, LOGS / "Apache.log"), 1)
    assert "there is no folder" in error
    assert not missing.parent.exists()


@contextlib.contextmanager
def piped_import(db: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A running import of what is written to a pipe."""
    reading, writing = os.pipe()
    with (
        os.fdopen(writing, "w") as pipe,
        started("import", "--db", db, "--json", "-", stdin=reading) as process,
    ):
        os.close(reading)
        yield process, pipe


def feed(pipe: IO[str], numbers: range, padding: str = "") -> None:
    for number in numbers:
        pipe.write(f"2024-01-02 03:04:05 INFO line {number} {padding}\n")
    pipe.flush()


def count(db: str) -> int:
    try:
        with ax_monitor.Store(db, read_only=True) as store:
            return store.read(logs.count_logs)
    except ax_monitor.StorageError:
        return 0  # it is just being created


def write_lines(path: Path, count: int, padding: str = "") -> None:
    with path.open("w") as file:
        feed(file, range(count), padding)


def test_more_than_the_ring_holds_while_the_database_is_locked(db: str) -> None:
    """Importing waits for a database that is locked, says so, and then loses not one line."""
    other = apsw.Connection(db)
    with piped_import(db) as (process, pipe):
        feed(pipe, range(2000), "x" * 250)
        wait_for(lambda: count(db) > 0, "the first records")
        other.set_busy_timeout(5000)
        other.execute("BEGIN IMMEDIATE")
        rest = threading.Thread(
            target=lambda: (feed(pipe, range(2000, 60_000), "x" * 250), pipe.close())
        )
        rest.start()
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("waiting until the database"):
            assert line.startswith("ax-monitor: writing to the database failed")
        other.execute("COMMIT")
        other.close()
        rest.join(TIMEOUT_S)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["records"] == 60_000
    stored = [entry.message.split()[1] for entry in entries(db)]
    assert stored == [str(number) for number in range(60_000)]


def test_huge_lines_wait_for_the_writer(tmp_path: Path, db: str) -> None:
    """Lines of 200 kB, many times the ring in all, are each stored."""
    path = tmp_path / "huge.log"
    write_lines(path, 300, "y" * 200_000)
    [summary] = summaries("--db", db, path)
    assert summary["records"] == 300
    assert [len(entry.message) for entry in entries(db)] == [
        len(f"line {n} ") + 200_000 for n in range(300)
    ]


def test_beside_an_engine_that_writes(tmp_path: Path, db: str) -> None:
    """An import into the database of a running engine costs neither of them a record."""
    with running_engine(db) as engine:
        [summary] = summaries("--db", db, LOGS / "HDFS.log")
        written, _, dropped = engine.stop()
    assert dropped == 0
    assert len(entries(db, source="engine")) == written
    assert len(entries(db)) == written + summary["records"]


def test_interrupted(db: str) -> None:
    """Ctrl-C keeps what was imported so far, says how much that is, and ends with 130."""
    with piped_import(db) as (process, pipe):
        feed(pipe, range(5000))
        wait_for(lambda: count(db) > 1000, "imported records")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "-: stopped before its end" in err
    summary = json.loads(out)
    assert summary["complete"] is False
    assert len(entries(db)) == summary["records"] > 1000


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path, db: str) -> None:
    """The bar counts bytes on a terminal; pipes get nothing but the summary."""
    path = tmp_path / "a[red]b\x1b.log"
    write_lines(path, 20_000)
    code, shown = run_on_terminal("import", "--db", db, path)
    assert code == 0
    assert re.search(r"/[\d.]+ kB", shown)
    assert r"a[red]b\x1b.log" in shown
    assert "20,000 records" in shown
    plain = run_on_terminal("import", "--db", db, path, NO_COLOR="1")[1]
    assert "\x1b" not in plain
    assert run("import", "--db", db, path).err == ""

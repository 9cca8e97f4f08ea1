"""Log files brought in: formats, continuation lines, encodings, limits, and no text lost."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ax_monitor.interop.log_files import (
    Format,
    ParsedLine,
    detect_format,
    parse_lines,
    read_log_file,
)
from ax_monitor.interop.log_files.record import MAX_LINE_CHARS, MAX_TEXT_BYTES
from ax_monitor.interop.log_files.text import TextParser
from ax_monitor.interop.log_files.text_format import Surroundings
from ax_monitor.interop.log_files.text_formats import TEXT_FORMATS
from ax_monitor.interop.log_files.times import end_of_year_ms, time_ms

LOGS = Path(__file__).parents[1] / "data" / "logs"
FORMATS = ("auto", *get_args(Format))


def ms(*parts: int, millis: int = 0) -> int:
    """Milliseconds since the epoch of a UTC date and time."""
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1000 + millis  # type: ignore[misc, arg-type]


def parse(*lines: str, **options: Any) -> list[ParsedLine]:
    """The records of `lines` from a file called `file`, of the year 2024."""
    return list(parse_lines(lines, **{"source": "file", "year": 2024, **options}))


def parse_one(line: str, **options: Any) -> ParsedLine:
    """The single record of `line`."""
    [record] = parse(line, **options)
    return record


# --- the five real files -----------------------------------------------------------------------

REAL_FILES = {
    "Apache.log": (
        "apache-error",
        {"info": 1405, "error": 595},
        ParsedLine(
            ms(2005, 12, 4, 4, 47, 44),
            "info",
            "workerEnv.init() ok /etc/httpd/conf/workers2.properties",
            "Apache",
        ),
        ParsedLine(
            ms(2005, 12, 5, 19, 15, 57),
            "error",
            "mod_jk child workerEnv in error state 6",
            "Apache",
        ),
    ),
    "HDFS.log": (
        "hdfs",
        {"info": 1920, "warn": 80},
        ParsedLine(
            ms(2008, 11, 9, 20, 36, 15),
            "info",
            "PacketResponder 1 for block blk_38865049064139660 terminating",
            "dfs.DataNode$PacketResponder",
            metadata={"pid": 148},
        ),
        ParsedLine(
            ms(2008, 11, 11, 10, 20, 17),
            "info",
            "Receiving block blk_4343207286455274569 src: /10.250.9.207:59759 "
            "dest: /10.250.9.207:50010",
            "dfs.DataNode$DataXceiver",
            metadata={"pid": 26347},
        ),
    ),
    "Hadoop.log": (
        "log4j",
        {"info": 1040, "warn": 808, "error": 150, "fatal": 2},
        ParsedLine(
            ms(2015, 10, 18, 18, 1, 47, millis=978),
            "info",
            "Created MRAppMaster for application appattempt_1445144423722_0020_000001",
            "org.apache.hadoop.mapreduce.v2.app.MRAppMaster",
            metadata={"thread": "main"},
        ),
        ParsedLine(
            ms(2015, 10, 18, 18, 10, 55, millis=202),
            "warn",
            "Address change detected. Old: msra-sa-41/10.190.173.170:9000 New: msra-sa-41:9000",
            "org.apache.hadoop.ipc.Client",
            metadata={"thread": "LeaseRenewer:msrabi@msra-sa-41:9000"},
        ),
    ),
    "OpenStack.log": (
        "openstack",
        {"info": 1969, "warn": 31},
        ParsedLine(
            ms(2017, 5, 16, 0, 0, 0, millis=8),
            "info",
            '10.11.10.1 "GET /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail HTTP/1.1" '
            "status: 200 len: 1893 time: 0.2477829",
            "nova.osapi_compute.wsgi.server",
            tenant_id="54fadb412c4e40cdbaed9335e4c35a9e",
            user_id="113d3a99c3da401fbd62cc2caa5b96d2",
            metadata={
                "file": "nova-api.log.1.2017-05-16_13:53:08",
                "pid": 25746,
                "request_id": "req-38101a0b-2096-447d-96ea-a692162415ae",
            },
        ),
        ParsedLine(
            ms(2017, 5, 16, 0, 14, 47, millis=687),
            "info",
            '10.11.10.1 "GET /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail HTTP/1.1" '
            "status: 200 len: 1916 time: 0.2717581",
            "nova.osapi_compute.wsgi.server",
            tenant_id="54fadb412c4e40cdbaed9335e4c35a9e",
            user_id="113d3a99c3da401fbd62cc2caa5b96d2",
            metadata={
                "file": "nova-api.log.1.2017-05-16_13:53:08",
                "pid": 25746,
                "request_id": "req-dd237280-5bc8-41cb-a035-26c8e64d49fc",
            },
        ),
    ),
    "Zookeeper.log": (
        "zookeeper",
        {"info": 669, "warn": 1318, "error": 13},
        ParsedLine(
            ms(2015, 7, 29, 17, 41, 44, millis=747),
            "info",
            "Notification time out: 3200",
            "FastLeaderElection",
            metadata={"thread": "QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181", "line": 774},
        ),
        ParsedLine(
            ms(2015, 8, 10, 18, 12, 34, millis=4),
            "info",
            "Processed session termination for sessionid: 0x24f0557806a0010",
            "PrepRequestProcessor",
            metadata={"thread": "ProcessThread(sid:3 cport:-1):", "line": 476},
        ),
    ),
}


@pytest.mark.parametrize("format", ["auto", "text"])
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_file(name: str, format: Any) -> None:
    """Each of the 2000 lines of a real file is one recognised record with the right fields."""
    row, levels, first, last = REAL_FILES[name]
    with read_log_file(LOGS / name, format=format) as log_file:
        records = list(log_file)
    lines = [line for line in (LOGS / name).read_text().splitlines() if line.strip()]
    assert len(lines) == len(records) == 2000
    assert sum(record.recognised for record in records) == 2000
    assert all(record.stack_trace is None for record in records)
    assert Counter(record.level for record in records) == levels
    assert (records[0], records[-1]) == (first, last)
    assert all(line.endswith(r.message) for line, r in zip(lines, records, strict=True))
    [specific] = [r for r in TEXT_FORMATS if not r.general and fits(r.name, lines[0])]
    assert specific.name == row


def test_real_file_timestamps_agree_with_datetime() -> None:
    """Every timestamp of the Hadoop file is the one that `datetime.strptime` finds."""
    lines = (LOGS / "Hadoop.log").read_text().splitlines()
    for line, record in zip(lines, read_log_file(LOGS / "Hadoop.log"), strict=True):
        moment = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC)
        assert record.timestamp == round(moment.timestamp() * 1000)


# --- the other text formats --------------------------------------------------------------------

T0 = ms(2024, 1, 2, 10, 11, 12)

EXAMPLES: list[tuple[str, str, ParsedLine]] = [
    (
        "log4j",
        "[2024-01-02 10:11:12,345] [INFO] my.app: ready",
        ParsedLine(T0 + 345, "info", "ready", "my.app"),
    ),
    (
        "log4j",
        "2024-01-02T10:11:12.345678Z  WARN app::pool: almost full",
        ParsedLine(T0 + 345, "warn", "almost full", "app::pool"),
    ),
    (
        "log4j-dash",
        "2024-01-02 10:11:12,345 DEBUG [pool-1] com.acme.Main - ready",
        ParsedLine(T0 + 345, "debug", "ready", "com.acme.Main", metadata={"thread": "pool-1"}),
    ),
    (
        "logback",
        "2024-01-02 10:11:12.345 [main] ERROR com.acme.Main - no route",
        ParsedLine(T0 + 345, "error", "no route", "com.acme.Main", metadata={"thread": "main"}),
    ),
    (
        "spring",
        "2024-01-02T11:11:12.345+01:00  INFO 4711 --- [           main] c.acme.Main   : Started",
        ParsedLine(
            T0 + 345, "info", "Started", "c.acme.Main", metadata={"pid": 4711, "thread": "main"}
        ),
    ),
    (
        "zookeeper",
        "2024-01-02 10:11:12,345 [myid:3] - WARN  [main:QuorumPeer@7] - late",
        ParsedLine(
            T0 + 345,
            "warn",
            "late",
            "QuorumPeer",
            metadata={"myid": "3", "thread": "main", "line": 7},
        ),
    ),
    (
        "python",
        "2024-01-02 10:11:12,345 - my.app - INFO - ready - go",
        ParsedLine(T0 + 345, "info", "ready - go", "my.app"),
    ),
    (
        "python-spaced",
        "2024-01-02 10:11:12,345 my.app CRITICAL out of disk",
        ParsedLine(T0 + 345, "fatal", "out of disk", "my.app"),
    ),
    (
        "python-basic",
        "WARNING:my.app:slow: 3 s",
        ParsedLine(None, "warn", "slow: 3 s", "my.app"),
    ),
    (
        "loguru",
        "2024-01-02 10:11:12.345 | SUCCESS  | app.main:<module>:42 - done",
        ParsedLine(
            T0 + 345, "info", "done", "app.main", metadata={"function": "<module>", "line": 42}
        ),
    ),
    (
        "flask",
        "[2024-01-02 10:11:12,345] ERROR in app: Exception on / [GET]",
        ParsedLine(T0 + 345, "error", "Exception on / [GET]", "app"),
    ),
    (
        "celery",
        "[2024-01-02 10:11:12,345: INFO/MainProcess] celery@host ready.",
        ParsedLine(
            T0 + 345, "info", "celery@host ready.", "file", metadata={"process": "MainProcess"}
        ),
    ),
    (
        "openstack",
        "2024-01-02 10:11:12.345 99 ERROR nova.x [None req-1 u - d - -] failed",
        ParsedLine(
            T0 + 345,
            "error",
            "failed",
            "nova.x",
            user_id="u",
            metadata={"pid": 99, "request_id": "req-1", "domain": "d"},
        ),
    ),
    (
        "spark",
        "24/01/02 10:11:12 INFO executor.Executor: Running task 0",
        ParsedLine(T0, "info", "Running task 0", "executor.Executor"),
    ),
    (
        "apache-error",
        "[Tue Jan 02 10:11:12.345678 2024] [core:error] [pid 35:tid 43] [client ::1] no file",
        ParsedLine(
            T0 + 345, "error", "no file", "core", metadata={"pid": 35, "tid": 43, "client": "::1"}
        ),
    ),
    (
        "access",
        (
            '1.2.3.4 - ann [02/Jan/2024:11:11:12 +0100] "GET /a?b=1 HTTP/1.1" 503 612 '
            '"https://x.org/" "curl/8 \\"x\\"" 0.004'
        ),
        ParsedLine(
            T0,
            "error",
            '"GET /a?b=1 HTTP/1.1" 503 612',
            "access",
            user_id="ann",
            metadata={
                "client": "1.2.3.4",
                "status": 503,
                "size": 612,
                "referer": "https://x.org/",
                "user_agent": 'curl/8 \\"x\\"',
                "extra": "0.004",
                "method": "GET",
                "path": "/a?b=1",
                "protocol": "HTTP/1.1",
            },
        ),
    ),
    (
        "access",
        'shop.org:443 ::1 - - [02/Jan/2024:10:11:12 +0000] "-" 408 -',
        ParsedLine(
            T0,
            "warn",
            '"-" 408 -',
            "access",
            metadata={"host": "shop.org:443", "client": "::1", "status": 408, "method": "-"},
        ),
    ),
    (
        "rfc5424",
        (
            "<165>1 2024-01-02T10:11:12.003Z box app 123 ID47 "
            '[ex@1 iut="3" say="a \\"b\\" \\] c"][meta n="1"] \ufeffstarted'
        ),
        ParsedLine(
            T0 + 3,
            "info",
            "started",
            "app",
            metadata={
                "host": "box",
                "pid": 123,
                "message_id": "ID47",
                "structured_data": {"ex@1": {"iut": "3", "say": 'a "b" ] c'}, "meta": {"n": "1"}},
                "facility": "local4",
            },
        ),
    ),
    (
        "rfc5424",
        "<34>1 - - - - - - down",
        ParsedLine(None, "fatal", "down", "file", metadata={"facility": "auth"}),
    ),
    (
        "syslog",
        "Jan  2 10:11:12 box sshd[123]: error: PAM: failed",
        ParsedLine(T0, "error", "error: PAM: failed", "sshd", metadata={"host": "box", "pid": 123}),
    ),
    (
        "syslog",
        "<11>Jan  2 10:11:12 box kernel: oops",
        ParsedLine(T0, "error", "oops", "kernel", metadata={"host": "box", "facility": "user"}),
    ),
    (
        "syslog",
        "Jan  2 10:11:12 box last message repeated 2 times",
        ParsedLine(T0, "info", "last message repeated 2 times", "file", metadata={"host": "box"}),
    ),
    (
        "syslog-iso",
        "2024-01-02T10:11:12.345678+00:00 box cron[9]: (root) CMD (true)",
        ParsedLine(
            T0 + 345, "info", "(root) CMD (true)", "cron", metadata={"host": "box", "pid": 9}
        ),
    ),
    (
        "klog",
        "I0102 10:11:12.345678       1 main.go:12] Starting",
        ParsedLine(T0 + 345, "info", "Starting", "main.go", metadata={"tid": 1, "line": 12}),
    ),
    (
        "klog",
        "F20240102 10:11:12.345678 77 main.cc:12] Check failed",
        ParsedLine(T0 + 345, "fatal", "Check failed", "main.cc", metadata={"tid": 77, "line": 12}),
    ),
    ("dated", "2024-01-02 10:11:12 started", ParsedLine(T0, "info", "started", "file")),
    ("dated", "2024-01-02 10:11:12", ParsedLine(T0, "info", "", "file")),
    (
        "dated",
        "2024-01-02 10:11:12 error-free run",
        ParsedLine(T0, "info", "error-free run", "file"),
    ),
    ("dated", "2024-01-02 10:11:12 Zones: 3", ParsedLine(T0, "info", "Zones: 3", "file")),
    ("dated", "2024-01-02 10:11:12.5 - INFO - ok", ParsedLine(T0 + 500, "info", "ok", "file")),
    ("dated", "2024-01-02 10:11:12|ERROR|bad", ParsedLine(T0, "info", "ERROR|bad", "file")),
    ("dated", "2024-01-02 10:11:12 INFO Total: 5", ParsedLine(T0, "info", "Total: 5", "file")),
    ("dated", "2024-01-02 10:11:12 [warning  ] low", ParsedLine(T0, "warn", "low", "file")),
    (
        "dated",  # nginx
        "2024/01/02 10:11:12 [crit] 7#0: *1 open() failed",
        ParsedLine(T0, "fatal", "7#0: *1 open() failed", "file"),
    ),
    (
        "dated",  # gunicorn
        "[2024-01-02 11:11:12 +0100] [1234] [INFO] Booting worker",
        ParsedLine(T0, "info", "Booting worker", "file", metadata={"pid": 1234}),
    ),
    (
        "dated",  # PostgreSQL
        "2024-01-02 10:11:12.345 UTC [77] LOG:  checkpoint starting",
        ParsedLine(T0 + 345, "info", "checkpoint starting", "file", metadata={"pid": 77}),
    ),
    (
        "dated",
        "2024-01-02 10:11:12 [worker 3] ERROR stuck",
        ParsedLine(T0, "error", "stuck", "file", metadata={"context": "worker 3"}),
    ),
    (
        "dated",
        "2024-02-30 10:11:12 no such day",
        ParsedLine(None, "info", "no such day", "file", metadata={"time": "2024-02-30 10:11:12"}),
    ),
    ("epoch", "1704190272 up", ParsedLine(T0, "info", "up", "file")),
    ("epoch", "1704190272.345 ERROR down", ParsedLine(T0 + 345, "error", "down", "file")),
    ("epoch", "[1704190272345] warn: down", ParsedLine(T0 + 345, "warn", "down", "file")),
    ("levelled", "ERROR: disk full", ParsedLine(None, "error", "disk full", "file")),
    ("levelled", "[WARNING] deprecated", ParsedLine(None, "warn", "deprecated", "file")),
    ("levelled", "panic: nil map", ParsedLine(None, "fatal", "nil map", "file")),
    ("levelled", "INFO:     Started", ParsedLine(None, "info", "Started", "file")),
]

NOT_RECOGNISED = [
    "Hello, world",
    "Information is free",
    "error opening file",
    "12345 things",
    "1234567890123456789012345 is large",
    "HTTP:80:open",
    "<999>1 2024-01-02T10:11:12Z a b c d - x",
    "key=value and more prose follows here",
    '{"message": "broken',
    "[1, 2]",
]


def fits(name: str, line: str) -> bool:
    """Whether the row of that name takes `line` for its own."""
    [row] = [row for row in TEXT_FORMATS if row.name == name]
    return row.parse(line, Surroundings("file", end_of_year_ms(2024))) is not None


@pytest.mark.parametrize(("name", "line", "expected"), EXAMPLES)
def test_text_format(name: str, line: str, expected: ParsedLine) -> None:
    """A line of each format gives exactly the expected record."""
    assert parse_one(line, format="text") == expected
    assert fits(name, line)


def test_every_format_has_an_example() -> None:
    """No row of the table of formats is untested."""
    tested = {name for name, _, _ in EXAMPLES} | {row for row, *_ in REAL_FILES.values()}
    assert tested == {row.name for row in TEXT_FORMATS}


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, line, _ in EXAMPLES])
def test_specific_formats_exclude_each_other(name: str, line: str) -> None:
    """A line is taken by its own specific row alone, so that remembering a row changes nothing."""
    general = {row.name for row in TEXT_FORMATS if row.general}
    takers = {row.name for row in TEXT_FORMATS if fits(row.name, line)} - general
    assert takers == {name} - general


@given(st.lists(st.sampled_from(EXAMPLES), max_size=12))
def test_a_line_does_not_depend_on_the_lines_before_it(
    examples: list[tuple[str, str, ParsedLine]],
) -> None:
    """In any mix of formats each line gives what it gives alone; only a missing time is filled."""
    records = parse(*(line for _, line, _ in examples), format="text")
    time_before = None
    for record, (_, _, expected) in zip(records, examples, strict=True):
        assert record.timestamp == (
            time_before if expected.timestamp is None else expected.timestamp
        )
        assert (record.level, record.message) == (expected.level, expected.message)
        assert (record.source, record.metadata) == (expected.source, expected.metadata)
        time_before = record.timestamp


HEADS = st.sampled_from([line[:cut] for _, line, _ in EXAMPLES for cut in (24, 34, 50, 999)])


@given(st.lists(st.tuples(HEADS, st.text(max_size=3), HEADS).map("".join), min_size=1))
def test_the_parser_agrees_with_the_table(lines: list[str]) -> None:
    """What the parser skips to be fast changes nothing: the first row that fits is taken."""
    around = Surroundings("file", end_of_year_ms(2024))
    parser = TextParser(around)
    for line in lines:
        records = (row.parse(line, around) for row in TEXT_FORMATS)
        assert parser.parse(line) == next((record for record in records if record), None)


@pytest.mark.parametrize("line", NOT_RECOGNISED)
def test_other_lines_are_kept_as_plain_messages(line: str) -> None:
    """A line of no format is kept whole, as info, marked as not recognised."""
    assert parse_one(line) == ParsedLine(None, "info", line, "file", recognised=False)


def test_plain_lines_inherit_the_time() -> None:
    """A line without a time takes the time of the record before it."""
    records = parse("first", "2024-01-02 10:11:12 x", "plain words", "INFO:a:b", format="text")
    assert [record.timestamp for record in records] == [None, T0, T0, T0]
    assert [record.recognised for record in records] == [False, True, False, True]


def test_colours_do_not_hinder() -> None:
    """Escape codes for colours are dropped where the line is recognised without them."""
    record = parse_one(
        "\x1b[2m2024-01-02 10:11:12\x1b[0m [\x1b[32minfo     \x1b[0m] \x1b[1mup\x1b[0m"
    )
    assert record == ParsedLine(T0, "info", "up", "file")
    assert parse_one("\x1b[31mred prose\x1b[0m").message == "\x1b[31mred prose\x1b[0m"


# --- times -------------------------------------------------------------------------------------


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from("T "),
    st.sampled_from(".,"),
    st.integers(0, 9),
)
def test_iso_times_agree_with_datetime(
    moment: datetime, offset_min: int, separator: str, point: str, digits: int
) -> None:
    """ISO 8601 with any separator, offset and number of fraction digits is the right instant."""
    offset = timezone(timedelta(minutes=offset_min))
    fraction = f"{moment.microsecond:06}000"[:digits]
    zone = moment.replace(tzinfo=offset).isoformat()[-6:]
    line = f"{moment:%Y-%m-%d}".rjust(10, "0") + f"{separator}{moment:%H:%M:%S}"
    line += (point + fraction if digits else "") + zone
    whole = moment.replace(microsecond=0, tzinfo=offset) - datetime(1970, 1, 1, tzinfo=UTC)
    expected = whole // timedelta(milliseconds=1) + int(fraction[:3].ljust(3, "0") or 0)
    assert parse_one(f"{line} x", format="text").timestamp == expected
    assert time_ms(line) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1704190272, T0),
        (1704190272.345, T0 + 345),
        ("1704190272.345", T0 + 345),
        (1704190272345, T0 + 345),
        (1704190272345678, T0 + 345),
        (1704190272345678901, T0 + 345),
        ("1704190272345678901", T0 + 345),
        ("2024-01-02T10:11:12.345678901Z", T0 + 345),
        ("2024-01-02 11:11:12+01", T0),
        ("2024-01-02 10:11:12 UTC", T0),
        ("20240102T101112Z", T0),
        ("02/Jan/2024:10:11:12 +0000", T0),
        ("2016-12-31T23:59:60Z", ms(2017, 1, 1)),
        (-1704190272, -T0),
        (12.5, None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        ("9" * 5000, None),
        ("yesterday", None),
        ("2024-13-01T00:00:00Z", None),
        ("", None),
        (None, None),
        ([], None),
    ],
)
def test_b10_time_in_a_field(value: object, expected: int | None) -> None:
    """A time in a field is read by its form or its size; what is no time is `None`."""
    assert time_ms(value) == expected


def test_date_without_a_year() -> None:
    """Without a year, such a date is unknown and kept; with one, it is in that year."""
    line = "Feb 29 10:11:12 box app: x"
    unknown = parse_one(line, year=None)
    assert unknown.timestamp is None
    assert unknown.metadata == {"time": "Feb 29 10:11:12", "host": "box"}
    assert parse_one(line, year=2024).timestamp == ms(2024, 2, 29, 10, 11, 12)
    assert parse_one(line, year=2023).timestamp is None


def test_year_of_a_file(tmp_path: Path) -> None:
    """Dates of a file without years are the last ones before its modification, over New Year."""
    path = tmp_path / "syslog.1"
    path.write_text("Dec 31 23:59:59 box app: old\nJan  1 00:00:01 box app: new\n")
    os.utime(path, (ms(2024, 1, 1, 6) / 1000,) * 2)
    old, new = read_log_file(path)
    assert old.timestamp == ms(2023, 12, 31, 23, 59, 59)
    assert new.timestamp == ms(2024, 1, 1, 0, 0, 1)


# --- continuation lines ------------------------------------------------------------------------

PYTHON_TRACE = """\
Traceback (most recent call last):
  File "app.py", line 3, in run
    step()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "app.py", line 5, in <module>
    run()
app.Failed: no step"""

JAVA_TRACE = """\
java.lang.IllegalStateException: no route
\tat org.x.Y.run(Y.java:12)
\tat java.base/java.lang.Thread.run(Thread.java:829)
Caused by: java.io.IOException: closed
\t... 12 more"""

DOTNET_TRACE = """\
System.InvalidOperationException: no route
 ---> System.IO.IOException: closed
   at Acme.Run() in /src/Run.cs:line 3
   --- End of inner exception stack trace ---"""


@pytest.mark.parametrize("trace", [PYTHON_TRACE, JAVA_TRACE, DOTNET_TRACE])
@pytest.mark.parametrize(
    "head",
    ["2024-01-02 10:11:12,345 - my.app - ERROR - failed", '{"level": "error", "msg": "failed"}'],
)
def test_a_stack_trace_belongs_to_the_record_before_it(head: str, trace: str) -> None:
    """A traceback of many lines, whatever the format of the file, is part of one record."""
    failed, after = parse(head, *trace.split("\n"), "done with it")
    assert (failed.level, failed.message) == ("error", "failed")
    assert failed.stack_trace == "\n".join(line for line in trace.split("\n") if line)
    assert (after.message, after.recognised) == ("done with it", False)


def test_a_stack_trace_alone_is_one_record() -> None:
    """A traceback at the start of a file is one record, although nothing is recognised."""
    [record] = parse(*JAVA_TRACE.split("\n"))
    assert (record.message, record.recognised) == (
        "java.lang.IllegalStateException: no route",
        False,
    )
    assert record.stack_trace == JAVA_TRACE.partition("\n")[2]


def test_only_a_stack_trace_ends_with_an_open_line() -> None:
    """The `Name: text` line that ends a traceback is not looked for after other indented lines."""
    records = parse("2024-01-02 10:11:12 SELECT", "  *", "Result: none")
    assert [record.message for record in records] == ["SELECT", "Result: none"]


def test_indented_lines_continue_a_recognised_record_only() -> None:
    """Indented lines belong to a recognised record; in prose they stay lines of their own."""
    [record] = parse("2024-01-02 10:11:12 SELECT", "    *", "\tFROM t")
    assert (record.message, record.stack_trace) == ("SELECT", "    *\n\tFROM t")
    assert [record.message for record in parse("Dear all,", "  1. hello")] == [
        "Dear all,",
        "  1. hello",
    ]


def test_the_stack_of_a_json_record_is_continued() -> None:
    """Continuation lines come after the stack that a JSON record has itself."""
    [record] = parse('{"msg": "m", "stack": "Error: x"}', "    at f (a.js:1:2)")
    assert record.stack_trace == "Error: x\n    at f (a.js:1:2)"


# --- JSON lines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (  # Python, structlog
            {"event": "up", "level": "warning", "timestamp": "2024-01-02T10:11:12Z", "n": 1},
            ParsedLine(T0, "warn", "up", "file", metadata={"n": 1}),
        ),
        (  # pino
            {"level": 50, "time": T0, "pid": 3, "name": "api", "msg": "no", "err": {"stack": "E"}},
            ParsedLine(T0, "error", "no", "api", metadata={"pid": 3, "err": {}}, stack_trace="E"),
        ),
        (  # zap
            {"level": "dpanic", "ts": 1704190272.345, "logger": "db", "msg": "", "stacktrace": "s"},
            ParsedLine(T0 + 345, "fatal", "", "db", stack_trace="s"),
        ),
        (  # OpenTelemetry
            {
                "timeUnixNano": "1704190272345000000",
                "severityNumber": 17,
                "body": "x",
                "traceId": "a" * 32,
                "spanId": "b" * 16,
                "attributes": {"k": 1},
            },
            ParsedLine(
                T0 + 345, "error", "x", "file", None, "a" * 32, "b" * 16,
                metadata={"attributes": {"k": 1}},
            ),
        ),
        (  # Elastic
            {
                "@timestamp": "2024-01-02T10:11:12.345Z",
                "log.level": "ERROR",
                "message": "x",
                "log.logger": "a.B",
                "trace.id": "t",
                "error.stack_trace": "s",
            },
            ParsedLine(
                T0 + 345, "error", "x", "a.B", trace_id="t", stack_trace="s",
            ),
        ),
        (  # systemd
            {"__REALTIME_TIMESTAMP": "1704190272345678", "PRIORITY": "3", "MESSAGE": "x",
             "SYSLOG_IDENTIFIER": "sshd"},
            ParsedLine(T0 + 345, "error", "x", "sshd"),
        ),
        (  # Docker
            {"log": "hello\n", "stream": "stderr", "time": "2024-01-02T10:11:12.345678901Z"},
            ParsedLine(T0 + 345, "info", "hello", "file", metadata={"stream": "stderr"}),
        ),
        (
            {"msg": "a", "run_id": "r", "tenantId": 7, "user-id": "u", "levelno": 50,
             "trace_id": "00"},
            ParsedLine(
                None, "fatal", "a", "file", "r", tenant_id="7", user_id="u",
                metadata={"trace_id": "00"},
            ),
        ),
        (  # the better key wins, the other is kept; what does not fit is kept
            {"event": "e", "message": "m", "level": "odd", "time": "noon", "source": {"file": "f"}},
            ParsedLine(
                None, "info", "m", "file",
                metadata={"event": "e", "level": "odd", "time": "noon", "source": {"file": "f"}},
            ),
        ),
        (
            {"message": {"a": None}, "metadata": {"k": 1}, "b": None, "span_id": None},
            ParsedLine(None, "info", '{"a": null}', "file", metadata={"b": None, "k": 1}),
        ),
        (
            {"msg": "", "metadata": {"k": 1}, "k": 2},
            ParsedLine(None, "info", "", "file", metadata={"metadata": {"k": 1}, "k": 2}),
        ),
    ],
)  # fmt: skip
def test_json_keys(fields: dict[str, object], expected: ParsedLine) -> None:
    """The keys that common loggers write land in the right fields, all others in metadata."""
    assert parse_one(json.dumps(fields)) == expected


def test_json_without_a_message_keeps_the_line() -> None:
    """An object that has no message shows as itself, so that it can be read and searched."""
    record = parse_one('{"a": 1}', format="jsonl")
    assert record == ParsedLine(None, "info", '{"a": 1}', "file", metadata={"a": 1})


@pytest.mark.parametrize(
    "line",
    ['{"msg": "cut', "[1]", '"text"', "17", "null", "{" * 3000, '{"n":' + "[" * 100_000, "prose",
     '{"n": ' + "9" * 5000 + "}"],
)  # fmt: skip
def test_broken_json_is_kept(line: str) -> None:
    """A line that is no whole JSON object is kept as it is and marked."""
    before, broken = parse('{"time": 1704190272, "msg": "x"}', line, format="jsonl")
    assert before.timestamp == T0
    assert broken == ParsedLine(T0, "info", line, "file", recognised=False)


def test_b3_escaped_surrogates_in_json() -> None:
    """Lone surrogates that JSON spells as escapes become text that can be stored."""
    record = parse_one(r'{"msg": "a\ud800", "k\udc80": ["\ude00", {"x": "\ud83d\ude00"}]}')
    assert record.message == r"a\ud800"
    assert record.metadata == {r"k\udc80": [r"\ude00", {"x": "😀"}]}


def json_values() -> st.SearchStrategy[Any]:
    """Any JSON value of moderate size."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )


OPTIONAL_TEXT = st.none() | st.text()


@given(
    st.fixed_dictionaries(
        {
            "id": st.uuids().map(str),
            "timestamp": st.integers(-(10**13), 10**13),
            "level": st.sampled_from(["debug", "info", "warn", "error", "fatal"]),
            "message": st.text(),
            "source": st.text(),
            "execution_id": OPTIONAL_TEXT,
            "trace_id": OPTIONAL_TEXT,
            "span_id": OPTIONAL_TEXT,
            "tenant_id": OPTIONAL_TEXT,
            "user_id": OPTIONAL_TEXT,
            "metadata": st.none() | st.dictionaries(st.text(), json_values(), max_size=4),
            "stack_trace": OPTIONAL_TEXT,
            "seq": st.integers(0),
        }
    ),
    st.booleans(),
)
def test_own_export_round_trips(entry: dict[str, Any], ensure_ascii: bool) -> None:
    """A record that ax-monitor exported comes back with every field, but for its id and seq."""
    record = parse_one(json.dumps(entry, ensure_ascii=ensure_ascii), format="jsonl")
    assert record.recognised
    assert {name: getattr(record, name) for name in entry if name not in ("id", "seq")} == {
        name: value for name, value in entry.items() if name not in ("id", "seq")
    }


@given(st.text(), st.dictionaries(st.text().map("x_{}".format), json_values(), max_size=5))
def test_json_round_trips(message: str, fields: dict[str, Any]) -> None:
    """Message and unknown fields of a JSON line come back as they were."""
    record = parse_one(json.dumps({"msg": message, **fields}), format="jsonl")
    assert (record.message, record.metadata or {}) == (message, fields)


# --- logfmt ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'time="2024-01-02T10:11:12Z" level=warn msg="a \\"b\\"\\n\\u00e9" logger=db rows=3 dry',
            ParsedLine(T0, "warn", 'a "b"\né', "db", metadata={"rows": "3", "dry": True}),
        ),
        (
            "ts=1704190272.345 lvl=eror caller=a.go:3 msg=no traceID=abc empty= q=\"\"",
            ParsedLine(
                T0 + 345, "error", "no", "file", trace_id="abc",
                metadata={"caller": "a.go:3", "empty": "", "q": ""},
            ),
        ),
        (
            "level=info a=1 a=2 a=3",
            ParsedLine(
                None, "info", "level=info a=1 a=2 a=3", "file", metadata={"a": ["1", "2", "3"]}
            ),
        ),
        (
            r'msg="C:\new \x41" level=info',
            ParsedLine(None, "info", r"C:\new \x41", "file"),
        ),
    ],
)  # fmt: skip
def test_logfmt(line: str, expected: ParsedLine) -> None:
    """Quoting, escapes, lone keys, empty values and repeated keys of logfmt are understood."""
    assert parse_one(line) == expected


@pytest.mark.parametrize(
    "line", ["word", "word a=1", "a=1 two words", 'a="open', 'a=b"c', "=1", '"a"=1']
)
def test_not_logfmt(line: str) -> None:
    """Prose and broken quotes are kept as plain messages even when logfmt is asked for."""
    assert parse_one(line, format="logfmt").recognised is False


def quoted(value: str) -> str:
    """A value as Go's loggers quote it."""
    return json.dumps(value, ensure_ascii=False)


@given(
    st.text(),
    st.dictionaries(
        st.from_regex(r"x_[a-z0-9_]{1,8}", fullmatch=True), st.text(), min_size=1, max_size=5
    ),
)
def test_logfmt_round_trips(message: str, fields: dict[str, str]) -> None:
    """Message and unknown fields of a logfmt line come back as they were."""
    line = " ".join(f"{key}={quoted(value)}" for key, value in {"msg": message, **fields}.items())
    record = parse_one(line, format="logfmt")
    assert (record.message, record.metadata) == (message, fields)


# --- detection ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (['{"msg": "a"}', '{"msg": "b"}'], "jsonl"),
        (["Starting", "", '{"msg": "a"}\r\n', '{"msg": "b"}\r\n', '{"msg": "cut'], "jsonl"),
        (["level=info msg=a", "level=info msg=b"], "logfmt"),
        (["2024-01-02 10:11:12 a=1 b=2"], "text"),
        (["a=1 b=2", "just words"], "text"),
        ([], "text"),
    ],
)
def test_detection(sample: list[str], expected: str) -> None:
    """The format is the one that recognises most of the sample."""
    assert detect_format(sample) == expected


def test_auto_takes_single_lines_of_other_formats() -> None:
    """With `auto`, a JSON or logfmt line in a text file is read as what it is."""
    lines = ["2024-01-02 10:11:12 a", "2024-01-02 10:11:13 b", '{"msg": "c"}', "level=warn msg=d"]
    assert [(r.message, r.level) for r in parse(*lines)][2:] == [("c", "info"), ("d", "warn")]
    assert [r.recognised for r in parse(*lines, format="text")] == [True, True, False, False]


def test_unknown_format_is_an_error() -> None:
    """A wrong format name is a `ValueError` at the call that names the allowed ones."""
    with pytest.raises(ValueError, match="auto, jsonl, logfmt or text"):
        parse_lines([], format="xml", source="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="auto, jsonl, logfmt or text"):
        read_log_file(LOGS / "Apache.log", format="xml")  # type: ignore[arg-type]


# --- nothing raises, nothing is lost -----------------------------------------------------------

FRAGMENTS = st.sampled_from(
    ["2024-01-02 10:11:12", "[", "]", " ", "\t", "ERROR", ": ", " - ", "{", '"', "=", "\\", "\x00",
     '{"msg": "x", "n": 1}', "level=info msg=y", "Traceback (most recent call last):", "é", "\r",
     "ValueError: x", "Caused by: ", "at a.b(", "Jan  2 10:11:12 ", "<1>", "\ud800", "\x1b[0m", "|"]
)  # fmt: skip
LINES = st.lists(
    st.text(st.characters(exclude_characters="\n"), max_size=40)
    | st.lists(FRAGMENTS, max_size=8).map("".join)
)


def parts(records: Iterable[ParsedLine]) -> list[ParsedLine | str]:
    """Each record, followed by its continuation lines: one part for each line read."""
    found: list[ParsedLine | str] = []
    for record in records:
        found.append(record)
        found += record.stack_trace.split("\n") if record.stack_trace else []
    return found


@given(LINES, st.sampled_from(FORMATS))
def test_b1_b2_no_line_is_lost(lines: list[str], format: Any) -> None:
    """Each line that is not blank is a record or a continuation line, with its text unchanged."""
    kept = [line.rstrip("\r\n") for line in lines]
    kept = [line.encode("utf-8", "backslashreplace").decode() for line in kept if line.strip()]
    found = parts(parse(*lines, format=format))
    assert len(found) == len(kept)
    for part, line in zip(found, kept, strict=True):
        if isinstance(part, str):
            assert part == line
        elif not part.recognised:
            assert part.message == line
        elif "\x1b[" not in line:
            structured = line.lstrip().startswith("{") or "=" in line  # see the round trips
            assert part.message in line or structured
            assert part.timestamp is None or isinstance(part.timestamp, int)
            assert part.level in ("debug", "info", "warn", "error", "fatal")


@given(
    st.sampled_from([line.removesuffix(record.message) for _, line, record in EXAMPLES[:15]]),
    st.from_regex(r"[a-z][^\r\n\x1b]*[a-z]", fullmatch=True),
)
def test_the_message_is_what_follows_the_head(head: str, message: str) -> None:
    """Whatever follows the head of a recognised line is the message, to the letter."""
    assert parse_one(head + message, format="text").message == message


@given(st.binary(max_size=300), st.booleans(), st.sampled_from(FORMATS))
def test_any_bytes_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, compressed: bool, format: Any
) -> None:
    """A file of any bytes raises nothing, is read to its end, and gives storable text only."""
    path = tmp_path_factory.mktemp("any") / "x.log"
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)
    with read_log_file(path, format=format) as log_file:
        for record in log_file:
            (record.message + (record.stack_trace or "") + record.source).encode()
    assert log_file.damage is not None or log_file.bytes_read == log_file.total_bytes


def test_o5_long_texts_are_cut_and_marked() -> None:
    """A message, a JSON field and a stack trace over 256 KiB are cut between characters."""
    text = parse_one("2024-01-02 10:11:12 " + "ä" * 200_000)
    assert text.message.endswith("ä… [cut, 400000 bytes]")
    field = parse_one(json.dumps({"msg": "m", "stack": "s" * 500_000}))
    assert field.stack_trace is not None
    assert field.stack_trace.endswith("s… [cut, 500000 bytes]")
    [stack] = parse("2024-01-02 10:11:12 x", *["    at a.b()"] * 100_000, "\t" + "é" * 10**6)
    assert stack.stack_trace is not None
    assert stack.stack_trace.endswith("… [cut, 3300001 bytes]")
    for cut in (text.message, field.stack_trace, stack.stack_trace):
        assert MAX_TEXT_BYTES - 4 < len(cut.encode()) <= MAX_TEXT_BYTES


REAL_LINES = {
    "apache-error": ["[Sun Dec 04 04:47:44 2005] [notice] x"],
    "hdfs": ["081109 203615 148 INFO dfs.DataNode: x"],
}


@pytest.mark.parametrize("row", TEXT_FORMATS, ids=lambda row: row.name)
def test_matching_takes_linear_time(row: Any) -> None:
    """No line makes a pattern backtrack without end, with any example as its beginning."""
    fillers = [*' :[]a1.-"=\\', "a:", ": ", " a", "[a", "a@", "a=", " -", '" ', "\\\\"]
    lines = [line for name, line, _ in EXAMPLES if name == row.name] or REAL_LINES[row.name]
    around = Surroundings("file", 0)
    for head in {line[:cut] for line in lines for cut in range(len(line) + 1)}:
        for filler in fillers:
            line = head + filler * 10_000 + "\x00"
            started = time.process_time()
            row.parse(line, around)
            assert time.process_time() - started < 0.2, (head, filler)


# --- files -------------------------------------------------------------------------------------

TEXT = "2024-01-02 10:11:12 ERROR größer\n\n2024-01-02 10:11:13 zweite\n\tZeile"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.encode() + b"\n",
        gzip.compress(TEXT.encode(), mtime=0),
        gzip.compress(TEXT[:40].encode(), mtime=0) + gzip.compress(TEXT[40:].encode()) + bytes(100),
        gzip.compress(TEXT.encode("utf-16"), mtime=0),
    ],
)
def test_encodings_and_line_ends(tmp_path: Path, data: bytes) -> None:
    """UTF-8, UTF-16, byte order marks, CRLF, a missing last newline and gzip read alike."""
    path = tmp_path / "app.log.1"
    path.write_bytes(data)
    log_file = read_log_file(path)
    assert list(log_file) == [
        ParsedLine(T0, "error", "größer", "app"),
        ParsedLine(T0 + 1000, "info", "zweite", "app", stack_trace="\tZeile"),
    ]
    assert log_file.bytes_read == log_file.total_bytes == len(data)
    assert log_file.damage is None


def test_b1_bytes_that_are_not_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 show as escapes; NUL stays."""
    path = tmp_path / "x.log"
    path.write_bytes(b"2024-01-02 10:11:12 a\xff\xfe\x00b \xed\xa0\x80\n")
    [record] = read_log_file(path)
    assert record.message == "a\\xff\\xfe\x00b \\xed\\xa0\\x80"


def test_chunks_do_not_cut_characters_or_lines(tmp_path: Path) -> None:
    """Lines and characters that lie across the edges of the chunks come out whole."""
    messages = [f"{'äöü€😀'[i % 5] * (i % 700)}{i}" for i in range(3000)]
    path = tmp_path / "x.log"
    path.write_text("".join(f"2024-01-02 10:11:12 {m}\r\n" for m in messages), newline="")
    assert [record.message for record in read_log_file(path)] == messages


@pytest.mark.parametrize(
    "length", [MAX_LINE_CHARS - 1, MAX_LINE_CHARS, MAX_LINE_CHARS + 1, 5_000_000]
)
def test_o5_very_long_lines(tmp_path: Path, length: int) -> None:
    """A line of any length is read with bounded memory, and the line after it is whole."""
    path = tmp_path / "x.log"
    path.write_text(f"{'x' * length}\nnext\n{'y' * length}")
    first, after, last = read_log_file(path, format="text")
    assert (first.message[0], after.message, last.message[0]) == ("x", "next", "y")
    unit = "characters" if length > MAX_LINE_CHARS else "bytes"
    for record in (first, last):
        assert len(record.message.encode()) <= MAX_TEXT_BYTES
        assert record.message.endswith(f"… [cut, {length} {unit}]")


def test_a_cut_gzip_file_gives_what_it_has(tmp_path: Path) -> None:
    """Of a compressed file that ends early all complete data is read, and the damage is told."""
    data = gzip.compress((LOGS / "HDFS.log").read_bytes())
    path = tmp_path / "HDFS.log.gz"
    path.write_bytes(data[: len(data) // 2])
    log_file = read_log_file(path)
    assert 900 < sum(record.recognised for record in log_file) < 1100
    assert log_file.damage == "ends before its compressed data does"
    path.write_bytes(data + b"trailing")
    log_file = read_log_file(path)
    assert sum(record.recognised for record in log_file) == 2000
    assert log_file.damage is not None
    assert log_file.damage.startswith("damaged: ")


def test_progress(tmp_path: Path) -> None:
    """`bytes_read` goes up to `total_bytes` in steps, plain and compressed."""
    lines = b"".join(
        b"2024-01-02 10:11:12 %d %s\n" % (i, os.urandom(20).hex().encode()) for i in range(9999)
    )
    for data in (lines, gzip.compress(lines, mtime=0)):
        path = tmp_path / "x.log"
        path.write_bytes(data)
        with read_log_file(path) as log_file:
            steps = [log_file.bytes_read for _ in log_file]
        assert steps == sorted(steps)
        assert len(set(steps)) > 3
        assert steps[-1] == log_file.total_bytes == len(data)


def test_close_ends_the_iteration() -> None:
    """After `close()` there are no more records, and a second close does nothing."""
    log_file = read_log_file(LOGS / "Apache.log")
    next(log_file)
    log_file.close()
    log_file.close()
    assert list(log_file) == []


def test_a_pipe_has_no_total(tmp_path: Path) -> None:
    """A named pipe can be read; its size is unknown."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(TEXT.encode(),))
    writer.start()
    with read_log_file(path) as log_file:
        assert [record.message for record in log_file] == ["größer", "zweite"]
    writer.join()
    assert (log_file.total_bytes, log_file.bytes_read) == (None, len(TEXT.encode()))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("app.log", "app"),
        ("app.log.3.gz", "app"),
        ("app-1.2.log", "app-1.2"),
        ("syslog", "syslog"),
        ("syslog.1", "syslog"),
        ("messages-20240102.gz", "messages"),
        ("worker-1", "worker-1"),
        (".log", ".log"),
    ],
)
def test_the_file_gives_the_source(tmp_path: Path, name: str, source: str) -> None:
    """Records without a source of their own get the name of the file without its endings."""
    (tmp_path / name).write_text("hello")
    assert [record.source for record in read_log_file(tmp_path / name)] == [source]


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """A path that cannot be opened is an `OSError` at the call."""
    with pytest.raises(FileNotFoundError):
        read_log_file(tmp_path / "none.log")

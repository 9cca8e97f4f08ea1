"""What reads bytes from outside, each as a function of bytes that must neither raise nor be wrong.

A target fails by any exception: that of the reader, or of an assertion about what it read.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from ax_monitor import propagation
from ax_monitor._native import (
    RING_HEADER_BYTES,
    RING_SEGMENT_MIN_BYTES,
    RecordRing,
    decode_object,
    decode_record,
    read_ring,
)
from ax_monitor.alerting.rules_file import read_rules_file
from ax_monitor.errors import RulesFileError, SearchSyntaxError
from ax_monitor.interop.log_files import read_log_file
from ax_monitor.pipeline.recovery import Recovered, _replay
from ax_monitor.storage.records import EXECUTION, LOG, SERIES, SPAN, STEP, TRACE
from ax_monitor.storage.search import compile_search, search_text
from ax_monitor.storage.writer import Writer

DATA: Final = Path(__file__).parents[1] / "data"
RING_ID: Final = bytes(range(16))
_MASK: Final = 2**64 - 1
_NONCE_AT: Final = 64  # in the header of a ring; its checksum follows behind a reserved word
_CHECKSUM_PENDING: Final = (
    0x5A17C0DE  # of the newest record: so a mutation does not need to be summed
)
_RECORD_NONCE_AT: Final = 28


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        run: Gives it some bytes.
        seeds: Makes inputs to begin with.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]


@functools.cache
def _scratch() -> str:
    """A folder of this process."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    _kept.append(folder)
    return folder.name


_kept: list[tempfile.TemporaryDirectory[str]] = []  # until the process ends


# -- rings ----------------------------------------------------------------------------------------


def _ring_header(ring_id: bytes, nonce: bytes) -> bytes:
    """The header of a ring of two segments. The same in Python, as nobody can guess checksums."""
    words = bytearray(_NONCE_AT + 8)
    struct.pack_into("<8sII16sQQ", words, 0, b"AXRING\r\n", 1, RING_HEADER_BYTES, ring_id,
                     RING_SEGMENT_MIN_BYTES, 2)  # fmt: skip
    words[_NONCE_AT : _NONCE_AT + 4] = nonce
    checksum = 0x9E3779B97F4A7C15
    for (word,) in struct.iter_unpack("<Q", words):
        checksum = (checksum ^ word) * 0x9FB21C651E98DF25 & _MASK
        checksum ^= checksum >> 29
    return (bytes(words) + checksum.to_bytes(8, "little")).ljust(RING_HEADER_BYTES, b"\0")


def _ring_seeds() -> Iterable[bytes]:
    """One record of each kind with all its fields, and one of samples."""
    values = {"metadata": {"a": [1, None]}, "attributes": {"k": 1}, "labels": {"host": "a"},
              "events": [{"timestamp": 1, "name": "e", "attributes": {}}]}  # fmt: skip
    for kind in (LOG, TRACE, SPAN, EXECUTION, STEP, SERIES):
        for fill in (None, "ab", 7, 0.5):
            fields = tuple(values.get(name, fill) for name in kind.fields)
            yield _unsummed(lambda ring, k=kind, f=fields: ring.append(k.number, 1, f))
    yield _unsummed(lambda ring: ring.append(LOG.number, 9, ()) and ring.append(15, 0, (1, "x")))


def _unsummed(record: Callable[[RecordRing], object]) -> bytes:
    """The segment's bytes, each record as if it were the newest one."""
    buffer = bytearray(RING_HEADER_BYTES + 2 * RING_SEGMENT_MIN_BYTES)
    ring = RecordRing(lambda policy, priority: False)
    ring.attach(buffer, RING_ID, segment_bytes=RING_SEGMENT_MIN_BYTES, wake_fd=-1, pid=0)
    record(ring)
    parts = []
    for offset in read_ring(bytes(buffer))[1]:
        length = int.from_bytes(buffer[offset : offset + 4], "little")
        one = bytearray(buffer[offset : offset + length])
        one[4:8] = _CHECKSUM_PENDING.to_bytes(4, "little")
        one[_RECORD_NONCE_AT : _RECORD_NONCE_AT + 4] = b"NONC"
        parts.append(bytes(one))
    return b"".join(parts)


def _image(data: bytes, ring_id: bytes = RING_ID) -> bytes:
    return _ring_header(ring_id, b"NONC") + data


def read_a_ring(data: bytes) -> None:
    """Any bytes behind a good header: every record that is found can be decoded, in order."""
    image = _image(data)
    header, offsets, _ = read_ring(image)
    assert header is not None
    found = [decode_record(image, offset) for offset in offsets]
    assert [record[2] for record in found] == sorted(record[2] for record in found)
    for at in range(0, min(len(data), 512), 8):
        with contextlib.suppress(ValueError):
            decode_record(data, at)
    read_ring(data)


@functools.cache
def _writer() -> Writer:
    writer = Writer(os.path.join(_scratch(), "replay.db"))
    atexit.register(writer.close)  # before the interpreter takes itself apart
    return writer


_replays = 0


def replay_a_ring(data: bytes) -> None:
    """The records in any bytes are stored or set aside; the database stays in order."""
    global _replays
    _replays += 1
    ring_id = _replays.to_bytes(16, "little")
    image = _image(data, ring_id)
    header, offsets, _ = read_ring(image)
    assert header is not None
    done = Recovered()
    _replay(_writer(), image, offsets, header, done)
    assert done.records + done.rejected >= len(offsets)
    _writer().interrupt_traces(ring_id)
    _writer().interrupt_executions(ring_id)


# -- texts ----------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _log_seeds() -> Iterable[bytes]:
    for path in sorted((DATA / "logs").glob("*.log")):
        yield b"\n".join(path.read_bytes().splitlines()[:6])
    yield json.dumps({"level": "error", "msg": "m", "ts": 1.5, "stack": "a\n b"}).encode()
    yield b'time=2024-01-02T03:04:05Z level=warn msg="a \\"b\\"" n=1'
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
    yield b"\xff\xfea\0\n\0"


def read_a_log(data: bytes) -> None:
    """Any file is read to its end, and every text of it can be stored."""
    path = os.path.join(_scratch(), "any.log")
    Path(path).write_bytes(data)
    with read_log_file(path) as file:
        for record in file:
            (record.message + (record.stack_trace or "") + record.source).encode()
    assert file.damage is not None or file.bytes_read == file.total_bytes


@functools.cache
def _index() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE logs_fts USING fts5(message); "
        "INSERT INTO logs_fts VALUES ('rate limit a b'), ('b timeout')"
    )
    return connection


def compile_a_search(data: bytes) -> None:
    """A search is refused with a place, or FTS5 takes it; the words of any text are a search."""
    text = _text(data)
    for search in (text, search_text(text)):
        try:
            compiled = compile_search(search)
        except SearchSyntaxError as error:
            assert search is text, "search_text() made it"
            assert 0 <= error.position <= len(text)
            continue
        _index().execute(
            "SELECT rowid FROM logs_fts WHERE logs_fts MATCH ?", (compiled,)
        ).fetchall()


def read_headers(data: bytes) -> None:
    """A context that is found is valid, and is the same when it is passed on."""
    parent, _, states = data.partition(b"\n")
    pairs = [("TraceParent", parent.decode("latin-1"))]
    pairs += [("tracestate", state.decode("latin-1")) for state in states.split(b"\n")]
    found = propagation.extract(pairs)
    if found is not None:
        assert found.is_valid
        headers: dict[str, str] = {}
        propagation.inject(found, headers)
        assert propagation.extract(headers) == found
    propagation.parse_traceparent(_text(data))
    propagation.parse_tracestate(_text(data))


def _header_seeds() -> Iterable[bytes]:
    yield b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nrojo=00f067aa0ba902b7, b=t61"
    yield b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more\na@b=1,,c=2\nd=3"


def read_rules(data: bytes) -> None:
    """A rules file, as YAML and as TOML, has rules or mistakes."""
    for ending in ("yaml", "toml"):
        path = os.path.join(_scratch(), f"rules.{ending}")
        Path(path).write_bytes(data)
        with contextlib.suppress(RulesFileError):
            read_rules_file(path)


def _rules_seeds() -> Iterable[bytes]:
    yield b"""groups:
- name: g
  labels: {team: core}
  rules:
  - alert: Slow
    description: d
    metric: m
    condition: p95 > 1000 over 5m until 800
    severity: critical
    for: 2m
    cooldown: 10m
    by: [region]
    match: {route: /x}
    no_data: alert
    auto_resolve: true
origin: engine
"""
    yield b"""[[groups]]
name = "g"
[[groups.rules]]
alert = "a"
metric = "m"
severity = "info"
description = "d"
condition = {aggregation = "avg", operator = ">", threshold = 1, window = "5m"}
"""
    yield b"a: &a [1, 2026-13-45, !!binary x]\nb: {<<: *a}\n"


def read_metadata(data: bytes) -> None:
    """What another program stored as metadata is what `json` has, or is left to it."""
    text = data.decode("latin-1")
    found = decode_object(text)
    if found is not None:
        assert repr(found) == repr(json.loads(text))


def _metadata_seeds() -> Iterable[bytes]:
    yield b'{"provider":"claude","attempt":3,"latency_ms":1234.5,"ok":true,"user":null}'
    yield b'{"a":{"b":[1,-2.5e-3,{"c":[]},"d",false]},"e":{},"f":999999999999999999}'
    yield b'{"a":-0.0,"b":1E400,"a":"\\n","long":"' + b"x" * 100 + b'"}'


TARGETS: Final = {
    "ring": Target(read_a_ring, _ring_seeds),
    "replay": Target(replay_a_ring, _ring_seeds),
    "import": Target(read_a_log, _log_seeds),
    "search": Target(
        compile_a_search,
        lambda: (b'"rate limit" -b OR NEAR(a b, 3) ^a + b*', b"message: (a AND NOT b)", b"a-b @x"),
    ),
    "headers": Target(read_headers, _header_seeds),
    "rules": Target(read_rules, _rules_seeds),
    "metadata": Target(read_metadata, _metadata_seeds),
}

"""Reads log files from disk: plain or gzip, UTF-8 or UTF-16, of any size and any content."""

from __future__ import annotations

import codecs
import os
import re
import stat
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from ax_monitor.interop.log_files.parse import Format, records
from ax_monitor.interop.log_files.record import MAX_LINE_CHARS, ParsedLine, clip_line
from ax_monitor.interop.log_files.text_format import Surroundings
from ax_monitor.interop.log_files.times import MAX_MS

_CHUNK_BYTES = 65_536  # also the step in which `bytes_read` moves
_GZIP_MAGIC = b"\x1f\x8b"
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAME_ENDINGS = re.compile(
    r"(?:\.(?:log|txt|out|err|json|jsonl|ndjson))?(?:\.\d{1,8}|-\d{8})?(?:\.gz)?$"
)


def read_log_file(
    path: str | os.PathLike[str], *, format: Format | Literal["auto"] = "auto"
) -> LogFile:
    """Opens a log file for reading its records; see `LogFile`.

    Args:
        path: A plain or gzip-compressed file, or a pipe.
        format: The format of the file; `auto` finds it from the first 200 lines.

    Raises:
        OSError: The file cannot be opened.
        ValueError: `format` is none of the four.
    """
    return LogFile(path, format=format)


class LogFile:
    r"""A log file as an iterator of its records, which knows how far it has read.

    The file is closed at its end, by `close()`, or by leaving a `with` block. Whatever it holds,
    no byte of it raises: bytes that are not text show as backslash escapes such as `\xff`, a
    byte order mark is honoured and dropped, lines end with LF or CRLF or the end of the file. At
    most 2²⁰ characters of a line are held in memory.

    The file name without endings such as `.log` or `.1.gz` is the source of records that name
    none. Dates without a year get the last one that does not put them after the file's time of
    modification. Only this thread may use the object.

    Args:
        path: A plain or gzip-compressed file, or a pipe.
        format: The format of the file; `auto` finds it from the first 200 lines.

    Attributes:
        total_bytes: Size of the file on disk when it was opened; `None` for a pipe.
        bytes_read: Bytes of the file on disk that were read so far, in steps of 64 KiB; with a
            file that is still growing it can pass `total_bytes`.
        lines_read: Lines read so far, blank ones included; up to 200 ahead of the records.
        damage: Why a compressed file could not be read to its end; `None` while all is well.

    Raises:
        OSError: The file cannot be opened, or a read of it failed.
        ValueError: `format` is none of the four.

    Example:
        >>> with read_log_file("tests/data/logs/Apache.log") as log_file:
        ...     sum(1 for record in log_file), log_file.bytes_read == log_file.total_bytes
        (2000, True)
    """

    def __init__(
        self, path: str | os.PathLike[str], *, format: Format | Literal["auto"] = "auto"
    ) -> None:
        self._file = open(path, "rb", buffering=0)
        status = os.fstat(self._file.fileno())
        self.total_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        self.bytes_read = 0
        self.lines_read = 0
        self.damage: str | None = None
        name = Path(path).name
        modified_ms = max(0, min(int(status.st_mtime * 1000), MAX_MS))
        around = Surroundings(_NAME_ENDINGS.sub("", name) or name, modified_ms)
        try:
            self._records = records(self._counted_lines(), format=format, around=around)
        except ValueError:
            self._file.close()
            raise

    def __iter__(self) -> Self:
        """The object itself; a file is read once."""
        return self

    def __next__(self) -> ParsedLine:
        """The next record."""
        return next(self._records)

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self.close()

    def close(self) -> None:
        """Closes the file and ends the iteration; a second call does nothing."""
        self._records.close()
        self._file.close()

    def _counted_lines(self) -> Iterator[str]:
        for line in self._lines():
            self.lines_read += 1
            yield line

    def _lines(self) -> Iterator[str]:
        line = ""  # the unfinished last line, or the beginning of one that is too long
        dropped = 0  # characters of it that are not in `line`
        for text in self._texts():
            if len(line) <= MAX_LINE_CHARS:
                *finished, line = (line + text).split("\n")
            elif "\n" in text:
                rest, *finished, last = text.split("\n")
                yield clip_line(line, total_chars=len(line) + dropped + len(rest))
                line, dropped = last, 0
            else:
                finished = []
                dropped += len(text)
            yield from finished
        if line:
            yield clip_line(line, total_chars=len(line) + dropped) if dropped else line

    def _texts(self) -> Iterator[str]:
        with self._file:
            head, content = _peek(self._content())
            encoding = next((name for bom, name in _ENCODINGS if head.startswith(bom)), "utf-8")
            decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")
            for chunk in content:
                yield decoder.decode(chunk)
            yield decoder.decode(b"", final=True)

    def _content(self) -> Iterator[bytes]:
        head, chunks = _peek(self._chunks())
        return self._gunzip(chunks) if head.startswith(_GZIP_MAGIC) else chunks

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self._file.read(_CHUNK_BYTES):
            self.bytes_read += len(chunk)
            yield chunk

    def _gunzip(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        member: zlib._Decompress | None = None
        try:
            for chunk in chunks:
                data, more = chunk, False  # `more`: the last output was as long as allowed
                while data or more:
                    if member is None:
                        data = data.lstrip(b"\0")  # members may be padded
                        if not data:
                            break
                        member = zlib.decompressobj(wbits=31)
                    content = member.decompress(data, _CHUNK_BYTES)
                    yield content
                    data, more = member.unconsumed_tail, len(content) == _CHUNK_BYTES
                    if member.eof:
                        data, more, member = member.unused_data, False, None
        except zlib.error as error:
            self.damage = f"damaged: {error}"
        else:
            if member is not None:
                self.damage = "ends before its compressed data does"


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, three or more unless there are fewer, and all chunks with them."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(codecs.BOM_UTF8):
            break
    return head, chain([head], chunks)

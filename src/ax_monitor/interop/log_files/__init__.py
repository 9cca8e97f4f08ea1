"""Log files of other programs as records: what `ax monitor import` reads.

| module | what |
|---|---|
| `reader` | bytes on disk → lines (gzip, encodings, long lines, progress) |
| `parse` | lines → records: detection, continuation lines, what fits no format |
| `text`, `text_format`, `text_formats`, `text_builders` | plain text by a table of formats |
| `jsonl`, `logfmt`, `fields` | structured lines by a table of key names |
| `continuation` | stack traces that follow a record |
| `times`, `record` | times, levels, limits, the record itself |
"""

from __future__ import annotations

from ax_monitor.interop.log_files.parse import Format, detect_format, parse_lines
from ax_monitor.interop.log_files.reader import LogFile, read_log_file
from ax_monitor.interop.log_files.record import ParsedLine

__all__ = ["Format", "LogFile", "ParsedLine", "detect_format", "parse_lines", "read_log_file"]

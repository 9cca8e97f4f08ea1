"""`ax monitor logs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import click

from ax_monitor.cli._options import (
    MonitorCommand,
    OneOf,
    common_options,
    key_value,
    open_for_reading,
    parse_moment,
    row_limit,
    scalar,
    utc_option,
)
from ax_monitor.cli._output import Part, Printer, format_time, note, visible, width_of
from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.model.logs import LogEntry, LogQuery
from ax_monitor.model.vocabulary import LogLevel
from ax_monitor.pipeline.follow import follow_logs
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import logs
from ax_monitor.storage.search import search_text

POLL_S: Final = 0.2  # how often --follow looks
PAGE: Final = 10_000  # entries held in memory at once with --limit all
SOURCE_WIDTH: Final = 24  # the column of sources grows up to this
SHOWN_CHARS: Final = 4000  # of one text on a terminal; a pipe and --json get all of it

_LEVEL_STYLES: Final = {
    LogLevel.DEBUG: "dim",
    LogLevel.INFO: "green",
    LogLevel.WARN: "yellow",
    LogLevel.ERROR: "bold red",
    LogLevel.FATAL: "bold white on red",
}
_IDS: Final = ("execution_id", "trace_id", "span_id", "tenant_id", "user_id")


@click.command("logs", cls=MonitorCommand)
@click.argument("search", required=False)
@click.option(
    "--level",
    "min_level",
    type=OneOf(LogLevel),
    metavar="LEVEL",
    help="This level or a graver one: debug, info, warn, error, fatal.",
)
@click.option("--source", metavar="NAME", help="Only from this source.")
@click.option("--execution", "execution_id", metavar="ID", help="Only of this workflow execution.")
@click.option("--trace", "trace_id", metavar="ID", help="Only of this trace.")
@click.option("--span", "span_id", metavar="ID", help="Only of this span.")
@click.option("--tenant", "tenant_id", metavar="ID", help="Only of this tenant.")
@click.option("--user", "user_id", metavar="ID", help="Only of this user.")
@click.option(
    "--meta",
    type=key_value,
    multiple=True,
    metavar="KEY=VALUE",
    help="Only with this metadata; may be repeated. A VALUE that is a number, true, false or null "
    "means that; in double quotes it is text.",
)
@click.option(
    "--since",
    metavar="TIME",
    help="Not earlier: 90s, 30m, 1h30m, 7d, or a time such as 2026-01-31T08:00.",
)
@click.option("--until", metavar="TIME", help="Not later; as --since.")
@click.option(
    "--limit",
    type=row_limit,
    metavar="N",
    default="50",
    show_default=True,
    help='The newest N entries, or "all".',
)
@click.option(
    "--follow", "-f", is_flag=True, help="Go on with entries as they arrive, until Ctrl-C."
)
@utc_option
@click.option("--literal", is_flag=True, help="SEARCH is plain text, without operators.")
@click.option("--ids", is_flag=True, help="Show execution, trace, span, tenant and user ids.")
@click.option("--stack", is_flag=True, help="Show stack traces below their entries.")
@common_options
def command(
    search: str | None,
    meta: tuple[tuple[str, Any], ...],
    since: str | None,
    until: str | None,
    limit: int | None,
    follow: bool,
    utc: bool,
    literal: bool,
    ids: bool,
    stack: bool,
    db: str | None,
    as_json: bool,
    debug: bool,
    **filters: Any,
) -> None:
    """Search and follow the logs.

    Shows the newest entries that match, the newest last. SEARCH looks for words in the messages:

    \b
      timeout connection       both words           conn*     words that begin so
      timeout OR "rate limit"  one, or the phrase   -retry    without this word

    On a pipe every entry is one line, uncoloured and uncut. Characters that would act upon a
    terminal show as escapes such as \\x1b; --json has every text exactly as it is stored.
    """
    if follow and until is not None:
        raise click.UsageError("--follow has no end: leave out --until")
    if follow and limit is None:
        raise click.UsageError("--follow needs a number as --limit")
    if len(dict(meta)) < len(meta):
        raise click.UsageError("--meta names the same key twice: no entry has both values")
    now_ms = SYSTEM_CLOCK.time_ms()
    query = LogQuery(
        search=search_text(search) if literal and search is not None else search,
        metadata=dict(meta) or None,
        start_time=None
        if since is None
        else parse_moment(since, now_ms=now_ms, utc=utc, option="--since"),
        end_time=None
        if until is None
        else parse_moment(until, now_ms=now_ms, utc=utc, option="--until"),
        limit=limit,
        **filters,
    )
    printer = Printer()
    layout = Layout(printer, utc=utc, ids=ids, stack=stack)
    with open_for_reading(db) as store:
        found = False
        for page in _pages(store, query, follow=follow):
            found = True
            if as_json:
                for entry in page:
                    printer.json(entry.to_dict())
            else:
                layout.show(page)
            if follow:
                printer.flush()
        if not found and printer.is_terminal:
            note("no log entries match")


def _pages(store: Store, query: LogQuery, *, follow: bool) -> Iterator[list[LogEntry]]:
    """The entries, oldest first, as many at a time as there are."""
    if follow:
        for entry in follow_logs(store, query, last=query.limit or 0, poll_s=POLL_S):
            yield [entry]
    elif query.limit is not None:
        if entries := store.read(logs.query_logs, query):
            yield entries[::-1]
    else:
        cursor = None
        while page := store.read(
            logs.query_logs, replace(query, order="asc", limit=PAGE, cursor=cursor)
        ):
            yield page
            if (cursor := page.next_cursor) is None:
                return


class Layout:
    """How an entry looks: time, level, source, message, and what else there is, dimmed."""

    def __init__(self, printer: Printer, *, utc: bool, ids: bool, stack: bool) -> None:
        self._printer = printer
        self._utc = utc
        self._ids = ids
        self._stack = stack
        self._source_width = 0

    def show(self, entries: list[LogEntry]) -> None:
        """Print entries; their sources are aligned on a terminal."""
        if self._printer.is_terminal:
            widest = max(width_of(visible(entry.source)) for entry in entries)
            self._source_width = max(self._source_width, min(widest, SOURCE_WIDTH))
        for entry in entries:
            self._printer.line(*self._parts(entry))
            if self._stack and entry.stack_trace:
                for line in entry.stack_trace.splitlines():
                    self._printer.line(("    " + self._cut(line.expandtabs(4)), "dim"))

    def _parts(self, entry: LogEntry) -> Iterator[Part]:
        yield format_time(entry.timestamp, utc=self._utc), "dim"
        yield " "
        yield f"{entry.level.value.upper():5}", _LEVEL_STYLES[entry.level]
        yield " "
        source = visible(entry.source)
        if self._printer.is_terminal:
            source += " " * (self._source_width - width_of(source))
        yield source, "cyan"
        yield " "
        yield self._cut(entry.message)
        if self._ids:
            for name in _IDS:
                if (value := getattr(entry, name)) is not None:
                    yield f" {name.removesuffix('_id')}={_value(value)}", "blue"
        for key, value in (entry.metadata or {}).items():
            yield self._cut(f" {_key(key)}={_value(value)}"), "dim"

    def _cut(self, text: str) -> str:
        if not self._printer.is_terminal or len(text) <= SHOWN_CHARS:
            return text
        return f"{text[:SHOWN_CHARS]}… ({len(text) - SHOWN_CHARS:,} characters more, see --json)"


def _key(key: str) -> str:
    return key if _is_plain(key) else _json(key)


def _value(value: Any) -> str:
    return value if isinstance(value, str) and _is_plain(value) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_plain(text: str) -> bool:
    """Whether a text can stand without quotes: it has an end, and is no other value's spelling."""
    if not text or text[0] in "[{" or any(char.isspace() or char in '"=' for char in text):
        return False
    return scalar(text) == text

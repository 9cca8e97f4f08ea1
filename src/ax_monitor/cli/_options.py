"""Options that several commands share, what their values mean, and how commands fail."""

from __future__ import annotations

import contextlib
import json
import os
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ax_monitor.config import configured_database_path, load
from ax_monitor.errors import MonitorError, SchemaVersionError
from ax_monitor.model.duration import parse_duration_ms
from ax_monitor.model.vocabulary import Vocabulary
from ax_monitor.pipeline.store import Store

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])
Scalar = str | int | float | bool | None

_INT64: Final = range(-(2**63), 2**63)


class MonitorCommand(click.Command):
    """A command whose errors are one line on stderr; with --debug the traceback comes before it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:  # whoever reads has seen enough (`| head`)
            raise click.exceptions.Exit(0) from None
        except Exception as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            raise click.ClickException(_explain(error)) from error


class MonitorGroup(MonitorCommand, click.Group):
    """The same for a group that does something itself when no command of it is named."""


def _explain(error: Exception) -> str:
    if isinstance(error, SchemaVersionError):
        return f"{error}: update ax-monitor, or pass another --db"
    if isinstance(error, MonitorError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (a defect of ax-monitor; --debug shows where)"


def common_options(function: F) -> F:
    """--db, --json and --debug, as `db`, `as_json` and `debug`."""
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line."),
        click.option(
            "--db",
            type=click.Path(),
            metavar="PATH",
            help="The database (default: AX_MONITOR_DB, else that of the file AX_MONITOR_CONFIG, "
            "else .ax/monitor.db).",
        ),
    ):
        function = option(function)
    return function


def utc_option(function: F) -> F:
    """--utc, for commands that show times."""
    return click.option("--utc", is_flag=True, help="Times in UTC, not local.")(function)


def database(db: str | None) -> str:
    """The path of the database, whether it is there or not: that of an engine started here."""
    with _options_file():
        return configured_database_path(db)


def ring_folder(ring_dir: str | None, db: str | None) -> str | None:
    """Where rings are: as was said, else where an engine started here keeps them."""
    if ring_dir is not None or db is not None:
        return ring_dir
    with _options_file():
        found: str | None = load(None, None, {})["store"]["ring_dir"]
        return found


@contextlib.contextmanager
def _options_file() -> Iterator[None]:
    """Of what is wrong with options from outside, the message says where it stands."""
    try:
        yield
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"AX_MONITOR_CONFIG names {error.filename}, which can't be read: {error.strerror}"
        ) from error


def existing_database(db: str | None) -> str:
    """The path of the database to read, which must be there."""
    path = database(db)
    if not os.path.lexists(path):
        raise click.ClickException(f"no database at {path}: pass --db or set AX_MONITOR_DB")
    return path


def open_for_reading(db: str | None) -> Store:
    """The database, read-only: nothing is created, whatever the path is."""
    return Store(existing_database(db), read_only=True)


_LISTS: Final = {
    "alert": "alerts list",
    "alert rule": "alerts rules",
    "execution": "workflows",
    "silence": "alerts silences",
    "trace": "traces list",
}


def beginning(text: str) -> str:
    """What was meant by an id that may have been copied as a table shows it, with `…`."""
    return text.removesuffix("…") if re.fullmatch("[0-9a-f-]+…", text) else text


def the_one(ids: Sequence[str], what: str, text: str) -> str:
    """The only one of the ids that were found for a text."""
    if len(ids) > 1:
        raise click.ClickException(
            f"more than one {what} begins with {text!r}: give more of its id"
        )
    if not ids:
        raise click.ClickException(f"no {what} {text!r}: `ax monitor {_LISTS[what]}` has all")
    return ids[0]


# -- values -------------------------------------------------------------------------------------


class OneOf(click.ParamType):  # type: ignore[type-arg]  # it is generic in new releases only
    """A word of a vocabulary, in any case, which becomes its member."""

    name = "word"

    def __init__(self, vocabulary: type[Vocabulary]) -> None:
        self._vocabulary = vocabulary

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Vocabulary:
        """The member."""
        try:
            return self._vocabulary.parse(value.lower())
        except ValueError:
            self.fail(f"{value!r} is none of {', '.join(self._vocabulary)}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words that begin so."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 (only for a shell)

        return [
            CompletionItem(word) for word in self._vocabulary if word.startswith(incomplete.lower())
        ]


def key_value(text: str) -> tuple[str, Scalar]:
    """KEY=VALUE, where VALUE is a number, true, false or null as in JSON, else text."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE")
    return key, scalar(value)


def label_value(text: str) -> tuple[str, str]:
    """NAME=VALUE, both texts."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def scalar(text: str) -> Scalar:
    """The number, bool or None that `text` is in JSON, or what a JSON string says; else itself."""
    try:
        value = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, (dict, list)) or (type(value) is int and value not in _INT64):
        return text
    if value in (float("inf"), float("-inf")):
        return text
    found: Scalar = value
    return found


def _not_json(text: str) -> None:
    raise ValueError(text)


def row_limit(text: str) -> int | None:
    """A number of entries, or "all" (None)."""
    if text == "all":
        return None
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise click.BadParameter(f'{text!r} is neither a number of at least 1 nor "all"')
    return int(text)


def duration_ms(text: str) -> int:
    """A duration in ms."""
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_moment(text: str, *, now_ms: int, utc: bool, option: str) -> int:
    """The time that a user means, in ms: so long ago (`1h30m`), or ISO 8601.

    Args:
        text: What was written.
        now_ms: The time now.
        utc: Whether a time without a zone is UTC; else it is local, as times are shown.
        option: The option, for the error.

    Raises:
        click.BadParameter: It is neither.
    """
    with contextlib.suppress(ValueError):
        return now_ms - parse_duration_ms(text)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC) if utc else moment.astimezone()
        # Not float seconds: those are off by a millisecond now and then.
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{text!r} is neither a time such as 2026-01-31T08:00 nor a duration such as 90s, 30m, "
            "1h30m, 7d, 2w",
            param_hint=f"'{option}'",
        ) from None

"""Where options come from. The only place that reads the environment.

| variable | meaning | default |
|---|---|---|
| `AX_MONITOR_DB` | path of the database | `.ax/monitor.db` |
| `AX_MONITOR_CONFIG` | path of a TOML file with options | none |
| `AX_MONITOR_<SECTION>_<OPTION>` | an option; see `options.py` | |
| `AX_MONITOR_FAILPOINT` | name of a point at which the process kills itself (tests) | none |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ax_monitor import options

DEFAULT_DATABASE = os.path.join(".ax", "monitor.db")

Durability = Literal["normal", "strict"]
Redact = (
    Literal["default"]
    | Callable[[str, dict[str, Any] | None], tuple[str, dict[str, Any] | None]]
    | None
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How a store keeps what is recorded.

    Args:
        ring_bytes: Size of the ring file, a multiple of 1 MiB, 3 to 4096 MiB (default 16 MiB: about
            50,000 log records). It holds what is recorded while the database can't be written.
        ring_dir: Folder of the ring file (default: beside the database, so that it survives with
            it). `/dev/shm` is a little faster and survives the process, but not the machine.
        durability: "normal" (default): after `flush()`, power loss may take the last second of
            commits; "strict": nothing, for about a fifth of the throughput. A kill or a crash of
            the process loses nothing either way.
        overflow_wait_ms: With the `block` policy, how long a recording call waits for room when
            the ring is full, at most, once until the database accepts records again (default 50).
        redact: What is done about secrets before anything is recorded: "default" replaces the
            values of keys and `key=value` texts that look like one; a callable gets (message,
            metadata) of every record and returns them as they may be stored (it costs a Python
            call a record); None stores everything as it is.
        allow_network_filesystem: Open a database on NFS, SMB and the like all the same (default
            False: a StorageError). It may work if no other machine opens it, and may damage it.
        vfs: Name of the SQLite VFS to use (tests inject faults with it).
    """

    ring_bytes: int = 16 * 1024 * 1024
    ring_dir: str | None = None
    durability: Durability = "normal"
    overflow_wait_ms: int = 50
    redact: Redact = "default"
    allow_network_filesystem: bool = False
    vfs: str | None = None

    def __post_init__(self) -> None:
        mib = 1024 * 1024
        if self.ring_bytes % mib or not 3 * mib <= self.ring_bytes <= 4096 * mib:
            raise ValueError(
                "ring_bytes must be a multiple of 1 MiB from 3 MiB to 4 GiB, "
                f"got {self.ring_bytes!r}"
            )
        if self.durability not in ("normal", "strict"):
            raise ValueError(f'durability must be "normal" or "strict", got {self.durability!r}')
        if not 0 <= self.overflow_wait_ms <= 60_000:
            raise ValueError(f"overflow_wait_ms must be 0 to 60000, got {self.overflow_wait_ms!r}")
        if not (self.redact in ("default", None) or callable(self.redact)):
            raise ValueError(f'redact must be "default", a callable or None, got {self.redact!r}')


def database_path(path: str | os.PathLike[str] | None = None) -> str:
    """The database to use: the argument, else `AX_MONITOR_DB`, else `.ax/monitor.db`."""
    if path is not None:
        return os.fspath(path)
    return os.environ.get("AX_MONITOR_DB") or DEFAULT_DATABASE


def configured_database_path(path: str | os.PathLike[str] | None = None) -> str:
    """The database that `open` would use: as `database_path`, or as the TOML file has it.

    Raises:
        ValueError, OSError: as `load`, of the file of `AX_MONITOR_CONFIG`.
    """
    if path is None and not os.environ.get("AX_MONITOR_DB") and os.environ.get("AX_MONITOR_CONFIG"):
        found: str = load(None, None, {})["store"]["path"]
        return found
    return database_path(path)


def failpoint_name() -> str | None:
    """The failpoint that is switched on (tests only)."""
    return os.environ.get("AX_MONITOR_FAILPOINT")


def load(
    path: str | os.PathLike[str] | None,
    config: str | os.PathLike[str] | None,
    keywords: Mapping[str, Any],
) -> options.Settings:
    """All options: from keywords, else the environment, else a TOML file, else the defaults.

    Args:
        path: The database (default: as the options say).
        config: The TOML file (default: `AX_MONITOR_CONFIG`, else none).
        keywords: See `options.of_keywords`.

    Raises:
        ValueError: an option is unknown or its value wrong, or the file is no TOML; the message
            says where.
        OSError: the file can't be read.
    """
    given = options.of_keywords(keywords)
    file = os.environ.get("AX_MONITOR_CONFIG") or None if config is None else os.fspath(config)
    settings = options.merged(
        {} if file is None else options.of_file(_read_toml(file), file),
        options.of_environment(os.environ),
        given,
    )
    if path is not None:
        settings["store"]["path"] = os.fspath(path)
    return settings


def _read_toml(path: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 (only where there is such a file)

    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not TOML: {error}") from error

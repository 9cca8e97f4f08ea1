"""What the control groups of Linux allow this process: memory and CPU time, versions 1 and 2.

https://docs.kernel.org/admin-guide/cgroup-v2.html,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ax_monitor.checks.outcome import CannotTellError

PROC: Final = "/proc/self"
UNLIMITED: Final = 2**60  # version 1 writes a number of pages near 2^63 where there is no limit


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """What a control group may use, and what it uses.

    The kernel counts the page cache as used. Of that, files that nobody has read for a while are
    left out here: they go before anything is killed.
    """

    limit_bytes: int
    used_bytes: int

    @property
    def usage_percent(self) -> float:
        """What is used of it."""
        return 100.0 * self.used_bytes / self.limit_bytes if self.limit_bytes else 100.0


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    """A mounted tree of groups: the folder of our group, and that of the mount."""

    version: int
    own: str
    top: str

    def folders(self) -> Iterator[str]:
        """Our group and those around it: each of their limits counts."""
        folder = self.own
        while True:
            yield folder
            if folder == self.top or len(folder) <= len(self.top):
                return
            folder = os.path.dirname(folder)


def memory_limit(proc: str = PROC) -> MemoryLimit | None:
    """The memory limit that is nearest to being reached; None if there is none.

    Raises:
        CannotTellError: there are control groups, but what they say can't be read.
    """
    limits = [
        limit
        for hierarchy in _hierarchies(proc, "memory")
        for folder in hierarchy.folders()
        if (limit := _memory_of(folder, hierarchy.version)) is not None
    ]
    return max(limits, key=lambda limit: limit.usage_percent, default=None)


def cpu_quota(proc: str = PROC) -> float | None:
    """How many CPUs' time the groups allow; None if all there is.

    Raises:
        CannotTellError: as of `memory_limit`.
    """
    quotas = [
        quota
        for hierarchy in _hierarchies(proc, "cpu")
        for folder in hierarchy.folders()
        if (quota := _quota_of(folder, hierarchy.version)) is not None
    ]
    return min(quotas, default=None)


def _memory_of(folder: str, version: int) -> MemoryLimit | None:
    if version == 2:
        limit, used, cache = "memory.max", "memory.current", "inactive_file"
    else:
        limit, used, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    text = _read(os.path.join(folder, limit))
    if text is None or text.strip() == "max" or (limit_bytes := _number(text)) >= UNLIMITED:
        return None
    used_text = _read(os.path.join(folder, used))
    if used_text is None:
        raise CannotTellError(f"{folder} has a limit of memory, but does not say what is used")
    pages = dict(
        line.split(maxsplit=1)
        for line in (_read(os.path.join(folder, "memory.stat")) or "").splitlines()
        if " " in line
    )
    return MemoryLimit(limit_bytes, max(0, _number(used_text) - _number(pages.get(cache, "0"))))


def _quota_of(folder: str, version: int) -> float | None:
    if version == 2:
        parts = (_read(os.path.join(folder, "cpu.max")) or "max").split()
    else:
        quota = _read(os.path.join(folder, "cpu.cfs_quota_us")) or "-1"
        parts = [quota.strip(), (_read(os.path.join(folder, "cpu.cfs_period_us")) or "").strip()]
    if len(parts) < 2 or parts[0] in ("max", "-1"):
        return None
    period = _number(parts[1])
    return _number(parts[0]) / period if period > 0 else None


def _hierarchies(proc: str, controller: str) -> Iterator[_Hierarchy]:
    """Where the groups of this process are mounted; nothing where there are none, as on macOS."""
    groups = _read(os.path.join(proc, "cgroup"))
    mounts = _read(os.path.join(proc, "mountinfo"))
    if groups is None or mounts is None:
        return
    paths = {}  # by controller; that of version 2 has the name ""
    for line in groups.splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        paths.update(dict.fromkeys(controllers.split(","), path))
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = (*before.split(" ")[3:5], *after.split(" ", 2))
        if len(fields) != 5:
            continue
        root, top, kind, _, options = fields
        if kind == "cgroup2":
            version, group = 2, paths.get("")
        elif kind == "cgroup" and controller in options.split(","):
            version, group = 1, paths.get(controller)
        else:
            continue
        if group is not None:
            top = _unescape(top)
            yield _Hierarchy(version, _below(top, _unescape(root), group), top)


def _below(top: str, root: str, path: str) -> str:
    """The folder of a group. A container sees a part of the tree, and sometimes paths above it."""
    relative = os.path.relpath(path, root)
    if relative == "." or relative.split("/")[0] == "..":
        return top
    folder = os.path.join(top, relative)
    return folder if os.path.isdir(folder) else top


def _unescape(path: str) -> str:
    """Spaces and the like are written as `\\040` there."""
    if "\\" not in path:
        return path
    return path.encode().decode("unicode_escape").encode("latin-1").decode()


def _read(path: str) -> str | None:
    """The text of a small file; None if there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise CannotTellError(f"{path} can't be read: {error}") from error


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CannotTellError(f"{text.strip()!r:.40} of a control group is no number") from None

"""On which file system a database lies.

WAL needs memory that all who open it share, and locks that hold: neither is to be had over a
network (https://www.sqlite.org/wal.html, https://www.sqlite.org/useovernet.html).
"""

from __future__ import annotations

import os
from typing import Final

from ax_monitor.errors import StorageError

NETWORK: Final = frozenset(
    [
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.ceph",
        "fuse.davfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "fuse.rclone",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "orangefs",
        "pvfs2",
        "smb3",
        "smbfs",
        "webdav",
    ]
)


def check_local(path: str) -> None:
    """Refuse a database on a network file system.

    Raises:
        StorageError: it is on one. Where that can't be told, it is taken for local.
    """
    found = filesystem_of(os.path.dirname(os.path.abspath(path)))
    if found in NETWORK:
        raise StorageError(
            f"{path} is on a network file system ({found}), where SQLite's WAL does not work: pass "
            "a path on a local disk, or allow_network_filesystem=True if only one machine opens it"
        )


def filesystem_of(folder: str) -> str | None:
    """The type of the file system that a folder is on; None if that can't be told."""
    try:
        import psutil  # noqa: PLC0415 (not for those who only read)

        folder = os.path.realpath(folder)
        mounted = psutil.disk_partitions(all=True)
    except (ImportError, OSError):  # an import fails, too, in a process that gave up its rights
        return None
    # The longest path that leads there; of two at the same place the later one hides the other.
    best = max(
        (
            (len(each.mountpoint), number, each.fstype)
            for number, each in enumerate(mounted)
            if os.path.commonpath((folder, each.mountpoint)) == each.mountpoint
        ),
        default=None,
    )
    return None if best is None else best[2].lower()

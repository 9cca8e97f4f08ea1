"""How long something has been running, for people."""

from __future__ import annotations


def format_uptime(milliseconds: int) -> str:
    """The three largest units from days to minutes, or what there is of hours to seconds.

    >>> [format_uptime(s * 1000) for s in (192_600, 19_802, 1802, 2)]
    ['2d 5h 30m', '5h 30m 2s', '30m 2s', '2s']
    """
    minutes, seconds = divmod(max(0, milliseconds) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h {minutes}m"
    if hours:
        return f"{hours}h {minutes}m {seconds}s"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"

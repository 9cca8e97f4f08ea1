"""Days, weeks and months of the calendar, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

MS_PER_DAY: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def day_start(time_ms: int) -> int:
    """The first moment of the day."""
    return time_ms - time_ms % MS_PER_DAY


def period_around(time_ms: int, period: str) -> tuple[int, int]:
    """First moment of the day, week (from Monday) or month, and first moment after it.

    >>> start, end = period_around(1_700_000_000_000, "month")
    >>> (end - start) // MS_PER_DAY
    30
    """
    start = _EPOCH + timedelta(days=time_ms // MS_PER_DAY)
    if period == "day":
        end = start + timedelta(days=1)
    elif period == "week":
        start -= timedelta(days=start.weekday())
        end = start + timedelta(days=7)
    else:
        start = start.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    return _ms(start), _ms(end)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH).days * MS_PER_DAY

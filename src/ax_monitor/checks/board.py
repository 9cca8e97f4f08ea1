"""A list of checks by name, which grows and shrinks while it is used."""

from __future__ import annotations

from ax_monitor.checks.outcome import Check
from ax_monitor.checks.timed import Checked, TimedCheck, run_all
from ax_monitor.clock import Clock


class CheckBoard:
    """Checks by the name of their component.

    Thread-safety: any thread; the list is never changed, only replaced.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._checks: dict[str, TimedCheck] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The components, in the order in which they came."""
        return tuple(self._checks)

    @property
    def longest_limit_s(self) -> float:
        """How long `check_all` takes at most; 0 if there is nothing to check."""
        return max((check.limit_s for check in self._checks.values()), default=0.0)

    def put(self, name: str, check: Check, limit_s: float | None = None) -> None:
        """Add a check, or put it in the place of the one of this name."""
        limit_s = self.limit_s if limit_s is None else limit_s
        self._checks = {**self._checks, name: TimedCheck(name, check, limit_s, self._clock)}

    def remove(self, name: str) -> bool:
        """Take a check off; False if there is none of this name."""
        rest = {other: check for other, check in self._checks.items() if other != name}
        removed = len(rest) < len(self._checks)
        self._checks = rest
        return removed

    def check(self, name: str) -> Checked | None:
        """The result of one check; None if there is none of this name."""
        check = self._checks.get(name)
        return None if check is None else check.start().wait()

    def check_all(self) -> list[Checked]:
        """The results of all, in the order of `names`."""
        return run_all(self._checks.values())

    def after_fork_in_child(self) -> None:
        """The threads stayed with the parent."""
        for check in self._checks.values():
            check.after_fork_in_child()

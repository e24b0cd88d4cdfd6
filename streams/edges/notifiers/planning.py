"""When a target is told what: the surface of both ways to plan it. Pure: time is an argument.

Grouped targets (grouping.py) are told of groups as Alertmanager does; an Alertmanager itself gets
every alert, again and again while it fires (resending.py). Both follow the same states:

    take, recall  ->  due_s  ->  next  ->  (sending)  ->  settle
                        ^                                    |
                        +------- again, if it failed --------+

Times are Unix seconds.
"""

from __future__ import annotations

from typing import Protocol

from .alert import Alert, Notification
from .matching import Muting

__all__ = ["Planner"]


class Planner(Protocol):
    """What one target knows, and when it is to be told what it does not."""

    muting: Muting
    """Silences in force; may be replaced at any time."""

    def __len__(self) -> int:
        """Alerts that are kept."""
        ...

    def __contains__(self, fingerprint: str) -> bool:
        """Whether an alert is kept."""
        ...

    def take(self, alert: Alert, now_s: float, *, maybe_told: bool = False) -> None:
        """There is news of an alert.

        ``maybe_told``: an earlier process may have told that it fires.
        """
        ...

    def recall(self, alert: Alert, now_s: float) -> None:
        """An alert fires since before this process began; its target was told.

        Unless it was silenced when it began.
        """
        ...

    def due_s(self) -> float | None:
        """When :meth:`next` will give something; None: not until there is news."""
        ...

    def next(self, now_s: float) -> Notification | None:
        """What is due and not under way; :meth:`settle` must follow. None: nothing is."""
        ...

    def settle(self, notification: Notification, now_s: float, *, told: bool) -> None:
        """It is over; not ``told``: it is due again at once, with what is news by then."""
        ...

"""Alerts for an Alertmanager: each when there is news of it, and again while it fires.

Source: Alertmanager, Alerts API ("clients are expected to continuously re-send alerts as long as
they are still active"), and Prometheus, rules/alerting.go (needsSending). What is silenced here is
not sent: there it is over when its ``endsAt`` has passed.
"""

from __future__ import annotations

import heapq
import itertools

from schemas.config import AlertmanagerTarget

from .alert import Alert, Notification
from .matching import Muting

__all__ = ["Resends"]


class _Entry:
    """One alert."""

    __slots__ = ("alert", "next_s", "open", "sent_id", "under_way")

    def __init__(self, alert: Alert, next_s: float) -> None:
        self.alert = alert
        self.next_s = next_s
        self.sent_id = ""
        """The transition that was sent last."""
        self.open = False
        """The Alertmanager may believe that it fires."""
        self.under_way = False


class Resends:
    """All alerts of one Alertmanager (a planning.Planner)."""

    def __init__(self, settings: AlertmanagerTarget) -> None:
        self.muting = Muting()
        self._settings = settings
        self._entries: dict[str, _Entry] = {}
        self._queue: list[tuple[float, int, _Entry]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._entries

    def take(self, alert: Alert, now_s: float, *, maybe_told: bool = False) -> None:
        """There is news of an alert."""
        entry = self._entries.get(alert.fingerprint)
        if entry is None:
            entry = self._entries[alert.fingerprint] = _Entry(alert, now_s)
        entry.alert = alert
        entry.open |= maybe_told
        if not entry.under_way:
            self._at(entry, now_s)

    def recall(self, alert: Alert, now_s: float) -> None:
        """An alert fires since before this process began: it is sent again, and is no news."""
        self.take(alert, now_s, maybe_told=True)
        self._entries[alert.fingerprint].sent_id = alert.id

    def due_s(self) -> float | None:
        """When :meth:`next` will give something."""
        queue = self._queue
        while queue:
            at_s, _, entry = queue[0]
            if not entry.under_way and entry.next_s == at_s and self._kept(entry):
                return at_s
            heapq.heappop(queue)
        return None

    def next(self, now_s: float) -> Notification | None:
        """What is due, at most ``batch_max``."""
        due = list[_Entry]()
        while len(due) < self._settings.batch_max:
            due_s = self.due_s()
            if due_s is None or due_s > now_s:
                break
            entry = heapq.heappop(self._queue)[2]
            entry.under_way = True
            due.append(entry)
        if not due:
            return None
        heard = [entry for entry in due if not self._muted(entry, now_s)]
        for entry in heard:
            entry.open |= entry.alert.firing
        return Notification(
            "",
            {},
            tuple(entry.alert for entry in heard),
            tuple((entry.alert.fingerprint, entry.alert.id) for entry in due),
            len(due) - len(heard),
            all(entry.alert.id == entry.sent_id for entry in heard),
        )

    def settle(self, notification: Notification, now_s: float, *, told: bool) -> None:
        """It is over."""
        for fingerprint, transition in notification.settles:
            entry = self._entries[fingerprint]
            entry.under_way = False
            news = entry.alert.id != transition
            if not told or news:
                self._at(entry, now_s)
            elif entry.alert.firing:
                self._at(entry, now_s + self._settings.resend_interval)
            else:
                del self._entries[fingerprint]
        if told:
            for alert in notification.alerts:
                if (sent := self._entries.get(alert.fingerprint)) is not None:
                    sent.sent_id, sent.open = alert.id, alert.firing

    def _kept(self, entry: _Entry) -> bool:
        return self._entries.get(entry.alert.fingerprint) is entry

    def _at(self, entry: _Entry, next_s: float) -> None:
        entry.next_s = next_s
        heapq.heappush(self._queue, (next_s, next(self._numbers), entry))

    def _muted(self, entry: _Entry, now_s: float) -> bool:
        alert = entry.alert
        if not alert.firing and (entry.open or not self._settings.send_resolved):
            return not self._settings.send_resolved
        return self.muting(alert.labels, now_s)

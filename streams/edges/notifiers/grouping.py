"""Groups of alerts, and when they are told of: as Alertmanager does it.

Source: Alertmanager, dispatch/dispatch.go (aggrGroup) and notify/notify.go (DedupStage):

- a new group waits ``group_wait``, not at all when its first alert is older than that
- from then on it is looked at every ``group_interval``; it is told of when an alert fires that was
  not told, when one is over, or when ``repeat_interval`` has passed since it was told of
- what fired and was over between two looks, nobody hears of, unless others of the group fire
- what is over is forgotten once it was told; a group without alerts is gone

Two things are otherwise here, so that no page stays open. An alert that was told to fire is told
to be over even if it is silenced by then. And what was to be told while the target was away is
told when it is back, even if it is over by then.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json

from schemas.config.notify import ALL_LABELS, GroupedTarget

from .alert import Alert, Notification
from .matching import Labels, Muting

__all__ = ["Groups"]


AGAIN_S = 2.0
"""After the start of a process what was not committed has come again by then."""


class _Group:
    """Alerts that are told of together."""

    __slots__ = (
        "alerts", "flushed", "key", "labels", "next_s", "open", "repeats_from_s", "told_firing",
        "told_resolved", "under_way",
    )  # fmt: skip

    def __init__(self, key: str, labels: Labels, next_s: float) -> None:
        self.key = key
        self.labels = labels
        self.alerts: dict[str, Alert] = {}
        self.next_s = next_s
        self.flushed = False
        """Somebody has looked at it; only before that an old alert is told at once."""
        self.under_way: Notification | None = None
        # The notification log.
        self.told_firing: frozenset[str] = frozenset()
        self.told_resolved: frozenset[str] = frozenset()
        self.repeats_from_s: float | None = None
        """When it was told of; None: never."""
        self.open: set[str] = set()
        """Of which the target may believe that they fire."""


class Groups:
    """All groups of one target (a planning.Planner)."""

    def __init__(self, settings: GroupedTarget) -> None:
        self.muting = Muting()
        self._settings = settings
        self._groups: dict[str, _Group] = {}
        self._of: dict[str, _Group] = {}
        """The group of each alert."""
        self._queue: list[tuple[float, int, _Group]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._of

    def take(self, alert: Alert, now_s: float, *, maybe_told: bool = False) -> None:
        """There is news of an alert."""
        group = self._put(alert, now_s)
        if maybe_told:  # that is not enough: it is told again
            group.open.add(alert.fingerprint)
            group.told_firing -= {alert.fingerprint}
        wait_s = self._settings.group_wait
        if not group.flushed and alert.starts_s + wait_s < now_s:
            self._at(group, now_s)

    def recall(self, alert: Alert, now_s: float) -> None:
        """An alert fires since before this process began; its target was told."""
        group = self._put(alert, now_s)
        # With the first look goes what was not committed, and comes again in a moment.
        self._at(group, now_s + max(self._settings.group_wait, AGAIN_S))
        if self.muting(alert.labels, alert.at_s):
            return  # it may be that nobody was told
        group.told_firing |= {alert.fingerprint}
        group.open.add(alert.fingerprint)
        # It was repeated since, at about these times.
        repeat_s = self._settings.repeat_interval
        told_s = alert.at_s + max(0.0, (now_s - alert.at_s) // repeat_s * repeat_s)
        group.repeats_from_s = max(told_s, group.repeats_from_s or 0.0)

    def due_s(self) -> float | None:
        """When :meth:`next` will give something."""
        queue = self._queue
        while queue:
            at_s, _, group = queue[0]
            if group.under_way is None and group.next_s == at_s and group.alerts:
                return at_s
            heapq.heappop(queue)  # another time, or nobody waits for it
        return None

    def next(self, now_s: float) -> Notification | None:
        """What is due."""
        due_s = self.due_s()
        if due_s is None or due_s > now_s:
            return None
        group = heapq.heappop(self._queue)[2]
        group.flushed = True
        group.under_way = self._look(group, now_s)
        return group.under_way

    def settle(self, notification: Notification, now_s: float, *, told: bool) -> None:
        """It is over."""
        group = self._groups[notification.key]
        group.under_way = None
        if not told:
            self._at(group, now_s)
            return
        if notification.alerts:
            self._log(group, notification, now_s)
        for fingerprint, transition in notification.settles:
            alert = group.alerts.get(fingerprint)
            if alert is not None and not alert.firing and alert.id == transition:
                del group.alerts[fingerprint], self._of[fingerprint]
                group.open.discard(fingerprint)
        if not group.alerts:
            del self._groups[group.key]
        else:
            self._at(group, group.next_s)

    def _put(self, alert: Alert, now_s: float) -> _Group:
        group = self._of.get(alert.fingerprint)
        if group is None:
            labels = self._labels(alert.labels)
            key = _key(labels)
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group(key, labels, now_s)
                self._at(group, now_s + self._settings.group_wait)
            self._of[alert.fingerprint] = group
        group.alerts[alert.fingerprint] = alert
        return group

    def _labels(self, labels: Labels) -> Labels:
        names = self._settings.group_by
        if names == (ALL_LABELS,):
            return dict(labels)
        return {name: labels[name] for name in names if name in labels}

    def _at(self, group: _Group, next_s: float) -> None:
        group.next_s = next_s
        heapq.heappush(self._queue, (next_s, next(self._numbers), group))

    def _look(self, group: _Group, now_s: float) -> Notification:
        """Alertmanager's flush: what is to be told, if anything is."""
        group.next_s = now_s + self._settings.group_interval
        settles = tuple((alert.fingerprint, alert.id) for alert in group.alerts.values())
        heard = [alert for alert in group.alerts.values() if not self._muted(group, alert, now_s)]
        muted = len(settles) - len(heard)
        nothing = Notification(group.key, group.labels, (), settles, muted)
        firing = {alert.fingerprint for alert in heard if alert.firing}
        resolved = {alert.fingerprint for alert in heard if not alert.firing}
        news = self._news(group, firing, resolved)
        if not heard or not (news or self._repeats(group, firing, now_s)):
            return nothing
        if not self._settings.send_resolved:
            if not firing:  # nothing is sent, but what fired before is told anew if it comes back
                group.told_firing, group.told_resolved = frozenset(), frozenset(resolved)
                return nothing
            heard = [alert for alert in heard if alert.firing]
        heard.sort(key=lambda alert: (not alert.firing, alert.starts_s, alert.fingerprint))
        group.open |= firing
        return nothing._replace(alerts=tuple(heard), repeated=not news)

    def _muted(self, group: _Group, alert: Alert, now_s: float) -> bool:
        if not alert.firing and alert.fingerprint in group.open:
            return False
        return self.muting(alert.labels, now_s)

    def _news(self, group: _Group, firing: set[str], resolved: set[str]) -> bool:
        """Alertmanager's needsUpdate, but for repeats."""
        if not firing <= group.told_firing:
            return True
        if self._settings.send_resolved and not resolved.isdisjoint(group.open):
            return True
        if not firing:
            return bool(group.told_firing)
        return self._settings.send_resolved and not resolved <= group.told_resolved

    def _repeats(self, group: _Group, firing: set[str], now_s: float) -> bool:
        told_s = group.repeats_from_s
        repeat_s = self._settings.repeat_interval
        return bool(firing) and told_s is not None and told_s < now_s - repeat_s

    def _log(self, group: _Group, notification: Notification, now_s: float) -> None:
        group.told_firing = frozenset(a.fingerprint for a in notification.alerts if a.firing)
        group.told_resolved = frozenset(a.fingerprint for a in notification.alerts if not a.firing)
        group.repeats_from_s = now_s
        group.open -= group.told_resolved


def _key(labels: Labels) -> str:
    """Of a group, the same in every process."""
    said = json.dumps(sorted(labels.items()), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(said.encode()).hexdigest()

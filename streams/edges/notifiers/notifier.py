"""One target's notifier: what is known of alerts, when it is told, and what became of it.

A transition is given by :meth:`Notifier.deliver`, which returns when nothing of it remains to be
told: the target has it, or newer news of the same alert, or need not have it. Until then Kafka
has it uncommitted. What goes wrong:

- the target does not answer, or says later: everything waits (its own wish first, else
  exponential with jitter), then one notification asks for all. What has changed meanwhile is told
  as it is then: a hundred transitions of an alert become its last one.
- it refuses for good, or ``retry.max_elapsed`` is over: the transitions are dead letters.
- it is full (``max_alerts``): likewise.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog

from schemas.config import AlertmanagerTarget
from schemas.config.notify import NotifyTarget
from schemas.errors import BackendRefused, BackendUnavailable, PermanentError, RetriesExhausted
from schemas.records.silences import Silences

from .alert import Alert, Known, Notification, Start
from .availability import Availability
from .grouping import Groups
from .matching import Matching, Muting
from .metrics import TargetMetrics
from .planning import Planner
from .resending import Resends
from .sending import Sender

__all__ = ["Notifier", "TooManyAlerts"]

_log = structlog.get_logger(__name__)


class TooManyAlerts(PermanentError):
    """``max_alerts`` are kept, and this would be one more."""

    reason = "too_many_alerts"


class _Waiting(NamedTuple):
    """A transition that the target does not have."""

    id: str
    done: asyncio.Future[None]


class Notifier:
    """Tells one target, from :meth:`begin` to :meth:`close`, in one event loop.

    Args:
        name: of the target, for logs.
        target: its settings.
        sender: speaks with it; started and stopped by somebody else.
        clock: Unix seconds.
    """

    def __init__(
        self,
        name: str,
        target: NotifyTarget,
        sender: Sender,
        metrics: TargetMetrics,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._target = target
        self._sender = sender
        self._metrics = metrics
        # Jitter wants to differ between processes; it is no secret.
        rng = rng or random.Random()  # noqa: S311
        self._availability = Availability(name, target.retry, metrics, rng)
        self._clock = clock
        self._matches = Matching(target.match)
        self._plan: Planner = (
            Resends(target) if isinstance(target, AlertmanagerTarget) else Groups(target)
        )
        self._newest: dict[str, Known] = {}
        """What was known at the beginning, until there is news."""
        self._unsaid: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}
        self._held = {"frozen": False, "paused": False}
        self._begun = asyncio.Event()
        self._order = asyncio.Lock()
        self._changed = asyncio.Event()
        self._sends: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._defect: Exception | None = None

    @property
    def is_up(self) -> bool:
        """Whether the target answers, as far as is known."""
        return self._availability.is_up

    def begin(self, start: Start) -> None:
        """Go to work."""
        self._newest, self._unsaid = start.newest, start.unsaid
        now_s = self._clock()
        for alert in sorted(start.firing.values(), key=lambda each: each.at_s):
            if not self._matches(alert.labels):
                continue
            if len(self._plan) < self._target.max_alerts:
                self._plan.recall(alert, now_s)
            else:
                self._metrics.transitions["overflow"].inc()
        self._begun.set()
        self._metrics.pending.set_function(lambda: len(self._waiting))
        self._metrics.alerts.set_function(lambda: len(self._plan))
        self._metrics.silences.set_function(lambda: self._plan.muting.active(self._clock()))
        self._loop = asyncio.get_running_loop().create_task(self._work())

    def silence(self, silences: Silences) -> None:
        """These are the silences from now on."""
        self._plan.muting = Muting(silences.silences)

    def hold(self, reason: str, held: bool) -> None:
        """Begin no request (``frozen``: the partition may go; ``paused``: a person wants it)."""
        self._held[reason] = held
        self._changed.set()

    async def idle(self) -> None:
        """Wait until no request is under way."""
        while self._sends:
            await asyncio.wait(list(self._sends))

    def close(self) -> None:
        """Stop for good."""
        for task in (self._loop, *self._sends):
            if task is not None:
                task.cancel()
        for waiting in self._waiting.values():
            waiting.done.cancel()
        self._waiting.clear()
        self._availability.close()
        for gauge in (self._metrics.pending, self._metrics.alerts, self._metrics.silences):
            gauge.set_function(lambda: 0.0)

    def fail(self, error: Exception) -> None:
        """A defect: whoever waits, or comes, raises it."""
        self._defect = error
        _log.critical("a defect in a notifier", target=self._name, exc_info=error)
        for waiting in self._waiting.values():
            if not waiting.done.done():
                waiting.done.set_exception(error)
        self._waiting.clear()
        self._begun.set()

    async def deliver(self, alert: Alert) -> None:
        """Return when nothing of this transition remains to be told.

        Raises BackendRefused, RetriesExhausted or TooManyAlerts.
        """
        async with self._order:  # whoever waits must not be overtaken
            await self._begun.wait()
        if self._defect is not None:
            raise self._defect
        if not self._matches(alert.labels):
            self._metrics.transitions["unmatched"].inc()
            return
        newest = self._newest.get(alert.fingerprint)
        if newest is not None and newest.id != alert.id and alert.at_s < newest.at_s:
            # It was not finished before this process began; what came after it is still to come.
            self._metrics.transitions["collapsed"].inc()
            return
        self._newest.pop(alert.fingerprint, None)
        if alert.fingerprint not in self._plan and len(self._plan) >= self._target.max_alerts:
            self._metrics.transitions["overflow"].inc()
            raise TooManyAlerts(f"max_alerts, {self._target.max_alerts}, are kept already")
        # It may have been told before this process began, although that was not committed.
        known = newest is not None and newest.id == alert.id
        await self._told(alert, again=known or alert.fingerprint in self._unsaid)

    async def _told(self, alert: Alert, *, again: bool) -> None:
        waiting = _Waiting(alert.id, asyncio.get_running_loop().create_future())
        before = self._waiting.pop(alert.fingerprint, None)
        if before is not None:
            self._metrics.transitions["collapsed"].inc()
            self._over(alert.fingerprint, before)
        self._waiting[alert.fingerprint] = waiting
        self._plan.take(alert, self._clock(), maybe_told=again)
        self._changed.set()
        await waiting.done

    async def _work(self) -> None:
        try:
            while True:
                self._changed.clear()
                notification = self._next()
                if notification is None:
                    await self._wait()
                else:
                    task = asyncio.get_running_loop().create_task(self._send(notification))
                    self._sends.add(task)
                    task.add_done_callback(self._sent)
        except Exception as error:
            self.fail(error)

    @property
    def _ready(self) -> bool:
        """Whether one more request may be under way; while the target is away one asks for all."""
        most = self._target.max_inflight if self.is_up else 1
        return not any(self._held.values()) and len(self._sends) < most

    def _next(self) -> Notification | None:
        if not self._ready or self._availability.pause_s > 0:
            return None
        return self._plan.next(self._clock())

    async def _wait(self) -> None:
        """Until something may have become due."""
        due_s, left_s = self._plan.due_s(), None
        if due_s is not None and self._ready:
            left_s = max(due_s - self._clock(), self._availability.pause_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._changed.wait()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sends.discard(task)
        self._changed.set()
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.fail(error)

    async def _send(self, notification: Notification) -> None:
        self._metrics.muted.inc(notification.muted)
        if not notification.alerts:
            self._settle(notification, {})
            return
        began_s = time.monotonic()
        try:
            refused = await self._sender.send(notification, self._clock())
        except BackendUnavailable as error:
            self._metrics.notifications["unavailable"].inc()
            self._unavailable(notification, error)
        else:
            self._availability.answered()
            self._metrics.notifications["refused" if refused else "ok"].inc()
            self._metrics.repeats.inc(notification.repeated)
            if refused:
                why = next(iter(refused.values()))
                _log.warning("target refuses", target=self._name, error=str(why))
            self._settle(notification, refused)
        finally:
            self._metrics.latency.observe(time.monotonic() - began_s)

    def _unavailable(self, notification: Notification, error: BackendUnavailable) -> None:
        if self._availability.failed(error, notification.settles):
            limit_s = self._target.retry.max_elapsed
            gone = RetriesExhausted(f"not told within {limit_s:g} s; last: {error}")
            self._settle(notification, {fp: gone for fp, _ in notification.settles})
        else:
            self._plan.settle(notification, self._clock(), told=False)

    def _settle(self, notification: Notification, errors: Mapping[str, PermanentError]) -> None:
        self._plan.settle(notification, self._clock(), told=True)
        said = {alert.fingerprint for alert in notification.alerts}
        unsaid = "silenced" if notification.muted else "unsaid"
        for fingerprint, transition in notification.settles:
            self._availability.over((fingerprint, transition))
            waiting = self._waiting.get(fingerprint)
            if waiting is None or waiting.id != transition:
                continue
            error = errors.get(fingerprint)
            outcome = "told" if fingerprint in said else unsaid
            if error is not None:
                outcome = "refused" if isinstance(error, BackendRefused) else "exhausted"
            self._metrics.transitions[outcome].inc()
            del self._waiting[fingerprint]
            self._over(fingerprint, waiting, error)

    def _over(
        self, fingerprint: str, waiting: _Waiting, error: PermanentError | None = None
    ) -> None:
        self._availability.over((fingerprint, waiting.id))
        if waiting.done.done():  # its delivery was cancelled
            return
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)

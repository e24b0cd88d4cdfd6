"""One target's notifier over real sockets: slow, failing, refusing; what a delivery waits for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from schemas.config import Notify
from schemas.errors import BackendRefused, RetriesExhausted
from streams.edges.notifiers import (
    Alert,
    Known,
    Notifier,
    NotifierMetrics,
    Start,
    TargetMetrics,
    TooManyAlerts,
    create_sender,
)
from tests.streams.edges.exporters.servers import HttpBackend, until

from .alerts import alert
from .test_grouping import silenced

QUICK = {"group_wait": 0, "group_interval": "40ms", "repeat_interval": "1h", "group_by": ["..."]}
RETRY = {"initial": 0.01, "maximum": 0.02}


def known(alerts: Sequence[Alert] = (), unsaid: Sequence[str] = ()) -> Start:
    return Start(
        {each.fingerprint: each for each in alerts if each.firing},
        {each.fingerprint: Known(each.id, each.at_s) for each in alerts},
        set(unsaid),
    )


class Target:
    """A webhook that does as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.hanging: asyncio.Event | None = None
        self.now = 0
        self.server = HttpBackend(self._answer)

    async def _answer(self, _request: web.Request) -> web.Response:
        self.now += 1
        try:
            if self.hanging is not None:
                await self.hanging.wait()
        finally:
            self.now -= 1
        return web.Response(status=self.status, headers=self.headers)

    @property
    def heard(self) -> list[tuple[str, str]]:
        """Fingerprint and state, in order, whatever the answer was."""
        return [
            (each["fingerprint"], each["status"])
            for body in self.server.bodies
            for each in json.loads(body)["alerts"]
        ]


class Running:
    """A notifier at work."""

    def __init__(
        self,
        notifier: Notifier,
        metrics: TargetMetrics,
        target: Target,
        registry: CollectorRegistry,
    ) -> None:
        self.it, self.target = notifier, target
        self._metrics, self._registry = metrics, registry

    def outcomes(self) -> dict[str, float]:
        """Transitions by outcome, those that there are."""
        counts = {name: c._value.get() for name, c in self._metrics.transitions.items()}
        return {name: count for name, count in counts.items() if count}

    def tries(self) -> dict[str, float]:
        """Notifications by answer."""
        return {name: c._value.get() for name, c in self._metrics.notifications.items()}

    def up(self) -> float:
        """As the gauge says."""
        return float(self._metrics.up._value.get())

    def pending(self) -> float:
        """As the gauge says."""
        name = "otlp_streams_notify_pending_transitions"
        return self._registry.get_sample_value(name, {"target": "it"}) or 0.0


@asynccontextmanager
async def running(
    alerts: Sequence[Alert] = (),
    unsaid: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[Running]:
    target = Target()
    async with target.server.running():
        url = f"http://127.0.0.1:{target.server.port}/"
        notify = Notify.model_validate(
            {
                "targets": {
                    "it": {"type": "webhook", "url": url, "retry": RETRY, **QUICK, **settings}
                }
            }
        )
        sender = create_sender(notify, "it")
        registry = CollectorRegistry()
        metrics = NotifierMetrics(registry).of("it")
        notifier = Notifier("it", notify.targets["it"], sender, metrics)
        found = Running(notifier, metrics, target, registry)
        await sender.start()
        notifier.begin(known(alerts, unsaid))
        try:
            yield found
        finally:
            notifier.close()
            await sender.stop()


async def still_waits(task: asyncio.Task[None], condition: Callable[[], object]) -> None:
    """It does when the condition has come true."""
    await until(condition)
    assert not task.done()


def now(name: str, **more: Any) -> Alert:
    return alert(name, at_s=time.time(), **more)


async def test_a_delivery_ends_when_the_target_has_it() -> None:
    async with running() as it:
        it.target.hanging = asyncio.Event()
        task = asyncio.create_task(it.it.deliver(now("a")))
        await still_waits(task, lambda: it.target.now)
        assert it.pending() == 1
        it.target.hanging.set()
        await task
        assert it.target.heard == [("a", "firing")]
        assert it.outcomes() == {"told": 1}
        assert it.pending() == 0


async def test_a_target_that_is_away_and_back_hears_the_latest_of_each_and_nothing_twice() -> None:
    async with running() as it:
        it.target.status = 503
        first = [asyncio.create_task(it.it.deliver(now(name))) for name in "abc"]
        await until(lambda: it.tries()["unavailable"] >= 3)
        assert it.up() == 0
        assert not it.it.is_up
        later = []
        for n in range(1, 102):
            for name in "ab":
                over = now(name, firing=n % 2 == 0)
                later.append(
                    asyncio.create_task(it.it.deliver(over._replace(id=f"{name}{n}", at_s=n)))
                )
        await until(lambda: it.outcomes().get("collapsed") == 202)
        assert not any(task.done() for task in (first[2], *later[-2:]))
        assert all(task.done() for task in later[:-2])
        assert it.pending() == 3
        it.target.server.bodies.clear()
        it.target.status = 200
        await asyncio.gather(*first, *later)
        # One try may have been under way with what was known before.
        assert sorted(it.target.heard[-3:]) == [
            ("a", "resolved"),
            ("b", "resolved"),
            ("c", "firing"),
        ]
        assert it.outcomes() == {"collapsed": 202, "told": 3}
        assert it.up() == 1


async def test_while_it_is_away_one_notification_asks_for_all() -> None:
    async with running(max_inflight=3) as it:
        it.target.hanging = asyncio.Event()
        tasks = [asyncio.create_task(it.it.deliver(now(f"a{n}"))) for n in range(9)]
        await until(lambda: it.target.now == 3)
        it.target.status = 503
        it.target.hanging.set()
        await until(lambda: it.tries()["unavailable"] >= 3 and not it.target.now)
        for _ in range(3):
            it.target.hanging = asyncio.Event()
            await until(lambda: it.target.now)
            assert it.it._next() is None, "others wait for its answer"
            assert it.target.now == 1
            tries = it.tries()["unavailable"]
            it.target.hanging.set()
            await until(lambda known=tries: it.tries()["unavailable"] > known)
        it.target.status = 200
        await asyncio.gather(*tasks)


async def test_the_targets_own_wish_is_kept() -> None:
    async with running(retry={"initial": 0.001, "maximum": 60}) as it:
        it.target.status, it.target.headers = 429, {"Retry-After": "1"}
        task = asyncio.create_task(it.it.deliver(now("a")))
        await until(lambda: it.tries()["unavailable"])
        began_s = time.monotonic()
        it.target.status = 200
        await task
        assert time.monotonic() - began_s > 0.7
        assert len(it.target.heard) == 2


async def test_a_slow_target_is_retried_after_its_timeout() -> None:
    async with running(timeout="50ms") as it:
        it.target.hanging = asyncio.Event()
        task = asyncio.create_task(it.it.deliver(now("a")))
        await still_waits(task, lambda: it.tries()["unavailable"] >= 2)
        it.target.hanging.set()
        await task


async def test_a_refusal_is_raised_and_not_repeated() -> None:
    async with running() as it:
        it.target.status = 400
        with pytest.raises(BackendRefused, match="HTTP 400"):
            await it.it.deliver(now("a"))
        it.target.status = 200
        await it.it.deliver(now("b"))
        assert it.target.heard == [("a", "firing"), ("b", "firing")]
        assert it.outcomes() == {"refused": 1, "told": 1}


async def test_max_elapsed_gives_up_what_was_tried_for_so_long() -> None:
    async with running(retry={**RETRY, "max_elapsed": "100ms"}) as it:
        it.target.status = 503
        with pytest.raises(RetriesExhausted, match=r"not told within 0.1 s; last: HTTP 503"):
            await it.it.deliver(now("a"))
        assert it.outcomes() == {"exhausted": 1}
        assert it.tries()["unavailable"] > 2
        it.target.status = 200
        await it.it.deliver(now("b"))


async def test_what_is_not_for_the_target_ends_at_once() -> None:
    async with running(match=["severity=~critical|error"]) as it:
        await it.it.deliver(now("a", severity="info"))
        await it.it.deliver(now("b", severity="error"))
        assert it.target.heard == [("b", "firing")]
        assert it.outcomes() == {"unmatched": 1, "told": 1}


async def test_what_is_silenced_ends_and_is_told_when_the_silence_is_over() -> None:
    async with running() as it:
        it.it._plan.muting = silenced((0, int(time.time()) + 2), matcher="service=cart")
        await it.it.deliver(now("a"))
        assert it.outcomes() == {"silenced": 1}
        assert it.target.heard == []
        await until(lambda: it.target.heard == [("a", "firing")])


async def test_no_more_than_max_alerts_are_kept() -> None:
    async with running(max_alerts=2) as it:
        await it.it.deliver(now("a"))
        await it.it.deliver(now("b"))
        with pytest.raises(TooManyAlerts, match="2"):
            await it.it.deliver(now("c"))
        await it.it.deliver(now("a", firing=False))
        await it.it.deliver(now("c"))
        assert it.outcomes() == {"told": 4, "overflow": 1}


async def test_what_fires_is_told_again_in_time() -> None:
    async with running(repeat_interval="100ms") as it:
        await it.it.deliver(now("a"))
        await until(lambda: len(it.target.heard) >= 3)
        assert set(it.target.heard) == {("a", "firing")}


async def test_held_it_begins_nothing_and_what_waits_is_under_way_for_nobody() -> None:
    async with running() as it:
        for reason in ("frozen", "paused"):
            it.it.hold(reason, True)
        task = asyncio.create_task(it.it.deliver(now("a")))
        await until(lambda: it.pending() == 1)
        await it.it.idle()
        it.it.hold("frozen", False)
        assert it.it._next() is None, "it is due, and still held"
        it.it.hold("paused", False)
        await task


async def test_idle_waits_for_what_is_under_way() -> None:
    async with running() as it:
        it.target.hanging = asyncio.Event()
        task = asyncio.create_task(it.it.deliver(now("a")))
        await until(lambda: it.target.now)
        it.it.hold("frozen", True)
        idle = asyncio.create_task(it.it.idle())
        await still_waits(idle, lambda: it.target.now)
        it.target.hanging.set()
        await asyncio.gather(idle, task)


async def test_after_a_restart_only_what_comes_again_is_told_again() -> None:
    a, b = now("a"), now("b")
    over = now("c", firing=False)
    fired = alert("c", at_s=over.at_s - 5)
    async with running([a, b, over], group_wait="20ms") as it:
        # b and c were not committed. Of c the end is known already: it is told once.
        await asyncio.gather(it.it.deliver(b), it.it.deliver(fired), it.it.deliver(over))
        assert sorted(it.target.heard) == [("b", "firing"), ("c", "resolved")]
        assert it.outcomes() == {"collapsed": 1, "told": 2}
        end = now("a", firing=False)
        await it.it.deliver(end)
        assert it.target.heard[-1] == ("a", "resolved")


async def test_what_may_have_been_told_before_something_that_is_not_is_resolved() -> None:
    async with running(unsaid=["a"], group_wait="20ms") as it:
        fire, over = now("a"), now("a", firing=False)
        await asyncio.gather(it.it.deliver(fire), it.it.deliver(over))
        assert it.target.heard == [("a", "resolved")]
    async with running(group_wait="20ms") as it:
        fire, over = now("a"), now("a", firing=False)
        await asyncio.gather(it.it.deliver(fire), it.it.deliver(over))
        assert it.target.heard == []
        assert it.outcomes() == {"collapsed": 1, "unsaid": 1}


async def test_a_defect_is_raised_by_whoever_waits_or_comes() -> None:
    class Broken:
        async def start(self) -> None: ...

        async def stop(self) -> None: ...

        async def send(self, *_: object) -> dict[str, BackendRefused]:
            raise ZeroDivisionError("a defect")

    notify = Notify.model_validate(
        {"targets": {"it": {**QUICK, "type": "webhook", "url": "http://h"}}}
    )
    metrics = NotifierMetrics(CollectorRegistry()).of("it")
    notifier = Notifier("it", notify.targets["it"], Broken(), metrics)
    notifier.begin(known())
    try:
        for name in "ab":
            with pytest.raises(ZeroDivisionError):
                await notifier.deliver(now(name))
    finally:
        notifier.close()


async def test_whoever_waits_for_the_beginning_is_not_overtaken() -> None:
    async with running(group_wait="20ms") as it:
        it.it._begun.clear()
        fire, over = now("a"), now("a", firing=False)
        first = asyncio.create_task(it.it.deliver(fire))
        await asyncio.sleep(0)
        second = asyncio.create_task(it.it.deliver(over))
        it.it._begun.set()  # the second one has not run yet, and would find it set
        await asyncio.gather(first, second)
        assert it.outcomes() == {"collapsed": 1, "unsaid": 1}
        assert it.target.heard == []

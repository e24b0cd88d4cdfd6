"""What goes wrong in a run, and when: data, drawn from a seed, that can be shrunk and read.

The seed also decides every delay, order and choice that is not an event. Without an event a run
goes on otherwise from there, but it stays reproducible, which is all that shrinking needs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = ["Event", "Schedule", "draw", "shrink"]

REQUESTS = ("start", "send", "offset", "commit", "read", "committed", "begin", "end", "fetch",
            "join", "heartbeat")  # fmt: skip
"""Kinds of requests that a fault may hit."""


class Event(NamedTuple):
    """At ``step`` of the loop, or as soon as it makes sense."""

    step: int
    kind: str
    worker: int = 0
    seconds: float = 0.0
    request: str = ""
    """Of a fault: the next request of this kind, by this worker."""
    mode: str = ""
    count: int = 1

    def __str__(self) -> str:
        who, seconds = f"worker {self.worker}", f"{self.seconds:.2f} s"
        times = f", {self.count} times" if self.count > 1 else ""
        what = {
            "crash": f"{who} is killed, back after {seconds}",
            "stop": f"{who} is told to stop, back after {seconds}",
            "pause": f"{who} stands still for {seconds}",
            "rebalance": f"the group is rebalanced{times}, {seconds} apart",
            "fault": f"{who}: request '{self.request}' is {self.mode} ({seconds}){times}",
            "away": f"brokers are away for {seconds}",
            "slow": f"requests take up to {seconds}",
            "compact": f"the journal is compacted up to {self.seconds:.0%} of it",
            "eat": "retention eats what is committed of the source, and some of what is quoted",
            "reset": f"a person resets the group to {self.seconds:.0%} of partition {self.worker}",
            "adjust": f"{self.count} decide from now on",
            "grow": "every topic has one more partition",
            "tight": f"logs take no decisions, and nothing that is gathered, for {seconds}",
        }
        return f"step {self.step:>6}: {what[self.kind]}"


@dataclass(frozen=True)
class Schedule:
    """A whole run."""

    seed: int
    workers: int = 2
    topics: int = 1
    partitions: int = 2
    messages: int = 20
    """Of each source partition."""
    spread_s: float = 2.0
    """They are written over so long."""
    shuffle: bool = True
    """The order of what is ready is drawn."""
    marker_delay_s: float = 0.01
    commit_interval_s: float = 0.2
    commit_max_bytes: int = 300
    """Of outputs in a transaction, and of snapshots."""
    refusals: bool = False
    """Some outputs are larger than brokers take."""
    events: tuple[Event, ...] = ()

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {self.workers} workers, {self.topics} topics of {self.partitions}"
            f" partitions, {self.messages} messages each over {self.spread_s:.1f} s,"
            f" order {'drawn' if self.shuffle else 'as it comes'},"
            f" markers up to {self.marker_delay_s * 1000:.0f} ms,"
            f" commits every {self.commit_interval_s:.2f} s or {self.commit_max_bytes} bytes"
            f"{', brokers refuse some outputs' if self.refusals else ''}"
        )
        return "\n".join([head, *(f"  {event}" for event in self.events)])


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    rng = random.Random(f"schedule {seed}")
    workers = rng.choice((1, 2, 2, 3))
    quiet = rng.random() < 0.03
    horizon = rng.choice((400, 1500, 3000))
    # A run has a character: mostly one or two kinds of trouble, sometimes all of them.
    kinds = rng.sample(
        [
            "crash",
            "stop",
            "pause",
            "rebalance",
            "fault",
            "fault",
            "away",
            "slow",
            "compact",
            "eat",
            "reset",
            "adjust",
            "adjust",
            "grow",
            "tight",
        ],
        rng.choice((1, 2, 2, 3, 15)),
    )
    events = []
    for _ in range(0 if quiet else rng.choice((1, 2, 3, 5, 8))):
        events.append(_event(rng, rng.choice(kinds), rng.randrange(horizon), workers))
    return Schedule(
        seed=seed,
        workers=workers,
        topics=rng.choice((1, 1, 2)),
        partitions=rng.choice((1, 1, 2)),
        messages=rng.choice((6, 12, 20)),
        spread_s=rng.choice((0.0, 1.0, 3.0)),
        shuffle=rng.random() < 0.5,
        marker_delay_s=rng.choice((0.0, 0.005, 0.05)),
        commit_interval_s=rng.choice((0.1, 0.2, 0.5)),
        commit_max_bytes=rng.choice((40, 300)),
        refusals=rng.random() < 0.1,
        events=tuple(sorted(events)),
    )


def _event(rng: random.Random, kind: str, step: int, workers: int) -> Event:
    worker = rng.randrange(workers)
    if kind == "fault":
        request = rng.choice(REQUESTS)
        # Most of what can go wrong goes wrong where transactions are made.
        if rng.random() < 0.6:
            request = rng.choice(("start", "send", "offset", "commit", "commit"))
        mode = rng.choice(("lost", "unanswered", "late", "slow"))
        seconds = rng.choice((0.01, 0.1, 1.0, 3.0))
        return Event(step, kind, worker, seconds, request, mode, rng.choice((1, 1, 1, 3)))
    if kind in ("crash", "stop"):
        return Event(step, kind, worker, rng.choice((0.0, 0.1, 1.0, 5.0)))
    if kind == "pause":
        return Event(step, kind, worker, rng.choice((0.05, 0.5, 2.0, 4.0, 8.0)))
    if kind == "rebalance":
        return Event(step, kind, 0, rng.choice((0.0, 0.05, 0.4)), count=rng.choice((1, 1, 2, 4)))
    if kind == "away":
        return Event(step, kind, 0, rng.choice((0.1, 1.0, 4.0, 8.0)))
    if kind == "reset":
        return Event(step, kind, worker, rng.choice((0.0, 0.5, 0.9)))
    if kind == "adjust":
        return Event(step, kind, 0, 0.0, count=rng.choice((2, 3, 6)))
    if kind == "tight":
        return Event(step, kind, 0, rng.choice((0.3, 2.0)))
    if kind == "slow":
        return Event(step, kind, 0, rng.choice((0.02, 0.1, 0.5)))
    return Event(step, kind, 0, rng.choice((0.3, 0.7, 1.0)))


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], tries: int = 200) -> Schedule:
    """A smaller schedule that still fails; each step of it is one that does."""
    progress = True
    while progress and tries > 0:
        progress = False
        for smaller in _smaller(schedule):
            tries -= 1
            if tries < 0:
                break
            if fails(smaller):
                schedule, progress = smaller, True
                break
    return schedule


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    events = schedule.events
    size = len(events)
    if size > 3:
        yield replace(schedule, events=events[: size // 2])
        yield replace(schedule, events=events[size // 2 :])
    for index in range(size):
        yield replace(schedule, events=events[:index] + events[index + 1 :])
    for change in (
        {"workers": schedule.workers - 1},
        {"topics": 1},
        {"partitions": 1},
        {"messages": schedule.messages // 2},
        {"shuffle": False},
        {"refusals": False},
        {"marker_delay_s": 0.0},
        {"spread_s": 0.0},
    ):
        smaller = replace(schedule, **change)  # type: ignore[arg-type]
        if smaller != schedule and smaller.workers and smaller.messages:
            if any(event.worker >= smaller.workers for event in events):
                continue
            yield smaller
    for index, event in enumerate(events):
        for simpler in (
            event._replace(count=event.count // 2),
            event._replace(seconds=event.seconds / 2 if event.seconds > 0.1 else 0.0),
        ):
            if simpler != event and simpler.count:
                yield replace(schedule, events=(*events[:index], simpler, *events[index + 1 :]))

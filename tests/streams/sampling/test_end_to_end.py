"""Both operators over random traffic, crashes and changes: the kept is there, once and whole."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from schemas.config.sampling import Sampling
from streams import wire
from streams.sampling.outgoing import REKEYED, SOURCE
from streams.sampling.records import VerdictRecord, WorkOrder, decode
from streams.sampling.sample import Sample
from tests.streams.sampling.host import DECISIONS, OUTPUT, SPANS, Host, choose
from tests.streams.sampling.traffic import START_MS, Told, request, spans_of

PARTITIONS, RECORD_MAX = 3, 1000
POLICIES = (
    {"name": "errors", "match": {"status": "error"}, "always": True, "exempt": True},
    {
        "name": "limited",
        "match": {"span_count": {"min": 4}},
        "rate_limit": {"traces_per_second": 3},
    },
    {"name": "rest", "budget": {"traces_per_second": 6.0}},
)
BASE = {
    "decision_wait": 4.0, "root_wait": 1.0, "order_interval": 2.5, "order_source_max": 1024,
    "policies": POLICIES,
}  # fmt: skip
VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "few open": {"max_open_traces": 5, "root_wait": 0.0},
    "everything": {"policies": [{"name": "all", "always": True}], "order_interval": 0.0},
    "half": {"policies": [{"name": "half", "probability": 0.5}], "order_source_max": 1 << 20},
    # Traces may be decided anew, when they are not remembered any longer.
    "little memory": {"kept_max": 5, "dropped_max": 1},
    "long gaps": {"decision_memory": 5.0, "policies": [{"name": "half", "probability": 0.5}]},
    "short memory": {"decision_memory": 4.0},
    "wrong clocks": {},
}
FORGETFUL = ("little memory", "long gaps", "short memory", "wrong clocks")
LONG_MS = {"long gaps": 300_000}
"""How long nothing comes now and then, where it is not six seconds."""
AHEAD_MS = 600_000
"""How much a broker's clock is ahead now and then, of wrong ones."""


def sampling(**changes: object) -> Sampling:
    return Sampling.model_validate({**BASE, **changes})


class Traffic:
    """Traces that begin now and then, and whose spans come in any order, some of them late."""

    def __init__(self, rng: np.random.Generator, misplaced: float) -> None:
        self.rng, self.misplaced = rng, misplaced
        self.next, self.recent = 1, list[int]()
        self.sent: Counter[tuple[bytes, bytes]] = Counter()
        self.spans = 0

    def message(self, partitions: int) -> tuple[int, bytes]:
        """A partition and a request for it."""
        rng, told = self.rng, []
        for _ in range(int(rng.integers(1, 7))):
            if not self.recent or rng.random() < 0.4:
                self.recent.append(self.next)
                self.next += 1
            number = self.recent[-1 - int(rng.integers(0, min(len(self.recent), 25)))]
            self.spans += 1
            told.append(
                Told(
                    number, span=self.spans, parent=int(rng.random() < 0.7),
                    service=str(rng.choice(["a", "b"])), error=rng.random() < 0.05,
                    name=str(rng.choice(["GET", "PUT"])), fill=int(rng.choice([0, 0, 300])),
                )
            )  # fmt: skip
        value = request(told)
        part = wire.partition_by_trace(wire.scan_traces(value), partitions)
        partition = int(part[0])
        if rng.random() >= self.misplaced:
            value = wire.select(value, wire.scan_traces(value), part == partition)
        self.sent.update(spans_of(value))
        return partition, value


def run(seed: int, variant: str, *, grow: bool) -> tuple[Host, Traffic]:
    """A history of some hundred steps; every decision of it depends on ``seed`` alone."""
    rng = np.random.default_rng(seed)
    settings = sampling(**VARIANTS[variant])

    def make(partition: int, partitions: int) -> Sample:
        return Sample(
            settings, source=SPANS, decisions=DECISIONS, partition=partition, partitions=partitions
        )

    host, traffic, now = Host(make, PARTITIONS, RECORD_MAX), Traffic(rng, 0.1), START_MS
    ahead_ms = highest_ms = 0
    grow_at = int(rng.integers(60, 120)) if grow else -1
    for step in range(180):
        now += int(rng.exponential(150)) + int(rng.random() < 0.02) * LONG_MS.get(variant, 6000)
        if step == grow_at:
            host.grow(2 * PARTITIONS, RECORD_MAX)
        if variant == "wrong clocks" and rng.random() < 0.05:
            ahead_ms = AHEAD_MS - ahead_ms
            highest_ms = AHEAD_MS
        # Who sends may not have heard yet that there are more partitions.
        known = PARTITIONS if grow and step < grow_at + 10 else host.partitions
        for _ in range(int(rng.integers(0, 3))):
            partition, value = traffic.message(known)
            tenant = (("tenant", b"t%d" % rng.integers(2)),) if rng.random() < 0.5 else ()
            host.send(value, partition, now + ahead_ms, tenant)
        if rng.random() < 0.03:
            host.send(b"\xff", int(rng.integers(host.partitions)), now)
        for lane in host.lanes:
            match choose(rng, take=6, tick=1, commit=2, crash=0.4, compare=0.4, snapshot=0.4):
                case "take":
                    lane.take()
                case "tick" if not lane.waiting():
                    lane.tick(now + highest_ms)
                case "commit":
                    lane.commit(now)
                case "crash":
                    lane.crash()
                case "compare":
                    lane.commit(now)
                    lane.shadow = lane.fresh()
                case "snapshot":
                    lane.commit(now)
                    lane.write_snapshot()
        if rng.random() < 0.2:
            host.emit(now)
        if variant not in FORGETFUL and rng.random() < 0.02:
            settings = sampling(
                **VARIANTS[str(rng.choice([name for name in VARIANTS if name not in FORGETFUL]))]
            )
            for lane in host.lanes:
                lane.crash()
    host.finish(now + highest_ms + 1000)
    return host, traffic


class Decided:
    """Verdicts about a trace on a partition."""

    def __init__(self) -> None:
        self.kept: list[bool] = []
        self.spans = 0
        """That had come for one of them."""


def read(host: Host) -> tuple[dict[tuple[int, bytes], Decided], dict[int, list[WorkOrder]]]:
    """Verdicts by partition and trace, and orders by partition."""
    verdicts: dict[tuple[int, bytes], Decided] = defaultdict(Decided)
    orders: dict[int, list[WorkOrder]] = defaultdict(list)
    for batch in host.records(DECISIONS):
        found = decode(batch.value)
        if isinstance(found, WorkOrder):
            orders[batch.partition].append(found)
            continue
        assert isinstance(found, VerdictRecord)
        traces = found.traces
        ids = zip(traces.trace_id_high.tolist(), traces.trace_id_low.tolist(), strict=True)
        told = zip(ids, traces.kept.tolist(), traces.spans.tolist(), strict=True)
        for (high, low), kept, spans in told:
            each = verdicts[batch.partition, (high << 64 | low).to_bytes(16, "big")]
            each.kept.append(kept)
            each.spans += spans
    return verdicts, orders


def taken(host: Host) -> dict[tuple[bytes, bytes], int]:
    """On which partition each span was taken: where it came, or where it was sent from there."""
    places: dict[tuple[bytes, bytes], int] = {}
    sent_on: set[tuple[bytes, bytes]] = set()
    for batch in host.records(SPANS):
        if batch.value == b"\xff":
            continue
        rekeyed = any(name == REKEYED for name, _ in batch.headers)
        for span in spans_of(batch.value):
            if rekeyed:
                assert span not in sent_on, "sent on twice"
                sent_on.add(span)
            if rekeyed or span not in sent_on:
                places[span] = batch.partition
    return places


def check(host: Host, traffic: Traffic, *, forgetful: bool = False) -> None:
    """What is true at the end of any history."""
    verdicts, orders = read(host)
    places = taken(host)
    assert places.keys() == traffic.sent.keys()
    assert verdicts.keys() == {(places[span], span[0]) for span in places}
    got: Counter[tuple[bytes, bytes]] = Counter()
    for batch in host.records(OUTPUT):
        got.update(spans_of(batch.value))
        assert [name for name, _ in batch.headers if name != "tenant"] == [SOURCE]
        assert len(batch.value) <= RECORD_MAX
    came = Counter((place, span[0]) for span, place in places.items())
    for where, decided in verdicts.items():
        assert forgetful or len(decided.kept) == 1, "decided twice"
        assert decided.spans <= came[where], "a span counted for two verdicts"
    for span, place in places.items():
        kept = verdicts[place, span[0]].kept
        if len({*kept}) == 1:
            assert got[span] == kept[0]
    assert set(got.values()) == {1}
    for partition, each in orders.items():
        log = host.logs[SPANS, partition]
        tiles = sorted({(order.start, order.stop) for order in each})
        assert tiles[0][0] == tiles[0][1], "a mark"
        ranges = [tile for tile in tiles if tile[0] < tile[1]]
        assert [start for start, _ in ranges[1:]] == [stop for _, stop in ranges[:-1]]
        assert ranges[-1][1] > max(b.offset for b in log.batches if b.value != b"\xff")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(6))
def test_kept_traces_are_whole_and_once_and_dropped_ones_are_not_there(
    seed: int, variant: str
) -> None:
    host, traffic = run(seed, variant, grow=False)
    check(host, traffic, forgetful=variant in FORGETFUL)
    verdicts, _ = read(host)
    assert len({trace for _, trace in verdicts}) == len(verdicts), "one partition a trace"


@pytest.mark.parametrize("seed", range(6))
def test_partitions_are_added(seed: int) -> None:
    """What had come stays where it is; a trace may be decided on two partitions, each alone."""
    host, traffic = run(seed, "plain", grow=True)
    check(host, traffic)
    told = [order.partitions for order in read(host)[1][0]]
    assert [count for _, count in told[0]] == [PARTITIONS]
    assert [count for _, count in told[-1]][-1] == 2 * PARTITIONS

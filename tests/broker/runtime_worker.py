"""A worker process for the runtime's tests: ``python -m tests.broker.runtime_worker FILE``.

FILE is JSON: config, topics, done (where finished messages are written), kind, and knobs.
A message's value is its id, blanks, and words that tell what shall become of it:
``poison`` is refused for good, ``fatal`` is a defect, ``flaky:N`` fails N times, ``slow:S``
takes S seconds. Each finished message is one line: topic, partition, offset, id, size of its call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from schemas.batches import Batch, Record
from schemas.config import Config
from schemas.errors import BackendRefused, BackendUnavailable, MalformedMessage
from schemas.operators import Operator, Outcome, Scanned
from tests.operators.counting import Counting, scan
from topologies.runtime import Stage, serve


class RecordingSink:
    def __init__(self, done: int, knobs: dict[str, Any]) -> None:
        self._done = done
        self._knobs = knobs
        self._tries: Counter[int] = Counter()
        self._rng = random.Random(os.getpid())

    async def deliver(self, batches: Sequence[Batch]) -> None:
        if delay := self._knobs.get("delay_s", 0.0):
            await asyncio.sleep(self._rng.uniform(0, 2 * delay))
        for batch in batches:
            await self._obey(batch)
        lines = "".join(
            f"{b.topic} {b.partition} {b.offset} {ident(b)} {len(batches)}\n" for b in batches
        )
        os.write(self._done, lines.encode())

    async def _obey(self, batch: Batch) -> None:
        for word in batch.value[:200].decode("latin1").split()[1:]:
            verb, _, number = word.partition(":")
            if verb == "poison":
                raise BackendRefused("no such tenant é", "400")
            if verb == "fatal":
                raise KeyError("a defect of the test")
            if verb == "slow":
                await asyncio.sleep(float(number))
            if verb == "flaky":
                self._tries[batch.offset] += 1
                if self._tries[batch.offset] <= int(number):
                    raise BackendUnavailable("not now")


class CopyingOperator:
    name = "copying"
    format_version = 1
    log_topic = None
    snapshots = "none"

    def __init__(self, output: str, partition: int, ticks: Path) -> None:
        self._output = output
        self._partition = partition
        self._ticks = ticks

    def process(self, scanned: Scanned) -> Outcome:
        batch = scanned.batch
        if b" poison" in batch.value[:200]:
            raise MalformedMessage("bad wire type", 7)
        if b" fatal" in batch.value[:200]:
            raise KeyError("a defect of the test")
        if b" huge" in batch.value[:200]:
            return Outcome([Record(self._output, b"x" * 2_000_000, self._partition)])
        if b" refused" in batch.value[:200]:
            # Fits our own limit and not the topic's; what comes with it does.
            values = (ident(batch).encode() + b" a\n", random.Random(0).randbytes(200_000))
            return Outcome([Record(self._output, value, self._partition) for value in values])
        value = ident(batch).encode()
        parts = (value + b" a\n", value + b" b\n")
        where = (self._partition, b"k", batch.headers)
        return Outcome([Record(self._output, part, *where) for part in parts])

    def tick(self, now_ms: int) -> Outcome:
        with self._ticks.open("a") as file:
            file.write(f"{self._partition} {now_ms}\n")
        return Outcome()

    def flush(self) -> Sequence[Record]:
        return ()

    def recall(self, record: Batch) -> None:
        raise AssertionError("it has no log")

    def snapshot(self) -> Sequence[bytes]:
        raise AssertionError("it has no snapshots")

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise AssertionError("it has no snapshots")

    def adjust(self, name: str, value: object) -> None:
        pass


class LoggingOperator(CopyingOperator):
    """What it writes is its log."""

    def __init__(self, output: str, partition: int, ticks: Path) -> None:
        super().__init__(output, partition, ticks)
        self.log_topic = output

    def recall(self, record: Batch) -> None:
        pass


def counting(output: str, knobs: dict[str, Any]) -> Callable[[str, int, int], Sequence[Operator]]:
    kind = Counting.by_snapshot if knobs["counting"] == "snapshot" else Counting.by_replay
    return lambda _topic, _partition, _partitions: [kind(output)]


def ident(batch: Batch) -> str:
    return batch.value[:200].decode("latin1").split()[0]


def break_the_fetcher() -> None:
    """Faust's own task dies, in a way that no lane can notice."""
    from topologies.runtime.faust_app import _Consumer

    polls = iter(range(5))
    original = _Consumer._getmany

    async def getmany(self: Any, **kwargs: Any) -> Any:
        if next(polls, None) is None:
            raise RuntimeError("the fetcher of the test is broken")
        return await original(self, **kwargs)

    _Consumer._getmany = getmany


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(name)s %(message)s")
    done = os.open(order["done"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    config = Config.model_validate(order["config"])
    knobs = order.get("knobs", {})
    common = {
        "name": "test",
        "topics": tuple(order["topics"]),
        "max_inflight": knobs.get("max_inflight", 4),
        "merge_max_bytes": knobs.get("merge_max_bytes", 0),
    }
    if output := order.get("output"):
        ticks = Path(order["done"]).with_suffix(".ticks")
        kind = LoggingOperator if knobs.get("logs") else CopyingOperator
        operators = lambda _, partition, __: [kind(output, partition, ticks)]  # noqa: E731
        if knobs.get("counting"):
            operators = counting(output, knobs)
        merge = bool(knobs.get("merge"))
        stage = Stage(
            operators=operators,
            scan=scan if knobs.get("counting") else None,
            merge_outputs=merge,
            outputs=(output,),
            **common,
        )
    else:
        stage = Stage(sink=lambda _t, _p: RecordingSink(done, knobs), **common)
    stages = [stage]
    if knobs.get("apart"):
        stages = [replace(stage, name=topic, topics=(topic,)) for topic in stage.topics]
    if knobs.get("crash"):
        break_the_fetcher()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(stages, config))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss: that one remembers the parent from before exec.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM"))
    cpu_s = usage.ru_utime + usage.ru_stime
    print(json.dumps({"rss_kb": int(peak.split()[1]), "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()

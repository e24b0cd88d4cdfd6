"""What the simulator has found once, each alone."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

from schemas.batches import Batch, Record
from topologies.runtime.finding import Place
from topologies.runtime.intake import Intake
from topologies.runtime.journal import Progress, progress_key
from topologies.runtime.partitions import PartitionCount
from topologies.runtime.ports import Offset
from topologies.runtime.recovery import Recovery

from .client import Network, SimLog, SimTransactions
from .kafka import Kafka
from .loop import SimClock, SimLoop


async def test_messages_that_come_while_a_hole_is_read_are_taken_once() -> None:
    batches = [Batch("in", 0, offset, 0, None, b"x", ()) for offset in range(4)]

    class SlowLog:
        async def end(self, topic: str, partition: int) -> int:
            return 3

        async def read(
            self, topic: str, partition: int, start: int, stop: int
        ) -> AsyncIterator[Sequence[Batch]]:
            for batch in batches[1:]:
                intake.put(batch)  # in the meantime
            yield batches[start:stop]

    intake = Intake("in", 0, SlowLog())  # type: ignore[arg-type]
    intake.begin(0)
    assert await intake.check()
    while intake.unsure:
        await intake.fill()
    assert [intake.take().offset for _ in range(len(intake))] == [0, 1, 2, 3]
    assert intake.next == 4
    assert intake.bytes == 0


def test_an_open_transaction_of_another_lane_hides_no_progress() -> None:
    """The journal's partition is shared by the sources of a stage; so is its stable offset."""
    loop = SimLoop(random.Random(0), shuffle=True)
    kafka = Kafka(loop, random.Random(0), transaction_timeout_s=5.0)
    for topic in ("in0", "in1", "journal"):
        kafka.create(topic, 1)
    network = Network(kafka, random.Random(0))

    async def main() -> None:
        theirs, ours = (SimTransactions(network, name) for name in ("in0", "in1"))
        await theirs.start()
        await ours.start()
        for _ in range(9):
            kafka.write(Record("in1", b"x", 0))
        kafka.produce("in0", 0, [Record("journal", b"x", 0, b"in0/progress")])  # and dies
        said = Progress(7, 0, 0, {}).encode()
        record = Record("journal", said, 0, progress_key("in1"))
        await ours.commit([record], Offset("group", "in1", 0, 7))
        await SimTransactions(network, "in1").start()
        recovery = Recovery(
            Place("in1", 0, "group", "journal"),
            SimLog(network),
            make_operators=lambda _: (),
            scan=None,
            partitions=PartitionCount("in1", 0, SimLog(network), lambda: None),
            clock=SimClock(loop, random.Random(0)),
            auto_offset_reset="earliest",
        )
        found = await recovery.run()
        assert found.decision.start == "resume"
        assert found.position == 7
        assert loop.time() > 5

    loop.run_until_complete(main())
    assert not loop.unseen()
    loop.shut()

"""How a lane gets its state back: the same after an assignment, a crash, and any error.

    1. find how far it had come: the last progress record, then the group's committed offset.
       The lane's producer has started before: it has fenced the old owner, and only then do
       these two tell the truth
    2. decide where to go on (decision.py)
    3. restore each operator from its newest complete snapshot
    4. recall what each operator's log holds since
    5. replay the source from where each operator needs it: on top of a snapshot of its whole
       state from where that was taken, else from where its last outcome says. What they return
       is dropped

The caller then seeks to ``Recovered.position``. Nothing here writes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from schemas.batches import Batch
from schemas.errors import MalformedMessage, PermanentError
from schemas.operators import Operator, Scanned

from .clock import Clock
from .decision import Decision, Found, decide
from .finding import Finding, Place
from .hosted import HostedOperator
from .journal import Progress, SnapshotPlace, snapshot_key, unframed
from .partitions import PartitionCount
from .ports import Log

__all__ = ["Recovered", "Recovery"]

_log = logging.getLogger(__name__)


class Recovered(NamedTuple):
    """A lane's state, as before."""

    operators: list[HostedOperator]
    partitions: int
    """Of the topic; what operators were told."""
    position: int
    watermark_ms: int
    decision: Decision
    replayed: int
    """Messages."""
    replayed_items: int
    """What their scans say they hold; 0 where there is no scan."""
    recalled: int
    """Log records."""
    lost: int
    """Source offsets that retention had removed before they were processed."""
    lost_replay: int
    """Offsets of source and logs that retention had removed before they could be read again."""
    text: str
    """What was done, for the log."""


class Recovery:
    """Steps 1 to 5 for one lane."""

    def __init__(
        self,
        place: Place,
        log: Log,
        *,
        make_operators: Callable[[int], Sequence[Operator]],
        scan: Callable[[str, bytes], Any] | None,
        partitions: PartitionCount,
        clock: Clock,
        auto_offset_reset: str,
    ) -> None:
        self._place = place
        self._log = log
        self._finding = Finding(place, log, clock)
        self._make = make_operators
        self._scan = scan
        self._partitions = partitions
        self._auto_offset_reset = auto_offset_reset

    async def run(self) -> Recovered:
        """Raises RetryableError when Kafka does not answer."""
        found = await self._finding.find()  # 1
        decision = decide(found, self._auto_offset_reset)  # 2
        position = decision.position
        progress = None if decision.fresh else found.progress
        partitions = await self._partitions.ask()
        make = partial(self._make, partitions)
        hosted = [await self._host(each, progress, position) for each in make()]
        self._see_to(hosted)
        texts = [self._said(decision, found)]
        recalled, lost_log, starts = 0, 0, {}
        for each in hosted:
            begin, log_position, text = await self._restore(each, position, make)  # 3
            texts += [text] if text else []
            lost_log += await self._recall(each, log_position)  # 4
            recalled += each.recalled
            starts[each.name] = begin
        replayed, items, lost_replay = await self._replay(hosted, starts, position, found.begin)
        if replayed:
            texts.append(f"{replayed} messages from {min(starts.values())} replayed")
        if recalled:
            texts.append(f"{recalled} log records recalled")
        for lost, what in ((lost_replay, "the replay"), (lost_log, "logs")):
            if lost:
                texts.append(f"retention had removed {lost} offsets of {what}")
        watermark_ms = 0 if progress is None else progress.watermark_ms
        return Recovered(
            hosted, partitions, position, watermark_ms, decision, replayed, items, recalled,
            decision.lost, lost_replay + lost_log, "; ".join(texts),
        )  # fmt: skip

    # --- 3

    async def _host(
        self, operator: Operator, progress: Progress | None, position: int
    ) -> HostedOperator:
        log_end = None
        if operator.log_topic is not None:
            log_end = await self._finding.settled(operator.log_topic)
        known = None if progress is None else progress.operators.get(operator.name)
        if known is None:
            return HostedOperator(operator, self._place.topic, position, log_end)
        return HostedOperator.resume(operator, self._place.topic, known, log_end)

    async def _restore(
        self, hosted: HostedOperator, position: int, make: Callable[[], Sequence[Operator]]
    ) -> tuple[int, int | None, str]:
        """Where its replay and its recall begin, and what was done."""
        operator, snapshot = hosted.operator, hosted.snapshot
        latest = position if hosted.replay_from is None else min(hosted.replay_from, position)
        if operator.snapshots == "none":
            hosted.snapshot = None
            return latest, hosted.log_position(position), ""
        without = latest if operator.snapshots == "log" else min(hosted.began, position)
        if snapshot is None:
            return without, hosted.began_log, ""
        if snapshot.format_version != operator.format_version:
            why = f"is of version {snapshot.format_version}, wanted {operator.format_version}"
        else:
            chunks = await self._pieces(hosted.name, snapshot)
            if chunks is None:
                why = "is incomplete or damaged"
            else:
                try:
                    operator.restore(unframed(chunks))
                except MalformedMessage as error:
                    why = f"is not understood: {error}"
                else:
                    size, at = snapshot.size_bytes, snapshot.position
                    text = f"{hosted.name} from its snapshot at {at} ({size} bytes)"
                    begin = latest if operator.snapshots == "log" else snapshot.replay_from
                    return begin, snapshot.log_position, text
        _log.error(
            "%s: the snapshot of %s at %d %s; replaying from %d instead",
            self._place, hosted.name, snapshot.position, why, without,
        )  # fmt: skip
        hosted.operator = next(each for each in make() if each.name == hosted.name)
        hosted.snapshot = None
        return without, hosted.began_log, f"{hosted.name} without its snapshot, which {why}"

    async def _pieces(self, name: str, snapshot: SnapshotPlace) -> list[bytes] | None:
        place = self._place
        keys = {
            snapshot_key(place.topic, name, snapshot.slot, index): index
            for index in range(snapshot.pieces)
        }
        found: dict[int, bytes] = {}
        journal = self._log.read(place.journal, place.partition, snapshot.first, snapshot.last + 1)
        async for run in journal:
            for record in run:
                index = keys.get(record.key) if record.key else None
                if index is not None:
                    found[index] = record.value
        if len(found) < snapshot.pieces:
            return None
        digest = hashlib.blake2b(digest_size=16)
        parts = [found[index] for index in range(snapshot.pieces)]
        for part in parts:
            digest.update(part)
        return parts if digest.hexdigest() == snapshot.digest else None

    # --- 4

    async def _recall(self, hosted: HostedOperator, log_position: int | None) -> int:
        """Offsets of its log that retention has removed."""
        topic, partition, end = hosted.operator.log_topic, self._place.partition, hosted.log_end
        if topic is None or log_position is None or end is None or log_position >= end:
            return 0
        async for run in self._log.read(topic, partition, log_position, end):
            for record in run:
                hosted.recall(record)
            await asyncio.sleep(0)
        lost = max(0, min(await self._log.begin(topic, partition), end) - log_position)
        if lost:
            _log.error("%s: retention has removed %d offsets of the log of %s, from %d on",
                       self._place, lost, hosted.name, log_position)  # fmt: skip
        return lost

    # --- 5

    async def _replay(
        self, hosted: Sequence[HostedOperator], starts: dict[str, int], position: int, begin: int
    ) -> tuple[int, int, int]:
        """Messages and items replayed, offsets that retention has removed from the range."""
        first = min(starts.values(), default=position)
        if first >= position:
            return 0, 0, 0
        count = items = 0
        topic, partition = self._place.topic, self._place.partition
        async for run in self._log.read(topic, partition, first, position):
            for batch in run:
                count += 1
                items += self._again(batch, hosted, starts)
            await asyncio.sleep(0)
        return count, items, max(0, min(begin, position) - first)

    def _again(self, batch: Batch, hosted: Sequence[HostedOperator], starts: dict[str, int]) -> int:
        if not batch.value:
            return 0
        try:
            scan = None if self._scan is None else self._scan(batch.topic, batch.value)
        except PermanentError:
            return 0  # it lies in the dead-letter topic
        scanned = Scanned(batch, scan, replayed=True)
        for each in hosted:
            if starts[each.name] <= batch.offset:
                each.replayed += 1
                try:
                    each.process(scanned)
                except PermanentError:
                    continue
        items = getattr(scan, "items", 0)
        return items if isinstance(items, int) else 0

    def _see_to(self, hosted: Sequence[HostedOperator]) -> None:
        """Raises ValueError for operators that cannot be taken up again."""
        names = [each.name for each in hosted]
        if len(set(names)) < len(names) or any("/" in name for name in names):
            raise ValueError(
                f"{self._place}: names of operators must differ and have no slash: {names}"
            )
        for each in hosted:
            if each.operator.snapshots == "log" and each.operator.log_topic is None:
                raise ValueError(f"{self._place}: {each.name} has no log to make snapshots of")

    def _said(self, decision: Decision, found: Found) -> str:
        """Why it goes on there, for people; errors and warnings where it is not as before."""
        place, position = self._place, decision.position
        if decision.start == "reset":
            was = 0 if found.progress is None else found.progress.position
            text = f"the group was reset from {was} to {found.committed}: fresh state"
            _log.warning("%s: %s", place, text)
        elif decision.start == "journal lost":
            text = f"no journal for the committed offset {found.committed}: fresh state"
            _log.error("%s: %s", place, text)
        elif decision.start == "log replaced":
            text = f"the log ends at {found.end}, before what was processed: begun anew"
            _log.error("%s: %s", place, text)
        elif decision.start == "first":
            text = "first start"
        else:
            text = "resumed"
        if decision.lost:
            _log.error(
                "%s: retention removed %d offsets before they were processed",
                place, decision.lost,
            )  # fmt: skip
            text += f", {decision.lost} offsets lost to retention"
        return f"{text} at {position}"

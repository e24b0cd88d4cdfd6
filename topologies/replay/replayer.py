"""Sends laps of a recording to an OTLP endpoint and keeps account of every item."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.errors import PermanentError
from schemas.signals import Signal
from streams.edges.exporters import Delivery, Exported
from streams.recording.laps import AS_RECORDED, Lap, at_lap, fresh

from .pace import LAP_GAP_S, Pace
from .recording import Frame, Recording

__all__ = ["Replayer", "Tally"]

_SLEEP_MIN_S = 0.001


@dataclass
class Tally:
    """What became of the items, by signal."""

    sent: Counter[Signal] = field(default_factory=Counter)
    """Handed to the client at least once."""
    acknowledged: Counter[Signal] = field(default_factory=Counter)
    rejected: Counter[Signal] = field(default_factory=Counter)
    """Named as rejected in a partial success."""
    failed: Counter[Signal] = field(default_factory=Counter)
    """Refused for good, not taken in time, or given up at a stop."""
    requests: int = 0
    sent_bytes: int = 0
    """Uncompressed."""
    laps: int = 0
    """Laps begun."""
    errors: Counter[str] = field(default_factory=Counter)
    """Why items failed, by message, bounded."""

    @property
    def complete(self) -> bool:
        """Whether everything that was sent was acknowledged."""
        return self.acknowledged == self.sent

    def as_dict(self) -> dict[str, Any]:
        """For the JSON summary."""
        by_signal = {
            name: {str(signal): counts[signal] for signal in Signal if counts[signal]}
            for name, counts in (
                ("sent", self.sent), ("acknowledged", self.acknowledged),
                ("rejected", self.rejected), ("failed", self.failed),
            )
        }  # fmt: skip
        return {
            **by_signal,
            "requests": self.requests,
            "bytes": self.sent_bytes,
            "laps": self.laps,
            "errors": dict(self.errors),
        }


class Replayer:
    """One replay, from :meth:`run` to its end or :meth:`stop`.

    Args:
        recording: what to send.
        delivery: where to; started and stopped by its owner.
        pace: when.
        laps: how often; None until stopped.
        now: shift times to the present; without it laps follow each other in recorded time.
        fresh_ids: give each lap trace and span ids of its own.
        phase_s: begin so far within the first lap, as if it had begun earlier.
        concurrency: requests under way.
        choose: called with each frame that is due for the one to send instead; None: none is.
        tally: account to keep; several replays may share one.
        rng: where fresh ids come from.
        on_sent: called with signal and bytes before a request goes out.
        on_acknowledged: called with signal, bytes and verdict when it was acknowledged.
        on_lap: called with the number and difference of each lap that begins.
    """

    ERRORS_MAX = 20
    """Different failure messages that are remembered."""

    def __init__(
        self,
        recording: Recording,
        delivery: Delivery,
        pace: Pace,
        *,
        laps: int | None = 1,
        now: bool = False,
        fresh_ids: bool = False,
        phase_s: float = 0.0,
        concurrency: int = 32,
        choose: Callable[[Frame], Frame | None] = lambda frame: frame,
        tally: Tally | None = None,
        rng: np.random.Generator,
        on_sent: Callable[[Signal, bytes], None] = lambda _signal, _data: None,
        on_acknowledged: Callable[[Signal, bytes, Exported], None] = lambda _s, _d, _e: None,
        on_lap: Callable[[int, Lap], None] = lambda _number, _lap: None,
    ) -> None:
        self.tally = Tally() if tally is None else tally
        self._recording = recording
        self._delivery = delivery
        self._pace = pace
        self._laps = laps
        self._now = now
        self._fresh_ids = fresh_ids
        self._phase_s = phase_s
        self._choose = choose
        self._rng = rng
        self._on_sent = on_sent
        self._on_acknowledged = on_acknowledged
        self._on_lap = on_lap
        self._slots = asyncio.Semaphore(concurrency)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._defect: BaseException | None = None

    def stop(self) -> None:
        """Send nothing more; what is under way may finish."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._slots.release()  # the sender may wait for one that takes long to come free

    async def run(self, drain_s: float | None = None) -> None:
        """Send until done or stopped, then wait for the answers, ``drain_s`` at most.

        What has no answer by then counts as failed.
        """
        try:
            await self._send_laps()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=drain_s)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._defect is not None:
            raise self._defect

    async def _send_laps(self) -> None:
        skip_s, laps = self._phase_s, 0
        begin_s = time.monotonic() - skip_s
        while not self._stopping.is_set() and laps != self._laps:
            lap = self._lap(laps, skip_s)
            self._on_lap(self.tally.laps, lap)
            laps += 1
            self.tally.laps += 1
            for due_s, frame in self._pace.schedule(self._recording):
                if due_s < skip_s:
                    continue
                await self._until(begin_s + due_s)
                await self._slots.acquire()
                if self._stopping.is_set():
                    self._slots.release()
                    return
                chosen = self._choose(frame)
                if chosen is None:
                    self._slots.release()
                else:
                    self._send(chosen, lap)
            skip_s = 0.0
            begin_s = max(begin_s + self._pace.lap_s(self._recording), time.monotonic())
            if laps != self._laps:
                await self._until(begin_s)

    def _lap(self, number: int, skip_s: float) -> Lap:
        recording = self._recording
        if self._now:
            began_ns = time.time_ns() - round(skip_s * 1e9)
            shift_ns = self._pace.shift_to_ns(recording, began_ns)
        else:
            length_ns = recording.end_ns - recording.begin_ns + round(LAP_GAP_S * 1e9)
            shift_ns = number * length_ns
        if self._fresh_ids:
            return fresh(self._rng, shift_ns)
        return AS_RECORDED._replace(shift_ns=shift_ns)

    async def _until(self, at_s: float) -> None:
        pause_s = at_s - time.monotonic()
        if pause_s > _SLEEP_MIN_S:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _send(self, frame: Frame, lap: Lap) -> None:
        data = at_lap(frame.data, frame.layout, lap)
        self.tally.sent[frame.signal] += frame.layout.items
        self.tally.sent_bytes += len(data)
        self.tally.requests += 1
        self._on_sent(frame.signal, data)
        task = asyncio.create_task(self._deliver(frame, data))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._defect = error
            self.stop()

    async def _deliver(self, frame: Frame, data: bytes) -> None:
        signal, items = frame.signal, frame.layout.items
        failed, reason = items, "stopped before an answer came"
        try:
            exported = await self._delivery.deliver(signal, [data])
            rejected = min(exported.rejected, items)
            self.tally.rejected[signal] += rejected
            self.tally.acknowledged[signal] += items - rejected
            if rejected:
                self._note(exported.message or "rejected without a reason", rejected)
            failed = 0
            self._on_acknowledged(signal, data, exported)
        except PermanentError as error:
            reason = str(error)
        finally:
            if failed:
                self.tally.failed[signal] += failed
                self._note(reason, failed)

    def _note(self, reason: str, items: int) -> None:
        if reason in self.tally.errors or len(self.tally.errors) < self.ERRORS_MAX:
            self.tally.errors[reason] += items
        else:
            self.tally.errors["other reasons"] += items

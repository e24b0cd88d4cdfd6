"""An event loop without a machine under it: order and time are drawn from a seed.

Time stands still while something can run (but for some microseconds a step) and then leaps to the
next timer. Which of the callbacks that are ready runs next is drawn. asyncio itself promises
first come, first served; other orders are what a machine makes of it by delaying this or that,
and half of the seeds see them.

A :class:`Process` is what an operating system would kill or stop. Everything that was started
inside of one (:meth:`Process.spawn`) belongs to it, by its context: what a dead process would
run is dropped, what a stopped one would run waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import random
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from schemas.errors import OtlpStreamsError
from topologies.runtime.ports import Fenced

__all__ = ["Hang", "Process", "SimClock", "SimLoop"]

STEP_S = 20e-6
"""What a step takes at most."""
SPIN_STEPS, SPIN_S = 5000, 0.1
"""So many steps in so little time are made by nothing that waits for something."""
EPOCH_S = 1_700_000_000
"""Unix time at the beginning of a run."""

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Hang(Exception):
    """Nothing can run any more, or it runs in circles."""


class Process:
    """What can be killed or stopped as one."""

    def __init__(self, name: str, loop: SimLoop) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self._loop = loop
        self._stalled: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []

    @classmethod
    def current(cls) -> Process | None:
        """The one that runs now; None outside of all."""
        return _process.get()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this process."""
        context = contextvars.copy_context()
        context.run(_process.set, self)
        task = self._loop.create_task(work, context=context)
        self.tasks.append(task)
        return task

    def kill(self) -> None:
        """All its tasks vanish where they are; no ``finally`` of theirs runs."""
        self.alive = False
        self._stalled.clear()

    def pause(self) -> None:
        """Stand still, as with SIGSTOP; what was sent goes on."""
        self.paused = True

    def resume(self) -> None:
        """Go on with what was believed before."""
        self.paused = False
        self._loop._ready.extend(self._stalled)
        self._stalled.clear()

    def stall(self, handle: asyncio.Handle) -> None:
        """Keep for later."""
        self._stalled.append(handle)


class SimLoop(asyncio.BaseEventLoop):
    """Virtual time; ``shuffle`` draws the order too."""

    def __init__(self, rng: random.Random, *, shuffle: bool, steps_max: int = 200_000) -> None:
        super().__init__()
        self._ready: list[asyncio.Handle] = []  # type: ignore[assignment]
        self._now = 0.0
        self._marked = -1.0
        self._draw = rng.random
        self._shuffle = shuffle
        self._steps_max = steps_max
        self._all: list[asyncio.Task[Any]] = []
        self.steps = 0
        self.on_step: Callable[[], int] = lambda: 1 << 60
        """Called at the step that it named last; names the next one."""
        self.next_event = 0
        self.errors: list[str] = []
        self.set_exception_handler(self._on_error)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready, scheduled, draw = self._ready, self._scheduled, self._draw
        shuffle = self._shuffle
        while not self._stopping:
            if self.steps >= self.next_event:
                self.next_event = self.on_step()
            if not ready:
                while scheduled and scheduled[0]._cancelled:
                    heapq.heappop(scheduled)
                if not scheduled:
                    raise Hang("nothing is left that could run")
                if scheduled[0]._when > self._now:
                    self._now = scheduled[0]._when
            while scheduled and scheduled[0]._when <= self._now:
                timer = heapq.heappop(scheduled)
                timer._scheduled = False
                if not timer._cancelled:
                    ready.append(timer)
            if not ready:
                continue
            self.steps += 1
            if self.steps % SPIN_STEPS == 0:
                if self._now - self._marked < SPIN_S or self.steps > self._steps_max:
                    raise Hang(f"runs in circles: {self.steps} steps in {self._now:.3f} s")
                self._marked = self._now
            self._now += STEP_S * draw()
            count = len(ready)
            handle = ready.pop(int(draw() * count) if shuffle and count > 1 else 0)
            if handle._cancelled:
                continue
            process = handle._context.get(_process)
            if process is not None:
                if not process.alive:
                    continue
                if process.paused:
                    process.stall(handle)
                    continue
            handle._run()

    def unseen(self) -> list[str]:
        """Defects that ended tasks, and that nobody has looked at."""
        found = []
        for task in self._all:
            if task.done() and task._log_traceback:  # type: ignore[attr-defined]
                error = task.exception()
                if not isinstance(error, OtlpStreamsError | Fenced):
                    found.append(f"{task.get_coro()!r} has ended with {error!r}")
        return found

    def shut(self) -> None:
        """Close, and every coroutine that is left with it."""
        for task in self._all:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # some have never begun
                    task.get_coro().close()  # type: ignore[union-attr]
        self._all.clear()
        self._ready.clear()
        self._scheduled.clear()
        self.close()

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=loop, **options)
        self._all.append(task)
        return task

    def _on_error(self, _: Any, context: dict[str, Any]) -> None:
        process = Process.current()
        if process is None or process.alive:
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class SimClock:
    """The runtime's Clock over a loop."""

    def __init__(self, loop: SimLoop, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng

    def monotonic(self) -> float:
        return self._loop.time()

    def unix_ns(self) -> int:
        return int((EPOCH_S + self._loop.time()) * 1e9)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        return self._rng.random()

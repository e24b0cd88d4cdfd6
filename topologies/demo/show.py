"""What the demonstration shows while it runs: phases, and the live tables."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from schemas.errors import BackendUnavailable
from schemas.signals import Signal
from topologies.replay import Tally
from topologies.top import Row, rows, scrape, table

from .alarms import Alarms
from .figures import ask
from .ledger import Ledger
from .panel import SamplingPanel, line
from .plan import Plan
from .services import Services

__all__ = ["Show"]

_LIVE_S = 1.0
_LINES_S = 5.0
_WAYS = {
    False: "OTLP client -> ingest -> shape -> export -> backend, Kafka between",
    True: "OTLP client -> ingest -> sample, emit; shape -> export -> backend, Kafka between",
}


class Show:
    """A live display on a terminal, plain lines elsewhere; all of it on standard error."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._console = Console(stderr=True, highlight=False)

    @property
    def is_live(self) -> bool:
        """Whether a person looks at a terminal."""
        return self._console.is_terminal

    def phase(self, text: str) -> None:
        """One line with the time since the begin."""
        passed = f"{time.monotonic() - self._began_s:6.1f} s  "
        self._console.print(passed + text, markup=False, soft_wrap=True)

    def lines(self, lines: Sequence[str]) -> None:
        """Lines of a log, as they are."""
        for each in lines:
            self._console.print(each, markup=False, soft_wrap=True)

    @contextlib.asynccontextmanager
    async def watching(
        self,
        planned: Plan,
        ledger: Ledger,
        tally: Tally,
        services: Services | None,
        alarms: Alarms | None,
    ) -> AsyncIterator[None]:
        """Show how it goes while the block runs."""
        if self.is_live:
            watch = self._live(planned, ledger, tally, services, alarms)
        else:  # where alerts are lines of their own
            watch = self._plain(planned, ledger, tally, services)
        task = asyncio.create_task(watch)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _plain(
        self, planned: Plan, ledger: Ledger, tally: Tally, services: Services | None
    ) -> None:
        before = _exported(ledger)
        panel, order = _panel(planned)
        async with aiohttp.ClientSession() as session:
            await _look(session, planned, panel)
            while True:
                await asyncio.sleep(_LINES_S)
                await _look(session, planned, panel)
                now = _exported(ledger)
                sent = sum(counts.sent for counts in ledger.counts.values())
                acknowledged = sum(counts.acknowledged for counts in ledger.counts.values())
                self.phase(
                    f"lap {tally.laps}: sent {sent:,}, acknowledged {acknowledged:,}, "
                    f"exported {now:,} ({(now - before) / _LINES_S:,.0f}/s), "
                    f"on the way {ledger.missing:,}"
                )
                before = now
                if panel and (rates := panel.rates()):
                    self.phase(line(rates, order))
                if services:
                    self.phase(services.line())

    async def _live(
        self,
        planned: Plan,
        ledger: Ledger,
        tally: Tally,
        services: Services | None,
        alarms: Alarms | None,
    ) -> None:
        counted = _Counted(ledger)
        panel, _ = _panel(planned)
        way = _WAYS[panel is not None]
        url, previous = f"http://{planned.admin}", None
        async with aiohttp.ClientSession() as session:
            with Live(Text(""), console=self._console, auto_refresh=False, transient=True) as live:
                while True:
                    processes: Any = Text("")
                    try:
                        now = await scrape(session, url)
                        processes = table(_stages(rows(previous, now)), self._console.width)
                        previous = now
                    except BackendUnavailable as error:
                        processes = Text(str(error), style="red")
                    await _look(session, planned, panel)
                    head = Text(f"{way}   (lap {tally.laps}, Ctrl-C ends it)", style="bold")
                    parts: list[Any] = [Text(""), head, Text(""), counted.table(), Text("")]
                    for part in (panel, services, alarms):
                        parts += [part, Text("")] if part else []
                    live.update(Group(*parts, processes), refresh=True)
                    await asyncio.sleep(_LIVE_S)


def _panel(planned: Plan) -> tuple[SamplingPanel | None, tuple[str, ...]]:
    sampling = planned.config.sampling
    order = tuple(policy.name for policy in sampling.policies)
    return (SamplingPanel(order) if sampling.enabled else None), order


async def _look(session: aiohttp.ClientSession, planned: Plan, panel: SamplingPanel | None) -> None:
    if panel is not None:
        with contextlib.suppress(BackendUnavailable):  # shown where the processes are
            panel.add(await ask(session, f"http://{planned.admin}"))


class _Counted:
    """Counts by signal with their growth per second."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._before = self._now()

    def _now(self) -> tuple[float, dict[Signal, tuple[int, int]]]:
        return time.monotonic(), {
            signal: (counts.sent, counts.exported) for signal, counts in self._ledger.counts.items()
        }

    def table(self) -> Table:
        now = self._now()
        passed_s = max(now[0] - self._before[0], 1e-9)
        shown = Table(box=None, pad_edge=False)
        shown.add_column("signal")
        titles = ("sent", "/s", "acknowledged", "exported", "/s", "on the way", "repeated")
        for title in titles:
            shown.add_column(title, justify="right")
        for signal, counts in self._ledger.counts.items():
            sent_s, exported_s = (
                f"[green]{(value - before) / passed_s:,.0f}[/]"
                for value, before in zip(now[1][signal], self._before[1][signal], strict=True)
            )
            shown.add_row(
                str(signal), f"{counts.sent:,}", sent_s, f"{counts.acknowledged:,}",
                f"{counts.exported:,}", exported_s, f"{counts.missing:,}", f"{counts.repeated:,}",
            )  # fmt: skip
        self._before = now
        return shown


def _stages(found: Sequence[Row]) -> list[Row]:
    return [row for row in found if row.stage != "supervisor"]


def _exported(ledger: Ledger) -> int:
    return sum(counts.exported for counts in ledger.counts.values())

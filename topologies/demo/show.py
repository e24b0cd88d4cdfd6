"""What the demonstration shows: phases, the live table, the summary."""

from __future__ import annotations

import asyncio
import contextlib
import json
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

from .ledger import Ledger

__all__ = ["Show"]

_LIVE_S = 0.5
_LINES_S = 5.0
_WAY = "OTLP client  ->  ingest  ->  shape  ->  export  ->  OTLP backend, Kafka between"


class Show:
    """A live display on a terminal, plain lines elsewhere.

    Everything goes to standard error, but the summary.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._began_s = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._notes: list[str] = []

    @property
    def is_live(self) -> bool:
        """Whether a person looks at a terminal."""
        return self._console.is_terminal

    def phase(self, text: str) -> None:
        """One line with the time since the begin."""
        self._console.print(f"{time.monotonic() - self._began_s:6.1f} s  {text}", soft_wrap=True)

    def lines(self, lines: Sequence[str]) -> None:
        """Lines of a log, as they are."""
        for line in lines:
            self._console.print(line, markup=False, soft_wrap=True)

    @contextlib.asynccontextmanager
    async def watching(self, ledger: Ledger, tally: Tally, admin: str) -> AsyncIterator[None]:
        """Show how it goes while the block runs."""
        watch = self._live if self.is_live else self._plain
        task = asyncio.create_task(watch(ledger, tally, f"http://{admin}"))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _plain(self, ledger: Ledger, tally: Tally, url: str) -> None:
        before = _exported(ledger)
        while True:
            await asyncio.sleep(_LINES_S)
            now = _exported(ledger)
            sent = sum(counts.sent for counts in ledger.counts.values())
            acknowledged = sum(counts.acknowledged for counts in ledger.counts.values())
            self.phase(
                f"lap {tally.laps}: sent {sent:,}, acknowledged {acknowledged:,}, "
                f"exported {now:,} ({(now - before) / _LINES_S:,.0f}/s), "
                f"on the way {ledger.missing:,}"
            )
            before = now

    async def _live(self, ledger: Ledger, tally: Tally, url: str) -> None:
        rates = _Rates(ledger)
        previous = None
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
                    head = Text(f"{_WAY}   (lap {tally.laps}, Ctrl-C ends it)", style="bold")
                    live.update(
                        Group(Text(""), head, rates.table(), Text(""), processes), refresh=True
                    )
                    await asyncio.sleep(_LIVE_S)

    def summary(self, ledger: Ledger, result: dict[str, Any]) -> None:
        """The end: counts by signal, as sets of identities, and the verdict."""
        if self._as_json:
            result["signals"] = {
                str(signal): dict(vars(counts)) for signal, counts in ledger.counts.items()
            }
            print(json.dumps(result))
            return
        names = ("sent", "acknowledged", "exported", "missing", "repeated", "foreign")
        shown = Table("signal", box=None, pad_edge=False)
        for name in names:
            shown.add_column(name, justify="right")
        for signal, counts in ledger.counts.items():
            shown.add_row(str(signal), *(f"{getattr(counts, name):,}" for name in names))
        console = Console(highlight=False)
        console.print(shown)
        if result["agree"]:
            console.print("Everything sent was acknowledged and exported, and nothing else was.")
        for name, times in result["restarts"].items():
            console.print(f"{name} ended and was started again, {times} times.", markup=False)
        for problem in result["problems"]:
            console.print(problem, markup=False, soft_wrap=True)


class _Rates:
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

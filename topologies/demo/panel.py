"""How sampling looks while it happens: traffic and what is kept of it, against the budget."""

from __future__ import annotations

from collections import deque

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .figures import Figures, Rates, rates

__all__ = ["SamplingPanel", "line", "spark"]

_BARS = "▁▂▃▄▅▆▇█"
_POINTS = 40
_RATE_S = 5.0
"""Rates in numbers are of so many seconds; the curve is of each look alone."""


class SamplingPanel:
    """Takes what the metrics say, look by look, and shows it."""

    def __init__(self, policies: tuple[str, ...]) -> None:
        self._order = policies
        self._looks: deque[Figures] = deque()
        self._decided: deque[float] = deque(maxlen=_POINTS)
        self._kept: deque[float] = deque(maxlen=_POINTS)

    def add(self, now: Figures) -> None:
        """The newest look."""
        if self._looks:
            step = rates(self._looks[-1], now)
            self._decided.append(step.decided_s)
            self._kept.append(step.kept_s)
        self._looks.append(now)
        while len(self._looks) > 2 and now.time_s - self._looks[1].time_s >= _RATE_S:
            self._looks.popleft()

    def rates(self) -> Rates | None:
        """Of the last seconds; None before the second look."""
        return rates(self._looks[0], self._looks[-1]) if len(self._looks) > 1 else None

    def __rich__(self) -> RenderableType:
        """Two curves of one scale, each budget, and a row a policy."""
        now = self.rates()
        if now is None:
            return Text("sampling has not begun", style="dim")
        top = max(*self._decided, *self._kept, 1.0)
        curves = Table(box=None, pad_edge=False, show_header=False)
        for name, values, rate, style in (
            ("traces decided", self._decided, now.decided_s, "cyan"),
            ("traces kept", self._kept, now.kept_s, "green"),
        ):
            curves.add_row(name, Text(spark(values, top), style=style), f"{rate:,.1f}/s")
        for policy, (unit, rate, limit) in now.spent.items():
            curves.add_row(
                escape(f"budget {policy}"),
                _gauge(rate, limit),
                f"{rate:,.1f} of {limit:,g} {unit}/s",
            )
        last = self._looks[-1]
        state = Text(
            f"{last.open_traces:,.0f} traces undecided, the oldest message {last.oldest_s:.1f} s "
            f"old; {last.late_spans:,.0f} spans came after the decision and followed it",
            style="dim",
        )
        return Group(curves, Text(""), self._table(now), state)

    def _table(self, now: Rates) -> Table:
        shown = Table(box=None, pad_edge=False)
        shown.add_column("kept why")
        for title in ("kept/s", "dropped/s", "kept", "dropped", "kept of 100"):
            shown.add_column(title, justify="right")
        for policy in _ordered(now, self._order):
            kept_s, dropped_s, kept, dropped = now.policies[policy]
            share = 100 * kept / max(kept + dropped, 1)
            shown.add_row(
                escape(policy), f"[green]{kept_s:,.1f}[/]", f"{dropped_s:,.1f}",
                f"{kept:,.0f}", f"{dropped:,.0f}", f"{share:.0f}",
            )  # fmt: skip
        return shown


def line(now: Rates, order: tuple[str, ...]) -> str:
    """The same in one line, for where there is no terminal."""
    budgets = ", ".join(
        f"{policy} {rate:,.1f} of {limit:,g} {unit}/s"
        for policy, (unit, rate, limit) in now.spent.items()
    )
    why = ", ".join(
        f"{policy} {now.policies[policy].kept_s:,.1f}" for policy in _ordered(now, order)
    )
    return f"kept {now.kept_s:,.1f} of {now.decided_s:,.1f} traces/s ({why}); budget {budgets}"


def spark(values: deque[float], top: float) -> str:
    """A curve of eight heights; ``top`` fills the highest."""
    last = len(_BARS) - 1
    bars = (_BARS[min(round(value / top * last), last)] for value in values)
    return "".join(bars).rjust(_POINTS)


def _gauge(rate: float, limit: float) -> Text:
    full = round(min(rate / limit, 1.0) * _POINTS) if limit else 0
    style = "green" if rate <= limit * 1.1 else "yellow"
    return Text.assemble(("━" * full, style), ("╌" * (_POINTS - full), "dim"))


def _ordered(now: Rates, order: tuple[str, ...]) -> list[str]:
    """As in the configuration; what is not in it (``default``) comes last."""
    place = {policy: number for number, policy in enumerate(order)}
    return sorted(now.policies, key=lambda policy: (place.get(policy, len(place)), policy))

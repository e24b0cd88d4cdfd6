"""A simulation in numbers: tables for people, a dictionary for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.sampling.accounts import Line
from streams.sampling.simulation import Simulation

__all__ = ["as_dict", "show"]

_QUANTILES = (0.5, 0.95, 0.99)


def as_dict(simulation: Simulation) -> dict[str, Any]:
    """Everything."""
    accounts, sampled = simulation.accounts, simulation.sampled
    return {
        "came": simulation.came._asdict(),
        "went": simulation.went._asdict(),
        "total": _line(accounts.total),
        "policies": {name: _line(line) for name, line in accounts.policies.items()},
        "keys": {name: _line(line) for name, line in accounts.lines()},
        "coverage": accounts.coverage,
        "count_error": accounts.count_error,
        "latency_ms": {
            f"p{round(q * 100)}": {
                "all": accounts.latency.at(q),
                "estimated": accounts.estimated_latency.at(q),
            }
            for q in _QUANTILES
        },
        "late_spans": {"kept": sampled.late_kept_spans, "dropped": sampled.late_dropped_spans},
        "early_traces": sampled.early_traces,
        "refused_spans": simulation.refused,
    }


def _line(line: Line) -> dict[str, Any]:
    return {**asdict(line), "error": line.error}


def show(simulation: Simulation, console: Console, keys_max: int) -> None:
    """Print it; of the sampling keys those with the most traces."""
    accounts, total = simulation.accounts, simulation.accounts.total
    if not total.traces:
        console.print("Nothing was decided: no span has valid ids.")
        return
    console.print(_volume(simulation))
    console.print(_table("policy", list(accounts.policies.items()), total))
    lines = accounts.lines()
    shown = lines[:keys_max]
    console.print(_table("sampling key", shown, total, wrap=True))
    if len(lines) > len(shown):
        console.print(f"and {len(lines) - len(shown):,} keys more")
    console.print(_quality(simulation))
    for text in _remarks(simulation):
        console.print(text)


def _volume(simulation: Simulation) -> Table:
    came, went = simulation.came, simulation.went
    total = simulation.accounts.total
    table = Table("", "came", "kept", "share", box=None, pad_edge=False, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = (
        ("traces", total.traces, total.kept),
        ("  with errors", total.errors, total.kept_errors),
        ("spans", came.spans, went.spans),
        ("bytes", came.bytes, went.bytes),
        ("messages", came.messages, went.messages),
    )
    for name, before, after in rows:
        table.add_row(name, f"{before:,}", f"{after:,}", _share(after, before))
    return table


def _table(what: str, lines: list[tuple[str, Line]], total: Line, *, wrap: bool = False) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(what, overflow="fold" if wrap else "ellipsis")
    for name in ("traces", "kept", "share", "errors kept", "estimate", "off"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, line in lines:
        errors = f"{line.kept_errors:,} of {line.errors:,}" if line.errors else ""
        estimate = f"{line.estimate:,.0f}" if line.kept and not line.unknown else ""
        off = f"{line.error:+.1%}" if estimate else ""
        if line.unknown:
            estimate = "not known"
        table.add_row(
            escape(_printable(name)), f"{line.traces:,}", f"{line.kept:,}",
            _share(line.kept, line.traces), errors, estimate, off,
        )  # fmt: skip
    return table


def _quality(simulation: Simulation) -> Table:
    accounts, total = simulation.accounts, simulation.accounts.total
    table = Table("", "all", "from the kept", "off", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("traces", f"{total.traces:,}", f"{total.estimate:,.0f}", f"{total.error:+.1%}")
    for q in _QUANTILES:
        truth, estimate = accounts.latency.at(q), accounts.estimated_latency.at(q)
        off = estimate / truth - 1
        table.add_row(
            f"latency p{round(q * 100)}", f"{truth:,.1f} ms", f"{estimate:,.1f} ms", f"{off:+.1%}"
        )
    keys = len(accounts.keys)
    covered = round(accounts.coverage * keys)
    table.add_row("keys", f"{keys:,}", f"{covered:,}", f"{accounts.coverage - 1:+.1%}")
    table.add_row("counts of keys", "", "", f"{accounts.count_error:.1%} on average")
    return table


def _remarks(simulation: Simulation) -> list[str]:
    sampled, total = simulation.sampled, simulation.accounts.total
    found = (
        (sampled.early_traces, "traces decided early: sampling.max_open_traces"),
        (sampled.late_kept_spans, "spans came after their trace had been kept, and followed it"),
        (sampled.late_dropped_spans, "spans came after their trace had been dropped"),
        (simulation.refused, "spans that ingest refuses: no valid ids, or larger than a message"),
        (total.unknown, "kept traces say no probability (rate_limit), and count as one each"),
        (sampled.timeless_traces, "traces without a start or an end: their latency is not known"),
    )
    return [f"{count:,} {text}" for count, text in found if count]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _printable(text: str) -> str:
    """No control characters: they would steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)

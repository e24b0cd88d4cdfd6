"""The end of a demonstration: what is off, and the figures in words."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from schemas.signals import Signal

from .ledger import Counts, Ledger
from .sampled import REPEATED, UNDECIDED, SampledTraces
from .seen import Seen

__all__ = ["mistaken", "problems", "summarise"]

_MISTAKEN_SHARE, _MISTAKEN_LEAST = 0.001, 2
"""Traces that may be taken for a dropped one; see ``streams.sampling.dropped_traces``."""


def mistaken(ledger: Ledger, late_dropped: float) -> int:
    """Traces without a verdict that were taken for one that had been dropped.

    The filter of dropped ids errs now and then. That is the reason if they are as few as that,
    nothing of them was exported, and ``sample`` counts at least their spans as ``late_dropped``.
    """
    if (sampled := ledger.sampled) is None:
        return 0
    counts = sampled.counts
    few = counts.undecided <= max(_MISTAKEN_LEAST, _MISTAKEN_SHARE * counts.traces)
    counted = sampled.undecided_spans <= late_dropped
    return counts.undecided if few and counted and not counts.unfounded else 0


def problems(ledger: Ledger, *, may_repeat: bool, mistaken: int = 0) -> list[str]:
    """What does not agree, a line each; none: everything does.

    ``may_repeat``: a client that sent a request again, or an exporter that was started again,
    is a reason for items to come twice. ``mistaken``: traces that have no verdict for a reason.
    """
    found = []
    for kind, counts in ledger.counts.items():
        off = {"items sent and not acknowledged": counts.unacknowledged}
        if ledger.sampled and kind is Signal.TRACES:
            off |= ledger.sampled.counts.off
            if may_repeat:
                off.pop(REPEATED, None)
            if mistaken:
                off[UNDECIDED] -= mistaken
        else:
            off["items acknowledged and not exported"] = counts.missing
            off["items exported and never sent"] = counts.foreign
        found += [f"{kind}: {number:,} {what}" for what, number in off.items() if number]
    if ledger.forgotten and any(c.foreign for c in ledger.counts.values()):
        found.append("the run was long: of what was never sent, some may be late repeats")
    return found


def summarise(ledger: Ledger, result: dict[str, Any], seen: Seen, *, as_json: bool) -> None:
    """Print it: counts by signal as sets of identities, traces by verdict, and the conclusion.

    ``result``: ``agree``, ``restarts``, ``problems``, ``mistaken``, and what else is to be in
    the JSON.
    """
    if as_json:
        result["signals"] = {
            str(signal): dict(vars(counts)) for signal, counts in ledger.counts.items()
        }
        if ledger.sampled:
            result["sampling"] = _as_dict(ledger.sampled)
        result |= seen.as_dict()
        print(json.dumps(result))
        return
    console = Console(highlight=False)
    console.print(_signals(ledger))
    if ledger.sampled:
        console.print()
        console.print(_policies(ledger.sampled))
        for text in _sentences(ledger.sampled, ledger.counts[Signal.TRACES], result["mistaken"]):
            console.print(text, markup=False, soft_wrap=True)
    for text in seen.sentences():
        console.print(text, markup=False, soft_wrap=True)
    if result["agree"]:
        console.print(_agreement(ledger), soft_wrap=True)
    for name, times in result["restarts"].items():
        console.print(f"{name} ended and was started again, {times} times.", markup=False)
    for problem in result["problems"]:
        console.print(problem, markup=False, soft_wrap=True)


def _agreement(ledger: Ledger) -> str:
    if ledger.sampled is None:
        return "Everything sent was acknowledged and exported, and nothing else was."
    return (
        "Every kept trace arrived complete and once, of dropped ones nothing did, "
        "and every metric and log record that was sent arrived."
    )


def _signals(ledger: Ledger) -> Table:
    names = ("sent", "acknowledged", "exported", "missing", "repeated", "foreign")
    shown = Table("signal", box=None, pad_edge=False)
    for name in names:
        shown.add_column(name, justify="right")
    for signal, counts in ledger.counts.items():
        shown.add_row(str(signal), *(f"{getattr(counts, name):,}" for name in names))
    return shown


def _policies(sampled: SampledTraces) -> Table:
    shown = Table("kept why", box=None, pad_edge=False)
    for title in ("kept", "dropped", "kept of 100"):
        shown.add_column(title, justify="right")
    for policy, (kept, dropped) in _by(sampled.policies).items():
        share = 100 * kept / (kept + dropped)
        shown.add_row(policy, f"{kept:,}", f"{dropped:,}", f"{share:.0f}")
    return shown


def _sentences(sampled: SampledTraces, spans: Counts, mistaken: int) -> Iterator[str]:
    counts = sampled.counts
    yield (
        f"{counts.traces:,} traces sent, {counts.kept:,} kept with {spans.exported:,} spans, "
        f"{counts.dropped:,} dropped."
    )
    if mistaken:
        yield f"{mistaken:,} were taken for a trace that had been dropped, and went with it."
    for kind, (kept, dropped) in _by(sampled.injected).items():
        yield f"{kept:,} of {kept + dropped:,} traces that got {kind} were kept."
    if counts.kept and not sampled.uncountable:
        yield (
            f"From the kept ones alone one would count {sampled.estimate:,.0f} traces, "
            f"give or take {math.sqrt(sampled.variance):,.0f}."
        )


def _by(counter: Mapping[tuple[str, bool], int]) -> dict[str, tuple[int, int]]:
    """Kept and dropped, by name."""
    found: dict[str, Counter[bool]] = {}
    for (name, kept), number in counter.items():
        found.setdefault(name, Counter())[kept] += number
    return {name: (found[name][True], found[name][False]) for name in sorted(found)}


def _as_dict(sampled: SampledTraces) -> dict[str, Any]:
    def named(counter: Mapping[tuple[str, bool], int]) -> dict[str, dict[str, int]]:
        return {name: {"kept": k, "dropped": d} for name, (k, d) in _by(counter).items()}

    return {
        **vars(sampled.counts),
        "policies": named(sampled.policies),
        "injected": named(sampled.injected),
        "estimate": round(sampled.estimate, 1),
        "estimate_sigma": round(math.sqrt(sampled.variance), 1),
        "uncountable": sampled.uncountable,
    }

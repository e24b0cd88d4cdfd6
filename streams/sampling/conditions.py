"""Conditions of policies on whole traces, evaluated over columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.config import Match
from streams.sampling.columns import Traces
from streams.sampling.step import durations_ms

__all__ = ["Condition", "compile_match"]

Condition = Callable[[Traces], NDArray[np.bool_]]
"""Which of the traces it holds for."""


def compile_match(match: Match, span_conditions: Sequence[Match]) -> Condition:
    """``match`` as a function of traces.

    ``span_conditions`` says which bit of ``Traces.matched`` stands for which conditions on spans
    (``schemas.config.matching.span_conditions``).
    """
    parts: list[Condition] = []
    if match.of_span:
        if match.error_only:
            parts.append(lambda traces: traces.errors > 0)
        else:
            parts.append(_has_bit(span_conditions.index(match.span_part())))
    if match.latency is not None:
        parts.append(_latency(match.latency.min, match.latency.max))
    if match.span_count is not None:
        parts.append(_span_count(match.span_count.min, match.span_count.max))
    for inner in match.and_ or ():
        parts.append(compile_match(inner, span_conditions))
    if match.or_ is not None:
        parts.append(_any([compile_match(inner, span_conditions) for inner in match.or_]))
    if match.not_ is not None:
        parts.append(_not(compile_match(match.not_, span_conditions)))
    return parts[0] if len(parts) == 1 else _all(parts)


def _has_bit(bit: int) -> Condition:
    mask = np.uint32(1 << bit)
    return lambda traces: (traces.matched & mask) != 0


def _latency(least_s: float | None, most_s: float | None) -> Condition:
    def holds(traces: Traces) -> NDArray[np.bool_]:
        duration_ms = durations_ms(traces)
        found = (traces.start > 0) & (traces.end >= traces.start)
        if least_s is not None:
            found &= duration_ms >= np.float32(least_s * 1e3)
        if most_s is not None:
            found &= duration_ms <= np.float32(most_s * 1e3)
        return found

    return holds


def _span_count(least: int | None, most: int | None) -> Condition:
    def holds(traces: Traces) -> NDArray[np.bool_]:
        found = np.ones(len(traces.spans), np.bool_)
        if least is not None:
            found &= traces.spans >= least
        if most is not None:
            found &= traces.spans <= most
        return found

    return holds


def _all(parts: Sequence[Condition]) -> Condition:
    return lambda traces: np.logical_and.reduce([part(traces) for part in parts])


def _any(parts: Sequence[Condition]) -> Condition:
    return lambda traces: np.logical_or.reduce([part(traces) for part in parts])


def _not(part: Condition) -> Condition:
    return lambda traces: ~part(traces)

"""What sampling keeps and why: a row per policy, with its target beside what was spent of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["PREFIX", "Labelled", "PolicyRow", "joined", "policies"]

PREFIX = "otlp_streams_sampling_"

Labelled = Mapping[tuple[str, str, str], float]
"""Samples of one process that name a policy: by name without ``PREFIX``, policy and unit."""


class PolicyRow(NamedTuple):
    """One policy; a rate is None before a second look, target and spent where it has no limit."""

    policy: str
    kept: float | None
    """Traces a second; so is ``dropped``."""
    dropped: float | None
    spans: float | None
    """Kept spans a second."""
    unit: str = ""
    """Of target and spent: ``traces``, ``spans`` or ``bytes``."""
    target: float | None = None
    """What the whole fleet may keep a second."""
    spent: float | None = None
    """What was kept a second that counts against it."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


def policies(before: Labelled | None, now: Labelled, seconds: float) -> list[PolicyRow]:
    """A row per policy of one process, rates over ``seconds``."""
    found: dict[str, PolicyRow] = {}
    limits = {policy: unit for name, policy, unit in now if name == "target_per_second"}
    for policy in dict.fromkeys([*limits, *(policy for _, policy, _ in now)]):

        def rate(name: str, unit: str = "", policy: str = policy) -> float | None:
            if before is None:
                return None
            key = (name, policy, unit)
            value, was = now.get(key, 0.0), before.get(key, 0.0)
            # A counter that is smaller belongs to a process that began anew.
            return (value - was if value >= was else value) / max(seconds, 1e-9)

        unit = limits.get(policy, "")
        found[policy] = PolicyRow(
            policy,
            rate("kept_traces_total"),
            rate("dropped_traces_total"),
            rate("kept_spans_total"),
            unit,
            now["target_per_second", policy, unit] if unit else None,
            rate("spent_total", unit) if unit else None,
        )
    return list(found.values())


def joined(rows: Iterable[PolicyRow]) -> list[PolicyRow]:
    """Rows of several processes as one per policy; a target is the same in all of them."""
    found: dict[str, PolicyRow] = {}
    for row in rows:
        known = found.setdefault(row.policy, row)
        if known is not row:
            found[row.policy] = row._replace(
                kept=_sum(known.kept, row.kept),
                dropped=_sum(known.dropped, row.dropped),
                spans=_sum(known.spans, row.spans),
                spent=_sum(known.spent, row.spent),
            )
    return list(found.values())


def _sum(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other

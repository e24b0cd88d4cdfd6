"""What policies may keep a second, and what they have kept of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.config import Sampling
from schemas.config.sampling import adjustable
from schemas.records import Value
from streams.sampling.counts import SampleCounts

__all__ = ["Target", "Targets"]

_SUFFIX = "_per_second"
_DEFAULT = "default"
"""What no policy took (``sampling.default``)."""


class Target(NamedTuple):
    """A policy with a limit, at the moment of a scrape."""

    policy: str
    unit: str
    """``traces``, ``spans`` or ``bytes``."""
    per_second: float
    """Of the whole fleet."""
    spent: int
    """What this process has kept that counts against it, since its start."""


class Targets:
    """The limits of a configuration as they are now.

    Args:
        settings: with the policies.
        adjusted: what is set at run time, by name; None where nothing is.
    """

    def __init__(
        self, settings: Sampling, adjusted: Callable[[str], Value] = lambda _name: None
    ) -> None:
        self._adjusted = adjusted
        self._limits = [
            (each.name, each.name.split(".")[1], each.name.rpartition(".")[2], each.default)
            for each in adjustable(settings)
            if each.name.endswith(_SUFFIX)
        ]
        self._spenders = _spenders(settings)

    def now(self, counts: SampleCounts) -> Iterator[Target]:
        """Each of them, with what the counts say."""
        for name, policy, setting, default in self._limits:
            value, unit = self._adjusted(name), setting.removesuffix(_SUFFIX)
            kept: Counter[str] = getattr(counts, f"kept_{unit}")
            spent = sum(kept[each] for each in self._spenders.get(policy, (policy,)))
            yield Target(policy, unit, float(default if value is None else value), spent)


def _spenders(settings: Sampling) -> dict[str, list[str]]:
    """By budget: policies whose traces count against it. See ``Policy.exempt``."""
    budgets = [i for i, policy in enumerate(settings.policies) if policy.budget is not None]
    spenders: dict[str, list[str]] = {settings.policies[i].name: [] for i in budgets}
    if not budgets:
        return spenders
    for i, policy in enumerate(settings.policies):
        if not policy.exempt:
            budget = next((b for b in budgets if b >= i), budgets[-1])
            spenders[settings.policies[budget].name].append(policy.name)
    spenders[settings.policies[budgets[-1]].name].append(_DEFAULT)
    return spenders

"""What the workers' metrics say about sampling: spent against each budget, kept and why."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import BackendUnavailable

__all__ = ["Figures", "PolicyRate", "Rates", "Target", "ask", "figures", "late_items", "rates"]

_PREFIX = "otlp_streams_sampling_"
_LATE = "otlp_streams_windows_late_items_total"
_TIMEOUT_S = 5.0


class Target(NamedTuple):
    """A limit that a policy has, and what has been kept of it."""

    unit: str
    per_second: float
    spent: float


class Figures(NamedTuple):
    """All workers together at one moment."""

    time_s: float
    """Monotonic."""
    targets: dict[str, Target]
    """By policy."""
    kept: dict[str, float]
    """Traces by policy; so are the dropped ones."""
    dropped: dict[str, float]
    open_traces: float
    oldest_s: float
    """Age of the oldest message with an undecided span."""
    late_spans: float
    late_dropped: float
    """Of them, spans of dropped traces."""


class PolicyRate(NamedTuple):
    """One policy: traces a second and since the workers' start."""

    kept_s: float
    dropped_s: float
    kept: float
    dropped: float


class Rates(NamedTuple):
    """What happened between two moments."""

    spent: dict[str, tuple[str, float, float]]
    """By policy with a limit: unit, kept a second, limit a second."""
    policies: dict[str, PolicyRate]
    decided_s: float
    """Traces decided a second."""
    kept_s: float
    """Traces kept a second."""


async def late_items(session: aiohttp.ClientSession, url: str, rule: str, length_ms: int) -> int:
    """Items that came when their window was over, of all workers. Raises BackendUnavailable."""
    wanted = {"rule": rule, "length": f"{length_ms / 1000:g}"}
    text, late = await _text(session, url), 0.0
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == _LATE and wanted.items() <= sample.labels.items():
                    late += sample.value
    except ValueError as error:
        raise BackendUnavailable(f"{url}/metrics: {error}") from None
    return round(late)


async def ask(session: aiohttp.ClientSession, url: str) -> Figures:
    """Ask a supervisor. Raises BackendUnavailable."""
    text = await _text(session, url)
    try:
        return figures(text, time.monotonic())
    except ValueError as error:
        raise BackendUnavailable(f"{url}/metrics: {error}") from None


async def _text(session: aiohttp.ClientSession, url: str) -> str:
    try:
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S)
        async with session.get(f"{url}/metrics", timeout=timeout) as answer:
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise BackendUnavailable(f"{url}/metrics: {error or 'timeout'}") from None


def figures(text: str, time_s: float) -> Figures:
    """From Prometheus text of any number of workers. Raises ValueError if it is none."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    limits: dict[str, tuple[str, float]] = {}
    oldest_s = late_dropped = 0.0
    for family in text_string_to_metric_families(text):
        if not family.name.startswith(_PREFIX):
            continue
        for sample in family.samples:
            name, policy = sample.name.removeprefix(_PREFIX), sample.labels.get("policy", "")
            if name == "target_per_second":  # of the whole fleet: each worker says the same
                limits[policy] = sample.labels["unit"], sample.value
            elif name == "undecided_age_seconds":
                oldest_s = max(oldest_s, sample.value)
            else:
                sums[name][policy] += sample.value
                if name == "late_spans_total" and sample.labels["verdict"] == "dropped":
                    late_dropped += sample.value
    return Figures(
        time_s=time_s,
        targets={
            policy: Target(unit, limit, sums["spent_total"][policy])
            for policy, (unit, limit) in limits.items()
        },
        kept=dict(sums["kept_traces_total"]),
        dropped=dict(sums["dropped_traces_total"]),
        open_traces=sum(sums["open_traces"].values()),
        oldest_s=oldest_s,
        late_spans=sum(sums["late_spans_total"].values()),
        late_dropped=late_dropped,
    )


def rates(before: Figures, now: Figures) -> Rates:
    """Growth a second from one moment to the other; of a worker that began anew it may be less."""
    passed_s = max(now.time_s - before.time_s, 1e-9)

    def grown(values: dict[str, float], was: dict[str, float], policy: str) -> float:
        return max(values.get(policy, 0.0) - was.get(policy, 0.0), 0.0) / passed_s

    policies = {
        policy: PolicyRate(
            grown(now.kept, before.kept, policy),
            grown(now.dropped, before.dropped, policy),
            now.kept.get(policy, 0.0),
            now.dropped.get(policy, 0.0),
        )
        for policy in sorted(now.kept.keys() | now.dropped.keys())
    }
    spent = {}
    for policy, target in now.targets.items():
        was = before.targets.get(policy)
        grew = max(target.spent - (was.spent if was else 0.0), 0.0)
        spent[policy] = (target.unit, grew / passed_s, target.per_second)
    kept_s = sum(each.kept_s for each in policies.values())
    dropped_s = sum(each.dropped_s for each in policies.values())
    return Rates(spent, policies, kept_s + dropped_s, kept_s)

"""One look at an admin port: a supervisor's, or that of a single stage."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from schemas.errors import BackendUnavailable

from .policies import PREFIX, Labelled

__all__ = ["Process", "Scrape", "scrape"]

Process = tuple[str, str]
"""Stage and worker."""

K = TypeVar("K")
_TIMEOUT_S = 5.0
_BY_NAME = ("export", "notify")
"""Stages of which there is one for each backend or target."""
_TOLD_APART = ("outcome", "state")
"""Labels by whose values sums are made, too."""
_STAGES_OF = {
    "otlp_streams_receiver_requests": "ingest",
    "otlp_streams_ingest_items": "ingest",
    "otlp_streams_sampling_spans": "sample",
    "otlp_streams_sampling_emit_orders": "emit",
    "otlp_streams_windows_records": "windows",
    "otlp_streams_detect_messages": "detect",
}
"""Who serves a metric that does not say it."""


class Scrape(NamedTuple):
    """Everything that was served at one moment."""

    time_s: float
    """Monotonic."""
    values: dict[Process, dict[str, float]]
    """Sum over all other labels, by process and sample name."""
    status: dict[Process, dict[str, Any]]
    """What the supervisor knows about each process; empty without one."""
    policies: Mapping[Process, Labelled] = MappingProxyType({})
    """Samples that name a policy of sampling."""


async def scrape(session: aiohttp.ClientSession, url: str) -> Scrape:
    """Ask ``/metrics``, ``/status`` and ``/readyz``. Raises BackendUnavailable."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            (code, text), (status_code, status), (ready_code, ready) = await asyncio.gather(
                _get(session, f"{url}/metrics"),
                _get(session, f"{url}/status"),
                _get(session, f"{url}/readyz"),
            )
        if code != 200:
            raise BackendUnavailable(f"{url}/metrics answers {code}")
        samples = list(_samples(text))
        values, policies = _sums(samples), _policies(samples)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise BackendUnavailable(f"{url} does not answer: {error or 'timeout'}") from None
    except ValueError as error:
        raise BackendUnavailable(f"{url}/metrics is no Prometheus text: {error}") from None
    if status_code == 200:
        known = {(each["stage"], str(each["worker"])): each for each in _json(status)["processes"]}
    else:
        values, policies = _alone(values), _alone(policies)
        reason = None if ready_code == 200 else _reason(ready)
        known = {
            process: {"state": "running", "ready": ready_code == 200, "reason": reason}
            for process in values
        }
    return Scrape(time.monotonic(), values, known, policies)


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as response:
        return response.status, await response.text()


def _json(text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document


def _reason(ready: str) -> str:
    try:
        reasons = _json(ready).get("reasons", {})
    except ValueError:
        return ready[:200]
    return "; ".join(f"{part}: {why}" for part, why in reasons.items())


def _samples(text: str) -> Iterator[tuple[Process, Sample]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            stage = sample.labels.get("stage") or _STAGES_OF.get(family.name, "")
            yield (_stage(stage), sample.labels.get("worker", "")), sample


def _sums(samples: list[tuple[Process, Sample]]) -> dict[Process, dict[str, float]]:
    sums: dict[Process, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for process, sample in samples:
        sums[process][sample.name] += sample.value
        for label in _TOLD_APART:
            if (value := sample.labels.get(label)) is not None:
                sums[process][f"{sample.name}:{value}"] += sample.value
    return {process: dict(values) for process, values in sums.items()}


def _policies(
    samples: list[tuple[Process, Sample]],
) -> dict[Process, dict[tuple[str, str, str], float]]:
    found: dict[Process, dict[tuple[str, str, str], float]] = defaultdict(dict)
    for process, sample in samples:
        policy = sample.labels.get("policy")
        if policy is not None and sample.name.startswith(PREFIX):
            key = (sample.name.removeprefix(PREFIX), policy, sample.labels.get("unit", ""))
            found[process][key] = sample.value
    return dict(found)


def _stage(name: str) -> str:
    """A host calls itself by its group, ``export.main``; people say ``export:main``."""
    kind, dot, rest = name.partition(".")
    return f"{kind}:{rest}" if dot and kind in _BY_NAME else name


def _alone(values: dict[Process, dict[K, float]]) -> dict[Process, dict[K, float]]:
    """Without a supervisor there is one process, whatever its metrics say of themselves."""
    stage = ", ".join(sorted({name for name, _ in values if name})) or "process"
    joined: dict[K, float] = defaultdict(float)
    for sums in values.values():
        for name, value in sums.items():
            joined[name] += value
    return {(stage, ""): dict(joined)}

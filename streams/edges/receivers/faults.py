"""A backend that misbehaves, by seed: delays, refusals, failures, resets, hangs, half answers.

For fault tests in process and for ``otlp-streams backend``. What happens to the n-th request
depends on the seed and on n only.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import grpc
import numpy as np

from schemas.signals import Signal
from streams import wire

from .acceptor import Accepted, Acceptor
from .answers import ConnectionReset, Refusal, Told

__all__ = ["FaultSettings", "Faults", "refusal_codes"]

_CODE = grpc.StatusCode

_RETRYABLE: Final = (
    (HTTPStatus.SERVICE_UNAVAILABLE, _CODE.UNAVAILABLE),
    (HTTPStatus.TOO_MANY_REQUESTS, _CODE.RESOURCE_EXHAUSTED),
    (HTTPStatus.BAD_GATEWAY, _CODE.ABORTED),
    (HTTPStatus.GATEWAY_TIMEOUT, _CODE.DEADLINE_EXCEEDED),
)
_FINAL: Final = (
    (HTTPStatus.BAD_REQUEST, _CODE.INVALID_ARGUMENT),
    (HTTPStatus.UNAUTHORIZED, _CODE.UNAUTHENTICATED),
    (HTTPStatus.FORBIDDEN, _CODE.PERMISSION_DENIED),
    (HTTPStatus.NOT_FOUND, _CODE.UNIMPLEMENTED),
    (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _CODE.RESOURCE_EXHAUSTED),
    (HTTPStatus.INTERNAL_SERVER_ERROR, _CODE.INTERNAL),
)


def refusal_codes(code: str) -> tuple[HTTPStatus, grpc.StatusCode]:
    """The codes of both transports for one of them, such as ``403`` or ``PERMISSION_DENIED``.

    Raises:
        ValueError: it is not one of those that the specification calls not retryable.
    """
    for http, grpc_code in _FINAL:
        if code.upper() in (str(http.value), grpc_code.name):
            return http, grpc_code
    known = ", ".join(f"{http.value} {grpc_code.name}" for http, grpc_code in _FINAL)
    raise ValueError(f"{code!r} is not a final refusal; known: {known}")


@dataclass(frozen=True)
class FaultSettings:
    """Rates are shares of requests, 0 to 1; together at most 1."""

    latency_s: float = 0.0
    """Every answer comes this much later."""
    refuse: float = 0.0
    """Refused for good, nothing taken."""
    refuse_code: str = "400"
    """HTTP status or gRPC code of a refusal."""
    fail: float = 0.0
    """Failed for now, nothing taken; about half of them with a retry hint."""
    retry_after_s: float = 0.1
    """That hint; HTTP can only say whole seconds."""
    reset: float = 0.0
    """Cut off without an answer; about half of them after everything was taken."""
    hang: float = 0.0
    """Never answered, nothing taken."""
    partial: float = 0.0
    """Every second item taken, the others rejected by count."""
    seed: int = 0
    """Seed of it all."""

    def __post_init__(self) -> None:
        rates = (self.refuse, self.fail, self.reset, self.hang, self.partial)
        if any(not 0 <= rate <= 1 for rate in rates) or sum(rates) > 1 + 1e-9:
            raise ValueError("rates are shares of requests, 0 to 1, together at most 1")
        refusal_codes(self.refuse_code)


class Faults:
    """An acceptor around another one. ``settings`` may be replaced while it serves.

    ``happened`` counts requests by what befell them: ok, refuse, fail, reset, hang, partial.
    """

    def __init__(self, acceptor: Acceptor, settings: FaultSettings) -> None:
        self.settings = settings
        self.happened: Counter[str] = Counter()
        self._acceptor = acceptor
        self._random = random.Random(settings.seed)  # noqa: S311  # faults, not secrets

    async def __call__(self, signal: Signal, data: bytes, headers: Mapping[str, str]) -> Accepted:
        """Pass a request on, or do to it what its number and the seed say."""
        settings = self.settings
        # Both are drawn always: a request's fate must not depend on the fates before it.
        fate, detail = self._fate(self._random.random()), self._random.random()
        self.happened[fate] += 1
        if settings.latency_s:
            await asyncio.sleep(settings.latency_s)
        match fate:
            case "refuse":
                http, code = refusal_codes(settings.refuse_code)
                raise Told(Refusal(http, code, "told", "told to refuse"))
            case "fail":
                raise Told(self._failure(detail))
            case "reset":
                if detail < 0.5:
                    await self._acceptor(signal, data, headers)
                raise ConnectionReset("told to cut off")
            case "hang":
                await asyncio.Event().wait()
            case "partial":
                return await self._take_half(signal, data, headers)
        return await self._acceptor(signal, data, headers)

    def _fate(self, draw: float) -> str:
        for name in ("refuse", "fail", "reset", "hang", "partial"):
            draw -= getattr(self.settings, name)
            if draw < 0:
                return name
        return "ok"

    def _failure(self, detail: float) -> Refusal:
        hint = detail < 0.5
        which = int(detail * 2 * len(_RETRYABLE)) % len(_RETRYABLE)
        http, code = _RETRYABLE[which]
        if code is _CODE.RESOURCE_EXHAUSTED:
            hint = True  # without a hint it would be a refusal for good
        return Refusal(
            http, code, "told", "told to fail", self.settings.retry_after_s if hint else None
        )

    async def _take_half(self, signal: Signal, data: bytes, headers: Mapping[str, str]) -> Accepted:
        scan = wire.scan(signal, data)
        mask = np.arange(scan.items) % 2 == 0
        rejected = int(scan.items - mask.sum())
        if rejected:
            await self._acceptor(signal, wire.select(data, scan, mask), headers)
            return Accepted(rejected, "told to take half")
        return await self._acceptor(signal, data, headers)

"""A backend that misbehaves as it was told to, the same way for the same seed."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from schemas.signals import Signal
from streams.edges.receivers import CollectingAcceptor, Faults, FaultSettings
from streams.edges.receivers.faults import refusal_codes

from .conftest import Servers, Start
from .requests import request_of

TRACES = request_of(Signal.TRACES, 4)


async def fates(settings: FaultSettings, requests: int) -> list[str]:
    faults = Faults(CollectingAcceptor(), settings)
    seen = []
    for _ in range(requests):
        before = faults.happened.copy()
        try:
            async with asyncio.timeout(0.01 if settings.hang else None):
                await faults(Signal.TRACES, TRACES, {})
        except Exception:
            pass
        (fate,) = (faults.happened - before).keys()
        seen.append(fate)
    return seen


async def test_the_seed_decides() -> None:
    settings = FaultSettings(refuse=0.1, fail=0.3, reset=0.1, partial=0.1, seed=7)
    one, other = await fates(settings, 300), await fates(settings, 300)
    assert one == other
    for fate, rate in (
        ("refuse", 0.1),
        ("fail", 0.3),
        ("reset", 0.1),
        ("partial", 0.1),
        ("ok", 0.4),
    ):
        assert rate / 2 < one.count(fate) / 300 < rate * 1.7
    assert one != await fates(
        FaultSettings(refuse=0.1, fail=0.3, reset=0.1, partial=0.1, seed=8), 300
    )


@pytest.mark.parametrize(
    "rates", [{"refuse": -0.1}, {"fail": 1.1}, {"fail": 0.6, "hang": 0.6}, {"refuse_code": "429"}]
)
def test_settings_that_make_no_sense(rates: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"rates|final refusal"):
        FaultSettings(**rates)  # type: ignore[arg-type]


def test_refusals_have_a_code_on_both_transports() -> None:
    forbidden = (HTTPStatus.FORBIDDEN, grpc.StatusCode.PERMISSION_DENIED)
    assert refusal_codes("403") == refusal_codes("permission_denied") == forbidden


async def started(start: Start, **rates: object) -> tuple[Servers, Faults, CollectingAcceptor]:
    collecting = CollectingAcceptor()
    faults = Faults(collecting, FaultSettings(**rates))  # type: ignore[arg-type]
    return await start(faults), faults, collecting


async def test_refuse(start: Start) -> None:
    servers, _, collecting = await started(start, refuse=1.0, refuse_code="403")
    status, body, _ = await servers.post("/v1/traces", TRACES)
    assert (status, status_pb2.Status.FromString(body).message) == (403, "told to refuse")
    code, _ = await servers.refused(Signal.TRACES, TRACES)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert not collecting.received


async def test_fail_with_retryable_codes_with_and_without_a_hint(start: Start) -> None:
    servers, _, collecting = await started(start, fail=1.0, retry_after_s=0.5)
    seen = {"http": set(), "grpc": set()}  # type: ignore[var-annotated]
    hints = {"http": set(), "grpc": set()}  # type: ignore[var-annotated]
    for _ in range(60):
        status, _, headers = await servers.post("/v1/traces", TRACES)
        seen["http"].add(status)
        hints["http"].add(headers.get("Retry-After"))
        code, details = await servers.refused(Signal.TRACES, TRACES)
        seen["grpc"].add(code)
        assert details is not None
        hinted = any(d.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for d in details.details)
        hints["grpc"].add(hinted)
        assert hinted or code is not grpc.StatusCode.RESOURCE_EXHAUSTED
    assert seen["http"] == {429, 502, 503, 504}
    assert hints["http"] == {None, "1"}
    assert hints["grpc"] == {True, False}
    assert seen["grpc"] == {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    assert not collecting.received


async def test_reset_before_and_after_taking(start: Start) -> None:
    servers, faults, collecting = await started(start, reset=1.0)
    for _ in range(20):
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await servers.post("/v1/traces", TRACES)
    assert 0 < len(collecting.received) < 20
    code, _ = await servers.refused(Signal.TRACES, TRACES)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert faults.happened["reset"] == 21


async def test_hang_until_the_client_gives_up(start: Start) -> None:
    servers, faults, collecting = await started(start, hang=1.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await servers.post("/v1/traces", TRACES)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await servers.channel.unary_unary(Signal.TRACES.grpc_method)(TRACES, timeout=0.2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert faults.happened["hang"] == 2
    assert not collecting.received
    async with asyncio.timeout(5):
        while servers.admission.inflight_bytes:  # noqa: ASYNC110 - freed when the loss is seen
            await asyncio.sleep(0.005)


async def test_partial_takes_every_second_item(start: Start) -> None:
    servers, _, collecting = await started(start, partial=1.0)
    answer = ExportTraceServiceResponse.FromString(await servers.export(Signal.TRACES, TRACES))
    assert answer.partial_success.rejected_spans == 2
    assert answer.partial_success.error_message
    taken = ExportTraceServiceRequest.FromString(collecting.of(Signal.TRACES)[0])
    sent = ExportTraceServiceRequest.FromString(TRACES)
    kept = taken.resource_spans[0].scope_spans[0].spans
    assert list(kept) == list(sent.resource_spans[0].scope_spans[0].spans)[::2]
    one = request_of(Signal.TRACES, 1)  # half of one is one
    answer = ExportTraceServiceResponse.FromString(await servers.export(Signal.TRACES, one))
    assert not answer.HasField("partial_success")


async def test_latency(start: Start) -> None:
    servers, _, _ = await started(start, latency_s=0.2)
    before = asyncio.get_running_loop().time()
    await servers.post("/v1/traces", TRACES)
    # The loop's clock counts milliseconds: 36559.844 - 36559.644 is 200 of them, and as binary
    # fractions a little less than 0.2.
    assert round((asyncio.get_running_loop().time() - before) * 1000) >= 200


async def test_settings_can_be_changed_while_it_serves(start: Start) -> None:
    servers, faults, collecting = await started(start, refuse=1.0)
    assert (await servers.post("/v1/traces", TRACES))[0] == 400
    faults.settings = FaultSettings()
    assert (await servers.post("/v1/traces", TRACES))[0] == 200
    assert collecting.items[Signal.TRACES] == 4


async def test_collecting_refuses_what_is_no_request(start: Start) -> None:
    servers, _, collecting = await started(start)
    assert (await servers.post("/v1/traces", b"\x0a\xff"))[0] == 400
    assert not collecting.received


async def test_collecting_counts_and_can_be_waited_for(start: Start) -> None:
    servers, _, collecting = await started(start)
    waiting = asyncio.create_task(
        collecting.wait_for(lambda: sum(collecting.items.values()) == 4 + 7 + 2)
    )
    for signal, items in ((Signal.TRACES, 4), (Signal.METRICS, 7), (Signal.LOGS, 2)):
        await servers.export(signal, request_of(signal, items))
    await waiting
    assert collecting.items == {Signal.TRACES: 4, Signal.METRICS: 7, Signal.LOGS: 2}
    with pytest.raises(TimeoutError):
        await collecting.wait_for(lambda: False, timeout_s=0.01)

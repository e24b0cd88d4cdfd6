"""From start to exit code.

====  =====================================================================================
0     stopped by SIGTERM or SIGINT, finished and committed
70    a defect in an operator, a sink or the host; what was in flight is read again
71    Faust crashed or could not start; if because Kafka was away, 75
72    fenced: another process took over a partition while this one stood still
75    the stop took longer than ``runtime.stop_timeout``, or could not commit; some is read again
78    the configuration is wrong (raised as ConfigurationError for the command line to say)
====  =====================================================================================

All but 0 and 78 end the process on the spot: code that is stuck is not asked to agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from aiokafka.errors import KafkaConnectionError, NodeNotReadyError
from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.errors import BrokerUnavailable, ConfigurationError, OtlpStreamsError
from streams.edges.platform import AdminServer, create_registry
from topologies.exits import (
    EXIT_CONFIGURATION,
    EXIT_CRASHED,
    EXIT_DEFECT,
    EXIT_FENCED,
    EXIT_TRY_AGAIN,
)

from .memory import keep_freed_memory
from .ports import Fenced
from .stage import Service, Stage
from .worker import Worker

__all__ = ["die", "serve"]

SAME_SIGNAL_S = 2.0
"""Ctrl-C in a terminal reaches a process twice: from the terminal and from its supervisor."""

_log = logging.getLogger(__name__)


async def serve(
    stages: Stage | Sequence[Stage],
    config: Config,
    *,
    registry: CollectorRegistry | None = None,
    service: Service | None = None,
) -> None:
    """Run stages until SIGTERM or SIGINT; a second signal later on ends the process at once.

    ``service`` runs beside them, from before Kafka is looked for until the stages have stopped.

    Serves ``/livez``, ``/readyz`` and ``/metrics`` on ``telemetry.endpoint``.

    Raises:
        ConfigurationError: a topic is missing, Kafka refuses us, the endpoint is taken.
    """
    keep_freed_memory()
    stages = [stages] if isinstance(stages, Stage) else list(stages)
    registry = create_registry() if registry is None else registry
    outputs = () if service is None else service.topics
    worker = Worker(stages, config, registry, _fatal, outputs=outputs)
    stop = _stop_signal()

    def unready() -> Mapping[str, str]:
        return {**worker.unready, **({} if service is None else service.unready)}

    admin = AdminServer(
        config.telemetry.endpoint, registry, readiness=unready, warnings=lambda: worker.warnings
    )
    await admin.start()
    try:
        if service is not None:
            await service.start()
        started = False
        try:
            started = await _started(worker, stop, config.runtime.stop_timeout)
        finally:
            if not started and service is not None:
                await service.stop()
        if not started:
            return
        await _until(stop, worker)
        began = time.monotonic()
        try:
            async with asyncio.timeout(config.runtime.stop_timeout):
                await worker.stop()
                if service is not None:
                    await service.stop()
        except TimeoutError:
            die(EXIT_TRY_AGAIN, "the stop took longer than runtime.stop_timeout")
        except Exception as error:
            die(EXIT_TRY_AGAIN, f"the stop failed: {error}", error)
        _log.info("stopped in %.2f s", time.monotonic() - began)
    finally:
        await admin.stop()


async def _started(worker: Worker, stop: asyncio.Event, stop_timeout_s: float) -> bool:
    """Start, unless the stop comes first."""
    starting = asyncio.ensure_future(worker.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        if not worker.hosts:
            # Still waiting for Kafka: nothing was begun that would have to be ended.
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return False
        await asyncio.wait((starting,), timeout=stop_timeout_s)
        if not starting.done():
            die(EXIT_TRY_AGAIN, "the start did not end within runtime.stop_timeout of the stop")
    try:
        await starting
    except OtlpStreamsError:
        raise
    except Exception as error:
        _crashed("the start failed", error)
    return True


async def _until(stop: asyncio.Event, worker: Worker) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    crashing = asyncio.ensure_future(worker.crashed())
    await asyncio.wait((stopping, crashing), return_when=asyncio.FIRST_COMPLETED)
    if crashing.done():
        _crashed("Faust crashed", crashing.result())
    crashing.cancel()
    stopping.cancel()


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()

    loop = asyncio.get_running_loop()
    asked_at = 0.0

    def ask() -> None:
        nonlocal asked_at
        if not stop.is_set():
            asked_at = loop.time()
            stop.set()
        elif loop.time() - asked_at > SAME_SIGNAL_S:
            die(EXIT_TRY_AGAIN, "ended by a second signal")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    return stop


def _crashed(why: str, error: BaseException | None) -> NoReturn:
    if _is_kafka_away(error):
        die(EXIT_TRY_AGAIN, f"{why}: Kafka is away: {error}")
    die(EXIT_CRASHED, why, error)


def _is_kafka_away(error: BaseException | None) -> bool:
    """No broker could be reached, whatever was made of that on the way here."""
    while error is not None:
        if isinstance(error, KafkaConnectionError | NodeNotReadyError | BrokerUnavailable):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fatal(error: BaseException) -> None:
    if isinstance(error, ConfigurationError):
        die(EXIT_CONFIGURATION, str(error))
    if isinstance(error, Fenced):
        _log.critical("fenced: %s", error)
        die(EXIT_FENCED, "another process has a partition of ours; this one was too slow")
    die(EXIT_DEFECT, "a defect ends this process", error)


def die(code: int, why: str, error: BaseException | None = None) -> NoReturn:
    """Log, flush, end at once with ``code``: no ``finally``, no thread is waited for."""
    try:
        expected = isinstance(error, OtlpStreamsError)
        _log.critical("%s (exit %d)", why, code, exc_info=None if expected else error)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)

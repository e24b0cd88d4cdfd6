"""The host of every stage: Faust feeds byte-bounded lanes; sinks' offsets or transactions commit.

The surface is :class:`Stage`, :class:`Sink`, :class:`SourceRange` (stage.py) and :func:`serve`;
what an operator is says schemas/operators.py.
``docs/runtime.md`` tells how it hangs together; each module begins with its own part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .stage import LastingSink, Service, Sink, SourceRange, Stage

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from schemas.config import Config

__all__ = ["LastingSink", "Service", "Sink", "SourceRange", "Stage", "serve"]


async def serve(
    stages: Stage | Sequence[Stage],
    config: Config,
    *,
    registry: CollectorRegistry | None = None,
    service: Service | None = None,
) -> None:
    """Run stages until SIGTERM; see :func:`topologies.runtime.process.serve`."""
    from .process import serve as run  # noqa: PLC0415 - Faust takes 0.4 s to import

    await run(stages, config, registry=registry, service=service)

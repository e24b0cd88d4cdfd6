"""Both servers in a process of their own, whose peak memory a test asks for.

Prints ``grpc_port http_port``, then for each line on standard input the peak resident size in
bytes; ends at the end of the input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from schemas.config import GrpcReceiver, HttpReceiver
from schemas.signals import Signal
from streams.edges.receivers import (
    Accepted,
    Admission,
    GrpcServer,
    HttpServer,
    ReceiverMetrics,
)


async def accept(_: Signal, __: bytes, ___: Mapping[str, str]) -> Accepted:
    return Accepted()


def peak_bytes() -> int:
    """Not ru_maxrss: that one remembers the parent from before exec."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


async def main(max_request_bytes: int, inflight_max_bytes: int) -> None:
    admission = Admission(inflight_max_bytes)
    metrics = ReceiverMetrics(CollectorRegistry())
    grpc = GrpcServer(
        GrpcReceiver(endpoint="127.0.0.1:0", late_after=0.1), accept,
        max_request_bytes=max_request_bytes, admission=admission, metrics=metrics,
    )  # fmt: skip
    http = HttpServer(
        HttpReceiver(endpoint="127.0.0.1:0", late_after=0.1), accept,
        max_request_bytes=max_request_bytes, admission=admission, metrics=metrics,
    )  # fmt: skip
    await grpc.start()
    await http.start()
    print(grpc.port, http.port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(peak_bytes(), flush=True)
    await grpc.stop(0)
    await http.stop(0)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

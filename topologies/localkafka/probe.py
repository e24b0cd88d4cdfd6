"""Ports, and whether a broker stands behind one of them."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from pathlib import Path

__all__ = ["PORTS_VARIABLE", "answers_metadata", "free_ports", "is_free", "port_range"]

PORTS_VARIABLE = "OTLP_STREAMS_PORTS"
"""Environment variable with the ports to choose from, ``FIRST-LAST``. Between the choice of a port
and its use it could be given away twice: who runs several of us at once keeps them apart."""

_METADATA = 3
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def port_range() -> tuple[int, int]:
    """First and last port to choose from: below those that the system gives to clients.

    A broker that is away must find its port again: were it an ephemeral one, a client that
    tries to reconnect could be given that very port, and be connected to itself.
    """
    with contextlib.suppress(KeyError, ValueError):
        first, last = map(int, os.environ[PORTS_VARIABLE].split("-"))
        return first, last
    ephemeral = 32768
    with contextlib.suppress(OSError, ValueError):
        ephemeral = int(_RANGE.read_text().split()[0])
    return (15_000, ephemeral - 1) if ephemeral > 16_000 else (61_000, 65_534)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports of ``port_range`` on which nobody listens now."""
    first, last = port_range()
    rng = random.SystemRandom()
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for _ in range(10_000):
            if len(ports) == count:
                return ports
            listener = held.enter_context(socket.socket())
            port = rng.randint(first, last)
            try:
                listener.bind((host, port))
            except OSError:
                continue
            ports.append(port)
    raise OSError(f"no {count} free ports between {first} and {last} on {host}")


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; connections that linger do not matter."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def answers_metadata(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether a broker answers a Metadata request (version 1, no topics) and names a broker.

    Source: Kafka protocol guide, Metadata API, request header version 1.
    """
    client = b"ready"
    request = struct.pack(">hhih", _METADATA, 1, 1, len(client)) + client + struct.pack(">i", 0)
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                size, correlation, brokers = struct.unpack(">iii", answer.read(12))
    except (OSError, struct.error):
        return False
    return bool(size > 8 and correlation == 1 and brokers >= 1)

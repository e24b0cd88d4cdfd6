"""A bare HTTP/2 client for what no gRPC library would send."""

from __future__ import annotations

import asyncio
import struct

__all__ = ["bare_call", "frame", "preface"]


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing nor Huffman code (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, section 4.1."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def preface() -> bytes:
    """Connection preface with empty settings."""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")


async def bare_call(
    port: int, path: str, message: bytes, *, encoding: str = "", compressed: bool = False
) -> bytes:
    """Everything that the server sent until it had ended the stream, unparsed.

    Its header literals are sent without Huffman code, so that names and values can be searched.
    """
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    if encoding:
        fields.append(("grpc-encoding", encoding))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = bytes([compressed]) + struct.pack(">I", len(message)) + message
    writer.write(
        preface()
        + frame(1, 4, 1, b"".join(_literal(*field) for field in fields))
        + frame(0, 1, 1, body)
    )
    got = b""
    try:
        async with asyncio.timeout(10):
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                got += payload
                if head[3] in (1, 3) and (head[3] == 3 or head[4] & 1):
                    return got
    finally:
        writer.close()

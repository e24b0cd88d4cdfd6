"""A bare HTTP/2 client for what no gRPC library would send."""

from __future__ import annotations

import asyncio
import struct

__all__ = ["bare_call", "call_headers", "frame", "preface"]

_HEADERS, _RST_STREAM, _SETTINGS, _WINDOW_UPDATE = 1, 3, 4, 8
_SETTING_INITIAL_WINDOW = 4
_INITIAL_WINDOW = 65_535
_FRAME_BYTES = 16_384


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


def call_headers(path: str, encoding: str = "") -> bytes:
    """The HEADERS frame that opens a gRPC call as stream 1."""
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
    return frame(1, 4, 1, b"".join(_literal(*field) for field in fields))


class _Windows:
    """Flow control of the one stream and of its connection (RFC 9113, section 6.9)."""

    def __init__(self) -> None:
        self.stream = self.connection = _INITIAL_WINDOW
        self.grown = asyncio.Event()

    def update(self, stream: int, bytes_more: int) -> None:
        if stream:
            self.stream += bytes_more
        else:
            self.connection += bytes_more
        self.grown.set()

    async def send(self, writer: asyncio.StreamWriter, body: bytes, *, end: bool) -> None:
        at = 0
        while True:
            size = min(_FRAME_BYTES, len(body) - at, self.stream, self.connection)
            if size > 0 or not body:
                at += size
                self.stream -= size
                self.connection -= size
                last = end and at == len(body)
                writer.write(frame(0, int(last), 1, body[at - size : at]))
                await writer.drain()
            if at == len(body):
                return
            if size <= 0:
                self.grown.clear()
                await self.grown.wait()


async def bare_call(
    port: int,
    path: str,
    message: bytes,
    *,
    encoding: str = "",
    compressed: bool = False,
    missing_bytes: int = 0,
) -> bytes:
    """Everything that the server sent until it had ended the stream, unparsed.

    ``missing_bytes`` are promised by the message's length and never sent.
    Its header literals are sent without Huffman code, so that names and values can be searched.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size = len(message) + missing_bytes
    body = bytes([compressed]) + struct.pack(">I", size) + message
    writer.write(preface() + call_headers(path, encoding))
    windows = _Windows()
    sending = asyncio.ensure_future(windows.send(writer, body, end=not missing_bytes))
    got, initial = b"", _INITIAL_WINDOW
    try:
        async with asyncio.timeout(20):
            while True:
                head = await reader.readexactly(9)
                kind, flags = head[3], head[4]
                stream = int.from_bytes(head[5:9], "big")
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                got += payload
                if kind == _SETTINGS and not flags & 1:
                    # What they allow may only be used once they know that it was read.
                    writer.write(frame(_SETTINGS, 1, 0, b""))
                    for at in range(0, len(payload), 6):
                        name, value = struct.unpack_from(">HI", payload, at)
                        if name == _SETTING_INITIAL_WINDOW:
                            windows.update(1, value - initial)
                            initial = value
                elif kind == _WINDOW_UPDATE:
                    windows.update(stream, int.from_bytes(payload, "big"))
                elif kind == _RST_STREAM or (kind == _HEADERS and flags & 1):
                    return got
    finally:
        sending.cancel()
        writer.close()

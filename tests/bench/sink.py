"""A backend that takes everything and does nothing, so that its cost is nobody's.

python -m tests.bench.sink grpc|http     prints its port
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio
import uvloop
from aiohttp import web


async def _http() -> int:
    async def take(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application(client_max_size=1 << 30, handler_args={"auto_decompress": False})
    app.router.add_post("/v1/{signal}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


class _TakeAll(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def take(request: bytes, context: object) -> bytes:
            return b""

        return grpc.unary_unary_rpc_method_handler(take)


async def _main(protocol: str) -> None:
    if protocol == "http":
        port = await _http()
    else:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers((_TakeAll(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))

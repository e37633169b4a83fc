"""A proxy that is nothing but Sidecar's wire: no key, no limits, no usage, no ledger.

What it costs against bare.py is the part of Sidecar's cost that framing, sockets and tasks take.
Not started by smoke.py. Usage: python bench/wire.py PORT VENDOR_URL
"""

from __future__ import annotations

import asyncio
import sys

from sidecar.config.model import Provider
from sidecar.errors import SourceLocation
from sidecar.http.client import SendState, Upstream, open_upstream
from sidecar.http.headers import Fields, lines_of
from sidecar.http.responses import refuse_message
from sidecar.http.wire.agent_messages import AgentRequest, RelayedResponse
from sidecar.http.wire.agent_protocol import AgentServer
from sidecar.plugin_api.vendor import Vendor

MAX_INLINE_BYTES = 1 << 20
HOP_BY_HOP = {b"host", b"content-length", b"connection", b"transfer-encoding"}


class Plain(Vendor):
    name = "plain"
    title = "Plain"


PROVIDER = Provider("plain", Plain(), "", (), SourceLocation("wire.py", 1))


def passing(fields: Fields) -> bytes:
    """The lines of the fields that are for more than one hop."""
    return lines_of([field for field in fields if field[0].lower() not in HOP_BY_HOP])


async def relay(upstream: Upstream, url: str, request: AgentRequest) -> RelayedResponse:
    body = b"".join([piece async for piece in request.content])
    lines, target = passing(request.head.fields), url + request.raw_path
    reply = await upstream.send(PROVIDER, request.method, target, lines, body, SendState())
    response = RelayedResponse(
        reply.status, reply.head.reason, passing(reply.head.fields), reply.length
    )
    try:
        if reply.length is not None:
            whole, _ = await reply.read_all(MAX_INLINE_BYTES)
            if not response.send(request, whole):
                await response.drained()
            return response
        await response.prepare(request)
        while piece := await reply.read():
            await response.write(piece)
        response.end()
    finally:
        reply.close()
    return response


async def main(port: int, url: str) -> None:
    async with open_upstream() as upstream:
        server = AgentServer(lambda request: relay(upstream, url, request), refuse_message)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server, "127.0.0.1", port, backlog=1024)
        await listener.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
    else:
        uvloop.run(main(int(sys.argv[1]), sys.argv[2]))

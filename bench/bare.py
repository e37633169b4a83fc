"""The reference: the shortest honest aiohttp proxy. No keys, no metrics, nothing looked at.

python bench/bare.py PORT UPSTREAM_URL [--uvloop] [--ca FILE]
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)
CA = web.AppKey("ca", str)
SKIP = {"host", "content-length", "transfer-encoding", "connection"}


async def handle(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in SKIP}
    body = await request.read()
    url = request.app[UPSTREAM] + request.path_qs
    async with request.app[SESSION].request(
        request.method, url, headers=headers, data=body
    ) as answer:
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in SKIP:
                response.headers.add(name, value)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
    return response


async def session(app: web.Application) -> AsyncIterator[None]:
    trusted = ssl.create_default_context(cafile=app[CA]) if app[CA] else True
    connector = aiohttp.TCPConnector(limit=0, ssl=trusted)
    async with aiohttp.ClientSession(connector=connector) as app[SESSION]:
        yield


def main(port: int, upstream: str, ca: str = "") -> None:
    app = web.Application(client_max_size=1 << 30)
    app[UPSTREAM], app[CA] = upstream, ca
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", handle)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.install()
    main(int(sys.argv[1]), sys.argv[2], sys.argv[-1] if "--ca" in sys.argv else "")

"""The offline vendor: it answers with the last message, in every dialect, over real HTTP.

It runs inside Sidecar on its own loopback port, and serves only groups of its own vendor, so it
cannot replace a real one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import ClassVar

from sidecar import LocalServer, Serving, Vendor, hookimpl


@asynccontextmanager
async def serve() -> AsyncIterator[str]:
    """Listen on a loopback port until the context ends; yield the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(_serve_from_first_connection(listener))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _serve_from_first_connection(listener: socket.socket) -> None:
    """Serve from the first connection on: most processes never have one, and the server would take
    a third of the time and a quarter of the memory of the start."""
    listener.setblocking(False)
    loop, connected = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, connected.set)
    try:
        await connected.wait()
    finally:
        loop.remove_reader(listener)
    server = await asyncio.to_thread(import_module, "sidecar_vendors.echo.server")
    async with server.serving(listener):
        await loop.create_future()


class Echo(Vendor):
    """The echo server, which needs no account and no network."""

    name = "echo"
    title = "Echo"
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            frozenset({"chat", "responses", "embeddings", "models", "model"}), add="/v1"
        ),
        "anthropic": Serving(frozenset({"messages", "count_tokens", "models", "model"})),
        "gemini": Serving(
            frozenset({"generate", "stream", "count_tokens", "embeddings", "models", "model"})
        ),
    }
    local_server: ClassVar[LocalServer | None] = LocalServer(serve)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Echo()]

"""The offline vendor: it answers with the last message, in every dialect, over real HTTP.

It runs inside Sidecar on its own loopback port, and serves only groups of its own vendor, so it
cannot replace a real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from sidecar import LocalServer, Serving, Vendor, hookimpl


@asynccontextmanager
async def serve() -> AsyncIterator[str]:
    """Serve on a loopback port until the context ends; yield the base URL."""
    # Imported late: it takes a third of the time of a command that only reads the file.
    from sidecar_vendors.echo.server import serve_echo

    async with serve_echo() as url:
        yield url


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

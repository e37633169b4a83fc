"""The offline vendor: answers in every dialect with what it was told, over real HTTP.

It lives in this process, on a loopback port of its own, and serves only groups of its own vendor:
it can never stand in for a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import LocalServer, Serving, Vendor, hookimpl
from sidecar_vendors.echo_server import serve_echo


class Echo(Vendor):
    """Echo, which needs neither an account nor a network."""

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
    local_server: ClassVar[LocalServer | None] = LocalServer(serve_echo)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Echo."""
    return [Echo()]

"""The admin listener: /metrics and health checks without a token, the console for its sessions, and
the API for Sidecar's own commands.

The commands use the unix socket, which only this user can open. Over TCP the same API needs a
session's token. No response has a CORS header.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable

from msgspec import Struct

from sidecar.admin.console.front import Console
from sidecar.errors import ErrorKind, ProxyError
from sidecar.http import responses
from sidecar.http.request_guard import RequestGuard
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse
from sidecar.http.wire.agent_protocol import AgentResponse
from sidecar.metrics.metrics import CONTENT_TYPE
from sidecar.proxy.services import Services

API = "/api/"
SCRAPES = "X-Prometheus-Scrape-Timeout-Seconds"
"""Prometheus and compatible scrapers send this with every scrape; browsers do not."""

Answer = Callable[[AgentRequest], Awaitable[AgentResponse]]


class Admin(Struct):
    """The handlers of the admin listener and of the unix socket.

    Both open before the agents' listener does, so that they can watch it drain. A request that
    comes before `opened` is set waits for it, so that an answer means that calls are served.
    """

    console: Console
    services: Services
    guard: RequestGuard
    opened: asyncio.Event
    draining: asyncio.Event

    async def over_tcp(self, request: AgentRequest) -> AgentResponse:
        """Serve metrics, health checks and the console."""
        await self.opened.wait()
        self.services.finished.flush()
        path = request.raw_path.partition("?")[0]
        if self.console.serves(path):
            return await self.console.over_tcp(request, path)
        try:
            self.guard.check(request.method, request.raw_path, request.headers)
            return await self._open(request, path)
        except ProxyError as refused:
            return responses.plain(refused.reply)

    async def over_socket(self, request: AgentRequest) -> AgentResponse:
        """Serve metrics, health checks and the API."""
        await self.opened.wait()
        self.services.finished.flush()
        path = request.raw_path.partition("?")[0]
        if path.startswith(API):
            return await self.console.over_socket(request, path.removeprefix(API))
        try:
            return await self._open(request, path)
        except ProxyError as refused:
            return responses.plain(refused.reply)

    async def _open(self, request: AgentRequest, path: str) -> AgentResponse:
        routes: dict[str, Answer] = {
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }
        answer = routes.get(path)
        if answer is None:
            raise ProxyError(
                ErrorKind.NOT_FOUND, f"there is no {path[:80]} here; try {', '.join(routes)}"
            )
        if request.method not in {"GET", "HEAD"}:
            raise ProxyError(ErrorKind.METHOD_NOT_ALLOWED, f"{path} is read with GET")
        return await answer(request)

    async def _metrics(self, request: AgentRequest) -> AgentResponse:
        token = self.services.configuration.current().server.metrics_token
        if token is not None:
            secret = self.services.vault.secret(token)
            sent = request.headers.get("Authorization", "")
            wanted = "" if secret is None else f"Bearer {secret.reveal()}"
            if not wanted or not hmac.compare_digest(
                sent.encode("utf-8", "surrogateescape"), wanted.encode()
            ):
                raise ProxyError(
                    ErrorKind.INVALID_KEY, "/metrics needs the token of server.metrics_token"
                )
        body = await self.services.metrics.render(from_zero=SCRAPES in request.headers)
        return LocalResponse(bytes(body), headers={"Content-Type": CONTENT_TYPE})

    async def _healthz(self, _: AgentRequest) -> AgentResponse:
        stale = bool(self.services.configuration.status.problems)
        return _json({"status": "ok", "config": "stale" if stale else "current"})

    async def _readyz(self, _: AgentRequest) -> AgentResponse:
        if self.draining.is_set():
            raise ProxyError(ErrorKind.DRAINING, "shutting down")
        return _json({"status": "ready"})


def _json(answer: dict[str, str]) -> LocalResponse:
    return LocalResponse(json.dumps(answer).encode())

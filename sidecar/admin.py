"""The admin side: /metrics and health for everybody on loopback, and the API of our own commands.

The API answers on the unix socket alone, which only this user can open; over TCP there is nothing
but figures without names of secrets. No answer carries a CORS header.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, parse_qsl, unquote

from aiohttp import web

from sidecar import __version__, answers, routing
from sidecar.catalog import Catalog
from sidecar.config import Key, Snapshot
from sidecar.credentials import Vault
from sidecar.errors import Kind, Refusal, Refused
from sidecar.explain import explain
from sidecar.foresight import Outlook, supposed
from sidecar.guard import Door
from sidecar.ledger import Ledger
from sidecar.live import LiveCalls
from sidecar.metrics import CONTENT_TYPE, Metrics
from sidecar.plugins import Registry
from sidecar.prices import Prices
from sidecar.reload import Configuration
from sidecar.steering import Steering

SCRAPES = "X-Prometheus-Scrape-Timeout-Seconds"
"""Sent by Prometheus, and by what scrapes in its place, with every scrape; by no person."""

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Admin:
    """The admin listener's handler; `serve_api` is true for the unix socket."""

    configuration: Configuration
    vault: Vault
    registry: Registry
    ledger: Ledger
    metrics: Metrics
    prices: Prices
    live: LiveCalls
    outlook: Outlook
    steering: Steering
    catalog: Catalog
    usable: routing.Usable
    started: float
    draining: Callable[[], bool]
    door: Door
    addresses: dict[str, object] = field(default_factory=dict)

    async def over_tcp(self, request: web.BaseRequest) -> web.StreamResponse:
        """Figures and health."""
        try:
            self.door.check(request.method, request.raw_path, request.headers)
            return await self._open(request, request.raw_path.partition("?")[0])
        except Refused as refused:
            return answers.plain(refused.refusal)

    async def over_socket(self, request: web.BaseRequest) -> web.StreamResponse:
        """All of it."""
        path = request.raw_path.partition("?")[0]
        try:
            return await self._api(request, path) or await self._open(request, path)
        except Refused as refused:
            return answers.plain(refused.refusal)

    async def _open(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        routes: dict[str, Answer] = {
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }
        answer = routes.get(path)
        if answer is None:
            raise Refused(Kind.NOT_FOUND, f"there is no {path[:80]} here; try {', '.join(routes)}")
        if request.method not in {"GET", "HEAD"}:
            raise Refused(Kind.METHOD_NOT_ALLOWED, f"{path} is read with GET")
        return await answer(request)

    async def _metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        token = self.configuration.current().server.metrics_token
        if token is not None:
            secret = self.vault.secret(token)
            sent = request.headers.get("Authorization", "")
            wanted = "" if secret is None else f"Bearer {secret.reveal()}"
            if not wanted or not hmac.compare_digest(sent.encode(), wanted.encode()):
                raise Refused(Kind.INVALID_KEY, "/metrics needs the token of server.metrics_token")
        body = await self.metrics.render(from_zero=SCRAPES in request.headers)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _healthz(self, _: web.BaseRequest) -> web.StreamResponse:
        stale = bool(self.configuration.standing.problems)
        return web.json_response({"status": "ok", "config": "stale" if stale else "current"})

    async def _readyz(self, _: web.BaseRequest) -> web.StreamResponse:
        if self.draining():
            raise Refused(Kind.DRAINING, "shutting down")
        return web.json_response({"status": "ready"})

    async def _api(self, request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        first, *words = path.strip("/").split("/")
        if first != "api":
            return None
        found = None
        if request.method == "GET":
            found = await self._look(request, words)
        elif request.method == "POST":
            found = await self._order([unquote(word) for word in words])
        if found is None:
            raise Refused(Kind.NOT_FOUND, f"there is no {request.method} {path[:80]} here")
        return web.json_response(found)

    async def _look(
        self, request: web.BaseRequest, words: Sequence[str]
    ) -> Mapping[str, object] | None:
        match words:
            case ["status"]:
                return self._status()
            case ["keys"]:
                return {"keys": self._key_times()}
            case ["explain"]:
                return self._explain(request)
            case ["models"]:
                return {"models": await self._models(request)}
            case ["live"]:
                return self.outlook.board.show()
        return None

    async def _order(self, words: Sequence[str]) -> Mapping[str, object] | None:
        match words:
            case ["reload"]:
                return await self._reload()
            case ["flush"]:
                return {"written": await self.ledger.flush()}
            case ["keys", name, "revoke"]:
                return {"cut": self._revoke(name)}
            case ["pause", kind, name]:
                return self.steering.pause(kind, name)
            case ["resume", kind, name]:
                return self.steering.resume(kind, name)
        return None

    def _status(self) -> dict[str, object]:
        standing = self.configuration.standing
        snapshot = self.configuration.current()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self.started,
            **self.addresses,
            "config": {
                "file": str(self.configuration.file.absolute()),
                "digest": standing.digest,
                "accepted_at": standing.accepted_at,
                "error": "\n".join(standing.problems) or None,
                "error_at": standing.refused_at,
                "stays": list(standing.stays),
            },
            "providers": [
                {
                    "name": provider.name,
                    "vendor": provider.vendor.name,
                    "available": not self.vault.unavailable(provider),
                    "reason": self.vault.unavailable(provider),
                }
                for provider in snapshot.providers.values()
            ],
            "keys": len(snapshot.keys),
            "prices": self.prices.source,
            "in_flight": len(self.live),
            **self.outlook.board.standing(),
            "plugin_problems": list(self.registry.problems),
            "ledger": {"healthy": self.ledger.healthy, "failures": self.ledger.failures},
        }

    def _key_times(self) -> dict[str, object]:
        times = {name: self.ledger.times(name) for name in self.configuration.current().keys}
        return {
            name: {
                "last_seen": each.last_seen,
                "last_used": each.last_used,
                "last_refused": each.last_refused,
                "program": each.program,
            }
            for name, each in times.items()
        }

    async def _reload(self) -> dict[str, object]:
        loaded = await self.configuration.reload()
        return {
            "accepted": loaded.accepted,
            "digest": self.configuration.standing.digest,
            "problems": list(loaded.problems),
            "difference": list(loaded.difference),
        }

    def _revoke(self, name: str) -> int:
        why = f'key "{name}" was revoked'
        return self.live.end(Refusal(Kind.KEY_DISABLED, why), key=name)

    def _explain(self, request: web.BaseRequest) -> dict[str, object]:
        query = dict(parse_qsl(request.raw_path.partition("?")[2]))
        key = find_key(self.configuration.current(), query.get("key", ""))
        return explain(supposed(key, query), self.registry.dialects, self.usable, self.outlook)

    async def _models(self, request: web.BaseRequest) -> list[dict[str, object]]:
        snapshot = self.configuration.current()
        names = parse_qs(request.raw_path.partition("?")[2]).get("key")
        keys = [find_key(snapshot, names[0])] if names else list(snapshot.keys.values())
        found: dict[str, list[str]] = {}
        for key in keys:
            for dialect in key.group.vendor.dialects:
                for entry in await self.catalog.offered(key, self.registry.dialects[dialect]):
                    who = found.setdefault(entry.id, [])
                    if key.name not in who:
                        who.append(key.name)
        return [{"id": model, "keys": who} for model, who in found.items()]


def find_key(snapshot: Snapshot, name: str) -> Key:
    """The key of that name. Raises `Refused` (404)."""
    key = snapshot.keys.get(name)
    if key is None:
        raise Refused(Kind.NOT_FOUND, f'there is no key "{name[:80]}"')
    return key

"""The console's listener: who may see what, and the headers that keep a browser on our side.

    /                    the shell: the same bytes for everybody, holds nothing
    /console/NAME        its files
    /console/api/…       the API, for sessions only; see `sessions`

No cookie is ever set or read, so no other page can borrow a session.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace

from aiohttp import web

from sidecar.admin import api, views
from sidecar.admin import views as health
from sidecar.admin.console import assets
from sidecar.admin.console.events import BATCH_SECONDS, LIVE_INTERVAL_SECONDS, Listener
from sidecar.admin.console.sessions import CODE_TTL_SECONDS, Session
from sidecar.admin.context import ApiError, ApiRequest, Parts
from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.request_guard import RequestGuard
from sidecar.scheduling.pauses import COMMANDS

API = "/console/api/"
FILES = "/console/"
_READING = frozenset({"GET", "HEAD"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
PROTECTION = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


log = logging.getLogger("sidecar.admin.console")


class Console:
    """Both ways to the console's API, and its pages."""

    def __init__(self, parts: Parts, door: RequestGuard) -> None:
        self._parts = parts
        self._door = door

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path of the TCP listener is the console's."""
        return path == "/" or path.startswith(FILES)

    def link(self) -> str:
        """A link that lets one browser in, once, within the next minutes."""
        code = self._parts.sessions.mint_code()
        return f"{self._parts.addresses['console']}/#code={code}"

    async def close(self) -> None:
        """Let listening tabs go, so that nothing waits for them."""
        self._parts.events.close()

    async def over_tcp(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a browser."""
        try:
            self._door.check_console(
                request.method, request.raw_path, request.headers, page=path == "/"
            )
            if path.startswith(API):
                response = await self._with_token(request, path.removeprefix(API))
            else:
                name = assets.SHELL if path == "/" else path.removeprefix(FILES)
                response = assets.answer(request, name)
        except (ProxyError, ApiError) as error:
            response = api.declined(error)
        if not response.prepared:
            response.headers.update(PROTECTION)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def over_socket(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer one of our own commands."""
        try:
            match request.method, path:
                case "POST", "open":
                    return web.json_response({"url": self.link(), "seconds": CODE_TTL_SECONDS})
                case "POST", "close":
                    return web.json_response({"ended": self._parts.sessions.end_all()})
            asked = replace(_asked(request), by=COMMANDS)
            return await api.answer(self._parts, path, asked)
        except (ProxyError, ApiError) as error:
            return api.declined(error)

    async def _with_token(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if request.method not in _READING:
            _check_json(request)
        if (request.method, path) == ("POST", "session"):
            return await self._sign_in(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        session = self._parts.sessions.use(token)
        match request.method, path:
            case "DELETE", "session":
                self._parts.sessions.end(token)
                return web.json_response({"ended": True})
            case "GET", "events":
                return await self._stream(request, session)
        return await api.answer(self._parts, path, _asked(request))

    async def _sign_in(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            code = json.loads(await api.read_body(request))["code"]
        except (ValueError, KeyError, TypeError):
            raise ApiError(400, "bad_request", "a code is needed") from None
        try:
            token = self._parts.sessions.exchange(str(code))
        except ProxyError:
            log.warning("console: a link was refused that was used already, or is too old")
            raise
        log.info("console: a browser signed in")
        return web.json_response({"token": token})

    async def _stream(self, request: web.BaseRequest, session: Session) -> web.StreamResponse:
        if self._parts.events.full:
            raise ProxyError(ErrorKind.UNAVAILABLE, "too many tabs listen already; close some")
        response = web.StreamResponse(headers=PROTECTION)
        response.headers["Content-Type"] = "application/x-ndjson"
        response.headers["Cache-Control"] = "no-store"
        await response.prepare(request)
        with (
            self._parts.events.listening(live="live" in api.query_of(request)) as listener,
            self._parts.sessions.listening(session, listener.woken.set),
        ):
            await self._tell(response, session, listener)
        return response

    async def _tell(
        self, response: web.StreamResponse, session: Session, listener: Listener
    ) -> None:
        await _line(response, self._standing())
        due = self._parts.scheduler.now()
        while True:
            if listener.live and self._parts.scheduler.now() >= due:
                await _line(response, {"event": "live", **self._parts.outlook.board.show()})
                due = self._parts.scheduler.now() + LIVE_INTERVAL_SECONDS - BATCH_SECONDS
            news = await listener.news()
            self._parts.sessions.sweep()
            if self._parts.events.closed:
                return
            if session.over:
                break
            await self._tell_news(response, *news)
        await _line(response, {"event": "over"})

    async def _tell_news(
        self,
        response: web.StreamResponse,
        config: bool,  # noqa: FBT001 - what a listener heard
        keys: set[str],
    ) -> None:
        if config:
            await _line(response, self._standing())
        if keys:
            known = self._parts.snapshot.keys
            times = {name: self._parts.ledger.times(name) for name in keys if name in known}
            rows = {name: views.times_view(each) for name, each in times.items()}
            await _line(response, {"event": "keys", "keys": rows})
        if not config and not keys:
            await _line(response, {"event": "beat"})

    def _standing(self) -> dict[str, object]:
        standing = self._parts.configuration.status
        return {
            "event": "config",
            # Not the digest: gone and back within one line, it would tell of nothing.
            "since": standing.refused_at or standing.accepted_at,
            "refused": len(standing.problems),
            "paused": health.paused(self._parts.scheduler),
        }


def _asked(request: web.BaseRequest) -> ApiRequest:
    return ApiRequest(request, seen=api.seen_by(request))


def _check_json(request: web.BaseRequest) -> None:
    """Raise `ProxyError` (415) on what a form of another page could send."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProxyError(
            ErrorKind.UNSUPPORTED_MEDIA, "orders to the console are sent as application/json"
        )


async def _line(response: web.StreamResponse, event: dict[str, object]) -> None:
    await response.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")

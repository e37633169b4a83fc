"""The console's listener: access, and the security headers of its responses.

    /                    the page: the same bytes for every client, without data
    /console/NAME        its files
    /console/api/…       the API, for sessions only; see `sessions`

No cookie is set or read, so no other page can use a session.
"""

from __future__ import annotations

import logging

import msgspec
from msgspec import structs

from sidecar.admin import api
from sidecar.admin.api_types.config import (
    BeatEvent,
    CallEnded,
    ConfigEvent,
    ConsoleLink,
    KeysEvent,
    LiveEvent,
    OverEvent,
    SessionsEnded,
    SessionToken,
    StreamEvent,
)
from sidecar.admin.console import assets
from sidecar.admin.console.events import BATCH_SECONDS, LIVE_INTERVAL_SECONDS, Listener, News
from sidecar.admin.console.sessions import CODE_TTL_SECONDS, Session
from sidecar.admin.context import AdminContext, ApiError, ApiRequest, json_response
from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.headers import encoded
from sidecar.http.request_guard import RequestGuard
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse, RelayedResponse
from sidecar.http.wire.agent_protocol import AgentResponse
from sidecar.scheduling.pauses import COMMANDS, describe_target

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
_STREAM_FIELDS = encoded([
    *PROTECTION.items(), ("Content-Type", "application/x-ndjson"), ("Cache-Control", "no-store"),
    ("Server", "sidecar"),
])  # fmt: skip


log = logging.getLogger("sidecar.admin.console")


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request that exchanges the code of a link for a token."""

    code: str


class Console:
    """The console's API, over TCP and over the socket, and its pages."""

    def __init__(self, context: AdminContext, guard: RequestGuard) -> None:
        self._context = context
        self._guard = guard

    @staticmethod
    def serves(path: str) -> bool:
        """Return whether a path of the TCP listener is the console's."""
        return path == "/" or path.startswith(FILES)

    def link(self) -> str:
        """Return a link that signs one browser in, once, within `CODE_TTL_SECONDS`."""
        code = self._context.sessions.mint_code()
        return f"{self._context.addresses.console}/#code={code}"

    async def close(self) -> None:
        """Close the event streams, so that nothing waits for them."""
        self._context.events.close()

    async def over_tcp(self, request: AgentRequest, path: str) -> AgentResponse:
        """Answer a browser."""
        try:
            self._guard.check_console(
                request.method, request.raw_path, request.headers, page=path == "/"
            )
            if path.startswith(API):
                response = await self._with_token(request, path.removeprefix(API))
            else:
                name = assets.SHELL if path == "/" else path.removeprefix(FILES)
                response = assets.answer(request, name)
        except (ProxyError, ApiError) as error:
            response = api.declined(error)
        if isinstance(response, LocalResponse):  # the head of another is sent already
            response.headers.update(PROTECTION)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def over_socket(self, request: AgentRequest, path: str) -> AgentResponse:
        """Answer one of Sidecar's own commands."""
        try:
            match request.method, path:
                case "POST", "open":
                    return json_response(ConsoleLink(url=self.link(), seconds=CODE_TTL_SECONDS))
                case "POST", "close":
                    return json_response(SessionsEnded(ended=self._context.sessions.end_all()))
            asked = structs.replace(_asked(request), by=COMMANDS)
            return await api.answer(self._context, path, asked)
        except (ProxyError, ApiError) as error:
            return api.declined(error)

    async def _with_token(self, request: AgentRequest, path: str) -> AgentResponse:
        if request.method not in _READING:
            _check_json(request)
        if (request.method, path) == ("POST", "session"):
            return await self._sign_in(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        session = self._context.sessions.use(token)
        match request.method, path:
            case "DELETE", "session":
                self._context.sessions.end(token)
                return json_response(CallEnded(ended=True))
            case "GET", "events":
                return await self._stream(request, session)
        return await api.answer(self._context, path, _asked(request))

    async def _sign_in(self, request: AgentRequest) -> AgentResponse:
        try:
            asked = msgspec.json.decode(await api.read_body(request), type=SignIn)
        except msgspec.MsgspecError:
            raise ApiError(400, "bad_request", "a code is needed") from None
        try:
            token = self._context.sessions.exchange(asked.code)
        except ProxyError:
            log.warning("console: sign-in refused: the link was used already, or is too old")
            raise
        log.info("console: a browser signed in")
        return json_response(SessionToken(token=token))

    async def _stream(self, request: AgentRequest, session: Session) -> RelayedResponse:
        if self._context.events.full:
            raise ProxyError(ErrorKind.UNAVAILABLE, "too many tabs listen already; close some")
        response = RelayedResponse(200, "", _STREAM_FIELDS, None)
        await response.prepare(request)
        with (
            self._context.events.listening(live="live" in api.query_of(request)) as listener,
            self._context.sessions.listening(session, listener.woken.set),
        ):
            await self._tell(response, session, listener)
        response.end()
        return response

    async def _tell(self, response: RelayedResponse, session: Session, listener: Listener) -> None:
        await _line(response, self._config_event())
        due = self._context.scheduler.now()
        while True:
            if listener.live and self._context.scheduler.now() >= due:
                state = self._context.outlook.board.show()
                await _line(response, LiveEvent(**structs.asdict(state)))
                due = self._context.scheduler.now() + LIVE_INTERVAL_SECONDS - BATCH_SECONDS
            news = await listener.news()
            self._context.sessions.sweep()
            if self._context.events.closed:
                return
            if session.over:
                break
            await self._tell_news(response, news)
        await _line(response, OverEvent())

    async def _tell_news(self, response: RelayedResponse, news: News) -> None:
        if news.config:
            await _line(response, self._config_event())
        if news.keys:
            known, ledger = self._context.snapshot.keys, self._context.services.ledger
            times = {name: ledger.times(name) for name in news.keys if name in known}
            await _line(response, KeysEvent(keys=times))
        if not news.config and not news.keys:
            await _line(response, BeatEvent())

    def _config_event(self) -> ConfigEvent:
        standing = self._context.services.configuration.status
        pauses = self._context.scheduler.pauses
        return ConfigEvent(
            # Not the digest: of an edit and its reversal in one line nothing would be left.
            since=standing.refused_at or standing.accepted_at,
            refused=len(standing.problems),
            paused=[describe_target(each.target) for each in pauses],
        )


def _asked(request: AgentRequest) -> ApiRequest:
    return ApiRequest(request, seen=api.seen_by(request))


def _check_json(request: AgentRequest) -> None:
    """Raise `ProxyError` (415) for what a form of another page could send."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProxyError(
            ErrorKind.UNSUPPORTED_MEDIA, "requests to the console are sent as application/json"
        )


async def _line(response: RelayedResponse, event: StreamEvent) -> None:
    await response.write(msgspec.json.encode(event) + b"\n")

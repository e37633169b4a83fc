"""The JSON API, behind two listeners: the unix socket, and the console's with a token.

GET  /api/keys            over the socket, which only this user can open
GET  /console/api/keys    over TCP, with a session's token in a header
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import structs

from sidecar.admin import changes, children, config_file, read, usage
from sidecar.admin.api_types.config import (
    CallEnded,
    EndedCalls,
    FlushReport,
    ReloadReport,
)
from sidecar.admin.api_types.limits import PauseResult, ResumeResult
from sidecar.admin.context import AdminContext, ApiError, ApiRequest, json_response
from sidecar.errors import ErrorKind, LocalReply, ProxyError
from sidecar.http import responses
from sidecar.http.body_reading import malformed
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse
from sidecar.http.wire.framing import FramingError

MAX_BODY_BYTES = 256 * 1024
"""The largest edit."""
BODY_TIMEOUT_SECONDS = 10.0

ApiHandler = Callable[[AdminContext, ApiRequest], Awaitable[msgspec.Struct]]


class ApiEndpoint(NamedTuple):
    """One endpoint: `{}` stands for a name in the path. The return type of the handler is the type
    of the answer."""

    method: str
    path: str
    handler: ApiHandler


async def _reload(context: AdminContext, _: ApiRequest) -> ReloadReport:
    loaded = await context.services.configuration.reload()
    return ReloadReport(
        accepted=loaded.accepted,
        digest=context.services.configuration.status.digest,
        problems=list(loaded.problems),
        difference=list(loaded.difference),
    )


async def _revoke(context: AdminContext, asked: ApiRequest) -> EndedCalls:
    name = asked.names[0]
    why = f'key "{name}" was revoked'
    return EndedCalls(
        cut=context.services.live.end(LocalReply(ErrorKind.KEY_DISABLED, why), key=name)
    )


async def _flush(context: AdminContext, _: ApiRequest) -> FlushReport:
    await context.services.finished.settle()  # a record may wait for the lookup of its caller
    return FlushReport(written=await context.services.ledger.flush())


async def _pause(context: AdminContext, asked: ApiRequest) -> PauseResult:
    kind, name = asked.names
    done = context.steering.pause(kind, name, asked.by, here=bool(asked.query.get("here")))
    context.events.steered()
    return done


async def _resume(context: AdminContext, asked: ApiRequest) -> ResumeResult:
    done = context.steering.resume(*asked.names, here=bool(asked.query.get("here")))
    context.events.steered()
    return done


async def _end(context: AdminContext, asked: ApiRequest) -> CallEnded:
    call = context.services.live.get(asked.names[0])
    if call is None:
        raise ProxyError(ErrorKind.NOT_FOUND, "that call is over")
    why = "this call was ended by hand by the operator of Sidecar"
    call.end(LocalReply(ErrorKind.FORBIDDEN, why, final=True))
    return CallEnded(ended=True)


ROUTES = (
    ApiEndpoint("GET", "status", read.status),
    ApiEndpoint("GET", "keys", read.keys),
    ApiEndpoint("GET", "times", read.key_times),
    ApiEndpoint("GET", "key", read.key),
    ApiEndpoint("POST", "keys/{}/revoke", _revoke),
    ApiEndpoint("GET", "child-keys", children.listed),
    ApiEndpoint("POST", "child-keys", children.renew),
    ApiEndpoint("POST", "child-keys/{}/end", children.end),
    ApiEndpoint("GET", "groups", read.groups),
    ApiEndpoint("GET", "group", read.group),
    ApiEndpoint("GET", "provider", read.provider),
    ApiEndpoint("POST", "probe", read.probe),
    ApiEndpoint("GET", "models", read.models),
    ApiEndpoint("GET", "explain", read.explained),
    ApiEndpoint("GET", "agents", read.agents),
    ApiEndpoint("GET", "config", config_file.config),
    ApiEndpoint("GET", "version", config_file.version),
    ApiEndpoint("POST", "changes", changes.change),
    ApiEndpoint("GET", "live", read.live),
    ApiEndpoint("GET", "pause", read.pause_choices),
    ApiEndpoint("GET", "usage", usage.used),
    ApiEndpoint("GET", "usage/csv", usage.sheet),
    ApiEndpoint("GET", "usage/nodes", usage.nodes_usage),
    ApiEndpoint("GET", "recent", usage.recent_usage),
    ApiEndpoint("GET", "calls", usage.calls),
    ApiEndpoint("GET", "call", usage.call),
    ApiEndpoint("POST", "calls/{}/end", _end),
    ApiEndpoint("POST", "reload", _reload),
    ApiEndpoint("POST", "flush", _flush),
    ApiEndpoint("POST", "pause/{}/{}", _pause),
    ApiEndpoint("POST", "resume/{}/{}", _resume),
)


async def answer(context: AdminContext, path: str, asked: ApiRequest) -> LocalResponse:
    """Answer the request for `path` (without the prefix). Raises `ProxyError` or `ApiError`."""
    words = path.split("/")
    for route in ROUTES:
        names = _fit(route.path.split("/"), words)
        if names is not None and route.method == asked.request.method:
            body = await read_body(asked.request) if route.method == "POST" else b""
            asked = structs.replace(asked, names=names, query=query_of(asked.request), body=body)
            return json_response(await route.handler(context, asked))
    raise ProxyError(ErrorKind.NOT_FOUND, f"there is no {asked.request.method} {path[:80]} here")


async def read_body(request: AgentRequest) -> bytes:
    """Return the body. Raises `ProxyError` when it is too large, too slow or malformed."""
    if (request.content.length or 0) > MAX_BODY_BYTES:
        raise ProxyError(ErrorKind.TOO_LARGE, "this is too long for an edit")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            while piece := await request.content.read():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise ProxyError(ErrorKind.TOO_LARGE, "this is too long for an edit")
    except TimeoutError:
        raise ProxyError(ErrorKind.BODY_TIMEOUT, "the body did not come in time") from None
    except FramingError:
        raise malformed() from None
    return bytes(body)


def _fit(pattern: list[str], words: list[str]) -> tuple[str, ...] | None:
    """Return the names in a path that fits the pattern; None when it does not."""
    if len(pattern) != len(words):
        return None
    pairs = list(zip(pattern, words, strict=True))
    if any(want not in ("{}", word) for want, word in pairs):
        return None
    return tuple(unquote(word) for want, word in pairs if want == "{}")


def query_of(request: AgentRequest) -> dict[str, str]:
    """Return the query; of a name that is repeated, the last value."""
    return dict(parse_qsl(request.raw_path.partition("?")[2], keep_blank_values=True))


def seen_by(request: AgentRequest) -> str | None:
    """Return the digest in `If-Match`."""
    return request.headers.get("If-Match", "").strip().removeprefix("W/").strip('"') or None


def declined(error: ApiError | ProxyError) -> LocalResponse:
    """Return an error as JSON."""
    if isinstance(error, ApiError):
        return error.response()
    return responses.plain(error.reply)

"""The JSON API, once, behind two doors: the unix socket, and the console's listener with a token.

GET  /api/keys            over the socket, which only this user can open
GET  /console/api/keys    over TCP, with a session's token in a header
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import web

from sidecar.admin import changes, config_file, read, usage
from sidecar.admin.context import ApiError, ApiRequest, Parts
from sidecar.errors import ErrorKind, LocalReply, ProxyError
from sidecar.http import responses

MAX_BODY_BYTES = 256 * 1024
"""Bytes of an edit."""
BODY_TIMEOUT_SECONDS = 10.0

ApiHandler = Callable[[Parts, ApiRequest], Awaitable[dict[str, Any]]]


class ApiEndpoint(NamedTuple):
    """One order: how and where it is asked; `{}` stands for a name in the path."""

    method: str
    path: str
    handler: ApiHandler


async def _reload(parts: Parts, _: ApiRequest) -> dict[str, Any]:
    loaded = await parts.configuration.reload()
    return {
        "accepted": loaded.accepted,
        "digest": parts.configuration.status.digest,
        "problems": list(loaded.problems),
        "difference": list(loaded.difference),
    }


async def _revoke(parts: Parts, asked: ApiRequest) -> dict[str, Any]:
    name = asked.names[0]
    why = f'key "{name}" was revoked'
    return {"cut": parts.live.end(LocalReply(ErrorKind.KEY_DISABLED, why), key=name)}


async def _flush(parts: Parts, _: ApiRequest) -> dict[str, Any]:
    await parts.callers.settle()  # a record may wait to hear who called
    return {"written": await parts.ledger.flush()}


async def _pause(parts: Parts, asked: ApiRequest) -> dict[str, Any]:
    kind, name = asked.names
    done = parts.steering.pause(kind, name, asked.by)
    parts.events.steered()
    return done


async def _resume(parts: Parts, asked: ApiRequest) -> dict[str, Any]:
    done = parts.steering.resume(*asked.names)
    parts.events.steered()
    return done


async def _end(parts: Parts, asked: ApiRequest) -> dict[str, Any]:
    call = parts.live.get(asked.names[0])
    if call is None:
        raise ProxyError(ErrorKind.NOT_FOUND, "that call is over")
    why = "this call was ended by hand, by whoever runs Sidecar"
    call.end(LocalReply(ErrorKind.FORBIDDEN, why, final=True))
    return {"ended": True}


ROUTES = (
    ApiEndpoint("GET", "status", read.status),
    ApiEndpoint("GET", "keys", read.keys),
    ApiEndpoint("GET", "times", read.key_times),
    ApiEndpoint("GET", "key", read.key),
    ApiEndpoint("POST", "keys/{}/revoke", _revoke),
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
    ApiEndpoint("GET", "pause", read.pausing),
    ApiEndpoint("GET", "usage", usage.used),
    ApiEndpoint("GET", "usage/csv", usage.sheet),
    ApiEndpoint("GET", "lately", usage.lately),
    ApiEndpoint("GET", "calls", usage.calls),
    ApiEndpoint("GET", "call", usage.call),
    ApiEndpoint("POST", "calls/{}/end", _end),
    ApiEndpoint("POST", "reload", _reload),
    ApiEndpoint("POST", "flush", _flush),
    ApiEndpoint("POST", "pause/{}/{}", _pause),
    ApiEndpoint("POST", "resume/{}/{}", _resume),
)


async def answer(parts: Parts, path: str, asked: ApiRequest) -> web.Response:
    """What the order at `path` (behind the prefix) comes to. Raises `ProxyError` or `ApiError`."""
    words = path.split("/")
    for route in ROUTES:
        names = _fit(route.path.split("/"), words)
        if names is not None and route.method == asked.request.method:
            body = await read_body(asked.request) if route.method == "POST" else b""
            asked = replace(asked, names=names, query=query_of(asked.request), body=body)
            body = msgspec.json.encode(await route.handler(parts, asked))
            return web.Response(body=body, content_type="application/json")
    raise ProxyError(ErrorKind.NOT_FOUND, f"there is no {asked.request.method} {path[:80]} here")


async def read_body(request: web.BaseRequest) -> bytes:
    """The body, if it is of a bearable size and comes in time. Raises `ProxyError`."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise ProxyError(ErrorKind.TOO_LARGE, "this is too long for an edit")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise ProxyError(ErrorKind.TOO_LARGE, "this is too long for an edit")
    except TimeoutError:
        raise ProxyError(ErrorKind.BODY_TIMEOUT, "the body did not come in time") from None
    return bytes(body)


def _fit(pattern: list[str], words: list[str]) -> tuple[str, ...] | None:
    """The names in the gaps of a pattern; None when the path is another."""
    if len(pattern) != len(words):
        return None
    pairs = list(zip(pattern, words, strict=True))
    if any(want not in ("{}", word) for want, word in pairs):
        return None
    return tuple(unquote(word) for want, word in pairs if want == "{}")


def query_of(request: web.BaseRequest) -> dict[str, str]:
    """The query, each name once."""
    return dict(parse_qsl(request.raw_path.partition("?")[2], keep_blank_values=True))


def seen_by(request: web.BaseRequest) -> str | None:
    """The digest in `If-Match`."""
    return request.headers.get("If-Match", "").strip().removeprefix("W/").strip('"') or None


def declined(error: ApiError | ProxyError) -> web.Response:
    """Either no as JSON."""
    if isinstance(error, ApiError):
        return error.answer()
    return responses.plain(error.reply)

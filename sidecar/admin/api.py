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
from sidecar.admin.context import Asked, Declined, Parts
from sidecar.errors import Kind, Refusal, Refused
from sidecar.http import responses

LONGEST_BODY = 256 * 1024
"""Bytes of an edit."""
BODY_PATIENCE = 10.0

Handler = Callable[[Parts, Asked], Awaitable[dict[str, Any]]]


class Route(NamedTuple):
    """One order: how and where it is asked; `{}` stands for a name in the path."""

    method: str
    path: str
    handler: Handler


async def _reload(parts: Parts, _: Asked) -> dict[str, Any]:
    loaded = await parts.configuration.reload()
    return {
        "accepted": loaded.accepted,
        "digest": parts.configuration.standing.digest,
        "problems": list(loaded.problems),
        "difference": list(loaded.difference),
    }


async def _revoke(parts: Parts, asked: Asked) -> dict[str, Any]:
    name = asked.names[0]
    why = f'key "{name}" was revoked'
    return {"cut": parts.live.end(Refusal(Kind.KEY_DISABLED, why), key=name)}


async def _flush(parts: Parts, _: Asked) -> dict[str, Any]:
    await parts.callers.settle()  # a record may wait to hear who called
    return {"written": await parts.ledger.flush()}


async def _pause(parts: Parts, asked: Asked) -> dict[str, Any]:
    kind, name = asked.names
    done = parts.steering.pause(kind, name, asked.by)
    parts.events.steered()
    return done


async def _resume(parts: Parts, asked: Asked) -> dict[str, Any]:
    done = parts.steering.resume(*asked.names)
    parts.events.steered()
    return done


async def _end(parts: Parts, asked: Asked) -> dict[str, Any]:
    call = parts.live.get(asked.names[0])
    if call is None:
        raise Refused(Kind.NOT_FOUND, "that call is over")
    why = "this call was ended by hand, by whoever runs Sidecar"
    call.end(Refusal(Kind.FORBIDDEN, why, final=True))
    return {"ended": True}


ROUTES = (
    Route("GET", "status", read.status),
    Route("GET", "keys", read.keys),
    Route("GET", "times", read.key_times),
    Route("GET", "key", read.key),
    Route("POST", "keys/{}/revoke", _revoke),
    Route("GET", "groups", read.groups),
    Route("GET", "group", read.group),
    Route("GET", "provider", read.provider),
    Route("POST", "probe", read.probe),
    Route("GET", "models", read.models),
    Route("GET", "explain", read.explained),
    Route("GET", "agents", read.agents),
    Route("GET", "config", config_file.config),
    Route("GET", "version", config_file.version),
    Route("POST", "changes", changes.change),
    Route("GET", "live", read.live),
    Route("GET", "pause", read.pausing),
    Route("GET", "usage", usage.used),
    Route("GET", "usage/csv", usage.sheet),
    Route("GET", "lately", usage.lately),
    Route("GET", "calls", usage.calls),
    Route("GET", "call", usage.call),
    Route("POST", "calls/{}/end", _end),
    Route("POST", "reload", _reload),
    Route("POST", "flush", _flush),
    Route("POST", "pause/{}/{}", _pause),
    Route("POST", "resume/{}/{}", _resume),
)


async def answer(parts: Parts, path: str, asked: Asked) -> web.Response:
    """What the order at `path` (behind the prefix) comes to. Raises `Refused` or `Declined`."""
    words = path.split("/")
    for route in ROUTES:
        names = _fit(route.path.split("/"), words)
        if names is not None and route.method == asked.request.method:
            body = await read_body(asked.request) if route.method == "POST" else b""
            asked = replace(asked, names=names, query=query_of(asked.request), body=body)
            body = msgspec.json.encode(await route.handler(parts, asked))
            return web.Response(body=body, content_type="application/json")
    raise Refused(Kind.NOT_FOUND, f"there is no {asked.request.method} {path[:80]} here")


async def read_body(request: web.BaseRequest) -> bytes:
    """The body, if it is of a bearable size and comes in time. Raises `Refused`."""
    if (request.content_length or 0) > LONGEST_BODY:
        raise Refused(Kind.TOO_LARGE, "this is too long for an edit")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > LONGEST_BODY:
                    raise Refused(Kind.TOO_LARGE, "this is too long for an edit")
    except TimeoutError:
        raise Refused(Kind.BODY_TIMEOUT, "the body did not come in time") from None
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


def declined(error: Declined | Refused) -> web.Response:
    """Either no as JSON."""
    if isinstance(error, Declined):
        return error.answer()
    return responses.plain(error.refusal)

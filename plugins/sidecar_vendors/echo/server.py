"""A small HTTP server that answers with the last message in the three dialects.

One word is one token, so usage is easy to check. Responses are deterministic: no clock, no
randomness.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from sidecar_vendors.echo import shapes

MODEL = "echo"
_GEMINI = re.compile(r"models/(?P<model>[^:/]+):(?P<verb>\w+)")


@asynccontextmanager
async def serving(listener: socket.socket) -> AsyncIterator[None]:
    """Serve on a socket that listens, until the context ends."""
    runner = web.AppRunner(_application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def _application() -> web.Application:
    app = web.Application(client_max_size=128 << 20, middlewares=[_reject_invalid])
    app.add_routes(
        [
            web.post("/v1/chat/completions", _chat),
            web.post("/v1/responses", _responses),
            web.post("/v1/embeddings", _embeddings),
            web.post("/v1/messages", _messages),
            web.post("/v1/messages/count_tokens", _count_tokens),
            web.get(r"/{version:v1\w*}/models", _models),
            web.get(r"/{version:v1\w*}/models/{model}", _model),
            web.post(r"/{version:v1\w*}/{rest:models/.+}", _gemini),
        ]
    )
    return app


@web.middleware
async def _reject_invalid(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ValueError, KeyError, TypeError, AttributeError):
        return web.json_response(shapes.error(400, "the request is invalid"), status=400)
    except web.HTTPException as error:
        return web.json_response(shapes.error(error.status, error.reason), status=error.status)


async def _chat(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    prompt, answer = shapes.last_words(body.get("messages"))
    if not body.get("stream"):
        return web.json_response(shapes.chat(body["model"], prompt, answer))
    wanted = (body.get("stream_options") or {}).get("include_usage") is True
    events = shapes.chat_stream(body["model"], prompt, answer, usage=wanted)
    return await _stream(
        request, (f"data: {_json(each)}\n\n" for each in events), "data: [DONE]\n\n"
    )


async def _responses(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    asked = body.get("input")
    prompt, answer = shapes.last_words([{"content": asked}] if isinstance(asked, str) else asked)
    whole = shapes.response(body["model"], prompt, answer)
    if not body.get("stream"):
        return web.json_response(whole)
    return await _stream(request, _named(shapes.response_stream(whole, answer)))


async def _messages(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    prompt, answer = shapes.last_words(body.get("messages"))
    whole = shapes.message(body["model"], prompt, answer)
    if not body.get("stream"):
        return web.json_response(whole)
    return await _stream(request, _named(shapes.message_stream(whole, answer)))


async def _count_tokens(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    prompt, _ = shapes.last_words(body.get("messages"))
    return web.json_response({"input_tokens": prompt})


async def _embeddings(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    coded = body.get("encoding_format") == "base64"
    return web.json_response(shapes.embeddings(body["model"], list(map(str, inputs)), coded=coded))


async def _gemini(request: web.Request) -> web.StreamResponse:
    match = _GEMINI.fullmatch(request.match_info["rest"])
    body = await request.json()
    if match is None:
        raise web.HTTPNotFound
    prompt, answer = shapes.last_parts(body.get("contents"))
    match match["verb"]:
        case "generateContent":
            return web.json_response(shapes.generated(match["model"], prompt, answer))
        case "streamGenerateContent":
            chunks = shapes.generated_stream(match["model"], prompt, answer)
            if request.query.get("alt") != "sse":
                return web.json_response(list(chunks))
            return await _stream(request, (f"data: {_json(each)}\r\n\r\n" for each in chunks))
        case "countTokens":
            return web.json_response({"totalTokens": prompt})
        case "batchEmbedContents":
            count = len(body.get("requests", ()))
            return web.json_response({"embeddings": [{"values": [0.5, 0.5]}] * count})
        case "embedContent":
            return web.json_response({"embedding": {"values": [0.5, 0.5]}})
    raise web.HTTPNotFound


def _is_googles(request: web.Request) -> bool:
    return request.match_info["version"] != "v1" or "x-goog-api-client" in request.headers


async def _models(request: web.Request) -> web.StreamResponse:
    if _is_googles(request):
        return web.json_response({"models": [shapes.gemini_model(MODEL)]})
    if "anthropic-version" in request.headers:
        return web.json_response(shapes.anthropic_models(MODEL))
    return web.json_response({"object": "list", "data": [shapes.openai_model(MODEL)]})


async def _model(request: web.Request) -> web.StreamResponse:
    name = request.match_info["model"]
    if _is_googles(request):
        return web.json_response(shapes.gemini_model(name))
    if "anthropic-version" in request.headers:
        return web.json_response(shapes.anthropic_models(name)["data"][0])
    return web.json_response(shapes.openai_model(name))


async def _stream(request: web.Request, events: Iterable[str], end: str = "") -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(event.encode())
    if end:
        await response.write(end.encode())
    await response.write_eof()
    return response


def _named(events: Iterable[dict[str, Any]]) -> Iterable[str]:
    return (f"event: {each['type']}\ndata: {_json(each)}\n\n" for each in events)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

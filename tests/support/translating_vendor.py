"""A model behind a translation, without a gateway: what an SDK reads is the library's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from scripted_vendor import STREAM_HEAD, Script, Wire, chunk
from translation_samples import SSE

from sidecar_transforms.translation import ResponseTranslator, translate_request

PIECE_BYTES = 64


def translating(
    source: str, target: str, model: Callable[[dict[str, Any]], bytes], name: str
) -> Script:
    """Answer a request with the translated stream of a model that speaks `target`.

    `model` returns the stream for a translated request; `name` is the model that it is asked for.
    """
    streaming = True if source == "gemini" else None  # its path says so, and not its body

    async def script(wire: Wire) -> None:
        query = wire.request.path.partition("?")[2]
        sent = translate_request(
            source, target, wire.request.body, model=name, streaming=streaming, query=query
        )
        answer = ResponseTranslator(sent.context, status=200, content_type=SSE)
        await wire.send(STREAM_HEAD)
        provider = model(json.loads(sent.body))
        for at in range(0, len(provider), PIECE_BYTES):
            if piece := answer.feed(provider[at : at + PIECE_BYTES]):
                await wire.send(chunk(piece))
        if rest := answer.end(complete=True):
            await wire.send(chunk(rest))
        await wire.send(b"0\r\n\r\n")

    return script

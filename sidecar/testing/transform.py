"""Checks of a transform: its targets, requests, responses, errors and options."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

from sidecar.plugin_api.manager import Registry
from sidecar.plugin_api.transform import (
    ANY_ENDPOINT,
    Transform,
    TransformCall,
    TransformedRequest,
    TransformRefused,
    TransformTarget,
)
from sidecar.testing.limits import BODIES, QUOTED

_CUTS = (1, 7, 64)
_ASKED = [{"role": "user", "content": f"{QUOTED}, for ada@example.com"}]
_CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}%s}]}\n\n'


class SampleCall(NamedTuple):
    """A call of one endpoint, and its response, whole and as a stream."""

    path: str
    body: dict[str, object]
    answer: bytes
    stream: bytes


_SAMPLES = {
    "chat": SampleCall(
        "/chat/completions",
        {"model": "m", "messages": _ASKED},
        b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}',
        _CHUNK % b"" + _CHUNK % b',"finish_reason":"stop"' + b"data: [DONE]\n\n",
    ),
    "messages": SampleCall(
        "/v1/messages",
        {"model": "m", "max_tokens": 9, "messages": _ASKED},
        b'{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text",'
        b'"text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}',
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","content":[],'
        b'"model":"m","usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"Hi"}}\n\n'
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
        b'"usage":{"output_tokens":1}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
}
"""Of the endpoints that most agents use, by the name of the endpoint."""
_UNUSUAL = (
    b'{"model":"m"}', b'{"model":"m","messages":null}', b'{"model":"m","messages":[1,{}]}',
    b'{"model":"m","messages":[{"role":"user","content":[{"type":"new"},5,null]}],"x":1e999}',
    b'{"model":"m","messages":[],"tools":[{}],"stop":5,"tool_choice":7}',
)  # fmt: skip
"""Bodies of calls that pass the dialect, and that vendors may reject."""
_UNKNOWN = SampleCall("/unknown", {"model": "m"}, b"{}", b"data: {}\n\n")


def checks(transform: Transform, registry: Registry) -> dict[str, Callable[[], Iterator[str]]]:
    """Return the checks of one transform by the method that they call; each yields messages."""
    targets = _targets(transform, registry)
    return {
        "configured": lambda: _configuration(transform),
        "target": lambda: _target_problems(transform, registry),
        "request": lambda: _requests(transform, targets, registry),
        "answer": lambda: _answers(transform, targets),
        "response": lambda: _responses(transform, targets),
        "error": lambda: _errors(transform, targets),
    }


def _configuration(transform: Transform) -> Iterator[str]:
    if not transform.title:
        yield "title is empty; describe what it does in a few words"
    if not isinstance(transform.configured({}), Transform):
        yield "configured({}) returns no Transform; return one, or raise ValueError"
    for name, text in transform.options.items():
        if not text:
            yield f"option {name} has no help; describe its value"
        for words in ((), ("",), ("\x00", "ü")):
            try:
                transform.configured({name: words})
            except ValueError:
                continue


_Targets = dict[tuple[str, str], TransformTarget]
"""The first target of each endpoint that a transform changes."""


def _every_target(
    transform: Transform, registry: Registry
) -> Iterator[tuple[str, str, TransformTarget | None]]:
    for name, vendor in product(registry.dialects, registry.vendors.values()):
        served = vendor.dialects.get(name)
        names = {ANY_ENDPOINT, "other", "count_tokens", *_SAMPLES}
        names |= served.endpoints or set() if served else set()
        for endpoint in sorted(names):
            yield name, endpoint, transform.target(name, endpoint, vendor)


def _targets(transform: Transform, registry: Registry) -> _Targets:
    found: _Targets = {}
    try:
        for dialect, endpoint, target in _every_target(transform, registry):
            if isinstance(target, TransformTarget) and target.dialect in registry.dialects:
                found.setdefault((dialect, endpoint), target)
    except Exception:  # noqa: BLE001 - the check of `target` reports it
        return {}
    return found


def _target_problems(transform: Transform, registry: Registry) -> Iterator[str]:
    for dialect, endpoint, found in _every_target(transform, registry):
        target: object = found
        where = f"target({dialect}, {endpoint})"
        if target is None:
            continue
        if not isinstance(target, TransformTarget):
            yield f"{where} returns {type(target).__name__}; return a TransformTarget, or None"
        elif target.dialect not in registry.dialects:
            yield f"{where} names the dialect {target.dialect}, which does not exist; correct it"
        elif target.local and target[:2] != (dialect, endpoint):
            yield f"{where} is local and names another endpoint; return that of the call"


def _calls(targets: _Targets, *, streaming: bool = False) -> Iterator[TransformCall]:
    """Yield a valid call of each endpoint with a sample, unusual ones, and those of others."""
    for (dialect, endpoint), target in targets.items():
        if endpoint == ANY_ENDPOINT:
            continue
        sample = _SAMPLES.get(endpoint, _UNKNOWN)
        body = json.dumps(sample.body | ({"stream": True} if streaming else {})).encode()
        unusual = _UNUSUAL if sample is not _UNKNOWN else (b"", b"\xff", b"[]")
        for each, readable in ((body, True), *((one, True) for one in unusual), (b"", False)):
            if not readable and sample is not _UNKNOWN:
                continue
            yield TransformCall(
                dialect=dialect,
                endpoint=endpoint,
                target=target,
                method="POST",
                path=sample.path,
                query="a=b%2Fc",
                headers=((b"User-Agent", b"agent/1"),),
                body=each,
                readable=readable,
                model="m",
                streaming=streaming,
            )


def _made(
    transform: Transform, targets: _Targets, *, streaming: bool = False
) -> Iterator[tuple[TransformCall, TransformedRequest]]:
    for call in _calls(targets, streaming=streaming):
        if call.target.local:
            continue
        try:
            made = transform.request(call)
        except TransformRefused:
            continue
        if made is not None:
            yield call, made


def _requests(transform: Transform, targets: _Targets, registry: Registry) -> Iterator[str]:
    for call in _calls(targets):
        if call.target.local:
            continue
        try:
            made: object = transform.request(call)
        except TransformRefused as refused:
            if QUOTED in refused.reason:
                yield "request refuses with a reason that quotes the call; describe it instead"
            continue
        if made is None:
            continue
        if not isinstance(made, TransformedRequest):
            yield f"request returns {type(made).__name__}; return a TransformedRequest, or None"
            continue
        yield from _request_problems(call, made, registry)


def _request_problems(
    call: TransformCall, made: TransformedRequest, registry: Registry
) -> Iterator[str]:
    body: object = made.body
    if not isinstance(body, bytes):
        yield f"request returns a body of {type(body).__name__}; return bytes"
    if any(QUOTED in note for note in made.notes):
        yield "request returns a note that quotes the call; notes go into logs"
    path, dialect = made.path, registry.dialects[call.target.dialect]
    if path is not None and dialect.locate(call.method, path) is None:
        yield f"request returns the path {path}, which {dialect.name} lacks; correct it"


def _answers(transform: Transform, targets: _Targets) -> Iterator[str]:
    for call in _calls(targets):
        if not call.target.local:
            continue
        try:
            found: object = transform.answer(call)
        except TransformRefused:
            continue
        if not isinstance(found, bytes):
            yield f"answer returns {type(found).__name__}; return the bytes of JSON"
        elif not _is_json(found):
            yield f"answer returns no JSON for {call.endpoint}; return JSON"


def _responses(transform: Transform, targets: _Targets) -> Iterator[str]:
    for streaming in (False, True):
        content_type = "text/event-stream" if streaming else "application/json"
        for call, made in _made(transform, targets, streaming=streaming):
            sample = _SAMPLES.get(call.target.endpoint, _UNKNOWN)
            answer = sample.stream if streaming else sample.answer
            whole = _fed(transform, made, content_type, [answer])
            for size in _CUTS:
                pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
                found = _fed(transform, made, content_type, pieces)
                if b"".join(found) != b"".join(whole):
                    yield (
                        f"response of {call.endpoint} differs in pieces of {size} bytes; keep what "
                        "is incomplete until its next bytes"
                    )
                if streaming and any(each and not _is_whole(each) for each in found):
                    yield f"response of {call.endpoint} returns part of an event; keep it back"


def _fed(
    transform: Transform, made: TransformedRequest, content_type: str, pieces: list[bytes]
) -> list[bytes]:
    response = transform.response(made, 200, content_type)
    found = [response.feed(piece) for piece in pieces]
    return [*found, response.end(complete=True)]


def _errors(transform: Transform, targets: _Targets) -> Iterator[str]:
    for _, made in _made(transform, targets):
        for body in (b'{"error":{"message":"no"}}', *BODIES):
            status, found = transform.error(made, 429, body)
            if not 400 <= status <= 599:
                yield f"error returns the status {status}; return one from 400 to 599"
            if found != body and not _is_json(found):
                yield "error returns no JSON; return JSON, or the body as it is"


def _is_whole(data: bytes) -> bool:
    return data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True

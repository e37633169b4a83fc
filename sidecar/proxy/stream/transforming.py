"""Applies the transforms of a candidate: to the request of a call, and to its response.

What a provider gets is a `Call` of its own, in the provider's dialect: whatever reads the response
uses that one. The client's call stays as it is. The bytes that the provider sent are metered and
masked before they are transformed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, TypeVar

from msgspec import structs

from sidecar.errors import ErrorKind, Fault, ProxyError, UpstreamError
from sidecar.http.client import Reply, is_event_stream
from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.transform import (
    ResponseTransform,
    Transform,
    TransformCall,
    TransformedRequest,
    TransformRefused,
)
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.routing.transform_steps import TransformStep

log = logging.getLogger("sidecar.proxy.transforms")
T = TypeVar("T")

THREADED_BYTES = 256 << 10
"""Larger bodies are transformed in a thread, so that other calls go on meanwhile."""
MAX_NOTES = 100
"""Notes that are remembered of one key."""
_OF_THE_BODY = frozenset({b"content-encoding", b"content-length", b"content-md5", b"digest"})


class Applied(NamedTuple):
    """A transform that changed a request, and that request without its body."""

    transform: Transform
    request: TransformedRequest


class Outgoing(NamedTuple):
    """The call as a provider gets it, and the transforms that made it, in order."""

    call: Call
    applied: tuple[Applied, ...]

    @property
    def names(self) -> str:
        """The names of the transforms, for people."""
        return ", ".join(each.transform.name for each in self.applied)

    @property
    def notes(self) -> list[str]:
        """The reports of what the provider does not get, or gets differently."""
        return [
            f"{each.transform.name}: {note}" for each in self.applied for note in each.request.notes
        ]


async def transformed_call(
    call: Call, candidate: Candidate, dialects: Mapping[str, Dialect]
) -> Outgoing:
    """Return the call for a candidate. Raises `ProxyError` if a transform refuses it, or fails."""
    if len(call.decoded_body) < THREADED_BYTES:
        return _transformed(call, candidate, dialects)
    return await asyncio.to_thread(_transformed, call, candidate, dialects)


def _transformed(call: Call, candidate: Candidate, dialects: Mapping[str, Dialect]) -> Outgoing:
    applied: list[Applied] = []
    for step in candidate.steps:
        made = _result_of("request", step.transform.request, step, call, candidate)
        if made is not None:
            call = _changed(call, step, made, candidate, dialects)
            applied.append(Applied(step.transform, structs.replace(made, body=b"")))
    return Outgoing(call, tuple(applied))


def local_answer(call: Call, candidate: Candidate) -> bytes:
    """Return the answer of a candidate that calls no provider. Raises `ProxyError` if the transform
    refuses the call, or fails."""
    step = candidate.steps[-1]
    return _result_of("answer", step.transform.answer, step, call, candidate)


def _result_of(
    method: str, made_by: Callable[[TransformCall], T], step: TransformStep, call: Call,
    candidate: Candidate,
) -> T:  # fmt: skip
    """Return what a method of a transform makes of the call. Raises `ProxyError`."""
    name, body, reason = step.transform.name, call.decoded_body, ""
    ask = TransformCall(
        dialect=call.dialect.name,
        endpoint=call.endpoint.name,
        target=step.target,
        method=call.method,
        path=call.located.path,
        query=call.query,
        headers=tuple(call.headers.fields),
        body=body,
        readable=call.body is not None and bool(body or not call.body),
        model=candidate.model,
        streaming=call.facts.streaming,
    )
    with plugin_guard(f"transform {name}", method, "the call is not sent") as guard:
        try:
            return made_by(ask)
        except TransformRefused as refused:
            reason = refused.reason
    if guard.error is not None:
        raise ProxyError(ErrorKind.INTERNAL, f"{guard.reason}; the call is not sent", final=True)
    where = candidate.route.place.short
    raise ProxyError(ErrorKind.BAD_REQUEST, f"{name} refuses the call: {reason} ({where})")


def _changed(
    call: Call, step: TransformStep, made: TransformedRequest, candidate: Candidate,
    dialects: Mapping[str, Dialect],
) -> Call:  # fmt: skip
    dialect, path = dialects[step.target.dialect], made.path or call.located.path
    if dialect is not call.dialect or path != call.located.path:
        found = dialect.locate(call.method, path)
        if found is None:
            why = f"{step.transform.name} returned {path[:200]}, no path of {dialect.name}"
            raise ProxyError(ErrorKind.INTERNAL, why, final=True)
        # The transform has named the model for this provider: it is not renamed again.
        call = call.moved(dialect, found, candidate.model)
    fields = call.headers.fields if made.headers is None else made.headers
    return structs.replace(
        call,
        query=call.query if made.query is None else made.query,
        headers=call.headers.replaced(
            [each for each in fields if each[0].lower() not in _OF_THE_BODY]
        ),
        encoding="",
        edited=made.body,
    )


class ResponseTransforms:
    """The transforms of one response: those of the request, the last one first.

    Raises `UpstreamError` where a transform fails; from then on nothing is returned.

    Attributes:
        status: The status for the client.
        content_type: The content type for the client.
        is_whole: The client gets the response in one piece: it asked for no stream.
    """

    def __init__(
        self, applied: tuple[Applied, ...], reply: Reply, *, streaming: bool = True
    ) -> None:
        self._applied = applied
        self._parts: list[tuple[str, ResponseTransform]] = []
        self._failed = False
        kind, self.status = reply.content_type, reply.status
        for each in reversed(applied if reply.status < HTTPStatus.BAD_REQUEST else ()):
            with self._guard(each.transform.name, "response") as guard:
                part = each.transform.response(each.request, self.status, kind)
                kind = part.content_type
                self._parts.append((each.transform.name, part))
            self._check(each.transform.name, guard)
        self.content_type = kind
        stays = streaming or kind.startswith("text/event-stream")
        self.is_whole = not is_event_stream(reply) or not stays

    async def whole(self, body: bytes) -> bytes:
        """Return a whole response for the client, made in a thread if it is large."""
        if len(body) < THREADED_BYTES:
            return self.feed(body) + self.end(complete=True)
        return await asyncio.to_thread(lambda: self.feed(body) + self.end(complete=True))

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the provider; return those for the client."""
        for name, part in self._parts:
            if not data or self._failed:
                return b""
            with self._guard(name, "feed") as guard:
                data = part.feed(data)
            self._check(name, guard)
        return data

    def end(self, *, complete: bool) -> bytes:
        """Return the rest, after the last byte of a response that is complete, or truncated."""
        rest = b""
        for name, part in self._parts:
            if self._failed:
                return b""
            with self._guard(name, "end") as guard:
                rest = (part.feed(rest) if rest else b"") + part.end(complete=complete)
                self.status = part.status
            self._check(name, guard)
        return rest

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an error response for the client."""
        for each in reversed(self._applied):
            with self._guard(each.transform.name, "error") as guard:
                status, body = each.transform.error(each.request, status, body)
            self._check(each.transform.name, guard)
        return status, body

    @staticmethod
    def _guard(name: str, method: str) -> plugin_guard:
        return plugin_guard(f"transform {name}", method, "the client gets an error")

    def _check(self, name: str, guard: plugin_guard) -> None:
        if guard.error is not None:
            self._failed = True
            raise UpstreamError(Fault.PROTOCOL, _shown(name, guard), sent=True)


def _shown(name: str, guard: plugin_guard) -> str:
    refused = guard.error
    return f"{name} {refused.reason}" if isinstance(refused, TransformRefused) else guard.reason


class TransformNotes:
    """The reports of transforms on the calls of each key: logged once, kept for `explain`."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[str, None]] = {}

    def add(self, key: str, notes: list[str]) -> None:
        """Remember the notes of a call of a key, and log the new ones."""
        known = self._by_key.setdefault(key, {})
        for note in notes:
            if note not in known and len(known) < MAX_NOTES:
                known[note] = None
                log.warning('key "%s": %s', key, note)

    def of(self, key: str) -> list[str]:
        """Return the notes on the calls of a key since the start of the process."""
        return list(self._by_key.get(key, ()))

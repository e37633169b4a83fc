"""From an HTTP request to a `Call`: what is it, for which model, streaming or not.

Bodies are peeked at, never re-serialised: the bytes that arrived are the bytes that go on. Nothing
here knows limits or providers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from urllib.parse import unquote_plus

from aiohttp import StreamReader, web
from msgspec import Struct, structs

from sidecar.config import Key, Snapshot, Urgency
from sidecar.decoding import decoded
from sidecar.dialect import Dialect, Endpoint, Facts, Located, ModelAt
from sidecar.errors import Kind, Refused
from sidecar.fields import Fields
from sidecar.headers import URGENCY
from sidecar.keys import Identified, holds_key
from sidecar.plugins import locate
from sidecar.splice import form_model
from sidecar.vendor import Vendor

BODY_TIMEOUT = 30.0
"""Seconds without progress after which a body that does not arrive is given up."""
STREAMED_FROM = 1 << 20
"""Bodies that need not be read to route are streamed through from this size on."""

_URGENCIES = {each.name.lower(): each for each in Urgency}
_NO_FACTS = Facts()
_READ = frozenset({ModelAt.BODY, ModelAt.FORM, ModelAt.EACH, ModelAt.PATH})


class Call(Struct, frozen=True):
    """One request of a known key, understood.

    `query` is raw, and like `headers` without any text of a local key. `body` is None when it is
    streamed through. `encoding` is the request's content coding, and `plain` the decoded body that
    `facts` were read from. `form_span` are the offsets of the model in a multipart form. `urgency`
    is who goes first when calls must wait.
    """

    snapshot: Snapshot
    key: Key
    dialect: Dialect
    located: Located
    method: str
    query: str
    headers: Fields
    body: bytes | None
    plain: bytes
    facts: Facts
    encoding: str
    form_span: tuple[int, int] | None = None
    urgency: Urgency = Urgency.NORMAL

    @property
    def endpoint(self) -> Endpoint:
        """The operation asked for."""
        return self.located.endpoint

    @property
    def model(self) -> str | None:
        """The one model asked for; None when there is none, or several."""
        return self.facts.models[0] if len(self.facts.models) == 1 else None


def urgency_of(key: Key, asked: str | None) -> Urgency:
    """The urgency of a call: its key's, or a lower one that the caller asks for by header."""
    wanted = _URGENCIES.get((asked or "").strip().lower(), key.urgency)
    return max(key.urgency, wanted)


def find_dialect(
    vendor: Vendor,
    dialects: Mapping[str, Dialect],
    method: str,
    path: str,
    headers: Mapping[str, str],
) -> tuple[Dialect, Located]:
    """Which of the vendor's dialects this path is in. Raises `Refused` (404) when in none, or when
    it is clearly an operation of another vendor's API."""
    own = [dialects[name] for name in vendor.dialects]
    found = locate(own, method, path, headers)
    if found is not None:
        _check_slashes(found[1])
        if found[1].endpoint.named:
            return found
    elsewhere = locate(list(dialects.values()), method, path, headers)
    if elsewhere is not None and elsewhere[1].endpoint.named and elsewhere[0] not in own:
        raise Refused(
            Kind.NOT_FOUND,
            f"{path} belongs to the {elsewhere[0].name} API, but this key's group speaks "
            f"{vendor.title}'s; use a key of a group whose vendor is {elsewhere[0].name}",
        )
    if found is None:
        raise Refused(
            Kind.NOT_FOUND,
            f"{path} is no path of {vendor.title}'s API; check the base URL of the client "
            "(with or without /v1)",
        )
    return found


def _check_slashes(located: Located) -> None:
    """Refuse slashes that a vendor may read otherwise than we do, and so see another id."""
    start, end = located.model_span or (0, 0)
    path = located.path[:start] + located.path[end:]
    if "//" in path or "%2f" in path.lower():
        raise Refused(
            Kind.BAD_REQUEST, "the path must not contain empty segments or encoded slashes"
        )


async def read_call(
    request: web.BaseRequest,
    snapshot: Snapshot,
    caller: Identified,
    dialects: Mapping[str, Dialect],
    path: str,
    *,
    accept_body: Callable[[], None],
) -> Call:
    """Understand one request. `accept_body` is called once before a body is read, for clients
    that wait to be told. Raises `Refused`."""
    key, query = caller.key, caller.query
    dialect, located = find_dialect(
        key.group.vendor, dialects, request.method, path, request.headers
    )
    located = _by_content(located, request.headers)
    endpoint = located.endpoint
    if endpoint.refused:
        raise Refused(Kind.FORBIDDEN, f"{path} administers an account and is not offered to agents")
    maximum = snapshot.server.max_body
    streamed = _is_streamed(request, endpoint)
    if not streamed:
        _check_length(request, maximum)
    accept_body()
    body = None if streamed else await read_body(request.content, maximum)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    plain = await decoded(body, encoding, maximum) if body and endpoint.model_at in _READ else b""
    facts, span = _read_facts(dialect, located, plain, query, request.headers)
    return Call(
        snapshot, key, dialect, located, request.method, query, caller.fields,
        body, plain, facts, encoding, span, urgency_of(key, request.headers.get(URGENCY)),
    )  # fmt: skip


def _by_content(located: Located, headers: Mapping[str, str]) -> Located:
    """Where the model stands in a body: that it is a form is said by its type alone."""
    at = located.endpoint.model_at
    if at not in {ModelAt.BODY, ModelAt.FORM}:
        return located
    is_form = headers.get("Content-Type", "").lower().startswith("multipart/form-data")
    actual = ModelAt.FORM if is_form else ModelAt.BODY
    return (
        located
        if at is actual
        else replace(located, endpoint=replace(located.endpoint, model_at=actual))
    )


def _is_streamed(request: web.BaseRequest, endpoint: Endpoint) -> bool:
    if endpoint.model_at in _READ or not request.body_exists:
        return False
    length = request.content_length
    return length is None or length > STREAMED_FROM


def _check_length(request: web.BaseRequest, maximum: int) -> None:
    if (request.content_length or 0) > maximum:
        raise too_large(maximum)


def too_large(maximum: int) -> Refused:
    """The refusal of a body above the cap."""
    return Refused(
        Kind.TOO_LARGE,
        f"the request body is larger than {maximum} bytes; raise server.max_body if that is meant",
    )


def malformed() -> Refused:
    """The refusal of a body whose chunks are none."""
    return Refused(Kind.BAD_REQUEST, "the request body is not valid HTTP/1.1")


async def read_body(content: StreamReader, maximum: int) -> bytes:
    """The whole body. Raises `Refused`: 413 above `maximum`, 408 when it stops
    arriving, 400 when its chunks are none."""
    if content.is_eof() and content.exception() is None:
        # Most bodies have arrived with their head: nothing to wait for, and no clock to set.
        body = content.read_nowait()
        if len(body) > maximum:
            raise too_large(maximum)
        return body
    clock = asyncio.get_running_loop().time
    pieces: list[bytes] = []
    size = 0
    began = clock()
    try:
        async with asyncio.timeout(BODY_TIMEOUT) as patience:
            while piece := await content.readany():
                pieces.append(piece)
                size += len(piece)
                if size > maximum:
                    raise too_large(maximum)
                if clock() - began > 1:  # a second's grain is enough, and cheap for fast bodies
                    began = clock()
                    patience.reschedule(began + BODY_TIMEOUT)
    except TimeoutError:
        raise Refused(
            Kind.BODY_TIMEOUT, f"the request body stopped arriving for {BODY_TIMEOUT:.0f} s"
        ) from None
    except web.RequestPayloadError:
        raise malformed() from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_facts(
    dialect: Dialect, located: Located, plain: bytes, query: str, headers: Mapping[str, str]
) -> tuple[Facts, tuple[int, int] | None]:
    endpoint = located.endpoint
    match endpoint.model_at:
        case ModelAt.NOWHERE:
            return _NO_FACTS, None
        case ModelAt.QUERY:
            model = query_value(query, "model")
            return (_NO_FACTS if model is None else Facts((model,))), None
        case ModelAt.FORM:
            found = form_model(plain, headers.get("Content-Type", ""))
            return (_NO_FACTS, None) if found is None else (Facts((found[0],)), found[1])
    facts = dialect.read(endpoint, plain)
    if endpoint.model_at is ModelAt.PATH and located.model is not None:
        facts = structs.replace(facts, models=(located.model,))
    if not facts.models and not endpoint.optional_model and endpoint.model_at is not ModelAt.PATH:
        raise Refused(Kind.BAD_REQUEST, 'the request names no model; add the field "model"')
    return facts, None


def query_value(query: str, name: str) -> str | None:
    """The first value of a query parameter, decoded; None when it is absent."""
    for parameter in query.split("&"):
        found, _, value = parameter.partition("=")
        if unquote_plus(found) == name:
            return unquote_plus(value)
    return None


def find_session(
    call: Call, headers: Mapping[str, str], texts: Collection[bytes] = ()
) -> str | None:
    """The conversation a call belongs to, in the client's own words; None when it says nothing, or
    says it with a local key, such as one of `texts`: it goes into the books."""
    session = next(
        (headers[name] for name in call.dialect.session_headers if name in headers),
        call.facts.session,
    )
    if session and holds_key(session.encode("utf-8", "replace"), texts):
        return None
    return session

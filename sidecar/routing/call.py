"""From an HTTP request to a `Call`: what is it, for which model, streaming or not.

Bodies are peeked at, never re-serialised: the bytes that arrived are the bytes that go on. Nothing
here knows limits or providers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import unquote_plus

from msgspec import Struct, structs

from sidecar.api_keys import holds_key
from sidecar.config.model import Key, KeyHash, Snapshot, Urgency
from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.body_memory import HeldBody
from sidecar.http.body_reading import decoded_copy, read_body, too_large
from sidecar.http.headers import URGENCY, Fields
from sidecar.http.wire.agent_messages import AgentRequest
from sidecar.plugin_api.dialect import Dialect, Endpoint, Facts, Located, ModelAt, locate
from sidecar.plugin_api.json_body import form_model, splice_field
from sidecar.plugin_api.vendor import Vendor

STREAMED_FROM_BYTES = 1 << 20
"""Bodies that need not be read to route are streamed through from this size on."""

_LOOKS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
MAX_MODEL_CHARACTERS = 512
"""Longer than any vendor's name for a model; each is kept with its call, in memory and on disk."""
MAX_SESSION_CHARACTERS = 256
"""A longer name of a conversation is kept as its hash."""

_URGENCIES = {each.name.lower(): each for each in Urgency}
_NO_FACTS = Facts()
_READ = frozenset({ModelAt.BODY, ModelAt.FORM, ModelAt.EACH, ModelAt.PATH})


class Call(Struct, frozen=True):
    """One request of a known key, understood.

    `query` is raw, and like `headers` without any text of a local key. `encoding` is the request's
    content coding. `held` is the body, whose decoded bytes `facts` were read from. `form_span` are
    the offsets of the model in a multipart form. `urgency` is who goes first when calls must wait.
    """

    snapshot: Snapshot
    key: Key
    dialect: Dialect
    located: Located
    method: str
    query: str
    headers: Fields
    held: HeldBody
    facts: Facts
    encoding: str
    form_span: tuple[int, int] | None = None
    urgency: Urgency = Urgency.NORMAL

    @property
    def body(self) -> bytes | None:
        """The bytes as they came; None when they are streamed through."""
        return self.held.wire

    @property
    def decoded_body(self) -> bytes:
        """The decoded body."""
        return self.held.plain

    @property
    def endpoint(self) -> Endpoint:
        """The operation asked for."""
        return self.located.endpoint

    @property
    def bills(self) -> bool:
        """Whether a vendor may bill it, so that usage that nobody tells is unknown."""
        return self.endpoint.bills(self.method)

    @property
    def model(self) -> str | None:
        """The one model asked for; None when there is none, or several."""
        return self.facts.models[0] if len(self.facts.models) == 1 else None

    @property
    def is_free(self) -> bool:
        """Whether the vendor bills nothing for it: what only looks or removes, and what its
        endpoint says is free."""
        return self.endpoint.free or self.method in _LOOKS


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
    """Which of the vendor's dialects this path is in. Raises `ProxyError` (404) when in none, or
    when it is clearly an operation of another vendor's API."""
    own = [dialects[name] for name in vendor.dialects]
    found = locate(own, method, path, headers)
    if found is not None:
        _check_slashes(found[1])
        if found[1].endpoint.named:
            return found
    elsewhere = locate(list(dialects.values()), method, path, headers)
    if elsewhere is not None and elsewhere[1].endpoint.named and elsewhere[0] not in own:
        raise ProxyError(
            ErrorKind.NOT_FOUND,
            f"{path} belongs to the {elsewhere[0].name} API, but this key's group speaks "
            f"{vendor.title}'s; use a key of a group whose vendor is {elsewhere[0].name}",
        )
    if found is None:
        raise ProxyError(
            ErrorKind.NOT_FOUND,
            f"{path} is no path of {vendor.title}'s API; check the base URL of the client "
            "(with or without /v1)",
        )
    return found


def _check_slashes(located: Located) -> None:
    """Refuse slashes that a vendor may read otherwise than we do, and so see another id."""
    start, end = located.model_span or (0, 0)
    path = located.path[:start] + "_" + located.path[end:]  # a model may hold any slashes
    if "//" in path or "%2f" in path.lower():
        raise ProxyError(
            ErrorKind.BAD_REQUEST, "the path must not contain empty segments or encoded slashes"
        )


async def read_call(
    request: AgentRequest,
    snapshot: Snapshot,
    caller: Identified,
    dialects: Mapping[str, Dialect],
    path: str,
    *,
    held: HeldBody,
    accept_body: Callable[[], None],
) -> Call:
    """Understand one request. `accept_body` is called once before a body is read, for clients
    that wait to be told; the body is read into `held`. Raises `ProxyError`."""
    key, query = caller.key, caller.query
    dialect, located = find_dialect(
        key.group.vendor, dialects, request.method, path, request.headers
    )
    located = _by_content(located, request.headers)
    endpoint = located.endpoint
    if endpoint.refused:
        raise ProxyError(
            ErrorKind.FORBIDDEN, f"{path} administers an account and is not offered to agents"
        )
    maximum = snapshot.server.max_body
    streamed = _is_streamed(request, endpoint)
    if not streamed:
        _check_length(request, maximum)
    urgency = urgency_of(key, request.headers.get(URGENCY))
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if not streamed:
        held.rank = 1 if urgency is Urgency.INTERACTIVE else 2
        held.patience = key.max_wait
        await held.reserve(request.content_length or 0)
    accept_body()
    if not streamed:
        body = await read_body(request.content, maximum, held)
        read = bool(body) and endpoint.model_at in _READ
        plain = await decoded_copy(body, encoding, maximum, held) if read else b""
        if located.model is not None and body is plain:
            body = plain = _named_as_in_path(located, plain, request.headers)
        held.keep(body, plain)
    facts, span = _read_facts(dialect, located, held.plain, query, request.headers)
    _check_names(facts)
    return Call(
        snapshot, key, dialect, located, request.method, query, caller.fields,
        held, facts, encoding, span, urgency,
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


def _named_as_in_path(located: Located, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the body with the model that its path names: that one counts, and the path that goes
    on is without it. The very body where both are equal, or the path keeps the model."""
    model = located.model or ""
    match located.endpoint.model_at:
        case ModelAt.BODY if body:
            return splice_field(body, "model", json.dumps(model).encode())
        case ModelAt.FORM if found := form_model(body, headers.get("Content-Type", "")):
            start, end = found[1]
            return body[:start] + model.encode() + body[end:]
    return body


def _is_streamed(request: AgentRequest, endpoint: Endpoint) -> bool:
    if endpoint.model_at in _READ or not request.body_exists:
        return False
    length = request.content_length
    return length is None or length > STREAMED_FROM_BYTES


def _check_length(request: AgentRequest, maximum: int) -> None:
    if (request.content_length or 0) > maximum:
        raise too_large(maximum)


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
        raise ProxyError(ErrorKind.BAD_REQUEST, 'the request names no model; add the field "model"')
    return facts, None


def _check_names(facts: Facts) -> None:
    """Raise `ProxyError` for a model whose name is too long to be kept with its call."""
    if any(len(name) > MAX_MODEL_CHARACTERS for name in facts.models):
        raise ProxyError(
            ErrorKind.BAD_REQUEST,
            f"the name of the model is longer than {MAX_MODEL_CHARACTERS} characters",
        )


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
    """Return the conversation a call belongs to, as the client names it, or None; also where the
    name holds a local key, such as one of `texts`, as it goes into the books.

    A name of more than `MAX_SESSION_CHARACTERS` is returned as its hash.
    """
    found = call.facts.session
    for name in call.dialect.session_headers:
        if name in headers:
            found = headers[name]
            break
    if found is None or holds_key(found.encode("utf-8", "surrogatepass"), texts):
        return None
    if len(found) <= MAX_SESSION_CHARACTERS:
        return found
    return f"sha256:{sha256(found.encode('utf-8', 'surrogatepass')).hexdigest()}"


class Identified(NamedTuple):
    """Who is calling, by which text of the key (`texts` are those that were presented), and the
    request's header fields and query without any text of a local key, and without credentials."""

    key: Key
    key_hash: KeyHash
    texts: tuple[bytes, ...]
    fields: Fields
    query: str

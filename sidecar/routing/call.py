"""Parses an HTTP request into a `Call`: its dialect, endpoint, model, and whether it streams.

A body is parsed but never serialised again: the bytes that arrived are forwarded. This module uses
no limits and no providers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from urllib.parse import unquote_plus

from msgspec import Struct, structs

from sidecar.api_keys import holds_key
from sidecar.config.model import Key, KeyHash, Route, Snapshot, Urgency
from sidecar.errors import ErrorKind, ProxyError
from sidecar.files import content_digest
from sidecar.http.body_memory import HeldBody
from sidecar.http.body_reading import decoded_copy, read_body, too_large
from sidecar.http.content_coding import PLAIN_CODINGS
from sidecar.http.headers import URGENCY, RequestFields
from sidecar.http.responses import send_continue
from sidecar.http.wire.agent_messages import AgentRequest
from sidecar.plugin_api.dialect import Dialect, Endpoint, Facts, Located, ModelAt, locate
from sidecar.plugin_api.json.body import form_model, splice_field
from sidecar.plugin_api.vendor import Vendor
from sidecar.routing.caller_login import CallerLogin

MIN_STREAMED_BYTES = 1 << 20
"""Longer bodies, and those of unknown length, are streamed unless routing must read them."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that only read (RFC 9110 section 9.2.1): sending one again starts no work."""
_FREE_METHODS = _SAFE_METHODS | {"DELETE"}
MAX_MODEL_CHARS = 512
"""More than any vendor's model has. Each name is stored with its call, in memory and on disk."""
MAX_SESSION_CHARS = 256
"""The hash of a longer session name is stored in its place."""

_URGENCIES = {each.name.lower(): each for each in Urgency}
_NO_FACTS = Facts()
# Bound here, as Python 3.11 takes 0.2 µs to find a member of an enum.
_BODY, _INTERACTIVE = ModelAt.BODY, Urgency.INTERACTIVE
_READ = frozenset({ModelAt.BODY, ModelAt.FORM, ModelAt.EACH, ModelAt.PATH})


class Call(Struct, frozen=True):
    """One parsed request of an authenticated key.

    Attributes:
        query: The query as sent, but without local keys, as are `headers`.
        held: The body and the memory that is reserved for it.
        endpoint: The endpoint that the path names.
        facts: The fields that were read from the decoded body.
        model: The model that the request names; None if it names none, or several.
        bills: A vendor may bill the call: usage that is not reported is then unknown.
        is_free: The call costs nothing: a read, a deletion, or an endpoint that is free.
        encoding: The content coding of the body.
        form_span: The offsets of the model in a multipart form.
        urgency: The priority among waiting calls.
        login: The vendor credential that the client sent besides its local key.
        edited: The body that a transform made for one candidate; None for the client's own.
    """

    snapshot: Snapshot
    key: Key
    dialect: Dialect
    located: Located
    endpoint: Endpoint
    method: str
    query: str
    headers: RequestFields
    held: HeldBody
    facts: Facts
    model: str | None
    bills: bool
    is_free: bool
    encoding: str
    form_span: tuple[int, int] | None = None
    urgency: Urgency = Urgency.NORMAL
    login: CallerLogin | None = None
    edited: bytes | None = None

    @property
    def body(self) -> bytes | None:
        """The body as sent; None if it is streamed."""
        return self.held.wire if self.edited is None else self.edited

    @property
    def decoded_body(self) -> bytes:
        """The body without its content coding."""
        return self.held.plain if self.edited is None else self.edited

    def may_repeat(self, route: Route) -> bool:
        """Return whether the request may be sent again even if it may have been served."""
        return route.at_least_once or self.method in _SAFE_METHODS

    def moved(self, dialect: Dialect, located: Located, model: str | None) -> Call:
        """Return the call as one to another endpoint, for a model that a transform has named."""
        endpoint = located.endpoint
        return structs.replace(
            self,
            dialect=dialect,
            located=located,
            endpoint=endpoint,
            facts=structs.replace(self.facts, models=tuple(filter(None, [model]))),
            model=model or None,
            bills=endpoint.bills(self.method),
            is_free=_is_free(endpoint, self.method),
        )


def _is_free(endpoint: Endpoint, method: str) -> bool:
    return endpoint.free or method in _FREE_METHODS


def urgency_of(key: Key, asked: str | None) -> Urgency:
    """Return the urgency of a call: its key's, or a lower one that its header asks for."""
    wanted = _URGENCIES.get((asked or "").strip().lower(), key.urgency)
    return max(key.urgency, wanted)


def find_dialect(
    vendor: Vendor,
    dialects: Mapping[str, Dialect],
    method: str,
    path: str,
    headers: Mapping[str, str],
) -> tuple[Dialect, Located]:
    """Return the vendor's dialect that has this path, and the endpoint with its place in the path.

    Raises:
        ProxyError: 404 if none has it, or it clearly belongs to another vendor's API.
    """
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
    """Raise `ProxyError` for slashes that a vendor may parse differently, and find another id."""
    start, end = located.model_span or (0, 0)
    path = located.path[:start] + "_" + located.path[end:]  # a model may hold any slashes
    if "//" in path or "%2f" in path.lower():
        raise ProxyError(
            ErrorKind.BAD_REQUEST, "the path must not contain empty segments or encoded slashes"
        )


async def read_call(
    request: AgentRequest, caller: Identified, form: RequestForm, held: HeldBody
) -> Call:
    """Parse a request, and read its body into `held` if routing needs it.

    Raises `ProxyError` if the request is invalid or too large.
    """
    if form.reads_body or not _is_long(request):
        await _read_body(request, caller, form, held)
    elif form.awaits_continue:
        send_continue(request)
    facts, span = _read_facts(form, held.plain, caller.query, request.headers)
    models = facts.models
    for model in models:
        if len(model) > MAX_MODEL_CHARS:
            raise ProxyError(
                ErrorKind.BAD_REQUEST,
                f"the name of the model is longer than {MAX_MODEL_CHARS} characters",
            )
    return Call(
        caller.snapshot, caller.key, form.dialect, form.located, form.endpoint, form.method,
        caller.query, caller.fields, held, facts, models[0] if len(models) == 1 else None,
        form.bills, form.is_free, form.encoding, span, form.urgency, caller.login,
    )  # fmt: skip


def read_form(
    request: AgentRequest, key: Key, dialects: Mapping[str, Dialect], path: str
) -> RequestForm:
    """Return what a request tells before its body is read.

    Raises `ProxyError` if it is not for the key's vendor, or is not offered to agents.
    """
    headers, method = request.headers, request.method
    dialect, located = find_dialect(key.group.vendor, dialects, method, path, headers)
    located = _with_actual_place(located, headers)
    endpoint = located.endpoint
    if endpoint.refused:
        raise ProxyError(
            ErrorKind.FORBIDDEN, f"{path} administers an account and is not offered to agents"
        )
    named = (headers[name] for name in dialect.session_headers if name in headers)
    return RequestForm(
        method,
        request.raw_path,
        dialect,
        located,
        endpoint,
        encoding=headers.get("Content-Encoding", "").strip().lower(),
        urgency=urgency_of(key, headers.get(URGENCY)),
        session=next(named, None),
        bills=endpoint.bills(method),
        is_free=_is_free(endpoint, method),
        reads_body=endpoint.model_at in _READ,
        awaits_continue="Expect" in headers,
    )


async def _read_body(
    request: AgentRequest, caller: Identified, form: RequestForm, held: HeldBody
) -> None:
    """Read a body into `held`, and decode it if routing needs it."""
    content, maximum = request.content, caller.snapshot.server.max_body
    length = content.length
    if form.urgency is _INTERACTIVE:
        held.rank = 1
    held.max_wait = caller.key.max_wait
    if length is not None:
        if length > maximum:
            raise too_large(maximum)
        if not held.reserve_at_once(length):
            await held.reserve(length)
    if form.awaits_continue:
        send_continue(request)
    if length is not None and content.is_complete:  # as of most: it arrived with its head
        body = content.take()
    else:
        body = await read_body(content, maximum, held)
    decoded, encoding = body if form.reads_body else b"", form.encoding
    if decoded and encoding and encoding not in PLAIN_CODINGS:
        decoded = await decoded_copy(body, encoding, maximum, held)
    if form.located.model is not None and body is decoded:
        body = decoded = _with_model_of_path(form.located, decoded, request.headers)
    held.keep(body, decoded)


def _with_actual_place(located: Located, headers: Mapping[str, str]) -> Located:
    """Return `located` with the place of the model: a form is recognised by its content type."""
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


def _with_model_of_path(located: Located, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the body with the model of the path, which takes precedence: the forwarded path has no
    model. Returns `body` itself if nothing changes."""
    model = located.model or ""
    match located.endpoint.model_at:
        case ModelAt.BODY if body:
            return splice_field(body, "model", json.dumps(model).encode())
        case ModelAt.FORM if found := form_model(body, headers.get("Content-Type", "")):
            start, end = found[1]
            return body[:start] + model.encode() + body[end:]
    return body


def _is_long(request: AgentRequest) -> bool:
    """Return whether a body is streamed unless routing must read it."""
    length = request.content.length
    return request.body_exists and (length is None or length > MIN_STREAMED_BYTES)


def _read_facts(
    form: RequestForm, decoded: bytes, query: str, headers: Mapping[str, str]
) -> tuple[Facts, tuple[int, int] | None]:
    endpoint = form.endpoint
    at = endpoint.model_at
    if at is _BODY or at is ModelAt.EACH:
        facts = form.dialect.read(endpoint, decoded)
        if not facts.models and not endpoint.optional_model:
            raise ProxyError(
                ErrorKind.BAD_REQUEST, 'the request names no model; add the field "model"'
            )
        return facts, None
    if at is ModelAt.PATH:
        facts, model = form.dialect.read(endpoint, decoded), form.located.model
        return facts if model is None else structs.replace(facts, models=(model,)), None
    if at is ModelAt.QUERY:
        model = query_value(query, "model")
        return (_NO_FACTS if model is None else Facts((model,))), None
    if at is ModelAt.FORM:
        found = form_model(decoded, headers.get("Content-Type", ""))
        return (_NO_FACTS, None) if found is None else (Facts((found[0],)), found[1])
    return _NO_FACTS, None


def query_value(query: str, name: str) -> str | None:
    """Return the first value of a query parameter, decoded; None if it is absent."""
    for parameter in query.split("&"):
        found, _, value = parameter.partition("=")
        if unquote_plus(found) == name:
            return unquote_plus(value)
    return None


def recorded_session(name: str, texts: Collection[bytes]) -> str | None:
    """Return the client's name of the conversation as the ledger has it.

    None if the name contains a local key, such as one of `texts`. A name of more than
    `MAX_SESSION_CHARS` is returned as its hash.
    """
    if holds_key(name.encode("utf-8", "surrogatepass"), texts):
        return None
    if len(name) <= MAX_SESSION_CHARS:
        return name
    return f"sha256:{content_digest(name.encode('utf-8', 'surrogatepass'))}"


class RequestForm(Struct, frozen=True):
    """The parts of a call that method, target and header fields tell, before its body is read.

    Attributes:
        target: The path and the query, as on the wire.
        encoding: The content coding of the body.
        urgency: The priority among waiting calls.
        session: The name of the conversation, if a header has it.
        reads_body: Routing needs the body.
        awaits_continue: The client may wait for `100 Continue` before it sends the body.
    """

    method: str
    target: str
    dialect: Dialect
    located: Located
    endpoint: Endpoint
    encoding: str
    urgency: Urgency
    session: str | None
    bills: bool
    is_free: bool
    reads_body: bool
    awaits_continue: bool


class Identified(Struct, eq=False):
    """The authenticated key of a request, and the request without credentials.

    Attributes:
        snapshot: The configuration that has the key.
        asked: The query as it came.
        key_hash: The hash that matched.
        may_expire: The key or the hash has a time from which it is not valid.
        texts: The key secrets that were presented.
        fields: The header fields without local keys.
        query: The query without local keys and credentials.
        login: The vendor credential that came with the key.
        form: The form of the latest request; None before the first.
    """

    snapshot: Snapshot
    asked: str
    key: Key
    key_hash: KeyHash
    may_expire: bool
    texts: tuple[bytes, ...]
    fields: RequestFields
    query: str
    login: CallerLogin | None = None
    form: RequestForm | None = None

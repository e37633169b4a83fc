"""Local replies in the dialect's shape, answers to probes, and the headers of relayed responses.

Every response but that to a probe has the id of its call. None is plain text or HTML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from http import HTTPStatus

from sidecar.errors import ErrorKind, LocalReply, ProxyError, UpstreamError
from sidecar.http import headers
from sidecar.http.content_coding import PLAIN_CODINGS
from sidecar.http.headers import Fields, decoded, encoded, lines_of
from sidecar.http.request_guard import RequestGuard
from sidecar.http.responses import plain
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse
from sidecar.plugin_api.dialect import Dialect, Located, locate
from sidecar.plugin_api.error_class import ErrorClass
from sidecar.proxy.attempt import AttemptResult
from sidecar.proxy.in_flight import LiveCall
from sidecar.proxy.stream.transforming import ResponseTransforms
from sidecar.records import AttemptRecord, Outcome
from sidecar.routing.call import Call

MAX_NAME_CHARS = 256
"""Characters of a model's name that a response header repeats."""

EXCERPT_CHARACTERS = 200
"""Characters of a provider's page that a local reply repeats."""
_MARKUP = re.compile(
    r"<!--(?:.*?-->|.*)|<(script|style)\b(?:.*?</\1\s*>|.*)|<[^>]*(?:>|$)",
    re.DOTALL | re.IGNORECASE,
)
"""Tags, comments, scripts and styles. One that is not closed extends to the end of the page."""
_KINDS = {
    500: ErrorKind.INTERNAL, 503: ErrorKind.OVERLOADED,
    504: ErrorKind.UPSTREAM_TIMEOUT, 529: ErrorKind.OVERLOADED,
}  # fmt: skip
"""The kinds of local replies that stand for a provider's status."""
_OWN_LINES = f"{headers.CALL_ID}: %b\r\n%b{headers.WAIT}: %d\r\n".encode()
_OF_THE_BODY = frozenset({
    b"content-type", b"content-encoding", b"content-language", b"content-md5", b"digest", b"etag",
    b"repr-digest", b"content-digest",
})  # fmt: skip
"""Headers that describe the provider's body, and are dropped with it."""


def probe_response(guard: RequestGuard, request: AgentRequest) -> LocalResponse:
    """Answer a probe: no key is needed, and nothing is recorded."""
    try:
        guard.check(request.method, request.raw_path, request.headers)
    except ProxyError as refused:
        return plain(refused.reply)
    return LocalResponse(b'{"service": "sidecar"}')


def find_shape(
    dialects: Sequence[Dialect], request: AgentRequest
) -> tuple[Dialect, Located] | None:
    """Return the dialect of a request without a known key, by its path and headers."""
    path = request.raw_path.partition("?")[0]
    return locate(dialects, request.method, path, request.headers)


def local_reply(
    request: AgentRequest, shape: Dialect | None, why: LocalReply, live: LiveCall
) -> LocalResponse:
    """Return an error reply in the dialect's shape and set the call's status."""
    if shape is None:
        response = plain(why)
    else:
        status, body = shape.error(why, live.call_id)
        response = LocalResponse(body, status=status)
        response.headers[shape.request_id_header] = live.call_id
    live.status = response.status
    response.headers[headers.ERROR] = why.kind.name.lower()
    response.headers.update(decoded(own_headers(live)))
    response.headers.update(why.headers)
    if not why.retryable:
        # Agents and SDKs would repeat a 401 or a 429 for minutes.
        response.headers["x-should-retry"] = "false"
    if why.retry_after is not None:
        # Whole seconds, rounded up (RFC 9110 section 10.2.3); more than a minute makes some
        # clients give up and others sleep.
        response.headers["Retry-After"] = str(max(1, math.ceil(why.retry_after)))
        response.headers["retry-after-ms"] = str(max(1, math.ceil(why.retry_after * 1000)))
    if why.kind is ErrorKind.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = "GET, HEAD, POST, PUT, PATCH, DELETE"
    if why.kind is ErrorKind.UPGRADE_REQUIRED:
        response.headers["Upgrade"] = "HTTP/1.1"
    if not request.content.is_complete:
        # The unread body must not be parsed as the next request.
        response.closes = True
    return response


def own_headers(live: LiveCall) -> list[tuple[bytes, bytes]]:
    """Return the headers that Sidecar adds to every response."""
    return [
        (name, value)
        for name, _, value in (line.partition(b": ") for line in own_lines(live).splitlines())
    ]


def own_lines(live: LiveCall) -> bytes:
    """Return the lines of the headers that Sidecar adds to every response."""
    at = live.candidate
    served = _served_by("", None) if at is None else _served_by(at.provider.name, at.model)
    lines = _OWN_LINES % (live.call_id.encode(), served, round(live.wait * 1000))
    if live.transform:
        lines += lines_of(encoded([(headers.TRANSFORM, live.transform)]))
    if len(live.attempts) > 1:
        tried = _as_field("; ".join(map(_tried, live.attempts)))
        lines += lines_of(encoded([(headers.TRIED, tried)]))
    return lines


@lru_cache(maxsize=256)
def _served_by(provider: str, model: str | None) -> bytes:
    return lines_of(encoded([
        (headers.PROVIDER, provider or "none"), (headers.MODEL, _as_field(model or "none")),
    ]))  # fmt: skip


def _tried(attempt: AttemptRecord) -> str:
    return f"{attempt.provider} {attempt.reason or attempt.status or attempt.verdict}"


def _as_field(name: str) -> str:
    """Return text from the client as a header value: printable ASCII, at most `MAX_NAME_CHARS`."""
    if name.isascii() and name.isprintable():
        return name[:MAX_NAME_CHARS]
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:MAX_NAME_CHARS])


def complete_response(body: bytes, live: LiveCall) -> LocalResponse:
    """Return a successful JSON response of our own."""
    return LocalResponse(body, headers=dict(decoded(own_headers(live))))


def error_headers(
    request: AgentRequest, call: Call, attempted: AttemptResult, live: LiveCall
) -> list[tuple[bytes, bytes]]:
    """Return the headers of an error response of the vendor, then those that Sidecar adds."""
    fields = _of_vendor(request, call, attempted)
    if live.asked_again:
        # Sidecar has retried the call; retries of the client would multiply the attempts.
        fields = [(n, v) for n, v in fields if n.lower() != b"x-should-retry"]
        fields.append((b"x-should-retry", b"false"))
    return fields + own_headers(live)


def relayed_lines(
    request: AgentRequest, call: Call, attempted: AttemptResult, live: LiveCall
) -> bytes:
    """Return the headers of a relayed response as lines of its head: the vendor's, then those that
    Sidecar adds."""
    reply = attempted.reply
    assert reply is not None  # noqa: S101 - only answers have headers
    head, form = reply.head, reply.head.form
    if (
        head.lines and form is not None and attempted.transforms is None and reply.status < 300
        and headers.pass_by_name(form.names, call.dialect.url_headers)
    ):  # fmt: skip
        return head.lines + own_lines(live)
    return lines_of(_of_vendor(request, call, attempted)) + own_lines(live)


def _of_vendor(
    request: AgentRequest, call: Call, attempted: AttemptResult
) -> list[tuple[bytes, bytes]]:
    """Return the vendor's header fields that a client gets."""
    reply = attempted.reply
    assert reply is not None  # noqa: S101 - only answers have headers
    relocate = partial(_relocated, request, call, attempted)
    fields = headers.for_client(reply.head.fields, call.dialect.url_headers, relocate)
    if 300 <= reply.status < 400 and reply.status != HTTPStatus.NOT_MODIFIED:
        _check_redirect(fields)
    if attempted.transforms is not None and reply.status < HTTPStatus.MULTIPLE_CHOICES:
        fields = _of_another_body(fields, attempted.transforms.content_type)
    return fields


def _relocated(request: AgentRequest, call: Call, attempted: AttemptResult, url: str) -> str | None:
    """Return a provider's URL as one of this process; None to drop it."""
    own_path = request.raw_path.partition("?")[0].removesuffix(call.located.path)
    own_base = f"http://{request.headers['Host']}{own_path}"
    return headers.relocated(url, attempted.address.base_url, own_base)


def _of_another_body(fields: Fields, content_type: str) -> list[tuple[bytes, bytes]]:
    """Return a provider's header fields for a body that replaces the provider's."""
    kept = [field for field in fields if field[0].lower() not in _OF_THE_BODY]
    return [*kept, (b"Content-Type", content_type.encode())]


def _check_redirect(fields: Fields) -> None:
    if not any(name.lower() == b"location" for name, _ in fields):
        raise ProxyError(
            ErrorKind.UPSTREAM_INVALID, "the provider redirects elsewhere, which is never followed"
        )


def attribute_error(attempted: AttemptResult) -> tuple[Outcome, str]:
    """Return the outcome of a call that an error response ends, and the reason."""
    if attempted.error_class is ErrorClass.CLIENT_ERROR:
        return Outcome.CLIENT_ERROR, attempted.reason
    return Outcome.UPSTREAM_ERROR, attempted.reason


def in_shape(
    call: Call, attempted: AttemptResult, fields: list[tuple[bytes, bytes]], call_id: str
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, the headers and the body of a vendor's error, unchanged if clients can
    read it.

    A 5xx without a body, or with one that is not JSON (a proxy's page), gets a body in the
    dialect's shape; so does every such error of a call that was transformed.
    """
    reply, body = attempted.reply, attempted.body
    assert reply is not None and body is not None  # noqa: S101, PT018 - only errors come here
    coded = body and reply.coding not in PLAIN_CODINGS
    is_json, transforms = body.lstrip()[:1] in {b"{", b"["}, attempted.transforms
    if transforms is not None and (is_json or reply.status < 400) and not coded:
        return _transformed_error(transforms, reply.status, fields, body)
    if transforms is None and (reply.status < 500 or call.method == "HEAD" or coded or is_json):
        return reply.status, fields, body
    name = attempted.candidate.provider.name
    said = "" if coded else excerpt(body)
    message = f"{name} answered {reply.status} " + (
        f"and said: {said}" if said else "without a word"
    )
    kind = _KINDS.get(reply.status, ErrorKind.UPSTREAM_INVALID)
    local_reply = LocalReply(kind, message, upstream_status=reply.status)
    _, body = call.dialect.error(local_reply, call_id)
    return reply.status, _of_another_body(fields, "application/json"), body


def _transformed_error(
    transforms: ResponseTransforms, status: int, fields: Fields, body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return an error that is one to the client's call. With status 200 it is a stream that begins
    with an error. Raises `ProxyError` if a transform fails."""
    try:
        if status < HTTPStatus.BAD_REQUEST:
            body = transforms.feed(body) + transforms.end(complete=True)
            return status, list(fields), body
        status, body = transforms.error(status, body)
    except UpstreamError as error:
        raise ProxyError(ErrorKind.UPSTREAM_INVALID, str(error)) from error
    return status, _of_another_body(fields, "application/json"), body


def excerpt(page: bytes) -> str:
    """Return the beginning of a page's or text's content, without markup, on one line."""
    from html import unescape  # slow to import, and few answers need it

    text = page[: 64 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    text = unescape(_MARKUP.sub(" ", text))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= EXCERPT_CHARACTERS else text[:EXCERPT_CHARACTERS].rstrip() + " …"

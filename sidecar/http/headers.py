"""Header fields as bytes, and which of them pass in each direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from sidecar.config.schema.reserved_headers import (
    ACCOUNT_HEADERS,
    CODING,
    CONNECTION,
    COOKIES,
    CREDENTIAL_HEADERS,
    HOP_BY_HOP,
)
from sidecar.plugin_api.retry_after import WAIT_HEADERS, is_nonsense

CALL_ID = "x-sidecar-call"
PROVIDER = "x-sidecar-provider"
MODEL = "x-sidecar-model"
WAIT = "x-sidecar-wait-ms"
ERROR = "x-sidecar-error"
TRIED = "x-sidecar-tried"
TRANSFORM = "x-sidecar-transform"
URGENCY = "x-sidecar-urgency"

_REQUEST = CONNECTION | CREDENTIAL_HEADERS | ACCOUNT_HEADERS | COOKIES | frozenset({
    # The caller and its address are private.
    "origin", "referer", "via", "forwarded", "x-real-ip", URGENCY,
})  # fmt: skip
_REQUEST_PREFIXES = ("x-forwarded-", "sec-", "proxy-", "x-sidecar-")

_RESPONSE = HOP_BY_HOP | frozenset({
    "content-length", "set-cookie", "set-cookie2", "alt-svc", "strict-transport-security",
    "content-security-policy", "clear-site-data", "public-key-pins", "refresh",
    "www-authenticate", "nel", "report-to", "reporting-endpoints",
    # A vendor that echoes what authenticated us must not hand it on.
    *CREDENTIAL_HEADERS,
})  # fmt: skip
_NOTHING: frozenset[str] = frozenset()
_RESPONSE_PREFIXES = ("access-control-", "x-sidecar-")


def for_upstream(
    fields: Fields,
    own: Iterable[tuple[str, str]],
    *,
    remove: frozenset[str] = frozenset(),
    decoded: bool = False,
) -> list[tuple[bytes, bytes]]:
    """Return the request headers for the provider: the client's in order, then `own`.

    `own` replaces the client's fields of the same names; its fields of the connection are dropped.

    Args:
        remove: Further names to remove, in lower case.
        decoded: Whether the body is sent without its content coding.
    """
    own = [pair for pair in own if pair[0].lower() not in CONNECTION]
    gone = remove | {name.lower() for name, _ in own} | _nominated(fields)
    if decoded:
        gone |= {CODING}
    kept = [field for field in fields if (name := _sent(field[0])) is not None and name not in gone]
    return [*kept, (b"Accept-Encoding", b"identity"), *encoded(own)]


def for_client(
    fields: Fields, urls: frozenset[str], relocate: Callable[[str], str | None]
) -> list[tuple[bytes, bytes]]:
    """Return the response headers for the client, in the vendor's order and spelling.

    `urls` has the names (lower case) of fields that hold a URL. `relocate` returns the URL to send
    in its place, or None to drop the field: with a URL at the vendor, the client would send its
    local key to the vendor. An unusable `Retry-After` is dropped: clients sleep for it or fail.
    """
    gone = _nominated(fields)
    kept: list[tuple[bytes, bytes]] = []
    for field in fields:
        name = name_for_client(field[0])
        if name is None or name in gone:
            continue
        passed = _judged(name, field, urls, relocate)
        if passed is not None:
            kept.append(passed)
    return kept


@lru_cache(maxsize=256)
def pass_by_name(names: frozenset[str], urls: frozenset[str]) -> bool:
    """Return whether `for_client` returns the fields of these names (`name_for_client`) whatever
    their values are, if no `Connection` lists one."""
    return names.isdisjoint(urls) and names.isdisjoint(WAIT_HEADERS)


def _judged(
    name: str, field: tuple[bytes, bytes], urls: frozenset[str],
    relocate: Callable[[str], str | None],
) -> tuple[bytes, bytes] | None:  # fmt: skip
    """Return a field as it passes to the client by its value; None if it does not."""
    value = text_of(field[1])
    if name not in urls:
        return None if is_nonsense(name, value) else field
    moved = relocate(value)
    return None if moved is None else (field[0], moved.encode("utf-8", "surrogateescape"))


class RequestFields:
    """The header fields of a client's request, and their lines for the provider of the last one.

    The requests of a connection mostly have the same fields and go to one provider. A transform
    that replaces them mostly returns the same fields, too.

    Attributes:
        lines: The fields as lines of a head for the provider.
        made_for: What the lines depend on, besides the fields.
    """

    __slots__ = ("_replaced", "fields", "lines", "made_for")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.made_for: object = None
        self.lines = b""
        self._replaced: RequestFields | None = None

    def replaced(self, fields: Fields) -> RequestFields:
        """Return the fields that replace these; the ones of the last call, if they are equal."""
        if self._replaced is None or self._replaced.fields != fields:
            self._replaced = RequestFields(fields)
        return self._replaced


@lru_cache(maxsize=2048)
def _sent(name: bytes) -> str | None:
    """Return a request header's name in lower case; None if it does not go to the provider."""
    lower = name.decode("latin-1").lower()
    return None if lower in _REQUEST or lower.startswith(_REQUEST_PREFIXES) else lower


@lru_cache(maxsize=2048)
def name_for_client(name: bytes) -> str | None:
    """Return a response header's name in lower case; None if it does not go to the client.

    None also for a name with a space before the colon, which the client may read as another name
    (RFC 9112 section 5.1).
    """
    lower = name.decode("latin-1").lower()
    stays = lower not in _RESPONSE and not lower.startswith(_RESPONSE_PREFIXES)
    return lower if stays and " " not in lower else None


def relocated(url: str, base_url: str, own_base: str) -> str | None:
    """Return a vendor's URL as a URL of this process; None if it is not at `base_url`'s origin.

    A path below the base URL is moved below `own_base`, the base that the client used; any other
    path of that origin stays.
    """
    base, ours = urlsplit(base_url), urlsplit(own_base)
    try:
        found = urlsplit(url)
    except ValueError:
        return None  # it is no URL
    if (found.scheme or base.scheme, found.netloc or base.netloc) != (base.scheme, base.netloc):
        return None
    path = found.path
    if path == base.path or path.startswith(base.path.rstrip("/") + "/"):
        path = ours.path + path[len(base.path.rstrip("/")) :]
    return urlunsplit((ours.scheme, ours.netloc, path, found.query, ""))


def _nominated(fields: Fields) -> frozenset[str]:
    """Return the names of the fields that `Connection` lists: they are for one hop only."""
    lists = [value for name, value in fields if name.lower() == b"connection"]
    if not lists:
        return _NOTHING
    tokens = (token for value in lists for token in value.decode("latin-1").split(","))
    return frozenset(token.strip().lower() for token in tokens) - {"keep-alive", "close"}


Fields = Sequence[tuple[bytes, bytes]]
"""Names and values, in the order and spelling of the wire."""


HeadFields = Fields | bytes
"""The fields of a head, or the lines of `lines_of` that were made of them."""


def encoded(pairs: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Fields of text."""
    return [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in pairs]


def text_of(value: bytes) -> str:
    """Decode a field's value so that `encoded` restores the same bytes."""
    return value.decode("utf-8", "surrogateescape")


def decoded(fields: Fields) -> list[tuple[str, str]]:
    """Return the fields as text, with names in the sender's spelling."""
    return [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in fields
    ]


def lines_of(fields: Fields) -> bytes:
    """Return the fields as lines of a head. Raises `ValueError` if a field contains a line end or a
    null byte."""
    lines, many = b"\r\n".join([*map(b": ".join, fields), b""]), len(fields)
    if lines.count(b"\n") != many or lines.count(b"\r") != many or lines.find(b"\0") >= 0:
        raise ValueError("a header holds what would end it")
    return lines


def has(name: bytes, lines: bytes) -> bool:
    """Return whether one of the lines is a field of that name (lower case)."""
    return (b"\n" + lines.lower()).find(b"\n%b:" % name) >= 0

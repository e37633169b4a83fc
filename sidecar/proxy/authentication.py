"""Authenticates a request by its local key, and removes the key from the request.

The key is accepted in every header and query parameter that vendors' clients use for a credential.
It is looked up by the SHA-256 of its secret: no secret is stored, and the time of the lookup
reveals nothing about a secret.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from urllib.parse import unquote_plus

from multidict import CIMultiDictProxy

from sidecar.api_keys import PREFIX, PREFIX_BYTES, SHORT_KEY_CHARS, digest, holds_key
from sidecar.config.model import Key, KeyHash, Snapshot
from sidecar.config.schema.reserved_headers import CREDENTIAL_HEADERS, KEY_HEADER
from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.headers import Fields, RequestFields
from sidecar.http.wire.agent_messages import RequestHead
from sidecar.routing.call import Identified
from sidecar.routing.caller_login import (
    find_login,
    is_personal,
    login_without_key,
    without_login,
    without_scheme,
)

CREDENTIAL_PARAMETERS = frozenset({"key", "api-key", "access_token"})
_KEY_HEADERS = (*CREDENTIAL_HEADERS, KEY_HEADER)


def authenticate(snapshot: Snapshot, head: RequestHead, query: str) -> Identified:
    """Return the local key of a request, also a disabled or expired one (see `check_enabled`).

    Another credential beside a local key is the caller's login, which only a provider with
    `credential: caller` gets. The result is kept with the head, for the next request that has the
    same fields.

    Raises:
        ProxyError: 401 for no key or an unknown one, 403 for that of a run that is over, 400 for
            two different local keys.
    """
    known = head.caller
    if isinstance(known, Identified) and known.snapshot is snapshot and known.asked == query:
        return known
    presented, rest = _presented(head.headers, query)
    owners = {text: snapshot.by_digest.get(digest(text)) for text in presented if text}
    keys = {found[0].name: found for found in owners.values() if found}
    if len(keys) > 1:
        raise ProxyError(
            ErrorKind.BAD_REQUEST, "two different local keys were sent; send one: " + _names(keys)
        )
    if not keys:
        raise _no_key(owners, snapshot)
    key, key_hash = next(iter(keys.values()))
    texts = tuple(text.encode("utf-8", "surrogateescape") for text, own in owners.items() if own)
    kept, rest = without_keys(head.fields, rest, texts)
    login = None
    if len(owners) > 1:
        kept, login = without_login(kept), find_login(kept)
    may_expire, fields = bool(key.expires or key_hash.until), RequestFields(kept)
    found = Identified(snapshot, query, key, key_hash, may_expire, texts, fields, rest, login)
    head.caller = found
    return found


def without_keys(
    fields: Fields, query: str, texts: Collection[bytes]
) -> tuple[list[tuple[bytes, bytes]], str]:
    """Return the header fields and the query without those that hold one of `texts`, or any
    well-formed local key, anywhere in them."""
    plain = [text for text in texts if len(text) >= SHORT_KEY_CHARS]
    kept = list(fields)
    for text in plain:
        kept = [field for field in kept if text not in field[1]]
    whole = b"\n".join(map(b"\n".join, kept))
    # Usually the rest has no encoded text, so the slow check is skipped.
    if b"%" in whole or PREFIX_BYTES in whole or len(plain) < len(texts):
        kept = [field for field in kept if not holds_key(b"\n".join(field), texts)]
    if query:
        query = "&".join(
            parameter
            for parameter in query.split("&")
            if not holds_key(parameter.encode("utf-8", "surrogateescape"), texts)
        )
    return kept, query


def check_enabled(key: Key, key_hash: KeyHash, wall: float) -> None:
    """Raise `ProxyError` (403) if the key is disabled, expired or rotated out.

    `wall` is the time of the check, in seconds since the epoch.
    """
    if not key.enabled:
        raise ProxyError(
            ErrorKind.KEY_DISABLED,
            f'key "{key.name}" is disabled ({key.place.short}); enable it with: '
            f'sidecar keys enable "{key.name}"',
        )
    if key.expires is not None and wall >= key.expires.timestamp():
        raise ProxyError(
            ErrorKind.KEY_DISABLED, f'key "{key.name}" expired on {_when(key.expires)}'
        )
    if key_hash.until is not None and wall >= key_hash.until.timestamp():
        raise ProxyError(
            ErrorKind.KEY_DISABLED,
            f'this text of key "{key.name}" was rotated out on {_when(key_hash.until)}; '
            "use the newer one",
        )


def _presented(headers: CIMultiDictProxy[str], query: str) -> tuple[dict[str, None], str]:
    texts: dict[str, None] = {}
    for name in _KEY_HEADERS:
        for value in headers.getall(name, ()):
            texts[without_scheme(value)] = None
    if query:
        kept = []
        for parameter in query.split("&"):
            name, _, value = parameter.partition("=")
            if unquote_plus(name).lower() in CREDENTIAL_PARAMETERS:
                texts[unquote_plus(value)] = None
            else:
                kept.append(parameter)
        query = "&".join(kept)
    return texts, query


def _no_key(presented: Collection[str], snapshot: Snapshot) -> ProxyError:
    for text in presented if snapshot.ended_runs else ():
        ended = snapshot.ended_runs.get(digest(text))
        if ended is not None:
            return ProxyError(ErrorKind.KEY_DISABLED, ended)
    return ProxyError(ErrorKind.INVALID_KEY, _unknown(presented))


def _unknown(presented: Collection[str]) -> str:
    if any(map(is_personal, presented)):
        return login_without_key()
    if presented:
        return (
            f"this is not a key of this Sidecar; local keys begin with {PREFIX} and are made with: "
            "sidecar keys create NAME --group GROUP"
        )
    return "no key was sent; send a local key as Authorization: Bearer or x-api-key"


def _names(known: dict[str, tuple[Key, KeyHash]]) -> str:
    return " and ".join(f'"{name}"' for name in sorted(known))


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M %Z")

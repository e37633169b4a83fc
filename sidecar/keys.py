"""Who is calling: finds the local key in a request, wherever that vendor's clients put it.

Keys are looked up by the SHA-256 of their text, so no text is kept and no comparison of secrets
can be timed: the 256 random bits of a key are hashed before anything is compared.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import unquote_plus

from multidict import CIMultiDictProxy

from sidecar.config import Key, KeyHash, Snapshot
from sidecar.errors import Kind, Refused
from sidecar.keytext import PREFIX, digest
from sidecar.reserved_headers import CREDENTIAL_HEADERS

CREDENTIAL_PARAMETERS = frozenset({"key", "api-key", "access_token"})
_BEARER = "bearer"


def identify(
    snapshot: Snapshot, headers: CIMultiDictProxy[str], query: str
) -> tuple[Key, KeyHash, str]:
    """The key that this request presents, by which text, and the query without any credential.

    Raises `Refused`: 401 for none or an unknown one, 400 for two different local keys. Foreign
    credentials beside a local key are ignored. Whether the key is in force is another question.
    """
    presented, rest = _presented(headers, query)
    known = {found[0].name: found for found in map(snapshot.by_digest.get, presented) if found}
    if len(known) > 1:
        raise Refused(
            Kind.BAD_REQUEST, "two different local keys were sent; send one: " + _names(known)
        )
    if not known:
        raise Refused(Kind.INVALID_KEY, _unknown(bool(presented)))
    key, key_hash = next(iter(known.values()))
    return key, key_hash, rest


def check_in_force(key: Key, key_hash: KeyHash, wall: float) -> None:
    """Raise `Refused` (403, saying which) when the key may not be used at `wall`, in seconds since
    the epoch."""
    if not key.enabled:
        raise Refused(
            Kind.KEY_DISABLED,
            f'key "{key.name}" is disabled ({key.place.short}); enable it with: '
            f'sidecar keys enable "{key.name}"',
        )
    if key.expires is not None and wall >= key.expires.timestamp():
        raise Refused(Kind.KEY_DISABLED, f'key "{key.name}" expired on {_when(key.expires)}')
    if key_hash.until is not None and wall >= key_hash.until.timestamp():
        raise Refused(
            Kind.KEY_DISABLED,
            f'this text of key "{key.name}" was rotated out on {_when(key_hash.until)}; '
            "use the newer one",
        )


def _presented(headers: CIMultiDictProxy[str], query: str) -> tuple[list[bytes], str]:
    texts: dict[str, None] = {}
    for name in CREDENTIAL_HEADERS:
        for value in headers.getall(name, ()):
            texts[_strip_scheme(value)] = None
    if query:
        kept = []
        for parameter in query.split("&"):
            name, _, value = parameter.partition("=")
            if unquote_plus(name).lower() in CREDENTIAL_PARAMETERS:
                texts[unquote_plus(value)] = None
            else:
                kept.append(parameter)
        query = "&".join(kept)
    return [digest(text) for text in texts if text], query


def _strip_scheme(value: str) -> str:
    scheme, _, text = value.strip().partition(" ")
    return text.strip() if scheme.lower() == _BEARER else value.strip()


def _unknown(anything: bool) -> str:  # noqa: FBT001 - private
    if anything:
        return (
            f"this is not a key of this Sidecar; local keys begin with {PREFIX} and are made with: "
            "sidecar keys create NAME --group GROUP"
        )
    return "no key was sent; send a local key as Authorization: Bearer or x-api-key"


def _names(known: dict[str, tuple[Key, KeyHash]]) -> str:
    return " and ".join(f'"{name}"' for name in sorted(known))


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M %Z")

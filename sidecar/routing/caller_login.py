"""The login of a caller: the credential of a vendor that the agent itself presents.

It goes to providers with `credential: caller` and to no other place. It lives as long as its call,
and on a connection that stays, until a request with other fields comes. What is remembered about
its account is found by a fingerprint.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from sidecar.config.model import Key
from sidecar.config.schema.reserved_headers import (
    ACCOUNT_HEADERS,
    CREDENTIAL_HEADERS,
    KEY_HEADER,
)
from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.headers import Fields, text_of
from sidecar.plugin_api.vendor import Secret

_PROCESS_KEY = secrets.token_bytes(32)
"""Fingerprints of two processes cannot be compared, nor can a guessed login be tested."""
_FINGERPRINT_CHARS = 16
_ORDER = ("authorization", *sorted(CREDENTIAL_HEADERS - {"authorization"}))
_LOGIN = re.compile(r"sk-ant-oat\S+|ey[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
"""The forms of a person's login, apart from API keys: Anthropic's OAuth tokens, and JSON Web
Tokens, as OpenAI issues."""
_HOW = f"the local key then goes into the header {KEY_HEADER}"


class CallerLogin:
    """A vendor credential in a client's request, and the headers that choose its account.

    Attributes:
        account: The fingerprint, by which cooldowns and quotas of its account are found.
        secret: The credential without its scheme, to mask it in responses.
        is_personal: Whether it has the form of a person's login, not of an API key.
    """

    __slots__ = ("_header", "_selectors", "account", "is_personal", "secret")

    def __init__(self, header: tuple[str, str], selectors: Sequence[tuple[str, str]]) -> None:
        text = without_scheme(header[1])
        self._header = (header[0], Secret(header[1]))
        self._selectors = tuple((name, Secret(value)) for name, value in selectors)
        self.secret = Secret(text)
        self.is_personal = is_personal(text)
        chosen = "\n".join(sorted(f"{name.lower()}:{value}" for name, value in selectors))
        seen = f"{text}\n{chosen}".encode("utf-8", "surrogateescape")
        digest = hmac.new(_PROCESS_KEY, seen, hashlib.sha256).hexdigest()
        self.account = digest[:_FINGERPRINT_CHARS]

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers as the client sent them. Put them into a request to a provider with
        `credential: caller` and nowhere else."""
        return [(name, value.reveal()) for name, value in (self._header, *self._selectors)]


def find_login(fields: Fields) -> CallerLogin | None:
    """Return the vendor credential in header fields without local keys; None if they have none.

    Of several, `Authorization` is taken.
    """
    found: dict[str, tuple[str, str]] = {}
    selectors = []
    for raw_name, raw_value in fields:
        name = raw_name.decode("latin-1")
        lower = name.lower()
        if lower in CREDENTIAL_HEADERS and without_scheme(text_of(raw_value)):
            found.setdefault(lower, (name, text_of(raw_value)))
        elif lower in ACCOUNT_HEADERS:
            selectors.append((name, text_of(raw_value)))
    header = next((found[name] for name in _ORDER if name in found), None)
    return None if header is None else CallerLogin(header, selectors)


def without_login(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return the header fields without credentials and the headers that choose their account: what
    plugins get to see."""
    gone = CREDENTIAL_HEADERS | ACCOUNT_HEADERS
    return [field for field in fields if field[0].decode("latin-1").lower() not in gone]


def without_scheme(value: str) -> str:
    """Return the credential in a header's value, without `Bearer`."""
    scheme, _, text = value.strip().partition(" ")
    return text.strip() if scheme.lower() == "bearer" else value.strip()


def check_login(key: Key, login: CallerLogin | None) -> None:
    """Raise `ProxyError` for a person's login that no provider of the key takes.

    Without this check the provider's own credential would pay for a call that its user believes
    to be part of a subscription.
    """
    if login is None or not login.is_personal:
        return
    routes = [route for route in key.routes if route.enabled]
    if routes and not any(route.provider.takes_login for route in routes):
        first = routes[0].provider
        raise ProxyError(
            ErrorKind.BAD_REQUEST,
            "the call carries a vendor login of its own besides the local key, and no provider of "
            f'key "{key.name}" takes it: the provider\'s own credential would pay. Write '
            f"credential: caller at provider {first.name} ({first.place.short}), or remove the "
            "login from the agent",
        )


def missing_login(provider: str) -> str:
    """Return the reason that a provider with `credential: caller` is skipped."""
    return (
        f"{provider} has credential: caller, and the call carries no vendor login; log in with "
        f"the agent itself ({_HOW})"
    )


def login_without_key() -> str:
    """Return the message for a person's login that came without a local key."""
    return (
        "this is a login at the vendor, and no local key came with it. To use the login, write "
        f"credential: caller at its provider; {_HOW} (Claude Code: "
        f'ANTHROPIC_CUSTOM_HEADERS="{KEY_HEADER}: sk-sidecar-…"). To use the provider\'s '
        "credential, log out and send the local key alone"
    )


def is_personal(text: str) -> bool:
    """Return whether a presented text has the form of a person's login."""
    return _LOGIN.fullmatch(text) is not None

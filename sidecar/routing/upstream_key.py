"""The name of an upstream, for which failures and a vendor's quotas are recorded, and the address
of its requests."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct
from yarl import URL

from sidecar.config.model import Provider
from sidecar.config.schema.addresses import is_loopback
from sidecar.masking import CredentialMask
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.vendor import Secret, Vendor

MAX_FAMILY_CHARS = 128


class UpstreamKey(Struct, frozen=True, cache_hash=True):
    """One credential of a provider, for one family of models.

    `credential` is "" for a provider that needs none; `family` is "" for all models together.
    `account` is the fingerprint of a caller's login, "" for a credential of the file: it is no part
    of any text.
    """

    provider: str
    credential: str
    family: str = ""
    account: str = ""

    @property
    def credential_key(self) -> UpstreamKey:
        """The same credential for all models together."""
        if not self.family:
            return self
        return UpstreamKey(self.provider, self.credential, "", self.account)

    def __str__(self) -> str:
        text = f"provider {self.provider}" + (f" ({self.credential})" if self.credential else "")
        return f"{text} for {self.family}" if self.family else text


def family_of(provider: Provider, model: str | None) -> str:
    """Return the family under which the vendor counts this model; "" for a call without one."""
    return "" if model is None else _family(provider.vendor, model)


@lru_cache(maxsize=4096)
def _family(vendor: Vendor, model: str) -> str:
    with plugin_guard(vendor, "family", "the model's name is its family"):
        return vendor.family(model)[:MAX_FAMILY_CHARS]
    return model[:MAX_FAMILY_CHARS]


@lru_cache(maxsize=256)
def _is_local(base_url: str) -> bool:
    return is_loopback(URL(base_url).host or "")


def is_remote(provider: Provider) -> bool:
    """Return whether a provider is on another machine."""
    return bool(provider.base_url) and not _is_local(provider.base_url)


class UpstreamAddress(NamedTuple):
    """Where the requests of a candidate go: the base URL, the URL, its host with the port, and the
    header fields that the file and the vendor's plugin set, with the secret that they hold and the
    mask of that, None if there is nothing to mask."""

    base_url: str = ""
    url: str = ""
    host: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    secret: Secret | None = None
    mask: CredentialMask | None = None


NO_ADDRESS = UpstreamAddress()


class LatestAddress:
    """The address of a candidate's latest attempt, and what it was made for."""

    __slots__ = ("address", "asked")

    def __init__(self) -> None:
        self.asked: tuple[object, ...] = ()
        self.address = NO_ADDRESS

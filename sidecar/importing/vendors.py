"""Find the vendor that another gateway's entry means: by address, by name, or by its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from sidecar.config.patterns import Pattern
from sidecar.config.schema import addresses
from sidecar.plugin_api.vendor import Vendor

_FILE = Path(__file__).with_name("foreign_names.json")
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/v1/messages", "/v1beta/models")


class ForeignNames(msgspec.Struct, frozen=True):
    """The names of one gateway.

    `api` is the vendor whose API its clients speak; `vendors` maps the gateway's names of vendors
    to ours; `models` patterns of models to the vendors that they imply.
    """

    api: str
    vendors: Mapping[str, str]
    models: Mapping[str, str]


@cache
def names_of(gateway: str) -> ForeignNames:
    """Return the names of one gateway."""
    return msgspec.json.decode(_FILE.read_bytes(), type=dict[str, ForeignNames])[gateway]


@dataclass(frozen=True, slots=True)
class VendorFinder:
    """Vendors by the names of one gateway; `known` are the installed ones."""

    names: ForeignNames
    known: Mapping[str, Vendor]

    def by_name(self, name: str) -> Vendor | None:
        """Return the vendor that the gateway calls `name`."""
        return self.known.get(self.names.vendors.get(name, ""))

    def by_model(self, model: str) -> Vendor | None:
        """Return the vendor that a model's name without a prefix implies."""
        names = self.names.models.items()
        return next((self.known.get(v) for p, v in names if Pattern(p).matches(model)), None)

    def by_address(self, url: str) -> Vendor | None:
        """Return the vendor whose own address is on the host of `url`."""
        host = split_url(url).hostname
        at_home = (each for each in self.known.values() if each.base_url and each.credential)
        return next((each for each in at_home if urlsplit(each.base_url).hostname == host), None)


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL; empty ones if it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def base_url_for(vendor: Vendor, url: str, *, add_version: bool) -> str | None:
    """Return the base URL to write for `url`; None when it is the vendor's own.

    `add_version` appends the path of the vendor's usual base URL where `url` has no path. Raises
    `InvalidValue`.
    """
    found = _without_endpoint(addresses.base_url(url))
    usual = urlsplit(vendor.base_url or "")
    parts = urlsplit(found)
    if vendor.base_url and parts[:2] == usual[:2] and vendor.credential:
        paths = {"", usual.path.rstrip("/"), *vendor.other_base_paths}
        if parts.path.rstrip("/") in paths:
            return None
    if add_version and not parts.path.strip("/"):
        found += usual.path.rstrip("/")
    return found


def _without_endpoint(url: str) -> str:
    for endpoint in _ENDPOINTS:
        url = url.removesuffix(endpoint)
    return url.rstrip("/")

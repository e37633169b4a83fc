"""Build providers from the `providers` section, and those that need no entry.

A provider without an entry exists when a vendor has its name and something uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, structs
from yaml.nodes import ScalarNode

from sidecar.config.base_urls import base_url_slip
from sidecar.config.loader.limits import allowance, timeouts
from sidecar.config.model import CredentialRef, Provider, SecretSource, Timeouts, Urgency
from sidecar.config.schema.addresses import is_clear_public
from sidecar.config.schema.fields import PROVIDER
from sidecar.config.schema.reserved_headers import CODING, why_not_to_set
from sidecar.config.schema.types import Block, Choice, FieldType, Named, OptionField
from sidecar.config.schema.values import count, switch, text
from sidecar.config.yaml.reader import Reader, Record, suggest
from sidecar.config.yaml.secret_forms import has_known_form, shown
from sidecar.errors import SourceLocation
from sidecar.plugin_api.transform import Transform
from sidecar.plugin_api.vendor import Field, Vendor


class Plugins(Protocol):
    """The part of the plugin registry that the loader needs."""

    @property
    def vendors(self) -> Mapping[str, Vendor]:
        """Every vendor by its name."""

    @property
    def transforms(self) -> Mapping[str, Transform]:
        """Every transform by its name."""


class Defaults(Struct, frozen=True):
    """The values of providers and groups that set none."""

    timeouts: Timeouts
    headroom: Mapping[Urgency, float]
    urgency: Urgency


_HEADER_PUNCTUATION = frozenset("!#$%&'*+-.^_`|~")


def provider_block(vendor: Vendor) -> Block:
    """Return the fields of a provider of this vendor: common and own ones."""
    own = tuple(_option(each) for each in vendor.fields)
    return structs.replace(
        PROVIDER, title=f"a provider of {vendor.name}", options=(*PROVIDER.options, *own)
    )


class Providers:
    """The providers of a file, and the implicit ones as they are used."""

    def __init__(
        self, reader: Reader, plugins: Plugins, defaults: Defaults, entries: Iterable[Named]
    ) -> None:
        self._reader = reader
        self._vendors = plugins.vendors
        self.transforms = plugins.transforms
        self._defaults = defaults
        self._failed: set[str] = set()
        self._found: dict[str, Provider] = {}
        for entry in entries:
            self._enter(entry)

    @property
    def found(self) -> dict[str, Provider]:
        """The providers with an entry in the order of the file, then the implicit ones."""
        return self._found

    def find(self, name: str, place: SourceLocation) -> Provider | None:
        """Return the provider that is used at `place`; None, with the problem recorded once."""
        known = self._found.get(name)
        if known is not None or name in self._failed:
            return known
        vendor = self._vendors.get(name)
        if vendor is None:
            names = [*self._found, *self._vendors]
            self._reader.error(
                place, f"provider {shown(name)} is not defined", suggest(name, names)
            )
            return None
        self._keep(name, self._build(name, place, vendor, Record(place)))
        return self._found.get(name)

    def vendor(self, name: str, place: SourceLocation) -> Vendor | None:
        """Return the vendor of that name; None, with the problem recorded."""
        vendor = self._vendors.get(name)
        if vendor is None:
            fix = suggest(name, self._vendors, "no plugin is installed; see: sidecar plugins")
            self._reader.error(place, f"vendor {shown(name)} is not known", fix)
        return vendor

    def _enter(self, entry: Named) -> None:
        vendor = self._vendor_of(entry)
        if vendor is None:
            self._keep(entry.name, None)
            return
        record = provider_block(vendor).read(self._reader, entry.value)
        self._keep(entry.name, self._build(entry.name, entry.place, vendor, record))

    def _keep(self, name: str, provider: Provider | None) -> None:
        if provider is None:
            self._failed.add(name)
        else:
            self._found[name] = provider

    def _vendor_of(self, entry: Named) -> Vendor | None:
        aside = Reader(self._reader.file)  # its problems are recorded when all fields are read
        for name, _, value in aside.mapping(entry.value, "a provider") or ():
            if name == "plugin" and isinstance(value, ScalarNode) and value.value:
                return self.vendor(value.value, self._reader.place(value))
        vendor = self._vendors.get(entry.name)
        if vendor is None:
            what = f"provider {shown(entry.name)} names no plugin, and no vendor has its name"
            self._reader.error(
                entry.place, what, f"write plugin: and one of {_listed(self._vendors)}"
            )
        return vendor

    def _build(
        self, name: str, place: SourceLocation, vendor: Vendor, record: Record
    ) -> Provider | None:
        base_url = self._base_url(name, vendor, record)
        if base_url is None:
            return None
        headers: Record = record.get("headers", Record(place))
        return Provider(
            name=name,
            vendor=vendor,
            base_url=base_url,
            credentials=record.get("credential", _usual_credentials(vendor, place)),
            place=place,
            allowance=allowance(record, self._defaults.headroom),
            free=record.get("price", False),
            priced_as=record.get("priced_as"),
            options=_options(vendor, record),
            set_headers=self._set_headers(headers),
            remove_headers=self._remove_headers(headers),
            proxy=record.get("proxy"),
            ca_file=_beside(place.file, record.get("ca_file")),
            timeouts=timeouts(record.get("timeouts"), self._defaults.timeouts),
        )

    def _base_url(self, name: str, vendor: Vendor, record: Record) -> str | None:
        url: str | None = record.get("base_url", vendor.base_url)
        if vendor.local_server is not None:
            if "base_url" in record.places:
                what = f"{vendor.name} runs inside this process and takes no base_url"
                self._reader.error(record.at("base_url"), what, "remove it")
            return ""
        if url is None:
            if "base_url" not in record.places:
                what = (
                    f"provider {shown(name)} has no base_url, and {vendor.title} has no usual one"
                )
                fix = f"write {name}: {{base_url: …}} under providers"
                self._reader.error(record.place, what, fix)
            return None
        if "base_url" in record.values and is_clear_public(url):
            self._clear_text(record)
        if slip := base_url_slip(vendor, url):
            what = f"this base_url does not look like one of {vendor.title}"
            what += f", such as {vendor.base_url}; calls may end in 404"
            self._reader.warn(record.at("base_url"), what, slip)
        return url.rstrip("/")

    def _clear_text(self, record: Record) -> None:
        what = "http:// sends the credential and every prompt in the clear"
        if record.get("allow_http"):
            self._reader.warn(record.at("base_url"), what)
        else:
            fix = "use https://, or write allow_http: true"
            self._reader.error(record.at("base_url"), what, fix)

    def _set_headers(self, headers: Record) -> tuple[tuple[str, str], ...]:
        found = []
        for entry in headers.get("set", ()):
            problem = _header_problem(entry.name, entry.value)
            if problem:
                self._reader.error(entry.place, *problem)
            else:
                found.append((entry.name, entry.value))
        return tuple(found)

    def _remove_headers(self, headers: Record) -> frozenset[str]:
        names = frozenset(each.lower() for each in headers.get("remove", ()))
        if CODING in names:
            what = "without Content-Encoding a provider could not read a compressed body"
            self._reader.error(headers.at("remove"), what, "remove it from the list")
        return names


def _option(declared: Field) -> OptionField:
    default = "" if declared.default is None else str(declared.default)
    return OptionField(
        declared.name, _kind(declared), declared.help, default.lower() or "none", declared.required
    )


def _kind(declared: Field) -> FieldType:
    if isinstance(declared.type, tuple):
        return Choice({each: each for each in declared.type})
    if declared.type is bool:
        return switch
    if declared.type is int:
        return count
    return text


def _options(vendor: Vendor, record: Record) -> Mapping[str, Any]:
    """Return the vendor's own fields; one that is not set and has no default is absent."""
    options = {each.name: record.get(each.name, each.default) for each in vendor.fields}
    return {name: value for name, value in options.items() if value is not None}


def _usual_credentials(vendor: Vendor, place: SourceLocation) -> tuple[CredentialRef, ...]:
    names = () if vendor.credential is None else (vendor.credential, *vendor.other_credentials)
    return tuple(CredentialRef(SecretSource.ENV, f"env:{n}", place, n) for n in names)


def _header_problem(name: str, value: str) -> tuple[str, str] | None:
    if not name.isascii() or not all(c.isalnum() or c in _HEADER_PUNCTUATION for c in name):
        return f"{shown(name)} is not a header's name", "write one such as X-Team"
    why_not = why_not_to_set(name)
    if has_known_form(value):
        why_not = why_not or f"the header {name} would carry a credential (not shown)"
    if why_not:
        return why_not, "use credential: for it" if "credential" in why_not else "remove it"
    if not value.isprintable() or not value.isascii():
        return f"the value of the header {name} holds characters that no header can carry", ""
    return None


def _beside(file: str, path: str | None) -> str | None:
    if not path:
        return None
    return str(Path(path).expanduser() if path[0] == "~" else Path(file).absolute().parent / path)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "(no plugin is installed)"

"""What every vendor keeps when it addresses a call and describes itself, as checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from sidecar.plugin_api.dialect import Dialect, Endpoint
from sidecar.plugin_api.manager import Registry
from sidecar.plugin_api.vendor import Field, Secret, UpstreamRequest, Vendor
from sidecar.pricing.price_list import load
from sidecar.records import Usage

SECRET = "canary-credential"


def checks(vendor: Vendor, registry: Registry) -> dict[str, Callable[[], Iterator[str]]]:
    """The checks of one vendor, by what they look at; each yields what is wrong."""
    return {
        "prepare": lambda: _addressing(vendor, registry),
        "normalise": lambda: _normalising(vendor),
        "price_list": lambda: _prices(vendor),
        "unfit": lambda: _credentials(vendor),
        "fields": lambda: _fields(vendor.fields),
    }


def _normalising(vendor: Vendor) -> Iterator[str]:
    for name in ("chat", "messages", "other"):
        for usage in (Usage(), Usage(0, 0), Usage(5, None), Usage(5, 5, 9, 9, 9, 99)):
            found: object = vendor.normalize(usage, Endpoint(name))
            if not isinstance(found, Usage):
                yield f"normalise gives {type(found).__name__} for {name}; give a Usage"


def _credentials(vendor: Vendor) -> Iterator[str]:
    found: object = vendor.unfit(Secret(SECRET))
    if not isinstance(found, str):
        yield f"unfit gives {type(found).__name__}; give why not, or an empty text"
    elif SECRET in found:
        yield "unfit quotes the credential"


def _prices(vendor: Vendor) -> Iterator[str]:
    if vendor.price_list is not None and vendor.price_list not in load():
        yield f"the list of prices knows no provider {vendor.price_list}"


def _fields(fields: Sequence[Field]) -> Iterator[str]:
    for field in fields:
        if not field.help:
            yield f"field {field.name} has no help"
        if [each.name for each in fields].count(field.name) > 1:
            yield f"field {field.name} is there twice"
        allowed = field.type
        fits = (
            field.default in allowed
            if isinstance(allowed, tuple)
            else type(field.default) is allowed
        )
        if field.default is not None and not fits:
            yield f"field {field.name} has a default of another type"


def _addressing(vendor: Vendor, registry: Registry) -> Iterator[str]:
    if not vendor.dialects:
        yield "speaks no dialect"
    if vendor.base_url is not None and urlsplit(vendor.base_url).scheme not in {"http", "https"}:
        yield f"its base_url {vendor.base_url} is no http address"
    for name in vendor.serves:
        if name not in registry.vendors:
            yield f"serves {name}, which no plugin knows"
    for name in vendor.dialects:
        yield from _address(vendor, registry.dialects[name])


def _address(vendor: Vendor, dialect: Dialect) -> Iterator[str]:
    serving = vendor.dialects[dialect.name]
    base_url = serving.base(vendor.base_url or "http://127.0.0.1:1/v1")
    request = dialect.models_request
    ask = UpstreamRequest(
        dialect=dialect.name,
        serving=serving,
        endpoint=request.endpoint,
        method="GET",
        path=request.path,
        query="a=b%2Fc",
        model="m/1",
        base_url=base_url,
        secret=Secret(SECRET),
        options={field.name: _value(field) for field in vendor.fields},
    )
    prepared = vendor.prepare(ask)
    if SECRET in prepared.url:
        yield f"puts the credential into the address for {dialect.name}"
    if not any(SECRET in value for _, value in prepared.headers):
        yield f"sends no credential for {dialect.name}"
    if urlsplit(prepared.url).netloc != urlsplit(base_url).netloc:
        yield f"calls {prepared.url}, which is not the provider's host"
    if "a=b%2Fc" not in prepared.url:
        yield f"changes the query for {dialect.name}"


def _value(field: Field) -> str | int | bool:
    if field.default is not None:
        return field.default
    if isinstance(field.type, tuple):
        return field.type[0]
    if field.type is str:
        return "x"
    return field.type is bool or 1

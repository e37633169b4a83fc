"""Checks of a vendor: addresses, credentials, YAML fields and prices."""

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
    """Return the checks of one vendor by the member that they check; each yields messages."""
    return {
        "prepare": lambda: _addresses(vendor, registry),
        "normalize": lambda: _normalization(vendor),
        "price_list": lambda: _prices(vendor),
        "credential_problem": lambda: _credentials(vendor),
        "fields": lambda: _fields(vendor.fields),
    }


def _normalization(vendor: Vendor) -> Iterator[str]:
    for name in ("chat", "messages", "other"):
        for usage in (Usage(), Usage(0, 0), Usage(5, None), Usage(5, 5, 9, 9, 9, 99)):
            found: object = vendor.normalize(usage, Endpoint(name))
            if not isinstance(found, Usage):
                yield f"normalize returns {type(found).__name__} for {name}; return a Usage"


def _credentials(vendor: Vendor) -> Iterator[str]:
    found: object = vendor.credential_problem(Secret(SECRET))
    if not isinstance(found, str):
        yield f'credential_problem returns {type(found).__name__}; return a reason, or ""'
    elif SECRET in found:
        yield "credential_problem quotes the credential; describe it without its text"


def _prices(vendor: Vendor) -> Iterator[str]:
    if vendor.price_list is not None and vendor.price_list not in load():
        yield f'price_list "{vendor.price_list}" is not in the price list; use an id of it'


def _fields(fields: Sequence[Field]) -> Iterator[str]:
    for field in fields:
        if not field.help:
            yield f"field {field.name} has no help; describe its value"
        if [each.name for each in fields].count(field.name) > 1:
            yield f"field {field.name} exists twice; remove one"
        allowed = field.type
        fits = (
            field.default in allowed
            if isinstance(allowed, tuple)
            else type(field.default) is allowed
        )
        if field.default is not None and not fits:
            yield f"field {field.name} has a default of another type; use one of its type"


def _addresses(vendor: Vendor, registry: Registry) -> Iterator[str]:
    if not vendor.dialects:
        yield "dialects is empty; name at least one"
    if vendor.base_url is not None and urlsplit(vendor.base_url).scheme not in {"http", "https"}:
        yield f"base_url {vendor.base_url} is no HTTP address; begin it with https:// or http://"
    for name in vendor.serves:
        if name not in registry.vendors:
            yield f'serves "{name}", which is no vendor; correct the name'
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
        yield f"prepare puts the credential into the URL for {dialect.name}; put it into a header"
    if not any(SECRET in value for _, value in prepared.headers):
        yield f"prepare sends no credential for {dialect.name}; add its header"
    if urlsplit(prepared.url).netloc != urlsplit(base_url).netloc:
        yield f"prepare calls {prepared.url}, another host; begin the URL with `ask.base_url`"
    if "a=b%2Fc" not in prepared.url:
        yield f"prepare changes the query for {dialect.name}; append `ask.query` unchanged"


def _value(field: Field) -> str | int | bool:
    if field.default is not None:
        return field.default
    if isinstance(field.type, tuple):
        return field.type[0]
    if field.type is str:
        return "x"
    return field.type is bool or 1

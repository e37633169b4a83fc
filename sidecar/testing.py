"""The contract that every dialect and vendor keeps, as checks that anybody can run on a plugin.

`problems(registry)` names every breach; `sidecar plugins check` prints them. `cut_problems` checks
a meter on an answer that you have on record. Nothing is sent: all of it is values in, values out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from sidecar.dialect import Dialect, Endpoint, Meter, ModelAt, ModelEntry
from sidecar.errors import Kind, Refusal
from sidecar.plugins import Registry
from sidecar.pricelist import load
from sidecar.vendor import Ask, Field, Secret, Vendor
from sidecar.verdicts import Answer, Verdict

SECRET = "canary-credential"
MESSAGE = 'a "message" with ümlauts\nand lines'
CALL = "call_1"
_BODIES = (b"", b"{}", b"[]", b"not json", b'{"error":{"code":null}}', b'{"error":"text"}', b"\xff")
_HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"retry-after": "-1"},
    {"retry-after": "Fri, 99 Foo"},
    {"retry-after-ms": "nan"},
    {
        "x-ratelimit-limit-tokens": "many",
        "x-ratelimit-remaining-requests": "-3",
        "x-ratelimit-reset-requests": "1h2m3.5s",
        "anthropic-ratelimit-tokens-reset": "yesterday",
        "anthropic-ratelimit-tokens-limit": "9" * 40,
    },
)


def problems(registry: Registry) -> list[str]:
    """Every way in which the registered plugins break the contract; [] when none does."""
    found = list(registry.problems)
    for dialect in registry.dialects.values():
        found += _prefixed(f"dialect {dialect.name}", _dialect_problems(dialect))
    for vendor in registry.vendors.values():
        found += _prefixed(f"vendor {vendor.name}", _vendor_problems(vendor, registry))
    return found


def cut_problems(new_meter: Callable[[], Meter], answer: bytes) -> list[str]:
    """How a meter's reading of `answer` depends on where its bytes are cut; [] when it does not.

    `new_meter` makes a fresh meter, like `lambda: dialect.meter(endpoint, content_type)`.
    """
    whole = _reading(new_meter(), [answer])
    found = []
    for size in (1, 2, 3, 7, 64):
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        reading = _reading(new_meter(), pieces)
        if reading != whole:
            found.append(f"reads {reading} in pieces of {size}, but {whole} as a whole")
    return found


def _reading(meter: Meter, pieces: Sequence[bytes]) -> tuple[object, ...]:
    for piece in pieces:
        meter.feed(piece)
    return meter.usage(), meter.model, meter.error, meter.finished, meter.created()


def _prefixed(who: str, breaches: Iterator[str]) -> list[str]:
    found: list[str] = []
    try:
        for breach in breaches:
            found.append(f"{who}: {breach}")  # noqa: PERF401 - keeps what came before an error
    except Exception as error:  # noqa: BLE001 - foreign code is what is being checked
        found.append(f"{who}: raised {type(error).__name__}: {error}")
    return found


def _dialect_problems(dialect: Dialect) -> Iterator[str]:
    endpoint = Endpoint("chat", ModelAt.BODY, counts=True)
    for kind in Kind:
        refusal = Refusal(kind, MESSAGE, 2.0 if kind is Kind.RATE_LIMITED else None)
        status, body = dialect.error(refusal, CALL)
        if not 400 <= status <= 599:
            yield f"error({kind.name}) has status {status}"
        if MESSAGE not in _texts(json.loads(body)):
            yield f"error({kind.name}) does not carry the message"
        event = dialect.error_event(endpoint, refusal, CALL)
        if event and not event.endswith((b"\n\n", b"\r\n\r\n")):
            yield f"error_event({kind.name}) does not end its event"
        yield from _own_event_problems(dialect, endpoint, event, kind)
    entries = [ModelEntry("a"), ModelEntry('b"\\')]
    page = dialect.models(entries)
    json.loads(page)
    if [entry.id for entry in dialect.list_models(page)] != [entry.id for entry in entries]:
        yield "list_models does not read what models writes"
    yield from _totality(dialect, endpoint)


def _own_event_problems(
    dialect: Dialect, endpoint: Endpoint, event: bytes, kind: Kind
) -> Iterator[str]:
    def new_meter() -> Meter:
        return dialect.meter(endpoint, "text/event-stream")

    meter = new_meter()
    meter.feed(event)
    ended = meter.at_boundary and meter.finished and meter.error
    if event and meter.expects_end and not ended:
        yield f"its meter does not take error_event({kind.name}) for an error that ends a stream"
    yield from (f"error_event({kind.name}): {each}" for each in cut_problems(new_meter, event))


def _texts(value: object) -> list[str]:
    """Every text anywhere in a JSON value."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _totality(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for content_type in ("application/json", "text/event-stream", "audio/mpeg", ""):
        for body in _BODIES:
            meter = dialect.meter(endpoint, content_type)
            meter.feed(body)
            meter.usage()
            meter.created()
    for path in ("/", "//", "/v1", "/v1/", "/%ff", "/v1/models/", "/a:b", "/v1/models/a%2Fb:c"):
        located = dialect.locate("POST", path)
        if located is not None and not located.path.startswith("/"):
            yield f"locate({path!r}) gives the path {located.path!r}"
        if located is not None and located.model_span is not None:
            start, end = located.model_span
            if not 0 <= start <= end <= len(located.path):
                yield f"locate({path!r}) gives a span outside its path"
    for body in _BODIES:
        dialect.list_models(body)


def _vendor_problems(vendor: Vendor, registry: Registry) -> Iterator[str]:
    if not vendor.dialects:
        yield "speaks no dialect"
    if vendor.base_url is not None and urlsplit(vendor.base_url).scheme not in {"http", "https"}:
        yield f"its base_url {vendor.base_url} is no http address"
    for name in vendor.dialects:
        yield from _addressing(vendor, registry.dialects[name])
    yield from _judging(vendor)
    for headers in _HEADERS:
        vendor.read_quota(headers, 0.0)
    for name in vendor.serves:
        if name not in registry.vendors:
            yield f"serves {name}, which no plugin knows"
    if vendor.price_list is not None and vendor.price_list not in load():
        yield f"the list of prices knows no provider {vendor.price_list}"
    for size in (0, 1, 1 << 30):
        tokens, output = vendor.estimate(size, None)
        if tokens < 0 or output is not None:
            yield f"estimates {tokens} and {output} tokens for {size} bytes without a bound"
    yield from _field_problems(vendor.fields)


def _field_problems(fields: Sequence[Field]) -> Iterator[str]:
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


def _judging(vendor: Vendor) -> Iterator[str]:
    for status in range(100, 600):
        for body in _BODIES:
            for headers in _HEADERS:
                judgement = vendor.judge(Answer(status, headers, body))
                if status < 400 and judgement.verdict is not Verdict.TAKE:
                    yield f"judges a plain {status} as {judgement.verdict}"
                    return


def _addressing(vendor: Vendor, dialect: Dialect) -> Iterator[str]:
    serving = vendor.dialects[dialect.name]
    base_url = serving.base(vendor.base_url or "http://127.0.0.1:1/v1")
    request = dialect.models_request
    ask = Ask(
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

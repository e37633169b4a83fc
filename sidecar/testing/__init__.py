"""The testing kit for plugins: checks of the contract of every dialect, vendor and transform.

`problems(registry)` returns every breach; `sidecar plugins check` prints them. `cut_problems`
checks a meter with a recorded response. Nothing is sent. Each message names the plugin, the method,
what is wrong and what to do.

    from sidecar.plugin_api.manager import discover
    from sidecar.testing import problems

    def test_acme_keeps_the_contract():
        assert problems(discover([Path("acme.py")])) == []
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

from sidecar.errors import ErrorKind, LocalReply
from sidecar.plugin_api.dialect import Dialect, Endpoint, Meter, ModelAt, ModelEntry
from sidecar.plugin_api.manager import Registry
from sidecar.testing import dialect as testing_dialect
from sidecar.testing import limits
from sidecar.testing import transform as testing_transform
from sidecar.testing import vendor as testing_vendor
from sidecar.testing.limits import BODIES

MESSAGE = 'a "message" with ümlauts\nand lines'
CALL = "call_1"
CHAT = Endpoint("chat", ModelAt.BODY, counts=True)


def problems(registry: Registry) -> list[str]:
    """Return every breach of the contract by the plugins of a registry; [] if there is none."""
    found = list(registry.problems)
    for dialect in registry.dialects.values():
        who = f"dialect {dialect.name}"
        found += _prefixed(who, _dialect_problems(dialect))
        for method, check in testing_dialect.checks(dialect, CHAT).items():
            found += _prefixed(who, check(), method)
    for vendor in registry.vendors.values():
        every = testing_vendor.checks(vendor, registry) | limits.checks(vendor)
        for method, check in every.items():
            found += _prefixed(f"vendor {vendor.name}", check(), method)
    for transform in registry.transforms.values():
        for method, check in testing_transform.checks(transform, registry).items():
            found += _prefixed(f"transform {transform.name}", check(), method)
    return found


def cut_problems(new_meter: Callable[[], Meter], answer: bytes) -> list[str]:
    """Return how the result of a meter depends on the cuts of a response; [] if it does not.

    Args:
        new_meter: Returns a new meter, such as `lambda: dialect.meter(endpoint, content_type)`.
        answer: The body of a recorded response.
    """
    whole = _reading(new_meter(), [answer])
    found = []
    for size in (1, 2, 3, 7, 64):
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        reading = _reading(new_meter(), pieces)
        if reading != whole:
            found.append(
                f"its meter reads {reading} in pieces of {size} bytes, but {whole} in one piece; "
                "keep what is incomplete until its next bytes"
            )
    return found


def _reading(meter: Meter, pieces: Sequence[bytes]) -> tuple[object, ...]:
    for piece in pieces:
        meter.feed(piece)
    return meter.usage(), meter.model, meter.error, meter.finished, meter.created()


def _prefixed(who: str, breaches: Iterator[str], method: str = "it") -> list[str]:
    found: dict[str, None] = {}
    try:
        for breach in breaches:
            found[f"{who}: {breach}"] = None  # each one once, in order
    except Exception as error:  # noqa: BLE001 - foreign code is what is being checked
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{method} raised {type(error).__name__}: {error}"
        where = f"({PurePath(frame.filename).name}:{frame.lineno})"
        found[f"{who}: {what} {where}; catch it: its arguments come from outside"] = None
    return list(found)


def _dialect_problems(dialect: Dialect) -> Iterator[str]:
    endpoint = CHAT
    for kind in ErrorKind:
        reply = LocalReply(kind, MESSAGE, 2.0 if kind is ErrorKind.RATE_LIMITED else None)
        status, body = dialect.error(reply, CALL)
        if not 400 <= status <= 599:
            yield f"error({kind.name}) returns the status {status}; return one from 400 to 599"
        if MESSAGE not in _texts(json.loads(body)):
            yield f"error({kind.name}) omits the message; put `reply.message` into the body"
        event = dialect.error_event(endpoint, reply, CALL)
        if event and not event.endswith((b"\n\n", b"\r\n\r\n")):
            yield f"error_event({kind.name}) has no end; end it with a blank line"
        if dialect.has_failed_end(endpoint) and not event:
            yield f"has_failed_end is true without error_event({kind.name}); return an event for it"
        yield from _own_event_problems(dialect, endpoint, event, kind)
    entries = [ModelEntry("a"), ModelEntry('b"\\')]
    page = dialect.models(entries)
    json.loads(page)
    if [entry.id for entry in dialect.list_models(page)] != [entry.id for entry in entries]:
        yield "list_models does not parse what models returns; return the same rows"
    yield from _totality(dialect, endpoint)


def _own_event_problems(
    dialect: Dialect, endpoint: Endpoint, event: bytes, kind: ErrorKind
) -> Iterator[str]:
    def new_meter() -> Meter:
        return dialect.meter(endpoint, "text/event-stream")

    meter = new_meter()
    meter.feed(event)
    ended = meter.at_boundary and meter.finished and meter.error
    if event and meter.expects_end and not ended:
        yield (
            f"its meter does not report error_event({kind.name}) as an error that ends the stream; "
            "set `error` and `finished`"
        )
    yield from (f"error_event({kind.name}): {each}" for each in cut_problems(new_meter, event))


def _texts(value: object) -> list[str]:
    """Return every string in a JSON value, at any depth."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _totality(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for content_type in ("application/json", "text/event-stream", "audio/mpeg", ""):
        for body in BODIES:
            meter = dialect.meter(endpoint, content_type)
            meter.feed(body)
            meter.usage()
            meter.created()
    for path in ("/", "//", "/v1", "/v1/", "/%ff", "/v1/models/", "/a:b", "/v1/models/a%2Fb:c"):
        located = dialect.locate("POST", path)
        if located is not None and not located.path.startswith("/"):
            yield f"locate({path!r}) returns the path {located.path!r}; begin it with /"
        if located is not None and located.model_span is not None:
            start, end = located.model_span
            if not 0 <= start <= end <= len(located.path):
                yield f"locate({path!r}) returns a model_span outside its path; correct it"
    for body in BODIES:
        dialect.list_models(body)

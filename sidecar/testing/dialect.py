"""What every dialect keeps when it reads a request, asks for usage and hides that, as checks.

Each message ends with what to do about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import inf
from typing import Any

from sidecar.errors import ProxyError
from sidecar.plugin_api.dialect import Dialect, Endpoint, Facts
from sidecar.testing.limits import BODIES

ASKED = (
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}',
    b'{"stream": true, "model": "m", "stream_options": {"include_usage": false, "x": 1}}',
)
"""Bodies of streaming calls that do not ask for usage."""
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
    b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n',
    b": a comment\n\n", b"data: [DONE]\n\n", b"\n\n",
    *(b"data: " + body + b"\n\n" for body in BODIES),
)  # fmt: skip
"""Events that need no change, and some that no vendor should send."""
OPTIONS = "stream_options"


def checks(dialect: Dialect, endpoint: Endpoint) -> dict[str, Callable[[], Iterator[str]]]:
    """The checks of one dialect, by the method that they call; each yields what is wrong."""
    return {
        "read": lambda: _reading(dialect, endpoint),
        "asking": lambda: _asking(dialect, endpoint),
        "unasked": lambda: _hiding(dialect, endpoint),
        "ping": lambda: _pinging(dialect, endpoint),
        "patience": lambda: _waiting("patience", dialect.patience, dialect.timeout_headers),
        "curiosity": lambda: _waiting("curiosity", dialect.curiosity, ("User-Agent",)),
        "deadline": lambda: _waiting("deadline", dialect.deadline, dialect.deadline_headers),
    }


def _reading(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for body in (*ASKED, *BODIES):
        with suppress(ProxyError):
            found: object = dialect.read(endpoint, body)
            if not isinstance(found, Facts):
                yield f"read gives {type(found).__name__} for {_short(body)}; give Facts"
            elif not all(isinstance(each, str) for each in found.models):
                yield f"read gives a model that is no text for {_short(body)}; leave it out"


def _asking(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for body in (*ASKED, *BODIES):
        asked: object = dialect.inject_usage_option(endpoint, body)
        if asked is None:
            continue
        if not isinstance(asked, bytes):
            yield f"asking gives {type(asked).__name__} for {_short(body)}; give bytes, or None"
        elif not _asks_only(body, asked):
            fix = f"change nothing but {OPTIONS}, or give None"
            yield f"asking makes {_short(asked)} of {_short(body)}; {fix}"
        elif dialect.inject_usage_option(endpoint, asked) is not None:
            yield f"asking changes {_short(asked)}, which asks already; give None for it"


def _hiding(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for event in EVENTS:
        shown: object = dialect.strip_injected_usage(endpoint, event)
        if not isinstance(shown, bytes):
            what = type(shown).__name__
            yield f'unasked gives {what} for {_short(event)}; give the event, or b"" for none'
        elif shown and not shown.endswith((b"\n\n", b"\r\n\r\n")):
            fix = "keep the blank line that ends it"
            yield f"unasked makes {_short(shown)} of {_short(event)}; {fix}"


def _pinging(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for query in ("", "alt=sse", "a=b&alt=sse", "%"):
        ping: object = dialect.ping(endpoint, query)
        if ping is None:
            continue
        if not isinstance(ping, bytes) or not ping.endswith((b"\n\n", b"\r\n\r\n")):
            yield f"ping gives {ping!r}; give bytes that end with a blank line, or None"
            continue
        meter = dialect.meter(endpoint, "text/event-stream")
        meter.feed(ping)
        if meter.finished or meter.error or not meter.at_boundary:
            yield f"its meter takes {_short(ping)} for something; a ping must mean nothing"


def _waiting(
    name: str, read: Callable[[Mapping[str, str]], object], headers: tuple[str, ...]
) -> Iterator[str]:
    for said in ("", "60", "0.5", "-1", "nan", "inf", "NOT_GIVEN", "1e999"):
        found = read(dict.fromkeys(headers, said))
        if found is None:
            continue
        if not isinstance(found, int | float) or not 0 < found < inf:
            yield f"{name} gives {found!r} for {said!r}; give seconds above 0, or None"


def _asks_only(body: bytes, asked: bytes) -> bool:
    """Whether two bodies differ in nothing but what a stream is to report."""
    try:
        before, after = (_without_options(json.loads(each)) for each in (body, asked))
    except (ValueError, RecursionError):
        return False
    return bool(before == after)


def _without_options(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if name != OPTIONS}


def _short(data: bytes) -> str:
    return repr(data if len(data) <= 60 else data[:57] + b"...")

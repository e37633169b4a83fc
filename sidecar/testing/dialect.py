"""Checks of a dialect: requests, the usage option, pings and client timeouts."""

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
"""Bodies of streaming calls without the usage option."""
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
    b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n',
    b": a comment\n\n", b"data: [DONE]\n\n", b"\n\n",
    *(b"data: " + body + b"\n\n" for body in BODIES),
)  # fmt: skip
"""Events that need no change, and malformed ones."""
OPTIONS = "stream_options"


def checks(dialect: Dialect, endpoint: Endpoint) -> dict[str, Callable[[], Iterator[str]]]:
    """Return the checks of one dialect by the method that they call; each yields messages."""
    return {
        "read": lambda: _reading(dialect, endpoint),
        "inject_usage_option": lambda: _injection(dialect, endpoint),
        "strip_injected_usage": lambda: _stripping(dialect, endpoint),
        "ping": lambda: _pings(dialect, endpoint),
        "read_timeout": lambda: _timeouts(
            "read_timeout", dialect.read_timeout, dialect.read_timeout_headers
        ),
        "total_timeout": lambda: _timeouts(
            "total_timeout", dialect.total_timeout, dialect.total_timeout_headers
        ),
        "error_timeout": lambda: _timeouts("error_timeout", dialect.error_timeout, ("User-Agent",)),
    }


def _reading(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for body in (*ASKED, *BODIES):
        with suppress(ProxyError):
            found: object = dialect.read(endpoint, body)
            if not isinstance(found, Facts):
                yield f"read returns {type(found).__name__} for {_short(body)}; return Facts"
            elif not all(isinstance(each, str) for each in found.models):
                yield f"read returns a model that is no string for {_short(body)}; leave it out"


def _injection(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for body in (*ASKED, *BODIES):
        asked: object = dialect.inject_usage_option(endpoint, body)
        if asked is None:
            continue
        if not isinstance(asked, bytes):
            what = f"{type(asked).__name__} for {_short(body)}"
            yield f"inject_usage_option returns {what}; return bytes or None"
        elif not _asks_only(body, asked):
            what = f"{_short(asked)} for {_short(body)}"
            yield f"inject_usage_option returns {what}; change only {OPTIONS}, or return None"
        elif dialect.inject_usage_option(endpoint, asked) is not None:
            yield f"inject_usage_option changes {_short(asked)}, which has the option; return None"


def _stripping(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for event in EVENTS:
        shown: object = dialect.strip_injected_usage(endpoint, event)
        if not isinstance(shown, bytes):
            what = f"{type(shown).__name__} for {_short(event)}"
            yield f'strip_injected_usage returns {what}; return the event, or b"" for none'
        elif shown and not shown.endswith((b"\n\n", b"\r\n\r\n")):
            what = f"{_short(shown)} for {_short(event)}"
            yield f"strip_injected_usage returns {what}; keep the blank line at its end"


def _pings(dialect: Dialect, endpoint: Endpoint) -> Iterator[str]:
    for query in ("", "alt=sse", "a=b&alt=sse", "%"):
        ping: object = dialect.ping(endpoint, query)
        if ping is None:
            continue
        if not isinstance(ping, bytes) or not ping.endswith((b"\n\n", b"\r\n\r\n")):
            yield f"ping returns {ping!r}; return bytes that end with a blank line, or None"
            continue
        meter = dialect.meter(endpoint, "text/event-stream")
        meter.feed(ping)
        if meter.finished or meter.error or not meter.at_boundary:
            yield f"its meter does not ignore the ping {_short(ping)}; skip it, or return no ping"


def _timeouts(
    name: str, read: Callable[[Mapping[str, str]], object], headers: tuple[str, ...]
) -> Iterator[str]:
    for value in ("", "60", "0.5", "-1", "nan", "inf", "NOT_GIVEN", "1e999"):
        found = read(dict.fromkeys(headers, value))
        if found is None:
            continue
        if not isinstance(found, int | float) or not 0 < found < inf:
            yield f"{name} returns {found!r} for {value!r}; return seconds above 0, or None"


def _asks_only(body: bytes, asked: bytes) -> bool:
    """Return whether two bodies differ only in the options of the stream."""
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

"""A client of the command API, over the unix socket of a sidecar in the test."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from running_sidecar import Raw, Sidecar, parse, talk_inside


async def ask(proxy: Sidecar, method: str, *parts: str, **query: str) -> Raw:
    """One order; the answer as it came."""
    path = "/api/" + "/".join(quote(part, safe="") for part in parts)
    target = f"{path}?{urlencode(query)}" if query else path
    return await over_socket(proxy, method, target)


async def over_socket(proxy: Sidecar, method: str, target: str) -> Raw:
    """The answer to what one of our own commands asks."""
    return parse(await talk_inside(proxy, method, target))


async def see(proxy: Sidecar, *parts: str, **query: str) -> Any:
    """Return the JSON of a GET."""
    raw = await ask(proxy, "GET", *parts, **query)
    assert raw.status == 200, raw.body
    return raw.json()


async def explained(proxy: Sidecar, key: str, model: str, **query: str) -> Any:
    """Return the forecast of a hypothetical call."""
    return await see(proxy, "explain", key=key, model=model, **query)


async def order(proxy: Sidecar, *parts: str) -> Any:
    """Return the JSON of a POST."""
    raw = await ask(proxy, "POST", *parts)
    assert raw.status == 200, raw.body
    return raw.json()

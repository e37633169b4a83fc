"""What models there are: a provider's own list, fetched at first use and kept for a while.

Only for showing: no call waits for it or is refused because of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from sidecar import headers
from sidecar.config import Key, Provider, Route, matches_any
from sidecar.credentials import Vault
from sidecar.dialect import Dialect, ModelEntry
from sidecar.errors import UpstreamError
from sidecar.upstream import Upstream
from sidecar.vendor import Ask

FRESH = 600.0
"""Seconds a list is kept."""
PATIENCE = 2.0
"""Seconds to wait for a vendor's list before going on without it."""
MAXIMUM = 8 << 20

log = logging.getLogger("sidecar.catalog")


@dataclass(frozen=True, slots=True)
class _Known:
    entries: tuple[ModelEntry, ...]
    until: float


class Catalog:
    """The models lists of all providers. `clock` is monotonic seconds."""

    def __init__(
        self,
        upstream: Upstream,
        vault: Vault,
        dialects: Mapping[str, Dialect],
        local: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._upstream = upstream
        self._vault = vault
        self._dialects = dialects
        self._local = local
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}

    async def offered(self, key: Key, dialect: Dialect) -> list[ModelEntry]:
        """What `key` may use in this dialect: names its routes spell out, then what its providers
        list, filtered by its patterns; each name once, in the order of the routes."""
        routes = [r for r in key.routes if r.enabled and dialect.name in r.provider.vendor.dialects]
        lists = await asyncio.gather(*(self._listed(r.provider, dialect) for r in routes))
        found: dict[str, ModelEntry] = {}
        for route, listed in zip(routes, lists, strict=True):
            for entry in (*_literal(key, route), *_through(route, listed)):
                if matches_any(key.models, entry.id) and matches_any(route.models, entry.id):
                    known = found.get(entry.id)
                    if known is None or known.raw is None:
                        found[entry.id] = entry
        return list(found.values())

    async def _listed(self, provider: Provider, dialect: Dialect) -> tuple[ModelEntry, ...]:
        place = (provider.name, dialect.name)
        known = self._known.get(place)
        if known is not None and self._clock() < known.until:
            return known.entries
        try:
            async with asyncio.timeout(PATIENCE):
                entries = await self._fetch(provider, dialect)
        except TimeoutError:
            log.info("provider %s gave no models list in time", provider.name)
            entries = known.entries if known is not None else ()
        except UpstreamError as error:
            log.info("provider %s gave no models list: %s", provider.name, error)
            entries = known.entries if known is not None else ()
        self._known[place] = _Known(entries, self._clock() + FRESH)
        return entries

    async def _fetch(self, provider: Provider, dialect: Dialect) -> tuple[ModelEntry, ...]:
        found = dialect.models_request
        serving = provider.vendor.dialects[dialect.name]
        credentials, why_not = self._vault.usable(provider)
        if why_not or not serving.has(found.endpoint):
            return ()
        secret = self._vault.secret(credentials[0]) if credentials else None
        base_url = serving.base(provider.base_url or self._local[provider.vendor.name])
        prepared = provider.vendor.prepare(
            Ask(
                dialect.name, serving, found.endpoint, "GET", found.path, dialect.models_query,
                None, base_url, secret, provider.options,
            )
        )  # fmt: skip
        pairs = headers.for_upstream(
            dialect.models_headers, (*provider.set_headers, *prepared.headers)
        )
        reply = await self._upstream.send(provider, "GET", prepared.url, pairs, None)
        try:
            body, whole = await reply.read_all(MAXIMUM)
        finally:
            reply.close()
        if reply.status != HTTPStatus.OK or not whole:
            return ()
        return tuple(dialect.list_models(body))


def _literal(key: Key, route: Route) -> Iterable[ModelEntry]:
    """Models that the file names without any wildcard."""
    patterns = (*(route.models or ()), *(key.models or ()))
    return [ModelEntry(pattern.text) for pattern in patterns if pattern.literal]


def _through(route: Route, listed: Iterable[ModelEntry]) -> Iterable[ModelEntry]:
    """The provider's own names, where the route does not rename them away."""
    return listed if route.rename is None else ()

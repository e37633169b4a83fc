"""The models lists of providers, fetched at first use and cached.

The lists are for display only: no call is routed or rejected because of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus

from msgspec import Struct

from sidecar.config.credentials import Vault
from sidecar.config.model import Key, Provider, Route
from sidecar.config.patterns import Pattern, matches_any
from sidecar.errors import UpstreamError
from sidecar.http.client import SendState, Upstream
from sidecar.http.headers import encoded, for_upstream, lines_of
from sidecar.plugin_api.dialect import Dialect, ModelEntry
from sidecar.plugin_api.transform import ANY_ENDPOINT
from sidecar.plugin_api.vendor import UpstreamRequest
from sidecar.routing.transform_steps import transform_steps

FRESH_SECONDS = 600.0
"""Seconds for which a list is cached."""
FETCH_TIMEOUT_SECONDS = 2.0
"""Seconds to wait for a list before the cached one, or none, is used."""
PROBE_TIMEOUT_SECONDS = 10.0
"""Seconds to wait when a user tests a provider."""
MAX_LIST_BYTES = 8 << 20

_INSTEAD = "the latest one is used, if any"

log = logging.getLogger("sidecar.routing.model_list")


class _CachedList(Struct, frozen=True):
    entries: tuple[ModelEntry, ...]
    fresh_until: float


class Probe(Struct, frozen=True):
    """The result of a test of a provider.

    Attributes:
        status: The HTTP status; None without a response.
        seconds: The time to the response.
        models: The number of models in its list.
        why_not: The reason that it cannot be used, for people; "" if it can.
    """

    status: int | None
    seconds: float
    models: int
    why_not: str


class ModelList:
    """The models lists of all providers. `clock` returns monotonic seconds."""

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
        self._cached: dict[tuple[str, str], _CachedList] = {}

    async def offered(self, key: Key, dialect: Dialect) -> list[ModelEntry]:
        """Return the models that `key` may use in this dialect, each once, in the order of routes.

        These are the names that its routes spell out and those that its providers list, filtered
        by its patterns.
        """
        routes = [
            (route, target)
            for route in key.routes
            if route.enabled and (target := self._asked_in(key, route, dialect)) is not None
        ]
        lists = await asyncio.gather(*(self._listed(r.provider, target) for r, target in routes))
        found: dict[str, ModelEntry] = {}
        for (route, target), rows in zip(routes, lists, strict=True):
            # A row in another dialect has fields that this one's clients cannot read.
            listed = rows if target is dialect else [ModelEntry(entry.id) for entry in rows]
            for entry in (*_literal_names(key, route), *_askable_names(key, route, listed)):
                if matches_any(key.models, entry.id) and matches_any(route.models, entry.id):
                    earlier = found.get(entry.id)
                    if earlier is None or earlier.raw is None:
                        found[entry.id] = entry
        return list(found.values())

    def _asked_in(self, key: Key, route: Route, dialect: Dialect) -> Dialect | None:
        """Return the dialect in which the route's provider is called for clients of `dialect`."""
        if dialect.name in route.provider.vendor.dialects:
            return dialect
        target = transform_steps(key, route, dialect.name, ANY_ENDPOINT)[1]
        is_served = target.dialect in route.provider.vendor.dialects
        return self._dialects.get(target.dialect) if is_served else None

    def forget(self, _: object = None) -> None:
        """Fetch every list again at its next use: a replaced credential may have other models."""
        self._cached = {
            list_id: _CachedList(cached.entries, 0.0) for list_id, cached in self._cached.items()
        }

    async def _listed(self, provider: Provider, dialect: Dialect) -> tuple[ModelEntry, ...]:
        list_id = (provider.name, dialect.name)
        cached = self._cached.get(list_id)
        if cached is not None and self._clock() < cached.fresh_until:
            return cached.entries
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                entries = await self._fetch(provider, dialect)
        except TimeoutError:
            log.info("provider %s: no models list within %g s; %s", provider.name,
                     FETCH_TIMEOUT_SECONDS, _INSTEAD)  # fmt: skip
            entries = cached.entries if cached is not None else ()
        except UpstreamError as error:
            log.info("provider %s: no models list: %s; %s", provider.name, error, _INSTEAD)
            entries = cached.entries if cached is not None else ()
        self._cached[list_id] = _CachedList(entries, self._clock() + FRESH_SECONDS)
        return entries

    def known(self, provider: Provider) -> list[str]:
        """Return the names in a provider's lists as they were fetched last, without a request."""
        lists = [self._cached.get((provider.name, dialect)) for dialect in provider.vendor.dialects]
        names = (entry.id for cached in lists if cached for entry in cached.entries)
        return list(dict.fromkeys(names))

    async def probe(self, provider: Provider) -> Probe:
        """Test a provider and its credential by a request for its models, which vendors do not
        bill."""
        began = self._clock()
        why_not = self._vault.usable(provider)[1]
        if provider.takes_login:
            why_not = "its calls carry their callers' own logins, and there is no other to test"
        dialect = next(filter(None, (self._listing_dialect(provider, name)
                                     for name in provider.vendor.dialects)), None)  # fmt: skip
        if why_not or dialect is None:
            return Probe(None, 0.0, 0, why_not or "it has no list of models to ask for")
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                status, body = await self._request(provider, dialect)
        except TimeoutError:
            seconds = self._clock() - began
            return Probe(None, seconds, 0, f"no answer within {PROBE_TIMEOUT_SECONDS:.0f} seconds")
        except UpstreamError as error:
            return Probe(None, self._clock() - began, 0, str(error))
        ok = status == HTTPStatus.OK
        count = len(dialect.list_models(body)) if ok else 0
        return Probe(status, self._clock() - began, count, "" if ok else f"it answers {status}")

    async def _fetch(self, provider: Provider, dialect: Dialect) -> tuple[ModelEntry, ...]:
        if self._vault.usable(provider)[1] or self._listing_dialect(provider, dialect.name) is None:
            return ()
        if provider.takes_login:
            return ()
        status, body = await self._request(provider, dialect)
        return tuple(dialect.list_models(body)) if status == HTTPStatus.OK else ()

    def _listing_dialect(self, provider: Provider, name: str) -> Dialect | None:
        """Return the dialect of this name if the provider has a models list in it."""
        dialect, serving = self._dialects.get(name), provider.vendor.dialects.get(name)
        if dialect is None or serving is None or not serving.has(dialect.models_request.endpoint):
            return None
        return dialect

    async def _request(self, provider: Provider, dialect: Dialect) -> tuple[int, bytes]:
        """Return the status and the body of the response; an empty body if it is too large."""
        found = dialect.models_request
        serving = provider.vendor.dialects[dialect.name]
        credentials = self._vault.usable(provider)[0]
        secret = self._vault.secret(credentials[0]) if credentials else None
        base_url = serving.base(provider.base_url or self._local[provider.vendor.name])
        prepared = provider.vendor.prepare(
            UpstreamRequest(
                dialect.name, serving, found.endpoint, "GET", found.path, dialect.models_query,
                None, base_url, secret, provider.options,
            )
        )  # fmt: skip
        own = (*provider.set_headers, *prepared.headers)
        lines = lines_of(for_upstream(encoded(dialect.models_headers), own))
        reply = await self._upstream.send(
            provider, "GET", prepared.url, lines, None, SendState(), at_least_once=True
        )
        try:
            body, complete = await reply.read_all(MAX_LIST_BYTES)
        finally:
            reply.close()
        return reply.status, body if complete else b""


def _literal_names(key: Key, route: Route) -> Iterable[ModelEntry]:
    """Return the models that the file names without a wildcard."""
    patterns = (*(route.models or ()), *(key.models or ()))
    return [ModelEntry(pattern.text) for pattern in patterns if pattern.literal]


def _askable_names(key: Key, route: Route, listed: Sequence[ModelEntry]) -> Iterable[ModelEntry]:
    """Return the names by which clients get a provider's models: its own, unless renamed."""
    rename = route.rename
    if rename is None:
        return listed
    patterns = (*(route.models or ()), *(key.models or ()))
    found: dict[str, None] = {}
    for pattern, served in rename.names:
        names = [entry.id for entry in listed] if "*" in served else [served]
        for name in names:
            for each in (pattern, *patterns):
                asked = askable(each, served, name)
                if asked is not None and rename.served(asked) == name:
                    found[asked] = None
    return map(ModelEntry, found)


def askable(pattern: Pattern, served: str, name: str) -> str | None:
    """Return a name that `pattern` matches and that a rename to `served` turns into `name`.

    The first that matches of: the pattern filled with the part of `name` that the `*` of `served`
    stands for; `name`; the pattern filled with `name`; the pattern without its stars. None if none
    does.
    """
    if pattern.literal:
        return pattern.text
    if "*" in served:
        template = Pattern(served)
        tries = (
            [pattern.text.replace("*", template.fill(name, "*"))] if template.matches(name) else []
        )
    else:
        tries = [name, pattern.text.replace("*", name), pattern.text.replace("*", "")]
        if pattern.text.count("*") > 1:
            del tries[1]
    return next((each for each in tries if each and pattern.matches(each)), None)

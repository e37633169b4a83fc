"""What models there are: a provider's own list, fetched at first use and kept for a while.

Only for showing: no call waits for it or is refused because of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from sidecar.config.credentials import Vault
from sidecar.config.model import Key, Provider, Route
from sidecar.config.patterns import Pattern, matches_any
from sidecar.errors import UpstreamError
from sidecar.http import headers
from sidecar.http.client import SendState, Upstream
from sidecar.http.headers import encoded
from sidecar.plugin_api.dialect import Dialect, ModelEntry
from sidecar.plugin_api.vendor import UpstreamRequest

FRESH_SECONDS = 600.0
"""Seconds a list is kept."""
FETCH_TIMEOUT_SECONDS = 2.0
"""Seconds to wait for a vendor's list before going on without it."""
PROBE_TIMEOUT_SECONDS = 10.0
"""Seconds to wait when a person asked whether a provider answers."""
MAX_LIST_BYTES = 8 << 20

log = logging.getLogger("sidecar.routing.model_list")


@dataclass(frozen=True, slots=True)
class _Known:
    entries: tuple[ModelEntry, ...]
    until: float


@dataclass(frozen=True, slots=True)
class Probe:
    """How a provider answered when it was asked for its models: the status (None: not at all),
    seconds, how many models it has, and why it cannot be used; "" when it can."""

    status: int | None
    seconds: float
    models: int
    why_not: str


class ModelList:
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
            for entry in (*_literal(key, route), *_through(key, route, listed)):
                if matches_any(key.models, entry.id) and matches_any(route.models, entry.id):
                    known = found.get(entry.id)
                    if known is None or known.raw is None:
                        found[entry.id] = entry
        return list(found.values())

    def forget(self, _: object = None) -> None:
        """Fetch every list again at its next use: another credential may see other models."""
        self._known = {place: _Known(known.entries, 0.0) for place, known in self._known.items()}

    async def _listed(self, provider: Provider, dialect: Dialect) -> tuple[ModelEntry, ...]:
        place = (provider.name, dialect.name)
        known = self._known.get(place)
        if known is not None and self._clock() < known.until:
            return known.entries
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                entries = await self._fetch(provider, dialect)
        except TimeoutError:
            log.info("provider %s gave no models list in time", provider.name)
            entries = known.entries if known is not None else ()
        except UpstreamError as error:
            log.info("provider %s gave no models list: %s", provider.name, error)
            entries = known.entries if known is not None else ()
        self._known[place] = _Known(entries, self._clock() + FRESH_SECONDS)
        return entries

    def known(self, provider: Provider) -> list[str]:
        """The names in a provider's lists as they were fetched last; asks nobody."""
        lists = [self._known.get((provider.name, dialect)) for dialect in provider.vendor.dialects]
        names = (entry.id for known in lists if known for entry in known.entries)
        return list(dict.fromkeys(names))

    async def probe(self, provider: Provider) -> Probe:
        """Ask a provider for its models now, which costs nothing: does it answer, and does it take
        the credential? Never raises."""
        began = self._clock()
        why_not = self._vault.usable(provider)[1]
        dialect = next(filter(None, (self._asking(provider, name)
                                     for name in provider.vendor.dialects)), None)  # fmt: skip
        if why_not or dialect is None:
            return Probe(None, 0.0, 0, why_not or "it has no list of models to ask for")
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                status, body = await self._ask(provider, dialect)
        except TimeoutError:
            seconds = self._clock() - began
            return Probe(None, seconds, 0, f"no answer within {PROBE_TIMEOUT_SECONDS:.0f} seconds")
        except UpstreamError as error:
            return Probe(None, self._clock() - began, 0, str(error))
        good = status == HTTPStatus.OK
        count = len(dialect.list_models(body)) if good else 0
        return Probe(status, self._clock() - began, count, "" if good else f"it answers {status}")

    async def _fetch(self, provider: Provider, dialect: Dialect) -> tuple[ModelEntry, ...]:
        if self._vault.usable(provider)[1] or self._asking(provider, dialect.name) is None:
            return ()
        status, body = await self._ask(provider, dialect)
        return tuple(dialect.list_models(body)) if status == HTTPStatus.OK else ()

    def _asking(self, provider: Provider, name: str) -> Dialect | None:
        """The dialect of that name, if the provider has a models list in it."""
        dialect, serving = self._dialects.get(name), provider.vendor.dialects.get(name)
        if dialect is None or serving is None or not serving.has(dialect.models_request.endpoint):
            return None
        return dialect

    async def _ask(self, provider: Provider, dialect: Dialect) -> tuple[int, bytes]:
        """The status and the body of the answer; an empty body when it is too long."""
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
        pairs = headers.for_upstream(
            encoded(dialect.models_headers), (*provider.set_headers, *prepared.headers)
        )
        reply = await self._upstream.send(
            provider, "GET", prepared.url, pairs, None, SendState(), at_least_once=True
        )
        try:
            body, whole = await reply.read_all(MAX_LIST_BYTES)
        finally:
            reply.close()
        return reply.status, body if whole else b""


def _literal(key: Key, route: Route) -> Iterable[ModelEntry]:
    """Models that the file names without any wildcard."""
    patterns = (*(route.models or ()), *(key.models or ()))
    return [ModelEntry(pattern.text) for pattern in patterns if pattern.literal]


def _through(key: Key, route: Route, listed: Sequence[ModelEntry]) -> Iterable[ModelEntry]:
    """The provider's own names; where the route renames, what may be asked for to get them."""
    rename = route.rename
    if rename is None:
        return listed
    narrower = (*(route.models or ()), *(key.models or ()))
    found: dict[str, None] = {}
    for pattern, served in rename.names:
        names = [entry.id for entry in listed] if "*" in served else [served]
        for name in names:
            for each in (pattern, *narrower):
                asked = askable(each, served, name)
                if asked is not None and rename.served(asked) == name:
                    found[asked] = None
    return map(ModelEntry, found)


def askable(pattern: Pattern, served: str, name: str) -> str | None:
    """A name that `pattern` matches and that becomes `name` by `served`, as good a one as can be
    made: what the `*` of `served` stands for, else `name` itself, else `name` in place of the
    pattern's `*`, else the pattern without its stars. None where there is none."""
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

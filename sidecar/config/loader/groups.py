"""Build groups from the `groups` section, and routes from lists of routes.

A route's provider must serve the group's vendor, by itself or through a transform. Whether a key
may use a model is checked for each call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct, structs

from sidecar.config.loader.limits import allowance, limits
from sidecar.config.loader.providers import Defaults, Providers
from sidecar.config.model import (
    Allowance,
    Group,
    NamedTransform,
    Provider,
    Rename,
    Route,
    Urgency,
)
from sidecar.config.patterns import ALL, Pattern
from sidecar.config.schema.routes import RouteEntry
from sidecar.config.schema.types import Named
from sidecar.config.yaml.reader import Reader, Record, suggest
from sidecar.config.yaml.secret_forms import shown
from sidecar.errors import SourceLocation
from sidecar.plugin_api.vendor import Vendor


class Tier(Struct, frozen=True):
    """A group, and the values that its keys inherit."""

    group: Group
    entries: tuple[RouteEntry, ...]
    urgency: Urgency
    models: tuple[Pattern, ...] | None
    models_place: SourceLocation


class Router(Struct, frozen=True):
    """Build the routes of groups and keys."""

    reader: Reader
    providers: Providers

    def group(self, entry: Named, defaults: Defaults) -> Tier | None:
        """Return one group; None, with the problems recorded, when it is invalid."""
        record: Record = entry.value
        if "vendor" not in record.values:
            return None
        vendor = self.providers.vendor(record.get("vendor"), record.at("vendor"))
        if vendor is None:
            return None
        entries: tuple[RouteEntry, ...] = record.get("routes", ())
        routes = self._group_routes(vendor, record, entries)
        group = Group(
            name=entry.name,
            vendor=vendor,
            routes=routes,
            place=entry.place,
            multiplier=record.get("multiplier", Decimal(1)),
            allowance=allowance(record, defaults.headroom),
            ask_usage=record.get("usage", False),
            description=record.get("description", ""),
            transforms=self.transforms(record),
        )
        urgency = record.get("urgency", defaults.urgency)
        return Tier(group, entries, urgency, record.get("models"), record.at("models"))

    def key_routes(self, tier: Tier, entries: Sequence[RouteEntry]) -> tuple[Route, ...]:
        """Return a key's own routes; an entry inherits from the group's for its provider."""
        seen: Counter[str] = Counter()
        merged = []
        for entry in entries:
            same = [each for each in tier.entries if each.provider == entry.provider]
            base = same[min(seen[entry.provider], len(same) - 1)] if same else None
            seen[entry.provider] += 1
            merged.append(entry if base is None else _inherit(entry, base))
        numbered = any("priority" in entry.options.places for entry in entries)
        if not numbered and not all("priority" in each.options.places for each in merged):
            merged = [_in_order(each) for each in merged]
        return self._routes(tier.group.vendor, tier.group.place, merged)

    def transforms(self, record: Record) -> tuple[NamedTransform, ...]:
        """Return the transforms that a route, a key or a group names, in the order in which they
        apply."""
        wanted: list[tuple[str, SourceLocation, dict[str, tuple[str, ...]]]] = []
        if "redact" in record.values:
            wanted.append(("redact", record.at("redact"), {"find": record.get("redact")}))
        for entry in record.get("transforms", ()):
            options = {option.name: option.value for option in entry.value}
            wanted.append((entry.name, entry.place, options))
        if record.get("translate"):
            wanted.append(("translate", record.at("translate"), {}))
        if record.get("count_tokens"):
            wanted.append(("count_tokens", record.at("count_tokens"), {}))
        found = (self._transform(*each) for each in wanted)
        return tuple(each for each in found if each is not None)

    def _transform(
        self, name: str, place: SourceLocation, options: dict[str, tuple[str, ...]]
    ) -> NamedTransform | None:
        transform = self.providers.transforms.get(name)
        if transform is None:
            what = f"no plugin has a transform {shown(name)}"
            self.reader.error(place, what, suggest(name, self.providers.transforms))
            return None
        for option in sorted(options.keys() - transform.options.keys()):
            what = f"{name} has no option {shown(option)}"
            self.reader.error(place, what, suggest(option, transform.options, "remove it"))
            return None
        try:
            return NamedTransform(name, options, transform.configured(options))
        except ValueError as error:
            self.reader.error(place, str(error))
            return None

    def _group_routes(
        self, vendor: Vendor, record: Record, entries: tuple[RouteEntry, ...]
    ) -> tuple[Route, ...]:
        if "routes" in record.places:
            return self._routes(vendor, record.at("vendor"), entries)
        provider = self.providers.find(vendor.name, record.at("vendor"))
        if provider is None:
            return ()
        place = record.at("vendor")
        self._must_serve(vendor, place, Route(provider, place))
        return (Route(provider, place),)

    def _routes(
        self, vendor: Vendor, group_place: SourceLocation, entries: Sequence[RouteEntry]
    ) -> tuple[Route, ...]:
        self._check_priorities(entries)
        found = []
        for order, entry in enumerate(entries):
            provider = self.providers.find(entry.provider, entry.place)
            if provider is None:
                continue
            route = self._route(entry, provider, order)
            self._must_serve(vendor, group_place, route)
            found.append(route)
        return tuple(found)

    def _route(self, entry: RouteEntry, provider: Provider, order: int) -> Route:
        options = entry.options
        rename, models = self._rename(options)
        return Route(
            provider=provider,
            place=entry.place,
            enabled=options.get("enabled", True),
            models=models,
            rename=rename,
            allowance=Allowance(limits(options.get("limits"))),
            max_input=options.get("max_input"),
            priced_as=options.get("priced_as"),
            at_least_once=options.get("retry", False),
            transforms=self.transforms(options),
            priority=options.get("priority", order),
            weight=options.get("weight", 1),
        )

    def _rename(self, options: Record) -> tuple[Rename | None, tuple[Pattern, ...] | None]:
        models: tuple[Pattern, ...] | None = options.get("models")
        rename, is_list = options.get("as", (None, False))
        if not is_list or models is not None:
            return rename, models
        if len(rename.names) == 1 and rename.names[0][0] not in ALL:
            asked = shown(rename.names[0][0].text)
            what = f"this map is the route's list of models as well: it gets calls for {asked} only"
            fix = f'write models: {asked} if that is intended, or models: "*" to pass on all others'
            self.reader.warn(options.at("as"), what, fix)
        return rename, tuple(pattern for pattern, _ in rename.names)

    def _check_priorities(self, entries: Sequence[RouteEntry]) -> None:
        without = [each for each in entries if "priority" not in each.options.places]
        if without and len(without) < len(entries):
            name = shown(without[0].provider)
            what = f"route {name} has no priority, but others of this list have one"
            self.reader.error(without[0].place, what, "give every entry a priority, or none")

    def _must_serve(self, vendor: Vendor, group_place: SourceLocation, route: Route) -> None:
        provider, own = route.provider, route.provider.vendor
        if vendor.name == own.name or vendor.name in own.serves:
            return
        if any(each.transform.connects(vendor, own) for each in route.transforms):
            return
        what = (
            f"provider {shown(provider.name)} (line {provider.place.line}) does not serve the API "
            f"of {vendor.name}, which its group speaks (line {group_place.line})"
        )
        fix = f"it serves: {', '.join(dict.fromkeys((own.name, *own.serves)))}"
        translate = self.providers.transforms.get("translate")
        if translate is not None and translate.connects(vendor, own):
            fix += "; write translate: true at this route to translate its calls"
        self.reader.error(route.place, what, fix)


def _inherit(entry: RouteEntry, base: RouteEntry) -> RouteEntry:
    """Return `entry` with the options of `base` that it does not set.

    A map in its `as` is its list of models, so it then inherits none.
    """
    written = set(entry.options.places)
    if entry.options.get("as", (None, False))[1]:
        written.add("models")
    inherited: dict[str, object] = {
        name: value for name, value in base.options.values.items() if name not in written
    }
    rename, is_list = base.options.get("as", (None, False))
    if is_list and "models" not in written:
        inherited.setdefault("models", tuple(pattern for pattern, _ in rename.names))
    places = {name: base.options.at(name) for name in inherited}
    options = Record(
        entry.options.place,
        {**inherited, **entry.options.values},
        {**places, **entry.options.places},
    )
    return structs.replace(entry, options=options)


def _in_order(entry: RouteEntry) -> RouteEntry:
    """Return `entry` without an inherited priority, which has no meaning in another list."""
    options = entry.options
    values = {name: value for name, value in options.values.items() if name != "priority"}
    places = {name: place for name, place in options.places.items() if name != "priority"}
    return structs.replace(entry, options=Record(options.place, values, places))

"""Dump a snapshot as plain data or YAML, with every default filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from decimal import Decimal

from sidecar.config.model import (
    Allowance,
    CredentialRef,
    Group,
    Key,
    Limit,
    NamedTransform,
    Price,
    Provider,
    Route,
    SecretSource,
    ServerConfig,
    SharedState,
    Snapshot,
    Timeouts,
    Urgency,
)
from sidecar.config.patterns import Pattern
from sidecar.config.schema.addresses import is_clear_public
from sidecar.config.yaml.writer import Value, block
from sidecar.records import utc_text

PlainConfig = dict[str, Value]
_COUNTS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_DURATIONS = ((86400, "d"), (3600, "h"), (60, "m"))


def file(snapshot: Snapshot) -> PlainConfig:
    """Return the whole file."""
    runs = snapshot.runs
    return settings(snapshot) | {
        "defaults": {"headroom": shares(snapshot.allowance), **_waits_of_runs(runs.values())},
        "providers": {name: provider(each) for name, each in snapshot.providers.items()},
        "groups": {
            name: group(each) | (_inherited(runs[name]) if name in runs else {})
            for name, each in snapshot.groups.items()
        },
        "keys": {name: key(each) for name, each in snapshot.keys.items()},
    }


def _inherited(run: Key) -> PlainConfig:
    """Return the fields of a group that its keys inherit, by what its runs have of them."""
    return {"urgency": urgency(run.urgency), **_filled({"models": patterns(run.models)})}


def _waits_of_runs(runs: Iterable[Key]) -> PlainConfig:
    """Return the waits of `defaults`, which are those of every run."""
    for run in runs:
        return {"max_wait": duration(run.max_wait), "sticky_wait": duration(run.sticky_wait)}
    return {}


def settings(snapshot: Snapshot) -> PlainConfig:
    """Return the sections besides providers, groups and keys."""
    found: PlainConfig = {} if snapshot.timezone is None else {"timezone": zone(snapshot.timezone)}
    return found | {
        **bounds(snapshot.allowance, headroom=False),
        "unpriced": "refuse" if snapshot.refuse_unpriced else "allow",
        "prices": {pattern.text: price(each) for pattern, each in snapshot.prices},
        "retention": {"days": f"{snapshot.keep_days}d", "size": size(snapshot.keep_bytes)},
        "defaults": {"headroom": shares(snapshot.allowance)},
        "server": server(snapshot.server),
        **_filled({"state": shared(snapshot.shared)}),
        **_filled({"plugins": snapshot.plugins}),
    }


def provider(one: Provider) -> PlainConfig:
    """Return the fields of a provider, with those of its vendor."""
    found: PlainConfig = {"plugin": one.vendor.name}
    if one.base_url:
        found["base_url"] = one.base_url
        if is_clear_public(one.base_url):
            found["allow_http"] = True
    refs = [credential(ref) for ref in one.credentials] or "none"
    found["credential"] = "caller" if one.takes_login else refs
    found |= bounds(one.allowance)
    if one.free:
        found["price"] = "free"
    found |= _filled({"priced_as": one.priced_as or ""})
    found |= _filled({"proxy": one.proxy or "", "ca_file": one.ca_file or ""})
    if one.set_headers or one.remove_headers:
        found["headers"] = _filled(
            {"set": dict(one.set_headers), "remove": sorted(one.remove_headers)}
        )
    return found | {"timeouts": timeouts(one.timeouts), **one.options}


def group(one: Group) -> PlainConfig:
    """Return the fields of a group."""
    return {
        "vendor": one.vendor.name,
        **_filled({"description": one.description}),
        "multiplier": amount(one.multiplier),
        **bounds(one.allowance),
        "usage": "ask" if one.ask_usage else "as-is",
        "count_tokens": "estimate" if one.transforms else "as-is",
        "routes": [route(each) for each in one.routes],
    }


def key(one: Key) -> PlainConfig:
    """Return the fields of a key; routes only where it has its own."""
    found: PlainConfig = {"group": one.group.name, **_filled({"description": one.description})}
    for each in one.hashes:
        if each.until is None:
            found["hash"] = f"sha256:{each.digest.hex()}"
        else:
            text = f"sha256:{each.digest.hex()}"
            found["previous"] = {"hash": text, "until": timestamp(each.until)}
    found |= _filled({"created": timestamp(one.created), "expires": timestamp(one.expires)})
    found |= {"enabled": one.enabled, "urgency": urgency(one.urgency)}
    found |= _filled({"models": patterns(one.models)}) | bounds(one.allowance)
    found |= _filled({"transforms": transforms(one.transforms)})
    found |= {"share": decimal(one.share)}
    found |= {"max_wait": duration(one.max_wait), "sticky_wait": duration(one.sticky_wait)}
    return found | ({"routes": [route(each) for each in one.routes]} if one.own_routes else {})


def route(one: Route) -> PlainConfig:
    """Return a route, with its position as `priority`."""
    options: PlainConfig = {"enabled": one.enabled, **_filled({"models": patterns(one.models)})}
    if one.rename is not None:
        names = {pattern.text: served for pattern, served in one.rename.names}
        options["as"] = names["*"] if list(names) == ["*"] else names
    options["limits"] = limits(one.allowance.limits)
    if one.max_input is not None:
        options["max_input"] = count(one.max_input)
    options |= _filled({"priced_as": one.priced_as or ""})
    options |= _filled({"transforms": transforms(one.transforms)})
    options["retry"] = "at-least-once" if one.at_least_once else "if-unserved"
    return {one.provider.name: options | {"priority": one.priority, "weight": one.weight}}


def transforms(some: Iterable[NamedTransform]) -> PlainConfig:
    """Return transforms by name, each with its options."""
    return {each.name: {name: list(words) for name, words in each.options.items()} for each in some}


def server(one: ServerConfig) -> PlainConfig:
    """Return the fields of the server section."""
    found: PlainConfig = {
        "listen": [str(address) for address in one.listen],
        "admin": str(one.admin),
        **_filled({"allow_hosts": one.allow_hosts, "allow_origins": one.allow_origins}),
        "allow_remote": one.allow_remote,
        "drain": duration(one.drain),
        "max_body": size(one.max_body),
        "callers": one.callers,
    }
    if one.body_memory is not None:
        found["body_memory"] = size(one.body_memory)
    token = one.metrics_token
    return found if token is None else found | {"metrics_token": credential(token)}


def shared(one: SharedState | None) -> PlainConfig:
    """Return the fields of the state section; none without a server."""
    if one is None:
        return {}
    place = one.server if isinstance(one.server, str) else credential(one.server)
    outage = "refuse" if one.refuses else "local"
    return {"shared": place, "namespace": one.namespace, "on_outage": outage}


def bounds(allowance: Allowance, *, headroom: bool = True) -> PlainConfig:
    """Return limits, budgets and, where the scope has the field, headroom."""
    found: PlainConfig = {"limits": limits(allowance.limits)}
    if allowance.budgets:
        found["budget"] = [f"${amount(b.amount)}/{b.period}" for b in allowance.budgets]
    return found | ({"headroom": shares(allowance)} if headroom else {})


def limits(all_limits: Iterable[Limit]) -> PlainConfig:
    """Return limits by kind, and those of models below `models`."""
    found: PlainConfig = {}
    by_model: dict[str, PlainConfig] = {}
    for limit in all_limits:
        place = found if limit.models is None else by_model.setdefault(limit.models.text, {})
        place[limit.kind.value] = count(limit.amount)
    return found | ({"models": by_model} if by_model else {})


def shares(allowance: Allowance) -> PlainConfig:
    """Return the headroom of each class."""
    parts = allowance.headroom
    return {
        urgency(each): f"{decimal(float(Decimal(str(parts.get(each, 0.0))) * 100))}%"
        for each in (Urgency.BACKGROUND, Urgency.NORMAL)
    }


def credential(ref: CredentialRef) -> Value:
    """Return a reference as the file has it."""
    if ref.source is not SecretSource.COMMAND:
        return ref.name
    found: PlainConfig = {"command": list(ref.argv)}
    return found if ref.refresh is None else found | {"refresh": duration(ref.refresh)}


def price(one: Price) -> PlainConfig:
    """Return a price in US dollars."""
    return {name: f"${amount(each)}" for name, each in {**one.per_million, **one.each}.items()}


def timeouts(one: Timeouts) -> PlainConfig:
    """Return the three timeouts."""
    return {name: duration(getattr(one, name)) for name in ("connect", "first_byte", "idle")}


def patterns(some: tuple[Pattern, ...] | None) -> list[str]:
    """Return the texts of patterns; [] for all models."""
    return [pattern.text for pattern in some or ()]


def urgency(one: Urgency) -> str:
    """Return the name of a class."""
    return one.name.lower()


def count(number: int) -> str:
    """Return a whole number in the largest unit that leaves it whole."""
    return _in_units(number, _COUNTS) if number else "0"


def size(number: int) -> str:
    """Return bytes in the largest unit that leaves them whole."""
    return _in_units(number, _SIZES)


def duration(seconds: float) -> str:
    """Return seconds in the largest unit that leaves them whole."""
    if seconds and seconds == int(seconds):
        text = _in_units(int(seconds), _DURATIONS)
        return text if text[-1].isalpha() else f"{text}s"
    return f"{decimal(seconds)}s"


def amount(number: Decimal) -> str:
    """Return a number in plain digits."""
    return format(number, "f")


def decimal(number: float) -> str:
    """Return a number in plain digits, without zeros at its end."""
    return f"{number:.12f}".rstrip("0").rstrip(".")


def timestamp(when: datetime | None) -> str:
    """Return a time in UTC; "" for None."""
    return "" if when is None else utc_text(when, "auto")


def zone(one: tzinfo) -> str:
    """Return the name of a time zone."""
    return getattr(one, "key", None) or "UTC"


def _in_units(number: int, units: tuple[tuple[int, str], ...]) -> str:
    for unit, name in units:
        if number % unit == 0:
            return f"{number // unit}{name}"
    return str(number)


def _filled(values: Mapping[str, Value]) -> PlainConfig:
    return {name: value for name, value in values.items() if value}


_OPEN_LEVELS = 2


def describe(snapshot: Snapshot) -> str:
    """Return YAML text that loads to a snapshot equal to this one.

    Locations, digest and warnings differ. Has references to credentials and no secret.
    """
    lines = []
    for section, value in file(snapshot).items():
        levels = _OPEN_LEVELS if section in ("providers", "groups", "keys", "prices") else 1
        lines += [*block({section: value}, open_levels=levels), ""]
    return "\n".join(lines)

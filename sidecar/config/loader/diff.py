"""The effective differences between two snapshots, one line each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import groupby
from typing import TypeVar

from sidecar.config import patterns
from sidecar.config.loader import dump
from sidecar.config.model import Group, Key, Route, Snapshot
from sidecar.config.patterns import Pattern
from sidecar.config.yaml.nodes import gc_paused
from sidecar.config.yaml.writer import Value, flow

T = TypeVar("T")
Models = dict[str, tuple[Pattern, ...]]
_RESTART = ("server", "state", "plugins")
_ROUTE_OPTIONS = ("as", "limits", "max_input", "priced_as", "retry", "weight")
_SEPARATE_FIELDS = {"routes", "models", "hash", "previous", "enabled", "description"}
"""Fields with lines of their own, or without an effect."""


@gc_paused()
def difference(old: Snapshot, new: Snapshot) -> list[str]:
    """Return one line for each effective difference; [] when both snapshots are equal."""
    providers = _other(old.providers, new.providers)
    groups, keys = _other(old.groups, new.groups), _other(old.keys, new.keys)
    return [
        *_sections(dump.settings(old), dump.settings(new)),
        *_named("provider", old.providers, new.providers, dump.provider, providers),
        *_named("group", old.groups, new.groups, dump.group, groups),
        *_named("key", old.keys, new.keys, dump.key, keys),
        *(
            line
            for one in groups
            for line in _routes(f"group {one}", old.groups[one], new.groups[one])
        ),
        *(line for one in keys for line in _key(old.keys[one], new.keys[one])),
    ]


def _other(old: Mapping[str, T], new: Mapping[str, T]) -> dict[str, None]:
    """Return the names that both have with different values, in order.

    Comparing two keys compares their groups and providers too, so it is done once.
    """
    return {name: None for name, value in new.items() if name in old and old[name] != value}


def _sections(old: dump.PlainConfig, new: dump.PlainConfig) -> Iterator[str]:
    for name in _RESTART:
        for field in _changed(_flat({name: old.get(name, [])}), _flat({name: new.get(name, [])})):
            yield f"{field} changed: needs a restart"
    yield from _fields("", _rest(old), _rest(new))


def _rest(file: dump.PlainConfig) -> Mapping[str, str]:
    return _flat({name: value for name, value in file.items() if name not in _RESTART})


def _named(
    label: str,
    old: Mapping[str, T],
    new: Mapping[str, T],
    fields: Callable[[T], dump.PlainConfig],
    other: Collection[str],
) -> Iterator[str]:
    yield from (f"{label} {name} removed" for name in old if name not in new)
    for name, value in new.items():
        if name not in old:
            yield f"{label} {name} added"
        elif name in other:
            yield from _fields(
                f"{label} {name}: ",
                _other_fields(fields(old[name])),
                _other_fields(fields(value)),
            )


def _other_fields(entry: dump.PlainConfig) -> Mapping[str, str]:
    return _flat({name: value for name, value in entry.items() if name not in _SEPARATE_FIELDS})


def _key(before: Key, after: Key) -> Iterator[str]:
    label = f"key {after.name}"
    if before.enabled != after.enabled:
        yield f"{label}: {'enabled' if after.enabled else 'disabled'}"
    yield from _secrets(label, before, after)
    follows = not (before.own_routes or after.own_routes)
    if follows and before.models == after.models and before.group.name == after.group.name:
        return  # the lines of its group cover these changes
    yield from _routes(label, before, after)


def _secrets(label: str, old: Key, new: Key) -> Iterator[str]:
    if [h.digest for h in old.hashes[:1]] != [h.digest for h in new.hashes[:1]]:
        yield f"{label}: has a new secret"
    elif old.hashes != new.hashes:
        until = [dump.timestamp(each.until) for each in new.hashes if each.until is not None]
        yield f"{label}: its secret before the rotation ends {until[0] if until else 'now'}"


def _routes(label: str, old: Group | Key, new: Group | Key) -> Iterator[str]:
    before, after = _models(old), _models(new)
    for provider in [name for name in before if name not in after]:
        yield f"{label} loses {provider}"
    for provider in [name for name in after if name not in before]:
        yield f"{label} gains {patterns.listed(after[provider])} (on {provider})"
    both = [name for name in after if name in before]
    for provider in both:
        yield from _patterns(label, provider, before[provider], after[provider])
    if _order(old, both) != _order(new, both):
        yield f"{label} tries {_order(new, list(after))}"
    yield from _fields(f"{label}: ", _options(old, both), _options(new, both))


def _patterns(
    label: str, provider: str, old: tuple[Pattern, ...], new: tuple[Pattern, ...]
) -> Iterator[str]:
    lost, gained = patterns.lost(old, new), patterns.lost(new, old)
    if lost:
        kept = tuple(each for each in new if not patterns.lost((each,), lost))
        but = f" but {patterns.listed(kept)}" if kept else ""
        yield f"{label} loses {patterns.listed(lost)}{but} (on {provider})"
    if gained:
        yield f"{label} gains {patterns.listed(gained)} (on {provider})"


def _models(owner: Group | Key) -> Models:
    """Return the allowed patterns of each provider, in the order of the routes."""
    narrowed = owner.models if isinstance(owner, Key) else None
    found: Models = {}
    for route in _enabled(owner):
        earlier = found.get(route.provider.name, ())
        found[route.provider.name] = earlier + patterns.both(route.models, narrowed)
    return found


def _order(owner: Group | Key, providers: list[str]) -> str:
    """Return `openai, azure or ollama`: the order of providers; "or" joins equal priorities."""
    routes = [route for route in _enabled(owner) if route.provider.name in providers]
    ranks = groupby(routes, key=lambda each: each.priority)
    return ", ".join(" or ".join(r.provider.name for r in equals) for _, equals in ranks)


def _options(owner: Group | Key, providers: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for route in _enabled(owner):
        name = route.provider.name
        if name in providers:
            options = dump.route(route)[name]
            assert isinstance(options, dict)  # noqa: S101 - by its construction
            kept = {n: v for n, v in options.items() if n in _ROUTE_OPTIONS}
            found |= {f"{field} on {name}": value for field, value in _flat(kept).items()}
    return found


def _enabled(owner: Group | Key) -> list[Route]:
    routes = [route for route in owner.routes if route.enabled]
    return sorted(routes, key=lambda each: each.priority)


def _fields(label: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in _changed(old, new):
        yield f"{label}{name} {old.get(name, 'none')} -> {new.get(name, 'none')}"


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def _flat(values: Mapping[str, Value], prefix: str = "") -> dict[str, str]:
    """Return fields and their texts: `budget`, `rpm`, `tpm for gpt-5*`, `server.listen`."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if name == "limits" and isinstance(value, Mapping):
            found |= _limits(value)
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = _one(value)
    return found


def _limits(values: Mapping[str, Value]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            for pattern, inner in value.items():
                assert isinstance(inner, Mapping)  # noqa: S101 - by its construction
                found |= {f"{kind} for {pattern}": str(amount) for kind, amount in inner.items()}
        else:
            found[name] = str(value)
    return found


def _one(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    return flow(value)

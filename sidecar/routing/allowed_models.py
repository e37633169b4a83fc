"""The models that a key may use, and what a client is told of any other."""

from __future__ import annotations

from sidecar.config.model import Key
from sidecar.config.patterns import matches_any
from sidecar.humanize import nearest


def may_use(key: Key, model: str) -> bool:
    """Return whether an enabled route of the key allows the model, available or not."""
    return matches_any(key.models, model) and any(
        route.enabled and matches_any(route.models, model) for route in key.routes
    )


def offered_models(key: Key) -> list[str]:
    """Return the model patterns that the key may use, for people; "*" if a route allows all."""
    if key.models is not None:
        return [pattern.text for pattern in key.models]
    names: dict[str, None] = {}
    for route in key.routes:
        if route.enabled:
            names.update(
                dict.fromkeys(p.text for p in route.models) if route.models else {"*": None}
            )
    return list(names)


def not_offered(key: Key, model: str) -> str:
    """Return the message for a model that the key may not use: the nearest name, the models that it
    may use, and the line of the file."""
    names = offered_models(key)
    near = nearest(model, [name for name in names if "*" not in name])
    hint = f'; did you mean "{near}"?' if near else "."
    may = f"It may use {', '.join(names)}" if names else "It has no enabled route"
    return (
        f'model "{model[:128]}" is not offered to key "{key.name}"{hint} {may} ({key.place.short})'
    )

"""The transforms that apply to an endpoint on a route, in order."""

from __future__ import annotations

from typing import NamedTuple

from sidecar.config.model import Key, Route
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.transform import Transform, TransformTarget


class TransformStep(NamedTuple):
    """A transform that changes a candidate's calls, and how the provider is called after it."""

    transform: Transform
    target: TransformTarget


def transform_steps(
    key: Key, route: Route, dialect: str, endpoint: str
) -> tuple[tuple[TransformStep, ...], TransformTarget]:
    """Return the transforms that apply to an endpoint on a route, in order, and how its provider is
    called after the last of them. One that answers the call itself is the only one."""
    target = TransformTarget(dialect, endpoint)
    if not key.transforms and not route.transforms and not key.group.transforms:
        return (), target
    steps: list[TransformStep] = []
    for named in (*key.transforms, *route.transforms, *key.group.transforms):
        found: TransformTarget | None = target
        with plugin_guard(f"transform {named.name}", "target", "it gets the call as it is"):
            found = named.transform.target(*target[:2], route.provider.vendor)
        if found is not None and found.local:
            return (TransformStep(named.transform, found),), found
        if found is not None:
            steps.append(TransformStep(named.transform, found))
            target = found
    return tuple(steps), target

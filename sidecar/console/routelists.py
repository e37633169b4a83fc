"""Lists of routes between the console's editor and the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.errors import EditRefused
from sidecar.writing import Value


class RouteEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the editor. `beside` puts it into the same place as the row above: both are then
    tried in turn, by their weights."""

    provider: str
    enabled: bool = True
    models: list[str] = []
    rename: str | dict[str, str] | None = msgspec.field(default=None, name="as")
    limits: dict[str, Any] = {}
    max_input: str | None = None
    priced_as: str | None = None
    retry: str | None = None
    weight: str | None = None
    beside: bool = False


def as_written(entries: Sequence[RouteEntry], of_group: Value | None = None) -> list[Value]:
    """The list as the file has it: names alone where an entry says no more.

    The order is the rows'. It is written as numbers where rows stand beside each other, and where
    the group's list (`of_group`) has numbers, which would count instead of the order.
    """
    if not entries:
        raise EditRefused("a list of routes needs a provider; to take all away, disable the key")
    numbered = any(entry.beside for entry in entries[1:]) or _has_numbers(of_group)
    found: list[Value] = []
    place = 0
    for index, entry in enumerate(entries):
        place += 0 if index and entry.beside else 1
        options = _options(entry) | ({"priority": place} if numbered else {})
        if numbered and entry.weight:
            options["weight"] = entry.weight
        found.append({entry.provider: options} if options else entry.provider)
    return found


def _options(entry: RouteEntry) -> dict[str, Value]:
    options: dict[str, Value] = {} if entry.enabled else {"enabled": False}
    if entry.models:
        options["models"] = entry.models[0] if len(entry.models) == 1 else list(entry.models)
    if entry.rename:
        options["as"] = entry.rename
    if entry.limits:
        options["limits"] = entry.limits
    if entry.max_input:
        options["max_input"] = entry.max_input
    if entry.priced_as:
        options["priced_as"] = entry.priced_as
    if entry.retry:
        options["retry"] = entry.retry
    return options


def _has_numbers(routes: Value | None) -> bool:
    for each in routes if isinstance(routes, list) else ():
        options = next(iter(each.values()), None) if isinstance(each, Mapping) else None
        if isinstance(options, Mapping) and "priority" in options:
            return True
    return False

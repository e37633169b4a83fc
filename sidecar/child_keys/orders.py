"""The order of a run for its child key: its fields, its parent, and what the child has of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from msgspec import Struct, structs

from sidecar.config.model import Allowance, Budget, Group, Key, KeyHash, Snapshot, Urgency
from sidecar.config.patterns import Pattern, covers
from sidecar.config.schema.parsers import InvalidValue, budget, pattern
from sidecar.errors import ErrorKind, ProxyError, SourceLocation

MAX_NAME_CHARS = 80
_PLACE = SourceLocation("sidecar run", 1)


class ChildOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order of a run for its key, repeated with each heartbeat.

    `digest` is the SHA-256 of the secret in hex. Without `key` and `group` the parent is the
    only group of `vendor`, else the only one that speaks `dialect`.
    """

    name: str
    digest: str
    agent: str = ""
    key: str | None = None
    group: str | None = None
    vendor: str | None = None
    dialect: str | None = None
    models: list[str] = []
    budgets: list[str] = []
    urgency: str | None = None


def settled(order: ChildOrder, snapshot: Snapshot) -> ChildOrder:
    """Return the order with its parent named. Raises `ProxyError` (400, 404)."""
    if order.key is not None:
        if order.key not in snapshot.keys:
            raise _no_parent(f'there is no key "{order.key[:80]}"; ', "--key", snapshot.keys)
        _check_api(order, snapshot.keys[order.key].group)
        return order
    if order.group is not None:
        if order.group not in snapshot.groups:
            why = f'there is no group "{order.group[:80]}"; '
            raise _no_parent(why, "--group", snapshot.groups)
        _check_api(order, snapshot.groups[order.group])
        return order
    groups = list(snapshot.groups.values())
    own = [each for each in groups if each.vendor.name == order.vendor]
    fitting = own or [each for each in groups if order.dialect in (None, *each.vendor.dialects)]
    if not fitting and order.vendor:
        raise ProxyError(
            ErrorKind.NOT_FOUND,
            f"no group has {order.agent}'s API ({order.dialect}); {_add_group(order)}",
        )
    if len(fitting) != 1:
        why = f"{len(fitting)} groups fit {order.agent or 'this command'}: "
        raise _no_parent(why, "--group", [each.name for each in fitting])
    return structs.replace(order, group=fitting[0].name)


def _check_api(order: ChildOrder, group: Group) -> None:
    """Raise `ProxyError` (400) for a parent of another API: each call would get 404."""
    if order.dialect not in (None, *group.vendor.dialects):
        raise ProxyError(
            ErrorKind.BAD_REQUEST,
            f"{order.agent or 'this agent'} speaks the {order.dialect} API, and group "
            f'"{group.name}" is of vendor {group.vendor.name}; {_add_group(order)}',
        )


def _add_group(order: ChildOrder) -> str:
    return (
        "add one, with your provider: "
        f"sidecar groups add NAME --vendor {order.vendor} --route PROVIDER:translate"
    )


def _no_parent(why: str, option: str, names: Iterable[str]) -> ProxyError:
    listed = ", ".join(f'"{name}"' for name in islice(names, 20))
    return ProxyError(ErrorKind.NOT_FOUND, f"{why}choose one with {option}: {listed or 'none'}")


def parent_of(order: ChildOrder, snapshot: Snapshot) -> Key | None:
    """Return the key that a child is derived from: its parent, or that of its parent group's
    runs."""
    if order.key is not None:
        return snapshot.keys.get(order.key)
    return snapshot.runs.get(order.group or "")


def derived(order: ChildOrder, parent: Key) -> Key:
    """Return the key that calls of a child are served with."""
    return structs.replace(
        parent,
        child=order.name,
        child_allowance=Allowance(
            budgets=tuple(Budget(*budget(each), _PLACE) for each in order.budgets)
        ),
        hashes=(KeyHash(bytes.fromhex(order.digest)),),
        models=_narrowed(tuple(map(Pattern, order.models)), parent.models),
        urgency=Urgency[order.urgency.upper()] if order.urgency else parent.urgency,
    )


def checked(order: ChildOrder) -> ChildOrder:
    """Return the order. Raises `ProxyError` (400) when a field of it is wrong."""
    if not 0 < len(order.name) <= MAX_NAME_CHARS or not (order.name + order.agent).isprintable():
        raise ProxyError(
            ErrorKind.BAD_REQUEST,
            f"the name of a run has 1 to {MAX_NAME_CHARS} printable characters",
        )
    try:
        for each in order.models:
            pattern(each)
        for each in order.budgets:
            budget(each)
    except InvalidValue as error:
        raise ProxyError(ErrorKind.BAD_REQUEST, f"{error.what}; {error.next}") from None
    if order.urgency is not None and order.urgency.upper() not in Urgency.__members__:
        known = ", ".join(each.name.lower() for each in Urgency)
        raise ProxyError(ErrorKind.BAD_REQUEST, f"an urgency is one of {known}")
    if re.fullmatch("[0-9a-f]{64}", order.digest) is None:
        raise ProxyError(ErrorKind.BAD_REQUEST, "a digest is the SHA-256 of a secret in hex")
    return order


def _narrowed(
    own: tuple[Pattern, ...], parent: tuple[Pattern, ...] | None
) -> tuple[Pattern, ...] | None:
    """Return patterns that lie within both lists; an overlap in part is left out."""
    if not own or parent is None:
        return own or parent
    within = [each for each in own if any(covers(wide, each) for wide in parent)]
    wider = [each for each in parent if any(covers(wide, each) for wide in own)]
    return tuple(dict.fromkeys((*within, *wider)))

"""Finds a key, a group or a provider of a configuration by its name."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.config.model import Group, Key, Provider, Snapshot
from sidecar.errors import ErrorKind, ProxyError
from sidecar.humanize import suggestion


def find_key(snapshot: Snapshot, name: str) -> Key:
    """Return the key of that name. Raises `ProxyError` (404)."""
    key = snapshot.keys.get(name)
    if key is None:
        raise _not_found("key", name, snapshot.keys)
    return key


def find_group(snapshot: Snapshot, name: str) -> Group:
    """Return the group of that name. Raises `ProxyError` (404)."""
    group = snapshot.groups.get(name)
    if group is None:
        raise _not_found("group", name, snapshot.groups)
    return group


def find_provider(snapshot: Snapshot, name: str) -> Provider:
    """Return the provider of that name. Raises `ProxyError` (404)."""
    provider = snapshot.providers.get(name)
    if provider is None:
        raise _not_found("provider", name, snapshot.providers)
    return provider


def _not_found(kind: str, name: str, known: Iterable[str]) -> ProxyError:
    hint = suggestion(name[:80], known, otherwise="there is none yet")
    return ProxyError(ErrorKind.NOT_FOUND, f'there is no {kind} "{name[:80]}"; {hint}')

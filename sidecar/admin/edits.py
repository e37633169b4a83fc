"""The edits that the API accepts, each applied to the text of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from sidecar.admin.context import find_group, find_key
from sidecar.admin.edit_fields import GROUP, KEY, Base, Fields, Made, after, edited, whole
from sidecar.api_keys import mint
from sidecar.config.editor import operations, written
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused


class Edit(msgspec.Struct, tag_field="do", tag=True, forbid_unknown_fields=True):
    """One edit. `name` is of the key, group or provider that it changes."""

    name: str

    def made(self, base: Base) -> Made:
        """The new text. Raises `EditRefused`, or `ProxyError` when there is nothing of that
        name."""
        raise NotImplementedError


class CreateKey(Edit, tag="create_key"):
    """A new key."""

    fields: Fields

    def made(self, base: Base) -> Made:
        """With a text of its own."""
        if self.name in base.snapshot.keys:
            raise EditRefused(f'there is a key "{self.name}" already')
        secret = mint()
        fields = whole(base, self.fields, KEY)
        return Made(operations.create_key(base.text, self.name, secret, base.now, fields), secret)


class EditKey(Edit, tag="edit_key"):
    """Other fields for a key; null takes one away."""

    fields: Fields

    def made(self, base: Base) -> Made:
        """With only these fields touched."""
        find_key(base.snapshot, self.name)
        return Made(edited(base, ("keys", self.name), self.fields, KEY))


class RenameKey(Edit, tag="rename_key"):
    """Another name for a key."""

    new_name: str

    def made(self, base: Base) -> Made:
        """Its counts and times follow."""
        find_key(base.snapshot, self.name)
        return Made(operations.rename_key(base.text, self.name, self.new_name))


class SwitchKey(Edit, tag="switch_key"):
    """Enable or disable a key."""

    enabled: bool

    def made(self, base: Base) -> Made:
        """Nothing changes when it is so already."""
        find_key(base.snapshot, self.name)
        return Made(
            operations.switch_key(base.text, base.snapshot, self.name, enabled=self.enabled)
        )


class RotateKey(Edit, tag="rotate_key"):
    """Another text for a key; the one before is accepted for `overlap`, or no longer."""

    overlap: str = ""

    def made(self, base: Base) -> Made:
        """With a new text."""
        find_key(base.snapshot, self.name)
        until = after(self.overlap, base.now) if self.overlap else None
        secret = mint()
        text = operations.rotate_key(base.text, base.snapshot, self.name, secret, until)
        return Made(text, secret)


class DeleteKey(Edit, tag="delete_key"):
    """A key goes."""

    def made(self, base: Base) -> Made:
        """With its hash; nothing but an older version of the file brings it back."""
        find_key(base.snapshot, self.name)
        return Made(operations.delete_key(base.text, self.name))


class SetRoutes(Edit, tag="set_routes"):
    """The list of routes of a key or, with `of: group`, of a group. Null: a key follows its group
    again."""

    routes: list[RouteEdit] | None
    of: str = "key"

    def made(self, base: Base) -> Made:
        """The list as the file writes it."""
        if self.of == "group":
            find_group(base.snapshot, self.name)
            group, path = self.name, ("groups", self.name)
        else:
            group = find_key(base.snapshot, self.name).group.name
            path = ("keys", self.name)
        if self.routes is None:
            return Made(operations.set_routes(base.text, path, None))
        before = () if self.of == "group" else (written(base.text, ("groups", group, "routes")),)
        return Made(operations.set_routes(base.text, path, as_written(self.routes, *before)))


class CreateGroup(Edit, tag="create_group"):
    """A new group."""

    fields: Fields

    def made(self, base: Base) -> Made:
        """At the end of the groups."""
        fields = whole(base, self.fields, GROUP)
        return Made(operations.add(base.text, ("groups", self.name), fields))


class EditGroup(Edit, tag="edit_group"):
    """Other fields for a group; null takes one away."""

    fields: Fields

    def made(self, base: Base) -> Made:
        """With only these fields touched."""
        find_group(base.snapshot, self.name)
        return Made(edited(base, ("groups", self.name), self.fields, GROUP))


class DeleteGroup(Edit, tag="delete_group"):
    """A group that no key uses goes."""

    def made(self, base: Base) -> Made:
        """Refused while it has keys."""
        find_group(base.snapshot, self.name)
        keys = [key.name for key in base.snapshot.keys.values() if key.group.name == self.name]
        if keys:
            raise EditRefused(
                f"keys belong to it: {', '.join(keys[:5])}; move or delete them first"
            )
        return Made(operations.delete(base.text, ("groups", self.name)))


class EditProvider(Edit, tag="edit_provider"):
    """Other fields for a provider, which may have had no entry in the file; null takes one away."""

    fields: Fields

    def made(self, base: Base) -> Made:
        """With only these fields touched."""
        return Made(edited(base, ("providers", self.name), self.fields, None))


class CreateProvider(Edit, tag="create_provider"):
    """A new provider."""

    fields: Fields

    def made(self, base: Base) -> Made:
        """At the end of the providers."""
        fields = whole(base, self.fields, None)
        return Made(operations.add(base.text, ("providers", self.name), fields))


class Restore(Edit, tag="restore"):
    """The whole file as it was in an older version; `name` is its number."""

    def made(self, base: Base) -> Made:
        """Byte for byte."""
        text = base.versions.text(int(self.name)) if self.name.isdecimal() else None
        if text is None:
            raise EditRefused("that version is not kept any more")
        return Made(text)


AnyEdit: TypeAlias = (
    CreateKey | EditKey | RenameKey | SwitchKey | RotateKey | DeleteKey | SetRoutes
    | CreateGroup | EditGroup | DeleteGroup | CreateProvider | EditProvider | Restore
)  # fmt: skip


class RouteEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


def as_written(entries: Sequence[RouteEdit], of_group: Value | None = None) -> list[Value]:
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


def _options(entry: RouteEdit) -> dict[str, Value]:
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

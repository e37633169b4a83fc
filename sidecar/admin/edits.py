"""The edits that the API accepts, each applied to the text of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from sidecar.admin.edit_fields import (
    GROUP,
    KEY,
    EditBase,
    EditedFields,
    EditedText,
    after,
    edited,
    whole,
)
from sidecar.api_keys import mint
from sidecar.config.editor import operations, written
from sidecar.config.lookup import find_group, find_key
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused

WrittenTransforms: TypeAlias = dict[str, dict[str, str | list[str]]]
WrittenLimits: TypeAlias = dict[str, str | int | dict[str, str | int]]


class Edit(msgspec.Struct, tag_field="do", tag=True, forbid_unknown_fields=True):
    """One edit. `name` is of the key, group or provider that it changes."""

    name: str

    def apply(self, base: EditBase) -> EditedText:
        """Return the new text. Raises `EditRefused`, or `ProxyError` when nothing has that name."""
        raise NotImplementedError


class CreateKey(Edit, tag="create_key"):
    """Create a key with a new secret."""

    fields: EditedFields

    def apply(self, base: EditBase) -> EditedText:
        if self.name in base.snapshot.keys:
            raise EditRefused(f'there is a key "{self.name}" already')
        secret = mint()
        fields = whole(base, self.fields, KEY)
        return EditedText(
            operations.create_key(base.text, self.name, secret, base.now, fields), secret
        )


class EditKey(Edit, tag="edit_key"):
    """Set fields of a key; null removes one."""

    fields: EditedFields

    def apply(self, base: EditBase) -> EditedText:
        find_key(base.snapshot, self.name)
        return EditedText(edited(base, ("keys", self.name), self.fields, KEY))


class RenameKey(Edit, tag="rename_key"):
    """Rename a key; its counts and times follow."""

    new_name: str

    def apply(self, base: EditBase) -> EditedText:
        find_key(base.snapshot, self.name)
        return EditedText(operations.rename_key(base.text, self.name, self.new_name))


class SwitchKey(Edit, tag="switch_key"):
    """Enable or disable a key."""

    enabled: bool

    def apply(self, base: EditBase) -> EditedText:
        find_key(base.snapshot, self.name)
        return EditedText(
            operations.switch_key(base.text, base.snapshot, self.name, enabled=self.enabled)
        )


class RotateKey(Edit, tag="rotate_key"):
    """Give a key a new secret; the former one is accepted for `overlap`, if given."""

    overlap: str = ""

    def apply(self, base: EditBase) -> EditedText:
        find_key(base.snapshot, self.name)
        until = after(self.overlap, base.now) if self.overlap else None
        secret = mint()
        text = operations.rotate_key(base.text, base.snapshot, self.name, secret, until)
        return EditedText(text, secret)


class DeleteKey(Edit, tag="delete_key"):
    """Delete a key with its hash; only an older version of the file brings it back."""

    def apply(self, base: EditBase) -> EditedText:
        find_key(base.snapshot, self.name)
        return EditedText(operations.delete_key(base.text, self.name))


class SetRoutes(Edit, tag="set_routes"):
    """Set the routes of a key or, with `of: group`, of a group. With null a key follows its group
    again."""

    routes: list[RouteEdit] | None
    of: str = "key"

    def apply(self, base: EditBase) -> EditedText:
        if self.of == "group":
            find_group(base.snapshot, self.name)
            group, path = self.name, ("groups", self.name)
        else:
            group = find_key(base.snapshot, self.name).group.name
            path = ("keys", self.name)
        if self.routes is None:
            return EditedText(operations.set_routes(base.text, path, None))
        before = () if self.of == "group" else (written(base.text, ("groups", group, "routes")),)
        return EditedText(operations.set_routes(base.text, path, as_written(self.routes, *before)))


class CreateGroup(Edit, tag="create_group"):
    """Create a group, at the end of the groups."""

    fields: EditedFields

    def apply(self, base: EditBase) -> EditedText:
        fields = whole(base, self.fields, GROUP)
        return EditedText(operations.add(base.text, ("groups", self.name), fields))


class EditGroup(Edit, tag="edit_group"):
    """Set fields of a group; null removes one."""

    fields: EditedFields

    def apply(self, base: EditBase) -> EditedText:
        find_group(base.snapshot, self.name)
        return EditedText(edited(base, ("groups", self.name), self.fields, GROUP))


class DeleteGroup(Edit, tag="delete_group"):
    """Delete a group; refused while it has keys."""

    def apply(self, base: EditBase) -> EditedText:
        find_group(base.snapshot, self.name)
        keys = [key.name for key in base.snapshot.keys.values() if key.group.name == self.name]
        if keys:
            raise EditRefused(
                f"keys belong to it: {', '.join(keys[:5])}; move or delete them first"
            )
        return EditedText(operations.delete(base.text, ("groups", self.name)))


class EditProvider(Edit, tag="edit_provider"):
    """Set fields of a provider, which may have no entry in the file yet; null removes one."""

    fields: EditedFields

    def apply(self, base: EditBase) -> EditedText:
        return EditedText(edited(base, ("providers", self.name), self.fields, None))


class CreateProvider(Edit, tag="create_provider"):
    """Create a provider, at the end of the providers."""

    fields: EditedFields

    def apply(self, base: EditBase) -> EditedText:
        fields = whole(base, self.fields, None)
        return EditedText(operations.add(base.text, ("providers", self.name), fields))


class Restore(Edit, tag="restore"):
    """Restore the file as it was in an older version; `name` is its number."""

    def apply(self, base: EditBase) -> EditedText:
        text = base.versions.text(int(self.name)) if self.name.isdecimal() else None
        if text is None:
            raise EditRefused("that version is not kept any more")
        return EditedText(text)


AnyEdit: TypeAlias = (
    CreateKey | EditKey | RenameKey | SwitchKey | RotateKey | DeleteKey | SetRoutes
    | CreateGroup | EditGroup | DeleteGroup | CreateProvider | EditProvider | Restore
)  # fmt: skip


class RouteEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the editor. `beside` gives it the priority of the row above: calls are then shared
    by weight."""

    provider: str
    enabled: bool = True
    models: list[str] = []
    rename: str | dict[str, str] | None = msgspec.field(default=None, name="as")
    limits: WrittenLimits = {}
    max_input: str | None = None
    priced_as: str | None = None
    retry: str | None = None
    translate: bool = False
    redact: list[str] = []
    transforms: WrittenTransforms = {}
    weight: str | None = None
    beside: bool = False


def as_written(entries: Sequence[RouteEdit], of_group: Value | None = None) -> list[Value]:
    """Return the list as the file has it; an entry without options is a name alone.

    Priorities are written where rows share one, and where the group's list (`of_group`) has them,
    because inherited priorities would override the order.
    """
    if not entries:
        raise EditRefused("a list of routes needs a provider; to remove all, disable the key")
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
    if entry.translate:
        options["translate"] = True
    if entry.redact:
        options["redact"] = entry.redact[0] if len(entry.redact) == 1 else list(entry.redact)
    if entry.transforms:
        options["transforms"] = entry.transforms
    return options


def _has_numbers(routes: Value | None) -> bool:
    for each in routes if isinstance(routes, list) else ():
        options = next(iter(each.values()), None) if isinstance(each, Mapping) else None
        if isinstance(options, Mapping) and "priority" in options:
            return True
    return False

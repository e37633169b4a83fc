"""Read an export of the channels of one-api or new-api: the rows of their admin API, as JSON.

Source: model/channel.go and the channel types of songquanpeng/one-api and QuantumNous/new-api.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.yaml.secret_forms import shown
from sidecar.errors import ConfigError
from sidecar.importing.draft import Deployment, ImportDraft, UpstreamDraft
from sidecar.importing.items import ForeignValue, decimal, read_items, whole_number
from sidecar.importing.vendors import VendorFinder, base_url_for
from sidecar.plugin_api.vendor import Vendor

_BOOKKEEPING = (
    "id", "created_time", "test_time", "response_time", "balance", "balance_updated_time",
    "used_quota", "test_model", "other_info",
)  # fmt: skip
"""What a channel has counted or noted: no configuration."""
_ENABLED = "1"
_NEWER = frozenset({"auto_ban", "channel_info", "setting", "settings", "tag", "param_override"})
"""Fields that only new-api has."""
_EMPTY = frozenset({"", "[]", "{}", "0"})


@dataclass(slots=True)
class ChannelReader:
    """Read one export into a draft."""

    root: ForeignValue
    draft: ImportDraft
    finder: VendorFinder

    def read(self) -> None:
        """Fill the draft."""
        for channel in channels_of(self.root):
            self._channel(channel)

    def _channel(self, channel: ForeignValue) -> None:
        channel.used.update(_BOOKKEEPING)
        channel.used.update(n for n, each in channel.fields.items() if each.text.strip() in _EMPTY)
        name, url = channel.word("name"), channel.word("base_url")
        vendor = (self.finder.by_address(url) if url else None) or self.finder.by_name(
            channel.word("type")
        )
        try:
            if vendor is None:
                raise InvalidValue("no vendor of Sidecar has its type", "see: sidecar plugins")
            upstream = self._upstream(channel, vendor, name, url)
        except InvalidValue as error:
            what = f"channel {shown(name)} is left out: {error.what}"
            self.draft.note(channel.line, what, error.next)
            channel.used.update(channel.fields)
            return
        renames = self._renames(channel)
        rank = -int(decimal(channel, "priority") or 0)
        weight = whole_number(channel, "weight") or 1
        enabled = channel.word("status") in {"", _ENABLED}
        groups = channel.word("group") or "default"
        for group in filter(None, map(str.strip, groups.split(","))):
            for asked in filter(None, map(str.strip, channel.word("models").split(","))):
                self.draft.add(
                    Deployment(
                        upstream, asked, renames.get(asked, asked), channel.line, group,
                        rank=(rank,), weight=weight, enabled=enabled,
                    )
                )  # fmt: skip

    def _upstream(
        self, channel: ForeignValue, vendor: Vendor, name: str, url: str
    ) -> UpstreamDraft:
        if not url and vendor.base_url is None:
            raise InvalidValue(f"{vendor.title} has no usual address", "give it a base_url")
        base_url = base_url_for(vendor, url, add_version=True) if url else None
        has_version = any(each.name == "api_version" for each in vendor.fields)
        version = channel.word("other") if has_version else ""
        fields = (("api_version", version),) if version else ()
        return UpstreamDraft(vendor, name, base_url, self._credentials(channel), fields)

    def _credentials(self, channel: ForeignValue) -> tuple[str, ...]:
        found = channel.take("key")
        lines = [] if found is None else found.text.split("\n")
        keys = dict.fromkeys(filter(None, map(str.strip, lines)))
        return tuple(self.draft.credential(key, channel.fields["key"].line) for key in keys)

    def _renames(self, channel: ForeignValue) -> dict[str, str]:
        """Return the served name of each asked one: JSON in a text, or a mapping."""
        found = channel.take("model_mapping")
        if found is not None and found.text.strip():
            try:
                inner = read_items(found.text.encode(), self.draft.file)
            except ConfigError:
                self.draft.note(found.line, "model_mapping cannot be read as JSON")
                return {}
            return {asked: served.text for asked, served in inner.every()}
        return {asked: served.text for asked, served in found.every()} if found else {}


def channels_of(root: ForeignValue) -> list[ForeignValue]:
    """Return the channels of an export: a list, also below `data`, `items` or `channels`."""
    below = [root.take(name) for name in ("data", "items", "channels") if name in root.fields]
    for found in filter(None, below):
        root.used.update({"success", "message", "total", "page", "page_size", "type_counts"})
        return channels_of(found)
    rows = root.items or ([root] if "type" in root.fields else [])
    return [each for each in rows if {"type", "models"} <= each.fields.keys()]


def is_newer(channels: list[ForeignValue]) -> bool:
    """Return whether the channels are those of new-api, whose types have other numbers."""
    return any(_NEWER & each.fields.keys() for each in channels)

"""Keys, groups, providers and models in the admin API."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import UNSET, Struct, UnsetType, field

from sidecar.admin.api_types.limits import (
    LimitState,
    PauseMark,
    ProviderLimitState,
    UpstreamCooldown,
    UpstreamQuota,
)
from sidecar.child_keys import ChildTotals
from sidecar.config.model import KeyStatus
from sidecar.records import KeyTimes

Fields: TypeAlias = dict[str, object]
"""Fields as the file has them."""
Scalar: TypeAlias = str | int | float | bool | None
"""A scalar as the file has it."""


class KeyInfo(Struct, frozen=True, kw_only=True):
    """A key. `previous_until` is when its former secret ends; `models` are patterns."""

    name: str
    group: str
    vendor: str
    vendor_title: str
    description: str
    status: KeyStatus
    urgency: str
    created: float | None
    expires: float | None
    previous_until: float | None
    models: list[str]
    own_routes: bool
    line: int
    times: KeyTimes
    limits: Fields
    budget: list[str] | UnsetType = UNSET
    paused: list[PauseMark]


class KeyList(Struct, frozen=True, kw_only=True):
    """Every key, in the order of the file."""

    digest: str
    keys: list[KeyInfo]


class ChildKeyInfo(Struct, frozen=True, kw_only=True):
    """A child key of a run. `parent` is the name that its calls are counted under. `urgency` is
    null where it is the parent's. `takes_login` is true if one of its providers has
    `credential: caller`. `at` is the machine of another process that made it, else empty."""

    name: str
    parent: str
    group: str
    agent: str
    begun: float
    expires: float
    models: list[str]
    budget: list[str]
    urgency: str | None
    takes_login: bool
    totals: ChildTotals
    at: str


class ChildKeyList(Struct, frozen=True, kw_only=True):
    """Every child key, the oldest first."""

    children: list[ChildKeyInfo]


class KeyTimesList(Struct, frozen=True, kw_only=True):
    """The times of every key."""

    keys: dict[str, KeyTimes]


class RouteState(Struct, frozen=True, kw_only=True):
    """A route as a list of groups shows it; no `models` means all."""

    provider: str
    enabled: bool
    models: list[str]


class RouteFields(Struct, frozen=True, kw_only=True):
    """A route as the editor of routes needs it. `beside`: it has the priority of the one above."""

    provider: str
    enabled: bool
    models: list[Scalar]
    rename: Scalar | dict[str, Scalar] = field(name="as")
    limits: Fields
    max_input: Scalar
    priced_as: Scalar
    retry: Scalar
    translate: bool
    redact: list[Scalar]
    transforms: Fields
    weight: Scalar
    beside: bool


class NamedTitle(Struct, frozen=True, kw_only=True):
    """A vendor, or a provider with its vendor's title. `translate`: its routes need this switch."""

    name: str
    title: str
    translate: bool = False


class InheritedFields(Struct, frozen=True, kw_only=True):
    """Fields that a key takes from its group unless it has its own, as the file writes them."""

    urgency: object
    models: object


class KeyPage(Struct, frozen=True, kw_only=True):
    """A key with what the file says of it (`written`) and its routes ready for editing."""

    digest: str
    key: KeyInfo
    written: Fields
    inherited: InheritedFields
    routes: list[RouteFields]
    group_routes: list[RouteFields]
    providers: list[NamedTitle]
    uses: list[LimitState]
    in_flight: int


class GroupInfo(Struct, frozen=True, kw_only=True):
    """A group with the keys that share it."""

    name: str
    vendor: str
    vendor_title: str
    description: str
    multiplier: str
    providers: list[RouteState]
    keys: list[str]
    line: int
    limits: Fields
    budget: list[str] | UnsetType = UNSET
    in_flight: int
    uses: list[LimitState]
    paused: list[PauseMark]


class GroupPage(Struct, frozen=True, kw_only=True):
    """A group with what the file says of it and its routes ready for editing."""

    digest: str
    group: GroupInfo
    written: Fields
    routes: list[RouteFields]
    providers: list[NamedTitle]


class CredentialState(Struct, frozen=True, kw_only=True):
    """Where a credential comes from; `why_not` is empty when it can be used."""

    reference: str
    why_not: str


class ProviderInfo(Struct, frozen=True, kw_only=True):
    """A provider: its address, its credentials, and how healthy it is. `why_not` is empty when it
    is available."""

    name: str
    vendor: str
    vendor_title: str
    serves: list[str]
    base_url: str
    credentials: list[CredentialState]
    available: bool
    why_not: str
    free: bool
    groups: list[str]
    line: int
    limits: Fields
    budget: list[str] | UnsetType = UNSET
    resting: list[UpstreamCooldown]
    quotas: list[UpstreamQuota]
    uses: list[ProviderLimitState]
    paused: list[PauseMark]


class ProviderPage(Struct, frozen=True, kw_only=True):
    """A provider with what the file says of it."""

    digest: str
    provider: ProviderInfo
    written: Fields


class GroupList(Struct, frozen=True, kw_only=True):
    """Every group and provider, and the vendors that a new one may have."""

    digest: str
    groups: list[GroupInfo]
    providers: list[ProviderInfo]
    vendors: list[NamedTitle]


class ProbeResult(Struct, frozen=True, kw_only=True):
    """A provider's answer to a request for its models: HTTP status, milliseconds, how many."""

    status: int | None
    ms: int
    models: int
    why_not: str


class ModelUse(Struct, frozen=True, kw_only=True):
    """A model and the keys that may use it."""

    id: str
    keys: list[str]


class ModelUses(Struct, frozen=True, kw_only=True):
    """Every model that a key may use."""

    models: list[ModelUse]


class AgentLines(Struct, frozen=True, kw_only=True):
    """The lines that point an agent or an SDK at Sidecar; `fits` is whether it speaks the API."""

    name: str
    fits: bool
    lines: str


class AgentList(Struct, frozen=True, kw_only=True):
    """Every agent; `key` is what stands for a key in the lines."""

    base: str
    key: str
    note: str
    agents: list[AgentLines]

"""One accepted configuration, frozen, with every name resolved to an object.

`sidecar.config.loader` builds these values. They hold no YAML, no file, no environment variable, no
default of a vendor, and no counts or times of calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from sidecar.config.patterns import Pattern
from sidecar.errors import Problem, SourceLocation
from sidecar.plugin_api.transform import Transform
from sidecar.plugin_api.vendor import Vendor


class Urgency(IntEnum):
    """The order in which waiting calls are admitted: lower first. Compare RFC 9218."""

    INTERACTIVE = 0
    NORMAL = 1
    BACKGROUND = 2


class LimitKind(StrEnum):
    """The unit of a limit: requests or tokens per minute or day, or concurrent calls."""

    RPM = "rpm"
    RPD = "rpd"
    TPM = "tpm"
    ITPM = "itpm"
    OTPM = "otpm"
    TPD = "tpd"
    CONCURRENCY = "concurrency"


class Limit(Struct, frozen=True):
    """A ceiling from the file; 0 admits nothing. With `models` it counts matching calls only."""

    kind: LimitKind
    amount: int
    place: SourceLocation
    models: Pattern | None = None


class Period(StrEnum):
    """The calendar period of a budget."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def bounds(self, at: float, zone: tzinfo | None) -> tuple[float, float]:
        """Return the start of the period of `at` and of the next one, all in seconds since the
        epoch. A `zone` of None is the machine's."""
        local = datetime.fromtimestamp(at, zone)
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self is Period.WEEK:
            day -= timedelta(days=day.weekday())
        elif self is Period.MONTH:
            day = day.replace(day=1)
        following = day + timedelta(days={Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 32}[self])
        if self is Period.MONTH:
            following = following.replace(day=1)
        return day.timestamp(), following.timestamp()


class Budget(Struct, frozen=True):
    """A ceiling in US dollars for each calendar period."""

    amount: Decimal
    period: Period
    place: SourceLocation


class Allowance(Struct, frozen=True):
    """The limits, budgets and headroom of one scope.

    `headroom` maps a class to the share of each window (0 to 1) that is kept for more urgent
    calls.
    """

    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()
    headroom: Mapping[Urgency, float] = {}


UNBOUNDED = Allowance()


class SecretSource(StrEnum):
    """The kind of place that holds a credential."""

    ENV = "env"
    FILE = "file"
    COMMAND = "command"
    KEYRING = "keyring"
    CALLER = "caller"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class CredentialRef:
    """A reference to a credential, without the secret.

    `name` is the reference as metrics, logs and the ledger show it. `argument` is the variable,
    path or keyring entry; `argv` the words of a command; `refresh` the seconds between two runs
    of it.
    """

    source: SecretSource
    name: str
    place: SourceLocation = field(compare=False)
    argument: str = ""
    argv: tuple[str, ...] = ()
    refresh: float | None = None

    def __hash__(self) -> int:
        """Return the hash of the name alone: each call looks references up."""
        return hash(self.name)


class Timeouts(Struct, frozen=True):
    """Seconds to connect, to the first byte of a response, and between two of its pieces."""

    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 300.0


class Provider(Struct, frozen=True):
    """A place that serves a vendor's API.

    `proxy` is a URL, "env" or None. `options` are the vendor's own fields. `free` makes the
    cost zero and known. `priced_as` names the model whose price its calls have.
    """

    name: str
    vendor: Vendor
    base_url: str
    credentials: tuple[CredentialRef, ...]
    place: SourceLocation
    allowance: Allowance = UNBOUNDED
    free: bool = False
    priced_as: str | None = None
    options: Mapping[str, Any] = {}
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: frozenset[str] = frozenset()
    proxy: str | None = None
    ca_file: str | None = None
    timeouts: Timeouts = Timeouts()
    takes_login: bool = False
    """True with `credential: caller`: each call is sent with its caller's own vendor login. Follows
    from `credentials`, whatever is given; no property, as each call reads it several times."""

    def __post_init__(self) -> None:
        """Set `takes_login`."""
        first = self.credentials[0].source if self.credentials else None
        force_setattr(self, "takes_login", first is SecretSource.CALLER)


class Rename(Struct, frozen=True):
    """`as:` of a route: pairs of an asked pattern and a served name; the first match applies."""

    names: tuple[tuple[Pattern, str], ...]

    def served(self, asked: str) -> str:
        """Return the model that the provider is asked for."""
        for pattern, name in self.names:
            if pattern.matches(asked):
                return pattern.fill(asked, name)
        return asked


@dataclass(frozen=True, slots=True)
class NamedTransform:
    """A transform that a route, a key or a group names, with its options as the file has them."""

    name: str
    options: Mapping[str, tuple[str, ...]]
    transform: Transform = field(compare=False)


class Route(Struct, frozen=True):
    """One provider that a key may use.

    `models` is None for all models. `priority` is the position in the list where the file gives
    no numbers; lower first. `at_least_once` permits a repeat of a request that may have been
    served. `transforms` change its calls in this order, after those of the key.
    """

    provider: Provider
    place: SourceLocation
    enabled: bool = True
    models: tuple[Pattern, ...] | None = None
    rename: Rename | None = None
    allowance: Allowance = UNBOUNDED
    max_input: int | None = None
    priced_as: str | None = None
    at_least_once: bool = False
    transforms: tuple[NamedTransform, ...] = ()
    priority: int = 0
    weight: int = 1

    @property
    def price_name(self) -> str | None:
        """The model whose price its calls have; None where the file names none."""
        return self.priced_as or self.provider.priced_as


class Group(Struct, frozen=True):
    """A rate tier of exactly one vendor, shared by its keys.

    `transforms` change its calls on every route, after those of the route.
    """

    name: str
    vendor: Vendor
    routes: tuple[Route, ...]
    place: SourceLocation
    multiplier: Decimal = Decimal(1)
    allowance: Allowance = UNBOUNDED
    ask_usage: bool = False
    description: str = ""
    transforms: tuple[NamedTransform, ...] = ()


class KeyHash(Struct, frozen=True):
    """The SHA-256 digest of a key's secret; `until` is the end of a secret before a rotation."""

    digest: bytes
    until: datetime | None = None


class Key(Struct, frozen=True):
    """A local credential that agents present.

    `hashes` has the current secret's digest first. `routes` are the ones in force: the key's
    own if `own_routes`, else its group's. Times are timezone-aware. `max_wait` and
    `sticky_wait` are seconds. A child key has all this of its parent, the name too, and `child`
    and `child_allowance` of its own.
    """

    name: str
    group: Group
    routes: tuple[Route, ...]
    place: SourceLocation
    hashes: tuple[KeyHash, ...] = ()
    own_routes: bool = False
    description: str = ""
    urgency: Urgency = Urgency.NORMAL
    enabled: bool = True
    created: datetime | None = None
    expires: datetime | None = None
    models: tuple[Pattern, ...] | None = None
    allowance: Allowance = UNBOUNDED
    share: float = 1.0
    max_wait: float = 120.0
    sticky_wait: float = 5.0
    transforms: tuple[NamedTransform, ...] = ()
    child: str = ""
    child_allowance: Allowance = UNBOUNDED


class Address(Struct, frozen=True):
    """A host and a port to listen on; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return `host:port`, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerConfig(Struct, frozen=True):
    """The listeners of this process; a change needs a restart. Sizes in bytes, times in seconds."""

    listen: tuple[Address, ...] = (Address("127.0.0.1", 8787), Address("::1", 8787))
    admin: Address = Address("127.0.0.1", 8788)
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    allow_remote: bool = False
    drain: float = 60.0
    max_body: int = 64 * 1024 * 1024
    body_memory: int | None = None
    metrics_token: CredentialRef | None = None
    callers: bool = True


class SharedState(Struct, frozen=True):
    """The server where several processes share what limits count; a change needs a restart.

    `server` is its URL, or the reference to a credential that has the URL. While it fails, calls
    with limits are rejected if it `refuses`, else each process admits by its part.
    """

    server: str | CredentialRef
    namespace: str = "sidecar"
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """A price from the file in US dollars: per million tokens, and for each other unit.

    It replaces the whole price of the list for its models.
    """

    per_million: Mapping[str, Decimal]
    each: Mapping[str, Decimal]
    place: SourceLocation = field(compare=False)


class Snapshot(Struct, frozen=True):
    """One accepted configuration. `digest` is the SHA-256 of the file's bytes, in hex.

    `children` are the child keys in force, by their own names; the file holds none. `runs` has the
    parent of those that a group has, by the group's name. `ended_runs` has the reason why the key
    of a run that is over is rejected, by its digest.
    """

    file: str
    digest: str
    providers: Mapping[str, Provider]
    groups: Mapping[str, Group]
    keys: Mapping[str, Key]
    by_digest: Mapping[bytes, tuple[Key, KeyHash]]
    server: ServerConfig = ServerConfig()
    shared: SharedState | None = None
    plugins: tuple[str, ...] = ()
    allowance: Allowance = UNBOUNDED
    timezone: tzinfo | None = None
    prices: tuple[tuple[Pattern, Price], ...] = ()
    refuse_unpriced: bool = False
    keep_days: int = 90
    keep_bytes: int = 1 << 30
    warnings: tuple[Problem, ...] = ()
    runs: Mapping[str, Key] = {}
    children: Mapping[str, Key] = {}
    ended_runs: Mapping[bytes, str] = {}

    @property
    def key_names(self) -> set[str]:
        """The names that calls are counted under: of each key, and of each group's runs."""
        return {*self.keys, *(each.name for each in self.runs.values())}


class KeyStatus(StrEnum):
    """State of a key; `NO_SECRET`: no secret was created for it yet."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    EXPIRED = "expired"
    NO_SECRET = "no_secret"  # noqa: S105 - a status


def status_of(key: Key, now: float) -> KeyStatus:
    """Return the status of a key at `now` (seconds since the epoch)."""
    if not key.enabled:
        return KeyStatus.DISABLED
    if key.expires is not None and key.expires.timestamp() <= now:
        return KeyStatus.EXPIRED
    return KeyStatus.ENABLED if key.hashes else KeyStatus.NO_SECRET

"""Build one snapshot from the bytes of a file, or report every problem in it.

First each field by itself, then names and rules between fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo

from msgspec import structs
from yaml.nodes import MappingNode, ScalarNode

from sidecar.config.loader.groups import Router, Tier
from sidecar.config.loader.keys import Keys, Waits
from sidecar.config.loader.limits import NO_HEADROOM, allowance, headroom_of, timeouts
from sidecar.config.loader.providers import Defaults, Plugins, Providers
from sidecar.config.model import (
    CredentialRef,
    Price,
    SecretSource,
    ServerConfig,
    SharedState,
    Snapshot,
    Timeouts,
    Urgency,
)
from sidecar.config.patterns import Pattern
from sidecar.config.schema.addresses import is_loopback
from sidecar.config.schema.fields import EACH, FILE, PER_MILLION
from sidecar.config.schema.parsers import InvalidValue, timezone
from sidecar.config.schema.types import Named
from sidecar.config.yaml.nodes import compose, gc_paused
from sidecar.config.yaml.reader import Reader, Record
from sidecar.config.yaml.source import decode
from sidecar.errors import ConfigError, Problem
from sidecar.files import content_digest

KEEP_DAYS = 90
KEEP_BYTES = 1 << 30
_STANDARD = Waits()
_SERVER = ServerConfig()


@gc_paused()
def load(text: bytes, *, file: str, registry: Plugins) -> Snapshot:
    """Return the snapshot of the bytes of `file`.

    Reads no other file, no environment and no clock. Raises `ConfigError` with every problem
    that can be found at once, in the order of the file.
    """
    snapshot = _read(text, file, registry)
    errors = tuple(problem for problem in snapshot.warnings if not problem.warning)
    if errors:  # raised here, where no variable keeps the nodes of the file with the traceback
        del snapshot
        raise ConfigError(errors)
    return snapshot


def _read(text: bytes, file: str, registry: Plugins) -> Snapshot:
    """Return the snapshot of a file, with all its problems for warnings."""
    root = compose(decode(text, file), file)
    reader = Reader(file)
    reader.zone = _zone(root)
    record = FILE.read(reader, root)
    snapshot = _build(reader, registry, record, content_digest(text))
    return structs.replace(snapshot, warnings=_in_order(reader.problems))


def _build(reader: Reader, registry: Plugins, record: Record, digest: str) -> Snapshot:
    defaults = _defaults(record)
    providers = Providers(reader, registry, defaults, record.get("providers", ()))
    router = Router(reader, providers)
    tiers = _tiers(router, record, defaults)
    keys = Keys(reader, router, tiers, _waits(record))
    for entry in record.get("keys", ()):
        keys.enter(entry)
    retention = _inner(record, "retention")
    return Snapshot(
        file=reader.file,
        digest=digest,
        providers=providers.found,
        groups={name: tier.group for name, tier in tiers.items() if tier is not None},
        keys=keys.by_name,
        by_digest=keys.by_digest,
        server=_server(reader, _inner(record, "server")),
        shared=_shared(reader, record),
        plugins=record.get("plugins", ()),
        allowance=allowance(record, defaults.headroom),
        timezone=record.get("timezone"),
        prices=tuple(_price(entry) for entry in record.get("prices", ())),
        refuse_unpriced=record.get("unpriced", False),
        keep_days=retention.get("days", KEEP_DAYS),
        keep_bytes=retention.get("size", KEEP_BYTES),
        runs={name: keys.of_runs(tier) for name, tier in tiers.items() if tier is not None},
    )


def _tiers(router: Router, record: Record, defaults: Defaults) -> dict[str, Tier | None]:
    """Return every group by its name.

    None for an invalid one, so that its keys have no problem of their own.
    """
    return {entry.name: router.group(entry, defaults) for entry in record.get("groups", ())}


def _defaults(record: Record) -> Defaults:
    written = _inner(record, "defaults")
    headroom = written.get("headroom")
    return Defaults(
        timeouts(written.get("timeouts"), Timeouts()),
        NO_HEADROOM if headroom is None else headroom_of(headroom),
        written.get("urgency", Urgency.NORMAL),
    )


def _waits(record: Record) -> Waits:
    written = _inner(record, "defaults")
    return Waits(
        written.get("max_wait", _STANDARD.longest), written.get("sticky_wait", _STANDARD.sticky)
    )


def _server(reader: Reader, record: Record) -> ServerConfig:
    listen = record.get("listen")
    server = ServerConfig(
        listen=_SERVER.listen if listen is None else tuple(one for each in listen for one in each),
        admin=record.get("admin", _SERVER.admin),
        allow_hosts=record.get("allow_hosts", ()),
        allow_origins=record.get("allow_origins", ()),
        allow_remote=record.get("allow_remote", False),
        drain=record.get("drain", _SERVER.drain),
        max_body=record.get("max_body", _SERVER.max_body),
        body_memory=record.get("body_memory"),
        metrics_token=record.get("metrics_token"),
        callers=record.get("callers", _SERVER.callers),
    )
    _check_listeners(reader, record, server)
    return server


def _shared(reader: Reader, record: Record) -> SharedState | None:
    written = _inner(record, "state")
    server = written.get("shared")
    if server is None:
        return None
    if isinstance(server, CredentialRef) and server.source is SecretSource.NONE:
        reader.error(written.at("shared"), "state.shared names no server", "remove the section")
        return None
    if record.get("timezone") is None:
        what = "each process counts days by the time zone of its own machine"
        reader.warn(written.at("shared"), what, "write timezone: UTC, or your own")
    return SharedState(
        server, written.get("namespace", "sidecar"), refuses=written.get("on_outage", False)
    )


def _check_listeners(reader: Reader, record: Record, server: ServerConfig) -> None:
    named = [("listen", address) for address in server.listen] + [("admin", server.admin)]
    for field, address in named:
        if not server.allow_remote and not is_loopback(address.host):
            what = f"{address} can be reached from other machines"
            fix = "use 127.0.0.1, or write allow_remote: true if that is intended"
            reader.error(record.at(field), what, fix)
    taken = [address for _, address in named if address.port]
    for field, address in named:
        if taken.count(address) > 1:
            what = f"{address} is used twice"
            reader.error(record.at(field), what, "give each listener its own port")
            return


def _price(entry: Named) -> tuple[Pattern, Price]:
    amounts = entry.value.values
    return entry.name, Price(
        {name: amounts[name] for name in PER_MILLION if name in amounts},
        {name: amounts[name] for name in EACH if name in amounts},
        entry.place,
    )


def _inner(record: Record, name: str) -> Record:
    found: Record = record.get(name, Record(record.place))
    return found


def _zone(root: MappingNode) -> tzinfo | None:
    """Return the file's time zone before all else, since times depend on it.

    An invalid one is recorded when its field is read.
    """
    for key, value in root.value:
        if key.value == "timezone" and isinstance(value, ScalarNode):
            try:
                return timezone(value.value)
            except InvalidValue:
                return None
    return None


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems in the order of the file, each once: aliases reach a node repeatedly."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.place.line, p.place.column)))

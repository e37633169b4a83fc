"""The composition root: makes every part, wires it, starts and stops it in order.

No request is handled here, and nothing is decided that another module could decide.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from sidecar import __version__
from sidecar.access_log import log_call
from sidecar.admin.children import LAST_CALLS_SECONDS
from sidecar.admin.collectors import read_bodies, read_calls, read_log, read_parts, read_scheduler
from sidecar.admin.console.events import Events
from sidecar.admin.console.front import Console
from sidecar.admin.console.sessions import Sessions
from sidecar.admin.context import Addresses, AdminContext
from sidecar.admin.introspect.dry_run import Forecaster
from sidecar.admin.introspect.live import LiveView
from sidecar.admin.introspect.nodes import own_days
from sidecar.admin.introspect.pauses import PauseControl
from sidecar.admin.server import Admin
from sidecar.callers import Callers, open_callers
from sidecar.child_keys import ChildKeys
from sidecar.config.credentials import Vault
from sidecar.config.history import Versions
from sidecar.config.loader import plugin_paths
from sidecar.config.manager import ConfigManager, read_file
from sidecar.config.model import ServerConfig, Snapshot
from sidecar.config.schema.addresses import local_url
from sidecar.errors import ConfigError, ErrorKind, LocalReply
from sidecar.files import lock, socket_place
from sidecar.http.body_memory import BodyMemory
from sidecar.http.client import open_upstream
from sidecar.http.listeners import (
    StartError,
    listening,
    listening_unix,
    make_private,
    overridden,
    warn_if_open,
)
from sidecar.http.request_guard import RequestGuard, allowed_hosts
from sidecar.http.responses import refuse_message
from sidecar.http.wire.agent_protocol import AgentServer
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.shared_times import SharedTimes
from sidecar.metrics.metrics import Metrics, watch_lag
from sidecar.plugin_api.manager import Registry, discover
from sidecar.pricing import price_list
from sidecar.pricing.prices import Prices
from sidecar.proxy.attempt import Attempts
from sidecar.proxy.attempt_usage import AttemptUsageReader
from sidecar.proxy.dispatch import Dispatcher
from sidecar.proxy.handler import Proxy
from sidecar.proxy.in_flight import FinishedCalls, LiveCall, LiveCalls, OnFinished, watch_calls
from sidecar.proxy.services import Services
from sidecar.routing.affinity import Affinity
from sidecar.routing.model_list import ModelList
from sidecar.routing.owners import Owners
from sidecar.routing.shared_pins import SharedPins
from sidecar.scheduling.lease import Sources
from sidecar.scheduling.scheduler import Scheduler
from sidecar.shared.engine import Engine, open_engine
from sidecar.shared.scopes import Node
from sidecar.shared.server import EngineError
from sidecar.shared.usage import ReadOwn, this_host

draw = random.Random().random  # noqa: S311 - shares calls out; nothing that could be guessed is kept by it

log = logging.getLogger("sidecar")


class Running(Struct, frozen=True):
    """A running sidecar. `url` is the agents' address, `admin_url` the admin side's."""

    url: str
    admin_url: str
    services: Services
    console: Console

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.services.snapshot

    def unavailable(self) -> list[tuple[str, str]]:
        """The providers that cannot be used, and why."""
        vault = self.services.vault
        each = [(p.name, vault.unavailable(p)) for p in self.snapshot.providers.values()]
        return [(name, why_not) for name, why_not in each if why_not]


@asynccontextmanager
async def serve(
    config: Path,
    state: Path,
    *,
    listen: str | None = None,
    admin: str | None = None,
    environ: Mapping[str, str] | None = None,
    stop_soon: asyncio.Event | None = None,
    log_line: OnFinished = log_call,
    log_lines_dropped: Callable[[], int] = lambda: 0,
) -> AsyncIterator[Running]:
    """Serve `config` with its state under `state`, until the context ends; then drain.

    `listen` and `admin` (`HOST:PORT`) override the file. `stop_soon`, when set, ends the drain at
    once; `log_line` writes the lines of finished calls, and `log_lines_dropped` returns the
    number of lines that were not written. Raises `ConfigError` or `StartError`.
    """
    async with AsyncExitStack() as stack:
        make_private(state)
        stack.enter_context(lock(state))
        environ = os.environ if environ is None else environ
        events = Events()
        services = await _make_services(stack, config, state, environ, events, log_line)
        services.scheduler.pauses.on_adopted = events.steered
        read_calls(services.metrics, services.configuration, services.live)
        read_log(services.metrics, log_lines_dropped)
        server = overridden(services.snapshot.server, listen, admin)
        stop_soon = stop_soon or asyncio.Event()
        yield await _open_listeners(stack, services, events, server, state, stop_soon)


async def _make_services(
    stack: AsyncExitStack, config: Path, state: Path, environ: Mapping[str, str],
    events: Events, log_line: OnFinished,
) -> Services:  # fmt: skip
    # The loop's clock is the monotonic one; a call's times are all taken from it.
    clock = asyncio.get_running_loop().time
    registry = _find_plugins(config)
    vault = Vault(environ, clock)
    ledger = await stack.enter_async_context(Ledger(state, wall=time.time))
    metrics = Metrics(version=__version__, ledger=ledger)
    prices = Prices(price_list.load(), time.time)
    configuration = ConfigManager(config, Versions.of(state, config), registry, vault, time.time)
    configuration.on_result += [lambda ok: metrics.reloaded(ok, time.time()), events.reloaded]
    child_keys = _child_keys(stack, state, clock, configuration)
    sources = Sources(clock, time.time, draw, asyncio.get_running_loop().call_at)
    scheduler = Scheduler(sources, prices, ledger.count, state)
    ledger.restore_counts(scheduler.restore_counts)
    _connect(configuration, ledger, prices, scheduler, metrics)
    read_parts(metrics, configuration, vault, registry)
    read_scheduler(metrics, scheduler)
    warn_if_open(config)
    configuration.start()
    await _share(stack, configuration, vault, scheduler, own_days(ledger, state, time.time), clock)
    upstream = await stack.enter_async_context(open_upstream())
    local = await _local_servers(stack, registry)
    attempts = Attempts(
        upstream, vault, local, clock, AttemptUsageReader(prices), registry.dialects
    )
    dispatch = Dispatcher(attempts, scheduler, _affinity(clock, configuration, scheduler), clock)
    model_list = ModelList(upstream, vault, registry.dialects, local, clock)
    vault.on_replaced += [scheduler.forget, model_list.forget]
    live = _live_calls(clock, scheduler.engine, child_keys, ledger)
    callers = stack.enter_context(open_callers(clock, on=configuration.current().server.callers))
    published = (ledger.finished, log_line, registry.finished, events.calls_finished)
    bodies = BodyMemory(configuration.current().server.body_memory, state, clock)
    read_bodies(metrics, bodies)
    return Services(
        configuration=configuration, vault=vault, registry=registry, scheduler=scheduler,
        dispatch=dispatch, model_list=model_list, live=live, callers=callers, bodies=bodies,
        child_keys=child_keys, ledger=ledger, owners=Owners(ledger, scheduler.engine),
        metrics=metrics, prices=prices, wall=time.time, draw=draw,
        finished=_finished_calls(
            stack, callers, prices, configuration, ledger, metrics, dispatch.pin_ended, published
        ),
    )  # fmt: skip


def _connect(
    configuration: ConfigManager, ledger: Ledger, prices: Prices, scheduler: Scheduler,
    metrics: Metrics,
) -> None:  # fmt: skip
    """Have the parts follow the configuration."""
    configuration.preparers.append(scheduler.prepare)
    configuration.listeners += [
        ledger.reconcile, prices.reconcile, scheduler.reconcile, metrics.reconcile,
    ]  # fmt: skip


async def _share(
    stack: AsyncExitStack, configuration: ConfigManager, vault: Vault, scheduler: Scheduler,
    read_own: ReadOwn, clock: Callable[[], float],
) -> None:  # fmt: skip
    """Join the other processes, if the file names a server of shared state."""
    shared = configuration.current().shared
    if shared is None:
        return
    url = None
    if isinstance(shared.server, str):
        url, name = shared.server, shared.server
    else:
        secret, name = vault.secret(shared.server), shared.server.name
        url = None if secret is None else secret.reveal()
        if url is None:
            raise StartError(
                f"state.shared: {vault.why_not(shared.server)}; set it to the server's URL"
            )
    try:
        engine = await stack.enter_async_context(
            open_engine(
                url,
                shared.namespace,
                clock,
                about=lambda: Node(this_host(), __version__, configuration.current().digest),
            )
        )
    except EngineError as error:
        raise StartError(f"state.shared ({name}): {error}") from None
    engine.usage.read_own = read_own
    scheduler.share(engine, vault.secret, refuses=shared.refuses)


def _affinity(
    clock: Callable[[], float], configuration: ConfigManager, scheduler: Scheduler
) -> Affinity:
    """The upstreams that conversations are pinned to, in all processes that share state."""
    affinity = Affinity(clock)
    if scheduler.engine is not None:

        def digest_of(name: str) -> bytes:
            key = configuration.current().keys.get(name)
            return key.hashes[0].digest if key is not None and key.hashes else b""

        facts = scheduler.engine.facts
        affinity.share(SharedPins(facts, scheduler.identity_of, digest_of, clock))
    return affinity


def _live_calls(
    clock: Callable[[], float], engine: Engine | None, child_keys: ChildKeys, ledger: Ledger
) -> LiveCalls:
    """The calls in flight. Keys have from now on what other processes state of them; those may
    end calls with child keys."""
    live = LiveCalls(clock, time.time)
    if engine is not None:
        host, ended = engine.about().host, LocalReply(ErrorKind.KEY_DISABLED, "its run has ended")
        end_later = partial(asyncio.get_running_loop().call_later, LAST_CALLS_SECONDS)
        child_keys.on_revoked = partial(end_later, live.end_child, ended)
        child_keys.share(engine.facts, host)
        ledger.share(SharedTimes(engine.facts, host, time.time))
    return live


def _finished_calls(
    stack: AsyncExitStack, callers: Callers, prices: Prices, configuration: ConfigManager,
    ledger: Ledger, metrics: Metrics, ended: Callable[[LiveCall], None],
    published: Sequence[OnFinished],
) -> FinishedCalls:  # fmt: skip
    """Finished calls whose records are still to be made: before they are read, before another
    configuration is in force, and at the stop."""
    counted = (metrics.call_finished, ledger.note_times)
    finished = stack.enter_context(FinishedCalls(callers, prices, ended, counted, published))
    ledger.before_flush = metrics.before_render = finished.flush
    configuration.listeners.insert(0, lambda _: finished.flush())
    metrics.read("sidecar_caller_lookups_total", callers.results)
    return finished


def _child_keys(
    stack: AsyncExitStack, state: Path, clock: Callable[[], float], configuration: ConfigManager
) -> ChildKeys:
    """The child keys of earlier processes and of this one, in force with the configuration."""
    child_keys = ChildKeys(state, clock, time.time, configuration.announce)
    child_keys.restore()
    stack.callback(child_keys.keep)
    configuration.with_children = child_keys.add_to
    return child_keys


async def _local_servers(stack: AsyncExitStack, registry: Registry) -> dict[str, str]:
    """The addresses of the vendors that live in this process, which serve from now on."""
    return {
        name: await stack.enter_async_context(vendor.local_server.start())
        for name, vendor in registry.vendors.items()
        if vendor.local_server is not None
    }


def _find_plugins(config: Path) -> Registry:
    try:
        names = plugin_paths(read_file(config))
    except ConfigError:
        names = ()
    registry = discover([config.parent / name for name in names])
    for problem in registry.problems:
        log.error("plugin: %s", problem)
    return registry


async def _open_listeners(
    stack: AsyncExitStack, services: Services, events: Events, server: ServerConfig, state: Path,
    stop_soon: asyncio.Event,
) -> Running:  # fmt: skip
    hosts = allowed_hosts([a.host for a in (*server.listen, server.admin)], server.allow_hosts)
    guard = RequestGuard(hosts, frozenset(server.allow_origins))
    addresses, opened, draining = Addresses(), asyncio.Event(), asyncio.Event()
    context = _admin_context(services, events, state, addresses)
    side = Admin(Console(context, guard), services, guard, opened, draining)
    socket = stack.enter_context(socket_place(state))
    commands = AgentServer(side.over_socket, refuse_message)
    await stack.enter_async_context(listening_unix(commands, socket))
    admin = AgentServer(side.over_tcp, refuse_message)
    admin_urls = await stack.enter_async_context(
        listening(admin, (server.admin,), side.console.close)
    )

    async def drain() -> None:
        draining.set()
        await services.live.drained(server.drain, stop_soon)

    proxy = Proxy(services, guard)
    agents = AgentServer(proxy.handle, refuse_message, services.callers.start_lookup)
    try:
        urls = await stack.enter_async_context(listening(agents, server.listen, drain))
        addresses.listen, addresses.admin = urls, admin_urls[0]
        addresses.console = local_url(admin_urls[0])
    finally:
        opened.set()  # also after a failure, so that no request delays the end
    clock = asyncio.get_running_loop().time
    for endless in (
        services.configuration.watch(), services.child_keys.watch(),
        watch_lag(services.metrics.loop_late),
        watch_calls(services.live, services.ledger.checkpoint, clock),
    ):  # fmt: skip
        stack.push_async_callback(_cancelled, asyncio.create_task(endless))
    return Running(urls[0], admin_urls[0], services, side.console)


def _admin_context(
    services: Services, events: Events, state: Path, addresses: Addresses
) -> AdminContext:
    current, scheduler, live = services.configuration.current, services.scheduler, services.live
    view = LiveView(scheduler, live, services.wall)
    return AdminContext(
        services=services,
        outlook=Forecaster(view, services.dispatch.affinity, services.dispatch.notes),
        steering=PauseControl(current, scheduler, live),
        sessions=Sessions(asyncio.get_running_loop().time),
        events=events,
        state=state,
        started=services.wall(),
        addresses=addresses,
    )


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

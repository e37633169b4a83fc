"""The long-lived objects of the process: made once, used by the proxy and by the admin side."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from sidecar.callers import Callers
from sidecar.child_keys import ChildKeys
from sidecar.config.credentials import Vault
from sidecar.config.manager import ConfigManager
from sidecar.config.model import Snapshot
from sidecar.http.body_memory import BodyMemory
from sidecar.ledger.ledger import Ledger
from sidecar.metrics.metrics import Metrics
from sidecar.plugin_api.manager import Registry
from sidecar.pricing.prices import Prices
from sidecar.proxy.dispatch import Dispatcher
from sidecar.proxy.in_flight import FinishedCalls, LiveCalls
from sidecar.routing.model_list import ModelList
from sidecar.routing.owners import Owners
from sidecar.scheduling.scheduler import Scheduler


class Services(Struct, frozen=True):
    """The services of a process.

    Attributes:
        configuration: Reads the file and holds the configuration in force.
        vault: Resolves credentials.
        registry: The vendors and dialects of the plugins.
        scheduler: Limits, queues, cooldowns and pauses.
        dispatch: Sends a call to its candidates.
        model_list: Models that providers list.
        live: Calls in flight.
        child_keys: Keys of runs, which the file does not have.
        callers: Finds the program of a connection.
        bodies: Memory of request bodies.
        ledger: Records of calls, and when keys were used.
        owners: Which upstream created an object.
        wall: Returns seconds since the epoch.
        draw: Returns a random number from 0 to 1.
        finished: Makes the records of finished calls, for ledger, metrics, log and plugins.
    """

    configuration: ConfigManager
    vault: Vault
    registry: Registry
    scheduler: Scheduler
    dispatch: Dispatcher
    model_list: ModelList
    live: LiveCalls
    child_keys: ChildKeys
    callers: Callers
    bodies: BodyMemory
    ledger: Ledger
    owners: Owners
    metrics: Metrics
    prices: Prices
    wall: Callable[[], float]
    draw: Callable[[], float]
    finished: FinishedCalls

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.configuration.current()

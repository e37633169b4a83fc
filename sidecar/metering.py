"""Reads off a meter what a finished answer says of itself: usage, model, error and end."""

from __future__ import annotations

import logging

from sidecar.config import Provider
from sidecar.dialect import Meter
from sidecar.intake import Call
from sidecar.live import LiveCall
from sidecar.lookups import is_lookup
from sidecar.usage import Outcome, Usage, UsageState
from sidecar.verdicts import code_word

log = logging.getLogger("sidecar.proxy")


def read_meter(
    live: LiveCall, call: Call, provider: Provider | None, meter: Meter, *, whole: bool
) -> Usage | None:
    """Set what the call used, and return what its answer tells of an earlier call, if it is a look
    at one and came to its end. `whole`: the answer's bytes are all there."""
    usage, live.retold = _used(live, call, provider, meter)
    live.usage = None if live.retold else usage
    complete = whole
    try:
        complete = _read_end(live, meter) or complete
    except Exception as error:  # noqa: BLE001 - the guard around foreign code
        log.warning("the end of call %s is not known: %s", live.call_id, type(error).__name__)
    if live.usage is not None:
        live.usage_state = UsageState.REPORTED if complete else UsageState.PARTIAL
    elif call.bills and not live.retold:
        live.usage_state = UsageState.UNKNOWN
    return usage if live.retold and complete else None


def _used(
    live: LiveCall, call: Call, provider: Provider | None, meter: Meter
) -> tuple[Usage | None, bool]:
    """What an answer tells, and whether that is of an earlier call. Figures that may still grow
    are none."""
    retold = call.method != "POST"
    try:
        retold = is_lookup(call, meter.created())
        usage = None if meter.pending else meter.usage()
        if usage is not None and provider is not None:
            usage = provider.vendor.normalise(usage, call.endpoint)
    except Exception as error:  # noqa: BLE001 - a plugin's accounting must never break traffic
        log.warning("the usage of call %s is lost: %s", live.call_id, type(error).__name__)
        return None, retold
    return usage, retold


def _read_end(live: LiveCall, meter: Meter) -> bool:
    """What an answer says of itself; whether its end was seen."""
    live.model_served = meter.model or live.model_served
    if meter.finished and live.outcome is Outcome.CANCELLED:
        # Some clients close as soon as they have read the end.
        live.outcome = Outcome.OK
    if meter.error is not None and live.outcome is Outcome.OK:
        live.outcome = Outcome.UPSTREAM_ERROR
        live.reason = f"in its answer: {code_word(meter.error)}"
    return meter.finished

"""What an attempt used that came to nothing, as far as its vendor said so before it failed.

An answer with an error's status is the vendor's word that it did nothing, unless it tells usage.
Whatever else was sent may have been served, and billed: also what began with 200 and an error.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from sidecar.errors import ProxyError
from sidecar.http.client import Reply, is_event_stream
from sidecar.plugin_api.dialect import Meter
from sidecar.pricing.prices import Prices
from sidecar.proxy.metering import is_lookup, meter_for
from sidecar.records import AttemptUsage, Usage, UsageState
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate

log = logging.getLogger("sidecar.proxy.attempt_usage")


class AttemptUsageReader:
    """Reckons what attempts used that came to nothing, by the prices in force."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def usage_from_response(
        self, call: Call, candidate: Candidate, reply: Reply, data: bytes, started: float
    ) -> AttemptUsage | None:
        """What an answer says was used in the `data` that came of it, all of it if it is no
        stream; None when it says nothing of that. `started` is when the call began, in seconds
        since the epoch."""
        try:
            meter = meter_for(call, reply)
            meter.feed(data)
            if is_lookup(call, meter.created()):
                return None  # what is only looked at again was counted when it was made
            usage = _usage(meter, call, candidate)
            whole = meter.finished or not (meter.unfinished or is_event_stream(reply))
            whole, model = whole and not meter.unread, meter.model
        except Exception as error:  # noqa: BLE001 - a plugin's accounting must never break traffic
            log.warning("what %s said is lost: %s", candidate.provider.name, type(error).__name__)
            return None
        if usage is None:
            return None
        state = UsageState.REPORTED if whole else UsageState.PARTIAL
        return self._spent(state, usage, call, candidate, model, started)

    def usage_of_cancelled(
        self, call: Call, candidate: Candidate, reply: Reply | None, error: BaseException,
        started: float, *, sent: bool,
    ) -> AttemptUsage | None:  # fmt: skip
        """What an attempt used that was cut short from here, by the running task's `error`: what
        its provider did until then may be billed, unless the request was not `sent` whole, or the
        answer was an error."""
        if isinstance(error, ProxyError) or (reply is None and not sent):
            return None
        if reply is None:
            return self.unknown_usage(call, candidate, started)
        if reply.status >= HTTPStatus.BAD_REQUEST:
            return None
        told = self.usage_from_response(call, candidate, reply, reply.peeked, started)
        return told or self.unknown_usage(call, candidate, started)

    def unknown_usage(
        self, call: Call, candidate: Candidate, started: float
    ) -> AttemptUsage | None:
        """What may have been used by something of which nothing came back; None at an endpoint
        that uses none."""
        if not call.bills:
            return None
        return self._spent(UsageState.UNKNOWN, None, call, candidate, None, started)

    def _spent(
        self, state: UsageState, usage: Usage | None, call: Call, candidate: Candidate,
        model: str | None, started: float,
    ) -> AttemptUsage:  # fmt: skip
        priced_as = candidate.route.price_name
        names = (priced_as, None, None) if priced_as else (model, candidate.model, call.model)
        cost = self._prices.spent(usage, candidate.provider, call.key.group, names, started)
        return AttemptUsage(state, usage, cost)


def _usage(meter: Meter, call: Call, candidate: Candidate) -> Usage | None:
    usage = meter.usage()
    return None if usage is None else candidate.provider.vendor.normalize(usage, call.endpoint)

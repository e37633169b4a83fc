"""The usage of failed attempts.

A response with an error status used nothing unless it reports usage. Any other request that was
sent may have been served and billed: its usage is unknown if the vendor did not report it. This
includes a stream of status 200 that begins with an error.
"""

from __future__ import annotations

from http import HTTPStatus

from sidecar.errors import ProxyError
from sidecar.http.client import Reply, is_event_stream
from sidecar.plugin_api.guard import plugin_guard
from sidecar.pricing.prices import Prices
from sidecar.proxy.metering import ResponseMeter, is_lookup
from sidecar.records import AttemptUsage, Usage, UsageState
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate


class AttemptUsageReader:
    """Reads the usage of failed attempts and computes its cost, by the prices in force."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def usage_from_response(
        self, call: Call, candidate: Candidate, reply: Reply, data: bytes, started: float
    ) -> AttemptUsage | None:
        """Return the usage that a response reports; None if it reports none.

        Args:
            data: The whole body, or the beginning of a stream.
            started: When the call began, in seconds since the epoch.
        """
        lost = f"usage of a failed attempt at {candidate.provider.name} is not counted"
        usage: Usage | None = None
        whole, model = False, None
        with plugin_guard(call.dialect, "meter", lost) as guard:
            meter = ResponseMeter(call, reply)
            meter.feed(data)
            if is_lookup(call, meter):
                return None  # a GET by id: counted when the response was created
            usage = meter.usage()
            whole, model = meter.complete(whole=not is_event_stream(reply)), meter.model
        if usage is None or guard.error is not None:
            return None
        vendor = candidate.provider.vendor
        with plugin_guard(vendor, "normalize", lost) as guard:
            usage = vendor.normalize(usage, call.endpoint)
        if guard.error is not None:
            return None
        state = UsageState.REPORTED if whole else UsageState.PARTIAL
        return self._spent(state, usage, call, candidate, model, started)

    def usage_of_cancelled(
        self, call: Call, candidate: Candidate, reply: Reply | None, error: BaseException,
        started: float, *, sent: bool,
    ) -> AttemptUsage | None:  # fmt: skip
        """Return the usage of an attempt that `error` ended, such as a cancellation; None if the
        request was not `sent` or the response was an error, as neither is billed."""
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
        """Return unknown usage; None at an endpoint that bills nothing."""
        if not call.bills:
            return None
        return self._spent(UsageState.UNKNOWN, None, call, candidate, None, started)

    def _spent(
        self, state: UsageState, usage: Usage | None, call: Call, candidate: Candidate,
        model: str | None, started: float,
    ) -> AttemptUsage:  # fmt: skip
        priced_as = candidate.price_name
        names = (priced_as, None, None) if priced_as else (model, candidate.model, call.model)
        cost = self._prices.spent(usage, candidate.provider, call.key.group, names, started)
        return AttemptUsage(state, usage, cost)

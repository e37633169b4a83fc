"""Keeps the client of a waiting call connected: sends the head of its stream, then pings.

Many clients time out after a minute without a byte and retry: the call then loses its place in the
queue. Once the head is sent, only events can follow, for a response and for an error alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from sidecar.errors import ErrorKind, LocalReply
from sidecar.http.client import is_event_stream
from sidecar.http.headers import WAIT, Fields, decoded, encoded
from sidecar.http.wire.agent_messages import AgentRequest, RelayedResponse
from sidecar.plugin_api.error_class import error_text
from sidecar.proxy.attempt import AttemptResult
from sidecar.proxy.in_flight import LiveCall
from sidecar.proxy.relay import Passage, Relay
from sidecar.proxy.responses import attribute_error, own_headers
from sidecar.records import Outcome
from sidecar.routing.call import Call

log = logging.getLogger("sidecar.proxy.stream.keepalive")

FIRST_PING_SECONDS = 15.0
"""Seconds that a call waits before its head is sent. Until then any response can follow, with its
own status and headers."""
PING_INTERVAL_SECONDS = 15.0
"""Seconds between two pings."""
TIMEOUT_SHARE = 0.5
"""Share of a client's timeout that the wait may use; the rest is for the response."""
CHECK_INTERVAL_SECONDS = 1.0
"""Seconds between two checks whether a call waits, while it does not."""
_KINDS: Mapping[int, ErrorKind] = {
    HTTPStatus.UNAUTHORIZED: ErrorKind.FORBIDDEN,
    HTTPStatus.PAYMENT_REQUIRED: ErrorKind.BUDGET_SPENT,
    HTTPStatus.FORBIDDEN: ErrorKind.FORBIDDEN,
    HTTPStatus.NOT_FOUND: ErrorKind.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorKind.TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS: ErrorKind.RATE_LIMITED,
}


class ClientTimeouts(NamedTuple):
    """The time that a client waits for a call.

    Attributes:
        max_wait: Seconds that it may wait before its client times out; None if unknown.
        error_deadline: The time (monotonic seconds) by which failures of its providers should be
            reported.
    """

    max_wait: float | None = None
    error_deadline: float | None = None


def ping_of(request: AgentRequest, call: Call) -> bytes | None:
    """Return the ping that may be sent while this call waits; None if its client accepts none."""
    if not call.facts.streaming or request.is_http10:
        return None
    return call.dialect.ping(call.endpoint, call.query)


def client_timeouts(request: AgentRequest, call: Call, began: float) -> ClientTimeouts:
    """Return how long the client of this call waits; `began` is the time of the request.

    Only a client that accepts pings is told of failures before its own time is over.
    """
    headers = request.headers
    bounds, seconds = [call.dialect.total_timeout(headers)], None
    if ping_of(request, call) is None:
        bounds.append(call.dialect.read_timeout(headers))
    else:
        seconds = call.dialect.error_timeout(headers)
    max_wait = min((bound * TIMEOUT_SHARE for bound in bounds if bound is not None), default=None)
    return ClientTimeouts(max_wait, None if seconds is None else began + seconds)


class KeepAlive:
    """Keeps the client of a call that waits, until the call has a response. Made when the call
    first waits.

    Sends nothing for a call that has not waited at a limiter: the vendor's own delay needs no ping.
    """

    def __init__(self, passage: Passage, call: Call, elapsed: float) -> None:
        """Schedule the first check of the call, if its client accepts pings; `elapsed` are the
        seconds since it could be sent first."""
        self._request = passage.request
        self._relay = passage.relay
        self._call = call
        self._live = passage.live
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        ping = ping_of(self._request, call)
        if ping is not None:
            left = self._within_timeout(FIRST_PING_SECONDS) - elapsed
            self._timer = self._call_later(left if left > 0 else CHECK_INTERVAL_SECONDS, ping)

    def stop(self) -> None:
        """Stop the pings: the relay writes from now on."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()  # it waits at the moment, and writes nothing after that

    def _within_timeout(self, seconds: float) -> float:
        """Return `seconds`, or less where the client would time out earlier."""
        timeout = self._call.dialect.read_timeout(self._request.headers)
        return seconds if timeout is None else min(seconds, timeout * TIMEOUT_SHARE)

    def _call_later(self, seconds: float, ping: bytes) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(seconds, self._look, ping)

    def _look(self, ping: bytes) -> None:
        live = self._live
        if live.waiter is None and not live.waits:
            self._timer = self._call_later(CHECK_INTERVAL_SECONDS, ping)
        else:
            self._task = asyncio.create_task(self._keep(ping))

    async def _keep(self, ping: bytes) -> None:
        loop, call, live = asyncio.get_running_loop(), self._call, self._live
        every = self._within_timeout(PING_INTERVAL_SECONDS)
        try:
            await self._relay.begin(_head(call, live, loop.time()))
            while True:
                await self._relay.ping(ping)
                await asyncio.sleep(every)
        except ConnectionError:
            log.debug("the client of call %s left while it waited", live.call_id)


def _head(call: Call, live: LiveCall, now: float) -> Fields:
    """Return the head of a response that is still to come."""
    fields = {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache",
        call.dialect.request_id_header: live.call_id,
        **dict(decoded(own_headers(live))),
        WAIT: str(round((now - live.began) * 1000)),
    }
    return encoded(fields.items())


async def fail(relay: Relay, call: Call, why: LocalReply, live: LiveCall) -> RelayedResponse:
    """End a stream that was begun while its call waited with an error event.

    Sets the call's status to the one that the local reply would have had.
    """
    live.status = call.dialect.error(why, live.call_id)[0]
    return await relay.fail(call.dialect.error_event(call.endpoint, why, live.call_id))


def cannot_follow(attempted: AttemptResult, live: LiveCall) -> LocalReply | None:
    """Return the error to send instead of a response that cannot follow the head of a stream.

    None if the response can follow. Else sets the call's outcome, too.
    """
    reply = attempted.reply
    assert reply is not None  # noqa: S101 - only answers are passed on
    if attempted.body is not None:
        live.outcome, live.reason = attribute_error(attempted)
        text = error_text(attempted.body) or f"status {reply.status}"
        usual = ErrorKind.OVERLOADED if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
        kind = _KINDS.get(reply.status, usual or ErrorKind.BAD_REQUEST)
        return LocalReply(kind, f"{live.provider} answers {reply.status}: {text}")
    if reply.status == HTTPStatus.OK and is_event_stream(reply):
        return None
    live.outcome, live.reason = Outcome.UPSTREAM_ERROR, "it answers a stream with something else"
    return LocalReply(
        ErrorKind.UPSTREAM_INVALID,
        f"{live.provider} answers a call for a stream with something else, status {reply.status}",
    )

"""The path of one call, from its request to its record.

    client ─▶ request guard ─▶ authentication ─▶ routing ─▶ dispatch ─▶ relay ─▶ client
                                     Call      candidates  lease, answer  usage ─▶ settle

This module calls the steps in order. Each step is a module of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from sidecar.errors import ErrorKind, Fault, LocalReply, ProxyError, UpstreamError
from sidecar.http import responses
from sidecar.http.body_memory import SETTING, HeldBody
from sidecar.http.client import Reply
from sidecar.http.request_guard import RequestGuard
from sidecar.http.wire.agent_messages import AgentRequest
from sidecar.http.wire.agent_protocol import AgentResponse
from sidecar.plugin_api.dialect import Dialect
from sidecar.proxy import authentication
from sidecar.proxy import responses as proxy_responses
from sidecar.proxy.attempt import AttemptResult
from sidecar.proxy.deferred_usage import Deferred
from sidecar.proxy.in_flight import LiveCall
from sidecar.proxy.metering import ResponseMeter, read_meter
from sidecar.proxy.relay import COMPLETE, TRUNCATED, Passage, Relay
from sidecar.proxy.services import Services
from sidecar.proxy.stream.keepalive import cannot_follow, fail
from sidecar.records import Outcome, Usage, UsageState
from sidecar.routing import candidates as routing
from sidecar.routing.call import (
    Call,
    Identified,
    RequestForm,
    read_call,
    read_form,
    recorded_session,
)
from sidecar.routing.caller_login import check_login
from sidecar.routing.candidates import Candidate
from sidecar.routing.request_rewrite import Rewriter
from sidecar.scheduling.limiter import Demand

log = logging.getLogger("sidecar.proxy")

_NO_PROVIDER = frozenset({
    ErrorKind.UPSTREAM_UNREACHABLE, ErrorKind.UPSTREAM_INVALID, ErrorKind.UPSTREAM_TIMEOUT,
    ErrorKind.CREDENTIAL_REJECTED, ErrorKind.UNAVAILABLE,
})  # fmt: skip
"""Local replies to a valid call that no provider could serve: its outcome is an upstream error."""
# Bound here, as Python 3.11 takes 0.2 µs to find a member of an enum.
_OK, _REPORTED = Outcome.OK, UsageState.REPORTED
_PROBE_METHODS = frozenset({"GET", "HEAD"})


class Proxy:
    """Handles every request of the agents' listener."""

    def __init__(self, services: Services, guard: RequestGuard) -> None:
        self._services = services
        self._guard = guard
        self._plans = routing.Plans(services.vault, services.draw)
        services.configuration.listeners.append(lambda _: self._plans.clear())
        self._deferred = Deferred(
            services.ledger, services.owners, services.scheduler, services.prices,
            services.metrics, services.configuration.current,
        )  # fmt: skip
        self._dialects = tuple(services.registry.dialects.values())
        self._probes = {"/"}.union(*(dialect.probes for dialect in self._dialects))

    async def handle(self, request: AgentRequest) -> AgentResponse:
        """Answer one request and record it once, also if it fails or the client leaves.

        Probes are answered without a record.
        """
        if request.method in _PROBE_METHODS and request.raw_path.partition("?")[0] in self._probes:
            return proxy_responses.probe_response(self._guard, request)
        services, connection = self._services, request.connection
        live = services.live.open(request.method, request.head.program, connection.task)
        lookup = connection.caller_lookup
        if lookup is None or live.began >= lookup.fresh_until:
            lookup = services.callers.start_lookup(connection)
        live.caller_lookup = lookup
        relay = live.passing = Relay(request)
        passage = Passage(request, live, HeldBody(services.bodies), relay)
        try:
            return await self._serve(passage)
        except ProxyError as refused:
            no_provider = refused.reply.kind in _NO_PROVIDER
            live.outcome = Outcome.UPSTREAM_ERROR if no_provider else Outcome.REFUSED
            return await self._refuse(passage, refused.reply)
        except asyncio.CancelledError:
            if live.ending is None:
                raise  # the client left
            live.outcome = Outcome.REVOKED
            return await self._refuse(passage, live.ending)
        except ConnectionError:
            raise  # the client left while a response was written
        except Exception:  # a bug in Sidecar: the client gets a local reply
            log.exception("call %s failed inside Sidecar", live.call_id)
            live.outcome = Outcome.REFUSED
            why = f"an error in Sidecar itself; its log tells more under {live.call_id}"
            return await self._refuse(passage, LocalReply(ErrorKind.INTERNAL, why))
        finally:
            self._close(passage)

    async def _serve(self, passage: Passage) -> AgentResponse:
        try:
            call = await self._read_request(passage)
            endpoint, models = call.endpoint, call.facts.models
            if endpoint.lists_models:
                return await self._list_models(passage, call)
            found = self._plans.find(call.key, call.dialect, endpoint, models, call.held.size)
            if found.login_takers:
                found = routing.with_login(found, call.login)
            candidates: Sequence[Candidate] = found.candidates
            if not candidates:
                routing.require_candidates(found, call.key, endpoint, models)
            if endpoint.owned is not None or call.facts.previous_id is not None:
                candidates = await self._services.owners.restrict(call, candidates)
            rewriter = Rewriter(call, passage.request.content)
            attempted = await self._services.dispatch.send(passage, call, candidates, rewriter)
        finally:
            passage.held.release()  # the body is not sent again
        del rewriter  # with its edited bodies: the response may take minutes
        try:
            return await self._pass_on(passage, call, attempted)
        finally:
            attempted.close()

    async def _read_request(self, passage: Passage) -> Call:
        """Authenticate the request and parse it."""
        services, request, live = self._services, passage.request, passage.live
        caller = self._identify(request)
        key = caller.key
        live.key = key
        if not key.enabled or caller.may_expire:
            authentication.check_enabled(key, caller.key_hash, services.wall())
        form = caller.form or self._read_form(request, caller)
        call = live.call = await read_call(request, caller, form, passage.held)
        if passage.held.waited:
            live.note_wait(f"memory for request bodies ({SETTING})", passage.held.waited)
        session = call.facts.session if form.session is None else form.session
        if session is not None:
            live.session = recorded_session(session, caller.texts)
        return call

    def _identify(self, request: AgentRequest) -> Identified:
        """Check the request and return its key, with its form if that is known already: if the
        latest request with the same fields had the same method and target."""
        configuration, known = self._services.configuration, request.head.caller
        if isinstance(known, Identified) and known.snapshot is configuration.in_force:
            form = known.form
            if (
                form is not None
                and form.target == request.raw_path
                and form.method == request.method
            ):
                return known
        self._guard.check(request.method, request.raw_path, request.headers)
        query = request.raw_path.partition("?")[2]
        found = authentication.authenticate(configuration.current(), request.head, query)
        found.form = None
        return found

    def _read_form(self, request: AgentRequest, caller: Identified) -> RequestForm:
        """Return what the request tells before its body is read, and keep it with the head."""
        check_login(caller.key, caller.login)
        responses.refuse_upgrade(request)
        path, dialects = request.raw_path.partition("?")[0], self._services.registry.dialects
        caller.form = read_form(request, caller.key, dialects, path)
        return caller.form

    async def _list_models(self, passage: Passage, call: Call) -> AgentResponse:
        entries = await self._services.model_list.offered(call.key, call.dialect)
        return self._answer(passage, call.dialect.models(entries))

    def _answer(self, passage: Passage, body: bytes) -> AgentResponse:
        """Return a successful answer of Sidecar's own."""
        live = passage.live
        live.outcome, live.status = _OK, 200
        return proxy_responses.complete_response(body, live)

    async def _pass_on(
        self, passage: Passage, call: Call, attempted: AttemptResult
    ) -> AgentResponse:
        """Send the response of the last attempt to the client, and meter its usage."""
        relay, live, reply = passage.relay, passage.live, attempted.reply
        if reply is None:
            assert attempted.answer is not None  # noqa: S101 - dispatch promises one of them
            return await self._pass_on_local(passage, call, attempted.answer)
        live.status = reply.status
        if relay.response is not None and (why := cannot_follow(attempted, live)):
            passage.meter = None if attempted.body is not None else ResponseMeter(call, reply)
            return await fail(relay, call, why, live)
        if attempted.body is not None:
            fields = proxy_responses.error_headers(passage.request, call, attempted, live)
            return await _pass_on_error(passage, call, attempted, reply, fields)
        lines = proxy_responses.relayed_lines(passage.request, call, attempted, live)
        live.relayed_from = attempted.candidate
        sent = passage.sent = attempted.sent
        meter = passage.meter = live.meter = ResponseMeter(sent or call, reply)
        try:
            response = await relay.run(
                reply, lines, meter, attempted.stream_filter, attempted.masking,
                attempted.transforms,
            )  # fmt: skip
        except UpstreamError as error:  # before the client got a byte
            timed_out = error.fault is Fault.TIMEOUT
            kind = ErrorKind.UPSTREAM_TIMEOUT if timed_out else ErrorKind.UPSTREAM_INVALID
            raise ProxyError(kind, f"{live.provider}: {error}") from error
        live.status = response.status
        if relay.end is TRUNCATED:
            live.outcome, live.reason = Outcome.CUT, relay.fault
            why = LocalReply(ErrorKind.UPSTREAM_UNREACHABLE, f"{live.provider}: {relay.fault}")
            return await relay.truncate(call.dialect, call.endpoint, meter, why, live.call_id)
        live.outcome = _OK
        return response

    async def _pass_on_local(self, passage: Passage, call: Call, answer: bytes) -> AgentResponse:
        """Send the answer that a transform has given."""
        if passage.relay.response is not None:
            no_stream = f"{passage.live.transform} answers a call for a stream with JSON"
            why = LocalReply(ErrorKind.INTERNAL, no_stream)
            return await fail(passage.relay, call, why, passage.live)
        return self._answer(passage, answer)

    async def _refuse(self, passage: Passage, why: LocalReply) -> AgentResponse:
        """Send a local reply in the dialect's shape.

        If a response has begun, end it with an error event or truncate it.
        """
        live = passage.live
        call = live.call
        live.reason, live.refusal = why.message, why.kind
        if passage.relay.response is not None and call is not None and passage.meter is None:
            return await fail(passage.relay, call, why, live)
        if passage.relay.response is not None and call is not None and passage.meter is not None:
            return await passage.relay.truncate(
                call.dialect, call.endpoint, passage.meter, why, live.call_id
            )
        shape = call.dialect if call is not None else self._shape(passage.request)
        return proxy_responses.local_reply(passage.request, shape, why, live)

    def _shape(self, request: AgentRequest) -> Dialect | None:
        found = proxy_responses.find_shape(self._dialects, request)
        return None if found is None else found[0]

    def _close(self, passage: Passage) -> None:
        """Settle the call, and pass it to `FinishedCalls`, which makes its record."""
        live, services, lease = passage.live, self._services, passage.lease
        live.first_byte = passage.relay.first_byte
        services.live.close(live)
        try:
            if passage.meter is not None and live.call is not None:
                self._settle(passage, live.call, passage.meter)
            elif lease is not None:
                lease.refund(sent=True)  # the response redirects elsewhere: it was not relayed
        finally:
            if lease is not None and not lease.ended:
                lease.keep()  # an error above must not leave the lease open
        if live.key is not None and live.key.child:
            services.child_keys.count(live.key.child, live.final_record(services.prices))
        services.finished.add(live)

    def _settle(self, passage: Passage, call: Call, meter: ResponseMeter) -> None:
        """Settle a call whose response was relayed: reported usage replaces the estimate."""
        live, services = passage.live, self._services
        candidate = live.relayed_from
        whole, sent = passage.relay.end is COMPLETE, passage.sent or call
        provider = None if candidate is None else candidate.provider
        retold = read_meter(live, sent, provider, meter, whole=whole)
        counted, lease = None, passage.lease
        if lease is not None:
            if lease.option.has_budget:  # else it is priced with its record
                live.price(services.prices)
            is_whole = live.usage_state is _REPORTED
            counted = services.scheduler.settle(
                lease, call, live.usage, live.cost, complete=is_whole
            )
        if candidate is not None and (retold is not None or call.endpoint.creates is not None):
            self._note_objects(live, call, candidate, meter, counted, retold)

    def _note_objects(
        self, live: LiveCall, call: Call, candidate: Candidate, meter: ResponseMeter,
        counted: Demand | None, retold: Usage | None,
    ) -> None:  # fmt: skip
        """Record the objects that the response created, or late usage of an earlier object."""
        try:
            if retold is not None:
                self._deferred.settle(call, candidate.provider, meter, retold)
            else:
                live.price(self._services.prices)
                record = live.record(live.ended)
                self._deferred.claim(call, candidate, meter, record, live.spent, counted)
        except Exception:
            log.exception("what call %s made is not remembered", live.call_id)


async def _pass_on_error(
    passage: Passage, call: Call, attempted: AttemptResult, reply: Reply,
    fields: list[tuple[bytes, bytes]],
) -> AgentResponse:  # fmt: skip
    """Send the client an error response, whose whole body is known."""
    live = passage.live
    live.outcome, live.reason = proxy_responses.attribute_error(attempted)
    live.status, fields, body = proxy_responses.in_shape(call, attempted, fields, live.call_id)
    length = None if body else reply.length
    reason = reply.head.reason if live.status == reply.status else ""
    return await passage.relay.send(live.status, reason, fields, body, length)

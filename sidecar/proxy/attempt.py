"""Makes one attempt: sends a call to one candidate, and classifies the response.

This module sends nothing to the client. `sidecar.proxy.dispatch` decides whether another attempt
follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from msgspec import Struct, structs

from sidecar.config.base_urls import with_reason
from sidecar.config.credentials import Vault
from sidecar.errors import ErrorKind, Fault, ProxyError, UpstreamError
from sidecar.http.body_reading import malformed
from sidecar.http.client import (
    MAX_INLINE_RESPONSE_BYTES,
    Reply,
    SendState,
    Upstream,
    is_event_stream,
)
from sidecar.http.wire.framing import IncomingBody
from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.error_class import (
    Classification,
    ErrorClass,
    UpstreamResponse,
    classify_by_status,
)
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.vendor import Vendor
from sidecar.proxy.attempt_usage import AttemptUsageReader
from sidecar.proxy.in_flight import LiveCall
from sidecar.proxy.stream import error_masking
from sidecar.proxy.stream.error_masking import ErrorEventMask
from sidecar.proxy.stream.filter import StreamFilter
from sidecar.proxy.stream.start import HELD_BYTES, HELD_SECONDS, TAKEN, Beginning, read_beginning
from sidecar.proxy.stream.transforming import (
    Outgoing,
    ResponseTransforms,
    TransformNotes,
    local_answer,
    transformed_call,
)
from sidecar.records import AttemptRecord, AttemptUsage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.routing.request_rewrite import Rewriter, secret_of
from sidecar.routing.upstream_key import NO_ADDRESS, UpstreamAddress
from sidecar.scheduling.cooldown import classify_connection_error

CLASSIFIED_BODY_BYTES = 64 * 1024
"""Bytes of an error response that are passed to the vendor's plugin."""
_VERDICTS = {each: each.value for each in ErrorClass}
"""The words of attempts' records: reading `value` of an enumeration runs code."""
_OF_THE_SECRET = frozenset(
    {ErrorClass.AUTH_FAILED, ErrorClass.QUOTA_EXHAUSTED, ErrorClass.RATE_LIMITED}
)
"""Error classes that a new secret may cure."""


class AttemptResult(Struct, frozen=True):
    """The result of an attempt: a response (`reply`), or a failure below HTTP (`error`).

    Attributes:
        address: Where the request was sent to.
        body: The whole body of an error response; None if the body is still to be read.
        in_stream: The status was a success, but the stream began with an error.
        stream_filter: Removes the usage events that the client did not request.
        spent: The usage of a failed attempt, known or possible; None if there is none.
        outdated: The vendor rejected a secret that has been replaced since.
        lost: The request was written, no head arrived, and the route forbids to send it again.
        masking: Masks the credential in the error events of a stream.
        sent: The call as the provider got it: in the provider's dialect, if it was transformed.
        transforms: Make the response one to the client's call; None if the call was not changed.
        refusal: Why a transform did not let the call be sent.
        answer: The answer that a transform gives itself; nothing is sent then.
    """

    candidate: Candidate
    classification: Classification
    address: UpstreamAddress = NO_ADDRESS
    reply: Reply | None = None
    body: bytes | None = None
    error: UpstreamError | None = None
    in_stream: bool = False
    stream_filter: StreamFilter | None = None
    spent: AttemptUsage | None = None
    outdated: bool = False
    lost: bool = False
    masking: ErrorEventMask | None = None
    sent: Call | None = None
    transforms: ResponseTransforms | None = None
    refusal: ProxyError | None = None
    answer: bytes | None = None

    @property
    def error_class(self) -> ErrorClass:
        """The error class: OK for a success."""
        return self.classification.error_class

    @property
    def reason(self) -> str:
        """The reason of the failure, from the vendor or from Sidecar."""
        return self.classification.reason

    @property
    def was_sent(self) -> bool:
        """True when the request may have reached the provider."""
        return self.refusal is None and (self.error is None or self.error.sent)

    @property
    def is_slowed(self) -> bool:
        """True when the vendor limits the rate of the secret in force."""
        return self.error_class is ErrorClass.RATE_LIMITED and not self.outdated

    def close(self) -> None:
        """Release the connection."""
        if self.reply is not None:
            self.reply.close()


class Attempts:
    """Sends requests to providers and classifies the responses.

    `local` has the base URLs of vendors that this process serves itself; `clock` returns monotonic
    seconds.
    """

    def __init__(
        self,
        upstream: Upstream,
        vault: Vault,
        local: Mapping[str, str],
        clock: Callable[[], float],
        attempt_usage: AttemptUsageReader,
        dialects: Mapping[str, Dialect],
    ) -> None:
        self._upstream = upstream
        self._vault = vault
        self._local = local
        self._clock = clock
        self._attempt_usage = attempt_usage
        self._dialects = dialects
        self.notes = TransformNotes()

    def send(
        self, call: Call, candidate: Candidate, rewriter: Rewriter, live: LiveCall
    ) -> Coroutine[Any, Any, AttemptResult]:
        """Send the call to one candidate; send it again if the vendor rejected the secret and the
        secret was replaced meanwhile. The calling code must close the result."""
        live.candidate = candidate
        if live.transform:
            live.transform = ""  # of an earlier attempt
        send = self._transformed if candidate.steps else self._sent
        return send(call, candidate, rewriter, live)

    async def _transformed(
        self, call: Call, candidate: Candidate, rewriter: Rewriter, live: LiveCall
    ) -> AttemptResult:
        try:
            if candidate.is_local:
                return _answered(local_answer(call, candidate), candidate, live)
            outgoing = await transformed_call(call, candidate, self._dialects)
        except ProxyError as refusal:
            return _refused(candidate, refusal, live)
        if not outgoing.applied:
            return await self._sent(call, candidate, rewriter, live)
        self.notes.add(call.key.name, outgoing.notes)
        live.transform = outgoing.names
        changed = Rewriter(outgoing.call, None)
        attempted = await self._sent(outgoing.call, candidate, changed, live)
        return _to_client(attempted, outgoing)

    async def _sent(
        self, call: Call, candidate: Candidate, rewriter: Rewriter, live: LiveCall,
        *, is_second: bool = False,
    ) -> AttemptResult:  # fmt: skip
        began = self._clock()
        to, reply, state = NO_ADDRESS, None, SendState()
        try:
            to = rewriter.address(candidate, self._vault, self._local)
            lines, body = rewriter.lines(candidate, to), rewriter.body(candidate)
            if rewriter.consumed and isinstance(body, IncomingBody) and body.length is not None:
                # A body that is streamed keeps the client's framing.
                lines += b"Content-Length: %d\r\n" % body.length
            reply = await self._upstream.send(
                candidate.provider, call.method, to.url, lines, body, state,
                at_least_once=call.may_repeat(candidate.route),
            )  # fmt: skip
            if to.mask is not None:
                reply.mask_head(to.mask)
            # A stream may begin with an error, and a redirect may quote the credential.
            may_stream = call.facts.streaming or is_event_stream(reply)
            if reply.status < 300 and not may_stream:
                attempted = AttemptResult(candidate, TAKEN, to, reply)
            else:
                attempted = await self._judged(call, candidate, to, reply, rewriter, live)
        except UpstreamError as error:
            if reply is None and rewriter.broken:
                why = malformed()
                self._note_cut(call, candidate, reply, why, live, began, state)
                raise why from None
            attempted = self._broken_off(call, candidate, to, reply, error, live)
        except BaseException as error:
            self._note_cut(call, candidate, reply, error, live, began, state)
            raise
        judged = attempted.classification
        verdict = _VERDICTS[judged.error_class] if attempted.error is None else "failed"
        seconds, kept, spent = self._clock() - began, attempted.reply, attempted.spent
        live.note(_attempt_record(candidate, kept, verdict, judged.reason, seconds, spent))
        if is_second or judged.error_class not in _OF_THE_SECRET:
            return attempted
        return await self._with_new_secret(call, attempted, rewriter, live)

    async def _with_new_secret(
        self, call: Call, attempted: AttemptResult, rewriter: Rewriter, live: LiveCall
    ) -> AttemptResult:
        """Return a failed attempt, or the one after it if the secret was replaced meanwhile."""
        candidate, secret = attempted.candidate, attempted.address.secret
        if attempted.error_class is ErrorClass.AUTH_FAILED and candidate.credential is not None:
            await self._vault.rejected(candidate.credential, secret)
        if secret_of(candidate, self._vault) == secret:
            return attempted
        if rewriter.consumed:
            return structs.replace(attempted, outdated=True)
        return await self._sent(call, candidate, rewriter, live, is_second=True)

    def _broken_off(
        self, call: Call, candidate: Candidate, to: UpstreamAddress, reply: Reply | None,
        error: UpstreamError, live: LiveCall,
    ) -> AttemptResult:  # fmt: skip
        """Return the result of an attempt without a response, or whose response broke off early."""
        used, since = self._attempt_usage, live.started
        spent = used.unknown_usage(call, candidate, since) if error.sent else None
        if reply is not None:
            spent = used.usage_of_cancelled(call, candidate, reply, error, since, sent=True)
        lost = reply is None and error.sent and not call.may_repeat(candidate.route)
        return _failed(candidate, to, error, spent, lost=lost)

    def _note_cut(
        self, call: Call, candidate: Candidate, reply: Reply | None, error: BaseException,
        live: LiveCall, began: float, state: SendState,
    ) -> None:  # fmt: skip
        """Record an attempt that Sidecar or the client ended."""
        seconds = self._clock() - began
        spent = self._attempt_usage.usage_of_cancelled(
            call, candidate, reply, error, live.started, sent=state.sent
        )
        live.note(_attempt_record(candidate, reply, *_cut_short(live, error), seconds, spent))

    async def _begun_badly(
        self, call: Call, candidate: Candidate, to: UpstreamAddress, reply: Reply,
        beginning: Beginning, live: LiveCall,
    ) -> AttemptResult:  # fmt: skip
        """Return the result for a response of status 200 that begins with an error.

        If the error's code is unknown, the result keeps the vendor's bytes: the client gets them if
        no other provider serves the call.
        """
        classification = error_masking.masked_reason(beginning.judgement, reply)
        body = None
        if not beginning.known:
            await reply.hold(lambda _: False, HELD_BYTES, HELD_SECONDS)
            body = error_masking.mask_body(reply.peeked, reply.mask)
        reply.close()
        used = self._attempt_usage
        spent = used.usage_from_response(call, candidate, reply, reply.peeked, live.started)
        spent = spent or used.unknown_usage(call, candidate, live.started)
        if body is not None:
            return AttemptResult(candidate, classification, to, reply, body, spent=spent)
        fault = UpstreamError(Fault.PROTOCOL, classification.reason, sent=True)
        return AttemptResult(
            candidate, classification, to, error=fault, in_stream=True, spent=spent
        )

    async def _judged(
        self, call: Call, candidate: Candidate, to: UpstreamAddress, reply: Reply,
        rewriter: Rewriter, live: LiveCall,
    ) -> AttemptResult:  # fmt: skip
        if reply.status < 400:
            try:
                if reply.status >= 300:
                    await error_masking.mask_redirect(reply)
                beginning = await read_beginning(call, candidate, reply)
                if beginning is not None:
                    return await self._begun_badly(call, candidate, to, reply, beginning, live)
            except BaseException:
                reply.close()  # the vendor must not work for it any more
                raise
            return _relayed(call, candidate, to, reply, rewriter)
        try:
            body, whole = await reply.read_all(MAX_INLINE_RESPONSE_BYTES)
            if not whole:
                raise UpstreamError(Fault.PROTOCOL, "its error answer has no end", sent=True)
        except UpstreamError as error:
            return _failed(candidate, to, error)
        finally:
            reply.close()
        body = await error_masking.mask_error(body, reply)  # it may quote the credential
        answer = UpstreamResponse(reply.status, reply.fields, body[:CLASSIFIED_BODY_BYTES])
        classification = _classified(candidate.provider.vendor, answer)
        classification = with_reason(classification, reply.status, candidate.provider)
        if candidate.login is not None and classification.error_class is ErrorClass.AUTH_FAILED:
            # The agent renews its login when it sees the vendor's own answer.
            classification = structs.replace(classification, error_class=ErrorClass.CLIENT_ERROR)
        spent = self._attempt_usage.usage_from_response(call, candidate, reply, body, live.started)
        return AttemptResult(candidate, classification, to, reply, body, spent=spent)


def _to_client(attempted: AttemptResult, outgoing: Outgoing) -> AttemptResult:
    """Return the result with what makes its response one to the client's call."""
    # The response may take minutes: the request is not kept meanwhile.
    sent = structs.replace(outgoing.call, edited=b"")
    reply = attempted.reply
    if reply is None or 300 <= reply.status < 400:
        return structs.replace(attempted, sent=sent)
    try:
        transforms = ResponseTransforms(outgoing.applied, reply, streaming=sent.facts.streaming)
    except UpstreamError as error:
        attempted.close()
        raise ProxyError(ErrorKind.INTERNAL, str(error), final=True) from None
    return structs.replace(attempted, sent=sent, transforms=transforms)


def _answered(answer: bytes, candidate: Candidate, live: LiveCall) -> AttemptResult:
    live.candidate = None  # no provider was called
    live.transform = candidate.steps[-1].transform.name
    return AttemptResult(candidate, Classification(ErrorClass.OK), answer=answer)


def _refused(candidate: Candidate, refusal: ProxyError, live: LiveCall) -> AttemptResult:
    why = Classification(ErrorClass.MODEL_NOT_FOUND, refusal.reply.message)
    live.note(_attempt_record(candidate, None, "failed", why.reason, 0.0, None))
    return AttemptResult(candidate, why, refusal=refusal)


def _relayed(
    call: Call, candidate: Candidate, to: UpstreamAddress, reply: Reply, rewriter: Rewriter
) -> AttemptResult:
    """Return the result for a response that the client gets, with what a stream of it needs."""
    is_stream, hiding, masking = is_event_stream(reply), None, None
    if is_stream or call.facts.streaming:
        masking = ErrorEventMask.of(call, reply)
    if is_stream and rewriter.injects_usage_option(candidate):
        strip = partial(call.dialect.strip_injected_usage, call.endpoint)
        hiding = StreamFilter(strip, call.dialect)
    return AttemptResult(candidate, TAKEN, to, reply, stream_filter=hiding, masking=masking)


def _classified(vendor: Vendor, answer: UpstreamResponse) -> Classification:
    with plugin_guard(vendor, "classify", "the response is classified by its status"):
        return vendor.classify(answer)
    return classify_by_status(answer)


def _failed(
    candidate: Candidate, to: UpstreamAddress, error: UpstreamError,
    spent: AttemptUsage | None = None, *, lost: bool = False,
) -> AttemptResult:  # fmt: skip
    return AttemptResult(
        candidate, classify_connection_error(error), to, error=error, spent=spent, lost=lost
    )


def _attempt_record(
    candidate: Candidate, reply: Reply | None, verdict: str, reason: str, seconds: float,
    spent: AttemptUsage | None,
) -> AttemptRecord:  # fmt: skip
    """Return the record of an attempt; `reply` is None if no response came."""
    name, credential = candidate.names
    status = None if reply is None else reply.status
    return AttemptRecord(name, credential, candidate.model, verdict, status, reason, seconds, spent)


def _cut_short(live: LiveCall, error: BaseException) -> tuple[str, str]:
    """Return the verdict and the reason for an attempt that Sidecar or the client ended."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", live.ending.message if live.ending else "the client left"
    return "failed", str(error) if isinstance(error, ProxyError) else type(error).__name__

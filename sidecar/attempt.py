"""One attempt of a call at one candidate: sent, and judged by its vendor.

Nothing goes to the client from here, and nothing is decided about what comes next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus

from aiohttp import web
from msgspec import Struct, structs

from sidecar import headers
from sidecar.abandoned import Abandoned
from sidecar.body_reading import malformed
from sidecar.credentials import Vault
from sidecar.dialect import Meter
from sidecar.errors import Fault, Kind, Refused, UpstreamError
from sidecar.fields import Fields
from sidecar.hiding import Hiding
from sidecar.intake import Call
from sidecar.live import LiveCall
from sidecar.pacing import as_judgement
from sidecar.relay import WHOLE, Relay, is_event_stream
from sidecar.rewriting import Rewriter
from sidecar.routing import Candidate
from sidecar.sse import first_event
from sidecar.upstream import Reply, Upstream
from sidecar.usage import AttemptRecord, Spent
from sidecar.vendor import Secret
from sidecar.verdicts import Answer, Judgement, Verdict, code_word, judge_by_status

log = logging.getLogger("sidecar.attempt")

JUDGED = 64 * 1024
"""How much of an error answer a vendor gets to see, in bytes."""
PEEKED = 16 * 1024
"""How much of a stream's beginning is looked at before it is passed on, in bytes."""
PEEK = 0.05
"""Seconds that this look may take."""
TAKEN = Judgement(Verdict.TAKE)
_FINAL = frozenset({Verdict.TAKE, Verdict.CLIENT})


class Attempted(Struct, frozen=True):
    """What came of one candidate: an answer (`reply`), or a failure below HTTP (`error`).

    `body` is the whole body of an error answer; None when it is still to be read. `base_url` is
    where it came from. `in_stream`: it answered well, and then said in its stream that it cannot.
    `hiding` takes out of a stream what the client did not ask for, and we did. `spent` is what was
    used for an error, or may have been for a failure; None where that is nothing.
    """

    candidate: Candidate
    judgement: Judgement
    base_url: str = ""
    reply: Reply | None = None
    body: bytes | None = None
    error: UpstreamError | None = None
    in_stream: bool = False
    hiding: Hiding | None = None
    spent: Spent | None = None

    @property
    def verdict(self) -> Verdict:
        """What is to be done with it."""
        return self.judgement.verdict

    @property
    def reason(self) -> str:
        """The vendor's word, or ours, for why it is no good."""
        return self.judgement.reason

    @property
    def sent(self) -> bool:
        """Whether the request may have reached the provider."""
        return self.error is None or self.error.sent

    @property
    def final(self) -> bool:
        """Whether this is the answer, good or bad, that the client should get."""
        return self.verdict in _FINAL

    async def relay_through(self, relay: Relay, fields: Fields, meter: Meter) -> web.StreamResponse:
        """Pass the answer on. Raises `Refused` when it breaks off before any of it went out."""
        assert self.reply is not None  # noqa: S101 - only an answer is passed on
        try:
            return await relay.run(self.reply, fields, meter, self.hiding)
        except UpstreamError as error:
            timed_out = error.fault is Fault.TIMEOUT
            kind = Kind.UPSTREAM_TIMEOUT if timed_out else Kind.UPSTREAM_INVALID
            raise Refused(kind, f"{self.candidate.provider.name}: {error}") from error

    def close(self) -> None:
        """Let the connection go."""
        if self.reply is not None:
            self.reply.close()


class Attempts:
    """Sends attempts and judges their answers.

    `local` are the addresses of vendors that live in this process; `clock` is monotonic seconds.
    """

    def __init__(
        self,
        upstream: Upstream,
        vault: Vault,
        local: Mapping[str, str],
        clock: Callable[[], float],
        abandoned: Abandoned,
    ) -> None:
        self._upstream = upstream
        self._vault = vault
        self._local = local
        self._clock = clock
        self._abandoned = abandoned

    async def one(
        self, call: Call, candidate: Candidate, rewriter: Rewriter, live: LiveCall
    ) -> Attempted:
        """What comes of one candidate; once more with a renewed credential, when the vendor
        rejects the one there was. The caller closes it."""
        attempted = await self._try(call, candidate, rewriter, live)
        repeatable = attempted.verdict is Verdict.CREDENTIAL and not rewriter.consumed
        if repeatable and await self._renewed(candidate):
            return await self._try(call, candidate, rewriter, live)
        return attempted

    async def _renewed(self, candidate: Candidate) -> bool:
        return candidate.credential is not None and await self._vault.rejected(candidate.credential)

    async def _try(
        self, call: Call, candidate: Candidate, rewriter: Rewriter, live: LiveCall
    ) -> Attempted:
        live.provider, live.credential = candidate.provider.name, candidate.credential_name
        live.model_served = candidate.model
        began = self._clock()
        base_url, reply = "", None
        try:
            secret = self._secret(candidate)
            base_url = self._base_url(candidate)
            reply = await self._send(call, candidate, rewriter, base_url, secret)
            attempted = await self._judged(call, candidate, base_url, reply, secret, live)
        except UpstreamError as error:
            spent = self._abandoned.unknown(call, candidate, live.started) if error.sent else None
            attempted = _failed(candidate, base_url, error, spent)
        except BaseException as error:
            seconds = self._clock() - began
            spent = self._abandoned.cut(call, candidate, reply, error, live.started)
            live.note(_record(candidate, reply, *_cut_short(live, error), seconds, spent))
            raise
        seconds = self._clock() - began
        verdict = "failed" if attempted.error else attempted.verdict.value
        said = verdict, attempted.reason, seconds, attempted.spent
        live.note(_record(candidate, attempted.reply, *said))
        if rewriter.asks(candidate) and reply is not None and is_event_stream(reply):
            hiding = Hiding(partial(call.dialect.unasked, call.endpoint))
            return structs.replace(attempted, hiding=hiding)
        return attempted

    def _secret(self, candidate: Candidate) -> Secret | None:
        return None if candidate.credential is None else self._vault.secret(candidate.credential)

    def _base_url(self, candidate: Candidate) -> str:
        provider = candidate.provider
        return candidate.serving.base(provider.base_url or self._local[provider.vendor.name])

    async def _send(
        self, call: Call, candidate: Candidate, rewriter: Rewriter, base_url: str,
        secret: Secret | None,
    ) -> Reply:  # fmt: skip
        provider = candidate.provider
        ask = rewriter.ask(candidate, base_url, secret)
        try:
            prepared = provider.vendor.prepare(ask)
        except Exception as error:  # noqa: BLE001 - the guard around foreign code
            raise _plugin_fault(candidate, error) from None
        outgoing = headers.for_upstream(
            call.headers,
            (*provider.set_headers, *prepared.headers),
            remove=provider.remove_headers,
            decoded=rewriter.decodes(candidate),
        )
        if call.body is None:
            # What is streamed through is framed as it came.
            outgoing += [each for each in call.headers if each[0].lower() == b"content-length"]
        try:
            return await self._upstream.send(
                provider, call.method, prepared.url, outgoing, rewriter.body(candidate)
            )
        except UpstreamError:
            if rewriter.broken:
                raise malformed() from None
            raise

    async def _judged(
        self, call: Call, candidate: Candidate, base_url: str, reply: Reply,
        secret: Secret | None, live: LiveCall,
    ) -> Attempted:  # fmt: skip
        if reply.status < HTTPStatus.BAD_REQUEST:
            try:
                judgement = await _first_event(call, candidate, reply)
            except BaseException:
                reply.close()  # the client left, or we failed: it must not be worked for any more
                raise
            if judgement.verdict is not Verdict.TAKE:
                reply.close()
                fault = UpstreamError(Fault.PROTOCOL, judgement.reason, sent=True)
                spent = self._abandoned.told(call, candidate, reply, reply.peeked, live.started)
                return Attempted(
                    candidate, judgement, base_url, error=fault, in_stream=True, spent=spent
                )
            return Attempted(candidate, judgement, base_url, reply)
        try:
            body, whole = await reply.read_all(WHOLE)
            if not whole:
                raise UpstreamError(Fault.PROTOCOL, "its error answer has no end", sent=True)
        except UpstreamError as error:
            return _failed(candidate, base_url, error)
        finally:
            reply.close()
        if secret is not None:
            # A vendor's error may quote what it was sent.
            body = body.replace(secret.reveal().encode(), b"(credential)")
        answer = Answer(reply.status, reply.fields, body[:JUDGED])
        try:
            judgement = candidate.provider.vendor.judge(answer)
        except Exception as error:  # noqa: BLE001 - the guard around foreign code
            _plugin_fault(candidate, error)
            judgement = judge_by_status(answer)
        if not judgement.reason:
            judgement = structs.replace(judgement, reason=f"status {reply.status}")
        spent = self._abandoned.told(call, candidate, reply, body, live.started)
        return Attempted(candidate, judgement, base_url, reply, body, spent=spent)


async def _first_event(call: Call, candidate: Candidate, reply: Reply) -> Judgement:
    """What a stream means by how it begins: some vendors say 200 and then that they cannot.

    Looks at its first event only, and waits a moment for it, so that a slow one is not held up.
    """
    if not call.facts.streaming or not is_event_stream(reply):
        return TAKEN
    event = first_event(await reply.peek(PEEKED, PEEK))
    if b"error" not in event:
        return TAKEN
    try:
        meter = call.dialect.meter(call.endpoint, "text/event-stream")
        meter.feed(event)
        error = meter.error
        if error is None:
            return TAKEN
        verdict = candidate.provider.vendor.judge_event(error)
    except Exception as failure:  # noqa: BLE001 - the guard around foreign code
        _plugin_fault(candidate, failure)
        return TAKEN
    # What the client did wrong is passed on too, and the answer that says so is this stream.
    return TAKEN if verdict in _FINAL else Judgement(verdict, f"in its stream: {code_word(error)}")


def _failed(
    candidate: Candidate, base_url: str, error: UpstreamError, spent: Spent | None = None
) -> Attempted:
    return Attempted(candidate, as_judgement(error), base_url, error=error, spent=spent)


def _record(
    candidate: Candidate, reply: Reply | None, verdict: str, reason: str, seconds: float,
    spent: Spent | None,
) -> AttemptRecord:  # fmt: skip
    name, credential = candidate.provider.name, candidate.credential_name
    status = None if reply is None else reply.status
    return AttemptRecord(name, credential, candidate.model, verdict, status, reason, seconds, spent)


def _cut_short(live: LiveCall, error: BaseException) -> tuple[str, str]:
    """The verdict on an attempt that ended from here, and the reason."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", live.ending.message if live.ending else "the client left"
    return "failed", str(error) if isinstance(error, Refused) else type(error).__name__


def _plugin_fault(candidate: Candidate, error: Exception) -> UpstreamError:
    """What to say of a vendor whose plugin breaks its contract; never the error's own text, which
    may quote a secret."""
    name = candidate.provider.vendor.name
    log.warning("the plugin of vendor %s failed: %s", name, type(error).__name__)
    why = f"the plugin of vendor {name} failed ({type(error).__name__})"
    return UpstreamError(Fault.PROTOCOL, why, sent=False)

"""Tries the candidates of a call, in order, until one answers.

Before the first byte of an answer another candidate may be tried; what the client did wrong is
never repeated. Nothing goes to the client from here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from aiohttp import web
from msgspec import Struct

from sidecar import headers
from sidecar.credentials import Vault
from sidecar.dialect import Meter
from sidecar.errors import Fault, Kind, Refused, UpstreamError
from sidecar.intake import Call, malformed
from sidecar.live import LiveCall
from sidecar.relay import WHOLE, Relay
from sidecar.rewriting import Rewriter
from sidecar.routing import Candidate
from sidecar.upstream import Reply, Upstream
from sidecar.usage import AttemptRecord
from sidecar.vendor import Ask, Secret
from sidecar.verdicts import Answer, Verdict, judge_by_status

log = logging.getLogger("sidecar.attempt")

JUDGED = 64 * 1024
"""How much of an error answer a vendor gets to see, in bytes."""
_FINAL = frozenset({Verdict.TAKE, Verdict.CLIENT})


class Attempted(Struct, frozen=True):
    """What came of one candidate: an answer (`reply`), or a failure below HTTP (`error`).

    `body` is the whole body of an error answer; None when it is still to be read. `base_url` is
    where it came from.
    """

    candidate: Candidate
    verdict: Verdict
    reason: str
    base_url: str = ""
    reply: Reply | None = None
    body: bytes | None = None
    error: UpstreamError | None = None

    @property
    def final(self) -> bool:
        """Whether this is the answer, good or bad, that the client should get."""
        return self.verdict in _FINAL

    async def relay_through(
        self, relay: Relay, pairs: Sequence[tuple[str, str]], meter: Meter
    ) -> web.StreamResponse:
        """Pass the answer on. Raises `Refused` when it breaks off before any of it went out."""
        assert self.reply is not None  # noqa: S101 - only an answer is passed on
        try:
            return await relay.run(self.reply, pairs, meter)
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
    ) -> None:
        self._upstream = upstream
        self._vault = vault
        self._local = local
        self._clock = clock

    async def first_good(
        self, call: Call, candidates: Sequence[Candidate], rewriter: Rewriter, live: LiveCall
    ) -> Attempted:
        """The first answer worth passing on; else the best error answer there was.

        The caller closes it. Raises `Refused` when no provider answered at all, or all of them
        rejected our credential.
        """
        failed: list[Attempted] = []
        for candidate in candidates:
            attempted = await self._try(call, candidate, rewriter, live)
            if attempted.verdict is Verdict.CREDENTIAL and await self._renewed(candidate):
                attempted = await self._try(call, candidate, rewriter, live)
            if attempted.final:
                return attempted
            failed.append(attempted)
            if rewriter.consumed:
                break
        return _best(failed)

    async def _renewed(self, candidate: Candidate) -> bool:
        return candidate.credential is not None and await self._vault.rejected(candidate.credential)

    async def _try(
        self, call: Call, candidate: Candidate, rewriter: Rewriter, live: LiveCall
    ) -> Attempted:
        live.provider, live.credential = candidate.provider.name, candidate.credential_name
        live.model_served = candidate.model
        began = self._clock()
        attempted = await self._send(call, candidate, rewriter)
        live.attempts.append(
            AttemptRecord(
                provider=candidate.provider.name,
                credential=candidate.credential_name,
                model=candidate.model,
                verdict="failed" if attempted.error else attempted.verdict.value,
                status=None if attempted.reply is None else attempted.reply.status,
                reason=attempted.reason,
                duration=self._clock() - began,
            )
        )
        return attempted

    async def _send(self, call: Call, candidate: Candidate, rewriter: Rewriter) -> Attempted:
        provider, model = candidate.provider, candidate.model
        secret = None if candidate.credential is None else self._vault.secret(candidate.credential)
        base_url = candidate.serving.base(provider.base_url or self._local[provider.vendor.name])
        ask = _ask(call, candidate, rewriter, base_url, secret)
        try:
            prepared = provider.vendor.prepare(ask)
        except Exception as error:  # noqa: BLE001 - the guard around foreign code
            fault = _plugin_fault(candidate, error)
            return Attempted(candidate, Verdict.OVERLOADED, str(fault), base_url, error=fault)
        outgoing = headers.for_upstream(
            call.headers,
            (*provider.set_headers, *prepared.headers),
            remove=provider.remove_headers,
            decoded=rewriter.decodes(model),
        )
        if call.body is None:
            # What is streamed through is framed as it came.
            outgoing += [each for each in call.headers if each[0].lower() == "content-length"]
        try:
            reply = await self._upstream.send(
                provider, call.method, prepared.url, outgoing, rewriter.body(model)
            )
        except UpstreamError as error:
            if rewriter.broken:
                raise malformed() from None
            return Attempted(candidate, Verdict.OVERLOADED, str(error), base_url, error=error)
        return await self._judged(candidate, base_url, reply, secret)

    async def _judged(
        self, candidate: Candidate, base_url: str, reply: Reply, secret: Secret | None
    ) -> Attempted:
        if reply.status < HTTPStatus.BAD_REQUEST:
            return Attempted(candidate, Verdict.TAKE, "", base_url, reply)
        try:
            body, whole = await reply.read_all(WHOLE)
            if not whole:
                raise UpstreamError(Fault.PROTOCOL, "its error answer has no end", sent=True)
        except UpstreamError as error:
            return Attempted(candidate, Verdict.OVERLOADED, str(error), base_url, error=error)
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
        reason = judgement.reason or f"status {reply.status}"
        return Attempted(candidate, judgement.verdict, reason, base_url, reply, body)


def _ask(
    call: Call, candidate: Candidate, rewriter: Rewriter, base_url: str, secret: Secret | None
) -> Ask:
    return Ask(
        dialect=call.dialect.name,
        serving=candidate.serving,
        endpoint=call.endpoint,
        method=call.method,
        path=rewriter.path(candidate.model),
        query=rewriter.query(candidate.model),
        model=candidate.model,
        base_url=base_url,
        secret=secret,
        options=candidate.provider.options,
    )


def _plugin_fault(candidate: Candidate, error: Exception) -> UpstreamError:
    """What to say of a vendor whose plugin breaks its contract; never the error's own text, which
    may quote a secret."""
    name = candidate.provider.vendor.name
    log.warning("the plugin of vendor %s failed: %s", name, type(error).__name__)
    why = f"the plugin of vendor {name} failed ({type(error).__name__})"
    return UpstreamError(Fault.PROTOCOL, why, sent=False)


def _best(failed: Sequence[Attempted]) -> Attempted:
    """The answer of the most preferred candidate that gave one, but for rejected credentials:
    those are ours to mend, and the client must not think that its own key is wrong."""
    for attempted in failed:
        if attempted.reply is not None and attempted.verdict is not Verdict.CREDENTIAL:
            return attempted
    tried = "; ".join(f"{each.candidate.provider.name}: {each.reason}" for each in failed)
    rejected = [each for each in failed if each.verdict is Verdict.CREDENTIAL]
    if rejected:
        names = ", ".join(f"{each.candidate.credential_name or 'none'}" for each in rejected)
        raise Refused(
            Kind.CREDENTIAL_REJECTED,
            "upstream_credential_rejected: the provider rejects Sidecar's own credential "
            f"({names}), not your key. Tried: {tried}",
        )
    faults = {each.error.fault for each in failed if each.error is not None}
    kind = {
        frozenset({Fault.TIMEOUT}): Kind.UPSTREAM_TIMEOUT,
        frozenset({Fault.PROTOCOL}): Kind.UPSTREAM_INVALID,
    }.get(frozenset(faults), Kind.UPSTREAM_UNREACHABLE)
    raise Refused(kind, f"no provider could be reached. Tried: {tried}")

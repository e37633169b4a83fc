"""Error replies to calls that were not admitted, or that no provider answered.

The former name the limit, its line of the file, and the time to retry; the latter what was tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sidecar.errors import ErrorKind, Fault, ProxyError
from sidecar.plugin_api.error_class import ErrorClass
from sidecar.proxy.attempt import AttemptResult
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.fleet.gate import Gate
from sidecar.scheduling.lease import Blocked, NotAdmitted
from sidecar.scheduling.limiter import MINUTE_SECONDS, NEVER, Limiter, LimitUnit
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.windows import CountingLimiter, SlidingWindow

MAX_RETRY_AFTER_SECONDS = 60.0
"""Seconds of the longest Retry-After: past two minutes, SDKs fail and some agents sleep."""
MAX_RETRIED_WAIT_SECONDS = 600.0
"""Seconds to the next room after which no retry of a client arrives; it would only sleep."""
UNKNOWN_RETRY_AFTER_SECONDS = 2.0
"""Seconds of Retry-After if there is room as soon as another call ends."""

_ABSENT = frozenset({Fault.CONNECT, Fault.TLS})
"""Faults that may mean that a provider does not run."""


def to_proxy_error(no_room: NotAdmitted, max_wait: float, most: float | None = None) -> ProxyError:
    """Return the error for a call that was not admitted.

    `max_wait` is the key's, in seconds; `most` is the wait that the client's timeout allows, if
    known.
    """
    if no_room.queue_full:
        return ProxyError(
            ErrorKind.OVERLOADED,
            "too many calls wait already",
            retry_after=UNKNOWN_RETRY_AFTER_SECONDS,
        )
    soonest = no_room.soonest
    limiter = soonest.last_blocking
    wait = soonest.available_at - no_room.now
    parts: tuple[str, ...] = reasons(no_room.blocked), when(soonest, no_room.now)
    if soonest.available_at != NEVER:
        parts += (_patience(no_room.waited, max_wait, most),)
    why = "; ".join(parts)
    kind = _kind(limiter)
    if kind is ErrorKind.BUDGET_SPENT or wait > MAX_RETRIED_WAIT_SECONDS:
        figures = _figures(limiter, wait, no_room.now)
        opens_in = None if soonest.available_at == NEVER else wait
        return ProxyError(kind, why, headers=figures, final=True, opens_in=opens_in)
    retry_after = (
        min(max(wait, 1.0), MAX_RETRY_AFTER_SECONDS) if wait > 0 else UNKNOWN_RETRY_AFTER_SECONDS
    )
    headers = _figures(limiter, wait, no_room.now)
    return ProxyError(kind, why, retry_after=retry_after, headers=headers)


def _kind(limiter: Limiter) -> ErrorKind:
    if limiter.spent:
        return ErrorKind.BUDGET_SPENT
    if isinstance(limiter, Cooldown):
        if limiter.error_class is ErrorClass.QUOTA_EXHAUSTED:
            return ErrorKind.BUDGET_SPENT
        return (
            ErrorKind.RATE_LIMITED
            if limiter.error_class is ErrorClass.RATE_LIMITED
            else ErrorKind.OVERLOADED
        )
    return ErrorKind.RATE_LIMITED


def reasons(blocked: Sequence[Blocked]) -> str:
    """List the limiters that block a call, each once."""
    limiters = (limiter for each in blocked for limiter in (each.limiter, each.last_blocking))
    return "; ".join(dict.fromkeys(map(_reason, limiters)))


def _reason(limiter: Limiter) -> str:
    if isinstance(limiter, Cooldown) and limiter.reason:
        return f"{limiter.name} after {limiter.reason}"
    return limiter.name


def when(soonest: Blocked, now: float) -> str:
    """Describe when there may be room. `now` is monotonic seconds."""
    wait = soonest.available_at - now
    if isinstance(soonest.limiter, PauseLimiter):
        return "calls continue when it is resumed"
    if isinstance(soonest.last_blocking, Cooldown) and soonest.available_at == NEVER:
        return f"it is asked again in {span(soonest.last_blocking.until - now)}"
    if soonest.available_at == NEVER:
        return "nothing passes there"
    return f"room in {span(wait)} at the soonest" if wait > 0 else "room as soon as a call ends"


def span(seconds: float) -> str:
    """Return a duration for people, rounded up."""
    if seconds < 120:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{math.ceil(minutes / 60)} h"


def _patience(waited: float, max_wait: float, most: float | None) -> str:
    bound = f"its max_wait of {max_wait:g} s"
    if most is not None and most < max_wait:
        bound = f"the {most:g} s that its client's timeout leaves for waiting"
    return (
        f"that is longer than {bound}" if waited < 0.5 else f"it waited {waited:.0f} s of {bound}"
    )


def _figures(limiter: Limiter, wait: float, now: float) -> tuple[tuple[str, str], ...]:
    """Return RateLimit fields for the limit that blocked the call: quota, window, the part that
    remains, and the seconds until it is reset.

    Source: draft-ietf-httpapi-ratelimit-headers.
    """
    counter = limiter.window if isinstance(limiter, Gate) else limiter
    if not isinstance(counter, CountingLimiter) or counter.unit is LimitUnit.MONEY:
        return ()
    assert isinstance(limiter, Gate | CountingLimiter)  # noqa: S101 - its counter is one
    window = f";w={MINUTE_SECONDS:.0f}" if isinstance(counter, SlidingWindow) else ""
    left, reset = (
        max(0, limiter.remaining(now)),
        "" if wait in {0, NEVER} else f";t={math.ceil(wait)}",
    )
    return (
        ("RateLimit-Policy", f'"{limiter.kind}";q={counter.limit}{window}'),
        ("RateLimit", f'"{limiter.kind}";r={left}{reset}'),
    )


def best_failure(
    failed: Sequence[AttemptResult], may_run: Callable[[Candidate], bool]
) -> AttemptResult:
    """Return the error response of the candidate that was tried first; else the first of any other.

    A response that rejects Sidecar's credential is never returned: the client would take its own
    key for invalid.

    Raises:
        ProxyError: No provider answered, or all of them rejected Sidecar's credential. It is final
            if all were unreachable and `may_run` is false for each: agents would retry for minutes
            without a message.
    """
    first = failed[0].candidate
    for attempted in [*(a for a in reversed(failed) if a.candidate is first), *failed]:
        if attempted.reply is not None and attempted.error_class is not ErrorClass.AUTH_FAILED:
            return attempted
    refusals = [each.refusal for each in failed if each.refusal is not None]
    if len(refusals) == len(failed):
        raise refusals[0]
    tried = _tried(failed)
    rejected = [each for each in failed if each.error_class is ErrorClass.AUTH_FAILED]
    if rejected:
        names = ", ".join(f"{each.candidate.credential_name or 'none'}" for each in rejected)
        raise ProxyError(
            ErrorKind.CREDENTIAL_REJECTED,
            "upstream_credential_rejected: the provider rejects Sidecar's own credential "
            f"({names}), not your key. Tried: {tried}",
        )
    last = failed[-1]
    if last.in_stream:
        slow = last.error_class is ErrorClass.RATE_LIMITED
        kind = ErrorKind.RATE_LIMITED if slow else ErrorKind.OVERLOADED
        raise ProxyError(kind, f"the provider answers with errors. Tried: {tried}", retry_after=5.0)
    faults = {each.error.fault for each in failed if each.error is not None}
    absent = faults <= _ABSENT and not any(may_run(each.candidate) for each in failed)
    raise ProxyError(
        _kind_of(failed), f"no provider could be reached. Tried: {tried}", final=absent
    )


def lost(failed: Sequence[AttemptResult]) -> ProxyError:
    """Return the error for a call whose last request may have been served.

    An earlier error response is not returned: it could make the client retry the call, which would
    then be served twice.
    """
    name = failed[-1].candidate.provider.name
    return ProxyError(
        _kind_of(failed[-1:]),
        f"provider {name} took the request and gave no answer, so that it may have been served: "
        "it is not sent again, here or elsewhere, unless the route says `retry: at-least-once`. "
        f"Tried: {_tried(failed)}",
    )


def _kind_of(failed: Sequence[AttemptResult]) -> ErrorKind:
    faults = {each.error.fault for each in failed if each.error is not None}
    return {
        frozenset({Fault.TIMEOUT}): ErrorKind.UPSTREAM_TIMEOUT,
        frozenset({Fault.PROTOCOL}): ErrorKind.UPSTREAM_INVALID,
    }.get(frozenset(faults), ErrorKind.UPSTREAM_UNREACHABLE)


def _tried(failed: Sequence[AttemptResult]) -> str:
    reasons = (f"{each.candidate.provider.name}: {each.reason}" for each in failed)
    return "; ".join(dict.fromkeys(reasons))

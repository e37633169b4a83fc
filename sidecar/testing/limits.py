"""Checks of a vendor: classification, rate limits and estimates.

Nothing that a server may send makes a method raise, and every result is in range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from sidecar.plugin_api.error_class import Classification, ErrorClass, UpstreamResponse
from sidecar.plugin_api.vendor import Quota, SubscriptionWindow, Vendor
from sidecar.records import Usage

QUOTED = "a sentence that was sent"
BODIES = (
    b"", b"{}", b"[]", b"not json", b"\xff", b"[" * 5000, b'{"error":{"code":null}}',
    b'{"error":"text"}', b'{"error":[{"message":5}]}', b'[{"error":{"code":429}}]',
    b'{"error":{"code":[],"type":{},"status":1e999,"message":["x"],"details":"x","metadata":7}}',
    b'{"error":{"details":[null,{"violations":[1,{"quotaId":2}],"retryDelay":-1}],'
    b'"metadata":{"retry_after_seconds":1' + b"0" * 400 + b',"headers":[],'
    b'"limit_source":[],"reason":{}}}}',
)  # fmt: skip
"""Malformed bodies, some of which vendors do send."""
_QUOTING = tuple(body.replace(b"@", QUOTED.encode()) for body in (
    b'{"error":{"message":"@","code":"@","type":"@","status":"@"}}', b'{"error":"@"}',
    b'{"message":"@","code":"@","type":"@"}',
))  # fmt: skip
VALUES = (
    "", "0", "-1", "1", "1.5", "nan", "inf", "1e999", "many", "9" * 400, "9" * 15, "6m0s", "12ms",
    "1h2m3.5s", "h", "1788600000", "1788600000000", "rejected", "allowed", "\x00", "²", "٣", '"5"',
    "2026-11-25T10:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "yesterday",
    "2026-02-30T00:00:00Z", "Wed, 25 Nov 2026 10:00:00 GMT", "Fri, 99 Foo",
    "Wed, 25 Nov 2026 10:00:00 +99999999999999999999",
)  # fmt: skip
"""Valid and invalid values of headers."""
_STATUSES = (200, 400, 401, 402, 403, 404, 408, 412, 413, 422, 429, 434, 498, 499, 500, 503, 529)
_WORDS = ("", "0", "99", "200", "401", "429", "503", "999", "-1", "x" * 80, "ü", "\ud800", "\x00")
_MODELS = ("", "m", "a/b:c", "m:free", "ft:", "ft:m:x", "models/", "-2026-01-01", "m-latest-latest")
_USAGES = (
    Usage(),
    Usage(0, 0),
    Usage(5, None),
    Usage(None, 5, 9),
    Usage(5, 5, 9, 9, 9, 99),
    Usage(1_000_000_000, 1_000_000_000, 1_000_000_000),
)


class EveryHeader(Mapping[str, str]):
    """Response headers that have one value under every name.

    So a vendor's own headers are among them, whatever their names are.
    """

    def __init__(self, value: str) -> None:
        self._value = value

    def __getitem__(self, name: str) -> str:
        """Return the value, whatever the name."""
        return self._value

    def __iter__(self) -> Iterator[str]:
        """Iterate over a few of the names."""
        return iter(("retry-after", "date", "x-ratelimit-limit-requests"))

    def __len__(self) -> int:
        """Return the number of names that are iterated over."""
        return 3


def checks(vendor: Vendor) -> dict[str, Callable[[], Iterator[str]]]:
    """Return the checks of one vendor by the method that they call; each yields messages."""
    return {
        "classify": lambda: _classification(vendor),
        "classify_event": lambda: _event_classification(vendor),
        "read_quota": lambda: _quotas(vendor),
        "read_subscription": lambda: _subscriptions(vendor),
        "family": lambda: _families(vendor),
        "rate_limited_tokens": lambda: _rate_limited_tokens(vendor),
        "estimate": lambda: _estimates(vendor),
    }


def quota_problems(quotas: object) -> Iterator[str]:
    """Yield what is wrong with a result of `read_quota`."""
    if not isinstance(quotas, tuple):
        yield f"read_quota returns {type(quotas).__name__}; return a tuple"
        return
    for quota in quotas:
        if not isinstance(quota, Quota):
            yield f"read_quota returns {quota!r} in its tuple; return Quota objects only"
            return
        if quota.limit is not None and quota.limit <= 0:
            yield f"read_quota returns the limit {quota.limit}; leave out a limit below 1"
        if quota.remaining is not None and not 0 <= quota.remaining <= (quota.limit or math.inf):
            left = f"{quota.remaining} of {quota.limit}"
            yield f"read_quota returns {left} remaining; keep it from 0 to the limit"
        for name, seconds in (("reset", quota.reset), ("window", quota.window)):
            if seconds is not None and not 0 <= seconds < math.inf:
                yield f"read_quota returns a {name} of {seconds} s; return a finite one, or None"
    windows = [(quota.kind, quota.window) for quota in quotas]
    if len(set(windows)) < len(windows):
        yield "read_quota returns two quotas of one kind and window; return the tighter one"


def classification_problems(classification: object, status: int) -> Iterator[str]:
    """Yield what is wrong with a result of `classify` for a response with this status."""
    if not isinstance(classification, Classification) or not isinstance(
        classification.error_class, ErrorClass
    ):
        yield f"classify returns {classification!r}; return a Classification"
        return
    if status < 400 and classification.error_class is not ErrorClass.OK:
        yield f"classify returns {classification.error_class.name} for a plain {status}; return OK"
    if status >= 400 and classification.error_class is ErrorClass.OK:
        yield f"classify returns OK for a {status}; return the class of the error"
    if classification.wait is not None and not 0 <= classification.wait < math.inf:
        yield f"classify returns a wait of {classification.wait} s; return a finite one, or None"
    if QUOTED in classification.reason:
        yield "classify returns the error's message as the reason; use a code: it goes into logs"


def _classification(vendor: Vendor) -> Iterator[str]:
    answers = [UpstreamResponse(status, {}) for status in range(100, 600)]
    for status in _STATUSES:
        answers += [UpstreamResponse(status, {}, body) for body in (*BODIES, *_QUOTING)]
        answers += [UpstreamResponse(status, EveryHeader("5"), body) for body in BODIES]
        answers += [UpstreamResponse(status, EveryHeader(value), b"{}") for value in VALUES]
    for answer in answers:
        yield from classification_problems(vendor.classify(answer), answer.status)


def _event_classification(vendor: Vendor) -> Iterator[str]:
    for word in _WORDS:
        found: object = vendor.classify_event(word)
        if not isinstance(found, ErrorClass):
            yield f"classify_event({word!r}) returns {found!r}; return an ErrorClass"


def subscription_problems(windows: object) -> Iterator[str]:
    """Yield what is wrong with a result of `read_subscription`."""
    if not isinstance(windows, tuple) or not all(
        isinstance(each, SubscriptionWindow) for each in windows
    ):
        yield f"read_subscription returns {windows!r}; return a tuple of SubscriptionWindow objects"
        return
    for window in windows:
        if not 0 <= window.used < math.inf:
            yield f"read_subscription returns a used share of {window.used}; return a finite one"
        if window.reset is not None and not 0 <= window.reset < math.inf:
            yield (
                f"read_subscription returns a reset of {window.reset} s; return a finite one, or "
                "None"
            )


def _subscriptions(vendor: Vendor) -> Iterator[str]:
    if vendor.read_subscription({}, 0.0) != ():
        yield "read_subscription returns a window without headers; return ()"
    for value in VALUES:
        for now in (0.0, 1_788_600_000.0):
            yield from subscription_problems(vendor.read_subscription(EveryHeader(value), now))


def _quotas(vendor: Vendor) -> Iterator[str]:
    if vendor.read_quota({}, 0.0) != ():
        yield "read_quota returns a quota without headers; return ()"
    for value in VALUES:
        for now in (0.0, 1_788_600_000.0):
            yield from quota_problems(vendor.read_quota(EveryHeader(value), now))


def _families(vendor: Vendor) -> Iterator[str]:
    for model in _MODELS:
        family: object = vendor.family(model)
        if not isinstance(family, str):
            yield f"family({model!r}) returns {family!r}; return a string"
        elif vendor.family(family) != family:
            yield f"family({family!r}) differs from family({model!r}); return the same family"


def _rate_limited_tokens(vendor: Vendor) -> Iterator[str]:
    for usage in _USAGES:
        counted = vendor.rate_limited_tokens(usage)
        reported = (usage.input_tokens or 0, usage.output_tokens or 0)
        for each, most in zip(counted, reported, strict=True):
            if not 0 <= each <= most:
                what = f"{each} of {most} reported tokens"
                yield f"rate_limited_tokens returns {what}; return at most what was reported"


def _estimates(vendor: Vendor) -> Iterator[str]:
    for size in (0, 1, 1 << 30):
        tokens, output = vendor.estimate(size, None)
        if tokens < 0 or output is not None:
            what = f"({tokens}, {output}) for {size} bytes without a bound"
            yield f"estimate returns {what}; return input tokens from 0, and None"
        for bound in (0, 1, 1 << 40):
            tokens, output = vendor.estimate(size, bound)
            if tokens < 0 or output is None or not 0 <= output <= bound:
                what = f"({tokens}, {output}) for {size} bytes with the bound {bound}"
                yield f"estimate returns {what}; return both from 0, the output at most the bound"

"""What every vendor keeps when it speaks of limits, as checks: nothing that a server may send makes
it raise, and what it says is always in range.

`checks` gives them for one vendor; `sidecar.testing` runs them for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from sidecar.plugin_api.error_class import Classification, ErrorClass, UpstreamResponse
from sidecar.plugin_api.vendor import Quota, Vendor
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
"""Bodies that no vendor should send, and some will."""
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
"""Values of headers, sane and insane."""
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
    """Headers of an answer that has every header there is, each with the same value; so that a
    vendor's own are among them, whatever they are called."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __getitem__(self, name: str) -> str:
        """The value, under any name."""
        return self._value

    def __iter__(self) -> Iterator[str]:
        """A few of the names."""
        return iter(("retry-after", "date", "x-ratelimit-limit-requests"))

    def __len__(self) -> int:
        """As many as are iterated over."""
        return 3


def checks(vendor: Vendor) -> dict[str, Callable[[], Iterator[str]]]:
    """The checks of one vendor, by the method that they call; each yields what is wrong."""
    return {
        "judge": lambda: _judging(vendor),
        "judge_event": lambda: _judging_words(vendor),
        "read_quota": lambda: _quotas(vendor),
        "family": lambda: _families(vendor),
        "counted": lambda: _counting(vendor),
        "estimate": lambda: _estimating(vendor),
    }


def quota_problems(quotas: object) -> Iterator[str]:
    """What is wrong with what `read_quota` returned."""
    if not isinstance(quotas, tuple):
        yield f"read_quota gives {type(quotas).__name__}, no tuple"
        return
    for quota in quotas:
        if not isinstance(quota, Quota):
            yield f"read_quota gives {quota!r}, which is no Quota"
            return
        if quota.limit is not None and quota.limit <= 0:
            yield f"read_quota gives the limit {quota.limit}"
        if quota.remaining is not None and not 0 <= quota.remaining <= (quota.limit or math.inf):
            yield f"read_quota gives {quota.remaining} of {quota.limit} remaining"
        for name, seconds in (("reset", quota.reset), ("window", quota.window)):
            if seconds is not None and not 0 <= seconds < math.inf:
                yield f"read_quota gives a {name} of {seconds} s"
    windows = [(quota.kind, quota.window) for quota in quotas]
    if len(set(windows)) < len(windows):
        yield "read_quota gives two quotas of the same kind and window"


def judgement_problems(classification: object, status: int) -> Iterator[str]:
    """What is wrong with what `judge` made of an answer of that status."""
    if not isinstance(classification, Classification) or not isinstance(
        classification.error_class, ErrorClass
    ):
        yield f"judge gives {classification!r}, which is no Judgement"
        return
    if status < 400 and classification.error_class is not ErrorClass.OK:
        yield f"judges a plain {status} as {classification.error_class}"
    if status >= 400 and classification.error_class is ErrorClass.OK:
        yield f"takes a {status} for a good answer"
    if classification.wait is not None and not 0 <= classification.wait < math.inf:
        yield f"judge says to wait {classification.wait} s"
    if QUOTED in classification.reason:
        yield "judge quotes an error's message as the reason, which goes into logs"


def _judging(vendor: Vendor) -> Iterator[str]:
    answers = [UpstreamResponse(status, {}) for status in range(100, 600)]
    for status in _STATUSES:
        answers += [UpstreamResponse(status, {}, body) for body in (*BODIES, *_QUOTING)]
        answers += [UpstreamResponse(status, EveryHeader("5"), body) for body in BODIES]
        answers += [UpstreamResponse(status, EveryHeader(value), b"{}") for value in VALUES]
    for answer in answers:
        yield from judgement_problems(vendor.classify(answer), answer.status)


def _judging_words(vendor: Vendor) -> Iterator[str]:
    for word in _WORDS:
        verdict: object = vendor.classify_event(word)
        if not isinstance(verdict, ErrorClass):
            yield f"judges the event {word!r} as {verdict!r}, which is no Verdict"


def _quotas(vendor: Vendor) -> Iterator[str]:
    if vendor.read_quota({}, 0.0) != ():
        yield "read_quota reads a quota out of no headers"
    for value in VALUES:
        for now in (0.0, 1_788_600_000.0):
            yield from quota_problems(vendor.read_quota(EveryHeader(value), now))


def _families(vendor: Vendor) -> Iterator[str]:
    for model in _MODELS:
        family: object = vendor.family(model)
        if not isinstance(family, str):
            yield f"family({model!r}) is {family!r}, no text"
        elif vendor.family(family) != family:
            yield f"family({family!r}) is another one, though it is the family of {model!r}"


def _counting(vendor: Vendor) -> Iterator[str]:
    for usage in _USAGES:
        counted = vendor.counted(usage)
        reported = (usage.input_tokens or 0, usage.output_tokens or 0)
        for each, most in zip(counted, reported, strict=True):
            if not 0 <= each <= most:
                yield f"counts {each} of {most} reported tokens"


def _estimating(vendor: Vendor) -> Iterator[str]:
    for size in (0, 1, 1 << 30):
        tokens, output = vendor.estimate(size, None)
        if tokens < 0 or output is not None:
            yield f"estimates {tokens} and {output} tokens for {size} bytes without a bound"
        for bound in (0, 1, 1 << 40):
            tokens, output = vendor.estimate(size, bound)
            if tokens < 0 or output is None or not 0 <= output <= bound:
                yield f"estimates {tokens} and {output} tokens for {size} bytes, at most {bound}"

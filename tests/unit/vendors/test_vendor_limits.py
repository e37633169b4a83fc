"""What every bundled vendor says about its limits: refusals, errors that open a stream, what is
left, which models share, which tokens count. Nothing that a server may send makes it raise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from recorded_limits import EVENTS, MINUTE, QUOTAS, REFUSALS, SENT, Refused

from sidecar import Endpoint, ErrorClass, Quota, QuotaKind, UpstreamResponse, Usage, error_code
from sidecar.plugin_api.error_class import error_text
from sidecar.plugin_api.manager import discover
from sidecar.plugin_api.retry_after import (
    MAX_RETRY_AFTER_SECONDS,
    duration,
    retry_after,
    seconds_until,
    wait_in_message,
)
from sidecar.testing.limits import (
    BODIES,
    VALUES,
    EveryHeader,
    classification_problems,
    quota_problems,
)

REGISTRY = discover()
VENDORS = sorted(REGISTRY.vendors)


@pytest.mark.parametrize("refused", REFUSALS, ids=lambda each: f"{each.vendor}: {each.name}")
def test_classify_of_each_recorded_refusal(refused: Refused) -> None:
    assert REGISTRY.vendors[refused.vendor].classify(refused.answer) == refused.judgement


def test_recorded_refusals_cover_every_vendor() -> None:
    """Echo never refuses for a limit."""
    assert {refused.vendor for refused in REFUSALS} == set(VENDORS) - {"echo"}


@pytest.mark.parametrize("status", [200, 201, 204, 304, 399])
@pytest.mark.parametrize("refused", REFUSALS[::7], ids=lambda each: f"{each.vendor}: {each.name}")
def test_classify_of_a_success_is_ok_whatever_the_body(refused: Refused, status: int) -> None:
    answer = refused.answer
    judged = REGISTRY.vendors[refused.vendor].classify(
        UpstreamResponse(status, answer.headers, answer.body)
    )
    assert judged.error_class is ErrorClass.OK


@pytest.mark.parametrize(
    ("vendor", "dialect", "endpoint", "start", "verdict"),
    EVENTS,
)
def test_classify_event_of_each_error_code(
    vendor: str, dialect: str, endpoint: str, start: bytes, verdict: ErrorClass
) -> None:
    meter = REGISTRY.dialects[dialect].meter(Endpoint(endpoint, counts=True), "text/event-stream")
    meter.feed(start)
    assert meter.error is not None
    assert REGISTRY.vendors[vendor].classify_event(meter.error) is verdict


def test_meter_reports_the_error_of_a_200_response() -> None:
    meter = REGISTRY.dialects["openai"].meter(Endpoint("chat", counts=True), "application/json")
    meter.feed(b'{"error":{"code":502,"message":"x"}}')
    meter.usage()
    assert meter.error is not None
    assert REGISTRY.vendors["openrouter"].classify_event(meter.error) is ErrorClass.OVERLOADED


@pytest.mark.parametrize(
    ("vendor", "name", "headers", "quotas"), QUOTAS, ids=[f"{row[0]}: {row[1]}" for row in QUOTAS]
)
def test_read_quota_of_each_recorded_response(
    vendor: str, name: str, headers: dict[str, str], quotas: list[Quota]
) -> None:
    found = REGISTRY.vendors[vendor].read_quota(headers, SENT)
    assert list(found) == quotas
    assert list(quota_problems(found)) == []


def test_read_quota_ignores_a_wrong_local_clock() -> None:
    headers = {
        "date": "Wed, 25 Nov 2026 10:00:00 GMT",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-reset": "2026-11-25T10:00:07Z",
    }
    right = (Quota(QuotaKind.REQUESTS, 50, None, 7.0, MINUTE),)
    for clock in (0.0, SENT - 86400.0, SENT + 3600.0):
        assert REGISTRY.vendors["anthropic"].read_quota(headers, clock) == right


FAMILIES = [
    ("anthropic", "claude-opus-4-20250514", "claude-opus-4"),
    ("anthropic", "claude-opus-4-8", "claude-opus-4"),
    ("anthropic", "claude-opus-4-5-20251101", "claude-opus-4"),
    ("anthropic", "claude-sonnet-4-6", "claude-sonnet-4"),
    ("anthropic", "claude-opus-5", "claude-opus-5"),
    ("anthropic", "claude-opus-5-5", "claude-opus-5-5"),
    ("anthropic", "claude-sonnet-5", "claude-sonnet-5"),
    ("anthropic", "claude-fable-5", "claude-fable-5"),
    ("anthropic", "claude-fable-5-1", "claude-fable-5"),
    ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
    ("anthropic", "claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
    ("anthropic", "claude-opus-41", "claude-opus-41"),
    ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
    ("openai", "gpt-4o", "gpt-4o"),
    ("openai", "gpt-4-0613", "gpt-4"),
    ("openai", "gpt-5-mini", "gpt-5-mini"),
    ("openai", "ft:gpt-4o-mini-2024-07-18:acme::7p4l", "gpt-4o-mini"),
    ("openai", "text-embedding-3-small", "text-embedding-3-small"),
    ("gemini", "models/gemini-3-pro", "gemini-3-pro"),
    ("gemini", "gemini-3-flash", "gemini-3-flash"),
    ("azure", "my-gpt-2024-08-06", "my-gpt-2024-08-06"),
    ("xai", "grok-4-0709", "grok-4"),
    ("xai", "grok-4-latest", "grok-4"),
    ("xai", "grok-4.20-0309-reasoning", "grok-4.20-0309-reasoning"),
    ("moonshot", "kimi-k2.6", "all models"),
    ("moonshot", "kimi-latest", "all models"),
    ("openrouter", "a/b:free", "free models"),
    ("openrouter", "c/d:free", "free models"),
    ("openrouter", "a/b", "a/b"),
    ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
    ("ollama", "qwen3:8b", "qwen3:8b"),
]


@pytest.mark.parametrize(("vendor", "model", "family"), FAMILIES)
def test_family_of_models_that_share_limits(vendor: str, model: str, family: str) -> None:
    assert REGISTRY.vendors[vendor].family(model) == family


@pytest.mark.parametrize(
    ("vendor", "counted"),
    [("anthropic", (312, 89)), ("groq", (312, 89)), ("openai", (5312, 89)), ("gemini", (5312, 89))],
)
def test_rate_limited_tokens_of_each_vendor(vendor: str, counted: tuple[int, int]) -> None:
    usage = Usage(5312, 89, cache_read_tokens=5000, cache_write_tokens=300, reasoning_tokens=40)
    assert REGISTRY.vendors[vendor].rate_limited_tokens(usage) == counted


@pytest.mark.parametrize("vendor", VENDORS)
def test_rate_limited_tokens_of_unknown_usage_are_zero(vendor: str) -> None:
    found = REGISTRY.vendors[vendor]
    assert found.rate_limited_tokens(Usage()) == (0, 0)
    assert found.rate_limited_tokens(Usage(5, None, cache_read_tokens=9)) in {(0, 0), (5, 0)}


@pytest.mark.parametrize(
    ("vendor", "tokens"),
    [("openai", 250), ("anthropic", 333), ("deepseek", 303), ("moonshot", 285)],
)
def test_estimate_of_a_body_of_each_vendor(vendor: str, tokens: int) -> None:
    assert REGISTRY.vendors[vendor].estimate(1000, 64) == (tokens, 64)
    assert REGISTRY.vendors[vendor].estimate(1000, None) == (tokens, None)


REASONS = [
    (b'{"error":{"code":"a","type":"b"}}', "a"),
    (b'{"error":{"code":null,"type":"b"}}', "b"),
    (b'{"error":{"code":503,"status":"UNAVAILABLE"}}', "UNAVAILABLE"),
    (b'{"error":{"code":3505}}', "3505"),
    (b'{"error":{"code":true,"type":"b"}}', "b"),
    (b'{"error":{"code":"one two","type":"b"}}', "b"),
    (b'[{"error":{"code":"a"}}]\n', "a"),
    (b'{"type":"error","error":{"type":"b"}}', "b"),
    (b'{"object":"error","type":"b","code":"3505"}', "3505"),
    (b'{"error":"text"}', ""),
    (b"[]", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code"), REASONS)
def test_error_code_of_each_error_shape(body: bytes, code: str) -> None:
    assert error_code(body) == code


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":"a"}}', "a"),
        (b'{"error":"b"}', "b"),
        (b'{"message":"c","code":"x"}', "c"),
        (b'{"detail":"d"}', "d"),
        (b'{"detail":[]}', ""),
        (b'[{"error":{"message":"e"}}]', "e"),
        (b"", ""),
    ],
)
def test_error_text_of_each_error_shape(body: bytes, text: str) -> None:
    assert error_text(body) == text


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 6m0s.", 360.0),
        ("please try again after 1 seconds", 1.0),
        ("Please retry in 22.5s.", 22.5),
        ("retry after 20 seconds", 20.0),
        ("Try again in 2 hours, 5 minutes", 7500.0),
        ("try again in 860ms", 0.86),
        ("Try again in 21 days", 21 * 86400.0),
        ("try again in 3 months", None),
        ("try again in 5", None),
        ("try again in a moment", None),
        ("it took 5s, try it again", None),
    ],
)
def test_wait_in_message_of_each_wording(message: str, seconds: float | None) -> None:
    assert wait_in_message(message) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1h2m3.5s", 3723.5),
        ("2026-11-25T10:00:07Z", 7.0),
        ("2026-11-25T12:00:07.5+02:00", 7.5),
        ("2026-11-25T10:00:07", 7.0),
        ("Wed, 25 Nov 2026 10:00:07 GMT", 7.0),
        (str(SENT + 7), 7.0),
        (str((SENT + 7) * 1000), 7.0),
        (str(SENT - 7), 0.0),
        ("2026-11-25T09:00:00Z", 0.0),
        ("2036-11-25T09:00:00Z", None),
        ("9" * 15, None),
        ("-7", None),
        ("6m 0s", None),
        ("", None),
    ],
)
def test_seconds_until_parses_every_format(text: str, seconds: float | None) -> None:
    assert seconds_until(text, SENT) == seconds


TEXTS = st.one_of(
    st.sampled_from(VALUES),
    st.text(max_size=40),
    st.from_regex(r"[0-9.]{1,400}[a-z]{0,2}", fullmatch=True),
    st.datetimes().map(lambda each: each.isoformat() + "Z"),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["error", "code", "type", "message", "X-RateLimit-Reset"]), inner
        ),
    ),
    max_leaves=4,
)


def having(*names: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects with any of these members, each of which may be anything."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON) | more)


VIOLATIONS = st.lists(having("quotaId", "quotaValue"), max_size=2)
ERRORS = having(
    "code", "type", "status", "message",
    metadata=having("limit_source", "reason", "headers", "retry_after_seconds"),
    details=st.one_of(
        having("error_code"),
        st.lists(having("reason", "retryDelay", violations=VIOLATIONS), max_size=2),
    ),
)  # fmt: skip
BYTES = st.one_of(
    st.sampled_from(BODIES),
    st.binary(max_size=80),
    JSON.map(lambda value: json.dumps(value).encode()),
    ERRORS.map(lambda error: json.dumps(error).encode()),
    ERRORS.map(lambda error: json.dumps({"error": error}).encode()),
)
STATUSES = (400, 402, 403, 404, 412, 429, 434, 498, 503)


@given(status=st.integers(100, 599), body=BYTES, value=TEXTS, bare=st.booleans())
@examples(60)
def test_classify_never_raises(status: int, body: bytes, value: str, bare: bool) -> None:
    headers: Any = {} if bare else EveryHeader(value)
    for name, vendor in REGISTRY.vendors.items():
        for each in (status, *STATUSES):
            classification = vendor.classify(UpstreamResponse(each, headers, body))
            assert list(classification_problems(classification, each)) == [], name


@given(values=st.lists(TEXTS, min_size=1, max_size=5), now=st.floats(0, 4e9))
@examples(60)
def test_read_quota_never_raises(values: list[str], now: float) -> None:
    class Mixed(EveryHeader):
        """A value for each header, by its name."""

        def __getitem__(self, name: str) -> str:
            return values[sum(name.encode()) % len(values)]

    for headers in (EveryHeader(values[0]), Mixed("")):
        for name, vendor in REGISTRY.vendors.items():
            quotas = vendor.read_quota(headers, now)
            assert list(quota_problems(quotas)) == [], name
            assert all(
                quota.reset is None or quota.reset <= MAX_RETRY_AFTER_SECONDS for quota in quotas
            ), name


@given(text=st.one_of(TEXTS, st.text(max_size=90)))
@examples(60)
def test_classify_event_and_family_never_raise(text: str) -> None:
    for name, vendor in REGISTRY.vendors.items():
        assert vendor.classify_event(text) in set(ErrorClass), name
        assert vendor.family(vendor.family(text)) == vendor.family(text), name


@given(text=TEXTS)
def test_waits_are_finite_or_none(text: str) -> None:
    """Whatever is written where a wait is expected."""
    found = (
        duration(text),
        wait_in_message(text),
        wait_in_message(f"try again in {text}"),
        seconds_until(text, SENT),
        retry_after({"retry-after": text, "date": "Wed, 25 Nov 2026 10:00:00 GMT"}),
        retry_after({"retry-after-ms": text}),
    )
    assert all(seconds is None or 0 <= seconds < float("inf") for seconds in found)

"""What vendors answer about their limits, as documented or recorded, and what a person reads out of
it: refusals, errors that open a stream, and rate headers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from recorded_answers import sse

from sidecar import Classification, ErrorClass, Quota, QuotaKind, UpstreamResponse

DATE = "Wed, 25 Nov 2026 10:00:00 GMT"
SENT = 1_795_600_800
"""The same moment, in epoch seconds."""
MINUTE, DAY, MONTH = 60.0, 86400.0, 30 * 86400.0
NOW_FULL = "2026-11-25T10:00:00Z"

_SLOW, _LOAD, _SPENT = ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED, ErrorClass.QUOTA_EXHAUSTED
_KEY, _MISSING, _CLIENT = (
    ErrorClass.AUTH_FAILED,
    ErrorClass.MODEL_NOT_FOUND,
    ErrorClass.CLIENT_ERROR,
)


@dataclass(frozen=True)
class Refused:
    """One refusal on record."""

    vendor: str
    name: str
    status: int
    body: Any
    verdict: ErrorClass
    reason: str
    wait: float | None = None
    whole: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    resets: bool = False

    @property
    def answer(self) -> UpstreamResponse:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return UpstreamResponse(self.status, self.headers, body)

    @property
    def judgement(self) -> Classification:
        return Classification(self.verdict, self.reason, self.wait, self.whole, self.resets)


def openai(message: str, kind: str, code: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind: str, message: str, **details: str) -> dict[str, object]:
    error: dict[str, object] = {"type": kind, "message": message}
    if details:
        error["details"] = details
    return {"type": "error", "error": error, "request_id": "req_1"}


def google(code: int, status: str, message: str, *details: dict[str, object]) -> dict[str, object]:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return {"error": error}


def violations(*pairs: tuple[str, str]) -> dict[str, object]:
    rows = [{"quotaId": name, "quotaValue": value} for name, value in pairs]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": rows}


def retry_info(delay: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def reason_info(reason: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}


def openrouter(code: int, message: str, **metadata: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "metadata": metadata}}


RATE = "Rate limit reached for gpt-5 in organization org-1 on "
QUOTA = "You exceeded your current quota, please check your plan and billing details."
UNIFIED = "anthropic-ratelimit-unified-"

REFUSALS = [
    Refused("openai", "requests by the minute", 429,
            openai(RATE + "requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.",
                   "requests", "rate_limit_exceeded"), _SLOW, "429 rate_limit_exceeded", 20.0),
    Refused("openai", "a header is more exact than the message", 429,
            openai(RATE + "tokens per min (TPM): Limit 1. Please try again in 6ms.", "tokens", "rate_limit_exceeded"),
            _SLOW, "429 rate_limit_exceeded", 0.25, headers={"retry-after-ms": "250", "retry-after": "1"}),
    Refused("openai", "requests by the day", 429,
            openai(RATE + "requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.",
                   "requests", "rate_limit_exceeded"), _SPENT, "429 rate_limit_exceeded", 432.0),
    Refused("openai", "requests by the day, of which one comes back soon", 429,
            openai(RATE + "requests per day (RPD): Limit 10000, Used 10000, Requested 1. Please try again in 8.64s.",
                   "requests", "rate_limit_exceeded"), _SLOW, "429 rate_limit_exceeded", 8.64),
    Refused("openai", "larger than the limit", 429,
            openai("Request too large for gpt-5 in organization org-1 on tokens per min (TPM): Limit 30000, "
                   "Requested 46000.", "tokens", "rate_limit_exceeded"),
            _CLIENT, "429 rate_limit_exceeded: larger than the limit"),
    Refused("openai", "no money", 429, openai(QUOTA, "insufficient_quota", "insufficient_quota"),
            _SPENT, "429 insufficient_quota", whole=True),
    Refused("openai", "no credits, by the broader type", 429, openai("x", "insufficient_quota", "brand_new_code"),
            _SPENT, "429 brand_new_code", whole=True),
    *(Refused("openai", code, 429, openai("x", "insufficient_quota", code), _SPENT, f"429 {code}", whole=True)
      for code in ("credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded",
                   "organization_usage_limit_exceeded", "billing_hard_limit_reached", "billing_not_active")),
    Refused("openai", "a ChatGPT login's window, by seconds", 429,
            {"error": {"type": "usage_limit_reached", "plan_type": "plus", "resets_in_seconds": 90}},
            _SPENT, "429 subscription used up", 90.0, whole=True, resets=True),
    Refused("openai", "a ChatGPT login's window, by time", 429,
            {"error": {"type": "usage_limit_reached", "resets_at": SENT + 60}},
            _SPENT, "429 subscription used up", 60.0, whole=True, headers={"date": DATE}, resets=True),
    Refused("openai", "a ChatGPT login's window of unknown end", 429, {"error": {"type": "usage_limit_reached"}},
            _SPENT, "429 subscription used up", whole=True),
    Refused("openai", "no room in the flex tier", 429, openai("x", "server_error", "flex_unavailable"),
            _LOAD, "429 flex_unavailable"),
    Refused("openai", "too sudden", 503, openai("x", "server_error", "slow_down"), _SLOW, "503 slow_down", 30.0,
            headers={"retry-after": "30"}),
    Refused("openai", "overload", 503, openai("x", "service_unavailable_error", "server_is_overloaded"),
            _LOAD, "503 server_is_overloaded"),
    Refused("openai", "a wrong key", 401, openai("x", "invalid_request_error", "invalid_api_key"),
            _KEY, "401 invalid_api_key", whole=True),
    Refused("openai", "no such model", 404, openai("x", "invalid_request_error", "model_not_found"),
            _MISSING, "404 model_not_found"),
    Refused("openai", "another country", 403, openai("x", "request_forbidden", "unsupported_country_region_territory"),
            _MISSING, "403 unsupported_country_region_territory"),
    Refused("openai", "too long", 400, openai("x", "invalid_request_error", "context_length_exceeded"),
            _CLIENT, "400 context_length_exceeded"),
    Refused("openai", "too large", 413, b"<html>", _CLIENT, "413"),
    Refused("openai", "its own failure", 500, openai("x", "server_error"), _LOAD, "500 server_error"),
    Refused("openai", "a date to wait for", 503, b"", _LOAD, "503", 30.0,
            headers={"retry-after": "Wed, 25 Nov 2026 10:00:30 GMT", "date": DATE}),
    Refused("openai", "six days", 429, b"", _SLOW, "429", 518400.0, headers={"retry-after": "518400"}),
    *(Refused("openai", f"to wait {hint!r}", 429, b"", _SLOW, "429", headers={"retry-after": hint, "date": DATE})
      for hint in ("soon", "-5", "inf", "nan", "1e999", "Wed, 25 Nov 2026 10:00:30 +99999999999999999999")),

    Refused("anthropic", "a minute's limit", 429,
            anthropic("rate_limit_error", "This request would exceed your organization's rate limit of 30,000 input "
                      "tokens per minute."), _SLOW, "429 rate_limit_error", 12.0, headers={"retry-after": "12"}),
    Refused("anthropic", "too steep a ramp", 429,
            anthropic("rate_limit_error", "x", error_code="ramp_limit_exceeded"), _SLOW, "429 rate_limit_error"),
    *(Refused("anthropic", code, 429, anthropic("rate_limit_error", "x", error_code=code),
              _SPENT, "429 spend limit reached", whole=True)
      for code in ("enforced_spend_limit_reached", "contract_spend_limit_reached")),
    Refused("anthropic", "one's own spend limit", 400,
            anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain "
                      "access on 2026-12-01 at 00:00 UTC."), _SPENT, "400 spend limit reached", whole=True),
    Refused("anthropic", "a workspace's spend limit", 400,
            anthropic("invalid_request_error", "You have reached your specified workspace API usage limits."),
            _SPENT, "400 spend limit reached", whole=True),
    Refused("anthropic", "no credits", 400,
            anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            _SPENT, "400 spend limit reached", whole=True),
    Refused("anthropic", "a prompt that speaks of limits", 400,
            anthropic("invalid_request_error", "messages.0: 'Your credit balance is too low' is not allowed"),
            _CLIENT, "400 invalid_request_error"),
    Refused("anthropic", "billing", 402, anthropic("billing_error", "x"), _SPENT, "402 billing_error", whole=True),
    Refused("anthropic", "five hours of a subscription", 429, anthropic("rate_limit_error", "Error"),
            _SPENT, "429 subscription used up", 3600.0, whole=True,
            headers={"date": DATE, f"{UNIFIED}status": "rejected", f"{UNIFIED}reset": str(SENT + 3600),
                     f"{UNIFIED}representative-claim": "five_hour"}, resets=True),
    Refused("anthropic", "a week of one class of models", 429, anthropic("rate_limit_error", "Error"),
            _SPENT, "429 subscription used up", 7.0,
            headers={"retry-after": "7", f"{UNIFIED}status": "rejected",
                     f"{UNIFIED}representative-claim": "seven_day_opus"}, resets=True),
    Refused("anthropic", "a subscription with overage", 429, anthropic("rate_limit_error", "Error"),
            _SLOW, "429 rate_limit_error",
            headers={f"{UNIFIED}status": "rejected", f"{UNIFIED}overage-status": "allowed_warning"}),
    Refused("anthropic", "overload", 529, anthropic("overloaded_error", "Overloaded"), _LOAD, "529 overloaded_error"),
    Refused("anthropic", "its own failure", 500, anthropic("api_error", "x"), _LOAD, "500 api_error"),
    Refused("anthropic", "a timeout", 504, anthropic("timeout_error", "x"), _LOAD, "504 timeout_error"),
    Refused("anthropic", "a wrong key", 401, anthropic("authentication_error", "invalid x-api-key"),
            _KEY, "401 authentication_error", whole=True),
    Refused("anthropic", "not allowed", 403, anthropic("permission_error", "x"), _MISSING, "403 permission_error"),
    Refused("anthropic", "no such model", 404, anthropic("not_found_error", "model: x"), _MISSING, "404 not_found_error"),
    Refused("anthropic", "too large", 413, anthropic("request_too_large", "x"), _CLIENT, "413 request_too_large"),
    Refused("anthropic", "a conflict", 409, anthropic("conflict_error", "x"), _CLIENT, "409 conflict_error"),

    Refused("gemini", "a minute's limit", 429,
            google(429, "RESOURCE_EXHAUSTED", QUOTA,
                   violations(("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "15")), retry_info("22.5s")),
            _SLOW, "429 RESOURCE_EXHAUSTED", 22.5),
    Refused("gemini", "a minute's limit, OpenAI-shaped", 429,
            [google(429, "RESOURCE_EXHAUSTED", QUOTA, retry_info("22s"))], _SLOW, "429 RESOURCE_EXHAUSTED", 22.0),
    Refused("gemini", "a wait in words", 429,
            google(429, "RESOURCE_EXHAUSTED", QUOTA + "\nPlease retry in 41.2s."), _SLOW, "429 RESOURCE_EXHAUSTED", 41.2),
    Refused("gemini", "a day's limit", 429,
            google(429, "RESOURCE_EXHAUSTED", QUOTA + " Please retry in 41s.",
                   violations(("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "15"),
                              ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250")), retry_info("41s")),
            _SPENT, "429 RESOURCE_EXHAUSTED: daily quota"),
    Refused("gemini", "a project's day", 429,
            google(429, "RESOURCE_EXHAUSTED", QUOTA, violations(("RequestsPerDayPerProject", "250"))),
            _SPENT, "429 RESOURCE_EXHAUSTED: daily quota", whole=True),
    Refused("gemini", "a model that the plan lacks", 429,
            google(429, "RESOURCE_EXHAUSTED", QUOTA + "\n* Quota exceeded for metric: x, limit: 0, model: gemini-3-pro"),
            _SPENT, "429 RESOURCE_EXHAUSTED: the model is not on the plan"),
    Refused("gemini", "a quota of nothing", 429,
            google(429, "RESOURCE_EXHAUSTED", QUOTA, violations(("GenerateRequestsPerDayPerProjectPerModel", "0"))),
            _SPENT, "429 RESOURCE_EXHAUSTED: the model is not on the plan"),
    Refused("gemini", "a limit of 0.5", 429, google(429, "RESOURCE_EXHAUSTED", "limit: 0.5, limit: 05"),
            _SLOW, "429 RESOURCE_EXHAUSTED"),
    Refused("gemini", "no credits", 402,
            google(402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
            _SPENT, "402 RESOURCE_EXHAUSTED", whole=True),
    Refused("gemini", "no credits, as it was said before", 429,
            google(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
            _SPENT, "429 RESOURCE_EXHAUSTED", whole=True),
    Refused("gemini", "a cap on spending", 429,
            google(429, "RESOURCE_EXHAUSTED", "Your project has exceeded its monthly spending cap."),
            _SPENT, "429 RESOURCE_EXHAUSTED", whole=True),
    Refused("gemini", "a wrong key", 400, google(400, "INVALID_ARGUMENT", "x", reason_info("API_KEY_INVALID")),
            _KEY, "400 API_KEY_INVALID", whole=True),
    Refused("gemini", "a suspended project", 403,
            google(403, "PERMISSION_DENIED", "x", reason_info("CONSUMER_SUSPENDED")),
            _KEY, "403 CONSUMER_SUSPENDED", whole=True),
    Refused("gemini", "a leaked key", 403,
            google(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
            _KEY, "403 leaked key", whole=True),
    Refused("gemini", "a region that is not served", 400,
            google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
            _SPENT, "400 FAILED_PRECONDITION", whole=True),
    Refused("gemini", "a file that is not ready", 400,
            google(400, "FAILED_PRECONDITION", "The File x is not in an ACTIVE state and usage is not allowed."),
            _CLIENT, "400 FAILED_PRECONDITION"),
    Refused("gemini", "a wrong request", 400, google(400, "INVALID_ARGUMENT", "x"), _CLIENT, "400 INVALID_ARGUMENT"),
    Refused("gemini", "no such model", 404, google(404, "NOT_FOUND", "x"), _MISSING, "404 NOT_FOUND"),
    Refused("gemini", "overload", 503, google(503, "UNAVAILABLE", "The model is overloaded."), _LOAD, "503 UNAVAILABLE"),
    Refused("gemini", "a deadline", 504, google(504, "DEADLINE_EXCEEDED", "x"), _LOAD, "504 DEADLINE_EXCEEDED"),

    Refused("azure", "a deployment's limit", 429,
            {"error": {"code": "429", "message": "Requests have exceeded token rate limit. Please retry after 20 seconds."}},
            _SLOW, "429", 20.0),
    Refused("azure", "a limit with a header", 429, {"error": {"code": "RateLimitReached", "message": "x"}},
            _SLOW, "429 RateLimitReached", 1.234, headers={"retry-after-ms": "1234", "retry-after": "2"}),
    Refused("azure", "a busy region", 429,
            {"error": {"code": "429", "message": "The system is currently experiencing high demand."}}, _LOAD, "429"),
    Refused("azure", "a gateway's quota", 403,
            {"statusCode": 403, "message": "Token quota is exceeded. Try again in 21 days."}, _SPENT, "403", 21 * DAY, True),
    Refused("azure", "a wrong key", 401, {"error": {"code": "401", "message": "Access denied"}}, _KEY, "401", whole=True),
    Refused("azure", "a gateway's no", 401, {"statusCode": 401, "message": "Access denied"}, _KEY, "401", whole=True),
    Refused("azure", "no such deployment", 404, {"error": {"code": "DeploymentNotFound", "message": "x"}},
            _MISSING, "404 DeploymentNotFound"),
    Refused("azure", "a filter", 400, {"error": {"code": "content_filter", "message": "x", "innererror": {}}},
            _CLIENT, "400 content_filter"),

    Refused("mistral", "a limit", 429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited",
                                        "param": None, "code": "1300"},
            _SLOW, "429 1300", headers={"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "0"}),
    Refused("mistral", "a model off the plan", 429, {"type": "rate_limited", "code": "1300"},
            _SPENT, "429 the model is not on the plan", headers={"x-ratelimit-limit-req-minute": "0"}),
    Refused("mistral", "a month", 429, {"type": "rate_limited", "code": "1300"},
            _SPENT, "429 the month's tokens are used up", whole=True,
            headers={"x-ratelimit-limit-tokens-month": "4000000", "x-ratelimit-remaining-tokens-month": "0"}),
    Refused("mistral", "no room in the tier", 429,
            {"object": "error", "type": "service_tier_capacity_exceeded", "code": "3505"}, _LOAD, "429 3505"),
    Refused("mistral", "no room in the tier, by a number", 429,
            {"object": "error", "type": "service_tier_capacity_exceeded", "code": 3505}, _LOAD, "429 3505"),
    Refused("mistral", "no such model", 400, {"object": "error", "type": "invalid_model", "code": "1500"},
            _MISSING, "400 1500"),
    Refused("mistral", "no money", 402, b"", _SPENT, "402", whole=True),
    Refused("mistral", "a wrong key", 401, {"detail": "Unauthorized"}, _KEY, "401", whole=True),
    Refused("mistral", "wrong fields", 422, {"detail": [{"loc": ["body"], "msg": "x", "type": "y"}]}, _CLIENT, "422"),

    Refused("groq", "a minute's limit", 429,
            openai("Rate limit reached for model `m` in organization `o` service tier `on_demand` on tokens per minute "
                   "(TPM): Limit 6000, Used 5900, Requested 900. Please try again in 8s.", "tokens", "rate_limit_exceeded"),
            _SLOW, "429 rate_limit_exceeded", 8.5, headers={"retry-after": "8.5"}),
    Refused("groq", "a day's limit", 429,
            openai("Rate limit reached for model `m` in organization `o` on tokens per day (TPD): Limit 100000, "
                   "Used 99336, Requested 1822. Please try again in 16m40.5s.", "tokens", "rate_limit_exceeded"),
            _SPENT, "429 rate_limit_exceeded", 1000.5),
    Refused("groq", "larger than the limit", 413,
            openai("Request too large for model `m`", "tokens", "rate_limit_exceeded"), _CLIENT, "413 rate_limit_exceeded"),
    Refused("groq", "no room in the flex tier", 498, b"", _LOAD, "498 capacity exceeded"),
    Refused("groq", "a spend limit", 400, openai("x", "invalid_request_error", "blocked_api_access"),
            _SPENT, "400 blocked_api_access", whole=True),
    Refused("groq", "a model that is gone", 400, openai("x", "invalid_request_error", "model_decommissioned"),
            _MISSING, "400 model_decommissioned"),

    Refused("xai", "a wrong key", 400, {"code": "Client specified an invalid argument",
                                        "error": "Incorrect API key provided: ab***cd."},
            _KEY, "400 incorrect key", whole=True),
    Refused("xai", "no credits left", 429,
            {"code": "Some resource has been exhausted",
             "error": "Your team t has either used all available credits or reached its monthly spending limit."},
            _SPENT, "429 credits used up", whole=True),
    Refused("xai", "no credits yet", 403,
            {"code": "The caller does not have permission to execute the specified operation",
             "error": "Your newly created teams doesn't have any credits yet."},
            _SPENT, "403 credits used up", whole=True),
    Refused("xai", "a blocked key", 403, {"code": "x", "error": "API key is currently blocked"},
            _KEY, "403 blocked key", whole=True),
    Refused("xai", "no such model", 400, {"code": "x y", "error": "Model not found: grok-x"}, _MISSING, "400 no such model"),
    Refused("xai", "a limit", 429, {"code": "x y", "error": "Too many requests"}, _SLOW, "429"),

    Refused("deepseek", "no money", 402, openai("Insufficient Balance", "unknown_error", "invalid_request_error"),
            _SPENT, "402 invalid_request_error", whole=True),
    Refused("deepseek", "no such model", 400, openai("Model Not Exist", "invalid_request_error", "invalid_request_error"),
            _MISSING, "400 no such model"),
    Refused("deepseek", "too many at once", 429, openai("x", "rate_limit_error"), _SLOW, "429 rate_limit_error"),
    Refused("deepseek", "wrong fields", 422, openai("x", "invalid_request_error"), _CLIENT, "422 invalid_request_error"),
    Refused("deepseek", "overload", 503, b"", _LOAD, "503"),

    Refused("openrouter", "no credits", 402, openrouter(402, "Insufficient credits"), _SPENT, "402", whole=True),
    Refused("openrouter", "held for running calls", 402,
            openrouter(402, "x", limit_source="openrouter_in_flight_budget", reason="in_flight_budget_exhausted"),
            _SLOW, "402 held for running calls", 3.0, True, {"retry-after": "3"}),
    Refused("openrouter", "held, without a hint", 402, openrouter(402, "x", limit_source="openrouter_in_flight_budget"),
            _SLOW, "402 held for running calls", whole=True),
    Refused("openrouter", "larger than the budget", 402,
            openrouter(402, "x", limit_source="openrouter_in_flight_budget", reason="weight_exceeds_budget"),
            _SPENT, "402 larger than the budget"),
    Refused("openrouter", "a key's budget", 403, openrouter(403, "x", limit_source="openrouter_key_limit"),
            _SPENT, "403 budget spent", whole=True),
    Refused("openrouter", "a key's budget in words", 403, openrouter(403, "Key limit exceeded (monthly limit)."),
            _SPENT, "403 budget spent", whole=True),
    Refused("openrouter", "moderation", 403, openrouter(403, "x", reasons=["violence"]), _CLIENT, "403 moderation"),
    Refused("openrouter", "the day of the free models", 429,
            openrouter(429, "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests",
                       headers={"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0",
                                "X-RateLimit-Reset": str((SENT + 7200) * 1000)}),
            _SPENT, "429 free-models-per-day", 7200.0, headers={"date": DATE}),
    Refused("openrouter", "the minute of the free models", 429,
            openrouter(429, "Rate limit exceeded: free-models-per-min.",
                       headers={"X-RateLimit-Reset": str((SENT + 20) * 1000)}),
            _SLOW, "429", 20.0, headers={"date": DATE}),
    Refused("openrouter", "a provider's limit", 429, openrouter(429, "Provider returned error", retry_after_seconds=9),
            _SLOW, "429", 9.0),
    Refused("openrouter", "an endless number of seconds", 429,
            b'{"error":{"code":429,"metadata":{"retry_after_seconds":1' + b"0" * 30 + b"}}}", _SLOW, "429", 1e9),
    Refused("openrouter", "no such model", 400, openrouter(400, "x/y is not a valid model ID"),
            _MISSING, "400 no such model"),
    Refused("openrouter", "a wrong key", 401, openrouter(401, "User not found."), _KEY, "401", whole=True),
    Refused("openrouter", "nobody serves it", 503, openrouter(503, "x"), _LOAD, "503", 2.0, headers={"retry-after": "2"}),

    Refused("together", "above its rate", 429, openai("x", "rate_limit", "rate_limit"), _SLOW, "429 rate_limit"),
    Refused("together", "below its rate", 503, b"", _LOAD, "503"),
    Refused("together", "too long", 403, openai("x", "invalid_request_error"), _CLIENT, "403 larger than the context"),
    Refused("together", "a spending limit", 402, b"", _SPENT, "402", whole=True),

    Refused("fireworks", "suspended", 412, b"", _SPENT, "412 account suspended", whole=True),
    Refused("fireworks", "no money", 402, b"", _SPENT, "402", whole=True),
    Refused("fireworks", "its limits", 429, b"", _SLOW, "429"),
    Refused("fireworks", "overload", 503, b"", _LOAD, "503"),

    Refused("moonshot", "requests by the minute", 429,
            openai("Your account o<ak> request reached organization max RPM: 3, please try again after 1 seconds",
                   "rate_limit_reached_error"), _SLOW, "429 rate_limit_reached_error", 1.0, True),
    Refused("moonshot", "tokens by the day", 429,
            openai("Your account o<ak> request reached organization TPD rate limit, current:1, limit:1",
                   "rate_limit_reached_error"), _SPENT, "429 rate_limit_reached_error", whole=True),
    Refused("moonshot", "no money", 429, openai("x", "exceeded_current_quota_error"),
            _SPENT, "429 exceeded_current_quota_error", whole=True),
    Refused("moonshot", "no money, as its help says", 403, openai("insufficient balance", "permission_denied_error"),
            _SPENT, "403 permission_denied_error", whole=True),
    Refused("moonshot", "overload", 429, openai("x", "engine_overloaded_error"), _LOAD, "429 engine_overloaded_error"),
    Refused("moonshot", "a wrong key", 401, openai("x", "invalid_authentication_error"),
            _KEY, "401 invalid_authentication_error", whole=True),
    Refused("moonshot", "not allowed", 403, openai("x", "permission_denied_error"), _MISSING, "403 permission_denied_error"),
    Refused("moonshot", "no such model", 404, openai("x", "resource_not_found_error"),
            _MISSING, "404 resource_not_found_error"),

    *(Refused("zai", f"code {code}", 429, {"error": {"code": code, "message": "x"}}, verdict, f"429 {code}", whole=whole)
      for code, verdict, whole in (
          ("1000", _KEY, True), ("1004", _KEY, True), ("1112", _KEY, True), ("1113", _SPENT, True),
          ("1211", _MISSING, False), ("1302", _SLOW, False), ("1303", _SLOW, False), ("1304", _SPENT, False),
          ("1305", _LOAD, False), ("1308", _SPENT, True), ("1309", _SPENT, True), ("1310", _SPENT, True),
          ("1311", _SPENT, False), ("1312", _LOAD, False), ("1313", _SLOW, True))),
    Refused("zai", "a filter", 400, {"error": {"code": "1301", "message": "x"}}, _CLIENT, "400 1301"),
    Refused("zai", "too long", 400, {"error": {"code": "1261", "message": "x"}}, _CLIENT, "400 1261"),
    Refused("zai", "no permission", 434, b"", _MISSING, "434"),
    Refused("zai", "too large a file", 435, b"", _CLIENT, "435"),
    Refused("zai", "in Anthropic's shape", 429,
            {"type": "error", "error": {"message": "x", "code": "1302"}, "request_id": "1"}, _SLOW, "429 1302"),

    Refused("ollama", "no such model", 404, {"error": "model 'x' not found"}, _MISSING, "404"),
    Refused("ollama", "busy", 503, {"error": "server busy, please try again"}, _LOAD, "503"),
    Refused("llamacpp", "loading", 503, openai("Loading model", "unavailable_error"), _LOAD, "503 unavailable_error"),
    Refused("llamacpp", "too long", 400, {"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 1}},
            _CLIENT, "400 exceed_context_size_error"),
    Refused("vllm", "no such model", 404, {"error": {"message": "x", "type": "NotFoundError", "code": 404}},
            _MISSING, "404 NotFoundError"),
    Refused("lmstudio", "no such model", 400, openai("x", "invalid_request_error", "model_not_found"),
            _MISSING, "400 model_not_found"),
]  # fmt: skip


EVENTS = [
    # vendor, dialect, endpoint, the first bytes of a 200 answer, what to do
    ("openai", "openai", "chat", sse(openai("x", "server_error", "server_is_overloaded")), _LOAD),
    ("openai", "openai", "chat", sse(openai("x", "server_error")), _LOAD),
    ("openai", "openai", "chat", sse(openai("x", "tokens", "rate_limit_exceeded")), _SLOW),
    ("openai", "openai", "chat", sse(openai("x", "insufficient_quota", "insufficient_quota")), _SPENT),
    ("openai", "openai", "chat", sse(openai("x", "invalid_request_error", "context_length_exceeded")), ErrorClass.CLIENT_ERROR),
    ("openai", "openai", "responses", sse({"type": "error", "code": "server_is_overloaded", "message": "x"}, names=True), _LOAD),
    ("openai", "openai", "responses", sse({"type": "error", "error": {"code": "flex_unavailable"}}, names=True), _LOAD),
    ("openai", "openai", "responses", sse({"type": "error", "error": {"code": "slow_down"}}, names=True), _SLOW),
    ("openai", "openai", "responses",
     sse({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, names=True), _SLOW),
    ("openai", "openai", "responses",
     sse({"type": "response.failed", "response": {"error": {"code": "credit_balance_exhausted"}}}, names=True), _SPENT),
    ("openai", "openai", "responses",
     sse({"type": "response.failed", "response": {"error": {"code": "invalid_prompt"}}}, names=True), ErrorClass.CLIENT_ERROR),
    ("anthropic", "anthropic", "messages", sse(anthropic("overloaded_error", "x"), names=True), _LOAD),
    ("anthropic", "anthropic", "messages", sse(anthropic("api_error", "x"), names=True), _LOAD),
    ("anthropic", "anthropic", "messages", sse(anthropic("rate_limit_error", "x"), names=True), _SLOW),
    ("anthropic", "anthropic", "messages", sse(anthropic("authentication_error", "x"), names=True), _KEY),
    ("anthropic", "anthropic", "messages", sse(anthropic("billing_error", "x"), names=True), _SPENT),
    ("anthropic", "anthropic", "messages", sse(anthropic("invalid_request_error", "x"), names=True), ErrorClass.CLIENT_ERROR),
    ("gemini", "gemini", "stream", sse(google(503, "UNAVAILABLE", "x"), end="\r\n\r\n"), _LOAD),
    ("gemini", "gemini", "stream", sse(google(429, "RESOURCE_EXHAUSTED", "x"), end="\r\n\r\n"), _SLOW),
    ("gemini", "gemini", "stream", sse(google(400, "INVALID_ARGUMENT", "x"), end="\r\n\r\n"), ErrorClass.CLIENT_ERROR),
    ("gemini", "gemini", "interactions", sse({"event_type": "error", "error": {"code": "internal"}}), _LOAD),
    ("openrouter", "openai", "chat", sse({**openrouter(502, "x"), "choices": [{"finish_reason": "error"}]}), _LOAD),
    ("openrouter", "openai", "chat", sse(openrouter(429, "x")), _SLOW),
    ("openrouter", "openai", "chat", sse(openrouter(402, "x")), _SPENT),
    ("openrouter", "openai", "chat", sse(openrouter(401, "x")), _KEY),
    ("openrouter", "openai", "chat", sse(openrouter(403, "x")), ErrorClass.CLIENT_ERROR),
    ("openrouter", "openai", "chat", sse(openrouter(400, "x")), ErrorClass.CLIENT_ERROR),
    ("openrouter", "openai", "responses",
     sse({"type": "response.failed", "response": {"error": {"code": "provider_overloaded"}}}, names=True), _LOAD),
    ("azure", "openai", "chat", sse({"error": {"code": "429", "message": "x"}}), _SLOW),
    ("groq", "openai", "chat", sse(openai("x", "server_error", "503")), _LOAD),
    ("mistral", "openai", "chat", sse({"error": {"object": "error", "type": "x", "code": "3505"}}), _LOAD),
    ("moonshot", "openai", "chat", sse(openai("x", "engine_overloaded_error")), _LOAD),
    ("moonshot", "openai", "chat", sse(openai("x", "exceeded_current_quota_error")), _SPENT),
    ("zai", "openai", "chat", sse({"error": {"code": "1305", "message": "x"}}), _LOAD),
    ("zai", "anthropic", "messages", sse({"type": "error", "error": {"code": "1113"}}, names=True), _SPENT),
    ("zai", "openai", "chat", sse({"error": {"code": "1301", "message": "x"}}), ErrorClass.CLIENT_ERROR),
    ("vllm", "openai", "chat", sse({"error": {"message": "x", "type": "InternalServerError", "code": 500}}), _LOAD),
    ("vllm", "openai", "chat", sse({"error": {"message": "x", "type": "BadRequestError", "code": 400}}), ErrorClass.CLIENT_ERROR),
]  # fmt: skip


def each(stem: str, **figures: str) -> dict[str, str]:
    """Headers of one window; `stem` has `{}` for the figure's name."""
    return {stem.format(name): value for name, value in figures.items()}


REQUESTS, TOKENS = QuotaKind.REQUESTS, QuotaKind.TOKENS
INPUT, OUTPUT = QuotaKind.INPUT_TOKENS, QuotaKind.OUTPUT_TOKENS
X = "x-ratelimit-{}"

QUOTAS = [
    ("openai", "by the minute",
     each(X + "-requests", limit="500", remaining="499", reset="120ms")
     | each(X + "-tokens", limit="200000", remaining="199984", reset="4ms"),
     [Quota(REQUESTS, 500, 499, 0.12, MINUTE), Quota(TOKENS, 200000, 199984, 0.004, MINUTE)]),
    ("openai", "requests by the day",
     each(X + "-requests", limit="10000", remaining="9999", reset="8.64s")
     | each(X + "-tokens", limit="200000", remaining="50000", reset="6m0s"),
     [Quota(REQUESTS, 10000, 9999, 8.64, DAY), Quota(TOKENS, 200000, 50000, 360.0, MINUTE)]),
    ("openai", "nothing left of a day", each(X + "-requests", limit="200", remaining="0", reset="24h0m0s"),
     [Quota(REQUESTS, 200, 0, 86400.0, DAY)]),
    ("openai", "a tighter limit of the project",
     each(X + "-tokens", limit="2000000", remaining="1999000", reset="30ms")
     | each(X + "-project-tokens", limit="100000", remaining="40000", reset="36s"),
     [Quota(TOKENS, 100000, 40000, 36.0, MINUTE)]),
    ("openai", "figures that tell nothing",
     each(X + "-requests", limit="-1", remaining="0", reset="0s") | each(X + "-tokens", limit="0", remaining="0"), []),
    ("openai", "figures that make no sense",
     each(X + "-requests", limit="9" * 5000, remaining="many") | each(X + "-tokens", limit="nan", remaining="1e3"), []),
    ("openai", "overdrawn, and a reset that is years away",
     each(X + "-tokens", limit="1000", remaining="-5", reset="99999h"), [Quota(TOKENS, 1000, 0, None, MINUTE)]),
    ("openai", "more than all", each(X + "-tokens", limit="1000", remaining="5000"), [Quota(TOKENS, 1000, 1000, None, MINUTE)]),

    ("azure", "seconds, and a limit of -1",
     each(X + "-tokens", limit="100000", remaining="90000", reset="12") | each(X + "-requests", limit="-1", remaining="0", reset="0"),
     [Quota(TOKENS, 100000, 90000, 12.0, MINUTE, at_once=True)]),
    ("azure", "nothing left, without limits", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "0"}, []),
    ("azure", "what is left, without limits", {"x-ratelimit-remaining-requests": "7", "x-ratelimit-remaining-tokens": "-1"},
     [Quota(REQUESTS, None, 7, None, None, at_once=True)]),

    ("anthropic", "every window",
     {"date": DATE}
     | each("anthropic-ratelimit-requests-{}", limit="4000", remaining="3999", reset="2026-11-25T10:00:01Z")
     | each("anthropic-ratelimit-input-tokens-{}", limit="2000000", remaining="1999000", reset="2026-11-25T10:00:00.5Z")
     | each("anthropic-ratelimit-output-tokens-{}", limit="400000", remaining="0", reset="2026-11-25T12:01:00+02:00")
     | each("anthropic-ratelimit-tokens-{}", limit="2400000", remaining="1999000", reset=NOW_FULL),
     [Quota(REQUESTS, 4000, 3999, 1.0, MINUTE), Quota(TOKENS, 2400000, 1999000, 0.0, MINUTE),
      Quota(INPUT, 2000000, 1999000, 0.5, MINUTE), Quota(OUTPUT, 400000, 0, 60.0, MINUTE)]),
    ("anthropic", "by this machine's clock, if the vendor tells no time",
     each("anthropic-ratelimit-requests-{}", limit="50", remaining="49", reset="2026-11-25T10:01:10Z"),
     [Quota(REQUESTS, 50, 49, 70.0, MINUTE)]),
    ("anthropic", "a reset that is past, or no date",
     each("anthropic-ratelimit-requests-{}", limit="50", remaining="49", reset="2026-11-25T09:00:00Z")
     | each("anthropic-ratelimit-tokens-{}", limit="50", remaining="49", reset="yesterday"),
     [Quota(REQUESTS, 50, 49, 0.0, MINUTE), Quota(TOKENS, 50, 49, None, MINUTE)]),
    ("anthropic", "bought capacity and fast mode bind no ordinary call",
     each("anthropic-priority-input-tokens-{}", limit="10", remaining="0", reset=NOW_FULL)
     | each("anthropic-fast-output-tokens-{}", limit="10", remaining="0", reset=NOW_FULL), []),
    ("anthropic", "a subscription with room",
     {f"{UNIFIED}status": "allowed_warning", f"{UNIFIED}reset": str(SENT + 60), f"{UNIFIED}5h-utilization": "0.9"}, []),
    ("anthropic", "a subscription that is used up",
     {f"{UNIFIED}status": "rejected", f"{UNIFIED}reset": str(SENT + 3600), f"{UNIFIED}overage-status": "rejected"},
     [Quota(REQUESTS, None, 0, 3600.0, None, at_once=True)]),
    ("anthropic", "a subscription that goes on for money",
     {f"{UNIFIED}status": "rejected", f"{UNIFIED}reset": str(SENT + 3600), f"{UNIFIED}overage-status": "allowed"}, []),
    ("anthropic", "a subscription that does not say until when", {f"{UNIFIED}status": "rejected"}, []),

    ("mistral", "as of 2026",
     each(X + "-req-minute", limit="60", remaining="59") | each(X + "-tokens-minute", limit="50000", remaining="47196")
     | each(X + "-tokens-month", limit="4000000", remaining="3950246") | {"x-ratelimit-tokens-query-cost": "2804"},
     [Quota(REQUESTS, 60, 59, None, MINUTE, True), Quota(TOKENS, 50000, 47196, None, MINUTE, True),
      Quota(TOKENS, 4000000, 3950246, None, MONTH, True)]),
    ("mistral", "as of 2025",
     each("ratelimitbysize-{}", limit="500000", remaining="467993", reset="40")
     | each("x-ratelimitbysize-{}-minute", limit="500000", remaining="467993")
     | each("x-ratelimitbysize-{}-month", limit="1000000000", remaining="999967993"),
     [Quota(TOKENS, 500000, 467993, 40.0, MINUTE, True), Quota(TOKENS, 1000000000, 999967993, None, MONTH, True)]),
    ("mistral", "a model off the plan", each(X + "-req-minute", limit="0", remaining="0"), []),

    ("groq", "a day of requests, a minute of tokens",
     each(X + "-requests", limit="14400", remaining="14370", reset="2m59.56s")
     | each(X + "-tokens", limit="18000", remaining="17997", reset="7.66s"),
     [Quota(REQUESTS, 14400, 14370, 179.56, DAY), Quota(TOKENS, 18000, 17997, 7.66, MINUTE)]),

    ("together", "by the second",
     each(X, limit="10", remaining="9", reset="1") | each("x-tokenlimit-{}", limit="500.5", remaining="400", reset="0.25"),
     [Quota(REQUESTS, 10, 9, 1.0, 1.0), Quota(TOKENS, 500, 400, 0.25, 1.0)]),
    ("fireworks", "prompt, uncached prompt and output",
     each(X + "-tokens-prompt", limit="7200000", remaining="7193993")
     | each(X + "-tokens-cache-adjusted-prompt", limit="1800000", remaining="1793993")
     | each(X + "-tokens-generated", limit="72000", remaining="69338"),
     [Quota(INPUT, 1800000, 1793993, None, None), Quota(OUTPUT, 72000, 69338, None, None)]),
    ("openrouter", "its own limit, until a moment in milliseconds",
     each(X, limit="20", remaining="0", reset=str((SENT + 30) * 1000)),
     [Quota(REQUESTS, 20, 0, 30.0, None, at_once=True)]),
    ("xai", "as OpenAI's, without resets", each(X + "-requests", limit="480", remaining="479"),
     [Quota(REQUESTS, 480, 479, None, None)]),
    ("moonshot", "seconds", each(X, limit="200", remaining="199", reset="1"), [Quota(REQUESTS, 200, 199, 1.0, MINUTE)]),
    ("moonshot", "a moment", each(X, limit="200", remaining="199", reset=str(SENT + 5)),
     [Quota(REQUESTS, 200, 199, 5.0, MINUTE)]),
    *((vendor, "nothing at all", each(X + "-requests", limit="5", remaining="5"), [])
      for vendor in ("deepseek", "zai", "gemini", "ollama", "vllm", "llamacpp", "lmstudio", "echo")),
]  # fmt: skip

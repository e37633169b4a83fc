"""The class of an upstream's response, and the usual classification by status and error code.

Nothing here raises, whatever a server sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from sidecar.plugin_api.retry_after import retry_after, wait_in_message
from sidecar.plugin_api.usage_meter import as_mapping, as_object


class UpstreamResponse(Struct, frozen=True):
    """A response to classify: status, headers, and the first 64 KiB of the body of an error."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class ErrorClass(StrEnum):
    """The handling of a response. The values are labels in metrics and in the ledger."""

    OK = "ok"
    """A success: relay the response."""
    CLIENT_ERROR = "client_error"
    """The request is invalid: relay the response; no retry, no cooldown."""
    RATE_LIMITED = "rate_limited"
    """A rate limit that refills within minutes: cooldown; another candidate, or wait."""
    OVERLOADED = "overloaded"
    """The vendor is out of capacity: cooldown; another candidate, or wait."""
    QUOTA_EXHAUSTED = "quota_exhausted"
    """Money, or a quota of hours or days, is used up: cooldown; another candidate, no waiting."""
    AUTH_FAILED = "auth_failed"
    """The vendor rejects the credential or the account: cooldown; another candidate."""
    MODEL_NOT_FOUND = "model_not_found"
    """The provider does not have the model: another candidate."""


class Classification(Struct, frozen=True):
    """The class of a response, and what the vendor reports about it.

    Attributes:
        error_class: What happens with the response.
        reason: A code or fixed words for logs, such as "429 insufficient_quota". Never the
            vendor's message, which may quote the prompt.
        wait: The vendor's hint of how long to wait, in seconds; None if there is none.
        whole_credential: The limit is one of all models of the credential, not of one model.
        resets: An exhausted quota is full again after `wait`: calls wait for it within their
            `max_wait`.
    """

    error_class: ErrorClass
    reason: str = ""
    wait: float | None = None
    whole_credential: bool = False
    resets: bool = False


NO_CODES: Mapping[str, ErrorClass] = MappingProxyType({})

_BY_STATUS: Mapping[int, ErrorClass] = MappingProxyType(
    {
        401: ErrorClass.AUTH_FAILED,
        402: ErrorClass.QUOTA_EXHAUSTED,
        403: ErrorClass.MODEL_NOT_FOUND,
        404: ErrorClass.MODEL_NOT_FOUND,
        408: ErrorClass.OVERLOADED,
        429: ErrorClass.RATE_LIMITED,
    }
)
_USUAL: Mapping[str, ErrorClass] = MappingProxyType({"model_not_found": ErrorClass.MODEL_NOT_FOUND})
_IN_STREAM: Mapping[str, ErrorClass] = MappingProxyType(
    dict.fromkeys(("rate_limit_error", "rate_limit_exceeded", "resource_exhausted"),
                  ErrorClass.RATE_LIMITED)
    | dict.fromkeys(("overloaded_error", "server_is_overloaded", "server_overloaded", "slow_down",
                     "server_error", "api_error", "internal_error", "internal_server_error",
                     "service_unavailable_error", "service_unavailable", "timeout_error",
                     "unavailable", "internal", "deadline_exceeded"), ErrorClass.OVERLOADED)
    | dict.fromkeys(("authentication_error", "invalid_api_key"), ErrorClass.AUTH_FAILED)
    | {"billing_error": ErrorClass.QUOTA_EXHAUSTED}
)  # fmt: skip
"""Errors at the start of a stream that another provider, or a later attempt, may not have."""

_CLIENT_CODE = re.compile(
    "invalid|bad_?request|not_?found|permission|too_large|too_long|unsupported|context_length"
    "|content_(filter|policy)|safety|max_length|failed_precondition|out_of_range"
)
"""Parts of error codes for which the client is responsible."""

_WAITABLE = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED, ErrorClass.QUOTA_EXHAUSTED})
_WHOLE = frozenset({ErrorClass.QUOTA_EXHAUSTED, ErrorClass.AUTH_FAILED})
_CODE = re.compile(r"[\w.:/-]{1,80}", re.ASCII)
_STATUS = re.compile(r"[1-5]\d\d", re.ASCII)


def classify_by_status(
    answer: UpstreamResponse, codes: Mapping[str, ErrorClass] = NO_CODES
) -> Classification:
    """Classify a response by its error code and its status, as most vendors use them.

    `QUOTA_EXHAUSTED` and `AUTH_FAILED` are taken to concern the whole credential. The wait is that
    of `retry-after-ms` or `Retry-After`, else the one in the error's message.

    Args:
        answer: The response.
        codes: The vendor's error codes and types that are more exact than the status.

    Example: status 429 with `{"error": {"code": "insufficient_quota"}}` is `QUOTA_EXHAUSTED` with
    the reason "429 insufficient_quota" if `codes` has that code, and `RATE_LIMITED` otherwise.
    """
    status = answer.status
    if status < 400:
        return Classification(ErrorClass.OK)
    words = _error_codes(error_object(answer.body))
    known = {**_USUAL, **codes}
    usual = ErrorClass.OVERLOADED if status >= 500 else ErrorClass.CLIENT_ERROR
    by_status = _BY_STATUS.get(status, usual)
    error_class = next((known[word] for word in words if word in known), by_status)
    reason = " ".join(dict.fromkeys((str(status), *words[:1])))
    wait = _wait(answer) if error_class in _WAITABLE else None
    return Classification(error_class, reason, wait, error_class in _WHOLE)


def classify_by_code(error: str, codes: Mapping[str, ErrorClass] = NO_CODES) -> ErrorClass:
    """Classify an error inside a 200 response by its code; `OK` if the code is unknown.

    Args:
        error: A code, a type, or an HTTP status as three digits.
        codes: The vendor's error codes and types, which are looked up first.
    """
    word = error.lower()
    error_class = codes.get(error) or _IN_STREAM.get(word) or _USUAL.get(error)
    if error_class is None and _STATUS.fullmatch(error):
        return classify_by_status(UpstreamResponse(int(error), {})).error_class
    if error_class is None and _CLIENT_CODE.search(word):
        return ErrorClass.CLIENT_ERROR
    return error_class or ErrorClass.OK


def error_code(body: bytes) -> str:
    """Return the `code`, else the `type` or `status`, of the error in a JSON body; "" if none.

    A number that only repeats an HTTP status is no code.
    """
    return next(iter(_error_codes(error_object(body))), "")


def error_text(body: bytes) -> str:
    """Return the message of the error in a JSON body; "" if there is none.

    It may quote the prompt: search it for fixed words, and never put it into a reason.
    """
    error = error_object(body)
    texts = (error.get(name) for name in ("message", "error", "detail"))
    return next((text for text in texts if isinstance(text, str)), "")


def error_object(body: bytes) -> Mapping[str, object]:
    """Return the `error` object of a JSON body, else the body; {} if it is no JSON object.

    A list around the body, which Gemini sends, is removed.
    """
    whole = as_object(body.strip().removeprefix(b"[").removesuffix(b"]"))
    return as_mapping(whole.get("error")) or whole


def _error_codes(error: Mapping[str, object]) -> tuple[str, ...]:
    found = (error.get(name) for name in ("code", "type", "status"))
    return tuple(word for each in found if _is_specific(each) and (word := code_word(each)))


def _is_specific(value: object) -> bool:
    """Return whether a code is more than a repeated HTTP status."""
    return isinstance(value, str) or (type(value) is int and not 100 <= value <= 599)


def _wait(answer: UpstreamResponse) -> float | None:
    hint = retry_after(answer.headers)
    return wait_in_message(error_text(answer.body)) if hint is None else hint


def code_word(value: object) -> str:
    """Return an error code if it is a single word, else "".

    A sentence may quote the prompt, and the result goes into logs and the ledger.
    """
    word = str(value)
    return word if _CODE.fullmatch(word) else ""

"""What an upstream's answer means: the verdicts, and how most vendors say them.

Values in, values out; total over everything that a server may send.
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
    """An upstream's answer: its status, its headers, and of an error the body's beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class ErrorClass(StrEnum):
    """What to do with an answer."""

    OK = "ok"
    """Pass it on."""
    CLIENT_ERROR = "client_error"
    """The request itself is wrong: pass it on, never repeat it, blame nobody."""
    RATE_LIMITED = "rate_limited"
    """Throttled: leave this credential (or this model on it) alone for a while."""
    OVERLOADED = "overloaded"
    """The vendor is in trouble: try another place, or later."""
    QUOTA_EXHAUSTED = "quota_exhausted"
    """Money or a long quota of this credential is used up: waiting seconds does not help."""
    AUTH_FAILED = "auth_failed"
    """The vendor rejects our credential."""
    MODEL_NOT_FOUND = "model_not_found"
    """This provider does not know the model; another one may."""


class Classification(Struct, frozen=True):
    """A verdict, with the vendor's own hint in seconds and its own word for the reason.

    `whole_credential` is true when the limit spans all models of the credential.
    """

    error_class: ErrorClass
    reason: str = ""
    wait: float | None = None
    whole_credential: bool = False


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
"""Errors inside a started stream that another place, or a later try, may not have."""

_CLIENT_WORD = re.compile(
    "invalid|bad_?request|not_?found|permission|too_large|too_long|unsupported|context_length"
    "|content_(filter|policy)|safety|max_length|failed_precondition|out_of_range"
)
"""Parts of the words for what the client did wrong."""

_WAITABLE = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED, ErrorClass.QUOTA_EXHAUSTED})
_WHOLE = frozenset({ErrorClass.QUOTA_EXHAUSTED, ErrorClass.AUTH_FAILED})
_CODE = re.compile(r"[\w.:/-]{1,80}", re.ASCII)
_STATUS = re.compile(r"[1-5]\d\d", re.ASCII)


def classify_by_status(
    answer: UpstreamResponse, codes: Mapping[str, ErrorClass] = NO_CODES
) -> Classification:
    """What most vendors mean by a status, with the error's own code as the reason.

    `codes` are a vendor's own codes and types that say more than the status does. Spent money and
    a rejected credential are taken to concern all models. The wait is the headers', else what the
    error's message speaks of.
    """
    status = answer.status
    if status < 400:
        return Classification(ErrorClass.OK)
    words = _error_words(error_object(answer.body))
    known = {**_USUAL, **codes}
    usual = ErrorClass.OVERLOADED if status >= 500 else ErrorClass.CLIENT_ERROR
    by_status = _BY_STATUS.get(status, usual)
    verdict = next((known[word] for word in words if word in known), by_status)
    reason = " ".join(dict.fromkeys((str(status), *words[:1])))
    wait = _wait(answer) if verdict in _WAITABLE else None
    return Classification(verdict, reason, wait, verdict in _WHOLE)


def classify_by_code(error: str, codes: Mapping[str, ErrorClass] = NO_CODES) -> ErrorClass:
    """What an error inside a 200 answer means, by the vendor's word for it; a number of three
    digits is an HTTP status. `OK` for a word that is not known."""
    word = error.lower()
    verdict = codes.get(error) or _IN_STREAM.get(word) or _USUAL.get(error)
    if verdict is None and _STATUS.fullmatch(error):
        return classify_by_status(UpstreamResponse(int(error), {})).error_class
    if verdict is None and _CLIENT_WORD.search(word):
        return ErrorClass.CLIENT_ERROR
    return verdict or ErrorClass.OK


def error_code(body: bytes) -> str:
    """The `code`, else the `type` or `status`, of the error in a JSON body; "" when there is none.
    A number that only repeats the HTTP status is no code."""
    return next(iter(_error_words(error_object(body))), "")


def error_text(body: bytes) -> str:
    """The message of the error in a JSON body, or "". It may quote what was sent: look words up in
    it, and never pass it on."""
    error = error_object(body)
    texts = (error.get(name) for name in ("message", "error", "detail"))
    return next((text for text in texts if isinstance(text, str)), "")


def error_object(body: bytes) -> Mapping[str, object]:
    """The `error` of a JSON body, else the body itself; out of the list that some wrap it into."""
    whole = as_object(body.strip().removeprefix(b"[").removesuffix(b"]"))
    return as_mapping(whole.get("error")) or whole


def _error_words(error: Mapping[str, object]) -> tuple[str, ...]:
    found = (error.get(name) for name in ("code", "type", "status"))
    return tuple(word for each in found if _says_more(each) and (word := code_word(each)))


def _says_more(value: object) -> bool:
    """A number that only repeats the HTTP status says nothing."""
    return isinstance(value, str) or (type(value) is int and not 100 <= value <= 599)


def _wait(answer: UpstreamResponse) -> float | None:
    hint = retry_after(answer.headers)
    return wait_in_message(error_text(answer.body)) if hint is None else hint


def code_word(value: object) -> str:
    """A vendor's word for an error, if it is one word: a sentence might quote what was sent or
    answered, and this goes into logs and books."""
    word = str(value)
    return word if _CODE.fullmatch(word) else ""

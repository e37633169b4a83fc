"""What an upstream's answer means: the verdicts, and how most vendors say them.

Values in, values out; total over everything that a server may send.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from sidecar.meters import as_mapping, as_object


class Answer(Struct, frozen=True):
    """An upstream's answer: its status, its headers, and of an error the body's beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Verdict(StrEnum):
    """What to do with an answer."""

    TAKE = "take"
    """Pass it on."""
    CLIENT = "client"
    """The request itself is wrong: pass it on, never repeat it, blame nobody."""
    SLOW_DOWN = "slow_down"
    """Throttled: leave this credential (or this model on it) alone for a while."""
    OVERLOADED = "overloaded"
    """The vendor is in trouble: try another place, or later."""
    SPENT = "spent"
    """Money or a long quota of this credential is used up: waiting seconds does not help."""
    CREDENTIAL = "credential"
    """The vendor rejects our credential."""
    MISSING = "missing"
    """This provider does not know the model; another one may."""


class Judgement(Struct, frozen=True):
    """A verdict, with the vendor's own hint in seconds and its own word for the reason.

    `whole_credential` is true when the limit spans all models of the credential.
    """

    verdict: Verdict
    reason: str = ""
    wait: float | None = None
    whole_credential: bool = False


IN_STREAM: Mapping[str, Verdict] = MappingProxyType(
    dict.fromkeys(("rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "429"),
                  Verdict.SLOW_DOWN)
    | dict.fromkeys(("overloaded_error", "server_is_overloaded", "slow_down", "server_error",
                     "api_error", "internal_error", "timeout_error", "unavailable", "internal",
                     "deadline_exceeded", "500", "502", "503", "504", "529"), Verdict.OVERLOADED)
)  # fmt: skip
"""Errors inside a started stream that another place, or a later try, may not have."""

_CODE = re.compile(r"[\w.:/-]{1,80}", re.ASCII)


def judge_by_status(answer: Answer, spent: frozenset[str] = frozenset()) -> Judgement:
    """What most vendors mean by a status, with the error's own code as the reason."""
    code = error_code(answer.body)
    status = answer.status
    reason = f"{status} {code}".strip()
    if status < 400:
        return Judgement(Verdict.TAKE)
    if status == 402 or code in spent:
        return Judgement(Verdict.SPENT, reason, whole_credential=True)
    if status == 401:
        return Judgement(Verdict.CREDENTIAL, reason)
    if status in {403, 404}:
        return Judgement(Verdict.MISSING, reason)
    if status == 429:
        return Judgement(Verdict.SLOW_DOWN, reason, retry_after(answer.headers))
    if status >= 500 or status == 408:
        return Judgement(Verdict.OVERLOADED, reason, retry_after(answer.headers))
    return Judgement(Verdict.CLIENT, reason)


def error_code(body: bytes) -> str:
    """The `code`, else the `type`, of the error object in a JSON body, or of a body that is itself
    the error; "" when there is none."""
    whole = as_object(body)
    error = as_mapping(whole.get("error")) or whole
    return code_word(error.get("code") or error.get("type") or error.get("status") or "")


def code_word(value: object) -> str:
    """A vendor's word for an error, if it is one word: a sentence might quote what was sent or
    answered, and this goes into logs and books."""
    word = str(value)
    return word if _CODE.fullmatch(word) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (RFC 9110 section 10.2.3: seconds or a
    date, which is taken relative to the answer's own `Date`). None when it says nothing usable."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(ValueError):
            seconds = float(headers.get(name, "")) * unit
            if 0 <= seconds < float("inf"):
                return seconds
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        since = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - since).total_seconds())
    except (ValueError, TypeError):
        return None

"""What several vendors share: rate-limit headers, sets of endpoints, and fields without nulls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from msgspec import Struct

from sidecar import Quota, QuotaKind, Vendor, seconds_until, sent_at

MINUTE, DAY, MONTH = 60.0, 86400.0, 30 * 86400.0
_AMOUNT = re.compile(r"\d{1,6}(?:\.\d{1,15})?", re.ASCII)
_FIGURE = re.compile(r"(-?\d{1,15})(?:\.\d{1,15})?", re.ASCII)


class RateLimitHeaders(Struct, frozen=True):
    """The headers of one rate limit of a vendor.

    `limit`, `remaining` and `reset` are the names of headers. `seconds` is the length of the
    window, None if it is unknown. `at_once` is that of `Quota`.
    """

    kind: QuotaKind
    limit: str
    remaining: str
    reset: str
    seconds: float | None
    at_once: bool

    def read(self, headers: Mapping[str, str], since: float) -> Quota | None:
        """Return the quota in the headers of a response; None if they have none.

        Some vendors report "no limit" as a limit of 0 or -1, or as nothing left without a limit.

        Args:
            headers: The response headers.
            since: Epoch seconds at which the response was sent.
        """
        limit = _figure(headers.get(self.limit))
        left = _figure(headers.get(self.remaining))
        if limit is not None and limit <= 0:
            return None
        if limit is None and (left is None or left <= 0):
            return None
        if left is not None:
            left = max(0, left if limit is None else min(left, limit))
        reset = seconds_until(headers.get(self.reset, ""), since)
        return Quota(self.kind, limit, left, reset, self.seconds, self.at_once)


def window(
    kind: QuotaKind, headers: str, seconds: float | None = MINUTE, *, at_once: bool = False
) -> RateLimitHeaders:
    """Return the headers of one rate limit by their common name.

    `headers` has `{}` in the place of "limit", "remaining" and "reset".
    """
    limit, remaining, reset = map(headers.format, ("limit", "remaining", "reset"))
    return RateLimitHeaders(kind, limit, remaining, reset, seconds, at_once)


def read_windows(
    headers: Mapping[str, str], now: float, windows: Iterable[RateLimitHeaders]
) -> tuple[Quota, ...]:
    """Return what is left of each window; of those with one kind and length, the tightest."""
    sent = sent_at(headers)
    since = now if sent is None else sent
    tightest: dict[tuple[QuotaKind, float | None], Quota] = {}
    for each in windows:
        quota = each.read(headers, since)
        if quota is not None:
            known = tightest.get((quota.kind, quota.window))
            if known is None or _remaining(quota) < _remaining(known):
                tightest[quota.kind, quota.window] = quota
    return tuple(tightest.values())


def with_window_from_refill(quota: Quota) -> Quota:
    """Return the quota with its window, if the vendor uses one header for minutes and days.

    The window refills evenly: what is used refills in `reset`, so the whole limit in one window.
    """
    if not quota.limit or not quota.reset or quota.remaining in {None, quota.limit}:
        return quota
    used = quota.limit - (quota.remaining or 0)
    length = quota.reset * quota.limit / used
    return replace(quota, window=DAY) if 0.8 < length / DAY < 1.25 else quota


def _figure(text: str | None) -> int | None:
    """Return the whole part of a number in a header; None if it is no number."""
    number = _FIGURE.fullmatch(text) if text else None
    return None if number is None else int(number[1])


def amount(text: str | None) -> float | None:
    """Return a number in a header that is not negative; None if it is none."""
    return None if text is None or _AMOUNT.fullmatch(text) is None else float(text)


def _remaining(quota: Quota) -> float:
    return float("inf") if quota.remaining is None else quota.remaining


class HeaderLimitedVendor(Vendor):
    """A vendor that reports its rate limits in a fixed set of headers."""

    windows: ClassVar[tuple[RateLimitHeaders, ...]]

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """Return what is left of each of `windows`."""
        return read_windows(headers, now, self.windows)


MODELS = frozenset({"models", "model"})
CHAT = MODELS | {"chat", "completions"}
CHAT_AND_RESPONSES = CHAT | {"responses", "input_tokens", "compact"}
STORED = frozenset({"files", "batches"})
MESSAGES = MODELS | {"messages"}
AUDIO = frozenset({"speech", "transcriptions"})


def without_nulls(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return the fields of an object that are not null."""
    if None not in fields.values():
        return fields  # as of most
    return {name: value for name, value in fields.items() if value is not None}

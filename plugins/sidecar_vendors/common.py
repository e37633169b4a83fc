"""Rate-limit headers and endpoint sets that several vendors share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sidecar import Quota, QuotaKind, seconds_until, sent_at

MINUTE, DAY, MONTH = 60.0, 86400.0, 30 * 86400.0
_FIGURE = re.compile(r"(-?\d{1,15})(?:\.\d{1,15})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a vendor's: what it counts, the names of its headers, its length."""

    kind: QuotaKind
    limit: str
    remaining: str
    reset: str
    seconds: float | None
    at_once: bool

    def read(self, headers: Mapping[str, str], since: float) -> Quota | None:
        """What the headers of an answer that was sent at `since` (epoch seconds) say, if anything.

        A limit of 0 or -1 is how some say that there is none to tell; without a limit, so is that
        nothing is left.
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
) -> Window:
    """A window by the name of its headers, with `{}` for `limit`, `remaining` and `reset`."""
    limit, remaining, reset = map(headers.format, ("limit", "remaining", "reset"))
    return Window(kind, limit, remaining, reset, seconds, at_once)


def read_windows(
    headers: Mapping[str, str], now: float, windows: Iterable[Window]
) -> tuple[Quota, ...]:
    """What is left of each of the windows; of several that count the same over the same time, the
    one with the least left."""
    sent = sent_at(headers)
    since = now if sent is None else sent
    tightest: dict[tuple[QuotaKind, float | None], Quota] = {}
    for each in windows:
        quota = each.read(headers, since)
        if quota is not None:
            known = tightest.get((quota.kind, quota.window))
            if known is None or _room(quota) < _room(known):
                tightest[quota.kind, quota.window] = quota
    return tuple(tightest.values())


def with_window_from_refill(quota: Quota) -> Quota:
    """The quota with its real length, where the vendor uses one header for minutes and for days
    and lets it refill evenly: what was used comes back in `reset`, so all of it in a window."""
    if not quota.limit or not quota.reset or quota.remaining in {None, quota.limit}:
        return quota
    used = quota.limit - (quota.remaining or 0)
    length = quota.reset * quota.limit / used
    return replace(quota, window=DAY) if 0.8 < length / DAY < 1.25 else quota


def _figure(text: str | None) -> int | None:
    """A header's number, without what follows its point; None when it is none."""
    number = _FIGURE.fullmatch(text) if text else None
    return None if number is None else int(number[1])


def _room(quota: Quota) -> float:
    return float("inf") if quota.remaining is None else quota.remaining


MODELS = frozenset({"models", "model"})
CHAT = MODELS | {"chat", "completions"}
CHAT_AND_RESPONSES = CHAT | {"responses", "input_tokens", "compact"}
STORED = frozenset({"files", "batches"})
MESSAGES = MODELS | {"messages"}
AUDIO = frozenset({"speech", "transcriptions"})

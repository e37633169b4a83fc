"""`--since` and `--until` as typed: whole days by the calendar of the books, or exact moments.

`7d` is seven days, today included; `6h` is the six hours until now.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as time_of_day

from sidecar.cli.common import fail
from sidecar.loading.words import Misread, days, duration, moment
from sidecar.reports.usage import Days, Moments
from sidecar.tables import day_of

_DATE = len("2026-12-31")


def window(since: str, until: str | None, zone: tzinfo | None, now: float) -> Days | Moments:
    """What lies between the two; ends the command with status 2 when that is nothing."""
    first = _since(since, zone, now)
    last = None if until is None else _moment("--until", until, zone)
    if isinstance(first, date) and not isinstance(last, float):
        found: Days | Moments = Days(first, last)
        backwards = last is not None and last < first
    else:
        start = midnight(first, zone) if isinstance(first, date) else first
        end = midnight(last + timedelta(1), zone) if isinstance(last, date) else last
        found = Moments(start, float("inf") if end is None else end)
        backwards = found.end <= found.start
    if backwards:
        fail(f"--until {until} lies before --since {since}")
    return found


def _since(text: str, zone: tzinfo | None, now: float) -> date | float:
    if "-" in text:
        return _moment("--since", text, zone)
    try:
        if text.endswith(("d", "w")):
            return day_of(now, zone) - timedelta(days=days(text) - 1)
        return now - duration("" if text.isdecimal() else text)
    except (Misread, OverflowError):
        fail("--since is a time such as 7d or 6h, or a date such as 2026-12-31")


def _moment(option: str, text: str, zone: tzinfo | None) -> date | float:
    try:
        if len(text) == _DATE:
            return date.fromisoformat(text)
        return moment(text, zone).timestamp()
    except (Misread, ValueError):
        fail(f"{option} is a date such as 2026-12-31, or a time such as 2026-12-31T18:00")


def midnight(day: date, zone: tzinfo | None) -> float:
    """When a day begins, in seconds since the epoch."""
    start = datetime.combine(day, time_of_day())
    return (start.astimezone(UTC) if zone is None else start.replace(tzinfo=zone)).timestamp()

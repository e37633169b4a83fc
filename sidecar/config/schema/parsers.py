"""Parse one scalar of the file: numbers, durations, money, dates."""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal

from sidecar.config.model import Period
from sidecar.config.patterns import Pattern
from sidecar.config.yaml.secret_forms import shown
from sidecar.errors import EditRefused


class InvalidValue(Exception):
    """A text is not valid for its field: `what` is wrong, and what to do `next`."""

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next = next_step


_COUNT = re.compile(r"(\d{1,3}(?:_\d{3})+|\d{1,18})(?:\.(\d{1,9}))?([kMG]?)", re.ASCII)
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)(ms|s|m|h|d|w|)", re.ASCII)
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB|)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)
_MONEY = re.compile(r"\$?(\d{1,12}(?:\.\d{1,12})?)", re.ASCII)
_BUDGET = re.compile(r"\$(\d{1,12}(?:\.\d{1,12})?) ?/ ?(\w+)", re.ASCII)
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})", re.ASCII)
_THOUSANDS = {"": 0, "k": 3, "M": 6, "G": 9}
_MILLISECONDS = {"ms": 1, "": 1000, "s": 1000, "m": 60_000, "h": 3_600_000}
_MILLISECONDS |= {"d": 86_400_000, "w": 604_800_000}


def name(word: str) -> str:
    """Parse a name: 1 to 128 printable characters, without a space at either end."""
    if not word:
        raise InvalidValue("a name is empty", "write a name")
    if len(word) > MAX_NAME_CHARS:
        raise InvalidValue(f"this name has over {MAX_NAME_CHARS} characters", "shorten it")
    if not word.isprintable():
        raise InvalidValue("a name may not hold control characters", "remove them")
    if word != word.strip():
        raise InvalidValue(f"the name {shown(word)} begins or ends with a space", "remove it")
    return word


_BYTES = {"": 1, "B": 1} | {
    name: base ** (power + 1)
    for base, names in ((1000, ("kB", "MB", "GB", "TB")), (1024, ("KiB", "MiB", "GiB", "TiB")))
    for power, name in enumerate(names)
}
MAX_NAME_CHARS = 128


def text(word: str) -> str:
    """Return any text, with its line breaks."""
    return word


def switch(word: str) -> bool:
    """Parse `true` or `false`, also written yes/no and on/off."""
    match word.lower():
        case "true" | "yes" | "on":
            return True
        case "false" | "no" | "off":
            return False
    raise InvalidValue(f"{shown(word)} is neither true nor false", "write true or false")


def count(word: str) -> int:
    """Parse a whole number: `500`, `200k` (thousand), `1.5M` (million), `2G`, `200_000`."""
    match = _COUNT.fullmatch(word)
    if match is None:
        what = "a number of 0 or more" if _COUNT.fullmatch(word.removeprefix("-")) else "a number"
        raise InvalidValue(f"{shown(word)} is not {what}", "write one such as 500, 200k or 1.5M")
    whole, fraction, unit = match.group(1), match.group(2) or "", match.group(3)
    amount = Decimal(f"{whole.replace('_', '')}.{fraction}0").scaleb(_THOUSANDS[unit])
    if amount != int(amount):
        raise InvalidValue(f"{shown(word)} is not a whole number", "write one such as 500 or 1.5M")
    return int(amount)


def integer(word: str) -> int:
    """Parse a whole number that may be negative: a position, not an amount."""
    return -count(word[1:]) if word.startswith("-") else count(word)


def number(word: str) -> Decimal:
    """Parse a plain number that is not negative: `0.9`."""
    if _NUMBER.fullmatch(word) is None:
        raise InvalidValue(f"{shown(word)} is not a number", "write one such as 0.9")
    return Decimal(word)


def share(word: str) -> float:
    """Parse a number above zero: `2` counts twice as much as `1`."""
    value = float(number(word))
    if value <= 0:
        raise InvalidValue("a share of 0 would never be served", "write a number above 0")
    return value


def duration(word: str) -> float:
    """Parse a duration to seconds: `90s`, `5m`, `2h`, `30d`, `250ms`; a plain number is seconds."""
    match = _DURATION.fullmatch(word)
    if match is None:
        raise InvalidValue(
            f"{shown(word)} is not a duration", "write one such as 90s, 5m, 2h or 30d"
        )
    return float(Decimal(match.group(1)) * _MILLISECONDS[match.group(2)] / 1000)


def positive_duration(word: str) -> float:
    """Parse a duration above zero to seconds."""
    seconds = duration(word)
    if seconds <= 0:
        raise InvalidValue("a duration of 0 would never succeed", "write one such as 90s")
    return seconds


def days(word: str) -> int:
    """Parse whole days: `90d`; a plain number is days."""
    seconds = duration(word if word[-1:].isalpha() else f"{word}d")
    if seconds < 86400 or seconds % 86400:
        raise InvalidValue(f"{shown(word)} is not a number of days", "write one such as 90d")
    return int(seconds // 86400)


def size(word: str) -> int:
    """Parse a size to bytes: `64MiB`, `1GiB`, `500MB`; a plain number is bytes."""
    match = _SIZE.fullmatch(word)
    if match is None:
        raise InvalidValue(f"{shown(word)} is not a size", "write one such as 64MiB")
    amount = int(Decimal(match.group(1)) * _BYTES[match.group(2)])
    if amount == 0:
        raise InvalidValue("a size of 0 leaves no room at all", "write one such as 64MiB")
    return amount


def percent(word: str) -> float:
    """Parse `30%` to a part of the whole, from 0 to 1."""
    match = _PERCENT.fullmatch(word)
    if match is None or float(match.group(1)) > 100:
        raise InvalidValue(f"{shown(word)} is not a percentage", "write one from 0% to 100%")
    return float(Decimal(match.group(1)) / 100)


def money(word: str) -> Decimal:
    """Parse US dollars: `$2.50`; the sign may be missing."""
    match = _MONEY.fullmatch(word)
    if match is None:
        raise InvalidValue(f"{shown(word)} is not a price", "write US dollars such as $2.50")
    return Decimal(match.group(1))


def budget(word: str) -> tuple[Decimal, Period]:
    """Parse US dollars per calendar day, week or month: `$10/day`."""
    match = _BUDGET.fullmatch(word)
    if match is None:
        raise InvalidValue(
            f"{shown(word)} is not a budget", "write one such as $10/day or $150/month"
        )
    if match.group(2) not in list(Period):
        raise InvalidValue(
            f"a budget cannot be per {shown(match.group(2))}", "use /day, /week or /month"
        )
    return Decimal(match.group(1)), Period(match.group(2))


def timestamp(word: str, zone: tzinfo | None) -> datetime:
    """Parse a date or time to UTC; one without an offset is in `zone` (None: this machine's).

    `2026-12-31` is the first second of the day; `2026-12-31T18:00` may have `Z` or an offset.
    """
    try:
        day = date.fromisoformat(word) if len(word) == len("2026-12-31") else None
        found = datetime.combine(day, time()) if day else datetime.fromisoformat(word)
    except ValueError:
        raise InvalidValue(
            f"{shown(word)} is not a date or time",
            "write one such as 2026-12-31 or 2026-12-31T18:00Z",
        ) from None
    try:
        if found.tzinfo is None and zone is not None:
            found = found.replace(tzinfo=zone)
        return found.astimezone(UTC)
    except (OverflowError, ValueError, OSError):
        raise InvalidValue(f"{shown(word)} is beyond the calendar", "write another year") from None


def timezone(word: str) -> tzinfo:
    """Parse a time zone's name in the tz database: `Europe/Berlin`, `UTC`."""
    if word == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(word)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise InvalidValue(
            f"the time zone {shown(word)} is not known here", "write one such as Europe/Berlin"
        ) from None


def pattern(word: str) -> Pattern:
    """Parse a model's name, in which `*` stands for any run of characters and `?` for one."""
    if not word or not word.isprintable() or word != word.strip():
        raise InvalidValue("this is not a model's name or pattern", "write one such as gpt-5*")
    if word[0] in "!-^":
        raise InvalidValue(
            f"a pattern cannot exclude models, and no model's name begins with {word[0]}",
            "list the models that are allowed, such as [gpt-5, gpt-5-mini*]",
        )
    if len(word) > 2 * MAX_NAME_CHARS:
        raise InvalidValue("this pattern is too long for a model's name", "shorten it")
    return Pattern(word)


def key_hash(word: str) -> bytes:
    """Parse the SHA-256 of a key: `sha256:` and 64 hexadecimal digits."""
    match = _HASH.fullmatch(word)
    if match is None:
        raise InvalidValue(
            "this is not the hash of a key", "let `sidecar keys rotate NAME` write a new one"
        )
    return bytes.fromhex(match.group(1))


MAX_TIME_AHEAD = timedelta(days=100 * 365)


def after(text: str, now: datetime) -> datetime:
    """Return the time that is a duration after `now`: `90s`, `2h`, `30d`.

    Raises `EditRefused`, also for a number without a unit.
    """
    try:
        return now + _length(text)
    except InvalidValue:
        raise EditRefused("is a time such as 90s, 2h or 30d") from None


def until(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    """Parse a future time: a date or time as `moment` does, or a duration from `now`.

    Raises `EditRefused`.
    """
    dated = "-" in text or text.isdecimal()
    try:
        found = timestamp(text, zone) if dated else now + _length(text)
    except InvalidValue:
        raise EditRefused(
            "is a time such as 2h or 30d, or a date such as 2026-12-31T18:00"
        ) from None
    if found <= now:
        raise EditRefused(f"{text} has passed")
    return found


def _length(text: str) -> timedelta:
    try:
        length = timedelta(seconds=duration("" if text.isdecimal() else text))
    except OverflowError:
        length = timedelta.max
    if not timedelta() < length <= MAX_TIME_AHEAD:
        raise EditRefused("is a time between 1s and 100 years")
    return length

"""One frame of `sidecar top`, drawn for a terminal of any size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sidecar import humanize
from sidecar.admin.api_types.limits import (
    LimitState,
    QuotaState,
    SubscriptionState,
    UpstreamCooldown,
    UpstreamQuota,
)
from sidecar.admin.api_types.live import LiveCallState, LiveState, QueuedCall, QueuePlace
from sidecar.cli.render.limiters import network_text, pause_text
from sidecar.humanize import has_blocks, printable

ScreenRow = Sequence[str | Text]

BAR_CHARS = 12
"""Characters of a bar."""
NARROW_COLUMNS = 60
"""Columns below which what a row is about keeps its room, and the rest gives way."""
WIDE_COLUMNS = 110
"""Columns from which a call's whole id has room."""
MIN_NAME_CHARS = 8
"""Characters at least of a row's first column, which says what the row is, or how many rows are not
shown: on the narrowest screen the others lose theirs first."""
SHORT_ID_CHARS = 6
"""Characters of a call's id that tell it from the others of one process."""
_MARKS = {"answering": "●*", "asked": "○o", "arriving": "·.", "waiting": "·."}
"""How far a call is, also where the terminal's encoding has no such marks."""
_URGENT = {"interactive": "bold", "normal": "", "background": "dim"}


class ScreenSize(Struct, frozen=True):
    """Columns and rows; None is as many rows as needed."""

    width: int
    height: int | None = None


class Section(Struct, frozen=True):
    """A table of the frame: its columns and rows.

    `right`: columns of figures; `yielding`: columns that are cut where the width is short.
    """

    columns: tuple[str, ...]
    rows: Sequence[ScreenRow]
    right: frozenset[int]
    yielding: frozenset[int]


def frame(view: LiveState, size: ScreenSize, *, stopped: str = "") -> RenderableType:
    """Return the frame.

    `stopped`: since when the process does not answer, and why.
    """
    heading = list(_heading(view, stopped))
    sections = [each for each in _sections(view, size.width) if each.rows]
    counts = [len(each.rows) for each in sections]
    spaced = True
    if size.height is not None:
        room = size.height - len(heading) - len(sections)
        spaced = sum(counts) + len(sections) <= room
        counts = shared_out(counts, room - len(sections) * spaced)
    parts: list[RenderableType] = [*heading]
    for section, count in zip(sections, counts, strict=True):
        if count:
            parts += [Text(""), _table(section, count)] if spaced else [_table(section, count)]
    return Group(*parts)


def shared_out(wants: Sequence[int], room: int) -> list[int]:
    """Return how many rows each section gets of a screen: as evenly as they can use it."""
    got = [0] * len(wants)
    while room > 0 and (hungry := [n for n, want in enumerate(wants) if got[n] < want]):
        for number in hungry[:room]:
            got[number] += 1
        room -= len(hungry)
    return got


def _heading(view: LiveState, stopped: str) -> Iterator[Text]:
    clock = time.strftime("%H:%M:%S", time.localtime(view.at))
    up, retries = humanize.span(view.at - view.started), view.retries
    network = "network up" if view.network.up else "NETWORK OFFLINE"
    yield _line(
        f"sidecar {clock}, process {view.pid}, up {up}, {network}, "
        f"retries {retries.left}/{retries.most}",
        "bold",
    )
    waiting = sum(view.waiting.values())
    by = ", ".join(f"{count} {urgency}" for urgency, count in view.waiting.items() if count)
    yield _line(
        f"{view.in_flight - waiting} running, {waiting} waiting{f' ({by})' if by else ''}, "
        f"{view.granted:,} admitted"
    )
    if stopped:
        yield _line(stopped, "bold red")
    if not view.network.up:
        yield _line(network_text(view.network), "bold red")
    for hold in view.holds:
        yield _line(f"paused: {pause_text(hold, view.at)}", "bold yellow")


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def _sections(view: LiveState, width: int) -> Iterator[Section]:
    wide = width >= WIDE_COLUMNS
    names = frozenset({0} if width >= NARROW_COLUMNS else ())
    running = [each for each in view.calls if each.state != "waiting"]
    yield Section(
        ("running", "key", "urgency", "provider", "model", "age", "first", "tokens"),
        [_running(each, wide) for each in running],
        right=frozenset({5, 6, 7}),
        yielding=frozenset({1, 3, 4}),
    )
    yield Section(
        ("waiting", "key", "urgency", "model", "for", "place", "behind"),
        [_waiting(each, wide) for each in view.lines],
        right=frozenset({4, 5}),
        yielding=frozenset({1, 3, 6}),
    )
    limits = sorted((each for each in view.limits if _touched(each)), key=_fill, reverse=True)
    yield Section(
        ("limit", "", "", "used", "free in", "written at"),
        [_limit(each, each.scope, each.line) for each in limits],
        right=frozenset({3, 4}),
        yielding=names | {1},
    )
    quotas = sorted(view.quotas, key=_fill, reverse=True)
    yield Section(
        ("vendor's quota", "", "", "used", "free in", "credential"),
        [_limit(each, _account(each), each.credential or "") for each in quotas],
        right=frozenset({3, 4}),
        yielding=names | {5},
    )
    yield Section(
        ("subscription", "window", "", "used", "anew in", "key"),
        [_subscription(each) for each in view.subscriptions],
        right=frozenset({3, 4}),
        yielding=names | {5},
    )
    yield Section(
        ("cooldown", "for", "because", "credential"),
        [_cooling(each) for each in view.cooldowns],
        right=frozenset({1}),
        yielding=names | {2, 3},
    )


def _account(account: UpstreamQuota | UpstreamCooldown) -> str:
    return f"{account.provider} {account.family or ''}".rstrip()


def _running(call: LiveCallState, wide: bool) -> ScreenRow:
    urgency = call.urgency or ""
    return (
        f"{_MARKS[call.state][not has_blocks()]} {_id(call, wide)}",
        f"{call.key} › {call.child}" if call.child else call.key or "?",
        Text(urgency, _URGENT.get(urgency, "")),
        call.provider or "",
        call.model or call.endpoint or "",
        humanize.span(call.age),
        "" if call.first_byte is None else humanize.span(call.first_byte),
        _tokens(call),
    )


def _tokens(call: LiveCallState) -> str:
    """Return the tokens that the vendor reported so far, else the bytes."""
    read, made = call.input_tokens, call.output_tokens
    if read is None and made is None:
        return f"{humanize.short(call.bytes)}B" if call.bytes else ""
    return f"{humanize.short(read)}+{humanize.short(made)}"


def _waiting(call: QueuedCall, wide: bool) -> ScreenRow:
    first = call.behind[0]
    place = "" if first.before is None else f"{first.before + 1}/{first.waiting}"
    opens = first.opens
    soon = f", {humanize.span(opens)}" if opens and first.kind != "hold" else ""
    return (
        f"{_MARKS['waiting'][not has_blocks()]} {_id(call, wide)}",
        call.key,
        Text(call.urgency, _URGENT.get(call.urgency, "")),
        call.model or "",
        humanize.span(call.waited),
        place,
        (first.gate if wide else _behind(first)) + soon,
    )


def _behind(limiter: QueuePlace) -> str:
    kind = limiter.kind.replace("_", " ")
    vendors = limiter.kind == "cooldown" or limiter.kind.startswith("quota")
    return f"{limiter.provider if vendors else limiter.scope}, {kind}"


def _limit(limiter: LimitState | QuotaState, scope: str, place: str) -> ScreenRow:
    unit = limiter.unit
    used = f"{humanize.short(limiter.used, unit)} of {humanize.short(limiter.limit, unit)}"
    models = f" {limiter.models}" if isinstance(limiter, LimitState) and limiter.models else ""
    return (
        scope,
        limiter.kind.replace("_", " ") + models,
        bar(_fill(limiter)),
        used,
        humanize.span(limiter.reset) if limiter.reset else "",
        place,
    )


def _subscription(window: SubscriptionState) -> ScreenRow:
    reset = humanize.span(window.reset) if window.reset else ""
    used = f"{window.used:.0%}"
    return (window.provider, window.window, bar(window.used), used, reset, window.key)


def _cooling(limiter: UpstreamCooldown) -> ScreenRow:
    seconds = humanize.span(limiter.seconds) if limiter.seconds else "one try"
    return (
        _account(limiter),
        seconds,
        limiter.reason or limiter.verdict,
        limiter.credential or "",
    )


def bar(part: float) -> Text:
    """Return a bar for a part of the whole; more than the whole is full."""
    full = min(BAR_CHARS, max(0, round(part * BAR_CHARS)))
    style = "red" if part >= 0.9 else "yellow" if part >= 0.7 else "green"
    used, free = "█░" if has_blocks() else "#-"
    return Text(used * full, style).append(free * (BAR_CHARS - full), "dim")


def _fill(limiter: LimitState | QuotaState) -> float:
    """Return the used part of a limiter; a limit of zero is full."""
    if limiter.used is None:
        return 0.0
    return float(limiter.used / limiter.limit) if limiter.limit > 0 else 1.0


def _touched(limiter: LimitState) -> bool:
    return bool(limiter.used or limiter.waiting or limiter.limit <= 0)


def _id(call: LiveCallState | QueuedCall, wide: bool) -> str:
    name = call.call
    return name if wide else name[-SHORT_ID_CHARS:]


def _table(section: Section, count: int) -> Table:
    hidden = len(section.rows) - count + 1 if count < len(section.rows) else 0
    rest = f"… {hidden} more" if hidden else ""
    table = Table(box=None, pad_edge=False, header_style="dim underline")
    for number, column in enumerate(section.columns):
        table.add_column(
            _cell(column),
            no_wrap=number not in section.yielding,  # rich shrinks wrappable columns first
            justify="right" if number in section.right else "left",
            min_width=None if number else max(MIN_NAME_CHARS, len(rest)),
        )
    for row in section.rows[: count - 1 if hidden else count]:
        table.add_row(*map(_cell, row))
    if hidden:
        table.add_row(_cell(Text(rest, "dim")))
    return table


def _cell(cell: str | Text) -> Text:
    text = Text(printable(cell)) if isinstance(cell, str) else cell
    text.no_wrap, text.overflow = True, "ellipsis"
    return text

"""`sidecar keys list` and `sidecar keys stale`: all keys with their last use."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.admin.api_types.entities import ChildKeyInfo, ChildKeyList
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.commands.usage import open_ledger
from sidecar.cli.key_fields import last_use, row, times_of
from sidecar.cli.options import config_option, fail, json_option, note, open_config, state_option
from sidecar.cli.render.tables import cost
from sidecar.config.model import Key, KeyStatus, status_of
from sidecar.config.schema.parsers import InvalidValue, duration
from sidecar.humanize import ago, count, curve, money
from sidecar.ledger.anomalies import Spike, find_spikes
from sidecar.ledger.reader import NoLedger
from sidecar.ledger.reports.activity import Program, Recent, programs, recent, today
from sidecar.ledger.reports.export import as_json as to_json
from sidecar.ledger.reports.export import figures
from sidecar.ledger.reports.sums import Sums
from sidecar.records import NEVER_USED, KeyTimes, as_dollars
from sidecar.scheduling.pauses import EVERYTHING, PauseTarget, read_pauses


class RecentActivity(Struct, frozen=True):
    """Recent activity of keys in the ledger; `known` is false without a ledger."""

    known: bool = False
    recent: Mapping[str, Recent] = {}
    programs: Mapping[str, Sequence[Program]] = {}
    spikes: Mapping[str, Spike] = {}

    def new_programs(self, key: str) -> list[Program]:
        """Return the programs that used the key for the first time within the last week, after
        others."""
        return [each for each in self.programs.get(key, ()) if each.new]


def _recent_activity(state: Path, now: float) -> RecentActivity:
    try:
        with open_ledger(state) as books:
            day = today(books, now)
            return RecentActivity(
                True, recent(books, day), programs(books, now), find_spikes(books, day)
            )  # fmt: skip
    except NoLedger as reason:
        if (state / "sidecar.db").exists():
            note(str(reason))
        return RecentActivity()


@click.command("list")
@json_option
@config_option
@state_option
def list_keys(as_json: bool, config: Path, state: Path) -> None:
    """List the keys with their recent activity: last use, program, calls and cost.

    \b
    Example:
      sidecar keys list --json
    """
    snapshot = open_config(config).snapshot
    now = time.time()
    activity = _recent_activity(state, now)
    times, holds, children = times_of(state), pauses_of(state), children_of(state)
    keys = list(snapshot.keys.values())
    if as_json:
        rows = [
            row(key, times.get(key.name, NEVER_USED)) | paused_field(key, holds)
            | _fields(key.name, activity)
            | {"children": [msgspec.to_builtins(each) for each in children.pop(key.name, ())]}
            for key in keys
        ]  # fmt: skip
        click.echo(to_json(rows))
        return
    from sidecar.cli.render.tables import print_table

    print_table(
        ("name", "group", "vendor", "status", "last used", "by", "7 days", "calls", "cost",
         "description"),
        _rows(keys, times, activity, now, holds, children),
        right={7, 8},
    )  # fmt: skip
    for line in _notices(keys, activity, now):
        click.echo(line)


def _rows(
    keys: Sequence[Key], times: Mapping[str, KeyTimes], activity: RecentActivity, now: float,
    holds: Sequence[PauseTarget], children: dict[str, list[ChildKeyInfo]],
) -> list[list[str]]:  # fmt: skip
    """Return the rows of the table: each key with its children below, then those of groups."""
    rows = []
    for key in keys:
        rows.append(_cells(key, times.get(key.name, NEVER_USED), activity, now, holds))
        rows += [_child_cells(each, key, now) for each in children.pop(key.name, ())]
    return rows + [_child_cells(each, None, now) for more in children.values() for each in more]


def _child_cells(child: ChildKeyInfo, key: Key | None, now: float) -> list[str]:
    totals = child.totals
    charged = money(totals.charged, whole=not totals.unknown)
    return [
        f"{child.parent} › {child.name}", child.group, "" if key is None else key.group.vendor.name,
        "enabled", "", child.agent, "", count(totals.calls), charged,
        f"a run that began {ago(child.begun, now)}{f' on {child.at}' if child.at else ''}",
    ]  # fmt: skip


def children_of(state: Path) -> dict[str, list[ChildKeyInfo]]:
    """Return the child keys of the running process by the names of their parents."""
    found: dict[str, list[ChildKeyInfo]] = {}
    try:
        live = find_process(state)
        rows = [] if live is None else live.get("/api/child-keys", ChildKeyList).children
    except ProcessError:
        rows = []
    for each in rows:
        found.setdefault(each.parent, []).append(each)
    return found


def _fields(key: str, activity: RecentActivity) -> dict[str, Any]:
    """Return the fields that `--json` adds to a key."""
    found = activity.recent.get(key)
    spike = activity.spikes.get(key)
    return {
        "recent": None if not activity.known else {
            "calls_by_day": [day.calls for day in found.days] if found else [0] * 7,
            **figures(found.all_days if found else Sums()),
        },
        "new_programs": [each.name for each in activity.new_programs(key)],
        "spike": None if spike is None else {
            "measure": spike.measure,
            "today": as_dollars(spike.amount) if spike.measure == "cost" else spike.amount,
            "usual": as_dollars(spike.usual) if spike.measure == "cost" else spike.usual,
        },
    }  # fmt: skip


def _cells(
    key: Key, times: KeyTimes, activity: RecentActivity, now: float, holds: Sequence[PauseTarget]
) -> list[str]:
    found = activity.recent.get(key.name)
    used = ["", "", ""]
    if found is not None:
        used = [curve([day.calls for day in found.days]), count(found.all_days.calls),
                cost(found.all_days)]  # fmt: skip
    elif activity.known:
        used = ["", "0", ""]
    return [
        key.name, key.group.name, key.group.vendor.name,
        with_pause(status_text(key, now), key, holds),
        last_use(times, now), times.program, *used, key.description,
    ]  # fmt: skip


def _notices(keys: Sequence[Key], activity: RecentActivity, now: float) -> list[str]:
    found = []
    for key in keys:
        found += [
            f'key "{key.name}": used from a new program, {each.name}, {ago(each.first_seen, now)}'
            for each in activity.new_programs(key.name)
        ]
        if key.name in activity.spikes:
            found.append(f'key "{key.name}": {activity.spikes[key.name]}')
    return found


@click.command("stale")
@click.option(
    "--unused",
    default="30d",
    show_default=True,
    metavar="30d",
    help="Time without use.",
)
@json_option
@config_option
@state_option
def stale(unused: str, as_json: bool, config: Path, state: Path) -> None:
    """List the keys that were not used for some time, or never.

    Used means that a provider answered successfully. A key that was created within that time is
    not listed. A key can be disabled, and enabled again: sidecar keys disable NAME.

    \b
    Example:
      sidecar keys stale --unused 90d
    """
    try:
        length = timedelta(seconds=duration("" if unused.isdecimal() else unused))
        before = (datetime.now(UTC) - length).timestamp()
    except (InvalidValue, OverflowError):
        fail("--unused is a time such as 90s, 2h or 30d")
    snapshot = open_config(config).snapshot
    times = times_of(state)
    found = [
        (key, each)
        for key in snapshot.keys.values()
        if ((each := times.get(key.name, NEVER_USED)).last_used or _created(key)) < before
    ]
    if as_json:
        click.echo(to_json([row(key, each) for key, each in found]))
        return
    if not found:
        click.echo(f"every key was used or created within {unused}")
        return
    _show_stale(found)


def _created(key: Key) -> float:
    return 0.0 if key.created is None else key.created.timestamp()


def _show_stale(found: Sequence[tuple[Key, KeyTimes]]) -> None:
    from sidecar.cli.render.tables import print_table

    now = time.time()
    print_table(
        ("name", "group", "status", "last used", "by", "created", "description"),
        [
            [
                key.name, key.group.name, status_text(key, now), last_use(each, now),
                each.program,
                "unknown" if key.created is None else ago(key.created.timestamp(), now),
                key.description,
            ]
            for key, each in found
        ],
    )  # fmt: skip


def pauses_of(state: Path) -> list[PauseTarget]:
    """Return what is paused: from the process if one runs, else as it is stored for the next."""
    try:
        live = find_process(state)
        rows = None if live is None else live.get("/api/status", ProcessStatus).holds
    except ProcessError:
        rows = None
    if rows is None:
        return [each.target for each in read_pauses(state)]
    return [(each.kind, each.name) for each in rows]


def pauses_on(key: Key, holds: Sequence[PauseTarget]) -> list[PauseTarget]:
    """Return the pauses that hold all of a key's calls: on it, on its group, or on everything."""
    mine = {EVERYTHING, ("key", key.name), ("group", key.group.name)}
    return [each for each in holds if each in mine]


def paused_field(key: Key, holds: Sequence[PauseTarget]) -> dict[str, Any]:
    """Return the field of `--json` for it."""
    return {"paused": bool(pauses_on(key, holds))}


def status_text(key: Key, now: float) -> str:
    """Return the status of a key as a text."""
    status = status_of(key, now)
    return "no secret yet" if status is KeyStatus.NO_SECRET else status.value


def with_pause(status: str, key: Key, holds: Sequence[PauseTarget]) -> str:
    """Return the status of a key, and whether its calls are paused."""
    return f"{status}, paused" if pauses_on(key, holds) else status

"""Shared by the tests of ledger and metrics: a clock, a small configuration, a call."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from sidecar.config.model import Group, Key, KeyHash, Snapshot
from sidecar.errors import ErrorKind, SourceLocation
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.rollups import ALL_FIGURES, COUNTS, DIMENSIONS, FIGURES
from sidecar.plugin_api.vendor import Vendor
from sidecar.records import (
    AttemptRecord,
    Caller,
    CallRecord,
    Cost,
    Outcome,
    Usage,
    UsageState,
    Wait,
)

HERE = SourceLocation("routes.yaml", 1)


@dataclass
class Wall:
    """The time of day, turned by hand."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Acme(Vendor):
    name = "acme"
    title = "Acme"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def snapshot(keys: dict[str, str | tuple[str, ...]], group: str = "G", **more: Any) -> Snapshot:
    """A configuration whose keys have these texts, the current one first."""
    tier = Group(group, Acme(), (), HERE)
    made = {}
    for name, text in keys.items():
        texts = (text,) if isinstance(text, str) else text
        hashes = tuple(KeyHash(digest(each)) for each in texts)
        made[name] = Key(name, tier, (), HERE, hashes)
    by_digest = {each.digest: (key, each) for key in made.values() for each in key.hashes}
    return Snapshot("routes.yaml", "0", {}, {group: tier}, made, by_digest, **more)


CALL = CallRecord(
    call_id="call_1",
    started=1_800_000_000.0,
    key="nightly",
    group="G",
    vendor="acme",
    dialect="openai",
    endpoint="chat",
    method="POST",
    model_asked="m-1",
    streaming=True,
    provider="acme",
    credential="env:ACME_KEY",
    model_served="m-1-2026",
    status=200,
    outcome=Outcome.OK,
    reason="",
    attempts=(AttemptRecord("acme", "env:ACME_KEY", "m-1", "ok", 200, "", 1.5),),
    wait=0.25,
    first_byte=0.75,
    duration=1.75,
    usage=Usage(100, 50, 20, 5, 2, 10, (("images", 1),), "default"),
    usage_state=UsageState.REPORTED,
    session="s-1",
    program="codex/1.0",
    urgency="background",
    waits=(Wait("tpm of group G (routes.yaml:7)", 0.25),),
    cost=Cost(1_250_000, 1_125_000, "list 2026-11-01"),
    caller=Caller("codex", 4711, "/home/me/app", "app", "main"),
)


def call(**changes: Any) -> CallRecord:
    """A finished call that differs from the usual one in this."""
    return replace(CALL, **changes)


def seen(ledger: Ledger, key: str, program: str = "", **more: Any) -> None:
    """Have a call with this key begin and end now, without an answer."""
    now = ledger._wall()
    ended = call(key=key, program=program, started=now, duration=0.0, **{"status": 0} | more)
    ledger.note_times(ended)


def used(ledger: Ledger, key: str, program: str = "") -> None:
    """Have a call with this key begin and end now, served by an upstream."""
    seen(ledger, key, program, status=200)


def refused(ledger: Ledger, key: str) -> None:
    """Have a call with this key begin and end now, rejected by Sidecar."""
    why = ErrorKind.FORBIDDEN
    seen(ledger, key, status=403, outcome=Outcome.REFUSED, refusal=why)


def rows(state: Path, sql: str = "SELECT * FROM calls ORDER BY started") -> list[dict[str, Any]]:
    """Return the rows of the file, read by another connection."""
    with closing(sqlite3.connect(state / "sidecar.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def assert_in_step(state: Path) -> None:
    """Assert that the rollups by day equal the sums of the calls, while all calls are kept."""
    names = ", ".join(DIMENSIONS)
    sums = ", ".join(f"sum({each}) AS {each}" for each in COUNTS + FIGURES)
    told = rows(
        state, f"SELECT {names}, {sums} FROM {ALL_FIGURES} GROUP BY {names} ORDER BY {names}"
    )
    assert told
    assert rows(state, f"SELECT * FROM days ORDER BY {names}") == told

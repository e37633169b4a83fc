"""The counters of a file's limits, which edits never reset."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.config.limit_table import LimitId, route_name
from sidecar.config.loader import load
from sidecar.config.model import Snapshot
from sidecar.plugin_api.manager import discover
from sidecar.records import NANODOLLARS, PeriodCount
from sidecar.scheduling.limits import CallScopes, Limits
from sidecar.scheduling.windows import CalendarWindow, CountingLimiter

HASHES = {name: f"sha256:{number:064x}" for number, name in enumerate("abc", 1)}
REGISTRY = discover()
FILE = """
limits: {{concurrency: 50}}
timezone: UTC
providers:
  openai:
    limits: {{tpm: 1000, models: {{gpt-5*: {{tpm: 100}}, "*": {{rpm: 7}}}}}}
    credential: [env:A, env:B]
groups:
  G: {{vendor: openai, limits: {{rpm: 60}}, budget: $2/day}}
keys:
  a: {{
    group: G, hash: "{a}", limits: {{rpm: 10, rpd: 100}}, routes: [openai: {{limits: {{rpm: 5}}}}]
  }}
  b: {{group: G, hash: "{b}"}}
"""


def snapshot(text: str = FILE) -> Snapshot:
    return load(text.format(**HASHES).encode(), file="routes.yaml", registry=REGISTRY)


def limits(of: Snapshot) -> Limits:
    found = Limits(lambda: 1_800_000_000.0, lambda _: None)
    found.reconcile(of)
    return found


def windows(
    of: Limits, snap: Snapshot, key: str = "a", model: str = "gpt-5", credential: str = "env:A"
) -> list[CountingLimiter]:
    key_ = snap.keys[key]
    [route] = key_.routes
    scopes = CallScopes(key_.name, route_name(key_, route), key_.group.name, "openai", credential)
    return list(of.windows(scopes, model))


def described(found: list[CountingLimiter]) -> list[tuple[str, str, int]]:
    return [(w.scope, w.kind, w.limit) for w in found]


def test_windows_of_a_call_cover_every_scope_the_narrowest_first() -> None:
    snap = snapshot()
    assert described(windows(limits(snap), snap)) == [
        ('key "a"', "rpm", 10),
        ('key "a"', "rpd", 100),
        ('the route of key "a" to openai', "rpm", 5),
        ("group G", "rpm", 60),
        ("group G", "budget/day", 2 * NANODOLLARS),
        ("provider openai (env:A)", "tpm", 1000),
        ("provider openai (env:A)", "tpm", 100),
        ("everything together", "concurrency", 50),
    ]


def test_limits_by_model_apply_for_the_first_pattern_that_matches() -> None:
    snap = snapshot()
    found = windows(limits(snap), snap, key="b", model="o3")
    kinds = [(w.kind, w.limit) for w in found if w.scope.startswith("provider")]
    assert kinds == [("tpm", 1000), ("rpm", 7)]


def test_windows_are_shared_by_a_groups_keys_but_not_by_credentials() -> None:
    snap = snapshot()
    of = limits(snap)
    one, two = windows(of, snap, "a"), windows(of, snap, "b")
    assert next(w for w in one if w.scope == "group G") is next(
        w for w in two if w.scope == "group G"
    )
    other = windows(of, snap, "a", credential="env:B")
    assert not {w for w in one if "provider" in w.scope} & {
        w for w in other if "provider" in w.scope
    }


def test_reload_keeps_every_count_and_binds_at_once() -> None:
    snap = snapshot()
    of = limits(snap)
    [window] = [w for w in windows(of, snap) if (w.scope, w.kind) == ('key "a"', "rpm")]
    for _ in range(4):
        window.acquire(1, 1, 0.0)
    lower = snapshot(FILE.replace("rpm: 10,", "rpm: 3,"))
    of.reconcile(lower)
    assert window in windows(of, lower)
    assert (window.limit, window.remaining(1.0)) == (3, -1)
    of.reconcile(snapshot(FILE.replace("rpm: 10,", "")))
    of.reconcile(snap)  # the limit returns with its count
    assert window in windows(of, snap)


def test_call_of_an_earlier_configuration_counts_by_the_current_one() -> None:
    old, new = snapshot(), snapshot(FILE.replace("rpm: 60", "rpm: 6"))
    of = limits(old)
    of.reconcile(new)
    [window] = [w for w in windows(of, old) if (w.scope, w.kind) == ("group G", "rpm")]
    assert window.limit == 6


def test_renamed_key_keeps_its_counts_and_stores_them_under_the_new_name() -> None:
    kept: list[PeriodCount] = []
    of, old = Limits(lambda: 1_800_000_000.0, kept.append), snapshot()
    of.reconcile(old)
    for window in windows(of, old):
        window.acquire(1, 1, 0.0)
    new = snapshot(FILE.replace("\n  a: {{", "\n  other name: {{"))
    of.reconcile(new)
    mine = [w for w in windows(of, new, "other name") if "other name" in w.scope]
    assert [(w.kind, w.used) for w in mine] == [("rpm", 1), ("rpd", 1), ("rpm", 1)]
    assert kept[-1].name == ("key", "other name", "rpd", "")
    assert kept[-1].used == 1


def test_calendar_counts_are_restored_before_or_after_the_configuration() -> None:
    kept: list[PeriodCount] = []
    of, snap = Limits(lambda: 1_800_000_000.0, kept.append), snapshot()
    of.reconcile(snap)
    for window in windows(of, snap):
        window.acquire(3, 1, 0.0)
    newest = {count.name: count for count in kept}
    assert {name[-2] for name in newest} == {"rpd", "budget/day"}
    for early in (True, False):
        later = Limits(lambda: 1_800_000_000.0, lambda _: None)
        if early:
            later.restore(newest.values())
        later.reconcile(snap)
        if not early:
            later.restore(newest.values())
        used = {w.kind: w.used for w in windows(later, snap) if w.kind in {"rpd", "budget/day"}}
        assert used == {"rpd": 3, "budget/day": 3}


def test_provider_with_two_routes_of_a_key_has_two_route_names() -> None:
    text = FILE.replace(
        "routes: [openai: {{limits: {{rpm: 5}}}}]",
        "routes: [openai: {{models: a*, limits: {{rpm: 5}}}}, openai: {{limits: {{rpm: 6}}}}]",
    )
    snap = snapshot(text)
    key = snap.keys["a"]
    assert [route_name(key, route) for route in key.routes] == ["openai", "openai #2"]


@pytest.mark.parametrize("name", sorted(Path("config").glob("*.yaml")), ids=lambda p: p.name)
def test_every_limit_of_the_example_file_has_a_counter(name: Path) -> None:
    snap = load(name.read_bytes(), file=str(name), registry=REGISTRY)
    of = limits(snap)
    names = {each.window.name for each in of}
    assert any("$30/day" in each for each in names)
    assert all(str(name.name) in each for each in names)


EDITS = [
    FILE,
    FILE.replace("rpm: 10,", "rpm: 3,"),
    FILE.replace("rpm: 10,", ""),
    FILE.replace("\n  a: {{", "\n  other name: {{"),
    FILE.replace("timezone: UTC", "timezone: Asia/Tokyo"),
    FILE.replace("limits: {{concurrency: 50}}", "# a line more\n\nlimits: {{concurrency: 50}}"),
    FILE.replace("limits: {{rpm: 60}}, ", "limits: {{rpm: 60}}, headroom: {{background: 20%}}, "),
]


@pytest.mark.parametrize("prepared", [True, False])
@given(st.lists(st.sampled_from(EDITS), min_size=1, max_size=6))
def test_counters_after_edits_are_those_of_a_fresh_start(prepared: bool, texts: list[str]) -> None:
    of = Limits(lambda: 1_800_000_000.0, lambda _: None)
    for text in texts:
        snap = snapshot(text)
        if prepared:
            of.prepare(snap)
        of.reconcile(snap)
    assert figures(of) == figures(limits(snapshot(texts[-1])))


def figures(of: Limits) -> dict[LimitId, tuple[object, ...]]:
    return {
        name: (
            window.scope, window.name, window.limit, dict(window.headroom), written,
            window.zone if isinstance(window, CalendarWindow) else None,
        )
        for name, window, written in of
    }  # fmt: skip


def test_limits_prepared_for_another_configuration_are_not_followed() -> None:
    lower, higher = (snapshot(FILE.replace("rpm: 60", f"rpm: {amount}")) for amount in (6, 600))
    of = limits(snapshot())
    of.prepare(lower)
    of.reconcile(higher)
    assert figures(of) == figures(limits(higher))


def test_limits_of_child_keys_come_and_go_beside_those_of_the_file() -> None:
    snap = snapshot()
    of = limits(snap)
    key, allowance = snap.keys["b"], snap.keys["a"].allowance
    child = replace(key, child="run-1", child_allowance=allowance)
    of.reconcile(replace(snap, children={"run-1": child}))
    of.prepare(lower := snapshot(FILE.replace("rpm: 60", "rpm: 6")))
    of.reconcile(replace(lower, children={"run-1": child}))
    names = {name for name in figures(of) if name[0] == "child"}
    assert names == {("child", "run-1", "rpm", ""), ("child", "run-1", "rpd", "")}
    of.reconcile(lower)
    assert figures(of) == figures(limits(lower))

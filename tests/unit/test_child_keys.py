"""Child keys: what they have of their parents, when they expire, and what outlives the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.child_keys import LIFETIME_SECONDS, ChildKeys, ChildOrder
from sidecar.child_keys.keys import MAX_ENDED
from sidecar.config.loader import load
from sidecar.config.model import Snapshot, Urgency
from sidecar.errors import ProxyError
from sidecar.plugin_api.manager import discover
from sidecar.records import CallRecord, Outcome, UsageState
from sidecar.scheduling.limits import CallScopes, Limits

FILE = b"""
groups:
  G: {vendor: openai, models: [gpt-*], limits: {rpm: 60}}
  C: {vendor: anthropic}
keys:
  a: {group: G, models: [gpt-5*, gpt-4o], limits: {rpm: 10}, budget: $2/day}
"""
DIGEST = "ab" * 32
SNAPSHOT = load(FILE, file="routes.yaml", registry=discover())


RECORD = CallRecord(
    "c", 0.0, "a", "G", "v", "d", "e", "POST", "m", False, "p", "", "m", 200, Outcome.OK, "",
    (), 0.0, None, 1.0, None, UsageState.UNKNOWN, None, "",
)  # fmt: skip


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> ChildKeys:
    return ChildKeys(tmp_path, clock, clock)


def order(name: str = "c-1", **fields: object) -> ChildOrder:
    return ChildOrder(**({"name": name, "digest": DIGEST, "key": "a"} | fields))  # type: ignore[arg-type]


def snapshot_with(keys: ChildKeys, asked: ChildOrder) -> Snapshot:
    keys.renew(asked, SNAPSHOT)
    return keys.add_to(SNAPSHOT)


def test_child_is_found_by_its_own_secret_under_its_parents_name(keys: ChildKeys) -> None:
    found = snapshot_with(keys, order(urgency="interactive"))
    key, _ = found.by_digest[bytes.fromhex(DIGEST)]
    assert (key.name, key.child, key.urgency) == ("a", "c-1", Urgency.INTERACTIVE)
    assert key.routes is SNAPSHOT.keys["a"].routes
    assert "c-1" not in found.keys


def test_windows_of_a_childs_call_are_its_own_and_its_parents(keys: ChildKeys) -> None:
    found = snapshot_with(keys, order(budgets=["$1/day"]))
    limits = Limits(lambda: 1_800_000_000.0, lambda _: None)
    limits.reconcile(found)
    scopes = CallScopes("a", "openai", "G", "openai", "", child="c-1")
    assert [(each.scope, each.kind) for each in limits.windows(scopes, "gpt-5")] == [
        ('child key "c-1"', "budget/day"), ('key "a"', "rpm"), ('key "a"', "budget/day"),
        ("group G", "rpm"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("own", "left"),
    [
        ([], ["gpt-5*", "gpt-4o"]),
        (["gpt-5-mini"], ["gpt-5-mini"]),
        (["*"], ["gpt-5*", "gpt-4o"]),
        (["gpt-4*"], ["gpt-4o"]),
        (["o3"], []),
    ],
)
def test_models_of_a_child_lie_within_its_parents(
    keys: ChildKeys, own: list[str], left: list[str]
) -> None:
    models = snapshot_with(keys, order(models=own)).children["c-1"].models
    assert models is not None
    assert [each.text for each in models] == left


def test_child_of_a_group_has_what_the_group_gives_a_key(keys: ChildKeys) -> None:
    child = snapshot_with(keys, order(key=None, group="G")).children["c-1"]
    assert child.name == "G (run)"
    assert child.models is not None
    assert [each.text for each in child.models] == ["gpt-*"]


def test_parent_is_the_only_group_of_the_vendor_else_of_the_dialect(keys: ChildKeys) -> None:
    asked = order(key=None, vendor="anthropic", dialect="anthropic")
    assert keys.renew(asked, SNAPSHOT).parent == "C (run)"
    with pytest.raises(ProxyError, match=r'2 groups fit this command: .*--group: "G", "C"'):
        keys.renew(order("c-2", key=None), SNAPSHOT)
    with pytest.raises(ProxyError, match=r"groups add NAME --vendor gemini --route PROVIDER:tr"):
        keys.renew(order("c-2", key=None, vendor="gemini", dialect="gemini"), SNAPSHOT)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "b"}, 'there is no key "b"'),
        ({"key": None, "group": "X"}, 'there is no group "X"'),
        ({"key": None, "group": "C", "dialect": "gemini"}, 'group "C" is of vendor anthropic'),
        ({"key": "a", "dialect": "anthropic"}, 'group "G" is of vendor openai; add one'),
        ({"budgets": ["5"]}, "is not a budget"),
        ({"urgency": "soon"}, "an urgency is one of interactive"),
        ({"models": ["!x"]}, "!"),
        ({"name": ""}, "1 to 80 printable characters"),
        ({"name": "c\x1b[2J"}, "1 to 80 printable characters"),
        ({"agent": "a\n"}, "1 to 80 printable characters"),
    ],
)
def test_order_with_a_wrong_field_is_refused(
    keys: ChildKeys, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ProxyError, match=message):
        keys.renew(order(**fields), SNAPSHOT)


def test_name_of_another_run_is_refused(keys: ChildKeys) -> None:
    keys.renew(order(), SNAPSHOT)
    with pytest.raises(ProxyError, match="another run has the name"):
        keys.renew(ChildOrder(name="c-1", digest="cd" * 32, key="a"), SNAPSHOT)


def test_heartbeat_keeps_the_parent_and_the_limits_of_its_child(keys: ChildKeys) -> None:
    one = load(b"groups: {C: {vendor: anthropic}}", file="r", registry=discover())
    two = load(b"groups: {C: {vendor: anthropic}, D: {vendor: anthropic}}", file="r",
               registry=discover())  # fmt: skip
    asked = order(key=None, vendor="anthropic", budgets=["$1/day"])
    keys.renew(asked, one)
    assert keys.renew(asked, two).parent == "C (run)"
    keys.renew(order(key=None, group="D"), two)
    child = keys.add_to(two).children["c-1"]
    assert (child.name, len(child.child_allowance.budgets)) == ("C (run)", 1)


def test_closed_child_lets_no_call_in_and_still_counts(keys: ChildKeys) -> None:
    keys.renew(order(), SNAPSHOT)
    keys.close("c-1")
    assert not keys.add_to(SNAPSHOT).children
    with pytest.raises(ProxyError, match='the run "c-1" has ended'):
        keys.renew(order(), SNAPSHOT)
    keys.count("c-1", RECORD)
    assert keys.end("c-1").totals.calls == 1
    assert keys.renew(order(), SNAPSHOT).totals.calls == 0


def test_invalid_order_in_the_state_is_left_out_at_the_start(
    keys: ChildKeys, tmp_path: Path
) -> None:
    keys.renew(order(), SNAPSHOT)
    keys.renew(order("c-2"), SNAPSHOT)
    place = tmp_path / "child-keys.json"
    place.write_text(place.read_text().replace(DIGEST, "no digest", 1))
    again = ChildKeys(tmp_path, keys.clock, keys.wall)
    again.restore()
    assert list(again.add_to(SNAPSHOT).children) == ["c-2"]


def test_child_expires_five_minutes_after_its_last_heartbeat(keys: ChildKeys, clock: Clock) -> None:
    keys.renew(order(), SNAPSHOT)
    clock.now += LIFETIME_SECONDS - 1
    keys.renew(order(), SNAPSHOT)
    clock.now += LIFETIME_SECONDS - 1
    keys.sweep()
    assert keys.add_to(SNAPSHOT).children
    clock.now += 1
    keys.sweep()
    assert not keys.add_to(SNAPSHOT).children
    over = keys.add_to(SNAPSHOT)
    assert bytes.fromhex(DIGEST) not in over.by_digest
    assert over.ended_runs[bytes.fromhex(DIGEST)].startswith("the key of this run expired on 20")
    keys.renew(order(), SNAPSHOT)  # a run that was stopped for a while
    assert not keys.add_to(SNAPSHOT).ended_runs


def test_key_of_an_ended_run_is_rejected_with_the_reason_also_after_a_restart(
    keys: ChildKeys, clock: Clock, tmp_path: Path
) -> None:
    why = "the run that this key was made for has ended; start the agent again with: sidecar run"
    keys.renew(order(), SNAPSHOT)
    keys.close("c-1")
    assert keys.add_to(SNAPSHOT).ended_runs == {bytes.fromhex(DIGEST): why}
    keys.end("c-1")
    again = ChildKeys(tmp_path, clock, clock)
    again.restore()
    assert not list(again)
    assert again.add_to(SNAPSHOT).ended_runs == {bytes.fromhex(DIGEST): why}


def test_only_the_newest_ended_keys_are_kept(keys: ChildKeys) -> None:
    for number in range(MAX_ENDED + 1):
        keys.renew(order(f"c-{number}", digest=f"{number:064x}"), SNAPSHOT)
        keys.end(f"c-{number}")
    ended = keys.add_to(SNAPSHOT).ended_runs
    assert [int.from_bytes(each) for each in ended] == list(range(1, MAX_ENDED + 1))


def test_child_outlives_a_restart_until_its_expiry(
    keys: ChildKeys, clock: Clock, tmp_path: Path
) -> None:
    keys.renew(order(), SNAPSHOT)
    clock.now += LIFETIME_SECONDS - 1
    again = ChildKeys(tmp_path, clock, clock)
    again.restore()
    assert list(again.add_to(SNAPSHOT).children) == ["c-1"]
    clock.now += 1
    again.sweep()
    late = ChildKeys(tmp_path, clock, clock)
    late.restore()
    assert not list(again)
    assert not list(late)
    assert (tmp_path / "child-keys.json").stat().st_mode & 0o777 == 0o600


def test_unreadable_state_of_child_keys_does_not_stop_the_start(
    keys: ChildKeys, tmp_path: Path
) -> None:
    (tmp_path / "child-keys.json").write_text("{")
    keys.restore()
    assert not list(keys)


def test_child_of_a_removed_parent_is_out_of_force(keys: ChildKeys) -> None:
    keys.renew(order(), SNAPSHOT)
    without = load(b"groups: {G: {vendor: openai}}", file="r", registry=discover())
    assert not keys.add_to(without).children

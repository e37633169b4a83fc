"""What a person does to keys changes the bytes it means, and no others."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.api_keys import digest, mint
from sidecar.config.editor import Draft, operations
from sidecar.config.loader import load
from sidecar.config.model import Snapshot
from sidecar.errors import EditRefused
from sidecar.plugin_api.manager import discover

REGISTRY = discover()
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
FIRST, SECOND = mint(), mint()
STYLES = {
    "flow": "  {name}: {{group: demo, urgency:  normal , hash: {hash}}}   # {name}\n",
    "block": "  {name}:\n    # about {name}\n    group:   'demo'\n    hash: '{hash}'   # hash\n",
    "mixed": "  {name}:   {{hash: {hash},\n     group: demo }}\n",
    "merged": "  {name}:\n    <<: *shared\n    hash: {hash}\n",
}


def read(text: bytes) -> Snapshot:
    return load(text, file="routes.yaml", registry=REGISTRY)


def a_file(styles: list[str], newline: str = "\n") -> bytes:
    keys = "".join(
        STYLES[style].format(name=f"key {n}", hash=f"sha256:{n:064x}")
        for n, style in enumerate(styles)
    )
    text = "# mine\nx-shared: &shared {group: demo}\ngroups:\n  demo: {vendor: echo}\nkeys:\n"
    return f"{text}{keys}\n# the end\n".replace("\n", newline).encode()


FILES = st.builds(
    a_file,
    st.lists(st.sampled_from(list(STYLES)), min_size=1, max_size=4),
    st.sampled_from(["\n", "\r\n"]),
)


@given(text=FILES, name=st.sampled_from(["new", "local dev", "no", "1:30", "# x", "é☕"]))
def test_key_created_and_deleted_leaves_the_file_unchanged(text: bytes, name: str) -> None:
    made = operations.create_key(text, name, FIRST, NOW, {"group": "demo", "description": "a: b"})
    key = read(made).keys[name]
    assert (key.description, key.created) == ("a: b", NOW)
    assert read(made).by_digest[digest(FIRST)][0].name == name
    assert list(read(made).keys)[:-1] == list(read(text).keys)
    assert operations.delete_key(made, name) == text


@given(text=FILES)
def test_key_disabled_and_enabled_leaves_the_file_unchanged(text: bytes) -> None:
    off = operations.switch_key(text, read(text), "key 0", enabled=False)
    assert read(off).keys["key 0"].enabled is False
    assert operations.switch_key(off, read(off), "key 0", enabled=False) == off
    assert operations.switch_key(off, read(off), "key 0", enabled=True) == text


@given(text=FILES)
def test_key_renamed_and_back_leaves_the_file_unchanged(text: bytes) -> None:
    renamed = operations.rename_key(text, "key 0", "another: name")
    assert read(renamed).keys["another: name"].hashes == read(text).keys["key 0"].hashes
    assert operations.rename_key(renamed, "another: name", "key 0") == text


@given(text=FILES, data=st.data())
def test_key_edit_leaves_every_other_line_unchanged(text: bytes, data: st.DataObject) -> None:
    names = list(read(text).keys)
    name = data.draw(st.sampled_from(names))
    edited = operations.edit_fields(
        Draft(text), ("keys", name), {"urgency": "background", "models": ["a*", "b"]}
    )
    assert [p.text for p in read(edited).keys[name].models or ()] == ["a*", "b"]
    others = [line for line in text.splitlines(keepends=True) if f"{name}".encode() not in line]
    kept = edited.splitlines(keepends=True)
    gone = [line for line in others if line not in kept]
    assert len(gone) <= 1, "at most the line that holds its fields in brackets"
    for other in names:
        if other != name:
            assert read(edited).keys[other].urgency == read(text).keys[other].urgency


@given(text=FILES, hours=st.integers(1, 999))
def test_key_rotated_is_accepted_by_both_secrets_until_the_overlap_ends(
    text: bytes, hours: int
) -> None:
    until = NOW + timedelta(hours=hours)
    once = operations.rotate_key(text, read(text), "key 0", FIRST, until)
    assert [each.until for each in read(once).keys["key 0"].hashes] == [None, until]
    assert read(once).by_digest[digest(FIRST)][1].until is None
    assert read(once).by_digest[bytes(32)][1].until == until
    twice = operations.rotate_key(once, read(once), "key 0", SECOND, None)
    assert [each.digest for each in read(twice).keys["key 0"].hashes] == [digest(SECOND)]
    assert len(re.findall(rb"previous", twice)) == 0


def test_key_that_inherits_enabled_can_be_enabled() -> None:
    text = b"""x-off: &off {enabled: false}
groups: {demo: {vendor: echo}}
keys:
  one: {<<: *off, group: demo}
  two: {<<: *off, group: demo}
"""
    on = operations.switch_key(text, read(text), "one", enabled=True)
    assert on == text.replace(b"group: demo}", b"group: demo, enabled: true}", 1)
    assert [key.enabled for key in read(on).keys.values()] == [True, False]


def test_operation_that_is_impossible_is_refused() -> None:
    text = b"groups: {demo: {vendor: echo}}\nkeys: {one: {group: demo}, two: {group: demo}}\n"
    with pytest.raises(EditRefused, match="nothing to overlap"):
        operations.rotate_key(text, read(text), "one", FIRST, NOW)
    with pytest.raises(EditRefused, match="two"):
        operations.rename_key(text, "one", "two")
    with pytest.raises(EditRefused, match="three"):
        operations.delete_key(text, "three")
    with pytest.raises(EditRefused):
        operations.create_key(b"keys: [", "one", FIRST, NOW, {"group": "demo"})

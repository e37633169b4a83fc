"""Reload of the edited file, start with a broken file, and streams across an edit."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import resource
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from admin_client import over_socket
from conftest import KEYS, YAML
from msgspec.structs import replace
from running_sidecar import CANARY, Sidecar, parse, request, talk
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, Wire, answer, chunk, hang
from vendor_apis import CHAT, dial, figures, outcomes, settled, until

from sidecar.api_keys import digest, mint
from sidecar.app import serve
from sidecar.cli.commands.serve import lasting
from sidecar.config.model import Key, Snapshot
from sidecar.config.yaml.nodes import gc_paused
from sidecar.errors import ConfigError

GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
MORE = f'  more: {{group: GPT, hash: "sha256:{digest(mint()).hex()}"}}\n'
SOON = 4.0
"""Seconds until an edit must be in force: one look at the file, and leave for a busy machine."""


async def is_in_force(proxy: Sidecar) -> None:
    await until(lambda: "more" in proxy.running.snapshot.keys, SOON)


async def test_edit_in_place_takes_effect(proxy: Sidecar) -> None:
    with proxy.file.open("a") as file:
        file.write(MORE)
    await is_in_force(proxy)


async def test_edit_takes_effect_by_its_event_alone(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.config.manager.POLL_SECONDS", 1e6)
    other = tmp_path / "other"
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as proxy:
        with proxy.file.open("a") as file:
            file.write(MORE)
        # The watch may begin only after the edit: further events in the folder follow.
        await until(
            lambda: bool(other.write_text("x")) and "more" in proxy.running.snapshot.keys, SOON
        )


async def test_file_renamed_over_the_old_one_takes_effect(proxy: Sidecar) -> None:
    new = proxy.file.with_suffix(".tmp")
    new.write_text(proxy.file.read_text() + MORE)
    new.replace(proxy.file)
    await is_in_force(proxy)


async def test_file_deleted_and_created_again_takes_effect(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    text = proxy.file.read_text()
    proxy.file.unlink()
    await until(lambda: bool(proxy.running.services.configuration.status.problems), SOON)
    assert (await CHAT.call(proxy)).status == 200
    proxy.file.write_text(text + MORE)
    await is_in_force(proxy)
    assert proxy.running.services.configuration.status.problems == ()


async def test_edit_that_could_not_be_read_at_first_takes_effect(
    proxy: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.config.manager.POLL_SECONDS", 0.05)
    manager, looked = proxy.running.services.configuration, asyncio.Event()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with proxy.file.open("a") as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
        try:
            file.write(MORE)
            file.flush()
            await until(lambda: bool(manager.status.problems), SOON)
            assert "Too many open files" in manager.status.problems[0]
            look = asyncio.create_task(manager._poll(looked))
            await looked.wait()
            look.cancel()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
    await is_in_force(proxy)


class WatchedKeys(dict[str, Key]):
    """Keys that record which threads walk over them."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        super().__init__(keys)
        self.threads: list[threading.Thread] = []

    def values(self) -> Any:
        self.threads.append(threading.current_thread())
        return super().values()


async def test_refused_file_is_compared_with_the_keys_outside_of_the_event_loop(
    proxy: Sidecar,
) -> None:
    manager = proxy.running.services.configuration
    keys = WatchedKeys(proxy.running.snapshot.keys)
    manager.with_children = lambda snapshot: replace(snapshot, keys=keys)
    manager.announce()
    keys.threads.clear()
    proxy.file.write_text(proxy.file.read_text() + "bogus: 1\n")
    assert not (await manager.reload()).accepted
    assert keys.threads
    assert threading.current_thread() not in keys.threads


async def test_parts_prepare_for_an_edit_outside_of_the_event_loop(proxy: Sidecar) -> None:
    manager, seen = proxy.running.services.configuration, list[tuple[bool, Snapshot]]()
    here = threading.current_thread()
    manager.preparers.append(
        lambda snapshot: seen.append((threading.current_thread() is here, snapshot))
    )
    proxy.file.write_text(proxy.file.read_text() + MORE)
    assert (await manager.reload()).accepted
    assert seen == [(False, proxy.running.snapshot)]


async def test_call_while_another_credential_is_prepared_is_sent_with_the_present_one(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    manager, loop = proxy.running.services.configuration, asyncio.get_running_loop()
    vendor.play(GOOD)
    statuses = []

    def call_meanwhile(_: Snapshot) -> None:
        statuses.append(asyncio.run_coroutine_threadsafe(CHAT.call(proxy), loop).result(10).status)

    manager.preparers.append(call_meanwhile)
    proxy.file.write_text(proxy.file.read_text().replace("env:UPSTREAM_KEY", "env:OTHER_KEY"))
    assert (await manager.reload()).accepted
    assert statuses == [200]
    assert vendor.requests[-1].get("authorization")
    assert not proxy.running.services.vault.usable(proxy.running.snapshot.providers["oa"])[0]


async def test_keys_of_a_replaced_file_are_freed_without_a_garbage_collection(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    assert (await CHAT.call(proxy)).status == 200
    await settled(proxy.running)
    held = [proxy.running.snapshot.keys["gpt"]]
    with gc_paused():
        proxy.file.write_text(f"# {proxy.file.read_text()}")
        assert (await proxy.running.services.configuration.reload()).accepted
        await until(lambda: sys.getrefcount(held[0]) == 2)  # by the list, and for the argument


async def test_snapshot_of_an_edit_stays_out_of_garbage_collection(proxy: Sidecar) -> None:
    manager = proxy.running.services.configuration
    manager.building = lasting
    proxy.file.write_text(proxy.file.read_text() + MORE)
    try:
        assert (await manager.reload()).accepted
        known = {id(each) for each in gc.get_objects()}
        assert id(proxy.running.snapshot.keys["more"]) not in known
        assert gc.isenabled()
    finally:
        gc.unfreeze()


async def test_swapped_symlink_takes_effect(tmp_path: Path, vendor: ScriptedVendor) -> None:
    (tmp_path / "..first").mkdir()
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "..first" / "routes.yaml").touch()
    (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as proxy:
        assert proxy.file.is_symlink()
        (tmp_path / "..second").mkdir()
        (tmp_path / "..second" / "routes.yaml").write_text(proxy.file.read_text() + MORE)
        (tmp_path / "..new").symlink_to("..second")
        (tmp_path / "..new").replace(tmp_path / "..data")
        shutil.rmtree(tmp_path / "..first")
        await is_in_force(proxy)


async def test_half_written_file_never_takes_effect(proxy: Sidecar) -> None:
    accepted: list[Snapshot] = []
    proxy.running.services.configuration.listeners.append(accepted.append)
    lines = (proxy.file.read_text() + MORE).splitlines(keepends=True)
    with proxy.file.open("w") as file:
        for line in lines:
            file.write(line)
            file.flush()
            await asyncio.sleep(0.02)
    await is_in_force(proxy)
    assert [len(snapshot.keys) for snapshot in accepted] == [len(KEYS) + 1]


async def test_edit_of_a_comment_takes_effect_without_changes(proxy: Sidecar) -> None:
    before = proxy.running.snapshot.digest
    with proxy.file.open("a") as file:
        file.write("# a comment\n")
    await until(lambda: proxy.running.snapshot.digest != before, SOON)
    assert proxy.running.services.configuration.status.problems == ()


INVALID: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: "",
    "blanks": lambda text: "\n \n",
    "no YAML": lambda text: text + "  {{",
    "a tab": lambda text: text + "\tmore: x\n",
    "no mapping": lambda text: "- a\n- b\n",
    "a number": lambda text: "7\n",
    "two documents": lambda text: text + "---\n" + text,
    "a field twice": lambda text: text + text,
    "a key twice": lambda text: text + MORE + MORE,
    "an unknown field": lambda text: text + "limitz: 3\n",
    "an unknown group": lambda text: text + MORE.replace("GPT", "GTP"),
    "an unknown provider": lambda text: text.replace("routes: [oa]", "routes: [ao]"),
    "an unknown vendor": lambda text: text.replace("vendor: anthropic", "vendor: antropic"),
    "another vendor's provider": lambda text: text.replace("routes: [an]", "routes: [oa]"),
    "no hash": lambda text: text + "  more: {group: GPT, hash: abc}\n",
    "the same hash twice": lambda text: text + MORE + MORE.replace("more", "again"),
    "a credential in the open": lambda text: text.replace("env:UPSTREAM_KEY", "sk-live-1", 1),
    "a duration without a unit": lambda text: text.replace("connect: 2s", "connect: soon"),
    "no switch": lambda text: text.replace("enabled: false", "enabled: maybe"),
    "a control character": lambda text: text + "\x00",
    "an alias of itself": lambda text: text + "prices: &a [*a]\n",
}


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("change", INVALID.values(), ids=INVALID.keys())
async def test_invalid_file_changes_nothing_and_is_logged(
    proxy: Sidecar, vendor: ScriptedVendor, change: Callable[[str], str]
) -> None:
    vendor.play(GOOD)
    good, in_force = proxy.file.read_text(), proxy.running.snapshot
    assert await successful(proxy) == 1
    assert not await proxy.rewrite(change)
    assert proxy.running.snapshot is in_force
    assert proxy.running.services.configuration.status.problems
    assert await successful(proxy) == 0
    health = parse(await talk(proxy.admin_port, request("GET", "/healthz", {})))
    assert (health.status, json.loads(health.body)["config"]) == (200, "stale")
    assert (await CHAT.call(proxy)).status == 200
    assert await proxy.rewrite(lambda _: good)
    assert await successful(proxy) == 1
    assert proxy.running.services.configuration.status.problems == ()


async def successful(proxy: Sidecar) -> float:
    return sum((await figures(proxy.running, "sidecar_config_last_reload_successful")).values())


async def test_file_that_is_not_utf_8_changes_nothing(proxy: Sidecar) -> None:
    proxy.file.write_bytes(proxy.file.read_bytes() + b"# \xff\xfe\n")
    assert not (await proxy.running.services.configuration.reload()).accepted
    assert await successful(proxy) == 0


async def test_path_that_is_no_regular_file_changes_nothing(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    proxy.file.unlink()
    os.mkfifo(proxy.file)
    assert not (await proxy.running.services.configuration.reload()).accepted
    assert (await CHAT.call(proxy)).status == 200


def without(key: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"^  {key}: .*\n", "", text, flags=re.MULTILINE)


@asynccontextmanager
async def a_stream(
    proxy: Sidecar, vendor: ScriptedVendor
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.Event]]:
    """A stream whose first event has arrived and whose rest waits for the event."""
    more = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(CHAT.begun))
        await more.wait()
        await wire.send(chunk(CHAT.ended) + b"0\r\n\r\n")

    vendor.play(script)
    async with dial(proxy.port, CHAT.request(proxy, stream=True)) as (reader, _):
        await reader.readuntil(CHAT.begun + b"\r\n")
        yield reader, more


async def test_stream_continues_after_an_edit_deletes_its_key(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    async with a_stream(proxy, vendor) as (reader, more):
        assert await proxy.rewrite(without("gpt"))
        assert "gpt" not in proxy.running.snapshot.keys
        more.set()
        assert (await reader.read(-1)).endswith(CHAT.ended + b"\r\n0\r\n\r\n")
    await settled(proxy.running)
    assert (await CHAT.call(proxy)).status == 401


async def test_key_disabled_by_an_edit_is_refused(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(GOOD)
    assert (await CHAT.call(proxy)).status == 200
    assert await proxy.rewrite(lambda text: text.replace("gpt: {", "gpt: {enabled: false, ", 1))
    found = await CHAT.call(proxy)
    assert (found.status, CHAT.code(json.loads(found.body))) == (403, "key_disabled")
    assert len(vendor.requests) == 1


async def test_revoked_key_loses_its_open_stream_visibly(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    async with a_stream(proxy, vendor) as (reader, _):
        found = await over_socket(proxy, "POST", "/api/keys/claude/revoke")
        assert json.loads(found.body) == {"cut": 0}
        found = await over_socket(proxy, "POST", "/api/keys/gpt/revoke")
        assert json.loads(found.body) == {"cut": 1}
        rest = await reader.read(-1)
    assert b'key \\"gpt\\" was revoked' in rest
    assert not rest.endswith(b"0\r\n\r\n")
    await settled(proxy.running)
    assert await outcomes(proxy.running) == {"revoked": 1}


async def test_revoked_key_loses_its_waiting_call(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(hang)
    async with dial(proxy.port, CHAT.request(proxy)) as (reader, _):
        await vendor.arrived.wait()
        await over_socket(proxy, "POST", "/api/keys/gpt/revoke")
        found = parse(await reader.read(-1))
    assert (found.status, CHAT.code(json.loads(found.body))) == (403, "key_disabled")
    await asyncio.wait_for(vendor.gone.wait(), 5)


async def test_command_api_is_not_served_over_tcp(proxy: Sidecar) -> None:
    for port in (proxy.admin_port, proxy.port):
        found = parse(await talk(port, request("POST", "/api/keys/gpt/revoke", {})))
        assert found.status in {401, 404}
    assert (proxy.state / "admin.sock").stat().st_mode & 0o077 == 0


@asynccontextmanager
async def again(before: Sidecar) -> AsyncIterator[Sidecar]:
    """The same file, state and keys in a new start."""
    stop = asyncio.Event()
    stop.set()
    async with serve(
        before.file, before.state, listen="127.0.0.1:0", admin="127.0.0.1:0",
        environ={"UPSTREAM_KEY": CANARY}, stop_soon=stop,
    ) as running:  # fmt: skip
        yield Sidecar(running, before.file, before.state, before.keys)


async def test_start_with_a_broken_file_uses_the_last_accepted_one(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as before:
        good = before.file.read_text()
    before.file.write_text("keys: [")
    async with again(before) as proxy:
        assert (await CHAT.call(proxy)).status == 200
        assert proxy.running.services.configuration.status.problems
        assert await successful(proxy) == 0
        before.file.write_text(good + MORE)
        await is_in_force(proxy)
        assert await successful(proxy) == 1


async def test_start_with_a_broken_file_never_uses_the_copy_of_another_file(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as before:
        pass
    broken = tmp_path / "b.yaml"
    broken.write_text("keys: [")
    with pytest.raises(ConfigError, match=re.escape(str(broken))):
        async with serve(broken, before.state, environ={}):
            pytest.fail("it started")


@pytest.mark.parametrize("text", ["keys: [", None], ids=["broken", "missing"])
async def test_first_start_needs_a_good_file(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "routes.yaml"
    if text is not None:
        file.write_text(text)
        file.chmod(0o600)
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        async with serve(file, tmp_path / "state", environ={}):
            pytest.fail("it started")

"""The console as a person uses it: a real browser, a real sidecar, real calls."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from admin_client import over_socket
from browser import Tab, a_window, served
from console_session import code_of
from playwright.async_api import Browser, BrowserContext, expect
from project_paths import STATIC
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer

from sidecar.api_keys import digest, looks_like_key
from sidecar_transforms.translate import Translate

pytestmark = pytest.mark.asyncio(loop_scope="session")

YAML = """\
# Mine. Nothing here may be lost.
providers:
  main:  {plugin: openai, base_url: "URL/v1", credential: env:UPSTREAM_KEY}
  spare: {plugin: openai, base_url: "URL/v1", credential: env:NOT_SET}   # no credential yet
groups:
  GPT:
    vendor: openai
    multiplier: 0.9
    routes:
      - main: {models: gpt-*}
      - spare
  Local: {vendor: openai, routes: [main]}
keys:
  editor:  {group: GPT, hash: "{editor}", created: LATELY, description: in my editor}
  nightly: {group: GPT, hash: "{nightly}", urgency: background, enabled: false}
  old:     {group: Local, hash: "{old}", created: 2020-01-01, expires: 2021-01-01}
""".replace("LATELY", str(datetime.now(UTC).date() - timedelta(days=10)))
NAMES = ("editor", "nightly", "old")
MODELS = answer(b'{"data":[{"id":"gpt-5"},{"id":"gpt-5-mini"},{"id":"o9"}]}')
CHAT = b'{"model":"gpt-5","messages":[]}'


vendor, proxy = served(YAML, NAMES, MODELS)


def keys(proxy: Sidecar) -> Any:
    return proxy.running.snapshot.keys


# ── the door ────────────────────────────────────────────────────────────────────────────────────


async def test_a_link_signs_in_once_and_leaves_the_address(tab: Tab, browser: Browser) -> None:
    link = f"{tab.url}/#code={await code_of(tab.proxy)}"
    async with a_window(browser) as context:
        first = Tab(await context.new_page(), tab.proxy)
        await first.page.goto(link)
        await first.heading("API keys")
        assert "code" not in first.page.url
        assert "code" not in await first.page.evaluate("JSON.stringify(history.state) + ''")
        assert await context.cookies() == []
    async with a_window(browser) as context:
        second = Tab(await context.new_page(), tab.proxy)
        await second.page.goto(link)
        await second.says("this link was used already")
        assert await second.page.get_by_role("table").count() == 0


async def test_without_a_link_there_is_no_entry(window: BrowserContext, proxy: Sidecar) -> None:
    tab = Tab(await window.new_page(), proxy)
    await tab.page.goto(f"{tab.url}/#/keys")
    await tab.says("This page opens with a one-time link")
    assert "editor" not in await tab.page.content()
    await tab.type("Or paste the link here", "nonsense")
    await tab.press("Open")
    await tab.says("used already, or is too old")
    await tab.type("Or paste the link here", f"{tab.url}/#code={await code_of(proxy)}")
    await tab.press("Open")
    await tab.heading("API keys")


async def test_a_new_tab_of_the_same_browser_needs_no_link(
    tab: Tab, window: BrowserContext
) -> None:
    other = Tab(await window.new_page(), tab.proxy)
    await other.go("groups", "Groups")
    await tab.press("Sign out")
    await tab.says("You are signed out")
    await other.says("The session is over")


async def test_an_expired_session_leads_back_to_the_door(tab: Tab) -> None:
    await over_socket(tab.proxy, "POST", "/api/close")
    await tab.says("The session is over")
    assert await tab.page.get_by_role("table").count() == 0
    await tab.sign_in()


async def test_a_session_that_ended_unnoticed_is_told_at_the_next_step(tab: Tab) -> None:
    await tab.page.evaluate("sessionStorage.setItem('sidecar-token', 'gone')")
    await tab.page.get_by_role("switch", name="Enabled: editor").click()
    await tab.says("no session, or it is over")
    assert keys(tab.proxy)["editor"].enabled


async def test_a_page_of_another_origin_can_do_nothing(
    tab: Tab, browser: Browser, vendor: ScriptedVendor
) -> None:
    """A page on another port of this machine: the same site, and a stranger all the same."""
    vendor.play(answer(b"<!doctype html><title>stranger</title>", content_type="text/html"))
    attack = """async ([url, token]) => {
        const tries = [
            ['GET', '/console/api/keys', {}], ['GET', '/', {}], ['GET', '/metrics', {}],
            ['POST', '/console/api/changes', {'Content-Type': 'application/json'}],
            ['POST', '/console/api/changes', {'Content-Type': 'text/plain'}],
        ];
        const found = [];
        for (const [method, path, headers] of tries) {
            for (const mode of ['cors', 'no-cors']) {
                const options = {method, mode, headers: {...headers, Authorization: 'Bearer ' + token},
                                 body: method === 'POST' ? '{"edit":{"do":"delete_key","name":"editor"}}' : undefined};
                found.push(await fetch(url + path, options).then((a) => a.type + a.status, () => 'refused'));
            }
        }
        return found;
    }"""  # noqa: E501
    async with a_window(browser) as context:
        page = await context.new_page()
        await page.goto(vendor.url)
        token = await tab.page.evaluate("sessionStorage.getItem('sidecar-token')")
        found = await page.evaluate(attack, [tab.url, token])
        assert set(found) <= {"refused", "opaque0"}
        frame = f"<iframe src='{tab.url}/' onload='this.dataset.loaded = 1'></iframe>"
        await page.set_content(frame)
        await page.wait_for_timeout(300)
        inner = [each for each in page.frames if each != page.main_frame]
        for each in inner:
            assert "API keys" not in await each.content()
    assert "editor" in keys(tab.proxy)


async def test_a_rebound_name_shows_nothing(proxy: Sidecar, browser: Browser) -> None:
    port = proxy.admin_port
    async with a_window(browser) as context:
        page = await context.new_page()
        # chromium resolves every name below .localhost to this machine, as rebinding would
        answer = await page.goto(f"http://evil.localhost:{port}/")
        assert answer is not None
        assert answer.status == 403
        assert "this Host is not served here" in await page.content()


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_list_is_searched_sorted_and_filtered(tab: Tab) -> None:
    names = tab.page.locator("tbody th a")
    await expect(names).to_have_text(["editor", "nightly", "old"])
    row = await tab.row("editor")
    for words in ("in my editor", "GPT", "OpenAI", "enabled", "never"):
        assert words in row
    await tab.page.keyboard.press("/")
    await tab.page.keyboard.type("local")
    await expect(names).to_have_text(["old"])
    await tab.says("1 of 3 keys")
    await tab.page.get_by_label("Search keys").fill("")
    await tab.page.get_by_role("button", name="Status").click()
    await expect(names).to_have_text(["nightly", "editor", "old"])
    await expect(tab.page.locator("th[aria-sort=ascending]")).to_have_text(re.compile("Status"))
    await tab.page.get_by_role("button", name="Status").press("Enter")
    await expect(names).to_have_text(["old", "editor", "nightly"])
    await tab.page.get_by_role("button", name="Not used for 30 days").click()
    await expect(names).to_have_text(["old", "nightly"])


async def test_a_click_is_kept_when_a_call_redraws_the_list_meanwhile(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"choices":[]}'), answer(b'{"choices":[]}'))
    row = tab.page.locator("tbody tr", has_text="editor")
    chip = tab.page.locator("#filter-enabled")
    switch = tab.page.get_by_role("switch", name="Enabled: editor")
    for button, agent in ((chip, "codex/1"), (switch, "aider/2")):
        await button.hover()
        await tab.page.mouse.down()
        called = [("User-Agent", agent)]
        found = await tab.proxy.ask("/v1/chat/completions", CHAT, key="editor", headers=called)
        assert found.status == 200
        await expect(row).to_contain_text(f"by {agent}")
        await tab.page.mouse.up()
    await expect(tab.page.locator("#filter-enabled")).to_have_attribute("aria-pressed", "true")
    await expect(tab.page.locator("tbody th a")).to_have_text([])
    assert not keys(tab.proxy)["editor"].enabled


async def test_a_call_is_seen_as_it_happens(tab: Tab, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"choices":[]}'))
    row = tab.page.locator("tbody tr", has_text="editor")
    await expect(row).to_contain_text("never")
    agent = [("User-Agent", "claude-cli/2.1.3")]
    found = await tab.proxy.ask("/v1/chat/completions", CHAT, key="editor", headers=agent)
    assert found.status == 200
    await expect(row).to_contain_text("just now")
    await expect(row).to_contain_text("by claude-cli/2.1.3")


async def test_a_key_is_created_shown_once_and_works(tab: Tab, vendor: ScriptedVendor) -> None:
    await tab.press("Create a key")
    await tab.press("Create")
    await expect(tab.dialog.get_by_label("Name")).to_be_focused()
    await tab.type("Name", "fresh one")
    await tab.choose("Group", "GPT")
    await tab.type("Description", "made here")
    await tab.choose("Urgency", "interactive")
    await tab.type("Expires", "30d")
    await tab.type("Models", "gpt-5*")
    await tab.type("Budget", "$2/day")
    await tab.press("Add a limit")
    await tab.choose("Kind of limit 1", "tpm")
    await tab.type("Amount of limit 1", "200k")
    await tab.confirm("Create")
    await tab.says("Copy it now")
    text = await tab.dialog.get_by_label("The text of key fresh one").inner_text()
    await tab.page.keyboard.press("Escape")  # what is shown once does not go by accident
    await expect(tab.dialog).to_be_visible()
    assert looks_like_key(text)
    key = keys(tab.proxy)["fresh one"]
    assert key.hashes[0].digest == digest(text)
    assert (key.description, key.urgency.name, key.group.name) == (
        "made here",
        "INTERACTIVE",
        "GPT",
    )
    assert key.allowance.limits[0].amount == 200_000
    assert key.expires is not None
    await tab.choose("Agent or SDK", "codex")
    lines = await tab.dialog.get_by_label("Lines for codex").inner_text()
    assert f"export SIDECAR_KEY={text}" in lines
    assert f'base_url="{tab.proxy.url}/v1"' in lines
    await tab.press("I have copied it")
    await expect(tab.page.locator("dialog")).to_have_count(0)
    assert text not in await tab.page.content()
    await expect(tab.page.locator("tbody")).to_contain_text("fresh one")
    vendor.play(answer(b'{"choices":[]}'))
    tab.proxy.keys["fresh one"] = text
    assert (await tab.proxy.ask("/v1/chat/completions", CHAT, key="fresh one")).status == 200
    assert tab.proxy.file.read_text().startswith("# Mine. Nothing here may be lost.")


@pytest.mark.parametrize(("width", "most"), [(390, 1), (1280, 3)])
async def test_notices_do_not_pile_up(tab: Tab, width: int, most: int) -> None:
    await tab.page.set_viewport_size({"width": width, "height": 844})
    switch = tab.page.get_by_role("switch", name="Enabled: editor")
    for on in ("false", "true", "false", "true"):
        await switch.click()
        await expect(switch).to_have_attribute("aria-checked", on)
    await expect(tab.page.locator(".toast")).to_have_count(most)
    await expect(tab.page.locator(".toast").last).to_contain_text("enabled")


async def test_declined_key_without_a_use_names_no_user(tab: Tab) -> None:
    agent = [("User-Agent", "codex_cli_rs/0.63.0")]
    found = await tab.proxy.ask("/v1/chat/completions", CHAT, key="nightly", headers=agent)
    assert found.status == 403
    row = tab.page.locator("tbody tr", has_text="nightly")
    await expect(row).to_contain_text("never")
    await expect(row).to_contain_text("declined just now, from codex_cli_rs/0.63.0")


async def test_how_calls_wait_is_edited_on_the_page_of_a_key(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.type("Share", "2.5")
    await tab.type("Longest wait of a session", "20s")
    await tab.type("Headroom: kept from background calls", "30%")
    await tab.press("Review changes")
    await tab.confirm("Save")
    await expect(tab.page.locator("dialog")).to_have_count(0)
    key = keys(tab.proxy)["editor"]
    assert (key.share, key.sticky_wait) == (2.5, 20.0)
    assert "headroom: {background: 30%}" in tab.proxy.file.read_text()
    await expect(tab.page.get_by_label("Share")).to_have_value("2.5")


@pytest.mark.parametrize(("place", "heading"), [("groups/GPT", "GPT"), ("providers/main", "main")])
async def test_headroom_is_edited_where_limits_are(tab: Tab, place: str, heading: str) -> None:
    await tab.go(place, heading)
    await tab.type("Headroom: kept from background calls", "30%")
    await tab.type("Headroom: kept from normal calls", "10%")
    await tab.press("Review changes")
    await tab.confirm("Save")
    await expect(tab.page.locator("dialog")).to_have_count(0)
    text = tab.proxy.file.read_text()
    assert re.search(r"headroom:\s*\{?\s*background: 30%,?\s*normal: 10%", text), text


async def test_names_of_credentials_stay_on_one_line(tab: Tab) -> None:
    await tab.page.set_viewport_size({"width": 1280, "height": 800})
    await tab.go("providers", "Providers")
    name = tab.page.locator("td.credential .mono", has_text="env:UPSTREAM_KEY")
    lines = await name.evaluate("each => each.getClientRects().length")
    assert lines == 1


async def test_the_text_of_a_key_is_copied(tab: Tab, window: BrowserContext) -> None:
    await window.grant_permissions(["clipboard-read", "clipboard-write"], origin=tab.url)
    await tab.press("Create a key")
    await tab.type("Name", "copied")
    await tab.press("Create")
    await tab.says("Copy it now")
    await tab.dialog.get_by_role("button", name="Copy").first.click()
    await tab.says("Copied")
    held = await tab.page.evaluate("navigator.clipboard.readText()")
    assert held == await tab.dialog.get_by_label("The text of key copied").inner_text()


async def test_a_mistake_is_told_in_the_form_and_nothing_is_lost(tab: Tab) -> None:
    await tab.press("Create a key")
    await tab.type("Name", "editor")
    await tab.press("Create")
    alert = tab.dialog.get_by_role("alert")
    await expect(alert).to_contain_text('there is a key "editor" already')
    await expect(alert).to_be_focused()
    await tab.type("Name", "another")
    await tab.type("Expires", "soon")
    await tab.confirm("Create")
    await expect(alert).to_contain_text("the end is a time such as 2h or 30d, or a date such as")
    await tab.type("Expires", "")
    await tab.type("Budget", "lots")
    await tab.press("Create")
    await expect(alert).to_contain_text('"lots" is not a budget')
    await expect(tab.dialog.get_by_label("Name")).to_have_value("another")
    await tab.press("Cancel")
    assert list(keys(tab.proxy)) == list(NAMES)


async def test_a_switch_takes_effect_at_once_and_is_undone(tab: Tab) -> None:
    before = tab.proxy.file.read_bytes()
    switch = tab.page.get_by_role("switch", name="Enabled: editor")
    await expect(switch).to_have_attribute("aria-checked", "true")
    await switch.click()
    await expect(switch).to_have_attribute("aria-checked", "false")
    await tab.says("Saved: key editor: disabled")
    assert not keys(tab.proxy)["editor"].enabled
    await tab.press("Undo")
    await tab.says("Undone")
    await expect(switch).to_have_attribute("aria-checked", "true")
    assert tab.proxy.file.read_bytes() == before


async def test_an_undo_never_takes_back_what_came_after_it_unasked(tab: Tab) -> None:
    for name in ("editor", "old"):
        await tab.page.get_by_role("switch", name=f"Enabled: {name}").click()
        await tab.says(f"Saved: key {name}: disabled")
    before = tab.proxy.file.read_bytes()
    await tab.page.get_by_role("button", name="Undo").first.click()
    await tab.says("The file was changed meanwhile")
    await expect(tab.dialog).to_contain_text("key old: disabled")
    await expect(tab.dialog).to_contain_text("would undo these changes as well")
    assert tab.proxy.file.read_bytes() == before
    await tab.confirm("Go back all the same")
    await tab.says("Undone")
    assert all(keys(tab.proxy)[name].enabled for name in ("editor", "old"))


async def test_settings_are_reviewed_before_they_are_written(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    before = tab.proxy.file.read_text()
    await tab.type("Description", "on my desk")
    await tab.choose("Urgency", "background")
    await tab.press("Review changes")
    await expect(tab.dialog).to_contain_text("key editor: urgency normal -> background")
    await expect(tab.dialog.locator(".added")).to_contain_text("description: on my desk")
    await expect(tab.dialog.locator(".removed")).to_contain_text("description: in my editor")
    assert tab.proxy.file.read_text() == before
    await tab.confirm("Save")
    await tab.says("Saved: key editor: urgency")
    await expect(tab.page.locator(".lead")).to_have_text("on my desk")
    after = tab.proxy.file.read_text().splitlines()
    assert len([1 for a, b in zip(before.splitlines(), after, strict=True) if a != b]) == 1


async def test_a_key_moves_to_another_group(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.choose("Group", "Local")
    await tab.press("Review changes")
    await tab.confirm("Save")
    await expect(tab.page.locator(".facts").first).to_contain_text("Local")
    assert keys(tab.proxy)["editor"].group.name == "Local"


async def test_a_key_is_renamed_and_keeps_its_times(tab: Tab, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"choices":[]}'))
    await tab.proxy.ask("/v1/chat/completions", CHAT, key="editor")
    await tab.go("keys/editor", "editor")
    await tab.press("Rename")
    await tab.type("New name", "desk / 1")
    await tab.confirm("Rename")
    await tab.heading("desk / 1")
    await expect(tab.page.locator(".facts").first).to_contain_text("just now")


async def test_a_key_is_rotated_with_an_overlap(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.press("Rotate")
    await tab.choose("The text of now", "1h")
    await tab.confirm("Rotate")
    await tab.says("Copy it now")
    text = await tab.dialog.get_by_label("The text of key editor").inner_text()
    await tab.press("I have copied it")
    await expect(tab.page.locator(".facts").first).to_contain_text("Old secret expires")
    held = [each.digest for each in keys(tab.proxy)["editor"].hashes]
    assert held == [digest(text), digest(tab.proxy.keys["editor"])]


async def test_disabling_says_what_it_breaks(tab: Tab, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"choices":[]}'))
    agent = [("User-Agent", "claude-cli/2.1.3 (x)")]
    await tab.proxy.ask("/v1/chat/completions", CHAT, key="editor", headers=agent)
    await tab.go("keys/editor", "editor")
    await tab.press("Disable")
    await expect(tab.dialog).to_contain_text("It was used just now by claude-cli/2.1.3.")
    await expect(tab.button("Cancel")).to_be_focused()
    await tab.dialog.get_by_label("End its running calls, too").check()
    await tab.confirm("Disable")
    await tab.says("0 running calls ended")
    await tab.press("Enable")
    await tab.button("Disable").wait_for()


async def test_a_deleted_key_is_gone_and_comes_back(tab: Tab) -> None:
    before = tab.proxy.file.read_bytes()
    await tab.go("keys/nightly", "nightly")
    await tab.press("Delete")
    await expect(tab.dialog).to_contain_text("It was never used.")
    await expect(tab.dialog.locator(".removed")).to_contain_text("nightly:")
    await tab.page.keyboard.press("Escape")
    await expect(tab.dialog).to_have_count(0)
    assert "nightly" in keys(tab.proxy)
    await tab.press("Delete")
    await tab.confirm("Delete")
    await tab.heading("API keys")
    await expect(tab.page.locator("tbody tr")).to_have_count(2)
    assert "nightly" not in keys(tab.proxy)
    await tab.press("Undo")
    await expect(tab.page.locator("tbody tr")).to_have_count(3)
    assert tab.proxy.file.read_bytes() == before


async def test_a_key_that_is_deleted_elsewhere_says_so(tab: Tab) -> None:
    await tab.go("keys/nightly", "nightly")
    await tab.proxy.rewrite(
        lambda text: "\n".join(x for x in text.split("\n") if "nightly:" not in x)
    )
    await tab.heading("This key is gone")
    await tab.page.reload()
    await tab.heading("It is not there")


# ── routes ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_edit_copies_the_groups_list_visibly(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.says("This key follows the list of group GPT")
    await tab.says("matches gpt-5, gpt-5-mini")
    assert await tab.button("Review and save").is_disabled()
    await tab.page.get_by_role("switch", name="Use spare").click()
    await tab.says("The list of group GPT was copied.")
    await tab.says("key editor loses spare")
    await tab.press("Review and save")
    added = tab.dialog.locator(".added")
    await expect(added).to_contain_text("{main: {models: gpt-*}}, {spare: {enabled: false}}")
    await tab.confirm("Save")
    await tab.button("Follow the group").wait_for()
    routes = keys(tab.proxy)["editor"].routes
    assert [(r.provider.name, r.enabled) for r in routes] == [("main", True), ("spare", False)]
    await tab.press("Follow the group")
    await tab.confirm("Follow the group")
    await tab.says("This key follows the list of group GPT")
    assert not keys(tab.proxy)["editor"].own_routes


async def test_routes_are_ordered_by_keyboard_and_shown_before_they_are_written(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    before = tab.proxy.file.read_bytes()
    up = tab.page.get_by_role("button", name="Move spare up")
    await up.focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator(".routes .provider")).to_have_text(["spare", "main"])
    await expect(tab.page.get_by_role("button", name="Move spare down")).to_be_focused()
    await tab.page.get_by_label("Model to try").fill("gpt-5")
    way = tab.page.locator(".goes")
    await expect(way).to_contain_text("A call for gpt-5 would then go to")
    await expect(way.locator("ol")).to_have_text("main with env:UPSTREAM_KEY")
    await expect(way).to_contain_text("not to spare: the environment variable NOT_SET is not set")
    await tab.page.get_by_label("Model to try").fill("o9")
    await expect(way).to_contain_text("no provider: it is refused.")
    assert tab.proxy.file.read_bytes() == before
    await tab.press("Discard")
    await expect(tab.page.locator(".routes .provider")).to_have_text(["main", "spare"])


async def test_models_limits_and_weights_of_a_route(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.press("Edit main")
    await tab.type("Models", "*-mini\nexact")
    await tab.press("Add a limit")
    await tab.type("Amount of limit 1", "20")
    await tab.type("Weight", "3")
    await tab.type("Asked for as", "exact = other")
    await tab.press("Done")
    await tab.says("matches exact, gpt-5-mini")
    await tab.page.get_by_label("same priority as above").check()
    await tab.press("Review and save")
    await tab.confirm("Save")
    await tab.button("Follow the group").wait_for()
    main, spare = keys(tab.proxy)["editor"].routes
    assert [each.text for each in main.models] == ["*-mini", "exact"]
    assert main.allowance.limits[0].amount == 20
    assert (main.priority, main.weight, spare.priority) == (1, 3, 1)
    assert main.rename.served("exact") == "other"
    assert await tab.page.get_by_label("same priority as above").is_checked()


async def test_route_translates_to_the_chosen_api(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.press("Edit main")
    offered = tab.dialog.get_by_label("Translate").locator("option")
    apis = await offered.evaluate_all("all => all.slice(2).map(each => each.value)")
    assert Translate.options["api"].endswith(": " + ", ".join(apis))
    await tab.choose("Translate", "responses")
    await tab.press("Done")
    await tab.says("translated to responses")
    await tab.press("Review and save")
    await tab.confirm("Save")
    await tab.button("Follow the group").wait_for()
    written = re.sub(r"\s+", " ", tab.proxy.file.read_text())
    assert re.search(r"main: \{?.*?translate: \{? ?api: responses", written)


async def test_a_provider_is_added_and_taken_away(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.choose("Add a provider", "ollama")
    await expect(tab.page.locator(".routes .provider")).to_have_text(["main", "spare", "ollama"])
    await tab.press("Remove spare")
    await tab.press("Review and save")
    await tab.confirm("Save")
    await tab.button("Follow the group").wait_for()
    assert [r.provider.name for r in keys(tab.proxy)["editor"].routes] == ["main", "ollama"]


async def test_models_of_all_keys_are_on_one_page(tab: Tab) -> None:
    await tab.go("models", "Models")
    assert "editor" in await tab.row("gpt-5-mini")
    row = await tab.row("o9")
    assert "old" in row
    assert "editor" not in row
    await tab.page.get_by_label("Only what this key may use").select_option("editor")
    await expect(tab.page.locator("tbody tr")).to_have_count(2)


# ── groups and providers ────────────────────────────────────────────────────────────────────────


async def test_groups_have_a_rate_and_are_edited(tab: Tab) -> None:
    await tab.go("groups", "Groups")
    await expect(tab.page.locator("thead")).to_contain_text("Group (rate)")
    row = await tab.row("GPT")
    for words in ("OpenAI", "× 0.9", "main", "spare", "2 keys"):
        assert words in row
    await tab.go("groups/GPT", "GPT")
    await tab.type("Rate", "1.1")
    await tab.press("Add a limit")
    await tab.type("Amount of limit 1", "500")
    await tab.press("Review changes")
    await expect(tab.dialog).to_contain_text("group GPT: multiplier 0.9 -> 1.1")
    await tab.confirm("Save")
    await tab.says("Saved: 2 changes")
    assert str(tab.proxy.running.snapshot.groups["GPT"].multiplier) == "1.1"
    await tab.page.get_by_role("switch", name="Use spare").click()
    await tab.press("Review and save")
    await expect(tab.dialog).to_contain_text("group GPT loses spare")
    await tab.confirm("Save")
    await tab.says("Saved: group GPT loses spare")


async def test_a_group_is_created_and_deleted(tab: Tab) -> None:
    await tab.go("groups", "Groups")
    await tab.press("Create a group")
    await tab.type("Name", "Claude")
    await tab.choose("Vendor", "anthropic")
    await tab.press("Create")
    await tab.heading("Claude")
    assert tab.proxy.running.snapshot.groups["Claude"].vendor.name == "anthropic"
    await tab.press("Delete")
    await tab.confirm("Delete")
    await tab.heading("Groups")
    await tab.go("groups/GPT", "GPT")
    await tab.press("Delete")
    await tab.says("2 keys belong to it")
    assert await tab.button("Delete").is_disabled()


async def test_providers_say_where_the_credential_is_and_answer_a_test(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    await tab.go("providers", "Providers")
    row = await tab.row("spare")
    for words in ("unavailable", "the environment variable NOT_SET is not set", "not set"):
        assert words in row
    assert "env:UPSTREAM_KEY" in await tab.row("main")
    assert "sk-upstream" not in await tab.page.content()
    await tab.press("Test main")
    await tab.says("3 models")
    vendor.play(answer(b"{}", status=401))
    await tab.press("Test main")
    await tab.says("it answers 401")


async def test_a_provider_is_added_and_a_secret_in_its_place_is_refused(tab: Tab) -> None:
    secret = "sk-proj-abcdefgh12345678"
    await tab.go("providers", "Providers")
    await tab.press("Add a provider")
    await tab.type("Name", "house")
    await tab.choose("Vendor", "vllm")
    await tab.type("Address", "http://127.0.0.1:9/v1")
    await tab.type("Credential", secret)
    await tab.press("Add")
    alert = tab.dialog.get_by_role("alert")
    await expect(alert).to_contain_text("not shown: it may be the credential")
    assert secret not in await alert.inner_text()
    assert secret not in tab.proxy.file.read_text()
    await tab.type("Credential", "env:HOUSE_KEY")
    await tab.press("Add")
    await tab.heading("house")
    await tab.type("Credential", "none")
    await tab.press("Review changes")
    await tab.confirm("Save")
    await tab.says("available")
    assert tab.proxy.running.snapshot.providers["house"].base_url == "http://127.0.0.1:9/v1"


# ── the file ────────────────────────────────────────────────────────────────────────────────────


async def test_a_refused_edit_is_shown_at_its_line_and_one_click_goes_back(tab: Tab) -> None:
    good = tab.proxy.file.read_bytes()
    await tab.proxy.rewrite(lambda text: text.replace("group: GPT", "group: GTP", 1))
    await tab.says("The last edit of the file was refused.")
    await tab.page.get_by_role("link", name="See where").click()
    await tab.heading("Configuration")
    await tab.says("1 mistake")
    fault = tab.page.locator(".fault")
    await expect(fault).to_contain_text("group: GTP")
    await expect(fault).to_contain_text('group "GTP" is not defined; did you mean "GPT"?')
    line = good.decode().split("\n").index(
        next(x for x in good.decode().split("\n") if "editor:" in x)
    ) + 1  # fmt: skip
    await tab.page.get_by_role("link", name=f"line {line}", exact=True).click()
    await expect(fault).to_be_focused()
    await tab.press("Go back to the last good version")
    await expect(tab.dialog.locator(".removed")).to_contain_text("GTP")
    await tab.confirm("Go back")
    await expect(tab.page.locator(".fault")).to_have_count(0)
    await expect(tab.page.get_by_text("was refused.")).to_have_count(0)
    assert tab.proxy.file.read_bytes() == good


async def test_an_edit_on_a_refused_file_says_why_not(tab: Tab) -> None:
    await tab.proxy.rewrite(lambda text: "keys: [")
    await tab.page.get_by_role("switch", name="Enabled: editor").click()
    await expect(tab.dialog).to_contain_text("the file has mistakes and is not in force")


async def test_older_versions_are_compared_and_brought_back(tab: Tab) -> None:
    first = tab.proxy.file.read_bytes()
    for text in ("group: GPT", "description: in my editor"):
        await tab.proxy.rewrite(lambda yaml, text=text: yaml.replace(text, f"{text} ", 1))
    await tab.proxy.rewrite(lambda text: text.replace("0.9", "0.5"))
    await tab.go("config", "Configuration")
    versions = tab.page.locator("section", has=tab.page.get_by_role("heading", name="History"))
    await expect(versions.get_by_role("listitem").first).to_contain_text(
        "group GPT: multiplier 0.9 -> 0.5"
    )
    await expect(versions.locator(".tag.good")).to_have_text("in force")
    await tab.page.locator("#compare-1").click()
    await expect(tab.dialog.locator(".added").first).to_contain_text("multiplier: 0.5")
    await tab.confirm("Go back to it")
    await expect(tab.dialog).to_contain_text("group GPT: multiplier 0.5 -> 0.9")
    await tab.confirm("Go back")
    await tab.says("The file is as it was")
    assert tab.proxy.file.read_bytes() == first


# ── two at once ─────────────────────────────────────────────────────────────────────────────────


async def test_two_tabs_that_edit_at_once_lose_nothing(tab: Tab, browser: Browser) -> None:
    async with a_window(browser) as context:
        other = await Tab(await context.new_page(), tab.proxy).sign_in()
        await other.go("keys/editor", "editor")
        await tab.go("keys/editor", "editor")
        await tab.type("Description", "from the first tab")
        await other.page.route("**/events", lambda route: route.abort())
        await other.type("Longest wait", "5m")
        await other.press("Review changes")
        await tab.press("Review changes")
        await tab.confirm("Save")
        await tab.says("Saved")
        await other.confirm("Save")
        await expect(other.dialog.last).to_contain_text("The file was changed meanwhile")
        assert keys(tab.proxy)["editor"].max_wait == 120
        await other.confirm("Make my change")
        await other.says("Saved: key editor: max_wait 2m -> 5m")
    key = keys(tab.proxy)["editor"]
    assert (key.description, key.max_wait) == ("from the first tab", 300)


async def test_an_editor_that_saves_under_the_page_is_not_overwritten(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.type("Description", "from the page")
    assert await tab.proxy.rewrite(lambda text: text.replace("0.9", "0.7") + "# by an editor\n")
    await tab.press("Review changes")
    await expect(tab.dialog).to_contain_text("The file was changed meanwhile")
    await expect(tab.dialog).to_contain_text("group GPT: multiplier 0.9 -> 0.7")
    await tab.confirm("Make my change")
    await tab.confirm("Save")
    await tab.says("Saved")
    text = tab.proxy.file.read_text()
    assert "# by an editor" in text
    assert "0.7" in text
    assert keys(tab.proxy)["editor"].description == "from the page"


async def test_typed_text_stays_when_the_file_changes(tab: Tab) -> None:
    await tab.go("keys/editor", "editor")
    await tab.type("Description", "half typed")
    await tab.proxy.rewrite(
        lambda text: text.replace("editor:  {", "editor:  {urgency: interactive, ")
    )
    await expect(tab.page.locator(".facts").first).to_contain_text("interactive")
    await expect(tab.page.get_by_label("Description", exact=True)).to_have_value("half typed")


async def test_a_lost_process_is_said_and_found_again(
    tmp_path: Path, window: BrowserContext, vendor: ScriptedVendor
) -> None:
    async with start_sidecar(tmp_path, YAML.replace("URL", vendor.url), NAMES) as proxy:
        tab = await Tab(await window.new_page(), proxy).sign_in()
        await tab.says("Up to date")
    await tab.says("Reconnecting")
    await tab.page.get_by_role("switch", name="Enabled: editor").click()
    await expect(tab.dialog).to_contain_text("Sidecar does not answer. Is it running?")


# ── for everybody ───────────────────────────────────────────────────────────────────────────────

MARKUP = "<img src=x onerror=alert(1)>"


async def test_markup_in_names_is_harmless(
    tmp_path: Path, window: BrowserContext, vendor: ScriptedVendor
) -> None:
    script = "</script><script>alert(2)</script>"
    vendor.play(answer(json.dumps({"data": [{"id": MARKUP}, {"id": script}]}).encode()))
    yaml = YAML.replace("URL", vendor.url).replace("editor: ", f'"{MARKUP}": ')
    yaml = yaml.replace("  Local:", f"  '{script}':").replace("group: Local", f"group: '{script}'")
    yaml = yaml.replace("in my editor", f"'{script}'").replace("gpt-*", '"*"')
    async with start_sidecar(tmp_path, yaml, NAMES) as proxy:
        agent = [("User-Agent", MARKUP.replace(" ", "/"))]
        await proxy.ask("/v1/chat/completions", CHAT, key="editor", headers=agent)
        tab = await Tab(await window.new_page(), proxy).sign_in()
        await expect(tab.page.locator("tbody")).to_contain_text(MARKUP)
        for place, words in (("models", MARKUP), ("groups", script), ("config", script)):
            await tab.page.goto(f"{tab.url}/#/{place}")
            await expect(tab.page.locator("main")).to_contain_text(words)
        await tab.go("keys", "API keys")
        await tab.page.get_by_role("link", name=MARKUP).click()
        await tab.heading(MARKUP)
        await tab.says(MARKUP)
        await tab.press("Delete")
        await expect(tab.dialog).to_contain_text(f"Delete {MARKUP}?")
        await tab.confirm("Delete")
        await tab.says("was deleted")
        assert await tab.page.locator("img:not([alt=''])").count() == 0
        assert not tab.complaints


PLACES = {
    "keys": "API keys", "keys/editor": "editor", "models": "Models", "groups": "Groups",
    "groups/GPT": "GPT", "providers": "Providers", "providers/main": "main",
    "live": "Live", "usage": "Usage", "config": "Configuration",
}  # fmt: skip


async def test_places_hold_every_page_of_the_console() -> None:
    pages = (STATIC / "pages.js").read_text()
    paths = set(re.findall(r'{ path: "([^"]+)"', pages))
    names = {"keys": "editor", "groups": "GPT", "providers": "main"}
    assert {path.replace("{}", names.get(path.partition("/")[0], "")) for path in paths} == set(
        PLACES
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_have_no_accessibility_violations(
    browser: Browser, proxy: Sidecar, scheme: Any
) -> None:
    async with a_window(browser, color_scheme=scheme, reduced_motion="reduce") as context:
        tab = Tab(await context.new_page(), proxy)
        await tab.page.goto(f"{tab.url}/#/keys")
        await tab.says("one-time link")
        found = {"the door": await tab.violations()}
        await tab.sign_in()
        for place, heading in PLACES.items():
            await tab.go(place, heading)
            found[place] = await tab.violations()
        await tab.go("keys/editor", "editor")
        for button in ("Rotate", "Rename", "Disable", "Delete", "Edit main"):
            await tab.press(button)
            await tab.dialog.wait_for()
            found[button] = await tab.violations()
            await tab.page.keyboard.press("Escape")
        await tab.go("keys", "API keys")
        await tab.press("Create a key")
        await tab.dialog.wait_for()
        found["Create a key"] = await tab.violations()
        await tab.page.keyboard.press("Escape")
        await proxy.rewrite(lambda text: text.replace("group: GPT", "group: GTP", 1))
        await tab.go("config", "Configuration")
        await tab.says("1 mistake")
        found["a refused edit"] = await tab.violations()
        assert {place: each for place, each in found.items() if each} == {}


@pytest.mark.parametrize("width", [320, 390, 768])
async def test_no_page_is_wider_than_a_phone(browser: Browser, proxy: Sidecar, width: int) -> None:
    async with a_window(browser, viewport={"width": width, "height": 800}) as context:
        tab = await Tab(await context.new_page(), proxy).sign_in()
        for place, heading in PLACES.items():
            await tab.go(place, heading)
            assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width, place
        await tab.go("keys/editor", "editor")
        await tab.press("Delete")
        box = await tab.dialog.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


async def test_everything_is_reached_by_keyboard(tab: Tab) -> None:
    skip = tab.page.get_by_text("Skip to the page")
    await skip.focus()
    await expect(skip).to_be_in_viewport()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("main")).to_be_focused()
    await tab.page.get_by_role("link", name="Groups", exact=True).focus()
    await tab.page.keyboard.press("Enter")
    await tab.heading("Groups")
    await expect(tab.page.get_by_role("heading", level=1)).to_be_focused()
    assert await tab.page.title() == "Groups · Sidecar"
    await tab.page.get_by_role("link", name="GPT", exact=True).focus()
    await tab.page.keyboard.press("Enter")
    await tab.heading("GPT")
    opener = tab.button("Delete")
    await opener.focus()
    await tab.page.keyboard.press("Enter")
    await tab.dialog.wait_for()
    await tab.page.keyboard.press("Escape")
    await expect(opener).to_be_focused()


async def test_live_update_keeps_the_focus(tab: Tab) -> None:
    link = tab.page.get_by_role("link", name="nightly", exact=True)
    await link.focus()
    await tab.proxy.rewrite(lambda text: text.replace("0.9", "0.8"))
    await tab.proxy.rewrite(lambda text: text.replace("in my editor", "elsewhere"))
    await tab.says("elsewhere")
    await expect(link).to_be_focused()


async def test_empty_states_say_what_to_do_next(
    tmp_path: Path, window: BrowserContext, vendor: ScriptedVendor
) -> None:
    async with start_sidecar(tmp_path, "groups: {}\n", ()) as proxy:
        tab = await Tab(await window.new_page(), proxy).sign_in()
        await tab.says("No keys yet")
        await tab.page.get_by_role("button", name="Create a key").first.click()
        await tab.says("Create a group first")
        await tab.press("To the groups")
        await tab.says("No groups yet")
        await tab.page.get_by_role("button", name="Create a group").first.click()
        await tab.type("Name", "first")
        await tab.choose("Vendor", "echo")
        await tab.press("Create")
        await tab.heading("first")


async def test_a_page_that_is_not_there_leads_back(tab: Tab) -> None:
    await tab.go("keys/%E0%A4%A", "It is not there")
    await tab.go("nonsense", "There is no such page")
    await tab.page.get_by_role("link", name="To the keys").click()
    await tab.heading("API keys")


async def test_typed_text_does_not_overwrite_an_edit_made_meanwhile(tab: Tab) -> None:
    """Also when the page has long shown the new file: what was typed was typed by the old one."""
    await tab.go("keys/editor", "editor")
    await tab.type("Description", "mine")
    await tab.page.get_by_role("switch", name="Use spare").click()
    await tab.proxy.rewrite(lambda text: text.replace("in my editor", "theirs"))
    await tab.says("What you typed is kept")
    await expect(tab.page.locator(".lead")).to_have_text("theirs")
    for button in ("Review changes", "Review and save"):
        await tab.press(button)
        await expect(tab.dialog).to_contain_text("The file was changed meanwhile")
        await tab.confirm("Cancel")
    assert keys(tab.proxy)["editor"].description == "theirs"
    assert not keys(tab.proxy)["editor"].own_routes


async def test_limits_show_how_full_they_are_and_vendors_how_much_is_left(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    await tab.proxy.rewrite(
        lambda text: text.replace("multiplier: 0.9", "limits: {rpm: 4, tpm: 200k}")
    )
    quota = {
        "x_ratelimit_limit_requests": "500",
        "x_ratelimit_remaining_requests": "123",
        "x_ratelimit_reset_requests": "60s",
    }
    usage = b'{"choices":[],"usage":{"prompt_tokens":900,"completion_tokens":100}}'
    vendor.play(answer(usage, **quota))
    await tab.go("groups/GPT", "GPT")
    await expect(tab.page.locator(".meter", has_text="rpm")).to_contain_text("0 of 4")
    await tab.proxy.ask("/v1/chat/completions", CHAT, key="editor")
    await expect(tab.page.locator(".meter", has_text="rpm")).to_contain_text("1 of 4")
    await expect(tab.page.locator(".meter", has_text="tpm")).to_contain_text("1K of 200K")
    await tab.go("groups", "Groups")
    await expect(tab.page.locator("tbody tr", has_text="GPT")).to_contain_text("1 of 4")
    await tab.go("providers/main", "main")
    await tab.says("What the vendor says is left")
    await tab.says("of 500 left")
    refusal = answer(b'{"error":{"message":"slow"}}', status="429 Too Many", retry_after="40")
    vendor.play(refusal)
    waiting = asyncio.create_task(tab.proxy.ask("/v1/chat/completions", CHAT, key="editor"))
    await tab.says("cooling down")
    await tab.says("gpt-5 cools down")
    waiting.cancel()

"""The console's live calls and usage, in a real browser, with real calls through a real sidecar."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from admin_client import over_socket
from browser import Tab, a_window, served
from playwright.async_api import Browser, expect
from real_redis import needs_redis, redis_server
from running_sidecar import Raw, Sidecar, sidecar
from scripted_vendor import ScriptedVendor, answer, chunk, hang, paced
from shared_usage import write_node
from vendor_apis import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

YAML = """\
budget: $5/day
providers:
  main: {plugin: openai, base_url: "URL/v1", credential: env:UPSTREAM_KEY}
groups:
  GPT: {vendor: openai, routes: [main]}
keys:
  editor:  {group: GPT, hash: "{editor}", limits: {concurrency: 1}}
  nightly: {group: GPT, hash: "{nightly}", urgency: background}
"""
NAMES = ("editor", "nightly")
PATH = "/v1/chat/completions"
CHAT = b'{"model":"gpt-5","messages":[]}'
USAGE = (
    b'"usage":{"prompt_tokens":900,"completion_tokens":100,'
    b'"prompt_tokens_details":{"cached_tokens":300}}'
)
COUNTED = answer(b'{"choices":[],' + USAGE + b"}")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SPOKEN = chunk(b'data: {"choices":[{"delta":{"content":"x"}}],' + USAGE + b"}\n\n")
CALL_ROWS = "#calls tbody tr:not(.part)"
REASONS = "#calls tbody tr.part"
"""What the calls below wait for."""
MARKUP = "<img src=x onerror=alert(1)>"


vendor, proxy = served(YAML, NAMES, COUNTED)


def calling(proxy: Sidecar, key: str = "editor", body: bytes = CHAT) -> asyncio.Task[Raw]:
    agent = [("User-Agent", "codex_cli_rs/0.63.0")]
    return asyncio.create_task(proxy.ask(PATH, body, key=key, headers=agent))


# ── live ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_is_watched_from_its_line_to_its_last_byte(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    end = asyncio.Event()
    vendor.play(paced(HEAD + SPOKEN, end, b"0\r\n\r\n"), COUNTED)
    await tab.go("live", "Live")
    await tab.says("Nothing runs")
    rows = tab.page.locator(CALL_ROWS)
    first = calling(tab.proxy, body=b'{"model":"gpt-5","messages":[],"stream":true}')
    await expect(rows).to_have_count(1)
    for words in ("editor", "codex_cli_rs/0.63.0", "gpt-5", "main", "answering", "first byte"):
        await expect(rows.first).to_contain_text(words)
    await expect(rows.first).to_contain_text("100 out")
    await expect(rows.first).to_contain_text("900 in")
    await expect(tab.page.locator(".meter", has_text="concurrency")).to_contain_text("1 of 1")
    second = calling(tab.proxy)
    waiting = rows.filter(has_text="waiting")
    await expect(waiting).to_contain_text(re.compile("1 of 1, .* at most"))
    reason = re.compile(r'^Behind: key "editor" is at .*concurrency')
    await expect(tab.page.locator(REASONS)).to_have_text(reason)
    end.set()
    assert [(await each).status for each in (first, second)] == [200, 200]
    await tab.says("Nothing runs")
    await expect(tab.page.locator("#past tbody tr")).to_have_count(2)
    await expect(tab.page.locator("#past tbody tr").first).to_contain_text("900 in, 100 out")


async def test_calls_that_wait_for_one_limit_stand_below_it_in_order(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    vendor.play(hang)
    await tab.go("live", "Live")
    calls = [calling(tab.proxy)]
    await expect(tab.page.locator(CALL_ROWS)).to_have_count(1)
    calls += [calling(tab.proxy), calling(tab.proxy)]
    await expect(tab.page.locator(CALL_ROWS)).to_have_count(3)
    await expect(tab.page.locator(REASONS)).to_have_count(1)
    rows = tab.page.locator("#calls tbody tr")
    await expect(rows.nth(1)).to_contain_text("Behind: ")
    await expect(rows.nth(2)).to_contain_text("1 of 2")
    await expect(rows.nth(3)).to_contain_text("2 of 2")
    for call in calls:
        call.cancel()


async def test_limits_are_folded_and_stay_unfolded(tab: Tab) -> None:
    await tab.go("live", "Live")
    await calling(tab.proxy)
    limits = tab.page.locator("details.card", has_text="Limits and budgets")
    await expect(limits.locator(".meter").first).to_be_hidden()
    await limits.locator("summary").click()
    await calling(tab.proxy)
    await expect(tab.page.locator("#past tbody tr")).to_have_count(2)
    await expect(limits.locator(".meter").first).to_be_visible()


async def test_why_tells_the_story_of_a_call(tab: Tab, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"error":{"message":"no"}}', status="400 Bad Request"))
    await calling(tab.proxy)
    await tab.go("live", "Live")
    await tab.page.locator("#past tbody button").first.click()
    for words in ('key "editor" of group GPT', "codex_cli_rs/0.63.0", "not at all", "status 400",
                  "main with env:UPSTREAM_KEY", "nothing"):  # fmt: skip
        await expect(tab.dialog).to_contain_text(words)


async def test_one_call_is_ended_and_its_client_is_told(tab: Tab, vendor: ScriptedVendor) -> None:
    vendor.play(hang)
    await tab.go("live", "Live")
    call, other = calling(tab.proxy), calling(tab.proxy, "nightly")
    row = tab.page.locator(CALL_ROWS, has_text="editor")
    await row.get_by_role("button", name="Cancel the call of editor").click()
    await expect(tab.dialog).to_contain_text("told not to try again")
    await tab.confirm("Let it run")
    assert not call.done()
    await row.get_by_role("button", name="Cancel the call of editor").click()
    await tab.confirm("Cancel it")
    found = await call
    assert (found.status, found.json()["error"]["type"]) == (403, "permission_error")
    await tab.says("The call was cancelled")
    await expect(tab.page.locator(CALL_ROWS)).to_have_count(1)
    await expect(tab.page.locator("#past tbody tr")).to_contain_text("revoked")
    other.cancel()


async def test_everything_is_paused_and_goes_on(tab: Tab) -> None:
    await tab.go("live", "Live")
    await tab.press("Pause …")
    await tab.confirm("Pause everything")
    await tab.says("Paused: everything")
    await tab.says("by the console")
    call = calling(tab.proxy)
    await expect(tab.page.locator(REASONS)).to_contain_text("is paused")
    await tab.says("1 call waits here")
    await tab.go("keys", "API keys")
    await tab.says("Calls wait there and do not fail")
    assert (await tab.row("editor")).count("paused") == 1
    await tab.go("live", "Live")
    await tab.page.get_by_role("button", name="Resume everything").click()
    assert (await call).status == 200
    await expect(tab.page.locator("#banner")).to_be_empty()


async def test_one_thing_is_chosen_to_pause_and_resume_without_a_pointer(tab: Tab) -> None:
    keyboard = tab.page.keyboard
    await tab.go("live", "Live")
    await tab.button("Pause …").focus()
    await keyboard.press("Enter")
    await expect(tab.dialog.get_by_role("searchbox")).to_be_focused()
    rows = tab.dialog.get_by_role("listitem")
    assert [(await row.inner_text()).split() for row in await rows.all()] == [
        ["everything", "Pause"], ["GPT", "group", "Pause"], ["main", "provider", "Pause"],
        ["editor", "key", "Pause"], ["nightly", "key", "Pause"],
    ]  # fmt: skip
    await keyboard.type("NIGHT")
    await expect(rows).to_have_count(1)
    await keyboard.press("Tab")
    await expect(tab.dialog.get_by_role("button", name='Pause key "nightly"')).to_be_focused()
    await keyboard.press("Enter")
    await tab.says('Paused: key "nightly"')
    assert [each.target for each in tab.proxy.running.services.scheduler.pauses] == [
        ("key", "nightly")
    ]
    await expect(tab.button("Pause …")).to_be_focused()
    await keyboard.press("Enter")
    await expect(rows.first).to_contain_text("nightly")  # what is paused stands first
    await expect(rows.first).to_contain_text("paused just now by the console")
    await rows.first.get_by_role("button", name='Resume key "nightly"').click()
    await tab.says('Resumed: key "nightly"')
    assert not list(tab.proxy.running.services.scheduler.pauses)


async def test_pause_button_pressed_as_its_dialog_closes_opens_it_again(tab: Tab) -> None:
    await tab.go("live", "Live")
    await tab.press("Pause …")
    await expect(tab.dialog.get_by_role("searchbox")).to_be_focused()
    await tab.page.evaluate(
        """async () => {
            document.querySelector("dialog button.icon").click();
            for (let i = 0; i < 20; i++) await null;  // sooner than any event
            document.activeElement.click();
        }"""
    )
    await expect(tab.dialog.get_by_role("searchbox")).to_be_focused()


async def test_focused_element_redrawn_and_moved_keeps_the_focus(tab: Tab) -> None:
    await tab.go("live", "Live")
    kept = await tab.page.evaluate(
        """async () => {
            const { blend, h } = await import("/console/dom.js");
            const row = (key) => h("p", { "data-key": key }, h("button", {}, key));
            const place = h("div", {}, row("a"), row("b"), row("c"));
            document.querySelector("main").append(place);
            const button = place.querySelector("[data-key=c] button");
            button.focus();
            blend(place, h("div", {}, row("c"), row("new"), row("a")));
            return document.activeElement === button && place.children.length === 3;
        }"""
    )
    assert kept


async def test_a_name_that_nothing_has_is_said_so(tab: Tab) -> None:
    await tab.go("live", "Live")
    await tab.press("Pause …")
    await tab.dialog.get_by_role("searchbox").fill("nobody")
    await expect(tab.dialog.get_by_role("status")).to_have_text("Nothing of that name.")


@pytest.mark.parametrize(
    ("place", "heading"),
    [("keys/nightly", "nightly"), ("groups/GPT", "GPT"), ("providers/main", "main")],
)
async def test_one_thing_is_paused_on_its_page(tab: Tab, place: str, heading: str) -> None:
    await tab.go(place, heading)
    await tab.press("Pause")
    await tab.says("Paused:")
    call = calling(tab.proxy, "nightly")
    await expect(tab.page.locator("main .status.warn").first).to_have_text("paused")
    assert len(tab.proxy.running.services.scheduler.pauses) == 1
    await tab.page.locator("main").get_by_role("button", name="Resume").click()
    assert (await call).status == 200
    await expect(tab.page.locator("main .status.warn")).to_have_count(0)


async def test_a_pause_from_elsewhere_is_heard(tab: Tab) -> None:
    await over_socket(tab.proxy, "POST", "/api/pause/key/nightly")
    await tab.says('key "nightly"')
    await expect(tab.page.locator("tbody tr", has_text="nightly")).to_contain_text("paused")
    await expect(tab.page.locator("tbody tr", has_text="editor")).not_to_contain_text("paused")
    await over_socket(tab.proxy, "POST", "/api/resume/key/nightly")
    await expect(tab.page.locator("tbody tr", has_text="nightly")).not_to_contain_text("paused")


async def test_a_vendors_no_and_what_it_says_is_left_are_shown(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    quota = {"x_ratelimit_limit_requests": "500", "x_ratelimit_remaining_requests": "123",
             "x_ratelimit_reset_requests": "600s"}  # fmt: skip
    slow = answer(b'{"error":{"message":"slow"}}', status="429 Too Many", retry_after="40")
    vendor.play(answer(b"{}", **quota), slow)
    await tab.proxy.ask(PATH, CHAT, key="nightly")
    await tab.go("live", "Live")
    await expect(tab.page.locator(".meter", has_text="requests/minute")).to_contain_text("of 500")
    call = calling(tab.proxy, "nightly")
    await tab.says("cools down")
    await expect(tab.page.locator(CALL_ROWS)).to_contain_text("background")
    await expect(tab.page.locator(CALL_ROWS)).to_contain_text("waiting")
    call.cancel()


async def test_live_page_keeps_focus_and_rows_while_it_updates(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    vendor.play(hang)
    await tab.go("live", "Live")
    calls = [calling(tab.proxy), calling(tab.proxy, "nightly")]
    row = tab.page.locator(CALL_ROWS, has_text="nightly")
    button = row.get_by_role("button")
    await button.focus()
    await row.evaluate("row => (row.mine = true)")
    await tab.page.evaluate("scrollTo(0, 40)")
    calls[0].cancel()
    await expect(tab.page.locator(CALL_ROWS)).to_have_count(1)
    age = row.locator("[data-head=Age]")
    before = await age.inner_text()
    await expect(age).not_to_have_text(before)
    await expect(button).to_be_focused()
    assert await row.evaluate("row => row.mine")
    calls[1].cancel()


async def test_only_a_page_that_shows_calls_is_told_of_them_and_no_hidden_one(tab: Tab) -> None:
    def streams() -> list[str]:
        return [url.rpartition("/")[2] for url in tab.asked if "/events" in url]

    await tab.go("live", "Live")
    await expect(tab.page.locator("#state")).to_have_text("Up to date")
    assert streams() == ["events", "events?live"]
    await tab.page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await expect(tab.page.locator("#state")).to_have_text("Paused")
    await until(lambda: not tab.proxy.running.console._context.events._listeners)
    await tab.page.evaluate(
        "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))"
    )
    await expect(tab.page.locator("#state")).to_have_text("Up to date")
    await tab.go("usage", "Usage")
    assert streams() == ["events", "events?live", "events?live", "events"]


# ── usage ───────────────────────────────────────────────────────────────────────────────────────


async def test_usage_is_told_apart_narrowed_and_kept_in_the_address(
    tab: Tab, vendor: ScriptedVendor
) -> None:
    vendor.play(COUNTED, COUNTED, answer(b'{"choices":[]}'))
    for key in ("editor", "nightly", "nightly"):
        await calling(tab.proxy, key)
    await tab.proxy.record(3)
    await tab.go("usage", "Usage")
    rows = tab.page.locator("#usage tbody tr")
    editor, nightly = rows.filter(has_text="editor"), rows.filter(has_text="nightly")
    for words in ("900", "100", "33% cached", "$0.00"):
        await expect(editor).to_contain_text(words)
    await expect(editor).to_contain_text("50%")
    await expect(nightly).to_contain_text("900")
    await expect(nightly).to_contain_text("1 call of unknown use")
    await expect(tab.page.locator(".tiles")).to_contain_text("1.8K")
    await expect(tab.page.locator(".bars")).to_have_attribute("aria-label", re.compile("7 days"))
    await expect(tab.page.locator(".meter", has_text="everything")).to_contain_text("of $5.00")
    await nightly.get_by_role("button", name="nightly").click()
    await expect(rows).to_contain_text(["gpt-5"])
    await tab.page.get_by_role("button", name="30 days").click()
    await expect(tab.page.locator(".bars g")).to_have_count(30)
    assert "days=30&key=nightly" in tab.page.url
    await tab.page.reload()
    await expect(tab.page.get_by_label("Tell apart by")).to_have_value("model")
    await expect(tab.page.locator(".tiles")).to_contain_text("2")
    await tab.page.get_by_role("button", name="Key nightly: show all again").click()
    await expect(rows).to_have_count(2)


async def test_usage_grows_while_it_is_looked_at(tab: Tab) -> None:
    await tab.go("usage", "Usage")
    await tab.says("No calls")
    await calling(tab.proxy)
    await expect(tab.page.locator("#usage tbody tr")).to_have_count(1)
    for by in ("group", "model", "provider", "day", "program", "session", "repo"):
        await tab.page.get_by_label("Tell apart by").select_option(by)
        await expect(tab.page.locator("#usage tbody tr")).to_have_count(1)


async def test_usage_line_without_a_name_says_what_it_is(tab: Tab) -> None:
    await calling(tab.proxy)
    await tab.go("usage?by=session", "Usage")
    row = tab.page.locator("#usage tbody tr")
    await expect(row).to_contain_text("unknown")
    await expect(row).to_contain_text("calls that name no session")


async def test_unknown_usage_is_shown_as_unknown(tab: Tab, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"choices":[]}'))
    await calling(tab.proxy)
    await tab.go("usage", "Usage")
    await expect(tab.page.locator(".tiles .card").first).to_contain_text("unknown")
    await expect(tab.page.locator("#usage tbody tr")).not_to_contain_text("$0")
    await tab.go("keys", "API keys")
    await expect(tab.page.locator("tbody tr", has_text="editor")).to_contain_text("unknown")


async def test_usage_is_exported(tab: Tab) -> None:
    await calling(tab.proxy)
    await tab.go("usage", "Usage")
    async with tab.page.expect_download() as waiting:
        await tab.press("Export CSV")
    download = await waiting.value
    assert download.suggested_filename == "usage-by-key-7-days.csv"
    text = await asyncio.to_thread(Path(await download.path()).read_text)
    head, row = text.splitlines()
    assert head.startswith("day,key,calls")
    assert ",editor,1,0,0,900,100,300," in row


async def test_keys_show_what_they_cost_and_used_of_late(tab: Tab) -> None:
    spark = tab.page.locator("tbody tr", has_text="editor").locator(".spark")
    await expect(spark).to_have_count(0)
    await calling(tab.proxy)
    await expect(spark).to_have_attribute("aria-label", "1K tokens in 7 days, 1K today")
    await expect(tab.page.locator("tbody tr", has_text="editor")).to_contain_text("$0.00")
    await tab.go("keys/editor", "editor")
    await expect(tab.page.locator(".facts")).to_contain_text("Cost today")
    await expect(tab.page.locator(".facts .spark")).to_have_count(1)


# ── everywhere ──────────────────────────────────────────────────────────────────────────────────


async def test_markup_that_a_client_made_up_is_harmless(tab: Tab, vendor: ScriptedVendor) -> None:
    body = json.dumps({"model": MARKUP, "messages": []}).encode()
    headers = [("User-Agent", MARKUP.replace(" ", "/"))]
    await tab.proxy.ask(PATH, body, key="nightly", headers=headers)
    vendor.play(hang)
    call = asyncio.create_task(tab.proxy.ask(PATH, body, key="editor", headers=headers))
    await tab.go("live", "Live")
    await expect(tab.page.locator("#calls tbody")).to_contain_text(MARKUP)
    await tab.page.locator("#past tbody button").first.click()
    await expect(tab.dialog).to_contain_text(MARKUP)
    await tab.page.keyboard.press("Escape")
    for by in ("model", "program"):
        await tab.page.goto("about:blank")
        await tab.page.goto(f"{tab.url}/#/usage?by={by}")
        await expect(tab.page.locator("#usage tbody")).to_contain_text("<img")
    await tab.page.locator("#usage tbody button").first.click()
    await expect(tab.page.locator(".tools")).to_contain_text("<img")
    assert await tab.page.locator("img:not([alt=''])").count() == 0
    call.cancel()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_live_pages_have_no_accessibility_violations(
    browser: Browser, proxy: Sidecar, vendor: ScriptedVendor, scheme: str
) -> None:
    async with a_window(
        browser,
        color_scheme=scheme,
        reduced_motion="reduce",  # type: ignore[arg-type]
    ) as context:
        tab = await Tab(await context.new_page(), proxy).sign_in()
        await calling(proxy)
        vendor.play(hang)
        calls = [calling(proxy), calling(proxy), calling(proxy, "nightly")]
        await over_socket(proxy, "POST", "/api/pause/key/nightly")
        await tab.go("live", "Live")
        await expect(tab.page.locator(CALL_ROWS)).to_have_count(3)
        found = {"live": await tab.violations()}
        for button in ("Pause …", "Cancel the call of nightly"):
            await tab.page.locator("main").get_by_role("button", name=button).click()
            await tab.dialog.wait_for()
            found[button] = await tab.violations()
            await tab.page.keyboard.press("Escape")
        await tab.page.locator("#past tbody button").first.click()
        await tab.says("tried")
        found["why"] = await tab.violations()
        await tab.page.keyboard.press("Escape")
        await tab.go("usage", "Usage")
        await tab.page.locator("#usage tbody tr").first.wait_for()
        found["usage"] = await tab.violations()
        await tab.go("keys", "API keys")
        await tab.page.locator(".spark").wait_for()
        found["keys"] = await tab.violations()
        assert {place: each for place, each in found.items() if each} == {}
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("width", [320, 390, 768])
async def test_live_pages_fit_a_phone(
    browser: Browser, proxy: Sidecar, vendor: ScriptedVendor, width: int
) -> None:
    async with a_window(browser, viewport={"width": width, "height": 800}) as context:
        tab = await Tab(await context.new_page(), proxy).sign_in()
        await calling(proxy)
        vendor.play(hang)
        long = json.dumps({"model": "m" * 200, "messages": []}).encode()
        calls = [calling(proxy, body=long), calling(proxy, body=long)]
        await tab.go("live", "Live")
        await expect(tab.page.locator(CALL_ROWS)).to_have_count(2)
        assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width
        await proxy.rewrite(lambda text: f"{text}  {'no space ' * 9}end: {{group: GPT}}\n")
        await tab.press("Pause …")
        await tab.says("New calls wait until you resume")
        assert await tab.dialog.evaluate("it => it.scrollWidth - it.clientWidth") <= 0
        await tab.page.keyboard.press("Escape")
        await tab.page.locator("#past tbody button").first.click()
        await tab.says("tried")
        assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width
        await tab.page.keyboard.press("Escape")
        for place, heading in (("usage", "Usage"), ("usage?days=90&by=model", "Usage")):
            await tab.page.goto("about:blank")
            await tab.go(place, heading)
            await tab.page.locator("#usage tbody tr").first.wait_for()
            assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width
        for call in calls:
            call.cancel()


# ── usage of several processes ──────────────────────────────────────────────────────────────────


@needs_redis
async def test_usage_of_all_processes_is_shown_and_narrowed_to_one(
    browser: Browser, tmp_path: Path, vendor: ScriptedVendor
) -> None:
    with redis_server() as server:
        yaml = f'timezone: UTC\nstate: {{shared: "{server}"}}\n' + YAML.replace("URL", vendor.url)
        async with sidecar(tmp_path, yaml, NAMES) as proxy, a_window(browser) as context:
            await write_node(proxy, "laptop", [("nightly", 7)])
            await write_node(proxy, "ci", [("editor", 2), ("nightly", 1)], time.time() - 7200)
            await calling(proxy)
            await proxy.record()
            tab = await Tab(await context.new_page(), proxy).sign_in()
            await tab.go("usage", "Usage")
            rows = tab.page.locator("#usage tbody tr")
            tiles = tab.page.locator(".tiles")
            await expect(tiles).to_contain_text("Calls11")
            await expect(tab.page.locator("main")).to_contain_text("ci as of 2 hours ago")
            await tab.page.get_by_label("Process", exact=True).select_option("laptop")
            await expect(tiles).to_contain_text("Calls7")
            assert "node=laptop" in tab.page.url
            assert await tab.violations() == []
            await tab.page.get_by_label("Tell apart by").select_option("session")
            await tab.says("Only the usage of this process: that of others is known by day")
            await expect(tiles).to_contain_text("Calls1")
            await expect(tab.page.get_by_label("Process", exact=True)).to_have_value("")
            await tab.page.get_by_label("Tell apart by").select_option("node")
            await expect(rows).to_have_count(3)
            await rows.get_by_role("button", name="ci").click()
            await expect(tab.page.get_by_label("Process", exact=True)).to_have_value("ci")
            await expect(tiles).to_contain_text("Calls3")
            assert tab.complaints == []

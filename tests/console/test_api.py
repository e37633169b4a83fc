"""What the console's API shows and changes, on a real sidecar, over its real port."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from console_session import Api, over_socket, sign_in
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer, hang
from vendor_apis import until

from sidecar.api_keys import digest

YAML = """\
# A comment that every edit leaves alone.
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  spare: {{plugin: openai, base_url: "{url}/v1", credential: env:NOT_SET}}   # has no credential
groups:
  GPT:
    vendor: openai
    multiplier: 0.9
    routes:
      - oa: {{models: gpt-*, limits: {{rpm: 60}}}}
      - spare
  Numbered: {{vendor: openai, routes: [oa: {{priority: 2}}, spare: {{priority: 1}}]}}
  Empty: {{vendor: openai}}
keys:
  gpt:  {{group: GPT, hash: "{{gpt}}", limits: {{tpm: 200k}}}}
  num:  {{group: Numbered, hash: "{{num}}"}}
  own:  {{group: GPT, hash: "{{own}}", urgency: background, routes: [oa]}}  # its own list
"""


@pytest.fixture
async def api(tmp_path: Path, vendor: ScriptedVendor) -> Any:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), ("gpt", "num", "own")) as it:
        yield await sign_in(it)


def code(raw: Any) -> str:
    found: str = raw.json()["error"]["code"]
    return found


# ── what it shows ───────────────────────────────────────────────────────────────────────────────


async def test_keys_are_listed_with_all_that_a_list_shows(api: Api) -> None:
    found = await api.get("keys")
    assert found["digest"] == api.proxy.running.snapshot.digest
    first = found["keys"][0]
    assert first["name"] == "gpt"
    assert (first["group"], first["vendor_title"], first["status"]) == ("GPT", "OpenAI", "enabled")
    assert first["limits"] == {"tpm": "200k"}
    assert first["times"] == {
        "last_seen": None, "last_used": None, "last_refused": None, "program": "", "host": "",
    }  # fmt: skip
    assert [key["own_routes"] for key in found["keys"]] == [False, False, True]


async def test_a_key_shows_what_is_written_and_what_is_in_force(api: Api) -> None:
    found = await api.get("key?name=gpt")
    assert found["written"]["limits"] == {"tpm": "200k"}
    assert "urgency" not in found["written"]
    assert found["key"]["urgency"] == "normal"
    assert found["routes"] == found["group_routes"]
    assert found["routes"][0]["models"] == ["gpt-*"]
    assert found["routes"][0]["limits"] == {"rpm": "60"}
    assert {"oa", "spare", "openai", "ollama"} <= {each["name"] for each in found["providers"]}
    assert "echo" not in {each["name"] for each in found["providers"]}
    own = await api.get("key?name=own")
    assert [each["provider"] for each in own["routes"]] == ["oa"]


async def test_a_key_that_is_not_there_is_said_to_be_missing(api: Api) -> None:
    assert (await api.ask("GET", "key?name=none")).status == 404


async def test_groups_and_providers_say_what_is_available_and_never_a_secret(api: Api) -> None:
    found = await api.get("groups")
    gpt = found["groups"][0]
    assert (gpt["multiplier"], gpt["keys"]) == ("0.9", ["gpt", "own"])
    providers = {each["name"]: each for each in found["providers"]}
    assert providers["oa"]["available"]
    assert providers["oa"]["credentials"] == [{"reference": "env:UPSTREAM_KEY", "why_not": ""}]
    assert "NOT_SET" in providers["spare"]["why_not"]
    assert "sk-upstream" not in json.dumps(found)


async def test_limits_say_how_full_they_are_and_accounts_how_they_stand(
    api: Api, vendor: ScriptedVendor
) -> None:
    usage = b'{"choices":[],"usage":{"prompt_tokens":900,"completion_tokens":100}}'
    quota = {"x_ratelimit_limit_requests": "500", "x_ratelimit_remaining_requests": "123",
             "x_ratelimit_reset_requests": "60s"}  # fmt: skip
    await api.change("edit_group", "GPT", fields={"budget": ["$2/day"], "limits": {"rpm": "9"}})
    vendor.play(answer(usage, **quota))
    await api.proxy.ask("/v1/chat/completions", b'{"model":"gpt-5","messages":[]}')
    await api.proxy.record()
    found = await api.get("groups")
    rows = {each["kind"]: each for each in found["groups"][0]["uses"]}
    assert (rows["rpm"]["used"], rows["rpm"]["limit"], rows["rpm"]["unit"]) == (1, 9, "calls")
    assert (rows["budget/day"]["limit"], rows["budget/day"]["unit"]) == (2, "usd")
    assert [(each["used"], each["limit"]) for each in (await api.get("key?name=gpt"))["uses"]] == [
        (1000, 200_000)
    ]
    provider = (await api.get("provider?name=oa"))["provider"]
    assert [(each["kind"], each["limit"]) for each in provider["quotas"]] == [
        ("requests/minute", 500)
    ]
    assert provider["resting"] == []


async def test_a_probe_says_how_a_provider_answers(api: Api, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"data":[{"id":"gpt-5"},{"id":"gpt-5-mini"}]}'))
    found = (await api.ask("POST", "probe?name=oa", {})).json()
    assert (found["status"], found["models"], found["why_not"]) == (200, 2, "")
    vendor.play(answer(b'{"error":{}}', status=401))
    found = (await api.ask("POST", "probe?name=oa", {})).json()
    assert (found["status"], found["why_not"]) == (401, "it answers 401")
    found = (await api.ask("POST", "probe?name=spare", {})).json()
    assert found["status"] is None
    assert "NOT_SET" in found["why_not"]


async def test_agents_lines_come_with_the_address_and_without_a_key(api: Api) -> None:
    found = await api.get("agents?vendor=openai")
    assert found["base"] == api.proxy.url
    assert (found["agents"][0]["name"], found["agents"][0]["fits"]) == ("openai", True)
    claude = (await api.get("agents?vendor=anthropic"))["agents"]
    assert [each["name"] for each in claude[:2]] == ["anthropic", "claude-code"]
    assert all(found["key"] in each["lines"] for each in found["agents"])


async def test_models_say_which_key_may_use_them(api: Api, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"data":[{"id":"gpt-5"},{"id":"o9"}]}'))
    found = {each["id"]: each["keys"] for each in (await api.get("models"))["models"]}
    assert found["gpt-5"] == ["gpt", "num", "own"]
    assert found["o9"] == ["num"]


async def test_the_config_page_has_the_text_and_its_history(api: Api) -> None:
    before = await api.get("config")
    assert before["text"] == api.proxy.file.read_text()
    assert before["digest"] == before["in_force"]
    await api.change("switch_key", "gpt", enabled=False)
    after = await api.get("config")
    assert after["history"][0]["lines"] == ["key gpt: disabled"]
    assert [each["number"] for each in after["versions"]] == [2, 1]
    assert after["versions"][0]["difference"] == ["key gpt: disabled"]
    old = await api.get("version?number=1")
    assert old["text"] == before["text"]
    assert {row["mark"] for row in old["diff"]} == {" ", "+", "-"}


async def test_problems_stand_at_their_lines_and_secrets_in_a_refused_file_are_masked(
    api: Api,
) -> None:
    text = api.proxy.file.read_text()
    secret = "sk-proj-abcdefgh12345678"
    assert not await api.proxy.rewrite(
        lambda text: text.replace("group: GPT,", "group: GTP,").replace("env:NOT_SET", secret)
    )
    found = await api.get("config")
    assert found["digest"] != found["in_force"]
    lines = found["text"].split("\n")
    assert secret not in json.dumps(found)
    for problem in found["problems"]:
        assert "GTP" in lines[problem["line"] - 1] or "••••" in lines[problem["line"] - 1]
    assert len(found["problems"]) == 3
    assert not found["history"][0]["accepted"]
    api.proxy.file.write_text(text)


# ── what it changes ─────────────────────────────────────────────────────────────────────────────


async def test_a_key_is_created_and_shown_once(api: Api, vendor: ScriptedVendor) -> None:
    fields = {"group": "GPT", "description": "mine", "expires": "30d", "urgency": "interactive",
              "limits": {"rpm": "5"}, "budget": ["$1/day"], "models": ""}  # fmt: skip
    made = await api.change("create_key", "new one", fields=fields)
    key = api.proxy.running.snapshot.keys["new one"]
    assert key.hashes[0].digest == digest(made["secret"])
    assert key.expires is not None
    assert made["undo"] is None
    assert made["difference"] == ["key new one added"]
    text = api.proxy.file.read_text()
    assert made["secret"] not in text
    assert made["secret"] not in json.dumps(await api.get("config"))
    assert text.startswith("# A comment that every edit leaves alone.")
    vendor.play(answer(b'{"choices":[]}'))
    api.proxy.keys["new one"] = made["secret"]
    body = b'{"model":"gpt-5","messages":[]}'
    assert (await api.proxy.ask("/v1/chat/completions", body, key="new one")).status == 200


async def test_every_other_byte_is_kept(api: Api) -> None:
    before = api.proxy.file.read_text().splitlines()
    await api.change("edit_key", "gpt", fields={"description": "the one"})
    after = api.proxy.file.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [new.replace(", description: the one", "") == old for old, new in changed] == [True]


async def test_a_preview_shows_and_changes_nothing(api: Api) -> None:
    before = api.proxy.file.read_bytes()
    question = {"key": "gpt", "model": "gpt-5"}
    found = await api.preview("set_routes", "gpt", question=question,
                              routes=[{"provider": "spare"}, {"provider": "oa"}])  # fmt: skip
    assert api.proxy.file.read_bytes() == before
    assert found["difference"] == ["key gpt tries spare, oa"]
    added = [row["text"] for row in found["diff"] if row["mark"] == "+"]
    assert len(added) == 1
    assert "routes: [spare, oa]" in added[0]
    asked = found["question"]
    assert [each["provider"] for each in asked["candidates"]] == ["oa"]
    assert [each["provider"] for each in asked["skipped"]] == ["spare"]


async def test_a_preview_says_what_the_patterns_match_now(api: Api, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"data":[{"id":"gpt-5"},{"id":"gpt-5-mini"},{"id":"o9"}]}'))
    await api.get("models")
    question = {"key": "own", "model": "gpt-5"}
    routes = [{"provider": "oa", "models": ["*mini", "exact"]}]
    found = await api.preview("set_routes", "own", question=question, routes=routes)
    assert found["matches"] == [["exact", "gpt-5-mini"]]


async def test_a_preview_of_a_mistake_shows_where_it_is(api: Api) -> None:
    found = await api.preview("edit_key", "gpt", fields={"limits": {"rpm": "many"}})
    assert [each["line"] for each in found["problems"]] == [
        1 + api.proxy.file.read_text().splitlines().index(line)
        for line in api.proxy.file.read_text().splitlines()
        if line.startswith("  gpt:")
    ]
    assert '"many" is not a number' in found["problems"][0]["what"]


async def test_a_mistake_is_refused_whole(api: Api) -> None:
    before = api.proxy.file.read_bytes()
    for edit in (
        {"do": "edit_key", "name": "gpt", "fields": {"group": "none"}},
        {"do": "edit_key", "name": "gpt", "fields": {"hash": "sha256:0"}},
        {"do": "edit_key", "name": "gpt", "fields": {"nonsense": "x"}},
        {"do": "edit_key", "name": "gpt", "fields": {"share": 1.5}},
        {"do": "edit_key", "name": "gpt", "fields": {"expires": "yesterday"}},
        {"do": "edit_key", "name": "gpt", "fields": {"expires": "2020-01-01"}},
        {"do": "create_key", "name": "gpt", "fields": {"group": "GPT"}},
        {"do": "create_key", "name": "", "fields": {"group": "GPT"}},
        {"do": "rename_key", "name": "gpt", "new_name": "own"},
        {"do": "rotate_key", "name": "gpt", "overlap": "soon"},
        {"do": "set_routes", "name": "gpt", "routes": []},
        {"do": "set_routes", "name": "gpt", "routes": [{"provider": "nobody"}]},
        {"do": "delete_group", "name": "GPT"},
        {"do": "create_group", "name": "GPT", "fields": {"vendor": "openai"}},
        {"do": "edit_provider", "name": "oa", "fields": {"credential": "sk-proj-abcdefgh12345"}},
        {"do": "restore", "name": "99"},
        {"do": "restore", "name": "../1"},
    ):
        found = await api.send(edit)
        assert (found.status, code(found)) == (422, "refused"), (edit, found.body)
        assert b"sk-proj-abcdefgh12345" not in found.body
    assert api.proxy.file.read_bytes() == before


@pytest.mark.parametrize("body", [
    {}, [], None, {"edit": {"do": "nonsense"}}, {"edit": {"do": "delete_key"}},
    {"edit": {"do": "delete_key", "name": 7}}, {"edit": {"do": "delete_key", "name": "a", "x": 1}},
    {"edit": {"do": "delete_key", "name": "gpt"}, "more": 1},
])  # fmt: skip
async def test_body_that_is_no_edit_is_a_bad_request(api: Api, body: Any) -> None:
    found = await api.ask("POST", "changes", body, {"If-Match": await api.digest()})
    assert (found.status, code(found)) == (400, "bad_request")


async def test_edit_of_a_missing_name_is_not_found(api: Api) -> None:
    for edit in (
        {"do": "delete_key", "name": "none"},
        {"do": "edit_key", "name": "none", "fields": {}},
        {"do": "set_routes", "name": "none", "routes": None, "of": "group"},
        {"do": "edit_group", "name": "none", "fields": {}},
    ):
        assert (await api.send(edit)).status == 404


async def test_fields_are_set_and_taken_away(api: Api) -> None:
    await api.change("edit_key", "gpt", fields={
        "description": "x", "models": ["gpt-5", "gpt-4*"], "urgency": "background", "limits": {},
        "budget": ["$1/day", "$9/month"], "max_wait": "5m",
    })  # fmt: skip
    key = api.proxy.running.snapshot.keys["gpt"]
    assert (key.description, key.urgency.name, key.max_wait) == ("x", "BACKGROUND", 300.0)
    assert key.allowance.limits == ()
    assert len(key.allowance.budgets) == 2
    fields = dict.fromkeys(("description", "models", "urgency", "budget", "max_wait", "expires"))
    await api.change("edit_key", "gpt", fields=fields)
    assert (await api.get("key?name=gpt"))["written"].keys() == {"group", "hash"}


async def test_an_end_is_kept_as_it_is_written_until_it_is_changed(api: Api) -> None:
    await api.change("edit_key", "gpt", fields={"expires": "2999-12-31"})
    assert "expires: 2999-12-31" in api.proxy.file.read_text()
    written = (await api.get("key?name=gpt"))["written"]["expires"]
    before = api.proxy.file.read_bytes()
    await api.change("edit_key", "gpt", fields={"expires": written})
    assert api.proxy.file.read_bytes() == before


async def test_a_key_goes_through_its_life(api: Api) -> None:
    await api.change("switch_key", "gpt", enabled=False)
    assert not api.proxy.running.snapshot.keys["gpt"].enabled
    await api.change("switch_key", "gpt", enabled=True)
    await api.change("rename_key", "gpt", new_name="first")
    rotated = await api.change("rotate_key", "first", overlap="1h")
    key = api.proxy.running.snapshot.keys["first"]
    assert key.hashes[0].digest == digest(rotated["secret"])
    assert key.hashes[1].digest == digest(api.proxy.keys["gpt"])
    again = await api.change("rotate_key", "first")
    assert [each.digest for each in api.proxy.running.snapshot.keys["first"].hashes] == [
        digest(again["secret"])
    ]
    await api.change("delete_key", "first")
    assert "first" not in api.proxy.running.snapshot.keys


async def test_routes_are_copied_ordered_and_given_back(api: Api) -> None:
    entries = (await api.get("key?name=gpt"))["routes"]
    entries[1]["enabled"] = False
    await api.change("set_routes", "gpt", routes=entries)
    key = api.proxy.running.snapshot.keys["gpt"]
    assert [(r.provider.name, r.enabled) for r in key.routes] == [("oa", True), ("spare", False)]
    assert [p.text for p in key.routes[0].models or ()] == ["gpt-*"]
    written = (await api.get("key?name=gpt"))["written"]["routes"]
    assert written == [
        {"oa": {"models": "gpt-*", "limits": {"rpm": "60"}}}, {"spare": {"enabled": "false"}},
    ]  # fmt: skip
    await api.change("set_routes", "gpt", routes=None)
    assert not api.proxy.running.snapshot.keys["gpt"].own_routes


async def test_transforms_of_a_route_are_offered_and_kept_by_an_edit(api: Api) -> None:
    await api.change(
        "create_group", "Claude", fields={"vendor": "anthropic", "count_tokens": "estimate"}
    )
    page = await api.get("group?name=Claude")
    offered = {each["name"]: each["translate"] for each in page["providers"]}
    assert (offered["anthropic"], offered["oa"]) == (False, True)
    route = {"provider": "oa", "translate": True, "redact": ["email", "/A-[0-9]{1,9}/"],
             "transforms": {"redact": {"find": ["keys"]}}}  # fmt: skip
    await api.change("set_routes", "Claude", of="group", routes=[route])
    for _ in range(2):
        rows = (await api.get("group?name=Claude"))["routes"]
        assert rows[0].items() >= route.items()
        await api.change("set_routes", "Claude", of="group", routes=rows)
    (found,) = api.proxy.running.snapshot.groups["Claude"].routes
    assert [each.name for each in found.transforms] == ["redact", "redact", "translate"]


async def test_rows_beside_each_other_share_by_weight(api: Api) -> None:
    routes = [
        {"provider": "spare", "weight": "3", "priced_as": "gpt-5"},
        {"provider": "oa", "beside": True},
    ]
    await api.change("set_routes", "gpt", routes=routes)
    found = [(r.provider.name, r.priority, r.weight)
             for r in api.proxy.running.snapshot.keys["gpt"].routes]  # fmt: skip
    assert found == [("spare", 1, 3), ("oa", 1, 1)]
    again = (await api.get("key?name=gpt"))["routes"]
    assert [each["priced_as"] for each in again] == ["gpt-5", None]
    assert [(each["provider"], each["beside"]) for each in again] == [
        ("spare", False), ("oa", True),
    ]  # fmt: skip


async def test_a_list_with_numbers_is_shown_in_the_order_in_which_it_is_tried(api: Api) -> None:
    for path in ("key?name=num", "group?name=Numbered"):
        found = (await api.get(path))["routes"]
        assert [(each["provider"], each["beside"]) for each in found] == [
            ("spare", False), ("oa", False),
        ]  # fmt: skip


async def test_the_order_counts_also_where_the_group_has_numbers(api: Api) -> None:
    await api.change("set_routes", "num", routes=[{"provider": "oa"}, {"provider": "spare"}])
    routes = api.proxy.running.snapshot.keys["num"].routes
    assert sorted(routes, key=lambda r: r.priority)[0].provider.name == "oa"


async def test_groups_and_providers_are_made_and_changed(api: Api) -> None:
    await api.change("create_group", "Claude", fields={"vendor": "anthropic", "multiplier": "0.8"})
    await api.change("edit_group", "Claude", fields={"multiplier": "1.2", "limits": {"rpm": "7"}})
    await api.change("create_provider", "mine", fields={
        "plugin": "vllm", "base_url": "http://127.0.0.1:9/v1", "credential": "none"})  # fmt: skip
    await api.change("edit_provider", "openai", fields={"limits": {"concurrency": "2"}})
    await api.change("set_routes", "Claude", of="group",
                     routes=[{"provider": "anthropic"}, {"provider": "mine"}])  # fmt: skip
    snapshot = api.proxy.running.snapshot
    claude = snapshot.groups["Claude"]
    assert str(claude.multiplier) == "1.2"
    assert [route.provider.name for route in claude.routes] == ["anthropic", "mine"]
    assert snapshot.providers["openai"].allowance.limits[0].amount == 2
    await api.change("delete_group", "Claude")
    assert "Claude" not in api.proxy.running.snapshot.groups


# ── two at once, and the way back ───────────────────────────────────────────────────────────────


async def test_an_edit_on_a_file_that_was_changed_is_refused_and_says_what_changed(
    api: Api,
) -> None:
    seen = await api.digest()
    await api.change("switch_key", "own", enabled=False)
    found = await api.send({"do": "delete_key", "name": "gpt"}, seen)
    assert (found.status, code(found)) == (412, "file_changed")
    error = found.json()["error"]
    assert error["changed"] == ["key own: disabled"]
    assert "gpt" in api.proxy.running.snapshot.keys
    again = await api.send({"do": "delete_key", "name": "gpt"}, error["digest"])
    assert again.status == 200
    assert "gpt" not in api.proxy.running.snapshot.keys


async def test_an_editor_that_saves_under_the_page_wins(api: Api) -> None:
    seen = await api.digest()
    api.proxy.file.write_text(api.proxy.file.read_text() + "# saved by an editor\n")
    found = await api.send({"do": "delete_key", "name": "gpt"}, seen)
    assert (found.status, code(found)) == (412, "file_changed")
    assert found.json()["error"]["changed"] == ["no effective change: comments or order"]
    assert "# saved by an editor" in api.proxy.file.read_text()


async def test_an_edit_waits_for_no_look_at_a_file_that_did_not_change(
    api: Api, monkeypatch: Any
) -> None:
    await api.change("edit_key", "gpt", fields={"description": "one"})
    monkeypatch.setattr("sidecar.config.manager.SETTLE_SECONDS", 60)
    async with asyncio.timeout(10):  # the first edit wakes whoever watches the file
        assert (await api.proxy.running.services.configuration.reload()).accepted
        await api.change("edit_key", "gpt", fields={"description": "two"})


async def test_second_of_two_edits_at_once_is_refused(api: Api) -> None:
    seen = await api.digest()
    found = await asyncio.gather(
        *(api.send({"do": "edit_key", "name": "gpt", "fields": {"description": str(n)}}, seen)
          for n in range(5))
    )  # fmt: skip
    assert sorted(each.status for each in found) == [200, 412, 412, 412, 412]


async def test_an_edit_names_the_file_it_was_made_on(api: Api) -> None:
    found = await api.ask("POST", "changes", {"edit": {"do": "delete_key", "name": "gpt"}})
    assert (found.status, code(found)) == (428, "if_match_missing")


async def test_an_edit_is_undone_by_going_back(api: Api) -> None:
    before = api.proxy.file.read_bytes()
    made = await api.change("delete_key", "gpt")
    await api.change("restore", str(made["undo"]))
    assert api.proxy.file.read_bytes() == before
    assert "gpt" in api.proxy.running.snapshot.keys


async def test_no_edit_is_made_on_a_refused_file_but_going_back_is(api: Api) -> None:
    await api.change("edit_key", "gpt", fields={"description": "kept"})
    good = api.proxy.file.read_bytes()
    await api.proxy.rewrite(lambda text: text.replace("group: GPT", "group: GTP"))
    found = await api.send({"do": "delete_key", "name": "gpt"})
    assert (found.status, code(found)) == (409, "file_refused")
    number = (await api.get("config"))["versions"][0]["number"]
    await api.change("restore", str(number))
    assert api.proxy.file.read_bytes() == good
    assert not api.proxy.running.services.configuration.status.problems


async def test_a_file_that_is_gone_is_brought_back(api: Api) -> None:
    good = api.proxy.file.read_bytes()
    api.proxy.file.unlink()
    await api.proxy.running.services.configuration.reload()
    await api.change("restore", "1")
    assert api.proxy.file.read_bytes() == good


async def test_a_file_that_cannot_be_written_stays(api: Api, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    before = api.proxy.file.read_bytes()
    found = await api.send({"do": "delete_key", "name": "gpt"})
    assert (found.status, code(found)) == (409, "not_written")
    assert api.proxy.file.read_bytes() == before


# ── as it happens ───────────────────────────────────────────────────────────────────────────────


async def test_a_listening_tab_hears_of_edits_and_of_calls(
    api: Api, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"choices":[]}'))
    async with api.events() as events:
        first = await anext(events)
        assert first == {
            "event": "config", "since": first["since"], "refused": 0, "paused": [],
        }  # fmt: skip
        await api.change("switch_key", "own", enabled=False)
        edited = await anext(events)
        assert edited == first | {"since": edited["since"]}
        assert edited["since"] > first["since"]
        await api.proxy.ask("/v1/chat/completions", b'{"model":"gpt-5","messages":[]}')
        told = await anext(events)
        assert told["event"] == "keys"
        assert told["keys"]["gpt"]["last_used"] is not None
        await api.proxy.rewrite(lambda text: "keys: [")
        refused = await anext(events)
        assert (refused["event"], refused["refused"] > 0) == ("config", True)


async def test_a_tab_hears_of_an_edit_that_was_undone_at_once(api: Api) -> None:
    """By then the file is what it was, and the page may show what it was between."""
    async with api.events() as events:
        first = await anext(events)
        before, digest = api.proxy.file.read_bytes(), await api.digest()
        undo = (await api.change("delete_key", "own"))["undo"]
        await api.change("restore", str(undo))
        assert (await anext(events))["since"] > first["since"]
        assert (api.proxy.file.read_bytes(), await api.digest()) == (before, digest)


async def test_signing_out_ends_the_stream(api: Api) -> None:
    async with api.events() as events:
        await anext(events)
        await api.ask("DELETE", "session")
        assert await anext(events) == {"event": "over"}
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_tab_that_leaves_is_forgotten(api: Api) -> None:
    for _ in range(40):  # more than may listen at once
        async with api.events() as events:
            assert (await anext(events))["event"] == "config"


async def test_a_quiet_stream_still_beats(api: Api, monkeypatch: Any) -> None:
    monkeypatch.setattr("sidecar.admin.console.events.HEARTBEAT_SECONDS", 0.01)
    async with api.events() as events:
        await anext(events)
        assert await anext(events) == {"event": "beat"}


async def test_edit_without_a_process_is_in_the_history_of_the_next_start(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    yaml = YAML.format(url=vendor.url)
    async with start_sidecar(tmp_path, yaml, ("gpt", "num", "own")) as it:
        assert it.running.services.configuration.history[0].difference == ()
    async with start_sidecar(
        tmp_path, yaml.replace("multiplier: 0.9", "multiplier: 0.5"), ("gpt", "num", "own")
    ) as it:
        found = it.running.services.configuration.history[0].difference
        assert "group GPT: multiplier 0.9 -> 0.5" in found


# ── live calls, the books, and steering ─────────────────────────────────────────────────────────

CHAT = b'{"model":"gpt-5","messages":[]}'
COUNTED = answer(
    b'{"choices":[],"usage":{"prompt_tokens":900,"completion_tokens":100,'
    b'"prompt_tokens_details":{"cached_tokens":300}}}'
)


async def test_usage_is_told_apart_by_day_and_by_what_is_asked(
    api: Api, vendor: ScriptedVendor
) -> None:
    await api.change("edit_group", "GPT", fields={"budget": ["$2/day"]})
    vendor.play(COUNTED, answer(b'{"choices":[]}'), COUNTED)
    for key in ("gpt", "own", "own"):
        await api.proxy.ask("/v1/chat/completions", CHAT, key=key)
    await api.proxy.record(3)
    found = await api.get("usage?by=key&days=7")
    assert (len(found["days"]), len(found["daily"])) == (7, 7)
    lines = {each["name"]: each for each in found["lines"]}
    assert (lines["gpt"]["input_tokens"], lines["gpt"]["unknown_calls"]) == (900, 0)
    assert (lines["own"]["calls"], lines["own"]["unknown_calls"]) == (2, 1)
    assert lines["gpt"]["cached"] == pytest.approx(1 / 3)
    assert (lines["gpt"]["costs_all"], lines["own"]["costs_all"]) == (True, False)
    assert found["total"]["calls"] == sum(day["calls"] for day in found["daily"]) == 3
    assert [each["limit"] for each in found["budgets"]] == [2]
    one = await api.get("usage?by=model&days=1&key=gpt")
    assert [(each["name"], each["calls"]) for each in one["lines"]] == [("gpt-5", 1)]
    [day] = (await api.get("usage?by=day&days=30"))["lines"]
    assert (day["name"], day["calls"]) == (found["days"][-1], 3)


async def test_usage_that_was_not_reported_is_null_and_never_zero(
    api: Api, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"choices":[]}'))
    await api.proxy.ask("/v1/chat/completions", CHAT)
    await api.proxy.record()
    total = (await api.get("usage"))["total"]
    assert (total["calls"], total["input_tokens"], total["cost_usd"]) == (1, None, None)
    lately = (await api.get("recent"))["keys"]["gpt"]
    assert (lately["tokens"][-1], lately["today"]["cost_usd"]) == (None, None)
    assert lately["tokens"][0] == 0


async def test_usage_is_a_file_for_a_spreadsheet_too(api: Api, vendor: ScriptedVendor) -> None:
    vendor.play(COUNTED)
    await api.proxy.ask("/v1/chat/completions", CHAT)
    await api.proxy.record()
    found = await api.get("usage/csv?by=model&days=7")
    assert found["name"] == "usage-by-model-7-days.csv"
    head, row = found["csv"].splitlines()
    assert head.startswith("day,model,calls,")
    assert ",gpt-5,1,0,0,900,100,300," in row


@pytest.mark.parametrize("query", ["by=nonsense", "days=0", "days=9999", "days=x", "days=-1"])
async def test_a_question_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    assert (await api.ask("GET", f"usage?{query}")).status == 400


async def test_a_call_has_a_story(api: Api, vendor: ScriptedVendor) -> None:
    vendor.play(COUNTED)
    await api.proxy.ask("/v1/chat/completions", CHAT)
    record = await api.proxy.record()
    [row] = (await api.get("calls"))["calls"]
    assert (row["call_id"], row["key"], row["input_tokens"]) == (record.call_id, "gpt", 900)
    assert row["cost_usd"] > 0
    story = dict((await api.get(f"call?id={record.call_id}"))["lines"])
    assert 'key "gpt" of group GPT' in story["who"]
    assert "1. oa with env:UPSTREAM_KEY" in story["tried"]
    assert (await api.ask("GET", "call?id=call_none")).status == 404


async def test_books_that_cannot_be_read_say_so(api: Api) -> None:
    (api.proxy.state / "sidecar.db").rename(api.proxy.state / "elsewhere.db")
    found = await api.ask("GET", "usage")
    assert (found.status, code(found)) == (503, "no_books")
    (api.proxy.state / "elsewhere.db").rename(api.proxy.state / "sidecar.db")


async def test_one_call_is_ended_in_the_shape_of_its_vendor(
    api: Api, vendor: ScriptedVendor
) -> None:
    vendor.play(hang)
    calls = [
        asyncio.create_task(api.proxy.ask("/v1/chat/completions", CHAT, key=key))
        for key in ("gpt", "own")
    ]
    await until(lambda: len(vendor.requests) == 2)
    rows = (await api.get("live"))["calls"]
    chosen = next(each["call"] for each in rows if each["key"] == "gpt")
    assert (await api.ask("POST", f"calls/{chosen}/end", {})).status == 200
    raw = await calls[0]
    assert (raw.status, raw.json()["error"]["type"]) == (403, "permission_error")
    assert "ended by hand" in raw.message
    assert raw.headers["x-should-retry"] == "false"
    assert [each["key"] for each in (await api.get("live"))["calls"]] == ["own"]
    assert (await api.proxy.record()).outcome == "revoked"
    assert (await api.ask("POST", f"calls/{chosen}/end", {})).status == 404
    calls[1].cancel()


async def test_event_stream_with_live_sends_the_calls_in_flight(api: Api) -> None:
    async with api.events("events?live") as lines:
        found = [await anext(lines) for _ in range(4)]
    assert {"config", "live"} <= {each["event"] for each in found}
    views = [each for each in found if each["event"] == "live"]
    assert views[0]["in_flight"] == 0
    assert {"calls", "lines", "limits", "quotas", "cooldowns", "holds"} <= views[0].keys()


async def test_a_pause_is_told_at_once_and_marked_wherever_it_counts(api: Api) -> None:
    async with api.events() as lines:
        assert (await anext(lines))["paused"] == []
        assert (await api.ask("POST", "pause/group/GPT", {})).status == 200
        assert (await anext(lines))["paused"] == ['group "GPT"']
        [hold] = (await api.get("live"))["holds"]
        assert hold["by"] == "the console"
        marked = {each["name"]: each["paused"] for each in (await api.get("keys"))["keys"]}
        assert [one["kind"] for one in marked["gpt"]] == ["group"]
        assert marked["num"] == []
        assert (await api.ask("POST", "pause/all/", {})).status == 200
        provider = (await api.get("provider?name=oa"))["provider"]
        assert [one["kind"] for one in provider["paused"]] == ["all"]
        for what in ("group/GPT", "all/"):
            assert (await api.ask("POST", f"resume/{what}", {})).status == 200
    group = (await api.get("group?name=GPT"))["group"]
    assert group["paused"] == []
    await over_socket(api.proxy, "POST", "/api/pause/key/gpt")
    [hold] = (await api.get("live"))["holds"]
    assert hold["by"] == "the command line"


async def test_the_names_of_all_that_can_be_paused_are_told(api: Api) -> None:
    assert (await api.ask("POST", "pause/key/gpt", {})).status == 200
    found = await api.get("pause")
    names = found["names"]
    assert [(each["kind"], each["name"]) for each in found["holds"]] == [("key", "gpt")]
    snapshot = api.proxy.running.snapshot
    assert names["group"] == list(snapshot.groups)
    assert names["provider"] == list(snapshot.providers)
    assert names["key"] == list(snapshot.keys)

"""Keys: where they are read from, which models they may use, and who owns created objects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from running_sidecar import CANARY, Raw, Sidecar, parse, request, talk
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer

from sidecar.api_keys import mint
from sidecar.records import KeyTimes

CHAT, BODY = "/v1/chat/completions", b'{"model":"gpt-5-mini"}'
FOREIGN = "sk-foreign-canary-91c2"

TWO = """
providers:
  a: {{plugin: openai, base_url: "{url}/a/v1", credential: env:UPSTREAM_KEY}}
  b: {{plugin: openai, base_url: "{url}/b/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}/an", credential: env:UPSTREAM_KEY}}
  off: {{plugin: openai, base_url: "{url}/off/v1", credential: env:UPSTREAM_KEY}}
groups:
  One: {{vendor: openai, routes: [a, b]}}
  Turned: {{vendor: openai, routes: [b, a]}}
  Claude: {{vendor: anthropic, routes: [an]}}
keys:
  one: {{group: One, hash: "{{one}}"}}
  other: {{group: One, hash: "{{other}}", routes: [b, a]}}
  turned: {{group: Turned, hash: "{{turned}}"}}
  few: {{group: One, hash: "{{few}}", models: [gpt-5*, named]}}
  split: {{group: One, hash: "{{split}}", routes: [a: {{models: gpt-*}}, b: {{models: o*}}]}}
  switched: {{group: One, hash: "{{switched}}", routes: [a: {{enabled: false}}, b: {{}}]}}
  claude: {{group: Claude, hash: "{{claude}}"}}
  haiku: {{group: Claude, hash: "{{haiku}}", models: claude-haiku-*}}
"""
KEYS = ("one", "other", "turned", "few", "split", "switched", "claude", "haiku")


@pytest.fixture
async def two(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, TWO.format(url=vendor.url), KEYS) as started:
        yield started


async def present(proxy: Sidecar, target: str, headers: list[tuple[str, str]]) -> Raw:
    """A call whose credentials are these and no others."""
    return parse(await talk(proxy.port, request("POST", target, headers, BODY)))


PLACES = [
    ("authorization", "Bearer {}"), ("Authorization", "bearer   {} "), ("AUTHORIZATION", "{}"),
    ("x-api-key", "{}"), ("x-goog-api-key", "{}"), ("api-key", "{}"), ("Api-Key", "Bearer {}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), PLACES)
@pytest.mark.parametrize(
    ("key", "target"),
    [("gpt", CHAT), ("claude", "/v1/messages"), ("gemini", "/v1beta/models/m:generateContent")],
)
async def test_key_is_read_from_every_client_header_and_not_relayed(
    proxy: Sidecar, vendor: ScriptedVendor, name: str, value: str, key: str, target: str
) -> None:
    vendor.play(answer(b"{}"))
    found = await present(proxy, target, [(name, value.format(proxy.keys[key]))])
    assert found.status == 200
    assert proxy.keys[key].encode() not in vendor.last.head + vendor.last.body
    assert [value for _, value in vendor.last.headers if CANARY in value] in (
        [CANARY],
        [f"Bearer {CANARY}"],
    )


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("key={}", ""), ("a=1&key={}&alt=sse", "?a=1&alt=sse"), ("key={}&key={}", ""),
        ("%6bey={}&monkey=1", "?monkey=1"), ("a=%2f&&key={}&b", "?a=%2f&&b"),
    ],
)  # fmt: skip
async def test_key_in_the_query_alone_is_cut_out(
    proxy: Sidecar, vendor: ScriptedVendor, query: str, left: str
) -> None:
    vendor.play(answer(b"{}"))
    path = "/v1beta/models/m:generateContent"
    found = await present(proxy, f"{path}?{query.replace('{}', proxy.keys['gemini'])}", [])
    assert found.status == 200
    assert vendor.last.path == path + left


async def test_same_key_in_two_places_counts_once(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}"))
    text = proxy.keys["gpt"]
    pairs = [("Authorization", f"Bearer {text}"), ("x-api-key", text)]
    assert (await present(proxy, f"{CHAT}?key={text}", pairs)).status == 200
    assert text.encode() not in vendor.last.head


async def test_foreign_credential_beside_a_key_is_dropped(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    pairs = [
        ("Authorization", f"Bearer {FOREIGN}"), ("x-api-key", proxy.keys["gpt"]),
        ("x-goog-api-key", FOREIGN), ("api-key", FOREIGN), ("Proxy-Authorization", FOREIGN),
        ("Cookie", f"token={FOREIGN}"),
    ]  # fmt: skip
    assert (await present(proxy, f"{CHAT}?key={FOREIGN}", pairs)).status == 200
    assert FOREIGN.encode() not in vendor.last.head


async def test_two_different_keys_are_refused_by_name(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    pairs = [
        ("Authorization", f"Bearer {proxy.keys['gpt']}"),
        ("x-api-key", proxy.keys["claude"]),
    ]
    found = await present(proxy, CHAT, pairs)
    assert (found.status, vendor.requests) == (400, [])
    assert '"claude" and "gpt"' in found.message


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "no key was sent"),
        ([("Authorization", "Bearer")], "no key was sent"),
        ([("Authorization", "")], "no key was sent"),
        ([("Authorization", "Bearer sk-sidecar-x")], "not a key of this Sidecar"),
        ([("Authorization", "Basic dXNlcjpwYXNz")], "not a key of this Sidecar"),
        ([("x-api-key", "é")], "not a key of this Sidecar"),
    ],
)
async def test_no_key_and_an_unknown_key_are_refused_with_401(
    proxy: Sidecar, vendor: ScriptedVendor, pairs: list[tuple[str, str]], words: str
) -> None:
    found = await present(proxy, CHAT, pairs)
    assert (found.status, vendor.requests) == (401, [])
    assert words in found.message
    assert found.headers["x-should-retry"] == "false"


async def test_key_without_a_hash_in_the_file_is_unknown(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    found = await present(proxy, CHAT, [("Authorization", f"Bearer {mint()}")])
    assert (found.status, vendor.requests) == (401, [])


@pytest.mark.usefixtures("restless")
async def test_rotated_key_serves_until_its_end_and_is_then_rejected(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))

    def rotated(until: str) -> bool:
        return two.file.write_text(before.replace("group: One, hash", f"{old % until}hash", 1)) > 0

    before = two.file.read_text()
    hashed = before.partition("one: {group: One, hash: ")[2].partition("}")[0]
    old = f"group: One, previous: {{hash: {hashed}, until: %s}}, "
    fresh = mint()
    before = before.replace(hashed, _hash(fresh), 1)
    for until, status in [("2999-01-01T00:00:00Z", 200), ("2020-01-01T00:00:00Z", 403)]:
        rotated(until)
        assert (await two.running.services.configuration.reload()).accepted
        assert (await two.ask(CHAT, BODY, key="one")).status == status
        assert (await present(two, CHAT, [("x-api-key", fresh)])).status == 200
    assert "rotated out on 2020-01-01" in (await two.ask(CHAT, BODY, key="one")).message


def _hash(text: str) -> str:
    from sidecar.api_keys import digest

    return f'"sha256:{digest(text).hex()}"'


async def test_key_times_distinguish_seen_used_and_refused(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    def times(key: str) -> KeyTimes:
        two.running.services.finished.flush()
        return two.running.services.ledger.times(key)

    vendor.play(answer(b"{}", "500 Oops"), answer(b"{}", "500 Oops"), answer(b"{}"))
    await two.ask(CHAT, BODY, key="one")
    failed = times("one")
    assert (failed.last_seen is not None, failed.last_used, failed.last_refused) == (
        True,
        None,
        None,
    )
    await two.ask(CHAT, BODY, key="one")
    assert times("one").last_used is not None
    assert times("one").last_refused is None
    await two.ask(CHAT, b'{"model":"nope"}', key="few")
    refused = times("few")
    assert (refused.last_seen is not None, refused.last_used) == (True, None)
    assert refused.last_refused is not None


# models

ROWS = [
    b'{"id":"gpt-5","object":"model", "created":1,"owned_by":"v","new": [1 ,2]}',
    b'{"id":"o9","object":"model","created":1,"owned_by":"v"}',
]
OPENAI_LIST = b'{"object":"list","data":[' + b",".join(ROWS) + b"]}"


def listed(found: Raw) -> list[str]:
    return [row["id"] for row in found.json()["data"]]


async def test_models_list_has_the_allowed_models_in_the_vendors_bytes(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path["/a/v1/models"] = answer(OPENAI_LIST)
    vendor.by_path["/b/v1/models"] = answer(b'{"data":[{"id":"gpt-5"},{"id":"only-b"}]}')
    assert listed(await two.ask("/v1/models", key="one", method="GET")) == ["gpt-5", "o9", "only-b"]
    few = await two.ask("/v1/models", key="few", method="GET")
    assert set(listed(few)) == {"gpt-5", "named"}
    assert ROWS[0] in few.body
    assert listed(await two.ask("/v1/models", key="split", method="GET")) == ["gpt-5", "only-b"]
    assert listed(await two.ask("/models", key="switched", method="GET")) == ["gpt-5", "only-b"]
    # The two are asked at the same time, once.
    assert sorted(each.path for each in vendor.requests) == ["/a/v1/models", "/b/v1/models"]
    for each in vendor.requests:
        assert each.get("authorization") == [f"Bearer {CANARY}"]


async def test_models_list_without_a_vendors_list_has_the_route_names(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"<html>", "500 Oops", content_type="text/html"))
    found = await two.ask("/v1/models", key="few", method="GET")
    assert listed(found) == ["named"]
    assert found.json()["data"][0]["object"] == "model"


async def test_anthropics_list_has_anthropics_shape(two: Sidecar, vendor: ScriptedVendor) -> None:
    rows = [{"type": "model", "id": f"claude-{name}", "display_name": name, "created_at": "x"}
            for name in ("haiku-9", "opus-9")]  # fmt: skip
    vendor.play(answer(json.dumps({"data": rows, "has_more": True}).encode()))
    headers = [("anthropic-version", "2023-06-01")]
    found = await two.ask("/v1/models", key="haiku", method="GET", headers=headers)
    assert found.json() == {
        "data": rows[:1], "has_more": False,
        "first_id": "claude-haiku-9", "last_id": "claude-haiku-9",
    }  # fmt: skip
    assert vendor.last.get("anthropic-version")


ALIASES = """
providers:
  b: {{plugin: openai, base_url: "{url}/b/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: ollama, base_url: "{url}/v1"}}
groups:
  GPT: {{vendor: openai}}
  Claude: {{vendor: anthropic}}
keys:
  name: {{group: GPT, hash: "{{name}}", routes: [b: {{as: served}}]}}
  models: {{group: GPT, hash: "{{models}}", routes: [b: {{models: [gpt-*, mine], as: served}}]}}
  narrow: {{group: GPT, hash: "{{narrow}}", models: gpt-5*, routes: [b: {{as: served}}]}}
  map: {{group: GPT, hash: "{{map}}", routes: [b: {{as: {{one: served, two: x}}}}]}}
  prefix: {{group: GPT, hash: "{{prefix}}", routes: [b: {{as: {{"gpt-*": "vendor/gpt-*"}}}}]}}
  claude:
    group: Claude
    hash: "{{claude}}"
    routes: [an: {{as: {{"*haiku*": small, "claude-*": large}}}}]
  own: {{group: Claude, hash: "{{own}}", routes: [an]}}
"""
EPOCH = "1970-01-01T00:00:00Z"
ALIASED = ("name", "models", "narrow", "map", "prefix", "claude", "own")


@pytest.mark.parametrize(
    ("key", "models"),
    [
        ("name", ["served"]),
        ("models", ["mine", "gpt-served"]),
        ("narrow", ["gpt-5served"]),
        ("map", ["one", "two"]),
        ("prefix", ["gpt-5", "gpt-6"]),
        ("claude", ["haiku", "claude-large"]),
    ],
)
async def test_models_list_has_names_that_a_renaming_route_takes(
    tmp_path: Path, vendor: ScriptedVendor, key: str, models: list[str]
) -> None:
    served = ("vendor/gpt-5", "other/x", "vendor/gpt-6", "served")
    rows = [{"id": name, "object": "model"} for name in served]
    vendor.play(answer(json.dumps({"data": rows}).encode()))
    async with start_sidecar(tmp_path, ALIASES.format(url=vendor.url), ALIASED) as proxy:
        headers = [("anthropic-version", "2023-06-01")] if key == "claude" else []
        found = await proxy.ask("/v1/models", key=key, method="GET", headers=headers)
        assert listed(found) == models
        vendor.play(answer(b"{}"))
        chat = "/v1/messages" if key == "claude" else CHAT
        for model in models:  # and each of them is served
            asked = json.dumps({"model": model, "max_tokens": 1, "messages": []}).encode()
            assert (await proxy.ask(chat, asked, key=key)).status == 200


async def test_anthropics_list_has_anthropics_rows_of_servers_in_openais_shape(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    rows = [
        {"id": "qwen3", "object": "model", "created": 1764400000, "owned_by": "library"},
        {"id": "named", "name": "Named: One", "created": "yesterday"},
        {"type": "model", "id": "own", "display_name": "Own", "created_at": "x", "more": 1},
    ]
    vendor.play(answer(json.dumps({"object": "list", "data": rows}).encode()))
    async with start_sidecar(tmp_path, ALIASES.format(url=vendor.url), ALIASED) as proxy:
        headers = [("anthropic-version", "2023-06-01")]
        found = await proxy.ask("/v1/models", key="own", method="GET", headers=headers)
    made = [("qwen3", "qwen3", "2025-11-29T07:06:40Z"), ("named", "Named: One", EPOCH)]
    assert found.json()["data"] == [
        *(
            {"type": "model", "id": name, "display_name": title, "created_at": moment}
            for name, title, moment in made
        ),
        rows[2],
    ]


async def test_openais_list_has_openais_rows_of_servers_in_another_shape(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    rows = [{"type": "model", "id": "a", "display_name": "A", "created_at": "x"}]
    vendor.play(answer(json.dumps({"data": rows}).encode()))
    found = await two.ask("/v1/models", key="one", method="GET")
    row = found.json()["data"][0]
    assert (row["id"], row["object"], row["created"]) == ("a", "model", 0)


async def test_googles_list_has_googles_shape(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    rows = [{"name": "models/gemini-3", "displayName": "G"}]
    vendor.play(answer(json.dumps({"models": rows}).encode()))
    for target in ("/v1beta/models", "/v1/models?pageSize=5"):
        headers = [("x-goog-api-key", proxy.keys["gemini"])]
        found = parse(await talk(proxy.port, request("GET", target, headers)))
        assert found.json() == {"models": rows}


@pytest.mark.parametrize(
    ("key", "model", "status"),
    [("few", "gpt-5-new", 200), ("few", "o9", 403), ("split", "o9", 200), ("split", "llama", 403),
     ("few", "GPT-5", 403)],
)  # fmt: skip
async def test_model_that_a_key_may_not_use_is_rejected_before_an_upstream_call(
    two: Sidecar, vendor: ScriptedVendor, key: str, model: str, status: int
) -> None:
    vendor.play(answer(b"{}"))
    found = await two.ask(CHAT, json.dumps({"model": model}).encode(), key=key)
    assert (found.status, len(vendor.requests)) == (status, int(status == 200))
    if status == 403:
        assert f'model "{model}" is not offered to key "{key}"' in found.message
        assert "(routes.yaml:" in found.message


async def test_single_model_is_shown_only_to_keys_that_may_use_it(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"id":"o9"}'))
    assert (await two.ask("/v1/models/o9", key="one", method="GET")).body == b'{"id":"o9"}'
    assert (await two.ask("/v1/models/o9", key="few", method="GET")).status == 403


# routes


@pytest.mark.parametrize(
    ("key", "model", "path"),
    [("one", "m", "/a"), ("other", "m", "/b"), ("split", "gpt-5", "/a"), ("split", "o9", "/b"),
     ("switched", "m", "/b")],
)  # fmt: skip
async def test_call_goes_to_the_first_route_that_allows_its_model(
    two: Sidecar, vendor: ScriptedVendor, key: str, model: str, path: str
) -> None:
    vendor.play(answer(b"{}"))
    found = await two.ask(CHAT, json.dumps({"model": model}).encode(), key=key)
    assert vendor.last.path == f"{path}/v1/chat/completions"
    assert found.headers["x-sidecar-provider"] == path[1:]
    assert found.headers["x-sidecar-model"] == model


# what a provider created


async def test_object_of_a_provider_is_fetched_from_that_provider(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"id":"file-1","object":"file"}'))
    await two.ask("/v1/files", b"x" * 9, key="one")
    assert vendor.last.path == "/a/v1/files"
    for target in ("/v1/files/file-1", "/v1/files/file-1/content"):
        found = await two.ask(target, key="other", method="GET")
        assert (found.status, vendor.last.path) == (200, f"/a{target}")
    await two.ask("/v1/files/file-1", key="other", method="DELETE")
    assert vendor.last.line == "DELETE /a/v1/files/file-1 HTTP/1.1"


async def test_object_of_another_group_is_a_404(two: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"id":"file-1","object":"file"}'))
    await two.ask("/v1/files", b"x", key="one")
    found = await two.ask("/v1/files/file-1", key="turned", method="GET")
    assert (found.status, len(vendor.requests)) == (404, 1)


async def test_ownership_of_a_stored_response_is_remembered(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"id":"resp_1","model":"m","usage":{}}'))
    await two.ask("/v1/responses", b'{"model":"m"}', key="one")
    follow = b'{"model":"m","previous_response_id":"resp_1"}'
    await two.ask("/v1/responses", follow, key="other")
    assert vendor.last.path == "/a/v1/responses"
    assert (await two.ask("/v1/responses", follow, key="turned")).status == 404
    assert (await two.ask("/v1/responses/resp_1/cancel", key="turned")).status == 404
    assert (await two.ask("/v1/responses/resp_1", key="other", method="GET")).status == 200
    assert vendor.last.path == "/a/v1/responses/resp_1"


async def test_ownership_of_an_object_survives_a_restart(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"id":"batch_1"}'))
    yaml = TWO.format(url=vendor.url)
    async with start_sidecar(tmp_path, yaml, KEYS) as first:
        await first.ask("/v1/batches", b'{"input_file_id":"f"}', key="one")
    async with start_sidecar(tmp_path, yaml, KEYS) as second:
        assert (await second.ask("/v1/batches/batch_1", key="turned", method="GET")).status == 404
        await second.ask("/v1/batches/batch_1/cancel", key="other")
        assert vendor.last.path == "/a/v1/batches/batch_1/cancel"


# paths without a model


async def test_batch_is_checked_by_every_model_in_it(two: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b'{"id":"msgbatch_1"}'))

    def batch(*models: str) -> bytes:
        return json.dumps({"requests": [{"params": {"model": m}} for m in models]}).encode()

    target = "/v1/messages/batches"
    good = await two.ask(target, batch("claude-haiku-1", "claude-haiku-2"), key="haiku")
    assert good.status == 200
    bad = await two.ask(target, batch("claude-haiku-1", "claude-opus-1"), key="haiku")
    assert (bad.status, len(vendor.requests)) == (403, 1)
    assert 'model "claude-opus-1"' in bad.message


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("one", "/v1/organization/costs"), ("one", "/v1/organizations/x"),
        ("one", "/v1//organization/costs"), ("one", "/v1/v1/organization/costs"),
        ("claude", "/v1/organizations/usage"), ("claude", "//v1/organizations/usage"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_organization_paths_are_rejected(
    two: Sidecar, vendor: ScriptedVendor, key: str, target: str, method: str
) -> None:
    found = await two.ask(target, b"", key=key, method=method)
    assert (found.status, vendor.requests) == (403, [])
    assert "administers an account" in found.message


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("one", "/v1/%6frganization/costs"), ("claude", "/v1/%6Frganizations/usage"),
        ("one", "/v1/organization%2Fcosts"), ("one", "/v1/files%2Ffile-1"),
        ("one", "/v1/files//file-1"), ("one", "/v1/files/x%2F..%2Ffile-1"),
        ("one", "/v1/files/file%2d1"), ("one", "/v1/responses/resp_1%2fcancel"),
        ("claude", "/v1/files//file_1"),
        ("claude", "/v1/messages%2Fbatches%2Fb1"),
    ],
)  # fmt: skip
async def test_path_with_encoded_segments_is_rejected(
    two: Sidecar, vendor: ScriptedVendor, key: str, target: str
) -> None:
    found = await two.ask(target, key=key, method="GET")
    assert (found.status, vendor.requests) == (400, [])


async def test_encoded_slash_in_a_model_name_is_accepted(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    assert (await two.ask("/v1/models/a%2Fb", key="one", method="GET")).status == 200
    assert vendor.last.path == "/a/v1/models/a%2Fb"


HIDDEN = [
    b' {"model":"o9"}', b'\xef\xbb\xbf{"model":"o9"}', '{"model":"o9"}'.encode("utf-16"),
    b"model=o9", b"{}",
]  # fmt: skip


@pytest.mark.parametrize(
    "target", ["/v1/chat/completions/", "/v1/chat//completions", "/v1/brand/new"]
)
@pytest.mark.parametrize("body", HIDDEN)
async def test_key_of_few_models_cannot_use_a_path_of_unknown_model(
    two: Sidecar, vendor: ScriptedVendor, target: str, body: bytes
) -> None:
    found = await two.ask(target, body, key="few")
    assert found.status in {400, 403}
    assert vendor.requests == []


async def test_path_of_another_vendor_gets_a_hint_at_another_key(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    found = await two.ask("/v1/messages", b'{"model":"m"}', key="one")
    assert (found.status, vendor.requests) == (404, [])
    assert "belongs to the anthropic API" in found.message
    other = await two.ask("/v1beta/models/m:generateContent", b"{}", key="claude")
    assert (other.status, vendor.requests) == (404, [])
    assert "belongs to the gemini API" in other.message


async def test_path_that_the_vendor_does_not_have_is_a_404(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    found = await two.ask("/nothing/here", b"{}", key="one")
    assert (found.status, vendor.requests) == (404, [])
    assert "check the base URL" in found.message

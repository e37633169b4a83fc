"""Who gets into the console, and who does not: codes, tokens, hosts, origins, forms, cookies."""

from __future__ import annotations

import json

import pytest
from admin_client import over_socket
from console_session import Api, code_of, sign_in
from running_sidecar import Raw, Sidecar, parse, request, talk

from sidecar.admin.console.front import PROTECTION
from sidecar.admin.console.sessions import (
    CODE_TTL_SECONDS,
    IDLE_SECONDS,
    MAX_CODES,
    MAX_SESSIONS,
    SESSION_LIFETIME_SECONDS,
    Sessions,
)
from sidecar.errors import ProxyError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_code_works_once() -> None:
    sessions = Sessions(Clock())
    code = sessions.mint_code()
    token = sessions.exchange(code)
    assert token != code
    sessions.use(token)
    with pytest.raises(ProxyError, match="used already"):
        sessions.exchange(code)


def test_a_code_gets_too_old() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    code = sessions.mint_code()
    clock.now += CODE_TTL_SECONDS + 1
    with pytest.raises(ProxyError):
        sessions.exchange(code)


def test_unused_session_ends() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    token = sessions.exchange(sessions.mint_code())
    for _ in range(3):
        clock.now += IDLE_SECONDS - 1
        sessions.use(token)
    clock.now += IDLE_SECONDS + 1
    with pytest.raises(ProxyError, match="sidecar open"):
        sessions.use(token)


def test_a_tab_that_listens_keeps_a_session_but_not_for_ever() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    token = sessions.exchange(sessions.mint_code())
    session = sessions.use(token)
    told: list[bool] = []
    with sessions.listening(session, lambda: told.append(True)):
        clock.now += 2 * IDLE_SECONDS
        sessions.sweep()
    clock.now += IDLE_SECONDS - 1
    sessions.sweep()
    assert not session.over
    with sessions.listening(session, lambda: told.append(True)):
        clock.now = 1000.0 + SESSION_LIFETIME_SECONDS + 1
        sessions.sweep()
    assert session.over
    assert told == [True]
    with pytest.raises(ProxyError):
        sessions.use(token)


def test_signing_out_ends_one_session_and_closing_ends_all() -> None:
    sessions = Sessions(Clock())
    one, other = (sessions.exchange(sessions.mint_code()) for _ in range(2))
    code = sessions.mint_code()
    sessions.end(one)
    with pytest.raises(ProxyError):
        sessions.use(one)
    sessions.use(other)
    assert sessions.end_all() == 1
    for dead in (lambda: sessions.use(other), lambda: sessions.exchange(code)):
        with pytest.raises(ProxyError):
            dead()


def test_codes_and_sessions_are_bounded() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    codes = [sessions.mint_code() for _ in range(MAX_CODES + 1)]
    with pytest.raises(ProxyError):
        sessions.exchange(codes[0])
    tokens = []
    for _ in range(MAX_SESSIONS + 1):
        clock.now += 1
        tokens.append(sessions.exchange(sessions.mint_code()))
    with pytest.raises(ProxyError):
        sessions.use(tokens[0])
    sessions.use(tokens[1])


def test_only_hashes_are_kept() -> None:
    sessions = Sessions(Clock())
    code = sessions.mint_code()
    token = sessions.exchange(sessions.mint_code())
    held = repr((sessions._codes, sessions._sessions))
    assert code not in held
    assert token not in held


@pytest.mark.parametrize("token", ["", "guess", "ü"])
def test_a_guess_is_no_token(token: str) -> None:
    sessions = Sessions(Clock())
    sessions.exchange(sessions.mint_code())
    with pytest.raises(ProxyError):
        sessions.use(token)


# ── over the wire ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def api(proxy: Sidecar) -> Api:
    return await sign_in(proxy)


async def bare(proxy: Sidecar, method: str, target: str, headers: dict[str, str]) -> Raw:
    body = b"{}" if method == "POST" else b""
    return parse(await talk(proxy.admin_port, request(method, target, headers, body)))


JSON = {"Content-Type": "application/json"}
ASKED = [("GET", "keys"), ("GET", "config"), ("GET", "events"), ("POST", "changes"),
         ("POST", "keys/gpt/revoke"), ("POST", "reload"), ("DELETE", "session"),
         ("GET", "nonsense")]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ASKED)
async def test_no_token_no_answer(proxy: Sidecar, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer guess"}, {"Cookie": "token=guess"}):
        found = await bare(proxy, method, f"/console/api/{path}", JSON | headers)
        assert found.status == 401
        assert b"sidecar open" in found.body


async def test_a_token_in_a_cookie_or_in_the_query_opens_nothing(api: Api) -> None:
    for target, headers in (
        ("/console/api/keys", {"Cookie": f"token={api.token}; Authorization=Bearer {api.token}"}),
        (f"/console/api/keys?token={api.token}", {}),
    ):
        assert (await bare(api.proxy, "GET", target, headers)).status == 401


async def test_a_key_of_an_agent_opens_nothing(proxy: Sidecar) -> None:
    found = await bare(proxy, "GET", "/console/api/keys", proxy.bearer("gpt"))
    assert found.status == 401


async def test_a_code_in_the_query_is_not_taken(proxy: Sidecar) -> None:
    code = await code_of(proxy)
    found = await bare(proxy, "POST", f"/console/api/session?code={code}", JSON)
    assert found.status == 400
    assert (await sign_in(proxy)).token


async def test_no_cookie_is_ever_set(api: Api) -> None:
    for target in ("/", "/console/api/keys", "/console/console.css", "/console/none"):
        found = await bare(api.proxy, "GET", target, {"Authorization": f"Bearer {api.token}"})
        assert "set-cookie" not in found.headers


async def test_every_answer_has_the_protecting_headers_and_no_cors(api: Api) -> None:
    token = {"Authorization": f"Bearer {api.token}"}
    for method, target, headers, status in (
        ("GET", "/", {}, 200),
        ("GET", "/console/console.css", {}, 200),
        ("GET", "/console/none.js", {}, 404),
        ("POST", "/", {}, 405),
        ("GET", "/console/api/keys", token, 200),
        ("GET", "/console/api/keys", {}, 401),
        ("GET", "/console/api/keys", {"Host": "evil.test"}, 403),
        ("OPTIONS", "/console/api/keys", {"Origin": "https://evil.test"}, 403),
    ):
        found = await bare(api.proxy, method, target, headers)
        assert found.status == status, target
        for name, value in PROTECTION.items():
            assert found.headers[name.lower()] == value
        assert not [name for name in found.headers if name.startswith("access-control")]
    assert "default-src 'none'" in PROTECTION["Content-Security-Policy"]
    assert "unsafe" not in PROTECTION["Content-Security-Policy"]


FOREIGN = [
    {"Origin": "https://evil.test"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    {"Host": "evil.test"},
    {"Host": "127.0.0.1.evil.test"},
    {"Host": "0.0.0.0"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_foreign_page_is_refused_even_with_a_token(
    api: Api, headers: dict[str, str]
) -> None:
    for method, path in (("GET", "keys"), ("POST", "changes"), ("GET", "events")):
        assert (await api.ask(method, path, {}, headers)).status == 403


@pytest.mark.parametrize("headers", [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Host": "evil.test"},
])  # fmt: skip
async def test_the_shell_is_no_part_of_another_page(
    proxy: Sidecar, headers: dict[str, str]
) -> None:
    assert (await bare(proxy, "GET", "/", headers)).status == 403


async def test_a_link_from_anywhere_leads_to_the_shell(proxy: Sidecar) -> None:
    coming = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
              "Sec-Fetch-Dest": "document"}  # fmt: skip
    assert (await bare(proxy, "GET", "/", coming)).status == 200
    assert (await bare(proxy, "GET", "/console/console.css", coming)).status == 403


async def test_our_own_page_may_ask(api: Api) -> None:
    origin = f"http://127.0.0.1:{api.proxy.admin_port}"
    host = {"Host": f"127.0.0.1:{api.proxy.admin_port}"}
    own = {"Origin": origin, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert (await api.ask("POST", "reload", {}, own | host)).status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_request_that_a_form_can_send_changes_nothing(api: Api, kind: str) -> None:
    edit = {"edit": {"do": "delete_key", "name": "gpt"}}
    seen = {"If-Match": await api.digest()}
    found = await api.ask("POST", "changes", edit, seen | {"Content-Type": kind})
    assert found.status == 415
    assert "gpt" in api.proxy.running.snapshot.keys


async def test_signing_out_ends_the_session_at_once(api: Api) -> None:
    assert (await api.ask("DELETE", "session")).status == 200
    assert (await api.ask("GET", "keys")).status == 401


async def test_a_command_ends_all_sessions(api: Api) -> None:
    other = await sign_in(api.proxy)
    assert (await over_socket(api.proxy, "POST", "/api/close")).json() == {"ended": 2}
    for each in (api, other):
        assert (await each.ask("GET", "keys")).status == 401


async def test_links_are_made_over_the_socket_only(api: Api) -> None:
    assert (await api.ask("POST", "open", {})).status == 404
    assert (await api.ask("POST", "close", {})).status == 404


async def test_a_body_is_bounded(api: Api) -> None:
    assert (await api.ask("POST", "changes", "x" * 300_000)).status == 413


@pytest.mark.parametrize("body", [
    b"", b"[]", b"null", b'{"code": null}', b"{", b'{"code": []}', rb'{"code": "\ud800"}',
    b'{"code": "\xff"}', b"[" * 100_000, b'{"more": ' * 10_000,
])  # fmt: skip
async def test_a_broken_sign_in_is_no_server_error(proxy: Sidecar, body: bytes) -> None:
    sent = request("POST", "/console/api/session", JSON, body)
    assert parse(await talk(proxy.admin_port, sent)).status in {400, 401}


@pytest.mark.parametrize("name", [
    "../admin.py", "..%2fadmin.py", "%2e%2e/admin.py", "static/index.html", ".", "", "/etc/passwd",
    "assets.py", "pages",
])  # fmt: skip
async def test_files_are_served_by_name_and_no_other_path(proxy: Sidecar, name: str) -> None:
    found = await bare(proxy, "GET", f"/console/{name}", {})
    assert found.status in {400, 404}


async def test_a_file_that_the_browser_has_is_not_sent_again(proxy: Sidecar) -> None:
    first = await bare(proxy, "GET", "/console/console.css", {})
    assert first.headers["cache-control"] == "no-cache"
    again = await bare(
        proxy, "GET", "/console/console.css", {"If-None-Match": first.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")


async def test_metrics_and_health_stay_as_they_were(proxy: Sidecar) -> None:
    for target in ("/metrics", "/healthz", "/readyz"):
        found = await bare(proxy, "GET", target, {})
        assert found.status == 200
        assert (await bare(proxy, "GET", target, {"Host": "evil.test"})).status == 403


async def test_codes_and_tokens_reach_no_log_and_no_state(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    code = await code_of(api.proxy)
    await bare(api.proxy, "POST", f"/console/api/session?code={code}", JSON)
    await api.ask("POST", "changes", {"edit": code})
    kept = b"".join(p.read_bytes() for p in api.proxy.state.rglob("*") if p.is_file())
    for secret in (code, api.token):
        assert secret.encode() not in kept
        assert secret not in caplog.text
        assert secret not in json.dumps([repr(each) for each in api.proxy.records])

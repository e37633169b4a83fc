"""Outgoing connections: certificates are checked, and the environment's proxies are ignored."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from raw_http_client import Got, exchange
from running_sidecar import CANARY, Sidecar, request
from scripted_vendor import ScriptedVendor, answer
from tls_vendors import CERTIFICATES, PLAIN, serving, with_certificate

ASKED = b'{"model":"gpt-5-mini"}'


async def call(proxy: Sidecar) -> Got:
    sent = request("POST", "/v1/chat/completions", proxy.bearer("gpt"), ASKED)
    return await exchange(proxy.port, sent)


async def test_private_certificate_is_trusted_with_a_ca_file(tmp_path: Path) -> None:
    ca = f"ca_file: {CERTIFICATES / 'here.pem'}"
    async with with_certificate("here") as vendor, serving(tmp_path, vendor.url, ca) as proxy:
        got = await call(proxy)
        assert (got.status, got.body) == (200, b"{}")
        assert vendor.last.get("authorization") == [f"Bearer {CANARY}"]


@pytest.mark.parametrize(
    ("name", "ca"),
    [
        ("here", None),
        ("expired", "expired"),
        ("elsewhere", "elsewhere"),
        ("elsewhere", "here"),
    ],
    ids=["unknown", "expired", "of another host", "of another authority"],
)
async def test_invalid_certificate_gets_no_credential(
    tmp_path: Path, name: str, ca: str | None
) -> None:
    more = PLAIN if ca is None else f"ca_file: {CERTIFICATES / ca}.pem"
    async with with_certificate(name) as vendor, serving(tmp_path, vendor.url, more) as proxy:
        got = await call(proxy)
        assert got.status == 502
        assert "its certificate was not accepted" in got.message
        assert vendor.requests == []


async def test_missing_ca_file_is_named_in_the_error(tmp_path: Path) -> None:
    more = f"ca_file: {tmp_path / 'gone.pem'}"
    async with with_certificate("here") as vendor, serving(tmp_path, vendor.url, more) as proxy:
        got = await call(proxy)
        assert got.status == 502
        assert "gone.pem cannot be read" in got.message


async def test_environments_proxies_are_ignored_unless_asked_for(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.play(answer(b"{}"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(tmp_path, vendor.url) as proxy:
        assert (await call(proxy)).status == 200


@pytest.mark.parametrize("named", ["env", "url"])
async def test_configured_proxy_is_used(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """The stand-in for a vendor plays the proxy here: it sees the whole address."""
    vendor.play(answer(b"{}"))
    monkeypatch.setenv("http_proxy", vendor.url)
    monkeypatch.setenv("no_proxy", "other.example")
    more = "allow_http: true, proxy: " + ("env" if named == "env" else f"{vendor.url}")
    async with serving(tmp_path, "http://vendor.example", more) as proxy:
        assert (await call(proxy)).status == 200
        assert vendor.last.path == "http://vendor.example/v1/chat/completions"


async def test_no_proxy_variable_is_applied(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.play(answer(b"{}"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with serving(tmp_path, vendor.url, "proxy: env") as proxy:
        assert (await call(proxy)).status == 200


async def test_unreachable_proxy_is_a_502_that_names_it(tmp_path: Path) -> None:
    more = "allow_http: true, proxy: http://127.0.0.1:9"
    async with serving(tmp_path, "http://vendor.example", more) as proxy:
        got = await call(proxy)
        assert got.status == 502
        assert "the proxy cannot be reached" in got.message


async def test_netrc_adds_no_credential(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.play(answer(b"{}"))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(tmp_path, vendor.url) as proxy:
        assert (await call(proxy)).status == 200
        assert vendor.last.get("authorization") == [f"Bearer {CANARY}"]


async def test_cookie_is_neither_stored_nor_relayed(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}", Set_Cookie="session=1; Path=/"))
    for _ in range(2):
        sent = [*proxy.bearer("gpt").items(), ("Cookie", "mine=1")]
        got = await exchange(proxy.port, request("POST", "/v1/chat/completions", sent, ASKED))
        assert got.get("set-cookie") == []
        assert vendor.last.get("cookie") == []


async def test_client_headers_do_not_choose_the_upstream_host(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """Neither body fields nor headers that other gateways have fallen for."""
    vendor.play(answer(b"{}"))
    body = (
        b'{"model":"http://evil.example/m","api_base":"http://evil.example",'
        b'"base_url":"http://evil.example","user_config":{"api_base":"http://evil.example"}}'
    )
    sent = [
        *proxy.bearer("gpt").items(),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Portkey-Custom-Host", "http://evil.example"),
        ("X-Original-URL", "http://evil.example"),
    ]
    got = await exchange(proxy.port, request("POST", "/v1/chat/completions", sent, body))
    assert got.status == 200
    assert vendor.last.body == body
    assert vendor.last.get("host") == [vendor.url.removeprefix("http://")]


async def test_both_loopback_addresses_are_served(tmp_path: Path, vendor: ScriptedVendor) -> None:
    """`localhost` means ::1 to some clients."""
    from sidecar.app import serve

    try:
        probe = await asyncio.start_server(lambda *_: None, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    file = tmp_path / "routes.yaml"
    file.write_text(f'server: {{listen: ["127.0.0.1:{port}", "[::1]:{port}"]}}\ngroups: {{}}\n')
    async with serve(file, tmp_path / "state", admin="127.0.0.1:0", environ={}):
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await reader.read(-1)).startswith(b"HTTP/1.1 200 ")
            writer.close()

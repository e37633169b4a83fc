"""Requests that are refused before authentication."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.request_guard import RequestGuard, allowed_hosts, check_target

DOOR = RequestGuard(
    allowed_hosts(["127.0.0.1"], ("Laptop.lan",)), frozenset({"https://mine.example"})
)


def refusal(method: str = "POST", target: str = "/v1/messages", **headers: str) -> ErrorKind | None:
    pairs = {"Host": "localhost:8787"} | {k.replace("_", "-"): v for k, v in headers.items()}
    try:
        DOOR.check(method, target, CIMultiDictProxy(CIMultiDict(pairs)))
    except ProxyError as refused:
        return refused.reply.kind
    return None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8787", "laptop.LAN:80"])
def test_our_own_names_may_come_in_on_any_forwarded_port(host: str) -> None:
    assert refusal(Host=host) is None


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test", "0.0.0.0:8787", "127.0.0.2"])
def test_a_foreign_host_is_refused(host: str) -> None:
    assert refusal(Host=host) is ErrorKind.FORBIDDEN


@pytest.mark.parametrize(
    "host", ["", "x/?", "localhost:8787@evil", "a b", "localhost:port", "[::1"]
)
def test_a_host_that_is_none_is_a_bad_request(host: str) -> None:
    assert refusal(Host=host) is ErrorKind.BAD_REQUEST


def test_two_hosts_are_a_bad_request() -> None:
    headers = CIMultiDict([("Host", "localhost"), ("Host", "localhost")])
    with pytest.raises(ProxyError):
        DOOR.check("GET", "/", CIMultiDictProxy(headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Mode": "no-cors"},
    ],
)
def test_a_web_page_is_refused(headers: dict[str, str]) -> None:
    assert refusal(**headers) is ErrorKind.FORBIDDEN


def test_a_page_that_the_user_allowed_may_call() -> None:
    assert refusal(Origin="https://mine.example", Sec_Fetch_Site="cross-site") is None


def test_headers_that_node_adds_pass_as_no_web_page() -> None:
    assert refusal(Sec_Fetch_Mode="cors") is None


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_tunnels_and_echoes_are_refused(method: str) -> None:
    assert refusal(method) is ErrorKind.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    "target",
    ["http://evil.test/v1", "*", "v1", "/v1/../x", "/v1/%2e%2E/x", "/a/.", "/v1#x", "/a\\b", "/é"],
)
def test_a_target_of_two_meanings_is_refused(target: str) -> None:
    with pytest.raises(ProxyError):
        check_target(target)


@pytest.mark.parametrize(
    "target", ["/", "//v1/x", "/v1/models/a:b%2Fc", "/v1/x?y=../z", "/...", "/.well"]
)
def test_odd_but_plain_targets_pass(target: str) -> None:
    check_target(target)

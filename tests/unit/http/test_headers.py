"""Which headers pass, in both directions."""

from __future__ import annotations

import pytest

from sidecar.config.loader import load
from sidecar.config.schema.reserved_headers import CODING, CONNECTION, COOKIES, CREDENTIAL_HEADERS
from sidecar.errors import ConfigError
from sidecar.http import headers
from sidecar.http.headers import RequestFields, decoded, encoded
from sidecar.plugin_api.manager import discover


def sent(*pairs: tuple[str, str], **options: object) -> list[tuple[str, str]]:
    own = (("x-api-key", "real"),)
    return decoded(headers.for_upstream(encoded(pairs), own, **options))  # type: ignore[arg-type]


def test_unknown_headers_keep_their_order_spelling_and_repetition() -> None:
    pairs = [("anthropic-beta", "a"), ("X-New", "1"), ("Anthropic-Beta", "b")]
    assert sent(*pairs) == [*pairs, ("Accept-Encoding", "identity"), ("x-api-key", "real")]


def test_headers_that_authenticate_the_caller_are_removed() -> None:
    secrets = (
        "Authorization",
        "X-Api-Key",
        "x-goog-api-key",
        "API-Key",
        "Cookie",
        "Proxy-Authorization",
    )
    assert sent(*((name, "local") for name in secrets)) == sent()


def test_headers_that_identify_the_caller_are_removed() -> None:
    names = (
        "X-Forwarded-For",
        "Forwarded",
        "Via",
        "Origin",
        "Referer",
        "Sec-Fetch-Site",
        "OpenAI-Project",
    )
    assert sent(*((name, "x") for name in names)) == sent()


def test_a_field_that_connection_names_stays_on_its_hop() -> None:
    assert sent(("Connection", "keep-alive, X-Hop"), ("x-hop", "1")) == sent()


def test_a_providers_own_header_replaces_the_callers() -> None:
    fields = headers.for_upstream([(b"X-Team", b"mine")], [("x-team", "theirs")])
    assert decoded(fields) == [("Accept-Encoding", "identity"), ("x-team", "theirs")]


def test_a_header_that_the_file_removes_is_gone() -> None:
    assert sent(("Anthropic-Beta", "x"), remove=frozenset({"anthropic-beta"})) == sent()


def test_a_decoded_body_goes_without_its_coding() -> None:
    assert sent(("Content-Encoding", "gzip"), decoded=True) == sent()


def received(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    return decoded(headers.for_client(encoded(pairs), frozenset({"location"}), lambda _: None))


def test_the_vendors_hints_and_ids_pass() -> None:
    pairs = [
        ("retry-after", "2"), ("anthropic-ratelimit-unified-status", "allowed"),
        ("x-request-id", "r"), ("X-Codex-Turn-State", "s"), ("Server", "cloudflare"),
    ]  # fmt: skip
    assert received(*pairs) == pairs


def test_response_headers_that_act_on_the_host_are_removed() -> None:
    names = (
        "Set-Cookie", "Alt-Svc", "Strict-Transport-Security", "Access-Control-Allow-Origin",
        "Clear-Site-Data", "Transfer-Encoding", "X-Api-Key", "x-sidecar-call", "Location",
    )  # fmt: skip
    assert received(*((name, "x") for name in names)) == []


def test_a_url_at_the_vendor_becomes_one_of_ours() -> None:
    base, ours = "https://v.example/v1", "http://127.0.0.1:8787/openai/v1"
    moved = headers.relocated("https://v.example/v1/files/f?x=1", base, ours)
    assert moved == "http://127.0.0.1:8787/openai/v1/files/f?x=1"
    assert headers.relocated("/v1/files/f", base, ours) == "http://127.0.0.1:8787/openai/v1/files/f"
    assert headers.relocated("https://v.example/up", base, ours) == "http://127.0.0.1:8787/up"
    assert headers.relocated("https://evil.example/v1/files", base, ours) is None
    assert headers.relocated("https://[v.example/v1/files", base, ours) is None


RESERVED = sorted(CONNECTION | CREDENTIAL_HEADERS | COOKIES | {CODING, "Proxy-Anything", "EXPECT"})


@pytest.mark.parametrize("name", RESERVED)
def test_header_of_the_connection_body_or_credential_cannot_be_set_by_the_file(name: str) -> None:
    text = f"providers: {{oa: {{plugin: openai, headers: {{set: {{{name}: x}}}}}}}}"
    with pytest.raises(ConfigError, match=rf"the header {name} (belongs|would carry)"):
        load(text.encode(), file="routes.yaml", registry=discover())


def test_header_that_says_whose_account_is_used_can_be_set_by_the_file() -> None:
    text = b"providers: {oa: {plugin: openai, headers: {set: {OpenAI-Project: p, Referer: r}}}}"
    oa = load(text, file="routes.yaml", registry=discover()).providers["oa"]
    assert oa.set_headers == (("OpenAI-Project", "p"), ("Referer", "r"))


def test_coding_of_the_body_cannot_be_removed_by_the_file() -> None:
    text = b"providers: {oa: {plugin: openai, headers: {remove: [X-Team, Content-encoding]}}}"
    with pytest.raises(ConfigError, match="could not read a compressed body"):
        load(text, file="routes.yaml", registry=discover())


@pytest.mark.parametrize("name", sorted(CONNECTION))
def test_header_of_the_connection_from_a_plugin_is_left_out(name: str) -> None:
    fields = headers.for_upstream([], [(name.title(), "theirs"), ("x-team", "1")])
    assert decoded(fields) == [("Accept-Encoding", "identity"), ("x-team", "1")]


def test_equal_fields_in_place_of_a_clients_keep_their_lines() -> None:
    client = RequestFields(encoded([("Accept", "*/*"), ("X-A", "1")]))
    first = client.replaced(encoded([("Accept", "*/*")]))
    assert client.replaced(encoded([("Accept", "*/*")])) is first
    other = client.replaced(encoded([("Accept", "text/html")]))
    assert other.fields == encoded([("Accept", "text/html")])

"""What is loopback, by one rule wherever it matters."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import FILE, Cli

from sidecar.config.loader import load
from sidecar.config.model import Address, Provider, ServerConfig
from sidecar.config.schema.addresses import is_clear_public, is_loopback
from sidecar.errors import ConfigError, SourceLocation
from sidecar.http.listeners import StartError, overridden, parse_addresses
from sidecar.plugin_api.manager import discover
from sidecar.plugin_api.vendor import Vendor
from sidecar.routing.upstream_key import is_remote

HERE = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST", "LocalHost.",
        "app.localhost", "APP.LOCALHOST."]  # fmt: skip
ELSEWHERE = ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost.example.com", "mylocalhost",
             "example.com"]  # fmt: skip
EVERY = [(host, True) for host in HERE] + [(host, False) for host in ELSEWHERE]


class Some(Vendor):
    name = title = "some"


def written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@pytest.mark.parametrize(("host", "loopback"), EVERY)
def test_loopback_rule_is_the_same_for_file_command_line_and_providers(
    host: str, loopback: bool
) -> None:
    assert is_loopback(host) is loopback
    text = f'server: {{listen: "{written(host)}:8787"}}'.encode()
    if loopback:
        server = load(text, file="routes.yaml", registry=discover()).server
    else:
        server = ServerConfig(listen=(Address(host, 8787),))
        with pytest.raises(ConfigError, match="can be reached from other machines"):
            load(text, file="routes.yaml", registry=discover())
    for listen in (None, f"{written(host)}:8787"):
        try:
            overridden(server, listen, None)
            serves = True
        except StartError:
            serves = False
        assert serves is loopback
    url = f"http://{written(host)}:1/v1"
    provider = Provider("p", Some(), url, (), SourceLocation("routes.yaml", 1))
    assert is_remote(provider) is not loopback
    if loopback:
        assert not is_clear_public(url)


def test_serve_starts_on_a_host_that_check_accepts(tmp_path: Path) -> None:
    server = 'server: {listen: "LOCALHOST:0", admin: "LOCALHOST:0"}\n'
    cli = Cli(tmp_path, text=server + FILE)
    assert cli.run("check").status == 0
    with cli.serving("serve") as served:
        assert served.call(cli.create("codex")) == 200


@pytest.mark.parametrize("text", ["9000", "127.0.0.1:9000", "[::1]:9000", "localhost:0", ":9000"])
def test_listen_option_takes_what_the_file_takes(text: str) -> None:
    assert all(is_loopback(address.host) for address in parse_addresses(text))


@pytest.mark.parametrize("text", ["", "host", "127.0.0.1:70000", "[::g]:1", "a b:1", "1:2:3"])
def test_listen_option_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(StartError, match="write"):
        parse_addresses(text)

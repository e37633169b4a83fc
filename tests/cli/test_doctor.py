"""`sidecar doctor`: what is wrong with an installation, and a support file without secrets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runner import Cli
from scripted_vendor import ScriptedVendor, answer, scripted_vendor
from tls_vendors import CERTIFICATES, with_certificate

from sidecar.doctor.results import Level
from sidecar.doctor.versions import check_versions, installed_versions

SERVER = "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\n"
ECHO = (
    SERVER
    + "groups: {demo: {vendor: echo}}\nkeys: {k: {group: demo, hash: 'sha256:"
    + "0" * 64
    + "'}}\n"
)
KEY = "sk-" + "canary-credential-81f0"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "home").mkdir()
    return Cli(tmp_path, text=ECHO)


def with_provider(fields: str, routes: str = "[oa]") -> str:
    return (
        f"{SERVER}providers:\n  oa: {{plugin: openai, {fields}}}\n"
        f"groups: {{G: {{vendor: openai, routes: {routes}}}}}\nkeys: {{k: {{group: G}}}}\n"
    )


def findings(cli: Cli, *words: str, **environ: str) -> list[dict[str, str]]:
    done = cli.run("doctor", "--json", *words, **environ)
    found: list[dict[str, str]] = done.json
    assert done.status == int(any(each["level"] == "fail" for each in found)), done.out
    assert all(each.get("repair") for each in found if each["level"] != "pass"), done.out
    return found


def of(found: list[dict[str, str]], check: str, level: str = "") -> list[dict[str, str]]:
    return [each for each in found if each["check"] == check and level in each["level"]]


def test_doctor_passes_every_check_of_a_running_installation(cli: Cli) -> None:
    with cli.serving("serve"):
        done = cli.run("doctor", "--strict")
    assert done.status == 0, done.out
    assert "repair" not in done.out
    for check in (
        "configuration", "process", "permissions", "file watching", "base URLs", "proxy", "clock",
        "versions",
    ):  # fmt: skip
        assert f"pass  {check}: " in done.out


def test_doctor_without_a_process_warns_and_is_strict_on_request(cli: Cli) -> None:
    (found,) = of(findings(cli), "process")
    assert (found["level"], found["repair"]) == ("warn", "start one: sidecar serve")
    assert cli.run("doctor").status == 0
    assert cli.run("doctor", "--strict").status == 1


@pytest.mark.parametrize(
    ("text", "repair"), [("groups: {G: {}}", "sidecar edit"), (None, "sidecar init --config")]
)
def test_invalid_or_missing_file_fails_with_its_repair(
    cli: Cli, text: str | None, repair: str
) -> None:
    if text is None:
        cli.config.unlink()
    else:
        cli.config.write_text(text)
    failed = of(findings(cli), "configuration", "fail")
    assert failed
    assert all(repair in each["repair"] for each in failed)


def test_files_of_others_fail_with_the_command_that_repairs_them(cli: Cli) -> None:
    secret = cli.folder / "my secret"
    secret.write_text(KEY)
    secret.chmod(0o644)
    cli.config.write_text(
        with_provider(f'credential: "file:{secret}", base_url: http://127.0.0.1:1/v1')
    )
    cli.config.chmod(0o666)
    cli.state.mkdir(mode=0o755)
    failed = {each["repair"]: each["what"] for each in of(findings(cli), "permissions", "fail")}
    assert failed == {
        f"chmod 600 {cli.config}": f"other users can change {cli.config}",
        f"chmod 700 {cli.state}": f"other users can read {cli.state}",
        f"chmod 600 '{secret}'": f"other users can read {secret}",
    }


def test_taken_port_fails_with_the_process_that_has_it(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cli.config.write_text(ECHO.replace("127.0.0.1:0,", f"127.0.0.1:{port},"))
        (failed,) = of(findings(cli), "ports", "fail")
    assert f"127.0.0.1:{port} is in use by process {os.getpid()} (" in failed["what"]
    (free,) = of(findings(cli), "ports")
    assert free["what"] == f"127.0.0.1:{port} is free"


def test_port_of_the_running_process_passes(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cli.config.write_text(ECHO.replace("127.0.0.1:0,", f"127.0.0.1:{port},"))
    with cli.serving("serve"):
        (found,) = of(findings(cli), "ports")
    assert found["level"] == "pass"
    assert f"listens on 127.0.0.1:{port}" in found["what"]


def test_ports_of_a_process_that_listens_elsewhere_are_those_of_the_process(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cli.config.write_text(ECHO.replace("127.0.0.1:0,", f"127.0.0.1:{port},"))
        with cli.serving() as served:
            found = of(findings(cli), "ports")
    assert [each["level"] for each in found] == ["pass", "pass"]
    assert found[0]["what"].endswith(f" listens on {served.url.removeprefix('http://')}")


def test_key_without_a_usable_credential_fails(cli: Cli) -> None:
    cli.config.write_text(with_provider("credential: env:GONE, base_url: http://127.0.0.1:1/v1"))
    found = of(findings(cli), "credentials")
    assert [each["level"] for each in found] == ["warn", "fail"]
    assert "the environment variable GONE is not set" in found[0]["what"]
    assert 'key "k" has no provider with a usable credential' in found[1]["what"]
    assert [each["level"] for each in of(findings(cli, GONE=KEY), "credentials")] == ["pass"]


def test_credential_of_the_running_process_passes_without_one_in_the_shell(cli: Cli) -> None:
    cli.config.write_text(with_provider("credential: env:THERE, base_url: http://127.0.0.1:1/v1"))
    cli.environ["THERE"] = KEY
    with cli.serving("serve"):
        del cli.environ["THERE"]
        (found,) = of(findings(cli), "credentials")
    assert found["level"] == "pass"


async def network(cli: Cli, fields: str, *words: str, **environ: str) -> list[dict[str, str]]:
    cli.config.write_text(with_provider(f"credential: env:UPSTREAM_KEY, {fields}"))
    return await asyncio.to_thread(findings, cli, *words, UPSTREAM_KEY=KEY, **environ)


async def test_provider_with_a_good_certificate_gets_no_credential(cli: Cli) -> None:
    ca = f"ca_file: {CERTIFICATES / 'here.pem'}"
    async with with_certificate("here") as vendor:
        found = await network(cli, f'base_url: "{vendor.url}/v1", {ca}')
        assert [each["level"] for each in of(found, "network")] == ["pass"]
        assert [each.line for each in vendor.requests] == ["HEAD /v1 HTTP/1.1"]
        assert vendor.last.get("authorization") == []


@pytest.mark.parametrize("name", ["here", "expired", "elsewhere"])
async def test_provider_with_a_bad_certificate_is_named_with_its_repair(
    cli: Cli, name: str
) -> None:
    async with with_certificate(name) as vendor:
        (found,) = of(await network(cli, f'base_url: "{vendor.url}/v1"'), "network")
    assert found["level"] == "warn"  # a server on this machine may be off
    assert "its certificate was not accepted" in found["what"]


@pytest.mark.parametrize(
    ("fields", "what", "repair"),
    [
        ("base_url: https://nothing.invalid/v1", "its name does not resolve", "correct base_url"),
        (
            "base_url: https://nothing.invalid/v1, proxy: http://127.0.0.1:9",
            "the proxy cannot be reached",
            "correct proxy:",
        ),
    ],
)
async def test_unreachable_provider_fails_with_its_reason(
    cli: Cli, fields: str, what: str, repair: str
) -> None:
    (found,) = of(await network(cli, fields), "network", "fail")
    assert what in found["what"]
    assert found["repair"].startswith(repair)


async def test_proxy_that_wants_a_password_fails(cli: Cli, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"", "407 Proxy Authentication Required"))
    fields = f'base_url: "http://vendor.example/v1", allow_http: true, proxy: "{vendor.url}"'
    (found,) = of(await network(cli, fields), "network", "fail")
    assert "the proxy asks for a user and a password" in found["what"]


@pytest.mark.parametrize(("status", "level"), [("200 OK", "pass"), ("401 Unauthorized", "fail")])
async def test_call_sends_the_credential_only_on_request(
    cli: Cli, vendor: ScriptedVendor, status: str, level: str
) -> None:
    vendor.play(answer(b""), answer(b'{"data": [{"id": "m"}]}', status))
    base = f'base_url: "{vendor.url}/v1"'
    (found,) = of(await network(cli, base, "--call"), "call")
    assert found["level"] == level
    assert [each.get("authorization") for each in vendor.requests] == [[], [f"Bearer {KEY}"]]


async def test_clock_is_compared_with_the_time_of_a_provider(cli: Cli) -> None:
    async with scripted_vendor() as vendor:
        vendor.play(answer(b"", Date="Mon, 01 Jan 2024 00:00:00 GMT"))
        found = of(await network(cli, f'base_url: "{vendor.url}/v1"'), "clock", "fail")
    assert "seconds ahead of the time at which provider oa answered" in found[0]["what"]


def test_clock_behind_the_files_fails(cli: Cli) -> None:
    os.utime(cli.config, (time.time() + 3600,) * 2)
    (found,) = of(findings(cli), "clock")
    assert found["level"] == "fail"
    assert "behind the time at which its own files were written" in found["what"]


def test_base_urls_are_found_with_place_and_line(cli: Cli) -> None:
    cli.config.write_text(ECHO.replace("127.0.0.1:0,", "127.0.0.1:8799,"))
    files = {
        ".zshrc": '# export OPENAI_BASE_URL=https://old.example\nalias x=y\n'
        'export OPENAI_BASE_URL="http://localhost:8799/v1"\n',
        ".config/fish/config.fish": "set -gx ANTHROPIC_BASE_URL https://user:pw@gw.example/a?k=v\n",
        ".claude/settings.json": '{"env": {\n "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}}',
        ".codex/config.toml": '[model_providers.x]\nbase_url = "http://127.0.0.1:8799/v1"\n',
        ".config/opencode/opencode.json": '{"provider": {"openai": {"options": '
        '{"baseURL": "https://elsewhere.example/v1"}}}}',
    }  # fmt: skip
    for name, text in files.items():
        path = cli.folder / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (cli.folder / ".env").write_text("OPENAI_API_BASE=http://[::1]:8799/v1\n")
    found = of(findings(cli, GROQ_BASE_URL="https://api.groq.com"), "base URLs")
    home = cli.folder / "home"
    assert [(each["level"], each["what"]) for each in found] == [
        ("warn", "environment: GROQ_BASE_URL leads to https://api.groq.com:443, past this Sidecar"),
        ("pass", f"{home}/.zshrc:3: OPENAI_BASE_URL leads to this Sidecar"),
        ("warn", f"{home}/.config/fish/config.fish:1: ANTHROPIC_BASE_URL leads to "
                 "https://gw.example:443, past this Sidecar"),
        ("warn", f"{home}/.claude/settings.json:2: ANTHROPIC_BASE_URL leads to "
                 "http://127.0.0.1:9, past this Sidecar"),
        ("warn", f"{home}/.config/opencode/opencode.json:1: baseURL leads to "
                 "https://elsewhere.example:443, past this Sidecar"),
        ("pass", f"{home}/.codex/config.toml:2: base_url leads to this Sidecar"),
        ("pass", f"{cli.folder}/.env:1: OPENAI_API_BASE leads to this Sidecar"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({"HTTP_PROXY": "http://p:1"}, "fail"),
        ({"all_proxy": "http://p:1", "NO_PROXY": "localhost"}, "fail"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "127.0.0.1,localhost"}, "pass"),
        ({"HTTP_PROXY": "http://p:1", "no_proxy": "*"}, "pass"),
        ({"HTTPS_PROXY": "http://p:1"}, "pass"),
        ({}, "pass"),
    ],
)
def test_proxy_that_gets_loopback_calls_fails(
    cli: Cli, environ: dict[str, str], level: str
) -> None:
    found = of(findings(cli, **environ), "proxy")[0]
    assert found["level"] == level


@pytest.mark.parametrize(
    ("versions", "advisories"),
    [
        ({"aiohttp": "3.14.1"}, ["GHSA-mfx4-hv73-q22v", "GHSA-cq5v-8q36-5273"]),
        ({"aiohttp": "3.14.2rc1"}, ["GHSA-cq5v-8q36-5273"]),
        ({"aiohttp": "3.15.0", "brotli": "1.1.0"}, ["GHSA-2qfp-q593-8484"]),
        ({"aiohttp": "3.14.3", "brotli": "1.2.0"}, []),
    ],
)
def test_package_with_a_known_advisory_fails(
    versions: dict[str, str], advisories: list[str]
) -> None:
    found = list(check_versions(versions))
    assert [each.what.split()[3].rstrip(":") for each in found if each.level is Level.FAIL] == (
        advisories
    )
    assert len(found) == max(1, len(advisories))


@pytest.mark.parametrize("url", ["http://[::1", "http://h:99999", "no url", "http://\x00"])
def test_base_url_that_is_none_is_reported(cli: Cli, url: str) -> None:
    (cli.folder / ".env").write_text(f"OPENAI_BASE_URL={url}\n")
    found = of(findings(cli), "base URLs")
    assert [each["level"] for each in found] == ["pass" if url == "no url" else "warn"]


def test_installed_versions_have_sidecar_python_and_dependencies() -> None:
    assert {"sidecar-llm", "python", "aiohttp", "click"} <= installed_versions().keys()


CANARIES = {
    "env": "sk-env-canary-1111aaaa",
    "file": "plain words of a file canary",
    "command": "commanded-canary-2222",
    "argument": "argument-canary-word",
    "header": "header-canary-pass",
    "note": "canary in a description",
    "token": "metrics-canary-3333",
    "shell": 'canary/with+odd"chars\\',
    "proxy": "proxy-canary-user",
    "local": "sk-sidecar-canary",
}


@pytest.fixture
def full(cli: Cli) -> Iterator[Cli]:
    """An installation with a secret in every place that may have one."""
    for name in ("file", "command", "token"):
        (cli.folder / name).write_text(CANARIES[name] + "\n")
        (cli.folder / name).chmod(0o600)
    script = cli.folder / "show"
    script.write_text(f"#!{sys.executable}\nprint({CANARIES['command']!r})\n")
    script.chmod(0o700)
    local = "base_url: http://127.0.0.1:1/v1"
    cli.config.write_text(
        f"""\
server: {{listen: 127.0.0.1:0, admin: 127.0.0.1:0, metrics_token: "file:{cli.folder}/token"}}
providers:
  a: {{plugin: openai, {local}, credential: [env:A_KEY, "file:{cli.folder}/file"]}}
  b: {{plugin: openai, {local}, credential: "command:{script} {CANARIES["argument"]}"}}
  c: {{plugin: openai, {local}, credential: {{command: [{script}, {CANARIES["argument"]}]}}}}
  d: {{plugin: openai, {local}, credential: keyring:service/user}}
  e: {{plugin: openai, {local}, headers: {{set: {{X-Extra: {CANARIES["header"]}}}}}}}
groups: {{G: {{vendor: openai, routes: [a, b, c, d, e], description: {CANARIES["note"]}}}}}
keys: {{k: {{group: G, hash: "sha256:{"ab" * 32}"}}}}
"""
    )
    cli.environ |= {
        "A_KEY": CANARIES["env"],
        "MY_TOKEN": CANARIES["shell"],
        "SIDECAR_KEY": CANARIES["local"],
        "OPENAI_BASE_URL": f"https://{CANARIES['proxy']}:pw@gateway.example/v1",
        "HTTP_PROXY": f"http://{CANARIES['proxy']}:pw@proxy.example:1",
    }
    return cli


def contents(bundle: Path) -> dict[str, str]:
    with tarfile.open(bundle) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive.getmembers()]
        return {name.rpartition("/")[2]: file.read().decode() for name, file in files if file}


@pytest.mark.parametrize("running", [False, True])
def test_bundle_and_findings_hold_no_secret_of_any_kind(full: Cli, running: bool) -> None:
    bundle = full.folder / "support.tar.gz"
    if running:
        with full.serving("serve"):
            done = full.run("doctor", "--bundle", bundle, "--call")
    else:
        done = full.run("doctor", "--bundle", bundle, "--call")
    parts = contents(bundle)
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert set(parts) == {"findings.json", "versions.json", "configuration.yaml", "status.json"}
    everything = done.out + done.err + "".join(parts.values())
    for canary in (*CANARIES.values(), "ab" * 32, json.dumps(CANARIES["shell"])[1:-1]):
        assert canary not in everything
    assert "env:A_KEY" in parts["configuration.yaml"]
    assert (json.loads(parts["status.json"]) is not None) == running
    assert len(json.loads(parts["findings.json"])) > 10
    assert "aiohttp" in json.loads(parts["versions.json"])


def test_bundle_of_an_invalid_file_leaves_its_text_out(full: Cli) -> None:
    literal = "my-literal-pass"
    full.config.write_text(full.config.read_text().replace("env:A_KEY", literal))
    bundle = full.folder / "support.tar.gz"
    assert full.run("doctor", "--bundle", bundle).status == 1
    parts = contents(bundle)
    assert literal not in "".join(parts.values())
    assert "configuration" in parts["findings.json"]
    assert "left out" in parts["configuration.yaml"]


def test_file_of_a_foreign_project_neither_slows_doctor_nor_reaches_the_terminal(cli: Cli) -> None:
    url = "OPENAI_BASE_URL=http://a\x1bc\x9b31m\u202e.example"
    (cli.folder / ".env").write_text(f"{'a' * 500_000}\n{'a' + ' ' * 200_000}\n{url}\n")
    done = cli.run("doctor")
    assert ".env:3: OPENAI_BASE_URL leads to" in done.out
    assert "a\\x1bc\\x9b31m" in done.out
    assert all(each.isprintable() or each == "\n" for each in done.out)

"""`sidecar credential …`: where a credential goes, and that it goes to no other place."""

from __future__ import annotations

import os
import pty
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from cli_runner import SIDECAR, Cli

from sidecar.api_keys import mint

FILE = "groups: {GPT: {vendor: openai}, demo: {vendor: echo}}\nkeys: {first: {group: demo}}\n"
SECRET = "vendor-credential-0123456789"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    environ = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    return Cli(tmp_path, environ, FILE)


def piped(cli: Cli, secret: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SIDECAR, "credential", "set", *words], cwd=cli.folder, env=cli.env, input=secret,
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_piped_credential_is_in_a_private_file_and_nowhere_else(cli: Cli) -> None:
    done = piped(cli, f"{SECRET}\n", "openai")
    assert done.returncode == 0, done.stderr
    place = cli.folder / "openai.credential"
    assert place.read_text() == f"{SECRET}\n"
    assert place.stat().st_mode & 0o777 == 0o600
    assert "openai: {credential: file:openai.credential}" in cli.config.read_text()
    assert SECRET not in done.stdout + done.stderr + cli.config.read_text()
    others = [each for each in cli.folder.rglob("*") if each.is_file() and each != place]
    assert not [each for each in others if SECRET.encode() in each.read_bytes()]
    again = cli.run("credential", "set", "openai", "--json", piped="another-credential")
    assert again.out == '{"provider": "openai", "credential": "file:openai.credential"}\n'
    assert place.read_text() == "another-credential\n"


def test_typed_credential_is_not_shown(cli: Cli) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*SIDECAR, "credential", "set", "openai", "--in", "file:here/key"], cwd=cli.folder,
        env=cli.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal ends with the process
        while piece := os.read(ours, 4096):
            shown += piece
            if shown.endswith(b"(not shown): "):  # what is typed before the prompt is discarded
                os.write(ours, f"{SECRET}\n".encode())
    os.close(ours)
    assert process.wait(20) == 0, shown
    assert (cli.folder / "here/key").read_text() == f"{SECRET}\n"
    assert SECRET.encode() not in shown


def test_running_process_uses_a_new_credential(cli: Cli) -> None:
    with cli.serving() as served:
        rows = {row["name"]: row for row in cli.run("providers", "list", "--json").json}
        assert "OPENAI_API_KEY is not set" in rows["openai"]["unavailable"]
        assert cli.run("credential", "set", "openai", piped=SECRET).status == 0
        rows = {row["name"]: row for row in cli.run("providers", "list", "--json").json}
        assert rows["openai"]["unavailable"] is None
        assert SECRET not in served.log.read_text()


@pytest.mark.parametrize(
    ("secret", "words", "why"),
    [
        ("", ("openai",), "no credential was given"),
        ("two\nlines", ("openai",), "one line"),
        pytest.param(mint(), ("openai",), "a local key of Sidecar", id="local key"),
        (SECRET, ("opnai",), 'no provider "opnai"'),
        (SECRET, ("openai", "--in", "env:NAME"), "a place that can be written"),
        (SECRET, ("openai", "--in", "somewhere"), "not a reference"),
        (SECRET, ("openai", "--in", "keyring:sidecar/openai"), "no keyring can be used"),
    ],
)
def test_credential_that_cannot_be_stored_is_refused(
    cli: Cli, secret: str, words: tuple[str, ...], why: str
) -> None:
    done = cli.run("credential", "set", *words, piped=secret)
    assert (done.status, why in done.err) == (2, True), done.err
    assert cli.config.read_text() == FILE
    assert not list(cli.folder.glob("*.credential"))


def test_one_of_several_credentials_must_be_named(cli: Cli) -> None:
    text = f"{FILE}providers: {{openai: {{credential: [file:one, file:two]}}}}\n"
    cli.config.write_text(text)
    unnamed = cli.run("credential", "set", "openai", piped=SECRET)
    assert "name the place of one with --in" in unnamed.err
    assert cli.run("credential", "set", "openai", "--in", "file:two", piped=SECRET).status == 0
    assert (cli.folder / "two").read_text() == f"{SECRET}\n"
    assert cli.config.read_text() == text


def test_credential_test_reports_what_the_provider_answers(cli: Cli) -> None:
    alone = cli.run("credential", "test", "echo", "--json")
    assert (alone.status, alone.json["status"], alone.json["why_not"]) == (0, 200, "")
    with cli.serving():
        assert "echo: it works, 1 model" in cli.run("credential", "test", "echo").out
        missing = cli.run("credential", "test", "openai")
        assert (missing.status, "OPENAI_API_KEY is not set" in missing.out) == (1, True)
        assert cli.run("credential", "test", "opnai").status == 2

"""Where credentials come from, and what a missing one says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.api_keys import digest, mint
from sidecar.config.credentials import Vault
from sidecar.config.model import (
    CredentialRef,
    Group,
    Key,
    KeyHash,
    Provider,
    SecretSource,
    Snapshot,
)
from sidecar.errors import SourceLocation
from sidecar.plugin_api.vendor import Secret, Vendor

PLACE = SourceLocation("routes.yaml", 1)


class Some(Vendor):
    name = title = "some"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ref(source: SecretSource, argument: str = "", **more: object) -> CredentialRef:
    return CredentialRef(source, f"{source}:{argument}", PLACE, argument, **more)  # type: ignore[arg-type]


def snapshot(*refs: CredentialRef) -> Snapshot:
    provider = Provider("p", Some(), "https://v.example", refs, PLACE)
    return Snapshot("routes.yaml", "", {"p": provider}, {}, {}, {})


def held(
    *refs: CredentialRef, environ: dict[str, str] | None = None, clock: Clock | None = None
) -> Vault:
    vault = Vault(environ or {}, clock or Clock())
    vault.load(snapshot(*refs))
    return vault


def heard(vault: Vault) -> list[CredentialRef]:
    """What is announced as replaced from now on."""
    vault.announce()
    replaced: list[CredentialRef] = []
    vault.on_replaced.append(replaced.extend)
    return replaced


def test_credential_in_a_variable_is_read_and_trimmed() -> None:
    variable = ref(SecretSource.ENV, "KEY")
    assert held(variable, environ={"KEY": " sk-1\n"}).secret(variable) == Secret("sk-1")


def test_credential_in_a_missing_variable_names_the_variable() -> None:
    variable = ref(SecretSource.ENV, "KEY")
    assert held(variable).why_not(variable) == "the environment variable KEY is not set"


def test_credential_that_is_a_local_key_is_named_and_never_sent() -> None:
    local = mint()
    variable = ref(SecretSource.ENV, "KEY")
    key_hash = KeyHash(digest(local))
    key = Key("codex", Group("g", Some(), (), PLACE), (), PLACE, (key_hash,))
    served = replace(snapshot(variable), by_digest={key_hash.digest: (key, key_hash)})
    vault = Vault({"KEY": local}, Clock())
    vault.load(served)
    assert vault.secret(variable) is None
    assert vault.why_not(variable) == (
        'the environment variable KEY holds the local key "codex", not a credential; '
        "point agents at Sidecar in other shells than the one that serves"
    )
    another = Vault({"KEY": mint()}, Clock())  # one Sidecar behind another
    another.load(served)
    assert another.why_not(variable) == ""


def test_credential_in_a_file_is_read_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("one")
    file = ref(SecretSource.FILE, str(path))
    vault = held(file)
    replaced = heard(vault)
    assert vault.stale() == []
    path.write_text("other")
    vault.renew(vault.stale())
    vault.announce()
    vault.announce()
    assert replaced == [file]
    assert vault.secret(file) == Secret("other")


def test_credential_file_that_is_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    file = ref(SecretSource.FILE, str(tmp_path / "pipe"))
    assert "not a regular file" in held(file).why_not(file)


def command(code: str, refresh: float | None = None) -> CredentialRef:
    argv = (sys.executable, "-c", code)
    return CredentialRef(SecretSource.COMMAND, "command:x", PLACE, "", argv, refresh)


def test_credential_of_a_command_is_its_output() -> None:
    run = command("print('tok')")
    assert held(run).secret(run) == Secret("tok")


def test_credential_command_that_fails_reports_its_status_and_no_output() -> None:
    run = command("import sys; print('leak'); sys.exit(3)")
    why_not = held(run).why_not(run)
    assert why_not.endswith("failed with status 3")
    assert "leak" not in why_not


async def test_credential_command_runs_again_after_a_rejection(tmp_path: Path) -> None:
    counter = tmp_path / "n"
    counter.write_text("0")
    run = command(
        f"p=__import__('pathlib').Path({str(counter)!r}); n=int(p.read_text())+1; "
        "p.write_text(str(n)); print(f'tok{n}')"
    )
    vault = held(run)
    replaced = heard(vault)
    await vault.rejected(run, Secret("tok1"))
    assert (vault.secret(run), replaced) == (Secret("tok2"), [run])
    await vault.rejected(run, Secret("tok1"))  # a second call with the old one
    assert vault.secret(run) == Secret("tok2")
    await vault.rejected(ref(SecretSource.ENV, "KEY"), None)
    assert replaced == [run]


def test_credential_command_runs_again_after_refresh_and_a_failure_keeps_the_secret(
    tmp_path: Path,
) -> None:
    flag = tmp_path / "ok"
    flag.touch()
    clock = Clock()
    run = command(f"import os,sys; os.path.exists({str(flag)!r}) or sys.exit(1); print('t')", 60)
    vault = held(run, clock=clock)
    assert vault.stale() == []
    clock.now = 61
    flag.unlink()
    replaced = heard(vault)
    vault.renew(vault.stale())
    vault.announce()
    assert replaced == []
    assert vault.secret(run) == Secret("t")


def test_provider_with_one_usable_credential_is_available() -> None:
    bad, good = ref(SecretSource.ENV, "A"), ref(SecretSource.ENV, "B")
    vault = held(bad, good, environ={"B": "x"})
    provider = snapshot(bad, good).providers["p"]
    assert vault.unavailable(provider) == ""
    assert vault.usable(provider) == ((good,), "")


def test_credential_none_is_always_usable() -> None:
    none = ref(SecretSource.NONE)
    vault = held(none)
    assert vault.why_not(none) == ""
    assert vault.secret(none) is None


def test_credential_that_no_header_can_carry_is_refused_unquoted() -> None:
    variable = ref(SecretSource.ENV, "KEY")
    why_not = held(variable, environ={"KEY": "a\r\nX-Evil: 1"}).why_not(variable)
    assert "characters" in why_not
    assert "Evil" not in why_not


@pytest.mark.parametrize("show", [str, repr, "{}".format], ids=["str", "repr", "format"])
def test_secret_has_no_text_form(show: object) -> None:
    assert "sk-1" not in show(Secret("sk-1"))  # type: ignore[operator]


def test_credential_command_does_not_run_again_when_its_line_moves(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    run = command(f"open({str(log)!r},'a').write('x'); print('t')")
    vault = held(run)
    moved = CredentialRef(
        SecretSource.COMMAND, "command:x", SourceLocation("routes.yaml", 99), "", run.argv
    )
    vault.load(snapshot(moved))
    assert log.read_text() == "x"
    assert vault.secret(moved) == Secret("t")


class Picky(Some):
    def credential_problem(self, secret: Secret) -> str:
        if secret.reveal() == "boom":
            raise RuntimeError(secret.reveal())
        return "is a login" if secret.reveal() == "login" else ""


def test_credential_that_the_vendor_cannot_use_makes_its_provider_unavailable() -> None:
    first, second = ref(SecretSource.ENV, "ONE"), ref(SecretSource.ENV, "TWO")
    found = snapshot(first, second)
    provider = replace(found.providers["p"], vendor=Picky())
    for one, two, usable, why_not in (
        ("login", "login", (), "env:ONE is a login; env:TWO is a login"),
        ("login", "key", (second,), ""),
        ("login", "", (), "env:ONE is a login; the environment variable TWO is not set"),
        ("boom", "key", (first, second), ""),
    ):
        vault = Vault({"ONE": one, "TWO": two}, Clock())
        vault.load(found)
        assert vault.usable(provider) == (usable, why_not)


@pytest.mark.parametrize(
    ("base_url", "sent"), [("https://v.example", False), ("https://sidecar.lan", True)]
)
def test_local_key_of_any_sidecar_is_never_a_credential_for_the_vendor_itself(
    base_url: str, *, sent: bool
) -> None:
    class Hosted(Vendor):
        name = title = "hosted"
        base_url = "https://v.example"

    variable, local = ref(SecretSource.ENV, "KEY"), mint()
    provider = Provider("p", Hosted(), base_url, (variable,), PLACE)
    vault = Vault({"KEY": local}, Clock())
    vault.load(Snapshot("routes.yaml", "", {"p": provider}, {}, {}, {}))
    credentials, why_not = vault.usable(provider)
    assert (credentials == (variable,)) is sent
    assert ("holds a local key of a Sidecar" in why_not) is not sent
    assert local not in why_not


def test_version_changes_with_what_is_resolved(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("one")
    file = ref(SecretSource.FILE, str(path))
    vault = held(file)
    versions = [vault.version]
    path.write_text("two")
    vault.renew([file])
    versions.append(vault.version)
    vault.load(snapshot(file))
    versions.append(vault.version)
    assert (len(set(versions)), vault.secret(file)) == (3, Secret("two"))


def test_call_under_the_earlier_file_does_not_tell_what_the_new_one_may_use() -> None:
    before, after = ref(SecretSource.ENV, "ONE"), ref(SecretSource.ENV, "TWO")
    vault = held(before, environ={"ONE": "a", "TWO": "b"})
    earlier, later = snapshot(before).providers["p"], snapshot(after).providers["p"]
    vault.load(snapshot(after))
    vault.usable(earlier)
    assert vault.usable(later) == ((after,), "")


def test_secret_is_kept_until_a_configuration_without_it_is_in_force() -> None:
    before, after = ref(SecretSource.ENV, "ONE"), ref(SecretSource.ENV, "TWO")
    vault = held(before, environ={"ONE": "a", "TWO": "b"})
    vault.put_in_force(snapshot(before))
    vault.load(snapshot(after))
    assert (vault.secret(before), vault.secret(after)) == (Secret("a"), Secret("b"))
    vault.load(snapshot(before))  # the other one was not accepted
    assert (vault.secret(before), vault.secret(after)) == (Secret("a"), None)
    vault.load(snapshot(after))
    vault.put_in_force(snapshot(after))
    assert (vault.secret(before), vault.secret(after)) == (None, Secret("b"))


def test_version_changes_before_the_next_one_of_several_is_resolved(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        path.write_text("old")
    files = [ref(SecretSource.FILE, str(path)) for path in paths]
    vault = held(*files)
    seen = [(vault.version, [vault.secret(each) for each in files])]

    def each_with_what_is_known_then() -> Iterator[CredentialRef]:
        for path, file in zip(paths, files, strict=True):
            path.write_text("new")
            yield file
            seen.append((vault.version, [vault.secret(each) for each in files]))

    vault.renew(each_with_what_is_known_then())
    versions, secrets = zip(*seen, strict=True)
    old, new = Secret("old"), Secret("new")
    assert secrets == ([old, old], [new, old], [new, new])
    assert len(set(versions)) == 3

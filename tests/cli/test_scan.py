"""`sidecar keys scan`: wherever a key's text may lie, and in whatever shape."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cli_runner import Cli
from hypothesis import given
from hypothesis import strategies as st

from sidecar.api_keys import KEY_CHARS, PREFIX, find_keys, looks_like_key, mint
from sidecar.cli.keys.scan import READ_CHUNK_BYTES

KEY = mint()


def git(folder: Path, *words: str, **environ: str) -> None:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a"}
    mails = {"GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_EMAIL": "a@b.c"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **names, **mails, **environ}
    subprocess.run(["git", *words], cwd=folder, env=environment, check=True, capture_output=True)


def commit(folder: Path, message: str, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "first", readme="hello\n")
    return folder


def lines(cli: Cli, *words: str | Path, **environ: str) -> list[str]:
    done = cli.run("keys", "scan", *words, **environ)
    assert done.status == (1 if done.out else 0), done.err
    assert PREFIX not in done.out + done.err
    return done.out.splitlines()


@given(before=st.binary(max_size=80), after=st.binary(max_size=80))
def test_a_key_is_found_amid_any_bytes(before: bytes, after: bytes) -> None:
    assert list(find_keys(before + KEY.encode() + after)) == [KEY]


@given(place=st.integers(0, KEY_CHARS - 1), wrong=st.characters(max_codepoint=127))
def test_a_text_with_one_wrong_character_is_no_key(place: int, wrong: str) -> None:
    text = KEY[:place] + wrong + KEY[place + 1 :]
    assert looks_like_key(text) is (text == KEY)


def test_a_key_is_not_itself_when_something_follows() -> None:
    assert looks_like_key(KEY)
    assert not looks_like_key(KEY + "x")
    assert not looks_like_key(" " + KEY)


def test_a_file_larger_than_a_piece_is_searched_whole(cli: Cli) -> None:
    large = cli.folder / "session.jsonl"
    first, cut = b"\n" * 7 + KEY.encode(), KEY.encode()
    filler = b"x" * (READ_CHUNK_BYTES - len(first) - KEY_CHARS // 2)
    large.write_bytes(first + filler + cut + b"\n" + filler + b"\n" + KEY.encode())
    unknown = "a key that this file does not know"
    assert lines(cli, large) == [f"{large}:{line}: {unknown}" for line in (10, 8)]


def test_a_search_needs_no_configuration(cli: Cli) -> None:
    (cli.folder / "notes").write_text(KEY)
    cli.config.write_text("groups: [\n")
    for config in (cli.config, cli.folder / "none.yaml"):
        done = cli.run("keys", "scan", "notes", "--config", config)
        assert (done.status, done.out) == (1, "notes:1: a key that this file does not know\n")
        assert "no key can be named" in done.err


def test_odd_names_and_unreadable_places_stop_nothing(cli: Cli) -> None:
    odd = cli.folder / "odd"
    odd.mkdir()
    Path(os.fsdecode(os.fsencode(odd) + b"/\xff")).write_text(KEY)
    os.mkfifo(odd / "pipe")
    (odd / "loop").symlink_to(odd / "loop")
    assert len(lines(cli, odd)) == 1


def test_a_branch_that_was_merged_away_is_history(cli: Cli, project: Path) -> None:
    git(project, "switch", "--quiet", "--create", "side")
    commit(project, "oops", env=KEY)
    commit(project, "sorry", env="")
    git(project, "switch", "--quiet", "main")
    commit(project, "meanwhile", other="1")
    git(project, "merge", "--quiet", "--strategy=ours", "--no-edit", "side")
    git(project, "branch", "--quiet", "--delete", "side")
    (line,) = lines(cli, project)
    assert line.endswith(": env: a key that this file does not know")


def test_a_key_that_only_a_merge_brought_in_is_found_once(cli: Cli, project: Path) -> None:
    git(project, "switch", "--quiet", "--create", "side")
    commit(project, "theirs", readme="theirs\n")
    git(project, "switch", "--quiet", "main")
    commit(project, "ours", readme="ours\n")
    with pytest.raises(subprocess.CalledProcessError):
        git(project, "merge", "side")
    commit(project, "merged", readme=f"both\n{KEY}\n")
    commit(project, "cleaned", readme="both\n")
    assert len(lines(cli, project)) == 1


def test_an_amended_commit_is_history_until_git_forgets_it(cli: Cli, project: Path) -> None:
    commit(project, "oops", env=KEY)
    (project / "env").write_text("")
    git(project, "commit", "--quiet", "--all", "--amend", "--message", "fine")
    assert len(lines(cli, project)) == 1


def test_a_message_of_an_empty_commit_is_searched(cli: Cli, project: Path) -> None:
    commit(project, f"use\n\n{KEY}")
    assert lines(cli, project)[0].endswith("message: a key that this file does not know")


def test_bare_and_nested_repositories_are_searched(cli: Cli, project: Path) -> None:
    commit(project, "oops", env=KEY)
    commit(project, "sorry", env="")
    git(cli.folder, "clone", "--quiet", "--bare", "project", "copies/bare.git")
    found = lines(cli, cli.folder)
    assert sorted(line.partition(" at ")[0] for line in found) == [
        f"{cli.folder}/copies/bare.git",
        f"{cli.folder}/project",
    ]


def test_a_hook_of_another_repository_does_not_lead_astray(cli: Cli, project: Path) -> None:
    commit(project, "oops", env=KEY)
    commit(project, "sorry", env="")
    other = cli.folder / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    assert len(lines(cli, project, GIT_DIR=str(other / ".git"))) == 1


def test_a_repository_runs_no_program_of_its_own(cli: Cli, project: Path) -> None:
    script = project / "run.sh"
    script.write_text(f'#!/bin/sh\ntouch {cli.folder}/ran\ncat "$1"\n')
    script.chmod(0o755)
    commit(project, "attributes", **{".gitattributes": "* diff=evil\n", "env": KEY})
    git(project, "config", "diff.evil.textconv", str(script))
    git(project, "config", "diff.external", str(script))
    git(project, "config", "log.showSignature", "true")
    git(project, "config", "gpg.program", str(script))
    assert lines(cli, project)
    assert not (cli.folder / "ran").exists()


def test_a_very_long_line_in_history_is_searched_whole(cli: Cli, project: Path) -> None:
    commit(project, "oops", env="x" * (READ_CHUNK_BYTES - KEY_CHARS // 2) + KEY + "x" * 9)
    commit(project, "sorry", env="")
    assert len(lines(cli, project)) == 1
